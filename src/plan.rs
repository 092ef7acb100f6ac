//! Pure: what is desired against what was observed becomes a plan: a value that is shown to people, then applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::render::Files;
use crate::render::files::CONFIG;

mod steps;

pub use steps::{ServerName, Step};

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Plan {
    /// What runs is what is desired: neither disk nor HAProxy is touched.
    Noop,
    /// HAProxy has to read its files again.
    Reload {
        /// Why, in a fixed order.
        reasons: Vec<Reason>,
    },
}

/// Why a reload is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Nothing that is known runs.
    Start,
    /// More tasks than the running backend has slots.
    Slots {
        /// The backend.
        backend: String,
    },
    /// The shared head differs.
    Head,
    /// What HAProxy reports is not what it was brought to.
    Drift,
    /// The servers of a backend differ.
    Servers {
        /// The backend.
        backend: String,
    },
    /// A section is new.
    SectionAdded {
        /// Its first line.
        section: String,
    },
    /// A section is gone.
    SectionRemoved {
        /// Its first line.
        section: String,
    },
    /// A section differs in more than its servers.
    SectionChanged {
        /// Its first line.
        section: String,
    },
    /// Entries of a map, or another file, differ.
    File {
        /// The file inside the generation.
        file: String,
    },
    /// Somebody asked for it.
    Asked,
}

impl Reason {
    /// Whether it is time enough when HAProxy reads its files anew for another reason: what is gone has no route, and
    /// serves nobody.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        matches!(self, Self::SectionRemoved { .. })
    }

    /// Every kind of reason.
    pub const KINDS: [&str; 9] = [
        "start",
        "slots",
        "head",
        "drift",
        "servers",
        "section_added",
        "section_removed",
        "section_changed",
        "file",
    ];

    /// The kind of reason, for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Slots { .. } => "slots",
            Self::Head => "head",
            Self::Drift => "drift",
            Self::Servers { .. } => "servers",
            Self::SectionAdded { .. } => "section_added",
            Self::SectionRemoved { .. } => "section_removed",
            Self::SectionChanged { .. } => "section_changed",
            Self::File { .. } => "file",
            Self::Asked => "asked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("nothing known is running"),
            Self::Slots { backend } => write!(f, "more slots in {backend}"),
            Self::Head => f.write_str("the shared head"),
            Self::Drift => f.write_str("what HAProxy reports"),
            Self::Servers { backend } => write!(f, "servers of {backend}"),
            Self::SectionAdded { section } => write!(f, "new {section}"),
            Self::SectionRemoved { section } => write!(f, "no more {section}"),
            Self::SectionChanged { section } => write!(f, "changed {section}"),
            Self::File { file } => write!(f, "entries of {file}"),
            Self::Asked => f.write_str("somebody asked for it"),
        }
    }
}

/// Compares what is desired with what runs; `None` where nothing known runs.
#[must_use]
pub fn plan(desired: &Files, observed: Option<&Files>) -> Plan {
    let Some(observed) = observed else { return Plan::Reload { reasons: vec![Reason::Start] } };
    if desired == observed {
        return Plan::Noop;
    }
    let mut reasons = BTreeSet::new();
    if desired.config() != observed.config() {
        compare_sections(desired.config(), observed.config(), &mut reasons);
    }
    let names: BTreeSet<&String> = desired.0.keys().chain(observed.0.keys()).collect();
    for name in names.into_iter().filter(|name| *name != CONFIG) {
        if desired.0.get(name) != observed.0.get(name) {
            reasons.insert(Reason::File { file: name.clone() });
        }
    }
    Plan::Reload { reasons: reasons.into_iter().collect() }
}

/// The difference as people read it, for the configuration and every other text file.
#[must_use]
pub fn diff(desired: &Files, observed: &Files) -> String {
    let names: BTreeSet<&String> = desired.0.keys().chain(observed.0.keys()).collect();
    let mut text = String::new();
    for name in names {
        let (old, new) = (observed.text(name), desired.text(name));
        if desired.0.get(name) == observed.0.get(name) {
            continue;
        }
        if name.starts_with("certs/") {
            text.push_str(&format!("certificate {name} differs\n"));
        } else {
            let lines = similar::TextDiff::from_lines(old, new);
            text.push_str(
                &lines
                    .unified_diff()
                    .header(&format!("running/{name}"), &format!("desired/{name}"))
                    .to_string(),
            );
        }
    }
    text
}

