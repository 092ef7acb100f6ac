//! Where the stream leaves what it heard until the follower looks: a set, not a queue, so it stays as small as the
//! cluster however slow the follower is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::events::{Ending, Told};
use crate::model::AppId;

/// What was heard since the last look, each with the moment when it was heard first.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The stream is attached: what is read from now on misses nothing.
    pub(crate) attached: bool,
    /// An attempt to listen failed.
    pub(crate) lost: bool,
    /// Something was heard that cannot be understood, so nobody knows what it was about.
    pub(crate) garbled: Option<Instant>,
    pub(crate) dirty: HashMap<AppId, Instant>,
    pub(crate) preparing: BTreeSet<AppId>,
    pub(crate) endings: HashMap<Ending, Instant>,
    pub(crate) group_changes: BTreeMap<String, Instant>,
    pub(crate) deployments: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    heard: Mutex<Heard>,
    wake: Notify,
}

impl Inbox {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    pub(crate) fn add(&self, told: Told) {
        let now = Instant::now();
        self.change(|heard| {
            for app in told.dirty {
                heard.dirty.entry(app).or_insert(now);
            }
            heard.preparing.extend(told.preparing);
            if let Some(ending) = told.ending {
                heard.endings.entry(ending).or_insert(now);
            }
            if let Some(version) = told.group_change {
                heard.group_changes.entry(version).or_insert(now);
            }
            heard.deployments.extend(told.deployment);
        });
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
