//! Marathon's JSON as 0.11 … 1.11 write it: unknown keys are ignored, and almost everything may be absent or null.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A list that may be absent or null, with elements that may be null.
pub(crate) type List<T> = Option<Vec<Option<T>>>;

/// The elements that are there.
pub(crate) fn each<T>(list: &List<T>) -> impl Iterator<Item = &T> {
    list.iter().flatten().flatten()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireApp {
    pub(crate) id: String,
    pub(crate) version: Option<String>,
    pub(crate) instances: Option<i64>,
    pub(crate) version_info: Option<WireVersionInfo>,
    pub(crate) labels: Option<BTreeMap<Box<str>, Value>>,
    #[serde(default)]
    pub(crate) env: WireEnv,
    pub(crate) ports: List<i64>,
    pub(crate) port_definitions: List<WirePortDefinition>,
    pub(crate) container: Option<WireContainer>,
    pub(crate) networks: List<WireNetwork>,
    pub(crate) ip_address: Option<WireIpPerTask>,
    pub(crate) health_checks: List<WireHealthCheck>,
    pub(crate) readiness_checks: List<IgnoredAny>,
    pub(crate) readiness_check_results: List<WireReadiness>,
    pub(crate) deployments: List<IgnoredAny>,
    pub(crate) tasks: List<WireTask>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireVersionInfo {
    pub(crate) last_config_change_at: Option<String>,
    pub(crate) last_scaling_at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WirePortDefinition {
    pub(crate) port: Option<i64>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) protocol: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireContainer {
    pub(crate) port_mappings: List<WirePortMapping>,
    pub(crate) docker: Option<WireDocker>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireDocker {
    pub(crate) network: Option<Box<str>>,
    pub(crate) port_mappings: List<WirePortMapping>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WirePortMapping {
    pub(crate) container_port: Option<i64>,
    pub(crate) host_port: Option<i64>,
    pub(crate) service_port: Option<i64>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) protocol: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WireNetwork {
    pub(crate) mode: Option<Box<str>>,
}

/// `ipAddress` of an app, 0.14 … 1.4.
#[derive(Debug, Deserialize)]
pub(crate) struct WireIpPerTask {
    pub(crate) discovery: Option<WireDiscovery>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WireDiscovery {
    pub(crate) ports: List<WireDiscoveryPort>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WireDiscoveryPort {
    pub(crate) number: Option<i64>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) protocol: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireHealthCheck {
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) path: Option<Box<str>>,
    pub(crate) port_index: Option<i64>,
    pub(crate) port: Option<i64>,
    pub(crate) interval_seconds: Option<f64>,
    pub(crate) timeout_seconds: Option<f64>,
    pub(crate) max_consecutive_failures: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireReadiness {
    pub(crate) task_id: Option<String>,
    pub(crate) ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireTask {
    pub(crate) id: String,
    pub(crate) host: Option<Box<str>>,
    pub(crate) ports: List<i64>,
    pub(crate) ip_addresses: List<WireIpAddress>,
    pub(crate) state: Option<Box<str>>,
    pub(crate) started_at: Option<IgnoredAny>,
    pub(crate) version: Option<String>,
    pub(crate) health_check_results: List<WireHealthResult>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireIpAddress {
    pub(crate) ip_address: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WireHealthResult {
    pub(crate) alive: Option<bool>,
}

/// The variables that the program reads; all others are dropped while parsing, they may hold secrets.
#[derive(Debug, Default)]
pub(crate) struct WireEnv(pub(crate) BTreeMap<Box<str>, Box<str>>);

impl<'de> Deserialize<'de> for WireEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Variables>::deserialize(deserializer)?.map_or_else(Self::default, |kept| Self(kept.0)))
    }
}

struct Variables(BTreeMap<Box<str>, Box<str>>);

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kept;
        impl<'de> Visitor<'de> for Kept {
            type Value = Variables;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("environment variables")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Variables, M::Error> {
                let mut kept = BTreeMap::new();
                while let Some(name) = map.next_key::<Box<str>>()? {
                    if !name.starts_with("BAMBOO_") {
                        map.next_value::<IgnoredAny>()?;
                    } else if let Value::String(value) = map.next_value()? {
                        kept.insert(name, value.into());
                    }
                }
                Ok(Variables(kept))
            }
        }
        deserializer.deserialize_map(Kept)
    }
}

/// The variables of a record that somebody named; the others are never held.
pub(crate) fn variables(raw: &str, named: &[String]) -> BTreeMap<Box<str>, Box<str>> {
    #[derive(Deserialize)]
    struct OnlyEnv<'a> {
        #[serde(borrow, default)]
        env: Option<BTreeMap<String, &'a RawValue>>,
    }
    let Ok(OnlyEnv { env: Some(env) }) = serde_json::from_str(raw) else { return BTreeMap::new() };
    let kept = env.into_iter().filter(|(name, _)| named.contains(name));
    // A variable that is a reference to a secret has no text.
    kept.filter_map(|(name, value)| Some((name.into(), serde_json::from_str(value.get()).ok()?))).collect()
}

/// The id of an app whose record cannot be read otherwise.
pub(crate) fn id_of(raw: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: String,
    }
    serde_json::from_str::<OnlyId>(raw).ok().map(|found| found.id).filter(|id| !id.is_empty())
}
