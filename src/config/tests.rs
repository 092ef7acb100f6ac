use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    Config::from_text(text, environment(variables)).unwrap_err().mistakes
}

const EXAMPLE: &str = include_str!("../../config/causeway.toml");

#[test]
fn the_example_names_every_key_with_its_default() {
    let example: toml::Table = EXAMPLE.parse().unwrap();
    let mut defaults = toml::Table::try_from(Config::default()).unwrap();
    // A duration may be written in several ways; what it means has to be equal.
    let parsed = Config::from_text(EXAMPLE, Vec::new()).unwrap();
    assert_eq!(toml::Table::try_from(parsed).unwrap(), defaults);
    let keys = |table: &toml::Table| -> Vec<String> {
        let mut keys = Vec::new();
        load::collect_keys(table, "", &mut keys);
        keys.sort();
        keys
    };
    assert_eq!(keys(&example), keys(&defaults));
    defaults.clear();
}

#[test]
fn every_key_of_the_example_is_explained_on_the_line_above() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ")) {
        let explained = pair[0].starts_with("# ") || pair[1].starts_with('#');
        assert!(explained, "no explanation above {:?}", pair[1]);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let text = "[marathon]\nendpoint = [\"http://a\"]\nresync = \"soon\"\n\n[haproxy]\nmode = \"manged\"\nthreads = \"many\"\n\
                [haproxi]\nx = 1\n";
    let mistakes = mistakes(text, &[("CAUSEWAY_MARATHON__USR", "x"), ("CAUSEWAY_HAPROXY__MAXCONN", "lots")]);
    let expect = [
        ("causeway.toml:2: marathon.endpoint: unknown key", "marathon.endpoints"),
        ("causeway.toml:3: marathon.resync:", "a duration"),
        ("causeway.toml:6: haproxy.mode:", "managed"),
        ("causeway.toml:7: haproxy.threads:", "string"),
        ("causeway.toml:8: haproxi: unknown key", "known key is haproxy"),
        ("environment CAUSEWAY_HAPROXY__MAXCONN:", "whole number"),
        ("environment CAUSEWAY_MARATHON__USR: unknown key", "marathon.user"),
    ];
    for (start, inside) in expect {
        let found = mistakes.iter().any(|mistake| mistake.starts_with(start) && mistake.contains(inside));
        assert!(found, "{start} … {inside} is not in {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), expect.len(), "{mistakes:#?}");
}

#[test]
fn what_only_shows_when_all_is_known_is_told_with_where_it_is_set_too() {
    let text = "[web]\nlisten = \"9089\"\n\n[marathon]\nuser = \"u\"\nresync = \"soon\"\n\n[haproxy]\nmaxconn = -1\nmode = \"external\"\n";
    let mistakes = mistakes(text, &[("CAUSEWAY_STATSD__HOST", "statsd")]);
    let expect = [
        "causeway.toml:2: web.listen: ",
        "causeway.toml:5: marathon.user: needs password_file",
        "causeway.toml:6: marathon.resync: ",
        "causeway.toml:9: haproxy.maxconn: invalid value: integer `-1`, expected a whole number from 0 on",
        "environment CAUSEWAY_STATSD__HOST: statsd.host: ",
        "haproxy.config_path: ",
        "haproxy.reload_command: ",
    ];
    for start in expect {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{start} is not in {mistakes:#?}");
    }
    let places: Vec<bool> = mistakes.iter().map(|mistake| mistake.starts_with("causeway.toml:")).collect();
    assert!(places.is_sorted_by(|a, b| a >= b), "the file's come first, by their lines: {mistakes:#?}");
    assert!(mistakes.iter().any(|mistake| mistake.contains("as in \"30s\"")), "{mistakes:#?}");
}

#[test]
fn the_environment_sets_every_kind_of_key_over_the_file() {
    let config = Config::from_text(
        "[marathon]\nendpoints = [\"http://file\"]\n",
        environment(&[
            ("CAUSEWAY_MARATHON__ENDPOINTS", "http://a:8080, http://b:8080"),
            ("CAUSEWAY_MARATHON__RESYNC", "1m"),
            ("CAUSEWAY_HAPROXY__MAXCONN", "100"),
            ("CAUSEWAY_LABELS__STRICT", "true"),
            ("CAUSEWAY_SAFETY__HOLD_SHARE", "0.25"),
            ("CAUSEWAY_CONFIG", "/etc/causeway.toml"),
        ]),
    )
    .unwrap();
    assert_eq!(config.marathon.endpoints, ["http://a:8080", "http://b:8080"]);
    assert_eq!(config.marathon.resync, Duration::from_secs(60));
    assert_eq!(config.haproxy.maxconn, 100);
    assert!(config.labels.strict);
    assert!((config.safety.hold_share - 0.25).abs() < f64::EPSILON);
}

#[test]
fn a_secret_comes_from_the_environment_only_and_is_never_printed() {
    use secrecy::ExposeSecret as _;
    let variables = [
        ("CAUSEWAY_MARATHON__USER", "u"),
        ("CAUSEWAY_MARATHON__PASSWORD", "hunter2"),
        ("CAUSEWAY_RULES__ZOOKEEPER__PASSWORD", "hunter22"),
    ];
    let config = Config::from_text("", environment(&variables)).unwrap();
    assert_eq!(config.marathon.password.as_ref().unwrap().expose_secret(), "hunter2");
    assert_eq!(config.rules.zookeeper.password.as_ref().unwrap().expose_secret(), "hunter22");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!toml::to_string(&config).unwrap().contains("hunter2"));
    assert!(
        mistakes("[marathon]\npassword = \"hunter2\"\n", &[])[0].contains("marathon.password: unknown key")
    );
}

#[test]
fn values_that_cannot_work_are_told_with_what_is_expected() {
    let long = format!("[haproxy]\nsocket = \"/{}\"\n", "x".repeat(97));
    for (text, expected) in [
        ("[marathon]\nendpoints = []\n", "at least one URL"),
        ("[marathon]\nendpoints = [\"zk://a\"]\n", "not an http or https URL"),
        ("[marathon]\nendpoints = [\"http://u:p@a\"]\n", "credentials do not belong"),
        ("[marathon]\nuser = \"u\"\n", "needs password_file"),
        ("[haproxy]\nbind_http = \"80\"\n", "not HOST:PORT"),
        ("[haproxy]\nbind_http = \"*:9090\"\n", "also that of"),
        ("[haproxy]\nservice_port_range = \"20000-10000\"\n", "not a range of ports"),
        ("[haproxy]\nmode = \"external\"\n", "reload_command"),
        ("[safety]\nhold_share = 2.0\n", "between 0 and 1"),
        ("[web]\nlisten = \"9089\"\n", "not ADDRESS:PORT"),
        ("[web]\nlisten = \"0.0.0.0:9090\"\n", "also that of haproxy.bind_stats"),
        ("[web]\nauth = \"nobody\"\n", "none"),
        ("[web]\nhosts = [\"a:80\"]\n", "not the name of a host"),
        ("[web]\ntrusted_header = \"X-User\"\n", "believed from nobody"),
        ("[web]\ntrusted_header = \"Cookie\"\ntrusted_proxies = [\"10.0.0.1\"]\n", "header of its own"),
        ("[web]\ntrusted_proxies = [\"proxy\"]\n", "neither an address nor a network"),
        ("[web]\nbody_limit = 0\n", "between 1024"),
        ("[web]\nrequest_timeout = \"0s\"\n", "between 1s and 10m"),
        ("[web]\nconnections = 0\n", "between 1 and 65536"),
        ("[web.tls]\ncertificate = \"/nowhere.pem\"\n", "cannot be read"),
        ("[web.tls]\ncertificate = \"/dev/null\"\n", "need each other"),
        (
            "[haproxy]\nstate_dir = \"/var/lib/a-directory-with-a-name-that-is-so-long-that-a-socket-in-it-would-have-a-path-which-is-too-long\"\n",
            "set web.socket",
        ),
        ("[web]\nlisten = \"[::1]:9090\"\n", "also that of haproxy.bind_stats"),
        ("[web]\nlisten = \"localhost:10500\"\n", "choose a port outside"),
        ("[statsd]\nhost = \"statsd\"\n", "not HOST:PORT"),
        ("[statsd]\nprefix = \"a b\"\n", "StatsD reads as its own"),
        ("[tls]\ncertificates = [\"/nowhere.pem\"]\n", "does not exist"),
        ("[rules]\nstore = \"zookeeper\"\n", "at least one server"),
        ("[rules]\nstore = \"zookeeper\"\nzookeeper.hosts = [\"zk:0\"]\n", "not HOST:PORT"),
        ("[rules]\nstore = \"zookeeper\"\nzookeeper.hosts = [\"zk://a/b\"]\n", "not HOST:PORT"),
        ("[rules]\nstore = \"zookeeper\"\nzookeeper.path = \"a/\"\n", "not the path of a node"),
        ("[rules]\nstore = \"zookeeper\"\nzookeeper.user = \"u\"\n", "needs password_file"),
        ("[rules]\nstore = \"zookeeper\"\nzookeeper.acl = \"creator\"\n", "needs a user"),
        ("[rules]\nstore = \"zookeeper\"\nzookeeper.tls = true\n", "need each other"),
        ("marathon = 1\n", "marathon"),
        ("[marathon\n", "not TOML"),
        (long.as_str(), "at most 97"),
    ] {
        let mistakes = mistakes(text, &[]);
        assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{text}: {mistakes:#?}");
    }
}
