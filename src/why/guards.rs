//! What a backend asks of a request before it passes it on, and what it does to it: as `templates/head.cfg` and
//! `templates/service.cfg` have it, in their order.

use http::{HeaderName, header};

use super::lookup::{host, is_in};
use super::{Asked, Ending, Known, Step, StepKind};
use crate::model::{Mode, Service};
use crate::render::maps::MapName;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a closed service has to say of itself.
const CLOSED: &str = "a label that keeps somebody out cannot be used; its problems say which";

/// What was passed, and where it ended.
#[derive(Default)]
pub(super) struct Guarded {
    pub(super) steps: Vec<Step>,
    pub(super) ending: Option<Ending>,
}

impl Guarded {
    fn note(&mut self, title: impl Into<String>) {
        self.steps.push(Step::new(StepKind::Guard, title));
    }

    fn end(mut self, title: impl Into<String>, ending: Ending) -> Self {
        self.note(title);
        self.ending = Some(ending);
        self
    }
}

/// The line of the redirect that names a port, up to the port.
const WITH_PORT: &str = "http-request redirect prefix https://%[var(txn.host)]:";

/// Goes through what a service asks; `is_routed` where the shared routing led to it.
pub(super) fn pass(known: &Known<'_>, asked: &Asked, service: &Service, is_routed: bool) -> Guarded {
    let mut passed = Guarded::default();
    let (backend, extras) = (&service.backend.name, &service.backend.extras);
    let entry = |map| known.text.maps.get(map, backend);
    let is_trusted = known.trusted_proxies.iter().any(|network| is_in(asked.from, network));
    let forwarded = asked.header(&FORWARDED_PROTO).map(str::to_ascii_lowercase).filter(|_| is_trusted);
    if is_routed && !asked.tls && entry(MapName::Redirects).is_some() && forwarded.as_deref() != Some("https")
    {
        let port = https_port(known, asked).map(|port| format!(":{port}")).unwrap_or_default();
        let location = format!("https://{}{port}{}", host(asked), asked.target);
        return passed.end(
            "The app asks for https: HAPROXY_REDIRECT_TO_HTTPS",
            redirect(301, location, "The client is sent to https"),
        );
    }
    if service.backend.mode == Mode::Tcp {
        return pass_tcp(passed, asked, service);
    }
    let is_https = forwarded.map_or(asked.tls, |scheme| scheme == "https");
    let is_root = asked.target.path() == "/";
    if let Some(location) = entry(MapName::Roots).filter(|_| is_root) {
        let ending = redirect(301, location.clone(), "The client is sent on from /");
        return passed.end("The app sends requests for / elsewhere", ending);
    }
    if extras.closed {
        let why = "A label that keeps somebody out is not understood, so nobody is let in";
        return passed.end(why, Ending::new(Some(503), format!("503: {} is closed: {CLOSED}", service.id)));
    }
    if service.client_ca.is_some() {
        let why = "The app lets in only who shows a certificate in the TLS handshake";
        let sentence = "421: the client shows no certificate";
        return passed.end(why, Ending::new(Some(421), sentence));
    }
    if !extras.allowed.is_empty() {
        let networks = extras.allowed.join(", ");
        if !extras.allowed.iter().any(|network| is_in(asked.from, network)) {
            let sentence = format!("403: {} is not let in", asked.from);
            return passed.end(format!("The app lets in only {networks}"), Ending::new(Some(403), sentence));
        }
        passed.note(format!("{} is let in: it is in {networks}", asked.from));
    }
    if let Some(login) = &extras.login {
        if !asked.headers.contains_key(header::AUTHORIZATION) {
            let sentence = format!("401: the app asks for a login ({})", login.realm);
            return passed.end(
                "The app asks who it is, by HTTP's basic authentication",
                Ending::new(Some(401), sentence),
            );
        }
        passed.note(format!(
            "Let in with the right password of {}, else 401; the password is not looked at here",
            login.user
        ));
    }
    if let Some(location) = extras.root.as_ref().filter(|_| is_root) {
        let ending = redirect(301, location.clone(), "The client is sent on from /");
        return passed.end("The app sends requests for / elsewhere", ending);
    }
    if let Some(strip) = &extras.strip {
        passed.note(format!(
            "The path is rewritten before the server sees it: what {strip} finds is taken off"
        ));
    }
    if let Some(host) = &extras.host {
        passed.note(format!("The server is told the host {host}"));
    }
    if is_https && entry(MapName::Hsts).is_some() {
        passed.note("The answer says that only TLS is to be used (Strict-Transport-Security)");
    }
    passed
}

/// The port of https that the client is sent to, where its `Host` names that of the HTTP frontend: the line of the text says so.
fn https_port<'a>(known: &Known<'a>, asked: &Asked) -> Option<&'a str> {
    let line = known.text.head.lines().find_map(|line| line.trim().strip_prefix(WITH_PORT))?;
    let (port, condition) = line.split_once(' ')?;
    let (_, named) = asked.header(&header::HOST)?.split_once(':')?;
    condition.ends_with(&format!(" -m str {named} }}")).then_some(port)
}

fn pass_tcp(mut passed: Guarded, asked: &Asked, service: &Service) -> Guarded {
    let extras = &service.backend.extras;
    passed.note("It is TCP: bytes are passed on, and nothing of the URL but the port is looked at");
    if extras.closed {
        let why = "A label that keeps somebody out is not understood, so nobody is let in";
        return passed.end(
            why,
            Ending::new(None, format!("The connection is closed: {} lets nobody in, {CLOSED}", service.id)),
        );
    }
    if !extras.allowed.is_empty() && !extras.allowed.iter().any(|network| is_in(asked.from, network)) {
        let why = format!("The app lets in only {}", extras.allowed.join(", "));
        return passed
            .end(why, Ending::new(None, format!("The connection is closed: {} is not let in", asked.from)));
    }
    passed
}

fn redirect(status: u16, location: String, what: &str) -> Ending {
    let sentence = format!("{status}: {what}: {location}");
    Ending { location: Some(location), ..Ending::new(Some(status), sentence) }
}
