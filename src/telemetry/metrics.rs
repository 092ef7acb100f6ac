//! What Causeway counts: one handle that is handed to whoever has something to tell. Prometheus and `/status` read it,
//! StatsD is sent to as it happens, under Bamboo's names where Bamboo has one. `docs/metrics.md` lists all of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::config::StatsdConfig;
use crate::haproxy::runtime::{Info, Processes};
use crate::haproxy::stats::{self, Backends, ServiceFigures};
use crate::haproxy::{Applied, HaproxyError};
use crate::model::ProblemKind;
use crate::plan::Reason;
use crate::view::Counts;

mod families;
mod services;
mod sources;
mod standing;

pub use sources::Source;
pub use standing::{HaproxyStanding, Round, RoundKind, SourceStanding, Standing};

use families::Families;
use sources::Sources;

use super::LastHour;
use super::statsd::Statsd;

/// What is read from Marathon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All apps.
    List,
    /// One app.
    App,
    /// An old definition of an app, for a deployment.
    Definition,
    /// Marathon's version.
    Info,
    /// The stream of events.
    Stream,
}

impl Read {
    fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::App => "app",
            Self::Definition => "definition",
            Self::Info => "info",
            Self::Stream => "stream",
        }
    }
}

/// The step that a reload failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A template failed.
    Template,
    /// A file could not be written.
    File,
    /// HAProxy refused the configuration.
    Check,
    /// HAProxy did not start.
    Start,
    /// No new worker came up.
    Reload,
    /// A socket gave no answer.
    Socket,
    /// A command of the operator failed.
    Command,
}

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::File => "file",
            Self::Check => "check",
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Socket => "socket",
            Self::Command => "command",
        }
    }
}

impl From<&HaproxyError> for Failure {
    fn from(error: &HaproxyError) -> Self {
        match error {
            HaproxyError::Check(_) => Self::Check,
            HaproxyError::Spawn { .. } | HaproxyError::Start { .. } => Self::Start,
            HaproxyError::Reload { .. } => Self::Reload,
            HaproxyError::Socket { .. } => Self::Socket,
            HaproxyError::Command { .. } => Self::Command,
            HaproxyError::File(_) => Self::File,
        }
    }
}

/// The handle; a clone is cheap, and counts into the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    families: Families,
    registry: Registry,
    statsd: Option<Statsd>,
    sources: Arc<Sources>,
    backends: Backends,
    known: Mutex<Known>,
}

/// Kinds of problems of which the reconciler tells.
const OF_RECONCILER: [ProblemKind; 3] = [ProblemKind::Block, ProblemKind::RolledBack, ProblemKind::Haproxy];

/// What is only shown, not counted.
#[derive(Default)]
struct Known {
    services: Arc<Vec<ServiceFigures>>,
    /// When the figures of the services were taken in.
    services_at: Option<Instant>,
    /// Requests, and those that went wrong, of all services.
    last_hour: [LastHour; 2],
    haproxy: HaproxyStanding,
    last_round: Option<(Instant, RoundKind, Duration)>,
    /// HAProxy was brought to what is desired once.
    brought: bool,
    /// Whether it is ours to know if HAProxy is up.
    watched: bool,
    counts: Counts,
    /// Problems of which the reconciler tells.
    of_reconciler: BTreeMap<ProblemKind, usize>,
}

impl Known {
    fn problems(&self) -> usize {
        self.counts.problems.values().chain(self.of_reconciler.values()).sum()
    }
}

