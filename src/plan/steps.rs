//! The steps that bring a running worker to what is desired, as commands of HAProxy's runtime API.

use std::fmt;

use serde::Serialize;

use crate::model::{Backend, Endpoint};
use crate::placement::{Admin, FREE_ENDPOINT, Slot};
use crate::render::maps::{MapName, Maps};

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

/// What a server that is added needs to keep its connections: 2.6 gives it no pool by default, unlike those it reads from
/// its configuration.
const POOL: &str = "pool-max-conn -1 pool-purge-delay 5s";

/// One step. The order of the variants is the order that loses nothing: servers up, routes in, routes out, then drain,
/// maint and free (`Ord` sorts by it).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// A backend more, with nothing but what its defaults say, that gets no request yet.
    AddBackend {
        /// The backend.
        backend: String,
        /// The name of its defaults.
        from: String,
    },
    /// A slot more, in maintenance.
    AddServer {
        /// The slot.
        server: ServerName,
        /// Where it points to.
        endpoint: Endpoint,
        /// What stands behind its address, each word with a space before it.
        words: String,
        /// True where it gets that address by the next step: only what changes its address makes a server's cookie.
        elsewhere: bool,
    },
    /// Gives a slot in maintenance its address.
    Address {
        /// The slot.
        server: ServerName,
        /// Where it points to.
        endpoint: Endpoint,
    },
    /// Lets HAProxy watch a slot that was added.
    EnableHealth {
        /// The slot.
        server: ServerName,
    },
    /// Its share of the requests.
    Weight {
        /// The slot.
        server: ServerName,
        /// 0 to 256.
        weight: u32,
    },
    /// Lets a server take requests; only after its address shows.
    Ready {
        /// The slot.
        server: ServerName,
    },
    /// Lets a backend that was added take requests.
    PublishBackend {
        /// The backend.
        backend: String,
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
    /// Takes a server away that nothing uses any more. HAProxy may see a use that its figures do not show, and refuse: then
    /// the server stays in maintenance, to be tried again.
    RemoveServer {
        /// The slot.
        server: ServerName,
    },
}

impl Step {
    /// The steps from one state of a slot to another.
    pub(crate) fn of_slot(backend: &str, index: usize, old: &Slot, new: &Slot) -> Vec<Self> {
        let server = || ServerName { backend: backend.to_owned(), slot: index + 1 };
        let mut steps = Vec::new();
        if old.weight() != new.weight() {
            steps.push(Self::Weight { server: server(), weight: new.weight() });
        }
        let moves = old.endpoint() != new.endpoint();
        if *new == Slot::Free {
            if *old != Slot::Free {
                steps.extend([Self::Maint { server: server() }, Self::Free { server: server() }]);
            }
            return steps;
        }
        if moves {
            steps.push(Self::Address { server: server(), endpoint: new.endpoint() });
        }
        if moves || old.admin() != new.admin() {
            steps.push(match new.admin() {
                Admin::Ready => Self::Ready { server: server() },
                Admin::Drain => Self::Drain { server: server() },
                Admin::Maint => Self::Maint { server: server() },
            });
        }
        steps
    }

    /// The steps to a slot that the running backend does not have yet.
    pub(crate) fn of_new_slot(backend: &Backend, index: usize, new: &Slot) -> Vec<Self> {
        let server = || ServerName { backend: backend.name.clone(), slot: index + 1 };
        let elsewhere = backend.extras.sticky;
        // It comes up in maintenance.
        let added = match new.occupant().filter(|_| !elsewhere) {
            Some(occupant) => Slot::Closing(occupant.clone().into()),
            None => Slot::Free,
        };
        let (endpoint, words) = (new.endpoint(), backend.server_words());
        let mut steps = vec![Self::AddServer { server: server(), endpoint, words, elsewhere }];
        if backend.check {
            steps.push(Self::EnableHealth { server: server() });
        }
        steps.extend(Self::of_slot(&backend.name, index, &added, new));
        steps
    }

    /// The steps that take a server away, where a slot in which nobody sits is none.
    pub(crate) fn of_removal(backend: &str, index: usize, old: &Slot) -> Vec<Self> {
        let server = || ServerName { backend: backend.to_owned(), slot: index + 1 };
        let mut steps = Vec::new();
        if old.admin() != Admin::Maint {
            steps.push(Self::Maint { server: server() });
        }
        steps.push(Self::RemoveServer { server: server() });
        steps
    }

    /// The command of HAProxy's runtime API (management guide, 9.3). Names and keys hold neither space nor `;`: backends
    /// and keys are made of parsed values.
    #[must_use]
    pub fn command(&self) -> String {
        let address = |server: &ServerName, endpoint: &Endpoint| {
            format!("set server {server} addr {} port {}", endpoint.ip(), endpoint.port())
        };
        match self {
            Self::AddBackend { backend, from } => format!("add backend {backend} from {from}"),
            Self::PublishBackend { backend } => format!("publish backend {backend}"),
            // What `default-server` says does not count for it (management guide, 9.3, `add server`).
            Self::AddServer { server, words, elsewhere: true, .. } => {
                format!("add server {server} {FREE_ENDPOINT} {POOL}{words}")
            }
            Self::AddServer { server, endpoint, words, .. } => {
                format!("add server {server} {endpoint} {POOL}{words}")
            }
            Self::Address { server, endpoint } => address(server, endpoint),
            Self::EnableHealth { server } => format!("enable health {server}"),
            Self::Weight { server, weight } => format!("set server {server} weight {weight}"),
            Self::Ready { server } => format!("set server {server} state ready"),
            Self::AddRoute { map, key, backend } => format!("add map {} {key} {backend}", map.file()),
            Self::SetRoute { map, key, backend } => format!("set map {} {key} {backend}", map.file()),
            Self::RemoveRoute { map, key, .. } => format!("del map {} {key}", map.file()),
            Self::Drain { server } => format!("set server {server} state drain"),
            Self::Maint { server } => format!("set server {server} state maint"),
            Self::Free { server } => address(server, &FREE_ENDPOINT),
            Self::RemoveServer { server } => format!("del server {server}"),
        }
    }

