//! `/v2/tasks` and `/v2/apps/{id}/tasks`.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::core::Core;
use super::super::reply::Reply;
use super::super::state::Task;
use super::super::update::{self, Change, Refusal, Terms};
use super::super::{lifecycle, render};
use super::{Call, apps};

/// Answers for the path below `/v2/tasks`.
pub(super) async fn answer(core: &Arc<Core>, call: &Call, rest: &[&str]) -> Result<Reply, Refusal> {
    match (&call.method, rest) {
        (&Method::GET | &Method::HEAD, []) => {
            let mut statuses = call.values("status");
            statuses.extend(call.values("status[]"));
            let text = render::all_tasks(core.profile(), &core.state(), &statuses);
            Ok(Reply::text(StatusCode::OK, vec![text.into()]))
        }
        (&Method::POST, ["delete"]) => {
            let body = call.json()?;
            let ids =
                body.get("ids").and_then(Value::as_array).ok_or_else(|| Refusal::Json("/ids".to_owned()))?;
            let ids: Vec<String> = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            kill(core, call, &ids).await
        }
        _ => Ok(Reply::page(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// Answers for the tasks of one app, or for one of them.
pub(super) async fn of_app(
    core: &Arc<Core>,
    call: &Call,
    id: &str,
    task: Option<&str>,
) -> Result<Reply, Refusal> {
    let missing = || Refusal::NotFound(format!("App '{id}'"));
    let host = call.value("host").filter(|host| *host != "*");
    let chosen = |candidate: &&Task| {
        task.is_none_or(|task| candidate.id == task) && host.is_none_or(|host| candidate.live.host == host)
    };
    let (ids, values): (Vec<String>, Vec<Value>) = {
        let state = core.state();
        let app = state.app(id).ok_or_else(missing)?;
        let tasks = app.tasks.iter().filter(chosen);
        tasks.map(|task| (task.id.clone(), render::task(core.profile(), task))).unzip()
    };
    match call.method {
        Method::GET | Method::HEAD => Ok(Reply::ok(&json!({"tasks": values}))),
        Method::DELETE => {
            if let (Some(task), true) = (task, ids.is_empty()) {
                return Err(Refusal::NotFound(format!("Task '{task}'")));
            }
            let reply = kill(core, call, &ids).await?;
            if task.is_some() && !call.flag("scale") {
                return Ok(Reply::ok(&json!({"task": values.first()})));
            }
            Ok(reply)
        }
        _ => Ok(Reply::page(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// Kills tasks; with `scale=true` their apps have that many instances less afterwards.
async fn kill(core: &Arc<Core>, call: &Call, ids: &[String]) -> Result<Reply, Refusal> {
    let mut per_app: Map<String, Value> = Map::new();
    let mut values = Vec::new();
    {
        let mut state = core.state();
        for id in ids {
            let Some((app, index)) = state.task_mut(id) else { continue };
            values.push(render::task(core.profile(), &app.tasks[index]));
            if app.tasks[index].active() {
                let left =
                    per_app.entry(app.definition.id.clone()).or_insert(json!(app.definition.instances));
                *left = json!(left.as_u64().unwrap_or_default().saturating_sub(1));
            }
        }
        if !call.flag("scale") {
            for id in ids {
                lifecycle::kill(core, &mut state, id);
            }
            return Ok(Reply::ok(&json!({"tasks": values})));
        }
    }
    let mut changes = Vec::new();
    for (app, instances) in per_app {
        let posted = Map::from_iter([("instances".to_owned(), instances)]);
        changes.push(Change::Define(apps::draft(core, posted, Some(&app), true)?));
    }
    let terms = Terms { force: call.flag("force"), group: "/".to_owned(), kill: ids.to_vec() };
    let accepted = update::apply(core, changes, terms).await?;
    Ok(Reply::accepted(core, StatusCode::OK, &accepted))
}