fn compare_sections(desired: &str, observed: &str, reasons: &mut BTreeSet<Reason>) {
    let (desired, observed) = (sections(desired), sections(observed));
    for (section, lines) in &desired {
        match observed.get(section) {
            None => reasons.insert(Reason::SectionAdded { section: (*section).to_owned() }),
            Some(old) if old == lines => false,
            Some(old) => reasons.insert(difference(section, lines, old)),
        };
    }
    for section in observed.keys().filter(|section| !desired.contains_key(*section)) {
        reasons.insert(Reason::SectionRemoved { section: (*section).to_owned() });
    }
}

fn difference(section: &str, lines: &[&str], old: &[&str]) -> Reason {
    let without_servers = |lines: &[&str]| -> Vec<String> {
        lines
            .iter()
            .filter(|line| !line.trim_start().starts_with("server "))
            .map(|line| (*line).to_owned())
            .collect()
    };
    let backend = section.strip_prefix("backend ").and_then(|rest| rest.split(' ').next());
    match backend {
        Some(backend) if without_servers(lines) == without_servers(old) => {
            Reason::Servers { backend: backend.to_owned() }
        }
        _ => Reason::SectionChanged { section: section.to_owned() },
    }
}

/// Cuts a configuration at its section lines: those that begin at the margin (section 2.1 of HAProxy's manual gives the
/// keywords; everything of a section is indented by our templates, and by custom if not by rule in those of others).
fn sections(config: &str) -> BTreeMap<&str, Vec<&str>> {
    const SECTIONS: [&str; 14] = [
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "userlist",
        "peers",
        "resolvers",
        "mailers",
        "program",
        "http-errors",
        "ring",
        "log-forward",
        "cache",
    ];
    let begins = |line: &str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        SECTIONS.contains(&word)
    };
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in config.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        if begins(line) {
            current = line.trim();
            sections.entry(current).or_default();
        } else {
            sections.entry(current).or_default().push(line);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(config: &str) -> Files {
        Files(BTreeMap::from([(CONFIG.to_owned(), config.as_bytes().to_vec())]))
    }

    fn reasons(desired: &str, observed: &str) -> Vec<Reason> {
        match plan(&files(desired), Some(&files(observed))) {
            Plan::Reload { reasons } => reasons,
            Plan::Noop => Vec::new(),
        }
    }

    #[test]
    fn rule_1_a_plan_of_what_runs_against_itself_is_a_noop() {
        let same = files("global\n    maxconn 1\nbackend a\n    server s 127.0.0.1:1\n");
        assert_eq!(plan(&same, Some(&same)), Plan::Noop);
    }

    #[test]
    fn a_change_of_servers_alone_is_told_from_a_change_of_the_backend() {
        let old = "backend a\n    balance roundrobin\n    server slot1 127.0.0.1:1\n";
        let more =
            "backend a\n    balance roundrobin\n    server slot1 127.0.0.1:1\n    server slot2 127.0.0.1:2\n";
        let other = "backend a\n    balance leastconn\n    server slot1 127.0.0.1:1\n";
        assert_eq!(reasons(more, old), [Reason::Servers { backend: "a".to_owned() }]);
        assert_eq!(reasons(other, old), [Reason::SectionChanged { section: "backend a".to_owned() }]);
    }

    #[test]
    fn sections_come_and_go_by_name() {
        let reasons = reasons("backend b\n", "backend a\n");
        let section = |name: &str| format!("backend {name}");
        assert_eq!(
            reasons,
            [
                Reason::SectionAdded { section: section("b") },
                Reason::SectionRemoved { section: section("a") }
            ]
        );
    }

    #[test]
    fn where_nothing_known_runs_the_reason_is_the_start() {
        assert_eq!(plan(&files("global\n"), None), Plan::Reload { reasons: vec![Reason::Start] });
    }
}
