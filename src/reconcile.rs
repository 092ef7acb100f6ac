//! The only writer: brings HAProxy to what is desired, one round at a time, and moves on only on proof.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::durable::FileError;
use crate::haproxy::{Applied, Driver, HaproxyError};
use crate::model::{Problem, ServiceId};
use crate::plan::{Plan, Reason, plan};
use crate::render::{Files, TemplateError};
use crate::state::Changes;

pub mod desired;
pub mod good;

use desired::Desired;

/// How often HAProxy is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that what failed is left alone, unless it changes: an address in use may become free.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Culprits that one round takes out before it gives up.
const CULPRITS: usize = 10;
/// Reasons that a log line names; the rest is a number.
const REASONS_SHOWN: usize = 3;

/// Changes on their way to the reconciler. What comes while it is busy is one next round, never a queue.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<PendingInner>);

#[derive(Debug, Default)]
struct PendingInner {
    changes: Mutex<Option<Changes>>,
    arrived: Notify,
}

impl Pending {
    /// Adds changes; a newer one of the same service replaces the older. Empty changes count: they say that every source
    /// is ready.
    pub fn add(&self, changes: Changes) {
        self.lock().get_or_insert_default().extend(changes);
        self.0.arrived.notify_one();
    }

    async fn take(&self) -> Changes {
        loop {
            if let Some(changes) = self.lock().take() {
                return changes;
            }
            self.0.arrived.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Changes>> {
        self.0.changes.lock().expect("nothing panics while it holds this lock")
    }
}

/// What the reconciler found wrong, for those who ask.
pub type Problems = tokio::sync::watch::Sender<BTreeMap<ServiceId, Problem>>;

/// A round that did not get through.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// A template failed.
    #[error("{0}; HAProxy keeps what it has")]
    Template(#[from] TemplateError),
    /// HAProxy.
    #[error("{0}; what ran before goes on")]
    Haproxy(#[from] HaproxyError),
    /// A file.
    #[error("{0}; what ran before goes on")]
    File(#[from] FileError),
}

/// What HAProxy is brought to, and how.
#[derive(Debug)]
pub struct Reconciler {
    driver: Driver,
    desired: Desired,
    loaded: Option<Files>,
    reload_interval: Duration,
    /// When the last reload was done.
    reloaded: Option<Instant>,
    /// True where what is desired may differ from what runs.
    dirty: bool,
    /// Nothing is rendered before every source is ready.
    ready: bool,
    retry: Option<Instant>,
    /// Rounds that failed, one after the other.
    failures: u32,
    problems: Problems,
}

impl Reconciler {
    /// A reconciler for what `driver` runs; `loaded` is what it was found to run.
    #[must_use]
    pub fn new(
        driver: Driver,
        desired: Desired,
        loaded: Option<Files>,
        reload_interval: Duration,
        problems: Problems,
    ) -> Self {
        Self {
            driver,
            desired,
            loaded,
            reload_interval,
            reloaded: None,
            dirty: false,
            ready: false,
            retry: None,
            failures: 0,
            problems,
        }
    }

    /// Works until it is told to stop, and hands back the driver.
    pub async fn run(mut self, pending: Pending, stop: tokio_util::sync::CancellationToken) -> Driver {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next_round = self.next_round();
            tokio::select! {
                () = stop.cancelled() => return self.driver,
                changes = pending.take() => self.take(changes),
                () = tokio::time::sleep_until(next_round.unwrap_or_else(Instant::now)), if next_round.is_some() => {
                    self.round().await;
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    /// When the next round may begin: at once, or when the last reload is old enough.
    fn next_round(&self) -> Option<Instant> {
        let spaced = self.reloaded.map(|at| at + self.reload_interval);
        (self.ready && self.dirty)
            .then(|| spaced.into_iter().chain(self.retry).max().unwrap_or_else(Instant::now))
    }

    fn take(&mut self, changes: Changes) {
        self.ready = true;
        self.dirty = true;
        self.retry = None;
        for (id, service) in changes {
            self.desired.set(id, service);
        }
    }

    /// A HAProxy that is gone is started again with what was good last, at once; then it is brought to what is desired.
    async fn look(&mut self) {
        if self.loaded.is_some() && !self.driver.is_alive().await {
            self.loaded = None;
            self.reloaded = None;
            self.dirty = true;
            if let Driver::Managed(managed) = &mut self.driver {
                match managed.start_current().await {
                    Ok(Some(generation)) => {
                        tracing::warn!(
                            haproxy.generation = generation.number,
                            "HAProxy was gone and is started again"
                        );
                        self.loaded = managed.generations().read(&generation);
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!("{error}; it is tried again with the next round"),
                }
            }
        }
        if self.desired.release_quarantine(TRY_AGAIN) {
            self.dirty = true;
        }
    }

    async fn round(&mut self) {
        self.dirty = false;
        let result = self.bring().await;
        self.problems.send_if_modified(|problems| {
            let now = self.desired.problems();
            let changed = *problems != now;
            *problems = now;
            changed
        });
        match result {
            Ok(()) => self.failures = 0,
            Err(error) => {
                let wait = TRY_AGAIN.min(Duration::from_secs(1) * 2_u32.saturating_pow(self.failures));
                tracing::error!("{error}; it is tried again in {wait:?}, or when something changes");
                self.failures += 1;
                self.dirty = true;
                self.retry = Some(Instant::now() + wait);
            }
        }
    }

    /// Brings HAProxy to what is desired. What HAProxy refuses is put aside, service by service, and the rest goes on.
    async fn bring(&mut self) -> Result<(), RoundError> {
        for _ in 0..CULPRITS {
            let begun = Instant::now();
            let (files, owners) = self.desired.files()?;
            let reasons = match plan(&files, self.loaded.as_ref()) {
                Plan::Noop => {
                    self.desired.forget_events();
                    return Ok(());
                }
                Plan::Reload { reasons } => reasons,
            };
            self.desired.save_placement(self.driver.generations())?;
            let generation = tokio::task::block_in_place(|| self.driver.generations().write(&files))?;
            match self.driver.check(&generation).await {
                Ok(()) => {}
                Err(HaproxyError::Check(failure)) => {
                    self.driver.generations().discard(&generation);
                    if self.desired.quarantine_culprits(&failure, files.config(), &owners) {
                        continue;
                    }
                    return Err(HaproxyError::Check(failure).into());
                }
                Err(error) => {
                    self.driver.generations().discard(&generation);
                    return Err(error.into());
                }
            }
            let applied = self.driver.apply(&generation).await;
            self.reloaded = Some(Instant::now());
            match applied {
                Ok(applied) => {
                    self.loaded = Some(files);
                    self.desired.prove(self.driver.generations())?;
                    report(
                        &applied,
                        generation.number,
                        &reasons,
                        &self.desired.take_events(),
                        begun.elapsed(),
                    );
                    return Ok(());
                }
                Err(error) => {
                    self.loaded = self.driver.observe().await.map(|(_, files)| files);
                    self.driver.generations().discard(&generation);
                    if !self.desired.quarantine_changes(&error.to_string()) {
                        return Err(error.into());
                    }
                    tracing::error!("{error}; the last good text is used, with today's servers");
                }
            }
        }
        Err(RoundError::Haproxy(HaproxyError::Check(crate::haproxy::CheckFailure {
            alerts: vec![format!("more than {CULPRITS} services are refused one after the other")],
        })))
    }
}

/// One line a change: what happened, how, why, and how long it took.
fn report(applied: &Applied, generation: u64, reasons: &[Reason], events: &[String], total: Duration) {
    let mut what: Vec<String> = events.iter().take(REASONS_SHOWN).cloned().collect();
    if events.len() > REASONS_SHOWN {
        what.push(format!("and {} more", events.len() - REASONS_SHOWN));
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *kinds.entry(reason.kind()).or_default() += 1;
    }
    let why: Vec<String> = if reasons.len() <= REASONS_SHOWN {
        reasons.iter().map(ToString::to_string).collect()
    } else {
        kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect()
    };
    let (how, took) = match applied {
        Applied::Started { took } => ("start", took),
        Applied::Reloaded { took } => ("reload", took),
    };
    tracing::info!(
        haproxy.generation = generation,
        haproxy.took_ms = took.as_millis() as u64,
        plan.took_ms = total.as_millis() as u64,
        "{}: {how} because of {}",
        if what.is_empty() { "configuration".to_owned() } else { what.join("; ") },
        why.join(", "),
    );
}
