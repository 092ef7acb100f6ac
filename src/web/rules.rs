//! `/api/v2/rules`: rules are read, tried and written, each write by compare-and-set.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

use super::{ApiError, Caller, Seen};
use crate::forecast::Forecast;
use crate::model::{AppId, Problem, Rule};
use crate::rules::{RuleVersion, Rules, StoreError, Versioned};

mod asked;
mod desk;
mod form;
mod judge;

pub use desk::RuleDesk;
pub(super) use desk::change as change_by;
pub(crate) use form::Shown;
pub(super) use judge::{is_admins, may_change, may_take_away};

pub(super) use asked::{Asking, Expected};

use asked::{AppPath, JsonBody};
use form::Given;

/// What is described of it (OpenAPI).
#[derive(OpenApi)]
#[openapi(
    paths(list, one, create, put, patch, remove),
    tags((name = "rules", description = "What people wrote for apps"))
)]
pub(crate) struct Described;

/// Every rule.
#[derive(Serialize, ToSchema)]
struct RuleList {
    /// Those that can be used.
    rules: Vec<Shown>,
    /// What is wrong with the others.
    #[schema(value_type = Vec<Object>)]
    problems: Vec<Problem>,
}

pub(super) fn router() -> Router<Seen> {
    Router::new()
        .route("/api/v2/rules", get(list).post(create))
        .route("/api/v2/rules/{*app}", get(one).put(put).patch(patch).delete(remove))
}

#[utoipa::path(get, path = "/api/v2/rules", tag = "rules", responses((status = 200, body = RuleList),
    (status = 503, description = "The store does not answer")))]
async fn list(State(desk): State<RuleDesk>, _reader: Caller) -> Result<Json<RuleList>, ApiError> {
    let read = desk.store().list().await?;
    let rules = read.rules.iter().map(Shown::from).collect();
    Ok(Json(RuleList { rules, problems: read.problems.clone() }))
}

#[utoipa::path(get, path = "/api/v2/rules/{app}", tag = "rules", params(("app" = String, Path, description = "The app's id, or a group pattern")),
    responses((status = 200, body = Shown, headers(("ETag" = String, description = "Its version"))), (status = 304, description = "It has the version of If-None-Match"),
    (status = 400, description = "The id is not text"), (status = 404, description = "There is none"), (status = 503, description = "The store does not answer")))]
async fn one(
    State(desk): State<RuleDesk>,
    _reader: Caller,
    AppPath(app): AppPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = desk.store().get(&app).await?.ok_or_else(|| none_of(&app))?;
    let tag = tag_of(&found.version);
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Json(Shown::from(&found))).into_response())
}

/// Creates a rule; with `dry_run` it says what one rule or several (`{"rules": […]}`) would come to, those that are there
/// replaced.
#[utoipa::path(post, path = "/api/v2/rules", tag = "rules", params(("dry_run" = Option<bool>, Query, description = "Only says what would come")), request_body = Given,
    responses((status = 200, description = "What would come", body = Forecast), (status = 201, body = Shown), (status = 400, description = "No JSON"),
    (status = 403, description = "Not his to say"), (status = 409, description = "There is one"), (status = 413, description = "Too large"),
    (status = 422, description = "It cannot be used"), (status = 503, description = "The store does not answer")))]
async fn create(
    State(desk): State<RuleDesk>,
    asking: Asking,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if !asking.dry_run {
        let written = write(&desk, &asking, asking.rule(body, None)?, Expected::New).await;
        return written.map(IntoResponse::into_response);
    }
    let given = match body {
        Value::Object(mut fields) if fields.contains_key("rules") => match fields.remove("rules") {
            Some(Value::Array(rules)) => rules,
            _ => return Err(ApiError::mistakes(vec!["rules: expected a list of rules".to_owned()])),
        },
        rule => vec![rule],
    };
    foresee_all(&desk, &asking, given).await.map(|forecast| Json(forecast).into_response())
}

