//! A service: one service port of an app, with the routes that lead to it and the servers behind it.

use serde::{Deserialize, Serialize};

use super::{AppId, Endpoint, TaskId};

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
            && self.backend == other.backend
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
    /// The backend.
    pub backend: Backend,
    /// How many tasks the app is to have: what its backend needs room for.
    pub instances: usize,
    /// The tasks that get requests, by task id.
    pub servers: Vec<Server>,
}

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
}

impl Backend {
    /// Whether a running HAProxy takes another server into it: only the algorithms that it calls dynamic do
    /// (management guide, 9.3, `add server`).
    #[must_use]
    pub fn takes_servers(&self) -> bool {
        let algorithm = self.balance.split(['(', ' ']).next().unwrap_or_default();
        matches!(algorithm, "roundrobin" | "leastconn" | "first" | "random")
    }
}

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
}

/// What a request has to look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteMatch {
    /// An exact host, or `*.parent`, or none; and a path, empty for every path.
    HostPath {
        /// The host in lower case; `None` for any.
        host: Option<String>,
        /// The path prefix, without a `/` at its end; empty for every path.
        path: String,
    },
    /// The text of one HAProxy criterion.
    Acl(String),
}
