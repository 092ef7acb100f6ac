//! From one record to a [`ReadApp`], with whatever has to be found out in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::Known;
use super::convert::{Definition, health_check, health_of, labels, state_of};
use super::hosts::Hosts;
use super::wire::{WireApp, WireTask, each};
use crate::model::{App, AppId, Endpoint, Problem, ProblemKind, Task, TaskId, TaskState, Timestamp};

/// An app as one answer showed it.
#[derive(Debug)]
pub(crate) struct ReadApp {
    pub(crate) app: App,
    pub(crate) definition: Definition,
    /// The tasks that were launched from another definition than the one shown.
    pub(crate) outdated: HashSet<TaskId>,
    /// True while a deployment waits for readiness checks.
    pub(crate) deploying: bool,
    /// What the readiness checks said, by task; true if all of them are ready.
    pub(crate) readiness: HashMap<TaskId, bool>,
    pub(crate) problems: Vec<Problem>,
    /// Something could not be found out and is worth another read.
    pub(crate) incomplete: bool,
}

/// What was known when a read began.
pub(crate) type KnownApps = HashMap<AppId, Arc<Known>>;

/// Old definitions by app and version; `None` for one that Marathon no longer has.
pub(crate) type Versions = HashMap<(AppId, Timestamp), Option<Arc<Definition>>>;

/// An app on its way from the wire to the model.
pub(crate) struct Pending {
    id: AppId,
    wire: WireApp,
    definition: Definition,
    /// The outdated tasks by their version; `None` until the old definition is known.
    outdated: BTreeMap<TaskId, (Timestamp, Option<Arc<Definition>>)>,
    /// The outdated tasks whose endpoints are known from before.
    remembered: HashSet<TaskId>,
    pub(crate) incomplete: bool,
}

impl Pending {
    pub(crate) fn of(wire: WireApp, known: &KnownApps) -> Self {
        let id = AppId::new(&wire.id);
        let definition = Definition::of(&wire);
        let outdated: BTreeMap<_, _> = each(&wire.tasks)
            .filter(|task| is_outdated(task, &wire))
            .map(|task| (TaskId::new(&task.id), (timestamp(task.version.as_ref()), None)))
            .collect();
        let before = known.get(&id);
        let remembered = |task: &&TaskId| before.is_some_and(|known| known.has_endpoints(task));
        let remembered = outdated.keys().filter(remembered).cloned().collect();
        Self { id, wire, definition, outdated, remembered, incomplete: false }
    }

