//! marathon-lb's labels, typed when parsed. A value that cannot be used is the app's problem, and the default stands.

use std::collections::BTreeMap;

use crate::model::{App, Mode, Problem, ProblemKind, RouteMatch};

use super::criterion;

/// The algorithms that a label may name (configuration manual, section 4.2, `balance`).
const BALANCE: [&str; 6] = ["roundrobin", "static-rr", "leastconn", "first", "source", "random"];

/// The labels of a port that are understood.
const KNOWN: [&str; 7] = ["GROUP", "VHOST", "PATH", "PORT", "MODE", "BALANCE", "ENABLED"];
/// marathon-lb's labels that keep somebody out.
const GUARDS: [&str; 2] = ["AUTH", "BACKEND_NETWORK_ALLOWED_ACL"];

/// The labels of an app.
#[derive(Debug, Default)]
pub(super) struct AppLabels {
    /// True where the app has any label of this dialect.
    pub(super) any: bool,
    /// `HAPROXY_GROUP`.
    pub(super) groups: Vec<String>,
    ports: BTreeMap<usize, PortLabels>,
    none: PortLabels,
}

/// The labels of one port, `HAPROXY_{n}_…`.
#[derive(Debug, Default)]
pub(super) struct PortLabels {
    pub(super) groups: Option<Vec<String>>,
    pub(super) vhosts: Vec<String>,
    pub(super) paths: Vec<String>,
    /// A host or path is asked for, whether or not it can be used.
    pub(super) routed: bool,
    /// Only those that can be used count; none of them is not the same as none asked for.
    unusable: bool,
    /// A label guards the port in a way that is not understood here: it is not served, rather than served open.
    pub(super) guarded: bool,
    pub(super) port: Option<u16>,
    pub(super) mode: Option<Mode>,
    pub(super) balance: Option<&'static str>,
    pub(super) enabled: Option<bool>,
}

impl PortLabels {
    /// What the port's hosts and paths ask of a request; nothing where there are none.
    pub(super) fn matches(&self) -> Vec<RouteMatch> {
        if self.unusable || (self.vhosts.is_empty() && self.paths.is_empty()) {
            return Vec::new();
        }
        super::matches_of(&self.vhosts, &self.paths)
    }
}

impl AppLabels {
    pub(super) fn parse(app: &App, problems: &mut Vec<Problem>) -> Self {
        let mut labels = Self::default();
        for (name, value) in &app.labels {
            let Some(rest) = name.strip_prefix("HAPROXY_") else { continue };
            labels.any = true;
            if rest == "GROUP" {
                labels.groups = list(value);
                continue;
            }
            let indexed =
                rest.split_once('_').and_then(|(index, word)| Some((index.parse::<usize>().ok()?, word)));
            let Some((index, word)) = indexed else {
                problems.push(Problem::of(
                    &app.id,
                    ProblemKind::Label,
                    format!("label {name} is not understood"),
                    "labels of a port are HAPROXY_{n}_… with the index of the port; it is left out",
                ));
                continue;
            };
            let port = labels.ports.entry(index).or_default();
            if let Err(expected) = port.read(word, value) {
                problems.push(Problem::of(
                    &app.id,
                    ProblemKind::Label,
                    format!("label {name} = {value:?}: {expected}"),
                    "what cannot be used is left out, everything else of the app is served: correct it",
                ));
            }
        }
        labels
    }

    pub(super) fn port(&self, index: usize) -> &PortLabels {
        self.ports.get(&index).unwrap_or(&self.none)
    }

    /// Labels for a port that the app does not have.
    pub(super) fn check_indexes(&self, app: &App, problems: &mut Vec<Problem>) {
        for index in self.ports.keys().filter(|index| **index >= app.ports.len()) {
            problems.push(Problem::of(
                &app.id,
                ProblemKind::Label,
                format!("labels HAPROXY_{index}_… are for a port that the app does not have"),
                format!("the app declares {} port(s), counted from 0", app.ports.len()),
            ));
        }
    }
}

impl PortLabels {
    fn read(&mut self, word: &str, value: &str) -> Result<(), String> {
        match word {
            "GROUP" => self.groups = Some(list(value)),
            "VHOST" => {
                let items = value.split(',').filter(|item| !item.trim().is_empty());
                let (hosts, errors) = each(items, criterion::host);
                self.routed = true;
                self.unusable |= hosts.is_empty();
                self.vhosts = hosts;
                return errors;
            }
            "PATH" => {
                let (paths, errors) = each(value.split_whitespace(), criterion::path);
                self.routed = true;
                self.unusable |= paths.is_empty();
                self.paths = paths;
                return errors;
            }
            "PORT" => {
                let port = value.trim().parse().ok().filter(|port| *port > 0);
                self.port = Some(port.ok_or("expected a port from 1 to 65535")?);
            }
            "MODE" => {
                self.mode = Some(match value.trim().to_ascii_lowercase().as_str() {
                    "http" => Mode::Http,
                    "tcp" => Mode::Tcp,
                    _ => return Err("expected http or tcp".to_owned()),
                });
            }
            "BALANCE" => {
                let name = value.trim().to_ascii_lowercase();
                let known = BALANCE.iter().find(|known| **known == name);
                self.balance = Some(known.ok_or_else(|| format!("expected one of {}", BALANCE.join(", ")))?);
            }
            "ENABLED" => self.enabled = Some(is_true(value)),
            guard if GUARDS.contains(&guard) => {
                self.guarded = true;
                return Err(
                    "it guards the port, and is not understood yet: the port is not served at all".to_owned()
                );
            }
            _ => return Err(format!("this label is not understood; known are {}", KNOWN.join(", "))),
        }
        Ok(())
    }
}

/// marathon-lb's booleans: true, t, yes, y in any case; all else is false.
fn is_true(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "true" | "t" | "yes" | "y")
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The values that can be used, and what is wrong with the others.
fn each<'a>(
    values: impl Iterator<Item = &'a str>,
    parse: impl Fn(&str) -> Result<String, String>,
) -> (Vec<String>, Result<(), String>) {
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    for value in values {
        match parse(value) {
            Ok(value) => good.push(value),
            Err(error) => errors.push(error),
        }
    }
    (good, if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) })
}
