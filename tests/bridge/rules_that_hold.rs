//! The rules that always hold, each by its number.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Stage, app, until, vhost};

fn generations(stage: &Stage) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(&stage.config.haproxy.state_dir)
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("gen-"))
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_1_what_changes_nothing_touches_neither_disk_nor_haproxy() {
    let stage = Stage::with_apps(vec![vhost("/web", 2, "web.example.com")]).await;
    stage.tasks("web.example.com", 2).await;
    let (worker, before, text) = (stage.info().await.unwrap().pid, generations(&stage), stage.current());
    let reads = async || {
        let counters = stage.get_at(&format!("{}/standin/counters", stage.marathon.url()), &[]).await?.body;
        Some(serde_json::from_str::<serde_json::Value>(&counters).ok()?["requests"].to_string())
    };
    let first = reads().await;
    for _ in 0..20 {
        let event = json!({ "eventType": "status_update_event", "appId": "/web", "taskId": "web.x", "taskStatus": "TASK_RUNNING" });
        assert!(stage.post("/standin/events", event).await.is_success());
    }
    until("the app to be read again", async || (reads().await != first).then_some(())).await;
    assert_eq!(
        (stage.info().await.unwrap().pid, generations(&stage), stage.current()),
        (worker, before, text)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_surviving_task_keeps_its_slot() {
    let stage = Stage::with_apps(vec![vhost("/web", 3, "web.example.com")]).await;
    stage.tasks("web.example.com", 3).await;
    let before = stage.serving_lines();
    stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
    stage.tasks("web.example.com", 1).await;
    let one =
        until("the files to follow", async || Some(stage.serving_lines()).filter(|lines| lines.len() == 1))
            .await;
    assert!(before.contains(&one[0]), "{one:?} of {before:?}");
    stage.put("/v2/apps/web", json!({ "instances": 4 })).await;
    stage.tasks("web.example.com", 4).await;
    let four =
        until("the files to follow", async || Some(stage.serving_lines()).filter(|lines| lines.len() == 4))
            .await;
    assert!(four.contains(&one[0]), "{four:?} keeps {one:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_source_that_fails_or_answers_with_nothing_takes_nothing_away() {
    let mut stage = Stage::set().await;
    stage.config.marathon.resync = Duration::from_millis(200);
    stage.marathon.create_apps(vec![vhost("/web", 2, "web.example.com")]).await.unwrap();
    stage.bridge();
    let tasks = stage.tasks("web.example.com", 2).await;
    for fault in [
        json!({ "http": { "status": 503, "body": "json" } }),
        json!({ "http": { "status": 401, "body": "html" } }),
        json!({ "http": "truncated" }),
        json!({ "http": "empty_list" }),
        json!({ "http": "missing_apps" }),
        json!({ "http": "not_json" }),
        json!({ "events": "eof" }),
    ] {
        assert!(stage.put("/standin/faults", fault.clone()).await.is_success(), "{fault}");
        stage.post("/standin/close_streams", json!({})).await;
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(600) {
            let answer = stage.get("web.example.com", "/").await.unwrap();
            assert!(tasks.contains(&answer.task), "{fault}: {answer:?}");
        }
        stage.delete("/standin/faults").await;
    }
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_list_that_takes_away_too_much_is_held_until_it_holds_up() {
    let mut stage = Stage::set().await;
    stage.config.marathon.resync = Duration::from_millis(200);
    stage.config.safety.hold_time = Duration::from_secs(2);
    stage.config.safety.hold_servers = 2;
    let apps = (0..4).map(|n| vhost(&format!("/web-{n}"), 1, &format!("web-{n}.example.com"))).collect();
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.tasks("web-0.example.com", 1).await;
    stage.put("/standin/faults", json!({ "http": "empty_list" })).await;
    let begun = Instant::now();
    until("HAProxy to watch the servers itself", async || stage.current().contains(" check ").then_some(()))
        .await;
    assert_eq!(stage.get("web-0.example.com", "/").await.unwrap().status, 200, "held");
    stage.answers("web-0.example.com", "/", 404).await;
    assert!(begun.elapsed() >= Duration::from_millis(1900), "applied after {:?}", begun.elapsed());
    stage.delete("/standin/faults").await;
    stage.tasks("web-0.example.com", 1).await;
    until("the check to go", async || (!stage.current().contains(" check ")).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_what_was_good_last_is_served_while_marathon_is_away() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 2, "web.example.com")]).await;
    stage.tasks("web.example.com", 2).await;
    stage.end_bridge().await.unwrap();
    stage.kill_haproxy();
    until("HAProxy to be gone, as after a reboot", async || stage.info().await.is_none().then_some(())).await;
    stage.put("/standin/faults", json!({ "http": { "status": 503, "body": "html" }, "events": "eof" })).await;
    stage.bridge();
    stage.tasks("web.example.com", 2).await;
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.delete("/standin/faults").await;
    stage.tasks("web.example.com", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_5_an_app_that_cannot_be_understood_stops_no_other() {
    let mut stage = Stage::set().await;
    let apps = vec![
        vhost("/good", 1, "good.example.com"),
        app(
            "/label",
            1,
            10_001,
            json!({ "HAPROXY_0_PORT": "abc", "HAPROXY_0_MODE": "udp", "HAPROXY_0_VHOST": "label.example.com, b\u{e4}d host" }),
        ),
        app("/index", 1, 10_002, json!({ "HAPROXY_7_VHOST": "index.example.com" })),
    ];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("good.example.com", "/", "/good").await;
    stage.served("label.example.com", "/", "/label").await;
    assert_eq!(stage.get("index.example.com", "/").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_6_no_label_and_no_rule_starts_a_line_of_its_own() {
    let attack = "x.example.com\n    server evil 127.0.0.1:1\nbackend stolen";
    let mut stage = Stage::set().await;
    let mut apps: Vec<_> = ["VHOST", "PATH", "BALANCE", "MODE", "PORT", "GROUP", "ENABLED"]
        .iter()
        .map(|word| {
            let name = format!("HAPROXY_0_{word}");
            app(&format!("/attack-{}", word.to_lowercase()), 1, 0, json!({ name: attack }))
        })
        .collect();
    apps.push(vhost("/good", 1, "good.example.com"));
    stage.marathon.create_apps(apps).await.unwrap();
    let rule =
        |key: &str| format!("[[rule]]\napp = \"/attack-{key}\"\n[[rule.route]]\n{key} = {}\n", json!(attack));
    let texts = [rule("host"), rule("path"), rule("acl")].concat();
    std::fs::write(stage.path("rules.toml"), texts).unwrap();
    stage.bridge();
    stage.served("good.example.com", "/", "/good").await;
    let config = stage.current();
    assert!(!config.contains("evil") && !config.contains("stolen"), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_a_port_that_cannot_be_had_keeps_the_last_good_text_with_todays_servers() {
    let stage = Stage::with_apps(vec![vhost("/web", 2, "web.example.com")]).await;
    let before = stage.tasks("web.example.com", 2).await;
    let taken = std::net::TcpListener::bind((stage.host.as_str(), 9_600)).unwrap();
    stage.post("/v2/apps", app("/late", 1, 9_600, json!({ "HAPROXY_0_VHOST": "late.example.com" }))).await;
    let victim = before.first().unwrap();
    stage.delete(&format!("/v2/apps/web/tasks/{victim}?scale=true")).await;
    let after = stage.tasks("web.example.com", 1).await;
    assert!(!after.contains(victim));
    until("the last good text with today's servers", async || {
        let (config, worker) = (stage.current(), stage.info().await?);
        let good = !config.contains(":9600") && stage.serving_lines().len() == 1;
        (good && config.contains(&format!("gen-{}\n", worker.generation?))).then_some(())
    })
    .await;
    drop(taken);
    // Another definition of the same app is tried at once.
    stage.put("/v2/apps/late", json!({ "labels": { "HAPROXY_0_VHOST": "later.example.com" } })).await;
    stage.served("later.example.com", "/", "/late").await;
    assert_eq!(
        stage.get_at(&format!("http://{}:9600/", stage.host), &[("Host", "x")]).await.unwrap().app,
        "/late"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_a_failed_reload_puts_the_last_good_text_back_with_todays_servers() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.tasks("web.example.com", 1).await;
    stage.end_bridge().await.unwrap();
    let (worker, text) = (stage.info().await.unwrap().pid, stage.current());
    // The check passes; only starting shows that the address is taken.
    let _held = std::net::TcpListener::bind((stage.host.as_str(), 9_800)).unwrap();
    stage.config.haproxy.bind_stats = format!("{}:9800", stage.host);
    stage.bridge();
    until("a reload to fail", async || {
        let output = std::fs::read_to_string(stage.config.haproxy.state_dir.join("haproxy.out")).ok()?;
        output.contains("cannot bind").then_some(())
    })
    .await;
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    until("the last good text with today's servers", async || {
        let same_head = stage.current().contains(":9090") && !stage.current().contains(":9800");
        (same_head && stage.serving_lines().len() == 2).then_some(())
    })
    .await;
    assert_ne!(stage.current(), text);
    assert_eq!(stage.info().await.unwrap().pid, worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_a_refused_text_leaves_file_and_process_untouched() {
    let mut stage = Stage::set().await;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.end_bridge().await.unwrap();
    std::fs::create_dir(stage.path("templates")).unwrap();
    let head = include_str!("../../templates/head.cfg").replace("retries 3", "no-such-keyword 3");
    std::fs::write(stage.path("templates/head.cfg"), head).unwrap();
    stage.config.template.dir = Some(stage.path("templates"));
    let (worker, generation) = (stage.info().await.unwrap().pid, generations(&stage));
    stage.bridge();
    // What needs no new text goes on; what runs stays what the files say.
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    until("the files to follow", async || (stage.serving_lines().len() == 2).then_some(())).await;
    assert_eq!((stage.info().await.unwrap().pid, generations(&stage)), (worker, generation));
    assert!(stage.current().contains("retries 3") && !stage.current().contains("no-such-keyword"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_a_template_that_fails_keeps_the_last_good_text_with_todays_servers() {
    let mut stage = Stage::set().await;
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.end_bridge().await.unwrap();
    std::fs::create_dir(stage.path("templates")).unwrap();
    let service =
        include_str!("../../templates/service.cfg").replace("service.backend.balance", "service.nothing");
    std::fs::write(stage.path("templates/service.cfg"), service).unwrap();
    stage.config.template.dir = Some(stage.path("templates"));
    stage.bridge();
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_haproxy_outlives_causeway_and_is_adopted_without_a_reload() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 2, "web.example.com")]).await;
    stage.tasks("web.example.com", 2).await;
    let (worker, before) = (stage.info().await.unwrap().pid, generations(&stage));
    stage.end_bridge().await.unwrap();
    stage.tasks("web.example.com", 2).await;
    stage.bridge();
    until("the new Causeway to follow", async || {
        let counters = stage.get_at(&format!("{}/standin/counters", stage.marathon.url()), &[]).await?.body;
        serde_json::from_str::<serde_json::Value>(&counters).ok()?["streamsOpened"]
            .as_u64()
            .filter(|streams| *streams > 1)
    })
    .await;
    stage.tasks("web.example.com", 2).await;
    assert_eq!((stage.info().await.unwrap().pid, generations(&stage)), (worker, before));
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    stage.tasks("web.example.com", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_a_haproxy_that_dies_is_started_again() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let worker = stage.info().await.unwrap().pid;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("another worker", async || stage.info().await.filter(|info| info.pid != worker)).await;
    stage.served("web.example.com", "/", "/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_9_causeway_ends_in_time_even_when_marathon_hangs() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    stage.put("/standin/faults", json!({ "http": "hang", "events": "silent" })).await;
    stage.post("/standin/close_streams", json!({})).await;
    let begun = Instant::now();
    stage.end_bridge().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_causeways_do_not_share_a_state_directory() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let second =
        causeway::bridge::run(stage.config.clone(), tokio_util::sync::CancellationToken::new()).await;
    assert!(second.unwrap_err().to_string().contains("another Causeway runs"));
    stage.end_bridge().await.unwrap();
}
