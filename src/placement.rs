//! Pure: which task sits in which slot of its backend. A surviving task keeps its slot, and so its stickiness and its
//! connections; a slot is given to another task only when nothing uses it any more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Endpoint, Server, Service, ServiceId, TaskId};

#[cfg(test)]
mod tests;

/// Up to this many slots a service gets room for twice its instances: a rolling update doubles an app.
const DOUBLED_UP_TO: usize = 20;

/// One slot of a backend. Its name in HAProxy is `slot` and its number, from 1, as `server-template` gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Slot {
    /// Nobody; `disabled` in the text.
    #[default]
    Free,
    /// A task that gets requests.
    Serving(Occupant),
    /// A task that gets no new request, or only those that stick to it; `disabled` in the text.
    Draining(Occupant),
    /// A task that gets no request at all, while its last connections end; `disabled` in the text.
    Closing(Occupant),
}

/// Who sits in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// The task.
    pub task: TaskId,
    /// Where it is reached.
    pub endpoint: Endpoint,
}

impl Slot {
    /// Who sits in it, whatever it still gets.
    #[must_use]
    pub fn occupant(&self) -> Option<&Occupant> {
        match self {
            Self::Free => None,
            Self::Serving(occupant) | Self::Draining(occupant) | Self::Closing(occupant) => Some(occupant),
        }
    }
}

/// The slots of every service; kept on disk so that a new Causeway goes on with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    services: BTreeMap<ServiceId, Vec<Slot>>,
}

impl Placement {
    /// Places the servers of a service, changing as little as possible. More servers than free slots make new slots.
    pub fn place(&mut self, service: &Service) {
        place(self.services.entry(service.id.clone()).or_default(), &service.servers);
    }

    /// Gives a service the room that so many instances should have, where HAProxy reads its text anew: then every slot but those that serve
    /// is unused.
    pub fn make_room(&mut self, id: &ServiceId, instances: usize) {
        let Some(slots) = self.services.get_mut(id) else { return };
        for slot in slots.iter_mut().filter(|slot| !matches!(slot, Slot::Serving(_))) {
            *slot = Slot::Free;
        }
        let serving = slots.iter().filter(|slot| matches!(slot, Slot::Serving(_))).count();
        let last = slots.iter().rposition(|slot| matches!(slot, Slot::Serving(_))).map_or(0, |last| last + 1);
        slots.resize(room(instances.max(serving)).max(last), Slot::Free);
    }

    /// Keeps only some services.
    pub fn retain(&mut self, keep: impl Fn(&ServiceId) -> bool) {
        self.services.retain(|id, _| keep(id));
    }

    /// Forgets a service that is gone.
    pub fn remove(&mut self, id: &ServiceId) {
        self.services.remove(id);
    }

    /// The slots of a service, the first being `slot1`.
    #[must_use]
    pub fn slots(&self, id: &ServiceId) -> &[Slot] {
        self.services.get(id).map_or(&[], Vec::as_slice)
    }

    /// Changes what a slot is.
    pub fn set(&mut self, id: &ServiceId, index: usize, slot: Slot) {
        if let Some(place) = self.services.get_mut(id).and_then(|slots| slots.get_mut(index)) {
            *place = slot;
        }
    }

    /// Replaces the slots of a service, as they were written down before.
    pub fn restore(&mut self, id: ServiceId, slots: Vec<Slot>) {
        self.services.insert(id, slots);
    }

    /// Every task that gets requests.
    pub fn serving(&self) -> impl Iterator<Item = &TaskId> {
        self.services.values().flatten().filter_map(|slot| match slot {
            Slot::Serving(occupant) => Some(&occupant.task),
            _ => None,
        })
    }
}

/// Room for twice the instances up to twenty slots, then for half as many again.
fn room(instances: usize) -> usize {
    let half_again = instances + instances / 2;
    (2 * instances).min(DOUBLED_UP_TO).max(half_again).max(2)
}

fn place(slots: &mut Vec<Slot>, servers: &[Server]) {
    let wanted: BTreeMap<&TaskId, Endpoint> =
        servers.iter().map(|server| (&server.task, server.endpoint)).collect();
    let mut seated = BTreeSet::new();
    for slot in slots.iter_mut() {
        let Some(occupant) = slot.occupant().cloned() else { continue };
        let stays = wanted.get(&occupant.task) == Some(&occupant.endpoint);
        *slot = match std::mem::take(slot) {
            // A task that comes back while its slot still drains sits there already.
            _ if stays && seated.insert(occupant.task.clone()) => Slot::Serving(occupant),
            Slot::Serving(_) => Slot::Draining(occupant),
            leaving => leaving,
        };
    }
    let mut next = 0;
    for server in servers.iter().filter(|server| !seated.contains(&server.task)) {
        while slots.get(next).is_some_and(|slot| *slot != Slot::Free) {
            next += 1;
        }
        if next == slots.len() {
            slots.push(Slot::Free);
        }
        slots[next] = Slot::Serving(Occupant { task: server.task.clone(), endpoint: server.endpoint });
    }
}

/// The form on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    services: Vec<ServiceRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ServiceRecord {
    #[serde(flatten)]
    id: ServiceId,
    slots: Vec<Slot>,
}

impl Serialize for Placement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record =
            |(id, slots): (&ServiceId, &Vec<Slot>)| ServiceRecord { id: id.clone(), slots: slots.clone() };
        Record { services: self.services.iter().map(record).collect() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Placement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let record = Record::deserialize(deserializer)?;
        Ok(Self {
            services: record.services.into_iter().map(|service| (service.id, service.slots)).collect(),
        })
    }
}
