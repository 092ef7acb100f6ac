//! Raw text of marathon-lb's templates, on the real HAProxy.

use causeway::config::RawLabels;
use serde_json::{Value, json};

use crate::stage::{APP_ID, HTTP, Stage, app, until, vhost};

const LOGIN: &str = "Shop:joe:$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1";

/// An app with a host and these labels of port 0.
fn labelled(id: &str, host: &str, labels: &[(&str, &str)]) -> Value {
    let mut all = json!({ "HAPROXY_0_VHOST": host });
    for (name, value) in labels {
        all[format!("HAPROXY_0_{name}")] = json!(value);
    }
    app(id, 1, 0, all)
}

async fn stage(raw: RawLabels, apps: Vec<Value>) -> Stage {
    let mut stage = Stage::set().await;
    stage.config.labels.raw = raw;
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage
}

/// A header of the answer to a request.
async fn header(stage: &Stage, host: &str, path: &str, name: &str) -> Option<String> {
    let url = format!("http://{}:{HTTP}{path}", stage.host);
    let response = stage.client.get(url).header("Host", host).send().await.ok()?;
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The text of a backend.
fn block(stage: &Stage, backend: &str) -> String {
    let config = stage.current();
    let start = config.find(&format!("backend {backend} ")).unwrap_or(config.len());
    config[start..].split("\n\n").next().unwrap_or_default().to_owned()
}

const SETS: (&str, &str) =
    ("BACKEND_HTTP_OPTIONS", "  option forwardfor\n  http-response set-header X-Raw \"by label # 1\"\n");

#[tokio::test(flavor = "multi_thread")]
async fn a_template_label_counts_for_the_apps_that_may_have_one_and_for_no_others() {
    let apps = || {
        vec![
            labelled("/team/a", "a.x", &[SETS]),
            labelled("/b", "b.x", &[SETS]),
            labelled(
                "/team/bad",
                "bad.x",
                &[("BACKEND_HEAD", "backend {backend}\n  errorfile 503 /etc/passwd\n")],
            ),
            labelled("/team/if", "if.x", &[("BACKEND_HTTP_OPTIONS", ".if 0\n")]),
            labelled("/team/endif", "endif.x", &[("BACKEND_HTTP_OPTIONS", "'.endif'\n")]),
            vhost("/team/plain", 1, "plain.x"),
        ]
    };
    for (raw, a, b) in [
        (RawLabels::Deny, false, false),
        (RawLabels::Only(vec!["/team/**".to_owned()]), true, false),
        (RawLabels::Allow, true, true),
    ] {
        let stage = stage(raw, apps()).await;
        for (host, app) in [
            ("a.x", "/team/a"),
            ("b.x", "/b"),
            ("bad.x", "/team/bad"),
            ("if.x", "/team/if"),
            ("endif.x", "/team/endif"),
            ("plain.x", "/team/plain"),
        ] {
            stage.served(host, "/", app).await;
        }
        for (host, has) in [("a.x", a), ("b.x", b), ("plain.x", false)] {
            let found = header(&stage, host, "/", "x-raw").await;
            assert_eq!(found.as_deref(), has.then_some("by label # 1"), "{host}");
        }
        let config = stage.current();
        assert!(!config.contains("errorfile 503") && !config.contains(".if") && !config.contains(".endif"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_haproxy_rejects_stops_nobody_else() {
    let stage = stage(
        RawLabels::Allow,
        vec![
            labelled("/good", "good.x", &[SETS]),
            // Words that stand on the list, in a line that HAProxy does not understand.
            labelled("/broken", "broken.x", &[("BACKEND_HTTP_OPTIONS", "http-request nonsense\n")]),
            labelled(
                "/head",
                "head.x",
                &[("HTTP_FRONTEND_ACL", "acl a nonsense_fetch x\nuse_backend {backend} if a")],
            ),
            vhost("/plain", 1, "plain.x"),
        ],
    )
    .await;
    stage.served("good.x", "/", "/good").await;
    stage.served("plain.x", "/", "/plain").await;
    assert_eq!(header(&stage, "good.x", "/", "x-raw").await.as_deref(), Some("by label # 1"));
    assert_eq!(stage.get("broken.x", "/").await.unwrap().status, 404);
    // Once it is corrected it is served, and so is an app that is broken later as it was good last.
    stage
        .put(
            "/v2/apps/broken",
            json!({ "labels": { "HAPROXY_0_VHOST": "broken.x", "HAPROXY_0_BACKEND_HTTP_OPTIONS": "http-response set-header X-Raw ok" } }),
        )
        .await;
    stage.served("broken.x", "/", "/broken").await;
    assert_eq!(header(&stage, "broken.x", "/", "x-raw").await.as_deref(), Some("ok"));
    let bad =
        json!({ "HAPROXY_0_VHOST": "good.x", "HAPROXY_0_BACKEND_HTTP_OPTIONS": "http-response nonsense" });
    stage.put("/v2/apps/good", json!({ "labels": bad })).await;
    stage.post("/v2/apps", labelled("/later", "later.x", &[("BALANCE", "source")])).await;
    stage.served("later.x", "/", "/later").await;
    assert_eq!(
        header(&stage, "good.x", "/", "x-raw").await.as_deref(),
        Some("by label # 1"),
        "as it was good last"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_text_is_taken_by_haproxy_and_does_what_it_says() {
    let route = "acl host_{cleanedUpHostname} hdr_end(host) -i .{hostname}\nuse_backend {backend} if host_{cleanedUpHostname} {{ path_beg /in }}\n\
                 http-request deny deny_status 410 if {{ path /in/no }} or {{ path /in/never }}\n";
    let strip = "http-request replace-path ^{proxypath}(/.*)? /stripped\\1\n";
    let users = "userlist user_{backend}\n user {user} password {passwd}\n group admins\n";
    let network = "acl network_allowed hdr_ip(X-Real-Ip) {network_allowed}\n";
    let head = "backend {backend}\n balance url_param user\n mode {mode}\n timeout server 5m\n default-server maxconn 100\n";
    let server = "server {serverName} {host_ipv4}:{port}{cookieOptions}{healthCheckOptions}{otherOptions} maxconn 50\n";
    let frontend = "frontend {backend}\n bind {bindAddr}:{servicePort}{sslCert}{bindOptions} backlog 99\n mode {mode}\n\
                    http-response set-header X-Raw frontend\n";
    let glue = "use_backend {backend} if {{ path_beg /led }}\n";
    let redirect = "redirect scheme https code 308 if !{{ ssl_fc }} host_{cleanedUpHostname} !{{ path_beg /.well-known }}\n";
    let app_id = "acl mine req.hdr(X-Mine) {appId}\nuse_backend {backend} if mine\n";
    let mut stage = Stage::set().await;
    stage.config.labels.raw = RawLabels::Allow;
    let labels = |port: u16, host: &str, labels: &[(&str, &str)]| {
        let mut app = labelled(&format!("/{}", host.trim_end_matches(".x")), host, labels);
        app["portDefinitions"][0]["port"] = json!(port);
        app
    };
    stage
        .marathon
        .create_apps(vec![
            labels(0, "route.x", &[("HTTP_FRONTEND_ACL", route)]),
            labels(
                0,
                "strip.x",
                &[("HTTP_BACKEND_PROXYPASS_PATH", "/p"), ("HTTP_BACKEND_PROXYPASS_GLUE", strip)],
            ),
            labels(0, "users.x", &[("AUTH", LOGIN), ("USERLIST_HEAD", users)]),
            labels(
                0,
                "network.x",
                &[
                    ("BACKEND_NETWORK_ALLOWED_ACL", "10.9.0.0/16"),
                    ("HTTP_BACKEND_NETWORK_ALLOWED_ACL", network),
                ],
            ),
            labels(0, "head.x", &[("BACKEND_HEAD", head), ("BACKEND_SERVER_OPTIONS", server)]),
            labels(10_020, "frontend.x", &[("FRONTEND_HEAD", frontend)]),
            labels(10_021, "glue.x", &[("FRONTEND_BACKEND_GLUE", glue)]),
            labels(
                0,
                "redirect.x",
                &[("REDIRECT_TO_HTTPS", "t"), ("BACKEND_REDIRECT_HTTP_TO_HTTPS", redirect)],
            ),
            labels(0, "appid.x", &[("HTTP_FRONTEND_APPID_ACL", app_id)]),
            labels(
                0,
                "sticky.x",
                &[("STICKY", "t"), ("BACKEND_STICKY_OPTIONS", "cookie OWN insert indirect nocache\n")],
            ),
        ])
        .await
        .unwrap();
    stage.bridge();
    stage.served("www.route.x", "/in/side", "/route").await;
    for (host, path, status) in [
        ("route.x", "/in", 404),
        ("www.route.x", "/out", 404),
        ("www.route.x", "/in/no", 410),
        ("www.route.x", "/in/never", 410),
        ("users.x", "/", 401),
        ("network.x", "/", 403),
        ("redirect.x", "/.well-known/x", 200),
    ] {
        assert_eq!(stage.get(host, path).await.unwrap().status, status, "{host}{path}: {}", stage.current());
    }
    let strip = stage.served("strip.x", "/p/x", "/strip").await;
    assert!(strip.body.contains("/stripped/x"), "{}", strip.body);
    let url = format!("http://{}:{HTTP}/", stage.host);
    let real = [("Host", "network.x"), ("X-Real-Ip", "10.9.1.1")];
    assert_eq!(stage.get_at(&url, &real).await.unwrap().status, 200);
    stage.served("head.x", "/", "/head").await;
    assert!(block(&stage, "h_head_0").contains(" maxconn 100 maxconn 50"), "{}", block(&stage, "h_head_0"));
    let port =
        async |port: u16, path: &str| stage.get_at(&format!("http://{}:{port}{path}", stage.host), &[]).await;
    assert_eq!(port(10_020, "/").await.unwrap().app, "/frontend");
    assert_eq!(port(10_021, "/led").await.unwrap().app, "/glue");
    assert_eq!(port(10_021, "/astray").await.unwrap().status, 503);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(&url).header("Host", "redirect.x").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 308);
    let by_id = format!("http://{}:{APP_ID}/", stage.host);
    assert_eq!(stage.get_at(&by_id, &[("X-Mine", "/appid")]).await.unwrap().app, "/appid");
    let cookie = header(&stage, "sticky.x", "/", "set-cookie").await.unwrap();
    assert!(cookie.starts_with("OWN="), "{cookie}");
    // Servers come and go as everywhere.
    stage.put("/v2/apps/head", json!({ "instances": 3 })).await;
    until("three servers of it", async || {
        let lines = block(&stage, "h_head_0");
        let serves = |line: &&str| line.contains("server slot") && !line.contains("disabled");
        (lines.lines().filter(serves).count() == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_templates_come_from_a_directory_and_the_environment() {
    let mut stage = Stage::set().await;
    let dir = stage.path("templates");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(
        dir.join("HAPROXY_HTTP_FRONTEND_HEAD"),
        "\nfrontend marathon_http_in\n  bind *:80\n  mode http\n  http-request return status 200 content-type text/plain string front if { path /front }\n",
    )
    .unwrap();
    std::fs::write(dir.join("HAPROXY_BACKEND_HTTP_OPTIONS"), "  http-response set-header X-Raw file\n")
        .unwrap();
    let text = format!("labels.templates_dir = {:?}", dir.display().to_string());
    let variables = [
        (
            "HAPROXY_BACKEND_HTTP_OPTIONS",
            "  http-response set-header X-Raw environment\\n  http-response set-header X-Two 2\\n",
        ),
        // Neither of these is for anybody: one HAProxy does not take, the other is no template of its name.
        ("HAPROXY_BACKEND_HEAD", "backend {backend}\\n  http-request nonsense\\n"),
        ("HAPROXY_HTTP_FRONTEND_ACL", "  use_backend {nobody} if {{ path / }}\\n"),
        ("HAPROXY_HEAD", "global\\n  tune.bufsize 32768\\ndefaults\\n  timeout queue 7s\\n"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let labels = causeway::config::Config::from_text(&text, variables).unwrap().labels;
    stage.config.labels = labels;
    let own = [("BACKEND_HTTP_OPTIONS", "http-response set-header X-Raw label")];
    stage
        .marathon
        .create_apps(vec![vhost("/a", 1, "a.x"), labelled("/denied", "denied.x", &own)])
        .await
        .unwrap();
    stage.bridge();
    stage.served("a.x", "/", "/a").await;
    stage.served("denied.x", "/", "/denied").await;
    for host in ["a.x", "denied.x"] {
        assert_eq!(header(&stage, host, "/", "x-raw").await.as_deref(), Some("environment"));
        assert_eq!(header(&stage, host, "/", "x-two").await.as_deref(), Some("2"));
    }
    assert_eq!(stage.get("any.x", "/front").await.unwrap().body, "front");
    let config = stage.current();
    assert!(
        config.contains("    tune.bufsize 32768\n") && config.contains("    timeout queue 7s\n"),
        "{config}"
    );
    // A new app is live too, on a backend of its own.
    stage.post("/v2/apps", vhost("/new", 1, "new.x")).await;
    until("the new app", async || header(&stage, "new.x", "/", "x-raw").await).await;
}
