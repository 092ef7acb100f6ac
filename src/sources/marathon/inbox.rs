//! Where the stream leaves what it heard until the follower looks: a set, not a queue, so it stays as small as the
//! cluster however slow the follower is.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::events::{Ending, Told};
use crate::model::AppId;

/// What was heard since the last look.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The stream is attached: what is read from now on misses nothing.
    pub(crate) attached: bool,
    /// An attempt to listen failed.
    pub(crate) lost: bool,
    /// Something was heard that cannot be understood, so nobody knows what it was about.
    pub(crate) garbled: bool,
    pub(crate) dirty: HashSet<AppId>,
    pub(crate) endings: HashSet<Ending>,
    pub(crate) group_changes: BTreeSet<String>,
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
        self.change(|heard| {
            heard.dirty.extend(told.dirty);
            heard.endings.extend(told.ending);
            heard.group_changes.extend(told.group_change);
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
