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
use crate::fleet::FleetError;
use crate::fleet::orders::ServerOrder as FleetWide;
use crate::model::{AppId, TaskId};
use crate::placement::{Admin, WEIGHT_MAX};
use crate::reconcile::orders::{Order, OrderError};
use crate::web::fleet::{FleetOrder, order_shown};
use crate::web::{ApiError, Audit, Caller, Seen};

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
    /// Where: on this node, which it is where nobody says otherwise, or on every node of the fleet.
    #[serde(default)]
    pub scope: Scope,
}

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderedState {
    /// It does.
    Ready,
    /// Only those that stick to it.
    Drain,
}

/// Where something is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// On this node.
    #[default]
    Node,
    /// On every node that shares the rules with this one.
    Fleet,
}

impl Scope {
    /// The scope of what was ordered for the fleet, or not.
    pub(super) fn of(fleet: bool) -> Self {
        if fleet { Self::Fleet } else { Self::Node }
    }
}

impl OrderedState {
    /// What HAProxy is to be told.
    pub(in crate::web) fn admin(self) -> Admin {
        match self {
            Self::Ready => Admin::Ready,
            Self::Drain => Admin::Drain,
        }
    }
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
    /// Where.
    pub scope: Scope,
    /// `scope` is `fleet`: who has carried it out, and who has not yet.
    pub fleet: Option<FleetOrder>,
}

/// Sets a server by hand, on this node or on every node of the fleet. It is kept over reloads and restarts for
/// `haproxy.by_hand_timeout`, and undone by `ready`. Answers once HAProxy has it; for the fleet, once every node that is here has
/// said what became of it, or after three seconds.
#[utoipa::path(post, path = "/api/v2/services/{id}/servers/{task}", tag = "services", request_body = ServerOrder,
    params(("id" = String, Path, description = "The app's id"), ("task" = String, Path, description = "The task's id"), Which),
    responses((status = 200, body = ServerSet), (status = 202, body = ServerSet, description = "Ordered for the fleet; some node has not carried it out yet"),
        (status = 403, description = "An app of others"),
        (status = 404, description = "No such server gets requests"),
        (status = 409, description = "`fleet`: rules are in a file of this node; or `haproxy.by_hand_timeout` is 0"),
        (status = 422, description = "A value that cannot be used"),
        (status = 503, description = "HAProxy does not have it yet; `fleet`: ZooKeeper does not answer, nothing was ordered")))]
pub(in crate::web) async fn set_server(
    caller: Caller,
    Extension(audit): Extension<Audit>,
    path: Result<Path<String>, PathRejection>,
    Asked(which): Asked<Which>,
    State(seen): State<Seen>,
    order: Result<Json<ServerOrder>, JsonRejection>,
) -> Result<(StatusCode, Json<ServerSet>), ApiError> {
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
    if order.scope == Scope::Fleet {
        audit.about("the fleet");
    }
    if let Some(weight) = order.weight.filter(|weight| *weight > WEIGHT_MAX) {
        let detail = format!("weight: {weight} is above {WEIGHT_MAX}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let Seen { running, fleet, .. } = &seen;
    let service = find(&seen.view.borrow().clone(), &app, which.port_index)?.id.clone();
    let port_index = service.port_index;
    let (admin, by, task) = (order.state.admin(), caller.name().to_owned(), TaskId::new(task));
    let mut set = ServerSet {
        app: app.to_string(),
        port_index,
        task: task.to_string(),
        state: order.state,
        scope: order.scope,
        fleet: None,
    };
    if order.scope == Scope::Node {
        let given = Order::Server { service, task, admin, weight: order.weight, by, why, fleet: None };
        running.order(given).await?;
        return Ok((StatusCode::OK, Json(set)));
    }
    let at = jiff::Timestamp::now();
    let until = at.saturating_add(running.by_hand_timeout()).unwrap_or(at);
    let ordered = FleetWide { service, task, admin, weight: order.weight, by, why, at, until };
    // What this node could never carry out is a mistake, and nobody's order.
    match running.order(ordered.given(true)).await {
        Ok(()) | Err(OrderError::NotYet) => {}
        Err(error) => return Err(error.into()),
    }
    let zxid = fleet.order(&ordered).await?;
    fleet.settled(zxid).await;
    let nodes = fleet.nodes().await;
    let shown = order_shown(fleet, (zxid, &ordered), &nodes);
    let status = if shown.is_done() { StatusCode::OK } else { StatusCode::ACCEPTED };
    set.fleet = Some(shown);
    Ok((status, Json(set)))
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Alone => Self::new(StatusCode::CONFLICT, error.to_string()),
            FleetError::Store(error) => Self::from(error),
        }
    }
}
