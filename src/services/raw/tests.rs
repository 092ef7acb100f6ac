use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::model::{AppPort, Health, HealthCheck, HealthProtocol, Raw, Task, TaskId, TaskState, Timestamp};
use crate::services::{self, AppServices};

const HASH: &str =
    "$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1";

fn app(labels: &[(&str, &str)]) -> App {
    let port = AppPort { service_port: Some(10_000), name: None, container_port: None, udp_only: false };
    let task = TaskId::new("t");
    let served = Task {
        id: task.clone(),
        host: "x".into(),
        state: TaskState::Running,
        version: Timestamp::default(),
        health: Health::Healthy,
        ready: true,
        endpoints: vec!["10.0.0.1:31000".parse().ok()],
    };
    App {
        id: AppId::new("/shop/web"),
        scaled_at: None,
        instances: 1,
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        env: BTreeMap::new(),
        ports: vec![port],
        health_checks: vec![HealthCheck {
            protocol: HealthProtocol::Http,
            path: Some("/up".into()),
            port_index: Some(0),
            port: None,
            interval_seconds: 7,
            timeout_seconds: 3,
            max_consecutive_failures: 2,
        }],
        tasks: BTreeMap::from([(task, served)]),
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.labels.raw = RawLabels::Allow;
    config
}

fn of(labels: &[(&str, &str)], config: &Config) -> AppServices {
    services::of(&app(labels), None, &services::Terms::from(config), false)
}

/// The service of a port whose labels have `HAPROXY_0_` before them, and what is wrong.
fn first(labels: &[(&str, &str)], config: &Config) -> (Service, Vec<String>) {
    let named: Vec<(String, &str)> = labels
        .iter()
        .chain(&[("ENABLED", "t")])
        .map(|(name, value)| (format!("HAPROXY_0_{name}"), *value))
        .collect();
    let named: Vec<(&str, &str)> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let found = of(&named, config);
    (found.services[0].clone(), found.problems.iter().map(ToString::to_string).collect())
}

fn auth() -> String {
    format!("Shop:joe:{HASH}")
}

/// What a template label adds beside these labels: nothing told, and the raw text.
fn raw(beside: &[(&str, &str)], name: &str, text: &str) -> (Service, Raw) {
    let mut labels = beside.to_vec();
    labels.push((name, text));
    let mut config = config();
    config.labels.checks = crate::config::Checks::Haproxy;
    let (service, problems) = first(&labels, &config);
    assert_eq!(problems, Vec::<String>::new(), "{name} = {text}");
    let raw = service.backend.extras.raw.clone();
    (service, raw)
}

const HOST: (&str, &str) = ("VHOST", "a.x");
const B: &str = "h_shop_web_0";

#[test]
fn a_text_that_says_what_the_default_did_is_no_raw_text_even_where_none_is_allowed() {
    let login = auth();
    let login = login.as_str();
    let path = ("PATH", "/p");
    let several = ("VHOST", "a.x,b.x");
    let host_acl = "  acl host_{cleanedUpHostname} hdr(host) -i {hostname}\n";
    let path_acl = "  acl path_{backend} path_beg {path}\n";
    let auth_acl = "  acl auth_{cleanedUpHostname} http_auth(user_{backend})\n";
    let asks =
        "  http-request auth realm \"{realm}\" if host_{cleanedUpHostname} !auth_{cleanedUpHostname}\n";
    let leads = "  use_backend {backend} if host_{cleanedUpHostname}\n";
    let leads_path = "  use_backend {backend} if host_{cleanedUpHostname} path_{backend}\n";
    let sni = "  use_backend {backend} if {{ ssl_fc_sni {hostname} }}\n";
    let all = [host_acl, path_acl, auth_acl, asks, leads_path].concat();
    let many = [host_acl, leads].concat();
    let many_path = [host_acl, path_acl, leads_path].concat();
    let with_auth = [host_acl, auth_acl, asks, leads].concat();
    let routing_auth = [auth_acl, asks, leads].concat();
    let sni_path = sni.replace("}}\n", "}} path_{backend}\n");
    for (beside, name, text) in [
        (
            vec![("AUTH", login), HOST],
            "USERLIST_HEAD",
            "\nuserlist user_{backend}\n  user {user} password {passwd}\n",
        ),
        (
            vec![],
            "FRONTEND_HEAD",
            "\nfrontend {backend}\n  bind {bindAddr}:{servicePort}{sslCert}{bindOptions}\n  mode {mode}\n",
        ),
        (vec![], "FRONTEND_BACKEND_GLUE", "  use_backend {backend}\n"),
        (vec![], "BACKEND_HEAD", "\nbackend {backend}\r\n  balance {balance}\r\n  mode {mode}\r\n"),
        (
            vec![HOST, ("USE_HSTS", "t")],
            "BACKEND_HSTS_OPTIONS",
            "  rspadd  Strict-Transport-Security:\\ max-age=15768000\n",
        ),
        (
            vec![HOST],
            "BACKEND_HTTP_OPTIONS",
            "  option forwardfor\n  http-request set-header X-Forwarded-Port %[dst_port]\n  http-request add-header X-Forwarded-Proto https if { ssl_fc }\n",
        ),
        (
            vec![HOST, ("STICKY", "t")],
            "BACKEND_STICKY_OPTIONS",
            "  cookie mesosphere_server_id insert indirect nocache\n",
        ),
        (
            vec![HOST, ("HTTP_BACKEND_PROXYPASS_PATH", "/p")],
            "HTTP_BACKEND_PROXYPASS_GLUE",
            "  http-request set-header Host {hostname}\n  reqirep  \"^([^ :]*)\\ {proxypath}/?(.*)\" \"\\1\\ /\\2\"\n",
        ),
        (
            vec![HOST, ("HTTP_BACKEND_REVPROXY_PATH", "/p")],
            "HTTP_BACKEND_REVPROXY_GLUE",
            "  acl hdr_location res.hdr(Location) -m found\n  rspirep \"^Location: (https?://{hostname}(:[0-9]+)?)?(/.*)\" \"Location:   {rootpath} if hdr_location\"\n",
        ),
        (
            vec![HOST, ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.1 ::1")],
            "HTTP_BACKEND_NETWORK_ALLOWED_ACL",
            "  acl network_allowed src {network_allowed}\n",
        ),
        (
            vec![("MODE", "tcp"), ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.1")],
            "TCP_BACKEND_NETWORK_ALLOWED_ACL",
            "  acl network_allowed src {network_allowed}\n",
        ),
        (
            vec![],
            "BACKEND_HTTP_HEALTHCHECK_OPTIONS",
            "  option  httpchk GET {healthCheckPath}\n  timeout check {healthCheckTimeoutSeconds}s\n",
        ),
        (vec![("MODE", "tcp")], "BACKEND_TCP_HEALTHCHECK_OPTIONS", ""),
        (
            vec![],
            "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
            "  check inter {healthCheckIntervalSeconds}s fall {healthCheckFalls}{healthCheckPortOptions}\n",
        ),
        (
            vec![("MODE", "tcp")],
            "BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS",
            "check inter {healthCheckIntervalSeconds}s fall {healthCheckFalls}",
        ),
        (
            vec![],
            "BACKEND_SERVER_OPTIONS",
            "  server {serverName} {host_ipv4}:{port} id {serverId}{cookieOptions}{healthCheckOptions}{otherOptions}\n",
        ),
        (
            vec![HOST, ("REDIRECT_TO_HTTPS", "t")],
            "BACKEND_REDIRECT_HTTP_TO_HTTPS",
            "  redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname}\n",
        ),
        (
            vec![HOST, path, ("REDIRECT_TO_HTTPS", "t")],
            "BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
            "  redirect scheme https code 301 if !{{ ssl_fc }} host_{cleanedUpHostname} path_{backend}\n",
        ),
        (vec![HOST], "HTTP_FRONTEND_ACL", &many),
        (vec![HOST, ("AUTH", login)], "HTTP_FRONTEND_ACL_WITH_AUTH", &with_auth),
        (vec![HOST, path], "HTTP_FRONTEND_ACL_WITH_PATH", &many_path),
        (vec![HOST, path, ("AUTH", login)], "HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH", &all),
        (vec![several], "HTTP_FRONTEND_ACL_ONLY", host_acl),
        (vec![several, path], "HTTP_FRONTEND_ACL_ONLY_WITH_PATH", path_acl),
        (vec![several, path, ("AUTH", login)], "HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH", path_acl),
        (vec![several], "HTTP_FRONTEND_ROUTING_ONLY", leads),
        (vec![several, ("AUTH", login)], "HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH", &routing_auth),
        (vec![several, path], "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH", leads_path),
        (vec![several, path, ("AUTH", login)], "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH", leads_path),
        (vec![several], "HTTPS_FRONTEND_ACL", sni),
        (vec![HOST, ("AUTH", login)], "HTTPS_FRONTEND_ACL_WITH_AUTH", sni),
        (vec![HOST, path], "HTTPS_FRONTEND_ACL_WITH_PATH", &sni_path),
        (vec![HOST, path, ("AUTH", login)], "HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH", &sni_path),
        (vec![HOST, path], "HTTPS_FRONTEND_ACL_ONLY_WITH_PATH", path_acl),
        (
            vec![HOST],
            "HTTP_FRONTEND_APPID_ACL",
            "  acl app_{cleanedUpAppId} hdr(x-marathon-app-id) -i {appId}\n  use_backend {backend} if app_{cleanedUpAppId}\n",
        ),
    ] {
        for allowed in [RawLabels::Deny, RawLabels::Allow] {
            let mut config = config();
            config.labels.raw = allowed;
            config.labels.checks = crate::config::Checks::Haproxy;
            let mut labels = beside.clone();
            let without = first(&labels, &config).0;
            labels.push((name, text));
            let (with, problems) = first(&labels, &config);
            assert_eq!(problems, Vec::<String>::new(), "{name}");
            assert_eq!(with, without, "{name}");
        }
    }
}

#[test]
fn what_a_text_says_beyond_its_default_goes_to_its_section() {
    let login = auth();
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let (service, found) = raw(
        &[],
        "BACKEND_HEAD",
        "backend {backend}\n balance leastconn\n mode {mode}\n timeout server 5m\n default-server maxconn 9",
    );
    assert_eq!((service.backend.balance.as_str(), found.server.as_str()), ("leastconn", " maxconn 9"));
    assert_eq!(found.backend, ["timeout server 5m"]);
    let (_, found) = raw(&[], "BACKEND_HEAD", "backend {backend}\n balance url_param user");
    assert_eq!(found.backend, ["balance url_param user"]);
    let (service, found) = raw(
        &[HOST, ("USE_HSTS", "t")],
        "BACKEND_HSTS_OPTIONS",
        "http-response set-header Strict-Transport-Security max-age=1",
    );
    assert_eq!((service.marks.hsts, found.backend.len()), (false, 1));
    let (_, found) =
        raw(&[HOST], "BACKEND_HTTP_OPTIONS", "  option forwardfor\n  http-request set-header X-Team {shop}");
    assert_eq!(found.backend, ["http-request set-header X-Team {shop}"], "it has no placeholders");
    let (service, found) = raw(&[HOST, ("STICKY", "t")], "BACKEND_STICKY_OPTIONS", "cookie SRV insert");
    assert!(!service.backend.extras.sticky);
    assert_eq!(found.backend, ["dynamic-cookie-key causeway", "cookie SRV insert dynamic"]);
    let proxypass = [HOST, ("HTTP_BACKEND_PROXYPASS_PATH", "/p")];
    let (service, found) =
        raw(&proxypass, "HTTP_BACKEND_PROXYPASS_GLUE", "http-request replace-path ^{proxypath}/?(.*) /\\1");
    assert_eq!((service.backend.extras.strip, service.backend.extras.host), (None, None));
    assert_eq!(found.backend, ["http-request replace-path ^/p/?(.*) '/\\1'"]);
    let (service, found) = raw(
        &[HOST, ("HTTP_BACKEND_REVPROXY_PATH", "/p")],
        "HTTP_BACKEND_REVPROXY_GLUE",
        "http-response replace-header Location /(.*) {rootpath}/\\1",
    );
    assert_eq!((service.backend.extras.location, found.backend.len()), (None, 1));
    let networks = [HOST, ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.1 10.0.0.2")];
    let (_, found) = raw(
        &networks,
        "HTTP_BACKEND_NETWORK_ALLOWED_ACL",
        "acl network_allowed hdr_ip(X-Forwarded-For,-1) {network_allowed}",
    );
    assert_eq!(found.allowed[1], "acl network_allowed hdr_ip(X-Forwarded-For,-1) 10.0.0.2");
    let users = format!(
        "userlist user_{{backend}}\n user {{user}} password {{passwd}}\n user ann password {HASH} groups a\n group a"
    );
    let (_, found) = raw(&[HOST, ("AUTH", &login)], "USERLIST_HEAD", &users);
    assert_eq!(found.users, [format!("user ann password '{HASH}' groups a"), "group a".to_owned()]);
    assert!(!format!("{found:?}").contains("yVfUwsw5T"), "no hash in a log");
    let (_, found) = raw(&[], "BACKEND_HTTP_HEALTHCHECK_OPTIONS", "option httpchk HEAD /x\ntimeout check 9s");
    assert_eq!(
        found.backend,
        ["http-check send meth HEAD uri /x ver HTTP/1.1 hdr Host localhost", "timeout check 9s"]
    );
    let (service, found) = raw(
        &[],
        "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
        "check inter {healthCheckIntervalSeconds}s fall 9",
    );
    assert_eq!(found.check.as_deref(), Some(" check inter 7s fall 9"));
    assert_eq!(service.backend.server_words(), " check inter 7s fall 9");
    let (service, _) = raw(
        &[("MODE", "tcp")],
        "BACKEND_SERVER_OPTIONS",
        "server {serverName} {host_ipv4}:{port}{cookieOptions}{healthCheckOptions}{otherOptions} send-proxy",
    );
    assert!(service.backend.server_words().ends_with(" send-proxy") && !service.backend.takes_servers());
    let (service, found) = raw(
        &[],
        "FRONTEND_HEAD",
        "frontend {backend}\n bind {bindAddr}:{servicePort}{sslCert}{bindOptions} accept-proxy\n mode {mode}\n timeout client 5m",
    );
    assert_eq!(service.bind.unwrap().options, ["accept-proxy"]);
    assert_eq!((found.frontend, found.leads), (lines(&["timeout client 5m"]), false));
    let (service, found) =
        raw(&[], "FRONTEND_BACKEND_GLUE", "acl in src 10.0.0.0/8\nuse_backend {backend} if in");
    assert!(found.leads && service.bind.is_some());
    assert_eq!(found.frontend[1], format!("use_backend {B} if in"));
}

#[test]
fn what_leads_to_an_app_by_other_criteria_is_a_route_of_its_own_names_and_what_it_does_is_done_behind_it() {
    let (service, found) = raw(
        &[HOST],
        "HTTP_FRONTEND_ACL",
        "acl host_{cleanedUpHostname} hdr_end(host) -i .{hostname}\nuse_backend {backend} if host_{cleanedUpHostname}\nhttp-request deny if host_{cleanedUpHostname} !{{ src 10.0.0.0/8 }} or {{ path /x }}",
    );
    assert!(service.routes.is_empty(), "{:?}", service.routes);
    assert_eq!(
        found.http,
        [
            format!("acl {B}::host_a_x_shop_web hdr_end(host) -i .a.x # {B}"),
            format!(
                "http-request set-var(txn.backend) str({B}) if !{{ var(txn.backend) -m found }} {B}::host_a_x_shop_web # {B}"
            ),
        ]
    );
    assert_eq!(
        found.https,
        [format!(
            "http-request set-var(txn.backend) str({B}) if !{{ var(txn.backend) -m found }} {{ req.hdr(host),field(1,:) -i a.x }} # {B}"
        )]
    );
    assert_eq!(
        found.backend,
        [
            "acl http_in:host_a_x_shop_web hdr_end(host) -i .a.x",
            "http-request deny if { fe_name http_in } http_in:host_a_x_shop_web !{ src 10.0.0.0/8 } || { fe_name http_in } { path /x }",
        ]
    );
    // Only what is done changes: the map leads there as before.
    let (service, found) = raw(
        &[HOST],
        "HTTPS_FRONTEND_ACL",
        "use_backend {backend} if {{ ssl_fc_sni {hostname} }}\nhttp-response set-header X-A b",
    );
    assert_eq!((service.routes.len(), found.is_in_head()), (1, false));
    assert_eq!(found.backend, ["http-response set-header X-A b if { fe_name https_in }"]);
    let redirect = [HOST, ("REDIRECT_TO_HTTPS", "t")];
    let (service, found) = raw(
        &redirect,
        "BACKEND_REDIRECT_HTTP_TO_HTTPS",
        "redirect scheme https code 308 if !{{ ssl_fc }} host_{cleanedUpHostname} !{{ path_beg /.well-known }}",
    );
    assert_eq!((service.marks.to_https, service.routes.len()), (false, 1));
    assert_eq!(
        found.backend[1],
        "redirect scheme https code 308 if { fe_name http_in } !{ ssl_fc } http_in:host_a_x_shop_web !{ path_beg /.well-known }"
    );
    let (service, found) = raw(
        &[HOST],
        "HTTP_FRONTEND_APPID_ACL",
        "acl app hdr(x-app) -i {appId}\nuse_backend {backend} if app",
    );
    assert_eq!((service.app_id_route, found.app_id.len()), (false, 2));
}

#[test]
fn what_cannot_be_used_is_told_with_its_line_and_the_default_stands() {
    let login = auth();
    for (beside, name, text, why) in [
        (
            vec![],
            "BACKEND_HEAD",
            "backend {backend}\n  errorfile 503 /etc/passwd",
            "label HAPROXY_0_BACKEND_HEAD, line 2 (\"errorfile\")",
        ),
        (vec![], "BACKEND_HEAD", "backend {backend}\n mode tcp", "HAPROXY_{n}_MODE"),
        (vec![], "BACKEND_HEAD", "backend {foo}", "there is no {foo} in this template"),
        (vec![], "BACKEND_HEAD", "backend x\nbackend y", "word that is taken"),
        (vec![], "BACKEND_HEAD", "  .endif", "dot"),
        (vec![HOST], "HTTP_FRONTEND_ACL", "use_backend other if TRUE", "another backend than its own"),
        (vec![HOST], "HTTP_FRONTEND_ACL", "use_backend {backend}", "takes every request"),
        (vec![HOST], "HTTP_FRONTEND_ACL", "use_backend {backend} if { ssl_fc }", "doubled"),
        (vec![HOST], "HTTP_FRONTEND_ACL", "timeout client 1s", "frontend that many share"),
        (
            vec![HOST],
            "HTTP_FRONTEND_ACL",
            "acl a path,set-var(txn.backend) -m found\nuse_backend {backend} if a",
            "sets a variable",
        ),
        (
            vec![HOST],
            "HTTP_FRONTEND_ACL",
            "acl h_b_0::a path /\nuse_backend {backend} if h_b_0::a",
            "letters, digits",
        ),
        (vec![HOST], "HTTP_FRONTEND_ACL", "http-request deny unless METH_GET HTTP_1.1", "unless"),
        (vec![], "BACKEND_SERVER_OPTIONS", "server {serverName} 127.0.0.1:22", "where tasks are reached"),
        (
            vec![],
            "BACKEND_SERVER_OPTIONS",
            "server {serverName} {host_ipv4}:{port} agent-check",
            "agent-check",
        ),
        (vec![], "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS", "check inter 1s", "HAPROXY_0_CHECKS = haproxy"),
        (vec![], "BACKEND_HTTP_HEALTHCHECK_OPTIONS", "option httpchk GET /y", "HAPROXY_0_CHECKS = haproxy"),
        (vec![], "FRONTEND_HEAD", "bind *:22", "something else than the service port"),
        (vec![], "FRONTEND_HEAD", "bind {bindAddr}:{servicePort} ssl crt /etc/x.pem", "HAPROXY_{n}_SSL_CERT"),
        (vec![], "FRONTEND_BACKEND_GLUE", "use_backend other", "another backend than its own"),
        (vec![HOST, ("AUTH", &login)], "USERLIST_HEAD", "user ann insecure-password x", "hash of a password"),
        (vec![HOST, ("AUTH", &login)], "USERLIST_HEAD", "user ann password $6$rounds=20000000$a$b", "5 ms"),
        (
            vec![HOST],
            "BACKEND_HTTP_OPTIONS",
            "http-request auth unless { http_auth(user_other) }",
            "users of another list",
        ),
        (vec![HOST], "MAP_HTTP_FRONTEND_ACL", "x", "has no effect, nor has it in marathon-lb"),
    ] {
        let without = first(&beside, &config()).0;
        let mut labels = beside.clone();
        labels.push((name, text));
        let (service, problems) = first(&labels, &config());
        assert!(problems.len() == 1 && problems[0].contains(why), "{name} = {text:?}: {problems:?}");
        assert!(!problems[0].contains("20000000"), "no hash in a log");
        assert_eq!(service, without, "{name} = {text:?}");
    }
    let networks = [
        HOST,
        ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.1"),
        ("HTTP_BACKEND_NETWORK_ALLOWED_ACL", "acl x path /"),
    ];
    let (service, problems) = first(&networks, &config());
    assert!(service.backend.extras.closed && problems[0].contains("nobody is let in"), "{problems:?}");
}

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
    let found = service.backend.extras.raw;
    assert_eq!(
        found.backend,
        ["http-request set-header X all", "redirect code 302 location /w if { path / }"]
    );
    assert_eq!(
        found.denial,
        ["http-request deny deny_status 429 if !network_allowed"],
        "a login is still asked for"
    );
    assert_eq!((service.marks.root, service.backend.extras.root), (None, None));
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
        head::of(&labels)
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
