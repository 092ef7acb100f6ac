//! Apps and their tasks, as every version of Marathon means them.

use std::collections::BTreeMap;

use litemap::LiteMap;

use super::{AppId, Endpoint, TaskId, Timestamp};

/// An app as its scheduler defines it, with the tasks that run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The absolute id.
    pub id: AppId,
    /// How many tasks it is to have.
    pub instances: usize,
    /// All labels of the app.
    pub labels: LiteMap<Box<str>, Box<str>>,
    /// The environment variables that Causeway reads (`BAMBOO_*`); no others are kept, they may hold secrets.
    pub env: BTreeMap<Box<str>, Box<str>>,
    /// The ports in the order the app declares them: the index is the `{n}` of `HAPROXY_{n}_…`.
    pub ports: Vec<AppPort>,
    /// The health checks of the app.
    pub health_checks: Vec<HealthCheck>,
    /// When it was scaled last, of an app that is one version of a service (`HAPROXY_DEPLOYMENT_GROUP`).
    pub scaled_at: Option<Timestamp>,
    /// Every task that Marathon lists, by id.
    pub tasks: BTreeMap<TaskId, Task>,
}

impl App {
    /// The tasks that may get requests now.
    pub fn serving(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| task.serves(!self.health_checks.is_empty()))
    }

    /// The tasks that run and are ready, whatever Marathon says of their health.
    pub fn running(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| task.state == TaskState::Running && task.ready)
    }
}

/// One service port of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPort {
    /// The service port; `None` where the app has none (IP-per-task discovery ports, or 0).
    pub service_port: Option<u16>,
    /// The port's name, if it has one.
    pub name: Option<Box<str>>,
    /// The port inside the task's own network, where it has one (IP-per-task).
    pub container_port: Option<u16>,
    /// True where the port takes UDP only, which HAProxy cannot carry.
    pub udp_only: bool,
}

/// A health check, as far as a balancer has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Who asks, and how.
    pub protocol: HealthProtocol,
    /// The path of an HTTP check.
    pub path: Option<Box<str>>,
    /// The index of the app's port that is checked; `None` where a fixed port or a command is used.
    pub port_index: Option<usize>,
    /// The fixed port that is checked, if the check names one.
    pub port: Option<u16>,
    /// Seconds between two checks.
    pub interval_seconds: u32,
    /// Seconds an answer may take.
    pub timeout_seconds: u32,
    /// Failures in a row before Marathon kills the task.
    pub max_consecutive_failures: u32,
}

/// The protocol of a health check; `MESOS_` forms count as the form they check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthProtocol {
    /// `HTTP` and `MESOS_HTTP`.
    Http,
    /// `HTTPS` and `MESOS_HTTPS`.
    Https,
    /// `TCP` and `MESOS_TCP`.
    Tcp,
    /// `COMMAND`, which only Mesos can run.
    Command,
}

/// What Marathon knows of a task's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every result is alive.
    Healthy,
    /// At least one result is not.
    Unhealthy,
    /// There is no result: the check has not run, or a new leader does not know it.
    Unknown,
}

/// The state of a task, as far as a balancer has to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not running yet.
    Starting,
    /// `TASK_RUNNING`.
    Running,
    /// `TASK_KILLING`, or a kill that an event announced: it drains.
    Killing,
    /// `TASK_UNREACHABLE`: its agent is away, it may come back.
    Unreachable,
    /// Ended; its id never comes back.
    Ended,
}

/// A running instance of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The task id.
    pub id: TaskId,
    /// The agent as it registered: a name or an address.
    pub host: Box<str>,
    /// What it is doing.
    pub state: TaskState,
    /// The definition it was launched from.
    pub version: Timestamp,
    /// Marathon's verdict.
    pub health: Health,
    /// False while a deployment waits for its readiness check.
    pub ready: bool,
    /// Where each port of the app is reached, by the index of [`App::ports`]; `None` where it cannot be told.
    pub endpoints: Box<[Option<Endpoint>]>,
}

impl Task {
    /// Whether this task may get requests. With checks defined an unknown verdict is not enough; without, running is.
    #[must_use]
    pub fn serves(&self, checked: bool) -> bool {
        let healthy = match self.health {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => !checked,
        };
        self.state == TaskState::Running && self.ready && healthy
    }
}
