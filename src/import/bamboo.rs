//! Bamboo's JSON file and the variables that outweigh it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ImportError, Imported, Secret, without_login};

/// Turns Bamboo's configuration into ours. A variable that is set and not empty outweighs its key, as in Bamboo.
///
/// # Errors
/// The text is not JSON, or not an object.
pub fn import(
    json: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Imported, ImportError> {
    let keys: Value = serde_json::from_str(json)
        .map_err(|error| ImportError::Bamboo(format!("it is not JSON, as Bamboo reads it: {error}")))?;
    if !keys.is_object() {
        return Err(ImportError::Bamboo("it is not a JSON object, as Bamboo reads it".to_owned()));
    }
    let environment = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut import = Import { keys, environment, imported: Imported::new("Bamboo") };
    import.marathon();
    import.haproxy();
    import.apps();
    import.rules();
    import.web();
    import.statsd();
    Ok(import.imported)
}

struct Import {
    keys: Value,
    environment: BTreeMap<String, String>,
    imported: Imported,
}

impl Import {
    /// A value, from its variable or its key, and where it came from. Go's decoder takes keys in any case.
    fn value(&self, variable: &str, path: &str) -> Option<(String, String)> {
        if let Some(value) = self.environment.get(variable) {
            return Some((value.clone(), variable.to_owned()));
        }
        let mut found = &self.keys;
        for part in path.split('.') {
            found = found.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(part))?.1;
        }
        let text = match found {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => found.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then(|| (text, path.to_owned()))
    }

    fn set_text(&mut self, key: &'static str, variable: &str, path: &str) -> bool {
        let found = self.value(variable, path);
        found.map(|(value, from)| self.imported.set(key, value, from)).is_some()
    }

    fn marathon(&mut self) {
        let mut login = None;
        if let Some((list, from)) = self.value("MARATHON_ENDPOINT", "Marathon.Endpoint") {
            let mut endpoints = Vec::new();
            for endpoint in list.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty()) {
                let (url, found) = without_login(endpoint);
                login = login.or(found);
                endpoints.push(url);
            }
            self.imported.set("marathon.endpoints", endpoints, from);
        }
        let user = self.value("MARATHON_USER", "Marathon.User");
        let password = self.value("MARATHON_PASSWORD", "Marathon.Password");
        let given = user.zip(password).map(|((user, _), (password, _))| (user, password.into()));
        if let Some((user, password)) = given.or(login) {
            self.imported.set("marathon.user", user, "Marathon.User");
            self.imported.secrets.push(Secret {
                key: "marathon.password_file",
                file: "marathon-password".to_owned(),
                content: password,
                variable: Some("CAUSEWAY_MARATHON__PASSWORD"),
                from: "Marathon.Password".to_owned(),
            });
        }
        let streams = self.value("MARATHON_USE_EVENT_STREAM", "Marathon.UseEventStream");
        if streams.is_none_or(|(value, _)| value != "true") {
            self.imported.note(
                "Marathon.UseEventStream: events are always followed by Marathon's stream; its subscription to Bamboo.Endpoint \
                 (/v2/eventSubscriptions) is not needed any more",
            );
        }
    }

    fn haproxy(&mut self) {
        let outputs = self.value("HAPROXY_OUTPUT_PATH", "HAProxy.OutputPath");
        let reloads = self.value("HAPROXY_RELOAD_CMD", "HAProxy.ReloadCommand");
        if let (Some((path, path_from)), Some((command, command_from))) = (outputs, reloads) {
            self.imported.set(
                "haproxy.mode",
                "external",
                "HAProxy is somebody else's to run, as with Bamboo",
            );
            self.imported.set("haproxy.config_path", path, path_from);
            self.imported.set("haproxy.reload_command", command, command_from);
            self.set_text(
                "haproxy.validate_command",
                "HAPROXY_RELOAD_VALIDATION_CMD",
                "HAProxy.ReloadValidationCommand",
            );
            self.set_text(
                "haproxy.cleanup_command",
                "HAPROXY_RELOAD_CLEANUP_CMD",
                "HAProxy.ReloadCleanupCommand",
            );
            self.imported.note(
                "haproxy.mode: with \"managed\" Causeway runs HAProxy itself, starts it again when it dies, and needs none of \
                 the commands",
            );
        } else {
            self.imported.note(
                "HAProxy.OutputPath, HAProxy.ReloadCommand: not both are set, so that HAProxy is run by Causeway",
            );
        }
        self.imported.set("haproxy.bind_app_id", "", "Bamboo has no such port");
        self.imported.set(
            "haproxy.bind_stats",
            "127.0.0.1:9090",
            "Bamboo's template shows statistics on port 80",
        );
        self.imported.note(
            "statistics: at haproxy.bind_stats, /haproxy?stats; beyond loopback they need haproxy.stats_users_file",
        );
        if self.value("HAPROXY_TEMPLATE_PATH", "HAProxy.TemplatePath").is_some() {
            self.imported.note(
                "HAProxy.TemplatePath: a template of Go's is not read. The built-in one does what Bamboo's does; what yours does \
                 besides goes into template.dir (docs/operating.md, \"Templates\")",
            );
        }
    }

    fn apps(&mut self) {
        self.imported.set("labels.default_rule", true, "an app without a rule is served on its id as a path");
        self.imported.set("labels.service_ports", false, "Bamboo listens on BAMBOO_TCP_PORT only");
        self.imported.set("labels.checks", "haproxy", "Bamboo's template lets HAProxy check every task");
        self.imported.set("labels.paths", "prefixes", "its paths end anywhere (path_beg)");
        self.imported.note(
            "labels: HAPROXY_… labels count too, which Bamboo does not know; an app that has one is served by them and not on its id",
        );
        self.imported.note("the default rule: the case of the path counts here, which Bamboo's template (path_beg -i) does not look at");
    }

    fn rules(&mut self) {
        let Some((hosts, from)) = self.value("BAMBOO_ZK_HOST", "Bamboo.Zookeeper.Host") else {
            self.imported
                .note("Bamboo.Zookeeper.Host: it is not set, so that rules are kept in a file (rules.file)");
            return;
        };
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
        self.imported.set("rules.store", "zookeeper", "Bamboo's rules, where they are");
        self.imported.set("rules.zookeeper.hosts", hosts, from);
        self.set_text("rules.zookeeper.path", "BAMBOO_ZK_PATH", "Bamboo.Zookeeper.Path");
        let delay = self.value("", "Bamboo.Zookeeper.ReportingDelay");
        if delay.is_some_and(|(seconds, _)| seconds != "0") {
            self.imported.note("Bamboo.Zookeeper.ReportingDelay: a changed rule goes live at once");
        }
    }

    fn web(&mut self) {
        let port = self
            .environment
            .get("BIND")
            .and_then(|bind| bind.rsplit_once(':')?.1.parse().ok())
            .unwrap_or(8000_u16);
        self.imported.set("web.listen", format!("127.0.0.1:{port}"), "-bind, BIND");
        self.imported.note(
            "-bind: Causeway answers on loopback only, until it has users (docs/web.md); Bamboo lets everybody write",
        );
        if self.value("BAMBOO_ENDPOINT", "Bamboo.Endpoint").is_some() {
            self.imported.note("Bamboo.Endpoint: it was for Marathon to call back, which is not needed");
        }
    }

    fn statsd(&mut self) {
        let Some((enabled, from)) = self.value("STATSD_ENABLED", "StatsD.Enabled") else { return };
        let enabled = ["true", "t", "1"].contains(&enabled.to_ascii_lowercase().as_str());
        self.imported.set("statsd.enabled", enabled, from);
        self.set_text("statsd.host", "STATSD_HOST", "StatsD.Host");
        self.set_text("statsd.prefix", "STATSD_PREFIX", "StatsD.Prefix");
    }
}
