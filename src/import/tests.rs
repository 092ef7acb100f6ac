use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::{Checks, Config, HaproxyMode, LabelOrder, PathEnd, RawLabels, RuleStoreKind};

const RSA: &str = r#"{"uid":"mlb","private_key":"-----BEGIN KEY-----\nhunter2\n","login_endpoint":"https://m/acs/api/v1/auth/login"}"#;

fn words(line: &str) -> Vec<String> {
    // `~` is a space inside a word.
    line.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a command line comes to: the text, and the configuration that it loads as.
fn marathon_lb(line: &str, environment: &[(&str, &str)]) -> (String, Config) {
    marathon_lb_in(&tempfile::tempdir().unwrap(), line, environment)
}

/// The same, with its secrets in a directory that stays.
fn marathon_lb_in(dir: &tempfile::TempDir, line: &str, environment: &[(&str, &str)]) -> (String, Config) {
    let mut imported = marathon_lb::import(&words(line), variables(environment)).unwrap();
    imported.place_secrets(Some(dir.path())).unwrap();
    let text = imported.to_toml();
    assert!(!text.contains("hunter2"), "{text}");
    let config = Config::from_text(&text, Vec::new()).unwrap_or_else(|error| panic!("{text}\n{error}"));
    (text, config)
}

#[test]
fn typical_command_lines_become_configurations_that_load() {
    type Check = fn(&Config) -> bool;
    let table: &[(&str, Check)] = &[
        // DC/OS's package.
        (
            "sse -m http://marathon.mesos:8080 --health-check --haproxy-map --max-reload-retries 10 --reload-interval 10 \
             --group external",
            |config| {
                config.marathon.endpoints == ["http://marathon.mesos:8080"]
                    && config.labels.groups == ["external"]
                    && config.labels.checks == Checks::Both
                    && config.labels.order == LabelOrder::MarathonLb
                    && config.labels.paths == PathEnd::Prefixes
                    && config.labels.raw == RawLabels::Allow
                    && config.haproxy.mode == HaproxyMode::Managed
            },
        ),
        // The image's readme.
        (
            "sse -m http://master1:8080 http://master2:8080 http://master3:8080 --group external --group internal",
            |config| {
                config.marathon.endpoints.len() == 3
                    && config.labels.groups == ["external", "internal"]
                    && config.labels.checks == Checks::Haproxy
            },
        ),
        ("poll --group * --marathon http://a:8080", |config| {
            config.labels.groups == ["*"] && config.marathon.resync.as_secs() == 60
        }),
        // As the image's script starts it.
        (
            "/marathon-lb/marathon_lb.py --syslog-socket /dev/null --haproxy-config /marathon-lb/haproxy.cfg --ssl-certs \
             /etc/ssl/cert.pem --command sv~reload~/marathon-lb/service/haproxy --sse --marathon http://a:8080 --group external",
            |config| {
                config.haproxy.mode == HaproxyMode::Managed && config.marathon.endpoints == ["http://a:8080"]
            },
        ),
        // Beside a HAProxy of the system's.
        (
            "python3 ./marathon_lb.py -m http://a:8080 -c systemctl~reload~haproxy --haproxy-config /etc/haproxy/haproxy.cfg --strict-mode \
             --group=external -sH --log-level WARNING --max-backoff 60",
            |config| {
                config.haproxy.mode == HaproxyMode::External
                    && config.haproxy.reload_command == "systemctl reload haproxy"
                    && config.haproxy.config_path.as_deref() == Some(Path::new("/etc/haproxy/haproxy.cfg"))
                    && config.labels.strict
                    && config.labels.checks == Checks::Both
                    && config.log.level == "warn"
                    && config.marathon.backoff_max.as_secs() == 60
            },
        ),
        // The last of two counts, abbreviations are taken, -1 is a number.
        ("sse -m http://a:8080 -m http://b:8080 --group x --max-reload -1 --dont-bind", |config| {
            config.marathon.endpoints == ["http://b:8080"] && config.haproxy.bind_http.is_empty()
        }),
        ("/marathon-lb/run sse --group run", |config| {
            config.labels.groups == ["run"] && config.labels.ip_per_task_ports.to_string() == "10050-10100"
        }),
        ("sse --min-serv-port-ip-per-task 10500 --max-serv-port-ip-per-task 10600", |config| {
            config.labels.ip_per_task_ports.to_string() == "10500-10600"
        }),
        ("sse --min-serv-port-ip-per-task 0 --max-serv-port-ip-per-task 0", |config| {
            !config.labels.ip_per_task_ports.contains(10_050)
        }),
        ("", |config| config.marathon.endpoints == ["http://master.mesos:8080"]),
    ];
    for (line, holds) in table {
        let (text, config) = marathon_lb(line, &[]);
        assert!(holds(&config), "{line}:\n{text}");
    }
}

#[test]
fn what_has_no_counterpart_is_reported_and_the_default_is_not() {
    let line = "sse --archive-versions 3 --lru-cache-capacity 5000 --skip-validation --skip-config-cleanup --dry \
                --group-https-by-vhost --log-format x";
    let environment = [
        ("HAPROXY_HEAD", "global\\n"),
        ("HAPROXY_GLOBAL_DEFAULT_OPTIONS", "httplog"),
        ("VAULT_HOST", "v"),
        ("PORTS", "9090"),
    ];
    let (text, _) = marathon_lb(line, &environment);
    for name in [
        "--archive-versions",
        "--lru-cache-capacity",
        "--skip-validation",
        "--skip-config-cleanup",
        "--dry",
        "--group-https-by-vhost",
        "--log-format",
        "--group is missing",
        "HAPROXY_HEAD",
        "HAPROXY_GLOBAL_DEFAULT_OPTIONS",
        "VAULT_HOST",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    let (text, _) = marathon_lb("sse --group x", &[]);
    for name in ["--archive-versions", "--dry", "VAULT", "--haproxy-map", "Marathon's certificate"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }
}

#[test]
fn arguments_that_marathon_lb_refuses_are_refused() {
    for line in ["sse --no-such-thing", "listen -m http://a", "--archive-versions many", "--group"] {
        let refused = marathon_lb::import(&words(line), Vec::new()).unwrap_err().to_string();
        assert!(refused.contains("does not take"), "{line}: {refused}");
    }
}

#[test]
fn a_secret_is_in_a_file_of_its_own_or_nowhere() {
    for (line, environment) in [
        ("--auth-credentials u:hunter2", &[][..]),
        ("-m http://u:hunter2@a:8080", &[]),
        ("", &[("MARATHON_USER", "u"), ("MARATHON_PASSWORD", "hunter2")]),
        ("--dcos-auth-credentials JSON", &[]),
        ("", &[("DCOS_SERVICE_ACCOUNT_CREDENTIAL", RSA)]),
    ] {
        let line: Vec<String> = words(line).into_iter().map(|word| word.replace("JSON", RSA)).collect();
        let dir = tempfile::tempdir().unwrap();
        let import = || marathon_lb::import(&line, variables(environment)).unwrap();
        let mut imported = import();
        imported.place_secrets(Some(dir.path())).unwrap();
        let text = imported.to_toml();
        assert!(!text.contains("hunter2"), "{text}");
        let config = Config::from_text(&text, Vec::new()).unwrap();
        let file = config.marathon.password_file.or(config.marathon.service_account_file).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("hunter2"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut imported = import();
        imported.place_secrets(None).unwrap();
        let text = imported.to_toml();
        assert!(!text.contains("hunter2") && text.contains("a secret is not written here"), "{text}");
    }
}

#[test]
fn the_file_of_the_credentials_is_read_and_what_is_unusable_is_told_without_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    std::fs::write(&path, "u:hunter2\nmore\n").unwrap();
    let (_, config) =
        marathon_lb_in(&dir, &format!("--marathon-auth-credential-file {}", path.display()), &[]);
    assert_eq!(std::fs::read_to_string(config.marathon.password_file.unwrap()).unwrap(), "hunter2");
    assert_eq!(config.marathon.user.as_deref(), Some("u"));
    for line in [
        "--auth-credentials hunter2",
        "--dcos-auth-credentials hunter2",
        "--marathon-auth-credential-file /no/hunter",
    ] {
        let (text, config) = marathon_lb(line, &[]);
        assert!(config.marathon.user.is_none() && text.contains("set marathon."), "{text}");
    }
}

#[test]
fn certificates_are_files_or_text_and_a_missing_one_is_a_comment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pem");
    std::fs::write(&path, "x").unwrap();
    let line = format!("sse --ssl-certs {}", path.display());
    let (_, config) = marathon_lb(&line, &[]);
    assert_eq!(config.tls.certificates, std::slice::from_ref(&path));
    assert_eq!(config.tls.dir.as_deref(), Some(dir.path()));
    let environment = [("HAPROXY_SSL_CERT", "cert\\nhunter2"), ("HAPROXY_SSL_CERT7", "other")];
    let (_, config) = marathon_lb(&line, &environment);
    let names: Vec<_> =
        config.tls.certificates.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(names, ["a.pem", "cert.pem", "cert7.pem"]);
    let (text, config) = marathon_lb("sse --ssl-certs /no/where.pem", &[]);
    assert!(config.tls.certificates.is_empty());
    assert!(text.contains("\n# certificates = [\"/no/where.pem\"]\n"), "{text}");
}

#[test]
fn no_argument_starts_a_line_of_its_own() {
    let evil = "x\n[haproxy]\nbinary = \"/tmp/evil\"\n#";
    for line in [["--group", evil], ["--command", evil], ["--marathon", evil], ["--ssl-certs", evil]] {
        let line = line.map(str::to_owned);
        let text =
            marathon_lb::import(&line, variables(&[("HAPROXY_x\nbinary = 1", "x")])).unwrap().to_toml();
        assert!(!text.lines().any(|line| line.starts_with("binary")), "{text}");
        assert!(text.parse::<toml::Table>().is_ok());
    }
}

const BAMBOO: &str = r#"{
  "marathon": { "Endpoint": "http://a:8080, http://b:8080", "user": "u", "Password": "hunter2", "UseEventStream": true },
  "Bamboo": { "Endpoint": "http://me:8000", "Zookeeper": { "Host": "zk1:2181,zk2", "Path": "/marathon-haproxy/state", "ReportingDelay": 5 } },
  "HAProxy": { "TemplatePath": "/var/bamboo/haproxy_template.cfg", "OutputPath": "/etc/haproxy/haproxy.cfg",
    "ReloadCommand": "haproxy -D -f /etc/haproxy/haproxy.cfg", "ReloadValidationCommand": "haproxy -c -f {{.}}" },
  "StatsD": { "Enabled": false, "Host": "localhost:8125", "Prefix": "bamboo-server.development." },
  "Unknown": []
}"#;

