//! The whole way: a rule in ZooKeeper leads requests through a real HAProxy, also while ZooKeeper is away.

use causeway::config::RuleStoreKind;
use causeway::rules::RuleStore;
use serde_json::json;

use crate::ensemble::{BASE, Ensemble, bamboo_puts, host_rule};
use crate::stage::{Stage, app};

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_bamboo_writes_is_live_and_marathon_goes_on_while_zookeeper_is_away() {
    let mut zookeeper = Ensemble::start(1);
    let bamboo = zookeeper.client().await;
    bamboo_puts(&bamboo, "%2Fplain", "hdr(host) -i plain.example.com").await;
    let mut stage = Stage::set().await;
    stage.config.rules.store = RuleStoreKind::Zookeeper;
    stage.config.rules.zookeeper = zookeeper.config("bridge").rules.zookeeper;
    stage.marathon.create_apps(vec![app("/plain", 1, 10_001, json!({}))]).await.unwrap();
    stage.bridge();
    stage.served("plain.example.com", "/", "/plain").await;
    let record = r#"{"version":"2","config":{"Acl":"hdr(host) -i moved.example.com"}}"#;
    bamboo_puts(&bamboo, "%2Fplain", record).await;
    stage.served("moved.example.com", "/", "/plain").await;
    stage.answers("plain.example.com", "/", 404).await;
    // A disabled rule is as if it were not there; Bamboo is told a criterion that nothing fulfils.
    let store = zookeeper.store("person");
    let version = store.list().await.unwrap().rules[0].version.clone();
    let mut rule = host_rule("/plain", "moved.example.com");
    rule.enabled = false;
    let version = store.put(&rule, Some(&version)).await.unwrap();
    stage.answers("moved.example.com", "/", 404).await;
    let data = bamboo.get_data(&format!("{BASE}/%2Fplain")).await.unwrap().0;
    assert!(String::from_utf8(data).unwrap().contains("\"Acl\":\"always_false\""));
    rule.enabled = true;
    store.put(&rule, Some(&version)).await.unwrap();
    stage.served("moved.example.com", "/", "/plain").await;
    drop((store, bamboo));

    zookeeper.kill_node(0);
    stage.put("/v2/apps/plain", json!({ "instances": 3 })).await;
    stage.tasks("moved.example.com", 3).await;
    // Nor does a start need it.
    stage.end_bridge().await.unwrap();
    stage.kill_haproxy();
    stage.bridge();
    stage.put("/v2/apps/plain", json!({ "instances": 5 })).await;
    stage.tasks("moved.example.com", 5).await;
    zookeeper.start_node(0);
    let bamboo = zookeeper.client().await;
    bamboo_puts(&bamboo, "%2Fplain", "hdr(host) -i again.example.com").await;
    stage.served("again.example.com", "/", "/plain").await;
}
