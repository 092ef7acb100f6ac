//! Bamboo's REST API, for clients that people have: its paths, its shapes, its statuses. Where Bamboo was plainly wrong
//! (a failure as 400, or as 200 with `null`), the status is right and the shape is Bamboo's: a line of plain text.

use std::collections::BTreeMap;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Extension, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::rules::{change_by, may_change, may_take_away};
use super::{ApiError, Audit, Caller, RuleDesk, Seen};
use crate::model::{AppId, Rule};
use crate::rules::StoreError;
use crate::rules::zookeeper::payload::{config_of_rule, rule_of_config};
use state::ShownApp;

mod state;

/// How often a write is begun anew where somebody else changes the same rule: Bamboo's last writer wins.
const ATTEMPTS: usize = 5;

pub(super) fn router() -> Router<Seen> {
    // Every path may end in a slash; what is not there is 404, never 405.
    Router::new()
        .route("/api/services", bare(get(list).post(write)))
        .route("/api/services/", bare(get(list).post(write).put(write).delete(nobody)))
        .route("/api/services/{*id}", bare(put(write).delete(remove)))
        .route("/api/state", bare(get(state)))
        .route("/api/state/", bare(get(state)))
        .route("/api/marathon/event_callback", bare(post(super::callback::heard)))
        .route("/api/marathon/event_callback/", bare(post(super::callback::heard)))
}

fn bare(methods: MethodRouter<Seen>) -> MethodRouter<Seen> {
    methods.fallback(|| async { plain(StatusCode::NOT_FOUND, "404 page not found") })
}

/// A record as Bamboo shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    id: String,
    acl: String,
    config: Option<BTreeMap<String, String>>,
}

impl From<&Rule> for Record {
    fn from(rule: &Rule) -> Self {
        let config = config_of_rule(rule);
        let acl = config.get("Acl").cloned().unwrap_or_default();
        Self { id: rule.app.to_string(), acl, config: Some(config) }
    }
}

/// The records of these rules by id; those of groups are none of Bamboo's.
fn records<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeMap<String, Record> {
    let of_apps = rules.filter(|rule| rule.group().is_none());
    of_apps.map(|rule| (rule.app.to_string(), Record::from(rule))).collect()
}

async fn list(State(desk): State<RuleDesk>, _reader: Caller) -> Response {
    match desk.store().list().await {
        Ok(rules) => json(&records(rules.rules.iter().map(|each| &each.rule))),
        Err(error) => told(&error.into()),
    }
}

/// Everything that Bamboo's template has, as plain text, as Bamboo gives it. Where it is not known yet Bamboo's `null` has the
/// status of a failure.
async fn state(State(seen): State<Seen>, _reader: Caller) -> Response {
    let view = seen.view.borrow().clone();
    let kind = "text/plain; charset=utf-8";
    if !view.ready {
        return (StatusCode::SERVICE_UNAVAILABLE, as_json(&Value::Null, kind)).into_response();
    }
    let rules = match seen.rules.store().list().await {
        Ok(rules) => rules,
        Err(error) => return told(&error.into()),
    };
    let shown = state::Shown {
        apps: view.apps.values().map(|app| ShownApp::of(app, &seen.state_env)).collect(),
        services: records(rules.rules.iter().map(|each| &each.rule)),
    };
    as_json(&shown, kind)
}

/// Creates a record or replaces it whole; the id of the body counts, also where the path has one.
async fn write(
    State(desk): State<RuleDesk>,
    caller: Caller,
    Extension(audit): Extension<Audit>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => return plain(error.status(), &error.body_text()),
    };
    let Some(mut record) = read(&body) else {
        return plain(StatusCode::BAD_REQUEST, "Unable to decode JSON request");
    };
    if record.id.is_empty() {
        return plain(StatusCode::BAD_REQUEST, "can not use empty ID");
    }
    let app = AppId::new(&record.id);
    audit.about(app.as_str());
    app.as_str().clone_into(&mut record.id);
    let mut config = record.config.clone().unwrap_or_default();
    if !record.acl.is_empty() {
        config.insert("Acl".to_owned(), record.acl.clone());
    }
    match put_rule(&desk, &caller, rule_of_config(&app, config)).await {
        Ok(()) => json(&record),
        Err(error) => told(&error),
    }
}

