//! Pure: services and their placement become blocks of configuration text, one a service plus the shared head, and maps.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::model::{Endpoint, Mode, Service, ServiceId};
use crate::placement::Slot;

pub mod files;
pub mod maps;
mod templates;

pub use files::Files;
pub use templates::{AclRoute, HeadContext, TemplateError, Templates};

use maps::{MapName, Maps};

/// Where the server lines of a service go: a character that no label can hold, the service's backend, and again.
pub(crate) const SERVERS_MARK: char = '\u{1}';
/// Where the directory of the generation goes, in external mode.
pub(crate) const DIR_MARK: &str = "@generation@/";

/// Where a slot that nobody sits in points to: a port that nobody listens on.
pub const FREE_ENDPOINT: Endpoint = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A template of the built-in form: the text of a service with a mark where its server lines go.
pub type Shape = Arc<str>;

/// The text of everything, in parts: what changes alone is rendered alone.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// Global, defaults and the shared frontends; with a single-file template, everything.
    pub head: Shape,
    /// One shape a service.
    pub shapes: BTreeMap<ServiceId, Shape>,
    /// The server lines of a service, by the name of its backend.
    pub servers: BTreeMap<String, Arc<str>>,
    /// What the map files say.
    pub maps: Maps,
}

impl Rendered {
    /// The configuration as HAProxy reads it, and for each of its lines whose service it is.
    #[must_use]
    pub fn text(&self) -> (String, Owners) {
        let mut text = String::new();
        let mut owners = Owners::default();
        fill(&mut text, &self.head, &self.servers);
        for (id, shape) in self.shapes.iter().filter(|(_, shape)| !shape.is_empty()) {
            text.push('\n');
            let first = text.len();
            fill(&mut text, shape, &self.servers);
            owners.0.push((first, text.len(), id.clone()));
        }
        (text, owners)
    }
}

/// A map entry: which map, key, backend.
pub type MapEntry = (MapName, String, String);

/// Which part of the text is whose.
#[derive(Clone, Debug, Default)]
pub struct Owners(Vec<(usize, usize, ServiceId)>);

impl Owners {
    /// The service that line `line` (from 1) of `text` belongs to; `None` for the head.
    #[must_use]
    pub fn of_line(&self, text: &str, line: usize) -> Option<&ServiceId> {
        let at = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
        let index = self.0.partition_point(|(_, end, _)| *end <= at);
        self.0.get(index).filter(|(first, _, _)| *first <= at).map(|(_, _, id)| id)
    }
}

fn fill(text: &mut String, shape: &str, servers: &BTreeMap<String, Arc<str>>) {
    for (index, part) in shape.split(SERVERS_MARK).enumerate() {
        // Between two marks stands the backend's name.
        if index % 2 == 0 {
            text.push_str(part);
        } else {
            text.push_str(servers.get(part).map_or("", |lines| lines));
        }
    }
}

/// The server lines of a service: each slot by its name, with who sits there, and `disabled` unless it serves.
#[must_use]
pub fn server_lines(slots: &[Slot], check: bool) -> String {
    let check = if check { " check inter 2s fall 3 rise 2" } else { "" };
    let mut lines = String::new();
    for (slot, number) in slots.iter().zip(1..) {
        let _infallible = match slot {
            Slot::Serving(occupant) => {
                writeln!(lines, "    server slot{number} {}{check}", occupant.endpoint)
            }
            leaving_or_free => {
                let endpoint = leaving_or_free.occupant().map_or(FREE_ENDPOINT, |occupant| occupant.endpoint);
                writeln!(lines, "    server slot{number} {endpoint}{check} disabled")
            }
        };
    }
    lines
}

/// The map entries that lead to a service.
#[must_use]
pub fn map_entries(service: &Service, in_range: impl Fn(u16) -> bool) -> Vec<MapEntry> {
    let backend = &service.backend.name;
    let mut entries = Vec::new();
    if let Some(port) = service.port.filter(|port| in_range(*port)) {
        entries.push((MapName::Ports, port.to_string(), backend.clone()));
    }
    if service.backend.mode == Mode::Http {
        entries.extend(service.routes.iter().filter_map(|route| {
            let (map, key) = maps::entry_of(&route.matches)?;
            Some((map, key, backend.clone()))
        }));
    }
    if service.app_id_route {
        entries.push((MapName::Apps, service.id.app.as_str().to_ascii_lowercase(), backend.clone()));
    }
    entries
}

#[cfg(test)]
mod tests;
