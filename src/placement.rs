//! Pure: which task sits in which slot. A surviving task keeps its slot, and so its stickiness and its connections.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Service, ServiceId, TaskId};

/// Who sits where; kept on disk so that a new Causeway goes on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    services: BTreeMap<ServiceId, BTreeMap<TaskId, u32>>,
}

impl Placement {
    /// Places the servers of a service anew, changing as little as possible.
    pub fn place(&mut self, service: &Service) {
        let old = self.services.remove(&service.id).unwrap_or_default();
        let placed = place(service, &old);
        if !placed.is_empty() {
            self.services.insert(service.id.clone(), placed);
        }
    }

    /// Forgets a service that is gone.
    pub fn remove(&mut self, id: &ServiceId) {
        self.services.remove(id);
    }

    /// The slots of a service, by task; counted from 1, as HAProxy's `server-template` does.
    #[must_use]
    pub fn slots(&self, id: &ServiceId) -> Option<&BTreeMap<TaskId, u32>> {
        self.services.get(id)
    }

    /// Every task that has a slot.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.services.values().flat_map(BTreeMap::keys)
    }
}

fn place(service: &Service, old: &BTreeMap<TaskId, u32>) -> BTreeMap<TaskId, u32> {
    let mut placed: BTreeMap<TaskId, u32> = service
        .servers
        .iter()
        .filter_map(|server| Some((server.task.clone(), *old.get(&server.task)?)))
        .collect();
    let taken: BTreeSet<u32> = placed.values().copied().collect();
    let mut free = (1..).filter(|slot| !taken.contains(slot));
    for server in service.servers.iter().filter(|server| !old.contains_key(&server.task)) {
        if let Some(slot) = free.next() {
            placed.insert(server.task.clone(), slot);
        }
    }
    placed
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
    slots: BTreeMap<TaskId, u32>,
}

impl Serialize for Placement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = |(id, slots): (&ServiceId, &BTreeMap<TaskId, u32>)| ServiceRecord {
            id: id.clone(),
            slots: slots.clone(),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppId, Backend, Mode, Server};

    fn service(tasks: &[&str]) -> Service {
        let server = |task: &&str| Server { task: TaskId::new(task), endpoint: ([10, 0, 0, 1], 1).into() };
        Service {
            id: ServiceId { app: AppId::new("/a"), port_index: 0 },
            port: None,
            routes: Vec::new(),
            app_id_route: false,
            backend: Backend {
                name: "h_a_0".into(),
                mode: Mode::Http,
                balance: "roundrobin".into(),
                check: false,
            },
            servers: tasks.iter().map(server).collect(),
        }
    }

    fn slots(placement: &Placement) -> Vec<(&str, u32)> {
        let id = ServiceId { app: AppId::new("/a"), port_index: 0 };
        placement.slots(&id).into_iter().flatten().map(|(task, slot)| (task.as_str(), *slot)).collect()
    }

    #[test]
    fn rule_3_who_stays_keeps_its_slot_and_who_comes_takes_a_free_one() {
        let mut placement = Placement::default();
        placement.place(&service(&["a", "b", "c"]));
        assert_eq!(slots(&placement), [("a", 1), ("b", 2), ("c", 3)]);
        placement.place(&service(&["b", "d", "c", "e"]));
        assert_eq!(slots(&placement), [("b", 2), ("c", 3), ("d", 1), ("e", 4)]);
    }

    #[test]
    fn it_reads_back_as_it_was_written() {
        let mut placement = Placement::default();
        placement.place(&service(&["a", "b"]));
        let json = serde_json::to_string(&placement).unwrap();
        assert_eq!(serde_json::from_str::<Placement>(&json).unwrap(), placement);
    }
}
