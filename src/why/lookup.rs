//! The look-up of the shared routing, as `templates/routes.cfg` has it, worked out from what runs.

use std::collections::HashMap;
use std::net::IpAddr;

use http::header;
use ipnet::IpNet;

use super::{Asked, Candidate, Fate, Known, Step, StepKind};
use crate::model::route::EXACT;
use crate::model::{Criterion, Line, Route, RouteMatch, Service};
use crate::render::lines::guarded_keys;
use crate::render::maps::{MapName, entry_of};
use crate::render::{Block, LineRoute, Lines};
use crate::wording::counted;

/// Lines that do not hold, and claims that were not won, of which each is named; the rest is a number.
const NAMED: usize = 12;

/// What a look-up came to.
pub(super) struct Found {
    pub(super) step: Step,
    pub(super) backend: Option<String>,
    pub(super) differs: Option<String>,
}

/// What the routing looks at in a request: its variables.
pub(super) struct Request<'a> {
    asked: &'a Asked,
    /// `txn.host`: in lower case, without the port.
    pub(super) host: String,
    /// `txn.parent`: the host without its first label.
    parent: String,
    /// `txn.path`: with what ends the keys of whole paths.
    path: String,
    /// `txn.path_i`.
    path_i: String,
}

/// The host that is looked up.
pub(super) fn host(asked: &Asked) -> String {
    asked.header(&header::HOST).unwrap_or_default().split(':').next().unwrap_or_default().to_ascii_lowercase()
}

impl<'a> Request<'a> {
    pub(super) fn of(asked: &'a Asked) -> Self {
        let host = host(asked);
        let parent = host.split_once('.').map(|(_, parent)| parent.to_owned()).unwrap_or_default();
        let path = format!("{}{EXACT}", asked.target.path());
        let path_i = path.to_ascii_lowercase();
        Self { asked, host, parent, path, path_i }
    }

    /// Whether a route fits, whatever comes before it; `None` where only HAProxy can tell.
    pub(super) fn fits(&self, matches: &RouteMatch) -> Option<bool> {
        match matches {
            RouteMatch::Acl(_) => None,
            RouteMatch::Default(path) => {
                Some(self.path_i.starts_with(&format!("{}/", path.to_ascii_lowercase())))
            }
            RouteMatch::HostPath { host, path, any_case } => {
                let asked = if *any_case { &self.path_i } else { &self.path };
                Some(
                    self.is_host(host.as_deref())
                        && (path.is_empty() || asked.starts_with(&format!("{path}/"))),
                )
            }
            RouteMatch::Exact { host, path } => {
                Some(self.is_host(host.as_deref()) && self.path == format!("{path}{EXACT}"))
            }
            RouteMatch::Line(line) => Some(self.fits_line(line)),
        }
    }

    fn fits_line(&self, line: &Line) -> bool {
        let is_path = match line.exact {
            true => self.path == format!("{}{EXACT}", line.path),
            false => line.path.is_empty() || self.path.starts_with(&format!("{}/", line.path)),
        };
        is_path && self.is_host(line.host.as_deref()) && line.criteria.iter().all(|each| self.holds(each))
    }

    fn is_host(&self, host: Option<&str>) -> bool {
        match host {
            None => true,
            Some(host) => match host.strip_prefix("*.") {
                Some(parent) => self.parent == parent,
                None => self.host == host,
            },
        }
    }

    fn holds(&self, criterion: &Criterion) -> bool {
        match criterion {
            Criterion::Host(host) => self.is_host(Some(host)),
            Criterion::Path(path) => self.path.starts_with(&format!("{path}/")),
            Criterion::PathExact(path) => self.path == format!("{path}{EXACT}"),
            Criterion::Method(method) => self.asked.method.as_str() == method,
            Criterion::Source(network) => is_in(self.asked.from, network),
            Criterion::Header(wanted) => {
                let values = self.asked.headers.get_all(wanted.name.as_str());
                let mut values = values.iter().filter_map(|value| value.to_str().ok());
                let Some(text) = &wanted.value else { return values.next().is_some() };
                // Values are parts between commas, unless all of the line is asked for.
                values.any(|value| match text.contains(',') {
                    true => value.trim().eq_ignore_ascii_case(text),
                    false => value.split(',').any(|part| part.trim().eq_ignore_ascii_case(text)),
                })
            }
        }
    }
}