/// What several rules would come to, those that are there replaced.
pub(super) async fn foresee_all(
    desk: &RuleDesk,
    asking: &Asking,
    given: Vec<Value>,
) -> Result<Forecast, ApiError> {
    let before = desk.store().list().await?;
    let rules =
        given.into_iter().map(|given| asking.rule(given, None)).collect::<Result<Vec<Rule>, ApiError>>()?;
    let pairs: Vec<_> =
        rules.iter().map(|rule| (before.get(&rule.app).map(|current| &current.rule), rule)).collect();
    for (current, rule) in &pairs {
        desk.judge(&asking.caller, *current, rule)?;
    }
    desk.try_texts(&pairs).await?;
    foresee(desk, before, rules.into_iter().map(|rule| (rule.app.clone(), Some(rule)))).await
}

#[utoipa::path(put, path = "/api/v2/rules/{app}", tag = "rules", params(("app" = String, Path, description = "The app's id, or a group pattern"),
    ("If-Match" = Option<String>, Header, description = "The version that is replaced"), ("If-None-Match" = Option<String>, Header, description = "`*`: it is created"),
    ("dry_run" = Option<bool>, Query, description = "Only says what would come")), request_body = Given,
    responses((status = 200, body = Shown), (status = 201, body = Shown), (status = 400, description = "No JSON"), (status = 403, description = "Not his to say"),
    (status = 412, description = "It has another version"), (status = 413, description = "Too large"), (status = 422, description = "It cannot be used"), (status = 428, description = "No version was said"),
    (status = 503, description = "The store does not answer")))]
async fn put(
    State(desk): State<RuleDesk>,
    AppPath(app): AppPath,
    asking: Asking,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let rule = asking.rule(body, Some(&app))?;
    write(&desk, &asking, rule, Expected::of(&asking.headers)?).await.map(IntoResponse::into_response)
}

/// Writes a rule for an app in place of the version that its writer saw, as `PUT` does; of none where he saw none.
pub(super) async fn save(
    desk: &RuleDesk,
    asking: &Asking,
    app: &AppId,
    given: Value,
    version: Option<&str>,
) -> Result<Written, ApiError> {
    let rule = asking.rule(given, Some(app))?;
    write(desk, asking, rule, Expected::seen(version)).await
}

/// A merge patch (RFC 7396) of what `GET` shows.
#[utoipa::path(patch, path = "/api/v2/rules/{app}", tag = "rules", params(("app" = String, Path, description = "The app's id, or a group pattern"),
    ("If-Match" = Option<String>, Header, description = "The version that is changed"), ("dry_run" = Option<bool>, Query, description = "Only says what would come")), request_body = Given,
    responses((status = 200, body = Shown), (status = 400, description = "No JSON"), (status = 403, description = "Not his to say"), (status = 404, description = "There is none"),
    (status = 412, description = "It has another version"), (status = 413, description = "Too large"), (status = 422, description = "It cannot be used"), (status = 428, description = "No version was said"),
    (status = 503, description = "The store does not answer")))]
async fn patch(
    State(desk): State<RuleDesk>,
    AppPath(app): AppPath,
    asking: Asking,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    may_change(&asking.caller, &app)?;
    let expected = Expected::of(&asking.headers)?;
    let current = desk.store().get(&app).await?.ok_or_else(|| none_of(&app))?;
    let mut patched = json!(Shown::from(&current));
    asked::merge(&mut patched, body);
    let rule = asking.rule(patched, Some(&app))?;
    // What was patched is what was read: nothing else may be replaced.
    let expected = expected.narrowed_to(&current)?;
    write(&desk, &asking, rule, expected).await.map(IntoResponse::into_response)
}

#[utoipa::path(delete, path = "/api/v2/rules/{app}", tag = "rules", params(("app" = String, Path, description = "The app's id, or a group pattern"),
    ("If-Match" = Option<String>, Header, description = "The version that is taken away"), ("dry_run" = Option<bool>, Query, description = "Only says what would come")),
    responses((status = 200, description = "What would come", body = Forecast), (status = 204, description = "It is gone"), (status = 400, description = "The id is not text"), (status = 403, description = "Not his to say"),
    (status = 404, description = "There is none"), (status = 412, description = "It has another version"), (status = 428, description = "No version was said"), (status = 503, description = "The store does not answer")))]
