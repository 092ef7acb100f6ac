//! Raw text of marathon-lb's templates, on the real HAProxy.

use causeway::config::RawLabels;
use serde_json::{Value, json};

use crate::asked::listen_for_tls;
use crate::stage::{HTTP, HTTPS, Stage, app, until, vhost};

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
async fn servers_with_words_of_raw_text_come_and_go_as_everywhere() {
    let head = "backend {backend}\n balance url_param user\n mode {mode}\n timeout server 5m\n default-server maxconn 100\n";
    let server = "server {serverName} {host_ipv4}:{port}{cookieOptions}{healthCheckOptions}{otherOptions} maxconn 50\n";
    let labels = [("BACKEND_HEAD", head), ("BACKEND_SERVER_OPTIONS", server)];
    let stage = stage(RawLabels::Allow, vec![labelled("/head", "head.x", &labels)]).await;
    stage.served("head.x", "/", "/head").await;
    assert!(block(&stage, "h_head_0").contains(" maxconn 100 maxconn 50"), "{}", block(&stage, "h_head_0"));
    stage.put("/v2/apps/head", json!({ "instances": 3 })).await;
    until("three servers of it", async || {
        let lines = block(&stage, "h_head_0");
        let serves = |line: &&str| line.contains("server slot") && !line.contains("disabled");
        (lines.lines().filter(serves).count() == 3).then_some(())
    })
    .await;
    stage.tasks("head.x", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_knows_the_routes_of_raw_text_on_either_frontend() {
    let mut stage = Stage::set().await;
    listen_for_tls(&mut stage);
    stage.config.labels.raw = RawLabels::Allow;
    let tls = "use_backend {backend} if {{ ssl_fc_sni {hostname} }} {{ path_beg /tls }}\n";
    let clear = "acl own hdr(host) -i {hostname}\nuse_backend {backend} if own {{ path_beg /clear }}\n";
    let labels = [("HTTP_FRONTEND_ACL", clear), ("HTTPS_FRONTEND_ACL", tls)];
    stage.marathon.create_apps(vec![labelled("/a", "a.x", &labels)]).await.unwrap();
    stage.bridge();
    stage.served("a.x", "/clear", "/a").await;
    for (url, status) in [
        (format!("http://a.x:{HTTP}/clear"), 200),
        (format!("http://a.x:{HTTP}/tls"), 404),
        (format!("https://a.x:{HTTPS}/tls"), 200),
        (format!("https://a.x:{HTTPS}/clear"), 404),
    ] {
        let said = until("what runs to be known", async || {
            stage.api(&format!("/why?url={url}")).await.filter(|said| said["status"] != json!(503))
        })
        .await;
        let service = said["result"]["app"].as_str();
        assert_eq!(service, (status == 200).then_some("/a"), "{url}: {said}");
    }
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
        (
            "HAPROXY_HTTPS_FRONTEND_HEAD",
            "frontend x\\n  bind *:443 ssl {sslCerts} maxconn 77\\n  http-request return status 200 content-type text/plain string tls if {{ path /front }}\\n",
        ),
        ("HAPROXY_HEAD", "global\\n  tune.bufsize 32768\\ndefaults\\n  timeout queue 7s\\n"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let labels = causeway::config::Config::from_text(&text, variables).unwrap().labels;
    stage.config.labels = labels;
    listen_for_tls(&mut stage);
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
    let tls = format!("https://{}:{HTTPS}/front", stage.host);
    assert_eq!(stage.get_at(&tls, &[]).await.unwrap().body, "tls");
    let config = stage.current();
    assert!(
        config.contains("    tune.bufsize 32768\n")
            && config.contains(" alpn h2,http/1.1 maxconn 77\n")
            && config.contains("    timeout queue 7s\n"),
        "{config}"
    );
    // A new app is live too, on a backend of its own.
    stage.post("/v2/apps", vhost("/new", 1, "new.x")).await;
    until("the new app", async || header(&stage, "new.x", "/", "x-raw").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_for_all_that_haproxy_does_not_take_is_left_out_and_haproxy_starts() {
    let mut stage = Stage::set().await;
    let dir = stage.path("templates");
    std::fs::create_dir(&dir).unwrap();
    let head = "global\n  tune.bufsize 32768\n\n  tune.nonsense 5\ndefaults\n  timeout queue 7s\n";
    std::fs::write(dir.join("HAPROXY_HEAD"), head).unwrap();
    let text = format!("labels.templates_dir = {:?}", dir.display().to_string());
    let variables = [
        ("HAPROXY_HTTP_FRONTEND_HEAD", "frontend x\\n  bind *:80\\n  http-request nonsense\\n"),
        (
            "HAPROXY_HTTPS_FRONTEND_HEAD",
            "frontend x\\n  bind *:443 ssl {sslCerts}\\n  http-request return status 200 content-type text/plain string tls if {{ path /front }}\\n",
        ),
        ("HAPROXY_HTTP_FRONTEND_APPID_HEAD", ".if 0\\n"),
        ("HAPROXY_GLOBAL_DEFAULT_OPTIONS", "no-such-option"),
        ("HAPROXY_BACKEND_HEAD", "backend {backend}\\n  http-request nonsense\\n"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    stage.config.labels = causeway::config::Config::from_text(&text, variables).unwrap().labels;
    listen_for_tls(&mut stage);
    stage.marathon.create_apps(vec![vhost("/a", 1, "a.x")]).await.unwrap();
    stage.bridge();
    stage.served("a.x", "/", "/a").await;
    let tls = format!("https://{}:{HTTPS}/front", stage.host);
    assert_eq!(stage.get_at(&tls, &[]).await.unwrap().body, "tls", "the others are used");
    let config = stage.current();
    assert!(
        !config.contains("nonsense") && !config.contains("bufsize") && !config.contains("no-such"),
        "{config}"
    );
    let problems = stage.api("/problems").await.unwrap();
    let problems = problems["problems"].as_array().unwrap();
    let file = format!(
        "template HAPROXY_HEAD ({}): HAProxy does not take it: line 4: ",
        dir.join("HAPROXY_HEAD").display()
    );
    for (start, words) in [
        (file.as_str(), "unknown keyword 'tune.nonsense'"),
        ("template HAPROXY_HTTP_FRONTEND_HEAD: HAProxy does not take it: line 3: ", "nonsense"),
        ("template HAPROXY_HTTP_FRONTEND_APPID_HEAD: line 1 ", "dot"),
        ("template HAPROXY_GLOBAL_DEFAULT_OPTIONS: HAProxy does not take it: ", "no-such-option"),
        ("template HAPROXY_BACKEND_HEAD: HAProxy does not take it: ", "nonsense"),
    ] {
        let is_told = problems.iter().any(|problem| {
            let message = problem["message"].as_str().unwrap();
            message.starts_with(start) && message.contains(words) && problem["app"] == json!(null)
        });
        assert!(is_told, "{start}: {problems:?}");
    }
    assert_eq!(problems.len(), 5, "{problems:?}");
}
