//! Reads of Marathon's REST API, up to the point where an app is understood but not yet compared with what was
//! known of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::cluster::Known;
use super::convert::Definition;
use super::error::{MarathonError, causes, shown};
use super::hosts::Hosts;
use super::http::{Answer, Http, Wanted};
use super::list::{Record, read_list};
use super::pending::{KnownApps, Pending, ReadApp, Versions};
use super::wire::WireApp;
use crate::model::{AppId, Problem, Timestamp};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Read, Source};

/// Records that cross from the parsing thread at a time.
const BATCH: usize = 64;
/// How long looking up agents may hold up an answer; what is not found in time is read again later.
const LOOKUPS_OF_A_LIST: Duration = Duration::from_secs(15);
const LOOKUPS_OF_AN_APP: Duration = Duration::from_secs(4);
const VERSIONS_AT_ONCE: usize = 8;
/// Old definitions kept; a cluster deploys only so much at a time.
const VERSIONS_KEPT: usize = 2000;

/// What became of one record.
#[derive(Debug)]
pub(crate) enum Reading {
    App(Box<ReadApp>),
    Wrong(AppId, Problem),
}

/// Reads apps; clones share the connections and the caches.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) http: Arc<Http>,
    hosts: Arc<Hosts>,
    versions: Arc<Mutex<Versions>>,
    /// The variables of apps that are kept beside those that are read here.
    pub(crate) variables: Arc<[String]>,
}

impl Reader {
    pub(crate) fn new(http: Arc<Http>) -> Self {
        Self { http, hosts: Arc::default(), versions: Arc::default(), variables: Arc::default() }
    }

    /// Every app, from the endpoint that is preferred now; turns to the next one on failure.
    pub(crate) async fn all(&self, known: &KnownApps) -> Result<Vec<Reading>, MarathonError> {
        let at = self.http.preferred();
        let mut url = self.http.url(at, ["v2", "apps"]);
        url.set_query(Some("embed=apps.tasks&embed=apps.deployments&embed=apps.readiness"));
        self.turning(at, Read::List, self.list(url, known).await)
    }

    async fn list(&self, url: reqwest::Url, known: &KnownApps) -> Result<Vec<Reading>, MarathonError> {
        let answer = self.http.get(url, Wanted::Json).await?.success().await?;
        let mut readings = Vec::new();
        let (mut batches, parsing) =
            parse_in_thread(answer, self.http.metrics().clone(), Arc::clone(&self.variables));
        let mut lookups = LOOKUPS_OF_A_LIST;
        while let Some(batch) = batches.recv().await {
            self.understand(batch, known, &mut readings, &mut lookups).await;
        }
        parsing.await?;
        Ok(readings)
    }

    /// One app. [`MarathonError::NoSuchApp`] only if Marathon itself says that it does not exist.
    pub(crate) async fn one(&self, id: &AppId, known: Option<Arc<Known>>) -> Result<Reading, MarathonError> {
        let at = self.http.preferred();
        let mut url = self.http.url(at, ["v2", "apps"].into_iter().chain(segments(id)));
        url.set_query(Some("embed=app.tasks&embed=app.deployments&embed=app.readiness"));
        let known = known.map(|known| (id.clone(), known)).into_iter().collect();
        self.turning(at, Read::App, self.single(id, url, &known).await)
    }

