//! What Causeways alone share: small nodes (claims, orders) and their presence, beside the rules, never where Bamboo looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::Instant;
use zookeeper_client::{Client, CreateMode, Error};

use super::{RECONNECT, Shared};
use crate::rules::{RuleVersion, StoreError};

mod folder;

pub use folder::{Folder, Node, Nodes};

/// Our own presence, as it is to be.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    announced: Mutex<Option<(String, Value)>>,
    /// One word after the other: the last one stays.
    telling: tokio::sync::Mutex<()>,
}

/// The nodes that Causeways share.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    shared: Arc<Shared>,
}

impl Fleet {
    /// Puts our presence there; a session that ends takes it away, so each new one does.
    pub(super) fn settle(&self, client: &Client, shared: &Arc<Shared>) {
        let (client, shared) = (client.clone(), Arc::clone(shared));
        tokio::spawn(async move {
            if let Err(error) = shared.fleet.tell(&client, &shared).await {
                tracing::debug!("our presence cannot be told to ZooKeeper: {error}");
            }
        });
    }

    async fn tell(&self, client: &Client, shared: &Shared) -> Result<(), Error> {
        let _alone = self.telling.lock().await;
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match announced {
            Some((id, about)) => present(client, shared, &id, &about).await,
            None => Ok(()),
        }
    }
}

impl FleetHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn node(&self, name: &str) -> String {
        format!("{}/{name}", self.shared.settings.fleet_base())
    }

    async fn client(&self) -> Result<Client, StoreError> {
        self.shared.session(Instant::now() + RECONNECT).await
    }

    fn failed(&self, error: &Error) -> StoreError {
        StoreError::Unavailable {
            message: format!("ZooKeeper: {}: {error}; ask again", self.shared.settings.fleet_base()),
        }
    }

    /// Reads a small node (`claims`); `None` where there is none, or none of ours.
    ///
    /// # Errors
    /// The ensemble does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<(Value, RuleVersion)>, StoreError> {
        match self.client().await?.get_data(&self.node(name)).await {
            Ok((data, stat)) => Ok(serde_json::from_slice(&data)
                .ok()
                .map(|value| (value, RuleVersion::new(&stat.version.to_string())))),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Writes a small node, if it has the version that is expected (`None`: if there is none). False: it had not.
    ///
    /// # Errors
    /// The ensemble does not answer; then it may be written or not: read it.
    pub async fn put(
        &self,
        name: &str,
        value: &Value,
        expected: Option<&RuleVersion>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let data = value.to_string().into_bytes();
        let written = match expected.map(|expected| expected.as_str().parse::<i32>()) {
            Some(Ok(expected)) => client.set_data(&self.node(name), &data, Some(expected)).await.map(drop),
            Some(Err(_)) => return Ok(false),
            None => {
                let options = self.shared.settings.create(CreateMode::Persistent);
                match client.create(&self.node(name), &data, &options).await {
                    Err(Error::NoNode) => {
                        let made = client.mkdir(&self.shared.settings.fleet_base(), &options).await;
                        made.map_err(|error| self.failed(&error))?;
                        client.create(&self.node(name), &data, &options).await.map(drop)
                    }
                    created => created.map(drop),
                }
            }
        };
        match written {
            Ok(()) => Ok(true),
            Err(Error::BadVersion | Error::NodeExists | Error::NoNode) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Tells the others that we are here, now and in every session to come: `id` is ours, `about` what they may know.
    ///
    /// # Errors
    /// The ensemble does not answer; it is told with the next session.
    pub async fn announce(&self, id: &str, about: &Value) -> Result<(), StoreError> {
        let presence = (id.to_owned(), about.clone());
        *self.shared.fleet.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(presence);
        let client = self.client().await?;
        self.shared.fleet.tell(&client, &self.shared).await.map_err(|error| self.failed(&error))
    }

    /// Who is here, by id, ourselves included.
    ///
    /// # Errors
    /// The ensemble does not answer, within `patience` where it is connected at all.
    pub async fn present(&self, patience: Duration) -> Result<BTreeMap<String, Value>, StoreError> {
        // Whoever waits for a session to come back does so for a write.
        let session = self.shared.session(Instant::now()).await;
        let client = session.map_err(|_| self.shared.unavailable("who else is here is not known"))?;
        let read = async {
            let ids = match client.list_children(&self.node("presence")).await {
                Err(Error::NoNode) => Vec::new(),
                ids => ids?,
            };
            let read = ids.into_iter().map(async |id| {
                match client.get_data(&self.node(&format!("presence/{id}"))).await {
                    Ok((data, _)) => Ok(Some((id, serde_json::from_slice(&data).unwrap_or_default()))),
                    Err(Error::NoNode) => Ok(None),
                    Err(error) => Err(error),
                }
            });
            try_join_all(read).await
        };
        let read = tokio::time::timeout(patience, read).await.unwrap_or(Err(Error::Timeout));
        Ok(read.map_err(|error| self.failed(&error))?.into_iter().flatten().collect())
    }
}

async fn present(client: &Client, shared: &Shared, id: &str, about: &Value) -> Result<(), Error> {
    let dir = format!("{}/presence", shared.settings.fleet_base());
    client.mkdir(&dir, &shared.settings.create(CreateMode::Persistent)).await?;
    let path = format!("{dir}/{id}");
    let data = about.to_string().into_bytes();
    let options = shared.settings.create(CreateMode::Ephemeral);
    loop {
        match client.create(&path, &data, &options).await {
            Err(Error::NodeExists) => {}
            created => return created.map(drop),
        }
        match client.get_data(&path).await {
            Ok((there, stat)) if stat.ephemeral_owner == client.session_id().0 => {
                return if there == data {
                    Ok(())
                } else {
                    client.set_data(&path, &data, None).await.map(drop)
                };
            }
            // That of our last session, which the ensemble has not given up on yet.
            Ok((_, stat)) => match client.delete(&path, Some(stat.version)).await {
                Ok(()) | Err(Error::NoNode | Error::BadVersion) => {}
                Err(error) => return Err(error),
            },
            Err(Error::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
}
