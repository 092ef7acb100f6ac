//! What may help where nothing was found.

use super::lookup::Request;
use super::{Asked, Known};
use crate::model::App;

/// Hints that are given; more would not be read.
const MOST: usize = 6;

/// Who comes near: routes of the same host with other paths, and apps that name the host and are not served.
pub(super) fn of(known: &Known<'_>, asked: &Asked) -> Vec<String> {
    let host = Request::of(asked).host;
    if host.is_empty() {
        return Vec::new();
    }
    let mut hints = Vec::new();
    for service in known.view.services() {
        for route in service.routes.iter().filter(|route| route.matches.host() == Some(&*host)) {
            hints.push(format!("{} has {host} with more than that: {}", service.id, route.matches));
        }
    }
    let is_served = |app: &App| {
        known.view.settled.get(&app.id).is_some_and(|settled| !settled.services.is_empty())
    };
    for app in known.view.apps.values().filter(|app| !is_served(app)) {
        let names = |(_, value): &(&Box<str>, &Box<str>)| value.to_ascii_lowercase().contains(&host);
        if let Some((label, _)) = app.labels.iter().find(names) {
            hints.push(format!("{} names {host} in its label {label}, but is not served", app.id));
        }
    }
    hints.truncate(MOST);
    hints
}
