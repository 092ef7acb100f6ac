//! What runs, as far as it is known, and the difference to what is desired, service by service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::haproxy::runtime::{Epoch, Features};
use crate::model::{Backend, Service, ServiceId};
use crate::placement::{Placement, Slot, Slots};
use crate::plan::{Reason, Step};
use crate::render::maps::MapName;
use crate::render::{Block, DIR_MARK, Files, MapEntry, SERVERS_MARK, Text};

use super::good::Blocks;

/// What one worker runs.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Which worker.
    pub(super) epoch: Epoch,
    /// What a fresh HAProxy has to read to be equal.
    pub(super) text: Text,
    /// What the worker can do.
    pub(super) features: Features,
    /// Services whose routes are there already, while their text waits for a reload.
    routed: BTreeMap<ServiceId, Arc<Service>>,
}

/// What is desired of one service.
pub(super) struct Wanted<'a> {
    pub(super) block: &'a Arc<Block>,
    pub(super) entries: Vec<MapEntry>,
}

impl Live {
    /// What a worker has that was just proven to have read `text`.
    pub(super) fn fresh(epoch: Epoch, text: &Text, features: Features) -> Self {
        let mut text = text.clone();
        let differ = |block: &&Arc<Block>| block.slots.iter().any(|slot| slot.as_read() != *slot);
        let leaving: Vec<Arc<Block>> = text.blocks.values().filter(differ).cloned().collect();
        for block in leaving {
            let slots = Arc::new(block.slots.iter().map(Slot::as_read).collect());
            text.blocks
                .insert_mut(block.service.id.clone(), Arc::new(Block { slots, ..Block::clone(&block) }));
        }
        Self { epoch, text, features, routed: BTreeMap::new() }
    }

    /// What an adopted HAProxy runs, put together from what the last Causeway wrote down; `None` where that does not give
    /// the text of the files it has loaded. `spares` are all that there may be.
    pub(super) fn restore(
        epoch: Epoch,
        good: &Blocks,
        placement: &Placement,
        spares: &Text,
        loaded: &Files,
        entries: impl Fn(&Service) -> Vec<MapEntry>,
    ) -> Option<Self> {
        let mut text = Text { spares: spares.spares.clone(), dynamic: spares.dynamic, ..Text::default() };
        for (id, block) in good {
            let name = &block.service.backend.name;
            text.spares.remove_mut(name.as_str());
            for (map, key, backend) in entries(&block.service) {
                text.maps.insert(map, key, backend);
            }
            let block = Block { slots: placement.slots(id), ..Block::clone(block) };
            text.blocks.insert_mut(id.clone(), Arc::new(block));
        }
        let (blocks, _) = text.config(DIR_MARK);
        text.head = loaded.config().strip_suffix(&blocks)?.into();
        let same_map = |map: MapName| {
            let lines: BTreeMap<&str, &str> =
                loaded.text(map.file()).lines().filter_map(|line| line.split_once(' ')).collect();
            text.maps.entries(map).eq(lines)
        };
        let same_maps = MapName::ALL.into_iter().all(same_map);
        let features = Features::default();
        same_maps.then_some(Self { epoch, text, features, routed: BTreeMap::new() })
    }

    /// The defaults of which the worker makes a backend for this service while it runs; `None` where it cannot, or where
    /// the text of the service says more than those defaults.
    pub(super) fn defaults_of(&self, service: &Service, shape: &str) -> Option<String> {
        let Backend { name, mode, balance, .. } = &service.backend;
        let defaults = format!("{}_service", mode.as_str());
        let (backend, balance) = (format!("backend {name} from {defaults}"), format!("balance {balance}"));
        let servers = format!("{SERVERS_MARK}{name}{SERVERS_MARK}");
        let lines = shape.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        if !self.features.add_backend || !lines.eq([backend.as_str(), &balance, &servers]) {
            return None;
        }
        // What HAProxy balances by where nobody says so has changed: they have to say so.
        let head = &self.text.head;
        let section = head.lines().skip_while(|line| line.split(' ').take(2).ne(["defaults", &*defaults]));
        let mut inside = section.skip(1).take_while(|line| line.is_empty() || line.starts_with(' '));
        inside.any(|line| line.trim() == balance).then_some(defaults)
    }

    /// Whether the running text looks anything up in a map; HAProxy knows no other.
    pub(super) fn uses(&self, map: MapName) -> bool {
        self.text.head.contains(map.file())
    }

