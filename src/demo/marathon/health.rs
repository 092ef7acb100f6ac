//! Health checks, run against the tasks' real sockets as Marathon's HealthCheckActor decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::core::Core;
use super::definition::{HealthCheck, Probe};
use super::network::LiveTask;
use super::profile::Profile;
use super::state::{HealthResult, Task};
use super::{check, clock, lifecycle};

/// Checks a task from now until it dies; the first time at once.
pub(super) fn watch(core: &Arc<Core>, task: &Task) {
    let definition = task.definition.clone();
    for (index, check) in definition.health.iter().enumerate() {
        let target = match check.port {
            Some(port) => Some(SocketAddr::from((task.live.address, port))),
            None => lifecycle::target(task, check.port_index),
        };
        let (core, live, check) = (core.clone(), task.live.clone(), check.clone());
        let tracker = core.tracker.clone();
        tracker.spawn(async move {
            let life = live.life.clone();
            tokio::select! {
                () = repeat(core, live, index, check, target) => {}
                () = life.cancelled() => {}
            }
        });
    }
}

async fn repeat(
    core: Arc<Core>,
    live: Arc<LiveTask>,
    index: usize,
    check: HealthCheck,
    target: Option<SocketAddr>,
) {
    let started = Instant::now();
    loop {
        let result = probe(&core, &check, target).await;
        let in_grace = started.elapsed() < check.grace;
        record(&core, &live.id, index, &check, result, in_grace);
        tokio::time::sleep(check.interval).await;
    }
}

async fn probe(core: &Core, check: &HealthCheck, target: Option<SocketAddr>) -> Result<(), String> {
    if check.probe == Probe::Command {
        return Ok(());
    }
    let target = target.ok_or_else(|| "no port to check".to_owned())?;
    let _permit = core.checks.acquire().await;
    match &check.probe {
        Probe::Http(path) => {
            let answer = check::get(target, path, check.timeout).await?;
            if (200..400).contains(&answer.status) {
                Ok(())
            } else {
                Err(format!("{} from {path}", answer.status))
            }
        }
        Probe::Tcp => check::connect(target, check.timeout).await,
        Probe::Command => Ok(()),
    }
}

fn record(
    core: &Arc<Core>,
    id: &str,
    index: usize,
    check: &HealthCheck,
    result: Result<(), String>,
    in_grace: bool,
) {
    let mut state = core.state();
    let Some((app, position)) = state.task_mut(id) else { return };
    let task = &mut app.tasks[position];
    let before = task.health[index].clone().unwrap_or_default();
    let healthy_before = task.healthy();
    let (after, failed) = judged(&before, result, in_grace);
    let exceeded =
        failed.is_some() && check.max_failures > 0 && after.consecutive_failures >= check.max_failures;
    let flipped = before.alive != after.alive;
    task.health[index] = Some(after);
    app.touch();
    let task = &app.tasks[position];
    if failed.is_some() {
        failed_check(core, task, check);
    }
    if flipped {
        status_changed(core, task, !before.alive);
    }
    if core.profile().has_instances() && task.healthy() != healthy_before {
        core.bus.publish(
            "instance_health_changed_event",
            json!({
                "instanceId": task.instance, "runSpecId": task.definition.id,
                "healthy": task.healthy(), "runSpecVersion": task.definition.version,
            }),
        );
    }
    if exceeded && task.active() {
        unhealthy_kill(core, task, failed.as_deref().unwrap_or_default());
        lifecycle::kill(core, &mut state, id);
    }
}

/// The result after one more probe, and the cause of a failure that counts.
fn judged(
    before: &HealthResult,
    probed: Result<(), String>,
    in_grace: bool,
) -> (HealthResult, Option<String>) {
    let mut after = before.clone();
    match probed {
        Ok(()) => succeeded(&mut after),
        // Failures do not count in the grace period until the task was healthy for the first time.
        Err(_) if in_grace && before.first_success.is_none() => {}
        Err(cause) => {
            after.alive = false;
            after.consecutive_failures += 1;
            after.last_failure = Some(clock::now());
            after.last_failure_cause = Some(cause.clone());
            return (after, Some(cause));
        }
    }
    (after, None)
}

fn succeeded(result: &mut HealthResult) {
    let now = clock::now();
    result.alive = true;
    result.consecutive_failures = 0;
    result.first_success.get_or_insert_with(|| now.clone());
    result.last_success = Some(now);
}

fn status_changed(core: &Core, task: &Task, alive: bool) {
    let mut fields = json!({"appId": task.definition.id, "version": task.definition.version, "alive": alive});
    if core.profile().has_instances() {
        fields["instanceId"] = json!(task.instance);
    } else {
        fields["taskId"] = json!(task.id);
    }
    core.bus.publish("health_status_changed_event", fields);
}

fn failed_check(core: &Core, task: &Task, check: &HealthCheck) {
    let mut fields = json!({"appId": task.definition.id, "healthCheck": check.source});
    match core.profile() {
        Profile::V0_11 => fields["taskId"] = json!(task.id),
        Profile::V1_4 => fields["instanceId"] = json!(task.instance),
        // From 1.5 on the key is taskId and the value the instance's id.
        Profile::V1_8 | Profile::V1_11 => fields["taskId"] = json!(task.instance),
    }
    core.bus.publish("failed_health_check_event", fields);
}

fn unhealthy_kill(core: &Core, task: &Task, reason: &str) {
    if !core.profile().has_instances() {
        return;
    }
    core.bus.publish("unhealthy_instance_kill_event", json!({
        "appId": task.definition.id, "taskId": task.id, "instanceId": task.instance,
        "version": task.definition.version, "reason": reason, "host": task.live.host, "slaveId": task.live.agent,
    }));
}

/// What a new leader has lost: the results of the checks that Marathon itself runs.
pub(super) fn forget(core: &Core) {
    let mut state = core.state();
    for app in state.apps.values_mut() {
        for task in &mut app.tasks {
            for (result, check) in task.health.iter_mut().zip(&task.definition.health) {
                if check.by_marathon {
                    *result = None;
                }
            }
        }
        app.touch();
    }
}
