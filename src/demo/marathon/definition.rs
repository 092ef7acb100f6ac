//! An app's definition at one version, with what the stand-in itself reads from it.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::canonical::Draft;
use super::profile::Profile;

/// Where a task's ports live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Host,
    Bridge,
    Container,
}

/// One declared port.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: Option<String>,
    pub(super) container: u16,
    /// None: reachable only at the container's own address. 0: any host port.
    pub(super) host: Option<u16>,
    pub(super) service: u16,
    /// Whether the server behind it is to speak first, as a plain TCP service does.
    pub(super) speaks_tcp: bool,
}

/// How a health check decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Http(String),
    Tcp,
    Command,
}

/// One health check.
#[derive(Clone, Debug)]
pub(super) struct HealthCheck {
    pub(super) probe: Probe,
    /// Run by Marathon itself, so that its results are lost with the leader.
    pub(super) by_marathon: bool,
    pub(super) port_index: usize,
    pub(super) port: Option<u16>,
    pub(super) grace: Duration,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) max_failures: u64,
    /// As it stands in the definition, for `failed_health_check_event`.
    pub(super) source: Value,
}

/// One readiness check.
#[derive(Clone, Debug)]
pub(super) struct ReadinessCheck {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) port_name: String,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) good: Vec<u64>,
    pub(super) keep_response: bool,
}

/// An app's definition at one version.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) id: String,
    pub(super) body: Map<String, Value>,
    pub(super) ip_address: Option<Value>,
    pub(super) version: String,
    pub(super) last_scaling: String,
    pub(super) last_config_change: String,
    pub(super) instances: usize,
    pub(super) mode: Mode,
    pub(super) ports: Vec<Port>,
    pub(super) health: Vec<HealthCheck>,
    pub(super) readiness: Vec<ReadinessCheck>,
    text: OnceLock<String>,
}

impl Definition {
    /// Reads a draft whose service ports are already assigned.
    pub(super) fn new(
        draft: Draft,
        version: String,
        last_scaling: String,
        last_config_change: String,
    ) -> Self {
        let Draft { id, body, ip_address } = draft;
        let mode = match body["networks"][0].get("mode").and_then(Value::as_str) {
            Some("host") => Mode::Host,
            Some("container/bridge") => Mode::Bridge,
            _ => Mode::Container,
        };
        let health: Vec<HealthCheck> = objects(&body, "healthChecks").map(health_check).collect();
        let readiness = objects(&body, "readinessChecks").map(readiness_check).collect();
        let ports = ports(&body, mode, &health);
        let instances = body["instances"].as_u64().unwrap_or(1) as usize;
        let text = OnceLock::new();
        Self {
            id,
            body,
            ip_address,
            version,
            last_scaling,
            last_config_change,
            instances,
            mode,
            ports,
            health,
            readiness,
            text,
        }
    }

    /// The JSON object in the profile's form, without its closing brace.
    pub(super) fn text(&self, profile: Profile) -> &str {
        self.text.get_or_init(|| {
            let mut text = Value::Object(super::form::of(profile, self)).to_string();
            text.pop();
            text
        })
    }

    /// `(minimumHealthCapacity, maximumOverCapacity)`.
    pub(super) fn strategy(&self) -> (f64, f64) {
        let part = |key| self.body["upgradeStrategy"].get(key).and_then(Value::as_f64).unwrap_or(1.0);
        (part("minimumHealthCapacity"), part("maximumOverCapacity"))
    }

    /// Whether the oldest task is to be killed first when scaling down (`killSelection`, 1.4).
    pub(super) fn kills_oldest(&self) -> bool {
        self.body.get("killSelection").is_some_and(|selection| selection == "OLDEST_FIRST")
    }
}

/// The port list a draft has, by the key its service port stands under.
pub(super) fn service_port_slots(
    body: &mut Map<String, Value>,
) -> impl Iterator<Item = (&'static str, &mut Map<String, Value>)> {
    let host = body["networks"][0].get("mode").is_some_and(|mode| mode == "host");
    let (list, key) = if host {
        (body.get_mut("portDefinitions"), "port")
    } else {
        (body.get_mut("container").and_then(|container| container.get_mut("portMappings")), "servicePort")
    };
    list.and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
        .map(move |slot| (key, slot))
}

fn objects<'a>(body: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    body.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn ports(body: &Map<String, Value>, mode: Mode, health: &[HealthCheck]) -> Vec<Port> {
    let number = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok())
    };
    let required = body.get("requirePorts").is_some_and(|value| *value == json!(true));
    let list = match mode {
        Mode::Host => body.get("portDefinitions"),
        Mode::Bridge | Mode::Container => {
            body.get("container").and_then(|container| container.get("portMappings"))
        }
    };
    let declared = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let port = |(index, value): (usize, &Value)| {
        let label = format!("HAPROXY_{index}_MODE");
        let labelled = body["labels"].get(label).and_then(Value::as_str) == Some("tcp");
        let checked = health.iter().any(|check| check.probe == Probe::Tcp && check.port_index == index);
        let service = number(value, if mode == Mode::Host { "port" } else { "servicePort" }).unwrap_or(0);
        Port {
            name: value.get("name").and_then(Value::as_str).map(str::to_owned),
            container: number(value, "containerPort").unwrap_or(0),
            host: match mode {
                Mode::Host => Some(if required { service } else { 0 }),
                Mode::Bridge | Mode::Container => number(value, "hostPort"),
            },
            service,
            speaks_tcp: labelled || checked,
        }
    };
    declared.iter().enumerate().map(port).collect()
}

fn seconds(value: &Value, key: &str) -> Duration {
    let seconds = value.get(key).and_then(Value::as_f64).unwrap_or(1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}

fn health_check(source: &Value) -> HealthCheck {
    let protocol = source.get("protocol").and_then(Value::as_str).unwrap_or("HTTP");
    let path = source.get("path").and_then(Value::as_str).unwrap_or("/");
    let whole = |key: &str| source.get(key).and_then(Value::as_u64);
    HealthCheck {
        probe: match protocol {
            "TCP" | "MESOS_TCP" => Probe::Tcp,
            "COMMAND" => Probe::Command,
            _ => Probe::Http(path.to_owned()),
        },
        by_marathon: matches!(protocol, "HTTP" | "HTTPS" | "TCP"),
        port_index: whole("portIndex").unwrap_or(0) as usize,
        port: whole("port").and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
        grace: seconds(source, "gracePeriodSeconds"),
        interval: seconds(source, "intervalSeconds").max(Duration::from_millis(10)),
        timeout: seconds(source, "timeoutSeconds").max(Duration::from_millis(10)),
        max_failures: whole("maxConsecutiveFailures").unwrap_or(3),
        source: source.clone(),
    }
}

fn readiness_check(source: &Value) -> ReadinessCheck {
    let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let good = source.get("httpStatusCodesForReady").and_then(Value::as_array);
    ReadinessCheck {
        name: text("name"),
        path: text("path"),
        port_name: text("portName"),
        interval: seconds(source, "intervalSeconds").max(Duration::from_millis(10)),
        timeout: seconds(source, "timeoutSeconds").max(Duration::from_millis(10)),
        good: good.into_iter().flatten().filter_map(Value::as_u64).collect(),
        keep_response: source.get("preserveLastResponse").is_some_and(|value| *value == json!(true)),
    }
}
