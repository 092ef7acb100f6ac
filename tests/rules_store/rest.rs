//! The API on rules in ZooKeeper: beside a Bamboo, and while ZooKeeper is away.

use causeway::config::{RuleStoreKind, WebAuth};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::ensemble::{BASE, DEADLINE, Ensemble, bamboo_puts};
use crate::stage::{Stage, app, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_writes_what_bamboo_reads_and_says_when_zookeeper_is_away() {
    let mut zookeeper = Ensemble::start(1);
    let bamboo = zookeeper.client().await;
    let mut stage = Stage::set().await;
    stage.config.web.auth = WebAuth::None;
    stage.config.rules.store = RuleStoreKind::Zookeeper;
    stage.config.rules.zookeeper = zookeeper.config("bridge").rules.zookeeper;
    stage.marathon.create_apps(vec![app("/plain", 1, 10_001, json!({}))]).await.unwrap();
    stage.bridge();
    let url = |path: &str| format!("http://{}{path}", stage.web.unwrap());
    until("the rules to be read", async || {
        let list = stage.client.get(url("/api/v2/rules")).send().await.ok()?;
        (list.status() == StatusCode::OK).then_some(())
    })
    .await;
    let put = async |condition: (&str, &str), host: &str| {
        let request = stage.client.request(Method::PUT, url("/api/v2/rules/plain"));
        let request = request
            .timeout(DEADLINE)
            .header(condition.0, condition.1)
            .json(&json!({ "routes": [{ "host": host }], "why": "test" }));
        let response = request.send().await.unwrap();
        let tag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        (response.status().as_u16(), tag.unwrap_or_default(), response.json::<Value>().await.unwrap())
    };
    let (status, tag, body) = put(("If-None-Match", "*"), "plain.example.com").await;
    assert_eq!(status, 201, "{body}");
    stage.served("plain.example.com", "/", "/plain").await;
    let (data, stat) = bamboo.get_data(&format!("{BASE}/%2Fplain")).await.unwrap();
    assert_eq!(tag, format!("\"{}\"", stat.mzxid));
    let record: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(record["config"]["Acl"], "hdr(host) -i plain.example.com");

    // A Bamboo changes it: whoever holds the old version is told what is there now.
    bamboo_puts(&bamboo, "%2Fplain", r#"{"version":"2","config":{"Acl":"hdr(host) -i bamboo.example.com"}}"#)
        .await;
    stage.served("bamboo.example.com", "/", "/plain").await;
    let (status, _, body) = put(("If-Match", &tag), "mine.example.com").await;
    assert_eq!(
        (status, &body["current"]["routes"][0]["acl"]),
        (412, &json!("hdr(host) -i bamboo.example.com"))
    );

    // We are there for the others to see.
    let fleet: Value =
        stage.client.get(url("/api/v2/fleet")).timeout(DEADLINE).send().await.unwrap().json().await.unwrap();
    let id = fleet["nodes"][0]["id"].as_str().unwrap().to_owned();
    until("our presence", async || {
        let node = bamboo.get_data(&format!("{BASE}-causeway/presence/{id}")).await.ok()?;
        let about: Value = serde_json::from_slice(&node.0).ok()?;
        (node.1.ephemeral_owner != 0 && about["version"] == env!("CARGO_PKG_VERSION")).then_some(())
    })
    .await;

    drop(bamboo);
    zookeeper.kill_node(0);
    let (status, _, body) = put(("If-Match", "*"), "lost.example.com").await;
    assert_eq!(status, 503, "{body}");
    assert!(body["detail"].as_str().unwrap().contains("ZooKeeper"), "{body}");
    let list = stage.client.get(url("/api/v2/rules")).send().await.unwrap();
    assert_eq!(list.status(), StatusCode::OK, "what was read last is shown");
    let fleet: Value =
        stage.client.get(url("/api/v2/fleet")).timeout(DEADLINE).send().await.unwrap().json().await.unwrap();
    assert!(fleet["error"].is_string() && fleet["nodes"][0]["this"] == true, "{fleet}");
    stage.served("bamboo.example.com", "/", "/plain").await;
}
