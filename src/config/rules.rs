//! Where rules are kept.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::serde_optional;

/// Where rules are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// The kind of store.
    pub store: RuleStoreKind,
    /// The file of the file store; empty: `rules.toml` in `haproxy.state_dir`.
    #[serde(with = "serde_optional")]
    pub file: Option<PathBuf>,
    /// The ZooKeeper of the zookeeper store.
    pub zookeeper: ZookeeperConfig,
}

/// The kinds of rule stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleStoreKind {
    /// A local TOML file, watched.
    #[default]
    File,
    /// ZooKeeper, in Bamboo's layout.
    Zookeeper,
}

/// How ZooKeeper is reached, and where in it the rules are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZookeeperConfig {
    /// The servers of the ensemble, `host:port`; without a port 2181.
    pub hosts: Vec<String>,
    /// The part of the tree that everything is in; empty: all of it.
    #[serde(with = "serde_optional")]
    pub chroot: Option<String>,
    /// The node whose children are the rules: Bamboo's `Bamboo.Zookeeper.Path`.
    pub path: String,
    /// The user of digest authentication; empty: none.
    #[serde(with = "serde_optional")]
    pub user: Option<String>,
    /// The file that holds the password of `user`.
    #[serde(with = "serde_optional")]
    pub password_file: Option<PathBuf>,
    /// Who may do what with the nodes that we create.
    pub acl: ZookeeperAcl,
    /// True: all servers are reached by TLS.
    pub tls: bool,
    /// The authorities that sign the servers' certificates, PEM.
    #[serde(with = "serde_optional")]
    pub ca_file: Option<PathBuf>,
    /// The client certificate, PEM.
    #[serde(with = "serde_optional")]
    pub client_certificate_file: Option<PathBuf>,
    /// The key of the client certificate, PEM.
    #[serde(with = "serde_optional")]
    pub client_key_file: Option<PathBuf>,
    /// How long the ensemble keeps our session without a word from us.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How long a write may take until it is known what became of it.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// The password, from `CAUSEWAY_RULES__ZOOKEEPER__PASSWORD` only.
    #[serde(skip)]
    pub password: Option<SecretString>,
}

/// Who may do what with the nodes that we create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZookeeperAcl {
    /// `creator` with a user, else `open`.
    #[default]
    Auto,
    /// Everybody may do everything, as Bamboo has it.
    Open,
    /// Only our user may do anything.
    Creator,
    /// Our user may do everything, everybody may read.
    Read,
}

impl Default for ZookeeperConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            chroot: None,
            path: "/marathon-haproxy/state".to_owned(),
            user: None,
            password_file: None,
            acl: ZookeeperAcl::default(),
            tls: false,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            session_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(15),
            password: None,
        }
    }
}

impl RulesConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        if self.store == RuleStoreKind::Zookeeper { self.zookeeper.mistakes() } else { Vec::new() }
    }
}

impl ZookeeperConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, what: String| mistakes.push(format!("rules.zookeeper.{key}: {what}"));
        if self.hosts.is_empty() {
            wrong("hosts", "at least one server is needed, like \"zk-1:2181\"".to_owned());
        }
        for host in &self.hosts {
            let known = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
            let port = host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
            let port_is_one = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
            if host.is_empty() || !host.chars().all(known) || !port_is_one {
                wrong("hosts", format!("{host:?} is not HOST:PORT (a chroot has a key of its own)"));
            }
        }
        if !is_node_path(&self.path) {
            wrong(
                "path",
                format!(
                    "{:?} is not the path of a node; expected one like \"/marathon-haproxy/state\"",
                    self.path
                ),
            );
        }
        if let Some(chroot) = self.chroot.as_ref().filter(|chroot| !is_node_path(chroot)) {
            wrong("chroot", format!("{chroot:?} is not the path of a node"));
        }
        if self.user.as_ref().is_some_and(|user| user.contains(':')) {
            wrong("user", "a user of digest authentication has no \":\" in it".to_owned());
        }
        if self.user.is_some() && self.password_file.is_none() && self.password.is_none() {
            wrong("user", "needs password_file (or CAUSEWAY_RULES__ZOOKEEPER__PASSWORD)".to_owned());
        }
        if self.user.is_none() && matches!(self.acl, ZookeeperAcl::Creator | ZookeeperAcl::Read) {
            wrong("acl", "needs a user, who is the creator".to_owned());
        }
        if self.tls != self.ca_file.is_some() {
            wrong("tls", "tls = true and ca_file need each other".to_owned());
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            wrong("client_certificate_file", "needs client_key_file, and the other way round".to_owned());
        }
        let files = [
            ("password_file", &self.password_file),
            ("ca_file", &self.ca_file),
            ("client_certificate_file", &self.client_certificate_file),
            ("client_key_file", &self.client_key_file),
        ];
        for (key, file) in files {
            if let Some(file) = file
                && let Err(error) = std::fs::File::open(file)
            {
                wrong(key, format!("{} cannot be read: {error}", file.display()));
            }
        }
        for (key, time) in [("session_timeout", self.session_timeout), ("write_timeout", self.write_timeout)]
        {
            if time < Duration::from_secs(1) || time > Duration::from_secs(600) {
                wrong(key, "between 1s and 10m".to_owned());
            }
        }
        mistakes
    }
}

/// Whether ZooKeeper takes it as the path of a node below its root.
fn is_node_path(path: &str) -> bool {
    let known = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && part.chars().all(|c| c.is_ascii_graphic())
    };
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(known))
}
