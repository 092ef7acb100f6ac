//! What becomes of it when a worker, its master, a socket or the whole HAProxy goes, or somebody else replaces it.

use std::time::Duration;

use causeway::haproxy::runtime::{Processes, command};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::runtime::reload;
use crate::stage::{Stage, app, until, vhost};

/// An app of two tasks, audited all the time.
async fn stage() -> Stage {
    let mut stage = Stage::set().await;
    stage.config.haproxy.audit_interval = Duration::from_millis(300);
    stage.config.haproxy.stats_interval = Duration::from_secs(1);
    stage.marathon.create_apps(vec![vhost("/web", 2, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 2).await;
    let good = stage.config.haproxy.state_dir.join("good.json");
    until("the start to be proven", async || good.exists().then_some(())).await;
    stage
}

async fn processes(stage: &Stage) -> Option<Processes> {
    let master = &stage.config.haproxy.master_socket;
    Processes::parse(&command(master, "show proc", Duration::from_secs(2)).await.ok()?)
}

async fn scales(stage: &Stage, instances: usize) {
    stage.put("/v2/apps/web", json!({ "instances": instances })).await;
    stage.tasks("web.example.com", instances).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_workers_socket_is_gone_its_master_is_the_way() {
    let stage = stage().await;
    let before = stage.haproxy_pids();
    std::fs::remove_file(&stage.config.haproxy.socket).unwrap();
    scales(&stage, 4).await;
    scales(&stage, 1).await;
    // A reload goes that way too, and does not make the socket anew.
    stage.post("/v2/apps", app("/odd", 1, 9_721, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
    stage.served("odd.example.com", "/", "/odd").await;
    scales(&stage, 3).await;
    let master = *before.iter().min().unwrap();
    assert!(stage.haproxy_pids().contains(&master), "HAProxy is not started anew for that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_crashes_takes_its_master_along_and_both_are_started_again() {
    let stage = stage().await;
    let worker = stage.info().await.unwrap().pid;
    kill(Pid::from_raw(worker), Signal::SIGSEGV).unwrap();
    until("another worker", async || stage.info().await.filter(|info| info.pid != worker)).await;
    stage.tasks("web.example.com", 2).await;
    scales(&stage, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_that_crashes_is_nobodys_loss() {
    let stage = stage().await;
    let old = stage.info().await.unwrap().pid;
    let slow = stage.get("web.example.com", "/?delay_ms=20000");
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.post("/v2/apps", app("/odd", 1, 9_722, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
        stage.served("odd.example.com", "/", "/odd").await;
        let new = stage.info().await.unwrap().pid;
        assert!(new != old && processes(&stage).await.unwrap().old_workers.contains(&old));
        kill(Pid::from_raw(old), Signal::SIGSEGV).unwrap();
        until("the old worker to be gone", async || {
            processes(&stage).await.filter(|processes| processes.old_workers.is_empty())
        })
        .await;
        scales(&stage, 3).await;
        assert_eq!(stage.info().await.unwrap().pid, new);
    };
    tokio::select! {
        _cut = async { slow.await; std::future::pending::<()>().await } => {}
        () = meanwhile => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_somebody_else_loaded_is_replaced_by_what_is_desired() {
    let stage = stage().await;
    // It has a listener of its own in both generations: HAProxy holds that port, and nobody else.
    stage.post("/v2/apps", app("/own", 1, 9_722, json!({ "HAPROXY_0_VHOST": "own.example.com" }))).await;
    stage.served("own.example.com", "/", "/own").await;
    until("its listener", async || stage.current().contains(":9722\n").then_some(())).await;
    let first = stage.info().await.unwrap().generation;
    stage.post("/v2/apps", app("/odd", 1, 9_723, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
    stage.served("odd.example.com", "/", "/odd").await;
    until("its listener", async || stage.current().contains(":9723\n").then_some(())).await;
    let last = stage.info().await.unwrap().generation;
    let (link, next) =
        (stage.config.haproxy.state_dir.join("current"), stage.config.haproxy.state_dir.join("next"));
    std::os::unix::fs::symlink(format!("gen-{}", first.unwrap()), &next).unwrap();
    std::fs::rename(&next, &link).unwrap();
    reload(&stage).await;
    until("the old generation to be loaded, or mended already", async || {
        stage.info().await.filter(|info| info.generation != last)
    })
    .await;
    until("both listeners", async || {
        let text = stage.current();
        (text.contains(":9722\n") && text.contains(":9723\n")).then_some(())
    })
    .await;
    stage.served("odd.example.com", "/", "/odd").await;
    stage.served("own.example.com", "/", "/own").await;
    let problems = stage.api("/problems").await.unwrap();
    assert_eq!(problems["total"], json!(0), "{problems}");
    scales(&stage, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_ends_again_and_again_is_given_the_good_generation_before() {
    let stage = stage().await;
    stage.post("/v2/apps", app("/odd", 1, 9_724, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
    stage.served("odd.example.com", "/", "/odd").await;
    for _ in 0..3 {
        let worker = until("a worker", async || stage.info().await).await.pid;
        stage.kill_haproxy();
        until("another worker", async || stage.info().await.filter(|info| info.pid != worker)).await;
        stage.tasks("web.example.com", 2).await;
        // It is killed once its start was seen through.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(stage.info().await.unwrap().generation, Some(1));
    stage.tasks("web.example.com", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_hangs_is_told_and_is_not_joined_by_another() {
    let stage = stage().await;
    let ready = async || stage.get_at(&format!("http://{}/readyz", stage.web.unwrap()), &[]).await;
    until("it to be ready", async || ready().await.filter(|answer| answer.status == 200)).await;
    let before = stage.haproxy_pids();
    stage.signal_haproxy(Signal::SIGSTOP);
    let unready =
        until("it not to be ready", async || ready().await.filter(|answer| answer.status == 503)).await;
    assert!(unready.body.contains("HAProxy does not answer"), "{}", unready.body);
    stage.signal_haproxy(Signal::SIGCONT);
    until("it to be ready again", async || ready().await.filter(|answer| answer.status == 200)).await;
    assert_eq!(stage.haproxy_pids(), before);
    scales(&stage, 3).await;
}
