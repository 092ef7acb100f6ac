//! What the running worker has, and what is still to be done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Candidate, Desired};
use crate::durable::FileError;
use crate::haproxy::Generation;
use crate::haproxy::runtime::{Epoch, Features};
use crate::haproxy::servers::{ServerState, Use};
use crate::model::{Server, Service, ServiceId};
use crate::placement::{Occupant, Slot};
use crate::plan::{Reason, ServerName, Step};
use crate::reconcile::good::Blocks;
use crate::reconcile::live::Live;
use crate::reconcile::worker::{Difference, WorkerError, pairs};
use crate::reconcile::writer::Snapshot;
use crate::render::maps::MapName;
use crate::render::{Block, Files, Templates, Text};
use crate::state::Changes;

/// The least time between the moment a task begins to leave, or HAProxy refuses to take its server away, and the next try.
const REMOVAL_REST: Duration = Duration::from_millis(200);
/// Slots that somebody leaves, of which HAProxy is asked at once: of thousands it would keep everything else waiting.
const LOOKED_AT_ONCE: usize = 200;

/// Whose a server is, nobody's in a spare, and which slot, by backend and name.
pub(in crate::reconcile) type Names = BTreeMap<(String, String), (Option<ServiceId>, usize)>;
/// What servers should report, by backend and name.
type States = BTreeMap<(String, String), ServerState>;

impl Desired {
    /// A worker was proven to run a candidate: it is what runs, and what to go back to. `epoch` is `None` where HAProxy
    /// is not ours to change while it runs.
    pub fn prove(&mut self, candidate: Candidate, epoch: Option<Epoch>) {
        self.text = candidate.text;
        self.placement = candidate.placement;
        self.good = self.text.blocks.clone();
        self.loaded = epoch.is_none().then(|| self.text.clone());
        self.live = epoch.map(|epoch| Live::fresh(epoch, &self.text, self.features));
        self.loaded_extra = Arc::clone(&self.extra);
        self.leaving.clear();
        self.dirty.clear();
        self.replay();
    }

    /// Another worker has read the files of what runs. False where they are of another generation.
    pub fn restarted(&mut self, epoch: Epoch) -> bool {
        let Some(live) = self.live.take_if(|live| live.epoch.generation == epoch.generation) else {
            return false;
        };
        self.live = Some(Live::fresh(epoch, &live.text, self.features));
        self.replay();
        true
    }

