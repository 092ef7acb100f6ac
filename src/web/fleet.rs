//! `/api/v2/fleet`: the Causeways that share a store of rules.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Caller, Seen};
use crate::fleet::Node;

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
