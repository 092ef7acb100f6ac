//! Why an app, or a port of it, is not served: what its owner asks first.

use serde::Serialize;

use super::labels::AppLabels;
use super::{Builder, Terms, bamboo_tcp_port};
use crate::model::{App, Rule};

/// Why something is not served, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnexposedReason {
    /// It has neither a label nor a rule.
    NotAsked,
    /// It is not in `labels.groups`.
    Group,
    /// `HAPROXY_{n}_ENABLED=false`.
    Disabled,
    /// `labels.strict` asks for `HAPROXY_{n}_ENABLED=true`.
    Strict,
    /// It declares no ports.
    NoPorts,
    /// The port takes UDP only.
    Udp,
    /// Another version of it has its services (`HAPROXY_DEPLOYMENT_GROUP`).
    Version,
}

impl UnexposedReason {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::Group => "group",
            Self::Disabled => "disabled",
            Self::Strict => "strict",
            Self::NoPorts => "no_ports",
            Self::Udp => "udp",
            Self::Version => "version",
        }
    }
}

/// Why an app, or one port of it, is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unexposed {
    /// The index of the port; `None` for the app as a whole.
    pub port_index: Option<usize>,
    /// The reason.
    pub reason: UnexposedReason,
    /// The same in words, with what to do.
    pub why: String,
}

impl Unexposed {
    fn app(reason: UnexposedReason, why: impl Into<String>) -> Self {
        Self { port_index: None, reason, why: why.into() }
    }

    /// Of an app whose services another version of it has.
    #[must_use]
    pub(crate) fn of_version() -> Self {
        Self::app(
            UnexposedReason::Version,
            "it is a version of a service, and the oldest version has the services of all (HAPROXY_DEPLOYMENT_GROUP)",
        )
    }
}

/// Why an app has ports that are not served, or none at all; empty where nothing keeps it from being served.
#[must_use]
pub fn unexposed(app: &App, rule: Option<&Rule>, terms: &Terms) -> Vec<Unexposed> {
    let labels = AppLabels::parse(app, None, &mut Vec::new());
    let config = &terms.labels;
    let tcp_port = bamboo_tcp_port(app, &mut Vec::new());
    let selected = labels.any || tcp_port.is_some() || rule.is_some();
    if !selected && !config.default_rule && !config.groups.iter().any(|group| group == "*") {
        return vec![Unexposed::app(
            UnexposedReason::NotAsked,
            "it has no HAPROXY_ label and no rule: give it one, as in HAPROXY_0_VHOST = shop.example.com",
        )];
    }
    if app.ports.is_empty() && tcp_port.is_none() {
        return vec![Unexposed::app(
            UnexposedReason::NoPorts,
            "it declares no ports: declare one in portDefinitions or portMappings",
        )];
    }
    let builder = Builder { app, terms, rule, default_rule: false, watched: false };
    let mut why = Vec::new();
    for (index, port) in app.ports.iter().enumerate() {
        let of_port = labels.port(index);
        let (reason, words) = if !builder.in_groups(&labels, of_port) {
            let has = of_port.groups.as_ref().unwrap_or(&labels.groups);
            let has = if has.is_empty() {
                "no HAPROXY_GROUP".to_owned()
            } else {
                format!("HAPROXY_GROUP = {}", has.join(","))
            };
            (
                UnexposedReason::Group,
                format!(
                    "it has {has}, and only {} are served here (labels.groups)",
                    config.groups.join(", ")
                ),
            )
        } else if of_port.enabled == Some(false) {
            (UnexposedReason::Disabled, format!("HAPROXY_{index}_ENABLED is false"))
        } else if !builder.serves(&labels, of_port) {
            (
                UnexposedReason::Strict,
                format!("labels.strict is set: it is served where HAPROXY_{index}_ENABLED is true"),
            )
        } else if port.udp_only {
            (
                UnexposedReason::Udp,
                "it takes UDP only, which HAProxy does not carry: declare it tcp".to_owned(),
            )
        } else {
            continue;
        };
        why.push(Unexposed { port_index: Some(index), reason, why: words });
    }
    why
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::LabelsConfig;
    use crate::model::{AppId, AppPort};

    fn app(labels: &[(&str, &str)], ports: usize) -> App {
        let port = AppPort { service_port: None, name: None, container_port: None, udp_only: false };
        App {
            id: AppId::new("/a"),
            instances: 1,
            scaled_at: None,
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            env: BTreeMap::new(),
            ports: vec![port; ports],
            health_checks: Vec::new(),
            tasks: BTreeMap::new(),
        }
    }

    #[test]
    fn each_reason_is_told_where_it_holds() {
        let terms = |config: LabelsConfig| Terms::from(&config);
        let plain = || terms(LabelsConfig::default());
        let grouped = terms(LabelsConfig { groups: vec!["edge".to_owned()], ..LabelsConfig::default() });
        let strict = terms(LabelsConfig { strict: true, ..LabelsConfig::default() });
        let host = ("HAPROXY_0_VHOST", "a.example.com");
        let mut udp = app(&[host], 1);
        udp.ports[0].udp_only = true;
        for (app, terms, expected) in [
            (app(&[], 1), plain(), vec![(None, UnexposedReason::NotAsked)]),
            (app(&[host], 0), plain(), vec![(None, UnexposedReason::NoPorts)]),
            (app(&[host], 1), plain(), vec![]),
            (
                app(&[host], 2),
                grouped,
                vec![(Some(0), UnexposedReason::Group), (Some(1), UnexposedReason::Group)],
            ),
            (
                app(&[host, ("HAPROXY_0_ENABLED", "false")], 2),
                plain(),
                vec![(Some(0), UnexposedReason::Disabled)],
            ),
            (
                app(&[host, ("HAPROXY_0_ENABLED", "true")], 2),
                strict,
                vec![(Some(1), UnexposedReason::Strict)],
            ),
            (udp, plain(), vec![(Some(0), UnexposedReason::Udp)]),
        ] {
            let told = unexposed(&app, None, &terms);
            let reasons: Vec<_> = told.iter().map(|each| (each.port_index, each.reason)).collect();
            assert_eq!(reasons, expected, "{:?}", app.labels);
        }
    }
}