async fn put_rule(desk: &RuleDesk, caller: &Caller, mut rule: Rule) -> Result<(), ApiError> {
    may_change(caller, &rule.app)?;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let current = desk.store().get(&rule.app).await?;
        rule.changed = Some(change_by(caller, String::new()));
        let standing = current.as_ref().map(|current| &current.rule);
        desk.judge(caller, standing, &rule)?;
        desk.try_texts(&[(standing, &rule)]).await?;
        match desk.store().put(&rule, current.as_ref().map(|current| &current.version)).await {
            Err(StoreError::Conflict { .. }) if attempts > 0 => {}
            written => return Ok(written.map(drop)?),
        }
    }
}

async fn remove(
    State(desk): State<RuleDesk>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(error) => return plain(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    match remove_rule(&desk, &caller, &AppId::new(&id)).await {
        Ok(true) => json(&Value::Null),
        Ok(false) => plain(StatusCode::NOT_FOUND, "zk: node does not exist"),
        Err(error) => told(&error),
    }
}

async fn remove_rule(desk: &RuleDesk, caller: &Caller, app: &AppId) -> Result<bool, ApiError> {
    may_change(caller, app)?;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let Some(current) = desk.store().get(app).await? else { return Ok(false) };
        may_take_away(caller, &current.rule)?;
        match desk.store().delete(app, &current.version).await {
            Err(StoreError::Conflict { .. }) if attempts > 0 => {}
            removed => return Ok(removed.map(|()| true)?),
        }
    }
}

async fn nobody() -> Response {
    plain(StatusCode::BAD_REQUEST, "can not use empty ID")
}

/// Reads a record as Go does: keys whatever their case, `null` as if it were not there.
fn read(body: &[u8]) -> Option<Record> {
    let Value::Object(fields) = serde_json::from_slice(body).ok()? else { return None };
    let field = |name: &str| {
        let mut found = fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next_back().map(|(_, value)| value).filter(|value| !value.is_null())
    };
    let text = |name: &str| field(name).map_or(Some(String::new()), |value| Some(value.as_str()?.to_owned()));
    let config = match field("config") {
        None => None,
        Some(Value::Object(config)) => {
            let pair = |(key, value): (&String, &Value)| match value {
                Value::Null => Some((key.clone(), String::new())),
                value => Some((key.clone(), value.as_str()?.to_owned())),
            };
            Some(config.iter().map(pair).collect::<Option<_>>()?)
        }
        Some(_) => return None,
    };
    Some(Record { id: text("id")?, acl: text("acl")?, config })
}

fn json(value: &impl Serialize) -> Response {
    as_json(value, "application/json")
}

/// JSON as Go writes it: what could end a script is escaped. In JSON these characters are in texts only.
fn as_json(value: &impl Serialize, kind: &'static str) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn told(error: &ApiError) -> Response {
    plain(error.status(), error.detail())
}

fn plain(status: StatusCode, words: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{words}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_go_reads_it() {
        let of = |text: &str| {
            let record = read(text.as_bytes())?;
            Some(serde_json::to_string(&record).unwrap())
        };
        assert_eq!(
            of(r#"{"ID":"/x","aCl":"path /y","extra":1}"#).unwrap(),
            r#"{"Id":"/x","Acl":"path /y","Config":null}"#
        );
        assert_eq!(
            of(r#"{"id":"x","acl":null,"config":{"Acl":"a","k":null}}"#).unwrap(),
            r#"{"Id":"x","Acl":"","Config":{"Acl":"a","k":""}}"#
        );
        for wrong in
            ["", "[]", "{", r#"{"id":1}"#, r#"{"id":"/x","config":{"Acl":1}}"#, r#"{"id":"/x","config":[]}"#]
        {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
