//! The only writer: brings HAProxy to what is desired, one round at a time, and moves on only on proof.
//!
//! What suffices at run time is done at once; only reloads are spaced. A round never waits: who leaves a slot is moved on
//! by later rounds.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::{Config, HaproxyConfig};
use crate::durable::FileError;
use crate::haproxy::{Driver, HaproxyError, trial::Trial};
use crate::model::ServiceId;
use crate::plan::Reason;
use crate::render::{Files, TemplateError};
use crate::state::Changes;
use crate::telemetry::Metrics;
use crate::view::Noted;

mod audit;
mod certificates;
pub mod desired;
pub mod good;
mod journal;
mod live;
pub mod orders;
mod pending;
mod reload;
mod report;
pub mod rollback;
mod round;
pub mod standing;
mod worker;
mod writer;

pub use pending::Pending;
pub use standing::Outside;

use desired::Desired;
use worker::Worker;
use writer::Writer;

/// How often HAProxy is looked at, and at most how often what changed at run time is written to the files.
const LOOK: Duration = Duration::from_secs(1);
/// How often the files that certificates come from are looked at.
const CERTIFICATES: Duration = Duration::from_secs(2);
/// How often servers that somebody leaves are looked at, while there are any: at first, and where nothing moves on.
const ADVANCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));
/// The longest that what failed is left alone, unless it changes: an address in use may become free.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The least time between two rounds that fail.
const FAILED_REST: Duration = Duration::from_secs(1);
/// So many ends of HAProxy within this time are the fault of what it has loaded.
const CRASH_LOOP: (usize, Duration) = (3, Duration::from_secs(60));
/// Culprits that one round takes out before it gives up.
const CULPRITS: usize = 10;

