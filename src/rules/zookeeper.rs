//! Rules in ZooKeeper, in Bamboo's layout: children of one node, beside Bamboos and other Causeways.
//!
//! One task follows the rules (`follow`); what it read last is on disk too, and is what there is while the ensemble is away.
//! Every write of ours is one transaction that also touches the base node, at the version that was read: so writers that
//! know each other exclude each other, Bamboos are woken, and a touch fences off whatever is still on its way (`write`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use zookeeper_client::{Client, SessionState};

use super::{RuleStore, RuleVersion, Rules, StoreError, Versioned, refuse_mistakes};
use crate::config::Config;
use crate::model::{AppId, Rule};

mod connect;
pub mod fleet;
mod follow;
mod known;
mod names;
pub(crate) mod payload;
mod reading;
mod write;

use connect::Settings;
use fleet::Fleet;

/// How long a session that was lost may take to come back before a write is refused: an election takes about as long.
const RECONNECT: Duration = Duration::from_secs(3);
/// How long a reader waits for the first word of the ensemble, or of what is kept on disk.
const FIRST_READ: Duration = Duration::from_secs(5);
/// How long a write waits to be seen by our own readers; what it came to is known before.
const SEEN: Duration = Duration::from_secs(2);

/// Rules in ZooKeeper.
#[derive(Debug)]
pub struct ZookeeperStore {
    shared: Arc<Shared>,
    following: Mutex<Option<Following>>,
    snapshot: PathBuf,
    looks_only: bool,
}

#[derive(Debug)]
struct Following {
    rules: watch::Receiver<Option<Arc<Rules>>>,
    _task: AbortOnDropHandle<()>,
}

/// What the follower and the writers share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// The session, while the rules that it read are those of the ensemble.
    client: watch::Sender<Option<Client>>,
    /// Why there is none.
    trouble: Mutex<String>,
    fleet: Fleet,
}

impl ZookeeperStore {
    /// The store of a configuration; nothing is connected before the first use, which has to be inside a runtime.
    ///
    /// # Errors
    /// A file of the configuration cannot be used.
    pub fn new(config: &Config) -> Result<Self, StoreError> {
        let settings =
            Settings::of(&config.rules.zookeeper).map_err(|message| StoreError::Unavailable { message })?;
        let shared = Shared {
            settings,
            client: watch::Sender::new(None),
            trouble: Mutex::new("it has not answered yet".to_owned()),
            fleet: Fleet::default(),
        };
        let snapshot = config.haproxy.state_dir.join("rules-zookeeper.json");
        Ok(Self { shared: Arc::new(shared), following: Mutex::default(), snapshot, looks_only: false })
    }

    /// The same store for somebody who only looks: nothing is made where the rules are missing, nothing is kept on disk.
    #[must_use]
    pub fn looking_only(self) -> Self {
        Self { looks_only: true, ..self }
    }

    /// What Causeways alone share in the same ensemble: never where Bamboo looks.
    #[must_use]
    pub fn fleet(&self) -> fleet::FleetHandle {
        let _following = self.rules();
        fleet::FleetHandle::new(Arc::clone(&self.shared))
    }

    /// The rules as the ensemble has them now, never those that are kept on disk.
    ///
    /// # Errors
    /// Why it does not answer.
    pub async fn ask(&self) -> Result<Arc<Rules>, StoreError> {
        let rules = self.rules();
        drop(self.shared.session(Instant::now() + FIRST_READ).await?);
        let read = rules.borrow().clone();
        Ok(read.unwrap_or_default())
    }

    fn rules(&self) -> watch::Receiver<Option<Arc<Rules>>> {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let following = following.get_or_insert_with(|| {
            let (told, rules) = watch::channel(None);
            let follower =
                follow::Follower::new(Arc::clone(&self.shared), told, &self.snapshot, self.looks_only);
            Following { rules, _task: AbortOnDropHandle::new(tokio::spawn(follower.run())) }
        });
        following.rules.clone()
    }

