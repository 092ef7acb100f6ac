//! Who leaves: drained first, also in workers of before, and safe to kill when nothing uses it.

use std::time::Duration;

use serde_json::json;

use crate::stage::{HTTP, Stage, app, until, vhost};

/// Whether Causeway says that a task is safe to kill, and why.
async fn safe_to_kill(stage: &Stage, task: &str) -> (bool, String) {
    let url = format!("http://{}/api/v2/tasks/{task}", stage.web.unwrap());
    let answer = stage.get_at(&url, &[]).await.unwrap();
    let standing: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    (standing["safe_to_kill"] == true, standing["why"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_safe_to_kill_when_neither_the_worker_nor_one_of_before_uses_it() {
    let mut stage = Stage::set_with(|options| options.kill_grace = Duration::from_secs(30)).await;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    let task = stage.tasks("web.example.com", 1).await.into_iter().next().unwrap();
    until("it to take requests", async || {
        let (safe, why) = safe_to_kill(&stage, &task).await;
        (!safe && why.contains("takes requests for /web")).then_some(())
    })
    .await;
    let url = format!("http://{}:{HTTP}/?delay_ms=4000", stage.host);
    let slow =
        stage.client.get(url).header("Host", "web.example.com").timeout(Duration::from_secs(15)).send();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.put("/v2/apps/web", json!({ "instances": 0 })).await;
        until("its request to be the reason", async || {
            let (safe, why) = safe_to_kill(&stage, &task).await;
            (!safe && why.contains("1 session under way")).then_some(())
        })
        .await;
        stage.post("/v2/apps", app("/odd", 1, 9_731, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
        stage.served("odd.example.com", "/", "/odd").await;
        until("the worker of before to be the reason", async || {
            let (safe, why) = safe_to_kill(&stage, &task).await;
            (!safe && why.contains("the worker of before")).then_some(())
        })
        .await;
    };
    let (answer, ()) = tokio::join!(slow, meanwhile);
    assert_eq!(answer.unwrap().status(), 200);
    until("it to be safe", async || safe_to_kill(&stage, &task).await.0.then_some(())).await;
    assert!(safe_to_kill(&stage, "nobody.knows-it").await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_a_reload_is_under_way_leaves_the_old_worker_at_once() {
    let mut stage = Stage::set_with(|options| options.kill_grace = Duration::from_secs(30)).await;
    // A check that takes its time, as that of a large configuration does.
    let slow = stage.path("haproxy");
    let real = stage.config.haproxy.binary.display().to_string();
    std::fs::write(
        &slow,
        format!("#!/bin/sh\ncase \" $* \" in *\" -c \"*) sleep 3;; esac\nexec {real} \"$@\"\n"),
    )
    .unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    stage.marathon.create_apps(vec![vhost("/web", 2, "web.example.com")]).await.unwrap();
    stage.config.haproxy.binary = slow;
    stage.bridge();
    stage.tasks("web.example.com", 2).await;
    let before = stage.info().await.unwrap();
    stage.post("/v2/apps", app("/odd", 1, 9_732, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
    let left = stage.tasks("web.example.com", 1).await;
    assert_eq!(stage.info().await.unwrap(), before, "the old worker still serves");
    stage.served("odd.example.com", "/", "/odd").await;
    assert_ne!(stage.info().await.unwrap().pid, before.pid);
    assert_eq!(stage.tasks("web.example.com", 1).await, left, "the new worker knows it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sticks_to_a_task_that_leaves_stays_for_a_grace_and_is_then_sent_elsewhere() {
    let mut stage = Stage::set_with(|options| options.kill_grace = Duration::from_secs(60)).await;
    stage.config.haproxy.drain_timeout = Duration::from_secs(3);
    let labels = json!({ "HAPROXY_0_VHOST": "web.example.com", "HAPROXY_0_STICKY": "true" });
    stage.marathon.create_apps(vec![app("/web", 2, 0, labels)]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 2).await;
    // Every task has a client that sticks to it and has a request under way all the time.
    let url = format!("http://{}:{}/", stage.host, HTTP);
    let client = |_| async {
        let first = stage.client.get(&url).header("Host", "web.example.com").send().await.unwrap();
        let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        (first.headers()["x-task"].to_str().unwrap().to_owned(), cookie)
    };
    let clients = futures_util::future::join_all((0..8).map(client)).await;
    let (one, other) = (&clients[0], clients.iter().find(|(task, _)| *task != clients[0].0).unwrap());
    let ask = async |cookie: &str| {
        let (url, headers) =
            (format!("{url}?delay_ms=800"), [("Host", "web.example.com"), ("Cookie", cookie)]);
        let answer = stage.get_at(&url, &headers).await.unwrap();
        assert_eq!(answer.status, 200);
        answer.task
    };
    // Each has two lines of requests, each begun while one of the other is under way: there is no moment without any.
    let begun = std::time::Instant::now();
    let line = async |cookie: &str, delay: u64| {
        let mut tasks = Vec::new();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        while begun.elapsed() < Duration::from_secs(8) {
            let at = begun.elapsed();
            tasks.push((at, ask(cookie).await));
        }
        tasks
    };
    let scaled = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
        stage.tasks("web.example.com", 1).await.into_iter().next().unwrap()
    };
    let (one_asked, one_asked_too, other_asked, other_asked_too, stays) =
        tokio::join!(line(&one.1, 0), line(&one.1, 400), line(&other.1, 0), line(&other.1, 400), scaled);
    let (gone, asked) = match one.0 == stays {
        true => (&other.0, [other_asked, other_asked_too]),
        false => (&one.0, [one_asked, one_asked_too]),
    };
    for (at, task) in asked.into_iter().flatten() {
        if at < Duration::from_secs(3) {
            assert_eq!(task, *gone, "in its grace it stays: {at:?}");
        } else if at > Duration::from_secs(6) {
            assert_eq!(task, stays, "after it, it is sent elsewhere: {at:?}");
        }
    }
}
