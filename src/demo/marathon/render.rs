//! Apps and tasks as JSON text.

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::definition::Mode;
use super::profile::Profile;
use super::state::{App, HealthResult, State, Task, TaskState};

/// What a read asked to have embedded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Embed {
    pub(super) tasks: bool,
    pub(super) readiness: bool,
}

/// An app with its counts and what is embedded; the text is kept until the app changes.
pub(super) fn app(profile: Profile, app: &mut App, embed: Embed) -> Bytes {
    let slot = usize::from(embed.tasks) + 2 * usize::from(embed.readiness);
    if let Some(text) = &app.texts[slot] {
        return text.clone();
    }
    let mut text = String::with_capacity(1024 + if embed.tasks { 600 * app.tasks.len() } else { 0 });
    text.push_str(app.definition.text(profile));
    if embed.tasks {
        text.push_str(",\"tasks\":");
        text.push_str(&tasks(profile, &app.tasks).to_string());
    }
    let running = app.tasks.iter().filter(|task| task.state == TaskState::Running).count();
    let staged = app
        .tasks
        .iter()
        .filter(|task| matches!(task.state, TaskState::Staging | TaskState::Starting))
        .count();
    let healthy = app.tasks.iter().filter(|task| task.healthy() == Some(true)).count();
    let unhealthy = app.tasks.iter().filter(|task| task.healthy() == Some(false)).count();
    let deployments: Vec<Value> = app.deployment.iter().map(|id| json!({"id": id})).collect();
    text.push_str(&format!(
        ",\"tasksStaged\":{staged},\"tasksRunning\":{running},\"tasksHealthy\":{healthy},\
         \"tasksUnhealthy\":{unhealthy},\"deployments\":{}",
        json!(deployments)
    ));
    if embed.readiness && profile.has_instances() {
        let results: Vec<&Value> = app.readiness.values().collect();
        text.push_str(&format!(",\"readinessCheckResults\":{}", json!(results)));
    }
    text.push('}');
    let text = Bytes::from(text);
    app.texts[slot] = Some(text.clone());
    text
}

/// The one app of `/v2/apps/{id}`: always with tasks and the last failure.
pub(super) fn single(profile: Profile, entry: &mut App, embed: Embed) -> Bytes {
    let failure = entry.last_failure.clone();
    let text = app(profile, entry, Embed { tasks: true, ..embed });
    let Some(failure) = failure else { return text };
    let mut text = text.to_vec();
    text.pop();
    text.extend_from_slice(format!(",\"lastTaskFailure\":{failure}}}").as_bytes());
    text.into()
}

/// A JSON array written straight to text.
pub(super) struct Written(String);

impl std::fmt::Display for Written {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn tasks(profile: Profile, tasks: &[Task]) -> Written {
    let entries: Vec<Entry<'_>> =
        tasks.iter().map(|task| Entry { task, profile, service_ports: false }).collect();
    Written(serde_json::to_string(&entries).unwrap_or_else(|_| "[]".to_owned()))
}

/// A task as `/v2/tasks` shows it, with its service ports.
pub(super) fn task(profile: Profile, task: &Task) -> Value {
    json!(Entry { task, profile, service_ports: true })
}

/// `{"tasks": […]}` over all apps; `status` may be `running` or `staging`.
pub(super) fn all_tasks(profile: Profile, state: &State, statuses: &[String]) -> String {
    let wanted = |task: &&Task| {
        let status = if task.state == TaskState::Running { "running" } else { "staging" };
        statuses.is_empty() || statuses.iter().any(|wanted| wanted == status)
    };
    let entries: Vec<Entry<'_>> = state
        .apps
        .values()
        .flat_map(|app| app.tasks.iter())
        .filter(wanted)
        .map(|task| Entry { task, profile, service_ports: true })
        .collect();
    serde_json::to_string(&json!({"tasks": entries})).unwrap_or_default()
}

/// `ipAddresses` of a task or a status update.
pub(super) fn addresses(task: &Task) -> Value {
    let address = match task.definition.mode {
        Mode::Host | Mode::Container => &task.live.host,
        Mode::Bridge => &task.container_address,
    };
    json!([{"ipAddress": address, "protocol": "IPv4"}])
}

struct Entry<'a> {
    task: &'a Task,
    profile: Profile,
    service_ports: bool,
}

impl Entry<'_> {
    fn service_ports(&self) -> Vec<u16> {
        if !self.service_ports {
            return Vec::new();
        }
        self.task.definition.ports.iter().map(|port| port.service).collect()
    }
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { task, profile, .. } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &task.id)?;
        map.serialize_entry("appId", &task.definition.id)?;
        map.serialize_entry("host", &task.live.host)?;
        map.serialize_entry("slaveId", &task.live.agent)?;
        map.serialize_entry("version", &task.definition.version)?;
        map.serialize_entry("stagedAt", &task.staged_at)?;
        if task.started_at.is_some() || !profile.has_networks() {
            map.serialize_entry("startedAt", &task.started_at)?;
        }
        map.serialize_entry("ports", &task.host_ports)?;
        if profile.has_instances() {
            map.serialize_entry("state", task.state.name())?;
            map.serialize_entry("ipAddresses", &addresses(task))?;
        }
        let results: Vec<Health<'_>> =
            task.health.iter().flatten().map(|result| Health { result, task, profile: *profile }).collect();
        if profile.has_networks() || !results.is_empty() {
            map.serialize_entry("healthCheckResults", &results)?;
        }
        if profile.has_networks() || self.service_ports {
            map.serialize_entry("servicePorts", &self.service_ports())?;
        }
        if profile.has_networks() {
            map.serialize_entry("localVolumes", &[(); 0])?;
            map.serialize_entry("region", "local")?;
            map.serialize_entry("zone", "a")?;
        }
        if *profile == Profile::V1_11 {
            map.serialize_entry("role", "*")?;
        }
        map.end()
    }
}

struct Health<'a> {
    result: &'a HealthResult,
    task: &'a Task,
    profile: Profile,
}

impl Serialize for Health<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { result, task, profile } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("alive", &result.alive)?;
        map.serialize_entry("consecutiveFailures", &result.consecutive_failures)?;
        let cause = (*profile != Profile::V0_11).then_some(("lastFailureCause", &result.last_failure_cause));
        let times = [
            ("firstSuccess", &result.first_success),
            ("lastSuccess", &result.last_success),
            ("lastFailure", &result.last_failure),
        ];
        for (key, value) in times.into_iter().chain(cause) {
            if value.is_some() || !profile.has_networks() {
                map.serialize_entry(key, value)?;
            }
        }
        if profile.has_instances() {
            map.serialize_entry("instanceId", &task.instance)?;
        } else {
            map.serialize_entry("taskId", &task.id)?;
        }
        map.end()
    }
}
