//! What the API says when it does not do what it was asked (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// An error as the API tells it: a status, what happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    detail: String,
    more: serde_json::Map<String, serde_json::Value>,
}

/// The members that RFC 9457, section 3.1 has.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    more: &'a serde_json::Map<String, serde_json::Value>,
}

impl ApiError {
    /// An error; `detail` says what failed on what, and what to do.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: serde_json::Map::new() }
    }

    /// Nobody logged in, and somebody has to.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "this needs a login")
    }

    /// Whoever asks may not do this.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// What was given cannot be used: everything that is wrong with it.
    #[must_use]
    pub fn mistakes(mistakes: Vec<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, mistakes.join("; ")).with("mistakes", mistakes)
    }

    /// One more member of the answer (RFC 9457, section 3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A member of the answer beyond those that every error has.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&serde_json::Value> {
        self.more.get(name)
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What failed.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            title: self.status.canonical_reason().unwrap_or("error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            more: &self.more,
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
