//! Why a request goes where it goes.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Json;
use axum::routing::get;
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::detail::{ShownServer, servers_of};
use crate::model::ServiceId;
use crate::reconcile::standing::{Brought, Running};
use crate::view::View;
use crate::web::{ApiError, Caller, Seen};
use crate::why::{Asked, Ending, Frontend, FrontendKind, Known, Step, way};
use crate::wording::counted;

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/why", get(why))
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Asking {
    /// The URL; `http://` where it names no scheme.
    pub url: String,
    /// The method; GET where it is not said.
    pub method: Option<String>,
    /// A header, as `Name: value`; as often as there are headers.
    pub header: Vec<String>,
    /// The client's address; 192.0.2.1, somebody outside, where it is not said.
    pub from: Option<String>,
}

impl Asking {
    /// Reads a query, as a form of a page sends it too: header lines may come in one text.
    ///
    /// # Errors
    /// A parameter that is not known.
    pub fn of_query(query: &str) -> Result<Self, String> {
        let mut asking = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let some = (!value.trim().is_empty()).then(|| value.clone().into_owned());
            match &*name {
                "url" => asking.url = value.into_owned(),
                "method" => asking.method = some,
                "header" => asking
                    .header
                    .extend(value.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)),
                "from" => asking.from = some,
                other => {
                    return Err(format!("unknown parameter {other:?}; expected url, method, header, from"));
                }
            }
        }
        Ok(asking)
    }
}

/// The request as it was understood.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AskedShown {
    /// The URL.
    pub url: String,
    /// The method.
    pub method: String,
    /// The headers, as `Name: value`; of a login only that there is one.
    pub headers: Vec<String>,
    /// The client's address.
    #[schema(value_type = String)]
    pub from: IpAddr,
}

/// The way of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explained {
    /// The request.
    pub request: AskedShown,
    /// Whether HAProxy itself was asked.
    pub haproxy_asked: bool,
    /// Why it was not.
    pub not_asked_because: Option<String>,
    /// The steps.
    pub steps: Vec<Step>,
    /// How it ends.
    pub result: Ending,
    /// The servers of the backend.
    pub servers: Vec<ShownServer>,
    /// Why there is nothing of HAProxy's in the servers, where it did not answer.
    pub haproxy_error: Option<String>,
    /// Where what was worked out and what HAProxy says differ; HAProxy's word counts.
    pub differs: Option<String>,
    /// What cannot be known from here.
    pub not_known: Vec<String>,
}

/// Where a request would go, step by step. Nothing is sent to any app. HAProxy itself is asked for the backend.
#[utoipa::path(get, path = "/api/v2/why", tag = "services", params(Asking),
    responses((status = 200, body = Explained), (status = 400, description = "A request that cannot be asked about"),
        (status = 503, description = "It is not known what HAProxy runs")))]
