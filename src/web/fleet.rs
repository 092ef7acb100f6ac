//! `/api/v2/fleet`: the Causeways that share a store of rules, and what becomes of an order for all of them.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Caller, Seen};
use crate::fleet::orders::ServerOrder;
use crate::fleet::{Fleet, Node};
use crate::history::moment;
use crate::rules::StoreError;

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/fleet", get(show))
}

/// The fleet, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(show))]
pub(super) struct Described;

/// Everybody who is here. Where ZooKeeper does not answer, ourselves, and why there is nobody else.
#[utoipa::path(get, path = "/api/v2/fleet", tag = "status",
    responses((status = 200, description = "`nodes`: each with its host, version, and what it has applied and when; `error`: why there may be more", body = Object)))]
async fn show(State(seen): State<Seen>, _reader: Caller) -> Response {
    Json(known(&seen).await).into_response()
}

pub(super) async fn known(seen: &Seen) -> Value {
    let own = seen.fleet.id().to_owned();
    let shown = |id: &str, node: &Node| {
        let mut shown = json!(node);
        shown["id"] = json!(id);
        shown["this"] = json!(id == own);
        shown
    };
    match seen.fleet.nodes().await {
        Ok(nodes) => {
            let nodes: Vec<Value> = nodes.iter().map(|(id, node)| shown(id, node)).collect();
            json!({ "nodes": nodes, "error": null })
        }
        Err(error) => json!({ "nodes": [shown(&own, &seen.fleet.own())], "error": error.to_string() }),
    }
}

/// What is ordered for a server on every node, and who has carried it out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FleetOrder {
    /// ready or drain.
    pub state: &'static str,
    /// Its weight; `null` leaves it as it is.
    pub weight: Option<u32>,
    /// Who.
    pub by: String,
    /// What for.
    pub why: String,
    /// When.
    pub at: String,
    /// Until when it holds.
    pub until: String,
    /// How many of the nodes have carried it out.
    pub done: usize,
    /// The nodes that are here; one that is away carries it out when it is back.
    pub nodes: Vec<FleetNode>,
    /// Why only this node is among them.
    pub error: Option<String>,
}

/// A node, and whether it has carried out an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FleetNode {
    /// Its id.
    pub id: String,
    /// The host that it runs on.
    pub host: String,
    /// Whether it is this one.
    pub this: bool,
    /// Whether it has carried it out.
    pub done: bool,
    /// Why not, where it has said so.
    pub why: Option<String>,
}

impl FleetOrder {
    /// Whether everybody who is here has carried it out.
    pub(super) fn is_done(&self) -> bool {
        self.error.is_none() && self.done == self.nodes.len()
    }
}

/// An order, with what the nodes say of it.
pub(super) fn order_shown(
    fleet: &Fleet,
    (zxid, order): (i64, &ServerOrder),
    nodes: &Result<BTreeMap<String, Node>, StoreError>,
) -> FleetOrder {
    let shown = |(id, node): (&String, &Node)| {
        let said = node.orders.get(&zxid);
        FleetNode {
            this: id == fleet.id(),
            id: id.clone(),
            host: node.host.clone(),
            done: said.is_some_and(Option::is_none),
            why: said.cloned().flatten(),
        }
    };
    let (nodes, error): (Vec<FleetNode>, _) = match nodes {
        Ok(nodes) => (nodes.iter().map(shown).collect(), None),
        Err(error) => (vec![shown((&fleet.id().to_owned(), &fleet.own()))], Some(error.to_string())),
    };
    FleetOrder {
        state: order.admin.as_str(),
        weight: order.weight,
        by: order.by.clone(),
        why: order.why.clone(),
        at: moment(order.at.into()),
        until: moment(order.until.into()),
        done: nodes.iter().filter(|node| node.done).count(),
        nodes,
        error,
    }
}
