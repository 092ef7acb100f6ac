//! From Marathon's JSON to the model: which ports an app has, and where each task is reached for each of them.

use std::net::{IpAddr, SocketAddr};

use litemap::LiteMap;
use serde_json::Value;

use super::wire::{WireApp, WireHealthCheck, WirePortMapping, WireTask, each};
use crate::model::{AppPort, Endpoint, Health, HealthCheck, HealthProtocol, TaskState};

/// How a task is reached for one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// At its agent, on the next of the task's host ports.
    HostPort,
    /// At its own address, on this port.
    ContainerPort(u16),
}

/// What an app's definition says about its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) ports: Vec<AppPort>,
    pub(crate) forms: Vec<Form>,
    /// With host networking the task's own address is its agent's, which saves looking up the agent's name.
    host_networking: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Networking {
    Host,
    Bridge,
    Container,
}

impl Definition {
    /// Reads the ports in the order of Marathon's own port assignment: mappings, port definitions, ports, discovery.
    pub(crate) fn of(app: &WireApp) -> Self {
        let networking = networking(app);
        let host_networking = networking == Networking::Host;
        let mut declared: Vec<(AppPort, Form)> = mappings(app)
            .map(|mapping| {
                let form = mapping_form(mapping, networking);
                (app_port(mapping.service_port, &mapping.name, mapping.protocol.as_deref(), form), form)
            })
            .collect();
        if declared.is_empty() {
            declared.extend(each(&app.port_definitions).map(|definition| {
                let protocol = definition.protocol.as_deref();
                (app_port(definition.port, &definition.name, protocol, Form::HostPort), Form::HostPort)
            }));
        }
        if declared.is_empty() {
            let ports = app.ports.iter().flatten();
            declared.extend(ports.map(|port| (app_port(*port, &None, None, Form::HostPort), Form::HostPort)));
        }
        if declared.is_empty() {
            let discovery = app.ip_address.as_ref().and_then(|address| address.discovery.as_ref());
            declared.extend(discovery.into_iter().flat_map(|discovery| each(&discovery.ports)).map(|port| {
                let form = Form::ContainerPort(to_port(port.number).unwrap_or_default());
                (app_port(None, &port.name, port.protocol.as_deref(), form), form)
            }));
        }
        let (ports, forms) = declared.into_iter().unzip();
        Self { ports, forms, host_networking }
    }

    /// The name that has to be looked up before [`Self::endpoints`] can tell where the task is.
    pub(crate) fn unresolved_host<'a>(&self, task: &'a WireTask) -> Option<&'a str> {
        let host = task.host.as_deref().filter(|host| !host.is_empty())?;
        let needed = self.forms.contains(&Form::HostPort)
            && task.ports.as_ref().is_some_and(|ports| !ports.is_empty())
            && literal(host).is_none()
            && !(self.host_networking && own_address(task).is_some())
            && state_of(task) != TaskState::Ended;
        needed.then_some(host)
    }

    /// Where the task is reached for each port, as Marathon's `NetworkInfo.portAssignments` has it. `task.ports`
    /// holds host ports only, so those are counted over the ports that have one.
    pub(crate) fn endpoints(
        &self,
        task: &WireTask,
        resolve: &dyn Fn(&str) -> Option<IpAddr>,
    ) -> Vec<Option<Endpoint>> {
        let own = own_address(task);
        let host = task.host.as_deref().unwrap_or_default();
        let agent = literal(host).or_else(|| own.filter(|_| self.host_networking)).or_else(|| resolve(host));
        let mut host_ports = task.ports.iter().flatten();
        let endpoint = |address: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(address?, port?));
        self.forms
            .iter()
            .map(|form| match form {
                Form::HostPort => endpoint(agent, host_ports.next().and_then(|port| to_port(*port))),
                Form::ContainerPort(port) => endpoint(own, Some(*port).filter(|port| *port != 0)),
            })
            .collect()
    }

    /// Carries the endpoints of a task from the ports it was launched with to these: by service port, then by name,
    /// then by index where the definitions have the same shape.
    pub(crate) fn carry(
        &self,
        ports: &[AppPort],
        forms: &[Form],
        endpoints: &[Option<Endpoint>],
    ) -> Vec<Option<Endpoint>> {
        if self.ports == ports {
            return endpoints.to_vec();
        }
        let same_shape = self.forms == forms;
        let position = |wanted: &AppPort| {
            let by_port =
                |port: &AppPort| port.service_port.is_some() && port.service_port == wanted.service_port;
            let by_name = |port: &AppPort| port.name.is_some() && port.name == wanted.name;
            ports.iter().position(by_port).or_else(|| ports.iter().position(by_name))
        };
        let matched: Vec<Option<usize>> = self.ports.iter().map(position).collect();
        matched
            .iter()
            .enumerate()
            .map(|(index, found)| {
                let free = same_shape && !matched.contains(&Some(index));
                found.or(free.then_some(index)).and_then(|from| endpoints.get(from).copied().flatten())
            })
            .collect()
    }
}

