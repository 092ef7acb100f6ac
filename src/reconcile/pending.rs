//! Changes on their way from the state to the reconciler.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::state::Changes;

/// Changes on their way to the reconciler. What comes while it is busy is one next round, never a queue.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<PendingInner>);

#[derive(Debug, Default)]
struct PendingInner {
    changes: Mutex<Option<Changes>>,
    arrived: Notify,
    /// For who looks without taking.
    peeked: Notify,
}

impl Pending {
    /// Adds changes; a newer one of the same service replaces the older. Empty changes count: they say that every source
    /// is ready.
    pub fn add(&self, changes: Changes) {
        self.lock().get_or_insert_default().extend(changes);
        self.0.arrived.notify_one();
        self.0.peeked.notify_one();
    }

    pub(super) async fn take(&self) -> Changes {
        loop {
            if let Some(changes) = self.lock().take() {
                return changes;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Looks at what waits, without taking it, each time that something comes.
    pub(super) async fn peek<T>(&self, look: impl FnOnce(&Changes) -> T) -> T {
        self.0.peeked.notified().await;
        match &*self.lock() {
            Some(changes) => look(changes),
            None => look(&Changes::new()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Changes>> {
        self.0.changes.lock().expect("nothing panics while it holds this lock")
    }
}