    async fn single(
        &self,
        id: &AppId,
        url: reqwest::Url,
        known: &KnownApps,
    ) -> Result<Reading, MarathonError> {
        let answer = self.http.get(url, Wanted::Json).await?;
        let body = body_or_absence(answer, id).await?;
        self.http.metrics().marathon_bytes(Read::App, body.bytes.len());
        #[derive(serde::Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            app: &'a serde_json::value::RawValue,
        }
        let document: Document<'_> = serde_json::from_slice(&body.bytes)
            .map_err(|error| MarathonError::Body { url: body.url.clone(), cause: error.to_string() })?;
        let mut readings = Vec::new();
        let raw = document.app.get();
        let records = vec![Record::parse(raw).with_variables(raw, &self.variables)];
        let mut lookups = LOOKUPS_OF_AN_APP;
        self.understand(records, known, &mut readings, &mut lookups).await;
        match readings.pop() {
            Some(Reading::App(read)) if read.app.id == *id => Ok(Reading::App(read)),
            // Whose record it is was asked for, even if it does not say so itself.
            Some(Reading::Wrong(_, problem)) => {
                Ok(Reading::Wrong(id.clone(), Problem { app: Some(id.clone()), ..problem }))
            }
            _ => Err(MarathonError::Body { url: body.url, cause: "it is about another app".to_owned() }),
        }
    }

    fn turning<T>(
        &self,
        at: usize,
        read: Read,
        result: Result<T, MarathonError>,
    ) -> Result<T, MarathonError> {
        let metrics = self.http.metrics();
        metrics.marathon_read(read);
        if matches!(result, Ok(_) | Err(MarathonError::NoSuchApp { .. })) {
            metrics.heard(Source::Marathon);
        } else {
            metrics.marathon_error(read);
        }
        result.inspect_err(|error| {
            if error.rotates() {
                self.http.rotate(at);
            }
        })
    }

    /// The version of Marathon.
    pub(crate) async fn version(&self) -> Result<String, MarathonError> {
        #[derive(serde::Deserialize)]
        struct Info {
            version: String,
        }
        self.http.metrics().marathon_read(Read::Info);
        let url = self.http.url(self.http.preferred(), ["v2", "info"]);
        let answer = self.http.get(url, Wanted::Json).await?.success().await?;
        let shown = shown(&answer.url);
        let failed = |error| MarathonError::Body { url: shown.clone(), cause: causes(error) };
        Ok(answer.response.json::<Info>().await.map_err(failed)?.version)
    }

    /// Finds out what the records alone do not say: the addresses of named hosts, and old definitions.
    async fn understand(
        &self,
        records: Vec<Record>,
        known: &KnownApps,
        readings: &mut Vec<Reading>,
        lookups: &mut Duration,
    ) {
        let mut pending = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::App(wire) => pending.push(Pending::of(*wire, known)),
                Record::Wrong(id, problem) => readings.push(Reading::Wrong(id, problem)),
            }
        }
        let wanted: HashSet<(AppId, Timestamp)> = pending.iter().flat_map(Pending::wanted).collect();
        let unread = self.fetch_versions(wanted).await;
        for app in &mut pending {
            app.take_versions(&self.versions.lock().unwrap_or_else(PoisonError::into_inner));
            let incomplete = app.wanted().any(|version| unread.contains(&version));
            app.incomplete = incomplete;
        }
        let names = pending.iter().flat_map(Pending::hosts).map(Into::into).collect();
        self.hosts.look_up(names, lookups).await;
        readings.extend(pending.into_iter().map(|app| Reading::App(Box::new(app.finish(&self.hosts)))));
    }

    /// Reads old definitions into the cache and gives those that could not be read. One that Marathon no longer has
    /// is remembered as such: it keeps only so many versions.
    async fn fetch_versions(&self, wanted: HashSet<(AppId, Timestamp)>) -> HashSet<(AppId, Timestamp)> {
        let missing: Vec<_> = {
            let mut cached = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            if cached.len() > VERSIONS_KEPT {
                cached.clear();
            }
            wanted.into_iter().filter(|version| !cached.contains_key(version)).collect()
        };
        let read = stream::iter(missing).map(|version| async move {
            let definition = self.definition(&version.0, &version.1).await;
            (version, definition)
        });
        let read: Vec<_> = read.buffer_unordered(VERSIONS_AT_ONCE).collect().await;
        let mut cached = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread = HashSet::new();
        for (version, definition) in read {
            match definition {
                Ok(definition) => drop(cached.insert(version, definition.map(Arc::new))),
                Err(error) => {
                    tracing::debug!(marathon.app = %version.0, %error, "an old definition cannot be read");
                    unread.insert(version);
                }
            }
        }
        unread
    }

    async fn definition(&self, id: &AppId, version: &Timestamp) -> Result<Option<Definition>, MarathonError> {
        let path = ["v2", "apps"].into_iter().chain(segments(id)).chain(["versions", &version.0]);
        self.http.metrics().marathon_read(Read::Definition);
        let answer = self.http.get(self.http.url(self.http.preferred(), path), Wanted::Json).await?;
        if answer.response.status() == 404 {
            return Ok(None);
        }
        let body = body_of(answer.success().await?).await?;
        self.http.metrics().marathon_bytes(Read::Definition, body.bytes.len());
        let wire: WireApp = serde_json::from_slice(&body.bytes)
            .map_err(|error| MarathonError::Body { url: body.url, cause: error.to_string() })?;
        Ok(Some(Definition::of(&wire)))
    }
}

