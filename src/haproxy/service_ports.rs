//! Which service ports are bound ahead, and which cannot be had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use nix::sys::resource::{Resource, getrlimit};

use crate::config::{HaproxyConfig, PortRange, split_bind};
use crate::render::Files;

/// The service ports that one frontend binds ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePorts {
    host: String,
    range: PortRange,
    /// Ports of the range that other programs, or frontends of ours, listen on.
    taken: BTreeSet<u16>,
}

impl ServicePorts {
    /// The range of the configuration, as far as open files allow, without `taken`.
    #[must_use]
    pub fn new(config: &HaproxyConfig, taken: BTreeSet<u16>) -> Self {
        let for_connections = 2 * u64::from(config.maxconn);
        let range = affordable(config.service_port_range, open_files().saturating_sub(for_connections));
        Self { host: config.bind_service_ports.clone(), range, taken }
    }

    /// Looks which ports of the range are taken, by trying each. Only while HAProxy does not run: then they are its own.
    #[must_use]
    pub fn probe(config: &HaproxyConfig, https: bool) -> Self {
        let mut ports = Self::new(config, BTreeSet::new());
        ports.taken = ports.in_use(config, https);
        if !ports.taken.is_empty() {
            let shown: Vec<String> = ports.taken.iter().take(10).map(u16::to_string).collect();
            tracing::warn!(
                ports.taken = ports.taken.len(),
                "service ports in use by others are not bound: {}",
                shown.join(", ")
            );
        }
        ports
    }

    fn in_use(&self, config: &HaproxyConfig, https: bool) -> BTreeSet<u16> {
        let host = self.host.trim_matches(['[', ']']).parse().unwrap_or(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let own: BTreeSet<u16> = own_ports(config, https).into_keys().collect();
        let bound = |port: u16| {
            TcpListener::bind((host, port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
        };
        (self.range.first..=self.range.last).filter(|port| own.contains(port) || bound(*port)).collect()
    }

    /// The ports that a running HAProxy was found to have bound ahead.
    #[must_use]
    pub fn of_loaded(config: &HaproxyConfig, https: bool, loaded: &Files) -> Self {
        let fresh = Self::new(config, own_ports(config, https).into_keys().collect());
        let bound: Vec<PortRange> = loaded
            .config()
            .lines()
            .skip_while(|line| !line.starts_with("frontend service_ports "))
            .skip(1)
            .map_while(|line| line.trim().strip_prefix("bind "))
            .filter_map(|bind| bind.rsplit_once(':')?.1.parse().ok())
            .collect();
        if bound.is_empty() {
            return fresh;
        }
        // What HAProxy holds is its own, by whichever frontend; only the rest can be another's.
        let alone: BTreeSet<u16> = loaded.config().lines().filter_map(single_bind).collect();
        let covered = |port: u16| bound.iter().any(|range| range.contains(port)) || alone.contains(&port);
        let mut taken = fresh.in_use(config, https);
        let own = own_ports(config, https);
        taken.retain(|port| own.contains_key(port) || !covered(*port));
        Self { taken, ..fresh }
    }

    /// Whether an address can be had for one port of its own. A HAProxy that is reloaded and cannot bind pauses every
    /// listener while it tries again for two seconds: so it is tried here first.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn try_bind(&self, port: u16) -> std::io::Result<()> {
        let host = self.host.trim_matches(['[', ']']).parse().unwrap_or(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        TcpListener::bind((host, port)).map(drop)
    }

    /// Whether the port is bound ahead.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.range.contains(port) && !self.taken.contains(&port)
    }

    /// The address of one port of its own.
    #[must_use]
    pub fn bind(&self, port: u16) -> String {
        format!("{}:{port}", self.host)
    }

    /// The address of one port of its own at another address than the shared one.
    #[must_use]
    pub fn bind_at(&self, address: Option<&str>, port: u16) -> String {
        format!("{}:{port}", address.unwrap_or(&self.host))
    }

    /// The addresses to bind ahead, as ranges.
    #[must_use]
    pub fn binds(&self) -> Vec<String> {
        self.binds_without(&BTreeSet::new())
    }

    /// The addresses to bind ahead, as ranges without some ports.
    #[must_use]
    pub fn binds_without(&self, own: &BTreeSet<u16>) -> Vec<String> {
        let mut binds = Vec::new();
        let mut first = None;
        for port in self.range.first..=self.range.last {
            let start = *first.get_or_insert(port);
            if self.taken.contains(&port) || own.contains(&port) {
                if start < port {
                    binds.push(format!("{}:{start}-{}", self.host, port - 1));
                }
                first = None;
            } else if port == self.range.last {
                binds.push(format!("{}:{start}-{port}", self.host));
            }
        }
        binds
    }

    /// Ports that no service may have, with the reason.
    #[must_use]
    pub fn reserved(&self, config: &HaproxyConfig, https: bool) -> BTreeMap<u16, String> {
        let mut reserved: BTreeMap<u16, String> =
            self.taken.iter().map(|port| (*port, "another program listens there".to_owned())).collect();
        reserved
            .extend(own_ports(config, https).into_iter().map(|(port, key)| (port, format!("it is {key}"))));
        reserved
    }
}

/// The port of a line that binds one.
fn single_bind(line: &str) -> Option<u16> {
    line.trim().strip_prefix("bind ")?.split(' ').next()?.rsplit_once(':')?.1.parse().ok()
}

fn own_ports(config: &HaproxyConfig, https: bool) -> BTreeMap<u16, &'static str> {
    config.own_binds(https).into_iter().filter_map(|(key, bind)| Some((split_bind(bind)?.1, key))).collect()
}

fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard)
}

/// Each bound port costs an open file, and connections need theirs: at most half of the limit goes to ports.
fn affordable(range: PortRange, open_files: u64) -> PortRange {
    let wanted = u64::from(range.last.saturating_sub(range.first)) + 1;
    let most = open_files.saturating_sub(200) * 6 / 10;
    if range.first > range.last || wanted <= most {
        return range;
    }
    let last = range.first.saturating_add(u16::try_from(most.max(1) - 1).unwrap_or(u16::MAX));
    tracing::warn!(
        "only service ports {}-{last} of {range} are bound ahead: open files are limited to {open_files} (LimitNOFILE); \
         others get a frontend by a reload",
        range.first
    );
    PortRange { first: range.first, last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(taken: &[u16]) -> ServicePorts {
        ServicePorts {
            host: "*".to_owned(),
            range: PortRange { first: 10, last: 20 },
            taken: taken.iter().copied().collect(),
        }
    }

    #[test]
    fn ranges_leave_out_what_is_taken() {
        assert_eq!(ports(&[]).binds(), ["*:10-20"]);
        assert_eq!(ports(&[10, 15, 16, 20]).binds(), ["*:11-14", "*:17-19"]);
        assert!(ports(&[15]).contains(14) && !ports(&[15]).contains(15) && !ports(&[]).contains(21));
    }

    #[test]
    fn a_range_that_open_files_do_not_allow_is_cut() {
        let range = PortRange { first: 10000, last: 20000 };
        assert_eq!(affordable(range, 20000), range);
        assert_eq!(affordable(range, 1024), PortRange { first: 10000, last: 10493 });
    }
}
