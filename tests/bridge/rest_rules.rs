//! Rules through the API: put there, they are served; whoever saw another version changes nothing.

use causeway::config::WebAuth;
use causeway::web::Role;
use causeway::web::doors::users::UsersFile;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::stage::{Stage, app, until, vhost};

/// A stage whose API anybody may use, with a plain app and one that has a host by its label.
pub(crate) async fn open_stage() -> Stage {
    let mut stage = Stage::set().await;
    stage.config.web.auth = WebAuth::None;
    let apps = vec![app("/plain", 1, 10_001, json!({})), vhost("/web", 1, "web.example.com")];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage
}

pub(crate) fn asking(stage: &Stage, method: Method, path: &str) -> RequestBuilder {
    stage.client.request(method, format!("http://{}{path}", stage.web.unwrap()))
}

pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) etag: String,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

pub(crate) async fn told(request: RequestBuilder) -> Told {
    let response = request.send().await.unwrap();
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (status, etag, kind) = (response.status().as_u16(), header("etag"), header("content-type"));
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Told { status, etag, kind, body }
}

fn host_rule(host: &str) -> Value {
    json!({ "routes": [{ "host": host }], "why": "moved" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_put_through_the_api_is_served_and_one_taken_away_is_not() {
    let stage = open_stage().await;
    let put = asking(&stage, Method::PUT, "/api/v2/rules/plain").header("If-None-Match", "*");
    let created = told(put.json(&host_rule("plain.example.com"))).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!((&created.body["app"], &created.body["changed"]["why"]), (&json!("/plain"), &json!("moved")));
    stage.served("plain.example.com", "/", "/plain").await;

    // Every way to write the id is the same rule.
    for path in ["/api/v2/rules/plain", "/api/v2/rules//plain", "/api/v2/rules/%2Fplain"] {
        let read = told(asking(&stage, Method::GET, path)).await;
        assert_eq!((read.status, &read.etag, &read.body), (200, &created.etag, &created.body), "{path}");
    }
    let same = asking(&stage, Method::GET, "/api/v2/rules/plain").header("If-None-Match", &created.etag);
    assert_eq!(told(same).await.status, 304);
    let list = told(asking(&stage, Method::GET, "/api/v2/rules")).await;
    assert_eq!(list.body, json!({ "rules": [created.body], "problems": [] }));

    // What is shown can be given back; a patch changes what it names.
    let patch = asking(&stage, Method::PATCH, "/api/v2/rules/plain").header("If-Match", &created.etag);
    let patched =
        told(patch.json(
            &json!({ "routes": [{ "host": "moved.example.com", "path": "/x" }], "config": { "k": "v" } }),
        ))
        .await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    stage.served("moved.example.com", "/x/y", "/plain").await;
    stage.answers("plain.example.com", "/", 404).await;
    let put = asking(&stage, Method::PUT, "/api/v2/rules/plain").header("If-Match", &patched.etag);
    let again = told(put.json(&patched.body)).await;
    assert_eq!((again.status, &again.body["config"]), (200, &json!({ "k": "v" })));

    let delete = asking(&stage, Method::DELETE, "/api/v2/rules/plain").header("If-Match", &again.etag);
    assert_eq!(told(delete).await.status, 204);
    stage.answers("moved.example.com", "/x", 404).await;
    assert_eq!(told(asking(&stage, Method::GET, "/api/v2/rules/plain")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_editors_the_second_is_told_what_the_first_wrote() {
    let stage = open_stage().await;
    let post = |host: &str| {
        let mut rule = host_rule(host);
        rule["app"] = json!("/plain");
        asking(&stage, Method::POST, "/api/v2/rules").json(&rule)
    };
    let created = told(post("one.example.com")).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let twice = told(post("two.example.com")).await;
    assert_eq!((twice.status, &twice.body["current"]), (409, &created.body));
    assert_eq!(twice.kind, "application/problem+json");

    let put = |condition: Option<(&str, &str)>, host: &str| {
        let request = asking(&stage, Method::PUT, "/api/v2/rules/plain").json(&host_rule(host));
        condition.map(|(name, value)| request.try_clone().unwrap().header(name, value)).unwrap_or(request)
    };
    let first = told(put(Some(("If-Match", &created.etag)), "first.example.com")).await;
    assert_eq!(first.status, 200);
    let second = told(put(Some(("If-Match", &created.etag)), "second.example.com")).await;
    assert_eq!((second.status, &second.body["current"]), (412, &first.body));
    assert_eq!(told(put(Some(("If-None-Match", "*")), "x.example.com")).await.status, 412);
    assert_eq!(told(put(None, "x.example.com")).await.status, 428);
    assert_eq!(told(asking(&stage, Method::DELETE, "/api/v2/rules/plain")).await.status, 428);
    let stale = asking(&stage, Method::DELETE, "/api/v2/rules/plain").header("If-Match", &created.etag);
    assert_eq!(told(stale).await.status, 412);
    let patch = asking(&stage, Method::PATCH, "/api/v2/rules/plain").json(&json!({ "enabled": false }));
    assert_eq!(told(patch.try_clone().unwrap()).await.status, 428);
    assert_eq!(told(patch.header("If-Match", &created.etag)).await.status, 412);
    assert_eq!(told(put(Some(("If-Match", "*")), "any.example.com")).await.status, 200);
    let none = asking(&stage, Method::PUT, "/api/v2/rules/other").header("If-Match", "*");
    assert_eq!(told(none.json(&host_rule("x.example.com"))).await.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_come_and_changes_nothing() {
    let stage = open_stage().await;
    let foresee =
        async |rule: Value| told(asking(&stage, Method::POST, "/api/v2/rules?dry_run").json(&rule)).await;
    // A host more for an app that is served over HTTP is an entry of a map.
    let host = foresee(json!({ "app": "/web", "routes": [{ "host": "more.example.com" }] })).await;
    assert_eq!((host.status, &host.body["how"]), (200, &json!("runtime")), "{}", host.body);
    assert_eq!(host.body["steps"], json!(["add map maps/hosts.map more.example.com h_web_0"]));
    assert_eq!(host.body["haproxy"], json!({ "verdict": "not_needed" }));
    assert!(host.body["diff"].as_str().unwrap().contains("+more.example.com h_web_0"), "{}", host.body);

    let acl = foresee(json!({ "app": "/web", "routes": [{ "acl": "hdr_sub(user-agent) -i curl" }] })).await;
    assert_eq!(
        (&acl.body["how"], &acl.body["haproxy"]),
        (&json!("reload"), &json!({ "verdict": "accepted" }))
    );
    assert!(acl.body["diff"].as_str().unwrap().contains("hdr_sub(user-agent) -i curl"), "{}", acl.body);

    let nothing =
        foresee(json!({ "app": "/web", "enabled": false, "routes": [{ "host": "x.example.com" }] })).await;
    assert_eq!(nothing.body["how"], "nothing");
    let nobody = foresee(json!({ "rules": [
        { "app": "/nobody", "routes": [{ "host": "x.example.com" }] },
        { "app": "/web", "routes": [{ "host": "y.example.com", "port": 7 }] },
    ] }))
    .await;
    let problems = nobody.body["problems"].to_string();
    assert!(problems.contains("no such app") && problems.contains("port index 7"), "{problems}");
    assert_eq!(told(asking(&stage, Method::GET, "/api/v2/rules")).await.body["rules"], json!([]));
    assert_eq!(stage.get("more.example.com", "/").await.unwrap().status, 404);
    assert!(!stage.path("rules.toml").exists());
    let left = std::fs::read_dir(&stage.config.haproxy.state_dir).unwrap().flatten();
    assert!(!left.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("aside-")));

    let put = asking(&stage, Method::PUT, "/api/v2/rules/web").header("If-None-Match", "*");
    let created = told(put.json(&host_rule("more.example.com"))).await;
    stage.served("more.example.com", "/", "/web").await;
    let removal =
        asking(&stage, Method::DELETE, "/api/v2/rules/web?dry_run=true").header("If-Match", created.etag);
    assert_eq!(told(removal).await.body["steps"], json!(["del map maps/hosts.map more.example.com"]));
    stage.served("more.example.com", "/", "/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sound_is_refused_with_everything_that_is_wrong_and_nothing_is_stored() {
    let stage = open_stage().await;
    let put = async |path: &str, body: Value| {
        let request = asking(&stage, Method::PUT, path).header("If-None-Match", "*");
        told(request.json(&body)).await
    };
    let refused = put(
        "/api/v2/rules/plain",
        json!({
            "config": { "bad key": "x", "timeout": "5s\nserver evil 10.0.0.1:80" },
            "routes": [{ "host": "b_d!" }, { "path": "no-slash" }, {}],
        }),
    )
    .await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body["mistakes"].as_array().unwrap().len(), 5, "{}", refused.body);
    // Free text: what reaches outside of the request, and what could end a line.
    for acl in [
        "src -f /etc/shadow",
        "path -M -f x",
        "src \"$SECRET\"",
        "env(HOME) x",
        "str(x),map_beg(/etc/passwd) y",
        "path /a\n    use_backend evil",
        "path /a\r",
        "path \u{0}",
        "path /a\\nuse_backend",
        "lua.evil x",
        "path '",
        &format!("path {}", "x ".repeat(61)),
        "hdr_sub(user-agent) x && path /y",
    ] {
        let refused = put("/api/v2/rules/plain", json!({ "routes": [{ "acl": acl }] })).await;
        assert_eq!(refused.status, 422, "{acl:?}: {}", refused.body);
    }
    // Ids that are none, in every form that a path can have.
    for path in [
        "/api/v2/rules/a%2F..%2Fb",
        "/api/v2/rules/a%00b",
        "/api/v2/rules/a%0Ab",
        "/api/v2/rules/%252Fplain",
        "/api/v2/rules/a%20b",
        "/api/v2/rules/plain/",
        "/api/v2/rules/a//b",
    ] {
        let refused = put(path, host_rule("x.example.com")).await;
        assert_eq!(refused.status, 422, "{path}: {}", refused.body);
        assert_eq!(told(asking(&stage, Method::GET, path)).await.status, 404, "{path}");
    }
    assert_eq!(told(asking(&stage, Method::GET, "/api/v2/rules/%ff")).await.status, 400);
    let other = put("/api/v2/rules/plain", json!({ "app": "/web", "routes": [] })).await;
    assert!(other.body["detail"].as_str().unwrap().contains("the body says /web"), "{}", other.body);
    assert_eq!(put("/api/v2/rules/plain", json!({ "rotues": [] })).await.status, 422);
    assert_eq!(put("/api/v2/rules/plain", json!([])).await.status, 422);
    let broken = asking(&stage, Method::PUT, "/api/v2/rules/plain").header("If-None-Match", "*").body("{");
    assert_eq!(told(broken).await.status, 400);
    let large = asking(&stage, Method::POST, "/api/v2/rules").body("x".repeat(10 * 1024 * 1024)).send().await;
    assert!(large.map_or(true, |answer| answer.status() == StatusCode::PAYLOAD_TOO_LARGE));
    assert_eq!(told(asking(&stage, Method::GET, "/api/v2/rules")).await.body["rules"], json!([]));
    // What joins forms that we understand is typed.
    let joined = json!({ "routes": [{ "acl": "hdr(host) -i plain.example.com && path_beg /y" }] });
    let stored = put("/api/v2/rules/plain", joined).await;
    assert_eq!(
        stored.body["routes"],
        json!([{ "host": "plain.example.com", "path": "/y" }]),
        "{}",
        stored.body
    );
    stage.served("plain.example.com", "/y/z", "/plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_or_written_is_503_and_says_so() {
    let stage = open_stage().await;
    std::fs::write(stage.path("rules.toml"), "[[rule\n").unwrap();
    let put = asking(&stage, Method::PUT, "/api/v2/rules/plain").header("If-None-Match", "*");
    let refused = told(put.json(&host_rule("x.example.com"))).await;
    assert_eq!(refused.status, 503);
    assert!(refused.body["detail"].as_str().unwrap().contains("not TOML"), "{}", refused.body);
    assert_eq!(std::fs::read_to_string(stage.path("rules.toml")).unwrap(), "[[rule\n");
}

/// Bamboo's client calls, as curl makes them.
#[tokio::test(flavor = "multi_thread")]
async fn bamboos_calls_mean_what_they_mean_to_bamboo() {
    let stage = open_stage().await;
    let call = async |method: Method, path: &str, body: &str| {
        // As curl does: no type for what it sends, but the one of forms.
        let request = asking(&stage, method, path).body(body.to_owned());
        told(request.header("Content-Type", "application/x-www-form-urlencoded")).await
    };
    assert_eq!(call(Method::GET, "/api/services", "").await.body, json!({}));
    let record = r#"{"id":"plain","acl":"hdr(host) -i plain.example.com"}"#;
    let echo = call(Method::POST, "/api/services", record).await;
    assert_eq!(echo.status, 200);
    assert_eq!(echo.kind, "application/json");
    assert_eq!(echo.body, json!({ "Id": "/plain", "Acl": "hdr(host) -i plain.example.com", "Config": null }));
    stage.served("plain.example.com", "/", "/plain").await;
    let listed = call(Method::GET, "/api/services/", "").await.body;
    assert_eq!(listed["/plain"]["Acl"], "hdr(host) -i plain.example.com");
    assert_eq!(listed["/plain"]["Config"]["Acl"], "hdr(host) -i plain.example.com");

    // POST and PUT create and replace; the id of the body counts, in whatever form the path has it.
    for (path, host) in [
        ("/api/services//plain", "a.example.com"),
        ("/api/services/plain", "b.example.com"),
        ("/api/services/%2Fplain", "c.example.com"),
        ("/api/services/somebody/else", "d.example.com"),
    ] {
        let body = json!({ "ID": "/plain", "Config": { "Acl": format!("hdr(host) -i {host}"), "k": "v" } });
        let echo = call(Method::PUT, path, &body.to_string()).await;
        assert_eq!((echo.status, &echo.body["Acl"]), (200, &json!("")), "{path}");
        stage.served(host, "/", "/plain").await;
    }
    let record = call(Method::GET, "/api/services", "").await.body["/plain"].clone();
    assert_eq!((&record["Acl"], &record["Config"]["k"]), (&json!("hdr(host) -i d.example.com"), &json!("v")));
    assert_eq!(call(Method::GET, "/api/services", "").await.body.as_object().unwrap().len(), 1);
    // acl outweighs config.Acl; an empty one is a rule that leads nowhere.
    let both = r#"{"id":"/plain","acl":"path_beg /both","config":{"Acl":"path_beg /other"}}"#;
    call(Method::POST, "/api/services/", both).await;
    stage.served("any.example.com", "/both", "/plain").await;
    assert_eq!(call(Method::POST, "/api/services", r#"{"id":"/plain"}"#).await.status, 200);
    stage.answers("any.example.com", "/both", 404).await;

    call(Method::POST, "/api/services", r#"{"id":"/grp/app"}"#).await;
    for (path, found) in [("//plain", true), ("/plain", false), ("/%2Fgrp%2Fapp", true), ("/grp/app", false)]
    {
        let removed = call(Method::DELETE, &format!("/api/services{path}"), "").await;
        let expected = if found {
            (200, "application/json", json!(null))
        } else {
            (404, "text/plain; charset=utf-8", json!("zk: node does not exist\n"))
        };
        assert_eq!((removed.status, &*removed.kind, removed.body), expected, "{path}");
    }
    // A slash at the end is another id, as in Bamboo.
    assert_eq!(call(Method::DELETE, "/api/services//plain/", "").await.status, 404);

    // Its words for what it refuses, with the right status.
    for (method, path, body, status, words) in [
        (Method::POST, "/api/services", "{", 400, "Unable to decode JSON request\n"),
        (
            Method::POST,
            "/api/services",
            r#"{"id":"/x","config":{"Acl":1}}"#,
            400,
            "Unable to decode JSON request\n",
        ),
        (Method::POST, "/api/services", r#"{"acl":"path /x"}"#, 400, "can not use empty ID\n"),
        (Method::DELETE, "/api/services/", "", 400, "can not use empty ID\n"),
        (Method::GET, "/api/services/plain", "", 404, "404 page not found\n"),
        (Method::PATCH, "/api/services", "", 404, "404 page not found\n"),
        (Method::GET, "/api/marathon/event_callback", "", 404, "404 page not found\n"),
    ] {
        let refused = call(method.clone(), path, body).await;
        assert_eq!((refused.status, refused.body), (status, json!(words)), "{method} {path} {body}");
        assert_eq!(refused.kind, "text/plain; charset=utf-8");
    }
    for acl in ["src -f /etc/shadow", "path /a\nuse_backend x", "path /a\r", "path \u{0}"] {
        let body = json!({ "id": "/x", "acl": acl }).to_string();
        assert_eq!(call(Method::POST, "/api/services", &body).await.status, 422, "{acl:?}");
    }
    for id in ["/a/../b", "/a b", "/a\nb", "/a%2Fb"] {
        let body = json!({ "id": id, "acl": "path /x" }).to_string();
        assert_eq!(call(Method::PUT, "/api/services/x", &body).await.status, 422, "{id:?}");
    }
    assert_eq!(call(Method::GET, "/api/services", "").await.body, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_a_nudge_whatever_it_says() {
    let stage = open_stage().await;
    // Nobody tells of it by an event.
    stage.marathon.create_apps(vec![vhost("/silent", 1, "silent.example.com")]).await.unwrap();
    let call = asking(&stage, Method::POST, "/api/marathon/event_callback").body("no event at all");
    let answer = told(call).await;
    assert_eq!((answer.status, answer.body), (200, json!("Got it!")));
    stage.served("silent.example.com", "/", "/silent").await;
    until("it to be counted", async || {
        let metrics = told(asking(&stage, Method::GET, "/metrics")).await.body;
        metrics.as_str()?.contains(r#"causeway_marathon_events_total{type="callback"} 1"#).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bamboos_state_has_its_field_names_and_only_the_variables_that_are_named() {
    let mut stage = Stage::set().await;
    stage.config.web.auth = WebAuth::None;
    stage.config.api.state_env = ["TIER", "DB_PASSWORD"].map(str::to_owned).to_vec();
    let mut grouped = vhost("/grp/app", 2, "grp.example.com");
    grouped["env"] = json!({ "TIER": "gold & <dear>", "DB_PASSWORD": "geheim", "OTHER": "unseen" });
    grouped["healthChecks"] =
        json!([{ "protocol": "HTTP", "path": "/ping", "portIndex": 0, "intervalSeconds": 1 }]);
    stage.marathon.create_apps(vec![grouped]).await.unwrap();
    stage.bridge();
    stage.served("grp.example.com", "/", "/grp/app").await;
    let post = asking(&stage, Method::POST, "/api/services").body(r#"{"id":"/grp/app","acl":"path_beg /g"}"#);
    assert_eq!(told(post).await.status, 200);
    let response = asking(&stage, Method::GET, "/api/state").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(!text.contains("geheim") && !text.contains("unseen"), "{text}");
    assert!(text.contains(r"gold \u0026 \u003cdear\u003e"), "{text}");
    let state: Value = serde_json::from_str(&text).unwrap();
    let app = &state["Apps"][0];
    for (field, value) in [
        ("Id", json!("/grp/app")),
        ("MesosDnsId", json!("app-grp")),
        ("EscapedId", json!("::grp::app")),
        ("HealthCheckPath", json!("/ping")),
        ("HealthCheckProtocol", json!("HTTP")),
        ("HealthChecks", json!([{ "Protocol": "HTTP", "Path": "/ping", "PortIndex": 0 }])),
        ("ReadinessCheckPath", json!("")),
        ("Env", json!({ "TIER": "gold & <dear>", "DB_PASSWORD": "***" })),
        ("SplitId", json!(["", "grp", "app"])),
        ("ipAddress", json!({ "discovery": { "ports": null } })),
    ] {
        assert_eq!(app[field], value, "{field}");
    }
    assert_eq!(app["Labels"]["HAPROXY_0_VHOST"], "grp.example.com");
    assert_eq!(
        (app["Tasks"].as_array().unwrap().len(), &app["Tasks"][0]["State"]),
        (2, &json!("TASK_RUNNING"))
    );
    assert!(app["Tasks"][0]["Port"].as_u64().unwrap() > 0 && app["Tasks"][0]["Ready"] == true);
    assert_eq!(state["Services"]["/grp/app"]["Acl"], "path_beg /g");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_writes_what_is_its_own() {
    let mut stage = Stage::set().await;
    let users = UsersFile::new(&stage.config.users_file());
    std::fs::create_dir_all(&stage.config.haproxy.state_dir).unwrap();
    let token = |name: &str, role: Role| users.add_token(name, &role, None).unwrap();
    let editor = token("ada", Role::Editor { prefixes: vec!["/team-a/**".to_owned()] });
    let (viewer, admin) = (token("vera", Role::Viewer), token("root", Role::Admin));
    for (apps, hosts) in [("/team-a/**", "*.a.example.com"), ("/team-b/**", "**")] {
        stage.config.policy.vhosts.insert(apps.to_owned(), vec![hosts.to_owned()]);
    }
    let apps = vec![vhost("/team-a/web", 1, "www.a.example.com"), vhost("/team-b/web", 1, "b.example.com")];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("b.example.com", "/", "/team-b/web").await;
    let put = async |token: Option<&str>, app: &str, rule: Value| {
        let request =
            asking(&stage, Method::PUT, &format!("/api/v2/rules{app}")).header("If-None-Match", "*");
        let request = token.into_iter().fold(request, RequestBuilder::bearer_auth);
        told(request.json(&rule)).await
    };
    let rule = |host: &str| json!({ "routes": [{ "host": host }], "why": "new name" });
    for (token, app, rule, status) in [
        (None, "/team-a/web", rule("x.a.example.com"), 401),
        (Some(&*viewer), "/team-a/web", rule("x.a.example.com"), 403),
        (Some(&*editor), "/team-b/web", rule("x.a.example.com"), 403),
        (Some(&*editor), "/team-ab/web", rule("x.a.example.com"), 403),
        (Some(&*editor), "/team-a/web", rule("b.example.com"), 403),
        (Some(&*editor), "/team-a/**", json!({ "config": { "k": "v" } }), 403),
        (Some(&*editor), "/team-a/web", json!({ "routes": [{ "acl": "hdr_sub(user-agent) -i curl" }] }), 403),
        (
            Some(&*editor),
            "/team-a/web",
            json!({ "order": 1, "routes": [{ "host": "x.a.example.com" }] }),
            403,
        ),
        (Some(&*editor), "/team-a/web", rule("x.a.example.com"), 201),
        (Some(&*admin), "/team-a/**", json!({ "config": { "k": "v" } }), 201),
        (Some(&*admin), "/team-b/web", json!({ "routes": [{ "acl": "no_such_fetch(x) y" }] }), 422),
    ] {
        let answer = put(token, app, rule.clone()).await;
        assert_eq!(answer.status, status, "{app} {rule}: {}", answer.body);
        if status == 422 {
            let words = &answer.body["haproxy"][0];
            assert!(words["words"].as_str().unwrap().contains("no_such_fetch"), "{}", answer.body);
            assert_eq!(words["column"], 1, "{}", answer.body);
        }
    }
    stage.served("x.a.example.com", "/", "/team-a/web").await;
    let read = asking(&stage, Method::GET, "/api/v2/rules/team-a/web");
    let read = told(read).await;
    assert_eq!(read.body["changed"]["by"], "token:ada");
    // Bamboo's calls are judged alike.
    let bamboo = asking(&stage, Method::POST, "/api/services").bearer_auth(&editor);
    let bamboo = told(bamboo.body(r#"{"id":"/team-a/web","acl":"hdr_sub(user-agent) -i curl"}"#)).await;
    assert_eq!(bamboo.status, 403, "{}", bamboo.body);
    // What an admin said in it is not an editor's to take away, by either way; the admin takes it away.
    let admins = json!({ "order": 5, "routes": [{ "host": "x.a.example.com" }] });
    let path = "/api/v2/rules/team-a/web";
    let ordered = asking(&stage, Method::PUT, path).header("If-Match", "*").bearer_auth(&admin).json(&admins);
    assert_eq!(told(ordered).await.status, 200);
    for path in [path, "/api/services/team-a/web"] {
        let taken = asking(&stage, Method::DELETE, path).header("If-Match", "*").bearer_auth(&editor);
        let taken = told(taken).await;
        assert_eq!(taken.status, 403, "{path}: {}", taken.body);
    }
    let taken = asking(&stage, Method::DELETE, path).header("If-Match", "*").bearer_auth(&admin);
    assert_eq!(told(taken).await.status, 204);
    let tried = json!({ "routes": [{ "host": "tried.a.example.com" }], "why": "only tried" });
    let tried_by = asking(&stage, Method::PUT, &format!("{path}?dry_run")).header("If-None-Match", "*");
    assert_eq!(told(tried_by.bearer_auth(&editor).json(&tried)).await.status, 200);
    let log = std::fs::read_to_string(stage.config.haproxy.state_dir.join("audit.log")).unwrap();
    assert!(log.contains("new name") && log.contains("/team-a/web"), "{log}");
    assert!(!log.contains("only tried"), "{log}");
}
