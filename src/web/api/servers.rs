//! Setting one server by hand: drained before work on its host, back afterwards, with less weight for a try.

use axum::Extension;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::Json;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::detail::{Which, find};
use super::{Asked, said};
use crate::model::{AppId, TaskId};
use crate::placement::Admin;
use crate::reconcile::orders::Order;
use crate::reconcile::standing::Running;
use crate::view::View;
use crate::web::{ApiError, Audit, Caller};

/// HAProxy's most (configuration manual, 5.2, `weight`).
const WEIGHT_MAX: u32 = 256;

/// What is to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerOrder {
    /// `drain`: no new requests but those that stick; `ready`: as before.
    pub state: OrderedState,
    /// Its weight, 0 to 256. Where it is not said: as it is for `drain`, and what it was before for `ready`.
    pub weight: Option<u32>,
    /// What for; everybody who looks at the server sees it.
    pub why: String,
}

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderedState {
    /// It does.
    Ready,
    /// Only those that stick to it.
    Drain,
}

/// What was set.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServerSet {
    /// The app.
    pub app: String,
    /// The index of its port.
    pub port_index: usize,
    /// The task.
    pub task: String,
    /// Whether it takes requests.
    pub state: OrderedState,
}

/// Sets a server by hand, on this node. It is kept over reloads and restarts for `haproxy.by_hand_timeout`, and undone by
/// `ready`. Answers once HAProxy has it.
#[utoipa::path(post, path = "/api/v2/services/{id}/servers/{task}", tag = "services", request_body = ServerOrder,
    params(("id" = String, Path, description = "The app's id"), ("task" = String, Path, description = "The task's id"), Which),
    responses((status = 200, body = ServerSet), (status = 403, description = "An app of others"),
        (status = 404, description = "No such server gets requests"), (status = 422, description = "A value that cannot be used"),
        (status = 503, description = "HAProxy does not have it yet")))]
pub(in crate::web) async fn set_server(
    caller: Caller,
    Extension(audit): Extension<Audit>,
    path: Result<Path<String>, PathRejection>,
    Asked(which): Asked<Which>,
    State(view): State<View>,
    State(running): State<Running>,
    order: Result<Json<ServerOrder>, JsonRejection>,
) -> Result<Json<ServerSet>, ApiError> {
    let Path(path) = path?;
    let Some((app, task)) = path.rsplit_once("/servers/") else {
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "POST is for …/servers/{task}"));
    };
    let app = AppId::new(app);
    if !caller.may_edit(&app) {
        return Err(ApiError::forbidden(format!("{} may not change {app}", caller.name())));
    }
    let Json(order) = order?;
    let why = said("why", &order.why)?;
    audit.why(&why);
    if let Some(weight) = order.weight.filter(|weight| *weight > WEIGHT_MAX) {
        let detail = format!("weight: {weight} is above {WEIGHT_MAX}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let service = find(&view, &app, which.port_index)?.id.clone();
    let port_index = service.port_index;
    let admin = match order.state {
        OrderedState::Ready => Admin::Ready,
        OrderedState::Drain => Admin::Drain,
    };
    let by = caller.name().to_owned();
    let task = TaskId::new(task);
    let order_given = Order::Server { service, task: task.clone(), admin, weight: order.weight, by, why };
    running.order(order_given).await?;
    Ok(Json(ServerSet { app: app.to_string(), port_index, task: task.to_string(), state: order.state }))
}
