//! Who else is here: every Causeway on the same ZooKeeper tells the others what it is and what it has applied, and carries
//! out what is ordered for all of them ([`orders`]).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::config::HaproxyConfig;
use crate::rules::{FleetHandle, Rules, StoreError};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::RoundKind;

pub mod orders;

use orders::Board;

/// The least time between two words of ours: each is a write for the whole ensemble.
const TELL: Duration = Duration::from_secs(10);
/// What was carried out is told sooner: somebody waits for it. What else is carried out meanwhile is told with it.
const TELL_CARRIED_OUT: Duration = Duration::from_millis(100);
/// What became of so many orders is told, the newest: a node of ZooKeeper has room for a megabyte.
const TOLD: usize = 2_000;
/// How long it is waited for what the others say.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long whoever orders something waits for every node to say what became of it.
const CARRIED_OUT: Duration = Duration::from_secs(3);
/// The pause between two looks at what they say.
const LOOK: Duration = Duration::from_millis(50);

/// This Causeway among the others.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Where the others are; `None` where rules are in a file: nobody else has it.
    shared: Option<FleetHandle>,
    own: Arc<Own>,
}

#[derive(Debug)]
struct Own {
    id: String,
    host: String,
    since: String,
    metrics: Metrics,
    rules: watch::Receiver<Option<Arc<Rules>>>,
    state_dir: PathBuf,
    /// What is ordered for every node, and what became of it here.
    board: watch::Sender<Board>,
}

/// Why nothing was ordered for the fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Rules are in a file.
    #[error(
        "rules are kept in a file of this node (rules.store), so that no other node can be reached: only this node can be ordered something"
    )]
    Alone,
    /// ZooKeeper does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one Causeway tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The host that it runs on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Since when it runs, as RFC 3339 writes it.
    pub since: String,
    /// Whether every source has told all it knows, and HAProxy was brought there.
    pub ready: bool,
    /// The generation that its HAProxy has loaded.
    pub generation: Option<u64>,
    /// When it last brought HAProxy to what is desired.
    pub applied_at: Option<String>,
    /// How many rules it has read.
    pub rules: usize,
    /// A digest of these rules and their versions: equal where the same are read.
    pub rules_digest: Option<String>,
    /// What is ordered for every node, by the transaction that wrote it: `null` once it is carried out there, or why it is
    /// not yet.
    #[serde(default)]
    pub orders: BTreeMap<i64, Option<String>>,
}

impl Fleet {
    /// This Causeway; `shared` is where the others are.
    #[must_use]
    pub fn new(
        shared: Option<FleetHandle>,
        config: &HaproxyConfig,
        metrics: Metrics,
        rules: watch::Receiver<Option<Arc<Rules>>>,
    ) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().to_owned();
        let known = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
        let name: String = host.chars().map(known).collect();
        // Two on one host have state directories of their own, and keep their names over restarts.
        let mut hasher = DefaultHasher::new();
        config.state_dir.hash(&mut hasher);
        let id = format!("{name}-{:08x}", hasher.finish() >> 32);
        let since = written(SystemTime::now());
        let (state_dir, board) = (config.state_dir.clone(), watch::Sender::default());
        Self { shared, own: Arc::new(Own { id, host, since, metrics, rules, state_dir, board }) }
    }

    /// Tells the others, whenever there is something new; for good.
    pub async fn tell(self) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        let mut told: Option<Node> = None;
        let mut board = self.own.board.subscribe();
        loop {
            board.mark_unchanged();
            let about = self.own.about();
            if told.as_ref() != Some(&about)
                && let Ok(value) = serde_json::to_value(&about)
            {
                told = shared.announce(&self.own.id, &value).await.is_ok().then_some(about);
            }
            tokio::select! {
                () = tokio::time::sleep(TELL) => {}
                _ = board.changed() => tokio::time::sleep(TELL_CARRIED_OUT).await,
            }
        }
    }

    /// Our own id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.own.id
    }

    /// Ourselves, as we are now.
    #[must_use]
    pub fn own(&self) -> Node {
        self.own.about()
    }

    /// Whether others can be here at all.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Waits for a while until everybody who is here has said what became of an order, and says whether that is so.
    pub async fn settled(&self, zxid: i64) -> bool {
        let settled = async {
            let says = |node: &Node| node.orders.contains_key(&zxid);
            // An ensemble that goes away meanwhile may be back in time.
            while !self.nodes().await.is_ok_and(|nodes| nodes.values().all(says)) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(CARRIED_OUT, settled).await.is_ok()
    }

    /// Everybody who is here, by id, ourselves as we are now.
    ///
    /// # Errors
    /// ZooKeeper does not answer.
    pub async fn nodes(&self) -> Result<BTreeMap<String, Node>, StoreError> {
        let present: BTreeMap<String, Value> = match &self.shared {
            Some(shared) => shared.present(PATIENCE).await?,
            None => BTreeMap::new(),
        };
        // One of another version may tell what is not understood here.
        let understood = |(id, about)| Some((id, serde_json::from_value(about).ok()?));
        let mut nodes: BTreeMap<String, Node> = present.into_iter().filter_map(understood).collect();
        nodes.insert(self.own.id.clone(), self.own.about());
        Ok(nodes)
    }
}

impl Own {
    fn about(&self) -> Node {
        let standing = self.metrics.standing();
        let applied = standing.last_round.filter(|round| round.kind != RoundKind::Failed);
        let applied_at = applied.and_then(|round| {
            let age = Duration::try_from_secs_f64(round.age_seconds).ok()?;
            Some(written(SystemTime::now().checked_sub(age)?))
        });
        let rules = self.rules.borrow().clone();
        let digest = rules.as_ref().map(|rules| {
            let mut hasher = DefaultHasher::new();
            for each in &rules.rules {
                (each.rule.app.as_str(), each.version.as_str()).hash(&mut hasher);
            }
            format!("{:016x}", hasher.finish())
        });
        Node {
            host: self.host.clone(),
            version: standing.version.to_owned(),
            since: self.since.clone(),
            ready: standing.ready,
            generation: standing.haproxy.generation,
            applied_at,
            rules: rules.map_or(0, |rules| rules.rules.len()),
            rules_digest: digest,
            orders: self.board.borrow().newest(TOLD),
        }
    }
}

/// A moment to the second.
fn written(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