    /// Whether it says where a slot points to, or makes its backend: what comes after it waits until that shows.
    #[must_use]
    pub fn sets_address(&self) -> bool {
        matches!(self, Self::AddBackend { .. } | Self::AddServer { .. } | Self::Address { .. })
    }

    /// Whether it is done before any route changes.
    #[must_use]
    pub fn comes_before_routes(&self) -> bool {
        let brings_up = matches!(self, Self::EnableHealth { .. } | Self::Weight { .. } | Self::Ready { .. });
        brings_up || matches!(self, Self::PublishBackend { .. }) || self.sets_address()
    }

    /// The key and the value of the map entry that this step sets or takes away.
    #[must_use]
    pub fn entry(&self) -> Option<(&str, &str)> {
        match self {
            Self::AddRoute { key, backend, .. }
            | Self::SetRoute { key, backend, .. }
            | Self::RemoveRoute { key, backend, .. } => Some((key, backend)),
            _ => None,
        }
    }

    /// Does to maps what it does to those of HAProxy.
    pub(crate) fn apply_to(&self, maps: &mut Maps) {
        match self {
            Self::AddRoute { map, key, backend } | Self::SetRoute { map, key, backend } => {
                maps.insert(*map, key.clone(), backend.clone());
            }
            Self::RemoveRoute { map, key, backend } => maps.remove(*map, key, backend),
            _ => {}
        }
    }

    /// The map that this step touches.
    #[must_use]
    pub fn map(&self) -> Option<MapName> {
        match self {
            Self::AddRoute { map, .. } | Self::SetRoute { map, .. } | Self::RemoveRoute { map, .. } => {
                Some(*map)
            }
            _ => None,
        }
    }

    /// The slot that this step touches.
    #[must_use]
    pub fn server(&self) -> Option<&ServerName> {
        match self {
            Self::AddServer { server, .. }
            | Self::Address { server, .. }
            | Self::EnableHealth { server }
            | Self::Weight { server, .. }
            | Self::Ready { server }
            | Self::Drain { server }
            | Self::Maint { server }
            | Self::Free { server }
            | Self::RemoveServer { server } => Some(server),
            Self::AddBackend { .. }
            | Self::PublishBackend { .. }
            | Self::AddRoute { .. }
            | Self::SetRoute { .. }
            | Self::RemoveRoute { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mode, TaskId};
    use crate::placement::Occupant;

    fn at(port: u16) -> Box<Occupant> {
        Box::new(Occupant::new(TaskId::new("t"), ([10, 0, 0, 1], port).into()))
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
    fn where_a_free_slot_is_no_server_it_is_added_at_its_address_and_taken_away_only_in_maintenance() {
        let commands = |steps: Vec<Step>| steps.iter().map(Step::command).collect::<Vec<_>>();
        let add = "add server h_a_0/slot3 10.0.0.1:7 pool-max-conn -1 pool-purge-delay 5s";
        let added = |check| {
            let mut backend = Backend::new("h_a_0", Mode::Http, "roundrobin");
            backend.check = check;
            let steps = commands(Step::of_new_slot(&backend, 2, &Slot::Serving(at(7))));
            (steps, format!("{add}{}", backend.server_words()))
        };
        let (enable, ready) = ("enable health h_a_0/slot3", "set server h_a_0/slot3 state ready");
        let (steps, add_it) = added(false);
        assert_eq!(steps, [add_it.as_str(), ready]);
        let (steps, add_it) = added(true);
        assert_eq!(steps, [add_it.as_str(), enable, ready]);
        let removed = |old| commands(Step::of_removal("h_a_0", 2, &old));
        let (maint, remove) = ("set server h_a_0/slot3 state maint", "del server h_a_0/slot3");
        assert_eq!(removed(Slot::Serving(at(7))), [maint, remove]);
        assert_eq!(removed(Slot::Draining(at(7))), [maint, remove]);
        assert_eq!(removed(Slot::Closing(at(7))), [remove], "it is there already");
    }

    #[test]
    fn sorted_steps_bring_servers_up_before_routes_in_and_routes_out_before_drains() {
        let server = || ServerName { backend: "b".into(), slot: 1 };
        let route = || (MapName::Hosts, "x".to_owned(), "b".to_owned());
        let (map, key, backend) = route();
        let new = || "new".to_owned();
        let mut steps = [
            Step::PublishBackend { backend: new() },
            Step::AddBackend { backend: new(), from: "http_service".to_owned() },
            Step::RemoveServer { server: server() },
            Step::Drain { server: server() },
            Step::RemoveRoute { map, key, backend },
            Step::Ready { server: server() },
            Step::Address { server: server(), endpoint: FREE_ENDPOINT },
        ];
        steps.sort();
        let order: Vec<String> = steps.iter().map(Step::command).collect();
        let words = ["add backend", "addr", "ready", "publish", "del map", "drain", "del server"];
        assert_eq!(order.len(), words.len());
        assert!(order.iter().zip(words).all(|(command, word)| command.contains(word)), "{order:?}");
    }
}
