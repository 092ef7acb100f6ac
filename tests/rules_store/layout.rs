//! Bamboo's layout, read and written, and compare-and-set.

use std::time::{Duration, Instant};

use causeway::model::{AppId, Change, Timestamp};
use causeway::rules::{RuleStore, StoreError};
use serde_json::{Value, json};

use crate::ensemble::{BASE, Ensemble, bamboo_puts, host_rule, open, until};

#[tokio::test(flavor = "multi_thread")]
async fn records_of_bamboo_are_read_as_they_come_and_one_that_is_broken_is_one_problem() {
    let zookeeper = Ensemble::start(1);
    let bamboo = zookeeper.client().await;
    bamboo_puts(&bamboo, "%2Fold", "hdr(host) -i old.example.com").await;
    bamboo_puts(
        &bamboo,
        "%2Fgrp%2Fapp",
        r#"{"version":"2","config":{"Acl":"path_beg \u002fx","timeout":"5s"}}"#,
    )
    .await;
    bamboo_puts(&bamboo, "%2Fnumber", r#"{"version":2,"config":{"Acl":"path /y"}}"#).await;
    bamboo_puts(&bamboo, "%zz", "path /z").await;
    let store = zookeeper.store("a");
    let rules = store.list().await.unwrap();
    let apps: Vec<&str> = rules.rules.iter().map(|each| each.rule.app.as_str()).collect();
    assert_eq!(apps, ["/grp/app", "/old"]);
    assert_eq!(rules.problems.len(), 2, "{:?}", rules.problems);
    let app = rules.get(&AppId::new("/grp/app")).unwrap();
    assert_eq!(
        (app.rule.routes[0].acl.as_deref(), &*app.rule.config["timeout"]),
        (Some("path_beg /x"), "5s")
    );
    // Whoever writes a rule whose record cannot be used mends it.
    store.put(&host_rule("/number", "n.example.com"), None).await.unwrap();
    let number = store.get(&AppId::new("/number")).await.unwrap().unwrap();
    store.delete(&number.rule.app, &number.version).await.unwrap();
    // What Bamboo changes, adds and takes away is seen, and so is what somebody sets without waking anybody.
    let mut followed = store.watch();
    bamboo_puts(&bamboo, "%2Fold", "hdr(host) -i changed.example.com").await;
    bamboo_puts(&bamboo, "%2Fnew", r#"{"version":"2","config":{"Acl":"path /new"}}"#).await;
    until(&mut followed, "a change and a new record", |rules| {
        let host = rules.get(&AppId::new("/old")).and_then(|each| each.rule.routes[0].acl.clone());
        host.as_deref() == Some("hdr(host) -i changed.example.com")
            && rules.get(&AppId::new("/new")).is_some()
    })
    .await;
    bamboo.set_data(&format!("{BASE}/%2Fnew"), b"path /silent", None).await.unwrap();
    bamboo.delete(&format!("{BASE}/%2Fold"), None).await.unwrap();
    until(&mut followed, "a silent change and an end", |rules| {
        let acl = rules.get(&AppId::new("/new")).and_then(|each| each.rule.routes[0].acl.clone());
        acl.as_deref() == Some("path /silent") && rules.get(&AppId::new("/old")).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_what_bamboo_reads_and_wakes_it_and_only_the_expected_version_is_replaced() {
    let zookeeper = Ensemble::start(1);
    let bamboo = zookeeper.client().await;
    let store = zookeeper.store("a");
    let app = AppId::new("/grp/app");
    let mut rule = host_rule("/grp/app", "x.example.com");
    rule.config.insert("timeout".to_owned(), "5s".to_owned());
    let at = Timestamp("2026-11-21T10:00:00Z".into());
    rule.changed = Some(Change { by: "ada".to_owned(), at, why: "moved".to_owned() });
    let created = store.put(&rule, None).await.unwrap();
    assert_eq!(store.get(&app).await.unwrap().unwrap().rule, rule, "whoever wrote reads what he wrote");
    let node = format!("{BASE}/%2Fgrp%2Fapp");
    let (data, stat) = bamboo.get_data(&node).await.unwrap();
    assert_eq!(created.as_str(), stat.mzxid.to_string());
    let record: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(record["version"], "2");
    assert_eq!(
        (&record["config"]["Acl"], &record["config"]["timeout"]),
        (&json!("hdr(host) -i x.example.com"), &json!("5s"))
    );
    let (_, _, woken) = bamboo.get_and_watch_data(BASE).await.unwrap();
    rule.order = Some(3);
    let updated = store.put(&rule, Some(&created)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), woken.changed()).await.expect("Bamboo is woken");
    assert!(bamboo.get_data(BASE).await.unwrap().0.is_empty());
    // A Bamboo replaces it; whoever still holds the old version changes nothing.
    bamboo_puts(&bamboo, "%2Fgrp%2Fapp", r#"{"version":"2","config":{"Acl":"path /bamboo"}}"#).await;
    match store.put(&rule, Some(&updated)).await {
        Err(StoreError::Conflict { current: Some(current), .. }) => {
            assert_eq!(current.rule.routes[0].acl.as_deref(), Some("path /bamboo"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.put(&rule, None).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(store.delete(&app, &updated).await, Err(StoreError::Conflict { .. })));
    let mut followed = store.watch();
    let rules = until(&mut followed, "what Bamboo dropped", |rules| !rules.problems.is_empty()).await;
    assert!(rules.problems[0].message.contains("only Acl counts"), "{}", rules.problems[0]);
    let current = rules.get(&app).unwrap().version.clone();
    store.delete(&app, &current).await.unwrap();
    assert_eq!(store.get(&app).await.unwrap(), None);
    assert_eq!(bamboo.check_stat(&node).await.unwrap(), None);
    // A record without the slash, as the oldest Bamboos left them, is the same rule.
    bamboo_puts(&bamboo, "plain", "path /plain").await;
    let rules =
        until(&mut followed, "the old record", |rules| rules.get(&AppId::new("/plain")).is_some()).await;
    let old = rules.get(&AppId::new("/plain")).unwrap();
    store.put(&host_rule("/plain", "y.example.com"), Some(&old.version)).await.unwrap();
    assert_eq!(bamboo.list_children(BASE).await.unwrap(), ["plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rules_are_read_in_one_breath_and_writers_of_one_rule_never_lose_an_update() {
    let zookeeper = Ensemble::start(1);
    let bamboo = zookeeper.client().await;
    bamboo.mkdir(BASE, &open()).await.unwrap();
    let paths: Vec<String> = (0..1000).map(|i| format!("{BASE}/%2Fapp-{i}")).collect();
    let options = open();
    let creations = paths.iter().map(|path| bamboo.create(path, b"path /x", &options));
    assert!(futures_util::future::join_all(creations).await.iter().all(Result::is_ok));
    let store = zookeeper.store("a");
    let start = Instant::now();
    let rules = store.list().await.unwrap();
    let took = start.elapsed();
    println!("1,000 rules were read in {took:?}, with connecting");
    assert_eq!(rules.rules.len(), 1000);
    assert!(took < Duration::from_secs(3), "{took:?}");

    let other = zookeeper.store("b");
    let add = async |store: &causeway::rules::ZookeeperStore| {
        for _ in 0..15 {
            loop {
                let app = AppId::new("/counter");
                let current = store.get(&app).await.unwrap();
                let mut rule = host_rule("/counter", "x.example.com");
                let old: u32 = current.as_ref().map_or(0, |each| each.rule.config["n"].parse().unwrap());
                rule.config.insert("n".to_owned(), (old + 1).to_string());
                match store.put(&rule, current.as_ref().map(|each| &each.version)).await {
                    Ok(_) => break,
                    Err(StoreError::Conflict { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    tokio::join!(add(&store), add(&store), add(&other), add(&other));
    let data = bamboo.get_data(&format!("{BASE}/%2Fcounter")).await.unwrap().0;
    let record: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(record["config"]["n"], "60");
}
