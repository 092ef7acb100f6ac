//! Users, ACLs, chroots, TLS, and what only Causeways share.

use causeway::config::ZookeeperAcl;
use causeway::model::AppId;
use causeway::rules::{RuleStore, RuleVersion, StoreError, ZookeeperStore};
use serde_json::json;
use zookeeper_client::{Client, Error};

use crate::ensemble::{BASE, DEADLINE, Ensemble, host_rule, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_creates_is_for_that_user_and_a_chroot_is_made_where_it_is_missing() {
    let zookeeper = Ensemble::start(1);
    let mut config = zookeeper.config("a");
    let password = config.haproxy.state_dir.join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    config.rules.zookeeper.user = Some("ada".to_owned());
    config.rules.zookeeper.password_file = Some(password);
    config.rules.zookeeper.chroot = Some("/prod/eu".to_owned());
    let store = ZookeeperStore::new(&config).unwrap();
    let version = store.put(&host_rule("/a", "x.example.com"), None).await.unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
    let node = format!("/prod/eu{BASE}/%2Fa");
    let stranger = zookeeper.client().await;
    assert_eq!(stranger.get_data(&node).await.unwrap_err(), Error::NoAuth);
    let ada =
        Client::connector().with_auth("digest", b"ada:hunter2").connect(&zookeeper.host(0)).await.unwrap();
    assert!(ada.get_data(&node).await.is_ok());

    // Another user reads nothing, and is told why; nothing is made up.
    let mut other = config.clone();
    other.haproxy.state_dir = config.haproxy.state_dir.join("other");
    std::fs::create_dir_all(&other.haproxy.state_dir).unwrap();
    other.rules.zookeeper.user = Some("bob".to_owned());
    let other = ZookeeperStore::new(&other).unwrap();
    match tokio::time::timeout(DEADLINE, other.put(&host_rule("/a", "y"), Some(&version))).await.unwrap() {
        Err(StoreError::Unavailable { message }) => assert!(message.contains("not authorized"), "{message}"),
        unexpected => panic!("{unexpected:?}"),
    }

    // Nodes that everybody may read, and a base that only its owner may write to.
    let mut readable = config.clone();
    readable.rules.zookeeper.acl = ZookeeperAcl::Read;
    readable.rules.zookeeper.path = "/readable".to_owned();
    let owner = ZookeeperStore::new(&readable).unwrap();
    owner.put(&host_rule("/a", "x.example.com"), None).await.unwrap();
    readable.rules.zookeeper.user = None;
    readable.rules.zookeeper.acl = ZookeeperAcl::Auto;
    readable.haproxy.state_dir = config.haproxy.state_dir.join("other");
    let reader = ZookeeperStore::new(&readable).unwrap();
    let there = reader.get(&AppId::new("/a")).await.unwrap().unwrap();
    match reader.put(&host_rule("/a", "y.example.com"), Some(&there.version)).await {
        Err(StoreError::Unavailable { message }) => {
            assert!(
                message.contains("rules.zookeeper.user") && message.contains("nothing was written"),
                "{message}"
            );
        }
        unexpected => panic!("{unexpected:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn causeways_share_small_nodes_and_see_each_other_where_bamboo_does_not_look() {
    let zookeeper = Ensemble::start(1);
    let (a, b) = (zookeeper.store("a"), zookeeper.store("b"));
    let (fleet_a, fleet_b) = (a.fleet(), b.fleet());
    assert_eq!(fleet_a.get("claims").await.unwrap(), None);
    assert!(fleet_a.put("claims", &json!({ "/a": 1 }), None).await.unwrap());
    assert!(!fleet_b.put("claims", &json!({ "/b": 1 }), None).await.unwrap(), "it is there already");
    let (claims, version) = fleet_b.get("claims").await.unwrap().unwrap();
    assert_eq!(claims, json!({ "/a": 1 }));
    assert!(fleet_b.put("claims", &json!({ "/b": 2 }), Some(&version)).await.unwrap());
    assert!(!fleet_a.put("claims", &json!({}), Some(&version)).await.unwrap(), "it has changed");
    assert!(!fleet_a.put("claims", &json!({}), Some(&RuleVersion::new("x"))).await.unwrap());
    fleet_a.announce("node-a", &json!({ "version": 1 })).await.unwrap();
    fleet_b.announce("node-b", &json!({ "version": 2 })).await.unwrap();
    let present = async |count: usize| {
        tokio::time::timeout(DEADLINE, async {
            loop {
                let present = fleet_b.present(DEADLINE).await.unwrap();
                if present.len() == count {
                    return present;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("presence")
    };
    let both = present(2).await;
    assert_eq!((&both["node-a"], &both["node-b"]), (&json!({ "version": 1 }), &json!({ "version": 2 })));
    drop((a, fleet_a));
    assert_eq!(present(1).await.into_keys().collect::<Vec<_>>(), ["node-b"]);
    let person = zookeeper.client().await;
    assert!(person.list_children(BASE).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ensemble_that_takes_tls_only_is_reached_and_an_unknown_authority_is_refused() {
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, rcgen::Issuer::new(params, key))
    };
    let (ca_pem, ca) = authority("ours");
    let (stranger_pem, _) = authority("a stranger");
    let mut zookeeper = Ensemble::prepare(1, "");
    let address = zookeeper.host(0).rsplit_once(':').unwrap().0.to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec![address]).unwrap().signed_by(&key, &ca).unwrap();
    zookeeper.take_tls_only(&format!("{}{}", key.serialize_pem(), server.pem()), &ca_pem);
    let config = |name: &str, pem: &str| {
        let mut config = zookeeper.config(name);
        let file = config.haproxy.state_dir.join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        config.rules.zookeeper.tls = true;
        config.rules.zookeeper.ca_file = Some(file);
        config
    };
    let store = ZookeeperStore::new(&config("a", &ca_pem)).unwrap();
    let mut rules = store.watch();
    until(&mut rules, "the rules by TLS", |rules| rules.problems.is_empty()).await;
    store.put(&host_rule("/a", "x.example.com"), None).await.unwrap();
    let stranger = ZookeeperStore::new(&config("b", &stranger_pem)).unwrap();
    assert!(matches!(stranger.ask().await, Err(StoreError::Unavailable { .. })));
    assert_eq!(store.ask().await.unwrap().rules.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_says_whether_the_ensemble_answers_and_makes_nothing_there() {
    let mut zookeeper = Ensemble::start(1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("causeway.toml");
    let check = |host: &str| {
        let text = format!(
            "[haproxy]\nstate_dir = {:?}\n[rules]\nstore = \"zookeeper\"\nzookeeper.hosts = [{host:?}]\n",
            dir.path().join("state")
        );
        std::fs::write(&file, text).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let host = zookeeper.host(0);
    let (good, said) = check(&host);
    assert!(good && said.contains("ZooKeeper answers: 0 rules."), "{said}");
    let person = zookeeper.client().await;
    assert_eq!(person.list_children("/").await.unwrap(), ["zookeeper"]);
    assert!(!dir.path().join("state").exists());
    zookeeper.kill_node(0);
    let (good, said) = check(&host);
    assert!(!good && said.contains("no server of it answers") && said.contains(&host), "{said}");
}
