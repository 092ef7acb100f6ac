//! How HAProxy treats the servers of a service.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::seldom::Unsaid;
use super::{Mode, Raw, Seldom};

/// How HAProxy treats the servers of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The name in the configuration; `h_…` for HTTP, `t_…` for TCP.
    pub name: String,
    /// The mode.
    pub mode: Mode,
    /// The algorithm (section 4.2, `balance`).
    pub balance: String,
    /// True where HAProxy itself watches the servers.
    pub check: bool,
    /// How it watches them, where it does.
    #[serde(default)]
    pub watch: Watch,
    /// What else its text says.
    #[serde(default)]
    pub extras: Seldom<Extras>,
}

impl Backend {
    /// A backend with nothing but a mode and an algorithm.
    #[must_use]
    pub fn new(name: impl Into<String>, mode: Mode, balance: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mode,
            balance: balance.into(),
            check: false,
            watch: Watch::default(),
            extras: Seldom::default(),
        }
    }

    /// Whether a running HAProxy takes another server into it: only the algorithms that it calls dynamic do
    /// (management guide, 9.3, `add server`).
    #[must_use]
    pub fn takes_servers(&self) -> bool {
        let algorithm = self.balance.split(['(', ' ']).next().unwrap_or_default();
        !self.extras.raw.changes_servers()
            && matches!(algorithm, "roundrobin" | "leastconn" | "first" | "random")
    }

    /// The words behind the address of each of its servers, each with a space before it (section 5.2): how they are spoken
    /// to, and how HAProxy watches them.
    #[must_use]
    pub fn server_words(&self) -> String {
        let mut words = String::new();
        match &self.extras.protocol {
            Protocol::Http1 => {}
            Protocol::H2 => words.push_str(" proto h2"),
            Protocol::Https { ca: None } => words.push_str(" ssl verify none"),
            Protocol::Https { ca: Some(ca) } => words.push_str(&format!(" ssl verify required ca-file {ca}")),
        }
        if let (true, Some(check)) = (self.check, &self.extras.raw.check) {
            words.push_str(check);
        } else if self.check {
            let Watch { interval, fall, port, tls, .. } = &self.watch;
            words.push_str(&format!(" check inter {interval}s fall {fall} rise 2"));
            if let Some(port) = port {
                words.push_str(&format!(" port {port}"));
            }
            match (&self.extras.protocol, tls) {
                (Protocol::Https { .. }, false) => words.push_str(" no-check-ssl"),
                (Protocol::Http1 | Protocol::H2, true) => words.push_str(" check-ssl verify none"),
                _ => {}
            }
        }
        words.push_str(&self.extras.raw.server);
        words
    }
}

/// How HAProxy watches a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// What it asks for by HTTP, and takes 200 to 399 for an answer; `None`: it only connects.
    pub path: Option<String>,
    /// True where it speaks TLS; the certificate is not verified.
    pub tls: bool,
    /// The port, where it is not the one that requests go to.
    pub port: Option<u16>,
    /// Seconds between two checks.
    pub interval: u32,
    /// Seconds an answer may take.
    pub timeout: u32,
    /// Failures in a row that take the server out.
    pub fall: u32,
}

impl Default for Watch {
    /// What is used where the app says nothing.
    fn default() -> Self {
        Self { path: None, tls: false, port: None, interval: 2, timeout: 2, fall: 3 }
    }
}

/// What the text of a backend says beyond its mode and its algorithm. It is a reload when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// Nobody is let in: somebody was to be kept out in a way that is not understood. Answers are 503.
    pub closed: bool,
    /// Only these may in, addresses or networks; empty: everybody.
    pub allowed: Vec<String>,
    /// Who has to say who they are.
    pub login: Option<Login>,
    /// A client stays with its server, by a cookie.
    pub sticky: bool,
    /// Where a request for `/` is sent, once it is let in.
    pub root: Option<String>,
    /// The prefix that is taken off the path before the server sees it, as a regular expression.
    pub strip: Option<String>,
    /// The host that the server is told, instead of what the client asked for.
    pub host: Option<String>,
    /// What is put before the path of the `Location` of an answer.
    pub location: Option<Location>,
    /// What the servers speak.
    pub protocol: Protocol,
    /// Raw text of marathon-lb's templates.
    #[serde(skip_serializing_if = "Raw::is_empty")]
    pub raw: Raw,
}

impl Unsaid for Extras {
    const UNSAID: &'static Self = &Self {
        closed: false,
        allowed: Vec::new(),
        login: None,
        sticky: false,
        root: None,
        strip: None,
        host: None,
        location: None,
        protocol: Protocol::Http1,
        raw: Raw::NOTHING,
    };
}

/// What the servers speak.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, or bytes.
    #[default]
    Http1,
    /// HTTP/2 in clear.
    H2,
    /// TLS.
    Https {
        /// The file of the authorities that their certificates are verified by; `None`: they are not.
        ca: Option<String>,
    },
}

/// How the `Location` of an answer is written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// What it is where it has to be written anew, as a regular expression.
    pub pattern: String,
    /// What it becomes, in HAProxy's log format.
    pub value: String,
    /// What it is where it is right already, as a regular expression.
    pub done: String,
}

/// A login by HTTP's basic authentication.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// What the browser shows.
    pub realm: String,
    /// The user.
    pub user: String,
    /// The password as a hash of crypt(3).
    pub hash: String,
}

impl fmt::Debug for Login {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("realm", &self.realm).field("user", &self.user).finish_non_exhaustive()
    }
}
