//! marathon-lb's labels, typed when parsed. A value that cannot be used is the app's problem, and the default stands.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{Checks, PathEnd};
use crate::model::{App, Login, Mode, Problem, ProblemKind, RouteMatch};
use crate::wording::counted;

use super::{criterion, raw};

pub(crate) mod explained;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub(super) use values::{BindWord, address, balance, bind_options, file as file_name, named};

/// The labels of an app.
#[derive(Debug, Default)]
pub(super) struct AppLabels {
    /// True where the app has any label of this dialect.
    pub(super) any: bool,
    /// `HAPROXY_GROUP`.
    pub(super) groups: Vec<String>,
    /// When the deployment of this version began, as text that sorts by time.
    pub(super) started_at: Option<String>,
    /// Its deployment stops at this share of new tasks: both versions serve, and the one that was scaled later counts as the newer.
    pub(super) new_instances: Option<usize>,
    /// How many tasks this version is to have in the end.
    pub(super) target_instances: Option<usize>,
    ports: BTreeMap<usize, PortLabels>,
    none: PortLabels,
}

/// The labels of one port, `HAPROXY_{n}_…`.
#[derive(Debug, Default)]
pub(super) struct PortLabels {
    pub(super) groups: Option<Vec<String>>,
    pub(super) vhosts: Vec<String>,
    pub(super) paths: Vec<String>,
    /// Upper and lower case of the paths are the same.
    any_case: bool,
    /// A host or path is asked for, whether or not it can be used.
    pub(super) routed: bool,
    /// Only those that can be used count; none of them is not the same as none asked for.
    unusable: bool,
    /// A label keeps somebody out in a way that is not understood: nobody is let in, rather than everybody.
    pub(super) closed: bool,
    pub(super) port: Option<u16>,
    pub(super) mode: Option<Mode>,
    pub(super) balance: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) weight: Option<i32>,
    pub(super) to_https: bool,
    pub(super) hsts: bool,
    pub(super) root: Option<String>,
    pub(super) strip: Option<String>,
    pub(super) location: Option<String>,
    pub(super) sticky: bool,
    pub(super) login: Option<Login>,
    pub(super) allowed: Vec<String>,
    pub(super) protocol: Option<Speaks>,
    pub(super) checks: Option<Checks>,
    /// Where the service port is listened on, as HAProxy writes it.
    pub(super) address: Option<String>,
    pub(super) bind_options: Vec<BindWord>,
    /// The service port speaks TLS, or is not there.
    pub(super) tls: bool,
    pub(super) certificate: Option<String>,
    pub(super) health_index: Option<isize>,
    /// Raw text, by the name of the template that it stands for.
    pub(super) templates: BTreeMap<&'static str, String>,
}

/// What a label says that servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    H2,
    Https,
}

impl AppLabels {
    /// What the labels say; `dir` is `tls.dir`, where there is one and files matter.
    pub(super) fn parse(app: &App, dir: Option<&Path>, problems: &mut Vec<Problem>) -> Self {
        let mut labels = Self::default();
        for (name, value) in &app.labels {
            let Some(rest) = name.strip_prefix("HAPROXY_") else { continue };
            labels.any = true;
            let names_files = rest.ends_with("_SSL_CERT") || rest.ends_with("_BIND_OPTIONS");
            let named = names_files.then(|| named(value, dir));
            if let Err(wrong) = labels.read(rest, named.as_deref().unwrap_or(value)) {
                let (message, advice) = wrong.told(name, value);
                problems.push(Problem::of(&app.id, ProblemKind::Label, message, advice));
            }
        }
        labels
    }

    fn read(&mut self, rest: &str, value: &str) -> Result<(), Wrong> {
        let indexed =
            rest.split_once('_').and_then(|(index, word)| Some((index.parse::<usize>().ok()?, word)));
        let Some((index, word)) = indexed else {
            let label = table::OF_APP.iter().find(|label| label.name == rest);
            return match label {
                Some(label) => (label.read)(self, value).map_err(Wrong::Value),
                None if table::OF_TOOLS.contains(&rest) => Ok(()),
                None => Err(Wrong::Unknown),
            };
        };
        let port = self.ports.entry(index).or_default();
        match table::OF_PORT.iter().find(|label| label.name == word) {
            Some(label) => {
                let was_closed = std::mem::take(&mut port.closed);
                let read = (label.read)(port, value);
                let closes = port.closed;
                port.closed |= was_closed;
                read.map_err(if closes { Wrong::Guard } else { Wrong::Value })
            }
            None => match raw::table::find(word).filter(|template| template.of_port) {
                Some(template) => {
                    port.templates.insert(template.name, value.to_owned());
                    Ok(())
                }
                None => Err(Wrong::Unknown),
            },
        }
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
                format!("the app declares {}, counted from 0", counted(app.ports.len(), "port")),
            ));
        }
    }
}

