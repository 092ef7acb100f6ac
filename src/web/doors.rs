//! The doors: who asks, and whether he may in. They stand before every handler.
//!
//! On an agent node every task of the host's network can reach loopback, and so can every page in a browser on this host. So,
//! without a login, loopback may read, under its own names, and nothing else; every other address needs a login for reading too.
//! Whoever comes by our own Unix socket is an admin. `web.auth = "none"` opens all of it.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::Limited;
use ipnet::IpNet;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::pages::{ASSETS, LOGIN};
use super::reread::Reread;
use super::{ApiError, Caller, Peer, Role};
use crate::config::{Config, WebAuth};
use crate::durable::tighten;
use audit::Entry;
use passwords::Passwords;
use sessions::Sessions;
use users::Users;

mod audit;
mod hosts;
mod identity;
mod passwords;
pub(super) mod session_api;
mod sessions;
mod throttle;
pub mod users;

pub use audit::{Audit, AuditLog};

/// What never asks for a login: Causeway's health, and logging in and out. Marathon's callback, which is a nudge to read from
/// Marathon whatever it says, comes from a Marathon that cannot log in.
const OPEN: [(&[Method], &str); 7] = [
    (&[Method::GET, Method::HEAD], LOGIN),
    (&[Method::GET, Method::HEAD], "/healthz"),
    (&[Method::GET, Method::HEAD], "/readyz"),
    (&[Method::GET, Method::HEAD], "/status"),
    (&[Method::POST, Method::DELETE], session_api::PATH),
    (&[Method::POST], session_api::LOGOUT),
    (&[Method::POST], CALLBACK),
];
/// Where Marathons of before 1.5 send their events.
const CALLBACK: &str = "/api/marathon/event_callback";
/// How many bytes the body of a request may have by our own socket, and an event of Marathon's, which is not kept.
const LARGE_BODY: usize = 16 * 1024 * 1024;
/// What is said of why, beside the body.
const WHY: HeaderName = HeaderName::from_static("x-causeway-why");

/// Who may in, and what is written down of it. Clones are the same doors.
#[derive(Clone)]
pub struct Doors(Arc<Inner>);

struct Inner {
    auth: WebAuth,
    /// Whether other hosts can reach the address.
    beyond_loopback: bool,
    hosts: Vec<String>,
    users: Reread<Users>,
    passwords: Passwords,
    sessions: Sessions,
    audit: AuditLog,
    trusted_header: Option<HeaderName>,
    trusted_proxies: Vec<IpNet>,
    body_limit: usize,
    request_timeout: Duration,
}

/// Why Causeway does not listen.
#[derive(Debug, thiserror::Error)]
pub enum DoorsError {
    /// Other hosts could reach it, and nobody could log in.
    #[error(
        "web.listen: {listen} can be reached from other hosts, which need a login, and {users_file} has no user; add one with \
         `causeway user add NAME --role admin`, listen on loopback, or write web.auth = \"none\" to let everybody do everything"
    )]
    NoUsers {
        /// The address.
        listen: String,
        /// Where users would be.
        users_file: String,
    },
    /// Other hosts could reach it, and it is not known who may in.
    #[error("{0}; web.listen can be reached from other hosts, so nothing is listened on until that is right")]
    Users(String),
    /// The system gives no random bytes.
    #[error("{0}")]
    System(String),
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("auth", &self.0.auth).finish_non_exhaustive()
    }
}

impl Doors {
    /// Reads who may in.
    ///
    /// # Errors
    /// Other hosts could reach it, and there is no user.
    pub fn open(config: &Config) -> Result<Self, DoorsError> {
        let web = &config.web;
        let path = config.users_file();
        if let Err(error) = tighten(&path, 0o600) {
            tracing::warn!("users file {error}: others may read it; chmod 600 it");
        }
        let reading = path.clone();
        let read = move || users::read(&reading).inspect(tell_mistakes);
        let users = if web.auth == WebAuth::Login && web.is_beyond_loopback() {
            Reread::open(vec![path.clone()], read).map_err(DoorsError::Users)?
        } else {
            // Reading goes on; nobody can log in until the file is right.
            Reread::open_or(vec![path.clone()], Users::default(), read)
        };
        if let Some(error) = nobody(config, &users.get()) {
            return Err(error);
        }
        let state_dir = &config.haproxy.state_dir;
        Ok(Self(Arc::new(Inner {
            auth: web.auth,
            beyond_loopback: web.is_beyond_loopback(),
            hosts: web.hosts.clone(),
            users,
            passwords: Passwords::new().map_err(DoorsError::System)?,
            sessions: Sessions::open(&state_dir.join("sessions.json")),
            audit: AuditLog::of(state_dir),
            trusted_header: web.trusted_header.as_ref().and_then(|name| name.parse().ok()),
            trusted_proxies: web.trusted_networks(),
            body_limit: web.body_limit,
            request_timeout: web.request_timeout,
        })))
    }

