//! One service: whether it serves or why not, its servers, what leads to it, its text, its changes.

use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Json, Redirect, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::templates::in_url;
use super::words::{SERVERS, Words};
use super::{PageError, Reader, Screen};
use crate::history::moment;
use crate::model::AppId;
use crate::placement::WEIGHT;
use crate::web::api::Asked;
use crate::web::api::apps::{WhyNot, why_not};
use crate::web::api::changes::{ChangedService, ShownChange};
use crate::web::api::detail::{ServiceDetail, ShownServer, Which, service};
use crate::web::api::servers::{OrderedState, Scope, ServerOrder, set_server};
use crate::web::fleet::{FleetNode, FleetOrder};
use crate::web::{ApiError, Audit, Seen};

mod sentence;

use sentence::{Sentence, sentence};

/// The parts of the page that are looked at one at a time; the first where nobody chose.
const TABS: [(&str, &str); 4] = [
    ("routes", "Routes"),
    ("labels", "Labels and rules"),
    ("config", "Configuration"),
    ("changes", "Changes"),
];

/// Which service, and which part of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asks {
    port: Option<usize>,
    tab: String,
}

/// A way to a part of the page.
#[derive(Serialize)]
struct Tab {
    name: &'static str,
    words: &'static str,
    url: String,
    is_chosen: bool,
}

/// A server, with what its row says beyond the API.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    server: ShownServer,
    /// Its state, or that somebody took it out by hand.
    shown: &'static str,
    /// When HAProxy saw its state change last.
    since: Option<String>,
    /// Connections and answers that failed, and answers 5xx.
    errors: Option<u64>,
    /// Where an order about it goes; `None` where the reader may give none.
    order_url: Option<String>,
    /// Nodes that have not carried out yet what is ordered for the fleet.
    missing: Vec<FleetNode>,
    /// This node carried out what is ordered for the fleet, and somebody set something else on it since.
    differs: bool,
}

/// The choice of every node.
#[derive(Serialize)]
struct FleetChoice {
    /// How many nodes are here; `None` where that is not known.
    nodes: Option<usize>,
}

#[derive(Serialize)]
struct Content<'a> {
    service: &'a ServiceDetail,
    sentence: Sentence,
    rows: Vec<Row>,
    tabs: Vec<Tab>,
    tab: &'static str,
    servers: Words,
    /// Whether the reader may write a rule for the app, and order something of its servers.
    may_order: bool,
    /// `None` where there is no fleet, or the reader may order nothing.
    fleet: Option<FleetChoice>,
}

#[derive(Serialize)]
struct Unexposed<'a> {
    app: &'a str,
    why: Vec<WhyNot>,
    instances: usize,
    tasks: usize,
    served: Vec<usize>,
    /// Whether the reader may write a rule for it.
    may_write: bool,
}

pub(super) async fn show(
    reader: Reader,
    State(seen): State<Seen>,
    path: Result<Path<String>, PathRejection>,
    asks: Result<Query<Asks>, QueryRejection>,
) -> Result<Response, PageError> {
    let (Path(path), Query(asks)) = (path?, asks?);
    let app = AppId::new(&path);
    let view = seen.view.borrow().clone();
    let which = Asked(Which { port_index: asks.port });
    let found = service(reader.caller.clone(), Ok(Path(path)), which, State(seen.clone())).await;
    let Json(mut detail) = match (found, view.apps.get(&app)) {
        (Ok(found), _) => found,
        // There is such an app: why it is not served is worth a page.
        (Err(error), Some(known)) if error.status() == StatusCode::NOT_FOUND => {
            let served =
                view.settled.get(&app).map(|settled| settled.services.as_slice()).unwrap_or_default();
            let content = Unexposed {
                app: app.as_str(),
                why: why_not(&view, known),
                instances: known.instances,
                tasks: known.tasks.len(),
                served: served.iter().map(|service| service.id.port_index).collect(),
                may_write: reader.caller.may_edit(&app),
            };
            return Ok(reader.page("unexposed.html", Screen::Services, app.as_str(), &content));
        }
        (Err(error), _) => return Err(PageError::to(&reader, error)),
    };
    let sentence = sentence(&detail);
    let may_order = reader.caller.may_edit(&app);
    let port = detail.row.port_index.unwrap_or_default();
    detail.changes.iter_mut().for_each(|change| only_of(change, &app, port));
    let rows = std::mem::take(&mut detail.servers);
    let rows = rows.into_iter().map(|server| row(server, &app, port, may_order)).collect();
    let (tab, _) = TABS.into_iter().find(|(name, _)| *name == asks.tab).unwrap_or(TABS[0]);
    let url = |name: &str| format!("/services{}?port={port}&tab={name}#tab", in_url(app.as_str()));
    let of_tab = |(name, words)| Tab { name, words, url: url(name), is_chosen: name == tab };
    let content = Content {
        service: &detail,
        sentence,
        rows,
        tabs: TABS.map(of_tab).into(),
        tab,
        servers: SERVERS,
        may_order,
        fleet: match may_order && seen.fleet.is_shared() {
            true => Some(FleetChoice { nodes: seen.fleet.nodes().await.ok().map(|nodes| nodes.len()) }),
            false => None,
        },
    };
    Ok(reader.page("service.html", Screen::Services, app.as_str(), &content))
}

