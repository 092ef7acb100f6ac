//! Pure: which task sits in which slot of its backend. A surviving task keeps its slot, and so its stickiness and its
//! connections; a slot is given to another task only when nothing uses it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use rpds::RedBlackTreeMapSync;
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
    Serving(Box<Occupant>),
    /// A task that gets no new request, or only those that stick to it; `disabled` in the text.
    Draining(Box<Occupant>),
    /// A task that gets no request at all, while its last connections end; `disabled` in the text.
    Closing(Box<Occupant>),
}

/// Who sits in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// The task.
    pub task: TaskId,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// What a person set on its server, for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<Box<ByHand>>,
}

impl Occupant {
    /// A task at its address, with nothing set by hand.
    #[must_use]
    pub fn new(task: TaskId, endpoint: Endpoint) -> Self {
        Self { task, endpoint, by_hand: None }
    }
}

/// What a person set on a server: kept until its time is over, also over reloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Whether it takes requests.
    pub admin: Admin,
    /// Its weight, 0 to 256; 1 where nobody set one (configuration manual, 5.2, `weight`).
    pub weight: u32,
    /// When it was first seen.
    pub since: SystemTime,
    /// Until when it is kept.
    pub until: SystemTime,
    /// Who did it; `None` where it was found at HAProxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it was ordered for every node, not for this one alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fleet: bool,
}

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// It does.
    Ready,
    /// Only those that stick to it.
    Drain,
    /// None.
    Maint,
}

impl Admin {
    /// The word of `set server … state` (management guide, 9.3).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// The slots of one service; shared by what is desired, what runs and what is written down.
pub type Slots = Arc<Vec<Slot>>;

impl Slot {
    /// Who sits in it, whatever it still gets.
    #[must_use]
    pub fn occupant(&self) -> Option<&Occupant> {
        match self {
            Self::Free => None,
            Self::Serving(occupant) | Self::Draining(occupant) | Self::Closing(occupant) => Some(occupant),
        }
    }

    /// Where HAProxy has it point to.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.occupant().map_or(FREE_ENDPOINT, |occupant| occupant.endpoint)
    }

    /// Whether HAProxy is to let it take requests.
    #[must_use]
    pub fn admin(&self) -> Admin {
        match self {
            Self::Serving(occupant) => {
                occupant.by_hand.as_ref().map_or(Admin::Ready, |by_hand| by_hand.admin)
            }
            Self::Draining(_) => Admin::Drain,
            Self::Closing(_) | Self::Free => Admin::Maint,
        }
    }

    /// Its weight.
    #[must_use]
    pub fn weight(&self) -> u32 {
        match self {
            Self::Serving(occupant) => occupant.by_hand.as_ref().map_or(WEIGHT, |by_hand| by_hand.weight),
            _ => WEIGHT,
        }
    }

    /// What a worker has that has just read the files: nobody drains there, `disabled` is maintenance.
    #[must_use]
    pub fn as_read(&self) -> Self {
        match self {
            Self::Draining(occupant) => Self::Closing(occupant.clone()),
            Self::Serving(occupant) => {
                let mut occupant = occupant.clone();
                if let Some(by_hand) =
                    occupant.by_hand.as_deref_mut().filter(|hand| hand.admin != Admin::Ready)
                {
                    by_hand.admin = Admin::Maint;
                }
                Self::Serving(occupant)
            }
            other => other.clone(),
        }
    }
}

/// Where a slot that nobody sits in points to: a port that nobody listens on.
pub const FREE_ENDPOINT: Endpoint = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The weight of a server where nothing says otherwise.
pub const WEIGHT: u32 = 1;

/// HAProxy's most (configuration manual, 5.2, `weight`).
pub const WEIGHT_MAX: u32 = 256;

/// The slots of every service; kept on disk so that a new Causeway goes on with them. A clone shares everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    services: RedBlackTreeMapSync<ServiceId, Slots>,
}

impl Placement {
    /// Places the servers of a service, changing as little as possible, with at least `least` slots. More servers than
    /// free slots make new slots. A slot of those that are `running` is given to nobody before it is free there too.
    pub fn place(&mut self, service: &Service, least: usize, running: &[Slot]) -> Slots {
        let mut slots = self.slots(&service.id);
        let mut placed = Vec::with_capacity(least.max(slots.len()));
        placed.extend_from_slice(&slots);
        place(&mut placed, &service.servers, running);
        if placed.len() < least {
            placed.resize(least, Slot::Free);
        }
        if placed != *slots {
            slots = Arc::new(placed);
            self.restore(service.id.clone(), Arc::clone(&slots));
        }
        slots
    }

    /// Keeps only some services.
    pub fn retain(&mut self, keep: impl Fn(&ServiceId) -> bool) {
        let gone: Vec<ServiceId> = self.services.keys().filter(|id| !keep(id)).cloned().collect();
        for id in gone {
            self.services.remove_mut(&id);
        }
    }

