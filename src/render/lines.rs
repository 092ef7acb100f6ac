//! Routes that no map can lead: those that ask for more than a host and a path are lines of the configuration, each at the
//! place in the order of look-up where it belongs (`templates/routes.cfg` has the order).

use std::cmp::Reverse;

use serde::Serialize;

use super::maps::{MapName, Maps, key};
use crate::model::route::EXACT;
use crate::model::rule::HeaderCriterion;
use crate::model::rule::acl::quoted;
use crate::model::{Criterion, Line, RouteMatch, Service};

/// Patterns on one line; HAProxy takes 64 words.
const PATTERNS: usize = 40;

/// The lines by where they are looked up, each group in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Those of rules with an order, ascending.
    pub ordered: Vec<LineRoute>,
    /// An exact host and a path, the longest first.
    pub host_path: Vec<LineRoute>,
    /// An exact host.
    pub host: Vec<LineRoute>,
    /// A wildcard and a path, the longest first.
    pub wildcard_path: Vec<LineRoute>,
    /// A wildcard.
    pub wildcard: Vec<LineRoute>,
    /// A path, the longest first.
    pub path: Vec<LineRoute>,
    /// Neither host nor path.
    pub any: Vec<LineRoute>,
    /// Free text, by app id.
    pub text: Vec<LineRoute>,
    /// Whether there is any but free text: then it has to be known what somebody said about the order of map entries.
    pub need_ranks: bool,
}

/// A route that is a line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineRoute {
    /// Whose it is.
    pub app: String,
    /// The backend it leads to.
    pub backend: String,
    /// The order of its rule, as text.
    pub order: Option<String>,
    /// What has to hold.
    pub criteria: Vec<NamedCriterion>,
    /// What must not: a map entry with a longer path comes before it. All of one name, of which one suffices.
    pub except: Vec<NamedCriterion>,
}

/// One `acl` of HAProxy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedCriterion {
    /// Its name.
    pub name: String,
    /// The criterion, each word quoted.
    pub text: String,
}

impl Lines {
    /// The lines of services; `maps` are all entries, of which some come before a line.
    pub fn of<'a>(services: impl Iterator<Item = &'a Service>, maps: &Maps) -> Self {
        let mut lines = Self::default();
        let mut typed: Vec<(&Line, LineRoute)> = Vec::new();
        let mut ordered: Vec<(i64, bool, Specific, LineRoute)> = Vec::new();
        for service in services {
            let routes = service.routes.iter().filter(|route| route.matches.is_line());
            for (index, route) in routes.enumerate() {
                let name = name(&service.backend.name, index);
                let line_route = |criteria: Vec<String>| LineRoute {
                    app: service.id.app.to_string(),
                    backend: service.backend.name.clone(),
                    order: route.order.map(|order| order.to_string()),
                    criteria: named(&name, criteria),
                    except: Vec::new(),
                };
                match (&route.matches, route.order) {
                    (RouteMatch::Acl(text), None) => lines.text.push(line_route(vec![text.clone()])),
                    (RouteMatch::Acl(text), Some(order)) => {
                        ordered.push((order, true, Specific::default(), line_route(vec![text.clone()])));
                    }
                    (RouteMatch::Line(line), Some(order)) => {
                        ordered.push((order, false, specific(line), line_route(criteria(line))));
                    }
                    (RouteMatch::Line(line), None) => {
                        let except = except(&name, line, maps);
                        typed.push((line, LineRoute { except, ..line_route(criteria(line)) }));
                    }
                    _ => {}
                }
            }
        }
        // Stable: among equals the lower app id comes first.
        ordered.sort_by_key(|(order, is_text, specific, _)| (*order, *is_text, *specific));
        lines.ordered = ordered.into_iter().map(|(.., route)| route).collect();
        typed.sort_by_key(|(line, _)| specific(line));
        for (line, route) in typed {
            let has_path = !line.path.is_empty();
            let place = match (line.host.as_deref().map(|host| host.starts_with("*.")), has_path) {
                (Some(false), true) => &mut lines.host_path,
                (Some(false), false) => &mut lines.host,
                (Some(true), true) => &mut lines.wildcard_path,
                (Some(true), false) => &mut lines.wildcard,
                (None, true) => &mut lines.path,
                (None, false) => &mut lines.any,
            };
            place.push(route);
        }
        lines.need_ranks = lines.all().count() > lines.text.len();
        lines
    }

    /// All of them, in no order that matters.
    pub fn all(&self) -> impl Iterator<Item = &LineRoute> {
        let groups = [
            &self.ordered,
            &self.host_path,
            &self.host,
            &self.wildcard_path,
            &self.wildcard,
            &self.path,
            &self.any,
            &self.text,
        ];
        groups.into_iter().flatten()
    }
}

