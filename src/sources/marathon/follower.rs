//! Follows Marathon: what the stream says decides what is read, and what was read is told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Complaints;
use super::cluster::{Change, Cluster, Moment, Snapshot};
use super::error::{MarathonError, shown};
use super::inbox::{Heard, Inbox};
use super::reader::{Reader, Reading};
use super::schedule::{Next, Schedule};
use super::since::{Answered, Since};
use super::status::Reporter;
use super::stream::Listener;
use crate::config::MarathonConfig;
use crate::model::{AppId, TaskId};
use crate::sources::{Refresh, SourceEvent, SourceMessage};

/// After so many attempts without a stream the apps are read all the same: one attempt fails whenever the leader
/// changes, and a read before the stream is attached has to be done again.
const POLL_AFTER: u32 = 3;

/// With so many reads under way a new stream gives up none of them, so that one that ends again and again does not
/// pile them up.
const MANY_READS: usize = 24;

/// A read that came back.
enum Done {
    All(Moment, Answered, Result<Vec<Reading>, MarathonError>),
    One(AppId, Moment, Answered, Result<Reading, MarathonError>),
    Version(Result<String, MarathonError>),
}

/// Nobody takes the events any more.
struct Gone;

pub(crate) struct Follower {
    reader: Reader,
    inbox: Arc<Inbox>,
    cluster: Cluster,
    schedule: Schedule,
    since: Since,
    reads: JoinSet<Done>,
    /// Ends with the follower.
    listening: JoinSet<()>,
    events: mpsc::Sender<SourceMessage>,
    reporter: Reporter,
    complaints: Complaints,
    /// Attempts in a row that gave no stream.
    without_stream: u32,
    /// When the full read began that is waited for.
    awaited: Moment,
    last_all: Option<Instant>,
    /// How many apps the log was told of last.
    told_apps: Option<usize>,
    poll: std::time::Duration,
}

impl Follower {
    pub(crate) fn new(
        config: &MarathonConfig,
        reader: Reader,
        reporter: Reporter,
        served_before: HashSet<TaskId>,
        events: mpsc::Sender<SourceMessage>,
    ) -> Self {
        Self {
            reader,
            inbox: Arc::default(),
            cluster: Cluster::new(served_before),
            schedule: Schedule::new(config.resync, config.backoff_max, Instant::now()),
            since: Since::default(),
            reads: JoinSet::new(),
            listening: JoinSet::new(),
            events,
            reporter,
            complaints: Complaints::default(),
            without_stream: 0,
            awaited: 0,
            last_all: None,
            told_apps: None,
            poll: config.resync.min(config.backoff_max),
        }
    }

    /// Follows until nobody takes the events any more.
    pub(crate) async fn run(mut self, config: &MarathonConfig, refresh: Refresh) {
        let listener = Listener {
            http: self.reader.http.clone(),
            inbox: self.inbox.clone(),
            reporter: self.reporter.clone(),
            stream_timeout: config.stream_timeout,
            backoff_max: config.backoff_max,
        };
        self.listening.spawn(listener.run());
        if let Some(callback) = config.callback_url.clone() {
            self.listening.spawn(super::callback::keep(
                self.reader.http.clone(),
                callback,
                config.resync,
                config.backoff_max,
            ));
        }
        while self.step(&refresh).await.is_ok() {}
    }

