//! What people order through `/api/v2`: servers set by hand, and the way back to an earlier generation.

use causeway::config::WebAuth;
use serde_json::{Value, json};

use crate::stage::{Stage, app, until, vhost};

impl Stage {
    /// A stage on which everybody may do everything, with these apps.
    async fn open_to_all(apps: Vec<Value>) -> Self {
        let mut stage = Self::set().await;
        stage.config.web.auth = WebAuth::None;
        stage.marathon.create_apps(apps).await.unwrap();
        stage.bridge();
        stage
    }

    pub(crate) async fn order(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}/api/v2{path}", self.web.expect("a bridge is started"));
        let answer = self.client.request(method, url).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    pub(crate) async fn post_api(&self, path: &str, body: Value) -> (u16, Value) {
        self.order(reqwest::Method::POST, path, body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_drained_by_hand_stays_so_over_a_reload_until_it_is_taken_back() {
    let stage = Stage::open_to_all(vec![vhost("/shop/web", 2, "web.example.com")]).await;
    let tasks = stage.tasks("web.example.com", 2).await;
    let task = tasks.first().unwrap();
    let path = format!("/services/shop/web/servers/{task}");
    let (status, answer) = stage.post_api(&path, json!({ "state": "drain", "why": "disk" })).await;
    assert_eq!((status, &answer["port_index"]), (200, &json!(0)), "{answer}");
    // As soon as it is answered, nothing reaches it.
    for _ in 0..8 {
        assert_ne!(stage.get("web.example.com", "/").await.unwrap().task, *task);
    }
    let by_hand = |detail: &Value| {
        let servers = detail["servers"].as_array().unwrap().clone();
        servers.into_iter().find(|server| server["task"] == json!(task)).unwrap()["by_hand"].clone()
    };
    let detail = stage.api("/services/%2Fshop%2Fweb").await.unwrap();
    assert_eq!((&by_hand(&detail)["state"], &by_hand(&detail)["why"]), (&json!("drain"), &json!("disk")));
    let change = &stage.api("/changes").await.unwrap()["changes"][0];
    assert_eq!((&change["how"], &change["task"]), (&json!("server"), &json!(task)));

    // A frontend of its own is a reload.
    let generation = stage.info().await.unwrap().generation;
    stage
        .marathon
        .create_apps(vec![app("/other", 1, 9_500, json!({ "HAPROXY_0_MODE": "tcp" }))])
        .await
        .unwrap();
    stage.announce(&["/other"]).await;
    until("a reload", async || stage.info().await.filter(|info| info.generation != generation)).await;
    let detail = stage.until_api("/services/shop/web", "/servers/0/state", json!("serving")).await;
    assert_eq!(by_hand(&detail)["state"], json!("drain"));
    until("the drain to be kept", async || {
        let seen = stage.get("web.example.com", "/").await?;
        (seen.status == 200 && seen.task != *task).then_some(())
    })
    .await;

    let (status, _) = stage.post_api(&path, json!({ "state": "ready", "why": "mended" })).await;
    assert_eq!(status, 200);
    assert_eq!(stage.tasks("web.example.com", 2).await, tasks);
    for (body, expected) in [
        (json!({ "state": "drain" }), 422),
        (json!({ "state": "drain", "why": "a\nb" }), 422),
        (json!({ "state": "away", "why": "x" }), 422),
        (json!({ "state": "ready", "why": "x", "weight": 257 }), 422),
    ] {
        assert_eq!(stage.post_api(&path, body.clone()).await.0, expected, "{body}");
    }
    // Rules are in a file: there is no other node.
    let everywhere = json!({ "state": "drain", "why": "x", "scope": "fleet" });
    let (status, answer) = stage.post_api(&path, everywhere).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("only this node"), "{answer}");
    assert_eq!(stage.tasks("web.example.com", 2).await, tasks);
    let (status, _) =
        stage.post_api("/services/shop/web/servers/nobody", json!({ "state": "drain", "why": "x" })).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_back_the_labels_of_then_with_the_tasks_of_today() {
    let stage = Stage::open_to_all(vec![
        vhost("/web", 1, "web.example.com"),
        app("/tcp", 1, 9_501, json!({ "HAPROXY_0_MODE": "tcp" })),
    ])
    .await;
    stage.served("web.example.com", "/", "/web").await;
    let first = stage.can_go_back().await;
    // Its algorithm and its host change, which is a reload, and one comes that takes its old host.
    let labels = json!({ "HAPROXY_0_VHOST": "new.example.com", "HAPROXY_0_BACKEND_WEIGHT": "0",
        "HAPROXY_0_BALANCE": "source" });
    stage.put("/v2/apps/web", json!({ "labels": labels })).await;
    stage.served("new.example.com", "/", "/web").await;
    until("a reload", async || stage.info().await.filter(|info| info.generation > Some(first))).await;
    stage.marathon.create_apps(vec![vhost("/later", 1, "web.example.com")]).await.unwrap();
    stage.announce(&["/later"]).await;
    stage.served("web.example.com", "/", "/later").await;

    let (status, answer) =
        stage.post_api("/config/rollback", json!({ "generation": first, "why": "it was better" })).await;
    assert_eq!((status, &answer["generation"]), (200, &json!(first)), "{answer}");
    stage.served("web.example.com", "/", "/web").await;
    stage.answers("new.example.com", "/", 404).await;
    let text = stage.ask("/api/v2/config").await.unwrap().body;
    assert!(text.contains("balance roundrobin") && !text.contains("balance source"), "{text}");
    let status = stage.api("/status").await.unwrap();
    assert_eq!(status["rolled_back"]["why"], json!("it was better"));
    let problems = stage.api("/problems?kind=rolled_back").await.unwrap();
    assert_eq!(problems["total"], json!(1), "{problems}");
    let row = stage.api("/services?q=web").await.unwrap();
    let hosts: Vec<&Value> = row["services"].as_array().unwrap().iter().map(|row| &row["hosts"]).collect();
    assert!(hosts.contains(&&json!(["web.example.com"])), "{row}");

    // Who is a member stays live, also of what came later.
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
    stage.delete("/v2/apps/web").await;
    stage.served("web.example.com", "/", "/later").await;
    stage.marathon.create_apps(vec![vhost("/web", 1, "new.example.com")]).await.unwrap();
    stage.announce(&["/web"]).await;
    stage.served("web.example.com", "/", "/web").await;

    let (status, _) =
        stage.order(reqwest::Method::DELETE, "/config/rollback", json!({ "why": "done" })).await;
    assert_eq!(status, 204);
    stage.served("new.example.com", "/", "/web").await;
    stage.served("web.example.com", "/", "/later").await;
    let (status, _) =
        stage.order(reqwest::Method::DELETE, "/config/rollback", json!({ "why": "done" })).await;
    assert_eq!(status, 404);
    let (status, _) = stage.post_api("/config/rollback", json!({ "generation": 99, "why": "x" })).await;
    assert_eq!(status, 404);
    let how: Vec<String> = stage.api("/changes").await.unwrap()["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["how"].as_str().unwrap().to_owned())
        .collect();
    assert!(how.contains(&"rollback".to_owned()) && how.contains(&"release".to_owned()), "{how:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_outlives_causeway_and_needs_no_reload_then() {
    let mut stage = Stage::open_to_all(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let first = stage.can_go_back().await;
    let labels = json!({ "HAPROXY_0_VHOST": "new.example.com", "HAPROXY_0_BALANCE": "source" });
    stage.put("/v2/apps/web", json!({ "labels": labels })).await;
    stage.served("new.example.com", "/", "/web").await;
    let (status, answer) =
        stage.post_api("/config/rollback", json!({ "generation": first, "why": "x" })).await;
    assert_eq!(status, 200, "{answer}");
    stage.served("web.example.com", "/", "/web").await;
    let before = stage.info().await.unwrap();
    stage.end_bridge().await.unwrap();
    stage.bridge();
    stage.until_api("/status", "/ready", json!(true)).await;
    stage.until_api("/config/rollback", "/generation", json!(first)).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker, the same generation");
    stage.served("web.example.com", "/", "/web").await;
    stage.answers("new.example.com", "/", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_back_the_template_of_then() {
    let mut stage = Stage::open_to_all(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let first = stage.can_go_back().await;
    stage.end_bridge().await.unwrap();
    let dir = stage.path("templates");
    std::fs::create_dir(&dir).unwrap();
    let built_in = include_str!("../../templates/head.cfg");
    std::fs::write(dir.join("head.cfg"), format!("{built_in}\nbackend of_the_new_template\n")).unwrap();
    stage.config.template.dir = Some(dir);
    stage.bridge();
    let has_it = |stage: &Stage| stage.current().contains("backend of_the_new_template");
    until("the new template", async || has_it(&stage).then_some(())).await;
    stage.until_api("/status", "/ready", json!(true)).await;

    let (status, answer) =
        stage.post_api("/config/rollback", json!({ "generation": first, "why": "new template" })).await;
    assert_eq!(status, 200, "{answer}");
    assert!(!has_it(&stage));
    stage.served("web.example.com", "/", "/web").await;
    let (status, _) = stage.order(reqwest::Method::DELETE, "/config/rollback", json!({ "why": "x" })).await;
    assert_eq!(status, 204);
    assert!(has_it(&stage));
    stage.served("web.example.com", "/", "/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_haproxy_refuses_is_told_and_stops_nothing() {
    let mut stage = Stage::set().await;
    stage.config.web.auth = WebAuth::None;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    let dir = stage.path("templates");
    std::fs::create_dir(&dir).unwrap();
    let page = stage.path("503.http");
    std::fs::write(&page, "HTTP/1.0 503 Gone\r\nConnection: close\r\n\r\n").unwrap();
    let of_then = format!(
        "{}\nbackend of_then\n  errorfile 503 {}\n",
        include_str!("../../templates/head.cfg"),
        page.display()
    );
    std::fs::write(dir.join("head.cfg"), of_then).unwrap();
    stage.config.template.dir = Some(dir);
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    let first = stage.can_go_back().await;
    stage.end_bridge().await.unwrap();
    stage.config.template.dir = None;
    std::fs::remove_file(&page).unwrap();
    stage.bridge();
    until("the template of today", async || (!stage.current().contains("of_then")).then_some(())).await;
    stage.until_api("/status", "/ready", json!(true)).await;

    let (status, answer) =
        stage.post_api("/config/rollback", json!({ "generation": first, "why": "x" })).await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("HAProxy was not brought there"), "{answer}");
    // What is said of it has HAProxy's own words, and everything goes on.
    let problems = stage.api("/problems").await.unwrap();
    assert!(problems.to_string().contains("503.http"), "{problems}");
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    let (status, _) = stage.order(reqwest::Method::DELETE, "/config/rollback", json!({ "why": "x" })).await;
    assert_eq!(status, 204);
    stage.served("web.example.com", "/", "/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_reads_orders_nothing() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    let task = stage.served("web.example.com", "/", "/web").await.task;
    let drain = json!({ "state": "drain", "why": "x" });
    for (path, body) in [
        (format!("/services/web/servers/{task}"), drain),
        ("/config/rollback".to_owned(), json!({ "generation": 1, "why": "x" })),
    ] {
        let (status, _) = stage.post_api(&path, body).await;
        assert!(status == 401 || status == 403, "{path}: {status}");
    }
    assert_eq!(stage.api("/status").await.unwrap()["rolled_back"], Value::Null);
    stage.served("web.example.com", "/", "/web").await;
}
