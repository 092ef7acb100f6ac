//! `/api/v2`: what is known and what runs, for programs and pages. `docs/api.md` has an example of each.

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Query};
use http::StatusCode;
use http::request::Parts;

use super::{ApiError, Seen};

mod apps;
mod services;
mod shown;
mod why;

pub use apps::{AppPage, UnexposedApp, WhyNot};
pub use services::{ServicePage, ServiceRow};
pub use shown::{ProblemPage, ShownProblem};
pub use why::{AskedShown, Asking, Explained, ServerSeen, explain};

/// What a page of a list holds where nobody says otherwise, and at most.
const PAGE: (usize, usize) = (100, 1000);

pub(super) fn router() -> Router<Seen> {
    Router::new().merge(services::router()).merge(apps::router()).merge(shown::router()).merge(why::router())
}

/// The query of a request; one that cannot be understood is answered as the API answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<T>(pub(super) T);

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

/// So many of a list as somebody asked for, within what one answer holds.
fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE.0).clamp(1, PAGE.1)
}
