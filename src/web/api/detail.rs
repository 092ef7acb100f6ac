//! One service, with everything that is known of it.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Json;
use axum::routing::get;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::apps::{WhyNot, why_not};
use super::changes::ShownChange;
use super::servers::Scope;
use super::services::{Rows, ServiceRow, shown};
use super::shown::{ShownProblem, of_service};
use super::{Asked, servers};
use crate::config::Checks;
use crate::fleet::Fleet;
use crate::haproxy::stats::ServerFigures;
use crate::history::moment;
use crate::model::{App, AppId, Health, Route, Service, ServiceId, Task, TaskId, TaskState};
use crate::placement::{Occupant, Slot};
use crate::reconcile::standing::Brought;
use crate::render::without_secrets;
use crate::services::explained;
use crate::view::{Lost, View};
use crate::web::fleet::{FleetOrder, order_shown};
use crate::web::{ApiError, Caller, Seen};

/// Changes that a service shows.
const CHANGES: usize = 20;

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/services/{*id}", get(service).post(servers::set_server))
}

/// Which of an app's services.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Which {
    /// The index of the app's port; the first that is served where it is not said.
    pub(in crate::web) port_index: Option<usize>,
}

/// A label as it was understood.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownLabel {
    /// Its name.
    pub name: String,
    /// Its value; `(not shown)` where that may be a secret.
    pub value: String,
    /// What it does; `null` where it is not known.
    pub meaning: Option<String>,
    /// What is wrong with it; `null` where it is used.
    pub problem: Option<String>,
    /// What to do about that.
    pub advice: Option<String>,
}

/// A route that leads to the service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownRoute {
    /// The host and the path, or the criterion in HAProxy's words.
    pub route: String,
    /// `label` or `rule`.
    pub from: &'static str,
    /// The order that a rule gives it: before all that have none, ascending.
    pub order: Option<i64>,
    /// The weight that a label gives it; 0 where none does.
    pub weight: i32,
}

/// A route or a port that it asked for and did not get.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LostRoute {
    /// What it asked for.
    pub route: String,
    /// `label` or `rule`; `null` for a port.
    pub from: Option<&'static str>,
    /// Who has it; `null` where nobody can have it, or another route comes before it: the problems tell.
    pub held_by: Option<String>,
}

/// A task as Marathon knows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MarathonTask {
    /// starting, running, killing, unreachable, ended.
    pub state: &'static str,
    /// healthy, unhealthy, unknown.
    pub health: &'static str,
    /// False while a deployment waits for its readiness check.
    pub ready: bool,
    /// The agent.
    pub host: String,
    /// The version of the app that it was started from.
    pub version: String,
}

/// What a person set on a server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SetByHand {
    /// ready, drain or maint.
    pub state: &'static str,
    /// Its weight.
    pub weight: u32,
    /// When.
    pub since: String,
    /// Until when it is kept.
    pub until: String,
    /// Who; `null` where it was done at HAProxy's socket.
    pub by: Option<String>,
    /// What for.
    pub why: Option<String>,
    /// node, or fleet where it was ordered for every node.
    pub scope: Scope,
}

/// A server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownServer {
    /// The task.
    pub task: String,
    /// Where it is reached; `null` where that cannot be told.
    pub endpoint: Option<String>,
    /// serving, draining, closing, or out: it gets no requests.
    pub state: &'static str,
    /// Its name in HAProxy.
    pub server: Option<String>,
    /// As Marathon knows it; `null` where it does not any more.
    pub marathon: Option<MarathonTask>,
    /// What HAProxy says of it now.
    pub haproxy: Option<ServerFigures>,
    /// What somebody set on it, and holds on this node.
    pub by_hand: Option<SetByHand>,
    /// What somebody ordered for it on every node, with who has carried it out.
    pub fleet: Option<FleetOrder>,
}

/// What HAProxy has counted for the service since its worker started.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownFigures {
    /// Sessions under way.
    pub sessions: u64,
    /// Requests that wait for a server.
    pub queued: u64,
    /// Sessions.
    pub sessions_total: u64,
    /// Requests; 0 for TCP.
    pub requests_total: u64,
    /// Answers by class: 1xx, 2xx, 3xx, 4xx, 5xx, other; `null` for TCP.
    pub responses: Option<Vec<u64>>,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Connections to servers that failed.
    pub connection_errors: u64,
    /// Answers of servers that failed.
    pub response_errors: u64,
}

