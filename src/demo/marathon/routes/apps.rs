//! `/v2/apps` and what lies below it.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::canonical::{self, Draft};
use super::super::core::Core;
use super::super::definition::Definition;
use super::super::group;
use super::super::render;
use super::super::reply::Reply;
use super::super::update::{self, Change, Refusal, Terms, object};
use super::filter::Filter;
use super::{Call, tasks};

/// Apps rendered per hold of the state's lock, so that writers get their turn.
const BATCH: usize = 64;

/// Answers for the path below `/v2/apps`.
pub(super) async fn answer(core: &Arc<Core>, call: &Call, rest: &[&str]) -> Result<Reply, Refusal> {
    let id = |segments: &[&str]| format!("/{}", segments.join("/"));
    match (&call.method, rest) {
        (&Method::GET | &Method::HEAD, []) => Ok(list(core, call, "apps", None).await),
        (&Method::GET | &Method::HEAD, [group @ .., "*"]) => Ok(list(core, call, "*", Some(id(group))).await),
        (&Method::POST, []) => create(core, call).await,
        (&Method::PUT | &Method::PATCH, []) => update_many(core, call).await,
        (&Method::POST, [app @ .., "restart"]) => restart(core, call, id(app)).await,
        (_, [app @ .., "tasks"]) => tasks::of_app(core, call, &id(app), None).await,
        (&Method::DELETE, [app @ .., "tasks", task]) => tasks::of_app(core, call, &id(app), Some(task)).await,
        (&Method::GET, [app @ .., "versions"]) => versions(core, &id(app)),
        (&Method::GET, [app @ .., "versions", version]) => one_version(core, &id(app), version),
        (&Method::GET | &Method::HEAD, app) => single(core, call, &id(app)),
        (&Method::PUT | &Method::PATCH, app) => update_one(core, call, id(app)).await,
        (&Method::DELETE, app) => remove(core, call, id(app)).await,
        _ => Ok(Reply::page(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

async fn list(core: &Core, call: &Call, key: &str, within: Option<String>) -> Reply {
    let (filter, embed) = (Filter::of(call), call.embed());
    let mut pieces = vec![Bytes::from(format!("{{\"{key}\":["))];
    let mut after = Bound::Unbounded;
    loop {
        let last = {
            let mut state = core.state();
            let mut last = None;
            for (id, app) in state.apps.range_mut::<String, _>((after, Bound::Unbounded)).take(BATCH) {
                last = Some(id.clone());
                let inside = within.as_ref().is_none_or(|group| group::under(group, id));
                if app.defined && inside && filter.passes(&app.definition) {
                    if pieces.len() > 1 {
                        pieces.push(Bytes::from_static(b","));
                    }
                    pieces.push(render::app(core.profile(), app, embed));
                }
            }
            last
        };
        let Some(last) = last else { break };
        after = Bound::Excluded(last);
        tokio::task::yield_now().await;
    }
    pieces.push(Bytes::from_static(b"]}"));
    Reply::text(StatusCode::OK, pieces)
}

fn missing(id: &str) -> Refusal {
    Refusal::NotFound(format!("App '{id}'"))
}

fn single(core: &Core, call: &Call, id: &str) -> Result<Reply, Refusal> {
    let mut state = core.state();
    let app = state.app_mut(id).ok_or_else(|| missing(id))?;
    let text = render::single(core.profile(), app, call.embed());
    Ok(Reply::text(StatusCode::OK, vec![Bytes::from_static(b"{\"app\":"), text, Bytes::from_static(b"}")]))
}

fn versions(core: &Core, id: &str) -> Result<Reply, Refusal> {
    let state = core.state();
    let app = state.app(id).ok_or_else(|| missing(id))?;
    let versions: Vec<&str> =
        app.history.iter().rev().map(|definition| definition.version.as_str()).collect();
    Ok(Reply::ok(&json!({"versions": versions})))
}

fn one_version(core: &Core, id: &str, version: &str) -> Result<Reply, Refusal> {
    let state = core.state();
    let app = state.app(id).ok_or_else(|| missing(id))?;
    let definition = app.history.iter().find(|definition| definition.version == version);
    let definition =
        definition.ok_or_else(|| Refusal::NotFound(format!("App '{id}' in version '{version}'")))?;
    let text = format!("{}}}", definition.text(core.profile()));
    Ok(Reply::text(StatusCode::OK, vec![text.into()]))
}

/// A definition as it was, to be made current again.
pub(super) fn again(definition: &Definition) -> Draft {
    Draft {
        id: definition.id.clone(),
        body: definition.body.clone(),
        ip_address: definition.ip_address.clone(),
    }
}

/// The draft of a change to one app, over what is there unless `partialUpdate=false`.
pub(super) fn draft(
    core: &Core,
    mut posted: Map<String, Value>,
    id: Option<&str>,
    partial: bool,
) -> Result<Draft, Refusal> {
    let state = core.state();
    let named = posted.get("id").and_then(Value::as_str).map(|id| format!("/{}", id.trim_matches('/')));
    let target = id.map(str::to_owned).or(named);
    let app = target.as_deref().and_then(|id| state.app(id));
    // A PUT of nothing but a version goes back to it.
    if let (Some(app), Some(version), true) = (app, posted.get("version"), posted.len() == 1) {
        let found = app.history.iter().find(|definition| definition.version == *version);
        return found.map(|definition| again(definition)).ok_or_else(|| missing(&app.definition.id));
    }
    let base = app.filter(|_| partial).map(|app| (&app.definition.body, app.definition.ip_address.as_ref()));
    if id.is_some() {
        posted.remove("id");
    }
    Ok(canonical::draft(core.profile(), posted, id, base)?)
}

fn post_event(core: &Core, call: &Call, id: &str) {
    let state = core.state();
    let Some(app) = state.app(id) else { return };
    let text = format!("{}}}", app.definition.text(core.profile()));
    let definition: Value = serde_json::from_str(&text).unwrap_or_default();
    core.bus.publish(
        "api_post_event",
        json!({"clientIp": call.remote.ip().to_string(), "uri": call.uri, "appDefinition": definition}),
    );
}

async fn create(core: &Arc<Core>, call: &Call) -> Result<Reply, Refusal> {
    let draft = draft(core, object(call.json()?)?, None, false)?;
    let id = draft.id.clone();
    if core.state().app(&id).is_some() {
        return Err(Refusal::Exists(format!("An app with id [{id}]")));
    }
    let terms = Terms { force: call.flag("force"), group: update::parent(&id), kill: Vec::new() };
    let accepted = update::apply(core, vec![Change::Define(draft)], terms).await?;
    post_event(core, call, &id);
    let mut state = core.state();
    let app = state.app_mut(&id).ok_or_else(|| missing(&id))?;
    let text = render::single(core.profile(), app, call.embed());
    Ok(Reply::text(StatusCode::CREATED, vec![text]).deployment(core, &accepted))
}

async fn update_one(core: &Arc<Core>, call: &Call, id: String) -> Result<Reply, Refusal> {
    let existed = core.state().app(&id).is_some();
    if !existed && call.method == Method::PATCH {
        return Err(missing(&id));
    }
    let partial = call.value("partialUpdate") != Some("false");
    let draft = draft(core, object(call.json()?)?, Some(&id), partial)?;
    let terms = Terms { force: call.flag("force"), group: update::parent(&id), kill: Vec::new() };
    let accepted = update::apply(core, vec![Change::Define(draft)], terms).await?;
    post_event(core, call, &id);
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Reply::accepted(core, status, &accepted))
}

async fn update_many(core: &Arc<Core>, call: &Call) -> Result<Reply, Refusal> {
    let Value::Array(posted) = call.json()? else {
        return Err(Refusal::Json("error.expected.jsarray".to_owned()));
    };
    let partial = call.value("partialUpdate") != Some("false");
    let mut changes = Vec::new();
    for app in posted {
        changes.push(Change::Define(draft(core, object(app)?, None, partial)?));
    }
    let terms = Terms { force: call.flag("force"), group: "/".to_owned(), kill: Vec::new() };
    let accepted = update::apply(core, changes, terms).await?;
    Ok(Reply::accepted(core, StatusCode::OK, &accepted))
}

async fn restart(core: &Arc<Core>, call: &Call, id: String) -> Result<Reply, Refusal> {
    if core.state().app(&id).is_none() {
        return Err(missing(&id));
    }
    let terms = Terms { force: call.flag("force"), group: update::parent(&id), kill: Vec::new() };
    let accepted = update::apply(core, vec![Change::Restart(id)], terms).await?;
    Ok(Reply::accepted(core, StatusCode::OK, &accepted))
}

async fn remove(core: &Arc<Core>, call: &Call, id: String) -> Result<Reply, Refusal> {
    if core.state().app(&id).is_none() {
        return Err(missing(&id));
    }
    let terms = Terms { force: call.flag("force"), group: update::parent(&id), kill: Vec::new() };
    let accepted = update::apply(core, vec![Change::Remove(id)], terms).await?;
    Ok(Reply::accepted(core, StatusCode::OK, &accepted))
}
