//! What may help where nothing was found.

use super::lookup::Request;
use super::{Asked, Known};
use crate::model::App;

/// Hints that are given; more would not be read.
const MOST: usize = 6;

/// Who comes near: routes of the same host with other paths, and apps that name the host and have no route for it.
pub(super) fn of(known: &Known<'_>, asked: &Asked) -> Vec<String> {
    let host = Request::of(asked).host;
    if host.is_empty() {
        return Vec::new();
    }
    let mut hints = Vec::new();
    for service in known.view.services() {
        for route in service.routes.iter().filter(|route| route.matches.host() == Some(&*host)) {
            hints.push(format!("{} has {host} with more than that: {}", service.id.app, route.matches));
        }
    }
    let leads = |app: &App| {
        let services = known.view.settled.get(&app.id).map(|settled| settled.services.as_slice());
        let mut routes = services.unwrap_or_default().iter().flat_map(|service| &service.routes);
        routes.any(|route| route.matches.host() == Some(&*host))
    };
    for app in known.view.apps.values() {
        let names = |text: &str| text.to_ascii_lowercase().contains(&host);
        if let Some((label, _)) = app.labels.iter().find(|(_, text)| names(text))
            && !leads(app)
        {
            hints.push(format!("{} names {host} in its label {label}, but has no route for it", app.id));
        }
    }
    hints.truncate(MOST);
    hints
}
