//! What the running worker has, and what is still to be done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Candidate, Desired};
use crate::durable::FileError;
use crate::haproxy::runtime::Epoch;
use crate::haproxy::servers::{Admin, ServerState, Use};
use crate::haproxy::{Generation, Generations};
use crate::model::{Server, Service, ServiceId};
use crate::placement::Slot;
use crate::plan::{Reason, Step};
use crate::reconcile::RoundError;
use crate::reconcile::live::{Live, LiveService};
use crate::render::maps::MapName;
use crate::render::{FREE_ENDPOINT, Files, server_lines};

impl Desired {
    /// A worker was proven to run a candidate: it is what runs, and what to go back to. `epoch` is `None` where HAProxy
    /// is not ours to change while it runs.
    pub fn prove(&mut self, candidate: Candidate, epoch: Option<Epoch>) {
        self.rendered = candidate.rendered;
        self.placement = candidate.placement;
        self.effective = candidate.services;
        self.leaving.clear();
        self.dirty.clear();
        let entries = |service: &Service| self.entries(service);
        let own_port = |service: &Service| service.port.filter(|port| !self.ports.contains(*port));
        let (rendered, services, placement) = (&self.rendered, &self.effective, &self.placement);
        self.live =
            epoch.map(|epoch| Live::snapshot(epoch, rendered, services, placement, entries, own_port));
    }

    /// Takes over an adopted HAProxy, if what the last Causeway wrote down is what it has loaded.
    pub fn adopt(&mut self, epoch: Epoch, loaded: &Files) -> bool {
        if self.templates.is_whole() {
            return false;
        }
        let entries = |service: &Service| self.entries(service);
        let own_port = |service: &Service| service.port.filter(|port| !self.ports.contains(*port));
        self.live = Live::restore(epoch, &self.good, &self.placement, loaded, entries, own_port);
        let Some(live) = &self.live else { return false };
        for good in self.good.iter() {
            let service = &good.service;
            self.rendered.shapes.insert(service.id.clone(), Arc::clone(&good.shape));
            let serving = self.placement.slots(&service.id).iter().filter_map(|slot| match slot {
                Slot::Serving(occupant) => {
                    Some(Server { task: occupant.task.clone(), endpoint: occupant.endpoint })
                }
                _ => None,
            });
            let mut servers: Vec<Server> = serving.collect();
            servers.sort_by(|one, other| one.task.cmp(&other.task));
            let as_left = Arc::new(Service { servers, ..Service::clone(service) });
            self.services.insert(service.id.clone(), Arc::clone(&as_left));
            self.effective.insert(service.id.clone(), as_left);
            let lines = server_lines(self.placement.slots(&service.id), service.backend.check);
            self.rendered.servers.insert(service.backend.name.clone(), lines.into());
        }
        self.rendered.maps = live.maps.clone();
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
            let running = live.services.get(id).map_or(&[][..], |service| &service.slots);
            for (index, slot) in self.placement.slots(id).iter().enumerate() {
                let known = running.get(index).is_some_and(|slot| *slot != Slot::Free);
                if matches!(slot, Slot::Draining(_) | Slot::Closing(_)) && !known {
                    unseen.push((id.clone(), index));
                }
            }
        }
        for (id, index) in unseen {
            self.placement.set(&id, index, Slot::Free);
            self.redraw(&id);
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
        if live.head != self.rendered.head {
            reasons.insert(Reason::Head);
        }
        for id in &self.dirty {
            live.compare(id, self.wanted(id).as_ref(), &mut steps, &mut reasons);
        }
        // A key that somebody else has now is not taken away: it is set to the new one, here or by the reload that brings it.
        let has_heir = |step: &Step| match step {
            Step::RemoveRoute { map, key, .. } => self.rendered.maps.get(*map, key).is_some(),
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
            self.journal.note(id, self.placement.slots(id))?;
        }
        Ok(())
    }

    /// The steps were carried out. Services that wait for a reload stay dirty.
    pub fn settle(&mut self, steps: &[Step]) {
        let Some(mut live) = self.live.take() else { return };
        for step in steps {
            live.settle_route(step);
        }
        let dirty = std::mem::take(&mut self.dirty);
        for id in dirty {
            let wanted = self.wanted(&id);
            live.settle(&id, wanted.as_ref());
            let (mut steps, mut reasons) = (Vec::new(), BTreeSet::new());
            live.compare(&id, wanted.as_ref(), &mut steps, &mut reasons);
            if !reasons.is_empty() {
                self.dirty.insert(id);
            }
        }
        self.live = Some(live);
    }

