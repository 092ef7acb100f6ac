//! What goes wrong around one app, or around HAProxy itself, touches nobody else.

use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::stage::{Stage, app, until, vhost};

fn with_port(id: &str, port: u16) -> serde_json::Value {
    app(
        id,
        1,
        10_001,
        json!({ "HAPROXY_0_PORT": port.to_string(), "HAPROXY_0_VHOST": format!("{}.example.com", &id[1..]) }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_holds_leaves_only_its_app_out_of_the_first_start() {
    let mut stage = Stage::set().await;
    let _held = TcpListener::bind((stage.host.as_str(), 9_700)).unwrap();
    let apps =
        vec![vhost("/good", 1, "good.example.com"), with_port("/late", 9_700), with_port("/fine", 9_701)];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("good.example.com", "/", "/good").await;
    stage.served("fine.example.com", "/", "/fine").await;
    assert_eq!(stage.get("late.example.com", "/").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_app_that_comes_with_a_bad_one_is_served() {
    let stage = Stage::with_apps(vec![vhost("/good", 1, "good.example.com")]).await;
    stage.served("good.example.com", "/", "/good").await;
    let _held = TcpListener::bind((stage.host.as_str(), 9_702)).unwrap();
    stage
        .marathon
        .create_apps(vec![with_port("/late", 9_702), vhost("/clean", 1, "clean.example.com")])
        .await
        .unwrap();
    stage.announce(&["/late", "/clean"]).await;
    stage.served("clean.example.com", "/", "/clean").await;
    stage.served("good.example.com", "/", "/good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_range_that_is_taken_while_haproxy_is_down_does_not_keep_it_down() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    stage.end_bridge().await.unwrap();
    stage.signal_haproxy(Signal::SIGKILL);
    until("HAProxy to be gone", async || stage.info().await.is_none().then_some(())).await;
    let _held =
        until("the port to be free", async || TcpListener::bind((stage.host.as_str(), 10_020)).ok()).await;
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_while_marathon_is_away_is_tried_until_it_works() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    stage.end_bridge().await.unwrap();
    stage.signal_haproxy(Signal::SIGKILL);
    until("HAProxy to be gone", async || stage.info().await.is_none().then_some(())).await;
    stage.put("/standin/faults", json!({ "http": "hang", "events": "eof" })).await;
    let held =
        until("the port to be free", async || TcpListener::bind((stage.host.as_str(), 9_090)).ok()).await;
    stage.bridge();
    until("a start to fail", async || {
        let output = std::fs::read_to_string(stage.config.haproxy.state_dir.join("haproxy.out")).ok()?;
        output.contains("cannot bind").then_some(())
    })
    .await;
    drop(held);
    stage.served("web.example.com", "/", "/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_whose_sockets_are_gone_is_replaced_and_not_joined_by_another() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let good = stage.config.haproxy.state_dir.join("good.json");
    until("the start to be proven", async || good.exists().then_some(())).await;
    let before = stage.haproxy_pids();
    for socket in [&stage.config.haproxy.socket, &stage.config.haproxy.master_socket] {
        std::fs::remove_file(socket).unwrap();
    }
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    until("the HAProxy before to end", async || {
        let now = stage.haproxy_pids();
        (now.len() == before.len() && now.iter().all(|pid| !before.contains(pid))).then_some(())
    })
    .await;
    stage.tasks("web.example.com", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_put_aside_takes_no_route_of_another() {
    let stage =
        Stage::with_apps(vec![vhost("/aa", 1, "a.example.com"), vhost("/zz", 1, "z.example.com")]).await;
    stage.served("a.example.com", "/", "/aa").await;
    let _held = TcpListener::bind((stage.host.as_str(), 9_703)).unwrap();
    // It gives up its host for a port that cannot be had; the other one takes the host.
    let refused = json!({ "HAPROXY_0_PORT": "9703", "HAPROXY_0_VHOST": "b.example.com" });
    stage.put("/v2/apps/aa", json!({ "labels": refused })).await;
    stage.put("/v2/apps/zz", json!({ "labels": { "HAPROXY_0_VHOST": "a.example.com" } })).await;
    stage.served("a.example.com", "/", "/zz").await;
    stage.put("/v2/apps/aa", json!({ "instances": 2 })).await;
    stage.put("/v2/apps/zz", json!({ "instances": 2 })).await;
    stage.tasks("a.example.com", 2).await;
    stage.served("a.example.com", "/", "/zz").await;
    stage.delete("/v2/apps/aa").await;
    stage.tasks("a.example.com", 2).await;
    stage.served("a.example.com", "/", "/zz").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_went_while_nobody_looked_are_forgotten() {
    let apps = (0..15).map(|n| vhost(&format!("/gone-{n}"), 1, &format!("gone-{n}.example.com"))).collect();
    let mut stage = Stage::with_apps(apps).await;
    stage.config.safety.hold_time = std::time::Duration::from_millis(500);
    stage.tasks("gone-0.example.com", 1).await;
    stage.end_bridge().await.unwrap();
    for n in 0..15 {
        stage.delete(&format!("/v2/apps/gone-{n}")).await;
    }
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.answers("gone-0.example.com", "/", 404).await;
    stage.end_bridge().await.unwrap();
    let placement = std::fs::read_to_string(stage.config.haproxy.state_dir.join("placement.json")).unwrap();
    assert!(placement.contains("/web") && !placement.contains("\"serving\",\"task\":\"gone"), "{placement}");
}
