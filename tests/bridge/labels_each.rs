//! Each label, as a user sees it: an app with these labels, a request, and who answers.

use serde_json::json;

use crate::asked::{Asking, labels, listen_for_tls};
use crate::stage::{Stage, app};

/// What every app of a table has: a name, labels of its first port without `HAPROXY_0_`, and requests with what comes of
/// them (`asked.rs`).
pub(crate) type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// The rows; those whose name holds `-bad` have a value that cannot be used in their last label.
pub(crate) const ROWS: &[Row] = &[
    (
        "vhost",
        &[("VHOST", "HOST,also.HOST,*.w.HOST")],
        &[
            "http HOST/ => app",
            "http HOST:8000/ => app",
            "http also.HOST/x => app",
            "http one.w.HOST/ => app",
            "http two.one.w.HOST/ => 404",
            "https HOST/ => app x-forwarded-proto: https",
            "id HOST/ => app",
        ],
    ),
    ("vhost-bad", &[("VHOST", "a b,HOST")], &["http HOST/ => app"]),
    (
        "path",
        &[("VHOST", "HOST"), ("PATH", "/api /v2/")],
        &[
            "http HOST/api => app",
            "http HOST/api/x => app",
            "http HOST/v2 => app",
            "http HOST/apiary => 404",
            "http HOST/API => 404",
            "http HOST/ => 404",
        ],
    ),
    (
        "path-any-case",
        &[("VHOST", "HOST,*.w.HOST"), ("PATH", "-i /Api")],
        &[
            "http HOST/api => app",
            "http HOST/API/X => app path: /api/x",
            "http one.w.HOST/aPi => app",
            "http HOST/apiary => 404",
        ],
    ),
    ("path-only", &[("PATH", "/only-a-path"), ("MODE", "http")], &["http any.HOST/only-a-path/x => app"]),
    ("path-only-any-case", &[("PATH", "-i /Only-Any-Case")], &["http any.HOST/ONLY-any-case/x => app"]),
    ("path-bad", &[("VHOST", "HOST"), ("PATH", "api")], &["http HOST/api => 404", "port HOST/ => app"]),
    (
        "redirect",
        &[("VHOST", "HOST"), ("REDIRECT_TO_HTTPS", "true")],
        &[
            "http HOST/a/b?c=d => 301 location: https://HOST/a/b?c=d",
            "http HOST:8000/x => 301 location: https://HOST:8443/x\n",
            "http HOST:80/x => 301 location: https://HOST/x\n",
            "https HOST/ => app",
            "port HOST/ => app",
            "id HOST/ => app",
            "http HOST/ with X-Forwarded-Proto: https => 301",
        ],
    ),
    (
        "redirect-path",
        &[("VHOST", "HOST"), ("PATH", "/in"), ("REDIRECT_TO_HTTPS", "T")],
        &["http HOST/in => 301 location: https://HOST/in", "http HOST/out => 404"],
    ),
    ("redirect-bad", &[("VHOST", "HOST"), ("REDIRECT_TO_HTTPS", "maybe")], &["http HOST/ => app"]),
    (
        "hsts",
        &[("VHOST", "HOST"), ("USE_HSTS", "yes")],
        &[
            "https HOST/ => app strict-transport-security: max-age=15768000",
            "http HOST/ => app !strict-transport-security",
        ],
    ),
    (
        "hsts-bad",
        &[("VHOST", "HOST"), ("USE_HSTS", "maybe")],
        &["https HOST/ => app !strict-transport-security"],
    ),
    (
        "root",
        &[("VHOST", "HOST"), ("HTTP_BACKEND_REDIR", "/welcome?x=1")],
        &[
            "http HOST/ => 301 location: /welcome?x=1",
            "port HOST/ => 301 location: /welcome?x=1",
            "http HOST/welcome => app",
        ],
    ),
    (
        "root-bad",
        &[("VHOST", "HOST"), ("HTTP_BACKEND_REDIR", "/a\nhttp-request deny")],
        &["http HOST/ => app"],
    ),
    (
        "strip",
        &[("VHOST", "HOST"), ("HTTP_BACKEND_PROXYPASS_PATH", "/shop.x")],
        &[
            "http HOST/shop.x => app path: /\n",
            "http HOST/shop.x/a?b => app path: /a\n",
            "http HOST/shop.x/ => app request-host: HOST\n",
            "http HOST/shop.xyz => app path: /shop.xyz\n",
            "http HOST/shopax => app path: /shopax\n",
            "port other/shop.x/a => app request-host: HOST\n",
        ],
    ),
    (
        "strip-bad",
        &[("VHOST", "HOST"), ("HTTP_BACKEND_PROXYPASS_PATH", "shop")],
        &["http HOST/shop => app path: /shop\n"],
    ),
    (
        "location",
        &[("VHOST", "HOST,*.w.HOST"), ("HTTP_BACKEND_REVPROXY_PATH", "/50%/a.b")],
        &[
            "http HOST/?location=/login => 302 location: /50%/a.b/login",
            "http HOST/?location=http://HOST:31/x => 302 location: /50%/a.b/x",
            "http HOST/?location=https://one.w.HOST/ => 302 location: /50%/a.b/",
            "http HOST/?location=/50%/a.b/x => 302 location: /50%/a.b/x",
            "http HOST/?location=/50%/axb/x => 302 location: /50%/a.b/50%/axb/x",
            "http HOST/?location=https://elsewhere/x => 302 location: https://elsewhere/x",
            "http HOST/?location=//elsewhere/x => 302 location: //elsewhere/x",
        ],
    ),
    (
        "location-bad",
        &[("VHOST", "HOST"), ("HTTP_BACKEND_REVPROXY_PATH", "a b")],
        &["http HOST/?location=/x => 302 location: /x"],
    ),
    (
        "auth",
        &[("VHOST", "HOST"), ("AUTH", "The shop:joe:HASH")],
        &[
            "http HOST/ => 401 www-authenticate: basic realm=\"the shop\"",
            "https HOST/ => 401",
            "port HOST/ => 401",
            "id HOST/ => 401",
            "http HOST/ with Authorization: Basic am9lOnBhc3N3b3Jk => app",
            "port HOST/ with Authorization: Basic am9lOnBhc3N3b3Jk => app",
            "http HOST/ with Authorization: Basic am9lOndyb25n => 401",
        ],
    ),
    (
        "auth-bad",
        &[("VHOST", "HOST"), ("AUTH", "The shop:joe")],
        &["http HOST/ => 503", "https HOST/ => 503", "port HOST/ => 503", "id HOST/ => 503"],
    ),
    (
        "auth-costly",
        &[("VHOST", "HOST"), ("AUTH", "s:joe:$6$rounds=20000000$abcdefgh$x")],
        &["http HOST/ => 503"],
    ),
    ("auth-tcp", &[("AUTH", "The shop:joe:HASH")], &["port HOST/ => nothing"]),
    (
        "network",
        &[("VHOST", "HOST"), ("BACKEND_NETWORK_ALLOWED_ACL", "127.0.0.0/8 ::1")],
        &["http HOST/ => app", "port HOST/ => app"],
    ),
    (
        "network-else",
        &[("VHOST", "HOST"), ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/8 ::1")],
        &["http HOST/ => 403", "https HOST/ => 403", "port HOST/ => 403", "id HOST/ => 403"],
    ),
    ("network-tcp", &[("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/8")], &["port HOST/ => nothing"]),
    (
        "network-bad",
        &[("VHOST", "HOST"), ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/33")],
        &["http HOST/ => 503", "port HOST/ => 503"],
    ),
    ("network-bad-tcp", &[("BACKEND_NETWORK_ALLOWED_ACL", "everyone")], &["port HOST/ => nothing"]),
    (
        "network-and-auth",
        &[("VHOST", "HOST"), ("BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/8"), ("AUTH", "s:joe:HASH")],
        &["http HOST/ with Authorization: Basic am9lOnBhc3N3b3Jk => 403"],
    ),
    (
        "mode",
        &[("VHOST", "HOST"), ("MODE", "tcp")],
        &["http HOST/ => 404", "port HOST/ => app !x-forwarded-proto"],
    ),
    ("mode-bad", &[("VHOST", "HOST"), ("MODE", "udp")], &["http HOST/ => app"]),
    ("balance", &[("VHOST", "HOST"), ("BALANCE", "hdr(X-User)")], &["http HOST/ with X-User: a => app"]),
    ("balance-bad", &[("VHOST", "HOST"), ("BALANCE", "fastest")], &["http HOST/ => app"]),
    ("port", &[("VHOST", "HOST"), ("PORT", "10099")], &["port@10099 HOST/ => app", "port HOST/ => nothing"]),
    ("port-bad", &[("VHOST", "HOST"), ("PORT", "abc")], &["http HOST/ => app", "port HOST/ => app"]),
    (
        "bind-addr",
        &[("VHOST", "HOST"), ("BIND_ADDR", "127.9.9.9")],
        &["port-of:127.9.9.9 HOST/ => app", "port HOST/ => nothing", "http HOST/ => app"],
    ),
    ("bind-addr-bad", &[("VHOST", "HOST"), ("BIND_ADDR", "everywhere")], &["port HOST/ => app"]),
    (
        "bind-options",
        &[("VHOST", "HOST"), ("BIND_OPTIONS", "accept-proxy")],
        &["port HOST/ => nothing", "http HOST/ => app"],
    ),
    ("bind-options-bad", &[("VHOST", "HOST"), ("BIND_OPTIONS", "user root")], &["port HOST/ => app"]),
    (
        "ssl-cert",
        &[("VHOST", "HOST"), ("SSL_CERT", "any.pem")],
        &["tls-port HOST/ => app", "port HOST/ => nothing", "https HOST/ => app", "http HOST/ => app"],
    ),
    (
        "ssl-cert-bad",
        &[("VHOST", "HOST"), ("SSL_CERT", "/etc/shadow")],
        &["tls-port HOST/ => nothing", "port HOST/ => nothing", "https HOST/ => app", "http HOST/ => app"],
    ),
    ("checks-bad", &[("VHOST", "HOST"), ("CHECKS", "mesos")], &["http HOST/ => app"]),
    // Their second port has a health check by HTTP, which makes the mode http.
    (
        "health-index",
        &[("BACKEND_HEALTHCHECK_PORT_INDEX", "-1")],
        &["port HOST/ => app x-forwarded-proto: http"],
    ),
    (
        "health-index-bad",
        &[("BACKEND_HEALTHCHECK_PORT_INDEX", "first")],
        &["port HOST/ => app !x-forwarded-proto"],
    ),
    (
        "enabled-bad",
        &[("VHOST", "HOST"), ("ENABLED", "perhaps")],
        &["http HOST/ => 404", "port HOST/ => nothing"],
    ),
    ("enabled", &[("VHOST", "HOST"), ("ENABLED", "no")], &["http HOST/ => 404", "port HOST/ => nothing"]),
    ("weight", &[("VHOST", "HOST"), ("BACKEND_WEIGHT", "10")], &["http HOST/api/x => app"]),
    ("weight-less", &[("VHOST", "weight.example.com,HOST"), ("PATH", "/api")], &["http HOST/api => app"]),
    (
        "weight-many",
        &[("PATH", "/of-every-host"), ("BACKEND_WEIGHT", "5")],
        &[
            "http vhost.example.com/of-every-host/x => app",
            "http one.w.vhost.example.com/of-every-host => app",
            "http weight.example.com/of-every-host => 200",
        ],
    ),
    ("weight-bad", &[("VHOST", "HOST"), ("BACKEND_WEIGHT", "high")], &["http HOST/ => app"]),
    ("h2", &[("VHOST", "HOST"), ("BACKEND_PROTO", "h2")], &["http HOST/ => 503|502"]),
    ("https", &[("VHOST", "HOST"), ("BACKEND_PROTO", "https")], &["http HOST/ => 503"]),
    ("proto-bad", &[("VHOST", "HOST"), ("BACKEND_PROTO", "spdy")], &["http HOST/ => app"]),
    ("sticky-bad", &[("VHOST", "HOST"), ("STICKY", "maybe")], &["http HOST/ => app !set-cookie"]),
    (
        "unknown",
        &[("VHOST", "HOST"), ("VHSOT", "x"), ("BACKEND_HEAD", "backend x\n  mode tcp")],
        &["http HOST/ => app"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_label_does_what_it_says_and_a_bad_value_harms_nobody() {
    let mut stage = Stage::set().await;
    listen_for_tls(&mut stage);
    stage.config.haproxy.service_port_range.last = 10_100;
    let port = |index: usize| 10_000 + u16::try_from(index).unwrap();
    let app_of = |(index, (name, with, _)): (usize, &Row)| {
        let mut app = app(&format!("/{name}"), 1, port(index), labels(name, with));
        if name.starts_with("health-index") {
            app["portDefinitions"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "port": port(index) + 200, "protocol": "tcp" }));
            app["healthChecks"] =
                json!([{ "protocol": "HTTP", "path": "/up", "portIndex": 1, "intervalSeconds": 1 }]);
        }
        app
    };
    stage.marathon.create_apps(ROWS.iter().enumerate().map(app_of).collect()).await.unwrap();
    stage.bridge();
    stage.served("vhost.example.com", "/", "/vhost").await;
    let asking = Asking::of(&stage);
    let mut wrong = Vec::new();
    for (index, (name, _, requests)) in ROWS.iter().enumerate() {
        for line in *requests {
            wrong.extend(asking.wrong(name, port(index), line).await);
        }
    }
    assert!(wrong.is_empty(), "{} of the table are not so:\n{}", wrong.len(), wrong.join("\n"));
    let problems = stage.api("/problems?limit=1000").await.unwrap();
    let problems = problems["problems"].as_array().unwrap();
    for (name, with, _) in ROWS.iter().filter(|(name, ..)| name.contains("-bad")) {
        let label = format!("HAPROXY_0_{}", with.last().unwrap().0);
        let is_told = problems.iter().any(|problem| {
            problem["app"] == json!(format!("/{name}"))
                && problem["message"].as_str().unwrap().contains(&label)
        });
        assert!(is_told, "{name}: {label} is not told");
    }
    let config = stage.current();
    assert!(
        config.contains("balance hdr(X-User)\n")
            && config.contains("proto h2")
            && config.contains("ssl verify none")
    );
}