#[test]
fn bamboos_file_becomes_a_configuration_that_loads() {
    let dir = tempfile::tempdir().unwrap();
    let environment = variables(&[("STATSD_ENABLED", "true"), ("BIND", ":8001"), ("BAMBOO_ZK_PATH", "")]);
    let mut imported = bamboo::import(BAMBOO, environment).unwrap();
    imported.place_secrets(Some(dir.path())).unwrap();
    let text = imported.to_toml();
    assert!(!text.contains("hunter2"));
    let config = Config::from_text(&text, Vec::new()).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(config.marathon.endpoints, ["http://a:8080", "http://b:8080"]);
    assert_eq!(std::fs::read_to_string(config.marathon.password_file.unwrap()).unwrap(), "hunter2");
    assert_eq!((config.rules.store, config.rules.zookeeper.hosts.len()), (RuleStoreKind::Zookeeper, 2));
    assert_eq!(config.rules.zookeeper.path, "/marathon-haproxy/state");
    assert_eq!(config.haproxy.mode, HaproxyMode::External);
    assert_eq!(config.haproxy.validate_command, "haproxy -c -f {{.}}");
    assert!(config.labels.default_rule && !config.labels.service_ports && config.statsd.enabled);
    assert_eq!(config.web.listen, "127.0.0.1:8001");
    for told in ["HAProxy.TemplatePath", "ReportingDelay", "Bamboo.Endpoint"] {
        assert!(text.contains(told), "{told}");
    }
    for bad in ["", "[]", "{ // a comment\n }"] {
        assert!(bamboo::import(bad, Vec::new()).is_err());
    }
}