    async fn first(&self) -> Result<Arc<Rules>, StoreError> {
        let mut rules = self.rules();
        let first = tokio::time::timeout(FIRST_READ, rules.wait_for(Option::is_some)).await;
        match first {
            Ok(Ok(rules)) => Ok(rules.clone().unwrap_or_default()),
            _ => Err(self.shared.unavailable("nothing was ever read from it")),
        }
    }

    /// Whoever wrote reads what he wrote.
    async fn seen(&self, app: &AppId, version: Option<&RuleVersion>) {
        let wanted = version.and_then(zxid);
        let mut rules = self.rules();
        let seen = rules.wait_for(|rules| {
            let there = rules.as_ref().and_then(|rules| rules.get(app)).and_then(|each| zxid(&each.version));
            match wanted {
                Some(_) => there >= wanted,
                None => there.is_none(),
            }
        });
        let _in_time = tokio::time::timeout(SEEN, seen).await;
    }
}

fn zxid(version: &RuleVersion) -> Option<i64> {
    version.as_str().parse().ok()
}

fn version(mzxid: i64) -> RuleVersion {
    RuleVersion::new(&mzxid.to_string())
}

impl Shared {
    /// The session, once it is connected; nothing was written when there is none in time.
    async fn session(&self, until: Instant) -> Result<Client, StoreError> {
        let refused = || self.unavailable("nothing was written");
        let mut clients = self.client.subscribe();
        loop {
            let client = match timeout_at(until, clients.wait_for(Option::is_some)).await {
                Ok(Ok(client)) => Option::clone(&client),
                _ => return Err(refused()),
            };
            let Some(client) = client else { continue };
            let mut states = client.state_watcher();
            let mut state = states.state();
            while state == SessionState::Disconnected {
                state = timeout_at(until, states.changed()).await.map_err(|_| refused())?;
            }
            if state == SessionState::SyncConnected {
                return Ok(client);
            }
            // This session is over; the follower opens another.
            drop(client);
            timeout_at(until, clients.changed()).await.map_err(|_| refused())?.map_err(|_| refused())?;
        }
    }

    fn unavailable(&self, so: &str) -> StoreError {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        StoreError::Unavailable {
            message: format!(
                "ZooKeeper ({}) cannot be used: {trouble}; {so}, try again when it is back",
                self.settings.hosts()
            ),
        }
    }

    fn set_trouble(&self, trouble: &str) {
        trouble.clone_into(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl RuleStore for ZookeeperStore {
    fn list(&self) -> BoxFuture<'_, Result<Arc<Rules>, StoreError>> {
        Box::pin(self.first())
    }

    fn get<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        Box::pin(async { Ok(self.first().await?.get(app).cloned()) })
    }

    fn put<'a>(
        &'a self,
        rule: &'a Rule,
        expected: Option<&'a RuleVersion>,
    ) -> BoxFuture<'a, Result<RuleVersion, StoreError>> {
        Box::pin(async move {
            // What is connected has been read.
            let following = self.rules();
            drop(self.shared.session(Instant::now() + RECONNECT).await?);
            let known = following.borrow().clone();
            let mut checked = rule.clone();
            // Keys that somebody else gave it stay, also where we would not have taken them.
            if let Some(current) = known.as_ref().and_then(|rules| rules.get(&rule.app)) {
                checked.config.retain(|key, value| current.rule.config.get(key) != Some(value));
            }
            refuse_mistakes(&checked)?;
            let change = write::Change { app: &rule.app, expected, payload: Some(payload::encode(rule)) };
            let version = self.shared.write(change).await?;
            self.seen(&rule.app, Some(&version)).await;
            Ok(version)
        })
    }

    fn delete<'a>(
        &'a self,
        app: &'a AppId,
        expected: &'a RuleVersion,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let _following = self.rules();
            self.shared.write(write::Change { app, expected: Some(expected), payload: None }).await?;
            self.seen(app, None).await;
            Ok(())
        })
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<Rules>>> {
        self.rules()
    }
}
