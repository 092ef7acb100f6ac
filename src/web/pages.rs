//! The pages for people: rendered on the server from what the API's own functions answer, readable without JavaScript.
//! `docs/pages.md` says what each shows.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::api::config::ShownRollback;
use super::{ApiError, Caller, Role, Seen};

mod assets;
mod changes;
mod error;
mod login;
mod problems;
mod rules;
mod service;
mod services;
mod status;
mod strip;
mod templates;
mod text;
mod why;
mod words;

pub(super) use error::PageError;

/// Nothing that a page did not bring along: no script and no style in its text, nothing from elsewhere, in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// Where somebody logs in.
pub(super) const LOGIN: &str = "/login";
/// What every page brings along, which is no secret.
pub(super) const ASSETS: &str = "/assets/";

pub(super) fn router() -> Router<Seen> {
    Router::new()
        .route("/", get(services::show))
        .route("/services/{*id}", get(service::show).post(service::order))
        .route("/problems", get(problems::show))
        .route("/node", get(status::show))
        .route("/why", get(why::show))
        .route("/rules", get(rules::list))
        .route("/rules/order", post(rules::order))
        .route("/rules/edit", get(rules::editor::open).post(rules::editor::send))
        .route("/rules/new", get(rules::editor::open))
        .route("/rules/import", get(rules::import::open).post(rules::import::send))
        .route("/changes", get(changes::show))
        .route("/changes/config", get(changes::text))
        .route("/changes/diff", get(changes::compare))
        .route("/changes/rollback", post(changes::roll_back))
        .route("/changes/{id}", get(changes::one))
        .route(LOGIN, get(login::show))
        .route("/assets/{file}", get(assets::asset))
}

/// What is said of a path that leads nowhere: a page to a browser, a problem to who asks the API, else a line.
pub(super) async fn no_such_page(reader: Result<Reader, PageError>, request: Request) -> Response {
    if request.uri().path().starts_with("/api/v2/") {
        let detail =
            format!("there is no {}; GET /api/v2/openapi.json describes all there is", request.uri().path());
        return ApiError::new(StatusCode::NOT_FOUND, detail).into_response();
    }
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !accepts.is_some_and(|accept| accept.contains("text/html")) {
        return (StatusCode::NOT_FOUND, "there is no such page\n").into_response();
    }
    let detail = format!("Nothing of Causeway's is at {}.", request.uri().path());
    let error = ApiError::new(StatusCode::NOT_FOUND, detail);
    reader.map_or_else(IntoResponse::into_response, |reader| PageError::to(&reader, error).into_response())
}

/// A screen, as the navigation names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Screen {
    /// Services, and one service.
    Services,
    /// Which way a request goes.
    Why,
    /// Rules.
    Rules,
    /// Changes and configurations.
    Changes,
    /// What is wrong.
    Problems,
    /// Sources, HAProxy, this process.
    Status,
    /// Logging in, where nothing is shown yet.
    Login,
    /// None of them.
    Other,
}

/// Who reads a page, and what stands around every page that he reads.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// Who it is.
    pub(super) caller: Caller,
    /// How much is wrong.
    problems: usize,
    /// What somebody went back to.
    rolled_back: Option<Arc<ShownRollback>>,
    /// The page that he asked for, with its query.
    url: String,
}

impl FromRequestParts<Seen> for Reader {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, seen: &Seen) -> Result<Self, PageError> {
        let caller = Caller::from_request_parts(parts, seen).await?;
        let view = seen.view.borrow().clone();
        let brought = seen.running.brought();
        let of_blocks = brought.put_aside.size() + brought.lacking.size();
        let problems = view.problems().count() + of_blocks + usize::from(brought.rolled_back.is_some());
        let rolled_back = brought.rolled_back.as_ref().map(|to| Arc::new(ShownRollback::from(&to.note)));
        let url = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { caller, problems, rolled_back, url })
    }
}

/// What the layout of every page is drawn from.
#[derive(Serialize)]
struct Frame<'a> {
    title: &'a str,
    screen: Screen,
    user: Option<&'a str>,
    role: &'static str,
    may_write: bool,
    problems: usize,
    rolled_back: Option<&'a ShownRollback>,
    url: &'a str,
    assets: assets::Links,
    version: &'static str,
}

impl Reader {
    /// Somebody of whom nothing is known: who is told of an error before the doors found out.
    fn unknown() -> Self {
        Self { caller: Caller::anonymous(), problems: 0, rolled_back: None, url: "/".to_owned() }
    }

    /// The same reader, told nothing: he did not log in yet.
    fn bare(self) -> Self {
        Self { problems: 0, rolled_back: None, ..self }
    }

    /// A page: a template drawn from `content`, in the layout.
    pub(super) fn page(
        &self,
        template: &str,
        screen: Screen,
        title: &str,
        content: &impl Serialize,
    ) -> Response {
        self.page_with(StatusCode::OK, template, screen, title, content)
    }

    /// A page with a status of its own.
    pub(super) fn page_with(
        &self,
        status: StatusCode,
        template: &str,
        screen: Screen,
        title: &str,
        content: &impl Serialize,
    ) -> Response {
        let frame = Frame {
            title,
            screen,
            user: self.caller.name.as_deref(),
            role: match self.caller.role {
                Role::Viewer => "viewer",
                Role::Editor { .. } => "editor",
                Role::Admin => "admin",
            },
            may_write: self.caller.may_write(),
            problems: self.problems,
            rolled_back: self.rolled_back.as_deref(),
            url: &self.url,
            assets: assets::links(),
            version: env!("CARGO_PKG_VERSION"),
        };
        match templates::render(template, &frame, content) {
            Ok(text) => {
                let kind = HeaderValue::from_static("text/html; charset=utf-8");
                let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
                (status, headers, text).into_response()
            }
            Err(error) => {
                tracing::error!("the page {template} cannot be drawn: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be drawn; Causeway's log says why\n")
                    .into_response()
            }
        }
    }
}
