//! Who has a host, a path or a port that several want.

use causeway::config::{Config, LabelOrder};
use serde_json::json;

use crate::stage::{Stage, app, until, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_host_keeps_it_over_a_redeployment_and_a_restart() {
    let mut stage =
        Stage::with_apps(vec![app("/b", 1, 10_001, json!({ "HAPROXY_0_VHOST": "same.x" }))]).await;
    stage.served("same.x", "/", "/b").await;
    let wants_too = app("/a", 1, 10_001, json!({ "HAPROXY_0_VHOST": "same.x,a.x" }));
    stage.post("/v2/apps", wants_too).await;
    stage.served("a.x", "/", "/a").await;
    // A new version, with labels of its own.
    let redeployed = json!({ "HAPROXY_0_VHOST": "same.x,b.x" });
    stage.put("/v2/apps/b", json!({ "labels": redeployed })).await;
    stage.served("b.x", "/", "/b").await;
    stage.served("same.x", "/", "/b").await;
    stage.end_bridge().await.unwrap();
    stage.put("/v2/apps/a", json!({ "labels": { "HAPROXY_0_VHOST": "same.x,a2.x" } })).await;
    stage.bridge();
    stage.served("a2.x", "/", "/a").await;
    stage.served("same.x", "/", "/b").await;
    let port = async || stage.get_at(&format!("http://{}:10001/", stage.host), &[]).await;
    assert_eq!(port().await.unwrap().app, "/b");
    stage.delete("/v2/apps/b").await;
    stage.served("same.x", "/", "/a").await;
    until("the port to move", async || port().await.filter(|answer| answer.app == "/a")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_marathon_lb_is_kept_where_it_is_asked_for() {
    let mut stage = Stage::set().await;
    stage.config.labels.order = LabelOrder::MarathonLb;
    let path =
        |id: &str, path: &str| app(id, 1, 0, json!({ "HAPROXY_0_VHOST": "x.x", "HAPROXY_0_PATH": path }));
    stage
        .marathon
        .create_apps(vec![
            path("/path-one", "/one"),
            path("/path-onetwo", "/one/two"),
            vhost("/root", 1, "x.x"),
            app("/first", 1, 0, json!({ "HAPROXY_0_VHOST": "y.x", "HAPROXY_0_BACKEND_WEIGHT": "2" })),
            app("/deep", 1, 0, json!({ "HAPROXY_0_VHOST": "y.x", "HAPROXY_0_PATH": "/deep" })),
        ])
        .await
        .unwrap();
    stage.bridge();
    stage.served("x.x", "/", "/root").await;
    stage.served("x.x", "/one/two", "/path-one").await;
    stage.served("y.x", "/deep", "/first").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_that_changes_moves_requests_without_a_reload() {
    let api = |weight: &str| json!({ "HAPROXY_0_VHOST": "w.x", "HAPROXY_0_PATH": "/api", "HAPROXY_0_BACKEND_WEIGHT": weight });
    let stage = Stage::with_apps(vec![vhost("/web", 1, "w.x"), app("/api", 1, 0, api("0"))]).await;
    stage.served("w.x", "/api", "/api").await;
    let before = stage.info().await.unwrap();
    stage.put("/v2/apps/api", json!({ "labels": api("-1") })).await;
    stage.served("w.x", "/api", "/web").await;
    stage.put("/v2/apps/api", json!({ "labels": api("1") })).await;
    stage.served("w.x", "/api", "/api").await;
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_a_frontend_of_its_own_is_adopted_without_a_reload_and_goes_back_to_the_range() {
    let own = json!({ "HAPROXY_0_VHOST": "own.x", "HAPROXY_0_BIND_OPTIONS": "maxconn 50" });
    let mut stage = Stage::with_apps(vec![app("/own", 1, 10_001, own), vhost("/web", 1, "web.x")]).await;
    stage.served("own.x", "/", "/own").await;
    let port = async |stage: &Stage| stage.get_at(&format!("http://{}:10001/", stage.host), &[]).await;
    assert_eq!(port(&stage).await.unwrap().app, "/own");
    let before = stage.info().await.unwrap();
    stage.end_bridge().await.unwrap();
    stage.bridge();
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.x", 2).await;
    assert_eq!(port(&stage).await.unwrap().app, "/own");
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
    stage.put("/v2/apps/own", json!({ "labels": { "HAPROXY_0_VHOST": "own.x" } })).await;
    until("the range to have it", async || (!stage.current().contains("maxconn 50")).then_some(())).await;
    until("the port to be there", async || port(&stage).await.filter(|answer| answer.app == "/own")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_has_only_hosts_and_ports_that_the_operator_allows_it() {
    let mut stage = Stage::set().await;
    let policy = "[policy.vhosts]\n\"/team-a/**\" = [\"*.a.x\", \"a.x\"]\n\"/free\" = [\"**\"]\n\
                  [policy.ports]\n\"/team-a/**\" = [\"10001-10005\"]\n\"/free\" = [\"10009\"]\n";
    stage.config.policy = Config::from_text(policy, []).unwrap().policy;
    let with = |id: &str, port: u16, labels: serde_json::Value| app(id, 1, port, labels);
    stage
        .marathon
        .create_apps(vec![
            with(
                "/team-a/web",
                10_001,
                json!({ "HAPROXY_0_VHOST": "www.a.x,b.x", "HAPROXY_0_PORT": "10005" }),
            ),
            with("/team-a/wide", 10_006, json!({ "HAPROXY_0_PATH": "/wide" })),
            with("/team-b/web", 10_002, json!({ "HAPROXY_0_VHOST": "other.a.x" })),
            with("/free", 10_009, json!({ "HAPROXY_0_VHOST": "*.c.x" })),
        ])
        .await
        .unwrap();
    std::fs::write(
        stage.path("rules.toml"),
        "[[rule]]\napp = \"/team-b/web\"\n[[rule.route]]\nhost = \"rule.a.x\"\n[[rule.route]]\nacl = \"path /acl\"\n",
    )
    .unwrap();
    stage.bridge();
    stage.served("www.a.x", "/", "/team-a/web").await;
    stage.served("any.c.x", "/", "/free").await;
    for (host, path) in
        [("b.x", "/"), ("other.a.x", "/"), ("rule.a.x", "/"), ("any", "/wide"), ("any", "/acl")]
    {
        assert_eq!(stage.get(host, path).await.unwrap().status, 404, "{host}{path}");
    }
    let port = async |port: u16| stage.get_at(&format!("http://{}:{port}/", stage.host), &[]).await;
    assert_eq!(port(10_005).await.unwrap().app, "/team-a/web");
    assert_eq!(port(10_009).await.unwrap().app, "/free");
    assert!(port(10_002).await.is_none() && port(10_006).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_and_green_are_one_service_until_the_old_one_is_gone() {
    let version = |id: &str, instances: u32, port: u16, started: &str| {
        let labels = json!({
            "HAPROXY_0_VHOST": "shop.x", "HAPROXY_0_PORT": "10010", "HAPROXY_DEPLOYMENT_GROUP": "shop",
            "HAPROXY_DEPLOYMENT_STARTED_AT": started, "HAPROXY_DEPLOYMENT_TARGET_INSTANCES": "2",
            "HAPROXY_DEPLOYMENT_ALT_PORT": "10011", "HAPROXY_APP_ID": "shop",
        });
        app(id, instances, port, labels)
    };
    let stage = Stage::with_apps(vec![
        version("/shop-green", 2, 10_010, "2024-01-01T00:00:00"),
        // It waits for the host, and would have it by its id.
        vhost("/aaa", 1, "shop.x,aaa.x"),
    ])
    .await;
    stage.served("aaa.x", "/", "/aaa").await;
    stage.delete("/v2/apps/aaa").await;
    let green = stage.tasks("shop.x", 2).await;
    until("the last deployment to end", async || {
        stage.post("/v2/apps", vhost("/aaa", 1, "shop.x,aaa.x")).await.is_success().then_some(())
    })
    .await;
    stage.served("aaa.x", "/", "/aaa").await;
    let before = stage.info().await.unwrap();
    stage.post("/v2/apps", version("/shop-blue", 1, 10_011, "2024-02-01T00:00:00")).await;
    // One new one takes over from one old one.
    let mixed = until("a new task beside an old one", async || {
        let tasks = stage.tasks("shop.x", 2).await;
        (tasks.intersection(&green).count() == 1).then_some(tasks)
    })
    .await;
    assert!(mixed.iter().any(|task| task.contains("blue")), "{mixed:?}");
    let port = async || stage.get_at(&format!("http://{}:10010/", stage.host), &[]).await.unwrap().app;
    assert!(port().await.starts_with("/shop-"));
    stage.put("/v2/apps/shop-blue", json!({ "instances": 2 })).await;
    until("only new tasks", async || {
        let tasks = stage.tasks("shop.x", 2).await;
        tasks.is_disjoint(&green).then_some(())
    })
    .await;
    stage.delete("/v2/apps/shop-green").await;
    for _ in 0..20 {
        assert_eq!(stage.get("shop.x", "/").await.unwrap().app, "/shop-blue", "it has the host all the time");
    }
    until("the service to be that of the new one", async || {
        stage.current().contains("# /shop-blue port 0").then_some(())
    })
    .await;
    assert_eq!(stage.get("shop.x", "/").await.unwrap().app, "/shop-blue");
    assert_eq!(port().await, "/shop-blue");
    assert_eq!(stage.info().await.unwrap(), before, "the same worker with the same generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_stay_side_by_side_or_have_several_parents_where_all_of_their_labels_say_so() {
    let version = |id: &str, host: &str, labels: &[(&str, &str)]| {
        let mut all = json!({ "HAPROXY_0_VHOST": host, "HAPROXY_DEPLOYMENT_GROUP": "web" });
        for (name, value) in labels {
            all[format!("HAPROXY_DEPLOYMENT_{name}")] = json!(value);
        }
        app(id, 1, 0, all)
    };
    let both = [("NEW_INSTANCES", "1"), ("TARGET_INSTANCES", "2")];
    let of = |parent: &'static str| [&both[..], &[("PARENTS", parent)]].concat();
    let mut apps = vec![
        // One new task takes over from one old task, but where two are wanted.
        version("/over/one", "over.x", &[("STARTED_AT", "2024-01-01T00:00:00")]),
        version("/over/two", "over.x", &[("STARTED_AT", "2024-02-01T00:00:00")]),
        version("/side/one", "side.x", &both),
        version("/side/two", "side.x", &both),
        version("/blue/web", "parents.x", &of("/green")),
        version("/green/web", "parents.x", &of("/blue")),
        // One of them does not name the other's parent, and is no version of it.
        version("/alone/web", "alone.x", &of("/other")),
        version("/other/web", "alone.x", &both),
    ];
    let bad = [
        ("GROUP", "two words"),
        ("STARTED_AT", "yesterday"),
        ("TARGET_INSTANCES", "many"),
        ("NEW_INSTANCES", "few"),
        ("PARENTS", "blue"),
    ];
    let id = |name: &str| format!("/bad/{}", name.to_lowercase().replace('_', "-"));
    for (name, value) in bad {
        let (id, host) = (id(name), format!("{}.x", id(name).replace('/', "")));
        let labels = json!({ "HAPROXY_0_VHOST": host, format!("HAPROXY_DEPLOYMENT_{name}"): value });
        apps.push(app(&id, 1, 0, labels));
    }
    let stage = Stage::with_apps(apps).await;
    for (name, _) in bad {
        stage.served(&format!("{}.x", id(name).replace('/', "")), "/", &id(name)).await;
    }
    for (host, count) in [("over.x", 1), ("side.x", 2), ("parents.x", 2), ("alone.x", 1)] {
        let tasks = stage.tasks(host, count).await;
        assert!(host != "over.x" || tasks.iter().all(|task| task.contains("two")), "{tasks:?}");
    }
    let problems = stage.api("/problems?limit=1000").await.unwrap();
    for (name, _) in bad {
        let label = format!("HAPROXY_DEPLOYMENT_{name}");
        let is_told = problems["problems"].as_array().unwrap().iter().any(|problem| {
            problem["app"] == json!(id(name)) && problem["message"].as_str().unwrap().contains(&label)
        });
        assert!(is_told, "{label}: {problems}");
    }
}
