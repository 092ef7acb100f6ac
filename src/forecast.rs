//! What a change of the rules would come to: worked out on copies of what the state and the reconciler have, so that nothing
//! is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use similar::TextDiff;
use tokio::sync::{Semaphore, mpsc, oneshot};
use utoipa::ToSchema;

use crate::config::{Config, HaproxyConfig, HaproxyMode};
use crate::haproxy::{HaproxyError, check};
use crate::model::{Problem, ServiceId};
use crate::plan::{Reason, Step};
use crate::reconcile::desired::Desired;
use crate::render::files::CONFIG;
use crate::render::maps::MapName;
use crate::render::{Files, TemplateError, Text, without_secrets};
use crate::rules::Rules;
use crate::sources;
use crate::state::{Changes, State};

/// Where a part is asked for a copy of itself.
pub type CopyRequests<T> = mpsc::Receiver<oneshot::Sender<T>>;

/// Asks the state and the reconciler for copies, and works out on them what would come.
#[derive(Clone, Debug)]
pub struct Foresight {
    state: mpsc::Sender<oneshot::Sender<State>>,
    desired: mpsc::Sender<oneshot::Sender<Desired>>,
    /// A copy of everything and a whole check cost memory and time: one at a time.
    turn: Arc<Semaphore>,
    haproxy: Arc<HaproxyConfig>,
}

/// What a change would come to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Forecast {
    /// How it would be brought to HAProxy.
    pub how: How,
    /// The commands to the running HAProxy, in their order.
    pub steps: Vec<String>,
    /// Why it would have to read its files anew.
    #[schema(value_type = Vec<Object>)]
    pub reasons: Vec<Reason>,
    /// What would change in the text: the blocks of the apps, the shared head, the entries of maps.
    pub diff: String,
    /// What HAProxy says to the text.
    pub haproxy: Verdict,
    /// Problems that would come.
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<Problem>,
}

/// How a change would be brought to HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Nothing would change.
    Nothing,
    /// By commands to the running HAProxy.
    Runtime,
    /// By a reload.
    Reload,
}

/// What HAProxy says to a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It does not have to read anything anew.
    NotNeeded,
    /// It takes the whole text.
    Accepted,
    /// It does not.
    Refused {
        /// Its own words, each naming a line of the text.
        words: Vec<String>,
    },
    /// It was not asked, or could not be.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What keeps a change from being foreseen.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// Not every source has told all it knows.
    #[error("it is not known yet what runs; ask again when Causeway is ready (/readyz says what is missing)")]
    NotReady,
    /// A template fails, with the change or without it.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Foresight {
    /// Foresight for one bridge, and where the state and the reconciler hear that a copy is asked for.
    #[must_use]
    pub fn new(config: &Config) -> (Self, CopyRequests<State>, CopyRequests<Desired>) {
        let (state, of_state) = mpsc::channel(1);
        let (desired, of_desired) = mpsc::channel(1);
        let haproxy = Arc::new(config.haproxy.clone());
        (Self { state, desired, turn: Arc::new(Semaphore::new(1)), haproxy }, of_state, of_desired)
    }

    /// What would change if the rules were `after` instead of `before`.
    ///
    /// # Errors
    /// It is not known what runs, or a template fails.
    pub async fn of(&self, before: Arc<Rules>, after: Rules) -> Result<Forecast, ForecastError> {
        let _turn = self.turn.acquire().await.map_err(|_| ForecastError::NotReady)?;
        let state = copy(&self.state).await?;
        if !state.is_ready() {
            return Err(ForecastError::NotReady);
        }
        let desired = copy(&self.desired).await?;
        let managed = self.haproxy.mode == HaproxyMode::Managed;
        let work = move || work_out(state, desired, &before, &after, managed);
        let worked = tokio::task::spawn_blocking(work).await.map_err(|_| ForecastError::NotReady)?;
        let (mut forecast, files) = worked?;
        if forecast.how == How::Reload {
            forecast.haproxy = match files {
                Some(files) => self.verdict(files).await,
                None => Verdict::Unknown { why: "the operator's own commands run HAProxy".to_owned() },
            };
        }
        Ok(forecast)
    }

    async fn verdict(&self, files: Files) -> Verdict {
        match check::check_aside(&self.haproxy, files).await {
            Ok(()) => Verdict::Accepted,
            Err(HaproxyError::Check(failure)) => Verdict::Refused { words: failure.alerts },
            Err(error) => Verdict::Unknown { why: error.to_string() },
        }
    }
}

