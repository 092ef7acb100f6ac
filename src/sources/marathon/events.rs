//! What an event of Marathon's stream means. An event is never believed for anything positive: it marks apps as
//! changed, and it may end a task at once.

use serde::Deserialize;

use super::convert::state_named;
use crate::model::{AppId, TaskId, TaskState};

/// The events asked for (the filter exists since 1.3.7; older servers send all).
pub(crate) const EVENT_TYPES: [&str; 14] = [
    "event_stream_attached",
    "status_update_event",
    "health_status_changed_event",
    "instance_changed_event",
    "instance_health_changed_event",
    "group_change_success",
    "deployment_info",
    "deployment_success",
    "deployment_failed",
    "deployment_step_success",
    "app_terminated_event",
    "api_post_event",
    "unhealthy_task_kill_event",
    "unhealthy_instance_kill_event",
];

/// The states of a task, and the conditions of an instance (since 1.4), in which it serves nobody yet.
const PREPARING: [&str; 7] =
    ["TASK_STAGING", "TASK_STARTING", "Created", "Provisioned", "Scheduled", "Staging", "Starting"];

/// What one event tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The type, if it is one of [`EVENT_TYPES`]; else empty.
    pub(crate) kind: &'static str,
    /// A subscriber was attached; the first such event of a stream is about oneself.
    pub(crate) attached: bool,
    /// The apps to read again.
    pub(crate) dirty: Vec<AppId>,
    /// An app with a task that is only being prepared: nobody waits for that, and the next event comes soon.
    pub(crate) preparing: Option<AppId>,
    /// What takes a task out at once.
    pub(crate) ending: Option<Ending>,
    /// The version of an accepted change, which names no app.
    pub(crate) group_change: Option<String>,
    /// The version of a deployment, whose apps are in `dirty`: it explains the change of the same version.
    pub(crate) deployment: Option<String>,
}

/// A task that gets no more requests, by an event's word alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ending {
    pub(crate) app: AppId,
    pub(crate) target: Target,
    pub(crate) what: What,
}

/// Whom an ending is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Task(TaskId),
    /// An instance (since 1.4). Since 1.8 its id outlives the task, so an ending of an instance holds only until the
    /// app has been read again.
    Instance(Box<str>),
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// For good: its id never comes back.
    Ended,
    /// It may come back, if Marathon still lists it.
    Lost,
    Killing,
    Unreachable,
    Unhealthy,
}

impl Target {
    pub(crate) fn is(&self, task: &TaskId) -> bool {
        match self {
            Self::Task(id) => id == task,
            Self::Instance(id) => instance_of(task.as_str()).is_some_and(|instance| *instance == **id),
        }
    }
}

