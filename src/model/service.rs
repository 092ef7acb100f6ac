//! A service: one service port of an app, with the routes that lead to it and the servers behind it.

use serde::{Deserialize, Serialize};

use super::{AppId, Backend, Endpoint, TaskId};

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

/// What brings a request to a service, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// What a request has to look like.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// True where a rule made it; a rule beats a label.
    pub from_rule: bool,
    /// What somebody said about its order: a higher one is looked up first; 0 where nobody did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(weight: &i32) -> bool {
    *weight == 0
}

/// What a request has to look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteMatch {
    /// An exact host, or `*.parent`, or none; and a path, empty for every path.
    HostPath {
        /// The host in lower case; `None` for any.
        host: Option<String>,
        /// The path prefix, without a `/` at its end; empty for every path. In lower case where case does not count.
        path: String,
        /// True where upper and lower case of the path are the same.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        any_case: bool,
    },
    /// The text of one HAProxy criterion.
    Acl(String),
}
