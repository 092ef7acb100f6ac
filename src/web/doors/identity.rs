//! Who asks: by what a trusted proxy says, by a token, by a password, by a session.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::passwords::Refusal;
use super::users::{User, check_name};
use super::{Doors, Identity, Origin};
use crate::web::{ApiError, Caller, Peer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The name of the session's cookie; under TLS one that a browser takes only from this host and by TLS (RFC 6265bis, 4.1.3.2).
const COOKIE: &str = "causeway_session";
const COOKIE_TLS: &str = "__Host-causeway_session";

/// Why somebody who said who he is was not believed.
#[derive(Debug)]
pub(super) enum NotKnown {
    /// What he showed is not right, in these words.
    Wrong(&'static str),
    /// The proxy names somebody who is no user.
    NoUser,
    /// Wrong passwords before; nothing was tried.
    Later(Duration),
    /// Too many others log in.
    Busy,
}

impl From<Refusal> for NotKnown {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wrong => Self::Wrong("the user or the password is wrong"),
            Refusal::Later(wait) => Self::Later(wait),
            Refusal::Busy => Self::Busy,
        }
    }
}

impl NotKnown {
    /// What is answered.
    pub(super) fn into_response(self, request: &Request) -> Response {
        let mut response = ApiError::from(&self).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Wrong(_) if !super::is_browser(request.headers()) => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"Causeway\", charset=\"UTF-8\""),
                );
            }
            Self::Later(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(1)));
            }
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
            }
            _ => {}
        }
        response
    }
}

impl From<&NotKnown> for ApiError {
    fn from(not_known: &NotKnown) -> Self {
        match not_known {
            NotKnown::Wrong(why) => Self::new(StatusCode::UNAUTHORIZED, *why),
            NotKnown::NoUser => {
                Self::forbidden("the proxy names somebody who is no user of Causeway; see causeway user add")
            }
            NotKnown::Later(_) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong passwords; try again after the seconds in Retry-After",
            ),
            NotKnown::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many log in at once; try again in a moment")
            }
        }
    }
}

impl Doors {
    /// Finds out who asks. `peer` is who is connected, `client` who is behind it.
    pub(super) async fn identify(
        &self,
        peer: IpAddr,
        client: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, NotKnown> {
        if let Some(name) = self.named_by_proxy(peer, headers)? {
            let users = self.0.users.get();
            let user = users.users.get(name).ok_or(NotKnown::NoUser)?;
            return Ok(Some(Identity::user(name, user, "proxy")));
        }
        if let Some(authorization) = headers.get(header::AUTHORIZATION) {
            let words = "Authorization is neither Basic nor Bearer";
            let text = authorization.to_str().map_err(|_| NotKnown::Wrong(words))?;
            let (scheme, text) = text.split_once(' ').ok_or(NotKnown::Wrong(words))?;
            return match scheme {
                scheme if scheme.eq_ignore_ascii_case("basic") => self.by_password(text.trim(), client).await,
                scheme if scheme.eq_ignore_ascii_case("bearer") => self.by_token(text.trim()),
                _ => Err(NotKnown::Wrong(words)),
            }
            .map(Some);
        }
        Ok(self.by_session(headers))
    }

    /// Whom a proxy that is believed names. What anybody else says there is not looked at.
    fn named_by_proxy<'a>(&self, peer: IpAddr, headers: &'a HeaderMap) -> Result<Option<&'a str>, NotKnown> {
        let Some(name) = self.0.trusted_header.as_ref().filter(|_| self.trusts(peer)) else {
            return Ok(None);
        };
        let mut named = headers.get_all(name).iter();
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(name), None) => match name.to_str() {
                Ok("") => Ok(None),
                name => name.map(Some).map_err(|_| NotKnown::NoUser),
            },
            // One of them may be the client's own.
            _ => Err(NotKnown::Wrong("the proxy names more than one user; it has to replace the header")),
        }
    }

    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.0.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    fn by_token(&self, text: &str) -> Result<Identity, NotKnown> {
        let users = self.0.users.get();
        let token = users.token(text).ok_or(NotKnown::Wrong("there is no such token"))?;
        if token.expires.is_some_and(|expires| expires <= Timestamp::now()) {
            return Err(NotKnown::Wrong("the token has expired"));
        }
        // No user has a name with a colon.
        Ok(Identity {
            caller: Caller::user(format!("token:{}", token.name), token.role.clone()),
            by: "token",
        })
    }

    async fn by_password(&self, text: &str, client: IpAddr) -> Result<Identity, NotKnown> {
        let words = "Authorization: Basic is not a user and a password";
        let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(NotKnown::Wrong(words))?;
        let (name, password) = decoded.split_once(':').ok_or(NotKnown::Wrong(words))?;
        let user = self.log_in(name, password, client).await?;
        Ok(Identity::user(name, &user, "basic"))
    }

    /// The user with this name and password.
    pub(super) async fn log_in(&self, name: &str, password: &str, client: IpAddr) -> Result<User, Refusal> {
        let users = self.0.users.get();
        // Those that are slowed down fill no log; nor does what no user can be called, which may say anything.
        let refused = |refusal: &Refusal| {
            if *refusal == Refusal::Wrong && check_name(name).is_ok() {
                tracing::warn!(from = %client, "a login as {name} has failed: wrong user or password");
            }
        };
        self.0.passwords.verify(&users, name, password.into(), client).await.inspect_err(refused)?;
        users.users.get(name).cloned().ok_or(Refusal::Wrong)
    }

    fn by_session(&self, headers: &HeaderMap) -> Option<Identity> {
        let session = self.0.sessions.find(cookie(headers)?, Timestamp::now())?;
        let users = self.0.users.get();
        // His role is today's; another password than then, or no user any more, is no session.
        let user = users.users.get(&session.user).filter(|user| session.is_of(user))?;
        Some(Identity::user(&session.user, user, "session"))
    }

    /// From where a request comes: of proxies that are believed, what they say.
    pub(super) fn origin(&self, peer: &Peer, headers: &HeaderMap) -> Origin {
        let Peer::Address { ip, tls } = *peer else {
            return Origin { ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), tls: false };
        };
        if !self.trusts(ip) {
            return Origin { ip, tls };
        }
        let hops = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<IpAddr> =
            hops.flat_map(|hops| hops.split(',')).map_while(|hop| hop.trim().parse().ok()).collect();
        // The last that is no proxy of ours: what stands before it may be invented.
        let client = hops.into_iter().rev().find(|hop| !self.trusts(*hop)).unwrap_or(ip);
        let by_tls = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes() == b"https");
        Origin { ip: client, tls: tls || by_tls }
    }
}

impl Identity {
    pub(super) fn user(name: &str, user: &User, by: &'static str) -> Self {
        Self { caller: Caller::user(name, user.role.clone()), by }
    }
}

/// What the cookie of a session says.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| [COOKIE, COOKIE_TLS].contains(name)).map(|(_, value)| value)
}

/// The header that gives a browser its cookie (`seconds` from now), or takes it away (0).
pub(super) fn set_cookie(value: &str, seconds: i64, tls: bool) -> HeaderValue {
    let (name, secure) = if tls { (COOKIE_TLS, "; Secure") } else { (COOKIE, "") };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}