impl Reading {
    pub(crate) fn id(&self) -> &AppId {
        match self {
            Self::App(read) => &read.app.id,
            Self::Wrong(id, _) => id,
        }
    }
}

struct Body {
    url: String,
    bytes: bytes::Bytes,
}

async fn body_of(answer: Answer) -> Result<Body, MarathonError> {
    let url = shown(&answer.url);
    let failed = |error| MarathonError::Body { url: url.clone(), cause: causes(error) };
    let bytes = answer.response.bytes().await.map_err(failed)?;
    Ok(Body { url, bytes })
}

/// The body of a 200. A 404 is evidence that the app is gone only if it is Marathon that says so, of this app.
async fn body_or_absence(answer: Answer, id: &AppId) -> Result<Body, MarathonError> {
    if answer.response.status() != 404 {
        return body_of(answer.success().await?).await;
    }
    #[derive(serde::Deserialize)]
    struct Absence {
        message: String,
    }
    let (url, page) = answer.page().await;
    match serde_json::from_slice::<Absence>(&page) {
        Ok(absence) if absence.message.contains(id.as_str()) => Err(MarathonError::NoSuchApp { url }),
        _ => Err(MarathonError::Status { url, status: 404, detail: super::error::detail_of(&page) }),
    }
}

fn segments(id: &AppId) -> impl Iterator<Item = &str> {
    id.as_str().split('/').filter(|segment| !segment.is_empty())
}

/// Whether the app has a URL of its own: those that end like a sub-resource have none (forbidden since 1.8).
pub(crate) fn addressable(id: &AppId) -> bool {
    let mut last = None;
    for segment in segments(id) {
        if matches!(segment, "." | ".." | "*") {
            return false;
        }
        last = Some(segment);
    }
    last.is_some_and(|last| !matches!(last, "restart" | "tasks" | "versions"))
}

type Batches = mpsc::Receiver<Vec<Record>>;

/// Parses the body in a thread of its own while it comes in. The batches end early if the body cannot be read; the
/// future tells why.
fn parse_in_thread(
    answer: Answer,
    metrics: Metrics,
    variables: Arc<[String]>,
) -> (Batches, impl Future<Output = Result<(), MarathonError>>) {
    let url = shown(&answer.url);
    let chunks = answer.response.bytes_stream();
    let chunks = chunks.inspect_ok(move |chunk| metrics.marathon_bytes(Read::List, chunk.len()));
    let body = StreamReader::new(chunks.map_err(|error| std::io::Error::other(causes(error))));
    let body = SyncIoBridge::new(Box::pin(body));
    let (tx, rx) = mpsc::channel(4);
    let thread = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(BATCH);
        let mut take = |record| {
            batch.push(record);
            batch.len() < BATCH || tx.blocking_send(std::mem::take(&mut batch)).is_ok()
        };
        read_list(body, &variables, &mut take)?;
        // A receiver that is gone does not wait for the rest.
        let _ = tx.blocking_send(batch);
        Ok::<_, serde_json::Error>(())
    });
    let outcome = async move {
        let failed = |cause: String| MarathonError::Body { url, cause };
        match thread.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    };
    (rx, outcome)
}
