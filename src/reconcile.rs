//! The only writer: brings HAProxy to what is desired, one round at a time, and moves on only on proof.
//!
//! What suffices at run time is done at once; only reloads are spaced. A round never waits: who leaves a slot is moved on
//! by later rounds.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::{Config, HaproxyConfig};
use crate::durable::FileError;
use crate::haproxy::service_ports::ServicePorts;
use crate::haproxy::{Applied, Driver, HaproxyError};
use crate::model::ServiceId;
use crate::plan::{Plan, Reason, Step, plan};
use crate::render::{Files, TemplateError};
use crate::state::Changes;
use crate::telemetry::Metrics;

mod audit;
pub mod desired;
pub mod good;
mod journal;
mod live;
mod pending;
mod report;
mod worker;

pub use pending::Pending;

use desired::Desired;
use worker::Worker;

/// How often HAProxy is looked at, and at most how often what changed at run time is written to the files.
const LOOK: Duration = Duration::from_secs(1);
/// How often servers that somebody leaves are looked at, while there are any.
const ADVANCE: Duration = Duration::from_millis(20);
/// The longest that what failed is left alone, unless it changes: an address in use may become free.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The least time between two rounds that fail.
const FAILED_REST: Duration = Duration::from_secs(1);
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
    desired: Desired,
    /// The files of what runs, where it is not known better.
    loaded: Option<Files>,
    config: HaproxyConfig,
    https: bool,
    reloaded: Option<Instant>,
    /// True where what is desired may differ from what runs.
    dirty: bool,
    /// Reasons for a reload that wait for their time.
    waiting: BTreeSet<Reason>,
    /// Nothing is rendered before every source is ready.
    ready: bool,
    retry: Option<Instant>,
    /// Rounds that failed, one after the other.
    failures: u32,
    /// What runs differs from the files of its generation.
    unwritten: bool,
    /// The HAProxy of an earlier Causeway was taken over, and not looked at yet.
    adopted: bool,
    /// What the last audit found.
    drift: Vec<String>,
    /// The text is equal, but of the worker itself nothing is known yet.
    audit_soon: bool,
    metrics: Metrics,
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
        config: &Config,
        metrics: Metrics,
    ) -> Self {
        Self {
            driver,
            worker: Worker::new(&config.haproxy),
            desired,
            loaded,
            config: config.haproxy.clone(),
            https: !config.tls.certificates.is_empty(),
            reloaded: None,
            dirty: false,
            waiting: BTreeSet::new(),
            ready: false,
            retry: None,
            failures: 0,
            unwritten: false,
            adopted: false,
            drift: Vec::new(),
            audit_soon: false,
            metrics,
            since: None,
        }
    }

    /// Works until it is told to stop, and hands back the driver.
    pub async fn run(mut self, pending: Pending, stop: tokio_util::sync::CancellationToken) -> Driver {
        let every = |period: Duration| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut look, mut advance, mut audit) =
            (every(LOOK), every(ADVANCE), every(self.config.audit_interval));
        self.adopt().await;
        loop {
            if std::mem::take(&mut self.audit_soon) {
                audit.reset_immediately();
            }
            let next_round = self.next_round();
            let leaving = !self.desired.leaving_backends().is_empty() && self.desired.epoch().is_some();
            tokio::select! {
                () = stop.cancelled() => {
                    self.write_files();
                    return self.driver;
                }
                (changes, since) = pending.take() => {
                    self.since = [self.since, since].into_iter().flatten().min();
                    self.take(changes);
                }
                () = tokio::time::sleep_until(next_round.unwrap_or_else(Instant::now)), if next_round.is_some() => {
                    self.round().await;
                }
                _ = advance.tick(), if leaving => self.advance().await,
                _ = audit.tick() => self.audit().await,
                _ = look.tick() => self.look().await,
            }
        }
    }

    /// Goes on with a HAProxy that an earlier Causeway left, if what it wrote down is what runs.
    async fn adopt(&mut self) {
        let (Some(loaded), Some(epoch)) = (&self.loaded, self.worker.epoch(&self.driver).await) else {
            return;
        };
        if self.desired.adopt(epoch, loaded) {
            self.loaded = None;
            self.adopted = true;
            self.audit_soon = true;
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

    /// When the last reload is old enough for the next one.
    fn reload_at(&self) -> Option<Instant> {
        self.reloaded.map(|at| at + self.config.reload_interval)
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
            let backend = service.as_ref().map(|service| service.backend.name.as_str());
            self.metrics.backends().set(&id, backend);
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
        if self.unwritten {
            self.write_files();
        }
    }

    async fn restart(&mut self) {
        self.write_files();
        self.desired.forget_live();
        self.loaded = None;
        self.reloaded = None;
        self.dirty = true;
        let Driver::Managed(managed) = &mut self.driver else { return };
        match managed.start_current().await {
            Ok(Some(generation)) => {
                tracing::warn!(
                    haproxy.generation = generation.number,
                    "HAProxy was gone and is started again"
                );
                self.loaded = managed.generations().read(&generation);
            }
            Ok(None) => {}
            Err(error) => self.failed(&error),
        }
    }

    /// The files follow what was done at run time, at most once a second, so that a fresh start reads what runs.
    fn write_files(&mut self) {
        let Some(epoch) = self.desired.epoch().filter(|_| self.unwritten) else { return };
        let generations = self.driver.generations();
        let generation = generations.generation(epoch.generation);
        match tokio::task::block_in_place(|| self.desired.persist(&generation, generations)) {
            Ok(()) => self.unwritten = false,
            Err(error) => tracing::error!("the files do not follow what runs: {error}"),
        }
    }

    async fn round(&mut self) {
        self.dirty = false;
        let result = self.bring().await;
        match result {
            // A reload that still waits for its time is not done yet.
            Ok(()) if self.is_reload_due() => {}
            Ok(()) => {
                self.failures = 0;
                self.retry = None;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        let wait = TRY_AGAIN.min(FAILED_REST * 2_u32.saturating_pow(self.failures));
        tracing::error!("{error}; it is tried again in {wait:?}, or when something changes");
        self.failures += 1;
        self.retry = Some(Instant::now() + wait);
    }

    /// Brings HAProxy to what is desired: what the running worker can do at once, and a reload for the rest if its time
    /// has come.
    async fn bring(&mut self) -> Result<(), RoundError> {
        let begun = Instant::now();
        let head = self.desired.render_head();
        self.desired.forget_unseen();
        let (steps, mut reasons) = self.desired.work();
        if !steps.is_empty() {
            if let Err(error) = self.desired.note_placement() {
                tracing::error!("{error}; after a crash now, tasks would be placed anew by a reload");
            }
            if !self.change(&steps).await {
                self.waiting = BTreeSet::from([Reason::Drift]);
                return self.reload().await;
            }
            self.unwritten = true;
            self.metrics.plan_runtime(steps.len(), begun.elapsed());
            report::runtime(&steps, &self.desired.take_events(), begun.elapsed());
        } else {
            self.desired.settle(&[]);
        }
        if head.is_err() {
            reasons.insert(Reason::Head);
        }
        self.waiting = reasons;
        head?;
        let past = |at: Option<Instant>| at.is_none_or(|at| at <= Instant::now());
        if self.is_reload_due() && past(self.reload_at()) && past(self.retry) {
            return self.reload().await;
        }
        if self.waiting.is_empty() {
            self.desired.forget_events();
        }
        // What can wait for the next reload keeps nobody waiting.
        if !self.is_reload_due() {
            if steps.is_empty() {
                self.metrics.plan_noop();
                self.since = None;
            }
            self.brought();
        }
        if std::mem::take(&mut self.adopted) && steps.is_empty() && self.waiting.is_empty() {
            tracing::info!("nothing to do: what runs is what is desired");
        }
        Ok(())
    }

    /// Carries out steps on the running worker and reads back what they touched. False where that did not work: then
    /// only a reload makes sure.
    async fn change(&mut self, steps: &[Step]) -> bool {
        let Some(epoch) = self.desired.epoch() else { return false };
        let changing = self.desired.dirty().clone();
        if let Err(error) = self.worker.carry_out(epoch, steps).await {
            tracing::warn!("{error}; HAProxy is reloaded to make sure");
            return false;
        }
        self.desired.settle(steps);
        let backends: BTreeSet<String> =
            steps.iter().filter_map(|step| Some(step.server()?.backend.clone())).collect();
        if backends.is_empty() {
            return true;
        }
        let mut expected = self.desired.expected_states(Some(&changing));
        expected.retain(|(backend, _), _| backends.contains(backend));
        match self.worker.differences(&expected, Some(&backends)).await {
            Ok(differences) if differences.is_empty() => true,
            Ok(differences) => {
                tracing::warn!(
                    "after a change HAProxy reports: {}; it is reloaded to make sure",
                    differences.join(", ")
                );
                false
            }
            Err(error) => {
                tracing::warn!("{error}; HAProxy is reloaded to make sure");
                false
            }
        }
    }

    /// Brings HAProxy there by a new generation. Whoever is to blame for what HAProxy does not take is put aside, service
    /// by service, and the rest goes on.
    async fn reload(&mut self) -> Result<(), RoundError> {
        self.probe_ports().await;
        for _ in 0..CULPRITS {
            let begun = Instant::now();
            if matches!(self.driver, Driver::Managed(_)) && self.desired.try_own_ports() && self.plans_anew()
            {
                return Ok(());
            }
            let candidate = self.desired.candidate()?;
            let mut reasons: Vec<Reason> = self.waiting.iter().cloned().collect();
            if self.desired.epoch().is_none() {
                match plan(&candidate.files, self.loaded.as_ref()) {
                    Plan::Noop => {
                        self.proven(candidate).await;
                        self.metrics.plan_noop();
                        self.since = None;
                        self.brought();
                        self.desired.forget_events();
                        self.audit_soon = true;
                        return Ok(());
                    }
                    Plan::Reload { reasons: found } => reasons = found,
                }
            }
            match self.load(&candidate).await {
                Ok((applied, number)) => {
                    let events = self.desired.take_events();
                    report::reload(&applied, number, &reasons, &events, begun.elapsed());
                    self.proven(candidate).await;
                    self.metrics.reload_done(&reasons, applied, begun.elapsed());
                    self.brought();
                    return Ok(());
                }
                Err(error) => {
                    self.metrics.reload_failed((&error).into());
                    let to_blame = match &error {
                        RoundError::Haproxy(error) => self.desired.blame(error, &candidate),
                        _ => false,
                    };
                    if !matches!(error, RoundError::Haproxy(HaproxyError::Check(_))) {
                        self.look_anew().await;
                    }
                    if !to_blame {
                        return Err(error);
                    }
                    if self.plans_anew() {
                        return Ok(());
                    }
                }
            }
        }
        let alerts = vec![format!("more than {CULPRITS} services are refused one after the other")];
        Err(HaproxyError::Check(crate::haproxy::CheckFailure { alerts }).into())
    }

    /// After somebody was put aside: without them there may be nothing left that needs a reload.
    fn plans_anew(&mut self) -> bool {
        let anew = self.desired.epoch().is_some() && !self.waiting.contains(&Reason::Drift);
        if anew {
            self.waiting.clear();
            self.dirty = true;
        }
        anew
    }

    /// Writes a generation, lets HAProxy check it, and makes it the running one.
    async fn load(&mut self, candidate: &desired::Candidate) -> Result<(Applied, u64), RoundError> {
        let generation = tokio::task::block_in_place(|| self.driver.generations().write(&candidate.files))?;
        let applied = match self.driver.check(&generation).await {
            Ok(()) => {
                let applied = self.driver.apply(&generation).await;
                self.reloaded = Some(Instant::now());
                applied
            }
            Err(error) => Err(error),
        };
        if applied.is_err() {
            self.driver.generations().discard(&generation);
        }
        Ok((applied?, generation.number))
    }

    /// While HAProxy is down others may take a port that it bound ahead: it would never start again.
    async fn probe_ports(&mut self) {
        let managed = matches!(self.driver, Driver::Managed(_));
        if managed && !self.driver.is_alive().await {
            let ports = tokio::task::block_in_place(|| ServicePorts::probe(&self.config, self.https));
            self.desired.set_ports(ports);
        }
    }

    async fn proven(&mut self, candidate: desired::Candidate) {
        let epoch = self.worker.epoch(&self.driver).await;
        self.loaded = epoch.is_none().then(|| candidate.files.clone());
        self.desired.prove(candidate, epoch);
        self.waiting.clear();
        let generations = self.driver.generations();
        if let Err(error) = tokio::task::block_in_place(|| self.desired.persist_places(generations)) {
            // It runs all the same; the next write of the files tries again.
            tracing::error!("{error}; it is written again in a second");
            self.unwritten = true;
        } else {
            self.unwritten = false;
        }
    }

    /// A reload failed: what runs now is what can be seen.
    async fn look_anew(&mut self) {
        let same = match (self.desired.epoch(), self.worker.epoch(&self.driver).await) {
            (Some(before), Some(now)) => before == now,
            _ => false,
        };
        if !same {
            self.desired.forget_live();
            // Of a worker of ours that is not known any more the files prove nothing: it is reloaded.
            let external = matches!(self.driver, Driver::External(_));
            self.loaded = if external { self.driver.observe().await.map(|(_, files)| files) } else { None };
        }
    }
}

impl Applied {
    /// The word for it, and how long it took.
    pub(crate) fn how(self) -> (&'static str, Duration) {
        match self {
            Self::Started { took } => ("start", took),
            Self::Reloaded { took } => ("reload", took),
        }
    }
}
