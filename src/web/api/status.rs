//! How it stands with everything.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::Json;
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::config::ShownRollback;
use crate::config::{Config, RuleStoreKind};
use crate::history::{History, moment};
use crate::reconcile::standing::Running;
use crate::sources::marathon::MarathonStatus;
use crate::telemetry::metrics::{HaproxyStanding, Standing};
use crate::telemetry::{Metrics, process};
use crate::view::View;
use crate::web::{Caller, Seen};

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/status", get(status))
}

/// Where apps and rules come from, for who asks.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// How it stands with Marathon, once it is followed.
    pub marathon: Arc<OnceLock<watch::Receiver<MarathonStatus>>>,
    endpoints: Arc<[String]>,
    store: &'static str,
    store_at: Arc<str>,
    started: Option<SystemTime>,
}

impl From<&Config> for Origins {
    fn from(config: &Config) -> Self {
        let (store, store_at) = match config.rules.store {
            RuleStoreKind::File => ("file", config.rules_file().display().to_string()),
            RuleStoreKind::Zookeeper => {
                let zookeeper = &config.rules.zookeeper;
                ("zookeeper", format!("{}{}", zookeeper.hosts.join(","), zookeeper.path))
            }
        };
        let endpoints = config.marathon.endpoints.iter().map(|endpoint| without_userinfo(endpoint));
        Self {
            marathon: Arc::default(),
            endpoints: endpoints.collect(),
            store,
            store_at: store_at.into(),
            started: Some(SystemTime::now()),
        }
    }
}

impl FromRef<Seen> for Origins {
    fn from_ref(seen: &Seen) -> Self {
        seen.origins.clone()
    }
}

impl Origins {
    /// Where Marathon is looked for.
    pub(in crate::web) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }
}

/// Marathon.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarathonShown {
    /// The endpoints of the configuration.
    pub endpoints: Vec<String>,
    /// The one whose event stream is attached; `null` while there is none.
    pub connected: Option<String>,
    /// The leader, as Marathon names it.
    pub leader: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// When the last event came, heartbeats not counted.
    pub last_event: Option<String>,
    /// When the last full read was complete.
    pub last_full_read: Option<String>,
    /// Seconds since anything was heard of it.
    pub age_seconds: Option<f64>,
    /// What failed last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
}

/// The store of rules.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreShown {
    /// `file` or `zookeeper`.
    pub kind: &'static str,
    /// The file, or the ensemble and the path.
    pub at: String,
    /// Whether it was read, or is connected.
    pub connected: bool,
    /// Seconds since it was read last.
    pub age_seconds: Option<f64>,
    /// Rules that apply to apps.
    pub rules: usize,
}

/// HAProxy.
#[derive(Debug, Serialize, ToSchema)]
pub struct HaproxyShown {
    /// Whether it answers.
    pub up: bool,
    /// Its version.
    pub version: Option<String>,
    /// The generation that it has loaded.
    pub generation: Option<u64>,
    /// Process ids of the workers that take connections; empty where the master does not answer.
    pub workers: Vec<i32>,
    /// Process ids of workers of before, which only finish what they have.
    pub old_workers: Vec<i32>,
    /// Reloads and starts since Causeway started, by kind of reason.
    #[schema(value_type = Object)]
    pub reload_reasons: BTreeMap<&'static str, u64>,
    /// Services that are not on their newest block.
    pub put_aside: usize,
}

/// The last round.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoundShown {
    /// noop, runtime, reload or failed.
    #[schema(value_type = String)]
    pub kind: crate::telemetry::metrics::RoundKind,
    /// Seconds that it took.
    pub took_seconds: f64,
    /// Seconds since it ended.
    pub age_seconds: f64,
}

/// This process.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProcessShown {
    /// Its id.
    pub pid: u32,
    /// When it started.
    pub started: Option<String>,
    /// CPU time so far, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<f64>,
}

/// A full read that is not believed yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldShown {
    /// What it would take away.
    pub message: String,
    /// What happens now, and what to do.
    pub advice: String,
    /// Since when.
    pub since: String,
}

/// What was in each minute of the last hour, the oldest first; the last minute is under way.
#[derive(Debug, Serialize, ToSchema)]
pub struct HourShown {
    /// Changes.
    pub changes: Vec<f64>,
    /// Requests to all services; connections for TCP.
    pub requests: Vec<f64>,
    /// Those that went wrong.
    pub errors: Vec<f64>,
}