fn mappings(app: &WireApp) -> impl Iterator<Item = &WirePortMapping> {
    let container = app.container.as_ref();
    let own = container.map(|container| &container.port_mappings);
    let docker =
        container.and_then(|container| container.docker.as_ref()).map(|docker| &docker.port_mappings);
    own.filter(|list| each(list).next().is_some()).or(docker).into_iter().flat_map(each)
}

fn networking(app: &WireApp) -> Networking {
    let docker = app.container.as_ref().and_then(|container| container.docker.as_ref());
    let mode = each(&app.networks).find_map(|network| network.mode.as_deref());
    let legacy = docker.and_then(|docker| docker.network.as_deref());
    match (mode, legacy) {
        (Some("container/bridge"), _) | (None, Some("BRIDGE")) => Networking::Bridge,
        (Some("container"), _) | (None, Some("USER")) => Networking::Container,
        (Some("host"), _) | (None, Some("HOST")) => Networking::Host,
        _ if app.ip_address.is_some() || mappings(app).next().is_some() => Networking::Container,
        _ => Networking::Host,
    }
}

fn mapping_form(mapping: &WirePortMapping, networking: Networking) -> Form {
    match networking {
        Networking::Host | Networking::Bridge => Form::HostPort,
        Networking::Container if mapping.host_port.is_some() => Form::HostPort,
        Networking::Container => Form::ContainerPort(to_port(mapping.container_port).unwrap_or_default()),
    }
}

fn app_port(
    service_port: Option<i64>,
    name: &Option<Box<str>>,
    protocol: Option<&str>,
    form: Form,
) -> AppPort {
    let name = name.clone().filter(|name| !name.is_empty());
    let udp_only = protocol.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("udp"));
    let container_port = match form {
        Form::ContainerPort(port) => Some(port).filter(|port| *port != 0),
        Form::HostPort => None,
    };
    AppPort { service_port: to_port(service_port), name, container_port, udp_only }
}

fn to_port(number: Option<i64>) -> Option<u16> {
    number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0)
}

pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn own_address(task: &WireTask) -> Option<IpAddr> {
    each(&task.ip_addresses).next().and_then(|address| literal(address.ip_address.as_deref()?))
}

/// The state of a task in a list. Without `state` (before 0.15.4) a task that has started runs.
pub(crate) fn state_of(task: &WireTask) -> TaskState {
    match task.state.as_deref() {
        None if task.started_at.is_some() => TaskState::Running,
        None => TaskState::Starting,
        Some(state) => state_named(state),
    }
}

/// What a task status of Mesos means here. A lost task may come back since 1.3, as an unreachable one.
pub(crate) fn state_named(status: &str) -> TaskState {
    match status {
        "TASK_RUNNING" => TaskState::Running,
        "TASK_KILLING" => TaskState::Killing,
        "TASK_UNREACHABLE" | "TASK_LOST" => TaskState::Unreachable,
        "TASK_FINISHED"
        | "TASK_FAILED"
        | "TASK_KILLED"
        | "TASK_ERROR"
        | "TASK_DROPPED"
        | "TASK_GONE"
        | "TASK_GONE_BY_OPERATOR"
        | "TASK_UNKNOWN" => TaskState::Ended,
        _ => TaskState::Starting,
    }
}

/// Marathon's own verdict: healthy if there are results and all are alive.
pub(crate) fn health_of(task: &WireTask) -> Health {
    let mut verdict = Health::Unknown;
    for result in each(&task.health_check_results) {
        match result.alive {
            Some(true) => verdict = Health::Healthy,
            Some(false) => return Health::Unhealthy,
            None => {}
        }
    }
    verdict
}

pub(crate) fn health_check(check: &WireHealthCheck) -> HealthCheck {
    let protocol = match check.protocol.as_deref() {
        Some("HTTPS" | "MESOS_HTTPS") => HealthProtocol::Https,
        Some("TCP" | "MESOS_TCP") => HealthProtocol::Tcp,
        Some("COMMAND") => HealthProtocol::Command,
        _ => HealthProtocol::Http,
    };
    let port = to_port(check.port);
    let index = check.port_index.unwrap_or_default();
    let takes_index = port.is_none() && protocol != HealthProtocol::Command;
    HealthCheck {
        protocol,
        path: check.path.clone(),
        port_index: takes_index.then(|| usize::try_from(index).ok()).flatten(),
        port,
        interval_seconds: whole(check.interval_seconds, 60),
        timeout_seconds: whole(check.timeout_seconds, 20),
        max_consecutive_failures: whole(check.max_consecutive_failures, 3),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float-to-int cast saturates")]
fn whole(number: Option<f64>, default: u32) -> u32 {
    number.map_or(default, |number| number as u32)
}

/// Labels are text in every version; numbers and booleans of foreign writers are taken as the text they are.
pub(crate) fn labels(app: &WireApp) -> LiteMap<Box<str>, Box<str>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        _ => None,
    };
    app.labels.iter().flatten().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

#[cfg(test)]
mod tests;
