//! Accepted changes of definitions and the deployments they make.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::canonical::{self, Draft, Problem};
use super::core::Core;
use super::definition::{Definition, service_port_slots};
use super::plan::{Act, Action, Deployment};
use super::state::{App, State};
use super::{deployment, group, lifecycle};

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0} does not exist")]
    NotFound(String),
    #[error("{0} already exists")]
    Exists(String),
    #[error(
        "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."
    )]
    Locked(Vec<String>),
    #[error("Object is not valid: {0}")]
    Invalid(#[from] Problem),
    #[error("Invalid JSON: {0}")]
    Json(String),
    #[error("no service port is free")]
    NoServicePort,
}

/// One change of the root group.
pub(super) enum Change {
    Define(Draft),
    Remove(String),
    Restart(String),
}

impl Change {
    fn id(&self) -> &str {
        match self {
            Self::Define(draft) => &draft.id,
            Self::Remove(id) | Self::Restart(id) => id,
        }
    }
}

/// What is said of an accepted change besides the change itself.
#[derive(Default)]
pub(super) struct Terms {
    pub(super) force: bool,
    /// The `groupId` of `group_change_success`.
    pub(super) group: String,
    /// Tasks to kill with the change.
    pub(super) kill: Vec<String>,
}

/// The answer to an accepted change.
pub(super) struct Accepted {
    pub(super) version: String,
    pub(super) deployment: String,
}

struct Prepared {
    definitions: Vec<(String, Option<Arc<Definition>>)>,
    deployment: Deployment,
    version: String,
}

/// Makes the changes readable, says so, and starts the deployment.
pub(super) async fn apply(core: &Arc<Core>, changes: Vec<Change>, terms: Terms) -> Result<Accepted, Refusal> {
    let ahead = core.faults.read().deployment_info_first;
    let (accepted, running) = if let Some(delay) = ahead {
        let prepared = prepare(core, &mut core.state(), changes, terms.force)?;
        deployment::publish_step(core, &prepared.deployment, "deployment_info", 0);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        commit(core, &mut core.state(), prepared, &terms)
    } else {
        let mut state = core.state();
        let prepared = prepare(core, &mut state, changes, terms.force)?;
        commit(core, &mut state, prepared, &terms)
    };
    deployment::run(core, running, ahead.is_some());
    Ok(accepted)
}

