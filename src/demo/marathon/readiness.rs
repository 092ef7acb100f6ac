//! Readiness checks: only for tasks started by a deployment, until they pass.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::core::Core;
use super::definition::ReadinessCheck;
use super::network::LiveTask;
use super::state::Task;
use super::{check, lifecycle};

/// Checks a task until every readiness check has passed once.
pub(super) fn watch(core: &Arc<Core>, task: &Task) {
    let definition = task.definition.clone();
    for check in &definition.readiness {
        let index = definition.ports.iter().position(|port| port.name.as_ref() == Some(&check.port_name));
        let Some(target) = lifecycle::target(task, index.unwrap_or(0)) else { continue };
        let (core, live, check) = (core.clone(), task.live.clone(), check.clone());
        let tracker = core.tracker.clone();
        tracker.spawn(async move {
            let life = live.life.clone();
            tokio::select! {
                () = repeat(core, live, check, target) => {}
                () = life.cancelled() => {}
            }
        });
    }
}

async fn repeat(core: Arc<Core>, live: Arc<LiveTask>, check: ReadinessCheck, target: SocketAddr) {
    loop {
        let answer = {
            let _permit = core.checks.acquire().await;
            check::get(target, &check.path, check.timeout).await
        };
        let ready = answer.as_ref().is_ok_and(|answer| check.good.contains(&u64::from(answer.status)));
        let mut result = json!({"name": check.name, "taskId": live.id, "ready": ready});
        if let Ok(answer) = answer
            && check.keep_response
        {
            result["lastResponse"] =
                json!({"status": answer.status, "contentType": answer.content_type, "body": answer.body});
        }
        record(&core, &live.id, &check.name, ready, result);
        if ready {
            return;
        }
        tokio::time::sleep(check.interval).await;
    }
}

fn record(core: &Core, id: &str, name: &str, ready: bool, result: Value) {
    let mut state = core.state();
    let Some((app, position)) = state.task_mut(id) else { return };
    if app.deployment.is_some() {
        app.readiness.insert((id.to_owned(), name.to_owned()), result);
    }
    if ready {
        let passed = |check: &ReadinessCheck| {
            let result = app.readiness.get(&(id.to_owned(), check.name.clone()));
            result.is_some_and(|result| result["ready"] == json!(true))
        };
        let all = app.deployment.is_none() || app.tasks[position].definition.readiness.iter().all(passed);
        app.tasks[position].ready = all;
    }
    app.touch();
}