    async fn step(&mut self, refresh: &Refresh) -> Result<(), Gone> {
        let now = Instant::now();
        self.schedule.wake(now);
        while let Some(next) = self.schedule.next(now) {
            self.begin(next);
        }
        tokio::select! {
            () = self.events.closed() => Err(Gone),
            () = self.inbox.woken() => {
                let heard = self.inbox.take();
                self.hear(heard).await
            }
            Some(done) = self.reads.join_next() => match done {
                Ok(done) => self.take_in(done).await,
                Err(error) => {
                    tracing::error!(%error, "a read of Marathon ended unexpectedly; everything is read again");
                    self.reads.shutdown().await;
                    self.schedule.begin_anew(Instant::now());
                    Ok(())
                }
            },
            // It ends by itself only when it fails: without its stream this source would seem to follow.
            Some(ended) = self.listening.join_next() => {
                tracing::error!(?ended, "what listens to Marathon's events ended unexpectedly");
                Err(Gone)
            }
            () = refresh.asked() => {
                self.schedule.all();
                Ok(())
            }
            () = tokio::time::sleep_until(self.schedule.wake_at(now)) => Ok(()),
        }
    }

    fn begin(&mut self, next: Next) {
        let reader = self.reader.clone();
        let began = self.cluster.next_moment();
        match next {
            Next::All => {
                self.awaited = began;
                let known = self.cluster.all();
                let answered = self.since.all();
                self.reads.spawn(async move { Done::All(began, answered, reader.all(&known).await) });
            }
            Next::One(id) => {
                let known = self.cluster.known(&id);
                let answered = self.since.one(&id);
                self.reads.spawn(async move {
                    let read = reader.one(&id, known).await;
                    Done::One(id, began, answered, read)
                });
            }
        }
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), Gone> {
        let now = Instant::now();
        if heard.attached {
            self.without_stream = 0;
            if self.reads.len() < MANY_READS {
                self.schedule.abandon();
            }
            self.schedule.all();
            let reader = self.reader.clone();
            self.reads.spawn(async move { Done::Version(reader.version().await) });
        }
        if heard.lost {
            self.without_stream += 1;
            self.poll_instead(now);
        }
        if let Some(at) = heard.garbled {
            self.since.doubt(at);
            self.schedule.all();
        }
        for version in heard.deployments {
            self.since.explained(&version);
            self.schedule.deployment(version);
        }
        for (version, at) in heard.group_changes {
            if self.schedule.group_change(version.clone(), now) {
                self.since.unexplained(version, at);
            }
        }
        for (ending, at) in &heard.endings {
            if let Some(app) = self.cluster.end(ending, now) {
                tracing::debug!(
                    marathon.app = %app.id, ending = ?ending.what, target = ?ending.target, "a task is taken out"
                );
                self.tell_since(SourceEvent::Upsert(app), Some(*at)).await?;
            }
        }
        for id in heard.preparing {
            self.schedule.preparing(id, now);
        }
        for (id, at) in heard.dirty {
            self.since.dirty(&id, at);
            self.schedule.dirty(id);
        }
        Ok(())
    }

    /// As long as no stream can be had, the apps are asked for now and then.
    fn poll_instead(&mut self, now: Instant) {
        let due = self.last_all.is_none_or(|last| now.duration_since(last) >= self.poll);
        if self.without_stream >= POLL_AFTER && due && !self.schedule.plans_all() {
            self.last_all = Some(now);
            self.schedule.all();
        }
    }

    async fn take_in(&mut self, done: Done) -> Result<(), Gone> {
        match done {
            Done::All(began, answered, result) => self.take_in_all(began, answered, result).await,
            Done::One(id, began, answered, result) => self.take_in_one(id, began, answered, result).await,
            Done::Version(Ok(version)) => {
                tracing::info!(marathon.version = version, "Marathon tells its version");
                self.reporter.change(|status| status.version = Some(version));
                Ok(())
            }
            Done::Version(Err(error)) => {
                tracing::debug!(%error, "Marathon does not tell its version");
                Ok(())
            }
        }
    }

