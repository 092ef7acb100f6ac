//! Following the rules: one session after the other, one-shot watches, a whole reading on every session event.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client::{Client, CreateMode, Error, SessionState, Stat};

use super::Shared;
use super::known::Known;
use super::reading::{BACKOFF_MAX, Dirty, RESYNC, TOGETHER, Watches};
use crate::rules::Rules;

/// How long the first answer of an ensemble may take before what is kept on disk is used.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a reading older than what is known has to hold up: a server that lags catches up, a restored tree does not.
const OLDER: Duration = Duration::from_secs(30);

pub(super) struct Follower {
    shared: Arc<Shared>,
    told: watch::Sender<Option<Arc<Rules>>>,
    snapshot: PathBuf,
    /// Nothing is made, in ZooKeeper or on disk.
    looks_only: bool,
    known: Known,
    /// Why the ensemble cannot be read, once it was said.
    trouble: Option<String>,
    older_since: Option<Instant>,
}

/// Why a reading came to nothing.
#[derive(Debug)]
enum ReadError {
    /// The client's word; the session goes on or is over.
    Client(Error),
    /// What was read is not what goes on from what is known.
    Doubt(String),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => write!(f, "{error}"),
            Self::Doubt(doubt) => f.write_str(doubt),
        }
    }
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        told: watch::Sender<Option<Arc<Rules>>>,
        snapshot: &Path,
        looks_only: bool,
    ) -> Self {
        let known = Known::load(snapshot, &shared.settings.base);
        Self {
            shared,
            told,
            snapshot: snapshot.to_owned(),
            looks_only,
            known,
            trouble: None,
            older_since: None,
        }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Duration::from_millis(100);
        loop {
            match self.connect().await {
                Ok(client) => {
                    backoff = Duration::from_millis(100);
                    let over = self.serve(&client).await;
                    self.shared.client.send_replace(None);
                    tracing::debug!("the session with ZooKeeper is over: {over}");
                }
                Err(error) => self.lost(&error),
            }
            sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn connect(&mut self) -> Result<Client, String> {
        let shared = Arc::clone(&self.shared);
        let mut connecting = std::pin::pin!(shared.settings.connect());
        match timeout(PATIENCE, &mut connecting).await {
            Ok(connected) => connected,
            Err(_) => {
                self.lost("no server of it answers");
                connecting.await
            }
        }
    }

    /// Serves one session until it is over, and says why.
    async fn serve(&mut self, client: &Client) -> SessionState {
        let mut states = client.state_watcher();
        states.state();
        let mut watches = Watches::new();
        let mut dirty = Dirty::everything();
        let mut again = Duration::ZERO;
        let mut resync = tokio::time::interval_at(Instant::now() + RESYNC, RESYNC);
        let mut silent_since: Option<Instant> = None;
        loop {
            let lost_at = silent_since.map(|since| since + PATIENCE);
            tokio::select! {
                biased;
                state = states.changed() => match state {
                    SessionState::SyncConnected => {
                        silent_since = None;
                        dirty.all = true;
                        again = Duration::ZERO;
                    }
                    SessionState::Disconnected => silent_since = Some(Instant::now()),
                    over => {
                        self.lost("the session is lost");
                        return over;
                    }
                },
                () = until(lost_at) => {
                    self.lost("the connection is lost");
                    silent_since = None;
                }
                Some((name, event)) = watches.next() => {
                    if dirty.note(name, event) {
                        again = again.max(TOGETHER);
                    }
                }
                _ = resync.tick() => dirty.all = true,
                () = sleep(again), if dirty.any() && states.peek_state() == SessionState::SyncConnected => {
                    again = match self.read(client, &mut dirty, &mut watches).await {
                        Ok(()) => {
                            self.found(client);
                            Duration::ZERO
                        }
                        Err(error) => {
                            dirty.all = true;
                            if matches!(error, ReadError::Doubt(_)) {
                                // Who writes there would not write where we read.
                                self.shared.client.send_replace(None);
                            }
                            if !matches!(error, ReadError::Client(Error::ConnectionLoss | Error::SessionExpired)) {
                                self.lost(&error.to_string());
                            }
                            (again * 2).clamp(Duration::from_millis(100), BACKOFF_MAX)
                        }
                    };
                }
            }
        }
    }

    /// Reads what is dirty; everything is read whole, and taken only when all of it is there.
    async fn read(
        &mut self,
        client: &Client,
        dirty: &mut Dirty,
        watches: &mut Watches,
    ) -> Result<(), ReadError> {
        let patience = self.shared.settings.request_timeout();
        let reading = self.read_now(client, dirty, watches);
        match timeout(patience, reading).await {
            Ok(read) => read,
            Err(_) => Err(ReadError::Client(Error::Timeout)),
        }
    }

    async fn read_now(
        &mut self,
        client: &Client,
        dirty: &mut Dirty,
        watches: &mut Watches,
    ) -> Result<(), ReadError> {
        let base = self.shared.settings.base.clone();
        let mut known = self.known.clone();
        let knows = |name: &str| self.known.nodes.contains_key(name);
        let mut reading = match dirty.read(client, &base, knows).await {
            Err(Error::NoNode) if self.looks_only && self.known.nodes.is_empty() => {
                *dirty = Dirty::default();
                return Ok(());
            }
            Err(Error::NoNode) => {
                self.make_base(client).await?;
                dirty.read(client, &base, knows).await?
            }
            read => read?,
        };
        if let Some((children, stat)) = &reading.children {
            self.believe(stat, &mut known)?;
            known.nodes.retain(|name, _| children.contains(name));
        }
        dirty.taken(reading.watches(), watches);
        for (name, node) in reading.nodes {
            match node {
                Some((data, stat)) => known.take(&name, stat.mzxid, &data),
                None => _ = known.nodes.remove(&name),
            }
        }
        if known != self.known {
            self.known = known;
            if !self.looks_only {
                self.known.save(&self.snapshot);
            }
        }
        Ok(())
    }

    /// Bamboo makes the base node at its start, and so do we; but not where there was one with rules in it.
    async fn make_base(&self, client: &Client) -> Result<(), ReadError> {
        let base = &self.shared.settings.base;
        if !self.known.nodes.is_empty() {
            return Err(self.another_tree("is gone"));
        }
        Ok(client.mkdir(base, &self.shared.settings.create(CreateMode::Persistent)).await?)
    }

    fn another_tree(&self, what: &str) -> ReadError {
        ReadError::Doubt(format!(
            "{} {what}, and the {} rules that were in it with it; if that was meant, delete {} and start Causeway again",
            self.shared.settings.base,
            self.known.nodes.len(),
            self.snapshot.display()
        ))
    }

    /// Holds a reading against what is known: rules never flip back, and another tree is not taken for ours.
    fn believe(&mut self, stat: &Stat, known: &mut Known) -> Result<(), ReadError> {
        if known.czxid != stat.czxid && !known.nodes.is_empty() && known.czxid != 0 {
            return Err(self.another_tree("was made anew"));
        }
        known.czxid = stat.czxid;
        let latest = stat.mzxid.max(stat.pzxid);
        if latest < known.zxid {
            let since = *self.older_since.get_or_insert_with(Instant::now);
            if since.elapsed() < OLDER {
                return Err(ReadError::Doubt("the server lags behind what was read before".to_owned()));
            }
            tracing::warn!(
                "ZooKeeper has an older state than the one read before, and keeps it: it was restored; it is taken"
            );
            known.nodes.clear();
            known.zxid = 0;
        }
        self.older_since = None;
        known.zxid = known.zxid.max(latest);
        Ok(())
    }

    /// The ensemble answers, and what it says is taken.
    fn found(&mut self, client: &Client) {
        if self.trouble.take().is_some() {
            tracing::info!(rules.count = self.known.nodes.len(), "ZooKeeper is back; the rules are read");
        }
        self.tell();
        let new = self.shared.client.send_if_modified(|shared| {
            let new = shared.as_ref().is_none_or(|old| old.session_id() != client.session_id());
            if new {
                *shared = Some(client.clone());
            }
            new
        });
        if new {
            self.shared.fleet.settle(client, &self.shared);
        }
    }

    /// The ensemble cannot be read: what was read last is used, and that is told as a problem.
    fn lost(&mut self, why: &str) {
        self.shared.set_trouble(why);
        if self.trouble.as_deref() == Some(why) {
            return;
        }
        self.trouble = Some(why.to_owned());
        if self.known.czxid == 0 {
            tracing::error!(
                "ZooKeeper ({}) cannot be used: {why}; no rule was ever read from it, and nothing is rendered before",
                self.shared.settings.hosts()
            );
            return;
        }
        self.tell();
    }

    fn tell(&self) {
        let trouble = self.trouble.as_ref().map(|why| format!("({}): {why}", self.shared.settings.hosts()));
        let rules = Some(self.known.rules(trouble.as_deref()));
        self.told.send_if_modified(|last| {
            let differs = *last != rules;
            *last = rules;
            differs
        });
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rules::ZookeeperStore;

    fn stat(czxid: i64, mzxid: i64, pzxid: i64) -> Stat {
        Stat {
            czxid,
            mzxid,
            pzxid,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: 0,
            num_children: 0,
        }
    }

    #[test]
    fn a_server_that_lags_and_a_tree_that_was_made_anew_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.haproxy.state_dir = dir.path().to_owned();
        let shared = Arc::clone(&ZookeeperStore::new(&config).unwrap().shared);
        let mut follower = Follower::new(shared, watch::channel(None).0, dir.path(), true);
        let mut known = follower.known.clone();
        follower.believe(&stat(1, 10, 20), &mut known).unwrap();
        known.take("%2Fa", 15, b"path /a");
        assert_eq!((known.czxid, known.zxid), (1, 20));
        // A record that somebody set without touching the base node is newer than the base node, and no sign of a lag.
        known.take("%2Fa", 30, b"path /b");
        follower.believe(&stat(1, 10, 20), &mut known).unwrap();
        follower.believe(&stat(1, 21, 20), &mut known).unwrap();
        for older in [stat(1, 20, 20), stat(1, 10, 20)] {
            let refused = follower.believe(&older, &mut known).unwrap_err().to_string();
            assert!(refused.contains("lags"), "{refused}");
        }
        let refused = follower.believe(&stat(40, 40, 40), &mut known).unwrap_err().to_string();
        assert!(refused.contains("made anew"), "{refused}");
        assert_eq!((known.czxid, known.zxid, known.nodes.len()), (1, 21, 1));
    }
}
