//! Tasks: launched, started, killed, ended; every change is made before its event is published.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::core::Core;
use super::definition::{Definition, Probe};
use super::network::{LivePort, LiveTask};
use super::profile::Profile;
use super::state::{App, State, Task, TaskState};
use super::{clock, health, readiness, render};

/// A new task of the app's current definition, in TASK_STAGING; not yet in the state.
pub(super) fn new_task(core: &Core, app: &App, again: Option<(String, u32)>) -> Task {
    let definition = app.definition.clone();
    let (uuid, incarnation) = again.unwrap_or_else(|| (uuid::Uuid::new_v4().to_string(), 1));
    let address = core.network.address();
    let (host_ports, ports) = ports(core, &definition);
    let id = core.profile().task_id(&definition.id, &uuid, incarnation);
    let [_, _, third, fourth] = address.octets();
    let path = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    let health_paths = definition.health.iter().filter_map(|check| match &check.probe {
        Probe::Http(text) => Some(path(text)),
        Probe::Tcp | Probe::Command => None,
    });
    let live = LiveTask::new(
        id.clone(),
        definition.id.clone(),
        definition.version.clone(),
        address,
        ports,
        health_paths.collect(),
        definition.readiness.iter().map(|check| path(&check.path)).collect(),
        app.ready.clone(),
        core.ended.child_token(),
    );
    Task {
        instance: core.profile().instance_id(&definition.id, &uuid),
        id,
        uuid,
        incarnation,
        live: Arc::new(live),
        state: TaskState::Staging,
        host_ports,
        container_address: Ipv4Addr::new(172, 17, third, fourth).to_string(),
        staged_at: clock::now(),
        started_at: None,
        started: None,
        health: vec![None; definition.health.len()],
        ready: definition.readiness.is_empty(),
        definition,
    }
}

/// The host ports a task gets and all ports its server answers on.
fn ports(core: &Core, definition: &Definition) -> (Vec<u16>, Vec<LivePort>) {
    let mut host_ports = Vec::new();
    let mut live = Vec::new();
    for (index, port) in definition.ports.iter().enumerate() {
        let (number, fixed) = match port.host {
            Some(0) => (core.network.port(index), false),
            Some(number) => (number, true),
            None => (port.container, true),
        };
        if port.host.is_some() {
            host_ports.push(number);
        }
        if number != 0 {
            live.push(LivePort { number, speaks_tcp: port.speaks_tcp, fixed });
        }
    }
    (host_ports, live)
}

/// Where the port of an index is reachable, counted as Marathon counts it.
pub(super) fn target(task: &Task, index: usize) -> Option<SocketAddr> {
    let port = task.definition.ports.get(index)?;
    let number = match port.host {
        Some(_) => {
            let before = task.definition.ports[..index].iter().filter(|port| port.host.is_some()).count();
            *task.host_ports.get(before)?
        }
        None => port.container,
    };
    Some(SocketAddr::from((task.live.address, number)))
}

/// Launches one task of a defined app; `again` continues an instance (1.8 and later).
pub(super) fn launch(core: &Arc<Core>, state: &mut State, id: &str, again: Option<(String, u32)>) {
    let again = again.filter(|_| core.profile() >= Profile::V1_8);
    let Some(app) = state.apps.get_mut(id) else { return };
    let task = new_task(core, app, again);
    let task_id = task.id.clone();
    state.app_of_task.insert(task_id.clone(), id.to_owned());
    app.tasks.push(task);
    app.touch();
    if let Some(task) = app.tasks.last() {
        let first: &[&str] = match core.profile() {
            Profile::V0_11 => &[],
            Profile::V1_4 => &["Created"],
            Profile::V1_8 | Profile::V1_11 => &["Scheduled", "Provisioned"],
        };
        for condition in first {
            instance_changed(core, task, condition);
        }
        status_update(core, task, "TASK_STAGING", "");
    }
    let half = core.options.start_delay / 2;
    let starter = core.clone();
    core.spawn(async move {
        tokio::time::sleep(half).await;
        advance(&starter, &task_id, TaskState::Staging, TaskState::Starting);
        tokio::time::sleep(half).await;
        advance(&starter, &task_id, TaskState::Starting, TaskState::Running);
    });
}

fn advance(core: &Arc<Core>, task: &str, from: TaskState, to: TaskState) {
    let mut state = core.state();
    let Some((app, index)) = state.task_mut(task) else { return };
    if app.tasks[index].state != from {
        return;
    }
    app.tasks[index].state = to;
    if to == TaskState::Running {
        start(core, app, index);
    }
    app.touch();
    status_update(core, &app.tasks[index], to.name(), "");
}

/// Makes a task serve and be checked; readiness counts only during a deployment.
pub(super) fn start(core: &Arc<Core>, app: &mut App, index: usize) {
    let deploying = app.deployment.is_some();
    let task = &mut app.tasks[index];
    task.state = TaskState::Running;
    task.started_at = Some(clock::now());
    task.started = Some(Instant::now());
    task.ready |= !deploying;
    core.network.attach(&task.live);
    health::watch(core, task);
    if !task.ready {
        readiness::watch(core, task);
    }
}

