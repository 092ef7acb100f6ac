//! Causeway's own HTTP server: metrics, health, status, the API, the pages. Who may in is the [`Doors`]' business.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Path, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::history::History;
use crate::model::TaskId;
use crate::reconcile::standing::Running;
use crate::telemetry::Metrics;
use crate::view::View;
use api::status::Origins;

#[allow(unused_qualifications, reason = "utoipa writes them")]
pub mod api;
mod bamboo;
pub mod callback;
mod caller;
pub mod doors;
mod error;
#[allow(unused_qualifications, reason = "utoipa writes them")]
pub mod fleet;
pub mod marathon_lb;
mod pages;
mod reread;
#[allow(unused_qualifications, reason = "utoipa writes them")]
pub mod rules;
mod server;

pub use callback::Callback;
pub use caller::{Caller, Role};
pub use doors::{Audit, Doors, DoorsError};
pub use error::ApiError;
pub use rules::RuleDesk;
pub use server::{Door, Peer, WebError, serve};

/// What is shown.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What is counted.
    pub metrics: Metrics,
    /// What runs.
    pub running: Running,
    /// What is known of apps, services and rules.
    pub view: watch::Receiver<View>,
    /// The log of changes.
    pub history: History,
    /// Where apps and rules come from.
    pub origins: Origins,
    /// Where rules are read and written.
    pub rules: RuleDesk,
    /// Where Marathon's callbacks go.
    pub callback: Callback,
    /// This Causeway among the others.
    pub fleet: Fleet,
    /// The variables of apps that `/api/state` shows.
    pub state_env: Arc<[String]>,
    /// Who may in.
    pub doors: Doors,
}

impl FromRef<Seen> for View {
    fn from_ref(seen: &Seen) -> Self {
        seen.view.borrow().clone()
    }
}

impl FromRef<Seen> for History {
    fn from_ref(seen: &Seen) -> Self {
        seen.history.clone()
    }
}

impl FromRef<Seen> for Callback {
    fn from_ref(seen: &Seen) -> Self {
        seen.callback.clone()
    }
}

impl FromRef<Seen> for RuleDesk {
    fn from_ref(seen: &Seen) -> Self {
        seen.rules.clone()
    }
}

impl FromRef<Seen> for Metrics {
    fn from_ref(seen: &Seen) -> Self {
        seen.metrics.clone()
    }
}

impl FromRef<Seen> for Running {
    fn from_ref(seen: &Seen) -> Self {
        seen.running.clone()
    }
}

fn router(seen: Seen) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/api/v2/tasks/{task}", get(task))
        .merge(api::router())
        .merge(rules::router())
        .merge(bamboo::router())
        .merge(fleet::router())
        .merge(pages::router())
        .fallback(pages::no_such_page)
        .with_state(seen)
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    let texts = metrics.texts().map(Ok::<_, std::convert::Infallible>);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(stream::iter(texts))).into_response()
}

async fn ready(State(metrics): State<Metrics>) -> Response {
    let standing = metrics.standing();
    let status = if standing.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": standing.ready, "waits_for": standing.waits_for }))).into_response()
}

/// `OK`, as Bamboo says it to whoever watches it, for as long as Causeway runs; how it stands, for who asks for JSON.
async fn status(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let asked = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    match asked.contains("application/json") {
        true => Json(metrics.standing()).into_response(),
        false => "OK".into_response(),
    }
}

/// Where tasks stand, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(task))]
struct DescribedTask;

/// Where a task stands, and whether it is safe to kill. A task that nobody knows is: nothing leads to it.
#[utoipa::path(get, path = "/api/v2/tasks/{task}", tag = "services", params(("task" = String, Path, description = "The task's id")),
    responses((status = 200, description = "`safe_to_kill`, why, each server that it is, and what workers of before have of it", body = Object),
    (status = 503, description = "HAProxy does not answer")))]
async fn task(State(running): State<Running>, Path(task): Path<String>) -> Response {
    let unavailable = |why: String| {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": why, "safe_to_kill": false })))
            .into_response()
    };
    match running.task(&TaskId::new(&task)).await {
        Ok(Some(standing)) => Json(standing).into_response(),
        Ok(None) => unavailable("it is not known what HAProxy runs; ask again in a moment".to_owned()),
        Err(error) => unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
