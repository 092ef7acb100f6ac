//! Reading a node whose children are records: the list and each child with a one-shot watch, every request on its way before
//! the first answer is looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use zookeeper_client::{Client, Error, EventType, OneshotWatcher, Stat};

/// The longest wait between two attempts.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Watches come one by one; what comes within this is read together.
pub(super) const TOGETHER: Duration = Duration::from_millis(20);
/// How often everything is read, whatever the watches say.
pub(super) const RESYNC: Duration = Duration::from_secs(300);
/// The name under which the watch of the list itself is kept; no child has it.
const LIST: &str = "";

pub(super) type Watches = FuturesUnordered<BoxFuture<'static, (String, EventType)>>;

/// What is to be read again.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) all: bool,
    list: bool,
    names: BTreeSet<String>,
}

/// What a node says.
pub(super) type Read = (Vec<u8>, Stat);

/// What was read; the watches that were set with it.
#[derive(Debug)]
pub(super) struct Reading {
    /// Every child there is, where the list was read.
    pub(super) children: Option<(BTreeSet<String>, Stat)>,
    /// The children that were read, by name; `None` where one has gone.
    pub(super) nodes: Vec<(String, Option<Read>)>,
    watches: Watches,
}

impl Dirty {
    pub(super) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    pub(super) fn any(&self) -> bool {
        self.all || self.list || !self.names.is_empty()
    }

    /// Notes what a watch has told. False where it was about the session, which tells that itself.
    pub(super) fn note(&mut self, name: String, event: EventType) -> bool {
        match (event, name.as_str()) {
            (EventType::Session, _) => return false,
            (_, LIST) => self.list = true,
            _ => _ = self.names.insert(name),
        }
        true
    }

    /// Reads what is dirty below `base`; of the children that are new, those that nobody `knows`.
    pub(super) async fn read(
        &self,
        client: &Client,
        base: &str,
        knows: impl Fn(&str) -> bool,
    ) -> Result<Reading, Error> {
        let watches = Watches::new();
        let mut names = self.names.clone();
        let mut listed = None;
        if self.all || self.list {
            if self.all {
                // Another server may lag behind the one that we, or somebody who told us, last spoke to.
                client
                    .sync(base)
                    .await
                    .or_else(|error| if error == Error::NoNode { Ok(()) } else { Err(error) })?;
            }
            let (children, stat, watcher) = client.get_and_watch_children(base).await?;
            watch_one(&watches, LIST, watcher);
            let children: BTreeSet<String> = children.into_iter().collect();
            if self.all {
                names.clone_from(&children);
            } else {
                names.extend(children.iter().filter(|name| !knows(name)).cloned());
            }
            listed = Some((children, stat));
        }
        let reads: FuturesUnordered<_> = names
            .into_iter()
            .map(|name| {
                let path = format!("{base}/{name}");
                async move {
                    let read = client.get_and_watch_data(&path).await;
                    (name, read)
                }
            })
            .collect();
        let mut nodes = Vec::new();
        for (name, read) in reads.collect::<Vec<_>>().await {
            let node = match read {
                Ok((data, stat, watcher)) => {
                    watch_one(&watches, &name, watcher);
                    Some((data, stat))
                }
                Err(Error::NoNode) => None,
                Err(error) => return Err(error),
            };
            nodes.push((name, node));
        }
        Ok(Reading { children: listed, nodes, watches })
    }

    /// All of a reading is taken: nothing is dirty any more, and its watches count.
    pub(super) fn taken(&mut self, fresh: Watches, watches: &mut Watches) {
        // A whole reading has set a watch on everything: those before it would only pile up.
        if self.all {
            *watches = fresh;
        } else {
            watches.extend(fresh);
        }
        *self = Self::default();
    }
}

impl Reading {
    /// Takes the watches out, for [`Dirty::taken`].
    pub(super) fn watches(&mut self) -> Watches {
        std::mem::take(&mut self.watches)
    }
}

fn watch_one(watches: &Watches, name: &str, watcher: OneshotWatcher) {
    let name = name.to_owned();
    watches.push(Box::pin(async move { (name, watcher.changed().await.event_type) }));
}
