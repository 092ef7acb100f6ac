//! What HAProxy reports, held against what it was brought to.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;

use super::Reconciler;
use super::desired::Names;
use super::worker::{Difference, WorkerError};
use crate::haproxy::servers::ServerState;
use crate::model::ServiceId;
use crate::placement::{Admin, Slot};
use crate::plan::{Reason, ServerName, Step};
use crate::render::maps::MapName;

/// What an audit found, before it was looked at again.
pub(super) type Found = Result<Vec<Difference>, WorkerError>;

/// Waits for the audit that is under way; for ever where there is none.
pub(super) async fn done(auditing: &mut Option<JoinHandle<Found>>) -> Found {
    let Some(job) = auditing else { return std::future::pending().await };
    let ended = job.await;
    *auditing = None;
    // An audit that failed found nothing.
    ended.unwrap_or_else(|_| Ok(Vec::new()))
}

impl Reconciler {
    pub(super) async fn advance(&mut self) {
        let backends = self.desired.next_leaving_backends();
        match self.worker.usage(&backends).await {
            Ok(usage) => self.dirty |= self.desired.advance(&usage, self.config.drain_timeout),
            Err(error) => tracing::debug!("{error}; who leaves is looked at again"),
        }
    }

    /// Begins to compare what HAProxy reports with what it was brought to, beside the rounds: it reads every server.
    pub(super) async fn audit(&mut self) {
        let Some(epoch) = self.desired.epoch().filter(|_| self.auditing.is_none()) else { return };
        match self.worker.epoch(&self.driver).await {
            Some(now) if now.generation == epoch.generation => {
                if now.pid != epoch.pid {
                    self.learn().await;
                }
                self.desired.set_epoch(now);
            }
            Some(_) if self.still_runs(epoch.generation).await => return,
            Some(now) => {
                tracing::warn!(haproxy.generation = now.generation, "somebody else reloaded HAProxy");
                self.desired.forget_live();
                self.loaded = None;
                self.dirty = true;
                return;
            }
            None => return,
        }
        let Some(text) = self.desired.running().cloned() else { return };
        let (mut free, mut used) = (0, 0);
        for block in text.blocks.values() {
            let seated = block.slots.iter().filter(|slot| **slot != Slot::Free).count();
            used += seated;
            free += if text.is_dynamic(&block.service.backend) { 0 } else { block.slots.len() - seated };
        }
        self.metrics.slots(free, used);
        let (worker, maps, templates) =
            (self.worker.clone(), self.desired.used_maps(), self.desired.templates());
        self.auditing = Some(tokio::spawn(async move { worker.audit(&text, &maps, &templates).await }));
    }

    /// Whether it was only an old worker that answered.
    async fn still_runs(&self, generation: u64) -> bool {
        let now = self.worker.epoch_of(&self.driver, generation).await;
        now.is_some_and(|now| now.generation == generation)
    }

    /// Looks again at what the audit found, since more may have happened meanwhile; what is still so is another hand at
    /// HAProxy: it is told, kept for a time where that is harmless, and mended where it is not.
    pub(super) async fn audited(&mut self, found: Found) {
        // Whoever does not answer is looked after elsewhere.
        let Ok(found) = found else { return };
        tracing::debug!(haproxy.differences = found.len(), "HAProxy was looked at");
        if found.is_empty() {
            self.drift.clear();
            return;
        }
        let Some((names, expected)) = self.desired.expected_of(&found) else { return };
        let backends: BTreeSet<String> = names.keys().map(|(backend, _)| backend.clone()).collect();
        let mut differences = Vec::new();
        if !backends.is_empty() {
            match self.worker.differences(&expected, &backends).await {
                Ok(still) => differences.extend(still),
                Err(_) => return,
            }
        }
        let templates = self.desired.templates();
        let maps = self.desired.running().map(|text| text.maps.clone()).unwrap_or_default();
        for map in found.iter().filter_map(Difference::map) {
            match self.worker.map_differences(map, &maps, &templates).await {
                Ok(still) => differences.extend(still),
                Err(_) => return,
            }
        }
        if differences.is_empty() {
            return;
        }
        self.mend(differences, &names).await;
    }

