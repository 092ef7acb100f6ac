//! What changed, and a stream of it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use utoipa::{IntoParams, ToSchema};

use super::servers::Scope;
use super::{Asked, page};
use crate::history::{Change, History, How, moment};
use crate::model::{AppId, ServiceId};
use crate::render::without_secrets;
use crate::web::{ApiError, Caller, Seen};

pub(super) fn router() -> Router<Seen> {
    Router::new()
        .route("/api/v2/changes", get(changes))
        .route("/api/v2/changes/{id}", get(change))
        .route("/api/v2/stream", get(follow))
}

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Filter {
    /// Only those of this app's first service, or of the one with `port_index`.
    pub(in crate::web) app: Option<String>,
    /// With `app`.
    pub(in crate::web) port_index: Option<usize>,
    /// Only those before this id: the `next` of the answer before.
    pub(in crate::web) before: Option<u64>,
    /// At most so many.
    pub(in crate::web) limit: Option<usize>,
}

/// A service that something happened to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangedService {
    /// The app.
    pub app: String,
    /// The index of its port.
    pub port_index: usize,
}

/// Why a reload was needed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownReason {
    /// start, slots, head, drift, servers, section_added, section_removed, section_changed, file.
    pub kind: &'static str,
    /// The same in words.
    pub why: String,
}

/// One change.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownChange {
    /// Its number; a later one has a higher number. They begin anew when Causeway starts.
    pub id: u64,
    /// When it was done.
    pub at: String,
    /// runtime, reload, start, failed, rollback, release, or server (somebody set one by hand).
    pub how: &'static str,
    /// What happened, a line a service; the first of them.
    pub events: Vec<String>,
    /// How many services something happened to.
    pub events_total: usize,
    /// The services of `events`.
    pub services: Vec<ChangedService>,
    /// `runtime`: how many steps it took.
    pub steps: Option<usize>,
    /// `reload`, `start`, `rollback`: the generation.
    pub generation: Option<u64>,
    /// `reload`: why it was needed; the first reasons.
    pub reasons: Vec<ShownReason>,
    /// `reload`: how many reasons there were.
    pub reasons_total: usize,
    /// `failed`: why.
    pub error: Option<String>,
    /// `rollback`, `release`, `server`: who did it.
    pub by: Option<String>,
    /// `rollback`, `release`, `server`: what for.
    pub why: Option<String>,
    /// `server`: the task.
    pub task: Option<String>,
    /// `server`: ready or drain.
    pub state: Option<&'static str>,
    /// `server`: its weight.
    pub weight: Option<u32>,
    /// `server`: node or fleet.
    pub scope: Option<Scope>,
    /// Seconds that the round took, with its proof.
    pub took_seconds: f64,
    /// Seconds from the moment that the oldest event came in that asked for it.
    pub event_to_applied_seconds: Option<f64>,
}

/// Changes, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangePage {
    /// The changes.
    pub changes: Vec<ShownChange>,
    /// What to ask for next (`before`); `null` at the end.
    pub next: Option<u64>,
}

/// A change, with what it did to the text.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeDetail {
    /// The change.
    #[serde(flatten)]
    pub change: ShownChange,
    /// `runtime`: the first commands that HAProxy was given.
    pub commands: Vec<String>,
    /// The unified difference of the text of these services and of the shared head, without secrets; `null` where the texts of
    /// then are not kept any more.
    pub difference: Option<String>,
}

impl From<&Change> for ShownChange {
    fn from(change: &Change) -> Self {
        let of = |service: &ServiceId| ChangedService {
            app: service.app.to_string(),
            port_index: service.port_index,
        };
        let mut shown = Self {
            id: change.id,
            at: moment(change.at),
            how: "",
            events: change.events.clone(),
            events_total: change.events_total,
            services: change.services.iter().map(of).collect(),
            steps: None,
            generation: None,
            reasons: Vec::new(),
            reasons_total: 0,
            error: None,
            by: None,
            why: None,
            task: None,
            state: None,
            weight: None,
            scope: None,
            took_seconds: change.took_seconds,
            event_to_applied_seconds: change.event_to_applied_seconds,
        };
        shown.tell(&change.how);
        shown
    }
}

