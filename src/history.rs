//! What changed at HAProxy: when, why, how, and how long it took. The last few hundred changes, for who asks; who listens is
//! told of each.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::model::ServiceId;
use crate::placement::Admin;
use crate::plan::{Reason, Step};
use crate::reconcile::desired::Happened;
use crate::render::Text;
use crate::telemetry::LastHour;

mod difference;
#[cfg(test)]
mod tests;

pub use difference::{Texts, unified};

/// Changes that are kept.
const KEPT: usize = 500;
/// What a change names of what happened; the rest is a number. A full start has thousands.
const NAMED: usize = 20;
/// Slots in the blocks whose texts are kept for a difference, in all changes together: some megabytes.
const SLOTS: usize = 20_000;
/// Changes that wait for a listener; one that is slower misses some, and is told so.
const WAITING: usize = 64;
/// Listeners at once: each holds a connection.
const LISTENERS: usize = 24;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its number; a later one has a higher number. They begin anew with each start of Causeway.
    pub id: u64,
    /// When it was done.
    pub at: SystemTime,
    /// How it was done.
    pub how: How,
    /// What happened, a line a service; the first of them.
    pub events: Vec<String>,
    /// How many services something happened to.
    pub events_total: usize,
    /// The services, as many as there are events.
    pub services: Vec<ServiceId>,
    /// Seconds that the round took, with its proof.
    pub took_seconds: f64,
    /// Seconds from the moment that the oldest event came in; `None` where no event asked for it.
    pub event_to_applied_seconds: Option<f64>,
}

/// How a change was done.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// On the running worker.
    Runtime {
        /// How many steps it took.
        steps: usize,
    },
    /// By a new generation.
    Reload {
        /// Its number.
        generation: u64,
        /// Why.
        reasons: Vec<Reason>,
        /// How many reasons there were.
        reasons_total: usize,
    },
    /// By a start of HAProxy.
    Start {
        /// The generation that it was started with.
        generation: u64,
    },
    /// It did not get through; HAProxy goes on with what it has.
    Failed {
        /// Why, in words.
        error: String,
    },
    /// Somebody went back to an earlier generation; the reload is a change of its own.
    Rollback {
        /// Which.
        generation: u64,
        /// Who did it.
        by: String,
        /// What for.
        why: String,
    },
    /// Somebody released the rollback.
    Release {
        /// Who did it.
        by: String,
        /// What for.
        why: String,
    },
    /// Somebody set a server by hand.
    Server {
        /// The task.
        task: String,
        /// Whether it takes requests.
        state: Admin,
        /// Its weight.
        weight: u32,
        /// Who did it.
        by: String,
        /// What for.
        why: String,
        /// Whether it was ordered for every node.
        fleet: bool,
    },
}

/// What a round came to, before it has a number.
#[derive(Debug)]
pub struct Done<'a> {
    /// How it was done.
    pub how: How,
    /// What happened.
    pub happened: &'a [Happened],
    /// The steps, where it was done on the running worker.
    pub steps: &'a [Step],
    /// What ran before.
    pub before: Option<&'a Text>,
    /// What runs now.
    pub after: Option<&'a Text>,
    /// How long the round took.
    pub took: Duration,
    /// How long ago the oldest event came in.
    pub since_event: Option<Duration>,
}

impl Done<'_> {
    /// What is told of something that is no round.
    #[must_use]
    pub fn by(how: How) -> Self {
        let took = Duration::ZERO;
        Self { how, happened: &[], steps: &[], before: None, after: None, took, since_event: None }
    }
}

/// The log of changes. A handle; clones share it.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    told: broadcast::Sender<Arc<Change>>,
    listeners: Arc<Semaphore>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    last: u64,
    changes: VecDeque<(Arc<Change>, Option<Arc<Texts>>)>,
    /// Slots in the blocks of all texts.
    slots: usize,
    /// How many there were.
    last_hour: LastHour,
}

impl Default for History {
    fn default() -> Self {
        let (told, _nobody) = broadcast::channel(WAITING);
        let listeners = Arc::new(Semaphore::new(LISTENERS));
        Self(Arc::new(Inner { told, listeners, log: Mutex::default() }))
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("History")
    }
}

