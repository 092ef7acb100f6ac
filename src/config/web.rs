//! Where Causeway itself answers HTTP.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::HaproxyConfig;
use super::haproxy::split_bind;

/// The HTTP server of Causeway's own: metrics, health, status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// The address it listens on, of loopback; empty: none.
    pub listen: String,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9089".to_owned() }
    }
}

impl WebConfig {
    /// The address to listen on; `None` where there is to be no server.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let (host, port) = self.listen.rsplit_once(':')?;
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        format!("{host}:{port}").parse().ok()
    }

    pub(super) fn mistakes(&self, haproxy: &HaproxyConfig, https: bool) -> Vec<String> {
        if self.listen.is_empty() {
            return Vec::new();
        }
        let Some(address) = self.address() else {
            return vec![format!(
                "web.listen: {:?} is not ADDRESS:PORT, as in \"127.0.0.1:9089\" or \"[::1]:9089\"",
                self.listen
            )];
        };
        if !address.ip().is_loopback() {
            return vec![format!(
                "web.listen: {address} can be reached from other hosts, which needs users, which do not exist yet; \
                 expected an address of loopback, as in \"127.0.0.1:{}\"",
                address.port()
            )];
        }
        let overlaps = |host: &str| match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => ip.is_unspecified() || ip == address.ip(),
            // `*` and nothing are every address.
            Err(_) => true,
        };
        let taken = |bind: &str| {
            split_bind(bind).is_some_and(|(host, port)| port == address.port() && overlaps(host))
        };
        let mut mistakes: Vec<String> = haproxy
            .own_binds(https)
            .into_iter()
            .filter(|(_, bind)| taken(bind))
            .map(|(key, bind)| format!("web.listen: {} is also that of {key} ({bind})", self.listen))
            .collect();
        let range = haproxy.service_port_range;
        if range.contains(address.port()) && overlaps(&haproxy.bind_service_ports) {
            mistakes.push(format!(
                "web.listen: {} is in haproxy.service_port_range ({range}); choose a port outside",
                self.listen
            ));
        }
        mistakes
    }
}
