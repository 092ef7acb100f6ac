//! Marathon's event stream: opened, listened to, and opened again, for as long as somebody wants to know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventsource_client::{Client as _, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::{StreamExt as _, stream};
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture, TransportError};
use reqwest::Url;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::backoff::{Backoff, Complaints};
use super::error::{MarathonError, causes, shown};
use super::events::{self, EVENT_TYPES};
use super::http::{Answer, Http, Wanted};
use super::inbox::Inbox;
use super::status::Reporter;
use crate::telemetry::metrics::{Read, Source};

/// How long the event of one's own attachment is waited for before it is taken as given.
const ATTACHED_WITHIN: Duration = Duration::from_secs(2);
/// A stream that lived this long has proved that the endpoint works.
const PROVEN: Duration = Duration::from_secs(10);
/// Chunks between the task that reads the socket and the one that parses.
const CHUNKS: usize = 256;
/// Up to 1.6 a deployment's event holds the whole root group twice; more than this is no event.
const LONGEST_LINE: usize = 256 * 1024 * 1024;

/// Listens to the event stream of whichever endpoint gives one.
pub(crate) struct Listener {
    pub(crate) http: Arc<Http>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) reporter: Reporter,
    pub(crate) stream_timeout: Duration,
    pub(crate) backoff_max: Duration,
}

impl Listener {
    /// Listens until it is aborted.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.backoff_max);
        let mut complaints = Complaints::default();
        loop {
            let at = self.http.preferred();
            let mut attached_at = None;
            let error = self.listen(at, &mut attached_at).await;
            self.reporter.change(|status| status.connected = None);
            self.reporter.metrics.connected(Source::Marathon, false);
            self.reporter.metrics.marathon_error(Read::Stream);
            self.reporter.failed(error.to_string());
            if attached_at.is_some_and(|since| since.elapsed() >= PROVEN) {
                backoff.reset();
                complaints.over();
            }
            if attached_at.is_none() && error.rotates() {
                self.http.rotate(at);
            }
            if let Some(attempt) = complaints.tell(&error.to_string()) {
                let endpoint = shown(self.http.endpoint(at));
                tracing::warn!(marathon.endpoint = endpoint, attempt, "{error}");
            }
            self.inbox.change(|heard| heard.lost = true);
            tokio::time::sleep(backoff.wait()).await;
            self.reporter.metrics.marathon_reconnect();
        }
    }

    /// Listens to one stream until it ends, and tells why it did.
    async fn listen(&self, at: usize, attached_at: &mut Option<Instant>) -> MarathonError {
        let url = self.url(at);
        let name = shown(&url);
        let transport = Transport { http: self.http.clone(), silence: self.stream_timeout };
        let options = ReconnectOptions::reconnect(false).retry_initial(false).build();
        let client = match ClientBuilder::for_url(url.as_str()) {
            Ok(builder) => builder.reconnect(options).redirect_limit(0).build_with_transport(transport),
            Err(error) => return ended(&name, &error),
        };
        let mut events = client.stream();
        let mut barrier = None;
        let mut heard_any = false;
        let mut garbled = false;
        loop {
            let give_up_waiting = async {
                match barrier.filter(|_| attached_at.is_none()) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = events.next() => event,
                () = give_up_waiting => {
                    self.attached(at, attached_at);
                    continue;
                }
            };
            match event {
                Some(Ok(SSE::Connected(details))) => {
                    let content_type = details.response().get_header_value("content-type");
                    let content_type = content_type.ok().flatten().unwrap_or_default();
                    if !content_type.to_ascii_lowercase().starts_with("text/event-stream") {
                        let content_type = content_type.chars().take(80).collect();
                        return MarathonError::NotEventStream { url: name, content_type };
                    }
                    barrier = Some(Instant::now() + ATTACHED_WITHIN);
                }
                Some(Ok(SSE::Event(event))) => {
                    heard_any = true;
                    self.hear(&event.data, at, attached_at, &mut garbled);
                }
                Some(Ok(SSE::Comment(_))) => {}
                Some(Err(Error::Eof)) | None if !heard_any => {
                    return MarathonError::StreamNotReady { url: name };
                }
                Some(Err(error)) => return ended(&name, &error),
                None => return ended(&name, &Error::Eof),
            }
        }
    }

    fn hear(&self, data: &str, at: usize, attached_at: &mut Option<Instant>, garbled: &mut bool) {
        self.reporter.event();
        let parsed = events::parse(data);
        let kind = parsed.as_ref().map_or("unreadable", |told| told.kind);
        self.reporter.metrics.marathon_event(if kind.is_empty() { "other" } else { kind });
        match parsed {
            // Others that attach are told of as well; the first one on a stream is oneself.
            Ok(told) if told.attached => {
                if attached_at.is_none() {
                    self.attached(at, attached_at);
                }
            }
            Ok(told) => self.inbox.add(told),
            Err(error) => {
                // Once a stream: what cannot be understood once will come again.
                if !std::mem::replace(garbled, true) {
                    let endpoint = shown(self.http.endpoint(at));
                    let text = "an event cannot be understood; everything is read again";
                    tracing::warn!(marathon.endpoint = endpoint, %error, "{text}");
                }
                self.inbox.change(|heard| {
                    heard.garbled.get_or_insert_with(std::time::Instant::now);
                });
            }
        }
    }

    fn attached(&self, at: usize, attached_at: &mut Option<Instant>) {
        *attached_at = Some(Instant::now());
        let endpoint = shown(self.http.endpoint(at));
        tracing::info!(marathon.endpoint = endpoint, "the event stream is attached");
        self.reporter.change(|status| status.connected = Some(endpoint));
        self.reporter.metrics.connected(Source::Marathon, true);
        self.inbox.change(|heard| heard.attached = true);
    }

    fn url(&self, at: usize) -> Url {
        let mut url = self.http.url(at, ["v2", "events"]);
        let types = EVENT_TYPES.iter().map(|name| ("event_type", *name));
        url.query_pairs_mut().append_pair("plan-format", "light").extend_pairs(types);
        url
    }
}

