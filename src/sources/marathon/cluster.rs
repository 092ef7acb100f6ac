//! What is known of the cluster, and how an answer is believed in the light of it. No I/O: every answer comes with
//! the moment its read began, and what was heard since then outweighs it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::convert::Form;
use super::events::{Ending, Target, What};
use super::pending::{KnownApps, ReadApp};
use super::reader::Reading;
use crate::model::{App, AppId, Health, Problem, Task, TaskId, TaskState};

/// How long the end of a task is remembered at least.
const REMEMBER_ENDINGS: Duration = Duration::from_secs(3600);

/// A moment in the order of what was heard and what was asked.
pub(crate) type Moment = u64;

/// An app as it was last told.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) app: Arc<App>,
    forms: Vec<Form>,
    /// When the read began that this is from.
    began: Moment,
}

impl Known {
    /// Whether it is known where this task is reached.
    pub(crate) fn has_endpoints(&self, task: &TaskId) -> bool {
        self.app.tasks.get(task).is_some_and(|task| task.endpoints.iter().any(Option::is_some))
    }
}

/// The end of a task that an event told for good.
#[derive(Debug)]
struct Ended {
    what: What,
    at: Instant,
    listed: bool,
}

/// What an answer changed.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The app, if it is not as it was.
    pub(crate) upsert: Option<Arc<App>>,
    /// Its problems, if they are not as they were.
    pub(crate) problems: Option<Vec<Problem>>,
}

/// What a full read amounts to.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) apps: Vec<Arc<App>>,
    pub(crate) problems: Vec<(AppId, Vec<Problem>)>,
    /// Apps worth another read.
    pub(crate) incomplete: Vec<AppId>,
}

/// The apps as last told, and what events said of their tasks.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    apps: KnownApps,
    problems: HashMap<AppId, Vec<Problem>>,
    now: Moment,
    ended: HashMap<TaskId, Ended>,
    /// What events said of tasks that may still change; it outweighs answers to reads that began before.
    heard: HashMap<AppId, HashMap<TaskId, (What, Moment)>>,
    removed: HashMap<AppId, Moment>,
    /// When the full read began that was committed last.
    committed: Moment,
    served_before: HashSet<TaskId>,
}

impl Cluster {
    pub(crate) fn new(served_before: HashSet<TaskId>) -> Self {
        Self { served_before, ..Self::default() }
    }