/// Whether an address is in a network, or is the address.
pub(super) fn is_in(address: IpAddr, network: &str) -> bool {
    network.parse::<IpNet>().is_ok_and(|network| network.contains(&address))
        || network.parse::<IpAddr>().is_ok_and(|one| one == address)
}

/// A look at the maps or at lines, in the order of the routing.
struct Looks<'a> {
    known: &'a Known<'a>,
    request: Request<'a>,
    /// The services behind lines, and their routes, by the name of the line.
    behind: HashMap<String, (&'a Service, &'a Route)>,
    by_backend: HashMap<&'a str, &'a Block>,
    rank: Option<i64>,
    need_ranks: bool,
    candidates: Vec<Candidate>,
    won: Option<usize>,
    silent_lines: usize,
}

/// Looks a request up.
pub(super) fn look_up(known: &Known<'_>, asked: &Asked) -> Found {
    let services = || known.text.blocks.values().map(|block| block.service.as_ref());
    let lines = Lines::of(services(), &known.text.maps);
    let by_backend = known
        .text
        .blocks
        .values()
        .map(|block| (block.service.backend.name.as_str(), block.as_ref()))
        .collect();
    let mut behind = HashMap::new();
    for service in services() {
        let routes = service.routes.iter().filter(|route| route.matches.is_line());
        for (index, route) in routes.enumerate() {
            behind.insert(crate::render::lines::name(&service.backend.name, index), (service, route));
        }
    }
    let request = Request::of(asked);
    let mut looks = Looks {
        known,
        behind,
        by_backend,
        rank: None,
        need_ranks: lines.need_ranks,
        candidates: Vec::new(),
        won: None,
        silent_lines: 0,
        request,
    };
    looks.find_rank();
    looks.all(&lines);
    looks.settle()
}

impl<'a> Looks<'a> {
    fn all(&mut self, lines: &Lines) {
        let Request { host, parent, path, path_i, .. } = &self.request;
        let (host, parent) = (host.clone(), parent.clone());
        let (host_path, host_path_i) = (format!("{host}{path}"), format!("{host}{path_i}"));
        let (below, below_i) = (format!("*.{parent}{path}"), format!("*.{parent}{path_i}"));
        let (any, any_i) = (path.clone(), path_i.clone());
        self.lines("a rule with an order", &lines.ordered);
        self.lines("a host, a path and more", &lines.host_path);
        self.longest("host and path", MapName::Paths, &host_path, host.len());
        self.longest("host and path in any case", MapName::PathsAnyCase, &host_path_i, host.len());
        self.lines("a host and more", &lines.host);
        self.exact("host", MapName::Hosts, &host);
        self.lines("a wildcard, a path and more", &lines.wildcard_path);
        self.longest("wildcard and path", MapName::Paths, &below, parent.len() + 2);
        self.longest("wildcard and path in any case", MapName::PathsAnyCase, &below_i, parent.len() + 2);
        self.lines("a wildcard and more", &lines.wildcard);
        self.exact("wildcard", MapName::Wildcards, &parent);
        self.lines("a path and more", &lines.path);
        self.longest("path of any host", MapName::Paths, &any, 0);
        self.longest("path of any host, in any case", MapName::PathsAnyCase, &any_i, 0);
        self.lines("neither host nor path", &lines.any);
        self.exact("every host", MapName::Hosts, "*");
        self.lines("free text", &lines.text);
        self.longest("the app's id", MapName::Defaults, &any_i, 0);
    }

    /// What somebody said about the order of the map entry that the request has.
    fn find_rank(&mut self) {
        let Request { host, parent, path, .. } = &self.request;
        for asked in [format!("{host}{path}"), format!("*.{parent}{path}"), path.clone()] {
            if let Some((_, value)) = longest(self.known, MapName::Ranks, &asked) {
                self.rank = value.split('/').next().and_then(|rank| rank.parse().ok());
                return;
            }
        }
    }

    fn exact(&mut self, what: &str, map: MapName, key: &str) {
        let found = self.known.text.maps.get(map, key).map(|backend| (key.to_owned(), backend.clone()));
        self.entry(what, map, key, found);
    }

    /// The longest entry that `asked` begins with; of `asked`, the first `host` bytes are the host.
    fn longest(&mut self, what: &str, map: MapName, asked: &str, host: usize) {
        let found = longest(self.known, map, asked)
            .filter(|(key, _)| key.len() > host)
            .map(|(key, backend)| (key.to_owned(), backend.to_owned()));
        let shown = asked.strip_suffix(EXACT).unwrap_or(asked);
        self.entry(what, map, shown, found);
    }

