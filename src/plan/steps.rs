//! The steps that bring a running worker to what is desired, as commands of HAProxy's runtime API.

use std::fmt;

use serde::Serialize;

use crate::model::Endpoint;
use crate::placement::Slot;
use crate::render::FREE_ENDPOINT;
use crate::render::maps::MapName;

/// A server of a backend, as HAProxy names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServerName {
    /// The backend.
    pub backend: String,
    /// The slot's number, from 1.
    pub slot: usize,
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/slot{}", self.backend, self.slot)
    }
}

/// One step. The order of the variants is the order that loses nothing: servers up, routes in, routes out, then drain,
/// maint and free (`Ord` sorts by it).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Gives a slot in maintenance its address.
    Address {
        /// The slot.
        server: ServerName,
        /// Where it points to.
        endpoint: Endpoint,
    },
    /// Lets a server take requests; only after its address shows.
    Ready {
        /// The slot.
        server: ServerName,
    },
    /// A new map entry.
    AddRoute {
        /// The map.
        map: MapName,
        /// The key.
        key: String,
        /// The backend.
        backend: String,
    },
    /// Another backend for a map entry.
    SetRoute {
        /// The map.
        map: MapName,
        /// The key.
        key: String,
        /// The backend.
        backend: String,
    },
    /// A map entry that goes.
    RemoveRoute {
        /// The map.
        map: MapName,
        /// The key.
        key: String,
        /// The backend it led to.
        backend: String,
    },
    /// No new requests but those that stick.
    Drain {
        /// The slot.
        server: ServerName,
    },
    /// No requests at all.
    Maint {
        /// The slot.
        server: ServerName,
    },
    /// Points a slot that nothing uses any more to nowhere.
    Free {
        /// The slot.
        server: ServerName,
    },
}

impl Step {
    /// The steps from one state of a slot to another.
    pub(crate) fn of_slot(backend: &str, index: usize, old: &Slot, new: &Slot) -> Vec<Self> {
        let server = || ServerName { backend: backend.to_owned(), slot: index + 1 };
        let moved = || {
            old.occupant().map(|occupant| occupant.endpoint)
                != new.occupant().map(|occupant| occupant.endpoint)
        };
        match new {
            Slot::Serving(occupant) if moved() => {
                vec![
                    Self::Address { server: server(), endpoint: occupant.endpoint },
                    Self::Ready { server: server() },
                ]
            }
            Slot::Serving(_) if matches!(old, Slot::Serving(_)) => Vec::new(),
            Slot::Serving(_) => vec![Self::Ready { server: server() }],
            Slot::Draining(_) => vec![Self::Drain { server: server() }],
            Slot::Closing(_) => vec![Self::Maint { server: server() }],
            Slot::Free => vec![Self::Maint { server: server() }, Self::Free { server: server() }],
        }
    }

    /// The command of HAProxy's runtime API (management guide, 9.3). Names and keys hold neither space nor `;`: backends
    /// and keys are made of parsed values.
    #[must_use]
    pub fn command(&self) -> String {
        let address = |server: &ServerName, endpoint: &Endpoint| {
            format!("set server {server} addr {} port {}", endpoint.ip(), endpoint.port())
        };
        match self {
            Self::Address { server, endpoint } => address(server, endpoint),
            Self::Ready { server } => format!("set server {server} state ready"),
            Self::AddRoute { map, key, backend } => format!("add map {} {key} {backend}", map.file()),
            Self::SetRoute { map, key, backend } => format!("set map {} {key} {backend}", map.file()),
            Self::RemoveRoute { map, key, .. } => format!("del map {} {key}", map.file()),
            Self::Drain { server } => format!("set server {server} state drain"),
            Self::Maint { server } => format!("set server {server} state maint"),
            Self::Free { server } => address(server, &FREE_ENDPOINT),
        }
    }

    /// The slot that this step touches.
    #[must_use]
    pub fn server(&self) -> Option<&ServerName> {
        match self {
            Self::Address { server, .. }
            | Self::Ready { server }
            | Self::Drain { server }
            | Self::Maint { server }
            | Self::Free { server } => Some(server),
            Self::AddRoute { .. } | Self::SetRoute { .. } | Self::RemoveRoute { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskId;
    use crate::placement::Occupant;

    fn at(port: u16) -> Occupant {
        Occupant { task: TaskId::new("t"), endpoint: ([10, 0, 0, 1], port).into() }
    }

    fn commands(old: &Slot, new: &Slot) -> Vec<String> {
        Step::of_slot("h_a_0", 1, old, new).iter().map(Step::command).collect()
    }

    #[test]
    fn a_slot_gets_its_address_before_it_is_ready_and_loses_it_only_after_maint() {
        let set = |what: &str| format!("set server h_a_0/slot2 {what}");
        let (serving, draining, closing) =
            (Slot::Serving(at(7)), Slot::Draining(at(7)), Slot::Closing(at(7)));
        assert_eq!(commands(&Slot::Free, &serving), [set("addr 10.0.0.1 port 7"), set("state ready")]);
        assert_eq!(commands(&serving, &draining), [set("state drain")]);
        assert_eq!(commands(&draining, &serving), [set("state ready")]);
        assert_eq!(commands(&draining, &closing), [set("state maint")]);
        assert_eq!(commands(&closing, &Slot::Free), [set("state maint"), set("addr 127.0.0.1 port 1")]);
    }

    #[test]
    fn sorted_steps_bring_servers_up_before_routes_in_and_routes_out_before_drains() {
        let server = || ServerName { backend: "b".into(), slot: 1 };
        let route = || (MapName::Hosts, "x".to_owned(), "b".to_owned());
        let (map, key, backend) = route();
        let mut steps = [
            Step::Drain { server: server() },
            Step::RemoveRoute { map, key, backend },
            Step::Ready { server: server() },
            Step::Address { server: server(), endpoint: FREE_ENDPOINT },
        ];
        steps.sort();
        let order: Vec<String> = steps.iter().map(Step::command).collect();
        assert!(
            order[0].contains("addr")
                && order[1].contains("ready")
                && order[2].contains("del map")
                && order[3].contains("drain")
        );
    }
}
