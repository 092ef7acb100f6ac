//! On a HAProxy that takes and gives up servers soundly while it runs, each server is a task's. These tests end at once on
//! an older one; `HAPROXY` names the binary to try.

use std::collections::BTreeSet;
use std::time::Duration;

use causeway::haproxy::runtime::Client;
use causeway::placement::Admin;
use serde_json::json;

use crate::runtime::{at_the_socket, reload, states};
use crate::stage::{Stage, app, until, vhost};

/// A stage with an app of so many tasks, and a text that was made for what the worker can do: the first is not, since
/// nobody knew then. `None` where that is no dynamic servers.
async fn dynamic(instances: u32) -> Option<Stage> {
    // What is killed finishes what it has begun.
    let mut stage = Stage::set_with(|options| options.kill_grace = Duration::from_secs(5)).await;
    stage.config.haproxy.audit_interval = Duration::from_millis(300);
    stage.marathon.create_apps(vec![vhost("/web", instances, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", instances as usize).await;
    let client = Client::new(stage.config.haproxy.socket.clone(), None, Duration::from_secs(2));
    if !client.features().await.unwrap().dynamic_servers() {
        return None;
    }
    // A port outside the range is a reload.
    let odd = app("/odd", 1, 9_713, json!({ "HAPROXY_0_VHOST": "odd.example.com" }));
    stage.post("/v2/apps", odd).await;
    stage.served("odd.example.com", "/", "/odd").await;
    Some(stage)
}

/// The servers of the app, whatever they do.
async fn servers(stage: &Stage) -> BTreeSet<(String, Admin)> {
    let states = states(stage).await.into_iter();
    let of_web = states.filter(|((backend, _), _)| backend == "h_web_0");
    of_web.map(|((_, server), state)| (server, state.admin)).collect()
}

async fn only_ready(stage: &Stage, wanted: &[&str]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|name| ((*name).to_owned(), Admin::Ready)).collect();
    until("these servers alone", async || (servers(stage).await == wanted).then_some(())).await;
    let lines = |stage: &Stage| {
        let text = stage.current();
        let block = text.split("\nbackend ").find(|block| block.starts_with("h_web_0 "));
        block.map_or(0, |block| block.matches("    server ").count())
    };
    until("the files to follow", async || (lines(stage) == wanted.len()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_and_go_with_their_tasks_and_who_stays_keeps_its_name() {
    let Some(stage) = dynamic(2).await else { return };
    only_ready(&stage, &["slot1", "slot2"]).await;
    let before = stage.info().await.unwrap();
    stage.put("/v2/apps/web", json!({ "instances": 30 })).await;
    stage.tasks("web.example.com", 30).await;
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    let three = stage.tasks("web.example.com", 3).await;
    until("the others to be gone", async || (servers(&stage).await.len() == 3).then_some(())).await;
    let names = servers(&stage).await;
    stage.delete(&format!("/v2/apps/web/tasks/{}?scale=true", three.first().unwrap())).await;
    stage.tasks("web.example.com", 2).await;
    until("its server to be gone", async || (servers(&stage).await.len() == 2).then_some(())).await;
    assert!(servers(&stage).await.is_subset(&names));
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");

    // A new Causeway goes on with it.
    until("the files to follow", async || (stage.serving_lines().len() == 4).then_some(())).await;
    let mut stage = stage;
    stage.end_bridge().await.unwrap();
    stage.bridge();
    stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
    stage.tasks("web.example.com", 1).await;
    until("the others to be gone", async || (servers(&stage).await.len() == 1).then_some(())).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_haproxy_does_not_give_up_yet_stays_out_of_service_until_it_does() {
    let Some(stage) = dynamic(2).await else { return };
    only_ready(&stage, &["slot1", "slot2"]).await;
    let before = stage.info().await.unwrap();
    let two = stage.tasks("web.example.com", 2).await;
    let slow = (0..6).map(|_| stage.get("web.example.com", "/?delay_ms=1500"));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(slow), async {
        stage.delete(&format!("/v2/apps/web/tasks/{}?scale=true", two.first().unwrap())).await;
        stage.tasks("web.example.com", 1).await;
        let states: Vec<Admin> = servers(&stage).await.into_iter().map(|(_, admin)| admin).collect();
        assert!(states.contains(&Admin::Drain) && states.len() == 2, "{states:?}");
    });
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    until("its server to be gone", async || (servers(&stage).await.len() == 1).then_some(())).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_somebody_adds_in_a_slot_where_nobody_sits_is_taken_out() {
    let Some(stage) = dynamic(3).await else { return };
    only_ready(&stage, &["slot1", "slot2", "slot3"]).await;
    // The task of slot1 goes.
    let first = states(&stage).await[&("h_web_0".to_owned(), "slot1".to_owned())].endpoint.unwrap();
    let tasks = stage.client.get(format!("{}/v2/apps/web/tasks", stage.marathon.url()));
    let tasks: serde_json::Value = tasks.send().await.unwrap().json().await.unwrap();
    let is_first = |task: &&serde_json::Value| {
        task["ports"][0] == json!(first.port()) && task["host"] == json!(first.ip().to_string())
    };
    let task = tasks["tasks"].as_array().unwrap().iter().find(is_first).unwrap();
    let id = task["id"].as_str().unwrap();
    stage.delete(&format!("/v2/apps/web/tasks/{id}?scale=true")).await;
    only_ready(&stage, &["slot2", "slot3"]).await;
    let before = stage.info().await.unwrap();
    at_the_socket(&stage, "add server h_web_0/slot1 127.0.0.1:9").await;
    at_the_socket(&stage, "set server h_web_0/slot1 state ready").await;
    let out = ("slot1".to_owned(), Admin::Maint);
    until("it to be out", async || servers(&stage).await.contains(&out).then_some(())).await;
    assert_eq!(stage.info().await.unwrap(), before, "that needs no reload");
    // Its name is wanted for a task.
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_haproxy_adds_backends_a_new_app_has_one_of_its_own_name_at_once() {
    let Some(mut stage) = dynamic(1).await else { return };
    let client = Client::new(stage.config.haproxy.socket.clone(), None, Duration::from_secs(2));
    if !client.features().await.unwrap().add_backend {
        return;
    }
    let before = stage.info().await.unwrap();
    stage.post("/v2/apps", vhost("/new", 3, "new.example.com")).await;
    stage.post("/v2/apps", app("/tcp", 1, 10_004, json!({ "HAPROXY_0_MODE": "tcp" }))).await;
    // What its text has to say beyond its defaults is for a spare.
    let labels = json!({ "HAPROXY_0_VHOST": "least.example.com", "HAPROXY_0_BALANCE": "leastconn" });
    stage.post("/v2/apps", app("/least", 1, 0, labels)).await;
    stage.tasks("new.example.com", 3).await;
    stage.served("least.example.com", "/", "/least").await;
    until("the port to be led", async || stage.tcp(10_004).await).await;
    let backends: BTreeSet<String> = states(&stage).await.into_keys().map(|(backend, _)| backend).collect();
    assert!(backends.contains("h_new_0") && backends.contains("t_tcp_0"), "{backends:?}");
    assert!(!backends.contains("h_least_0"), "{backends:?}");
    // It goes, and comes back.
    stage.delete("/v2/apps/new").await;
    stage.answers("new.example.com", "/", 404).await;
    until("Marathon to take it again", async || {
        let status = stage.post("/v2/apps", vhost("/new", 2, "new.example.com")).await;
        status.is_success().then_some(())
    })
    .await;
    stage.tasks("new.example.com", 2).await;
    let in_files = |name: &str| stage.current().contains(&format!("\nbackend {name} "));
    until("the files to follow", async || {
        (stage.serving_lines().len() == 6 && in_files("h_new_0") && in_files("t_tcp_0")).then_some(())
    })
    .await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    stage.end_bridge().await.unwrap();
    stage.bridge();
    stage.put("/v2/apps/new", json!({ "instances": 3 })).await;
    let three = stage.tasks("new.example.com", 3).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    reload(&stage).await;
    until("another worker", async || stage.info().await.filter(|info| info.pid != before.pid)).await;
    assert_eq!(stage.tasks("new.example.com", 3).await, three, "a fresh worker has it from the files");
}
