//! Raw text of marathon-lb: what its template labels, and its templates from files and the environment, say of a service.
//! Whatever a default of its templates did, Causeway does by maps or writes itself; a text that says just that is no raw
//! text. What else a text says goes to the section it is for, once each line is proven to stay there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::{LabelsConfig, RawLabels};
use crate::model::{App, AppId, Mode, Problem, ProblemKind, Service};

use super::labels::PortLabels;
use super::policy;
use format::Values;
use line::Line;
use words::Section;

pub use examples::examples;

mod backend;
mod condition;
mod examples;
mod format;
pub mod head;
mod line;
mod server;
mod shared;
pub(super) mod table;
#[cfg(test)]
mod tests;
mod words;

/// Whether this is the name of one of marathon-lb's templates, with or without `HAPROXY_`.
#[must_use]
pub fn is_template(name: &str) -> bool {
    let name = name.trim_start_matches("HAPROXY_");
    name == head::OPTIONS || table::find(name).is_some()
}

/// The names of marathon-lb's templates, without `HAPROXY_`.
pub fn template_names() -> impl Iterator<Item = &'static str> {
    table::ALL.iter().map(|template| template.name)
}

/// What the operator says of raw text.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    allowed: RawLabels,
    /// The operator's templates, by their names without `HAPROXY_`.
    templates: Arc<BTreeMap<&'static str, String>>,
}

impl From<&LabelsConfig> for Terms {
    fn from(labels: &LabelsConfig) -> Self {
        let known = |(name, text): (&String, &String)| {
            let template = table::find(name.trim_start_matches("HAPROXY_"))?;
            (!text.trim().is_empty() || template.of_port).then(|| (template.name, text.clone()))
        };
        let templates = labels.templates.iter().filter_map(known).collect();
        Self { allowed: labels.raw.clone(), templates: Arc::new(templates) }
    }
}

impl Terms {
    fn allows(&self, app: &AppId) -> bool {
        match &self.allowed {
            RawLabels::Deny => false,
            RawLabels::Allow => true,
            RawLabels::Only(patterns) => patterns.iter().any(|pattern| policy::fits(pattern, app)),
        }
    }
}

/// One port of an app, as far as its labels can be used.
struct Port<'a> {
    app: &'a App,
    index: usize,
    labels: &'a PortLabels,
    tls_dir: Option<&'a Path>,
    /// The same as the operator has it.
    tls_files: Option<&'a Path>,
    /// Every host may be this app's.
    any_host: bool,
}

/// A text that stands for one of marathon-lb's templates.
#[derive(Debug)]
struct Text {
    /// Which label or template it is, for people.
    source: String,
    /// It is the operator's.
    trusted: bool,
    /// The lists of users that it may ask for.
    users: String,
    lines: Vec<Line>,
}

impl Text {
    /// What is wrong with a line.
    fn refused(&self, line: &Line, why: &str) -> String {
        format!("{}, {}", self.source, line.refused(why))
    }

    /// A line of a section, as HAProxy is to read it.
    fn keep(&self, section: Section, line: &Line) -> Result<String, String> {
        self.prove(line)?;
        words::check(section, line).map_err(|why| format!("{}, {why}", self.source))?;
        Ok(line.text())
    }

    /// Proves a line harmless; those of the operator may read what they like.
    fn prove(&self, line: &Line) -> Result<(), String> {
        if self.trusted && !line.first().starts_with('.') {
            return Ok(());
        }
        line::prove_harmless(line).map_err(|why| format!("{}, {why}", self.source))?;
        let other_users = |word: &String| {
            word.match_indices("http_auth").any(|(at, _)| {
                let (_, list) = word[at..].split_once('(').unwrap_or_default();
                list.split([')', ',']).next() != Some(self.users.as_str())
            })
        };
        match line.words.iter().any(other_users) {
            true => {
                Err(self.refused(line, "asks for the users of another list than its own, user_{backend}"))
            }
            false => Ok(()),
        }
    }
}

/// The texts of a unit, by the name of their template.
struct Texts<'a> {
    texts: BTreeMap<&'static str, (&'a str, bool)>,
    index: usize,
    backend: String,
}

impl Texts<'_> {
    /// The lines of a text; `None` where there is none, which stands for the default.
    fn get(&self, name: &str, values: &Values) -> Result<Option<Text>, String> {
        let Some((text, trusted)) = self.texts.get(name).copied() else { return Ok(None) };
        let source = source(name, self.index, trusted);
        let mut values = values.clone();
        values.insert("backend", self.backend.clone());
        let filled = match table::find(name).is_some_and(|template| template.formatted) {
            true => format::format(text, &values).map_err(|why| format!("{source}: {why}"))?,
            false => text.to_owned(),
        };
        let lines = line::lines(&filled).map_err(|why| format!("{source}, {why}"))?;
        Ok(Some(Text { source, trusted, users: format!("user_{}", self.backend), lines }))
    }
}

