//! A folder of small nodes that every Causeway follows, and any of them writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep, timeout};
use zookeeper_client::{Client, CreateMode, Error, SessionState};

use super::FleetHandle;
use crate::rules::StoreError;
use crate::rules::zookeeper::names;
use crate::rules::zookeeper::reading::{BACKOFF_MAX, Dirty, RESYNC, TOGETHER, Watches};

/// A node of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The transaction that wrote it: no other has its number.
    pub zxid: i64,
    /// The version, for compare-and-set.
    version: i32,
    /// What it says.
    pub data: Arc<[u8]>,
}

/// The nodes of a folder, by name; `None` before they were read.
pub type Nodes = Option<BTreeMap<String, Node>>;

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder {
    fleet: FleetHandle,
    path: String,
}

impl FleetHandle {
    /// A folder of this name; it is made where it is missing.
    #[must_use]
    pub fn folder(&self, name: &str) -> Folder {
        Folder { path: self.node(name), fleet: self.clone() }
    }
}

impl Folder {
    /// The name of the node for whatever is called so.
    #[must_use]
    pub fn name_of(what: &str) -> String {
        names::escaped(what)
    }

    /// Writes what `make` makes of what is there, unless somebody else was faster: then of what he wrote. The transaction.
    ///
    /// # Errors
    /// The ensemble does not answer, or does not let us.
    pub async fn change(
        &self,
        name: &str,
        make: impl Fn(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<i64, StoreError> {
        let client = self.fleet.client().await?;
        let settings = &self.fleet.shared.settings;
        let options = settings.create(CreateMode::Persistent);
        let path = format!("{}/{name}", self.path);
        let change = async {
            loop {
                let written = match client.get_data(&path).await {
                    Ok((there, stat)) => {
                        let data = make(Some(&there));
                        client.set_data(&path, &data, Some(stat.version)).await.map(|stat| stat.mzxid)
                    }
                    Err(Error::NoNode) => {
                        client.mkdir(&self.path, &options).await?;
                        client.create(&path, &make(None), &options).await.map(|(stat, _)| stat.mzxid)
                    }
                    Err(error) => Err(error),
                };
                match written {
                    Err(Error::BadVersion | Error::NodeExists | Error::NoNode) => {}
                    written => return written,
                }
            }
        };
        let changed = timeout(settings.request_timeout(), change).await.unwrap_or(Err(Error::Timeout));
        changed.map_err(|error| match error {
            Error::NoAuth => StoreError::Unavailable {
                message: format!(
                    "ZooKeeper does not let us write {path}; nothing was written: check rules.zookeeper.user and the ACLs there"
                ),
            },
            error => StoreError::Unconfirmed {
                message: format!(
                    "ZooKeeper: {path}: {error}; it may be written or not: order it again when ZooKeeper answers"
                ),
            },
        })
    }

    /// Takes a node away, if it is the one that was read.
    ///
    /// # Errors
    /// The ensemble does not answer, or does not let us.
    pub async fn remove(&self, name: &str, node: &Node) -> Result<(), StoreError> {
        let client = self.fleet.client().await?;
        match client.delete(&format!("{}/{name}", self.path), Some(node.version)).await {
            Ok(()) | Err(Error::NoNode | Error::BadVersion) => Ok(()),
            Err(error) => Err(self.fleet.failed(&error)),
        }
    }

    /// Follows the folder for ever, in one session after the other. While the ensemble is away what was read last stays.
    pub async fn follow(&self, told: watch::Sender<Nodes>) {
        let mut clients = self.fleet.shared.client.subscribe();
        loop {
            let client = match clients.wait_for(Option::is_some).await {
                Ok(client) => Option::clone(&client),
                Err(_) => return,
            };
            let Some(client) = client else { continue };
            self.serve(&client, &told).await;
            // This session is over; the follower of the rules opens another.
            let over =
                |now: &Option<Client>| now.as_ref().is_none_or(|now| now.session_id() != client.session_id());
            if clients.wait_for(over).await.is_err() {
                return;
            }
        }
    }

    /// Follows the folder until the session is over.
    async fn serve(&self, client: &Client, told: &watch::Sender<Nodes>) {
        let mut states = client.state_watcher();
        states.state();
        let mut watches = Watches::new();
        let mut dirty = Dirty::everything();
        let mut again = Duration::ZERO;
        let mut resync = interval_at(Instant::now() + RESYNC, RESYNC);
        let mut trouble = String::new();
        loop {
            tokio::select! {
                biased;
                state = states.changed() => match state {
                    SessionState::SyncConnected => (dirty.all, again) = (true, Duration::ZERO),
                    SessionState::Disconnected => {}
                    _over => return,
                },
                Some((name, event)) = watches.next() => {
                    if dirty.note(name, event) {
                        again = again.max(TOGETHER);
                    }
                }
                _ = resync.tick() => dirty.all = true,
                () = sleep(again), if dirty.any() && states.peek_state() == SessionState::SyncConnected => {
                    let read = self.read(client, &mut dirty, &mut watches, told);
                    let patience = self.fleet.shared.settings.request_timeout();
                    again = match timeout(patience, read).await.unwrap_or(Err(Error::Timeout)) {
                        Ok(()) => {
                            trouble.clear();
                            Duration::ZERO
                        }
                        Err(error) => {
                            dirty.all = true;
                            let words = error.to_string();
                            if trouble != words {
                                tracing::warn!("ZooKeeper: {} cannot be followed: {words}; it is tried again", self.path);
                                trouble = words;
                            }
                            (again * 2).clamp(Duration::from_millis(100), BACKOFF_MAX)
                        }
                    };
                }
            }
        }
    }

    async fn read(
        &self,
        client: &Client,
        dirty: &mut Dirty,
        watches: &mut Watches,
        told: &watch::Sender<Nodes>,
    ) -> Result<(), Error> {
        let mut known = told.borrow().clone().unwrap_or_default();
        let mut reading = match dirty.read(client, &self.path, |name| known.contains_key(name)).await {
            Err(Error::NoNode) => {
                let options = self.fleet.shared.settings.create(CreateMode::Persistent);
                client.mkdir(&self.path, &options).await?;
                dirty.read(client, &self.path, |name| known.contains_key(name)).await?
            }
            read => read?,
        };
        dirty.taken(reading.watches(), watches);
        if let Some((children, _)) = &reading.children {
            known.retain(|name, _| children.contains(name));
        }
        for (name, node) in reading.nodes {
            match node {
                Some((data, stat)) => {
                    let node = Node { zxid: stat.mzxid, version: stat.version, data: data.into() };
                    known.insert(name, node);
                }
                None => _ = known.remove(&name),
            }
        }
        let known = Some(known);
        told.send_if_modified(|last| {
            let differs = *last != known;
            *last = known;
            differs
        });
        Ok(())
    }
}
