//! Changes on their way from the state to the reconciler.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::Notify;

use crate::state::Changes;

/// Changes on their way to the reconciler. What comes while it is busy is one next round, never a queue.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<PendingInner>);

#[derive(Debug, Default)]
struct PendingInner {
    changes: Mutex<Option<(Changes, Option<Instant>)>>,
    arrived: Notify,
    /// For who looks without taking.
    peeked: Notify,
    reload_asked: Notify,
}

impl Pending {
    /// Adds changes; a newer one of the same service replaces the older. Empty changes count: they say that every source
    /// is ready. `since` is when the event came in that announced them, if one did.
    pub fn add(&self, changes: Changes, since: Option<Instant>) {
        {
            let mut pending = self.lock();
            let (all, oldest) = pending.get_or_insert_default();
            all.extend(changes);
            *oldest = [*oldest, since].into_iter().flatten().min();
        }
        self.0.arrived.notify_one();
        self.0.peeked.notify_one();
    }

    /// Waits for changes, and takes all there are, with the moment when the oldest event came in that announced any.
    pub(super) async fn take(&self) -> (Changes, Option<Instant>) {
        loop {
            if let Some(pending) = self.lock().take() {
                return pending;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Asks for a reload even where nothing differs. Several asks before one is done are one.
    pub fn ask_reload(&self) {
        self.0.reload_asked.notify_one();
    }

    /// Waits until somebody asks for a reload.
    pub(super) async fn reload_asked(&self) {
        self.0.reload_asked.notified().await;
    }

    /// Looks at what waits, without taking it, each time that something comes.
    pub(super) async fn peek<T>(&self, look: impl FnOnce(&Changes) -> T) -> T {
        self.0.peeked.notified().await;
        match &*self.lock() {
            Some((changes, _)) => look(changes),
            None => look(&Changes::new()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Changes, Option<Instant>)>> {
        self.0.changes.lock().expect("nothing panics while it holds this lock")
    }
}
