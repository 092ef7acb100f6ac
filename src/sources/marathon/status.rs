//! What can be shown about the connection to Marathon.

use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;

use crate::telemetry::Metrics;

/// How it stands with Marathon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MarathonStatus {
    /// The configured endpoint whose event stream is attached; `None` while there is none.
    pub connected: Option<String>,
    /// The leader as Marathon names it (`X-Marathon-Leader`).
    pub leader: Option<String>,
    /// The version of Marathon, as `/v2/info` tells it.
    pub version: Option<String>,
    /// When the last event came, heartbeats not counted.
    pub last_event: Option<SystemTime>,
    /// When the last full read was complete.
    pub last_full_read: Option<SystemTime>,
    /// How many apps are known.
    pub apps: usize,
    /// When something failed last, and what.
    pub last_error: Option<(SystemTime, String)>,
}

/// The writing end, shared by everything that talks with Marathon.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    status: watch::Sender<MarathonStatus>,
    pub(crate) metrics: Metrics,
}

impl Reporter {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { status: watch::Sender::new(MarathonStatus::default()), metrics }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<MarathonStatus> {
        self.status.subscribe()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut MarathonStatus)) {
        self.status.send_modify(change);
    }

    /// Changes without waking anybody when `change` says that there is nothing new to see.
    pub(crate) fn change_if(&self, change: impl FnOnce(&mut MarathonStatus) -> bool) {
        self.status.send_if_modified(change);
    }

    /// Notes the time of an event without waking anybody.
    pub(crate) fn event(&self) {
        self.change_if(|status| {
            status.last_event = Some(SystemTime::now());
            false
        });
    }

    pub(crate) fn failed(&self, text: String) {
        self.change(|status| status.last_error = Some((SystemTime::now(), text)));
    }
}
