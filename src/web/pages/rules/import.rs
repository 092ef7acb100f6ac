//! Rules from a text: ours or Bamboo's. First what they would come to, then the rules.

use axum::Extension;
use axum::extract::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::verdict::Verdict;
use crate::model::Rule;
use crate::rules::read::of_text;
use crate::web::pages::{PageError, Reader, Screen};
use crate::web::rules::{Asking, Shown, foresee_all, save};
use crate::web::{ApiError, Audit, Seen};

/// What is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web::pages) struct Sent {
    text: String,
    why: String,
    #[serde(rename = "do")]
    what: String,
}

/// A rule of the text.
#[derive(Serialize)]
struct Row {
    app: String,
    routes: Vec<String>,
    /// new, replaces, same; after the import imported, or failed.
    state: &'static str,
    words: String,
}

#[derive(Default, Serialize)]
struct Content<'a> {
    text: &'a str,
    why: &'a str,
    may_write: bool,
    is_somebody: bool,
    rows: Vec<Row>,
    verdict: Option<Verdict>,
    mistake: Option<String>,
    is_done: bool,
    /// Something can be imported.
    is_ready: bool,
}

pub(in crate::web::pages) async fn open(reader: Reader) -> Response {
    draw(&reader, StatusCode::OK, Content::default())
}

fn draw(reader: &Reader, status: StatusCode, content: Content<'_>) -> Response {
    let (may_write, is_somebody) = (reader.caller.may_write(), reader.caller.name.is_some());
    let content = Content { may_write, is_somebody, ..content };
    reader.page_with(status, "rules_import.html", Screen::Rules, "Import rules", &content)
}

/// Shows what a text would come to, or stores its rules one by one, each in place of what is there.
pub(in crate::web::pages) async fn send(
    reader: Reader,
    State(seen): State<Seen>,
    Extension(audit): Extension<Audit>,
    form: Result<Form<Sent>, FormRejection>,
) -> Result<Response, PageError> {
    let told = |error: ApiError| PageError::to(&reader, error).back_to("/rules/import".to_owned());
    let Form(sent) = form.map_err(|error| told(ApiError::new(error.status(), error.body_text())))?;
    if !reader.caller.may_write() {
        return Err(told(ApiError::forbidden("rules are imported by editors and admins")));
    }
    let content = Content { text: &sent.text, why: &sent.why, ..Content::default() };
    let rules = match of_text(&sent.text) {
        Ok(rules) => rules,
        Err(error) => {
            let mistake = Some(format!("{error:#}"));
            return Ok(draw(&reader, StatusCode::UNPROCESSABLE_ENTITY, Content { mistake, ..content }));
        }
    };
    let there = seen.rules.store().list().await.map_err(|error| told(error.into()))?;
    let why = if sent.why.trim().is_empty() { "imported" } else { sent.why.trim() };
    let given = |rule: &Rule| {
        let mut given = json!(Shown::from(rule));
        given["why"] = json!(why);
        given
    };
    let is_import = sent.what == "import";
    let mut rows = Vec::new();
    for rule in &rules {
        let current = there.get(&rule.app);
        let same = |standing: &Rule| Rule { changed: None, ..standing.clone() } == *rule;
        let (mut state, mut words) = match current {
            None => ("new", String::new()),
            Some(current) if same(&current.rule) => ("same", String::new()),
            Some(_) => ("replaces", "the rule that is there".to_owned()),
        };
        if is_import && state != "same" {
            let asking = Asking::of_page(reader.caller.clone(), audit.clone(), false);
            let version = current.map(|current| current.version.as_str());
            (state, words) = match save(&seen.rules, &asking, &rule.app, given(rule), version).await {
                Ok(_) => ("imported", String::new()),
                Err(error) => ("failed", error.detail().to_owned()),
            };
        }
        let routes = rule.routes.iter().map(super::route_shown).collect();
        rows.push(Row { app: rule.app.to_string(), routes, state, words });
    }
    if is_import {
        return Ok(draw(&reader, StatusCode::OK, Content { rows, is_done: true, ..content }));
    }
    let asking = Asking::of_page(reader.caller.clone(), audit, true);
    let all: Vec<Value> = rules.iter().map(given).collect();
    let (verdict, is_ready) = match foresee_all(&seen.rules, &asking, all).await {
        Ok(forecast) => (Verdict::from(&forecast), true),
        Err(error) => (Verdict::from(&error), false),
    };
    Ok(draw(&reader, StatusCode::OK, Content { rows, verdict: Some(verdict), is_ready, ..content }))
}
