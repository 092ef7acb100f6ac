//! What happens to rules while ZooKeeper breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway::model::AppId;
use causeway::rules::{RuleStore, Rules, StoreError, ZookeeperStore};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::ensemble::{BASE, DEADLINE, Ensemble, bamboo_puts, host_rule, until};
use crate::proxy::{Fate, Proxy};

/// Counts up in one rule, by compare-and-set, until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: JoinHandle<Tally>,
}

/// What became of the writes.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    /// It was said that they may be written or not.
    unconfirmed: u64,
    refused: u64,
}

impl Writer {
    /// Each write is based on what the one before left, so that one that was lost would be missing for ever. The number is
    /// in three places of the rule, of which a rule that is half applied would have some.
    fn start(store: Arc<ZookeeperStore>, app: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let task = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !stopped.load(Ordering::SeqCst) {
                let current = store.get(&AppId::new(app)).await.unwrap();
                let n = current.as_ref().map_or(0, |each| each.rule.config["n"].parse::<u64>().unwrap()) + 1;
                let mut rule = host_rule(app, &format!("h{n}.example.com"));
                rule.order = Some(i64::try_from(n).unwrap());
                rule.config.insert("n".to_owned(), n.to_string());
                match store.put(&rule, current.as_ref().map(|each| &each.version)).await {
                    Ok(_) => {
                        tally.acknowledged += 1;
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(StoreError::Unconfirmed { .. }) => tally.unconfirmed += 1,
                    Err(StoreError::Unavailable { .. }) => tally.refused += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tally
        });
        Self { stop, acknowledged, task }
    }

    /// Waits for so many more writes that are acknowledged.
    async fn goes_on(&self, writes: u64) {
        let wanted = self.acknowledged.load(Ordering::SeqCst) + writes;
        let start = Instant::now();
        while self.acknowledged.load(Ordering::SeqCst) < wanted {
            assert!(start.elapsed() < DEADLINE, "the writer does not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

/// Watches a rule's number: it never goes back, and the rule is never half one and half the other.
fn observe(store: &ZookeeperStore, app: &'static str) -> JoinHandle<u64> {
    let mut rules = store.watch();
    tokio::spawn(async move {
        let mut last = 0;
        loop {
            let seen = rules.borrow_and_update().clone();
            if let Some(n) = seen.as_deref().and_then(|rules| number(rules, app)) {
                assert!(n >= last, "{app} flipped back from {last} to {n}");
                last = n;
            }
            if rules.changed().await.is_err() {
                return last;
            }
        }
    })
}

fn number(rules: &Rules, app: &str) -> Option<u64> {
    let rule = &rules.get(&AppId::new(app))?.rule;
    let n: u64 = rule.config["n"].parse().unwrap();
    assert_eq!(rule.order, Some(i64::try_from(n).unwrap()), "half applied: {rule:?}");
    assert_eq!(rule.routes[0].host, Some(format!("h{n}.example.com")), "half applied: {rule:?}");
    Some(n)
}

/// What ZooKeeper itself has in the end.
async fn stored(zookeeper: &Ensemble, app: &str) -> u64 {
    let client = zookeeper.client().await;
    client.sync(BASE).await.unwrap();
    let data = client.get_data(&format!("{BASE}/{}", app.replace('/', "%2F"))).await.unwrap().0;
    let record: Value = serde_json::from_slice(&data).unwrap();
    record["config"]["n"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_while_leaders_die_and_servers_freeze() {
    let mut zookeeper = Ensemble::start(3);
    let stores: Vec<_> = ["a", "b"].map(|name| Arc::new(zookeeper.store(name))).into();
    let reader = zookeeper.store("reader");
    let mut config = zookeeper.config("hasty");
    config.rules.zookeeper.write_timeout = Duration::from_secs(2);
    let hasty = ZookeeperStore::new(&config).unwrap();
    hasty.list().await.unwrap();
    reader.list().await.unwrap();
    let writers =
        [Writer::start(Arc::clone(&stores[0]), "/one"), Writer::start(Arc::clone(&stores[1]), "/two")];
    let observers = [
        observe(&reader, "/one"),
        observe(&reader, "/two"),
        observe(&stores[0], "/one"),
        observe(&stores[0], "/two"),
    ];
    let go_on = async || {
        for writer in &writers {
            writer.goes_on(5).await;
        }
    };
    go_on().await;
    let leader = zookeeper.leader();
    zookeeper.kill_node(leader);
    go_on().await;
    zookeeper.start_node(leader);
    zookeeper.answers();
    go_on().await;
    // A leader that freezes is still the leader, until the others have chosen another.
    let leader = zookeeper.leader();
    zookeeper.signal(leader, Signal::SIGSTOP);
    go_on().await;
    zookeeper.signal(leader, Signal::SIGCONT);
    go_on().await;
    // A follower that freezes holds what its clients sent.
    let follower = (zookeeper.leader() + 1) % 3;
    zookeeper.signal(follower, Signal::SIGSTOP);
    go_on().await;
    zookeeper.signal(follower, Signal::SIGCONT);
    go_on().await;
    // Without a majority nothing is written, and that is said; with one it goes on by itself.
    zookeeper.kill_node(0);
    zookeeper.kill_node(1);
    let lonely = AppId::new("/lonely");
    let mut in_doubt = false;
    loop {
        match hasty.put(&host_rule("/lonely", "x.example.com"), None).await {
            Err(StoreError::Unavailable { message }) => {
                assert!(message.contains("nothing was written"), "{message}");
                break;
            }
            // A server that led when it lost the others may have it in its log, and bring it along.
            Err(StoreError::Unconfirmed { .. }) => in_doubt = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(reader.get(&AppId::new("/one")).await.unwrap().is_some(), "the rules stay");
    zookeeper.start_node(0);
    zookeeper.start_node(1);
    zookeeper.answers();
    go_on().await;
    assert!(in_doubt || reader.get(&lonely).await.unwrap().is_none());
    let mut tallies = Vec::new();
    for writer in writers {
        tallies.push(writer.end().await);
    }
    for (app, tally) in ["/one", "/two"].into_iter().zip(&tallies) {
        println!("{app}: {tally:?}");
        let n = stored(&zookeeper, app).await;
        assert!(n >= tally.acknowledged, "{app}: {} were acknowledged, {n} are there", tally.acknowledged);
        assert!(n <= tally.acknowledged + tally.unconfirmed, "{app}: {n} are there of {tally:?}");
        let mut rules = reader.watch();
        until(&mut rules, "the last write", |rules| number(rules, app) == Some(n)).await;
    }
    drop((reader, stores));
    for observer in observers {
        observer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_during_writes_knows_what_became_of_each() {
    let zookeeper = Ensemble::start(1);
    let proxy = Proxy::to(zookeeper.host(0)).await;
    let mut config = zookeeper.config("a");
    config.rules.zookeeper.hosts = vec![proxy.address.to_string()];
    let store = Arc::new(ZookeeperStore::new(&config).unwrap());
    store.list().await.unwrap();
    let observer = observe(&store, "/one");
    let writer = Writer::start(Arc::clone(&store), "/one");
    for round in 0..12 {
        writer.goes_on(3).await;
        if round % 3 == 0 {
            // The write arrives, its answer does not.
            proxy.swallow_answers();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.close();
        tokio::time::sleep(Duration::from_millis(round * 10)).await;
        proxy.open();
    }
    writer.goes_on(3).await;
    let tally = writer.end().await;
    println!("{tally:?}");
    assert_eq!(tally.unconfirmed, 0, "it was back in time to be asked");
    assert_eq!(stored(&zookeeper, "/one").await, tally.acknowledged);
    drop(store);
    assert_eq!(observer.await.unwrap(), tally.acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_not_acknowledged_is_read_back_before_anything_is_said_of_it() {
    let zookeeper = Ensemble::start(1);
    let proxy = Proxy::to(zookeeper.host(0)).await;
    let mut config = zookeeper.config("a");
    config.rules.zookeeper.hosts = vec![proxy.address.to_string()];
    config.rules.zookeeper.session_timeout = Duration::from_secs(2);
    let store = ZookeeperStore::new(&config).unwrap();
    let mut version = store.put(&host_rule("/a", "one.example.com"), None).await.unwrap();
    for (fate, host) in [(Fate::LosesItsAnswer, "two"), (Fate::IsLost, "three")] {
        proxy.next_write(fate);
        let rule = host_rule("/a", &format!("{host}.example.com"));
        version = store.put(&rule, Some(&version)).await.unwrap();
        let there = store.get(&rule.app).await.unwrap().unwrap();
        assert_eq!((there.rule, there.version), (rule, version.clone()), "{fate:?}");
    }
    // A write that comes late finds that others have written since, and changes nothing.
    proxy.next_write(Fate::ArrivesLate);
    let late = host_rule("/a", "late.example.com");
    let version = store.put(&late, Some(&version)).await.unwrap();
    let other = zookeeper.store("b");
    let last = other.put(&host_rule("/a", "last.example.com"), Some(&version)).await.unwrap();
    proxy.release();
    other.put(&host_rule("/b", "b.example.com"), None).await.unwrap();
    let client = zookeeper.client().await;
    client.sync(BASE).await.unwrap();
    let stat = client.check_stat(&format!("{BASE}/%2Fa")).await.unwrap().unwrap();
    assert_eq!(stat.mzxid.to_string(), last.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_nobody_can_be_asked_about_in_time_is_reported_as_unknown() {
    let zookeeper = Ensemble::start(1);
    let proxy = Proxy::to(zookeeper.host(0)).await;
    let mut config = zookeeper.config("a");
    config.rules.zookeeper.hosts = vec![proxy.address.to_string()];
    config.rules.zookeeper.write_timeout = Duration::from_secs(1);
    let store = ZookeeperStore::new(&config).unwrap();
    let version = store.put(&host_rule("/a", "one.example.com"), None).await.unwrap();
    proxy.next_write(Fate::LosesItsAnswer);
    let unknown = store.put(&host_rule("/a", "two.example.com"), Some(&version)).await;
    match unknown {
        Err(StoreError::Unconfirmed { message }) => {
            assert!(message.contains("may be written or not"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    // While not even the question is answered, nothing was sent, and that is what is said.
    proxy.swallow_answers();
    let refused = store.put(&host_rule("/a", "three.example.com"), Some(&version)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    proxy.open();
    proxy.cut();
    let mut rules = store.watch();
    until(&mut rules, "the write that was in doubt", |rules| {
        rules.rules[0].rule.routes[0].host.as_deref() == Some("two.example.com")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_read_last_are_used_while_zookeeper_is_away_also_over_a_restart_and_it_heals_by_itself() {
    let mut zookeeper = Ensemble::start(1);
    let bamboo = zookeeper.client().await;
    bamboo_puts(&bamboo, "%2Fa", "hdr(host) -i a.example.com").await;
    drop(bamboo);
    let store = zookeeper.store("a");
    assert_eq!(store.list().await.unwrap().rules.len(), 1);
    zookeeper.kill_node(0);
    let mut rules = store.watch();
    let away = until(&mut rules, "the loss to be told", |rules| !rules.problems.is_empty()).await;
    assert_eq!(away.rules.len(), 1, "the rules stay");
    let start = Instant::now();
    match store.put(&host_rule("/b", "b.example.com"), None).await {
        Err(StoreError::Unavailable { message }) => {
            assert!(message.contains("ZooKeeper") && message.contains("nothing was written"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < Duration::from_secs(5), "a refusal comes soon");
    // Another process on the same state directory has what is kept there; one on an empty one has nothing.
    drop(store);
    let store = zookeeper.store("a");
    let mut rules = store.watch();
    let kept = until(&mut rules, "what is kept on disk", |rules| rules.rules.len() == 1).await;
    assert!(kept.problems[0].message.contains("cannot be read from ZooKeeper"), "{}", kept.problems[0]);
    let fresh = zookeeper.store("fresh");
    assert!(tokio::time::timeout(Duration::from_secs(3), fresh.list()).await.is_err(), "nothing is made up");
    zookeeper.start_node(0);
    until(&mut rules, "ZooKeeper to be back", |rules| rules.rules.len() == 1 && rules.problems.is_empty())
        .await;
    assert_eq!(fresh.list().await.unwrap().rules.len(), 1);
    store.put(&host_rule("/b", "b.example.com"), None).await.unwrap();
    // A tree that was wiped is not an order to forget every rule, nor is another at the same place.
    let person = zookeeper.client().await;
    let mut wipe = person.new_multi_writer();
    for path in [format!("{BASE}/%2Fa"), format!("{BASE}/%2Fb"), BASE.to_owned()] {
        wipe.add_delete(&path, None).unwrap();
    }
    wipe.commit().await.unwrap();
    let told = |what: &'static str| {
        move |rules: &Rules| rules.problems.iter().any(|each| each.message.contains(what))
    };
    until(&mut rules, "the wipe to be told", told("is gone")).await;
    bamboo_puts(&person, "%2Fc", "path /c").await;
    let held = until(&mut rules, "another tree to be told", told("was made anew")).await;
    assert_eq!(held.rules.len(), 2, "the rules stay");
    let refused = store.put(&host_rule("/d", "d.example.com"), None).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_expired_is_replaced_and_everything_is_read_again() {
    let zookeeper = Ensemble::start(1);
    let proxy = Proxy::to(zookeeper.host(0)).await;
    let mut config = zookeeper.config("a");
    config.rules.zookeeper.hosts = vec![proxy.address.to_string()];
    config.rules.zookeeper.session_timeout = Duration::from_secs(1);
    let store = ZookeeperStore::new(&config).unwrap();
    store.put(&host_rule("/a", "one.example.com"), None).await.unwrap();
    let fleet = store.fleet();
    fleet.announce("node-a", &serde_json::json!({ "at": "here" })).await.unwrap();
    let person = zookeeper.client().await;
    let presence = format!("{BASE}-causeway/presence/node-a");
    let waits = async |there: bool| {
        let start = Instant::now();
        while person.check_stat(&presence).await.unwrap().is_some() != there {
            assert!(start.elapsed() < DEADLINE, "presence is not {there}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    waits(true).await;
    proxy.close();
    // The ensemble gives the session up, and changes go by meanwhile.
    waits(false).await;
    bamboo_puts(&person, "%2Fa", "path /changed").await;
    bamboo_puts(&person, "%2Fb", "path /new").await;
    proxy.open();
    let mut rules = store.watch();
    let back = until(&mut rules, "what went by", |rules| rules.rules.len() == 2).await;
    assert_eq!(back.rules[0].rule.routes[0].acl.as_deref(), Some("path /changed"));
    waits(true).await;
    bamboo_puts(&person, "%2Fb", "path /after").await;
    until(&mut rules, "a change in the new session", |rules| {
        rules.rules.iter().any(|each| each.rule.routes[0].acl.as_deref() == Some("path /after"))
    })
    .await;
}