/// Leaves of a change what happened to this service; that more happened is told by the total.
fn only_of(change: &mut ShownChange, app: &AppId, port: usize) {
    let is_it = |of: &ChangedService| of.app == app.as_str() && of.port_index == port;
    let events = change.services.iter().zip(&change.events).filter(|(of, _)| is_it(of));
    change.events = events.map(|(_, event)| event.clone()).collect();
}

fn row(server: ShownServer, app: &AppId, port: usize, may_order: bool) -> Row {
    let is_out = |state: &str| state != "ready";
    let shown = match &server.by_hand {
        Some(set) if server.state == "serving" && is_out(set.state) => "by_hand",
        _ => server.state,
    };
    let live = server.haproxy.as_ref();
    let since = live.and_then(|live| SystemTime::now().checked_sub(Duration::from_secs(live.since_seconds?)));
    let errors = live.map(|live| {
        [live.connection_errors, live.response_errors, live.responses_5xx].into_iter().flatten().sum()
    });
    let url = format!("/services{}/servers/{}?port={port}", in_url(app.as_str()), in_url(&server.task));
    let order_url = (may_order && server.state == "serving").then_some(url);
    let is_of_fleet = server.by_hand.as_ref().is_some_and(|set| set.scope == Scope::Fleet);
    let carried_out = |order: &FleetOrder| order.nodes.iter().any(|node| node.this && node.done);
    let differs = server.fleet.as_ref().is_some_and(|order| {
        let is_plain = order.state == "ready" && order.weight.is_none_or(|weight| weight == WEIGHT);
        carried_out(order) && (if is_plain { server.by_hand.is_some() } else { !is_of_fleet })
    });
    let nodes = server.fleet.iter().flat_map(|order| &order.nodes);
    let missing = nodes.filter(|node| !node.done).cloned().collect();
    Row { shown, since: since.map(moment), errors, order_url, missing, differs, server }
}

/// What a form says of a server.
#[derive(Debug, Deserialize)]
pub(super) struct OrderForm {
    state: OrderedState,
    /// Empty: as it is.
    #[serde(default)]
    weight: String,
    why: String,
    /// This node where it is not said.
    #[serde(default)]
    scope: Scope,
}

/// Gives an order about a server, as `POST /api/v2/services/{id}/servers/{task}` does, and goes back to the service.
pub(super) async fn order(
    reader: Reader,
    State(seen): State<Seen>,
    Extension(audit): Extension<Audit>,
    path: Result<Path<String>, PathRejection>,
    asks: Result<Query<Asks>, QueryRejection>,
    form: Result<Form<OrderForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(path), Query(asks)) = (path?, asks?);
    let refused = |status: StatusCode, words: String| PageError::to(&reader, ApiError::new(status, words));
    let Form(form) = form.map_err(|error| refused(error.status(), error.body_text()))?;
    let weight = match form.weight.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            refused(StatusCode::UNPROCESSABLE_ENTITY, format!("weight: {text:?} is no whole number"))
        })?),
    };
    let ordered = Json(ServerOrder { state: form.state, weight, why: form.why, scope: form.scope });
    let (app, _) = path.rsplit_once("/servers/").unwrap_or((&path, ""));
    let back = format!(
        "/services{}?port={}#servers",
        in_url(AppId::new(app).as_str()),
        asks.port.unwrap_or_default()
    );
    let which = Asked(Which { port_index: asks.port });
    let _set = set_server(
        reader.caller.clone(),
        Extension(audit),
        Ok(Path(path.clone())),
        which,
        State(seen),
        Ok(ordered),
    )
    .await
    .map_err(|error| PageError::to(&reader, error).back_to(back.clone()))?;
    Ok(Redirect::to(&back).into_response())
}
