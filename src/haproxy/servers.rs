//! What HAProxy reports of its servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// `srv_admin_state`: maintenance, whoever asked for it (management guide, `show servers state`).
const ADMIN_MAINT: u32 = 0x01 | 0x02 | 0x20;
/// `srv_admin_state`: drain, whoever asked for it.
const ADMIN_DRAIN: u32 = 0x08 | 0x10;

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// It does.
    Ready,
    /// Only those that stick to it.
    Drain,
    /// None.
    Maint,
}

/// A server as a worker has it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Where it is reached; `None` where that is no address.
    pub endpoint: Option<SocketAddr>,
    /// Whether it takes requests.
    pub admin: Admin,
}

/// Reads the answer to `show servers state`, by backend and server.
#[must_use]
pub fn parse_states(answer: &str) -> BTreeMap<(String, String), ServerState> {
    let mut lines = answer.lines().skip_while(|line| !line.starts_with("# "));
    let header: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(' ').collect();
    let column = |name: &str| header.iter().position(|word| *word == name);
    let columns = (|| {
        Some((
            column("be_name")?,
            column("srv_name")?,
            column("srv_addr")?,
            column("srv_port")?,
            column("srv_admin_state")?,
        ))
    })();
    let Some((backend, name, address, port, admin)) = columns else { return BTreeMap::new() };
    lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let admin: u32 = words.get(admin)?.parse().ok()?;
            let address: Option<IpAddr> = words.get(address)?.parse().ok();
            let port: u16 = words.get(port)?.parse().ok()?;
            let state = ServerState {
                endpoint: address.map(|address| (address, port).into()),
                admin: if admin & ADMIN_MAINT != 0 {
                    Admin::Maint
                } else if admin & ADMIN_DRAIN != 0 {
                    Admin::Drain
                } else {
                    Admin::Ready
                },
            };
            Some((((*words.get(backend)?).to_owned(), (*words.get(name)?).to_owned()), state))
        })
        .collect()
}

/// What still uses a server (`show stat <backend> 4 -1`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Sessions under way and waiting.
    pub sessions: u64,
    /// Connections to it, used and idle.
    pub connections: u64,
}

/// Reads the answer to `show stat` of one backend, by server. A server of which anything is not known is left out.
#[must_use]
pub fn parse_use(answer: &str) -> BTreeMap<String, Use> {
    parse_uses(answer).into_iter().map(|((_, server), used)| (server, used)).collect()
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
            ServerState { endpoint: "127.0.0.2:7009".parse().ok(), admin: Admin::Ready }
        );
        assert_eq!(state("slot2").admin, Admin::Maint);
        assert_eq!(state("slot3"), ServerState { endpoint: None, admin: Admin::Drain });
        assert!(parse_states("Can't find backend.\n").is_empty());
    }

    #[test]
    fn what_uses_a_server_is_read() {
        let answer =
            "# pxname,svname,qcur,qmax,scur,used_conn_cur,idle_conn_cur,\nh_a_0,slot1,1,0,2,3,4,\n\n";
        assert_eq!(parse_use(answer)["slot1"], Use { sessions: 3, connections: 7 });
        assert!(parse_use("# pxname,svname\nh,slot1\n").is_empty(), "without its columns nothing is known");
        assert!(
            parse_use(&answer.replace(",3,4,", ",?,4,")).is_empty(),
            "what is not a number is not nothing"
        );
        let two = format!("{answer}{}", answer.replace("h_a_0", "h_b_0"));
        assert_eq!(parse_uses(&two).len(), 2);
    }
}
