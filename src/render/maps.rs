//! The map files that lead requests to backends.

use std::collections::BTreeMap;

use rpds::RedBlackTreeMapSync;
use serde::Serialize;

use crate::model::RouteMatch;
use crate::model::service::PREFIX_END;

/// Which map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MapName {
    /// App ids, for the app-id frontend.
    Apps,
    /// The paths that HAProxy's own checks ask backends for.
    Checks,
    /// Exact hosts.
    Hosts,
    /// Backends whose answers over TLS ask for nothing but TLS.
    Hsts,
    /// Paths below a host (`host/path/`), below a wildcard (`*.parent/path/`) or below any host (`/path/`).
    Paths,
    /// The same, of paths whose case does not count.
    #[serde(rename = "paths-i")]
    PathsAnyCase,
    /// Service ports of the range that is bound ahead.
    Ports,
    /// Backends whose clear requests are sent to https.
    Redirects,
    /// Where backends send requests for `/`.
    Roots,
    /// Parents of wildcard hosts.
    Wildcards,
}

impl MapName {
    /// Every map, in the order of their names. Each is written even when it is empty: HAProxy needs the file.
    pub const ALL: [Self; 10] = [
        Self::Apps,
        Self::Checks,
        Self::Hosts,
        Self::Hsts,
        Self::Paths,
        Self::PathsAnyCase,
        Self::Ports,
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
            Self::Hosts => "maps/hosts.map",
            Self::Hsts => "maps/hsts.map",
            Self::Paths => "maps/paths.map",
            Self::PathsAnyCase => "maps/paths-i.map",
            Self::Ports => "maps/ports.map",
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

    /// The entries of one map, by key.
    pub fn entries(&self, map: MapName) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.get(&map).into_iter().flat_map(RedBlackTreeMapSync::iter);
        entries.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The map and the key of a route; a criterion in words has none.
#[must_use]
pub fn entry_of(route: &RouteMatch) -> Option<(MapName, String)> {
    let RouteMatch::HostPath { host, path, any_case } = route else { return None };
    let paths = if *any_case { MapName::PathsAnyCase } else { MapName::Paths };
    Some(match (host.as_deref(), path.as_str()) {
        (None, path) => (paths, key_of("", path)),
        (Some(host), "") => match host.strip_prefix("*.") {
            Some(parent) => (MapName::Wildcards, parent.to_owned()),
            None => (MapName::Hosts, host.to_owned()),
        },
        (Some(host), path) => (paths, key_of(host, path)),
    })
}

/// A place as the maps have it: what is looked up has a `/` at its end, and so has a key whose path does not end anywhere.
fn key_of(host: &str, path: &str) -> String {
    match path.strip_suffix(PREFIX_END) {
        Some(prefix) => format!("{host}{prefix}"),
        None => format!("{host}{path}/"),
    }
}