async fn copy<T>(lender: &mpsc::Sender<oneshot::Sender<T>>) -> Result<T, ForecastError> {
    let (asker, answer) = oneshot::channel();
    lender.send(asker).await.map_err(|_| ForecastError::NotReady)?;
    answer.await.map_err(|_| ForecastError::NotReady)
}

fn work_out(
    mut state: State,
    mut desired: Desired,
    before: &Rules,
    after: &Rules,
    managed: bool,
) -> Result<(Forecast, Option<Files>), ForecastError> {
    // The store may know more than the state has been told.
    bring(&mut desired, state.fold(sources::rules::event(before), Instant::now()))?;
    let old_problems: BTreeSet<Problem> = state.problems().into_iter().collect();
    let (old_steps, old_reasons) = desired.work();
    let old = desired.clone();
    let changes = state.fold(sources::rules::event(after), Instant::now());
    let ids: Vec<ServiceId> = changes.keys().cloned().collect();
    bring(&mut desired, changes)?;
    let (mut steps, mut reasons) = desired.work();
    let old_steps: BTreeSet<Step> = old_steps.into_iter().collect();
    steps.retain(|step| !old_steps.contains(step));
    reasons.retain(|reason| !old_reasons.contains(reason));
    if old.text().head != desired.text().head {
        reasons.insert(Reason::Head);
    }
    let diff = without_secrets(&diff(&old, &desired, &ids));
    // Where HAProxy is not changed while it runs, it reads its files anew for everything.
    if desired.epoch().is_none() && !diff.is_empty() {
        reasons.insert(Reason::File { file: CONFIG.to_owned() });
    }
    let how = match (reasons.iter().all(Reason::can_wait), steps.is_empty()) {
        (false, _) => How::Reload,
        (true, false) => How::Runtime,
        (true, true) => How::Nothing,
    };
    let forecast = Forecast {
        how,
        steps: steps.iter().map(Step::command).collect(),
        reasons: reasons.into_iter().collect(),
        diff,
        haproxy: Verdict::NotNeeded,
        problems: state.problems().into_iter().filter(|problem| !old_problems.contains(problem)).collect(),
    };
    let files = if managed && how == How::Reload {
        let candidate = desired.candidate()?;
        desired.whole_files(&candidate).ok()
    } else {
        None
    };
    Ok((forecast, files))
}

fn bring(desired: &mut Desired, changes: Changes) -> Result<(), TemplateError> {
    for (id, service) in changes {
        desired.set(id, service);
    }
    desired.forget_unseen();
    desired.render_head()
}

/// The difference as people read it: blocks, the head, entries.
fn diff(old: &Desired, new: &Desired, ids: &[ServiceId]) -> String {
    let mut text = String::new();
    let mut compare = |name: &str, old: &str, new: &str| {
        if old != new {
            let lines = TextDiff::from_lines(old, new);
            let header = (format!("running/{name}"), format!("desired/{name}"));
            text.push_str(&lines.unified_diff().header(&header.0, &header.1).to_string());
        }
    };
    compare("head", &shown_head(old.text()), &shown_head(new.text()));
    for id in ids {
        compare(&id.to_string(), &old.text().block_text(id), &new.text().block_text(id));
    }
    let (old_entries, new_entries) = (entries(old, ids), entries(new, ids));
    let maps: BTreeSet<MapName> = old_entries.keys().chain(new_entries.keys()).copied().collect();
    for map in maps {
        let of = |entries: &BTreeMap<MapName, String>| entries.get(&map).cloned().unwrap_or_default();
        compare(map.file(), &of(&old_entries), &of(&new_entries));
    }
    text
}

/// The head without the marks that stand for servers.
fn shown_head(text: &Text) -> String {
    text.head.replace(crate::render::SERVERS_MARK, "")
}

/// The lines of the maps that are these services'.
fn entries(desired: &Desired, ids: &[ServiceId]) -> BTreeMap<MapName, String> {
    let mut lines: BTreeMap<MapName, BTreeSet<String>> = BTreeMap::new();
    for (map, key, value) in ids.iter().flat_map(|id| desired.entries_of(id)) {
        lines.entry(map).or_default().insert(format!("{key} {value}\n"));
    }
    lines.into_iter().map(|(map, lines)| (map, lines.into_iter().collect())).collect()
}
