//! What is ordered for every node: two Causeways on one Marathon and one ZooKeeper, each with a real HAProxy.

use std::time::Duration;

use causeway::config::{RuleStoreKind, WebAuth};
use serde_json::{Value, json};
use zookeeper_client::Client;

use crate::ensemble::{BASE, DEADLINE, Ensemble, bamboo_puts, open};
use crate::proxy::Proxy;
use crate::stage::{Stage, app, until, vhost};

pub(crate) const HOST: &str = "web.example.com";

/// Two nodes with an app of two tasks; the second one reaches ZooKeeper through a proxy.
pub(crate) struct Two {
    pub(crate) zookeeper: Ensemble,
    pub(crate) proxy: Proxy,
    pub(crate) first: Stage,
    pub(crate) second: Stage,
}

impl Two {
    pub(crate) async fn start() -> Self {
        let zookeeper = Ensemble::start(1);
        let proxy = Proxy::to(zookeeper.host(0)).await;
        let (mut first, mut second) = (Stage::set().await, Stage::set().await);
        for (name, stage) in [("first", &mut first), ("second", &mut second)] {
            stage.config.web.auth = WebAuth::None;
            stage.config.rules.store = RuleStoreKind::Zookeeper;
            stage.config.rules.zookeeper = zookeeper.config(name).rules.zookeeper;
        }
        // Whoever is cut off is taken for one of us for that long.
        second.config.rules.zookeeper.session_timeout = Duration::from_secs(20);
        second.config.rules.zookeeper.hosts = vec![proxy.address.to_string()];
        second.config.marathon.endpoints = vec![first.marathon.url()];
        first
            .marathon
            .create_apps(vec![vhost("/shop/web", 2, HOST), app("/quiet", 1, 0, json!({}))])
            .await
            .unwrap();
        Self { zookeeper, proxy, first, second }
    }

    /// Starts both, and waits until each sees the other. A task.
    pub(crate) async fn bridge(&mut self) -> String {
        self.first.bridge();
        self.second.bridge();
        self.second.tasks(HOST, 2).await;
        let task = self.first.tasks(HOST, 2).await.pop_first().unwrap();
        self.here(2).await;
        task
    }

    /// Waits until so many nodes are here.
    async fn here(&self, count: usize) {
        for stage in [&self.first, &self.second].into_iter().take(count) {
            until("each to see the others", async || {
                let fleet = get(stage, "/api/v2/fleet").await?;
                (fleet["nodes"].as_array()?.len() == count).then_some(())
            })
            .await;
        }
    }
}

async fn get(stage: &Stage, path: &str) -> Option<Value> {
    let answer = stage.client.get(format!("http://{}{path}", stage.web.unwrap())).send().await.ok()?;
    serde_json::from_str(&answer.text().await.ok()?).ok()
}