    /// What is wrong with the users file, and what would keep [`open`](Self::open) from listening.
    #[must_use]
    pub fn mistakes(config: &Config) -> Vec<String> {
        let users = match users::read(&config.users_file()) {
            Ok(users) => users,
            Err(error) => return vec![error],
        };
        let mut mistakes: Vec<String> =
            users.mistakes.iter().map(|mistake| format!("users file: {mistake}")).collect();
        mistakes.extend(nobody(config, &users).map(|error| error.to_string()));
        mistakes
    }

    /// Says what an operator should know of how open it is.
    pub fn tell(config: &Config) {
        let web = &config.web;
        if web.listen.is_empty() {
            return;
        }
        if web.auth == WebAuth::None {
            tracing::warn!(
                "web.auth = \"none\": whoever reaches {} may change where traffic goes, without a login",
                web.listen
            );
            return;
        }
        if web.is_beyond_loopback() && web.tls.certificate.is_none() {
            tracing::warn!(
                "web.listen: passwords and tokens come to {} in clear text; set web.tls, or let only a proxy that has TLS reach it",
                web.listen
            );
        }
        if let Some(key) = &web.tls.key
            && std::fs::metadata(key).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
        {
            tracing::warn!("web.tls.key: everybody may read {}; chmod 600 it", key.display());
        }
        if web.trusted_header.is_some() && web.trusted_networks().iter().any(|net| net.addr().is_loopback()) {
            tracing::warn!(
                "web.trusted_proxies: every program on this host, tasks with the host's network too, can come from loopback \
                 and name any user in {}",
                web.trusted_header.as_deref().unwrap_or_default()
            );
        }
    }

    /// Puts the doors before a router: nothing in it is reached but through them. Adds `/api/v2/session` and `/logout`.
    pub(crate) fn guard(&self, router: Router) -> Router {
        router
            .merge(session_api::routes(self.clone()))
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self.clone(), at_the_door))
            // Whatever lets a browser in without asking it (a cookie, a proxy, loopback, nothing at all), no page of elsewhere
            // makes use of it.
            .layer(CsrfLayer::new().with_rejection_response(foreign))
            .layer(middleware::map_response(with_security_headers))
    }
}

/// Why nothing is listened on: other hosts could reach it, and nobody could log in.
fn nobody(config: &Config, users: &Users) -> Option<DoorsError> {
    let web = &config.web;
    let needs_users = web.auth == WebAuth::Login && web.is_beyond_loopback();
    (needs_users && users.users.is_empty()).then(|| DoorsError::NoUsers {
        listen: web.listen.clone(),
        users_file: config.users_file().display().to_string(),
    })
}

fn tell_mistakes(users: &Users) {
    for mistake in &users.mistakes {
        tracing::error!("users file: {mistake}; it is as if it were not there");
    }
}

/// Says no to a page of elsewhere.
fn foreign(error: ProtectionError) -> Response {
    tracing::debug!("a browser was made to ask for a change by a page of another origin ({error}); refused");
    ApiError::forbidden(
        "this comes from a page of another origin; only Causeway's own pages may change something",
    )
    .into_response()
}