impl History {
    /// Notes a change. What fails in the same words again is noted once.
    pub fn note(&self, done: Done<'_>) {
        let named = &done.happened[..done.happened.len().min(NAMED)];
        let texts = Texts::of(&done, named);
        let mut log = self.log();
        if let (How::Failed { .. }, Some((last, _))) = (&done.how, log.changes.back())
            && last.how == done.how
        {
            return;
        }
        log.last += 1;
        log.last_hour.add(1.0, Instant::now());
        let change = Arc::new(Change {
            id: log.last,
            at: SystemTime::now(),
            how: done.how,
            events: named.iter().map(|each| each.what.clone()).collect(),
            events_total: done.happened.len(),
            services: named.iter().map(|each| each.service.clone()).collect(),
            took_seconds: done.took.as_secs_f64(),
            event_to_applied_seconds: done.since_event.map(|age| age.as_secs_f64()),
        });
        log.slots += texts.slots();
        log.changes.push_back((Arc::clone(&change), Some(Arc::new(texts))));
        log.shrink();
        drop(log);
        // Nobody may listen.
        let _nobody = self.0.told.send(change);
    }

    /// How many changes there were in each minute of the last hour, the oldest first.
    #[must_use]
    pub fn last_hour(&self) -> Vec<f64> {
        self.log().last_hour.minutes(Instant::now())
    }

    /// The changes before one, or the last ones, the newest first.
    #[must_use]
    pub fn before(&self, id: Option<u64>, count: usize) -> Vec<Arc<Change>> {
        let log = self.log();
        let changes = log.changes.iter().rev().map(|(change, _)| change);
        changes.filter(|change| id.is_none_or(|id| change.id < id)).take(count).cloned().collect()
    }

    /// The changes of one service before one, or the last ones, the newest first.
    #[must_use]
    pub fn of(&self, service: &ServiceId, before: Option<u64>, count: usize) -> Vec<Arc<Change>> {
        let log = self.log();
        let changes = log.changes.iter().rev().map(|(change, _)| change);
        let changes = changes.filter(|change| before.is_none_or(|id| change.id < id));
        changes.filter(|change| change.services.contains(service)).take(count).cloned().collect()
    }

    /// One change, with the texts of then; they are kept for the newest changes only.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<(Arc<Change>, Option<Arc<Texts>>)> {
        let log = self.log();
        let at = log.changes.binary_search_by_key(&id, |(change, _)| change.id).ok()?;
        log.changes.get(at).cloned()
    }

    /// The changes after one, the oldest first, and all that come; `None` where some of them are not known any more.
    #[must_use]
    pub fn follow(&self, after: Option<u64>) -> (Option<Vec<Arc<Change>>>, broadcast::Receiver<Arc<Change>>) {
        let log = self.log();
        let told = self.0.told.subscribe();
        let Some(after) = after else { return (Some(Vec::new()), told) };
        let first = log.changes.front().map_or(log.last + 1, |(change, _)| change.id);
        let known = after <= log.last && after + 1 >= first;
        let later = log.changes.iter().map(|(change, _)| change).filter(|change| change.id > after);
        (known.then(|| later.cloned().collect()), told)
    }

    /// A place among those who listen; `None` where all are taken.
    #[must_use]
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.listeners).try_acquire_owned().ok()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Lets go of the oldest changes, and of the texts of old ones.
    fn shrink(&mut self) {
        while self.changes.len() > KEPT {
            let texts = self.changes.pop_front().and_then(|(_, texts)| texts);
            self.slots -= texts.map_or(0, |texts| texts.slots());
        }
        for (_, texts) in &mut self.changes {
            if self.slots <= SLOTS {
                return;
            }
            self.slots -= texts.take().map_or(0, |texts| texts.slots());
        }
    }
}

/// A moment as RFC 3339 writes it, in UTC.
#[must_use]
pub fn moment(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .unwrap_or_default()
        .round(jiff::Unit::Millisecond)
        .unwrap_or_default()
        .to_string()
}
