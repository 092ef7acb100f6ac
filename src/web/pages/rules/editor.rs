//! The editor of one rule: the form, what HAProxy says to it, and what it would change.

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Fields;
use super::verdict::Verdict;
use crate::model::{AppId, Rule};
use crate::web::pages::templates::in_url;
use crate::web::pages::{PageError, Reader, Screen};
use crate::web::rules::{Asking, Shown, Written, is_admins, save};
use crate::web::{ApiError, Audit, Seen};

/// The kinds of criteria, in words, with an example of each.
const KINDS: [(&str, &str, &str); 6] = [
    ("host", "Host", "shop.example.com"),
    ("path", "Path and below", "/cart"),
    ("path_exact", "Path exactly", "/cart/checkout"),
    ("header", "Header", "blue"),
    ("method", "Method", "POST"),
    ("source", "Client network", "10.0.0.0/8"),
];

/// Which rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web::pages) struct Asks {
    app: String,
}

#[derive(Serialize)]
struct Kind {
    name: &'static str,
    words: &'static str,
    example: &'static str,
}

/// What somebody else stored meanwhile.
#[derive(Serialize)]
struct Conflict {
    /// His rule; `None` where he took it away.
    theirs: Option<Shown>,
    theirs_routes: Vec<String>,
    version: String,
    /// What differs: the name, theirs, mine.
    differences: Vec<(String, String, String)>,
}

#[derive(Serialize)]
struct Content<'a> {
    fields: &'a Fields,
    is_new: bool,
    may_edit: bool,
    may_take_away: bool,
    is_admin: bool,
    is_group: bool,
    is_somebody: bool,
    kinds: Vec<Kind>,
    changed: Option<crate::model::Change>,
    /// Apps that have no rule yet, to choose from.
    apps: Vec<String>,
    knows_app: bool,
    verdict: Option<Verdict>,
    conflict: Option<Conflict>,
    tried: bool,
}

/// Opens the editor on a rule, or on a new one.
pub(in crate::web::pages) async fn open(
    reader: Reader,
    State(seen): State<Seen>,
    asks: Result<Query<Asks>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asks) = asks?;
    let told = |error: ApiError| PageError::to(&reader, error).back_to("/rules".to_owned());
    let found = match asks.app.as_str() {
        "" => None,
        app => seen.rules.store().get(&AppId::new(app)).await.map_err(|error| told(error.into()))?,
    };
    let (fields, changed) = match &found {
        Some(found) => (Fields::from(&Shown::from(found)), found.rule.changed.clone()),
        None => (Fields::begun(&asks.app), None),
    };
    Ok(draw(&reader, &seen, StatusCode::OK, Drawn { changed, ..Drawn::of(fields) }))
}

/// What the page of the editor shows.
struct Drawn {
    fields: Fields,
    changed: Option<crate::model::Change>,
    verdict: Option<Verdict>,
    conflict: Option<Conflict>,
    tried: bool,
}

impl Drawn {
    fn of(fields: Fields) -> Self {
        Self { fields, changed: None, verdict: None, conflict: None, tried: false }
    }
}

fn draw(reader: &Reader, seen: &Seen, status: StatusCode, drawn: Drawn) -> Response {
    let view = seen.view.borrow().clone();
    let Drawn { fields, changed, verdict, conflict, tried } = drawn;
    let app = AppId::new(&fields.app);
    let is_group = Rule::new(app.clone()).group().is_some();
    let is_new = fields.version.is_empty();
    let may_edit = match fields.app.is_empty() {
        true => reader.caller.may_write(),
        false => reader.caller.may_edit(&app) && (!is_group || reader.caller.is_admin()),
    };
    let free = |id: &&AppId| !view.rules.contains_key(id) && reader.caller.may_edit(id);
    let content = Content {
        is_new,
        may_edit,
        may_take_away: may_edit
            && !is_new
            && (reader.caller.is_admin() || !view.rules.get(&app).is_some_and(is_admins)),
        is_admin: reader.caller.is_admin(),
        is_group,
        is_somebody: reader.caller.name.is_some(),
        kinds: KINDS.iter().map(|(name, words, example)| Kind { name, words, example }).collect(),
        changed,
        apps: if is_new {
            view.apps.keys().filter(free).take(500).map(ToString::to_string).collect()
        } else {
            Vec::new()
        },
        knows_app: fields.app.is_empty() || is_group || view.apps.contains_key(&app),
        fields: &fields,
        verdict,
        conflict,
        tried,
    };
    let title = if is_new { "New rule".to_owned() } else { format!("Rule for {app}") };
    reader.page_with(status, "rule.html", Screen::Rules, &title, &content)
}

