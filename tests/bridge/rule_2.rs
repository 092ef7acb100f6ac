//! Rule 2: what runs is what a fresh HAProxy would run from the files, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway::haproxy::runtime::command;
use causeway::haproxy::servers::{ServerState, parse_states};
use causeway::placement::Admin;
use serde_json::{Value, json};

use crate::runtime::{map, reload};
use crate::stage::{Stage, app, until, vhost};

/// Everything that can be compared: each server, and the entries of each map as a set.
type Comparable = (Vec<((String, String), Admin, u32, Option<std::net::SocketAddr>)>, Vec<BTreeSet<String>>);

async fn all_states(stage: &Stage) -> Vec<((String, String), ServerState)> {
    let answer = command(&stage.config.haproxy.socket, "show servers state", Duration::from_secs(2)).await;
    parse_states(&answer.unwrap()).into_iter().collect()
}

async fn comparable(stage: &Stage) -> Comparable {
    // Where a server in maintenance points to serves nobody.
    let state = |(name, state): (_, ServerState)| {
        (name, state.admin, state.weight, state.endpoint.filter(|_| state.admin == Admin::Ready))
    };
    let servers = all_states(stage).await.into_iter().map(state).collect();
    let mut maps = Vec::new();
    for name in ["apps", "hosts", "paths", "ports", "wildcards"] {
        maps.push(map(stage, name).await);
    }
    (servers, maps)
}

/// Waits until nothing is under way, and compares the running worker with a fresh one.
async fn prove(stage: &Stage, what: &str) {
    let calm = async || {
        let before = comparable(stage).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let leaving = before.0.iter().any(|(_, admin, ..)| *admin == Admin::Drain);
        (!leaving && comparable(stage).await == before).then_some(before)
    };
    until("nothing to be under way", calm).await;
    // The files follow within a second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let running = calm().await.expect("nothing changes any more");
    let worker = stage.info().await.unwrap().pid;
    reload(stage).await;
    until("a fresh worker", async || stage.info().await.filter(|info| info.pid != worker)).await;
    assert_eq!(comparable(stage).await, running, "{what}");
}

/// One change of one of a few apps.
async fn change(
    stage: &Stage,
    random: &mut fastrand::Rng,
    rules: &mut BTreeMap<&'static str, String>,
) -> String {
    let name = random.choice(["a", "b", "c", "t", "n1", "n2", "n3"]).unwrap();
    let url = format!("{}/v2/apps/{name}?force=true", stage.marathon.url());
    let instances = random.u32(0..7);
    let labels = match (name, random.u8(0..3)) {
        ("t", _) => json!({ "HAPROXY_0_MODE": "tcp" }),
        (_, 0) => json!({ "HAPROXY_0_VHOST": format!("{name}.example.com") }),
        (_, 1) => json!({ "HAPROXY_0_VHOST": format!("*.{name}.example.com,{name}.example.org") }),
        _ => {
            json!({ "HAPROXY_0_VHOST": format!("{name}.example.com"), "HAPROXY_0_PATH": format!("/{name}") })
        }
    };
    let send = async |method: reqwest::Method, url: &str, body: Value| {
        // Whether Marathon takes it (there may be no such app) does not matter.
        let _taken = stage.client.request(method, url).json(&body).send().await;
    };
    match random.u8(0..12) {
        0..=4 => {
            send(reqwest::Method::PUT, &url, json!({ "instances": instances })).await;
            format!("{name} to {instances}")
        }
        5 | 6 => {
            send(reqwest::Method::PUT, &url, json!({ "labels": labels })).await;
            format!("{name} with {labels}")
        }
        7 | 8 => {
            let port = if name == "t" { 10_003 } else { 0 };
            let body = app(&format!("/{name}"), instances, port, labels);
            send(reqwest::Method::POST, &format!("{}/v2/apps", stage.marathon.url()), body).await;
            format!("{name} is posted")
        }
        9 => {
            send(reqwest::Method::DELETE, &url, json!({})).await;
            format!("{name} is deleted")
        }
        10 => {
            let all = format!("{}/v2/apps/{name}/tasks", stage.marathon.url());
            send(reqwest::Method::DELETE, &all, json!({})).await;
            format!("the tasks of {name} are killed")
        }
        _ => {
            if rules.remove(name).is_none() {
                rules.insert(name, format!("r{instances}.example.com"));
            }
            let rule = |(app, host): (&&str, &String)| {
                format!("[[rule]]\napp = \"/{app}\"\n[[rule.route]]\nhost = \"{host}\"\n")
            };
            let text: String =
                std::iter::once("# rules\n".to_owned()).chain(rules.iter().map(rule)).collect();
            std::fs::write(stage.path("rules.toml"), text).unwrap();
            format!("{} rules", rules.len())
        }
    }
}

async fn random_changes(seed: u64, steps: usize) {
    let mut stage = Stage::set().await;
    stage.config.haproxy.spare_backends = 2;
    stage.config.haproxy.spare_slots = 3;
    let apps = vec![
        vhost("/a", 2, "a.example.com"),
        vhost("/b", 3, "*.b.example.com"),
        vhost("/c", 0, "c.example.com"),
        app("/t", 1, 10_003, json!({ "HAPROXY_0_MODE": "tcp" })),
    ];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.tasks("a.example.com", 2).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut rules, mut log) = (BTreeMap::new(), Vec::new());
    for _ in 0..steps {
        log.push(change(&stage, &mut random, &mut rules).await);
        tokio::time::sleep(Duration::from_millis(random.u64(0..120))).await;
    }
    prove(&stage, &format!("seed {seed}: {}", log.join("; "))).await;
}

/// The seed of `CAUSEWAY_SEED` is tried alone.
fn seeds(own: [u64; 2]) -> Vec<u64> {
    match std::env::var("CAUSEWAY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => own.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_few_random_changes_end_in_what_a_fresh_start_would_run() {
    for seed in seeds([1, 2]) {
        random_changes(seed, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_many_random_changes_end_in_what_a_fresh_start_would_run() {
    for seed in seeds([3, 4]) {
        random_changes(seed, 40).await;
    }
}
