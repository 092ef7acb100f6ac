//! Which frontend takes a request, as the text that runs has them.

use super::{Asked, Ending, Step, StepKind};
use crate::render::Text;

/// A frontend that listens on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Its name in the configuration.
    pub name: String,
    /// The addresses it listens on, as the configuration has them.
    pub addresses: Vec<String>,
    /// Whether it speaks TLS at the port that was asked for.
    pub tls: bool,
    /// That port, or the first where none was.
    pub port: u16,
    /// What it does.
    pub kind: FrontendKind,
}

/// What a frontend does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontendKind {
    /// Looks up host, path and rules.
    Routed,
    /// Looks up `X-Marathon-App-Id`.
    AppId,
    /// Looks up the port.
    ServicePorts,
    /// HAProxy's own statistics.
    Statistics,
    /// Leads to one backend.
    Own(String),
    /// It is the operator's; what it does is not known.
    Unknown,
}

/// The first step, and the end of the way where it is one already.
pub(super) struct First {
    pub(super) step: Step,
    pub(super) ending: Option<Ending>,
}

struct Bind<'a> {
    address: &'a str,
    ports: (u16, u16),
    tls: bool,
}

impl Frontend {
    /// The frontend of what runs that takes a request: by the port of the URL where it has one, else by its scheme.
    #[must_use]
    pub fn of(text: &Text, asked: &Asked) -> Option<Self> {
        let shared = sections(&text.head);
        // Few services have a frontend of their own.
        let own = text
            .blocks
            .values()
            .filter(|block| block.shape.contains("\nfrontend ") || block.shape.starts_with("frontend "));
        let all: Vec<(&str, Vec<Bind<'_>>)> =
            shared.into_iter().chain(own.flat_map(|block| sections(&block.shape))).collect();
        let chosen = match asked.port {
            Some(port) => {
                let has = |bind: &&Bind<'_>| (bind.ports.0..=bind.ports.1).contains(&port);
                all.iter().find_map(|(name, binds)| Some((name, binds, binds.iter().find(has)?)))
            }
            None => {
                let wanted = if asked.tls { "https_in" } else { "http_in" };
                all.iter().find_map(|(name, binds)| {
                    (*name == wanted).then_some(())?;
                    Some((name, binds, binds.first()?))
                })
            }
        };
        let (name, binds, bind) = chosen?;
        let kind = match *name {
            "http_in" | "https_in" => FrontendKind::Routed,
            "app_id_in" => FrontendKind::AppId,
            "service_ports" => FrontendKind::ServicePorts,
            "stats" => FrontendKind::Statistics,
            name => {
                let backend = name.strip_suffix("_in").unwrap_or_default();
                let is_own = text.blocks.values().any(|block| block.service.backend.name == backend);
                if is_own { FrontendKind::Own(backend.to_owned()) } else { FrontendKind::Unknown }
            }
        };
        Some(Self {
            name: (*name).to_owned(),
            addresses: binds.iter().map(|bind| bind.address.to_owned()).collect(),
            tls: bind.tls,
            port: asked.port.unwrap_or(bind.ports.0),
            kind,
        })
    }
}

/// The frontends of a text, with what they listen on; Unix sockets are no network.
fn sections(text: &str) -> Vec<(&str, Vec<Bind<'_>>)> {
    let mut sections: Vec<(&str, Vec<Bind<'_>>)> = Vec::new();
    let mut is_frontend = false;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if !line.starts_with([' ', '\t', '#']) {
            is_frontend = matches!(first, "frontend" | "listen");
            if let (true, Some(name)) = (is_frontend, words.next()) {
                sections.push((name, Vec::new()));
            }
        } else if is_frontend
            && first == "bind"
            && let (Some((_, binds)), Some(addresses)) = (sections.last_mut(), words.next())
        {
            let tls = words.any(|word| word == "ssl");
            binds.extend(
                addresses
                    .split(',')
                    .filter_map(|address| Some(Bind { address, ports: ports(address)?, tls })),
            );
        }
    }
    sections.retain(|(_, binds)| !binds.is_empty());
    sections
}

/// The ports of an address of `bind` (configuration manual, section 4.2).
fn ports(address: &str) -> Option<(u16, u16)> {
    if address.starts_with("unix@") || address.starts_with('/') || address.starts_with("fd@") {
        return None;
    }
    let (_, ports) = address.rsplit_once(':')?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some((first.parse().ok()?, last.parse().ok()?))
}

pub(super) fn step(asked: &Asked, frontend: Option<&Frontend>, text: &Text) -> First {
    let ends = |step, ending| First { step, ending: Some(ending) };
    let Some(frontend) = frontend else {
        let why = match (asked.port, asked.tls) {
            (Some(port), _) => format!("Nothing listens on port {port}"),
            (None, true) => "Nothing listens for TLS: tls.certificates names no certificate".to_owned(),
            (None, false) => "Nothing listens for clear HTTP".to_owned(),
        };
        let known: Vec<String> = sections(&text.head)
            .into_iter()
            .flat_map(|(name, binds)| {
                binds.into_iter().map(move |bind| format!("{name} listens on {}", bind.address))
            })
            .take(8)
            .collect();
        let step = Step { details: known, ..Step::new(StepKind::Frontend, why.clone()) };
        return ends(step, Ending::new(None, format!("{why}: no connection comes about")));
    };
    let what = match &frontend.kind {
        FrontendKind::Routed if frontend.tls => "HTTPS",
        FrontendKind::Routed => "HTTP",
        FrontendKind::AppId => "The frontend that goes by X-Marathon-App-Id",
        FrontendKind::ServicePorts => "The frontend of service ports",
        FrontendKind::Statistics => "HAProxy's own statistics",
        FrontendKind::Own(_) => "A frontend of one app",
        FrontendKind::Unknown => "A frontend of the operator's",
    };
    let addresses = shortened(&frontend.addresses);
    let mut step = Step::new(StepKind::Frontend, format!("{what}: {} listens on {addresses}", frontend.name));
    if asked.port.is_none() {
        step = step.detail("The URL names no port, so it is taken to be meant for this one.");
    }
    if !asked.from_is_said {
        step = step.detail(format!("The client is taken to be {}, somebody outside.", asked.from));
    }
    if frontend.tls && frontend.kind == FrontendKind::Routed {
        step = step.detail("The client is taken to show no certificate of its own.");
    }
    if frontend.tls != asked.tls {
        let sentence = if asked.tls {
            format!("No answer: port {} speaks clear HTTP, and the client TLS", frontend.port)
        } else {
            format!("No answer: port {} speaks TLS, and the client clear HTTP", frontend.port)
        };
        return ends(step, Ending::new(None, sentence));
    }
    match frontend.kind {
        FrontendKind::Statistics => {
            ends(step, Ending::new(None, "HAProxy itself answers: these are its statistics"))
        }
        FrontendKind::Unknown => {
            let sentence = format!("Not known: {} is of the operator's template", frontend.name);
            ends(step, Ending::new(None, sentence))
        }
        _ => First { step, ending: None },
    }
}

/// Addresses in a sentence.
fn shortened(addresses: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = addresses.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if addresses.len() > SHOWN {
        text.push_str(&format!(" and {} more", addresses.len() - SHOWN));
    }
    text
}
