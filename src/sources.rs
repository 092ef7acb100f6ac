//! The contract between what knows the apps and the state that folds them.

use std::sync::Arc;
use std::time::Instant;

use crate::model::{App, AppId, Problem, Rule};

pub mod marathon;
pub mod rules;

/// What a source tells. A full read is `Init`, one `Upsert` an app, `InitDone`; the state swaps it in once, whole, at
/// `InitDone`. A full read that fails half-way is simply begun again with another `Init`.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// A full read begins: collect, do not apply.
    Init,
    /// An app as it is now.
    Upsert(Arc<App>),
    /// The app is gone.
    Remove(AppId),
    /// What is wrong with an app as the source gave it; replaces what the source said of this app before.
    Problems(AppId, Vec<Problem>),
    /// The full read is complete; apps that were not in it are gone.
    InitDone,
    /// All rules that people wrote and that are enabled, those for groups too, with what is wrong with others.
    Rules(Vec<Rule>, Vec<Problem>),
}

/// What a source tells, and since when it was known that there is something to tell.
#[derive(Clone, Debug)]
pub struct SourceMessage {
    /// What it tells.
    pub event: SourceEvent,
    /// When the oldest event came in that this answers; `None` where nobody had told of it. A full read has it on its
    /// `InitDone`.
    pub since: Option<Instant>,
}

impl From<SourceEvent> for SourceMessage {
    fn from(event: SourceEvent) -> Self {
        Self { event, since: None }
    }
}

/// Asks a source for a full read now (the state does, when it does not believe one).
#[derive(Clone, Debug, Default)]
pub struct Refresh(Arc<tokio::sync::Notify>);

impl Refresh {
    /// Asks. Several asks before the source looks are one.
    pub fn ask(&self) {
        self.0.notify_one();
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.0.notified().await;
    }
}
