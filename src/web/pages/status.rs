//! How it stands with each source, the store, HAProxy and this process.

use std::time::Duration;

use axum::extract::State;
use axum::response::{Json, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::templates::thousands;
use super::{PageError, Reader, Screen};
use crate::web::api::status::{StatusShown, status};
use crate::web::{Seen, fleet};

/// How long it is waited for what other nodes say.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Content {
    status: StatusShown,
    /// What `/api/v2/fleet` answers.
    fleet: Value,
    /// Resident memory, in words.
    memory: Option<String>,
    errors_last_hour: String,
    requests_last_hour: String,
    changes_last_hour: String,
}

pub(super) async fn show(reader: Reader, State(seen): State<Seen>) -> Result<Response, PageError> {
    let view = State(seen.view.borrow().clone());
    let (running, metrics) = (State(seen.running.clone()), State(seen.metrics.clone()));
    let (history, origins) = (State(seen.history.clone()), State(seen.origins.clone()));
    let Json(status) = status(reader.caller.clone(), view, running, metrics, history, origins).await;
    let sum = |minutes: &[f64]| thousands(&format!("{:.0}", minutes.iter().sum::<f64>()));
    let fleet = tokio::time::timeout(PATIENCE, fleet::known(&seen)).await;
    let content = Content {
        fleet: fleet.unwrap_or_else(|_| json!({ "nodes": [], "error": "ZooKeeper does not answer" })),
        memory: status.process.resident_bytes.map(|bytes| format!("{:.0} MB", bytes / 1e6)),
        errors_last_hour: sum(&status.last_hour.errors),
        requests_last_hour: sum(&status.last_hour.requests),
        changes_last_hour: sum(&status.last_hour.changes),
        status,
    };
    Ok(reader.page("status.html", Screen::Status, "Status", &content))
}