fn source(name: &str, index: usize, trusted: bool) -> String {
    match trusted {
        true => format!("template HAPROXY_{name}"),
        false => format!("label HAPROXY_{index}_{name}"),
    }
}

/// Templates that are read together, since one decides what another means.
struct Unit {
    templates: &'static [&'static str],
    /// Whether marathon-lb would use any of them for this service.
    in_use: fn(&Port<'_>, &Service) -> bool,
    /// Does what the texts say, or says why not.
    read: fn(&Port<'_>, &Texts<'_>, &mut Service) -> Result<(), String>,
    /// They keep somebody out: what cannot be used lets nobody in.
    guards: bool,
}

const fn unit(
    templates: &'static [&'static str],
    in_use: fn(&Port<'_>, &Service) -> bool,
    read: fn(&Port<'_>, &Texts<'_>, &mut Service) -> Result<(), String>,
) -> Unit {
    Unit { templates, in_use, read, guards: false }
}

/// In the order in which their lines stand in a backend: what was done by a frontend comes first.
const UNITS: &[Unit] = &[
    unit(shared::ROUTING, shared::is_routed, shared::routing),
    unit(&["HTTP_FRONTEND_APPID_ACL"], |_, service| service.app_id_route, shared::app_id),
    unit(&["USERLIST_HEAD"], |_, service| service.backend.extras.login.is_some(), server::users),
    unit(&["FRONTEND_HEAD", "FRONTEND_BACKEND_GLUE"], |_, service| service.port.is_some(), server::frontend),
    unit(&["BACKEND_HEAD"], |_, _| true, backend::head),
    unit(&["BACKEND_HSTS_OPTIONS"], |_, service| service.marks.hsts, backend::hsts),
    unit(&["BACKEND_HTTP_OPTIONS"], |_, service| is_http(service), backend::http_options),
    unit(
        &["HTTP_BACKEND_PROXYPASS_GLUE"],
        |_, service| service.backend.extras.strip.is_some(),
        backend::proxypass,
    ),
    unit(
        &["HTTP_BACKEND_REVPROXY_GLUE"],
        |_, service| service.backend.extras.location.is_some(),
        backend::revproxy,
    ),
    unit(
        &["HTTP_BACKEND_REDIR"],
        |port, service| is_http(service) && port.labels.root.is_some(),
        backend::redirect_root,
    ),
    Unit {
        templates: &[
            "HTTP_BACKEND_NETWORK_ALLOWED_ACL",
            "TCP_BACKEND_NETWORK_ALLOWED_ACL",
            "HTTP_BACKEND_ACL_ALLOW_DENY",
            "TCP_BACKEND_ACL_ALLOW_DENY",
        ],
        in_use: |_, service| !service.backend.extras.allowed.is_empty(),
        read: backend::networks,
        guards: true,
    },
    unit(&["BACKEND_STICKY_OPTIONS"], |_, service| service.backend.extras.sticky, backend::sticky),
    unit(
        &[
            "BACKEND_HTTP_HEALTHCHECK_OPTIONS",
            "BACKEND_TCP_HEALTHCHECK_OPTIONS",
            "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
            "BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS",
        ],
        |port, _| port.has_check(),
        server::checks,
    ),
    unit(&["BACKEND_SERVER_OPTIONS"], |_, _| true, server::options),
    unit(
        &[
            "MAP_HTTP_FRONTEND_ACL",
            "MAP_HTTP_FRONTEND_ACL_ONLY",
            "MAP_HTTP_FRONTEND_APPID_ACL",
            "MAP_HTTPS_FRONTEND_ACL",
        ],
        |_, _| false,
        |_, _, _| Ok(()),
    ),
];

fn is_http(service: &Service) -> bool {
    service.backend.mode == Mode::Http
}

