//! Pure: services and their placement become blocks of configuration text, one a service plus the shared head, and maps.

use std::sync::Arc;

use crate::model::{Mode, Service};

pub mod files;
mod guards;
pub mod lines;
pub mod maps;
mod masked;
mod templates;
pub mod text;

pub use files::Files;
pub use lines::{LineRoute, Lines};
pub use masked::without_secrets;
pub use templates::{ClientHosts, HeadContext, KeptTemplates, TemplateError, Templates};
pub use text::{Block, Owners, Spare, Text};

use maps::MapName;

/// Where the server lines of a service go: a character that no label can hold, the service's backend, and again.
pub(crate) const SERVERS_MARK: char = '\u{1}';
/// Where the directory of the generation goes, in external mode.
pub(crate) const DIR_MARK: &str = "@generation@/";

/// The text of a service with a mark where its server lines go.
pub type Shape = Arc<str>;

/// A map entry: which map, key, value: a backend, or what is said of the backend that is the key.
pub type MapEntry = (MapName, String, String);

/// The map entries that lead to a service, and those that say what is done to its requests.
#[must_use]
pub fn map_entries(service: &Service, in_range: impl Fn(u16) -> bool) -> Vec<MapEntry> {
    let backend = &service.backend.name;
    let mut entries = Vec::new();
    if let Some(port) = service.port.filter(|port| service.bind.is_none() && in_range(*port)) {
        entries.push((MapName::Ports, port.to_string(), backend.clone()));
    }
    if service.backend.mode == Mode::Http {
        entries.extend(service.routes.iter().filter_map(|route| {
            let (map, key) = maps::entry_of(&route.matches)?;
            Some((map, key, backend.clone()))
        }));
        entries.extend(service.routes.iter().filter_map(|route| {
            let (key, rank) = maps::rank_of(route)?;
            // With the backend, so that nobody takes away an entry that is another's by now.
            Some((MapName::Ranks, key, format!("{rank}/{backend}")))
        }));
        let marks = &service.marks;
        let mut mark = |map, value: &str| entries.push((map, backend.clone(), value.to_owned()));
        if marks.to_https {
            mark(MapName::Redirects, "https");
        }
        if marks.hsts {
            mark(MapName::Hsts, "yes");
        }
        if let Some(path) = service.backend.watch.path.as_deref().filter(|_| service.backend.check) {
            mark(MapName::Checks, path);
        }
        if let Some(root) = &marks.root {
            mark(MapName::Roots, root);
        }
    }
    if service.app_id_route {
        entries.push((MapName::Apps, service.id.app.as_str().to_ascii_lowercase(), backend.clone()));
    }
    entries
}

#[cfg(test)]
mod tests;