async fn remove(
    State(desk): State<RuleDesk>,
    AppPath(app): AppPath,
    asking: Asking,
) -> Result<Response, ApiError> {
    let expected = Expected::of(&asking.headers)?;
    match take_away(&desk, &asking, &app, &expected).await? {
        Some(forecast) => Ok(Json(forecast).into_response()),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Takes a rule away, or says what that would come to.
pub(super) async fn take_away(
    desk: &RuleDesk,
    asking: &Asking,
    app: &AppId,
    expected: &Expected,
) -> Result<Option<Forecast>, ApiError> {
    may_change(&asking.caller, app)?;
    let before = desk.store().list().await?;
    let current = before.get(app).ok_or_else(|| none_of(app))?;
    may_take_away(&asking.caller, &current.rule)?;
    let version = expected.version(app, Some(current))?.ok_or_else(|| none_of(app))?;
    if asking.dry_run {
        return foresee(desk, Arc::clone(&before), [(app.clone(), None)]).await.map(Some);
    }
    desk.store().delete(app, &version).await?;
    Ok(None)
}

/// What became of a rule.
pub(super) enum Written {
    /// Nothing yet: this would come.
    Foreseen(Box<Forecast>),
    /// It is stored.
    Stored {
        /// The rule, with its version.
        rule: Box<Versioned>,
        /// Whether there was none before.
        is_new: bool,
    },
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        match self {
            Self::Foreseen(forecast) => Json(forecast).into_response(),
            Self::Stored { rule, is_new } => {
                let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
                (status, [(header::ETAG, tag_of(&rule.version))], Json(Shown::from(&*rule))).into_response()
            }
        }
    }
}

/// Judges a rule, and stores it, or says what it would come to.
async fn write(
    desk: &RuleDesk,
    asking: &Asking,
    rule: Rule,
    expected: Expected,
) -> Result<Written, ApiError> {
    let before = desk.store().list().await?;
    let current = before.get(&rule.app);
    let version = expected.version(&rule.app, current)?;
    let standing = current.map(|current| &current.rule);
    desk.judge(&asking.caller, standing, &rule)?;
    desk.try_texts(&[(standing, &rule)]).await?;
    if asking.dry_run {
        let changes = [(rule.app.clone(), Some(rule))];
        return foresee(desk, Arc::clone(&before), changes)
            .await
            .map(|come| Written::Foreseen(Box::new(come)));
    }
    let stored = desk.store().put(&rule, version.as_ref()).await;
    let version = stored.map_err(|error| expected.error(error))?;
    Ok(Written::Stored { rule: Box::new(Versioned { rule, version }), is_new: standing.is_none() })
}

/// What it would come to if these apps had these rules, or none.
async fn foresee(
    desk: &RuleDesk,
    before: Arc<Rules>,
    changes: impl IntoIterator<Item = (AppId, Option<Rule>)>,
) -> Result<Forecast, ApiError> {
    let mut after = Rules::clone(&before);
    for (app, rule) in changes {
        after.rules.retain(|each| each.rule.app != app);
        after.rules.extend(rule.map(|rule| Versioned { rule, version: RuleVersion::new("dry run") }));
    }
    after.rules.sort_by(|one, other| one.rule.app.cmp(&other.rule.app));
    desk.foresee(before, after).await
}

fn tag_of(version: &RuleVersion) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn none_of(app: &AppId) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no rule for {app}, or none that can be used"))
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => conflict(StatusCode::PRECONDITION_FAILED, error),
            StoreError::Invalid { mistakes, .. } => Self::mistakes(mistakes),
            StoreError::Unconfirmed { message } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with("confirmed", false)
            }
            StoreError::Unavailable { .. } | StoreError::File(_) | StoreError::Write(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
        }
    }
}

/// A conflict, with the rule as it is now, so that both can be shown.
fn conflict(status: StatusCode, error: StoreError) -> ApiError {
    let told = ApiError::new(status, error.to_string());
    match error {
        StoreError::Conflict { current, .. } => {
            told.with("current", current.map_or(Value::Null, |current| json!(Shown::from(&*current))))
        }
        _ => told,
    }
}