/// One service.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceDetail {
    /// What the list says of it.
    #[serde(flatten)]
    pub row: ServiceRow,
    /// Its backend in HAProxy.
    pub backend: String,
    /// How requests are spread.
    pub balance: String,
    /// Whose word on the health of its tasks counts: marathon, haproxy, or both.
    pub health: &'static str,
    /// Nobody is let in: somebody was to be kept out in a way that is not understood.
    pub closed: bool,
    /// Whether the frontend for app ids leads to it.
    pub app_id_route: bool,
    /// The port indexes of the app that are served.
    pub services: Vec<usize>,
    /// Why the app's other ports are not.
    pub not_exposed: Vec<WhyNot>,
    /// The app's labels, as they were understood.
    pub labels: Vec<ShownLabel>,
    /// Whether there is a rule for the app.
    pub has_rule: bool,
    /// What leads to it.
    pub routes: Vec<ShownRoute>,
    /// What it asked for, and did not get.
    pub lost: Vec<LostRoute>,
    /// Its servers.
    pub servers: Vec<ShownServer>,
    /// What HAProxy counted, at the last look.
    pub figures: Option<ShownFigures>,
    /// Why there is nothing of HAProxy's in the servers, where it did not answer.
    pub haproxy_error: Option<String>,
    /// What is wrong with it.
    pub problems: Vec<ShownProblem>,
    /// Its block of HAProxy's configuration, without secrets; `null` where it is not known what runs.
    pub config: Option<String>,
    /// Its last changes.
    pub changes: Vec<ShownChange>,
}

/// One service: how its labels were understood, what leads to it, its servers with what HAProxy says of them now, what is wrong
/// with it, its text, its last changes.
#[utoipa::path(get, path = "/api/v2/services/{id}", tag = "services",
    params(("id" = String, Path, description = "The app's id; its slashes as they are, or as %2F"), Which),
    responses((status = 200, body = ServiceDetail), (status = 404, description = "No such app, or it is not served; `not_exposed` says why")))]
pub(in crate::web) async fn service(
    _caller: Caller,
    path: Result<Path<String>, PathRejection>,
    Asked(which): Asked<Which>,
    State(seen): State<Seen>,
) -> Result<Json<ServiceDetail>, ApiError> {
    let Path(path) = path?;
    let Seen { running, metrics, history, fleet, .. } = &seen;
    let view = seen.view.borrow().clone();
    let app = AppId::new(&path);
    let found = find(&view, &app, which.port_index)?;
    let id = &found.id;
    let (brought, figures) = (running.brought(), metrics.figures());
    let rows = Rows { view: &view, brought: &brought, figures: &figures };
    let block = brought.text.as_ref().and_then(|text| Some((text, text.blocks.get(id)?)));
    let backend = block.map_or(&found.backend.name, |(_, block)| &block.service.backend.name).clone();
    let (live, haproxy_error) = match running.servers(&backend).await {
        Ok(servers) => (servers, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let known = view.apps.get(&app).map(AsRef::as_ref);
    let mut servers = servers_of(found, known, &brought, live);
    add_orders(&mut servers, fleet, id).await;
    let of_route = |route: &Route| ShownRoute {
        route: shown(&route.matches),
        from: from(route),
        order: route.order,
        weight: route.weight,
    };
    Ok(Json(ServiceDetail {
        row: rows.row(found),
        backend,
        balance: rows.in_force(found).backend.balance.clone(),
        health: whose_health(&view, known, rows.in_force(found)),
        closed: rows.in_force(found).backend.extras.closed,
        app_id_route: rows.in_force(found).app_id_route,
        services: served(&view, &app),
        not_exposed: known.map(|known| why_not(&view, known)).unwrap_or_default(),
        labels: known.map(labels).unwrap_or_default(),
        has_rule: view.rules.contains_key(&app),
        routes: rows.in_force(found).routes.iter().map(of_route).collect(),
        lost: lost(&view, id),
        servers,
        figures: rows.figures_of(id).map(|each| figures_of(&each.figures)),
        haproxy_error,
        problems: of_service(&view, &brought, id).map(ShownProblem::from).collect(),
        config: block
            .map(|(text, block)| without_secrets(&block.text(text.is_dynamic(&block.service.backend)))),
        changes: history
            .of(id, None, CHANGES)
            .iter()
            .map(|change| ShownChange::from(change.as_ref()))
            .collect(),
    }))
}

/// Adds what is ordered for servers on every node; the others are asked only where there is something.
async fn add_orders(servers: &mut [ShownServer], fleet: &Fleet, service: &ServiceId) {
    let ordered = fleet.ordered(service);
    if ordered.is_empty() {
        return;
    }
    let nodes = fleet.nodes().await;
    for server in servers {
        let order = ordered.get(&TaskId::new(&server.task));
        server.fleet = order.map(|(zxid, order)| order_shown(fleet, (*zxid, order), &nodes));
    }
}

/// A service of an app: the one with this port index, or the first.
pub(super) fn find<'a>(
    view: &'a View,
    app: &AppId,
    port_index: Option<usize>,
) -> Result<&'a Service, ApiError> {
    let services = view.settled.get(app).map(|settled| settled.services.as_slice()).unwrap_or_default();
    let is_it =
        |service: &&std::sync::Arc<Service>| port_index.is_none_or(|index| service.id.port_index == index);
    if let Some(found) = services.iter().find(is_it) {
        return Ok(found);
    }
    let missing = |detail: String| ApiError::new(StatusCode::NOT_FOUND, detail);
    let Some(known) = view.apps.get(app) else {
        return Err(missing(format!("there is no app {app}; an app's id is case-sensitive")));
    };
    let why = serde_json::to_value(why_not(view, known)).unwrap_or_default();
    let detail = match port_index {
        Some(index) => format!("port index {index} of {app} is not served"),
        None => format!("{app} is not served"),
    };
    Err(missing(detail).with("not_exposed", why))
}