    fn entry(&mut self, what: &str, map: MapName, asked: &str, found: Option<(String, String)>) {
        let place = map.file().to_owned();
        let Some((key, backend)) = found else {
            // That there is nothing matters only as long as nothing was found.
            if self.won.is_none() && !asked.is_empty() && self.known.text.maps.entries(map).next().is_some() {
                self.candidates.push(Candidate {
                    what: what.to_owned(),
                    key: asked.to_owned(),
                    place,
                    app: None,
                    port_index: None,
                    backend: None,
                    from: None,
                    fate: Fate::NoMatch,
                    why: Some("no entry".to_owned()),
                });
            }
            return;
        };
        let service = self.by_backend.get(backend.as_str()).map(|block| block.service.as_ref());
        let entry = Some((map, key.clone()));
        let route =
            service.and_then(|service| service.routes.iter().find(|route| entry_of(&route.matches) == entry));
        self.push(Candidate {
            what: what.to_owned(),
            key,
            place,
            app: service.map(|service| service.id.app.to_string()),
            port_index: service.map(|service| service.id.port_index),
            backend: Some(backend),
            from: route.map(from),
            fate: Fate::Lost,
            why: None,
        });
    }

    fn lines(&mut self, what: &str, lines: &[LineRoute]) {
        for line in lines {
            let Some(name) = line.criteria.first().map(|criterion| criterion.name.as_str()) else { continue };
            let Some((service, route)) = self.behind.get(name).copied() else { continue };
            let candidate = Candidate {
                what: format!("a line: {what}"),
                key: shown(&route.matches),
                place: format!("acl {name}"),
                app: Some(service.id.app.to_string()),
                port_index: Some(service.id.port_index),
                backend: Some(line.backend.clone()),
                from: Some(from(route)),
                fate: Fate::Lost,
                why: None,
            };
            match self.holds(name, route) {
                Some(true) => match self.comes_after(line, route) {
                    Some(why) => self.candidates.push(Candidate { why: Some(why), ..candidate }),
                    None => self.push(candidate),
                },
                Some(false) => {
                    self.silent_lines += 1;
                    if self.silent_lines <= NAMED && self.won.is_none() {
                        let why = Some("it does not hold".to_owned());
                        self.candidates.push(Candidate { fate: Fate::NoMatch, why, ..candidate });
                    }
                }
                None => {
                    let why = Some("only HAProxy can tell whether it holds".to_owned());
                    self.candidates.push(Candidate { fate: Fate::Unknown, why, ..candidate });
                }
            }
        }
    }

    /// Whether a line holds: of free text, what HAProxy says.
    fn holds(&self, name: &str, route: &Route) -> Option<bool> {
        self.request.fits(&route.matches).or_else(|| {
            let verdict = self.known.verdict?;
            match verdict.status.as_u16() {
                200 => Some(verdict.lines.iter().any(|held| held == name)),
                404 => Some(false),
                _ => None,
            }
        })
    }

    /// Which map entry comes before a line that holds, if one does.
    fn comes_after(&self, line: &LineRoute, route: &Route) -> Option<String> {
        match (route.order, self.rank) {
            (Some(order), Some(rank)) if rank < order => {
                return Some(format!("a host and path of a rule with order {rank} comes before it"));
            }
            (None, Some(_)) if self.need_ranks && !matches!(route.matches, RouteMatch::Acl(_)) => {
                return Some("somebody gave a host and path an order, so that comes before it".to_owned());
            }
            _ => {}
        }
        if line.except.is_empty() || route.order.is_some() {
            return None;
        }
        let start = guarded_keys(&route.matches)?;
        let host = match route.matches.host() {
            Some(host) => host.to_owned(),
            None => String::new(),
        };
        let Request { path, path_i, .. } = &self.request;
        let longer =
            [(MapName::Paths, path), (MapName::PathsAnyCase, path_i)].into_iter().find_map(|(map, path)| {
                let asked = format!("{host}{path}");
                longest(self.known, map, &asked)
                    .filter(|(key, _)| key.len() > start.len())
                    .map(|(key, _)| key)
            });
        longer.map(|key| format!("{key} has a longer path"))
    }

