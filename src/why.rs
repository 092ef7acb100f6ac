//! Where a request goes, step by step, and why: which frontend takes it, what the look-up finds, what the backend asks of it,
//! which servers there are. It is worked out from what runs; where HAProxy itself was asked, its word on the backend counts.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use reqwest::Url;
use serde::Serialize;
use utoipa::ToSchema;

use crate::haproxy::inquiry::{Question, Verdict};
use crate::model::{Mode, Service, ServiceId};
use crate::placement::Admin;
use crate::render::{Block, Text};
use crate::view::View;

mod frontends;
mod guards;
mod hints;
mod keyed;
mod lookup;
#[cfg(test)]
mod tests;

pub use frontends::{Frontend, FrontendKind};

/// The client that is taken where nobody says which: an address of documentation (RFC 5737), which is no network's.
pub const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// Headers that somebody may ask about at once, and how long all of them may be together.
const HEADERS: (usize, usize) = (50, 8_000);
/// How long a URL may be.
const URL_MAX: usize = 4_000;
/// Headers about the transport of a body; there is none to ask about.
const OF_BODIES: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT];

/// A request that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The URL, as it was understood.
    pub url: String,
    /// The method.
    pub method: Method,
    /// Whether it comes by TLS.
    pub tls: bool,
    /// The host of the URL: what a client says in its TLS handshake.
    pub server_name: String,
    /// The port, where the URL has one.
    pub port: Option<u16>,
    /// The path, with the query.
    pub target: Uri,
    /// The headers, `Host` among them.
    pub headers: HeaderMap,
    /// The client's address.
    pub from: IpAddr,
    /// Whether somebody said it.
    pub from_is_said: bool,
}