    /// The old definitions that are needed.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (AppId, Timestamp)> {
        let needed = self.outdated.iter().filter(|(task, _)| !self.remembered.contains(*task));
        needed.map(|(_, (version, _))| (self.id.clone(), version.clone()))
    }

    pub(crate) fn take_versions(&mut self, versions: &Versions) {
        for (version, definition) in self.outdated.values_mut() {
            *definition = versions.get(&(self.id.clone(), version.clone())).cloned().flatten();
        }
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        each(&self.wire.tasks).filter_map(|task| {
            let old = self.outdated.get(&TaskId::new(&task.id)).and_then(|(_, old)| old.as_deref());
            old.unwrap_or(&self.definition).unresolved_host(task)
        })
    }

    /// Builds the app with what is known of hosts and old definitions.
    pub(crate) fn finish(self, hosts: &Hosts) -> ReadApp {
        let resolve = |name: &str| hosts.address(name);
        let failed: HashSet<String> =
            self.hosts().filter(|name| hosts.failed(name)).map(str::to_owned).collect();
        let mut read = self.build(&resolve);
        read.incomplete |= !failed.is_empty();
        let mut failed: Vec<String> = failed.into_iter().collect();
        failed.sort();
        for name in failed {
            read.problems.push(host_problem(&read.app.id, &name, hosts.address(&name)));
        }
        read
    }

    /// Builds the app with whatever finds addresses.
    pub(crate) fn build(self, resolve: &dyn Fn(&str) -> Option<IpAddr>) -> ReadApp {
        let mut tasks = BTreeMap::new();
        // Most tasks of an app are of one version: they share its text.
        let mut version = Timestamp::default();
        for task in each(&self.wire.tasks).filter(|task| !task.id.is_empty()) {
            let id = TaskId::new(&task.id);
            let endpoints = self.endpoints(&id, task, resolve);
            if *version.0 != *task.version.as_deref().unwrap_or_default() {
                version = timestamp(task.version.as_ref());
            }
            tasks.insert(id.clone(), task_of(id, task, version.clone(), endpoints));
        }
        let mut readiness = HashMap::new();
        for result in each(&self.wire.readiness_check_results) {
            if let Some(task) = &result.task_id {
                *readiness.entry(TaskId::new(task)).or_insert(true) &= result.ready == Some(true);
            }
        }
        let deploying = each(&self.wire.deployments).next().is_some()
            && each(&self.wire.readiness_checks).next().is_some();
        let is_version =
            self.wire.labels.as_ref().is_some_and(|labels| labels.contains_key("HAPROXY_DEPLOYMENT_GROUP"));
        let scaled = self.wire.version_info.as_ref().and_then(|info| info.last_scaling_at.as_ref());
        let app = App {
            id: self.id,
            scaled_at: scaled.filter(|_| is_version).map(|at| timestamp(Some(at))),
            instances: self.wire.instances.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
            labels: labels(&self.wire),
            env: self.wire.env.0,
            ports: self.definition.ports.clone(),
            health_checks: each(&self.wire.health_checks).map(health_check).collect(),
            tasks,
        };
        ReadApp {
            app,
            definition: self.definition,
            outdated: self.outdated.into_keys().collect(),
            deploying,
            readiness,
            problems: Vec::new(),
            incomplete: self.incomplete,
        }
    }

    fn endpoints(
        &self,
        id: &TaskId,
        task: &WireTask,
        resolve: &dyn Fn(&str) -> Option<IpAddr>,
    ) -> Vec<Option<Endpoint>> {
        match self.outdated.get(id) {
            None => self.definition.endpoints(task, resolve),
            Some((_, Some(old))) => {
                self.definition.carry(&old.ports, &old.forms, &old.endpoints(task, resolve))
            }
            Some((_, None)) => vec![None; self.definition.ports.len()],
        }
    }
}

/// Whether the task was launched from another definition than the one shown: an older one, or (the parts of an
/// answer are read separately) a newer one. Plain scaling changes the version but not the definition.
fn is_outdated(task: &WireTask, app: &WireApp) -> bool {
    let Some(version) = task.version.as_deref().filter(|version| !version.is_empty()) else { return false };
    if matches!(state_of(task), TaskState::Ended) {
        return false;
    }
    let changed = app.version_info.as_ref().and_then(|info| info.last_config_change_at.as_deref());
    changed.is_some_and(|changed| version < changed)
        || app.version.as_deref().is_some_and(|shown| version > shown)
}

fn task_of(id: TaskId, task: &WireTask, version: Timestamp, endpoints: Vec<Option<Endpoint>>) -> Task {
    Task {
        id,
        host: task.host.clone().unwrap_or_default(),
        state: state_of(task),
        version,
        health: health_of(task),
        ready: true,
        endpoints: endpoints.into(),
    }
}

fn timestamp(text: Option<&String>) -> Timestamp {
    Timestamp(text.map(String::as_str).unwrap_or_default().into())
}

fn host_problem(app: &AppId, name: &str, last: Option<IpAddr>) -> Problem {
    let advice = match last {
        Some(address) => format!("its last address {address} is kept; check the name service"),
        None => "its tasks get no requests until it has one; check the name service".to_owned(),
    };
    Problem::of(app, ProblemKind::Host, format!("the agent {name} has no address"), advice)
}