/// What a button of the form asks for: another field, a try, or that it is stored.
pub(in crate::web::pages) async fn send(
    reader: Reader,
    State(seen): State<Seen>,
    Extension(audit): Extension<Audit>,
    body: Bytes,
) -> Result<Response, PageError> {
    let (mut fields, what) = Fields::of_form(&body);
    if fields.edit(&what) {
        return Ok(draw(&reader, &seen, StatusCode::OK, Drawn::of(fields)));
    }
    // He was shown what somebody else stored, and stays with his own.
    match what.as_str() {
        "overwrite-theirs" => fields.version = std::mem::take(&mut fields.theirs),
        "overwrite-none" => fields.version.clear(),
        _ => {}
    }
    let dry_run = !what.starts_with("overwrite") && what != "save";
    let rule = match fields.rule() {
        Ok(rule) => rule,
        Err(mistakes) => {
            // What is only tried is shown where it was tried.
            let status = if dry_run { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
            let verdict = Some(Verdict::mistakes(mistakes));
            return Ok(draw(&reader, &seen, status, Drawn { verdict, tried: dry_run, ..Drawn::of(fields) }));
        }
    };
    let asking = Asking::of_page(reader.caller.clone(), audit, dry_run);
    let app = AppId::new(&fields.app);
    let version = Some(fields.version.as_str()).filter(|version| !version.is_empty());
    match save(&seen.rules, &asking, &app, rule.clone(), version).await {
        Ok(Written::Foreseen(forecast)) => {
            let verdict = Some(Verdict::from(&*forecast));
            Ok(draw(&reader, &seen, StatusCode::OK, Drawn { verdict, tried: true, ..Drawn::of(fields) }))
        }
        Ok(Written::Stored { .. }) => {
            let url = format!("/rules?done={}&what=saved", in_url(app.as_str()));
            Ok(Redirect::to(&url).into_response())
        }
        Err(error) => {
            let is_conflict = error.status() == StatusCode::PRECONDITION_FAILED;
            let conflict = is_conflict.then(|| conflict(&error, &rule));
            let verdict = (!is_conflict).then(|| Verdict::from(&error));
            let status = if dry_run { StatusCode::OK } else { error.status() };
            let drawn = Drawn { verdict, conflict, tried: dry_run, ..Drawn::of(fields) };
            Ok(draw(&reader, &seen, status, drawn))
        }
    }
}

/// Theirs and mine, side by side.
fn conflict(error: &ApiError, mine: &Value) -> Conflict {
    let theirs = error.member("current").filter(|current| !current.is_null());
    let shown: Option<Shown> = theirs.and_then(|theirs| serde_json::from_value(theirs.clone()).ok());
    let routes = |value: &Value| -> Vec<String> {
        let routes = value.get("routes").cloned().unwrap_or_default();
        let routes: Vec<crate::model::RuleRoute> = serde_json::from_value(routes).unwrap_or_default();
        routes.iter().map(super::route_shown).collect()
    };
    let mut differences = Vec::new();
    if let Some(theirs) = theirs {
        for (name, words) in
            [("enabled", "Enabled"), ("order", "Order"), ("replace", "Replaces labels"), ("config", "Config")]
        {
            let (one, other) = (&theirs[name], &mine[name]);
            if one != other {
                differences.push((words.to_owned(), in_words(one), in_words(other)));
            }
        }
        let (one, other) = (routes(theirs), routes(mine));
        if one != other {
            differences.push(("Routes".to_owned(), one.join("\n"), other.join("\n")));
        }
    }
    Conflict {
        theirs_routes: theirs.map(routes).unwrap_or_default(),
        version: shown.as_ref().map(|theirs| theirs.version.clone()).unwrap_or_default(),
        theirs: shown,
        differences,
    }
}

/// A value as people read it.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Object(fields) if fields.is_empty() => "none".to_owned(),
        Value::Object(fields) => {
            let line =
                |(key, value): (&String, &Value)| format!("{key} = {}", value.as_str().unwrap_or_default());
            fields.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