    /// What has to be done for one service: steps for the running worker, and reasons for a reload where they do not
    /// suffice. What suffices now is done now, whatever else waits for a reload.
    pub(super) fn compare(
        &self,
        id: &ServiceId,
        wanted: Option<&Wanted<'_>>,
        entries: impl Fn(&Service) -> Vec<MapEntry>,
        steps: &mut Vec<Step>,
        reasons: &mut BTreeSet<Reason>,
    ) {
        let section = |service: &Service| format!("backend {}", service.backend.name);
        let live = self.text.blocks.get(id);
        let routed =
            || live.map(|live| entries(self.routed.get(id).unwrap_or(&live.service))).unwrap_or_default();
        match (live, wanted) {
            (None, None) => {}
            (None, Some(wanted)) => match self.text.spares.get(wanted.block.service.backend.name.as_str()) {
                Some(spare) => {
                    self.servers(&vec![Slot::Free; spare.slots], wanted, steps, reasons);
                    self.routes(&[], &wanted.entries, steps);
                }
                None => match self.defaults_of(&wanted.block.service, &wanted.block.shape) {
                    Some(from) => {
                        let backend = || wanted.block.service.backend.name.clone();
                        steps.push(Step::AddBackend { backend: backend(), from });
                        self.servers(&[], wanted, steps, reasons);
                        steps.push(Step::PublishBackend { backend: backend() });
                        self.routes(&[], &wanted.entries, steps);
                    }
                    None => {
                        reasons.insert(Reason::SectionAdded { section: section(&wanted.block.service) });
                    }
                },
            },
            (Some(live), None) => {
                reasons.insert(Reason::SectionRemoved { section: section(&live.service) });
                self.routes(&routed(), &[], steps);
            }
            (Some(live), Some(wanted)) if live.service.backend.name != wanted.block.service.backend.name => {
                reasons.insert(Reason::SectionChanged { section: section(&live.service) });
            }
            (Some(live), Some(wanted)) => {
                if Arc::ptr_eq(live, wanted.block) {
                    return;
                }
                let words = |block: &Block| block.service.backend.server_words();
                if live.shape != wanted.block.shape || words(live) != words(wanted.block) {
                    reasons.insert(Reason::SectionChanged { section: section(&live.service) });
                }
                if live.slots != wanted.block.slots && !self.draws_servers(live) {
                    reasons.insert(Reason::Servers { backend: live.service.backend.name.clone() });
                } else {
                    self.servers(&live.slots, wanted, steps, reasons);
                }
                self.routes(&routed(), &wanted.entries, steps);
            }
        }
    }

    /// Whether the servers of a service are where Causeway draws them: only then does it know what else they have.
    fn draws_servers(&self, live: &Block) -> bool {
        let mark = format!("{SERVERS_MARK}{}{SERVERS_MARK}", live.service.backend.name);
        live.shape.contains(&mark) || self.text.head.contains(&mark)
    }

    fn servers(
        &self,
        live: &[Slot],
        wanted: &Wanted<'_>,
        steps: &mut Vec<Step>,
        reasons: &mut BTreeSet<Reason>,
    ) {
        let backend = &wanted.block.service.backend;
        let (needed, dynamic) = (needed(&wanted.block.slots), self.text.is_dynamic(backend));
        for (index, slot) in wanted.block.slots.iter().enumerate() {
            match live.get(index) {
                Some(old) if old == slot => {}
                // An address is never changed under a server that is in use: requests would reach the old one.
                Some(old)
                    if *old != Slot::Free && *slot != Slot::Free && old.endpoint() != slot.endpoint() =>
                {
                    reasons.insert(Reason::Servers { backend: backend.name.clone() });
                }
                // Nobody sits in it, and so it is no server.
                Some(Slot::Free) | None if dynamic && *slot == Slot::Free => {}
                Some(Slot::Free) | None if dynamic => {
                    steps.extend(Step::of_new_slot(backend, index, slot));
                }
                Some(old) if dynamic && *slot == Slot::Free => {
                    steps.extend(Step::of_removal(&backend.name, index, old));
                }
                Some(old) => steps.extend(Step::of_slot(&backend.name, index, old, slot)),
                None if index >= needed => {}
                None if backend.takes_servers() => {
                    steps.extend(Step::of_new_slot(backend, index, slot));
                }
                None => {
                    reasons.insert(Reason::Slots { backend: backend.name.clone() });
                }
            }
        }
    }

    fn routes(&self, old: &[MapEntry], new: &[MapEntry], steps: &mut Vec<Step>) {
        let value = |map: &MapName, key: &str| self.text.maps.get(*map, key);
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
        let live = self.text.blocks.get(id).cloned();
        match (live, wanted) {
            (None, Some(wanted)) => {
                let name = wanted.block.service.backend.name.as_str();
                let slots = match self.text.spares.get(name) {
                    Some(spare) => spare.slots,
                    None if self.defaults_of(&wanted.block.service, &wanted.block.shape).is_some() => 0,
                    None => return,
                };
                self.text.spares.remove_mut(name);
                let slots = carried_out(slots, wanted.block);
                let block = Block { slots, ..Block::clone(wanted.block) };
                self.text.blocks.insert_mut(id.clone(), Arc::new(block));
            }
            (Some(live), Some(wanted)) if wanted.block.service.backend.name == live.service.backend.name => {
                let slots = carried_out(live.slots.len(), wanted.block);
                let block = if live.shape != wanted.block.shape
                    || live.service.backend.server_words() != wanted.block.service.backend.server_words()
                {
                    self.routed.insert(id.clone(), Arc::clone(&wanted.block.service));
                    Arc::new(Block { slots, ..Block::clone(&live) })
                } else {
                    self.routed.remove(id);
                    if Arc::ptr_eq(&slots, &wanted.block.slots) {
                        Arc::clone(wanted.block)
                    } else {
                        Arc::new(Block { slots, ..Block::clone(wanted.block) })
                    }
                };
                self.text.blocks.insert_mut(id.clone(), block);
            }
            // Under another name it waits for a reload.
            _ => {}
        }
    }
}

/// How many slots have to be there.
fn needed(slots: &[Slot]) -> usize {
    slots.iter().rposition(|slot| *slot != Slot::Free).map_or(0, |last| last + 1)
}

/// The slots that a backend has that had `running` of them.
fn carried_out(running: usize, wanted: &Block) -> Slots {
    let grown = if wanted.service.backend.takes_servers() { needed(&wanted.slots) } else { 0 };
    let length = running.max(grown);
    if length >= wanted.slots.len() {
        return Arc::clone(&wanted.slots);
    }
    Arc::new(wanted.slots[..length].to_vec())
}

#[cfg(test)]
mod tests;
