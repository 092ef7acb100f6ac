//! What labels mean, and what a bad one does.

use causeway::config::{LabelOrder, PathEnd};
use serde_json::{Value, json};

use crate::stage::{Stage, app, until, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_enabled_decide_what_is_served() {
    let labelled = |id: &str, labels: Value| {
        let mut labels = labels;
        labels["HAPROXY_0_VHOST"] = json!(format!("{}.example.com", &id[1..]));
        app(id, 1, 0, labels)
    };
    let mut stage = Stage::set().await;
    stage.config.labels.groups = vec!["external".to_owned()];
    let apps = vec![
        labelled("/in", json!({ "HAPROXY_GROUP": "internal, external" })),
        labelled("/port-in", json!({ "HAPROXY_GROUP": "internal", "HAPROXY_0_GROUP": "external" })),
        labelled("/port-out", json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_GROUP": "internal" })),
        labelled("/out", json!({})),
        labelled("/disabled", json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_ENABLED": "no" })),
    ];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("in.example.com", "/", "/in").await;
    stage.served("port-in.example.com", "/", "/port-in").await;
    for out in ["port-out", "out", "disabled"] {
        assert_eq!(stage.get(&format!("{out}.example.com"), "/").await.unwrap().status, 404, "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_serves_only_what_is_enabled() {
    let mut stage = Stage::set().await;
    stage.config.labels.strict = true;
    let on = json!({ "HAPROXY_0_VHOST": "on.example.com", "HAPROXY_0_ENABLED": "T" });
    stage
        .marathon
        .create_apps(vec![app("/on", 1, 0, on), vhost("/off", 1, "off.example.com")])
        .await
        .unwrap();
    stage.bridge();
    stage.served("on.example.com", "/", "/on").await;
    assert_eq!(stage.get("off.example.com", "/").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn port_mode_and_balance_are_as_labelled() {
    let stage = Stage::with_apps(vec![
        app("/http", 1, 10_001, json!({ "HAPROXY_0_PORT": "10011", "HAPROXY_0_MODE": "HTTP" })),
        app("/outside", 1, 10_002, json!({ "HAPROXY_0_PORT": "9500", "HAPROXY_0_BALANCE": "leastconn" })),
        app(
            "/bad",
            1,
            10_003,
            json!({ "HAPROXY_0_BALANCE": "fastest", "HAPROXY_0_VHOST": "bad.example.com" }),
        ),
    ])
    .await;
    stage.served("bad.example.com", "/", "/bad").await;
    let port = async |port: u16| stage.get_at(&format!("http://{}:{port}/", stage.host), &[]).await;
    assert_eq!(port(10_011).await.unwrap().app, "/http");
    assert!(port(10_001).await.is_none(), "the label replaces the service port");
    assert_eq!(
        port(9_500).await.unwrap().app,
        "/outside",
        "a port outside the range has a frontend of its own"
    );
    let config = stage.current();
    assert!(config.contains("balance leastconn"));
    assert!(config.contains("backend h_bad_0 from http_service\n    balance roundrobin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bamboos_tcp_port_is_listened_on() {
    let mut cache = vhost("/cache", 1, "cache.example.com");
    cache["env"] = json!({ "BAMBOO_TCP_PORT": "10020", "SECRET": { "secret": "name" } });
    let stage = Stage::with_apps(vec![cache]).await;
    stage.served("cache.example.com", "/", "/cache").await;
    assert!(stage.tcp(10_020).await.unwrap().contains("/cache"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_label_is_served_on_its_id_where_the_default_rule_is_on() {
    let mut stage = Stage::set().await;
    stage.config.labels.default_rule = true;
    let plain = json!({ "id": "/team/plain", "cmd": "x", "instances": 1 });
    stage.marathon.create_apps(vec![plain, vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("any.example.com", "/team/plain/page", "/team/plain").await;
    assert_eq!(stage.get("any.example.com", "/team/plainer").await.unwrap().status, 404);
    assert_eq!(
        stage.get("any.example.com", "/web").await.unwrap().status,
        404,
        "a labelled app has its labels only"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_or_port_that_two_want_stays_with_the_first_and_moves_when_it_goes() {
    let stage = Stage::with_apps(vec![
        app("/b", 1, 10_005, json!({ "HAPROXY_0_VHOST": "same.example.com,b.example.com" })),
        app("/a", 1, 10_005, json!({ "HAPROXY_0_VHOST": "same.example.com" })),
        app("/ours", 1, 10_006, json!({ "HAPROXY_0_PORT": "8000", "HAPROXY_0_VHOST": "ours.example.com" })),
    ])
    .await;
    stage.served("same.example.com", "/", "/a").await;
    stage.served("b.example.com", "/", "/b").await;
    stage.served("ours.example.com", "/", "/ours").await;
    let port = async || stage.get_at(&format!("http://{}:10005/", stage.host), &[]).await;
    assert_eq!(port().await.unwrap().app, "/a");
    stage.delete("/v2/apps/a").await;
    stage.served("same.example.com", "/", "/b").await;
    until("the port to move", async || port().await.filter(|answer| answer.app == "/b")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_cannot_be_used_opens_nothing_more_than_it_says() {
    let path = json!({ "HAPROXY_0_VHOST": "path.example.com", "HAPROXY_0_PATH": "api" });
    let guard = json!({ "HAPROXY_0_VHOST": "guard.example.com", "HAPROXY_0_AUTH": "realm:user:$6$x$y" });
    let stage = Stage::with_apps(vec![
        vhost("/good", 1, "good.example.com,,"),
        app("/path", 1, 10_011, path),
        app("/guard", 1, 10_012, guard),
    ])
    .await;
    stage.served("good.example.com", "/", "/good").await;
    assert_eq!(
        stage.get("path.example.com", "/").await.unwrap().status,
        404,
        "not the whole host for a broken path"
    );
    assert_eq!(
        stage.get("guard.example.com", "/").await.unwrap().status,
        503,
        "not open for want of a guard, nor somebody else's"
    );
    let port = stage.get_at(&format!("http://{}:10012/", stage.host), &[]).await;
    assert_eq!(port.unwrap().status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_paths_are_prefixes_they_end_anywhere_and_the_longest_still_wins() {
    let paths = |host: &str, path: &str| json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_PATH": path });
    let mut stage = Stage::set().await;
    stage.config.labels.paths = PathEnd::Prefixes;
    let apps = vec![
        vhost("/root", 1, "a.example.com"),
        app("/api", 1, 10_001, paths("a.example.com", "/api")),
        app("/apis", 1, 10_002, paths("a.example.com", "/apis/")),
        app("/any-case", 1, 10_003, paths("a.example.com", "-i /Case")),
        app("/wild", 1, 10_004, paths("*.w.example.com", "/w")),
        app("/anywhere", 1, 10_005, json!({ "HAPROXY_0_PATH": "/any" })),
    ];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    for (host, path, app) in [
        ("a.example.com", "/api", "/api"),
        ("a.example.com", "/apiary", "/api"),
        ("a.example.com", "/apis", "/apis"),
        ("a.example.com", "/apist", "/api"),
        ("a.example.com", "/apis/", "/apis"),
        ("a.example.com", "/apis/1", "/apis"),
        ("a.example.com", "/caseload", "/any-case"),
        ("a.example.com", "/ap", "/root"),
        ("x.w.example.com", "/www", "/wild"),
        ("b.example.com", "/anybody", "/anywhere"),
    ] {
        stage.served(host, path, app).await;
    }
    assert_eq!(stage.get("x.w.example.com", "/").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_in_the_order_of_marathon_lb_shadow_as_they_do_there() {
    let mut stage = Stage::set().await;
    stage.config.labels.paths = PathEnd::Prefixes;
    stage.config.labels.order = LabelOrder::MarathonLb;
    let path = |path: &str| json!({ "HAPROXY_0_VHOST": "a.example.com", "HAPROXY_0_PATH": path });
    let apps = vec![app("/one", 1, 10_001, path("/one")), app("/two", 1, 10_002, path("/onetwo"))];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("a.example.com", "/onetwo", "/one").await;
}
