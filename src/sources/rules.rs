//! The rule store as a source: what it reads goes to the state, whole, whenever it changes.

use std::time::Instant;

use tokio::sync::mpsc;

use super::{SourceEvent, SourceMessage};
use crate::rules::{RuleStore, Rules};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Source;

/// Follows the store until the receiver is gone, or the store cannot be followed any more.
pub async fn follow(store: &dyn RuleStore, events: mpsc::Sender<SourceMessage>, metrics: Metrics) {
    let mut rules = store.watch();
    // Since when there is something to read; nobody told of what is read first.
    let mut since = None;
    loop {
        let read = rules.borrow_and_update().clone();
        metrics.connected(Source::Rules, read.is_some());
        if let Some(read) = read {
            metrics.heard(Source::Rules);
            if since.is_some() {
                metrics.rules_changed();
            }
            if events.send(SourceMessage { event: event(&read), since }).await.is_err() {
                return;
            }
        }
        if rules.changed().await.is_err() {
            return;
        }
        since = Some(Instant::now());
    }
}

/// What the state has to know of the rules: those that are enabled, and what is wrong with any.
#[must_use]
pub fn event(rules: &Rules) -> SourceEvent {
    SourceEvent::Rules(rules.enabled(), rules.problems.clone())
}
