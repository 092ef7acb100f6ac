//! Apps for which marathon-lb would use each of its templates, to try those of an operator on.

use std::collections::BTreeMap;

use crate::config::{Checks, Config, RawLabels};
use crate::model::{App, AppId, AppPort, HealthCheck, HealthProtocol, Service};
use crate::services::{self, Terms};

/// The hash of a password that nobody has.
const LOGIN: &str = "Trial:trial:abJnggxhB/yWI";

/// The labels of port 0, app by app.
const APPS: &[&[(&str, &str)]] = &[
    &[("VHOST", "a.trial"), ("STICKY", "t"), ("USE_HSTS", "t"), ("HTTP_BACKEND_PROXYPASS_PATH", "/p")],
    &[
        ("VHOST", "a.trial"),
        ("AUTH", LOGIN),
        ("HTTP_BACKEND_REVPROXY_PATH", "/p"),
        ("HTTP_BACKEND_REDIR", "/p"),
    ],
    &[("VHOST", "a.trial"), ("PATH", "/p"), ("BACKEND_NETWORK_ALLOWED_ACL", "127.0.0.1")],
    &[("VHOST", "a.trial"), ("PATH", "/p"), ("AUTH", LOGIN)],
    &[("VHOST", "a.trial,b.trial")],
    &[("VHOST", "a.trial,b.trial"), ("AUTH", LOGIN)],
    &[("VHOST", "a.trial,b.trial"), ("PATH", "/p")],
    &[("VHOST", "a.trial,b.trial"), ("PATH", "/p"), ("AUTH", LOGIN)],
    &[("VHOST", "a.trial"), ("REDIRECT_TO_HTTPS", "t")],
    &[("VHOST", "a.trial"), ("PATH", "/p"), ("REDIRECT_TO_HTTPS", "t")],
    &[("MODE", "tcp"), ("BACKEND_NETWORK_ALLOWED_ACL", "127.0.0.1")],
];

/// Example services with the operator's templates, and what is wrong with a template.
#[must_use]
pub fn examples(config: &Config) -> (Vec<Service>, Option<String>) {
    let mut config = config.clone();
    config.labels.raw = RawLabels::Deny;
    config.labels.checks = Checks::Haproxy;
    config.labels.groups = vec!["*".to_owned()];
    config.labels.strict = false;
    config.policy.vhosts.clear();
    config.policy.ports.clear();
    let terms = Terms::from(&config);
    let (mut found, mut told) = (Vec::new(), None);
    for (number, labels) in APPS.iter().enumerate() {
        let services = services::of(&app(number, labels), None, &terms, false);
        let of_template = |message: &String| message.starts_with("template HAPROXY_");
        told = told.or(services.problems.into_iter().map(|problem| problem.message).find(of_template));
        found.extend(services.services);
    }
    (found, told)
}

fn app(number: usize, labels: &[(&str, &str)]) -> App {
    let labels = labels.iter().map(|(name, value)| (format!("HAPROXY_0_{name}"), (*value).to_owned()));
    App {
        id: AppId::new(&format!("/trial/{number}")),
        scaled_at: None,
        instances: 1,
        labels: labels.map(|(name, value)| (name.into(), value.into())).collect(),
        env: BTreeMap::new(),
        ports: vec![AppPort {
            service_port: Some(10_000),
            name: None,
            container_port: None,
            udp_only: false,
        }],
        health_checks: vec![HealthCheck {
            protocol: HealthProtocol::Http,
            path: Some("/".into()),
            port_index: Some(0),
            port: None,
            interval_seconds: 60,
            timeout_seconds: 20,
            max_consecutive_failures: 3,
        }],
        tasks: BTreeMap::new(),
    }
}