/// The instance a task belongs to (since 1.4), told from the task's id alone.
pub(crate) fn instance_of(task: &str) -> Option<String> {
    for marker in [".instance-", ".marathon-"] {
        if let Some(start) = task.rfind(marker) {
            let unique = &task[start + marker.len()..];
            let end = unique.find(['_', '.']).unwrap_or(unique.len());
            return Some(task[..start + marker.len() + end].to_owned());
        }
    }
    let (mut app, mut unique) = task.rsplit_once('.')?;
    // A resident task (up to 1.7) counts its incarnations behind the unique part.
    if unique.bytes().all(|byte| byte.is_ascii_digit()) {
        (app, unique) = app.rsplit_once('.')?;
    }
    Some(format!("{app}.marathon-{unique}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEvent {
    event_type: String,
    app_id: Option<AppId>,
    run_spec_id: Option<AppId>,
    task_id: Option<TaskId>,
    instance_id: Option<Box<str>>,
    task_status: Option<Box<str>>,
    condition: Option<Box<str>>,
    healthy: Option<bool>,
    alive: Option<bool>,
    app_definition: Option<WireAppDefinition>,
    plan: Option<WirePlan>,
    current_step: Option<WireStep>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct WireAppDefinition {
    id: Option<AppId>,
}

#[derive(Deserialize)]
struct WirePlan {
    version: Option<String>,
    steps: Option<Vec<WireStep>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireStep {
    Object { actions: Option<Vec<WireAction>> },
    Array(Vec<WireAction>),
    Other(serde::de::IgnoredAny),
}

/// The kind of action stands under `type` up to 1.1.1 and under `action` since; only the app matters here.
#[derive(Deserialize)]
struct WireAction {
    app: Option<AppId>,
}

impl WireStep {
    fn apps(&self) -> impl Iterator<Item = &AppId> {
        let actions = match self {
            Self::Object { actions } => actions.as_deref().unwrap_or_default(),
            Self::Array(actions) => actions,
            Self::Other(_) => &[],
        };
        actions.iter().filter_map(|action| action.app.as_ref())
    }
}

/// Reads one event. The type is taken from the JSON: servers on Jetty 8 wrote no `event:` line. A type that means
/// nothing here tells nothing.
pub(crate) fn parse(data: &str) -> Result<Told, serde_json::Error> {
    let event: WireEvent = match serde_json::from_str(data) {
        Ok(event) => event,
        Err(_) if is_of_no_concern(data) => return Ok(Told::default()),
        Err(error) => return Err(error),
    };
    let kind = EVENT_TYPES.into_iter().find(|kind| *kind == event.event_type).unwrap_or_default();
    let mut told = Told { kind, ..Told::default() };
    match event.event_type.as_str() {
        "event_stream_attached" => told.attached = true,
        "api_post_event" => told.dirty.extend(event.app_definition.and_then(|definition| definition.id)),
        "group_change_success" => told.group_change = event.version,
        "deployment_info"
        | "deployment_success"
        | "deployment_failed"
        | "deployment_step_success"
        | "deployment_step_failure" => deployment(&event, &mut told),
        "status_update_event"
        | "instance_changed_event"
        | "instance_health_changed_event"
        | "health_status_changed_event"
        | "unhealthy_task_kill_event"
        | "unhealthy_instance_kill_event"
        | "app_terminated_event" => about_task(event, &mut told),
        _ => {}
    }
    Ok(told)
}

/// Servers before 1.3.7 send every type, and a type that means nothing here may have any shape.
fn is_of_no_concern(data: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OnlyType {
        event_type: String,
    }
    let kind = serde_json::from_str::<OnlyType>(data).map(|event| event.event_type);
    kind.is_ok_and(|kind| !EVENT_TYPES.contains(&kind.as_str()))
}

fn deployment(event: &WireEvent, told: &mut Told) {
    let planned = event.plan.iter().flat_map(|plan| plan.steps.iter().flatten());
    let mut apps: Vec<AppId> = planned.chain(&event.current_step).flat_map(WireStep::apps).cloned().collect();
    apps.sort();
    apps.dedup();
    told.dirty = apps;
    told.deployment = event.plan.as_ref().and_then(|plan| plan.version.clone());
}

fn about_task(event: WireEvent, told: &mut Told) {
    let word = event.task_status.as_deref().or(event.condition.as_deref()).unwrap_or_default();
    let preparing = PREPARING.contains(&word);
    let what = match event.event_type.as_str() {
        "status_update_event" => event.task_status.as_deref().and_then(status),
        "instance_changed_event" => event.condition.as_deref().and_then(condition),
        "instance_health_changed_event" => (event.healthy == Some(false)).then_some(What::Unhealthy),
        "health_status_changed_event" => (event.alive == Some(false)).then_some(What::Unhealthy),
        "unhealthy_task_kill_event" | "unhealthy_instance_kill_event" => Some(What::Killing),
        _ => None,
    };
    let Some(app) = event.app_id.or(event.run_spec_id) else { return };
    let target = event.task_id.map(Target::Task).or_else(|| event.instance_id.map(Target::Instance));
    told.ending = what.zip(target).map(|(what, target)| Ending { app: app.clone(), target, what });
    match preparing {
        true => told.preparing = Some(app),
        false => told.dirty.push(app),
    }
}

fn status(status: &str) -> Option<What> {
    match state_named(status) {
        _ if status == "TASK_LOST" => Some(What::Lost),
        TaskState::Ended => Some(What::Ended),
        TaskState::Killing => Some(What::Killing),
        TaskState::Unreachable => Some(What::Unreachable),
        TaskState::Starting | TaskState::Running => None,
    }
}

fn condition(condition: &str) -> Option<What> {
    match condition {
        "Killed" | "Finished" | "Failed" | "Error" | "Gone" | "Dropped" | "Unknown" => Some(What::Lost),
        "Killing" => Some(What::Killing),
        "Unreachable" | "UnreachableInactive" => Some(What::Unreachable),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
