//! Where Causeway itself answers HTTP, and who may do what there.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::haproxy::split_bind;
use super::{HaproxyConfig, serde_optional};

/// The longest path of our own socket: that of a Unix socket has 107 bytes, and it is made under a longer name.
const SOCKET_PATH_MAX: usize = 100;

/// The HTTP server of Causeway's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// The address it listens on; empty: none, only the Unix socket.
    pub listen: String,
    /// Whether changes, and reading from other hosts, need a login.
    pub auth: WebAuth,
    /// Names beside those of loopback that a server on loopback answers to.
    pub hosts: Vec<String>,
    /// The Unix socket, whose callers are admins; empty: `causeway.sock` in `haproxy.state_dir`.
    #[serde(with = "serde_optional")]
    pub socket: Option<PathBuf>,
    /// The file of the users and tokens; empty: `users.toml` in `haproxy.state_dir`.
    #[serde(with = "serde_optional")]
    pub users_file: Option<PathBuf>,
    /// The header in which a trusted proxy names the user; empty: none.
    #[serde(with = "serde_optional")]
    pub trusted_header: Option<String>,
    /// Addresses and networks of the proxies whose `trusted_header` is believed.
    pub trusted_proxies: Vec<String>,
    /// How many bytes the body of a request may have.
    pub body_limit: usize,
    /// How long the header of a request may take, and a connection be idle.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a request may take, its body included, until its answer begins.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Connections at once on each of address and socket; more wait.
    pub connections: usize,
    /// The certificate of the address.
    pub tls: WebTlsConfig,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9089".to_owned(),
            auth: WebAuth::default(),
            hosts: Vec::new(),
            socket: None,
            users_file: None,
            trusted_header: None,
            trusted_proxies: Vec::new(),
            body_limit: 64 * 1024,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            connections: 256,
            tls: WebTlsConfig::default(),
        }
    }
}

/// Whether a login is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebAuth {
    /// Changes need one; on another address than of loopback reading does too.
    #[default]
    Login,
    /// Whoever reaches the address may do everything.
    None,
}

/// The certificate of Causeway's own HTTP server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebTlsConfig {
    /// The certificate and its chain, PEM; empty: no TLS.
    #[serde(with = "serde_optional")]
    pub certificate: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[serde(with = "serde_optional")]
    pub key: Option<PathBuf>,
}

impl WebConfig {
    /// The address to listen on; `None` where there is to be none.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let (host, port) = self.listen.rsplit_once(':')?;
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        format!("{host}:{port}").parse().ok()
    }

    /// Whether other hosts can reach the address.
    pub(crate) fn is_beyond_loopback(&self) -> bool {
        self.address().is_some_and(|address| !address.ip().is_loopback())
    }

    /// The proxies whose word on who asks is believed.
    pub(crate) fn trusted_networks(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text)).collect()
    }

    /// Where the Unix socket is.
    pub(super) fn socket(&self, state_dir: &Path) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| state_dir.join("causeway.sock"))
    }

    pub(super) fn mistakes(&self, haproxy: &HaproxyConfig, https: bool) -> Vec<String> {
        let mut mistakes = self.mistakes_of_address(haproxy, https);
        let mut wrong = |key: &str, what: String| mistakes.push(format!("web.{key}: {what}"));
        let socket = self.socket(&haproxy.state_dir);
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let most =
                format!("a socket path has at most {SOCKET_PATH_MAX}; set web.socket to a shorter one");
            wrong("socket", format!("{} has {length} characters; {most}", socket.display()));
        }
        for host in &self.hosts {
            let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if host.is_empty() || !host.chars().all(known) {
                wrong("hosts", format!("{host:?} is not the name of a host, as in \"causeway.example.com\""));
            }
        }
        for text in self.trusted_proxies.iter().filter(|text| network(text).is_none()) {
            wrong("trusted_proxies", format!("{text:?} is neither an address nor a network"));
        }
        if let Some(header) = &self.trusted_header {
            let is_ours = ["authorization", "cookie", "host", "origin"]
                .iter()
                .any(|ours| header.eq_ignore_ascii_case(ours));
            if is_ours || header.parse::<HeaderName>().is_err() {
                let like = "expected the name of a header of its own, as in \"X-Forwarded-User\"";
                wrong("trusted_header", format!("{header:?} cannot be it; {like}"));
            }
            if self.trusted_proxies.is_empty() {
                let nobody =
                    "is believed from nobody; set web.trusted_proxies to the addresses of the proxies";
                wrong("trusted_header", nobody.to_owned());
            }
        }
        if !(1024..=16 * 1024 * 1024).contains(&self.body_limit) {
            wrong("body_limit", format!("{} is not between 1024 and 16777216 bytes", self.body_limit));
        }
        for (key, time) in
            [("header_timeout", self.header_timeout), ("request_timeout", self.request_timeout)]
        {
            if time < Duration::from_secs(1) || time > Duration::from_secs(600) {
                wrong(key, "between 1s and 10m".to_owned());
            }
        }
        if !(1..=65_536).contains(&self.connections) {
            wrong("connections", format!("{} is not between 1 and 65536", self.connections));
        }
        for (key, file) in [("tls.certificate", &self.tls.certificate), ("tls.key", &self.tls.key)] {
            if let Some(file) = file
                && let Err(error) = std::fs::File::open(file)
            {
                wrong(key, format!("{} cannot be read: {error}", file.display()));
            }
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            wrong("tls", "certificate and key need each other".to_owned());
        }
        mistakes
    }

    fn mistakes_of_address(&self, haproxy: &HaproxyConfig, https: bool) -> Vec<String> {
        if self.listen.is_empty() {
            return Vec::new();
        }
        let Some(address) = self.address() else {
            return vec![format!(
                "web.listen: {:?} is not ADDRESS:PORT, as in \"127.0.0.1:9089\" or \"[::1]:9089\"",
                self.listen
            )];
        };
        let overlaps = |host: &str| match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => ip.is_unspecified() || address.ip().is_unspecified() || ip == address.ip(),
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

/// An address or a network.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