    async fn take_in_all(
        &mut self,
        began: Moment,
        answered: Answered,
        result: Result<Vec<Reading>, MarathonError>,
    ) -> Result<(), Gone> {
        let now = Instant::now();
        let awaited = began == self.awaited;
        let readings = match result {
            Ok(readings) => readings,
            Err(error) => {
                self.since.unanswered(answered);
                if awaited {
                    self.schedule.all_failed(now);
                    self.complain(&error);
                }
                return Ok(());
            }
        };
        self.complaints.over();
        let Some(mut snapshot) = self.cluster.commit(readings, began, now) else { return Ok(()) };
        if awaited {
            self.last_all = Some(now);
            self.schedule.all_done(std::mem::take(&mut snapshot.incomplete), now);
        }
        self.tell_all(snapshot, answered.oldest(), now).await
    }

    async fn take_in_one(
        &mut self,
        id: AppId,
        began: Moment,
        answered: Answered,
        result: Result<Reading, MarathonError>,
    ) -> Result<(), Gone> {
        let now = Instant::now();
        match result {
            Ok(reading) => {
                self.complaints.over();
                if matches!(&reading, Reading::App(read) if read.incomplete) {
                    self.schedule.one_failed(id.clone(), now);
                } else {
                    self.schedule.one_done(&id);
                }
                let change = self.cluster.merge(reading, began);
                self.schedule.readiness(&id, self.cluster.awaits_readiness(&id), now);
                self.tell_change(id, change, answered.oldest()).await
            }
            Err(MarathonError::NoSuchApp { .. }) => {
                self.schedule.one_done(&id);
                self.schedule.readiness(&id, false, now);
                if self.cluster.remove(&id, began) {
                    tracing::debug!(marathon.app = %id, "the app is gone");
                    self.tell_since(SourceEvent::Remove(id), answered.oldest()).await?;
                }
                Ok(())
            }
            Err(error) => {
                self.since.unanswered(answered);
                self.schedule.one_failed(id, now);
                self.complain(&error);
                Ok(())
            }
        }
    }

    async fn tell_change(
        &mut self,
        id: AppId,
        change: Change,
        since: Option<std::time::Instant>,
    ) -> Result<(), Gone> {
        if let Some(app) = change.upsert {
            tracing::debug!(marathon.app = %id, "the app changed");
            self.tell_since(SourceEvent::Upsert(app), since).await?;
        }
        match change.problems {
            Some(problems) => self.tell(SourceEvent::Problems(id, problems)).await,
            None => Ok(()),
        }
    }

    async fn tell_all(
        &mut self,
        snapshot: Snapshot,
        since: Option<std::time::Instant>,
        now: Instant,
    ) -> Result<(), Gone> {
        let apps = snapshot.apps.len();
        if self.told_apps.replace(apps) == Some(apps) {
            tracing::debug!(marathon.apps = apps, "everything was read again");
        } else {
            tracing::info!(marathon.apps = apps, "everything was read");
        }
        self.reporter.change(|status| {
            status.last_full_read = Some(SystemTime::now());
            status.apps = snapshot.apps.len();
        });
        self.tell(SourceEvent::Init).await?;
        for app in snapshot.apps {
            self.schedule.readiness(&app.id, self.cluster.awaits_readiness(&app.id), now);
            self.tell(SourceEvent::Upsert(app)).await?;
        }
        for (id, problems) in snapshot.problems {
            self.tell(SourceEvent::Problems(id, problems)).await?;
        }
        self.tell_since(SourceEvent::InitDone, since).await
    }

    fn complain(&mut self, error: &MarathonError) {
        let text = error.to_string();
        if let Some(attempt) = self.complaints.tell(&text) {
            let endpoint = shown(self.reader.http.endpoint(self.reader.http.preferred()));
            tracing::warn!(marathon.endpoint = endpoint, attempt, "{text}");
        }
        self.reporter.failed(text);
    }

    async fn tell(&self, event: SourceEvent) -> Result<(), Gone> {
        self.tell_since(event, None).await
    }

    /// Tells what an event had announced at a moment.
    async fn tell_since(&self, event: SourceEvent, since: Option<std::time::Instant>) -> Result<(), Gone> {
        self.events.send(SourceMessage { event, since }).await.map_err(|_| Gone)
    }
}
