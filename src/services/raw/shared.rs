//! Templates whose lines stood in the frontends that all apps share. There, a line of one app decides on the requests of
//! others: what leads to a backend becomes a route behind the maps, under ACL names that are its own; what is done to
//! requests is done in the app's backend, where none but its own come by.

use std::collections::BTreeMap;

use crate::model::Service;

use super::condition::{self, Condition};
use super::format::Values;
use super::line::{Line, text as line_text};
use super::words::Section;
use super::{Port, Text, Texts, is_http};

/// The templates of the frontends on 80 and 443.
pub(super) const ROUTING: &[&str] = &[
    "HTTP_FRONTEND_ACL",
    "HTTP_FRONTEND_ACL_WITH_AUTH",
    "HTTP_FRONTEND_ACL_WITH_PATH",
    "HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH",
    "HTTP_FRONTEND_ACL_ONLY",
    "HTTP_FRONTEND_ACL_ONLY_WITH_PATH",
    "HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH",
    "HTTP_FRONTEND_ROUTING_ONLY",
    "HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH",
    "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH",
    "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH",
    "HTTPS_FRONTEND_ACL",
    "HTTPS_FRONTEND_ACL_WITH_AUTH",
    "HTTPS_FRONTEND_ACL_WITH_PATH",
    "HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH",
    "HTTPS_FRONTEND_ACL_ONLY_WITH_PATH",
    "BACKEND_REDIRECT_HTTP_TO_HTTPS",
    "BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
];

/// Calls that would set what the look-up of everybody's routes reads.
const SETS: [&str; 2] = ["set-var(", "unset-var("];

pub(super) fn is_routed(port: &Port<'_>, service: &Service) -> bool {
    is_http(service) && !port.labels.vhosts.is_empty()
}

/// One of the shared frontends, as one service sees it.
struct Frontend {
    /// Its name in the configuration.
    name: &'static str,
    /// What its templates say, in their order; the lines of defaults are Causeway's.
    texts: Vec<(Text, bool)>,
}

/// What of the lines of a frontend leads to the service.
#[derive(Default, PartialEq, Eq)]
struct Routing {
    /// By name, criteria of which one has to hold.
    acls: BTreeMap<String, Vec<Vec<String>>>,
    routes: Vec<Vec<String>>,
}

/// What a port's labels ask of requests, in the words of marathon-lb's defaults.
struct Asked {
    backend: String,
    hosts: Vec<String>,
    host_acl: String,
    path_acl: String,
    path: Option<String>,
    login: bool,
    to_https: bool,
}