/// The transport wraps what failed on the way; everything else is told by how the stream ended.
fn ended(url: &str, error: &Error) -> MarathonError {
    if let Error::Transport(transport) = error
        && let Some(cause) = transport.inner().downcast_ref::<MarathonError>()
    {
        return cause.clone();
    }
    let cause = match error {
        Error::Eof => "Marathon closed it".to_owned(),
        Error::UnexpectedEof => "it broke off within an event".to_owned(),
        other => other.to_string(),
    };
    MarathonError::StreamEnded { url: url.to_owned(), cause }
}

/// Carries the event source's request over our own connections. A task of its own reads the socket, whatever the
/// reader of the events is busy with: a Marathon up to 1.7 drops events for a slow one, a newer one hangs up.
#[derive(Clone)]
struct Transport {
    http: Arc<Http>,
    silence: Duration,
}

type Chunk = Result<Bytes, TransportError>;

impl HttpTransport for Transport {
    fn request(&self, request: http::Request<Option<Bytes>>) -> ResponseFuture {
        let (head_tx, head_rx) = oneshot::channel();
        tokio::spawn(self.clone().carry(request.uri().to_string(), head_tx));
        Box::pin(async move {
            let gone = |_| TransportError::new(std::io::Error::other("the connection's task ended"));
            head_rx.await.map_err(gone)?
        })
    }
}

impl Transport {
    async fn carry(
        self,
        url: String,
        mut head_tx: oneshot::Sender<Result<http::Response<ByteStream>, TransportError>>,
    ) {
        let opened = tokio::select! {
            opened = self.open(&url) => opened,
            () = head_tx.closed() => return,
        };
        let (answer, tx) = match opened {
            Ok((answer, head, tx)) => {
                if head_tx.send(Ok(head)).is_err() {
                    return;
                }
                (answer, tx)
            }
            Err(error) => {
                // Whoever asked is gone, or is told.
                let _ = head_tx.send(Err(TransportError::new(error)));
                return;
            }
        };
        tokio::select! {
            () = tx.closed() => {}
            error = self.pump(answer, &tx) => if let Some(error) = error {
                let _ = tx.send(Err(TransportError::new(error))).await;
            },
        }
    }

    async fn open(
        &self,
        url: &str,
    ) -> Result<(Answer, http::Response<ByteStream>, mpsc::Sender<Chunk>), MarathonError> {
        let url = Url::parse(url)
            .map_err(|error| MarathonError::Setting { key: "endpoints", cause: error.to_string() })?;
        self.http.metrics().marathon_read(Read::Stream);
        let answer = self.http.get(url, Wanted::EventStream).await?.success().await?;
        let (tx, mut rx) = mpsc::channel(CHUNKS);
        let body: ByteStream = Box::pin(stream::poll_fn(move |context| rx.poll_recv(context)));
        let mut head = http::Response::new(body);
        *head.status_mut() = answer.response.status();
        head.headers_mut().clone_from(answer.response.headers());
        Ok((answer, head, tx))
    }

    /// Passes the body on. `None`: it ended as it should.
    async fn pump(&self, answer: Answer, tx: &mpsc::Sender<Chunk>) -> Option<MarathonError> {
        let Answer { mut response, url } = answer;
        let url = shown(&url);
        let mut line = 0;
        loop {
            let chunk = match tokio::time::timeout(self.silence, response.chunk()).await {
                Err(_) => return Some(MarathonError::StreamSilent { url, silence: self.silence }),
                Ok(Err(error)) => return Some(MarathonError::StreamEnded { url, cause: causes(error) }),
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(chunk))) => chunk,
            };
            // An event, or the heart of Marathon.
            self.http.metrics().heard(Source::Marathon);
            self.http.metrics().marathon_bytes(Read::Stream, chunk.len());
            let last_break = chunk.iter().rposition(|byte| matches!(byte, b'\r' | b'\n'));
            line = last_break.map_or(line + chunk.len(), |at| chunk.len() - at);
            if line > LONGEST_LINE {
                let cause = "a line of it is longer than any event".to_owned();
                return Some(MarathonError::StreamEnded { url, cause });
            }
            if tx.send(Ok(chunk)).await.is_err() {
                return None;
            }
        }
    }
}
