//! How it stands with each source, the store, HAProxy and this process.

use axum::extract::State;
use axum::response::{Json, Response};
use serde::Serialize;

use super::{PageError, Reader, Screen};
use crate::web::Seen;
use crate::web::api::status::{StatusShown, status};

#[derive(Serialize)]
struct Content {
    status: StatusShown,
    /// Resident memory, in words.
    memory: Option<String>,
    errors_last_hour: f64,
    requests_last_hour: f64,
    changes_last_hour: f64,
}

pub(super) async fn show(reader: Reader, State(seen): State<Seen>) -> Result<Response, PageError> {
    let view = State(seen.view.borrow().clone());
    let (running, metrics) = (State(seen.running.clone()), State(seen.metrics.clone()));
    let (history, origins) = (State(seen.history.clone()), State(seen.origins.clone()));
    let Json(status) = status(reader.caller.clone(), view, running, metrics, history, origins).await;
    let sum = |minutes: &[f64]| minutes.iter().sum();
    let content = Content {
        memory: status.process.resident_bytes.map(|bytes| format!("{:.0} MB", bytes / 1e6)),
        errors_last_hour: sum(&status.last_hour.errors),
        requests_last_hour: sum(&status.last_hour.requests),
        changes_last_hour: sum(&status.last_hour.changes),
        status,
    };
    Ok(reader.page("status.html", Screen::Status, "Status", &content))
}