    /// Forgets a service that is gone.
    pub fn remove(&mut self, id: &ServiceId) {
        self.services.remove_mut(id);
    }

    /// The slots of a service, the first being `slot1`.
    #[must_use]
    pub fn slots(&self, id: &ServiceId) -> Slots {
        self.services.get(id).cloned().unwrap_or_default()
    }

    /// Changes what a slot is.
    pub fn set(&mut self, id: &ServiceId, index: usize, slot: Slot) {
        let mut slots = self.slots(id);
        if let Some(place) = Arc::make_mut(&mut slots).get_mut(index) {
            *place = slot;
            self.restore(id.clone(), slots);
        }
    }

    /// Replaces the slots of a service.
    pub fn restore(&mut self, id: ServiceId, slots: Slots) {
        self.services.insert_mut(id, slots);
    }

    /// Every task that gets requests.
    pub fn serving(&self) -> impl Iterator<Item = &TaskId> {
        self.services.values().flat_map(|slots| slots.iter()).filter_map(|slot| match slot {
            Slot::Serving(occupant) => Some(&occupant.task),
            _ => None,
        })
    }
}

/// The slots with the room that so many instances should have, for a HAProxy that reads its text anew: there who closes
/// has nothing left.
#[must_use]
pub fn with_room(slots: &Slots, instances: usize) -> Slots {
    let stays = |slot: &Slot| matches!(slot, Slot::Serving(_) | Slot::Draining(_));
    let staying = slots.iter().filter(|slot| stays(slot)).count();
    let last = slots.iter().rposition(stays).map_or(0, |last| last + 1);
    let length = room(instances.max(staying)).max(last);
    if length == slots.len() && !slots.iter().any(|slot| matches!(slot, Slot::Closing(_))) {
        return Arc::clone(slots);
    }
    let mut roomy: Vec<Slot> =
        slots.iter().map(|slot| if stays(slot) { slot.clone() } else { Slot::Free }).collect();
    roomy.resize(length, Slot::Free);
    Arc::new(roomy)
}

/// The slots of those who stay, without any room, for a HAProxy that reads its text anew and takes servers while it runs.
#[must_use]
pub fn without_room(slots: &Slots) -> Slots {
    let stays = |slot: &Slot| matches!(slot, Slot::Serving(_) | Slot::Draining(_));
    let length = slots.iter().rposition(stays).map_or(0, |last| last + 1);
    if length == slots.len() && !slots.iter().any(|slot| matches!(slot, Slot::Closing(_))) {
        return Arc::clone(slots);
    }
    let staying = |slot: &Slot| if stays(slot) { slot.clone() } else { Slot::Free };
    Arc::new(slots[..length].iter().map(staying).collect())
}

/// Room for twice the instances up to twenty slots, then for half as many again.
pub fn room(instances: usize) -> usize {
    let half_again = instances + instances / 2;
    (2 * instances).min(DOUBLED_UP_TO).max(half_again).max(2)
}

fn place(slots: &mut Vec<Slot>, servers: &[Server], running: &[Slot]) {
    let wanted: BTreeMap<&TaskId, Endpoint> =
        servers.iter().map(|server| (&server.task, server.endpoint)).collect();
    let mut seated = BTreeSet::new();
    for slot in slots.iter_mut() {
        let Some(occupant) = slot.occupant() else { continue };
        let stays =
            wanted.get(&occupant.task) == Some(&occupant.endpoint) && seated.insert(occupant.task.clone());
        *slot = match std::mem::take(slot) {
            // A task that comes back while its slot still drains sits there already.
            Slot::Serving(occupant) | Slot::Draining(occupant) | Slot::Closing(occupant) if stays => {
                Slot::Serving(occupant)
            }
            Slot::Serving(occupant) => Slot::Draining(occupant),
            leaving => leaving,
        };
    }
    let mut next = 0;
    for server in servers.iter().filter(|server| !seated.contains(&server.task)) {
        let free = |index: usize, slot: &Slot| {
            *slot == Slot::Free && running.get(index).is_none_or(|running| *running == Slot::Free)
        };
        while slots.get(next).is_some_and(|slot| !free(next, slot)) {
            next += 1;
        }
        if next == slots.len() {
            slots.push(Slot::Free);
        }
        slots[next] = Slot::Serving(Occupant::new(server.task.clone(), server.endpoint).into());
    }
}

/// One service in the form on disk.
#[derive(Deserialize)]
struct Record {
    #[serde(flatten)]
    id: ServiceId,
    slots: Vec<Slot>,
}

#[derive(Serialize)]
struct RecordRef<'a> {
    #[serde(flatten)]
    id: &'a ServiceId,
    slots: &'a [Slot],
}

impl Serialize for Placement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.services.iter().map(|(id, slots)| RecordRef { id, slots }))
    }
}

impl<'de> Deserialize<'de> for Placement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let records = Vec::<Record>::deserialize(deserializer)?;
        let services = records.into_iter().map(|record| (record.id, Arc::new(record.slots))).collect();
        Ok(Self { services })
    }
}