/// What is wrong with a label; the text says what is expected.
enum Wrong {
    Value(String),
    /// The same, of one that keeps somebody out.
    Guard(String),
    Unknown,
}

impl Wrong {
    /// What is wrong, and what to do. A value that may hold a secret is not shown.
    fn told(&self, name: &str, value: &str) -> (String, String) {
        let shown = if name.ends_with("_AUTH") { "(not shown)".to_owned() } else { format!("{value:?}") };
        match self {
            Self::Value(expected) => (
                format!("label {name} = {shown}: {expected}"),
                "what cannot be used is left out, everything else of the app is served: correct it"
                    .to_owned(),
            ),
            Self::Guard(expected) => (
                format!("label {name} = {shown}: {expected}"),
                "nobody is let in, and answers are 503, until it is corrected: it was to keep somebody out"
                    .to_owned(),
            ),
            Self::Unknown => (
                format!("label {name} is not known"),
                match table::nearest(name) {
                    Some(nearest) => format!("it is left out; the nearest known one is {nearest}"),
                    None => "it is left out; docs/labels.md has those that are known".to_owned(),
                },
            ),
        }
    }
}

impl PortLabels {
    /// What the port's hosts and paths ask of a request; nothing where there are none.
    pub(super) fn matches(&self, paths_end: PathEnd) -> Vec<RouteMatch> {
        if self.unusable || (self.vhosts.is_empty() && self.paths.is_empty()) {
            return Vec::new();
        }
        let any = [String::new()];
        let paths = if self.paths.is_empty() { &any[..] } else { &self.paths };
        let hosts: Vec<Option<&String>> =
            if self.vhosts.is_empty() { vec![None] } else { self.vhosts.iter().map(Some).collect() };
        let route = |host: Option<&String>, path: &String| {
            let path = criterion::ending(path, paths_end);
            let any_case = self.any_case && !path.is_empty();
            RouteMatch::HostPath { host: host.cloned(), path, any_case }
        };
        hosts.iter().flat_map(|host| paths.iter().map(move |path| route(*host, path))).collect()
    }

    /// The paths as the label says them; `None` where there are none.
    pub(super) fn path_text(&self) -> Option<String> {
        let written = |path: &String| if path.is_empty() { "/".to_owned() } else { path.clone() };
        let paths: Vec<String> = self.paths.iter().map(written).collect();
        let case = if self.any_case { "-i " } else { "" };
        (!paths.is_empty()).then(|| format!("{case}{}", paths.join(" ")))
    }

    /// Whether clients have to show certificates.
    pub(super) fn asks_clients(&self) -> bool {
        self.bind_options.iter().any(|word| matches!(word, BindWord::File(_)))
    }

    fn read_vhosts(&mut self, value: &str) -> Result<(), String> {
        let mut items = value.split(',').filter(|item| !item.trim().is_empty()).peekable();
        if items.peek().is_none() {
            return Ok(());
        }
        let (hosts, errors) = each(items, criterion::host);
        self.routed = true;
        self.unusable |= hosts.is_empty();
        self.vhosts = hosts;
        errors
    }

    fn read_paths(&mut self, value: &str) -> Result<(), String> {
        let words = value.trim();
        if words.is_empty() {
            return Ok(());
        }
        let any_case = words.strip_prefix("-i").filter(|rest| rest.starts_with(char::is_whitespace));
        // Whether a `/` at the end counts is the configuration's to say.
        let whole = |text: &str| criterion::path(text).map(|_| text.to_owned());
        let lowered = |text: &str| whole(text).map(|path| path.to_ascii_lowercase());
        let (paths, errors) = match any_case {
            Some(rest) => each(rest.split_whitespace(), lowered),
            None => each(words.split_whitespace(), whole),
        };
        self.routed = true;
        self.unusable |= paths.is_empty();
        self.any_case = any_case.is_some();
        self.paths = paths;
        errors
    }

    /// Takes what keeps somebody out, or lets nobody in.
    fn guard<T>(&mut self, value: Result<T, String>, take: impl FnOnce(&mut Self, T)) -> Result<(), String> {
        match value {
            Ok(value) => take(self, value),
            Err(expected) => {
                self.closed = true;
                return Err(expected);
            }
        }
        Ok(())
    }
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
