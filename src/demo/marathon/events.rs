//! The event bus: every event goes to every stream's own bounded queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::profile::Profile;

/// An event, framed and ready to be written.
pub(super) struct Event {
    pub(super) kind: String,
    frame: Bytes,
    /// With `plan.original` and `plan.target`, for streams that did not ask for the light form.
    heavy: Option<Bytes>,
}

impl Event {
    /// The frame for a stream.
    pub(super) fn frame(&self, light: bool) -> &Bytes {
        self.heavy.as_ref().filter(|_| !light).unwrap_or(&self.frame)
    }
}

struct Subscriber {
    tx: mpsc::Sender<Arc<Event>>,
    cut: CancellationToken,
}

/// A stream's end of the bus.
pub(super) struct Subscription {
    pub(super) rx: mpsc::Receiver<Arc<Event>>,
    /// Cancelled when the stream is to be closed at once.
    pub(super) cut: CancellationToken,
}

/// Where events are published.
pub(super) struct Bus {
    subscribers: Mutex<Vec<Subscriber>>,
    capacity: usize,
    closes_slow_readers: bool,
    /// The fault that treats every reader as a slow one.
    pub(super) cut_at_next_event: AtomicBool,
    published: std::sync::atomic::AtomicU64,
}

impl Bus {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            subscribers: Mutex::default(),
            capacity: profile.stream_capacity(),
            closes_slow_readers: profile.closes_slow_readers(),
            cut_at_next_event: AtomicBool::new(false),
            published: Default::default(),
        }
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event made of `fields`, which is an object.
    pub(super) fn publish(&self, kind: &str, fields: Value) {
        self.send(kind, payload(kind, fields), None);
    }

    /// As [`Bus::publish`], with a second form for streams that take whole plans.
    pub(super) fn publish_plan(&self, kind: &str, fields: Value, heavy: Option<String>) {
        self.send(kind, payload(kind, fields), heavy);
    }

    /// Publishes an event as given; false when it is no object with an `eventType`.
    pub(super) fn publish_raw(&self, mut event: Value) -> bool {
        let Some(fields) = event.as_object_mut() else { return false };
        let Some(kind) = fields.get("eventType").and_then(Value::as_str).map(str::to_owned) else {
            return false;
        };
        fields.entry("timestamp").or_insert_with(|| clock::now().into());
        self.send(&kind, event.to_string(), None);
        true
    }

    fn send(&self, kind: &str, payload: String, heavy: Option<String>) {
        self.published.fetch_add(1, Ordering::Relaxed);
        let event = Arc::new(Event {
            kind: kind.to_owned(),
            frame: framed(kind, &payload),
            heavy: heavy.map(|payload| framed(kind, &payload)),
        });
        let cut_all = self.cut_at_next_event.load(Ordering::Relaxed);
        self.subscribers().retain(|subscriber| {
            if cut_all {
                subscriber.cut.cancel();
                return false;
            }
            match subscriber.tx.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) if !self.closes_slow_readers => true,
                Err(_) => {
                    subscriber.cut.cancel();
                    false
                }
            }
        });
    }

    /// A new stream's queue; it gets everything published from now on.
    pub(super) fn subscribe(&self, parent: &CancellationToken) -> Subscription {
        let (tx, rx) = mpsc::channel(self.capacity);
        let cut = parent.child_token();
        self.subscribers().push(Subscriber { tx, cut: cut.clone() });
        Subscription { rx, cut }
    }

    /// Forgets a stream that ended.
    pub(super) fn unsubscribe(&self, cut: &CancellationToken) {
        cut.cancel();
        self.subscribers().retain(|subscriber| !subscriber.cut.is_cancelled());
    }

    /// Closes every stream.
    pub(super) fn close_streams(&self) {
        for subscriber in self.subscribers().drain(..) {
            subscriber.cut.cancel();
        }
    }

    /// How many streams are open.
    pub(super) fn streams(&self) -> usize {
        self.subscribers().len()
    }

    /// How many events were published.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

/// The payload with `eventType` and `timestamp` last, as Marathon writes them.
pub(super) fn payload(kind: &str, fields: Value) -> String {
    let fields = if fields.is_object() { fields } else { Value::Object(Map::new()) };
    let mut text = fields.to_string();
    text.pop();
    if text.len() > 1 {
        text.push(',');
    }
    text.push_str(&format!("\"eventType\":\"{kind}\",\"timestamp\":\"{}\"}}", clock::now()));
    text
}

fn framed(kind: &str, payload: &str) -> Bytes {
    format!("event: {kind}\r\ndata: {payload}\r\n\r\n").into()
}
