//! What HAProxy reports of its servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::placement::{Admin, Slot};

/// `srv_admin_state`: maintenance, whoever asked for it (management guide, `show servers state`).
const ADMIN_MAINT: u32 = 0x01 | 0x02 | 0x20;
/// `srv_admin_state`: drain, whoever asked for it.
const ADMIN_DRAIN: u32 = 0x08 | 0x10;

/// A server as a worker has it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Where it is reached; `None` where that is no address.
    pub endpoint: Option<SocketAddr>,
    /// Whether it takes requests.
    pub admin: Admin,
    /// Its share of them.
    pub weight: u32,
}

impl ServerState {
    /// What a worker should report of a slot.
    #[must_use]
    pub fn of(slot: &Slot) -> Self {
        Self { endpoint: Some(slot.endpoint()), admin: slot.admin(), weight: slot.weight() }
    }
}

/// Reads `show servers state` line by line.
#[derive(Debug, Default)]
pub struct StateReader {
    columns: Option<Columns>,
}

#[derive(Clone, Copy, Debug)]
struct Columns {
    backend: usize,
    server: usize,
    address: usize,
    port: usize,
    admin: usize,
    weight: usize,
}

impl Columns {
    fn of(header: &str) -> Option<Self> {
        let names: Vec<&str> = header.split(' ').collect();
        let column = |name: &str| names.iter().position(|word| *word == name);
        Some(Self {
            backend: column("be_name")?,
            server: column("srv_name")?,
            address: column("srv_addr")?,
            port: column("srv_port")?,
            admin: column("srv_admin_state")?,
            weight: column("srv_uweight")?,
        })
    }
}

impl StateReader {
    /// Reads one line: the backend, the server and its state; `None` where it says none.
    pub fn read<'a>(&mut self, line: &'a str) -> Option<(&'a str, &'a str, ServerState)> {
        if let Some(header) = line.strip_prefix("# ") {
            self.columns = Columns::of(header);
            return None;
        }
        let columns = self.columns?;
        let (mut backend, mut server, mut address, mut port, mut admin, mut weight) =
            (None, None, None, None, None, None);
        for (index, word) in line.split(' ').enumerate() {
            match index {
                index if index == columns.backend => backend = Some(word),
                index if index == columns.server => server = Some(word),
                index if index == columns.address => address = word.parse::<IpAddr>().ok(),
                index if index == columns.port => port = word.parse::<u16>().ok(),
                index if index == columns.admin => admin = word.parse::<u32>().ok(),
                index if index == columns.weight => weight = word.parse::<u32>().ok(),
                _ => {}
            }
        }
        let (admin, port) = (admin?, port?);
        let state = ServerState {
            endpoint: address.map(|address| (address, port).into()),
            weight: weight?,
            admin: if admin & ADMIN_MAINT != 0 {
                Admin::Maint
            } else if admin & ADMIN_DRAIN != 0 {
                Admin::Drain
            } else {
                Admin::Ready
            },
        };
        Some((backend?, server?, state))
    }
}

/// Reads the answer to `show servers state`, by backend and server.
#[must_use]
pub fn parse_states(answer: &str) -> BTreeMap<(String, String), ServerState> {
    let mut reader = StateReader::default();
    let mut states = BTreeMap::new();
    for line in answer.lines() {
        if let Some((backend, server, state)) = reader.read(line) {
            states.insert((backend.to_owned(), server.to_owned()), state);
        }
    }
    states
}

/// What still uses a server (`show stat <backend> 4 -1`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Sessions under way and waiting.
    pub sessions: u64,
    /// Connections to it, used and idle.
    pub connections: u64,
}

/// Reads answers to `show stat`, one after the other, by backend and server. A server of which anything is not known is
/// left out: it could be in use.
#[must_use]
pub fn parse_uses(answers: &str) -> BTreeMap<(String, String), Use> {
    const COLUMNS: [&str; 6] = ["pxname", "svname", "scur", "qcur", "used_conn_cur", "idle_conn_cur"];
    let mut columns = None;
    let mut uses = BTreeMap::new();
    for line in answers.lines() {
        if let Some(header) = line.strip_prefix("# ") {
            let header: Vec<&str> = header.split(',').collect();
            columns = Some(COLUMNS.map(|name| header.iter().position(|word| *word == name)));
            continue;
        }
        let Some(columns) = columns else { continue };
        let words: Vec<&str> = line.split(',').collect();
        let words = columns.map(|at| at.and_then(|at| words.get(at).copied()));
        let [Some(backend), Some(server), Some(current), Some(queued), Some(used), Some(idle)] = words else {
            continue;
        };
        let sum = |one: &str, other: &str| one.parse::<u64>().ok()?.checked_add(other.parse().ok()?);
        if let (Some(sessions), Some(connections)) = (sum(current, queued), sum(used, idle)) {
            uses.insert((backend.to_owned(), server.to_owned()), Use { sessions, connections });
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_states_of_servers_are_read() {
        let answer = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n\
                      5 h_a_0 1 slot1 127.0.0.2 2 0 1 7009\n5 h_a_0 2 slot2 127.0.0.1 0 5 1 1\n5 h_a_0 3 slot3 - 2 8 1 7\n\n";
        let states = parse_states(answer);
        let state = |slot: &str| states[&("h_a_0".to_owned(), slot.to_owned())];
        assert_eq!(
            state("slot1"),
            ServerState { endpoint: "127.0.0.2:7009".parse().ok(), admin: Admin::Ready, weight: 1 }
        );
        assert_eq!(state("slot2").admin, Admin::Maint);
        assert_eq!(state("slot3"), ServerState { endpoint: None, admin: Admin::Drain, weight: 1 });
        assert!(parse_states("Can't find backend.\n").is_empty());
    }

    #[test]
    fn what_uses_a_server_is_read() {
        let answer =
            "# pxname,svname,qcur,qmax,scur,used_conn_cur,idle_conn_cur,\nh_a_0,slot1,1,0,2,3,4,\n\n";
        assert_eq!(
            parse_uses(answer)[&("h_a_0".to_owned(), "slot1".to_owned())],
            Use { sessions: 3, connections: 7 }
        );
        assert!(parse_uses("# pxname,svname\nh,slot1\n").is_empty(), "without its columns nothing is known");
        assert!(
            parse_uses(&answer.replace(",3,4,", ",?,4,")).is_empty(),
            "what is not a number is not nothing"
        );
        let two = format!("{answer}{}", answer.replace("h_a_0", "h_b_0"));
        assert_eq!(parse_uses(&two).len(), 2);
    }
}
