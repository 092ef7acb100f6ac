//! What changes most needs no reload.

use std::collections::BTreeSet;
use std::time::Duration;

use causeway::haproxy::runtime::command;
use causeway::haproxy::servers::{ServerState, parse_states};
use causeway::placement::Admin;
use serde_json::json;

use crate::stage::{Stage, app, until, vhost};

pub(crate) async fn states(stage: &Stage) -> std::collections::BTreeMap<(String, String), ServerState> {
    let socket = &stage.config.haproxy.socket;
    let mut states =
        parse_states(&command(socket, "show servers state", Duration::from_secs(2)).await.unwrap());
    let is_spare =
        |backend: &str| backend.strip_prefix(['h', 't']).is_some_and(|rest| rest.starts_with("_p"));
    let of_an_app = |backend: &str| backend.starts_with("h_") || backend.starts_with("t_");
    // A spare that waits has nobody to show.
    states.retain(|(backend, _), state| {
        of_an_app(backend) && !is_spare(backend)
            || is_spare(backend) && state.endpoint != Some(causeway::placement::FREE_ENDPOINT)
    });
    states
}

pub(crate) async fn at_the_socket(stage: &Stage, line: &str) {
    command(&stage.config.haproxy.socket, line, Duration::from_secs(2)).await.unwrap();
}

