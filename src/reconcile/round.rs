//! One round: HAProxy is brought to what is desired, by commands where they suffice, by a reload where not.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tokio::time::Instant;

use super::{FAILED_REST, Reconciler, RoundError, TRY_AGAIN};
use crate::model::{Problem, ProblemKind};
use crate::plan::{Reason, Step};
use crate::view::Noted;

impl Reconciler {
    pub(super) async fn round(&mut self) {
        self.dirty = false;
        let result = self.bring().await;
        match result {
            // A reload that still waits for its time is not done yet.
            Ok(()) if self.is_reload_due() => {}
            Ok(()) => {
                self.failures = 0;
                self.failed = None;
                self.retry = None;
            }
            Err(error) => self.failed(&error),
        }
    }

    pub(super) fn failed(&mut self, error: &dyn std::error::Error) {
        self.gave_up(error);
        let wait = TRY_AGAIN.min(FAILED_REST * 2_u32.saturating_pow(self.failures));
        tracing::error!("{error}; it is tried again in {wait:?}, or when something changes");
        self.failures += 1;
        let problem = Problem {
            app: None,
            kind: ProblemKind::Haproxy,
            message: error.to_string(),
            advice: "HAProxy goes on with what it was brought to before, and what changed since has no effect; it is tried again \
                     by itself. Correct what HAProxy names: the template, a file, an address"
                .to_owned(),
        };
        let since = self.failed.as_ref().map_or_else(SystemTime::now, |noted| noted.since);
        self.failed = Some(Noted { problem, since });
        self.retry = Some(Instant::now() + wait);
    }

    /// Brings HAProxy to what is desired: what the running worker can do at once, and a reload for the rest if its time
    /// has come.
    async fn bring(&mut self) -> Result<(), RoundError> {
        let begun = Instant::now();
        let head = self.desired.render_head();
        self.desired.forget_unseen();
        self.name_backends();
        let (steps, mut reasons) = self.desired.work();
        if !steps.is_empty() {
            if let Err(error) = self.desired.note_placement() {
                tracing::error!("{error}; after a crash now, tasks would be placed anew by a reload");
            }
            if !self.change(&steps).await {
                self.waiting = BTreeSet::from([Reason::Drift]);
                return self.reload().await;
            }
            self.unwritten = true;
            self.metrics.plan_runtime(steps.len(), begun.elapsed());
            self.changed(&steps, begun.elapsed());
        } else {
            self.desired.settle(&[]);
        }
        if head.is_err() {
            reasons.insert(Reason::Head);
        }
        if self.asked {
            reasons.insert(Reason::Asked);
        }
        self.waiting = reasons;
        head?;
        let past = |at: Option<Instant>| at.is_none_or(|at| at <= Instant::now());
        if self.is_reload_due() && past(self.reload_at()) && past(self.retry) {
            return self.reload().await;
        }
        if self.waiting.is_empty() {
            self.desired.forget_events();
        }
        // What can wait for the next reload keeps nobody waiting.
        if !self.is_reload_due() {
            if steps.is_empty() {
                self.metrics.plan_noop();
                self.since = None;
            }
            self.brought();
        }
        if std::mem::take(&mut self.adopted) && steps.is_empty() && self.waiting.is_empty() {
            tracing::info!("nothing to do: what runs is what is desired");
        }
        Ok(())
    }

    /// Carries out steps on the running worker and reads back what they touched. False where that did not work: then
    /// only a reload makes sure.
    async fn change(&mut self, steps: &[Step]) -> bool {
        let Some(epoch) = self.desired.epoch() else { return false };
        let changing = self.desired.dirty().clone();
        let after = |map| self.desired.after(steps, map);
        let done = match self.worker.carry_out(epoch, steps, after).await {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!("{error}; HAProxy is reloaded to make sure");
                return false;
            }
        };
        if !done.refused.is_empty() {
            self.desired.keep(&done.refused);
            if let Err(error) = self.desired.note_placement() {
                tracing::error!("{error}; after a crash now, tasks would be placed anew by a reload");
            }
        }
        self.desired.settle(steps);
        let backends: BTreeSet<String> =
            steps.iter().filter_map(|step| Some(step.server()?.backend.clone())).collect();
        if backends.is_empty() {
            return true;
        }
        let mut expected = self.desired.expected_states(&changing);
        expected.retain(|(backend, _), _| backends.contains(backend));
        if done.is_as(&expected) {
            return true;
        }
        // Newer versions do some of it after their answer.
        match self.worker.differences(&expected, &backends).await {
            Ok(differences) if differences.is_empty() => true,
            Ok(differences) => {
                let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    "after a change HAProxy reports: {}; it is reloaded to make sure",
                    words.join(", ")
                );
                false
            }
            Err(error) => {
                tracing::warn!("{error}; HAProxy is reloaded to make sure");
                false
            }
        }
    }
}
