//! Which apps may have which hosts and ports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PortRange;

/// Which apps may have which hosts and ports; a table that is empty allows everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Patterns of hosts by patterns of app ids; an app has only hosts that one of its lines allows.
    pub vhosts: BTreeMap<String, Vec<String>>,
    /// Ports and ranges of ports by patterns of app ids.
    pub ports: BTreeMap<String, Vec<String>>,
}

/// The tables whose keys are anybody's.
pub(super) const FREE_TABLES: [&str; 3] = ["policy.vhosts", "policy.ports", "labels.templates"];

impl PolicyConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (key, patterns) in [
            ("policy.vhosts", self.vhosts.keys().collect::<Vec<_>>()),
            ("policy.ports", self.ports.keys().collect()),
        ] {
            for pattern in patterns.into_iter().filter(|pattern| !pattern.starts_with('/')) {
                mistakes.push(format!(
                    "{key}: {pattern:?} is not a pattern of app ids; expected one like \"/team-a/**\" (* is one part, ** any number)"
                ));
            }
        }
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._*".contains(c);
        for pattern in self.vhosts.values().flatten() {
            let parts_are_whole = pattern
                .split('.')
                .all(|part| !part.is_empty() && (part.trim_matches('*').is_empty() || !part.contains('*')));
            if !parts_are_whole || !pattern.chars().all(known) {
                mistakes.push(format!(
                    "policy.vhosts: {pattern:?} is not a pattern of hosts; expected one like \"*.team-a.example.com\" (* is one label, ** any number)"
                ));
            }
        }
        for text in self.ports.values().flatten() {
            if port_range(text).is_none() {
                mistakes.push(format!(
                    "policy.ports: {text:?} is neither a port nor a range like \"10100-10199\""
                ));
            }
        }
        mistakes
    }
}

/// A port, or a range of them.
pub(crate) fn port_range(text: &str) -> Option<PortRange> {
    let port = text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let range = || text.parse::<PortRange>().ok().filter(|range| range.first <= range.last);
    port.map(|port| PortRange { first: port, last: port }).or_else(range)
}