#[test]
fn bamboos_file_and_its_variables_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("production.json");
    std::fs::write(&path, BAMBOO).unwrap();
    let environment =
        variables(&[("MARATHON_ENDPOINT", "http://c:8080"), ("CAUSEWAY_HAPROXY__MAXCONN", "7")]);
    let config = Config::load_with(Some(&path), environment).unwrap();
    assert_eq!((config.marathon.endpoints, config.haproxy.maxconn), (vec!["http://c:8080".to_owned()], 7));
    assert_eq!(config.marathon.password.unwrap().expose_secret(), "hunter2");
    std::fs::write(&path, "{").unwrap();
    let mistakes = Config::load_with(Some(&path), Vec::new()).unwrap_err().mistakes;
    assert!(mistakes[0].contains("production.json") && mistakes[0].contains("not JSON"), "{mistakes:?}");
}

#[test]
fn templates_of_the_environment_are_kept_and_what_is_none_is_told() {
    let head = "\\ntimeout http-request 5s\\n";
    let environment =
        [("HAPROXY_HTTP_FRONTEND_HEAD", head), ("HAPROXY_NO_SUCH", "x"), ("HAPROXY_SYSLOGD", "true")];
    let (text, config) = marathon_lb("sse --group external", &environment);
    assert_eq!(config.labels.templates["HTTP_FRONTEND_HEAD"], "\ntimeout http-request 5s\n");
    assert_eq!(config.labels.templates.len(), 1);
    assert!(text.contains("# * HAPROXY_NO_SUCH: none of marathon-lb's templates"), "{text}");
}