    fn push(&mut self, candidate: Candidate) {
        if let Some(won) = self.won {
            let before = self.candidates[won].what.clone();
            let why = Some(format!("looked up after {before}"));
            self.candidates.push(Candidate { fate: Fate::Lost, why, ..candidate });
        } else {
            self.won = Some(self.candidates.len());
            self.candidates.push(Candidate { fate: Fate::Won, ..candidate });
        }
    }

    /// What HAProxy says counts.
    fn settle(mut self) -> Found {
        let computed = self.won.and_then(|won| self.candidates[won].backend.clone());
        let mut backend = computed.clone();
        let mut differs = None;
        if let Some(verdict) = self.known.verdict.filter(|verdict| verdict.backend != computed) {
            backend.clone_from(&verdict.backend);
            let is_free =
                |candidate: &Candidate| candidate.fate == Fate::Unknown && candidate.backend == backend;
            let by_text = backend.is_some().then(|| self.candidates.iter().position(is_free)).flatten();
            if by_text.is_none() {
                let name =
                    |backend: &Option<String>| backend.clone().unwrap_or_else(|| "no backend".to_owned());
                differs = Some(format!(
                    "HAProxy says {}, where its maps and lines were read as {}; HAProxy's word counts",
                    name(&backend),
                    name(&computed)
                ));
            }
            self.crown(by_text, backend.as_deref());
        }
        self.add_claims();
        let app = self.won.map(|won| &self.candidates[won]);
        let title = match (app, &backend) {
            (Some(Candidate { app: Some(app), what, key, .. }), _) => format!("{app}, by {what}: {key}"),
            (_, Some(backend)) => format!("HAProxy leads it to the backend {backend}"),
            (_, None) => format!("Nothing has {}{}", self.request.host, self.request.asked.target.path()),
        };
        let mut step = Step { candidates: self.candidates, ..Step::new(StepKind::Lookup, title) };
        if self.silent_lines > NAMED {
            let more = self.silent_lines - NAMED;
            step = step
                .detail(format!("More that do not hold: {} of the configuration.", counted(more, "line")));
        }
        Found { step, backend, differs }
    }

    /// Another candidate won than the one that was found.
    fn crown(&mut self, winner: Option<usize>, backend: Option<&str>) {
        let winner = winner.or_else(|| {
            let is_it = |candidate: &Candidate| candidate.backend.as_deref() == backend && backend.is_some();
            self.candidates.iter().position(is_it)
        });
        if let Some(before) = self.won {
            self.candidates[before].fate = Fate::Lost;
            self.candidates[before].why = Some("HAProxy goes by another".to_owned());
        }
        self.won = winner;
        if let Some(winner) = winner {
            self.candidates[winner].fate = Fate::Won;
            self.candidates[winner].why = Some("HAProxy says so".to_owned());
        }
    }

    /// Who asked for a route that fits, and did not get it.
    fn add_claims(&mut self) {
        let view = self.known.view;
        for service in view.services() {
            for lost in view.lost(&service.id) {
                let crate::view::Lost::Route(route) = lost else { continue };
                if self.request.fits(&route.matches) != Some(true) {
                    continue;
                }
                let why = match view.holder_of_route(&route.matches) {
                    Some(holder) => format!("{} has this route", super::name(holder)),
                    None => "another route comes before it".to_owned(),
                };
                self.candidates.push(Candidate {
                    what: "a claim that was not won".to_owned(),
                    key: shown(&route.matches),
                    place: String::new(),
                    app: Some(service.id.app.to_string()),
                    port_index: Some(service.id.port_index),
                    backend: None,
                    from: Some(from(route)),
                    fate: Fate::Lost,
                    why: Some(why),
                });
            }
        }
    }
}

/// A route without the word that says so.
fn shown(matches: &RouteMatch) -> String {
    let text = matches.to_string();
    text.strip_prefix("route ").map(str::to_owned).unwrap_or(text)
}

fn from(route: &Route) -> &'static str {
    if route.from_rule { "rule" } else { "label" }
}

/// The longest key of a map that a text begins with, as `map_beg` finds it.
fn longest<'a>(known: &'a Known<'_>, map: MapName, asked: &str) -> Option<(&'a str, &'a str)> {
    let ends = asked.char_indices().map(|(at, _)| at).skip(1).chain([asked.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.reverse();
    ends.into_iter().find_map(|end| {
        let key = &asked[..end];
        known.text.maps.entry(map, key)
    })
}