/// A round that did not get through.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// A template failed.
    #[error("{0}; HAProxy is left as it was")]
    Template(#[from] TemplateError),
    /// HAProxy.
    #[error("{0}; HAProxy is left as it was")]
    Haproxy(#[from] HaproxyError),
    /// A file.
    #[error("{0}; HAProxy is left as it was")]
    File(#[from] FileError),
}

/// What HAProxy is brought to, and how.
#[derive(Debug)]
pub struct Reconciler {
    driver: Driver,
    worker: Worker,
    writer: Writer,
    trial: Trial,
    desired: Desired,
    /// Changes that have not come here yet.
    pending: Pending,
    /// The files of what runs, where it is not known better.
    loaded: Option<Files>,
    config: HaproxyConfig,
    https: bool,
    reloaded: Option<Instant>,
    /// True where what is desired may differ from what runs.
    dirty: bool,
    /// Reasons for a reload that wait for their time.
    waiting: BTreeSet<Reason>,
    /// Somebody asked for a reload that is not done yet.
    asked: bool,
    /// Nothing is rendered before every source is ready.
    ready: bool,
    retry: Option<Instant>,
    /// After a crash loop.
    no_reload_before: Option<Instant>,
    /// When HAProxy ended of itself.
    ends: Vec<Instant>,
    /// Rounds that failed, one after the other.
    failures: u32,
    /// What kept the last round from getting through, since it did so first.
    failed: Option<Noted>,
    /// What runs differs from the files of its generation.
    unwritten: bool,
    /// The HAProxy of an earlier Causeway was taken over, and not looked at yet.
    adopted: bool,
    /// An audit that is under way beside the rounds.
    auditing: Option<JoinHandle<audit::Found>>,
    /// What the last audit found.
    drift: Vec<String>,
    /// The text is equal, but of the worker itself nothing is known yet.
    audit_soon: bool,
    metrics: Metrics,
    outside: Outside,
    /// When the oldest event came in that is not applied yet.
    since: Option<std::time::Instant>,
}

impl Reconciler {
    /// A reconciler for what `driver` runs; `loaded` is what it was found to run.
    #[must_use]
    pub fn new(
        driver: Driver,
        desired: Desired,
        loaded: Option<Files>,
        pending: Pending,
        config: &Config,
        metrics: Metrics,
        outside: Outside,
    ) -> Self {
        Self {
            writer: Writer::new(driver.generations(), desired.good_blocks()),
            driver,
            worker: Worker::new(&config.haproxy),
            trial: Trial::new(&config.haproxy),
            desired,
            pending,
            loaded,
            config: config.haproxy.clone(),
            https: !config.tls.certificates.is_empty(),
            reloaded: None,
            dirty: false,
            waiting: BTreeSet::new(),
            asked: false,
            ready: false,
            retry: None,
            no_reload_before: None,
            ends: Vec::new(),
            failures: 0,
            failed: None,
            unwritten: false,
            adopted: false,
            auditing: None,
            drift: Vec::new(),
            audit_soon: false,
            metrics,
            outside,
            since: None,
        }
    }

    /// Works until it is told to stop, and hands back the driver.
    pub async fn run(mut self, stop: tokio_util::sync::CancellationToken) -> Driver {
        let every = |period: Duration| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut look, mut audit) = (every(LOOK), every(self.config.audit_interval));
        let (mut pause, mut advance, mut was_leaving) = (ADVANCE.0, Instant::now(), false);
        let mut certificates = every(CERTIFICATES);
        self.adopt().await;
        loop {
            if std::mem::take(&mut self.audit_soon) {
                audit.reset_immediately();
            }
            self.publish();
            let next_round = self.next_round();
            let leaving = self.desired.has_leaving() && self.desired.epoch().is_some();
            if leaving && !was_leaving {
                (pause, advance) = (ADVANCE.0, Instant::now() + ADVANCE.0);
            }
            was_leaving = leaving;
            let (writing, auditing) = (self.writer.is_busy(), self.auditing.is_some());
            tokio::select! {
                () = stop.cancelled() => {
                    self.write_all().await;
                    return self.driver;
                }
                (changes, since) = self.pending.take() => {
                    self.since = [self.since, since].into_iter().flatten().min();
                    self.take(changes);
                }
                () = self.pending.reload_asked() => (self.asked, self.dirty) = (true, true),
                // A timer that is due now fires a millisecond later: whoever is ready at once would always be before it.
                () = async {
                    if let Some(at) = next_round.filter(|at| *at > Instant::now()) {
                        tokio::time::sleep_until(at).await;
                    }
                }, if next_round.is_some() => {
                    self.round().await;
                    pause = ADVANCE.0;
                    advance = advance.min(Instant::now() + pause);
                }
                Some(ordered) = self.outside.orders.recv() => self.obey(ordered).await,
                Some(asker) = self.outside.copies.recv() => drop(asker.send(self.desired.clone())),
                written = self.writer.done(), if writing => self.written(written),
                found = audit::done(&mut self.auditing), if auditing => self.audited(found).await,
                () = tokio::time::sleep_until(advance), if leaving => {
                    self.advance().await;
                    // Who has sessions yet may have them for long.
                    pause = (pause * 2).min(ADVANCE.1);
                    advance = Instant::now() + pause;
                }
                _ = audit.tick() => self.audit().await,
                _ = look.tick() => self.look().await,
                _ = certificates.tick(), if self.ready => self.look_at_certificates().await,
            }
        }
    }

    /// Goes on with a HAProxy that an earlier Causeway left, if what it wrote down is what runs.
    async fn adopt(&mut self) {
        let (Some(loaded), Some(epoch)) = (&self.loaded, self.worker.epoch(&self.driver).await) else {
            return;
        };
        self.desired.set_features(self.worker.features().await.unwrap_or_default());
        if self.desired.adopt(epoch, loaded) {
            if let Some(text) = self.desired.running() {
                self.writer.says(epoch.generation, text);
            }
            self.loaded = None;
            self.adopted = true;
            self.audit_soon = true;
        }
    }

    /// Asks the worker that serves what it can do: the next text is made for that.
    async fn learn(&mut self) {
        match self.worker.features().await {
            Ok(features) => self.desired.set_features(features),
            Err(error) => tracing::debug!("{error}; HAProxy is taken to do what the one before it did"),
        }
    }

    /// When the next round may begin: at once, or where only a reload is left when the last one is old enough.
    fn next_round(&self) -> Option<Instant> {
        if !self.ready {
            return None;
        }
        if self.dirty {
            return Some(Instant::now());
        }
        self.is_reload_due()
            .then(|| self.reload_at().into_iter().chain(self.retry).max().unwrap_or_else(Instant::now))
    }

    fn is_reload_due(&self) -> bool {
        self.waiting.iter().any(|reason| !reason.can_wait())
    }

    /// When the next reload may be: the last one is old enough, and HAProxy does not end again and again.
    fn reload_at(&self) -> Option<Instant> {
        let spaced = self.reloaded.map(|at| at + self.config.reload_interval);
        spaced.into_iter().chain(self.no_reload_before).max()
    }

    fn take(&mut self, changes: Changes) {
        let first = !std::mem::replace(&mut self.ready, true);
        self.dirty = true;
        // What changed may be the cure; but changes that come all the time do not make a failing round a busy one.
        let soon = Instant::now() + FAILED_REST;
        self.retry = self.retry.map(|at| at.min(soon));
        let told: BTreeSet<ServiceId> =
            if first { changes.keys().cloned().collect() } else { BTreeSet::new() };
        for (id, service) in changes {
            self.desired.set(id, service);
        }
        if first {
            self.desired.retire_unwanted(&told);
        }
    }

    /// A HAProxy that is gone is started again with what is current, at once; then it is brought to what is desired.
    async fn look(&mut self) {
        let now = Instant::now();
        let calm = self.retry.is_none_or(|at| at <= now);
        if calm && !self.driver.is_alive().await {
            self.restart().await;
        }
        let reload_allowed = self.reload_at().is_none_or(|at| at <= now);
        if calm
            && !self.dirty
            && !self.is_reload_due()
            && reload_allowed
            && self.desired.release_quarantine(TRY_AGAIN)
        {
            self.dirty = true;
        }
        self.forget_by_hand();
        self.count();
        self.write(false);
    }

    async fn restart(&mut self) {
        let now = Instant::now();
        self.ends.retain(|end| now - *end < CRASH_LOOP.1);
        // Before the first start nothing has ended.
        if self.desired.epoch().is_some() {
            self.ends.push(now);
        }
        let loops = self.ends.len() >= CRASH_LOOP.0;
        self.write_all().await;
        self.reloaded = None;
        self.dirty = true;
        let Driver::Managed(managed) = &mut self.driver else { return };
        let started = if loops {
            tracing::error!(
                haproxy.ends = self.ends.len(),
                "HAProxy ends again and again; the good generation before is started, and the current one is tried again in {TRY_AGAIN:?}"
            );
            self.ends.clear();
            self.no_reload_before = Some(now + TRY_AGAIN);
            managed.start_before_current().await
        } else {
            managed.start_current().await
        };
        let generation = match started {
            Ok(generation) => generation,
            Err(error) => {
                self.desired.forget_live();
                self.loaded = None;
                self.failed(&error);
                return;
            }
        };
        let Some(generation) = generation else {
            self.desired.forget_live();
            self.loaded = None;
            return;
        };
        tracing::warn!(haproxy.generation = generation.number, "HAProxy was gone and is started again");
        let files_follow = !self.unwritten;
        self.learn().await;
        let epoch = self.worker.epoch(&self.driver).await;
        if let Some(epoch) = epoch.filter(|_| files_follow)
            && self.desired.restarted(epoch)
        {
            self.loaded = None;
            self.audit_soon = true;
        } else {
            self.desired.forget_live();
            self.loaded = self.driver.generations().read(&generation);
        }
    }

    /// The files follow what was done at run time, at most once a second and beside the rounds, so that a fresh start
    /// reads what runs.
    fn write(&mut self, whole: bool) {
        if !self.unwritten || self.writer.is_busy() {
            return;
        }
        let generations = self.driver.generations();
        let generation = match self.desired.epoch() {
            Some(epoch) => Some(generations.generation(epoch.generation)),
            None => generations.current(),
        };
        if let Some(generation) = generation {
            self.unwritten = false;
            self.writer.begin(self.desired.snapshot(generation, whole));
        }
    }

    fn written(&mut self, result: Result<(), FileError>) {
        if let Err(error) = result {
            tracing::error!("the files do not follow what runs: {error}; they are written again in a second");
            self.unwritten = true;
        }
    }

    /// Everything is on disk, as far as it can be written.
    async fn write_all(&mut self) {
        if self.writer.is_busy() {
            let result = self.writer.done().await;
            self.written(result);
        }
        self.write(true);
        if self.writer.is_busy() {
            let result = self.writer.done().await;
            self.written(result);
        }
    }
}
