//! Labels that change, and labels that have to live with slots and spares.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway::haproxy::runtime::command;
use serde_json::{Value, json};

use crate::stage::{HTTP, Stage, app, until, vhost};

/// A client that is led nowhere.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

async fn status(stage: &Stage, host: &str) -> u16 {
    let request = client().get(format!("http://{}:{HTTP}/", stage.host)).header("Host", host);
    request.send().await.map_or(0, |response| response.status().as_u16())
}

async fn becomes(stage: &Stage, host: &str, wanted: u16) {
    until(&format!("{wanted} of {host}"), async || (status(stage, host).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_comes_and_goes_without_a_reload_and_never_stays_with_a_spare() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.spare_backends = 1;
    stage.marathon.create_apps(vec![vhost("/first", 1, "first.x")]).await.unwrap();
    stage.bridge();
    stage.served("first.x", "/", "/first").await;
    let before = stage.info().await.unwrap();
    let labels = |host: &str, to_https: &str| json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_REDIRECT_TO_HTTPS": to_https, "HAPROXY_0_HTTP_BACKEND_REDIR": "/x" });
    stage.post("/v2/apps", app("/new", 1, 0, labels("new.x", "true"))).await;
    becomes(&stage, "new.x", 301).await;
    stage.put("/v2/apps/new", json!({ "labels": { "HAPROXY_0_VHOST": "new.x" } })).await;
    becomes(&stage, "new.x", 200).await;
    stage.put("/v2/apps/new", json!({ "labels": labels("new.x", "true") })).await;
    becomes(&stage, "new.x", 301).await;
    // The spare goes back with nothing said of it, and the next app has it.
    stage.delete("/v2/apps/new").await;
    becomes(&stage, "new.x", 404).await;
    until("the spare to be empty", async || {
        let socket = &stage.config.haproxy.socket;
        let states = command(socket, "show servers state h_p1", Duration::from_secs(2)).await.ok()?;
        (!states.contains("127.10.")).then_some(())
    })
    .await;
    stage.post("/v2/apps", vhost("/next", 1, "next.x")).await;
    becomes(&stage, "next.x", 200).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    // With a reload each has a backend of its own, and the spare waits again, with nothing said of it.
    stage.put("/v2/apps/next", json!({ "labels": labels("next.x", "true") })).await;
    becomes(&stage, "next.x", 301).await;
    stage
        .post(
            "/v2/apps",
            app("/reload", 1, 0, json!({ "HAPROXY_0_VHOST": "reload.x", "HAPROXY_0_BALANCE": "source" })),
        )
        .await;
    becomes(&stage, "reload.x", 200).await;
    assert_eq!(status(&stage, "next.x").await, 301);
    assert!(stage.current().contains("backend h_next_0 "));
    stage.post("/v2/apps", vhost("/last", 1, "last.x")).await;
    becomes(&stage, "last.x", 200).await;
}

/// Who answers, and the cookie that came with it.
async fn answer(stage: &Stage, host: &str, cookie: &str) -> Option<(String, String)> {
    let request = client().get(format!("http://{}:{HTTP}/", stage.host)).header("Host", host);
    let response = request.header("Cookie", format!("mesosphere_server_id={cookie}")).send().await.ok()?;
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let set = header("set-cookie").unwrap_or_default();
    let value = set.strip_prefix("mesosphere_server_id=").and_then(|rest| rest.split(';').next());
    Some((header("x-task")?, value.unwrap_or_default().to_owned()))
}

/// The cookie of every task.
async fn cookies(stage: &Stage, host: &str, count: usize) -> BTreeMap<String, String> {
    until(&format!("{count} tasks with cookies"), async || {
        let mut cookies = BTreeMap::new();
        for _ in 0..count * 4 {
            let (task, cookie) = answer(stage, host, "").await?;
            cookies.insert(task, cookie);
        }
        (cookies.len() == count).then_some(cookies)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_its_task_while_others_come_and_go_and_over_a_reload() {
    let sticky = json!({ "HAPROXY_0_VHOST": "s.x", "HAPROXY_0_STICKY": "true" });
    let stage = Stage::with_apps(vec![app("/s", 2, 0, sticky)]).await;
    stage.served("s.x", "/", "/s").await;
    let stays = async |cookies: &BTreeMap<String, String>| {
        for (task, cookie) in cookies {
            for _ in 0..4 {
                assert_eq!(answer(&stage, "s.x", cookie).await.unwrap().0, *task);
            }
        }
    };
    let two = cookies(&stage, "s.x", 2).await;
    assert_eq!(two.values().collect::<BTreeSet<_>>().len(), 2, "{two:?}");
    let before = stage.info().await.unwrap();
    stays(&two).await;
    // Into slots of the text, and into servers that are added.
    stage.put("/v2/apps/s", json!({ "instances": 7 })).await;
    let seven = cookies(&stage, "s.x", 7).await;
    assert!(two.iter().all(|(task, cookie)| seven.get(task) == Some(cookie)));
    assert_eq!(seven.values().collect::<BTreeSet<_>>().len(), 7, "{seven:?}");
    stays(&seven).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    // A cookie of a task that is gone leads to another.
    let (gone, cookie) = seven.first_key_value().unwrap();
    stage.delete(&format!("/v2/apps/s/tasks/{gone}?scale=true")).await;
    until("another task", async || {
        answer(&stage, "s.x", cookie).await.filter(|(task, _)| task != gone && !task.is_empty())
    })
    .await;
    let six: BTreeMap<String, String> = seven.clone().into_iter().skip(1).collect();
    stays(&six).await;
    stage
        .post(
            "/v2/apps",
            app("/reload", 1, 0, json!({ "HAPROXY_0_VHOST": "r.x", "HAPROXY_0_BALANCE": "source" })),
        )
        .await;
    becomes(&stage, "r.x", 200).await;
    assert_ne!(stage.info().await.unwrap(), before);
    stays(&six).await;
}

fn checked(id: &str, host: &str, checks: &str, check: Value) -> Value {
    let labels = json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_CHECKS": checks });
    let mut app = app(id, 2, 0, labels);
    app["healthChecks"] = json!([check]);
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxys_own_checks_take_out_who_fails_them_and_bring_back_who_recovers() {
    let check = |protocol: &str, path: &str| {
        json!({
            "protocol": protocol, "path": path, "portIndex": 0, "gracePeriodSeconds": 1,
            "intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 1000,
        })
    };
    let command = json!({ "protocol": "COMMAND", "command": { "value": "true" } });
    let stage = Stage::with_apps(vec![
        checked("/http", "http.x", "haproxy", check("HTTP", "/health")),
        checked("/both", "both.x", "both", check("MESOS_HTTP", "/health")),
        checked("/tls", "tls.x", "haproxy", check("HTTPS", "/health")),
        checked("/tcp", "tcp.x", "haproxy", check("TCP", "/")),
        checked("/command", "command.x", "haproxy", command),
        checked("/marathon", "marathon.x", "marathon", check("HTTP", "/health")),
    ])
    .await;
    for host in ["both.x", "tcp.x", "command.x", "marathon.x", "http.x"] {
        stage.tasks(host, 2).await;
    }
    let config = stage.current();
    let block = |app: &str| {
        let start = config.find(&format!("backend h_{app}_0 ")).unwrap();
        config[start..].split("\n\n").next().unwrap().to_owned()
    };
    assert!(
        !block("http").contains("option tcp-check")
            && block("http").contains(" check inter 1s fall 1001 rise 2")
    );
    assert!(block("tls").contains("check-ssl verify none"));
    assert!(block("tcp").contains(" check inter") && !block("tcp").contains("httpchk"));
    for unwatched in ["command", "marathon"] {
        assert!(!block(unwatched).contains(" check"), "{}", block(unwatched));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_haproxys_check_gets_no_request_until_it_recovers() {
    let check = json!({
        "protocol": "HTTP", "path": "/health", "portIndex": 0, "gracePeriodSeconds": 1,
        "intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 0,
    });
    let stage = Stage::with_apps(vec![checked("/http", "http.x", "haproxy", check)]).await;
    let both = stage.tasks("http.x", 2).await;
    let before = stage.info().await.unwrap();
    let sick = both.first().unwrap();
    stage.put(&format!("/standin/tasks/{sick}/health"), json!({ "healthy": false })).await;
    let one = stage.tasks("http.x", 1).await;
    assert!(!one.contains(sick));
    assert_eq!(stage.serving_lines().len(), 2, "it is HAProxy that does not use it");
    stage.put(&format!("/standin/tasks/{sick}/health"), json!({ "healthy": true })).await;
    assert_eq!(stage.tasks("http.x", 2).await, both);
    assert_eq!(stage.info().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_proxy_says_of_a_requests_way_is_kept() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    let labels =
        json!({ "HAPROXY_0_VHOST": "a.x", "HAPROXY_0_REDIRECT_TO_HTTPS": "true", "HAPROXY_0_USE_HSTS": "t" });
    stage.marathon.create_apps(vec![app("/a", 1, 0, labels)]).await.unwrap();
    stage.bridge();
    becomes(&stage, "a.x", 301).await;
    let request = client().get(format!("http://{}:{HTTP}/", stage.host)).header("Host", "a.x");
    let request = request.header("X-Forwarded-Proto", "HTTPS").header("X-Forwarded-Port", "443");
    let response = request.header("X-Forwarded-For", "192.0.2.7").send().await.unwrap();
    assert!(response.headers().contains_key("strict-transport-security"));
    let body = response.text().await.unwrap();
    for header in ["x-forwarded-proto: https\n", "x-forwarded-port: 443\n", "x-forwarded-for: 192.0.2.7\n"] {
        assert!(body.contains(header), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_app_that_haproxy_itself_checks_or_that_sticks_needs_no_reload_either() {
    let mut stage = Stage::set().await;
    stage.config.labels.checks = causeway::config::Checks::Haproxy;
    stage.config.haproxy.spare_backends = 4;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 1).await;
    let before = stage.info().await.unwrap();
    let mut checked = vhost("/checked", 2, "checked.example.com");
    checked["healthChecks"] = json!([{ "protocol": "HTTP", "path": "/health?x=1", "portIndex": 0 }]);
    stage.post("/v2/apps", checked).await;
    let sticky =
        app("/sticky", 2, 0, json!({ "HAPROXY_0_VHOST": "sticky.example.com", "HAPROXY_0_STICKY": "true" }));
    stage.post("/v2/apps", sticky).await;
    stage.tasks("checked.example.com", 2).await;
    stage.tasks("sticky.example.com", 2).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    let maps = crate::runtime::map(&stage, "checks").await;
    assert!(maps.iter().any(|entry| entry.starts_with("h_p") && entry.ends_with(" /health?x=1")), "{maps:?}");
}
