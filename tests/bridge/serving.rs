//! The main job.

use serde_json::json;

use crate::stage::{APP_ID, HTTPS, STATS, Stage, app, until, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_leads_to_its_app() {
    let stage = Stage::with_apps(vec![
        vhost("/shop/web", 2, "shop.example.com"),
        app(
            "/shop/api",
            1,
            10_001,
            json!({ "HAPROXY_0_VHOST": "shop.example.com", "HAPROXY_0_PATH": "/api" }),
        ),
        app("/data/cache", 1, 10_002, json!({ "HAPROXY_0_MODE": "tcp" })),
        vhost("/wild", 1, "*.wild.example.com"),
    ])
    .await;
    stage.served("shop.example.com", "/", "/shop/web").await;
    for (host, path, owner) in [
        ("SHOP.Example.com:8000", "/", "/shop/web"),
        ("shop.example.com", "/api", "/shop/api"),
        ("shop.example.com", "/api/orders?x=1", "/shop/api"),
        ("shop.example.com", "/apiary", "/shop/web"),
        ("one.wild.example.com", "/", "/wild"),
    ] {
        assert_eq!(
            stage.get(host, path).await.map(|answer| answer.app).as_deref(),
            Some(owner),
            "{host}{path}"
        );
    }
    for unknown in ["unknown.example.com", "two.one.wild.example.com", "wild.example.com", ""] {
        let answer = stage.get(unknown, "/").await.unwrap();
        assert_eq!(answer.status, 404, "{unknown:?}");
        assert!(answer.body.contains("Nothing is served under this address"));
    }
    let by_id = stage
        .get_at(&format!("http://{}:{APP_ID}/", stage.host), &[("X-Marathon-App-Id", "/shop/web")])
        .await;
    assert_eq!(by_id.unwrap().app, "/shop/web");
    let by_port = stage.get_at(&format!("http://{}:10001/", stage.host), &[]).await.unwrap();
    assert_eq!(by_port.app, "/shop/api");
    assert!(stage.tcp(10_002).await.unwrap().contains("/data/cache"));
    assert_eq!(stage.tcp(10_049).await, None, "a port that nobody has is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_port_tells_health_and_metrics() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let at = |path: &str| format!("http://{}:{STATS}{path}", stage.host);
    assert_eq!(stage.get_at(&at("/_haproxy_health_check"), &[]).await.unwrap().status, 200);
    assert!(
        stage
            .get_at(&at("/metrics"), &[])
            .await
            .unwrap()
            .body
            .contains("haproxy_backend_active_servers{proxy=\"h_web_0\"")
    );
    assert!(stage.get_at(&at("/haproxy?stats;csv"), &[]).await.unwrap().body.contains("h_web_0,slot1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_sends_reaches_the_task_with_our_forwarding_headers() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let spoofed = [("Host", "web.example.com"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "1")];
    let answer = stage.get_at(&format!("http://{}:8000/a/b?c", stage.host), &spoofed).await.unwrap();
    let body = answer.body.to_lowercase();
    assert!(
        body.contains("x-forwarded-proto: http\n") && !body.contains("x-forwarded-proto: https"),
        "{body}"
    );
    assert!(body.contains("x-forwarded-port: 8000") && body.contains("x-forwarded-for: 127."), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_shows_within_a_second_and_down_to_nothing_is_503() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    let first = stage.tasks("web.example.com", 1).await;
    stage.put("/v2/apps/web", json!({ "instances": 3 })).await;
    let three = stage.tasks("web.example.com", 3).await;
    assert!(three.is_superset(&first));
    stage.put("/v2/apps/web", json!({ "instances": 0 })).await;
    let answer = stage.answers("web.example.com", "/", 503).await;
    assert!(answer.body.contains("This service has no server just now"));
    stage.delete("/v2/apps/web").await;
    stage.answers("web.example.com", "/", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_its_check_gets_no_request_until_it_recovers() {
    let mut web = vhost("/web", 2, "web.example.com");
    web["healthChecks"] = json!([{
        "protocol": "HTTP", "path": "/health", "portIndex": 0, "gracePeriodSeconds": 1,
        "intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 0,
    }]);
    let stage = Stage::with_apps(vec![web]).await;
    let both = stage.tasks("web.example.com", 2).await;
    let sick = both.first().unwrap();
    stage.put(&format!("/standin/tasks/{sick}/health"), json!({ "healthy": false })).await;
    let one = stage.tasks("web.example.com", 1).await;
    assert!(!one.contains(sick));
    stage.put(&format!("/standin/tasks/{sick}/health"), json!({ "healthy": true })).await;
    assert_eq!(stage.tasks("web.example.com", 2).await, both);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_the_dcos_tutorial_is_served_on_its_vhost_and_its_service_port() {
    // The old form on a new Marathon: docker.portMappings with BRIDGE, beside portDefinitions that mappings override.
    let tutorial = json!({
        "id": "/tweet", "cmd": "run", "instances": 3, "cpus": 0.25, "mem": 256,
        "container": { "type": "DOCKER", "volumes": [], "docker": {
            "image": "x/tweet", "network": "BRIDGE", "privileged": false, "parameters": [], "forcePullImage": false,
            "portMappings": [{
                "containerPort": 3000, "hostPort": 0, "servicePort": 10000, "protocol": "tcp",
                "labels": { "VIP_0": "1.1.1.1:30000" },
            }],
        }},
        "healthChecks": [{ "path": "/", "protocol": "HTTP", "portIndex": 0, "gracePeriodSeconds": 300,
            "intervalSeconds": 5, "timeoutSeconds": 2, "maxConsecutiveFailures": 2, "ignoreHttp1xx": false }],
        "labels": { "HAPROXY_0_VHOST": "public-agent.example.com", "HAPROXY_GROUP": "external" },
        "portDefinitions": [{ "port": 10000, "protocol": "tcp", "labels": {} }],
    });
    let mut without_vhost = tutorial.clone();
    without_vhost["id"] = json!("/tweet-2");
    without_vhost["labels"] = json!({ "HAPROXY_GROUP": "external" });
    without_vhost["container"]["docker"]["portMappings"][0]["servicePort"] = json!(10010);
    let mut stage = Stage::set().await;
    assert_eq!(stage.post("/v2/apps", tutorial).await, 201);
    assert_eq!(stage.post("/v2/apps", without_vhost).await, 201);
    stage.bridge();
    stage.tasks("public-agent.example.com", 3).await;
    let port = async |port: u16| stage.get_at(&format!("http://{}:{port}/", stage.host), &[]).await;
    assert_eq!(port(10_000).await.unwrap().app, "/tweet");
    until("the port of the app without vhost", async || {
        port(10_010).await.filter(|answer| answer.app == "/tweet-2")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_with_the_certificate_of_the_name() {
    let mut stage = Stage::set().await;
    let certificate = rcgen::generate_simple_self_signed(vec!["web.example.com".to_owned()]).unwrap();
    let pem = format!("{}{}", certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let path = stage.path("web.pem");
    std::fs::write(&path, pem).unwrap();
    stage.config.tls.certificates = vec![path];
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    let address = format!("{}:{HTTPS}", stage.host).parse().unwrap();
    let client = reqwest::Client::builder()
        .resolve("web.example.com", address)
        .danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let response = client.get(format!("https://web.example.com:{HTTPS}/")).send().await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.text().await.unwrap().to_lowercase();
    assert!(body.contains("app: /web") && body.contains("x-forwarded-proto: https"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_pages_replace_the_built_in_ones() {
    let mut stage = Stage::set().await;
    std::fs::write(stage.path("404.html"), "<p>our own 404</p>").unwrap();
    std::fs::write(stage.path("503.html"), "<p>our own 503</p>").unwrap();
    stage.config.haproxy.errors.not_found = Some(stage.path("404.html"));
    stage.config.haproxy.errors.unavailable = Some(stage.path("503.html"));
    stage.marathon.create_apps(vec![vhost("/none", 0, "none.example.com")]).await.unwrap();
    stage.bridge();
    assert_eq!(stage.answers("none.example.com", "/", 503).await.body, "<p>our own 503</p>");
    assert_eq!(stage.answers("unknown.example.com", "/", 404).await.body, "<p>our own 404</p>");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_profile_of_marathon_is_served() {
    for profile in ["0.11", "1.4", "1.8", "1.11"] {
        let mut stage = Stage::set_with(|options| options.profile = profile.parse().unwrap()).await;
        stage.bridge();
        let web = vhost("/web", 2, "web.example.com");
        assert!(stage.post("/v2/apps", web).await.is_success(), "{profile}");
        let before = stage.tasks("web.example.com", 2).await;
        stage.put("/v2/apps/web", json!({ "instances": 1 })).await;
        let after = stage.tasks("web.example.com", 1).await;
        assert!(after.is_subset(&before), "{profile}: a scale-down keeps what stays");
        stage.end_bridge().await.unwrap();
    }
}
