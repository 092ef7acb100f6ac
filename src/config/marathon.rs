//! Where the apps come from.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::serde_optional;

/// How Marathon is reached and followed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarathonConfig {
    /// Base URLs of the Marathons of one cluster, tried in turn.
    pub endpoints: Vec<String>,
    /// The user of basic authentication; empty: none.
    #[serde(with = "serde_optional")]
    pub user: Option<String>,
    /// The file that holds the password of `user`.
    #[serde(with = "serde_optional")]
    pub password_file: Option<PathBuf>,
    /// The file that holds a token; read again whenever Marathon answers 401.
    #[serde(with = "serde_optional")]
    pub token_file: Option<PathBuf>,
    /// How a token is sent.
    pub token_scheme: TokenScheme,
    /// The file that holds a DC/OS service account (`uid`, `private_key`, `login_endpoint`).
    #[serde(with = "serde_optional")]
    pub service_account_file: Option<PathBuf>,
    /// The authorities that sign Marathon's certificate, PEM; empty: those of the system.
    #[serde(with = "serde_optional")]
    pub ca_file: Option<PathBuf>,
    /// The client certificate, PEM.
    #[serde(with = "serde_optional")]
    pub client_certificate_file: Option<PathBuf>,
    /// The key of the client certificate, PEM.
    #[serde(with = "serde_optional")]
    pub client_key_file: Option<PathBuf>,
    /// Hosts beside the endpoints' own (`host` or `host:port`) that credentials may follow a redirect to.
    pub redirect_hosts: Vec<String>,
    /// True: credentials may follow a redirect from https to http.
    pub redirect_to_http: bool,
    /// How long connecting may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a read may be silent.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// How long the event stream may be silent; Marathon's heart beats every 10 s.
    #[serde(with = "humantime_serde")]
    pub stream_timeout: Duration,
    /// How often everything is read, whatever the events say; spread by a tenth.
    #[serde(with = "humantime_serde")]
    pub resync: Duration,
    /// The longest wait between two attempts to connect.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// Where a Marathon of before 1.5 is to call back: the URL of `/api/marathon/event_callback` of this Causeway; empty: nowhere.
    #[serde(with = "serde_optional")]
    pub callback_url: Option<String>,
    /// The password, from `CAUSEWAY_MARATHON__PASSWORD` only.
    #[serde(skip)]
    pub password: Option<SecretString>,
    /// The token, from `CAUSEWAY_MARATHON__TOKEN` only.
    #[serde(skip)]
    pub token: Option<SecretString>,
}

impl Default for MarathonConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:8080".to_owned()],
            user: None,
            password_file: None,
            token_file: None,
            token_scheme: TokenScheme::default(),
            service_account_file: None,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            redirect_hosts: Vec::new(),
            redirect_to_http: false,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(30),
            resync: Duration::from_secs(300),
            backoff_max: Duration::from_secs(30),
            callback_url: None,
            password: None,
            token: None,
        }
    }
}

/// How a token is sent in `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenScheme {
    /// `Bearer …`.
    #[default]
    Bearer,
    /// `token=…`, as DC/OS wants it.
    Token,
}

impl MarathonConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.endpoints.is_empty() {
            mistakes.push("marathon.endpoints: at least one URL is needed".to_owned());
        }
        for endpoint in &self.endpoints {
            match Url::parse(endpoint) {
                Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
                    mistakes.push(format!("marathon.endpoints: {endpoint:?} is not an http or https URL"));
                }
                Ok(url) if !url.username().is_empty() || url.password().is_some() => mistakes.push(
                    "marathon.endpoints: credentials do not belong into the URL; use user and password_file"
                        .to_owned(),
                ),
                Ok(_) => {}
                Err(error) => mistakes.push(format!("marathon.endpoints: {endpoint:?}: {error}")),
            }
        }
        if let Some(text) = &self.callback_url {
            let good =
                Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !good {
                mistakes.push(format!(
                    "marathon.callback_url: {text:?} is not a URL; expected one like \"http://node-1:9089/api/marathon/event_callback\""
                ));
            }
        }
        let files = [
            ("password_file", &self.password_file),
            ("token_file", &self.token_file),
            ("service_account_file", &self.service_account_file),
            ("ca_file", &self.ca_file),
            ("client_certificate_file", &self.client_certificate_file),
            ("client_key_file", &self.client_key_file),
        ];
        for (key, file) in files {
            if let Some(Err(error)) = file.as_ref().map(std::fs::File::open) {
                let path = file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                mistakes.push(format!("marathon.{key}: {path} cannot be read: {error}"));
            }
        }
        if self.user.is_some() && self.password_file.is_none() && self.password.is_none() {
            mistakes.push("marathon.user: needs password_file (or CAUSEWAY_MARATHON__PASSWORD)".to_owned());
        }
        let ways = [
            self.user.is_some(),
            self.token_file.is_some() || self.token.is_some(),
            self.service_account_file.is_some(),
        ];
        if ways.iter().filter(|set| **set).count() > 1 {
            mistakes.push("marathon: user, token and service account exclude each other; set one".to_owned());
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            mistakes.push("marathon: client_certificate_file and client_key_file need each other".to_owned());
        }
        if self.resync < Duration::from_secs(1) {
            mistakes.push("marathon.resync: at least 1s, or Marathon does nothing else".to_owned());
        }
        if self.stream_timeout < Duration::from_secs(11) {
            mistakes.push(
                "marathon.stream_timeout: Marathon's heart beats every 10 s; allow at least 11 s".to_owned(),
            );
        }
        mistakes
    }
}