impl Port<'_> {
    fn has_check(&self) -> bool {
        super::health::of(self.app, self.index, self.labels, &mut Vec::new()).is_some()
    }

    /// The lines of a backend that a text adds, and words that it gives each server.
    fn add_lines<'a>(
        &self,
        text: &Text,
        lines: impl IntoIterator<Item = &'a Line>,
        service: &mut Service,
    ) -> Result<(), String> {
        for line in lines {
            let raw = &mut service.backend.extras.raw;
            if line.first() == "default-server" {
                raw.server.push_str(&self.server_words(text, line, line.rest(1))?);
            } else {
                raw.backend.push(text.keep(Section::Backend, line)?);
            }
        }
        Ok(())
    }

    /// The path of a file inside `tls.dir`, as HAProxy reads it.
    fn file(&self, name: &str) -> Result<String, String> {
        in_dir(&super::labels::named(name, self.tls_files), self.tls_dir)
    }

    fn server_words(&self, text: &Text, line: &Line, words: &[String]) -> Result<String, String> {
        let file = |name: &str| self.file(name);
        words::server(words, line, file).map_err(|why| format!("{}, {why}", text.source))
    }
}

/// The path of a file inside `tls.dir`, by its name or by that path.
fn in_dir(name: &str, dir: Option<&Path>) -> Result<String, String> {
    let dir = dir.ok_or("tls.dir is not set, so there is no file to be had")?.display().to_string();
    let inside = name.strip_prefix(&dir).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
    Ok(format!("{dir}/{}", super::labels::file_name(inside)?))
}

/// Does what the texts of a port say to its service. What cannot be used is told, and the default stands.
pub(super) fn apply(
    app: &App,
    labels: &PortLabels,
    terms: &super::Terms,
    service: &mut Service,
    problems: &mut Vec<Problem>,
) {
    if labels.templates.is_empty() && terms.raw.templates.is_empty() {
        return;
    }
    let index = service.id.port_index;
    let any_host = terms.policy.allows_any_host(&app.id);
    let port = Port {
        app,
        index,
        labels,
        tls_dir: terms.tls_dir.as_deref(),
        tls_files: terms.tls_files.as_deref(),
        any_host,
    };
    let allowed = terms.raw.allows(&app.id);
    let mut tell = |message: String, advice: &str| {
        problems.push(Problem::of(&app.id, ProblemKind::Label, message, advice));
    };
    for unit in UNITS {
        let of_label = |name: &&'static str| Some((*name, (labels.templates.get(name)?.as_str(), false)));
        let own: BTreeMap<_, _> = unit.templates.iter().filter_map(of_label).collect();
        let of_all = |name: &&'static str| Some((*name, (terms.raw.templates.get(name)?.as_str(), true)));
        let global: BTreeMap<_, _> = unit.templates.iter().filter_map(of_all).collect();
        if own.is_empty() && global.is_empty() {
            continue;
        }
        let in_use = (unit.in_use)(&port, service);
        let read = |texts: BTreeMap<&'static str, (&str, bool)>, service: &mut Service| {
            let mut trial = service.clone();
            let texts = Texts { texts, index, backend: service.backend.name.clone() };
            (unit.read)(&port, &texts, &mut trial)?;
            let changed = trial != *service;
            *service = trial;
            Ok::<_, String>(changed)
        };
        let mut both = global.clone();
        both.extend(own.iter().map(|(name, text)| (*name, *text)));
        if !own.is_empty() && !allowed {
            // Only what it would change is raw text.
            if !matches!(read(both, &mut service.clone()), Ok(false)) {
                let names: Vec<String> = own.keys().map(|name| format!("HAPROXY_{index}_{name}")).collect();
                tell(
                    format!(
                        "label {} holds raw text of HAProxy's configuration, which is not allowed here",
                        names.join(", ")
                    ),
                    "it is left out, everything else of the app is served; labels.raw says which apps may have raw text, and docs/labels.md which label says the same",
                );
            }
            if in_use && let Err(why) = read(global, service) {
                tell(why, LEFT_OUT);
            }
            continue;
        }
        if unit.templates.first().is_some_and(|name| name.starts_with("MAP_")) {
            for name in own.keys() {
                tell(
                    format!(
                        "label HAPROXY_{index}_{name} has no effect, nor has it in marathon-lb: the maps are Causeway's own"
                    ),
                    "take it away",
                );
            }
            continue;
        }
        if !in_use {
            continue;
        }
        if let Err(why) = read(both, service) {
            if unit.guards {
                service.backend.extras.closed = true;
                tell(why, "nobody is let in until it is corrected: it was to keep somebody out");
                continue;
            }
            tell(why, LEFT_OUT);
            if !own.is_empty() && !global.is_empty() {
                let _told_at_the_start = read(global, service);
            }
        }
    }
}

const LEFT_OUT: &str = "the text is left out and the default stands, everything else of the app is served: correct it (docs/raw.md)";
