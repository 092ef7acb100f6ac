//! One change in many apps at once, as when an agent, or a rack, goes away or comes back.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::core::Core;
use super::lifecycle;
use super::state::{App, State, TaskState};

/// How often reports go out while a storm is spread over a time.
const STEP: Duration = Duration::from_millis(10);

/// What is reported of how many apps, spread over how long.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Storm {
    state: String,
    apps: usize,
    #[serde(default)]
    over_ms: u64,
}

/// Reports a state of one task of each of the first so many apps, in the order of their ids, evenly spread. Of each app it is the first running task, or
/// for TASK_RUNNING the first that does not run; apps without one are left out. The answer is how many were reported.
pub(super) async fn report(core: &Arc<Core>, storm: &Storm) -> usize {
    let tasks = chosen(&core.state(), &storm.state, storm.apps);
    let (over, begun) = (Duration::from_millis(storm.over_ms), Instant::now());
    let mut reported = 0;
    while reported < tasks.len() {
        let passed = begun.elapsed();
        // How many are due by now: all of them when the time is over.
        let due = match over.checked_sub(passed) {
            Some(left) if !left.is_zero() => tasks.len() * millis(passed) / millis(over).max(1),
            _ => tasks.len(),
        };
        for task in &tasks[reported..due.max(reported)] {
            lifecycle::report(core, task, &storm.state);
        }
        reported = due.max(reported);
        if reported < tasks.len() {
            tokio::time::sleep(STEP).await;
        }
    }
    tasks.len()
}

fn millis(time: Duration) -> usize {
    usize::try_from(time.as_millis()).unwrap_or(usize::MAX)
}

fn chosen(state: &State, status: &str, apps: usize) -> Vec<String> {
    let comes = status == TaskState::Running.name();
    let task = |app: &App| {
        let fits = |state: TaskState| (state == TaskState::Running) != comes && state != TaskState::Killing;
        app.tasks.iter().find(|task| fits(task.state)).map(|task| task.id.clone())
    };
    state.apps.values().filter(|app| app.defined).filter_map(task).take(apps).collect()
}