impl Asked {
    /// A request in words: the URL, `http://` where it says nothing else; headers as `Name: value`.
    ///
    /// # Errors
    /// What cannot be asked about, and what is expected.
    pub fn parse(
        url: &str,
        method: Option<&str>,
        headers: &[String],
        from: Option<&str>,
    ) -> Result<Self, String> {
        let url = url.trim();
        if url.len() > URL_MAX {
            return Err(format!("url: it has {} characters; at most {URL_MAX}", url.len()));
        }
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let expected = "expected one like https://shop.example.com/cart";
        let parsed = Url::parse(&whole).map_err(|error| format!("url: {url:?}: {error}; {expected}"))?;
        let tls = match parsed.scheme() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            other => return Err(format!("url: {other}:// is not HTTP; {expected}")),
        };
        let server_name = parsed.host_str().unwrap_or_default().to_owned();
        let target = match parsed.query() {
            Some(query) => format!("{}?{query}", parsed.path()),
            None => parsed.path().to_owned(),
        };
        let target: Uri = target.parse().map_err(|error| format!("url: {url:?}: {error}; {expected}"))?;
        let method = method.map(str::trim).filter(|method| !method.is_empty()).unwrap_or("GET");
        let method: Method = method
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| format!("method: {method:?} is not one; expected one like GET"))?;
        if method == Method::CONNECT {
            return Err("method: CONNECT asks for a tunnel, and no app is asked by one".to_owned());
        }
        let mut all = headers_of(headers)?;
        if !all.contains_key(header::HOST) {
            let host = match parsed.port() {
                Some(port) => format!("{server_name}:{port}"),
                None => server_name.clone(),
            };
            let host = HeaderValue::from_str(&host).map_err(|_| format!("url: {url:?}: {expected}"))?;
            all.insert(header::HOST, host);
        }
        let said = from.map(str::trim).filter(|from| !from.is_empty());
        let from = said.map(|from| {
            let expected = "expected one like 10.1.2.3 or 2001:db8::1";
            from.parse::<IpAddr>().map_err(|_| format!("from: {from:?} is no address; {expected}"))
        });
        let port = parsed.port().or_else(|| names_port(&whole).then(|| parsed.port_or_known_default())?);
        Ok(Self {
            url: parsed.to_string(),
            method,
            tls,
            server_name,
            port,
            target,
            headers: all,
            from: from.transpose()?.unwrap_or(SOMEBODY),
            from_is_said: said.is_some(),
        })
    }

    /// What HAProxy is asked; `frontend` is the one that takes the request.
    #[must_use]
    pub fn question(&self, frontend: &Frontend) -> Question {
        Question {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            tls: self.tls.then(|| self.server_name.clone()),
            from: self.from,
            port: self.port.unwrap_or(frontend.port),
        }
    }

    /// A header's value, where it is text.
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Whether a URL says its port, even where that is its scheme's.
fn names_port(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn headers_of(lines: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let mut length = 0;
    for (index, line) in lines.enumerate() {
        length += line.len();
        if index >= HEADERS.0 || length > HEADERS.1 {
            return Err(format!("header: at most {} of {} characters", HEADERS.0, HEADERS.1));
        }
        let expected = "expected one like X-Team: blue";
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("header: {line:?} has no colon; {expected}"))?;
        let name: HeaderName =
            name.trim().parse().map_err(|_| format!("header: {name:?} is not a name; {expected}"))?;
        if OF_BODIES.contains(&name) {
            return Err(format!("header: {name} is about a body, which is not asked about; leave it out"));
        }
        let value = HeaderValue::from_str(value.trim())
            .map_err(|_| format!("header: the value of {name} holds a control character"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Which frontend takes the request.
    Frontend,
    /// What the look-up finds.
    Lookup,
    /// What is asked of the request before it is passed on, and what is done to it.
    Guard,
    /// The backend.
    Backend,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The request goes there.
    Won,
    /// It fits, and another comes before it.
    Lost,
    /// It was looked for, and is not there or does not fit.
    NoMatch,
    /// Only HAProxy could tell, and it was not asked.
    Unknown,
}

/// Something that a request could go by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Candidate {
    /// What was looked at: an exact host, a line of a rule.
    pub what: String,
    /// The key that was found or looked for, or the criterion.
    pub key: String,
    /// Where it stands: a map, or the configuration; empty where it stands nowhere.
    pub place: String,
    /// Whose it is.
    pub app: Option<String>,
    /// The index of the app's port.
    pub port_index: Option<usize>,
    /// The backend it leads to.
    pub backend: Option<String>,
    /// Who said so: `label` or `rule`.
    pub from: Option<&'static str>,
    /// What became of it.
    pub fate: Fate,
    /// Why.
    pub why: Option<String>,
}

/// A step on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Step {
    /// What it is about.
    pub kind: StepKind,
    /// What happens, in a sentence.
    pub title: String,
    /// What else there is to know.
    pub details: Vec<String>,
    /// What was looked at, in the order of look-up.
    pub candidates: Vec<Candidate>,
}

impl Step {
    fn new(kind: StepKind, title: impl Into<String>) -> Self {
        Self { kind, title: title.into(), details: Vec::new(), candidates: Vec::new() }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ending {
    /// The status that HAProxy answers with; `null` where the app answers, or nobody does.
    pub status: Option<u16>,
    /// What happens, in a sentence.
    pub sentence: String,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The app that it is meant for.
    pub app: Option<String>,
    /// The index of the app's port.
    pub port_index: Option<usize>,
    /// The backend.
    pub backend: Option<String>,
    /// What may help.
    pub hints: Vec<String>,
}

impl Ending {
    fn new(status: Option<u16>, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self {
            status,
            sentence,
            location: None,
            app: None,
            port_index: None,
            backend: None,
            hints: Vec::new(),
        }
    }
}

/// The way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its steps.
    pub steps: Vec<Step>,
    /// How it ends.
    pub ending: Ending,
    /// The service that it is meant for.
    pub service: Option<ServiceId>,
    /// Where what was worked out and what HAProxy says differ, in words.
    pub differs: Option<String>,
}

/// What is known when a way is worked out.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What runs.
    pub text: &'a Text,
    /// Apps, services and rules.
    pub view: &'a View,
    /// What HAProxy said, where it was asked.
    pub verdict: Option<&'a Verdict>,
    /// Networks of proxies whose word on a request's way counts.
    pub trusted_proxies: &'a [String],
}

impl Known<'_> {
    fn block_of_backend(&self, name: &str) -> Option<&Block> {
        self.text.blocks.values().map(AsRef::as_ref).find(|block| block.service.backend.name == name)
    }
}

