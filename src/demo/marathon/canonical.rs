//! Brings an app as posted, in whatever version's form, to one form: that of Marathon 1.5 and later.

use serde_json::{Map, Value, json};

use super::profile::Profile;

/// An app as it was asked for, before it has a version and service ports.
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) body: Map<String, Value>,
    /// `ipAddress` as posted: the form up to 1.4 cannot be made again from `networks`.
    pub(super) ip_address: Option<Value>,
}

/// What is wrong with an app, with the path Marathon gives in `details`.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub(super) struct Problem {
    pub(super) path: &'static str,
    pub(super) message: String,
}

/// Fields of a read that mean nothing in a write.
const READ_ONLY: [&str; 14] = [
    "version",
    "versionInfo",
    "tasks",
    "tasksStaged",
    "tasksRunning",
    "tasksHealthy",
    "tasksUnhealthy",
    "deployments",
    "readinessCheckResults",
    "lastTaskFailure",
    "taskStats",
    "uris",
    "storeUrls",
    "dependencies",
];

/// Lays what was posted over `base` and brings the whole to the one form.
pub(super) fn draft(
    profile: Profile,
    mut posted: Map<String, Value>,
    id: Option<&str>,
    base: Option<(&Map<String, Value>, Option<&Value>)>,
) -> Result<Draft, Problem> {
    for key in READ_ONLY {
        let empty = posted.get(key).is_some_and(|value| value.as_array().is_some_and(Vec::is_empty));
        if empty || !matches!(key, "uris" | "storeUrls" | "dependencies") {
            posted.remove(key);
        }
    }
    posted.retain(|_, value| !value.is_null());
    let id = match id {
        Some(id) => id.to_owned(),
        None => app_id(posted.get("id"))?,
    };
    let (mut body, mut ip_address) =
        base.map_or_else(Default::default, |(body, address)| (body.clone(), address.cloned()));
    if let Some(address) = posted.remove("ipAddress") {
        ip_address = Some(address);
        body.remove("networks");
    } else if posted.contains_key("networks") {
        ip_address = None;
    }
    if posted.get("container").is_some_and(|container| container.pointer("/docker/network").is_some()) {
        body.remove("networks");
    }
    if let Some(ports) = posted.remove("ports")
        && !posted.contains_key("portDefinitions")
    {
        posted.insert("portDefinitions".to_owned(), definitions_of(&ports));
    }
    body.append(&mut posted);
    body.insert("id".to_owned(), json!(id));
    network(profile, &mut body, ip_address.as_ref());
    defaults(profile, &mut body)?;
    checks(&mut body);
    Ok(Draft { id, body, ip_address })
}

fn app_id(given: Option<&Value>) -> Result<String, Problem> {
    let problem = |message: &str| Problem { path: "/id", message: message.to_owned() };
    let text = given.ok_or_else(|| problem("error.path.missing"))?;
    let text = text.as_str().ok_or_else(|| problem("error.expected.jsstring"))?;
    let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
    let allowed =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    if segments.is_empty() || !segments.iter().all(|segment| segment.chars().all(allowed)) {
        return Err(problem(
            "must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])|(\\.|\\.\\.)$'",
        ));
    }
    Ok(format!("/{}", segments.join("/")))
}

fn definitions_of(ports: &Value) -> Value {
    let ports = ports.as_array().map(Vec::as_slice).unwrap_or_default();
    ports.iter().map(|port| json!({"port": port, "protocol": "tcp"})).collect()
}

/// Settles `networks`, `container.portMappings` and `portDefinitions`; only one of the latter two is left.
fn network(profile: Profile, body: &mut Map<String, Value>, ip_address: Option<&Value>) {
    let (docker_network, mappings) = from_container(body);
    let mappings = mappings.or_else(|| ip_address.and_then(discovered));
    let mut networks = body
        .remove("networks")
        .filter(filled)
        .unwrap_or_else(|| old_network(docker_network.as_deref(), ip_address, mappings.is_some()));
    let mut mode = networks[0].get("mode").and_then(Value::as_str).unwrap_or("container").to_owned();
    if profile == Profile::V0_11 && mode == "container" {
        // 0.11 knows no network but the host's and the bridge.
        mode = "container/bridge".to_owned();
        networks = json!([{"mode": mode}]);
    }
    body.insert("networks".to_owned(), networks);
    if mode == "host" {
        host_ports(profile, body);
        return;
    }
    body.remove("portDefinitions");
    let mappings = mappings.map(|mappings| mapped(mappings, mode == "container/bridge"));
    let container = body.entry("container").or_insert_with(|| json!({"type": "MESOS", "volumes": []}));
    if let Some(container) = container.as_object_mut() {
        container.insert("portMappings".to_owned(), mappings.unwrap_or_else(|| json!([])));
    }
}

/// Takes `docker.network` and the port mappings out of the container and fills in its defaults.
fn from_container(body: &mut Map<String, Value>) -> (Option<String>, Option<Value>) {
    let Some(container) = body.get_mut("container").and_then(Value::as_object_mut) else {
        return (None, None);
    };
    let mut docker_network = None;
    let mut mappings = container.remove("portMappings").filter(filled);
    if let Some(docker) = container.get_mut("docker").and_then(Value::as_object_mut) {
        docker_network = docker.remove("network").and_then(|name| name.as_str().map(str::to_owned));
        mappings = mappings.or(docker.remove("portMappings")).filter(filled);
        for (key, value) in
            [("forcePullImage", json!(false)), ("privileged", json!(false)), ("parameters", json!([]))]
        {
            docker.entry(key).or_insert(value);
        }
        container.entry("type").or_insert(json!("DOCKER"));
    }
    container.entry("type").or_insert(json!("MESOS"));
    container.entry("volumes").or_insert(json!([]));
    (docker_network, mappings)
}

