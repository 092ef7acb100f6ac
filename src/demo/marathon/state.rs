//! Everything that is readable: apps, tasks, deployments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::definition::Definition;
use super::network::LiveTask;
use super::plan::Deployment;
use super::service_ports::ServicePorts;

/// A task's state as Mesos names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    Staging,
    Starting,
    Running,
    Killing,
    Unreachable,
}

impl TaskState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Staging => "TASK_STAGING",
            Self::Starting => "TASK_STARTING",
            Self::Running => "TASK_RUNNING",
            Self::Killing => "TASK_KILLING",
            Self::Unreachable => "TASK_UNREACHABLE",
        }
    }
}

/// One check's results for one task.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthResult {
    pub(super) alive: bool,
    pub(super) consecutive_failures: u64,
    pub(super) first_success: Option<String>,
    pub(super) last_success: Option<String>,
    pub(super) last_failure: Option<String>,
    pub(super) last_failure_cause: Option<String>,
}

/// A task that has not ended.
pub(super) struct Task {
    pub(super) id: String,
    pub(super) instance: String,
    pub(super) uuid: String,
    pub(super) incarnation: u32,
    pub(super) definition: Arc<Definition>,
    pub(super) live: Arc<LiveTask>,
    pub(super) state: TaskState,
    pub(super) host_ports: Vec<u16>,
    pub(super) container_address: String,
    pub(super) staged_at: String,
    pub(super) started_at: Option<String>,
    pub(super) started: Option<Instant>,
    pub(super) health: Vec<Option<HealthResult>>,
    pub(super) ready: bool,
}

impl Task {
    /// Marathon's own decision: healthy when there are results and all are alive.
    pub(super) fn healthy(&self) -> Option<bool> {
        let mut results = self.health.iter().flatten().peekable();
        results.peek()?;
        Some(results.all(|result| result.alive))
    }

    /// Counts as one of the app's instances.
    pub(super) fn active(&self) -> bool {
        self.state != TaskState::Killing
    }

    /// Can take over from an old task: running, healthy by every check, ready.
    pub(super) fn good(&self) -> bool {
        let healthy = self.definition.health.is_empty()
            || self.health.iter().all(|result| result.as_ref().is_some_and(|result| result.alive));
        self.state == TaskState::Running && healthy && self.ready
    }

    /// Launched from a definition older than the last change of more than the scale.
    pub(super) fn outdated(&self, definition: &Definition) -> bool {
        self.definition.version < definition.last_config_change
    }
}

/// One app, with the tasks that are left of it.
pub(super) struct App {
    pub(super) definition: Arc<Definition>,
    /// False once deleted: the definition is gone at once, its tasks take their time.
    pub(super) defined: bool,
    pub(super) tasks: Vec<Task>,
    pub(super) history: Vec<Arc<Definition>>,
    pub(super) deployment: Option<String>,
    /// Readiness results by task id and check name, only during a deployment.
    pub(super) readiness: BTreeMap<(String, String), Value>,
    pub(super) last_failure: Option<Value>,
    /// The switch that makes the tasks' readiness path answer 503.
    pub(super) ready: Arc<AtomicBool>,
    /// Wakes the deployment when a task changed.
    pub(super) changed: watch::Sender<()>,
    pub(super) texts: [Option<Bytes>; 4],
}

impl App {
    pub(super) fn new(definition: Arc<Definition>) -> Self {
        Self {
            history: vec![definition.clone()],
            definition,
            defined: true,
            tasks: Vec::new(),
            deployment: None,
            readiness: BTreeMap::new(),
            last_failure: None,
            ready: Arc::new(AtomicBool::new(true)),
            changed: watch::Sender::new(()),
            texts: Default::default(),
        }
    }

    /// Forgets the rendered texts and wakes who waits for the app.
    pub(super) fn touch(&mut self) {
        self.texts = Default::default();
        self.changed.send_replace(());
    }

    pub(super) fn active(&self) -> usize {
        self.tasks.iter().filter(|task| task.active()).count()
    }
}

/// The whole state, behind one lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) apps: BTreeMap<String, App>,
    pub(super) app_of_task: HashMap<String, String>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) groups: BTreeSet<String>,
    pub(super) version: String,
    pub(super) service_ports: ServicePorts,
}

impl State {
    pub(super) fn app(&self, id: &str) -> Option<&App> {
        self.apps.get(id).filter(|app| app.defined)
    }

    pub(super) fn app_mut(&mut self, id: &str) -> Option<&mut App> {
        self.apps.get_mut(id).filter(|app| app.defined)
    }

    /// The app and the index of a task in it.
    pub(super) fn task_mut(&mut self, task: &str) -> Option<(&mut App, usize)> {
        let app = self.apps.get_mut(self.app_of_task.get(task)?)?;
        let index = app.tasks.iter().position(|candidate| candidate.id == task)?;
        Some((app, index))
    }

    /// Drops an app that was deleted and has no task left.
    pub(super) fn sweep(&mut self, id: &str) {
        if self.apps.get(id).is_some_and(|app| !app.defined && app.tasks.is_empty()) {
            self.apps.remove(id);
        }
    }
}
