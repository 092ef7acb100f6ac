//! Trial checks of raw text: all that is new in one file, with nothing of the real one, and again without whom HAProxy names.

use std::collections::BTreeMap;

use super::{STDIN, Trial, TrialRefusal, cleaned, untried};
use crate::haproxy::check::{CheckFailure, alerts};
use crate::model::{Mode, Raw, Service};

/// The file, up to the services. Nobody listens there, since a check binds nothing; without a listener it would be no success.
const FILE: &str = "global\n    nbthread 1\n    maxconn 1\ndefaults\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\nfrontend trial\n    mode tcp\n    bind 127.0.0.1:1\n";

impl Trial {
    /// Checks the raw text of services, and names those whose text HAProxy does not take, with its words. `sections` are lines
    /// of the operator's own sections, which they may name.
    ///
    /// # Errors
    /// [`TrialRefusal::Untried`] or [`TrialRefusal::Endless`]: nothing is known of them then.
    pub async fn refused_raw<'a>(
        &self,
        sections: &[String],
        services: &[&'a Service],
    ) -> Result<Vec<(&'a Service, String)>, TrialRefusal> {
        let (mut refused, mut left) = (Vec::new(), services.to_vec());
        let mut shared = FILE.to_owned();
        sections.iter().for_each(|line| shared.push_str(&format!("{}\n", line.replace(" from common", ""))));
        while !left.is_empty() {
            let (mut text, mut ends) = (shared.clone(), Vec::new());
            for service in &left {
                text.push_str(&section_text(service));
                ends.push(text.lines().count());
            }
            let alerts = self.words_on(&text).await?;
            let mut words: BTreeMap<usize, String> = BTreeMap::new();
            for alert in &alerts {
                for line in CheckFailure::lines_of(alert, STDIN) {
                    let index = ends.partition_point(|end| *end < line);
                    if index < left.len() && line > shared.lines().count() {
                        words.entry(index).or_insert_with(|| cleaned(alert));
                    }
                }
                let names = |service: &&Service| alert.contains(&service.backend.name);
                for (index, _) in left.iter().enumerate().filter(|(_, service)| names(service)) {
                    words.entry(index).or_insert_with(|| cleaned(alert));
                }
            }
            if alerts.is_empty() {
                break;
            }
            if words.is_empty() {
                return Err(untried(alerts.join("; ")));
            }
            for (index, words) in words.into_iter().rev() {
                refused.push((left.remove(index), words));
            }
        }
        Ok(refused)
    }

    async fn words_on(&self, text: &str) -> Result<Vec<String>, TrialRefusal> {
        let _one_at_a_time = self.one.lock().await;
        let output = self.run(text).await?;
        if output.status.success() {
            return Ok(Vec::new());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let alerts = alerts(&said);
        match alerts.is_empty() {
            true => Err(untried(format!("{} and said {:?}", output.status, said.trim()))),
            false => Ok(alerts),
        }
    }
}

/// The raw text of a service in sections of its own, with a user, a server and an address that are nobody's.
fn section_text(service: &Service) -> String {
    let Raw { users, frontend, allowed, denial, backend, http, https, app_id, .. } =
        &service.backend.extras.raw;
    let name = &service.backend.name;
    let mode = service.backend.mode;
    let mut text = format!("userlist user_{name}\n    user trial password x\n");
    let mut add = |lines: &[String]| lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
    add(users);
    let begins = |kind: &str, suffix: &str, mode: Mode| {
        let bind = if kind == "frontend" { "    bind 127.0.0.1:1\n" } else { "" };
        format!("{kind} {name}{suffix}\n    mode {}\n{bind}", mode.as_str())
    };
    if !frontend.is_empty() {
        text.push_str(&begins("frontend", "_in", mode));
        frontend.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    for (lines, suffix) in [(http, ":http"), (https, ":https"), (app_id, ":app_id")] {
        if !lines.is_empty() {
            text.push_str(&begins("frontend", suffix, Mode::Http));
            lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
    }
    text.push_str(&begins("backend", "", mode));
    if allowed.is_empty() {
        text.push_str("    acl network_allowed src 127.0.0.1\n");
    }
    for line in allowed.iter().chain(denial).chain(backend) {
        text.push_str(&format!("    {line}\n"));
    }
    // Files of certificates are not for whoever does this.
    let words = service.backend.server_words();
    let words = if words.contains("-file ") || words.contains(" crt ") { "" } else { words.as_str() };
    text.push_str(&format!("    server trial 127.0.0.1:1{words}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HaproxyConfig;
    use crate::model::{AppId, Backend, ServiceId};

    fn service(name: &str, lines: &[&str]) -> Service {
        let mut backend = Backend::new(name, Mode::Http, "roundrobin");
        backend.extras.raw.backend = lines.iter().map(|line| (*line).to_owned()).collect();
        Service {
            id: ServiceId { app: AppId::new(name), port_index: 0 },
            port: None,
            routes: Vec::new(),
            app_id_route: false,
            marks: Default::default(),
            bind: None,
            certificate: None,
            client_ca: None,
            backend,
            config: BTreeMap::new(),
            instances: 1,
            servers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn of_many_texts_those_that_haproxy_does_not_take_are_named_and_no_others() {
        let mut config = HaproxyConfig::default();
        if let Ok(binary) = std::env::var("HAPROXY") {
            config.binary = binary.into();
        }
        let mut services: Vec<Service> = (0..30)
            .map(|n| service(&format!("h_bad{n}_0"), &["http-request nonsense", "timeout server never"]))
            .collect();
        services.push(service("h_good_0", &["http-request deny if { path /x }", "timeout server 5s"]));
        services.push(service("h_acl_0", &["http-request deny if not_there"]));
        let mut routed = service("h_routed_0", &[]);
        routed.backend.extras.raw.http = vec!["acl h_routed_0::a nonsense x # h_routed_0".to_owned()];
        services.push(routed);
        let all: Vec<&Service> = services.iter().collect();
        let refused = Trial::new(&config).refused_raw(&[], &all).await.unwrap();
        let mut names: Vec<&str> = refused.iter().map(|(service, _)| service.backend.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names.len(), 32, "{names:?}");
        assert!(!names.contains(&"h_good_0"));
        assert!(refused.iter().all(|(_, words)| !words.contains("stdin")), "{refused:?}");
    }
}