    /// A moment later than all before; a read that begins takes one.
    pub(crate) fn next_moment(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    pub(crate) fn known(&self, id: &AppId) -> Option<Arc<Known>> {
        self.apps.get(id).cloned()
    }

    pub(crate) fn all(&self) -> KnownApps {
        self.apps.clone()
    }

    /// Whether a running task of the app waits for its readiness check, of which no event tells.
    pub(crate) fn awaits_readiness(&self, id: &AppId) -> bool {
        let waits = |task: &Task| task.state == TaskState::Running && !task.ready;
        self.apps.get(id).is_some_and(|known| known.app.tasks.values().any(waits))
    }

    /// Believes an ending at once. Gives the app if it changed.
    pub(crate) fn end(&mut self, ending: &Ending, at: Instant) -> Option<Arc<App>> {
        let moment = self.next_moment();
        let for_good = matches!(ending.what, What::Ended | What::Killing);
        if let Target::Task(task) = &ending.target
            && for_good
        {
            let told =
                self.ended.entry(task.clone()).or_insert(Ended { what: ending.what, at, listed: true });
            if ending.what == What::Ended {
                told.what = What::Ended;
            }
        }
        let known = self.apps.get(&ending.app);
        let tasks = known.into_iter().flat_map(|known| known.app.tasks.keys());
        let mut matching: HashSet<TaskId> = tasks.filter(|task| ending.target.is(task)).cloned().collect();
        // A task that is not known yet may be in an answer that is under way.
        if let Target::Task(task) = &ending.target {
            matching.insert(task.clone());
        }
        let heard = self.heard.entry(ending.app.clone()).or_default();
        heard.extend(matching.iter().map(|task| (task.clone(), (ending.what, moment))));
        let known = known?;
        let mut app = App::clone(&known.app);
        for task in &matching {
            apply(&mut app, task, ending.what);
        }
        if app == *known.app {
            return None;
        }
        // A deployment starts the new tasks before it kills the old ones, but of the new ones only the read tells that is
        // under way. A task that is being killed serves on for its grace: better than nobody until then.
        if ending.what == What::Killing
            && app.serving().next().is_none()
            && known.app.serving().next().is_some()
        {
            return None;
        }
        let (forms, began) = (known.forms.clone(), known.began);
        let app = Arc::new(app);
        self.apps.insert(ending.app.clone(), Arc::new(Known { app: app.clone(), forms, began }));
        Some(app)
    }

    /// Takes in the answer to a single read.
    pub(crate) fn merge(&mut self, reading: Reading, began: Moment) -> Change {
        let id = reading.id().clone();
        let newer = |moment: Option<Moment>| moment.is_some_and(|moment| moment > began);
        // An app that is not known was in no list that is newer than this answer.
        let known = self.apps.get(&id).map_or(self.committed, |known| known.began);
        if newer(Some(known)) || newer(self.removed.get(&id).copied()) {
            return Change::default();
        }
        match reading {
            Reading::Wrong(id, problem) => {
                Change { upsert: None, problems: self.change_problems(&id, vec![problem]) }
            }
            Reading::App(read) => {
                let before = self.apps.get(&id).cloned();
                let problems = self.change_problems(&id, read.problems.clone());
                let app = self.believe(*read, began);
                let same = before.is_some_and(|before| Arc::ptr_eq(&before.app, &app));
                Change { upsert: (!same).then_some(app), problems }
            }
        }
    }

    /// Forgets an app that Marathon says does not exist. False if it was not known, or is known from a later read.
    pub(crate) fn remove(&mut self, id: &AppId, began: Moment) -> bool {
        if self.apps.get(id).is_some_and(|known| known.began > began) {
            return false;
        }
        self.removed.insert(id.clone(), began);
        self.heard.remove(id);
        let had_problems = self.problems.remove(id).is_some();
        self.apps.remove(id).is_some() || had_problems
    }

    /// Takes in a full read, unless one that began later was taken in already. Apps that were read later on their
    /// own are kept as they are.
    pub(crate) fn commit(&mut self, readings: Vec<Reading>, began: Moment, now: Instant) -> Option<Snapshot> {
        if self.committed > began {
            return None;
        }
        self.committed = began;
        let mut snapshot = Snapshot::default();
        let mut seen = HashSet::new();
        for ended in self.ended.values_mut() {
            ended.listed = false;
        }
        let mut problems: HashMap<AppId, Vec<Problem>> = HashMap::new();
        for reading in readings {
            let id = reading.id().clone();
            if self.removed.get(&id).is_some_and(|removed| *removed > began) {
                continue;
            }
            seen.insert(id.clone());
            match reading {
                Reading::Wrong(_, problem) => problems.entry(id).or_default().push(problem),
                Reading::App(_) if self.apps.get(&id).is_some_and(|known| known.began > began) => {}
                Reading::App(read) => {
                    if read.incomplete {
                        snapshot.incomplete.push(id.clone());
                    }
                    if !read.problems.is_empty() {
                        problems.entry(id).or_default().extend(read.problems.iter().cloned());
                    }
                    self.believe(*read, began);
                }
            }
        }
        // A record that does not even tell its id may be any of the apps that are not in the list.
        let nameless = seen.contains(&AppId::new("/"));
        self.apps.retain(|id, known| nameless || seen.contains(id) || known.began > began);
        self.heard.retain(|id, _| self.apps.contains_key(id));
        self.removed.retain(|_, removed| *removed > began);
        self.ended.retain(|_, ended| ended.listed || now.duration_since(ended.at) < REMEMBER_ENDINGS);
        snapshot.apps = self.apps.values().map(|known| known.app.clone()).collect();
        snapshot.apps.sort_by(|a, b| a.id.cmp(&b.id));
        snapshot.problems = self.replace_problems(problems);
        Some(snapshot)
    }

    /// Makes an answer the truth, as far as it may be believed. An app that is as before keeps its `Arc`.
    fn believe(&mut self, read: ReadApp, began: Moment) -> Arc<App> {
        let id = read.app.id.clone();
        let before = self.apps.get(&id).cloned();
        let ReadApp { mut app, definition, outdated, deploying, readiness, .. } = read;
        let checked = !app.health_checks.is_empty();
        for task in app.tasks.values_mut() {
            let known = before.as_ref().and_then(|known| known.app.tasks.get(&task.id));
            if checked && task.health == Health::Unknown {
                task.health = self.last_verdict(&task.id, known);
            }
            if outdated.contains(&task.id)
                && let Some(before) = before.as_ref().filter(|before| before.has_endpoints(&task.id))
                && let Some(known) = known
            {
                task.endpoints = definition.carry(&before.app.ports, &before.forms, &known.endpoints).into();
            }
            if deploying {
                let without = outdated.contains(&task.id) || known.is_some_and(|known| known.ready);
                task.ready = readiness.get(&task.id).copied().unwrap_or(without);
            }
        }
        self.apply_heard(&mut app, began);
        let app = match before {
            Some(before) if *before.app == app => before.app.clone(),
            _ => Arc::new(app),
        };
        self.apps.insert(id, Arc::new(Known { app: app.clone(), forms: definition.forms, began }));
        app
    }

    /// Results vanish when the leader changes; that is no verdict. What HAProxy served when this program last ran
    /// was healthy then.
    fn last_verdict(&self, task: &TaskId, known: Option<&Task>) -> Health {
        match known {
            Some(known) => known.health,
            None if self.served_before.contains(task) => Health::Healthy,
            None => Health::Unknown,
        }
    }

    fn apply_heard(&mut self, app: &mut App, began: Moment) {
        let id = app.id.clone();
        if let Some(heard) = self.heard.get_mut(&id) {
            heard.retain(|_, (_, moment)| *moment > began);
            for (task, (what, _)) in &*heard {
                apply(app, task, *what);
            }
            if heard.is_empty() {
                self.heard.remove(&id);
            }
        }
        let tasks: Vec<TaskId> = app.tasks.keys().cloned().collect();
        for task in tasks {
            if let Some(ended) = self.ended.get_mut(&task) {
                ended.listed = true;
                apply(app, &task, ended.what);
            }
        }
    }

    fn change_problems(&mut self, id: &AppId, problems: Vec<Problem>) -> Option<Vec<Problem>> {
        let before = self.problems.get(id).map(Vec::as_slice).unwrap_or_default();
        if before == problems {
            return None;
        }
        if problems.is_empty() {
            self.problems.remove(id);
        } else {
            self.problems.insert(id.clone(), problems.clone());
        }
        Some(problems)
    }

    /// The problems of a full read, with an empty list for each app that had some and has none now.
    fn replace_problems(&mut self, problems: HashMap<AppId, Vec<Problem>>) -> Vec<(AppId, Vec<Problem>)> {
        let before = std::mem::replace(&mut self.problems, problems);
        let solved =
            before.into_keys().filter(|id| !self.problems.contains_key(id)).map(|id| (id, Vec::new()));
        let mut told: Vec<_> = solved.collect();
        told.extend(self.problems.iter().map(|(id, problems)| (id.clone(), problems.clone())));
        told.sort_by(|a, b| a.0.cmp(&b.0));
        told
    }
}

fn apply(app: &mut App, id: &TaskId, what: What) {
    if matches!(what, What::Ended | What::Lost) {
        app.tasks.remove(id);
        return;
    }
    let Some(task) = app.tasks.get_mut(id).filter(|task| task.state != TaskState::Ended) else { return };
    match what {
        What::Killing => task.state = TaskState::Killing,
        What::Unreachable if task.state == TaskState::Running => task.state = TaskState::Unreachable,
        What::Unhealthy => task.health = Health::Unhealthy,
        What::Ended | What::Lost | What::Unreachable => {}
    }
}

#[cfg(test)]
mod tests;
