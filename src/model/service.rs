//! A service: one service port of an app, with the routes that lead to it and the servers behind it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AppId, Backend, Endpoint, Route, TaskId};

/// Which service: the app, and the index of its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceId {
    /// The app.
    pub app: AppId,
    /// The index of the port in the app's list.
    pub port_index: usize,
}

impl std::fmt::Display for ServiceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.app, self.port_index)
    }
}

/// What HAProxy speaks for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Requests are understood: hosts, paths, headers.
    Http,
    /// Bytes are passed on.
    Tcp,
}

impl Service {
    /// The same service on a backend of another name.
    #[must_use]
    pub fn on_backend(&self, name: &str) -> Self {
        let backend = Backend { name: name.to_owned(), ..self.backend.clone() };
        Self { backend, ..self.clone() }
    }

    /// Equal but for the servers: the same text leads to both.
    #[must_use]
    pub fn same_shape(&self, other: &Self) -> bool {
        self.id == other.id
            && self.port == other.port
            && self.routes == other.routes
            && self.app_id_route == other.app_id_route
            && self.marks == other.marks
            && self.bind == other.bind
            && self.certificate == other.certificate
            && self.client_ca == other.client_ca
            && self.backend == other.backend
            && self.config == other.config
    }

    /// Whether somebody is kept out of it: by a login, by the network, by a client's certificate, or everybody.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        let extras = &self.backend.extras;
        let asks_client =
            self.bind.as_ref().is_some_and(|bind| bind.options.iter().any(|word| word == "verify"));
        let asks = asks_client || self.client_ca.is_some();
        extras.closed || extras.login.is_some() || !extras.allowed.is_empty() || asks
    }

    /// The same service with nothing that leads to it and nothing behind it: what is kept of one that is gone until
    /// HAProxy reads its text anew.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let (routes, servers, marks) = (Vec::new(), Vec::new(), Marks::default());
        let (port, certificate, client_ca) = (None, None, None);
        Self { routes, servers, marks, port, app_id_route: false, certificate, client_ca, ..self.clone() }
    }
}

impl Mode {
    /// The word that HAProxy uses (section 4.2, `mode`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// One service port of an app, ready to be rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Which service.
    pub id: ServiceId,
    /// The port that HAProxy listens on for it, if any.
    pub port: Option<u16>,
    /// The routes of the shared HTTP frontends that lead to it.
    pub routes: Vec<Route>,
    /// True where the app-id frontend leads to this service: the first HTTP service of an app.
    pub app_id_route: bool,
    /// What is done to its requests and answers by maps, so that it changes while HAProxy runs.
    #[serde(default)]
    pub marks: Marks,
    /// Where it asks for a listener of its own on its service port: what that needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<Bind>,
    /// The file of the certificate that its hosts have on the shared frontend for TLS, beside those of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The file of the authorities whose certificates clients of its hosts have to show there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// The backend.
    pub backend: Backend,
    /// What rules say to templates: the app's own keys over those of its groups. Without control characters.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// How many tasks the app is to have: what its backend needs room for.
    pub instances: usize,
    /// The tasks that get requests, by task id.
    pub servers: Vec<Server>,
}

/// What is done to the requests and answers of a service by maps that are keyed by its backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// A request to the shared frontend for clear HTTP is sent to https.
    pub to_https: bool,
    /// An answer over TLS says that only TLS is to be used (RFC 6797).
    pub hsts: bool,
    /// Where a request for `/` is sent.
    pub root: Option<String>,
}

/// A listener of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bind {
    /// The address; `None` for `haproxy.bind_service_ports`.
    pub address: Option<String>,
    /// The words behind it (configuration manual, section 5.1), each parsed.
    pub options: Vec<String>,
}

/// What stands at the end of a route's path that may end anywhere, in the middle of a word too: no path holds it.
pub const PREFIX_END: char = '…';

/// A task inside a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The task.
    pub task: TaskId,
    /// Where it is reached.
    pub endpoint: Endpoint,
}