/// Works out the way of a request that `frontend` takes; `None`: none does.
#[must_use]
pub fn way(known: &Known<'_>, asked: &Asked, frontend: Option<&Frontend>) -> Way {
    let first = frontends::step(asked, frontend, known.text);
    let mut way =
        Way { steps: vec![first.step], ending: Ending::new(None, ""), service: None, differs: None };
    if let Some(ending) = first.ending {
        way.ending = ending;
        return way;
    }
    // A frontend that is none takes nothing.
    let Some(frontend) = frontend else { return way };
    let backend = match &frontend.kind {
        FrontendKind::Routed => {
            let found = lookup::look_up(known, asked);
            way.steps.push(found.step);
            way.differs = found.differs;
            found.backend
        }
        FrontendKind::AppId => {
            let said = known.verdict.map(|verdict| verdict.by_app_id.as_deref());
            let found = keyed::by_app_id(known, asked, said);
            way.steps.push(found.step);
            way.differs = found.differs;
            found.backend
        }
        FrontendKind::ServicePorts => {
            let said = known.verdict.map(|verdict| verdict.by_port.as_deref());
            let found = keyed::by_port(known, asked.port.unwrap_or(frontend.port), said);
            way.steps.push(found.step);
            way.differs = found.differs;
            found.backend
        }
        FrontendKind::Own(name) => Some(name.clone()),
        FrontendKind::Statistics | FrontendKind::Unknown => None,
    };
    let Some(backend) = backend else {
        way.ending = not_found(known, asked, frontend);
        return way;
    };
    let Some(block) = known.block_of_backend(&backend) else {
        way.ending = Ending {
            backend: Some(backend.clone()),
            ..Ending::new(Some(503), format!("503: no app has the backend {backend}"))
        };
        return way;
    };
    way.service = Some(block.service.id.clone());
    let is_routed = frontend.kind == FrontendKind::Routed;
    let guarded = guards::pass(known, asked, &block.service, is_routed);
    way.steps.extend(guarded.steps);
    let ending = guarded.ending.unwrap_or_else(|| {
        way.steps.push(backend_step(&block.service));
        served(known, block)
    });
    let ServiceId { app, port_index } = &block.service.id;
    way.ending = Ending {
        app: Some(app.to_string()),
        port_index: Some(*port_index),
        backend: Some(backend),
        ..ending
    };
    way
}

fn not_found(known: &Known<'_>, asked: &Asked, frontend: &Frontend) -> Ending {
    match frontend.kind {
        FrontendKind::AppId => {
            Ending::new(Some(404), "404: no app that is served has the id in X-Marathon-App-Id")
        }
        FrontendKind::ServicePorts => {
            let port = asked.port.unwrap_or(frontend.port);
            Ending::new(None, format!("The connection is closed: no app has the service port {port}"))
        }
        _ => {
            let host = lookup::host(asked);
            let sentence = format!("404: nothing leads from {host}{} to an app", asked.target.path());
            Ending { hints: hints::of(known, asked), ..Ending::new(Some(404), sentence) }
        }
    }
}

/// A service as people say it: most apps have one.
fn name(id: &ServiceId) -> String {
    if id.port_index == 0 { id.app.to_string() } else { id.to_string() }
}

fn backend_step(service: &Service) -> Step {
    let backend = &service.backend;
    let step = Step::new(
        StepKind::Backend,
        format!("{}, of {}, {}", backend.name, name(&service.id), backend.mode.as_str().to_uppercase()),
    );
    let step = step.detail(format!("Servers are chosen by {}.", backend.balance));
    if backend.extras.sticky && backend.mode == Mode::Http {
        return step.detail("A client stays with its server, by the cookie mesosphere_server_id.");
    }
    step
}

/// How it ends once everything is passed.
fn served(known: &Known<'_>, block: &Block) -> Ending {
    let service = &block.service;
    let serving = block.slots.iter().filter(|slot| slot.admin() == Admin::Ready && slot.weight() > 0).count();
    if serving > 0 {
        let one =
            if serving == 1 { "its one server".to_owned() } else { format!("one of {serving} servers") };
        return Ending::new(None, format!("{} answers, by {one}", name(&service.id)));
    }
    let why = match known.view.service(&service.id) {
        Some(wanted) if wanted.instances == 0 => "it is suspended: no instances are asked for".to_owned(),
        Some(wanted) if wanted.instances == 1 => "its one task may not get requests".to_owned(),
        Some(wanted) => format!("none of its {} tasks may get requests", wanted.instances),
        None => "the app is gone".to_owned(),
    };
    let (status, what) = match service.backend.mode {
        Mode::Http => (Some(503), "503"),
        Mode::Tcp => (None, "The connection is closed"),
    };
    Ending::new(status, format!("{what}: {} has no server; {why}", name(&service.id)))
}