    /// The server states that the running worker should report, of some services or of all.
    #[must_use]
    pub fn expected_states(
        &self,
        services: Option<&BTreeSet<ServiceId>>,
    ) -> BTreeMap<(String, String), ServerState> {
        let Some(live) = &self.live else { return BTreeMap::new() };
        let some: Box<dyn Iterator<Item = &LiveService>> = match services {
            Some(ids) => Box::new(ids.iter().filter_map(|id| live.services.get(id))),
            None => Box::new(live.services.values()),
        };
        let mut expected = BTreeMap::new();
        for live in some {
            for (slot, number) in live.slots.iter().zip(1..) {
                let admin = match slot {
                    Slot::Serving(_) => Admin::Ready,
                    Slot::Draining(_) => Admin::Drain,
                    Slot::Closing(_) | Slot::Free => Admin::Maint,
                };
                let endpoint = slot.occupant().map_or(FREE_ENDPOINT, |occupant| occupant.endpoint);
                let state = ServerState { endpoint: Some(endpoint), admin };
                expected.insert((live.backend.clone(), format!("slot{number}")), state);
            }
        }
        expected
    }

    /// The entries that the maps of the running worker should hold, for each map that it uses.
    #[must_use]
    pub fn expected_maps(&self) -> BTreeMap<MapName, BTreeMap<&str, &str>> {
        let Some(live) = &self.live else { return BTreeMap::new() };
        MapName::ALL
            .into_iter()
            .filter(|map| live.uses(*map))
            .map(|map| (map, live.maps.entries(map).collect()))
            .collect()
    }

    /// The backends in which somebody leaves a slot.
    #[must_use]
    pub fn leaving_backends(&self) -> BTreeSet<String> {
        let backend = |id: &ServiceId| self.effective.get(id).map(|service| service.backend.name.clone());
        self.leaving.keys().filter_map(|(id, _)| backend(id)).collect()
    }

    /// Moves on who leaves: no session left, or too long gone, is maintenance; nothing left at all is a free slot.
    /// True where somebody moved on.
    pub fn advance(&mut self, usage: &BTreeMap<(String, String), Use>, drain_timeout: Duration) -> bool {
        let mut moved = BTreeSet::new();
        for ((id, index), since) in &self.leaving {
            let Some(service) = self.effective.get(id) else { continue };
            // Nobody moves on before HAProxy was told of the step before.
            let running = self.live.as_ref().and_then(|live| live.services.get(id)?.slots.get(*index));
            if running != self.placement.slots(id).get(*index) {
                continue;
            }
            let Some(used) = usage.get(&(service.backend.name.clone(), format!("slot{}", index + 1))) else {
                continue;
            };
            let next = match &self.placement.slots(id).get(*index) {
                Some(Slot::Draining(occupant)) if used.sessions == 0 || since.elapsed() >= drain_timeout => {
                    Slot::Closing(occupant.clone())
                }
                Some(Slot::Closing(_)) if used.sessions == 0 && used.connections == 0 => Slot::Free,
                _ => continue,
            };
            moved.insert((id.clone(), *index, matches!(next, Slot::Free)));
            self.placement.set(id, *index, next);
        }
        for (id, index, free) in &moved {
            if *free {
                self.leaving.remove(&(id.clone(), *index));
            }
            self.redraw(id);
        }
        !moved.is_empty()
    }

    /// Writes the text of what runs into the files of the generation that runs, and everything that the next Causeway
    /// needs to go on with it.
    ///
    /// # Errors
    /// A template that fails, or a file that cannot be written.
    pub fn persist(&mut self, generation: &Generation, generations: &Generations) -> Result<(), RoundError> {
        let Some(live) = &self.live else { return Ok(()) };
        let (files, _) = self.files_of(&live.rendered())?;
        generations.update(generation, &files)?;
        drop(files);
        self.persist_places(generations)?;
        Ok(())
    }

    /// Writes down who sits where, and what is good.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn persist_places(&mut self, generations: &Generations) -> Result<(), FileError> {
        let (rendered, live) = (&self.rendered, &self.live);
        let runs = |id: &ServiceId| {
            let shape = rendered.shapes.get(id)?;
            let same = |live: &Live| live.services.get(id).is_some_and(|service| service.shape == *shape);
            live.as_ref().is_none_or(same).then(|| Arc::clone(shape))
        };
        self.good.prove(generations.root(), &self.effective, runs)?;
        self.journal.write(&self.placement)
    }
}
