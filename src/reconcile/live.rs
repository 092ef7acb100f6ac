//! What runs, as far as it is known, and the difference to what is desired, service by service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::haproxy::runtime::Epoch;
use crate::model::{Service, ServiceId};
use crate::placement::{Placement, Slot};
use crate::plan::{Reason, Step};
use crate::render::maps::{MapName, Maps};
use crate::render::{Files, MapEntry, Rendered, SERVERS_MARK, Shape, server_lines};

use super::good::GoodServices;

/// What one worker runs.
#[derive(Debug)]
pub(super) struct Live {
    /// Which worker.
    pub(super) epoch: Epoch,
    pub(super) head: Shape,
    pub(super) services: BTreeMap<ServiceId, LiveService>,
    pub(super) maps: Maps,
}

/// One service, as a worker has it.
#[derive(Clone, Debug)]
pub(super) struct LiveService {
    pub(super) backend: String,
    pub(super) check: bool,
    /// The port that its own frontend listens on.
    pub(super) own_port: Option<u16>,
    pub(super) shape: Shape,
    pub(super) slots: Vec<Slot>,
    pub(super) entries: Vec<MapEntry>,
}

/// What is desired of one service.
pub(super) struct Wanted<'a> {
    pub(super) service: &'a Service,
    pub(super) shape: &'a Shape,
    pub(super) slots: &'a [Slot],
    pub(super) entries: Vec<MapEntry>,
}

impl Live {
    /// What runs, right after a worker was proven to have loaded `rendered`.
    pub(super) fn snapshot(
        epoch: Epoch,
        rendered: &Rendered,
        services: &BTreeMap<ServiceId, Arc<Service>>,
        placement: &Placement,
        entries: impl Fn(&Service) -> Vec<MapEntry>,
        own_port: impl Fn(&Service) -> Option<u16>,
    ) -> Self {
        let live = |(id, service): (&ServiceId, &Arc<Service>)| {
            let service = LiveService {
                backend: service.backend.name.clone(),
                check: service.backend.check,
                own_port: own_port(service),
                shape: rendered.shapes.get(id).cloned().unwrap_or_default(),
                slots: placement.slots(id).to_vec(),
                entries: entries(service),
            };
            (id.clone(), service)
        };
        Self {
            epoch,
            head: Arc::clone(&rendered.head),
            services: services.iter().map(live).collect(),
            maps: rendered.maps.clone(),
        }
    }

    /// What an adopted HAProxy runs, put together from what the last Causeway wrote down; `None` where that does not give
    /// the text of the files it has loaded.
    pub(super) fn restore(
        epoch: Epoch,
        good: &GoodServices,
        placement: &Placement,
        loaded: &Files,
        entries: impl Fn(&Service) -> Vec<MapEntry>,
        own_port: impl Fn(&Service) -> Option<u16>,
    ) -> Option<Self> {
        let mut rendered = Rendered::default();
        let mut services = BTreeMap::new();
        for good in good.iter() {
            let (id, service) = (&good.service.id, &good.service);
            rendered.shapes.insert(id.clone(), Arc::clone(&good.shape));
            let lines = server_lines(placement.slots(id), service.backend.check);
            rendered.servers.insert(service.backend.name.clone(), lines.into());
            for (map, key, backend) in entries(service) {
                rendered.maps.insert(map, key, backend);
            }
            services.insert(id.clone(), Arc::clone(service));
        }
        let (blocks, _) = rendered.text();
        rendered.head = loaded.config().strip_suffix(&blocks)?.into();
        let same_map = |map: MapName| {
            let lines: BTreeMap<&str, &str> =
                loaded.text(map.file()).lines().filter_map(|line| line.split_once(' ')).collect();
            rendered.maps.entries(map).eq(lines)
        };
        MapName::ALL
            .into_iter()
            .all(same_map)
            .then(|| Self::snapshot(epoch, &rendered, &services, placement, &entries, &own_port))
    }

    /// Whether the running text looks anything up in a map; HAProxy knows no other.
    pub(super) fn uses(&self, map: MapName) -> bool {
        self.head.contains(map.file())
    }

    /// What runs, as text: what a fresh HAProxy has to read to be equal.
    pub(super) fn rendered(&self) -> Rendered {
        let mut rendered =
            Rendered { head: Arc::clone(&self.head), maps: self.maps.clone(), ..Rendered::default() };
        for (id, service) in &self.services {
            rendered.shapes.insert(id.clone(), Arc::clone(&service.shape));
            rendered
                .servers
                .insert(service.backend.clone(), server_lines(&service.slots, service.check).into());
        }
        rendered
    }

