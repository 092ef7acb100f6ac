//! `/api/v2`: what is known and what runs, for programs and pages. `docs/api.md` has an example of each.

use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Query};
use http::StatusCode;
use http::request::Parts;

use super::{ApiError, Seen};
use crate::reconcile::orders::OrderError;

pub mod apps;
pub mod changes;
pub mod config;
pub mod detail;
pub mod openapi;
pub mod servers;
pub mod services;
pub mod shown;
pub mod status;
pub mod why;

pub use why::{Asking, Explained, explain};

/// What a page of a list holds where nobody says otherwise, and at most.
const PAGE: (usize, usize) = (100, 1000);
/// How much somebody may say of what a change is for, in bytes.
const SAID: usize = 500;

pub(super) fn router() -> Router<Seen> {
    Router::new()
        .merge(services::router())
        .merge(detail::router())
        .merge(apps::router())
        .merge(shown::router())
        .merge(changes::router())
        .merge(config::router())
        .merge(status::router())
        .merge(openapi::router())
        .merge(why::router())
}

/// The query of a request; one that cannot be understood is answered as the API answers.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) struct Asked<T>(pub(in crate::web) T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refused = |error: QueryRejection| ApiError::new(StatusCode::BAD_REQUEST, error.body_text());
        Query::from_request_parts(parts, state).await.map(|Query(asked)| Self(asked)).map_err(refused)
    }
}

impl From<PathRejection> for ApiError {
    fn from(error: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.body_text())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(error: JsonRejection) -> Self {
        Self::new(error.status(), error.body_text())
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        let status = match error {
            OrderError::NotFound(_) => StatusCode::NOT_FOUND,
            OrderError::Conflict(_) => StatusCode::CONFLICT,
            OrderError::Unavailable(_) | OrderError::NotYet => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Refuses a word that is none of those known: an empty list would look as if there were nothing.
fn known(name: &str, asked: Option<&str>, words: &[&str]) -> Result<(), ApiError> {
    match asked.filter(|asked| !words.contains(asked)) {
        None => Ok(()),
        Some(_) => {
            let detail = format!("{name}: expected one of {}", words.join(", "));
            Err(ApiError::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

/// What somebody says a change is for: it goes into logs and files, a line of each.
fn said(name: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    let refused = |detail: String| Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    if text.is_empty() || text.len() > SAID {
        return refused(format!("{name}: say what it is for, in 1 to {SAID} bytes"));
    }
    if text.chars().any(char::is_control) {
        return refused(format!("{name}: it holds a control character, as a line break"));
    }
    Ok(text.to_owned())
}

/// So many of a list as somebody asked for, within what one answer holds.
fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE.0).clamp(1, PAGE.1)
}
