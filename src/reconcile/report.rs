//! One line a change: what happened, how, why, and how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use super::desired::Happened;
use crate::history::{Done, How};

use crate::haproxy::{Applied, Driver};
use crate::model::ProblemKind;
use crate::plan::{Reason, Step};
use crate::telemetry::metrics::Failure;

use super::{Reconciler, RoundError};

/// What a line names; the rest is a number.
const SHOWN: usize = 3;

pub(super) fn reload(
    applied: &Applied,
    generation: u64,
    reasons: &[Reason],
    events: &[Happened],
    total: Duration,
) {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *kinds.entry(reason.kind()).or_default() += 1;
    }
    let why: Vec<String> = if reasons.len() <= SHOWN {
        reasons.iter().map(ToString::to_string).collect()
    } else {
        kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect()
    };
    let (how, took) = applied.how();
    tracing::info!(
        haproxy.generation = generation,
        haproxy.took_ms = took.as_millis() as u64,
        plan.took_ms = total.as_millis() as u64,
        "{}: {how} ({})",
        what(events),
        why.join(", "),
    );
}

pub(super) fn runtime(steps: &[Step], events: &[Happened], total: Duration) {
    let took = total.as_micros() as u64;
    if events.is_empty() {
        tracing::debug!(plan.steps = steps.len(), plan.took_us = took, "slots were drained or freed");
    } else {
        tracing::info!(plan.steps = steps.len(), plan.took_us = took, "{}: at run time", what(events));
    }
}

fn what(events: &[Happened]) -> String {
    let mut what: Vec<String> = events.iter().take(SHOWN).map(|each| each.what.clone()).collect();
    if events.len() > SHOWN {
        what.push(format!("and {} more", events.len() - SHOWN));
    }
    if what.is_empty() { "configuration".to_owned() } else { what.join("; ") }
}

impl Applied {
    /// The word for it, and how long it took.
    pub(crate) fn how(self) -> (&'static str, Duration) {
        match self {
            Self::Started { took } => ("start", took),
            Self::Reloaded { took } => ("reload", took),
        }
    }
}

impl From<&RoundError> for Failure {
    fn from(error: &RoundError) -> Self {
        match error {
            RoundError::Template(_) => Self::Template,
            RoundError::Haproxy(error) => error.into(),
            RoundError::File(_) => Self::File,
        }
    }
}

/// Reasons that the log of changes names; the rest is a number.
const REASONS: usize = 50;

impl Reconciler {
    /// The running worker was changed.
    pub(super) fn changed(&mut self, steps: &[Step], took: Duration) {
        let happened = self.desired.take_events();
        runtime(steps, &happened, took);
        // That slots of those who left are freed is no news.
        if !happened.is_empty() {
            self.note(How::Runtime { steps: steps.len() }, &happened, steps, took);
        }
    }

    /// A new generation runs. What ran before is what was published last.
    pub(super) fn reloaded(
        &mut self,
        applied: &Applied,
        generation: u64,
        reasons: &[Reason],
        took: Duration,
    ) {
        let happened = self.desired.take_events();
        reload(applied, generation, reasons, &happened, took);
        let how = match applied {
            Applied::Started { .. } => How::Start { generation },
            Applied::Reloaded { .. } => How::Reload {
                generation,
                reasons: reasons.iter().take(REASONS).cloned().collect(),
                reasons_total: reasons.len(),
            },
        };
        self.note(how, &happened, &[], took);
    }

    /// A round, or a try of it, did not get through.
    pub(super) fn gave_up(&self, error: &dyn std::error::Error) {
        self.outside.history.note(Done::by(How::Failed { error: error.to_string() }));
    }

    fn note(&self, how: How, happened: &[Happened], steps: &[Step], took: Duration) {
        let before = self.outside.brought.borrow().text.clone();
        self.outside.history.note(Done {
            how,
            happened,
            steps,
            before: before.as_ref(),
            after: self.desired.running(),
            took,
            since_event: self.since.map(|since| since.elapsed()),
        });
    }

    /// Which backend is whose: a new app may have borrowed one.
    pub(super) fn name_backends(&self) {
        for id in self.desired.dirty() {
            self.metrics.backends().set(id, self.desired.backend(id));
        }
    }

    /// A reload gave every service a backend of its own name.
    pub(super) fn name_all_backends(&self) {
        for id in self.desired.all() {
            self.metrics.backends().set(id, self.desired.backend(id));
        }
    }

    /// What is counted now and then, since nothing of it is an event.
    pub(super) fn count(&self) {
        for (kind, count) in self.desired.spare_counts() {
            self.metrics.spares(kind, count.free, count.used);
        }
        self.metrics.hand_set(self.desired.by_hand());
        self.metrics.of_reconciler(ProblemKind::Block, self.desired.put_aside_count());
        self.metrics
            .of_reconciler(ProblemKind::RolledBack, usize::from(self.desired.rolled_back().is_some()));
        self.metrics.of_reconciler(ProblemKind::Haproxy, usize::from(self.failed.is_some()));
    }

    /// HAProxy has all that was told.
    pub(super) fn brought(&mut self) {
        self.metrics.brought(matches!(self.driver, Driver::Managed(_)));
        if let Some(since) = self.since.take() {
            self.metrics.applied(since);
        }
    }
}