fn prepare(
    core: &Arc<Core>,
    state: &mut State,
    changes: Vec<Change>,
    force: bool,
) -> Result<Prepared, Refusal> {
    unlock(core, state, &changes, force)?;
    let version = core.clock.version();
    let (mut stops, mut starts, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let (mut definitions, mut originals) = (Vec::new(), Vec::new());
    for change in changes {
        let id = change.id().to_owned();
        let old = state.app(&id).map(|app| app.definition.clone());
        let new = match change {
            Change::Remove(_) => None,
            Change::Define(draft) => Some(Arc::new(define(state, draft, old.as_deref(), &version)?)),
            Change::Restart(_) => old.as_deref().map(|old| Arc::new(renew(old, &version))),
        };
        match (&old, &new) {
            (None, Some(_)) => {
                starts.push((Act::Start, id.clone()));
                others.push((Act::Scale, id.clone()));
            }
            (Some(_), None) => stops.push((Act::Stop, id.clone())),
            (Some(old), Some(new)) if new.last_config_change != old.last_config_change => {
                others.push((Act::Restart, id.clone()));
            }
            (Some(old), Some(new)) if new.version != old.version => others.push((Act::Scale, id.clone())),
            _ => continue,
        }
        originals.push((id.clone(), old));
        definitions.push((id, new));
    }
    let steps: Vec<Vec<Action>> =
        [stops, starts, others].into_iter().filter(|step| !step.is_empty()).collect();
    let deployment = Deployment {
        id: Uuid::new_v4().to_string(),
        version: version.clone(),
        steps,
        current: 0,
        cancel: core.ended.child_token(),
        originals,
        roots: None,
    };
    Ok(Prepared { definitions, deployment, version })
}

/// Refuses a change of apps that a deployment holds, or cancels that deployment when forced.
fn unlock(core: &Arc<Core>, state: &mut State, changes: &[Change], force: bool) -> Result<(), Refusal> {
    let mut holding: Vec<String> =
        changes.iter().filter_map(|change| state.apps.get(change.id())?.deployment.clone()).collect();
    holding.sort();
    holding.dedup();
    if !holding.is_empty() && !force {
        return Err(Refusal::Locked(holding));
    }
    for id in holding {
        deployment::cancel(core, state, &id);
    }
    Ok(())
}

fn commit(core: &Arc<Core>, state: &mut State, prepared: Prepared, terms: &Terms) -> (Accepted, Deployment) {
    let Prepared { definitions, mut deployment, version } = prepared;
    let heavy = core.profile().has_heavy_plans() && core.bus.streams() > 0;
    let original = heavy.then(|| group::root_text(core.profile(), state));
    for (id, definition) in definitions {
        insert(core, state, &id, definition);
        if let Some(app) = state.apps.get_mut(&id) {
            app.deployment = Some(deployment.id.clone());
        }
    }
    state.version.clone_from(&version);
    if let Some(original) = original {
        deployment.roots = Some(Arc::new((original, group::root_text(core.profile(), state))));
    }
    for task in &terms.kill {
        lifecycle::kill(core, state, task);
    }
    state.deployments.push(deployment.clone());
    core.bus.publish("group_change_success", json!({"groupId": terms.group, "version": version}));
    (Accepted { version, deployment: deployment.id.clone() }, deployment)
}

fn insert(core: &Core, state: &mut State, id: &str, definition: Option<Arc<Definition>>) {
    let Some(definition) = definition else {
        if let Some(app) = state.apps.get_mut(id) {
            app.defined = false;
            let ports: Vec<u16> = app.definition.ports.iter().map(|port| port.service).collect();
            app.touch();
            ports.into_iter().for_each(|port| state.service_ports.release(port));
        }
        return;
    };
    if let Some(app) = state.apps.get_mut(id) {
        if !app.defined {
            app.history.clear();
        }
        app.defined = true;
        app.history.push(definition.clone());
        if app.history.len() > core.profile().versions_kept() {
            app.history.remove(0);
        }
        app.definition = definition;
        app.touch();
    } else {
        state.apps.insert(id.to_owned(), App::new(definition));
    }
}

/// The definition a draft becomes: its service ports assigned, its versions by what has changed.
fn define(
    state: &mut State,
    mut draft: Draft,
    old: Option<&Definition>,
    version: &str,
) -> Result<Definition, Refusal> {
    assign_service_ports(state, &mut draft, old)?;
    let Some(old) = old else {
        return Ok(Definition::new(draft, version.to_owned(), version.to_owned(), version.to_owned()));
    };
    let same_but_instances =
        draft.body.iter().all(|(key, value)| key == "instances" || old.body.get(key) == Some(value))
            && draft.body.len() == old.body.len();
    let scaled = draft.body["instances"] != old.body["instances"];
    let (version, scaling, config) = match (same_but_instances, scaled) {
        (true, false) => (old.version.as_str(), old.last_scaling.as_str(), old.last_config_change.as_str()),
        (true, true) => (version, version, old.last_config_change.as_str()),
        (false, _) => (version, if scaled { version } else { old.last_scaling.as_str() }, version),
    };
    Ok(Definition::new(draft, version.to_owned(), scaling.to_owned(), config.to_owned()))
}

fn renew(old: &Definition, version: &str) -> Definition {
    let draft = Draft { id: old.id.clone(), body: old.body.clone(), ip_address: old.ip_address.clone() };
    Definition::new(draft, version.to_owned(), version.to_owned(), version.to_owned())
}

/// A port given as 0 gets, in this order, one that the app had before or the lowest free one.
fn assign_service_ports(
    state: &mut State,
    draft: &mut Draft,
    old: Option<&Definition>,
) -> Result<(), Refusal> {
    let before: Vec<u16> =
        old.map(|old| old.ports.iter().map(|port| port.service).collect()).unwrap_or_default();
    for port in &before {
        state.service_ports.release(*port);
    }
    let given: Vec<u64> =
        service_port_slots(&mut draft.body).filter_map(|(key, slot)| slot.get(key)?.as_u64()).collect();
    let mut reusable: VecDeque<u16> =
        before.into_iter().filter(|port| *port != 0 && !given.contains(&u64::from(*port))).collect();
    let taken = &mut state.service_ports;
    for (key, slot) in service_port_slots(&mut draft.body) {
        let asked =
            slot.get(key).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let port = match asked {
            0 => reusable.pop_front().or_else(|| taken.free()).ok_or(Refusal::NoServicePort)?,
            port => port,
        };
        taken.take(port);
        slot.insert(key.to_owned(), json!(port));
    }
    Ok(())
}

/// Creates apps in bulk with their tasks running.
pub(super) async fn create_running(core: &Arc<Core>, apps: Vec<Value>) -> Result<(), Refusal> {
    let mut apps = apps.into_iter();
    loop {
        let batch: Vec<Value> = apps.by_ref().take(100).collect();
        if batch.is_empty() {
            break;
        }
        let mut drafts = Vec::with_capacity(batch.len());
        for posted in batch {
            drafts.push(canonical::draft(core.profile(), object(posted)?, None, None)?);
        }
        run_batch(core, drafts)?;
        tokio::task::yield_now().await;
    }
    let mut state = core.state();
    state.version = core.clock.version();
    core.bus.publish("group_change_success", json!({"groupId": "/", "version": state.version}));
    Ok(())
}

fn run_batch(core: &Arc<Core>, drafts: Vec<Draft>) -> Result<(), Refusal> {
    let mut state = core.state();
    for draft in drafts {
        let id = draft.id.clone();
        let version = core.clock.version();
        let old = state.app(&id).map(|app| app.definition.clone());
        let definition = Arc::new(define(&mut state, draft, old.as_deref(), &version)?);
        insert(core, &mut state, &id, Some(definition));
        let Some(app) = state.apps.get_mut(&id) else { continue };
        let mut ids = Vec::new();
        for _ in app.active()..app.definition.instances {
            let task = lifecycle::new_task(core, app, None);
            ids.push(task.id.clone());
            app.tasks.push(task);
            let last = app.tasks.len() - 1;
            lifecycle::start(core, app, last);
        }
        app.touch();
        state.app_of_task.extend(ids.into_iter().map(|task| (task, id.clone())));
    }
    Ok(())
}

/// The object a posted value has to be.
pub(super) fn object(value: Value) -> Result<Map<String, Value>, Refusal> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(Refusal::Json("error.expected.jsobject".to_owned())),
    }
}

/// The group an app is in.
pub(super) fn parent(id: &str) -> String {
    match id.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((group, _)) => group.to_owned(),
    }
}