/// `networks` for an app posted in the form up to 1.4.
fn old_network(docker: Option<&str>, ip_address: Option<&Value>, mapped: bool) -> Value {
    let mode = match docker {
        Some("BRIDGE") => "container/bridge",
        Some("USER") => "container",
        Some(_) => "host",
        None if ip_address.is_some() => "container",
        None if mapped => "container/bridge",
        None => "host",
    };
    let mut network = json!({"mode": mode});
    if mode == "container" {
        for (from, to) in [("networkName", "name"), ("labels", "labels")] {
            let given = ip_address.and_then(|address| address.get(from)).filter(|value| **value != json!({}));
            if let Some(value) = given {
                network[to] = value.clone();
            }
        }
    }
    json!([network])
}

fn filled(value: &Value) -> bool {
    value.as_array().is_some_and(|array| !array.is_empty())
}

fn discovered(ip_address: &Value) -> Option<Value> {
    let ports = ip_address.pointer("/discovery/ports")?.as_array()?;
    let mapping = |port: &Value| {
        let mut mapping = json!({"containerPort": port["number"], "protocol": "tcp"});
        for key in ["name", "protocol", "labels"] {
            if let Some(value) = port.get(key) {
                mapping[key] = value.clone();
            }
        }
        mapping
    };
    Some(ports.iter().map(mapping).collect()).filter(filled)
}

fn host_ports(profile: Profile, body: &mut Map<String, Value>) {
    let default = if profile.has_networks() {
        json!([{"port": 0, "protocol": "tcp", "name": "default"}])
    } else {
        json!([{"port": 0, "protocol": "tcp"}])
    };
    let ports = body.entry("portDefinitions").or_insert(default);
    for port in ports.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        port.entry("port").or_insert(json!(0));
        port.entry("protocol").or_insert(json!("tcp"));
    }
    body.entry("requirePorts").or_insert(json!(false));
}

fn mapped(mut mappings: Value, bridge: bool) -> Value {
    for mapping in mappings.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        mapping.retain(|_, value| !value.is_null());
        mapping.entry("containerPort").or_insert(json!(0));
        mapping.entry("protocol").or_insert(json!("tcp"));
        mapping.entry("servicePort").or_insert(json!(0));
        mapping.entry("labels").or_insert(json!({}));
        if bridge {
            mapping.entry("hostPort").or_insert(json!(0));
        }
    }
    mappings
}

fn defaults(profile: Profile, body: &mut Map<String, Value>) -> Result<(), Problem> {
    let launch_delay = if profile.has_networks() { 300 } else { 3600 };
    for (key, value) in [
        ("backoffFactor", json!(1.15)),
        ("backoffSeconds", json!(1)),
        ("cpus", json!(1)),
        ("disk", json!(0)),
        ("executor", json!("")),
        ("instances", json!(1)),
        ("labels", json!({})),
        ("maxLaunchDelaySeconds", json!(launch_delay)),
        ("mem", json!(128)),
        ("upgradeStrategy", json!({})),
        ("requirePorts", json!(false)),
    ] {
        body.entry(key).or_insert(value);
    }
    if let Some(strategy) = body.get_mut("upgradeStrategy").and_then(Value::as_object_mut) {
        strategy.entry("minimumHealthCapacity").or_insert(json!(1));
        strategy.entry("maximumOverCapacity").or_insert(json!(1));
    }
    let problem = |path, message: &str| Problem { path, message: message.to_owned() };
    if body["instances"].as_u64().is_none_or(|count| count > 1_000_000) {
        return Err(problem("/instances", "got a value that is not between 0 and 1000000"));
    }
    let labels = body["labels"].as_object().ok_or_else(|| problem("/labels", "error.expected.jsobject"))?;
    if labels.values().any(|value| !value.is_string()) {
        return Err(problem("/labels", "error.expected.jsstring"));
    }
    Ok(())
}

fn checks(body: &mut Map<String, Value>) {
    for check in list(body, "healthChecks") {
        for (key, value) in [
            ("protocol", json!("HTTP")),
            ("gracePeriodSeconds", json!(300)),
            ("intervalSeconds", json!(60)),
            ("timeoutSeconds", json!(20)),
            ("maxConsecutiveFailures", json!(3)),
        ] {
            check.entry(key).or_insert(value);
        }
        check.retain(|_, value| !value.is_null());
        let protocol = check["protocol"].as_str().unwrap_or("HTTP").to_owned();
        if protocol == "COMMAND" {
            continue;
        }
        if !check.contains_key("port") {
            check.entry("portIndex").or_insert(json!(0));
        }
        if protocol.contains("HTTP") {
            check.entry("path").or_insert(json!("/"));
        }
        if protocol.starts_with("HTTP") {
            check.entry("ignoreHttp1xx").or_insert(json!(false));
        }
    }
    for check in list(body, "readinessChecks") {
        for (key, value) in [
            ("name", json!("readinessCheck")),
            ("protocol", json!("HTTP")),
            ("path", json!("/")),
            ("portName", json!("http-api")),
            ("intervalSeconds", json!(30)),
            ("timeoutSeconds", json!(10)),
            ("httpStatusCodesForReady", json!([200])),
            ("preserveLastResponse", json!(false)),
        ] {
            check.entry(key).or_insert(value);
        }
    }
}

fn list<'a>(body: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    body.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
