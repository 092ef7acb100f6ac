//! Which apps are to be read, when, and how. No I/O and no clock of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::reader::addressable;
use crate::model::AppId;

const SINGLE_READS: usize = 8;
/// With more changed apps than this, one list is cheaper for Marathon than many single reads.
const LIST_ABOVE: usize = 50;
/// How long a change that names no app waits for the deployment that names them.
const EXPLANATION: Duration = Duration::from_secs(2);
/// Explanations that are remembered in case the change comes after them.
const EXPLAINED: usize = 256;
const READINESS: Duration = Duration::from_secs(1);
/// How long an app with a task that is only being prepared waits for the event that says more.
const PREPARATION: Duration = Duration::from_secs(1);

/// What to read next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    All,
    One(AppId),
}

#[derive(Debug)]
pub(crate) struct Schedule {
    dirty: HashSet<AppId>,
    /// Under way; an app that becomes dirty meanwhile is read again after.
    reading: HashSet<AppId>,
    retries: HashMap<AppId, (Instant, Backoff)>,
    awaiting_readiness: HashMap<AppId, Instant>,
    preparing: HashMap<AppId, Instant>,
    unexplained: BTreeMap<String, Instant>,
    explained: Vec<String>,
    want_all: bool,
    reading_all: bool,
    all_backoff: Backoff,
    all_not_before: Option<Instant>,
    resync_at: Instant,
    resync: Duration,
    backoff_max: Duration,
}

impl Schedule {
    pub(crate) fn new(resync: Duration, backoff_max: Duration, now: Instant) -> Self {
        let mut schedule = Self {
            dirty: HashSet::new(),
            reading: HashSet::new(),
            retries: HashMap::new(),
            awaiting_readiness: HashMap::new(),
            preparing: HashMap::new(),
            unexplained: BTreeMap::new(),
            explained: Vec::new(),
            want_all: false,
            reading_all: false,
            all_backoff: Backoff::new(backoff_max),
            all_not_before: None,
            resync_at: now,
            resync,
            backoff_max,
        };
        schedule.plan_resync(now);
        schedule
    }

    pub(crate) fn dirty(&mut self, id: AppId) {
        self.dirty.insert(id);
    }

    /// The app has to be read, but nobody waits for it: a read that another event asks for tells the same.
    pub(crate) fn preparing(&mut self, id: AppId, now: Instant) {
        self.preparing.entry(id).or_insert(now + PREPARATION);
    }

    /// Asks for a full read at once, whatever failed before.
    pub(crate) fn all(&mut self) {
        self.want_all = true;
        self.all_not_before = None;
    }

    /// A change whose apps are not known: in doubt everything is read, unless a deployment of its version explains it.
    /// False if one did already.
    pub(crate) fn group_change(&mut self, version: String, now: Instant) -> bool {
        let explained = self.explained.contains(&version);
        if !explained {
            self.unexplained.entry(version).or_insert(now + EXPLANATION);
        }
        !explained
    }

    pub(crate) fn deployment(&mut self, version: String) {
        self.unexplained.remove(&version);
        if !self.explained.contains(&version) {
            if self.explained.len() >= EXPLAINED {
                self.explained.remove(0);
            }
            self.explained.push(version);
        }
    }