impl Default for Metrics {
    /// Counts, and sends nothing.
    fn default() -> Self {
        Self::new(&StatsdConfig::default())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Begins to count. Needs no network: whether StatsD's host exists shows later, and harms nothing.
    #[must_use]
    pub fn new(statsd: &StatsdConfig) -> Self {
        let sources = Arc::new(Sources::new());
        let (families, registry) = Families::new(&sources);
        let statsd = Statsd::new(statsd, families.statsd_dropped.clone());
        let backends = Backends::default();
        Self(Arc::new(Inner { families, registry, statsd, sources, backends, known: Mutex::default() }))
    }

    /// Causeway has started.
    pub fn started(&self) {
        self.count("restart", 1);
    }

    /// Which backend serves which service: kept by whoever changes HAProxy, read for the figures of each service.
    #[must_use]
    pub fn backends(&self) -> &Backends {
        &self.0.backends
    }

    /// A plan was made, and what runs is what is desired.
    pub fn plan_noop(&self) {
        self.plan("noop");
        self.count("haproxy.reload.skipped", 1);
        self.round(RoundKind::Noop, Duration::ZERO);
    }

    /// A plan was carried out on the running worker: how many steps it had, and how long it took with its proof.
    pub fn plan_runtime(&self, steps: usize, took: Duration) {
        self.plan("runtime");
        let steps = count_of(steps);
        self.0.families.runtime_steps.inc_by(steps);
        self.0.families.runtime_seconds.observe(took.as_secs_f64());
        self.count("haproxy.runtime.applied", 1);
        self.count("haproxy.runtime.steps", steps);
        self.time("haproxy.runtime.duration", took);
        self.round(RoundKind::Runtime, took);
    }

    /// A new generation runs, for these reasons; `took` from the plan to the proof.
    pub fn reload_done<'a>(
        &self,
        reasons: impl IntoIterator<Item = &'a Reason>,
        applied: Applied,
        took: Duration,
    ) {
        self.plan("reload");
        let families = &self.0.families;
        let (how, _) = applied.how();
        families.reloads.get_or_create(&[("how", how)]).inc();
        for reason in reasons {
            families.reload_reasons.get_or_create(&[("reason", reason.kind())]).inc();
        }
        families.reload_seconds.observe(took.as_secs_f64());
        self.count("haproxy.reload.marathon.reloaded", 1);
        self.time("haproxy.reload.marathon.duration", took);
        self.round(RoundKind::Reload, took);
    }

