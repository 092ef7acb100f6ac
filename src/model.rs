//! What the house talks about: apps, tasks, rules, services, problems. No I/O in here, no clock.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub mod app;
pub mod backend;
pub mod crypt;
pub mod problem;
pub mod raw;
pub mod route;
pub mod rule;
pub mod seldom;
pub mod service;

pub use app::{App, AppPort, Health, HealthCheck, HealthProtocol, Task, TaskState};
pub use backend::{Backend, Extras, Location, Login, Protocol, Watch};
pub use problem::{Problem, ProblemKind};
pub use raw::{Raw, RawHead};
pub use route::{Line, Route, RouteMatch};
pub use rule::{Change, Criterion, Rule, RuleRoute};
pub use seldom::Seldom;
pub use service::{Bind, Marks, Mode, Server, Service, ServiceId};

/// The absolute id of an app (`/group/app`), always with its leading slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct AppId(Arc<str>);

impl AppId {
    /// Takes an id as Marathon or a person writes it; a missing leading slash is added.
    #[must_use]
    pub fn new(id: &str) -> Self {
        if id.starts_with('/') { Self(id.into()) } else { Self(format!("/{id}").into()) }
    }

    /// The id as text, with its leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for AppId {
    fn from(id: String) -> Self {
        Self::new(&id)
    }
}

impl std::fmt::Display for AppId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a task, unique for all time in one Marathon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// Takes the id as Marathon writes it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TaskId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Marathon timestamp, `yyyy-MM-ddTHH:mm:ss.SSSZ`: always UTC, so the order of the text is the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub Arc<str>);

/// Where a task can be reached for one port of its app.
pub type Endpoint = SocketAddr;