/// What each answer says to browsers. Pages set a policy of their own for what they show.
async fn with_security_headers(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 7] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: a browser would then send forms with the origin `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// How somebody is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Who it is, and what he may do.
    caller: Caller,
    /// How: `socket`, `session`, `basic`, `token`, `proxy`, `nobody`.
    by: &'static str,
}

/// From where a request comes, as far as it is believed.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// The client's address, or loopback's for our own socket.
    ip: IpAddr,
    /// Whether the client speaks TLS.
    tls: bool,
}

async fn at_the_door(State(doors): State<Doors>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        tracing::error!("a request came by a door that does not say who is there");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let inner = &doors.0;
    let is_socket = matches!(peer, Peer::SystemUser(_));
    if !is_socket && !inner.beyond_loopback && !hosts::is_for_us(&request, &inner.hosts) {
        let words = "only the names of loopback (127.0.0.1, [::1], localhost) are answered to; others belong into web.hosts";
        return ApiError::new(StatusCode::MISDIRECTED_REQUEST, words).into_response();
    }
    // Rules of a whole cluster come by the socket in one body, and events of old Marathons hold the whole group twice.
    let large = is_socket || request.uri().path().starts_with(CALLBACK);
    let limit = if large { inner.body_limit.max(LARGE_BODY) } else { inner.body_limit };
    if let Err(answer) = limit_body(&mut request, limit) {
        return answer.into_response();
    }
    let origin = doors.origin(&peer, request.headers());
    let known = match &peer {
        Peer::SystemUser(name) => {
            Ok(Some(Identity { caller: Caller::user(name, Role::Admin), by: "socket" }))
        }
        Peer::Address { .. } if inner.auth == WebAuth::None => {
            Ok(Some(Identity { caller: Caller { name: None, role: Role::Admin }, by: "nobody" }))
        }
        // Nothing is tried where nothing is needed.
        Peer::Address { .. } if is_open(&request) => Ok(None),
        Peer::Address { ip, .. } => doors.identify(*ip, origin.ip, request.headers()).await,
    };
    let known = match known {
        Ok(known) => known,
        Err(refused) => return refused.into_response(&request),
    };
    let from = if is_socket { "web.socket".to_owned() } else { origin.ip.to_string() };
    let who = match known {
        Some(who) => who,
        None if is_open(&request) => Identity { caller: Caller::anonymous(), by: "nobody" },
        None if !inner.beyond_loopback && request.method().is_safe() => {
            Identity { caller: Caller::anonymous(), by: "nobody" }
        }
        None => return inner.ask_for_login(&request),
    };
    // No handler has to know how somebody was let in.
    request.headers_mut().remove(header::AUTHORIZATION);
    if let Some(name) = &inner.trusted_header {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(who.caller.clone());
    request.extensions_mut().insert(who.clone());
    request.extensions_mut().insert(origin);
    if request.method().is_safe() {
        return in_time(inner.request_timeout, next.run(request)).await;
    }
    // In a task of its own: who goes away meanwhile does not stop half way what he began, and it is written down.
    let doing = tokio::spawn(write(doors.clone(), who, from, request, next));
    doing.await.unwrap_or_else(|error| {
        tracing::error!("a request has failed: {error}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

/// Does what changes something, if he may, and writes it down.
async fn write(doors: Doors, who: Identity, from: String, mut request: Request, next: Next) -> Response {
    let open = is_open(&request);
    let audit = Audit::default();
    if let Some(why) = request.headers().get(WHY) {
        audit.why(&String::from_utf8_lossy(why.as_bytes()));
    }
    request.extensions_mut().insert(audit.clone());
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let response = if who.caller.may_write() || open {
        in_time(doors.0.request_timeout, next.run(request)).await
    } else {
        ApiError::forbidden("the role viewer changes nothing").into_response()
    };
    let said = audit.said();
    // What is open to everybody changes nothing but who is logged in, and says so itself.
    if (!open || said.who.is_some()) && !said.changes_nothing {
        let status = response.status().as_u16();
        let entry = Entry::now(who.caller.name(), who.by, from, &method, &path, status);
        doors.0.audit.record(entry, said).await;
    }
    response
}

/// The answer, or that it took too long: the body of the request did not come, or somebody asked waits.
async fn in_time(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let words =
            format!("this took longer than web.request_timeout ({limit:?}); what became of it is not known");
        let mut response = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, words).into_response();
        // The rest of a body that is still to come is not waited for.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

/// Lets no more of a body through than it may have, whatever it says of itself.
fn limit_body(request: &mut Request, limit: usize) -> Result<(), ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > limit)) {
        let words = format!("the body has more than web.body_limit ({limit} bytes)");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, words));
    }
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = axum::body::Body::new(Limited::new(body, limit));
    Ok(())
}

fn is_open(request: &Request) -> bool {
    let path = request.uri().path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_asset = path.starts_with(ASSETS) && request.method().is_safe();
    is_asset || OPEN.iter().any(|(methods, open)| *open == path && methods.contains(request.method()))
}

/// Whether a person's browser asks, which would show a box of its own for a password.
fn is_browser(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, what: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(what))
    };
    headers.contains_key("sec-fetch-mode")
        || says(header::USER_AGENT, "Mozilla/")
        || says(header::ACCEPT, "text/html")
}

impl Inner {
    /// Says that a login is needed: to scripts how, to a browser where.
    fn ask_for_login(&self, request: &Request) -> Response {
        let accepts_page = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        if request.method() == Method::GET && accepts_page.is_some_and(|accept| accept.contains("text/html"))
        {
            let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let next: String = url_encoded(next);
            return Redirect::to(&format!("{LOGIN}?next={next}")).into_response();
        }
        let mut response = ApiError::nobody().into_response();
        if !is_browser(request.headers()) {
            for way in ["Basic realm=\"Causeway\", charset=\"UTF-8\"", "Bearer realm=\"Causeway\""] {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(way));
            }
        }
        response
    }
}

/// A text as the value of a query.
fn url_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests;