    /// How often HAProxy was reloaded or started for each kind of reason, since Causeway started.
    #[must_use]
    pub fn reload_reasons(&self) -> BTreeMap<&'static str, u64> {
        let counted = &self.0.families.reload_reasons;
        let count = |kind| Some((kind, counted.get(&[("reason", kind)])?.get()));
        Reason::KINDS.into_iter().filter_map(count).collect()
    }

    /// A reload, or what has to come before it, failed.
    pub fn reload_failed(&self, failure: Failure) {
        self.0.families.reload_failures.get_or_create(&[("step", failure.name())]).inc();
        self.count("haproxy.reload.error", 1);
        self.round(RoundKind::Failed, Duration::ZERO);
    }

    /// HAProxy was proven to have what an event told that came in at `since`, the oldest of its round.
    pub fn applied(&self, since: Instant) {
        let age = since.elapsed();
        self.0.families.event_to_applied.observe(age.as_secs_f64());
        self.time("event.applied", age);
    }

    /// HAProxy is what is desired, and nothing waits: from the first time on, Causeway is ready, as long as HAProxy
    /// answers where it is ours to watch.
    pub fn brought(&self, watched: bool) {
        let mut known = self.known();
        known.brought = true;
        known.watched = watched;
        known.haproxy.up = true;
    }

    /// HAProxy differs in so many ways from what it was brought to.
    pub fn drift(&self, differences: usize) {
        self.0.families.drift_differences.inc_by(count_of(differences));
        self.count("haproxy.drift", count_of(differences));
    }

    /// HAProxy is again what it was brought to.
    pub fn drift_repaired(&self) {
        self.0.families.drift_repaired.inc();
        self.count("haproxy.drift.repaired", 1);
    }

    /// So many states of servers that somebody set by hand are kept now.
    pub fn hand_set(&self, servers: usize) {
        self.0.families.hand_set.set(count_of(servers));
    }

    /// So many spare backends of a profile are free, and lent to apps.
    pub fn spares(&self, profile: &str, free: usize, used: usize) {
        for (state, count) in [("free", free), ("used", used)] {
            let labels = [("profile", profile.to_owned()), ("state", state.to_owned())];
            self.0.families.spares.get_or_create(&labels).set(count_of(count));
        }
    }

    /// So many places for servers are free, and used, in all backends.
    pub fn slots(&self, free: usize, used: usize) {
        for (state, count) in [("free", free), ("used", used)] {
            self.0.families.slots.get_or_create(&[("state", state)]).set(count_of(count));
        }
    }

    /// What the state holds now.
    pub fn state(&self, counts: &Counts) {
        let families = &self.0.families;
        families.apps.set(count_of(counts.apps));
        families.services.set(count_of(counts.services));
        families.servers.set(count_of(counts.servers));
        for (kind, count) in counts.problems.iter().filter(|(kind, _)| !OF_RECONCILER.contains(kind)) {
            families.problems.get_or_create(&[("kind", kind.name())]).set(count_of(*count));
        }
        self.gauge("apps", counts.apps);
        self.gauge("services", counts.services);
        self.gauge("servers", counts.servers);
        let problems = {
            let mut known = self.known();
            known.counts = counts.clone();
            known.problems()
        };
        self.gauge("problems", problems);
    }

    /// So many problems of a kind of which the reconciler tells: services on an older block, or left out, because HAProxy or a
    /// template does not take theirs; that somebody went back to an earlier generation; that HAProxy was not brought to what
    /// is desired.
    pub fn of_reconciler(&self, kind: ProblemKind, count: usize) {
        self.0.families.problems.get_or_create(&[("kind", kind.name())]).set(count_of(count));
        self.known().of_reconciler.insert(kind, count);
    }

    /// A certificate, or authorities, were replaced in the running worker.
    pub fn certificate_replaced(&self) {
        self.0.families.certificates_replaced.inc();
        self.count("haproxy.certificate.replaced", 1);
    }

    /// So many changed certificates are not taken by HAProxy.
    pub fn certificates_refused(&self, count: usize) {
        self.0.families.certificates_refused.set(count_of(count));
    }

    /// A source told something, or was read.
    pub fn heard(&self, source: Source) {
        self.0.sources.heard(source);
    }

    /// A source is connected now, or is not.
    pub fn connected(&self, source: Source, connected: bool) {
        self.0.sources.connected(source, connected);
    }

    /// A source has told all it knows once.
    pub fn source_ready(&self, source: Source) {
        self.0.sources.ready(source);
    }

    /// The rules were read and may differ from those of before.
    pub fn rules_changed(&self) {
        self.0.families.rules_changes.inc();
        self.count("reload.domain", 1);
    }

    /// Marathon sent an event; `kind` is one of the types that are known here.
    pub fn marathon_event(&self, kind: &'static str) {
        self.0.families.marathon_events.get_or_create(&[("type", kind)]).inc();
        self.count("callback.marathon", 1);
    }

    /// Bytes came from Marathon.
    pub fn marathon_bytes(&self, read: Read, bytes: usize) {
        self.0.families.marathon_bytes.get_or_create(&[("read", read.name())]).inc_by(count_of(bytes));
    }

    /// Marathon is read.
    pub fn marathon_read(&self, read: Read) {
        self.0.families.marathon_reads.get_or_create(&[("read", read.name())]).inc();
        self.count(&format!("marathon.reads.{}", read.name()), 1);
    }

    /// A read of Marathon failed.
    pub fn marathon_error(&self, read: Read) {
        self.0.families.marathon_errors.get_or_create(&[("read", read.name())]).inc();
        self.count("marathon.errors", 1);
    }

    /// The event stream is attached again, or it is tried.
    pub fn marathon_reconnect(&self) {
        self.0.families.marathon_reconnects.inc();
        self.count("marathon.reconnects", 1);
    }

    /// What HAProxy's sockets say of its processes; `None` where they do not answer.
    pub fn haproxy_seen(&self, info: Option<&Info>, processes: Option<&Processes>) {
        let families = &self.0.families;
        let old = processes.map_or(0, |processes| processes.old_workers.len());
        let current = processes.map_or(usize::from(info.is_some()), |processes| processes.workers.len());
        families.haproxy_up.set(u64::from(info.is_some()));
        families.haproxy_workers.get_or_create(&[("state", "current")]).set(count_of(current));
        families.haproxy_workers.get_or_create(&[("state", "old")]).set(count_of(old));
        if let Some(generation) = info.and_then(|info| info.generation) {
            families.haproxy_generation.set(generation);
        }
        self.gauge("haproxy.up", usize::from(info.is_some()));
        self.gauge("haproxy.workers.old", old);
        self.known().haproxy = HaproxyStanding {
            up: info.is_some(),
            version: info.map(|info| info.version.clone()),
            generation: info.and_then(|info| info.generation),
            workers: current,
            old_workers: old,
        };
    }

    /// The figures of each service, as HAProxy told them last.
    pub fn service_figures(&self, mut figures: Vec<ServiceFigures>) {
        let (before, at) = {
            let known = self.known();
            (Arc::clone(&known.services), known.services_at)
        };
        let now = Instant::now();
        let seconds = at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        stats::rate(&mut figures, &before, seconds);
        let mut known = self.known();
        known.services_at = Some(now);
        let rates = figures.iter().filter_map(|each| each.rates);
        let (requests, errors) =
            rates.fold((0.0, 0.0), |(all, failed), rates| (all + rates.requests, failed + rates.errors));
        for (hour, a_second) in known.last_hour.iter_mut().zip([requests, errors]) {
            hour.add(a_second * seconds, now);
        }
        known.services = Arc::new(figures);
    }

    /// Requests, and those that went wrong, of all services in each minute of the last hour, the oldest first.
    #[must_use]
    pub fn last_hour(&self) -> [Vec<f64>; 2] {
        let (now, known) = (Instant::now(), self.known());
        known.last_hour.each_ref().map(|hour| hour.minutes(now))
    }

    /// The figures of each service, as HAProxy told them last, ordered by service.
    #[must_use]
    pub fn figures(&self) -> Arc<Vec<ServiceFigures>> {
        Arc::clone(&self.known().services)
    }

    /// All of it as Prometheus reads it (OpenMetrics 1.0), piece by piece: those of many services are never in memory at
    /// once, and nobody who counts waits for a reader that is slow.
    pub fn texts(&self) -> impl Iterator<Item = String> + Send + use<> {
        let mut own = String::with_capacity(16 * 1024);
        // Writing to a text cannot fail.
        let _infallible = text::encode_registry(&mut own, &self.0.registry);
        let services = Arc::clone(&self.known().services);
        let end = std::iter::once_with(|| {
            let mut end = String::new();
            let _infallible = text::encode_eof(&mut end);
            end
        });
        std::iter::once(own).chain(services::texts(services)).chain(end)
    }

    fn plan(&self, kind: &'static str) {
        self.0.families.plans.get_or_create(&[("kind", kind)]).inc();
    }

    fn round(&self, kind: RoundKind, took: Duration) {
        self.known().last_round = Some((Instant::now(), kind, took));
    }

    fn count(&self, name: &str, count: u64) {
        if let Some(statsd) = &self.0.statsd {
            statsd.count(name, count);
        }
    }

    fn time(&self, name: &str, took: Duration) {
        if let Some(statsd) = &self.0.statsd {
            statsd.time(name, took);
        }
    }

    fn gauge(&self, name: &str, value: usize) {
        if let Some(statsd) = &self.0.statsd {
            statsd.gauge(name, count_of(value));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
