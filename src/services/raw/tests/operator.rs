//! What the operator says: who may have raw text, and templates for all apps.

use super::*;

#[test]
fn raw_text_is_for_the_apps_that_the_operator_says() {
    let labels = [HOST, ("BACKEND_HTTP_OPTIONS", "http-request set-header X y")];
    for (allowed, has) in [
        (RawLabels::Deny, false),
        (RawLabels::Allow, true),
        (RawLabels::Only(vec!["/shop/**".to_owned()]), true),
        (RawLabels::Only(vec!["/team/*".to_owned(), "/shop".to_owned()]), false),
    ] {
        let mut config = config();
        config.labels.raw = allowed;
        let (service, problems) = first(&labels, &config);
        assert_eq!(service.backend.extras.raw.backend.len(), usize::from(has));
        assert_eq!(problems.len(), usize::from(!has), "{problems:?}");
        assert!(
            has || problems[0].contains("not allowed")
                && problems[0].contains("HAPROXY_0_BACKEND_HTTP_OPTIONS")
        );
    }
}

#[test]
fn the_operators_templates_are_for_every_app_and_a_label_comes_before_them() {
    let mut config = config();
    config.labels.raw = RawLabels::Deny;
    let templates = [
        ("BACKEND_HTTP_OPTIONS", "http-request set-header X all"),
        (
            "HTTP_BACKEND_ACL_ALLOW_DENY",
            "http-request allow if network_allowed\nhttp-request deny deny_status 429",
        ),
        ("HTTP_BACKEND_REDIR", "redirect code 302 location {redirpath} if {{ path / }}"),
    ];
    config.labels.templates = templates.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let labels = [HOST, ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.1"), ("HTTP_BACKEND_REDIR", "/w")];
    let (service, problems) = first(&labels, &config);
    assert_eq!(problems, Vec::<String>::new());
    let found = &service.backend.extras.raw;
    assert_eq!(
        found.backend,
        ["http-request set-header X all", "redirect code 302 location /w if { path / }"]
    );
    assert_eq!(
        found.denial,
        ["http-request deny deny_status 429 if !network_allowed"],
        "a login is still asked for"
    );
    assert_eq!((&service.marks.root, &service.backend.extras.root), (&None, &None));
    let own = [HOST, ("BACKEND_HTTP_OPTIONS", "http-request set-header X own")];
    assert_eq!(
        first(&own, &config).0.backend.extras.raw.backend,
        ["http-request set-header X all"],
        "it is not allowed"
    );
    config.labels.raw = RawLabels::Allow;
    assert_eq!(first(&own, &config).0.backend.extras.raw.backend, ["http-request set-header X own"]);
}

#[test]
fn what_all_apps_share_is_read_line_by_line() {
    let of = |name: &str, text: &str| {
        let labels = LabelsConfig {
            templates: BTreeMap::from([(name.to_owned(), text.to_owned())]),
            ..LabelsConfig::default()
        };
        let (head, notices, left_out) = head::of(&labels);
        (head, [notices, left_out].concat())
    };
    let default = "global\n  daemon\n  log /dev/log local0\n  log /dev/log local1 notice\n  spread-checks 5\n  max-spread-checks 15000\n  maxconn 50000\n  tune.ssl.default-dh-param 2048\n  \
        ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA256:!aNULL:!MD5:!DSS\n  ssl-default-bind-options no-sslv3 no-tlsv10 no-tls-tickets\n  \
        stats socket /var/run/haproxy/socket expose-fd listeners\n  server-state-file global\n  server-state-base /var/state/haproxy/\n  lua-load /marathon-lb/getpids.lua\n\
        defaults\n  load-server-state-from-file global\n  log               global\n  retries                   3\n  backlog               10000\n  maxconn               10000\n  timeout connect          3s\n  \
        timeout client          30s\n  timeout queue           30s\n  timeout tarpit          60s\n  option            dontlognull\n  option            http-server-close\n  option            redispatch\n\
        listen stats\n  bind 0.0.0.0:9090\n  balance\n  mode http\n  stats enable\n  monitor-uri /_haproxy_health_check\n  acl getpid path /_haproxy_getpids\n  http-request use-service lua.getpids if getpid\n  \
        acl signalmlbhup path /_mlb_signal/hup\n  http-request use-service lua.signalmlbhup if signalmlbhup\n";
    assert_eq!(of("HEAD", default), (Default::default(), vec![]));
    let text = format!("{default}  stats auth a:b\n")
        .replace("maxconn 50000", "maxconn 9\n  spread-checks 9")
        .replace("client          30s", "client 9s");
    let (head, notices) = of(
        "HAPROXY_HEAD",
        &format!("{text}resolvers dns\n  nameserver a 10.0.0.1:53\nbackend own\n  mode http\n"),
    );
    assert_eq!(
        (head.global, head.defaults, head.stats),
        (
            vec!["spread-checks 9".to_owned()],
            vec!["timeout client 9s".to_owned()],
            vec!["stats auth a:b".to_owned()]
        )
    );
    assert_eq!(
        head.sections,
        ["resolvers dns", "    nameserver a 10.0.0.1:53", "backend own from common", "    mode http"]
    );
    assert!(
        notices.len() == 1
            && notices[0].contains("line 7 (\"maxconn\") is not used: its place is haproxy.maxconn"),
        "{notices:?}"
    );
    assert_eq!(
        of("HTTP_FRONTEND_HEAD", "\nfrontend marathon_http_in\n  bind *:80\n  mode http\n"),
        (Default::default(), vec![])
    );
    let (head, notices) = of(
        "HTTP_FRONTEND_HEAD",
        "frontend marathon_http_in\n  bind *:8080\n  mode http\n  http-request deny if { path /x }\n",
    );
    assert_eq!(head.http, ["http-request deny if { path /x }"]);
    assert!(notices[0].contains("haproxy.bind_http"), "{notices:?}");
    let (head, notices) = of(
        "HTTPS_FRONTEND_HEAD",
        "frontend x\n  bind *:443 ssl {sslCerts} ciphers A\n  mode http\n  option httpslog",
    );
    assert_eq!(
        (head.https_bind, head.https, notices.len()),
        (vec!["ciphers".to_owned(), "A".to_owned()], vec!["option httpslog".to_owned()], 0)
    );
    assert!(of("HTTPS_FRONTEND_HEAD", "bind *:443 ssl crt /x").1[0].contains("tls.certificates"));
    assert_eq!(
        of(
            "HTTPS_GROUPED_VHOST_BACKEND_HEAD",
            "\nbackend {name}\n  server loopback-for-tls abns@{name} send-proxy-v2\n"
        )
        .1,
        Vec::<String>::new()
    );
    assert!(of("HTTPS_GROUPED_FRONTEND_HEAD", "  tcp-request inspect-delay 9s").1[0].contains("not used"));
    assert!(of("MAP_HTTP_FRONTEND_ACL", "use_backend x").1[0].contains("not used"));
    assert!(of("HTTPS_FRONTEND_AUTH_ACL_ONLY", "acl x").1[0].contains("nor does marathon-lb"));
    assert!(of("HTTP_FRONTEND_HEAD", ".if 1").1[0].contains("dot"));
    assert_eq!(
        of("GLOBAL_DEFAULT_OPTIONS", "redispatch, http-keep-alive").0.defaults,
        ["option http-keep-alive"]
    );
}

#[test]
fn templates_come_from_the_environment_before_files_and_have_line_breaks_written_out() {
    let variables = [
        ("HAPROXY_HTTP_FRONTEND_HEAD".to_owned(), "frontend a\\n  maxconn 5".to_owned()),
        ("HAPROXY_SSL_CERT".to_owned(), "x".to_owned()),
    ];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("HAPROXY_HTTP_FRONTEND_HEAD"), "not this").unwrap();
    std::fs::write(dir.path().join("HAPROXY_BACKEND_HEAD"), "backend {backend}\n").unwrap();
    let text =
        format!("labels.raw = [\"/a/**\"]\nlabels.templates_dir = {:?}", dir.path().display().to_string());
    let mut config = Config::from_text(&text, variables).unwrap();
    config.labels.read_templates().unwrap();
    assert_eq!(config.labels.raw, RawLabels::Only(vec!["/a/**".to_owned()]));
    assert_eq!(config.labels.templates["HTTP_FRONTEND_HEAD"], "frontend a\n  maxconn 5");
    assert_eq!(config.labels.templates["BACKEND_HEAD"], "backend {backend}\n");
    assert_eq!(config.labels.templates.len(), 2);
    let by_environment =
        |value: &str| Config::from_text("", [("CAUSEWAY_LABELS__RAW".to_owned(), value.to_owned())]);
    assert_eq!(by_environment("allow").unwrap().labels.raw, RawLabels::Allow);
    assert_eq!(
        by_environment("/a, /b/*").unwrap().labels.raw,
        RawLabels::Only(vec!["/a".to_owned(), "/b/*".to_owned()])
    );
    for (text, why) in [
        ("labels.raw = \"maybe\"", "neither \"deny\" nor \"allow\""),
        ("labels.raw = true", "\"deny\", \"allow\""),
        ("labels.templates_dir = \"/nowhere\"", "not a directory"),
        ("[labels.templates]\nFOO = \"x\"", "not one of marathon-lb's templates"),
    ] {
        let error = Config::from_text(text, []).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

const BEGIN: &str = "<!-- written from src/services/raw/table.rs: begin -->\n";
const END: &str = "<!-- end -->";

/// `UPDATE_DOCS=1 cargo nextest run the_page_of` writes the page anew.
#[test]
fn the_page_of_raw_text_is_what_is_read() {
    assert_eq!(table::ALL.len(), 53);
    assert_eq!(table::ALL.iter().filter(|template| template.of_port).count(), 39);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/raw.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has its mark");
    let (written, after) = rest.split_once(END).expect("the page has its mark");
    let mut text = String::from("| template | as a label | where its lines go |\n|---|---|---|\n");
    for template in table::ALL {
        let label = if template.of_port { "yes" } else { "no" };
        text.push_str(&format!("| `HAPROXY_{}` | {label} | {} |\n", template.name, template.here));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, text, "write it anew with UPDATE_DOCS=1");
    }
}