pub(super) async fn why(
    _caller: Caller,
    State(view): State<View>,
    State(running): State<Running>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explained>, ApiError> {
    let wrong = |detail| ApiError::new(StatusCode::BAD_REQUEST, detail);
    let asking = Asking::of_query(&query.unwrap_or_default()).map_err(wrong)?;
    explain(&view, &running, &asking).await.map(Json)
}

/// Explains the way of a request.
///
/// # Errors
/// A request that cannot be asked about; what HAProxy runs is not known.
pub async fn explain(view: &View, running: &Running, asking: &Asking) -> Result<Explained, ApiError> {
    let wrong = |detail| ApiError::new(StatusCode::BAD_REQUEST, detail);
    let asked = Asked::parse(&asking.url, asking.method.as_deref(), &asking.header, asking.from.as_deref())
        .map_err(wrong)?;
    let brought = brought(running);
    let Some(text) = &brought.text else {
        let detail = "it is not known what HAProxy runs; ask again in a moment";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let frontend = Frontend::of(text, &asked);
    let (verdict, not_asked_because) = match &frontend {
        Some(frontend) if is_asked(frontend, &asked) => {
            match running.ask_why(&asked.question(frontend)).await {
                Some(Ok(verdict)) => (Some(verdict), None),
                Some(Err(error)) => (None, Some(error.to_string())),
                None => (None, Some("the template has no frontend to ask by".to_owned())),
            }
        }
        _ => (None, None),
    };
    let known = Known { text, view, verdict: verdict.as_ref(), trusted_proxies: running.trusted_proxies() };
    let mut way = way(&known, &asked, frontend.as_ref());
    let (servers, haproxy_error) = match &way.service {
        Some(id) => servers(view, running, id).await,
        None => Default::default(),
    };
    if way.ending.status.is_none() && way.ending.location.is_none() && all_down(&servers) {
        way.ending.status = Some(503);
        way.ending.sentence =
            format!("503: HAProxy's checks find none of {} up", counted(servers.len(), "server"));
    }
    if let Some(differs) = &way.differs {
        tracing::warn!(why.url = asked.url, "{differs}");
    }
    let not_known = not_known(text, frontend.as_ref());
    Ok(Explained {
        request: shown(&asked),
        haproxy_asked: verdict.is_some(),
        not_asked_because,
        servers,
        haproxy_error,
        steps: way.steps,
        result: way.ending,
        differs: way.differs,
        not_known,
    })
}

/// What HAProxy runs; where it is not ours to change while it runs, what it has loaded.
fn brought(running: &Running) -> Brought {
    let brought = running.brought();
    Brought { text: brought.text.or(brought.loaded), loaded: None, ..brought }
}

/// Whether HAProxy has a say in where a frontend leads.
fn is_asked(frontend: &Frontend, asked: &Asked) -> bool {
    frontend.tls == asked.tls
        && matches!(frontend.kind, FrontendKind::Routed | FrontendKind::AppId | FrontendKind::ServicePorts)
}

fn not_known(text: &crate::render::Text, frontend: Option<&Frontend>) -> Vec<String> {
    let mut not_known = Vec::new();
    let words = ["fe_name", "fe_id", "so_id", "so_name", "fe_conn"];
    let is_routed = frontend.is_some_and(|frontend| frontend.kind == FrontendKind::Routed);
    let asks =
        |line: &str| line.trim_start().starts_with("acl ") && words.iter().any(|word| line.contains(word));
    if is_routed && text.head.lines().any(asks) {
        not_known.push(
            "A criterion goes by the name or the load of the frontend; it was asked at a frontend of its own"
                .to_owned(),
        );
    }
    let http = text.head.split("\nfrontend https_in").next().unwrap_or_default();
    let own = ["http-request deny", "http-request tarpit", "use_backend h_", "use_backend t_"];
    if is_routed && own.iter().any(|words| http.contains(words)) {
        not_known.push(
            "Raw text stands in the shared frontends, and may lead or refuse requests by itself; that is not explained here"
                .to_owned(),
        );
    }
    not_known
}

fn shown(asked: &Asked) -> AskedShown {
    let secret = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| match secret.contains(name) {
        true => format!("{name}: (not shown)"),
        false => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
    };
    AskedShown {
        url: asked.url.clone(),
        method: asked.method.to_string(),
        headers: asked.headers.iter().map(line).collect(),
        from: asked.from,
    }
}

/// The servers of a service, with what HAProxy says of them now.
async fn servers(view: &View, running: &Running, id: &ServiceId) -> (Vec<ShownServer>, Option<String>) {
    let brought = brought(running);
    let Some(block) = brought.text.as_ref().and_then(|text| text.blocks.get(id)) else {
        return Default::default();
    };
    let (live, error) = match running.servers(&block.service.backend.name).await {
        Ok(live) => (live, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let app = view.apps.get(&id.app).map(AsRef::as_ref);
    (servers_of(&block.service, app, &brought, live), error)
}

/// Whether HAProxy lets no server take requests that Causeway lets.
fn all_down(servers: &[ShownServer]) -> bool {
    let mut serving = servers.iter().filter(|server| server.state == "serving").peekable();
    let is_down = |server: &ShownServer| {
        server.haproxy.as_ref().is_some_and(|figures| {
            ["DOWN", "MAINT", "NOLB", "DRAIN"].iter().any(|status| figures.status.starts_with(status))
        })
    };
    serving.peek().is_some() && serving.all(is_down)
}
