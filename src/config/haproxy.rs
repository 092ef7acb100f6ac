//! The HAProxy that is driven.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::serde_optional;
use super::stats_users::{self, StatsUser};

/// `sun_path` holds 108 bytes with its end; HAProxy binds under a temporary name first (`.<pid>.tmp`).
const SOCKET_PATH_MAX: usize = 97;

/// A line of HAProxy's configuration takes 64 words.
const TRUSTED_PROXIES_MAX: usize = 40;

/// How HAProxy is run, where it listens, how long it waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HaproxyConfig {
    /// Who runs HAProxy.
    pub mode: HaproxyMode,
    /// The program.
    pub binary: PathBuf,
    /// Where the generations of the configuration live, 0700.
    pub state_dir: PathBuf,
    /// The runtime socket.
    pub socket: PathBuf,
    /// The master's socket.
    pub master_socket: PathBuf,
    /// What becomes of HAProxy when Causeway ends.
    pub on_exit: OnExit,
    /// The user HAProxy runs as when it is started as root.
    pub user: String,
    /// The group HAProxy runs as when it is started as root.
    pub group: String,
    /// The address of the HTTP frontend; empty: none.
    pub bind_http: String,
    /// The address of the HTTPS frontend; used when `tls.certificates` names one; empty: none.
    pub bind_https: String,
    /// The address of the frontend that routes by `X-Marathon-App-Id`; empty: none.
    pub bind_app_id: String,
    /// The address of statistics and `/metrics`; empty: none.
    pub bind_stats: String,
    /// The file with the users of the statistics, a `user:hash` a line.
    #[serde(with = "serde_optional")]
    pub stats_users_file: Option<PathBuf>,
    /// The host part under which service ports are bound.
    pub bind_service_ports: String,
    /// The service ports that are bound ahead, so that a new one needs no reload.
    pub service_port_range: PortRange,
    /// Addresses and networks of proxies before this one, whose `X-Forwarded-…` are kept.
    pub trusted_proxies: Vec<String>,
    /// The most connections at once; 0: what the limit of open files allows.
    pub maxconn: u32,
    /// Threads; 0: one a core.
    pub threads: u32,
    /// How long connecting to a server may take.
    #[serde(with = "humantime_serde")]
    pub timeout_connect: Duration,
    /// How long a client may be silent.
    #[serde(with = "humantime_serde")]
    pub timeout_client: Duration,
    /// How long a server may be silent.
    #[serde(with = "humantime_serde")]
    pub timeout_server: Duration,
    /// How long a tunnel (websocket, TCP) may be silent.
    #[serde(with = "humantime_serde")]
    pub timeout_tunnel: Duration,
    /// How long an idle connection of a client is kept.
    #[serde(with = "humantime_serde")]
    pub timeout_http_keep_alive: Duration,
    /// How long a request's header may take.
    #[serde(with = "humantime_serde")]
    pub timeout_http_request: Duration,
    /// How long an old worker may go on after a reload.
    #[serde(with = "humantime_serde")]
    pub hard_stop_after: Duration,
    /// How many reloads an old worker may outlive.
    pub max_old_workers: u32,
    /// The least time between two reloads; what changes meanwhile is in the next one.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
    /// How long a server that goes may keep its sessions, and those that stick to it, before it gets none at all.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How often what HAProxy reports is compared with what it was brought to.
    #[serde(with = "humantime_serde")]
    pub audit_interval: Duration,
    /// How long what somebody sets on a server at HAProxy's socket (state, weight) is kept, also over reloads; 0: not at all.
    #[serde(with = "humantime_serde")]
    pub by_hand_timeout: Duration,
    /// Backends that wait for new apps, so that those need no reload: so many for HTTP and roundrobin, a quarter each for
    /// TCP and for leastconn. 0: none.
    pub spare_backends: usize,
    /// Slots of a spare backend; where an app has more tasks, servers are added.
    pub spare_slots: usize,
    /// How often HAProxy is asked for the figures of each service.
    #[serde(with = "humantime_serde")]
    pub stats_interval: Duration,
    /// How long the check of a configuration may take.
    #[serde(with = "humantime_serde")]
    pub check_timeout: Duration,
    /// How long a start or a reload may take until the new worker answers.
    #[serde(with = "humantime_serde")]
    pub reload_timeout: Duration,
    /// External mode: the file that the operator's HAProxy reads.
    #[serde(with = "serde_optional")]
    pub config_path: Option<PathBuf>,
    /// External mode: the shell command that reloads HAProxy.
    pub reload_command: String,
    /// External mode: the shell command that checks a file; `{{.}}` is its path. Empty: `haproxy -c`.
    pub validate_command: String,
    /// External mode: the shell command that runs after a reload, whatever became of it.
    pub cleanup_command: String,
    /// External mode: how long each of the commands may take.
    #[serde(with = "humantime_serde")]
    pub command_timeout: Duration,
    /// The operator's own error pages.
    pub errors: ErrorPages,
}

