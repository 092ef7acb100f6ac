use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::model::{AppPort, Health, HealthCheck, HealthProtocol, Raw, Task, TaskId, TaskState, Timestamp};
use crate::services::{self, AppServices};

mod operator;

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
    assert_eq!((&service.backend.extras.strip, &service.backend.extras.host), (&None, &None));
    assert_eq!(found.backend, ["http-request replace-path ^/p/?(.*) '/\\1'"]);
    let (service, found) = raw(
        &[HOST, ("HTTP_BACKEND_REVPROXY_PATH", "/p")],
        "HTTP_BACKEND_REVPROXY_GLUE",
        "http-response replace-header Location /(.*) {rootpath}/\\1",
    );
    assert_eq!((&service.backend.extras.location, found.backend.len()), (&None, 1));
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