/// How it stands with everything.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusShown {
    /// Causeway's version.
    pub version: &'static str,
    /// Whether every source has told all it knows, and HAProxy was brought there.
    pub ready: bool,
    /// What is missing until then.
    pub waits_for: Vec<&'static str>,
    /// Marathon.
    pub marathon: MarathonShown,
    /// The store of rules.
    pub rules: StoreShown,
    /// HAProxy.
    pub haproxy: HaproxyShown,
    /// The last round; `null` before the first.
    pub last_round: Option<RoundShown>,
    /// A full read that is not believed yet.
    pub held: Option<HeldShown>,
    /// What somebody went back to.
    pub rolled_back: Option<ShownRollback>,
    /// Apps that are known.
    pub apps: usize,
    /// Services that are served.
    pub services: usize,
    /// How much is wrong.
    pub problems: usize,
    /// What was in each minute of the last hour.
    pub last_hour: HourShown,
    /// The number of the last change; `null` before the first.
    pub last_change: Option<u64>,
    /// This process.
    pub process: ProcessShown,
}

/// How it stands with the sources, HAProxy and this process.
#[utoipa::path(get, path = "/api/v2/status", tag = "status", responses((status = 200, body = StatusShown)))]
pub(in crate::web) async fn status(
    _caller: Caller,
    State(view): State<View>,
    State(running): State<Running>,
    State(metrics): State<Metrics>,
    State(history): State<History>,
    State(origins): State<Origins>,
) -> Json<StatusShown> {
    let Standing { version, ready, waits_for, sources, haproxy, last_round, apps, services, problems } =
        metrics.standing();
    let HaproxyStanding { up, version: haproxy_version, generation, .. } = haproxy;
    let brought = running.brought();
    let processes = running.processes().await.unwrap_or_default();
    let source = |name: &str| sources.iter().find(|source| source.name == name);
    let marathon = origins.marathon.get().map(|status| status.borrow().clone()).unwrap_or_default();
    let [requests, errors] = metrics.last_hour();
    let (last_error_at, last_error) = marathon.last_error.unzip();
    Json(StatusShown {
        version,
        ready,
        waits_for,
        marathon: MarathonShown {
            endpoints: origins.endpoints.to_vec(),
            connected: marathon.connected.as_deref().map(without_userinfo),
            leader: marathon.leader,
            version: marathon.version,
            last_event: marathon.last_event.map(moment),
            last_full_read: marathon.last_full_read.map(moment),
            age_seconds: source("marathon").and_then(|source| source.age_seconds),
            last_error,
            last_error_at: last_error_at.map(moment),
        },
        rules: StoreShown {
            kind: origins.store,
            at: origins.store_at.to_string(),
            connected: source("rules").is_some_and(|source| source.connected),
            age_seconds: source("rules").and_then(|source| source.age_seconds),
            rules: view.rules.len(),
        },
        haproxy: HaproxyShown {
            up,
            version: haproxy_version,
            generation: brought.epoch.map(|epoch| epoch.generation).or(generation),
            workers: processes.workers,
            old_workers: processes.old_workers,
            reload_reasons: metrics.reload_reasons(),
            put_aside: brought.put_aside.size(),
        },
        last_round: last_round.map(|round| RoundShown {
            kind: round.kind,
            took_seconds: round.took_seconds,
            age_seconds: round.age_seconds,
        }),
        held: view.held.as_ref().map(|held| HeldShown {
            message: held.problem.message.clone(),
            advice: held.problem.advice.clone(),
            since: moment(held.since),
        }),
        rolled_back: brought.rolled_back.as_ref().map(|to| ShownRollback::from(&to.note)),
        apps,
        services,
        problems,
        last_hour: HourShown { changes: history.last_hour(), requests, errors },
        last_change: history.before(None, 1).first().map(|change| change.id),
        process: ProcessShown {
            pid: std::process::id(),
            started: origins.started.map(moment),
            cpu_seconds: process::cpu_time().as_secs_f64(),
            resident_bytes: process::resident_kilobytes().map(|kilobytes| kilobytes * 1024.0),
        },
    })
}

/// A URL without a user and a password.
fn without_userinfo(url: &str) -> String {
    crate::render::without_secrets(url)
}