/// Kills a task: with the grace of TASK_KILLING from 1.4 on, at once before.
pub(super) fn kill(core: &Arc<Core>, state: &mut State, task: &str) {
    let Some((app, index)) = state.task_mut(task) else { return };
    let before = app.tasks[index].state;
    if before == TaskState::Killing {
        return;
    }
    if !core.profile().has_instances() {
        end(core, state, task, "TASK_KILLED", "Command terminated with signal Terminated");
        return;
    }
    if core.profile().closes_slow_readers() {
        // From 1.8 a change of only the goal is an event too; the goal itself is not in it.
        instance_changed(core, &app.tasks[index], condition(before.name()));
    }
    app.tasks[index].state = TaskState::Killing;
    app.touch();
    status_update(core, &app.tasks[index], "TASK_KILLING", "");
    let grace = if app.tasks[index].started.is_some() { core.options.kill_grace } else { Duration::ZERO };
    let (killer, id) = (core.clone(), task.to_owned());
    core.spawn(async move {
        tokio::time::sleep(grace).await;
        end(&killer, &mut killer.state(), &id, "TASK_KILLED", "Command terminated with signal Terminated");
    });
}

/// Ends a task: its sockets close, then it leaves the state, then the event goes out; an app that is short of
/// instances and not in a deployment gets another one.
pub(super) fn end(core: &Arc<Core>, state: &mut State, task: &str, status: &str, message: &str) {
    let Some((app, index)) = state.task_mut(task) else { return };
    let ended = app.tasks.remove(index);
    core.network.detach(&ended.live);
    app.readiness.retain(|(owner, _), _| owner != task);
    if status != "TASK_KILLED" {
        app.last_failure = Some(failure(core, &ended, status, message));
    }
    app.touch();
    let id = app.definition.id.clone();
    let replace = app.defined && app.deployment.is_none() && app.active() < app.definition.instances;
    state.app_of_task.remove(task);
    status_update(core, &ended, status, message);
    if replace {
        launch(core, state, &id, Some((ended.uuid, ended.incarnation + 1)));
    }
    if state.apps.get(&id).is_some_and(|app| app.deployment.is_none()) {
        state.sweep(&id);
    }
}

fn failure(core: &Core, task: &Task, status: &str, message: &str) -> Value {
    let mut failure = json!({
        "appId": task.definition.id,
        "host": task.live.host,
        "message": message,
        "state": status,
        "taskId": task.id,
        "timestamp": clock::now(),
        "version": task.definition.version,
        "slaveId": task.live.agent,
    });
    if core.profile().has_instances() {
        failure["instanceId"] = json!(task.instance);
    }
    failure
}

/// Sets a task's state from outside, as an agent's report would.
pub(super) fn report(core: &Arc<Core>, task: &str, status: &str) -> bool {
    let mut state = core.state();
    let Some((app, index)) = state.task_mut(task) else { return false };
    let lost = status == "TASK_LOST" && core.profile().has_instances();
    let to = match status {
        "TASK_STAGING" => TaskState::Staging,
        "TASK_STARTING" => TaskState::Starting,
        "TASK_RUNNING" => TaskState::Running,
        "TASK_UNREACHABLE" => TaskState::Unreachable,
        _ if lost => TaskState::Unreachable,
        "TASK_KILLING" => {
            kill(core, &mut state, task);
            return true;
        }
        _ => {
            end(core, &mut state, task, status, "reported by the test");
            return true;
        }
    };
    let starts = to == TaskState::Running && app.tasks[index].started.is_none();
    app.tasks[index].state = to;
    if starts {
        start(core, app, index);
    }
    app.touch();
    status_update(core, &app.tasks[index], status, "");
    true
}

/// `status_update_event`, and from 1.4 the `instance_changed_event` that goes with it.
fn status_update(core: &Core, task: &Task, status: &str, message: &str) {
    if core.profile() == Profile::V0_11 && matches!(status, "TASK_STAGING" | "TASK_STARTING" | "TASK_KILLING")
    {
        return;
    }
    let mut fields = json!({
        "slaveId": task.live.agent,
        "taskId": task.id,
        "taskStatus": status,
        "message": message,
        "appId": task.definition.id,
        "host": task.live.host,
        "ports": task.host_ports,
        "version": task.definition.version,
    });
    if core.profile().has_instances() {
        fields["ipAddresses"] = render::addresses(task);
    }
    core.bus.publish("status_update_event", fields);
    if core.profile().has_instances() {
        instance_changed(core, task, condition(status));
    }
}

fn instance_changed(core: &Core, task: &Task, condition: &str) {
    let placed = condition != "Scheduled";
    core.bus.publish(
        "instance_changed_event",
        json!({
            "instanceId": task.instance,
            "condition": condition,
            "runSpecId": task.definition.id,
            "agentId": placed.then_some(&task.live.agent),
            "host": placed.then_some(&task.live.host),
            "runSpecVersion": task.definition.version,
        }),
    );
}

fn condition(status: &str) -> &'static str {
    match status {
        "TASK_STAGING" => "Staging",
        "TASK_STARTING" => "Starting",
        "TASK_RUNNING" => "Running",
        "TASK_KILLING" => "Killing",
        "TASK_KILLED" => "Killed",
        "TASK_FINISHED" => "Finished",
        "TASK_FAILED" => "Failed",
        "TASK_ERROR" => "Error",
        "TASK_GONE" | "TASK_GONE_BY_OPERATOR" => "Gone",
        "TASK_DROPPED" => "Dropped",
        "TASK_UNREACHABLE" | "TASK_LOST" => "Unreachable",
        _ => "Unknown",
    }
}

/// Flips the switch that makes the readiness paths of an app's tasks answer 503.
pub(super) fn set_ready(core: &Core, id: &str, ready: bool) -> bool {
    let state = core.state();
    let Some(app) = state.apps.get(id) else { return false };
    app.ready.store(ready, Ordering::Relaxed);
    true
}