impl ShownChange {
    fn tell(&mut self, how: &How) {
        let mut person = |by: &str, why: &str| {
            self.by = Some(by.to_owned());
            self.why = Some(why.to_owned());
        };
        self.how = match how {
            How::Runtime { steps } => {
                self.steps = Some(*steps);
                "runtime"
            }
            How::Reload { generation, reasons, reasons_total } => {
                let shown = |reason: &crate::plan::Reason| ShownReason {
                    kind: reason.kind(),
                    why: reason.to_string(),
                };
                self.generation = Some(*generation);
                self.reasons = reasons.iter().map(shown).collect();
                self.reasons_total = *reasons_total;
                "reload"
            }
            How::Start { generation } => {
                self.generation = Some(*generation);
                "start"
            }
            How::Failed { error } => {
                self.error = Some(error.clone());
                "failed"
            }
            How::Rollback { generation, by, why } => {
                person(by, why);
                self.generation = Some(*generation);
                "rollback"
            }
            How::Release { by, why } => {
                person(by, why);
                "release"
            }
            How::Server { task, state, weight, by, why, fleet } => {
                person(by, why);
                self.task = Some(task.clone());
                self.state = Some(state.as_str());
                self.weight = Some(*weight);
                self.scope = Some(Scope::of(*fleet));
                "server"
            }
        };
    }
}

/// The last changes: what changed, why, how, and how long it took.
#[utoipa::path(get, path = "/api/v2/changes", tag = "changes", params(Filter),
    responses((status = 200, body = ChangePage), (status = 400, description = "An unknown parameter")))]
pub(in crate::web) async fn changes(
    _caller: Caller,
    State(history): State<History>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<ChangePage>, ApiError> {
    let limit = page(filter.limit);
    let found = match &filter.app {
        Some(app) => {
            let service = ServiceId { app: AppId::new(app), port_index: filter.port_index.unwrap_or(0) };
            history.of(&service, filter.before, limit)
        }
        None => history.before(filter.before, limit),
    };
    let next = found.last().filter(|_| found.len() == limit).map(|change| change.id);
    let changes = found.iter().map(|change| ShownChange::from(change.as_ref())).collect();
    Ok(Json(ChangePage { changes, next }))
}

/// One change, with what it did to the text.
#[utoipa::path(get, path = "/api/v2/changes/{id}", tag = "changes", params(("id" = u64, Path, description = "Its number")),
    responses((status = 200, body = ChangeDetail), (status = 404, description = "It is not known, or not any more")))]
pub(in crate::web) async fn change(
    _caller: Caller,
    State(history): State<History>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<ChangeDetail>, ApiError> {
    let Path(id) = id?;
    let Some((change, texts)) = history.get(id) else {
        let detail = format!("there is no change {id}; the last 500 are kept, since Causeway started");
        return Err(ApiError::new(StatusCode::NOT_FOUND, detail));
    };
    let drawn = tokio::task::spawn_blocking(move || {
        let commands = texts.iter().flat_map(|texts| texts.steps()).collect();
        (commands, texts.map(|texts| without_secrets(&texts.difference())))
    });
    let (commands, difference) = drawn.await.unwrap_or_default();
    Ok(Json(ChangeDetail { change: ShownChange::from(change.as_ref()), commands, difference }))
}

/// Every change as it is done, as server-sent events: `change` with the change as its data and its id. Who comes back with
/// `Last-Event-ID` gets what he missed; where that is not known any more, or he is too slow, `resync`: ask for everything again.
#[utoipa::path(get, path = "/api/v2/stream", tag = "changes",
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 503, description = "Too many streams")))]
pub(super) async fn follow(
    _caller: Caller,
    State(history): State<History>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Some(place) = history.place() else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "there are too many streams; ask again later",
        ));
    };
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (missed, told) = history.follow(after);
    let first = match missed {
        Some(missed) => missed.iter().map(|change| event_of(change)).collect(),
        None => vec![resync()],
    };
    let coming = stream::unfold((told, place), next);
    let events = stream::iter(first).chain(coming).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

type Listening = (broadcast::Receiver<Arc<Change>>, OwnedSemaphorePermit);

async fn next((mut told, place): Listening) -> Option<(Event, Listening)> {
    let event = match told.recv().await {
        Ok(change) => event_of(&change),
        Err(broadcast::error::RecvError::Lagged(_)) => resync(),
        Err(broadcast::error::RecvError::Closed) => return None,
    };
    Some((event, (told, place)))
}

fn event_of(change: &Change) -> Event {
    let event = Event::default().event("change").id(change.id.to_string());
    event.json_data(ShownChange::from(change)).unwrap_or_else(|_| resync())
}

fn resync() -> Event {
    Event::default().event("resync").data("{}")
}
