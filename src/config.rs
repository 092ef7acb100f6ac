//! Configuration: TOML, every key also by environment, defaults for all of it, and every mistake told at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod api;
mod haproxy;
mod load;
mod marathon;
mod policy;
mod raw;
mod rules;
mod serde_optional;
mod stats_users;
mod statsd;
#[cfg(test)]
mod tests;
mod web;

pub use api::ApiConfig;
pub(crate) use haproxy::split_bind;
pub use haproxy::{ErrorPages, HaproxyConfig, HaproxyMode, OnExit, PortRange};
pub use load::ConfigError;
pub(crate) use load::SECRETS;
pub use marathon::{MarathonConfig, TokenScheme};
pub use policy::PolicyConfig;
pub(crate) use policy::port_range;
pub use raw::RawLabels;
pub use rules::{RuleStoreKind, RulesConfig, ZookeeperAcl, ZookeeperConfig};
pub use stats_users::StatsUser;
pub use statsd::StatsdConfig;
pub use web::{WebAuth, WebConfig, WebTlsConfig};

/// The whole configuration, one struct a concern.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the apps come from.
    pub marathon: MarathonConfig,
    /// The HAProxy that is driven.
    pub haproxy: HaproxyConfig,
    /// The operator's own templates.
    pub template: TemplateConfig,
    /// How labels become services.
    pub labels: LabelsConfig,
    /// Which apps may have which hosts and ports.
    pub policy: PolicyConfig,
    /// Where rules are kept.
    pub rules: RulesConfig,
    /// Certificates.
    pub tls: TlsConfig,
    /// When a source is not believed.
    pub safety: SafetyConfig,
    /// Causeway's own HTTP server.
    pub web: WebConfig,
    /// What the API shows.
    pub api: ApiConfig,
    /// Metrics by StatsD's protocol.
    pub statsd: StatsdConfig,
    /// Causeway's own log.
    pub log: LogConfig,
}

impl Config {
    /// Reads `file` (none: defaults) and the environment over it.
    ///
    /// # Errors
    /// [`ConfigError`] holds everything that is wrong, not the first thing.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        // A variable of another program may be no text at all; ours are.
        let text =
            |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
        Self::load_with(file, std::env::vars_os().filter_map(text))
    }

    /// As [`Config::load`], with an environment of its own. A file whose name ends in `.json` is Bamboo's, and Bamboo's
    /// variables count with it.
    ///
    /// # Errors
    /// [`ConfigError`] holds everything that is wrong, not the first thing.
    pub fn load_with(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        load::load(file, environment)
    }

    /// Reads configuration text with an environment of its own, as [`Config::load`] does.
    ///
    /// # Errors
    /// [`ConfigError`] holds everything that is wrong, not the first thing.
    pub fn from_text(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        load::from_text("causeway.toml", text, environment)
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = self.marathon.mistakes();
        mistakes.extend(self.haproxy.mistakes(!self.tls.certificates.is_empty()));
        mistakes.extend(self.template.mistakes());
        mistakes.extend(self.labels.raw_mistakes());
        mistakes.extend(self.rules.mistakes());
        mistakes.extend(self.safety.mistakes());
        mistakes.extend(self.web.mistakes(&self.haproxy, !self.tls.certificates.is_empty()));
        mistakes.extend(self.api.mistakes());
        mistakes.extend(self.statsd.mistakes());
        mistakes.extend(self.log.mistakes());
        mistakes.extend(self.tls.mistakes());
        mistakes.extend(self.policy.mistakes());
        mistakes
    }

    /// Where HAProxy and Causeway listen: a host, or `None` for every address, and ports.
    pub(crate) fn listeners(&self) -> Vec<(Option<IpAddr>, PortRange)> {
        let host = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let host = |text: &str| host(text).filter(|host| !host.is_unspecified());
        let one = |bind: &str| {
            let (address, port) = split_bind(bind)?;
            Some((host(address), PortRange { first: port, last: port }))
        };
        let binds = self.haproxy.own_binds(!self.tls.certificates.is_empty());
        let mut listeners: Vec<_> = binds.into_iter().filter_map(|(_, bind)| one(bind)).collect();
        if self.labels.service_ports {
            listeners.push((host(&self.haproxy.bind_service_ports), self.haproxy.service_port_range));
        }
        listeners
    }

    /// The file that holds the rules: `rules.file`, or `rules.toml` beside the state.
    #[must_use]
    pub fn rules_file(&self) -> PathBuf {
        self.rules.file.clone().unwrap_or_else(|| self.haproxy.state_dir.join("rules.toml"))
    }

    /// The file that holds users and tokens: `web.users_file`, or `users.toml` beside the state.
    #[must_use]
    pub fn users_file(&self) -> PathBuf {
        self.web.users_file.clone().unwrap_or_else(|| self.haproxy.state_dir.join("users.toml"))
    }

    /// The Unix socket that Causeway answers on, which the command line uses.
    #[must_use]
    pub fn web_socket(&self) -> PathBuf {
        self.web.socket(&self.haproxy.state_dir)
    }
}

/// The operator's own templates; empty keys mean the built-in ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemplateConfig {
    /// A directory whose `head.cfg`, `service.cfg` and `map` replace the built-in ones of the same name.
    #[serde(with = "serde_optional")]
    pub dir: Option<PathBuf>,
    /// One template for the whole configuration.
    #[serde(with = "serde_optional")]
    pub file: Option<PathBuf>,
}

impl TemplateConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(dir) = self.dir.as_ref().filter(|dir| !dir.is_dir()) {
            mistakes.push(format!("template.dir: {} is not a directory", dir.display()));
        }
        if let Some(file) = self.file.as_ref().filter(|file| !file.is_file()) {
            mistakes.push(format!("template.file: {} is not a file", file.display()));
        }
        if self.dir.is_some() && self.file.is_some() {
            mistakes.push("template: set dir or file, not both".to_owned());
        }
        mistakes
    }
}

