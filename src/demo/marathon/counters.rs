//! What was read, for tests that assert how much it was.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

#[derive(Default)]
struct Read {
    requests: BTreeMap<&'static str, u64>,
    bytes_sent: u64,
    stream_bytes_sent: u64,
    streams_opened: u64,
}

/// Counts of requests and bytes since the start or the last reset.
#[derive(Default)]
pub(super) struct Counters(Mutex<Read>);

impl Counters {
    fn with<T>(&self, change: impl FnOnce(&mut Read) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a request by the class of its path.
    pub(super) fn request(&self, path: &str) {
        let class = class(path);
        self.with(|read| *read.requests.entry(class).or_default() += 1);
    }

    /// Notes a body of the REST API.
    pub(super) fn sent(&self, bytes: u64) {
        self.with(|read| read.bytes_sent += bytes);
    }

    /// Notes bytes on an event stream.
    pub(super) fn streamed(&self, bytes: u64) {
        self.with(|read| read.stream_bytes_sent += bytes);
    }

    /// Notes an event stream.
    pub(super) fn stream_opened(&self) {
        self.with(|read| read.streams_opened += 1);
    }

    /// Starts again from zero.
    pub(super) fn reset(&self) {
        self.with(|read| *read = Read::default());
    }

    /// All counts.
    pub(super) fn json(&self, streams_open: usize, events_published: u64) -> Value {
        self.with(|read| {
            json!({
                "requests": read.requests,
                "bytesSent": read.bytes_sent,
                "streamBytesSent": read.stream_bytes_sent,
                "streamsOpened": read.streams_opened,
                "streamsOpen": streams_open,
                "eventsPublished": events_published,
            })
        })
    }
}

fn class(path: &str) -> &'static str {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    match (segments.next(), segments.next(), segments.next()) {
        (Some("ping"), ..) => "ping",
        (Some("v2"), Some("apps"), None) => "apps",
        (Some("v2"), Some("apps"), Some(_)) => "app",
        (Some("v2"), Some("events"), _) => "events",
        (Some("v2"), Some("tasks"), _) => "tasks",
        (Some("v2"), Some("groups"), _) => "groups",
        (Some("v2"), Some("pods"), _) => "pods",
        (Some("v2"), Some("deployments"), _) => "deployments",
        (Some("v2"), Some("info"), _) => "info",
        (Some("v2"), Some("leader"), _) => "leader",
        (Some("v2"), Some("queue"), _) => "queue",
        _ => "other",
    }
}
