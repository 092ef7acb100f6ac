//! The fault switches, as `/standin/faults` reads and writes them.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a standby does with requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standby {
    pub(super) mode: StandbyMode,
    /// The leader's URL, `http://host:port`.
    pub(super) target: String,
}

/// How `/v2/events` reaches the leader; all else is proxied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StandbyMode {
    /// 302, as from 1.7.50 on.
    Redirect,
    /// Proxied, as until 1.6.
    Proxy,
}

/// What is wrong with event streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventFault {
    /// 200 and at once the end, as a leader that is not ready.
    Eof,
    /// Nothing is sent any more, and nothing closed.
    Silent,
    /// Every stream is closed at its next event, as if its reader were too slow.
    SlowReaderClose,
    /// CR and LF of the heartbeat this many milliseconds apart.
    SplitHeartbeat {
        /// Milliseconds.
        delay_ms: u64,
    },
}

/// What is wrong with reads of the REST API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum HttpFault {
    /// An error status.
    Status {
        /// The status code.
        status: u16,
        /// The form of the body.
        #[serde(default)]
        body: BodyForm,
    },
    /// A broken answer.
    Named(BrokenAnswer),
}

/// The form of an error's body.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BodyForm {
    /// `{"message": …}`.
    #[default]
    Json,
    /// A page of the servlet container or a proxy.
    Html,
}

/// Answers that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BrokenAnswer {
    /// The length of the whole, half of the body, the end.
    Truncated,
    /// No answer at all.
    Hang,
    /// `{"apps":[]}`.
    EmptyList,
    /// 200 with a `message` and no `apps`.
    MissingApps,
    /// 200 with a body that is not JSON.
    NotJson,
}

/// All switches; everything absent is off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Faults {
    pub(super) standby: Option<Standby>,
    pub(super) events: Option<EventFault>,
    pub(super) http: Option<HttpFault>,
    /// Path prefixes `http` is limited to; empty: all.
    pub(super) paths: Vec<String>,
    /// How many more requests `http` hits; absent: no end.
    pub(super) count: Option<u64>,
    /// Milliseconds by which a change's `deployment_info` precedes the change.
    pub(super) deployment_info_first: Option<u64>,
}

/// The switches in force.
pub(super) struct FaultBoard {
    faults: RwLock<Faults>,
    /// Until when a failed-over stand-in is not ready.
    pub(super) not_ready_until: RwLock<Option<Instant>>,
    /// Tells open streams of a change.
    pub(super) changed: watch::Sender<Option<EventFault>>,
}

impl Default for FaultBoard {
    fn default() -> Self {
        Self {
            faults: RwLock::default(),
            not_ready_until: RwLock::default(),
            changed: watch::Sender::new(None),
        }
    }
}

impl FaultBoard {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Faults> {
        self.faults.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, faults: Faults) {
        let events = faults.events;
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = faults;
        self.changed.send_replace(events);
    }

    /// The fault that hits a read of `path`, counted.
    pub(super) fn hit(&self, path: &str) -> Option<HttpFault> {
        let mut faults = self.faults.write().unwrap_or_else(PoisonError::into_inner);
        let fault = faults.http.clone()?;
        if !faults.paths.is_empty() && !faults.paths.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            return None;
        }
        match &mut faults.count {
            Some(0) => return None,
            Some(count) => *count -= 1,
            None => {}
        }
        Some(fault)
    }

    /// Whether a failover's pause is still on.
    pub(super) fn not_ready(&self) -> bool {
        let until = self.not_ready_until.read().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn pause(&self, until: Instant) {
        *self.not_ready_until.write().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}
