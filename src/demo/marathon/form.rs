//! A definition in the form of a Marathon version.

use serde_json::{Map, Value, json};

use super::definition::{Definition, Mode};
use super::profile::Profile;

/// What 1.5 and later leave out when it is empty.
const ABSENT_WHEN_EMPTY: [&str; 11] = [
    "env",
    "secrets",
    "healthChecks",
    "readinessChecks",
    "constraints",
    "fetch",
    "args",
    "uris",
    "storeUrls",
    "dependencies",
    "acceptedResourceRoles",
];

/// What 0.11 did not know.
const UNKNOWN_TO_0_11: [&str; 11] = [
    "networks",
    "portDefinitions",
    "killSelection",
    "unreachableStrategy",
    "role",
    "gpus",
    "fetch",
    "readinessChecks",
    "residency",
    "secrets",
    "taskKillGracePeriodSeconds",
];

/// The app object as the profile's version writes it, without tasks and counts.
pub(super) fn of(profile: Profile, definition: &Definition) -> Map<String, Value> {
    let mut body = definition.body.clone();
    body.insert("version".to_owned(), json!(definition.version));
    body.insert(
        "versionInfo".to_owned(),
        json!({"lastScalingAt": definition.last_scaling, "lastConfigChangeAt": definition.last_config_change}),
    );
    if profile.has_networks() { since_1_5(profile, body) } else { until_1_4(profile, definition, body) }
}

fn since_1_5(profile: Profile, mut body: Map<String, Value>) -> Map<String, Value> {
    for key in ABSENT_WHEN_EMPTY {
        let empty = body.get(key).is_some_and(|value| {
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
        });
        if empty {
            body.remove(key);
        }
    }
    let unreachable = json!({"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0});
    body.entry("gpus").or_insert(json!(0));
    body.entry("killSelection").or_insert(json!("YOUNGEST_FIRST"));
    body.entry("unreachableStrategy").or_insert(unreachable);
    if profile == Profile::V1_11 {
        body.entry("role").or_insert(json!("*"));
    }
    for check in objects(&mut body, "healthChecks") {
        check.entry("delaySeconds").or_insert(json!(15));
        check.entry("ipProtocol").or_insert(json!("IPv4"));
    }
    body
}

fn until_1_4(profile: Profile, definition: &Definition, mut body: Map<String, Value>) -> Map<String, Value> {
    body.remove("networks");
    let old = profile == Profile::V0_11;
    old_ports(old, definition, &mut body);
    old_container(old, definition, &mut body);
    for key in ["cmd", "args", "user", "container"] {
        body.entry(key).or_insert(Value::Null);
    }
    for key in ["constraints", "uris", "storeUrls", "healthChecks", "dependencies"] {
        body.entry(key).or_insert(json!([]));
    }
    body.entry("env").or_insert(json!({}));
    for check in objects(&mut body, "healthChecks") {
        check.remove("delaySeconds");
        check.remove("ipProtocol");
        if old {
            check.entry("command").or_insert(Value::Null);
        }
    }
    if old {
        for key in UNKNOWN_TO_0_11 {
            body.remove(key);
        }
        body.entry("acceptedResourceRoles").or_insert(Value::Null);
        return body;
    }
    for (key, value) in [
        ("gpus", json!(0)),
        ("fetch", json!([])),
        ("readinessChecks", json!([])),
        ("ipAddress", Value::Null),
        ("residency", Value::Null),
        ("secrets", json!({})),
        ("taskKillGracePeriodSeconds", Value::Null),
        ("unreachableStrategy", json!({"inactiveAfterSeconds": 300, "expungeAfterSeconds": 600})),
        ("killSelection", json!("YOUNGEST_FIRST")),
    ] {
        body.entry(key).or_insert(value);
    }
    body
}

/// Up to 1.4 an app with an own address has none of these; every other app has them, whatever its network.
fn old_ports(old: bool, definition: &Definition, body: &mut Map<String, Value>) {
    if definition.mode == Mode::Container {
        body.remove("portDefinitions");
        body.remove("requirePorts");
        return;
    }
    let ports: Vec<u16> = definition.ports.iter().map(|port| port.service).collect();
    if !old {
        let definitions = body.entry("portDefinitions").or_insert_with(|| {
            let protocols = body_protocols(definition);
            ports
                .iter()
                .zip(protocols)
                .map(|(port, protocol)| json!({"port": port, "protocol": protocol}))
                .collect()
        });
        for definition in definitions.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            definition.entry("labels").or_insert(json!({}));
        }
    }
    body.insert("ports".to_owned(), json!(ports));
}

fn body_protocols(definition: &Definition) -> impl Iterator<Item = &Value> {
    let mappings = definition.body.get("container").and_then(|container| container.get("portMappings"));
    mappings.and_then(Value::as_array).into_iter().flatten().map(|mapping| &mapping["protocol"])
}

fn old_container(old: bool, definition: &Definition, body: &mut Map<String, Value>) {
    let mut mappings = None;
    let mut has_docker = false;
    if let Some(container) = body.get_mut("container").and_then(Value::as_object_mut) {
        mappings = container.remove("portMappings");
        has_docker = container.contains_key("docker") && container["type"] == "DOCKER";
        if has_docker {
            let mut written = mappings.clone().unwrap_or_else(|| json!([]));
            for mapping in written.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                mapping.entry("hostPort").or_insert(Value::Null);
                if old {
                    mapping.remove("labels");
                    mapping.remove("name");
                }
            }
            let docker = &mut container["docker"];
            docker["network"] = json!(match definition.mode {
                Mode::Host => "HOST",
                Mode::Bridge => "BRIDGE",
                Mode::Container => "USER",
            });
            docker["portMappings"] = if definition.mode == Mode::Host { Value::Null } else { written };
        }
    }
    if definition.mode == Mode::Container {
        // Only Docker had mappings then; any other container announced its ports by discovery.
        let discovery = if has_docker { json!([]) } else { discovery(mappings.as_ref()) };
        let network = definition.body["networks"][0].get("name");
        let mut address = json!({"groups": [], "labels": {}, "discovery": {"ports": discovery}});
        if let Some(name) = network {
            address["networkName"] = name.clone();
        }
        body.insert("ipAddress".to_owned(), definition.ip_address.clone().unwrap_or(address));
        let bare = |container: &Value| container.as_object().is_some_and(|keys| keys.len() == 2);
        if !has_docker && body.get("container").is_some_and(bare) {
            body.remove("container");
        }
    }
}

fn discovery(mappings: Option<&Value>) -> Value {
    let port = |mapping: &Value| {
        let mut port = json!({"number": mapping["containerPort"], "protocol": mapping["protocol"],
            "name": mapping.get("name").cloned().unwrap_or_else(|| json!(""))});
        port["labels"] = mapping.get("labels").cloned().unwrap_or_else(|| json!({}));
        port
    };
    mappings.and_then(Value::as_array).into_iter().flatten().map(port).collect()
}

fn objects<'a>(
    body: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    body.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