impl Default for HaproxyConfig {
    fn default() -> Self {
        Self {
            mode: HaproxyMode::default(),
            binary: "haproxy".into(),
            state_dir: "/var/lib/causeway".into(),
            socket: "/run/causeway/haproxy.sock".into(),
            master_socket: "/run/causeway/master.sock".into(),
            on_exit: OnExit::default(),
            user: "haproxy".to_owned(),
            group: "haproxy".to_owned(),
            bind_http: "*:80".to_owned(),
            bind_https: "*:443".to_owned(),
            bind_app_id: "*:9091".to_owned(),
            bind_stats: "*:9090".to_owned(),
            stats_users_file: None,
            bind_service_ports: "*".to_owned(),
            service_port_range: PortRange { first: 10000, last: 20000 },
            trusted_proxies: Vec::new(),
            maxconn: 0,
            threads: 0,
            timeout_connect: Duration::from_secs(3),
            timeout_client: Duration::from_secs(30),
            timeout_server: Duration::from_secs(30),
            timeout_tunnel: Duration::from_secs(3600),
            timeout_http_keep_alive: Duration::from_secs(10),
            timeout_http_request: Duration::from_secs(15),
            hard_stop_after: Duration::from_secs(600),
            max_old_workers: 5,
            reload_interval: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            audit_interval: Duration::from_secs(15),
            by_hand_timeout: Duration::from_secs(30 * 60),
            spare_backends: 128,
            spare_slots: 8,
            stats_interval: Duration::from_secs(10),
            check_timeout: Duration::from_secs(60),
            reload_timeout: Duration::from_secs(60),
            config_path: None,
            reload_command: String::new(),
            validate_command: String::new(),
            cleanup_command: String::new(),
            command_timeout: Duration::from_secs(30),
            errors: ErrorPages::default(),
        }
    }
}

/// Who runs HAProxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HaproxyMode {
    /// Causeway starts it, in master-worker mode, and adopts it again.
    #[default]
    Managed,
    /// The operator does; Causeway writes one file and runs the operator's commands.
    External,
}

/// What becomes of HAProxy when Causeway ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExit {
    /// It goes on serving.
    #[default]
    Keep,
    /// It is stopped.
    Stop,
}

/// Pages that replace the built-in ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorPages {
    /// The page for a host or path that nobody has; empty: the built-in one.
    #[serde(rename = "404", with = "serde_optional")]
    pub not_found: Option<PathBuf>,
    /// The page for an app that has no server; empty: the built-in one.
    #[serde(rename = "503", with = "serde_optional")]
    pub unavailable: Option<PathBuf>,
}

