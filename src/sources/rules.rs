//! The rule store as a source: what it reads goes to the state, whole, whenever it changes.

use tokio::sync::mpsc;

use super::SourceEvent;
use crate::rules::{RuleStore, Rules};

/// Follows the store until the receiver is gone, or the store cannot be followed any more.
pub async fn follow(store: &dyn RuleStore, events: mpsc::Sender<SourceEvent>) {
    let mut rules = store.watch();
    loop {
        let read = rules.borrow_and_update().clone();
        if let Some(read) = read
            && events.send(event(&read)).await.is_err()
        {
            return;
        }
        if rules.changed().await.is_err() {
            return;
        }
    }
}

/// What the state has to know of the rules: those that apply to apps, and what is wrong with any.
#[must_use]
pub fn event(rules: &Rules) -> SourceEvent {
    SourceEvent::Rules(rules.of_apps(), rules.problems.clone())
}