async fn order(stage: &Stage, task: &str, scope: &str, state: &str, why: &str) -> (u16, Value) {
    let url = format!("http://{}/api/v2/services/shop/web/servers/{task}", stage.web.unwrap());
    let body = json!({ "state": state, "why": why, "scope": scope });
    let answer = stage.client.post(url).timeout(DEADLINE).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What the API says of a server.
async fn server(stage: &Stage, app: &str, task: &str) -> Option<Value> {
    let detail = get(stage, &format!("/api/v2/services{app}")).await?;
    let servers = detail["servers"].as_array()?.clone();
    servers.into_iter().find(|server| server["task"] == json!(task))
}

/// Waits until a server is set by hand as it is expected to be, in HAProxy's word too.
async fn is_set(stage: &Stage, task: &str, scope: Value, why: Value) -> Value {
    until(&format!("{task} to be set for {scope}: {why}"), async || {
        let server = server(stage, "/shop/web", task).await?;
        let by_hand = &server["by_hand"];
        let up = server["haproxy"]["status"] != json!("DRAIN");
        (by_hand["scope"] == scope && by_hand["why"] == why && up == by_hand.is_null()).then_some(server)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_for_the_fleet_is_carried_out_once_by_every_node() {
    let mut two = Two::start().await;
    let task = two.bridge().await;
    let (status, answer) = order(&two.first, &task, "fleet", "drain", "disk of node-7").await;
    assert_eq!(status, 200, "{answer}");
    let fleet = &answer["fleet"];
    assert_eq!((&answer["scope"], &fleet["done"]), (&json!("fleet"), &json!(2)), "{answer}");
    assert_eq!(fleet["nodes"].as_array().unwrap().len(), 2);
    // As soon as it is answered, no node sends anything there.
    for stage in [&two.first, &two.second] {
        for _ in 0..8 {
            assert_ne!(stage.get(HOST, "/").await.unwrap().task, task);
        }
        let set = is_set(stage, &task, json!("fleet"), json!("disk of node-7")).await;
        assert_eq!((&set["fleet"]["done"], &set["fleet"]["state"]), (&json!(2), &json!("drain")), "{set}");
        assert_eq!(set["by_hand"]["until"], fleet["until"], "it ends everywhere at once");
        let changes = get(stage, "/api/v2/changes").await.unwrap();
        let change = changes["changes"].as_array().unwrap().iter().find(|change| change["how"] == "server");
        let change = change.unwrap();
        assert_eq!((&change["scope"], &change["why"]), (&json!("fleet"), &json!("disk of node-7")));
        assert!(change["by"].is_string(), "{change}");
    }
    let log = std::fs::read_to_string(two.first.config.haproxy.state_dir.join("audit.log")).unwrap();
    assert!(log.contains("\"about\":\"the fleet\",\"why\":\"disk of node-7\""), "{log}");

    // What somebody sets on one node afterwards is that node's, also over a restart.
    assert_eq!(order(&two.second, &task, "node", "ready", "not here").await.0, 200);
    two.second.tasks(HOST, 2).await;
    two.second.end_bridge().await.unwrap();
    two.second.bridge();
    two.here(2).await;
    until("the second to be ready", async || {
        (get(&two.second, "/readyz").await?["ready"] == json!(true)).then_some(())
    })
    .await;
    let set = until("the second to know the order", async || {
        server(&two.second, "/shop/web", &task).await.filter(|server| server["fleet"]["done"] == json!(2))
    })
    .await;
    assert_eq!((&set["by_hand"], &set["fleet"]["state"]), (&Value::Null, &json!("drain")));
    let state = two.second.config.haproxy.state_dir.join("fleet-orders.json");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(state).unwrap().permissions().mode() & 0o777, 0o600);
    two.second.tasks(HOST, 2).await;
    two.first.tasks(HOST, 1).await;

    // The last word counts, whoever says it.
    let (status, answer) = order(&two.second, &task, "fleet", "ready", "the disk is in").await;
    assert_eq!((status, &answer["fleet"]["done"]), (200, &json!(2)), "{answer}");
    for stage in [&two.first, &two.second] {
        stage.tasks(HOST, 2).await;
        is_set(stage, &task, Value::Null, Value::Null).await;
    }
    let records = two.zookeeper.client().await.list_children(&format!("{BASE}-causeway/servers")).await;
    assert_eq!(records.unwrap().len(), 1, "one record a server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_does_what_was_ordered_meanwhile() {
    let mut two = Two::start().await;
    let task = two.bridge().await;
    two.second.end_bridge().await.unwrap();
    two.here(1).await;
    let (status, answer) = order(&two.first, &task, "fleet", "drain", "while you were away").await;
    assert_eq!((status, &answer["fleet"]["done"]), (200, &json!(1)), "{answer}");
    two.second.bridge();
    is_set(&two.second, &task, json!("fleet"), json!("while you were away")).await;
    two.second.tasks(HOST, 1).await;
    two.here(2).await;

    // Cut off it is still taken for one of us, for a while; it cannot order anything for others, only for itself.
    two.proxy.close();
    let (status, answer) = order(&two.first, &task, "fleet", "ready", "the disk is in").await;
    assert_eq!((status, &answer["fleet"]["done"]), (202, &json!(1)), "{answer}");
    two.first.tasks(HOST, 2).await;
    let (status, answer) = order(&two.second, &task, "fleet", "drain", "x").await;
    assert_eq!(status, 503, "{answer}");
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("ZooKeeper") && detail.contains("nothing was written"), "{detail}");
    let set = server(&two.second, "/shop/web", &task).await.unwrap();
    assert_eq!(set["by_hand"]["why"], json!("while you were away"));
    assert!(set["fleet"]["error"].is_string(), "{set}");
    assert_eq!(order(&two.second, &task, "node", "drain", "here").await.0, 200);
    is_set(&two.second, &task, json!("node"), json!("here")).await;
    two.proxy.open();
    is_set(&two.second, &task, Value::Null, Value::Null).await;
    two.second.tasks(HOST, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_the_fleet_ends_everywhere_when_it_does_where_it_was_given() {
    let mut two = Two::start().await;
    two.first.config.haproxy.by_hand_timeout = Duration::from_secs(4);
    let task = two.bridge().await;
    let (status, answer) = order(&two.first, &task, "fleet", "drain", "for a moment").await;
    assert_eq!((status, &answer["fleet"]["done"]), (200, &json!(2)), "{answer}");
    for stage in [&two.first, &two.second] {
        let set = is_set(stage, &task, Value::Null, Value::Null).await;
        assert!(set["fleet"].is_null(), "what is over is not shown: {set}");
        stage.tasks(HOST, 2).await;
    }
}

/// A record as a Causeway writes it, but for its time.
fn record(app: &str, task: &str, until: jiff::SignedDuration) -> String {
    let now = jiff::Timestamp::now();
    let (at, until) = ((now - jiff::SignedDuration::from_hours(1)).to_string(), (now + until).to_string());
    json!({ "service": { "app": app, "port_index": 0 }, "task": task, "admin": "drain", "weight": null, "by": "ada",
        "why": "by hand", "at": at, "until": until })
    .to_string()
}

async fn put(client: &Client, app: &str, task: &str, data: &str) -> String {
    let name = format!("{}%3A0%3A{task}", app.replace('/', "%2F"));
    let path = format!("{BASE}-causeway/servers/{name}");
    client.create(&path, data.as_bytes(), &open()).await.unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_over_or_no_records_stop_nobody_and_an_unknown_task_is_waited_for() {
    let mut two = Two::start().await;
    let task = two.bridge().await;
    let person = two.zookeeper.client().await;
    let hour = jiff::SignedDuration::from_hours(1);
    let garbage = put(&person, "/shop/web", "nobody", "{\"service\":").await;
    let over =
        put(&person, "/shop/web", &task, &record("/shop/web", &task, -jiff::SignedDuration::from_mins(2)))
            .await;
    until("what is over to be taken away", async || {
        person.check_stat(&over).await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(server(&two.first, "/shop/web", &task).await.unwrap()["by_hand"].is_null());

    // Nothing leads to this app yet; a rule, which restarts no task, makes it a service.
    let tasks: Value = reqwest::get(format!("{}/v2/apps/quiet/tasks", two.first.marathon.url()))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let quiet = tasks["tasks"][0]["id"].as_str().unwrap().to_owned();
    let waiting = put(&person, "/quiet", &quiet, &record("/quiet", &quiet, hour)).await;
    until("both to say that they cannot", async || {
        let fleet = get(&two.first, "/api/v2/fleet").await?;
        let nodes = fleet["nodes"].as_array()?.clone();
        let why = |node: &Value| {
            node["orders"].as_object().and_then(|orders| Some(orders.values().next()?.as_str()?.to_owned()))
        };
        (nodes.len() == 2 && nodes.iter().all(|node| why(node).is_some_and(|why| why.contains(&quiet))))
            .then_some(())
    })
    .await;
    bamboo_puts(&person, "%2Fquiet", "hdr(host) -i quiet.example.com").await;
    for stage in [&two.first, &two.second] {
        until("it to be drained as soon as it is there", async || {
            let server = server(stage, "/quiet", &quiet).await?;
            (server["by_hand"]["by"] == json!("ada") && server["fleet"]["done"] == json!(2)).then_some(())
        })
        .await;
    }
    let (status, answer) = order(&two.first, &task, "fleet", "drain", "x").await;
    assert_eq!((status, &answer["fleet"]["done"]), (200, &json!(2)), "{answer}");
    for path in [&garbage, &waiting] {
        assert!(person.check_stat(path).await.unwrap().is_some(), "{path}");
    }
    drop(person);

    // Without ZooKeeper there is this node only; it heals by itself.
    two.zookeeper.kill_node(0);
    let (status, answer) = order(&two.first, &task, "fleet", "ready", "x").await;
    assert_eq!(status, 503, "{answer}");
    assert_eq!(order(&two.first, &task, "node", "ready", "x").await.0, 200);
    two.first.tasks(HOST, 2).await;
    two.zookeeper.start_node(0);
    until("both to be here again", async || {
        let fleet = get(&two.first, "/api/v2/fleet").await?;
        (fleet["nodes"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let (status, answer) = order(&two.first, &task, "fleet", "ready", "y").await;
    assert_eq!((status, &answer["fleet"]["done"]), (200, &json!(2)), "{answer}");
    two.second.tasks(HOST, 2).await;
}