fn served(view: &View, app: &AppId) -> Vec<usize> {
    let settled = view.settled.get(app);
    settled.map_or_else(Vec::new, |each| each.services.iter().map(|service| service.id.port_index).collect())
}

/// Where HAProxy watches too, labels or the configuration say whether Marathon's word counts beside its own.
fn whose_health(view: &View, app: Option<&App>, service: &Service) -> &'static str {
    let checks = app.map(|app| view.terms.checks(app, service.id.port_index));
    match checks {
        _ if !service.backend.check => "marathon",
        Some(Checks::Haproxy) => "haproxy",
        _ => "both",
    }
}

fn from(route: &Route) -> &'static str {
    if route.from_rule { "rule" } else { "label" }
}

fn labels(app: &App) -> Vec<ShownLabel> {
    let shown = |label: crate::services::Explained| ShownLabel {
        name: label.name,
        value: label.value,
        meaning: label.meaning.map(str::to_owned),
        problem: label.problem,
        advice: label.advice,
    };
    explained(app).into_iter().map(shown).collect()
}

fn lost(view: &View, id: &ServiceId) -> Vec<LostRoute> {
    let shown = |lost: Lost<'_>| match lost {
        Lost::Route(route) => LostRoute {
            route: shown(&route.matches),
            from: Some(from(route)),
            held_by: view.holder_of_route(&route.matches).map(ToString::to_string),
        },
        Lost::Port(port) => LostRoute {
            route: format!("service port {port}"),
            from: None,
            held_by: view.holder_of_port(port).map(ToString::to_string),
        },
    };
    view.lost(id).into_iter().map(shown).collect()
}

fn figures_of(figures: &crate::haproxy::stats::Figures) -> ShownFigures {
    ShownFigures {
        sessions: figures.sessions,
        queued: figures.queued,
        sessions_total: figures.sessions_total,
        requests_total: figures.requests_total,
        responses: figures.responses.map(Vec::from),
        bytes_in: figures.bytes_in,
        bytes_out: figures.bytes_out,
        connection_errors: figures.connection_errors,
        response_errors: figures.response_errors,
    }
}

/// Who sits in a slot, and every other task of the app.
pub(super) fn servers_of(
    service: &Service,
    app: Option<&App>,
    brought: &Brought,
    live: Vec<ServerFigures>,
) -> Vec<ShownServer> {
    let mut live: BTreeMap<String, ServerFigures> =
        live.into_iter().map(|server| (server.name.clone(), server)).collect();
    let block = brought.text.as_ref().and_then(|text| text.blocks.get(&service.id));
    let slots = block.map(|block| block.slots.as_slice()).unwrap_or_default();
    let task_of = |task: &str| app?.tasks.values().find(|known| known.id.as_str() == task);
    let mut servers = Vec::new();
    for (slot, number) in slots.iter().zip(1..) {
        let Some(occupant) = slot.occupant() else { continue };
        let name = format!("slot{number}");
        servers.push(ShownServer {
            task: occupant.task.to_string(),
            endpoint: Some(occupant.endpoint.to_string()),
            state: match slot {
                Slot::Serving(_) => "serving",
                Slot::Draining(_) => "draining",
                Slot::Closing(_) | Slot::Free => "closing",
            },
            haproxy: live.remove(&name),
            server: Some(name),
            marathon: task_of(occupant.task.as_str()).map(of_marathon),
            by_hand: by_hand(occupant),
            fleet: None,
        });
    }
    let seated: Vec<String> = servers.iter().map(|server| server.task.clone()).collect();
    let tasks = app.into_iter().flat_map(|app| app.tasks.values());
    servers.extend(tasks.filter(|task| !seated.iter().any(|seated| seated == task.id.as_str())).map(
        |task| {
            let endpoint = task.endpoints.get(service.id.port_index).copied().flatten();
            ShownServer {
                task: task.id.to_string(),
                endpoint: endpoint.map(|endpoint| endpoint.to_string()),
                state: "out",
                server: None,
                marathon: Some(of_marathon(task)),
                haproxy: None,
                by_hand: None,
                fleet: None,
            }
        },
    ));
    servers
}

fn of_marathon(task: &Task) -> MarathonTask {
    MarathonTask {
        state: match task.state {
            TaskState::Starting => "starting",
            TaskState::Running => "running",
            TaskState::Killing => "killing",
            TaskState::Unreachable => "unreachable",
            TaskState::Ended => "ended",
        },
        health: match task.health {
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Unknown => "unknown",
        },
        ready: task.ready,
        host: task.host.to_string(),
        version: task.version.0.to_string(),
    }
}

fn by_hand(occupant: &Occupant) -> Option<SetByHand> {
    let set = occupant.by_hand.as_ref()?;
    Some(SetByHand {
        state: set.admin.as_str(),
        weight: set.weight,
        since: moment(set.since),
        until: moment(set.until),
        by: set.by.clone(),
        why: set.why.clone(),
        scope: Scope::of(set.fleet),
    })
}