    /// What has to be done for one service: steps for the running worker, and reasons for a reload where they do not
    /// suffice. What suffices now is done now, whatever else waits for a reload.
    pub(super) fn compare(
        &self,
        id: &ServiceId,
        wanted: Option<&Wanted<'_>>,
        steps: &mut Vec<Step>,
        reasons: &mut BTreeSet<Reason>,
    ) {
        let section = |backend: &str| format!("backend {backend}");
        match (self.services.get(id), wanted) {
            (None, None) => {}
            (None, Some(wanted)) => {
                reasons.insert(Reason::SectionAdded { section: section(&wanted.service.backend.name) });
            }
            (Some(live), None) => {
                reasons.insert(Reason::SectionRemoved { section: section(&live.backend) });
                self.routes(&live.entries, &[], steps);
            }
            (Some(live), Some(wanted)) if live.backend != wanted.service.backend.name => {
                reasons.insert(Reason::SectionChanged { section: section(&live.backend) });
            }
            (Some(live), Some(wanted)) => {
                if live.shape != *wanted.shape || live.check != wanted.service.backend.check {
                    reasons.insert(Reason::SectionChanged { section: section(&live.backend) });
                }
                self.servers(live, wanted, steps, reasons);
                self.routes(&live.entries, &wanted.entries, steps);
            }
        }
    }

    fn servers(
        &self,
        live: &LiveService,
        wanted: &Wanted<'_>,
        steps: &mut Vec<Step>,
        reasons: &mut BTreeSet<Reason>,
    ) {
        let mark = format!("{SERVERS_MARK}{}{SERVERS_MARK}", live.backend);
        if live.slots != wanted.slots && !live.shape.contains(&mark) && !self.head.contains(&mark) {
            reasons.insert(Reason::Servers { backend: live.backend.clone() });
            return;
        }
        for (index, slot) in wanted.slots.iter().enumerate() {
            match live.slots.get(index) {
                Some(old) if old == slot => {}
                // An address is never changed under a server that is in use: requests would reach the old one.
                Some(old) if *old != Slot::Free && moves(old, slot) => {
                    reasons.insert(Reason::Servers { backend: live.backend.clone() });
                }
                Some(old) => steps.extend(Step::of_slot(&live.backend, index, old, slot)),
                None if *slot == Slot::Free => {}
                None => {
                    reasons.insert(Reason::Slots { backend: live.backend.clone() });
                }
            }
        }
    }

    fn routes(&self, old: &[MapEntry], new: &[MapEntry], steps: &mut Vec<Step>) {
        let value = |map: &MapName, key: &str| self.maps.get(*map, key);
        for (map, key, backend) in new.iter().filter(|entry| self.uses(entry.0) && !old.contains(entry)) {
            let (map, key, backend) = (*map, key.clone(), backend.clone());
            match value(&map, &key) {
                Some(same) if *same == backend => {}
                Some(_) => steps.push(Step::SetRoute { map, key, backend }),
                None => steps.push(Step::AddRoute { map, key, backend }),
            }
        }
        for (map, key, backend) in old.iter().filter(|entry| self.uses(entry.0) && !new.contains(entry)) {
            if value(map, key) == Some(backend) {
                steps.push(Step::RemoveRoute { map: *map, key: key.clone(), backend: backend.clone() });
            }
        }
    }

    /// Takes over what was done for one service.
    pub(super) fn settle(&mut self, id: &ServiceId, wanted: Option<&Wanted<'_>>) {
        let Some(live) = self.services.get_mut(id) else { return };
        match wanted {
            Some(wanted) if wanted.service.backend.name == live.backend => {
                let running = live.slots.len().min(wanted.slots.len());
                live.slots[..running].clone_from_slice(&wanted.slots[..running]);
                live.entries.clone_from(&wanted.entries);
            }
            // Under another name it waits for a reload.
            Some(_) => {}
            None => live.entries.clear(),
        }
    }

    /// Takes over what was done to a map.
    pub(super) fn settle_route(&mut self, step: &Step) {
        match step {
            Step::AddRoute { map, key, backend } | Step::SetRoute { map, key, backend } => {
                self.maps.insert(*map, key.clone(), backend.clone());
            }
            Step::RemoveRoute { map, key, backend } => self.maps.remove(*map, key, backend),
            _ => {}
        }
    }
}

/// Whether a slot is to serve at another address than it has.
fn moves(old: &Slot, new: &Slot) -> bool {
    let endpoint = |slot: &Slot| slot.occupant().map(|occupant| occupant.endpoint);
    matches!(new, Slot::Serving(_)) && endpoint(old) != endpoint(new)
}