/// How labels become services.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelsConfig {
    /// The groups that are served (`HAPROXY_GROUP`, `HAPROXY_{n}_GROUP`); empty: every app with a label or a rule; `*`: all.
    pub groups: Vec<String>,
    /// True: a service needs `HAPROXY_{n}_ENABLED = true`.
    pub strict: bool,
    /// True: each served app's service ports are listened on.
    pub service_ports: bool,
    /// True: an app without label or rule is served on its own id as a path, as Bamboo does.
    pub default_rule: bool,
    /// Whose word on a task's health counts.
    pub checks: Checks,
    /// Which of several routes is looked up first.
    pub order: LabelOrder,
    /// Which apps may have raw text of HAProxy's configuration in marathon-lb's template labels.
    pub raw: RawLabels,
    /// A directory of marathon-lb's templates, as files `HAPROXY_…`.
    #[serde(with = "serde_optional")]
    pub templates_dir: Option<PathBuf>,
    /// Templates of marathon-lb by name, before those of the directory; the environment's `HAPROXY_…` before both.
    pub templates: BTreeMap<String, String>,
    /// Where the path of a label ends, and that of the default rule.
    pub paths: PathEnd,
    /// Service ports for ports of tasks with addresses of their own, where the app names none; empty: such a port is
    /// reached by host and path only.
    pub ip_per_task_ports: PortRange,
}

impl Default for LabelsConfig {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            strict: false,
            service_ports: true,
            default_rule: false,
            checks: Checks::default(),
            order: LabelOrder::default(),
            raw: RawLabels::default(),
            templates_dir: None,
            templates: BTreeMap::new(),
            paths: PathEnd::default(),
            ip_per_task_ports: PortRange { first: 1, last: 0 },
        }
    }
}

/// Which of several routes is looked up first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOrder {
    /// The higher weight, then the more specific; whoever holds a route keeps it.
    #[default]
    #[serde(rename = "causeway")]
    Causeway,
    /// marathon-lb's: the higher weight, then the lower app id, then the lower port index.
    #[serde(rename = "marathon-lb")]
    MarathonLb,
}

/// Where the path of a label ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathEnd {
    /// At a `/` or at the end of the URL's path: `/api` is not `/apiary`.
    #[default]
    Segments,
    /// Anywhere, as with HAProxy's `path_beg`, which marathon-lb and Bamboo use.
    Prefixes,
}

/// Whose word on a task's health counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checks {
    /// Marathon's: every task is checked once, not by every node.
    #[default]
    Marathon,
    /// HAProxy's own: a task gets requests as soon as it runs, until it fails the app's check.
    Haproxy,
    /// Both: a task gets requests while neither finds fault with it.
    Both,
}

/// Certificates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM files (certificate, chain and key in one), or directories of them; the first is the default certificate.
    pub certificates: Vec<PathBuf>,
    /// The directory that `HAPROXY_{n}_SSL_CERT` names a file of; empty: that label is refused.
    #[serde(with = "serde_optional")]
    pub dir: Option<PathBuf>,
    /// The authorities, PEM, that verify servers which speak TLS; empty: they are not verified.
    #[serde(with = "serde_optional")]
    pub ca: Option<PathBuf>,
}

impl TlsConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for certificate in self.certificates.iter().filter(|path| !path.exists()) {
            mistakes.push(format!("tls.certificates: {} does not exist", certificate.display()));
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        for (key, path, is_there) in
            [("tls.dir", &self.dir, Path::is_dir as fn(&Path) -> bool), ("tls.ca", &self.ca, Path::is_file)]
        {
            let Some(path) = path else { continue };
            if !is_there(path) {
                mistakes.push(format!("{key}: {} is not there", path.display()));
            }
            if !path.is_absolute() || !path.display().to_string().chars().all(known) {
                mistakes.push(format!(
                    "{key}: {} is not an absolute path of letters, digits and /._-+@, which HAProxy reads as it is",
                    path.display()
                ));
            }
        }
        mistakes
    }
}

/// When a source is not believed at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SafetyConfig {
    /// A full read that takes away more than this share of all servers is held.
    pub hold_share: f64,
    /// A full read that takes away no more servers than this is applied, whatever its share.
    pub hold_servers: usize,
    /// How long a held read has to hold up before it is applied.
    #[serde(with = "humantime_serde")]
    pub hold_time: Duration,
}

impl Default for SafetyConfig {
    fn default() -> Self {
        Self { hold_share: 0.5, hold_servers: 10, hold_time: Duration::from_secs(60) }
    }
}

impl SafetyConfig {
    fn mistakes(&self) -> Vec<String> {
        if (0.0..=1.0).contains(&self.hold_share) {
            return Vec::new();
        }
        vec![format!("safety.hold_share: {} is not between 0 and 1", self.hold_share)]
    }
}

/// Causeway's own log, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level, or `tracing` directives.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

impl LogConfig {
    fn mistakes(&self) -> Vec<String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let known = |directive: &str| LEVELS.contains(&directive) || directive.contains('=');
        if self.level.split(',').all(|directive| known(directive.trim())) {
            return Vec::new();
        }
        vec![format!(
            "log.level: {:?} is neither a level ({}) nor a directive like \"haproxy=debug\"",
            self.level,
            LEVELS.join(", ")
        )]
    }

    /// Whether HAProxy's line for each request is to be seen.
    pub(crate) fn asks_for_requests(&self) -> bool {
        ["debug", "trace"]
            .iter()
            .any(|level| self.level == *level || self.level.contains(&format!("haproxy={level}")))
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
