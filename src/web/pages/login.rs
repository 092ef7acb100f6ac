//! The page on which somebody logs in; the doors do the rest.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{PageError, Reader, Screen};

/// The page to go on with, and whether it was tried before.
#[derive(Debug, Deserialize)]
pub(super) struct Asks {
    #[serde(default)]
    next: String,
    failed: Option<String>,
}

#[derive(Serialize)]
struct Content<'a> {
    next: &'a str,
    failed: bool,
}

pub(super) async fn show(
    reader: Reader,
    asks: Result<Query<Asks>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asks) = asks?;
    let next = if asks.next.is_empty() { "/" } else { &asks.next };
    let content = Content { next, failed: asks.failed.is_some() };
    Ok(reader.bare().page("login.html", Screen::Login, "Log in", &content))
}