    /// Nobody drains in a worker that has just read the files: that is done again.
    fn replay(&mut self) {
        let Some(live) = &self.live else { return };
        let same = |(id, block): &(&ServiceId, &Arc<Block>)| {
            live.text.blocks.get(*id).is_some_and(|runs| Arc::ptr_eq(block, runs))
        };
        let differ = self.text.blocks.iter().filter(|pair| !same(pair));
        let ids: Vec<ServiceId> = differ.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.watch_leaving(&id);
        }
    }

    /// Takes over an adopted HAProxy, if what the last Causeway wrote down is what it has loaded.
    pub fn adopt(&mut self, epoch: Epoch, loaded: &Files) -> bool {
        if self.templates.is_whole() {
            return false;
        }
        // Which kind of text it has loaded shows by which one is equal.
        let restore = |dynamic| {
            let (spares, entries) = (self.stock.as_text(dynamic), |service: &Service| self.entries(service));
            Live::restore(epoch, &self.good, &self.placement, &spares, loaded, entries)
        };
        let dynamic = self.features.dynamic_servers().then(|| restore(true)).flatten();
        let Some(mut live) = dynamic.or_else(|| restore(false)) else { return false };
        live.features = self.features;
        self.text = Text { head: Arc::clone(&self.text.head), ..live.text.clone() };
        for (id, block) in &live.text.blocks {
            let serving = block.slots.iter().filter_map(|slot| match slot {
                Slot::Serving(occupant) => {
                    Some(Server { task: occupant.task.clone(), endpoint: occupant.endpoint })
                }
                _ => None,
            });
            let mut servers: Vec<Server> = serving.collect();
            servers.sort_by(|one, other| one.task.cmp(&other.task));
            let service = Arc::new(Service { servers, ..Service::clone(&block.service) });
            let own = crate::services::backend_name(id, service.backend.mode);
            self.services.insert(id.clone(), Arc::new(service.on_backend(&own)));
            self.text.blocks.insert_mut(id.clone(), Arc::new(Block { service, ..Block::clone(block) }));
        }
        self.live = Some(live);
        self.set_loaded_extra(loaded);
        self.name_certificates();
        true
    }

    /// What runs is not known any more.
    pub fn forget_live(&mut self) {
        self.live = None;
    }

    /// The worker that is changed while it runs.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.live.as_ref().map(|live| live.epoch)
    }

    /// What the worker can do that serves now.
    pub fn set_features(&mut self, features: Features) {
        self.features = features;
        if let Some(live) = &mut self.live {
            live.features = features;
        }
    }

    /// The same text runs in another worker.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        if let Some(live) = &mut self.live {
            live.epoch = epoch;
        }
    }

    /// Frees the slots of those who came and went before the worker was told of them: there is nothing to drain.
    pub fn forget_unseen(&mut self) {
        let Some(live) = &self.live else { return };
        let mut unseen = Vec::new();
        for id in &self.dirty {
            let running = live.text.blocks.get(id).map(|block| block.slots.as_slice()).unwrap_or_default();
            for (index, slot) in self.placement.slots(id).iter().enumerate() {
                let known = running.get(index).is_some_and(|slot| *slot != Slot::Free);
                if matches!(slot, Slot::Draining(_) | Slot::Closing(_)) && !known {
                    unseen.push((id.clone(), index));
                }
            }
        }
        for (id, index) in unseen {
            self.placement.set(&id, index, Slot::Free);
            self.reseat(&id);
        }
    }

    /// What has to be done: steps for the running worker, in their order, and reasons for a reload.
    #[must_use]
    pub fn work(&self) -> (Vec<Step>, BTreeSet<Reason>) {
        let (mut steps, mut reasons) = (Vec::new(), BTreeSet::new());
        let Some(live) = &self.live else {
            reasons.insert(Reason::Start);
            return (steps, reasons);
        };
        if live.text.head != self.text.head {
            reasons.insert(Reason::Head);
        }
        if live.text.dynamic && !self.features.dynamic_servers() {
            // An older HAProxy has read the text of a newer one: its servers would never go.
            reasons.insert(Reason::Drift);
        }
        reasons.extend(self.extra_reasons());
        let entries = |service: &Service| self.entries(service);
        for id in &self.dirty {
            live.compare(id, self.wanted(id).as_ref(), entries, &mut steps, &mut reasons);
        }
        // A key that somebody else has now is not taken away: it is set to the new one, here or by the reload that brings it.
        let has_heir = |step: &Step| match step {
            Step::RemoveRoute { map, key, .. } => self.text.maps.get(*map, key).is_some(),
            _ => false,
        };
        steps.retain(|step| !has_heir(step));
        steps.sort();
        (steps, reasons)
    }

    /// The services that may differ from what runs.
    #[must_use]
    pub fn dirty(&self) -> &BTreeSet<ServiceId> {
        &self.dirty
    }

    /// Notes who sits where in every service that is about to change.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_placement(&mut self) -> Result<(), FileError> {
        for id in &self.dirty {
            self.journal.note(id, &self.placement.slots(id))?;
        }
        Ok(())
    }

    /// The steps were carried out. Services that wait for a reload stay dirty.
    pub fn settle(&mut self, steps: &[Step]) {
        let Some(mut live) = self.live.take() else { return };
        for step in steps {
            step.apply_to(&mut live.text.maps);
        }
        let dirty = std::mem::take(&mut self.dirty);
        let entries = |service: &Service| self.entries(service);
        let (mut waiting, mut runs) = (BTreeSet::new(), Vec::new());
        for id in &dirty {
            let wanted = self.wanted(id);
            live.settle(id, wanted.as_ref());
            let (mut steps, mut reasons) = (Vec::new(), BTreeSet::new());
            live.compare(id, wanted.as_ref(), entries, &mut steps, &mut reasons);
            if !reasons.is_empty() {
                waiting.insert(id.clone());
            }
            runs.extend(live.text.blocks.get(id).cloned());
        }
        for block in runs {
            self.good.insert_mut(block.service.id.clone(), block);
        }
        self.dirty = waiting;
        self.live = Some(live);
        self.reclaim_spares(&dirty);
    }

    /// HAProxy refused to take these servers away: they stay in maintenance, and are tried again later.
    pub fn keep(&mut self, servers: &[ServerName]) {
        let mut kept = Vec::new();
        for id in &self.dirty {
            let Some(runs) = self.live.as_ref().and_then(|live| live.text.blocks.get(id)) else { continue };
            for server in servers.iter().filter(|server| server.backend == runs.service.backend.name) {
                let Some(index) = server.slot.checked_sub(1) else { continue };
                if let Some(occupant) = runs.slots.get(index).and_then(Slot::occupant) {
                    kept.push((id.clone(), index, Slot::Closing(occupant.clone().into())));
                }
            }
        }
        for (id, index, slot) in kept {
            self.placement.set(&id, index, slot);
            self.reseat(&id);
            self.leaving.insert((id, index), Instant::now());
        }
    }

    /// The server states that the running worker should report for some services.
    #[must_use]
    pub fn expected_states(&self, services: &BTreeSet<ServiceId>) -> BTreeMap<(String, String), ServerState> {
        let mut expected = BTreeMap::new();
        let Some(live) = &self.live else { return expected };
        for block in services.iter().filter_map(|id| live.text.blocks.get(id)) {
            let dynamic = live.text.is_dynamic(&block.service.backend);
            for (slot, number) in block.slots.iter().zip(1..) {
                if dynamic && *slot == Slot::Free {
                    continue;
                }
                let name = (block.service.backend.name.clone(), format!("slot{number}"));
                expected.insert(name, ServerState::of(slot));
            }
        }
        expected
    }

    /// What runs, as far as it is known.
    #[must_use]
    pub fn running(&self) -> Option<&Text> {
        self.live.as_ref().map(|live| &live.text)
    }

    /// What was loaded last by a HAProxy that is not ours to change while it runs.
    #[must_use]
    pub fn loaded(&self) -> Option<&Text> {
        self.loaded.as_ref()
    }

    /// Drains whoever leaves by these changes, for a worker that is being replaced.
    #[must_use]
    pub fn removals(&self, changes: &Changes) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(live) = &self.live else { return steps };
        for (id, service) in changes {
            let Some(runs) = live.text.blocks.get(id) else { continue };
            for (slot, number) in runs.slots.iter().zip(1..) {
                let Slot::Serving(occupant) = slot else { continue };
                let stays = service.iter().flat_map(|service| &service.servers);
                if !stays.clone().any(|server| server.task == occupant.task) {
                    let server = ServerName { backend: runs.service.backend.name.clone(), slot: number };
                    steps.push(Step::Drain { server });
                }
            }
        }
        steps
    }

    /// What a map of the running worker holds once some steps are carried out.
    pub(in crate::reconcile) fn after(
        &self,
        steps: &[Step],
        map: MapName,
    ) -> Result<Vec<(String, String)>, WorkerError> {
        let mut maps = self.live.as_ref().map(|live| live.text.maps.clone()).unwrap_or_default();
        for step in steps.iter().filter(|step| step.map() == Some(map)) {
            step.apply_to(&mut maps);
        }
        pairs(map, &maps, &self.templates)
    }

    /// The maps that the running text looks anything up in; HAProxy knows no others.
    #[must_use]
    pub fn used_maps(&self) -> Vec<MapName> {
        let Some(live) = &self.live else { return Vec::new() };
        MapName::ALL.into_iter().filter(|map| live.uses(*map)).collect()
    }

    /// What runs, or ran last.
    pub(in crate::reconcile) fn good_blocks(&self) -> Blocks {
        self.good.clone()
    }

    /// The backend that a service has.
    #[must_use]
    pub fn backend(&self, id: &ServiceId) -> Option<&str> {
        self.text.service(id).map(|service| service.backend.name.as_str())
    }

    /// Every service that is rendered.
    pub fn all(&self) -> impl Iterator<Item = &ServiceId> {
        self.text.blocks.keys()
    }

    /// How many servers are as somebody set them by hand.
    #[must_use]
    pub fn by_hand(&self) -> usize {
        self.by_hand.len()
    }

    /// What draws maps and blocks.
    #[must_use]
    pub fn templates(&self) -> Arc<Templates> {
        Arc::clone(&self.templates)
    }

    /// Whose the servers are that an audit found, and what they should report now; `None` where nothing is known to run.
    pub(in crate::reconcile) fn expected_of(&self, found: &[Difference]) -> Option<(Names, States)> {
        let live = self.live.as_ref()?;
        let backends: BTreeSet<&str> = found.iter().filter_map(Difference::backend).collect();
        let (mut names, mut expected) = (BTreeMap::new(), BTreeMap::new());
        if backends.is_empty() {
            return Some((names, expected));
        }
        let is_there = |backend: &str, server: &str| {
            let by_name = |difference: &Difference| difference.is_found(backend, server);
            found.iter().any(by_name)
        };
        let mut expect = |id: Option<&ServiceId>, backend: &str, slots: &[Slot], dynamic: bool| {
            for (index, slot) in slots.iter().enumerate() {
                let name = (backend.to_owned(), format!("slot{}", index + 1));
                // A server of another hand's has the name of a slot that nobody sits in.
                if dynamic && *slot == Slot::Free && !is_there(backend, &name.1) {
                    continue;
                }
                names.insert(name.clone(), (id.cloned(), index));
                expected.insert(name, ServerState::of(slot));
            }
        };
        for (id, block) in &live.text.blocks {
            let backend = block.service.backend.name.as_str();
            if backends.contains(backend) {
                expect(Some(id), backend, &block.slots, live.text.is_dynamic(&block.service.backend));
            }
        }
        for backend in backends {
            if let Some(spare) = live.text.spares.get(backend) {
                expect(None, backend, &vec![Slot::Free; spare.slots], false);
            }
        }
        Some((names, expected))
    }

    /// Takes over what the worker was found to have in a slot, if `change` makes something of it; false where not.
    pub(in crate::reconcile) fn set_by_hand(
        &mut self,
        id: &ServiceId,
        index: usize,
        change: impl Fn(&Slot) -> Option<Slot>,
    ) -> bool {
        let Some(live) = &mut self.live else { return false };
        let Some(runs) = live.text.blocks.get(id).cloned() else { return false };
        // Where something else is under way for it, that comes first.
        let Some(slot) =
            runs.slots.get(index).filter(|slot| self.placement.slots(id).get(index) == Some(slot))
        else {
            return false;
        };
        let Some(changed) = change(slot) else { return false };
        let mut slots = Arc::clone(&runs.slots);
        if let Some(place) = Arc::make_mut(&mut slots).get_mut(index) {
            *place = changed.clone();
        }
        live.text.blocks.insert_mut(id.clone(), Arc::new(Block { slots, ..Block::clone(&runs) }));
        self.placement.set(id, index, changed);
        self.reseat(id);
        true
    }

    /// What somebody set by hand longer ago than it is kept is undone. True where there was something.
    pub(in crate::reconcile) fn forget_by_hand(&mut self, now: SystemTime) -> bool {
        let mut over = Vec::new();
        for (id, index) in &self.by_hand {
            let slots = self.placement.slots(id);
            if let Some(Slot::Serving(occupant)) = slots.get(*index)
                && occupant.by_hand.as_ref().is_some_and(|by_hand| by_hand.until <= now)
            {
                let slot = Slot::Serving(Occupant { by_hand: None, ..Occupant::clone(occupant) }.into());
                over.push((id.clone(), *index, slot));
            }
        }
        for (id, index, slot) in &over {
            tracing::info!(app.id = %id, "what somebody set by hand on slot{} is over", index + 1);
            self.placement.set(id, *index, slot.clone());
            self.reseat(id);
        }
        !over.is_empty()
    }

    /// Whether anybody leaves a slot.
    #[must_use]
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Some backends in which somebody leaves a slot: the next ones, each time that it is asked.
    #[must_use]
    pub fn next_leaving_backends(&mut self) -> BTreeSet<String> {
        let after = self.looked_at.take();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.leaving.range((start, Bound::Unbounded)).take(LOOKED_AT_ONCE).map(|(key, _)| key);
        let mut backends = BTreeSet::new();
        let mut count = 0;
        for key in keys {
            count += 1;
            backends.extend(self.text.service(&key.0).map(|service| service.backend.name.clone()));
            if count == LOOKED_AT_ONCE {
                self.looked_at = Some(key.clone());
            }
        }
        backends
    }

    /// Moves on who leaves: no session left, or too long gone, is maintenance; nothing left at all is a free slot.
    /// True where somebody moved on.
    pub fn advance(&mut self, usage: &BTreeMap<(String, String), Use>, drain_timeout: Duration) -> bool {
        let mut moved = BTreeSet::new();
        for ((id, index), since) in &self.leaving {
            let Some(service) = self.text.service(id) else { continue };
            let slots = self.placement.slots(id);
            // Nobody moves on before HAProxy was told of the step before.
            let running = self.live.as_ref().and_then(|live| live.text.blocks.get(id)?.slots.get(*index));
            if running != slots.get(*index) {
                continue;
            }
            let Some(used) = usage.get(&(service.backend.name.clone(), format!("slot{}", index + 1))) else {
                continue;
            };
            let next = match slots.get(*index) {
                Some(Slot::Draining(occupant)) if used.sessions == 0 || since.elapsed() >= drain_timeout => {
                    Slot::Closing(occupant.clone())
                }
                Some(Slot::Closing(_)) if used.sessions == 0 && used.connections == 0 => {
                    let text = self.live.as_ref().map(|live| &live.text);
                    let removes = text.is_some_and(|text| text.is_dynamic(&service.backend));
                    let may_remove = self.features.dynamic_servers() && since.elapsed() >= REMOVAL_REST;
                    if removes && !may_remove {
                        continue;
                    }
                    Slot::Free
                }
                _ => continue,
            };
            moved.insert((id.clone(), *index));
            self.placement.set(id, *index, next);
        }
        for (id, _) in &moved {
            self.reseat(id);
        }
        !moved.is_empty()
    }

    /// Everything that the next Causeway needs to go on with what runs, to be written down; `None` where nothing is known
    /// to run.
    pub(in crate::reconcile) fn snapshot(&mut self, generation: Generation, whole: bool) -> Snapshot {
        let turn = whole || self.journal.is_long();
        Snapshot {
            generation,
            text: self.live.as_ref().map(|live| live.text.clone()),
            good: self.good.clone(),
            placement: turn.then(|| (self.placement.clone(), self.journal.turn())),
            templates: Arc::clone(&self.templates),
            extra: Arc::clone(&self.extra),
        }
    }
}
