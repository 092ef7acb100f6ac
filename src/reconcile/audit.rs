//! What HAProxy reports, held against what it was brought to.

use std::collections::BTreeSet;

use super::Reconciler;
use crate::haproxy::HaproxyError;
use crate::plan::Reason;

impl Reconciler {
    pub(super) async fn advance(&mut self) {
        let backends = self.desired.leaving_backends();
        match self.worker.usage(&backends).await {
            Ok(usage) => self.dirty |= self.desired.advance(&usage, self.config.drain_timeout),
            Err(error) => tracing::debug!("{error}; who leaves is looked at again"),
        }
    }

    /// Compares what HAProxy reports with what it was brought to; another hand at it, or a restart by others, is told
    /// and mended.
    pub(super) async fn audit(&mut self) {
        let Some(epoch) = self.desired.epoch() else { return };
        match self.worker.epoch(&self.driver).await {
            Some(now) if now.generation == epoch.generation => self.desired.set_epoch(now),
            Some(now) => {
                tracing::warn!(haproxy.generation = now.generation, "somebody else reloaded HAProxy");
                self.desired.forget_live();
                self.loaded = None;
                self.dirty = true;
                return;
            }
            None => return,
        }
        let maps = self.desired.expected_maps();
        let found = async {
            let mut differences = self.worker.differences(&self.desired.expected_states(None), None).await?;
            differences.extend(self.worker.map_differences(&maps).await?);
            Ok::<_, HaproxyError>(differences)
        };
        // Whoever does not answer is looked after elsewhere.
        let Ok(differences) = found.await else { return };
        if differences == self.drift {
            // A reload did not mend it (a template of the operator's may add to a map): once is enough.
            return;
        }
        self.drift.clone_from(&differences);
        if !differences.is_empty() {
            let shown = differences.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                haproxy.drift = differences.len(),
                "HAProxy reports what Causeway did not ask for (somebody at its socket?): {shown}; it is reloaded"
            );
            self.metrics.drift(differences.len());
            self.waiting = BTreeSet::from([Reason::Drift]);
            match self.reload().await {
                Ok(()) => self.metrics.drift_repaired(),
                Err(error) => self.failed(&error),
            }
        }
    }
}
