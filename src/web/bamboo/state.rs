//! `/api/state`: what Bamboo gives to its template, with its field names.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Record;
use crate::model::{App, Health, HealthCheck, HealthProtocol, Task, TaskState};

/// What stands for the value of a variable that may be a secret.
const MASKED: &str = "***";
/// Words in the name of a variable that holds a secret, most likely.
const SECRET: [&str; 7] = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "PRIVATE", "AUTH"];

/// Everything, as Bamboo shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown {
    pub(super) apps: Vec<ShownApp>,
    pub(super) services: BTreeMap<String, Record>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShownApp {
    id: String,
    mesos_dns_id: String,
    escaped_id: String,
    health_check_path: String,
    health_check_protocol: &'static str,
    health_checks: Vec<Check>,
    readiness_check_path: String,
    tasks: Vec<ShownTask>,
    service_port: u16,
    service_ports: Option<Vec<u16>>,
    env: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    split_id: Vec<String>,
    #[serde(rename = "ipAddress")]
    ip_address: IpAddress,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    protocol: &'static str,
    path: String,
    port_index: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownTask {
    id: String,
    host: String,
    port: u16,
    ports: Option<Vec<u16>>,
    alive: bool,
    state: &'static str,
    ready: bool,
}

/// Ports of an app whose tasks have addresses of their own: Marathon's definition is not kept as it was written, so there are
/// none here; the tasks have the address and the port.
#[derive(Debug, Default, Serialize)]
struct IpAddress {
    discovery: Discovery,
}

#[derive(Debug, Default, Serialize)]
struct Discovery {
    ports: Option<Vec<u16>>,
}

impl ShownApp {
    /// An app; of its environment only the variables that are `named`.
    pub(super) fn of(app: &App, named: &[String]) -> Self {
        let id = app.id.as_str();
        let parts: Vec<&str> = id.split('/').filter(|part| !part.is_empty()).rev().collect();
        let by_http =
            |check: &&HealthCheck| matches!(check.protocol, HealthProtocol::Http | HealthProtocol::Https);
        let first = app.health_checks.iter().find(by_http);
        let ports: Vec<u16> = app.ports.iter().map(|port| port.service_port.unwrap_or_default()).collect();
        let texts =
            |pairs: &mut dyn Iterator<Item = (&Box<str>, String)>| -> Option<BTreeMap<String, String>> {
                let pairs: BTreeMap<String, String> =
                    pairs.map(|(key, value)| (key.to_string(), value)).collect();
                (!pairs.is_empty()).then_some(pairs)
            };
        let is_named = |name: &str| named.iter().any(|each| each == name);
        let shown = |name: &str, value: &str| match is_secret(name) {
            true => MASKED.to_owned(),
            false => value.to_string(),
        };
        Self {
            id: id.to_owned(),
            mesos_dns_id: parts.join("-"),
            escaped_id: id.replace('/', "::"),
            health_check_path: first.map(path_of).unwrap_or_default(),
            health_check_protocol: first.map(|check| protocol_of(check.protocol)).unwrap_or_default(),
            health_checks: app
                .health_checks
                .iter()
                .map(|check| Check {
                    protocol: protocol_of(check.protocol),
                    path: path_of(check),
                    port_index: check.port_index.unwrap_or_default(),
                })
                .collect(),
            readiness_check_path: String::new(),
            tasks: app
                .tasks
                .values()
                .filter_map(|task| task_of(task, !app.health_checks.is_empty()))
                .collect(),
            service_port: ports.first().copied().unwrap_or_default(),
            service_ports: (!ports.is_empty()).then_some(ports),
            env: texts(
                &mut app
                    .env
                    .iter()
                    .filter(|(name, _)| is_named(name))
                    .map(|pair| (pair.0, shown(pair.0, pair.1))),
            ),
            labels: texts(&mut app.labels.iter().map(|pair| (pair.0, shown(pair.0, pair.1)))),
            split_id: id.split('/').map(str::to_owned).collect(),
            ip_address: IpAddress::default(),
        }
    }
}

/// A task; Bamboo leaves out those without an address.
fn task_of(task: &Task, checked: bool) -> Option<ShownTask> {
    let first = task.endpoints.iter().flatten().next()?;
    let state = match task.state {
        TaskState::Starting => "TASK_STAGING",
        TaskState::Running => "TASK_RUNNING",
        TaskState::Killing => "TASK_KILLING",
        TaskState::Unreachable => "TASK_UNREACHABLE",
        TaskState::Ended => return None,
    };
    Some(ShownTask {
        id: task.id.as_str().to_owned(),
        host: task.host.to_string(),
        port: first.port(),
        ports: Some(task.endpoints.iter().flatten().map(std::net::SocketAddr::port).collect()),
        alive: match task.health {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => !checked,
        },
        state,
        ready: task.ready && task.state == TaskState::Running,
    })
}

fn path_of(check: &HealthCheck) -> String {
    check.path.as_deref().unwrap_or_default().to_owned()
}

fn protocol_of(protocol: HealthProtocol) -> &'static str {
    match protocol {
        HealthProtocol::Http => "HTTP",
        HealthProtocol::Https => "HTTPS",
        HealthProtocol::Tcp => "TCP",
        HealthProtocol::Command => "COMMAND",
    }
}

/// Whether the name of a variable or a label says that its value is a secret (`HAPROXY_0_AUTH`, `DB_PASSWORD`).
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET.iter().any(|word| name.contains(word))
}