/// A range of ports, both ends in it; `first > last` is the empty range, written as an empty text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self { first: 1, last: 0 });
        }
        let expected =
            || format!("{text:?} is not a range of ports; expected \"10000-20000\", or \"\" for none");
        let (first, last) = text.split_once('-').ok_or_else(expected)?;
        let range = Self {
            first: first.trim().parse().map_err(|_| expected())?,
            last: last.trim().parse().map_err(|_| expected())?,
        };
        if range.first == 0 || range.first > range.last { Err(expected()) } else { Ok(range) }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first > self.last { Ok(()) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

/// Splits `host:port` as HAProxy's `bind` takes it (section 4.2, `bind`): the host may be empty, `*`, or an IPv6 address.
pub(crate) fn split_bind(bind: &str) -> Option<(&str, u16)> {
    let (host, port) = bind.rsplit_once(':')?;
    let known = host.is_empty()
        || host == "*"
        || host.parse::<IpAddr>().is_ok()
        || host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    (known).then_some(())?;
    port.parse().ok().filter(|port| *port != 0).map(|port| (host, port))
}

impl HaproxyConfig {
    /// The binds that Causeway itself asks for, by the key they come from.
    pub(crate) fn own_binds(&self, https: bool) -> Vec<(&'static str, &str)> {
        let mut binds = vec![("haproxy.bind_http", self.bind_http.as_str())];
        if https {
            binds.push(("haproxy.bind_https", &self.bind_https));
        }
        binds.push(("haproxy.bind_app_id", &self.bind_app_id));
        binds.push(("haproxy.bind_stats", &self.bind_stats));
        binds.retain(|(_, bind)| !bind.is_empty());
        binds
    }

    /// Whether the statistics are listened on at loopback only.
    pub(crate) fn stats_are_local(&self) -> bool {
        let host = split_bind(&self.bind_stats).map_or("", |(host, _)| host.trim_matches(['[', ']']));
        host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The users of the statistics; none where there is no file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn stats_users(&self) -> Result<Vec<StatsUser>, String> {
        self.stats_users_file.as_deref().map_or(Ok(Vec::new()), stats_users::read)
    }

    pub(super) fn mistakes(&self, https: bool) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(error) = self.stats_users() {
            mistakes.push(format!("haproxy.stats_users_file: {error}"));
        }
        let mut binds: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, bind) in self.own_binds(https) {
            match split_bind(bind) {
                None => mistakes
                    .push(format!("{key}: {bind:?} is not HOST:PORT, as in \"*:80\" or \"127.0.0.1:8080\"")),
                Some(_) => {
                    if let Some(other) = binds.insert(bind, key) {
                        mistakes.push(format!("{key}: {bind} is also that of {other}"));
                    }
                }
            }
        }
        if split_bind(&format!("{}:1", self.bind_service_ports)).is_none() {
            mistakes.push(format!(
                "haproxy.bind_service_ports: {:?} is not a host part",
                self.bind_service_ports
            ));
        }
        let network = |text: &String| text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok();
        for text in self.trusted_proxies.iter().filter(|text| !network(text)) {
            mistakes.push(format!("haproxy.trusted_proxies: {text:?} is neither an address nor a network"));
        }
        if self.trusted_proxies.len() > TRUSTED_PROXIES_MAX {
            mistakes.push(format!(
                "haproxy.trusted_proxies: at most {TRUSTED_PROXIES_MAX}; a line of HAProxy takes no more"
            ));
        }
        for (key, path) in [("haproxy.socket", &self.socket), ("haproxy.master_socket", &self.master_socket)]
        {
            let length = path.as_os_str().len();
            if length > SOCKET_PATH_MAX {
                mistakes.push(format!(
                    "{key}: {} has {length} characters; a socket path has at most {SOCKET_PATH_MAX}",
                    path.display()
                ));
            }
            if !path.is_absolute() {
                mistakes.push(format!("{key}: {} is not an absolute path", path.display()));
            }
        }
        if !self.state_dir.is_absolute() {
            mistakes.push(format!("haproxy.state_dir: {} is not an absolute path", self.state_dir.display()));
        }
        if self
            .state_dir
            .as_os_str()
            .to_string_lossy()
            .contains(|c: char| c.is_whitespace() || c.is_control())
        {
            mistakes.push("haproxy.state_dir: HAProxy's configuration takes no space in a path".to_owned());
        }
        for (key, page) in [("404", &self.errors.not_found), ("503", &self.errors.unavailable)] {
            if let Some(path) = page.as_ref().filter(|path| !path.is_file()) {
                mistakes.push(format!("haproxy.errors.{key}: {} is not a file", path.display()));
            }
        }
        for (key, duration) in [
            ("timeout_connect", self.timeout_connect),
            ("timeout_client", self.timeout_client),
            ("timeout_server", self.timeout_server),
            ("timeout_tunnel", self.timeout_tunnel),
            ("timeout_http_keep_alive", self.timeout_http_keep_alive),
            ("timeout_http_request", self.timeout_http_request),
            ("check_timeout", self.check_timeout),
            ("reload_timeout", self.reload_timeout),
            ("command_timeout", self.command_timeout),
            ("audit_interval", self.audit_interval),
            ("stats_interval", self.stats_interval),
        ] {
            if duration.is_zero() {
                mistakes.push(format!("haproxy.{key}: has to be longer than nothing"));
            }
        }
        if self.hard_stop_after < Duration::from_secs(1) {
            mistakes.push("haproxy.hard_stop_after: at least 1s".to_owned());
        }
        let log_socket = self.state_dir.join("chroot/log.sock").as_os_str().len();
        if log_socket > SOCKET_PATH_MAX {
            mistakes.push(format!(
                "haproxy.state_dir: the log socket inside it has a path of {log_socket} characters; at most {SOCKET_PATH_MAX}"
            ));
        }
        if self.mode == HaproxyMode::External {
            if self.config_path.is_none() {
                mistakes
                    .push("haproxy.config_path: external mode needs the file that HAProxy reads".to_owned());
            }
            if self.reload_command.is_empty() {
                mistakes.push(
                    "haproxy.reload_command: external mode needs the command that reloads HAProxy".to_owned(),
                );
            }
        }
        mistakes
    }
}
