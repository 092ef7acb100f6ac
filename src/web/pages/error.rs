//! A page's error is a page too.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::{Reader, Screen};
use crate::web::ApiError;

/// Why a page is not shown.
#[derive(Debug)]
pub(in crate::web) struct PageError {
    error: ApiError,
    reader: Option<Reader>,
    back: Option<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    status: u16,
    title: &'a str,
    detail: &'a str,
    back: Option<&'a str>,
}

impl PageError {
    /// Tells this reader.
    pub(super) fn to(reader: &Reader, error: ApiError) -> Self {
        Self { error, reader: Some(reader.clone()), back: None }
    }

    /// Offers a way back to where the reader came from.
    pub(super) fn back_to(self, url: String) -> Self {
        Self { back: Some(url), ..self }
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self { error, reader: None, back: None }
    }
}

impl From<QueryRejection> for PageError {
    fn from(error: QueryRejection) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, error.body_text()).into()
    }
}

impl From<PathRejection> for PageError {
    fn from(error: PathRejection) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let reader = self.reader.unwrap_or_else(Reader::unknown);
        let status = self.error.status();
        let title = match status {
            StatusCode::NOT_FOUND => "There is no such page",
            StatusCode::FORBIDDEN => "You may not do this",
            StatusCode::UNAUTHORIZED => "This needs a login",
            StatusCode::SERVICE_UNAVAILABLE => "Not just now",
            _ => status.canonical_reason().unwrap_or("Error"),
        };
        let shown =
            Shown { status: status.as_u16(), title, detail: self.error.detail(), back: self.back.as_deref() };
        reader.page_with(status, "error.html", Screen::Other, title, &shown)
    }
}