impl Asked {
    fn of(port: &Port<'_>, service: &Service) -> Self {
        let clean = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
        };
        let hosts = port.labels.vhosts.clone();
        let first = hosts.first().map_or("", String::as_str);
        let host = format!("{}_{}", clean(first), clean(port.app.id.as_str().trim_start_matches('/')));
        Self {
            host_acl: format!("host_{host}"),
            path_acl: format!("path_{}", service.backend.name),
            path: port.labels.path_text(),
            login: port.labels.login.is_some(),
            to_https: port.labels.to_https,
            backend: service.backend.name.clone(),
            hosts,
        }
    }

    fn values(&self, port: &Port<'_>, host: &str) -> Values {
        let realm = port.labels.login.as_ref().map(|login| login.realm.clone());
        Values::from([
            ("cleanedUpHostname", self.host_acl.trim_start_matches("host_").to_owned()),
            ("hostname", host.to_owned()),
            ("appId", port.app.id.to_string()),
            ("bindAddr", "*".to_owned()),
            ("path", self.path.clone().unwrap_or_default()),
            ("realm", realm.unwrap_or_default().replace(['\\', '"'], "_")),
        ])
    }

    /// The templates that marathon-lb uses for the HTTP frontend, each with the host that it is filled in with.
    fn http(&self) -> Vec<(String, &str)> {
        let first = self.hosts.first().map_or("", String::as_str);
        let path = if self.path.is_some() { "_WITH_PATH" } else { "" };
        if self.hosts.len() == 1 && !self.to_https {
            let asked = match (self.login, self.path.is_some()) {
                (true, true) => "_WITH_AUTH_AND_PATH",
                (true, false) => "_WITH_AUTH",
                (false, _) => path,
            };
            return vec![(format!("HTTP_FRONTEND_ACL{asked}"), first)];
        }
        let mut used: Vec<(String, &str)> =
            self.hosts.iter().map(|host| ("HTTP_FRONTEND_ACL_ONLY".to_owned(), host.as_str())).collect();
        let login = self.login && !self.to_https;
        if self.path.is_some() {
            used.push((
                format!("HTTP_FRONTEND_ACL_ONLY_WITH_PATH{}", if login { "_AND_AUTH" } else { "" }),
                first,
            ));
        }
        used.push(match (self.to_https, login, self.path.is_some()) {
            (true, _, _) => (format!("BACKEND_REDIRECT_HTTP_TO_HTTPS{path}"), first),
            (false, true, true) => ("HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH".to_owned(), first),
            (false, true, false) => ("HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH".to_owned(), first),
            (false, false, _) => (format!("HTTP_FRONTEND_ROUTING_ONLY{path}"), first),
        });
        used
    }

    /// The same of the HTTPS frontend.
    fn https(&self) -> Vec<(String, &str)> {
        let asked = match (self.login, self.path.is_some()) {
            (true, true) => "_WITH_AUTH_AND_PATH",
            (true, false) => "_WITH_AUTH",
            (false, true) => "_WITH_PATH",
            (false, false) => "",
        };
        let first = self.hosts.first().map_or("", String::as_str);
        let path = self.path.iter().map(|_| ("HTTPS_FRONTEND_ACL_ONLY_WITH_PATH".to_owned(), first));
        path.chain(self.hosts.iter().map(|host| (format!("HTTPS_FRONTEND_ACL{asked}"), host.as_str())))
            .collect()
    }

    /// What the default of a template comes to: the ACLs that it makes, and where it leads.
    fn default(&self, name: &str, host: &str) -> Vec<Line> {
        let sni = name.starts_with("HTTPS");
        let only = name.contains("_ACL_ONLY");
        let has_path = name.contains("PATH") && self.path.is_some();
        let makes_path =
            has_path && !name.contains("ROUTING") && !name.starts_with("BACKEND") && (!sni || only);
        let makes_host =
            !(sni || name.contains("ROUTING") || name.starts_with("BACKEND") || only && has_path);
        let mut lines = Vec::new();
        if makes_host {
            lines.push(format!("acl {} hdr(host) -i {host}", self.host_acl));
        }
        if makes_path {
            lines.push(format!(
                "acl {} path_beg {}",
                self.path_acl,
                self.path.as_deref().unwrap_or_default()
            ));
        }
        if !only && !name.starts_with("BACKEND") {
            let asks = if sni { format!("{{ ssl_fc_sni {host} }}") } else { self.host_acl.clone() };
            let path = if has_path { format!(" {}", self.path_acl) } else { String::new() };
            lines.push(format!("use_backend {} if {asks}{path}", self.backend));
        }
        let words = |line: &String| Line { number: 0, words: line.split(' ').map(str::to_owned).collect() };
        lines.iter().map(words).collect()
    }

    /// A criterion as Causeway asks it: the host without its port, and by `Host` on TLS too.
    fn as_asked_here(&self, words: &[String]) -> Vec<String> {
        let host = |host: &str| -> Vec<String> {
            let fetch = "req.hdr(host),field(1,:)".to_owned();
            match host.strip_prefix("*.") {
                Some(parent) => {
                    let pattern = format!("^[^.]+[.]{}$", parent.replace('.', "[.]"));
                    vec![fetch, "-i".to_owned(), "-m".to_owned(), "reg".to_owned(), pattern]
                }
                None => vec![fetch, "-i".to_owned(), host.to_owned()],
            }
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["hdr(host)", "-i", one] | ["ssl_fc_sni", one] if self.hosts.iter().any(|known| known == one) => {
                host(one)
            }
            _ => words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn routing(&self, frontend: &Frontend) -> Result<Routing, String> {
        let mut routing = Routing::default();
        let mut acls: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for (text, _) in &frontend.texts {
            for line in &text.lines {
                if let ("acl", [name, criterion @ ..]) = (line.first(), line.rest(1)) {
                    acls.entry(name.clone()).or_default().push(criterion.to_vec());
                }
            }
        }
        for (text, is_default) in &frontend.texts {
            for line in text.lines.iter().filter(|line| line.first() == "use_backend") {
                let refused = |why: &str| if *is_default { why.to_owned() } else { text.refused(line, why) };
                if line.words.get(1) != Some(&self.backend) {
                    return Err(refused("leads to another backend than its own, {backend}"));
                }
                let (_, condition) = condition::split(line)?;
                let Some(condition) = condition else {
                    return Err(refused("takes every request of a frontend that many share"));
                };
                for name in condition.names() {
                    if let Some(criteria) = acls.get(name) {
                        routing.acls.insert(name.to_owned(), criteria.clone());
                    }
                }
                routing.routes.push(condition.with(&[], &BTreeMap::new()));
            }
        }
        Ok(routing)
    }

    /// The lines of a shared frontend that lead to the service.
    fn lines(&self, routing: &Routing) -> Result<Vec<String>, String> {
        let own = |name: &String| (name.clone(), format!("{}::{name}", self.backend));
        let names: BTreeMap<String, String> = routing.acls.keys().map(own).collect();
        let mut lines = Vec::new();
        for (name, criteria) in &routing.acls {
            for criterion in criteria {
                let criterion = line_text(&self.as_asked_here(criterion));
                lines.push(format!("acl {} {criterion} # {}", names[name], self.backend));
            }
        }
        for route in &routing.routes {
            let words = Condition(route.split(|word| word == "||").map(<[String]>::to_vec).collect());
            let words = words.with(&["!{", "var(txn.backend)", "-m", "found", "}"], &names);
            let words = match words.iter().position(|word| word == "ssl_fc_sni").zip(self.hosts.first()) {
                Some((at, _)) if words.get(at + 2).is_some_and(|word| word == "}") => {
                    let asked = self.as_asked_here(&words[at..at + 2]);
                    [&words[..at], &asked[..], &words[at + 2..]].concat()
                }
                _ => words,
            };
            lines.push(format!(
                "http-request set-var(txn.backend) str({}) if {} # {}",
                self.backend,
                line_text(&words),
                self.backend
            ));
        }
        Ok(lines)
    }
}

/// Refuses what a criterion in a shared frontend may not do.
fn prove_criteria(text: &Text) -> Result<(), String> {
    for line in &text.lines {
        text.prove(line)?;
        if line.first() == "acl" {
            let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            if line.words.get(1).is_none_or(|name| !name.chars().all(known)) || line.words.len() < 3 {
                return Err(text.refused(line, "is not a name of letters, digits and _.- with a criterion"));
            }
        }
        let sets = |word: &String| SETS.iter().any(|call| word.to_ascii_lowercase().contains(call));
        if matches!(line.first(), "acl" | "use_backend") && line.words.iter().any(sets) {
            return Err(text.refused(line, "sets a variable in a frontend that many share"));
        }
    }
    Ok(())
}

/// The lines of a frontend, from texts and defaults; `None` where all are defaults.
fn frontend(
    name: &'static str,
    used: Vec<(String, &str)>,
    asked: &Asked,
    port: &Port<'_>,
    texts: &Texts<'_>,
) -> Result<(Frontend, bool), String> {
    let (mut found, mut changed) = (Vec::new(), false);
    for (template, host) in used {
        let text = match texts.get(&template, &asked.values(port, host))? {
            Some(text) => {
                prove_criteria(&text)?;
                changed = true;
                (text, false)
            }
            None => {
                let (source, users) = (format!("template HAPROXY_{template}"), String::new());
                let lines = asked.default(&template, host);
                (Text { source, trusted: true, users, lines }, true)
            }
        };
        found.push(text);
    }
    Ok((Frontend { name, texts: found }, changed))
}

pub(super) fn routing(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let asked = Asked::of(port, service);
    let mut routings = Vec::new();
    let mut is_changed = false;
    for (name, used) in [("http_in", asked.http()), ("https_in", asked.https())] {
        let default = Frontend { name, texts: defaults(&asked, &used) };
        let (frontend, has_texts) = frontend(name, used, &asked, port, texts)?;
        let routing = match asked.to_https && name == "http_in" {
            // The maps lead there, and the redirect is done behind them.
            true => {
                let asked = Asked { to_https: false, ..Asked::of(port, service) };
                let used = asked.http();
                asked.routing(&Frontend { name, texts: defaults(&asked, &used) })?
            }
            false => {
                let routing = asked.routing(&frontend)?;
                is_changed |= has_texts && routing != asked.routing(&default)?;
                routing
            }
        };
        if has_texts {
            move_lines(&frontend, &asked, service)?;
        }
        routings.push(asked.lines(&routing)?);
    }
    if !is_changed {
        return Ok(());
    }
    let source = texts.texts.keys().next().map_or("", |name| name);
    let refused = |why: &str| {
        let trusted = texts.texts.values().all(|(_, trusted)| *trusted);
        Err(format!(
            "{}: it changes which requests lead here, {why}",
            super::source(source, texts.index, trusted)
        ))
    };
    if service.client_ca.is_some() {
        return refused(
            "and the hosts of clients that have to show a certificate are known by their labels only",
        );
    }
    if !port.any_host {
        return refused("and policy.vhosts does not allow this app every host");
    }
    service.routes.retain(|route| route.from_rule);
    let mut routings = routings.into_iter();
    let raw = &mut service.backend.extras.raw;
    raw.http = routings.next().unwrap_or_default();
    raw.https = routings.next().unwrap_or_default();
    Ok(())
}

fn defaults(asked: &Asked, used: &[(String, &str)]) -> Vec<(Text, bool)> {
    let text = |(name, host): &(String, &str)| {
        let (source, users) = (name.clone(), String::new());
        (Text { source, trusted: true, users, lines: asked.default(name, host) }, true)
    };
    used.iter().map(text).collect()
}

/// What was done to requests in a frontend is done in the backend, to those that came by that frontend.
fn move_lines(frontend: &Frontend, asked: &Asked, service: &mut Service) -> Result<(), String> {
    let own = format!("{}:", frontend.name);
    let mut acls: BTreeMap<String, Vec<&[String]>> = BTreeMap::new();
    for line in frontend.texts.iter().flat_map(|(text, _)| &text.lines) {
        if let ("acl", [name, criterion @ ..]) = (line.first(), line.rest(1)) {
            acls.entry(name.clone()).or_default().push(criterion);
        }
    }
    let names = acls.keys().map(|name| (name.clone(), format!("{own}{name}"))).collect();
    let (mut used, mut moved) = (Vec::new(), Vec::new());
    for (text, is_default) in &frontend.texts {
        let redirects = text.source.contains("BACKEND_REDIRECT_HTTP_TO_HTTPS");
        if redirects && !is_default {
            service.marks.to_https = false;
        }
        for line in text.lines.iter().filter(|line| !matches!(line.first(), "acl" | "use_backend")) {
            let (statement, condition) =
                condition::split(line).map_err(|why| format!("{}, {why}", text.source))?;
            let condition = condition.unwrap_or(Condition(vec![Vec::new()]));
            let words: Vec<&str> = statement.iter().map(String::as_str).collect();
            match words[..] {
                // What AUTH says is asked for in the backend, on every way in.
                ["http-request", "auth", ..] if asked.login => continue,
                ["redirect", "scheme", "https", "code", "301"] if redirects && asked.is_plain(&condition) => {
                    service.marks.to_https = true;
                    continue;
                }
                _ => {}
            }
            text.keep(Section::Moved, line)?;
            used.extend(condition.names().into_iter().map(str::to_owned));
            let came_by = ["{", "fe_name", frontend.name, "}"];
            moved.push(format!(
                "{} if {}",
                line_text(&statement),
                line_text(&condition.with(&came_by, &names))
            ));
        }
    }
    let raw = &mut service.backend.extras.raw;
    for (name, criteria) in acls.iter().filter(|(name, _)| used.contains(name)) {
        for criterion in criteria {
            raw.backend.push(format!("acl {} {}", names[name], line_text(&asked.as_asked_here(criterion))));
        }
    }
    raw.backend.extend(moved);
    Ok(())
}

impl Asked {
    /// Whether a condition is that of the default's redirect.
    fn is_plain(&self, condition: &Condition) -> bool {
        let [terms] = &condition.0[..] else { return false };
        let mut terms: Vec<&str> = terms.iter().map(String::as_str).collect();
        if let Some(at) = terms.windows(3).position(|term| term == ["!{", "ssl_fc", "}"]) {
            terms.drain(at..at + 3);
        }
        let path = self.path.iter().map(|_| self.path_acl.as_str());
        terms == std::iter::once(self.host_acl.as_str()).chain(path).collect::<Vec<_>>()
    }
}

/// The app-id frontend.
pub(super) fn app_id(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let app = port.app.id.to_string();
    let asked = Asked::of(port, service);
    let clean: String =
        app.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let mut values = asked.values(port, asked.hosts.first().map_or("", String::as_str));
    values.insert("cleanedUpAppId", clean.clone());
    let Some(text) = texts.get("HTTP_FRONTEND_APPID_ACL", &values)? else { return Ok(()) };
    prove_criteria(&text)?;
    let frontend = Frontend { name: "app_id_in", texts: vec![(text, false)] };
    let routing = asked.routing(&frontend)?;
    let name = format!("app_{clean}");
    let criterion = ["hdr(x-marathon-app-id)", "-i", &app].map(str::to_owned).to_vec();
    let default =
        Routing { acls: BTreeMap::from([(name.clone(), vec![criterion])]), routes: vec![vec![name]] };
    move_lines(&frontend, &asked, service)?;
    if routing != default {
        service.app_id_route = false;
        service.backend.extras.raw.app_id = asked.lines(&routing)?;
    }
    Ok(())
}