pub(crate) async fn map(stage: &Stage, name: &str) -> BTreeSet<String> {
    let line = format!("show map maps/{name}.map");
    let answer = command(&stage.config.haproxy.socket, &line, Duration::from_secs(2)).await.unwrap();
    answer.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

/// Reloads HAProxy as another hand would; its master refuses connections while it executes itself anew.
pub(crate) async fn reload(stage: &Stage) {
    let master = &stage.config.haproxy.master_socket;
    until("the master to take a reload", async || {
        command(master, "reload", Duration::from_secs(2)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_a_dead_task_and_a_new_vhost_are_live_without_a_reload() {
    let stage = Stage::with_apps(vec![vhost("/web", 2, "web.example.com")]).await;
    let two = stage.tasks("web.example.com", 2).await;
    let before = stage.info().await.unwrap();
    stage.put("/v2/apps/web", json!({ "instances": 4 })).await;
    let four = stage.tasks("web.example.com", 4).await;
    stage.delete(&format!("/v2/apps/web/tasks/{}?scale=true", two.first().unwrap())).await;
    let three = stage.tasks("web.example.com", 3).await;
    assert!(three.is_subset(&four));
    std::fs::write(
        stage.path("rules.toml"),
        "[[rule]]\napp = \"/web\"\n[[rule.route]]\nhost = \"second.example.com\"\n[[rule.route]]\nhost = \"x\"\npath = \"/p\"\n",
    )
    .unwrap();
    stage.served("second.example.com", "/", "/web").await;
    stage.served("x", "/p", "/web").await;
    std::fs::write(stage.path("rules.toml"), "# none\n").unwrap();
    stage.answers("second.example.com", "/", 404).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_slots_run_out_servers_are_added_and_are_slots_from_then_on() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    let one = stage.tasks("web.example.com", 1).await;
    let before = stage.info().await.unwrap();
    for instances in [7, 3, 6] {
        stage.put("/v2/apps/web", json!({ "instances": instances })).await;
        assert!(stage.tasks("web.example.com", instances).await.is_superset(&one));
    }
    until("who is added to be in the files", async || (stage.serving_lines().len() == 6).then_some(())).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_haproxy_takes_no_server_more_tasks_than_slots_are_a_reload_that_keeps_who_is_there() {
    let labels = json!({ "HAPROXY_0_VHOST": "web.example.com", "HAPROXY_0_BALANCE": "static-rr" });
    let stage = Stage::with_apps(vec![app("/web", 1, 0, labels)]).await;
    let one = stage.tasks("web.example.com", 1).await;
    let before = stage.info().await.unwrap();
    stage.put("/v2/apps/web", json!({ "instances": 5 })).await;
    assert!(stage.tasks("web.example.com", 5).await.is_superset(&one));
    assert_ne!(stage.info().await.unwrap().pid, before.pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_app_is_live_without_a_reload_and_has_a_backend_of_its_name_after_the_next() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.spare_backends = 4;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 1).await;
    let before = stage.info().await.unwrap();
    stage.post("/v2/apps", vhost("/new", 3, "new.example.com")).await;
    stage.post("/v2/apps", app("/tcp", 1, 10_004, json!({ "HAPROXY_0_MODE": "tcp" }))).await;
    stage.tasks("new.example.com", 3).await;
    until("the port to be led", async || stage.tcp(10_004).await).await;
    stage.put("/v2/apps/new", json!({ "instances": 10 })).await;
    let ten = stage.tasks("new.example.com", 10).await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    until("the files to follow", async || (stage.serving_lines().len() == 12).then_some(())).await;
    // Where HAProxy adds no backends, a spare is borrowed.
    let of_new = |name: &str| stage.current().contains(&format!("# /new port 0\nbackend {name} "));
    assert!(of_new("h_p1") || of_new("h_new_0"), "{}", stage.current());

    // A new Causeway goes on with it.
    stage.end_bridge().await.unwrap();
    stage.bridge();
    stage.put("/v2/apps/new", json!({ "instances": 9 })).await;
    assert!(stage.tasks("new.example.com", 9).await.is_subset(&ten));
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");

    // Ports outside the range are reloads.
    stage.post("/v2/apps", app("/odd", 1, 9_711, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
    stage.served("odd.example.com", "/", "/odd").await;
    assert!(stage.current().contains("backend h_new_0 "), "{}", stage.current());
    assert!(stage.tasks("new.example.com", 9).await.is_subset(&ten));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_backend_whose_app_is_gone_waits_for_the_next() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.spare_backends = 1;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 1).await;
    let before = stage.info().await.unwrap();
    for name in ["one", "two", "three"] {
        let host = format!("{name}.example.com");
        stage.post("/v2/apps", vhost(&format!("/{name}"), 2, &host)).await;
        stage.tasks(&host, 2).await;
        stage.delete(&format!("/v2/apps/{name}")).await;
        stage.answers(&host, "/", 404).await;
        until("the spare to wait again", async || {
            let free = |state: &ServerState| state.endpoint == Some(causeway::placement::FREE_ENDPOINT);
            let states = states(&stage).await;
            states.iter().all(|((backend, _), state)| backend == "h_web_0" || free(state)).then_some(())
        })
        .await;
    }
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_freed_when_nothing_uses_it_and_given_to_another_task() {
    let stage = Stage::with_apps(vec![vhost("/web", 2, "web.example.com")]).await;
    stage.tasks("web.example.com", 2).await;
    let worker = stage.info().await.unwrap().pid;
    for round in 0..4 {
        stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
        stage.tasks("web.example.com", 1).await;
        until("the slot to be free", async || {
            let states = states(&stage).await;
            let (serving, others): (Vec<&ServerState>, _) =
                states.values().partition(|state| state.admin == Admin::Ready);
            let free = |state: &&ServerState| state.endpoint == Some(causeway::placement::FREE_ENDPOINT);
            (serving.len() == 1 && others.iter().all(free)).then_some(())
        })
        .await;
        stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
        stage.tasks("web.example.com", 3).await;
        assert_eq!(stage.info().await.unwrap().pid, worker, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished_by_a_task_that_goes() {
    let mut stage = Stage::set_with(|options| options.kill_grace = Duration::from_secs(5)).await;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 1).await;
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    let slow = (0..6).map(|_| stage.get("web.example.com", "/?delay_ms=1500"));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(slow), async {
        stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
        stage.tasks("web.example.com", 1).await;
    });
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
}

/// A stage with an app of two tasks, audited all the time.
async fn audited() -> Stage {
    let mut stage = Stage::set().await;
    stage.config.haproxy.audit_interval = Duration::from_millis(300);
    stage.marathon.create_apps(vec![vhost("/web", 2, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 2).await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_does_at_the_socket_is_found_and_mended() {
    let stage = audited().await;
    let before = stage.info().await.unwrap();
    at_the_socket(&stage, "clear map maps/hosts.map").await;
    stage.tasks("web.example.com", 2).await;
    at_the_socket(&stage, "add map maps/hosts.map evil.example.com h_web_0").await;
    stage.answers("evil.example.com", "/", 404).await;
    at_the_socket(&stage, "set map maps/hosts.map web.example.com nowhere").await;
    stage.tasks("web.example.com", 2).await;
    // A slot that nobody sits in; none where each server is a task's (`dynamic.rs`).
    let free = ("h_web_0".to_owned(), "slot4".to_owned());
    if states(&stage).await.contains_key(&free) {
        at_the_socket(&stage, "set server h_web_0/slot4 state ready").await;
        until("the free slot to be out again", async || {
            (states(&stage).await[&free].admin == Admin::Maint).then_some(())
        })
        .await;
    }
    assert_eq!(stage.info().await.unwrap(), before, "that needs no reload");
    // An address is not changed under a server.
    at_the_socket(&stage, "set server h_web_0/slot1 addr 127.0.0.1 port 9").await;
    stage.tasks("web.example.com", 2).await;
    until("a fresh worker", async || stage.info().await.filter(|info| info.pid != before.pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_sets_on_a_server_is_kept_for_its_time_also_over_a_reload() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.audit_interval = Duration::from_millis(300);
    stage.config.haproxy.by_hand_timeout = Duration::from_secs(6);
    stage.marathon.create_apps(vec![vhost("/web", 3, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 3).await;
    let before = stage.info().await.unwrap();
    at_the_socket(&stage, "set server h_web_0/slot1 state drain; set server h_web_0/slot2 weight 7").await;
    let in_files = |words: &str| stage.current().lines().any(|line| line.contains(words));
    until("the files to say so", async || in_files(" weight 7").then_some(())).await;
    let set = async || {
        let states = states(&stage).await;
        let state = |slot: &str| states[&("h_web_0".to_owned(), slot.to_owned())];
        (state("slot1").admin, state("slot2").weight)
    };
    assert_eq!(set().await, (Admin::Drain, 7));
    assert_eq!(stage.info().await.unwrap(), before, "that needs no reload");
    stage.post("/v2/apps", app("/odd", 1, 9_712, json!({ "HAPROXY_0_VHOST": "odd.example.com" }))).await;
    stage.served("odd.example.com", "/", "/odd").await;
    until("the new worker to be told", async || (set().await == (Admin::Drain, 7)).then_some(())).await;
    stage.tasks("web.example.com", 2).await;
    until("its time to be over", async || (set().await == (Admin::Ready, 1)).then_some(())).await;
    stage.tasks("web.example.com", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_others_reload_is_followed() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.audit_interval = Duration::from_millis(300);
    stage.marathon.create_apps(vec![vhost("/web", 2, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 2).await;
    let worker = stage.info().await.unwrap().pid;
    reload(&stage).await;
    until("another worker", async || stage.info().await.filter(|info| info.pid != worker)).await;
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_causeway_goes_on_at_run_time_with_what_changed_while_nobody_looked() {
    let mut stage =
        Stage::with_apps(vec![vhost("/web", 2, "web.example.com"), vhost("/old", 1, "old.example.com")])
            .await;
    stage.tasks("web.example.com", 2).await;
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
    stage.end_bridge().await.unwrap();
    let worker = stage.info().await.unwrap().pid;
    stage.put("/v2/apps/web", json!({ "instances": 4 })).await;
    stage.delete("/v2/apps/old").await;
    stage.bridge();
    stage.tasks("web.example.com", 4).await;
    stage.answers("old.example.com", "/", 404).await;
    assert_eq!(stage.info().await.unwrap().pid, worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_costs_no_reload() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.bind_app_id = String::new();
    stage.config.haproxy.service_port_range = "".parse().unwrap();
    stage.config.labels.service_ports = false;
    stage.config.haproxy.audit_interval = Duration::from_millis(200);
    stage
        .marathon
        .create_apps(vec![vhost("/web", 1, "web.example.com"), vhost("/old", 1, "old.example.com")])
        .await
        .unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 1).await;
    let worker = stage.info().await.unwrap();
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    stage.delete("/v2/apps/old").await;
    stage.answers("old.example.com", "/", 404).await;
    until("the audit to look", async || {
        let answer = command(&stage.config.haproxy.socket, "show info", Duration::from_secs(2)).await.ok()?;
        let seconds =
            answer.lines().find_map(|line| line.strip_prefix("Uptime_sec: ")?.parse::<u64>().ok())?;
        (seconds >= 2).then_some(())
    })
    .await;
    assert_eq!(stage.info().await.unwrap(), worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_never_leaves_nobody() {
    let stage = Stage::with_apps(vec![vhost("/web", 3, "web.example.com")]).await;
    let before = stage.tasks("web.example.com", 3).await;
    for _ in 0..3 {
        let restart = async { stage.post("/v2/apps/web/restart", json!({})).await };
        let asking = async {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(700) {
                let answer = stage.get("web.example.com", "/").await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        };
        tokio::join!(restart, asking);
        stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    }
    assert!(stage.tasks("web.example.com", 3).await.is_disjoint(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_moves_to_another_app_is_there_all_the_time() {
    let stage =
        Stage::with_apps(vec![vhost("/a", 1, "a.example.com"), vhost("/b", 1, "b.example.com")]).await;
    stage.served("b.example.com", "/", "/b").await;
    let rule =
        |app: &str| format!("[[rule]]\napp = \"{app}\"\n[[rule.route]]\nhost = \"moving.example.com\"\n");
    std::fs::write(stage.path("rules.toml"), rule("/a")).unwrap();
    stage.served("moving.example.com", "/", "/a").await;
    let worker = stage.info().await.unwrap();
    for app in ["/b", "/a", "/b"] {
        std::fs::write(stage.path("rules.toml"), rule(app)).unwrap();
        until("the host to move", async || {
            let answer = stage.get("moving.example.com", "/").await.unwrap();
            assert_eq!(answer.status, 200);
            (answer.app == app).then_some(())
        })
        .await;
    }
    assert_eq!(stage.info().await.unwrap(), worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_mended_after_a_restart_of_haproxy_too() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.audit_interval = Duration::from_millis(300);
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.tasks("web.example.com", 1).await;
    let good = stage.config.haproxy.state_dir.join("good.json");
    until("the start to be proven", async || good.exists().then_some(())).await;
    let worker = stage.info().await.unwrap().pid;
    stage.kill_haproxy();
    until("another worker", async || stage.info().await.filter(|info| info.pid != worker)).await;
    stage.tasks("web.example.com", 1).await;
    at_the_socket(&stage, "del map maps/hosts.map web.example.com").await;
    stage.tasks("web.example.com", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_stays_refused_costs_no_reload() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.tasks("web.example.com", 1).await;
    let _held = std::net::TcpListener::bind((stage.host.as_str(), 9_710)).unwrap();
    let worker = stage.info().await.unwrap();
    let bad = app("/bad", 1, 0, json!({ "HAPROXY_0_PORT": "9710", "HAPROXY_0_VHOST": "bad.example.com" }));
    stage.post("/v2/apps", bad).await;
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    assert_eq!(stage.get("bad.example.com", "/").await.unwrap().status, 404);
    assert_eq!(stage.info().await.unwrap(), worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_come_and_go_faster_than_a_round_cost_no_reload() {
    let stage = Stage::with_apps(vec![vhost("/web", 4, "web.example.com")]).await;
    stage.tasks("web.example.com", 4).await;
    let worker = stage.info().await.unwrap();
    for _ in 0..10 {
        for instances in [6, 4] {
            let url = format!("{}/v2/apps/web?force=true", stage.marathon.url());
            let response =
                stage.client.put(url).json(&json!({ "instances": instances })).send().await.unwrap();
            assert!(response.status().is_success());
        }
    }
    stage.tasks("web.example.com", 4).await;
    assert_eq!(stage.info().await.unwrap(), worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_routes_at_once_replace_a_map_as_a_whole() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.tasks("web.example.com", 1).await;
    let before = stage.info().await.unwrap();
    let rules = |hosts: usize| {
        let route = |n: usize| format!("[[rule.route]]\nhost = \"h{n}.example.com\"\n");
        let routes: String = (0..hosts).map(route).collect();
        std::fs::write(stage.path("rules.toml"), format!("[[rule]]\napp = \"/web\"\n{routes}")).unwrap();
    };
    rules(2_000);
    stage.served("h1999.example.com", "/", "/web").await;
    assert_eq!(map(&stage, "hosts").await.len(), 2_001);
    rules(3);
    stage.answers("h1999.example.com", "/", 404).await;
    stage.served("h2.example.com", "/", "/web").await;
    stage.served("web.example.com", "/", "/web").await;
    assert_eq!(map(&stage, "hosts").await.len(), 4);
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}
