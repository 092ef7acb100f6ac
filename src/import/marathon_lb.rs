//! marathon-lb's command line and environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::Value;

use crate::services::raw;

use super::{CERTIFICATES, ImportError, Imported, Secret, without_login};

mod arguments;

use arguments::{Arguments, Mode};

/// marathon-lb's own default.
const MARATHON: &str = "http://master.mesos:8080";
const CERTIFICATE: &str = "/etc/ssl/cert.pem";
/// The first and the last.
const IP_PER_TASK_PORTS: (u16, u16) = (10_050, 10_100);
/// Variables that begin as templates do, and are none.
const NO_TEMPLATES: [&str; 4] = [
    "HAPROXY_GLOBAL_DEFAULT_OPTIONS",
    "HAPROXY_SYSLOGD",
    "HAPROXY_SYSCTL_PARAMS",
    "HAPROXY_SYSCTL_NONSTRICT",
];

/// Turns marathon-lb's arguments and the variables that it looks at into our configuration.
///
/// # Errors
/// It would not take the arguments itself.
pub fn import(
    words: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Imported, ImportError> {
    let arguments = Arguments::parse_words(words)
        .map_err(|error| ImportError::Arguments(error.render().to_string().trim().to_owned()))?;
    let environment = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut import = Import { arguments, environment, imported: Imported::new("marathon-lb") };
    import.marathon();
    import.login();
    import.haproxy();
    import.labels();
    import.certificates();
    import.log();
    import.templates();
    import.without_counterpart();
    Ok(import.imported)
}

struct Import {
    arguments: Arguments,
    environment: BTreeMap<String, String>,
    imported: Imported,
}

impl Import {
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    fn marathon(&mut self) {
        let (endpoints, from) = match self.arguments.marathon.take() {
            Some(endpoints) => (endpoints, "--marathon"),
            None => (vec![MARATHON.to_owned()], "marathon-lb's default of --marathon"),
        };
        let mut login = None;
        let mut plain = Vec::new();
        for endpoint in &endpoints {
            let (url, found) = without_login(endpoint.trim());
            login = login.or(found);
            plain.push(url);
        }
        let verified = plain.iter().any(|url| url.starts_with("https:"));
        self.imported.set("marathon.endpoints", plain, from);
        if let Some((user, password)) = login {
            self.user(user, password, "--marathon");
        }
        if let Some(path) = self.arguments.marathon_ca_cert.take() {
            let value = path.display().to_string();
            self.imported.set_files("marathon.ca_file", value, &[path], "--marathon-ca-cert");
        } else if verified {
            self.imported.note(
                "Marathon's certificate is verified here, which marathon-lb does not do without --marathon-ca-cert: if it \
                 is not signed by an authority of the system, set marathon.ca_file",
            );
        }
        if let Some(seconds) = self.arguments.max_backoff {
            self.imported.set("marathon.backoff_max", format!("{seconds}s"), "--max-backoff");
        }
        if self.arguments.mode == Some(Mode::Poll) {
            let interval = self.variable("POLL_INTERVAL").unwrap_or("60").trim();
            // The script hands it to `sleep`: a number is seconds.
            let unit = if interval.bytes().all(|byte| byte.is_ascii_digit()) { "s" } else { "" };
            let interval = format!("{interval}{unit}");
            self.imported.set("marathon.resync", interval, "poll, POLL_INTERVAL");
            self.imported
                .note("poll: events are followed all the same; they are what makes a change live at once");
        } else if self.arguments.mode.is_none() && !self.arguments.sse {
            self.imported.note(
                "without --sse marathon-lb runs once; `causeway run` follows events until it is stopped",
            );
        }
        if self.arguments.listening.is_some() || self.arguments.callback_url.is_some() {
            self.imported.note(
                "--listening, --callback-url: Marathon calls nobody back; its event stream is followed",
            );
        }
    }

    /// The way that is found last counts.
    fn forget_login(&mut self) {
        self.imported.settings.retain(|setting| setting.key != "marathon.user");
        self.imported.secrets.retain(|secret| !secret.key.starts_with("marathon."));
    }

    fn user(&mut self, user: String, password: SecretString, from: &str) {
        self.forget_login();
        self.imported.set("marathon.user", user, from);
        self.imported.secrets.push(Secret {
            key: "marathon.password_file",
            file: "marathon-password".to_owned(),
            content: password,
            variable: Some("CAUSEWAY_MARATHON__PASSWORD"),
            from: from.to_owned(),
        });
    }

    /// The first way that is given counts, in marathon-lb's order.
    fn login(&mut self) {
        let logged_in =
            |import: &Self| import.imported.secrets.iter().any(|secret| secret.key.starts_with("marathon."));
        if let Some(path) = self.arguments.marathon_auth_credential_file.take() {
            match std::fs::read_to_string(&path) {
                Ok(text) => self
                    .credentials(text.lines().next().unwrap_or_default(), "--marathon-auth-credential-file"),
                Err(error) => self.imported.note(format!(
                    "--marathon-auth-credential-file: {} cannot be read ({error}); set marathon.user, and \
                     marathon.password_file to a file with the password alone",
                    path.display()
                )),
            }
        } else if let Some(credentials) = self.arguments.auth_credentials.take() {
            self.credentials(&credentials, "--auth-credentials");
        } else if let Some(json) = self.arguments.dcos_auth_credentials.take() {
            self.service_account(json, "--dcos-auth-credentials");
        } else if let Some(json) = self.environment.remove("DCOS_SERVICE_ACCOUNT_CREDENTIAL") {
            self.service_account(json, "DCOS_SERVICE_ACCOUNT_CREDENTIAL");
        } else if !logged_in(self)
            && let (Some(user), Some(password)) =
                (self.variable("MARATHON_USER"), self.variable("MARATHON_PASSWORD"))
        {
            let (user, password) = (user.to_owned(), password.to_owned());
            self.user(user, password.into(), "MARATHON_USER, MARATHON_PASSWORD");
        }
    }

    fn credentials(&mut self, text: &str, from: &str) {
        match text.trim_end().split_once(':') {
            Some((user, password)) => self.user(user.to_owned(), password.into(), from),
            None => self.imported.note(format!(
                "{from}: it is not user:password; set marathon.user and marathon.password_file"
            )),
        }
    }

    fn service_account(&mut self, json: String, from: &str) {
        let account = serde_json::from_str::<serde_json::Value>(&json).ok();
        let whole = |account: &serde_json::Value| {
            ["uid", "private_key", "login_endpoint"].iter().all(|key| account[key].is_string())
        };
        if !account.is_some_and(|account| whole(&account)) {
            self.imported.note(format!(
                "{from}: it is not JSON with uid, private_key and login_endpoint; set marathon.service_account_file to a file \
                 that has them"
            ));
            return;
        }
        self.forget_login();
        self.imported.secrets.push(Secret {
            key: "marathon.service_account_file",
            file: "marathon-service-account.json".to_owned(),
            content: json.into(),
            variable: None,
            from: from.to_owned(),
        });
    }

    fn haproxy(&mut self) {
        // The image's own supervisor, which is not needed here.
        let by_runit = |command: &String| command.trim_start().starts_with("sv ");
        let config_path = self.arguments.haproxy_config.take();
        match self.arguments.command.take().filter(|command| !by_runit(command)) {
            Some(command) => {
                let path = config_path.unwrap_or_else(|| "/etc/haproxy/haproxy.cfg".into());
                self.imported.set("haproxy.mode", "external", "--command: HAProxy is somebody else's to run");
                self.imported.set("haproxy.config_path", path.display().to_string(), "--haproxy-config");
                self.imported.set("haproxy.reload_command", command, "--command");
                self.imported.note(
                    "--command: without it and the two keys beside it Causeway runs HAProxy itself, and starts it again \
                     when it dies",
                );
            }
            None => self.imported.note(
                "HAProxy is run by Causeway; one that the system runs has to be stopped (systemctl disable --now haproxy)",
            ),
        }
        self.imported.set("haproxy.timeout_http_keep_alive", "1s", "marathon-lb's HAPROXY_HEAD");
        if self.arguments.dont_bind_http_https {
            self.imported.set("haproxy.bind_http", "", "--dont-bind-http-https");
            self.imported.set("haproxy.bind_https", "", "--dont-bind-http-https");
        }
        self.imported.note(
            "port 9090: beyond loopback everything but the health check needs a login here; \
             `htpasswd -B -c FILE USER`, then set haproxy.stats_users_file",
        );
        self.imported.note(
            "X-Forwarded-For, -Proto and -Port that clients send are replaced; where a proxy stands before this HAProxy, set \
             haproxy.trusted_proxies",
        );
    }

    fn labels(&mut self) {
        let groups = std::mem::take(&mut self.arguments.group);
        if groups.is_empty() {
            self.imported.note("--group is missing, without which marathon-lb does not start; every app with a label is served");
        } else {
            self.imported.set("labels.groups", groups, "--group");
        }
        if self.arguments.strict_mode {
            self.imported.set("labels.strict", true, "--strict-mode");
        }
        if self.arguments.health_check {
            self.imported.set(
                "labels.checks",
                "both",
                "--health-check: Marathon's word and HAProxy's own checks count",
            );
        } else {
            self.imported.set(
                "labels.checks",
                "haproxy",
                "without --health-check only HAProxy's own checks count",
            );
        }
        self.imported.note(
            "labels.checks: HAProxy on every node checks every task, as with marathon-lb; \"marathon\" takes Marathon's word alone",
        );
        self.imported.set("labels.order", "marathon-lb", "its order of routes, by weight and app id");
        self.imported.set("labels.paths", "prefixes", "its paths end anywhere (path_beg)");
        let first = self.arguments.min_serv_port_ip_per_task.unwrap_or(IP_PER_TASK_PORTS.0);
        let last = self.arguments.max_serv_port_ip_per_task.unwrap_or(IP_PER_TASK_PORTS.1);
        if first > 0 && first <= last {
            let from = "--min-serv-port-ip-per-task, --max-serv-port-ip-per-task";
            self.imported.set("labels.ip_per_task_ports", format!("{first}-{last}"), from);
        }
        if self.variable("FRAMEWORK_NAME").is_some() {
            self.imported
                .note("FRAMEWORK_NAME: no app is left out for its name; marathon-lb's own needs no label");
        }
    }

    /// In the order of the `run` script: `--ssl-certs`, then what the variables hold.
    fn certificates(&mut self) {
        let given = self.arguments.ssl_certs.take();
        let texts = self.certificate_texts();
        let paths: Vec<PathBuf> = match &given {
            Some(list) => {
                list.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
            }
            None if texts.is_empty() => vec![PathBuf::from(CERTIFICATE)],
            None => Vec::new(),
        };
        if !paths.is_empty() {
            let from = if given.is_some() { "--ssl-certs" } else { "marathon-lb's default of --ssl-certs" };
            let value: Vec<Value> = paths.iter().map(|path| path.display().to_string().into()).collect();
            let missing = paths.iter().any(|path| !path.exists());
            self.imported.set_files(CERTIFICATES, value, &paths, from);
            if missing {
                self.imported.note(
                    "nothing listens on 443 without tls.certificates; marathon-lb's image makes a self-signed certificate \
                     where there is none",
                );
            }
            if let Some(dir) = paths[0].parent() {
                let (value, dirs) = (dir.display().to_string(), [dir.to_owned()]);
                self.imported.set_files("tls.dir", value, &dirs, "where HAPROXY_n_SSL_CERT finds its files");
            }
        }
        self.imported.secrets.extend(texts);
        self.imported.note(
            "HAPROXY_n_SSL_CERT names a file inside tls.dir here, by its path or by its name there: with tls.dir = \"/etc/ssl\", \"/etc/ssl/shop.pem\" or \"shop.pem\"",
        );
    }

    fn certificate_texts(&mut self) -> Vec<Secret> {
        let names = std::iter::once(String::new()).chain((0..=100).map(|number: u8| number.to_string()));
        let mut texts = Vec::new();
        for number in names {
            let variable = format!("HAPROXY_SSL_CERT{number}");
            let Some(pem) = self.environment.remove(&variable) else { continue };
            texts.push(Secret {
                key: CERTIFICATES,
                file: format!("certs/cert{number}.pem"),
                // The script writes it by `echo -e`.
                content: pem.replace("\\n", "\n").into(),
                variable: None,
                from: variable,
            });
        }
        texts
    }

    fn log(&mut self) {
        if let Some(level) = self.arguments.log_level.take() {
            let ours = match level.to_ascii_uppercase().as_str() {
                "CRITICAL" | "ERROR" => "error",
                "WARNING" | "WARN" => "warn",
                "DEBUG" => "debug",
                _ => "info",
            };
            self.imported.set("log.level", ours, "--log-level");
        }
        let to_syslog = self.arguments.syslog_socket.as_deref().is_some_and(|socket| socket != "/dev/null");
        if to_syslog || self.arguments.log_format.is_some() {
            self.imported.note(
                "--syslog-socket, --log-format: the log goes to standard error, where systemd or the container takes it; \
                 log.format is \"text\" or \"json\"",
            );
        }
    }

    /// Template labels go on as they are, and templates of the environment are kept; docs/raw.md has what is done with each.
    fn templates(&mut self) {
        self.imported.set("labels.raw", "allow", "its template labels, from any app");
        let directory = self.environment.get("MESOS_SANDBOX").map(|dir| Path::new(dir).join("templates"));
        if let Some(dir) = directory.filter(|dir| dir.is_dir()) {
            self.imported.set("labels.templates_dir", dir.display().to_string(), "MESOS_SANDBOX");
        }
        let (mut templates, mut others) = (toml::Table::new(), Vec::new());
        for (name, text) in &self.environment {
            let Some(short) = name.strip_prefix("HAPROXY_") else { continue };
            if raw::is_template(short) {
                templates.insert(short.to_owned(), text.replace("\\n", "\n").into());
            } else if !NO_TEMPLATES.contains(&name.as_str()) && !name.starts_with("HAPROXY_SSL_CERT") {
                others.push(name.clone());
            }
        }
        if !templates.is_empty() {
            self.imported.set("labels.templates", templates, "HAPROXY_… of the environment");
        }
        if !others.is_empty() {
            self.imported.note(format!(
                "{}: none of marathon-lb's templates (docs/raw.md has them)",
                others.join(", ")
            ));
        }
    }

    fn without_counterpart(&mut self) {
        let arguments = &self.arguments;
        let given = [
            (
                "--max-reload-retries",
                arguments.max_reload_retries.is_some(),
                "a reload is proven by the new worker, and tried again until it is there",
            ),
            (
                "--reload-interval",
                arguments.reload_interval.is_some(),
                "a reload is proven by the new worker, and tried again until it is there",
            ),
            (
                "--archive-versions",
                arguments.archive_versions.is_some(),
                "the last five generations are kept in haproxy.state_dir",
            ),
            (
                "--lru-cache-capacity",
                arguments.lru_cache_capacity.is_some(),
                "nothing is forgotten that is still needed",
            ),
            ("--haproxy-map", arguments.haproxy_map, "routes are always in maps"),
            (
                "--group-https-by-vhost",
                arguments.group_https_by_vhost,
                "the name that a client asks for chooses the certificate, and client certificates go by host, always",
            ),
            (
                "--skip-validation",
                arguments.skip_validation,
                "every configuration is checked by HAProxy first",
            ),
            (
                "--skip-config-cleanup",
                arguments.skip_config_cleanup,
                "the app that HAProxy complains of is left out, at no cost to the others",
            ),
            (
                "--dry",
                arguments.dry,
                "`causeway plan` shows what would change, `causeway render` the whole text",
            ),
        ];
        for (name, is_given, instead) in given {
            if is_given {
                self.imported.notes.push(format!("{name}: {instead}"));
            }
        }
        for (name, instead) in [
            (
                "HAPROXY_GLOBAL_DEFAULT_OPTIONS",
                "option redispatch and dontlognull are always set; others go into template.dir",
            ),
            ("HAPROXY_SYSLOGD", "HAProxy's lines are in Causeway's log"),
            ("HAPROXY_SYSCTL_PARAMS", "set them on the host"),
            ("VAULT_HOST", "Vault is not asked; write the credentials to a file of marathon.password_file"),
        ] {
            if self.environment.contains_key(name) {
                self.imported.note(format!("{name}: {instead}"));
            }
        }
    }
}
