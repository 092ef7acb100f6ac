//! Where the ensemble is, and how a session is opened.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, CreateOptions, Error, Permission, TlsOptions};

use crate::config::{ZookeeperAcl, ZookeeperConfig};

const ANYONE_ALL: [Acl; 1] = [Acl::new_const(Permission::ALL, "world", "anyone")];
const CREATOR_ALL: [Acl; 1] = [Acl::new_const(Permission::ALL, "auth", "")];

/// The configuration, ready to be used.
#[derive(Debug)]
pub(super) struct Settings {
    config: ZookeeperConfig,
    acls: Vec<Acl>,
    /// The node whose children are the rules, with its chroot.
    pub(super) base: String,
}

impl Settings {
    pub(super) fn of(config: &ZookeeperConfig) -> Result<Self, String> {
        let acls = match (config.acl, config.user.is_some()) {
            (ZookeeperAcl::Open, _) | (ZookeeperAcl::Auto, false) => ANYONE_ALL.to_vec(),
            (ZookeeperAcl::Creator, _) | (ZookeeperAcl::Auto, true) => CREATOR_ALL.to_vec(),
            (ZookeeperAcl::Read, _) => {
                let [creator] = CREATOR_ALL;
                vec![creator, Acl::new(Permission::READ, AuthId::anyone())]
            }
        };
        // The crate's own chroot cannot be made when it is missing; a prefix can.
        let base = format!("{}{}", config.chroot.as_deref().unwrap_or_default(), config.path);
        let settings = Self { config: config.clone(), acls, base };
        settings.tls()?;
        Ok(settings)
    }

    /// The node of a child of the base.
    pub(super) fn node(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// The node of what only Causeways share.
    pub(super) fn fleet_base(&self) -> String {
        format!("{}-causeway", self.base)
    }

    pub(super) fn hosts(&self) -> String {
        self.config.hosts.join(", ")
    }

    pub(super) fn write_timeout(&self) -> Duration {
        self.config.write_timeout
    }

    /// How long one request may take on a session that looks alive: what is silent for longer is left by the client.
    pub(super) fn request_timeout(&self) -> Duration {
        self.config.session_timeout
    }

    pub(super) fn create(&self, mode: CreateMode) -> CreateOptions<'_> {
        mode.with_acls(Acls::new(&self.acls))
    }

    /// Opens a session, trying each server in turn, until the session's timeout is over.
    pub(super) async fn connect(&self) -> Result<Client, String> {
        let mut connector = Client::connector().with_session_timeout(self.config.session_timeout);
        if let Some(user) = &self.config.user {
            let password = self.password()?;
            let user = format!("{user}:{}", password.expose_secret());
            connector = connector.with_auth("digest", user.as_bytes());
        }
        let hosts = self.config.hosts.join(",");
        let connected = match self.tls()? {
            Some(tls) => connector.with_tls(tls).secure_connect(&hosts).await,
            None => connector.connect(&hosts).await,
        };
        connected.map_err(|error| match error {
            Error::Timeout | Error::NoHosts => "no server of it answers".to_owned(),
            error => error.to_string(),
        })
    }

    fn password(&self) -> Result<SecretString, String> {
        match (&self.config.password, &self.config.password_file) {
            (Some(password), _) => Ok(password.clone()),
            // Read for each session, so that a new one is taken without a restart.
            (None, Some(file)) => std::fs::read_to_string(file)
                .map(|text| text.trim_end_matches(['\r', '\n']).into())
                .map_err(|error| format!("rules.zookeeper.password_file: {}: {error}", file.display())),
            (None, None) => Err("rules.zookeeper.user has no password".to_owned()),
        }
    }

    fn tls(&self) -> Result<Option<TlsOptions>, String> {
        let Some(ca_file) = self.config.ca_file.as_ref().filter(|_| self.config.tls) else { return Ok(None) };
        let read = |key: &str, path: &std::path::Path| {
            std::fs::read_to_string(path)
                .map_err(|error| format!("rules.zookeeper.{key}: {}: {error}", path.display()))
        };
        let wrong = |key: &'static str| move |error: Error| format!("rules.zookeeper.{key}: {error}");
        let mut tls = TlsOptions::new().with_pem_ca(&read("ca_file", ca_file)?).map_err(wrong("ca_file"))?;
        if let (Some(certificate), Some(key)) =
            (&self.config.client_certificate_file, &self.config.client_key_file)
        {
            let certificate = read("client_certificate_file", certificate)?;
            let key = read("client_key_file", key)?;
            tls = tls.with_pem_identity(&certificate, &key).map_err(wrong("client_certificate_file"))?;
        }
        Ok(Some(tls))
    }
}