    async fn mend(&mut self, differences: Vec<Difference>, names: &Names) {
        let shown = differences.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let (mut steps, mut by_hand, mut beyond) = (Vec::new(), 0, false);
        for difference in &differences {
            match difference {
                Difference::Server { backend, server, found: Some(found), wanted }
                    if found.endpoint == wanted.endpoint
                        || wanted.endpoint == Some(crate::placement::FREE_ENDPOINT) =>
                {
                    let Some((id, index)) = names.get(&(backend.clone(), server.clone())) else { continue };
                    let timeout = self.config.by_hand_timeout;
                    if id.as_ref().is_some_and(|id| self.desired.keep_by_hand(id, *index, found, timeout)) {
                        by_hand += 1;
                    } else {
                        steps.extend(back(backend, *index, wanted));
                    }
                }
                Difference::Server { .. } => beyond = true,
                Difference::Entry { map, key, found, wanted } => {
                    steps.extend(entry_back(*map, key, found.as_deref(), wanted.as_deref()));
                }
            }
        }
        if by_hand > 0 {
            self.unwritten = true;
            tracing::warn!(
                haproxy.by_hand = by_hand,
                "somebody at HAProxy's socket changed servers: {shown}; that is kept for {:?}, also over reloads",
                self.config.by_hand_timeout
            );
        }
        steps.sort();
        if !steps.is_empty() {
            tracing::warn!(
                haproxy.drift = steps.len(),
                "HAProxy reports what Causeway did not ask for (somebody at its socket?): {shown}; it is put right at run time"
            );
            self.metrics.drift(steps.len());
            let Some(epoch) = self.desired.epoch() else { return };
            // Each map is what it should be once these are carried out.
            let after = |map| self.desired.after(&[], map);
            if let Err(error) = self.worker.carry_out(epoch, &steps, after).await {
                tracing::warn!("{error}; HAProxy is reloaded to make sure");
                beyond = true;
            } else {
                self.metrics.drift_repaired();
            }
        }
        if beyond && self.drift != words {
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
        // What a reload does not mend either is left: once is enough.
        self.drift = words;
    }

    /// What somebody set by hand is undone when its time is over.
    pub(super) fn forget_by_hand(&mut self) {
        self.dirty |= self.desired.forget_by_hand(SystemTime::now());
    }
}

/// The steps back to what a server should be.
fn back(backend: &str, index: usize, wanted: &ServerState) -> Vec<Step> {
    let server = || ServerName { backend: backend.to_owned(), slot: index + 1 };
    let state = match wanted.admin {
        Admin::Ready => Step::Ready { server: server() },
        Admin::Drain => Step::Drain { server: server() },
        Admin::Maint => Step::Maint { server: server() },
    };
    vec![Step::Weight { server: server(), weight: wanted.weight }, state]
}

fn entry_back(map: MapName, key: &str, found: Option<&str>, wanted: Option<&str>) -> Option<Step> {
    let (key, owned) = (key.to_owned(), str::to_owned);
    Some(match (found, wanted) {
        (None, Some(wanted)) => Step::AddRoute { map, key, backend: owned(wanted) },
        (Some(_), Some(wanted)) => Step::SetRoute { map, key, backend: owned(wanted) },
        (Some(found), None) => Step::RemoveRoute { map, key, backend: owned(found) },
        (None, None) => return None,
    })
}

impl super::desired::Desired {
    /// Keeps what a person set on a server that a task sits in; false where nobody does, or it is not a task in service.
    fn keep_by_hand(
        &mut self,
        id: &ServiceId,
        index: usize,
        found: &ServerState,
        for_how_long: Duration,
    ) -> bool {
        let now = SystemTime::now();
        let by_hand = crate::placement::ByHand {
            admin: found.admin,
            weight: found.weight,
            since: now,
            until: now + for_how_long,
            by: None,
            why: None,
            fleet: false,
        };
        self.set_by_hand(id, index, |slot| match slot {
            Slot::Serving(occupant) if for_how_long > Duration::ZERO => {
                let mut occupant = occupant.clone();
                occupant.by_hand = Some(Box::new(by_hand.clone()));
                Some(Slot::Serving(occupant))
            }
            _ => None,
        })
    }
}