    /// The next read to begin, if one may.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Next> {
        let held = |id: &AppId| self.retries.get(id).is_some_and(|(at, _)| *at > now);
        let due: Vec<&AppId> = self.dirty.iter().filter(|id| !held(id)).collect();
        let many = due.len() > LIST_ABOVE;
        let ready = |id: &&&AppId| !self.reading.contains(**id) && addressable(id);
        let one = due.iter().find(ready).map(|id| AppId::clone(id));
        self.want_all |= many || due.iter().any(|id| !addressable(id));
        if self.want_all {
            if !self.reading_all && self.all_not_before.is_none_or(|at| at <= now) {
                self.want_all = false;
                self.reading_all = true;
                self.dirty.clear();
                self.preparing.clear();
                self.unexplained.clear();
                return Some(Next::All);
            }
            if many {
                return None;
            }
        }
        if self.reading.len() >= SINGLE_READS {
            return None;
        }
        let id = one?;
        self.dirty.remove(&id);
        self.preparing.remove(&id);
        self.reading.insert(id.clone());
        Some(Next::One(id))
    }

    pub(crate) fn one_done(&mut self, id: &AppId) {
        self.reading.remove(id);
        self.retries.remove(id);
    }

    /// The read failed or told not everything: the app stays dirty, and is read again after a while.
    pub(crate) fn one_failed(&mut self, id: AppId, now: Instant) {
        self.reading.remove(&id);
        self.again_later(id, now);
    }

    /// The app has to be read again, but not at once.
    fn again_later(&mut self, id: AppId, now: Instant) {
        let fresh = || (now, Backoff::new(self.backoff_max));
        let (at, backoff) = self.retries.entry(id.clone()).or_insert_with(fresh);
        *at = now + backoff.wait();
        self.dirty.insert(id);
    }

    /// Everything was read, and some apps told not everything.
    pub(crate) fn all_done(&mut self, incomplete: Vec<AppId>, now: Instant) {
        self.retries.retain(|id, _| incomplete.contains(id));
        for id in incomplete {
            self.again_later(id, now);
        }
        self.reading_all = false;
        self.all_backoff.reset();
        self.all_not_before = None;
        self.plan_resync(now);
    }

    pub(crate) fn all_failed(&mut self, now: Instant) {
        self.reading_all = false;
        self.want_all = true;
        self.all_not_before = Some(now + self.all_backoff.wait());
    }

    /// Waits no longer for the reads that are under way: they may hang on a connection that is dead.
    pub(crate) fn abandon(&mut self) {
        self.reading.clear();
        self.reading_all = false;
    }

    /// Whether a full read is under way or due.
    pub(crate) fn plans_all(&self) -> bool {
        self.reading_all || self.want_all
    }

    /// Forgets every read and begins with a full one.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        *self = Self::new(self.resync, self.backoff_max, now);
        self.all();
    }

    pub(crate) fn readiness(&mut self, id: &AppId, awaited: bool, now: Instant) {
        if awaited {
            // Where very many wait, a list every second would be no favour to Marathon.
            let many = u32::try_from(self.awaiting_readiness.len()).unwrap_or(u32::MAX) / 25;
            self.awaiting_readiness.insert(id.clone(), now + READINESS.saturating_mul(1 + many));
        } else {
            self.awaiting_readiness.remove(id);
        }
    }

    /// When something is due that nobody tells. What is due already waits for a read that is under way.
    pub(crate) fn wake_at(&self, now: Instant) -> Instant {
        let retries = self.retries.iter().filter(|(id, _)| self.dirty.contains(*id)).map(|(_, (at, _))| *at);
        let retries = retries.filter(|at| *at > now);
        let all = self.all_not_before.filter(|at| self.want_all && !self.reading_all && *at > now);
        let unexplained = self.unexplained.values().copied();
        let readiness = self.awaiting_readiness.values().chain(self.preparing.values()).copied();
        retries.chain(all).chain(unexplained).chain(readiness).fold(self.resync_at, Instant::min)
    }

    /// Notes what has become due.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.resync_at <= now {
            self.want_all = true;
            self.plan_resync(now);
        }
        if self.unexplained.values().any(|at| *at <= now) {
            self.unexplained.clear();
            self.all();
        }
        for later in [&mut self.awaiting_readiness, &mut self.preparing] {
            self.dirty.extend(later.extract_if(|_, at| *at <= now).map(|(id, _)| id));
        }
    }

    fn plan_resync(&mut self, now: Instant) {
        self.resync_at = now + self.resync.mul_f64(0.9 + fastrand::f64() / 5.0);
    }
}

#[cfg(test)]
mod tests;
