//! `/api/v2/rules`: rules are read, tried and written, each write by compare-and-set.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::{ApiError, Caller, Seen};
use crate::forecast::Forecast;
use crate::model::{AppId, Rule};
use crate::rules::{RuleVersion, Rules, StoreError, Versioned};

mod asked;
mod desk;
mod form;
mod judge;

pub use desk::RuleDesk;
pub(super) use desk::change as change_by;
pub(crate) use form::Shown;
pub(super) use judge::may_change;

use asked::{AppPath, Expected, JsonBody};
use form::Given;

pub(super) fn router() -> Router<Seen> {
    Router::new()
        .route("/api/v2/rules", get(list).post(create))
        .route("/api/v2/rules/{*app}", get(one).put(put).patch(patch).delete(remove))
}

async fn list(State(desk): State<RuleDesk>, _reader: Caller) -> Result<Response, ApiError> {
    let rules = desk.store().list().await?;
    let shown: Vec<Shown> = rules.rules.iter().map(Shown::from).collect();
    Ok(Json(json!({ "rules": shown, "problems": rules.problems })).into_response())
}

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
async fn create(
    State(desk): State<RuleDesk>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if !asked::dry_run(&uri) {
        let (rule, why) = Given::parse(body)?.into_rule(None, &headers)?;
        return write(&desk, &caller, rule, why, Expected::New).await;
    }
    let given = match body {
        Value::Object(mut fields) if fields.contains_key("rules") => match fields.remove("rules") {
            Some(Value::Array(rules)) => rules,
            _ => return Err(ApiError::mistakes(vec!["rules: expected a list of rules".to_owned()])),
        },
        rule => vec![rule],
    };
    let before = desk.store().list().await?;
    let mut rules = Vec::new();
    for given in given {
        let (rule, _) = Given::parse(given)?.into_rule(None, &headers)?;
        may_change(&caller, &rule.app)?;
        rules.push((before.get(&rule.app).map(|current| &current.rule), rule));
    }
    for (current, rule) in &rules {
        desk.judge(&caller, *current, rule)?;
    }
    desk.try_texts(&rules.iter().map(|(current, rule)| (*current, rule)).collect::<Vec<_>>()).await?;
    let mut after = Rules::clone(&before);
    for (_, rule) in rules.iter().cloned() {
        replace(&mut after, &rule.app.clone(), Some(rule));
    }
    foresee(&desk, before, after).await
}

async fn put(
    State(desk): State<RuleDesk>,
    caller: Caller,
    AppPath(app): AppPath,
    headers: HeaderMap,
    uri: Uri,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let (rule, why) = Given::parse(body)?.into_rule(Some(&app), &headers)?;
    change(&desk, &caller, rule, why, Expected::of(&headers)?, asked::dry_run(&uri)).await
}

/// A merge patch (RFC 7396) of what `GET` shows.
async fn patch(
    State(desk): State<RuleDesk>,
    caller: Caller,
    AppPath(app): AppPath,
    headers: HeaderMap,
    uri: Uri,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    may_change(&caller, &app)?;
    let expected = Expected::of(&headers)?;
    let current = desk.store().get(&app).await?.ok_or_else(|| none_of(&app))?;
    let mut patched = json!(Shown::from(&current));
    asked::merge(&mut patched, body);
    let (rule, why) = Given::parse(patched)?.into_rule(Some(&app), &headers)?;
    // What was patched is what was read: nothing else may be replaced.
    let expected = expected.narrowed_to(&current)?;
    change(&desk, &caller, rule, why, expected, asked::dry_run(&uri)).await
}

async fn remove(
    State(desk): State<RuleDesk>,
    caller: Caller,
    AppPath(app): AppPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    may_change(&caller, &app)?;
    let expected = Expected::of(&headers)?;
    let before = desk.store().list().await?;
    let current = before.get(&app).ok_or_else(|| none_of(&app))?;
    let version = expected.version(&app, Some(current))?.ok_or_else(|| none_of(&app))?;
    if asked::dry_run(&uri) {
        let mut after = Rules::clone(&before);
        replace(&mut after, &app, None);
        return foresee(&desk, before, after).await;
    }
    desk.store().delete(&app, &version).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn change(
    desk: &RuleDesk,
    caller: &Caller,
    rule: Rule,
    why: String,
    expected: Expected,
    dry_run: bool,
) -> Result<Response, ApiError> {
    if !dry_run {
        return write(desk, caller, rule, why, expected).await;
    }
    may_change(caller, &rule.app)?;
    let before = desk.store().list().await?;
    let current = before.get(&rule.app);
    expected.version(&rule.app, current)?;
    let standing = current.map(|current| &current.rule);
    desk.judge(caller, standing, &rule)?;
    desk.try_texts(&[(standing, &rule)]).await?;
    let mut after = Rules::clone(&before);
    replace(&mut after, &rule.app.clone(), Some(rule));
    foresee(desk, before, after).await
}

async fn write(
    desk: &RuleDesk,
    caller: &Caller,
    mut rule: Rule,
    why: String,
    expected: Expected,
) -> Result<Response, ApiError> {
    may_change(caller, &rule.app)?;
    let current = desk.store().get(&rule.app).await?;
    let version = expected.version(&rule.app, current.as_ref())?;
    rule.changed = Some(change_by(caller, why));
    let standing = current.as_ref().map(|current| &current.rule);
    desk.judge(caller, standing, &rule)?;
    desk.try_texts(&[(standing, &rule)]).await?;
    let stored = desk.store().put(&rule, version.as_ref()).await;
    let version = stored.map_err(|error| expected.error(error))?;
    let status = if current.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    let tag = tag_of(&version);
    Ok((status, [(header::ETAG, tag)], Json(Shown::from(&Versioned { rule, version }))).into_response())
}

async fn foresee(desk: &RuleDesk, before: Arc<Rules>, after: Rules) -> Result<Response, ApiError> {
    let forecast: Forecast = desk.foresee(before, after).await?;
    Ok(Json(forecast).into_response())
}

/// The rules with another one for an app, or none.
fn replace(rules: &mut Rules, app: &AppId, rule: Option<Rule>) {
    rules.rules.retain(|each| each.rule.app != *app);
    rules.rules.extend(rule.map(|rule| Versioned { rule, version: RuleVersion::new("dry run") }));
    rules.rules.sort_by(|one, other| one.rule.app.cmp(&other.rule.app));
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