/// The name of the first ACL of a line: the so-manieth of its backend. No backend's name holds two `_` in a row: `/a/0` and
/// `/a` never have an ACL in common.
#[must_use]
pub fn name(backend: &str, index: usize) -> String {
    format!("rule_{backend}__{index}")
}

/// The most specific first: the kind of host, a whole path, the longer path, then who asks for more.
type Specific = (u8, Reverse<bool>, Reverse<usize>, Reverse<usize>);

fn specific(line: &Line) -> Specific {
    let host = match line.host.as_deref() {
        Some(host) if !host.starts_with("*.") => 0,
        Some(_) => 1,
        None => 2,
    };
    (host, Reverse(line.exact), Reverse(line.path.len()), Reverse(line.criteria.len()))
}

/// The keys of map entries that are looked up before a line without an order begin with this: a map entry below it that comes
/// or goes changes the line. `None` where the line is looked up behind all of them, or before all.
#[must_use]
pub fn guarded_keys(matches: &RouteMatch) -> Option<String> {
    match matches {
        RouteMatch::Line(line) if !line.path.is_empty() && !line.exact => {
            Some(key(line.host.as_deref(), &line.path))
        }
        _ => None,
    }
}

/// Entries with a longer path at the same host, by what they ask of the path.
fn except(name: &str, line: &Line, maps: &Maps) -> Vec<NamedCriterion> {
    if line.path.is_empty() || line.exact {
        return Vec::new();
    }
    let host = line.host.as_deref().unwrap_or_default();
    let mut except = Vec::new();
    for (map, variable) in [(MapName::Paths, "txn.path"), (MapName::PathsAnyCase, "txn.path_i")] {
        let start = match map {
            MapName::PathsAnyCase => key(line.host.as_deref(), &line.path.to_ascii_lowercase()),
            _ => key(line.host.as_deref(), &line.path),
        };
        let keys = maps.keys_from(map, &start).filter(|key| **key != *start);
        let (whole, prefixes): (Vec<&str>, Vec<&str>) =
            keys.map(|key| &key[host.len()..]).partition(|key| key.ends_with(EXACT));
        for (keys, how) in [(whole, "str"), (prefixes, "beg")] {
            for keys in keys.chunks(PATTERNS) {
                let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
                let text = format!("var({variable}) -m {how} -- {}", keys.join(" "));
                except.push(NamedCriterion { name: format!("{name}_but"), text });
            }
        }
    }
    except
}

fn named(name: &str, criteria: Vec<String>) -> Vec<NamedCriterion> {
    let name = |index| if index == 0 { name.to_owned() } else { format!("{name}_{index}") };
    criteria.into_iter().enumerate().map(|(index, text)| NamedCriterion { name: name(index), text }).collect()
}

/// Everything that a line asks for, a criterion each; the variables are set at the head of the look-up.
fn criteria(line: &Line) -> Vec<String> {
    let mut criteria = Vec::new();
    if let Some(host) = line.host.as_deref() {
        criteria.push(match host.strip_prefix("*.") {
            Some(parent) => format!("var(txn.parent) -m str -- {}", quoted(parent)),
            None => format!("var(txn.host) -m str -- {}", quoted(host)),
        });
    }
    let path = if line.exact { format!("{}{EXACT}", line.path) } else { line.path.clone() };
    if line.exact {
        criteria.push(format!("var(txn.path) -m str -- {}", quoted(&path)));
    } else if !path.is_empty() {
        criteria.push(format!("var(txn.path) -m beg -- {}", quoted(&key(None, &path))));
    }
    criteria.extend(line.criteria.iter().map(criterion));
    criteria
}

/// A criterion that is neither host nor path. `--` ends the flags: no value is ever taken for one.
fn criterion(criterion: &Criterion) -> String {
    match criterion {
        Criterion::Header(HeaderCriterion { name, value: None }) => format!("req.hdr({name}) -m found"),
        // Values are parts between commas, unless all of the line is asked for.
        Criterion::Header(HeaderCriterion { name, value: Some(value) }) => {
            let fetch = if value.contains(',') { "req.fhdr" } else { "req.hdr" };
            format!("{fetch}({name}) -i -- {}", quoted(value))
        }
        Criterion::Method(method) => format!("method -- {}", quoted(method)),
        Criterion::Source(network) => format!("src -- {}", quoted(network)),
        other => other.acl(),
    }
}
