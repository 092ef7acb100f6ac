//! The map files that lead requests to backends.

use std::collections::BTreeMap;
use std::ops::Bound;

use rpds::RedBlackTreeMapSync;
use serde::Serialize;

use crate::model::route::EXACT;
use crate::model::service::PREFIX_END;
use crate::model::{Route, RouteMatch};

/// Which map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MapName {
    /// App ids, for the app-id frontend.
    Apps,
    /// The paths that HAProxy's own checks ask backends for.
    Checks,
    /// Ids of apps of which neither a label nor a rule says anything, as paths (`/group/app/`).
    Defaults,
    /// Exact hosts; `*` for every one.
    Hosts,
    /// Backends whose answers over TLS ask for nothing but TLS.
    Hsts,
    /// Paths below a host (`host/path/`), below a wildcard (`*.parent/path/`) or below any host (`/path/`); with `?` at the
    /// end that path alone.
    Paths,
    /// The same, of paths whose case does not count.
    #[serde(rename = "paths-i")]
    PathsAnyCase,
    /// Service ports of the range that is bound ahead.
    Ports,
    /// What somebody said about the order of routes, by host and path as in the paths (`host/` for every path of a host): the
    /// order of a rule, and [`AFTER_ORDERS`] for a weight.
    Ranks,
    /// Backends whose clear requests are sent to https.
    Redirects,
    /// Where backends send requests for `/`.
    Roots,
    /// Parents of wildcard hosts.
    Wildcards,
}

impl MapName {
    /// Every map, in the order of their names. Each is written even when it is empty: HAProxy needs the file.
    pub const ALL: [Self; 12] = [
        Self::Apps,
        Self::Checks,
        Self::Defaults,
        Self::Hosts,
        Self::Hsts,
        Self::Paths,
        Self::PathsAnyCase,
        Self::Ports,
        Self::Ranks,
        Self::Redirects,
        Self::Roots,
        Self::Wildcards,
    ];

    /// The file inside a generation.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Apps => "maps/apps.map",
            Self::Checks => "maps/checks.map",
            Self::Defaults => "maps/defaults.map",
            Self::Hosts => "maps/hosts.map",
            Self::Hsts => "maps/hsts.map",
            Self::Paths => "maps/paths.map",
            Self::PathsAnyCase => "maps/paths-i.map",
            Self::Ports => "maps/ports.map",
            Self::Ranks => "maps/ranks.map",
            Self::Redirects => "maps/redirects.map",
            Self::Roots => "maps/roots.map",
            Self::Wildcards => "maps/wildcards.map",
        }
    }
}

/// The entries of every map. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps(BTreeMap<MapName, RedBlackTreeMapSync<String, String>>);

impl Maps {
    /// Adds an entry, or replaces it.
    pub fn insert(&mut self, map: MapName, key: String, backend: String) {
        self.0.entry(map).or_default().insert_mut(key, backend);
    }

    /// Takes an entry out if it leads to `backend`; another's entry stays.
    pub fn remove(&mut self, map: MapName, key: &str, backend: &str) {
        if let Some(entries) = self.0.get_mut(&map)
            && entries.get(key).is_some_and(|value| value == backend)
        {
            entries.remove_mut(key);
        }
    }

    /// The backend that a key leads to.
    #[must_use]
    pub fn get(&self, map: MapName, key: &str) -> Option<&String> {
        self.0.get(&map)?.get(key)
    }

    /// An entry, by its key.
    #[must_use]
    pub fn entry(&self, map: MapName, key: &str) -> Option<(&str, &str)> {
        let (key, value) = self.0.get(&map)?.get_key_value(key)?;
        Some((key, value))
    }

    /// The keys of one map that begin with `start`.
    pub fn keys_from<'a>(&'a self, map: MapName, start: &'a str) -> impl Iterator<Item = &'a str> {
        let from = (Bound::Included(start), Bound::Unbounded);
        let entries = self.0.get(&map).into_iter().flat_map(move |entries| entries.range::<str, _>(from));
        entries.map(|(key, _)| key.as_str()).take_while(move |key| key.starts_with(start))
    }

    /// The entries of one map, by key.
    pub fn entries(&self, map: MapName) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.get(&map).into_iter().flat_map(RedBlackTreeMapSync::iter);
        entries.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// What stands in the ranks for a weight: before routes that nobody gave an order, after every order.
pub const AFTER_ORDERS: i64 = i64::MAX;

/// The map and the key of a route; a line of the configuration has none.
#[must_use]
pub fn entry_of(route: &RouteMatch) -> Option<(MapName, String)> {
    if let RouteMatch::Default(path) = route {
        return Some((MapName::Defaults, key(None, &path.to_ascii_lowercase())));
    }
    if route.is_line() {
        return None;
    }
    let (host, path) = route.place()?;
    let paths = match route {
        RouteMatch::HostPath { any_case: true, .. } => MapName::PathsAnyCase,
        _ => MapName::Paths,
    };
    Some(match (host, &*path) {
        (None, "") => (MapName::Hosts, "*".to_owned()),
        (Some(host), "") => match host.strip_prefix("*.") {
            Some(parent) => (MapName::Wildcards, parent.to_owned()),
            None => (MapName::Hosts, host.to_owned()),
        },
        _ => (paths, key(host, &path)),
    })
}

/// The rank of a route that somebody gave one: what decides between it and a line of the configuration.
#[must_use]
pub fn rank_of(route: &Route) -> Option<(String, i64)> {
    let rank = route.order.or((route.weight > 0).then_some(AFTER_ORDERS))?;
    if route.matches.is_line() {
        return None;
    }
    let (host, path) = route.matches.place()?;
    Some((key(host, &path), rank))
}

/// A place as the maps have it: a prefix ends in `/`, a whole path in `/?`, and what may end anywhere as it is.
pub(super) fn key(host: Option<&str>, path: &str) -> String {
    let host = host.unwrap_or_default();
    match path.strip_suffix(PREFIX_END) {
        Some(prefix) => format!("{host}{prefix}"),
        None if path.ends_with(EXACT) => format!("{host}{path}"),
        None => format!("{host}{path}/"),
    }
}
