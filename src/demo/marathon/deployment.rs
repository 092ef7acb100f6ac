//! Carries deployments out, step by step.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use super::core::Core;
use super::events;
use super::lifecycle;
use super::plan::{Act, Deployment};
use super::state::{App, State, Task};

/// Runs a deployment that is in the state already; `announced` says that the first step's info is out.
pub(super) fn run(core: &Arc<Core>, deployment: Deployment, announced: bool) {
    let runner = core.clone();
    let cancel = deployment.cancel.clone();
    core.spawn(async move {
        tokio::select! {
            () = steps(&runner, &deployment, announced) => {}
            () = cancel.cancelled() => {}
        }
    });
}

async fn steps(core: &Arc<Core>, deployment: &Deployment, announced: bool) {
    for (index, step) in deployment.steps.iter().enumerate() {
        if let Some(entry) = core.state().deployments.iter_mut().find(|entry| entry.id == deployment.id) {
            entry.current = index;
        }
        if index > 0 || !announced {
            publish_step(core, deployment, "deployment_info", index);
        }
        join_all(step.iter().map(|(act, app)| carry_out(core, *act, app))).await;
        publish_step(core, deployment, "deployment_step_success", index);
    }
    let mut state = core.state();
    remove(core, &mut state, deployment);
    let fields = json!({"id": deployment.id, "plan": deployment.plan(core.profile())});
    publish(core, deployment, "deployment_success", fields);
}

/// Takes a deployment out of the state and frees its apps.
fn remove(core: &Arc<Core>, state: &mut State, deployment: &Deployment) {
    state.deployments.retain(|entry| entry.id != deployment.id);
    for id in deployment.apps() {
        let Some(app) = state.apps.get_mut(id) else { continue };
        app.deployment = None;
        app.readiness.clear();
        for task in &mut app.tasks {
            task.ready = true;
        }
        app.touch();
        let missing = if app.defined { app.definition.instances.saturating_sub(app.active()) } else { 0 };
        for _ in 0..missing {
            lifecycle::launch(core, state, id, None);
        }
        state.sweep(id);
    }
}

/// Stops a deployment where it stands: nothing is rolled back.
pub(super) fn cancel(core: &Arc<Core>, state: &mut State, id: &str) {
    let Some(position) = state.deployments.iter().position(|entry| entry.id == id) else { return };
    let deployment = state.deployments.remove(position);
    deployment.cancel.cancel();
    for id in deployment.apps() {
        if let Some(app) = state.apps.get_mut(id) {
            app.deployment = None;
            app.readiness.clear();
            app.touch();
            state.sweep(id);
        }
    }
    let mut fields = json!({"id": deployment.id, "plan": deployment.plan(core.profile())});
    if core.profile().has_networks() {
        fields["reason"] = json!("The upgrade has been cancelled");
    }
    publish(core, &deployment, "deployment_failed", fields);
}

/// `deployment_info` or `deployment_step_success` of a step.
pub(super) fn publish_step(core: &Core, deployment: &Deployment, kind: &str, index: usize) {
    let profile = core.profile();
    let fields = json!({"plan": deployment.plan(profile), "currentStep": deployment.step(profile, index)});
    publish(core, deployment, kind, fields);
}

fn publish(core: &Core, deployment: &Deployment, kind: &str, fields: serde_json::Value) {
    let heavy = deployment.roots.as_ref().and_then(|_| {
        let payload = events::payload(kind, fields.clone());
        deployment.heavy(&payload)
    });
    core.bus.publish_plan(kind, fields, heavy);
}

async fn carry_out(core: &Arc<Core>, act: Act, id: &str) {
    let Some(mut changed) = core.state().apps.get(id).map(|app| app.changed.subscribe()) else { return };
    loop {
        let done = {
            let mut state = core.state();
            match act {
                Act::Start => true,
                Act::Scale => scale(core, &mut state, id),
                Act::Restart => replace(core, &mut state, id),
                Act::Stop => stop(core, &mut state, id),
            }
        };
        if done || changed.changed().await.is_err() {
            break;
        }
    }
    if act == Act::Stop {
        core.bus.publish("app_terminated_event", json!({"appId": id}));
    }
}

fn stop(core: &Arc<Core>, state: &mut State, id: &str) -> bool {
    let Some(app) = state.apps.get(id) else { return true };
    let tasks: Vec<String> = app.tasks.iter().map(|task| task.id.clone()).collect();
    for task in &tasks {
        lifecycle::kill(core, state, task);
    }
    state.apps.get(id).is_none_or(|app| app.tasks.is_empty())
}

/// Launches what is missing, kills what is too much; done when just the wanted tasks are left and the new ones good.
fn scale(core: &Arc<Core>, state: &mut State, id: &str) -> bool {
    let Some(app) = state.apps.get(id) else { return true };
    let wanted = app.definition.instances;
    let active = app.active();
    let surplus = victims(app, Task::active, active.saturating_sub(wanted));
    for _ in active..wanted {
        lifecycle::launch(core, state, id, None);
    }
    for task in &surplus {
        lifecycle::kill(core, state, task);
    }
    let Some(app) = state.apps.get(id) else { return true };
    // Only tasks that this scaling started have to become healthy.
    let old = |task: &Task| task.definition.version < app.definition.version;
    app.tasks.len() == wanted && app.tasks.iter().all(|task| old(task) || task.good())
}

/// One round of Marathon's TaskReplaceActor; called again whenever a task changed.
fn replace(core: &Arc<Core>, state: &mut State, id: &str) -> bool {
    let Some(app) = state.apps.get(id) else { return true };
    let definition = app.definition.clone();
    let wanted = definition.instances;
    let (minimum_health, over) = definition.strategy();
    let minimum = (wanted as f64 * minimum_health).ceil() as usize;
    let mut capacity = (wanted as f64 * (1.0 + over)) as usize;
    if minimum == capacity {
        // Neither killing nor starting would be allowed; Marathon goes over by one.
        capacity += 1;
    }
    let outdated = |task: &&Task| task.outdated(&definition);
    let old = app.tasks.iter().filter(outdated).count();
    let old_active = app.tasks.iter().filter(outdated).filter(|task| task.active()).count();
    let new = app.tasks.iter().filter(|task| !task.outdated(&definition) && task.active()).count();
    let good = app.tasks.iter().filter(|task| !task.outdated(&definition) && task.good()).count();
    if old == 0 && good >= wanted && new == wanted {
        return true;
    }
    let kills = (old_active + good).saturating_sub(minimum).min(old_active);
    let victims = victims(app, |task| task.active() && task.outdated(&definition), kills);
    let launches = wanted.saturating_sub(new).min(capacity.saturating_sub(old + new));
    for task in &victims {
        lifecycle::kill(core, state, task);
    }
    for _ in 0..launches {
        lifecycle::launch(core, state, id, None);
    }
    false
}

fn victims(app: &App, may: impl Fn(&Task) -> bool, count: usize) -> Vec<String> {
    let mut ids: Vec<String> =
        app.tasks.iter().filter(|task| may(task)).map(|task| task.id.clone()).collect();
    if !app.definition.kills_oldest() {
        ids.reverse();
    }
    ids.truncate(count);
    ids
}
