//! What Causeway tells of itself.

use std::collections::BTreeSet;

use causeway::bridge;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::stage::{Answer, Stage, until, vhost};

impl Stage {
    /// Asks Causeway itself.
    pub(crate) async fn ask(&self, path: &str) -> Option<Answer> {
        self.get_at(&format!("http://{}{path}", self.web.expect("a bridge is started")), &[]).await
    }

    /// The value of a metric: of its first line that begins so.
    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let text = self.ask("/metrics").await?.body;
        let value = text.lines().find(|shown| shown.starts_with(line))?.rsplit_once(' ')?.1;
        value.parse().ok()
    }

    async fn until_metric(&self, line: &str, least: f64) {
        until(&format!("{line} to be at least {least}"), async || {
            self.metric(line).await.filter(|value| *value >= least)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_under_the_name_of_the_app_and_reloads_by_their_reasons() {
    let stage = Stage::with_apps(vec![vhost("/shop/web", 1, "web.example.com")]).await;
    for _ in 0..5 {
        stage.served("web.example.com", "/", "/shop/web").await;
    }
    let of_web = |name: &str, more: &str| {
        format!(
            "causeway_service_{name}{{app=\"/shop/web\",port_index=\"0\",backend=\"h_shop_web_0\"{more}}}"
        )
    };
    stage.until_metric(&of_web("requests_total", ""), 5.0).await;
    stage.until_metric(&of_web("responses_total", ",code=\"2xx\""), 5.0).await;
    assert_eq!(stage.metric(&of_web("up", "")).await, Some(1.0));
    assert_eq!(stage.metric(&of_web("servers_up", "")).await, Some(1.0));
    assert_eq!(stage.metric("causeway_haproxy_reload_reasons_total{reason=\"start\"}").await, Some(1.0));
    assert_eq!(stage.metric("causeway_haproxy_reloads_total{how=\"start\"}").await, Some(1.0));
    assert_eq!(stage.metric("causeway_haproxy_workers{state=\"current\"}").await, Some(1.0));

    stage.put("/v2/apps/shop/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    stage.until_metric("causeway_plans_total{kind=\"runtime\"}", 1.0).await;
    stage.until_metric("causeway_event_to_applied_seconds_count", 1.0).await;
    stage.until_metric("causeway_servers", 2.0).await;
    stage.until_metric(&of_web("servers_up", ""), 2.0).await;
    for line in [
        "causeway_marathon_events_total{type=\"status_update_event\"}",
        "causeway_marathon_reads_total{read=\"app\"}",
        "causeway_marathon_read_bytes_total{read=\"list\"}",
        "causeway_marathon_read_bytes_total{read=\"stream\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(stage.metric(line).await.is_some_and(|value| value >= 1.0), "{line}");
    }
    assert!(stage.metric("causeway_source_age_seconds{source=\"marathon\"}").await.unwrap() < 20.0);
    assert_eq!(stage.metric("causeway_source_connected{source=\"marathon\"}").await, Some(1.0));

    assert_eq!(stage.ask("/readyz").await.unwrap().status, 200);
    assert_eq!(stage.ask("/status").await.unwrap().body, "OK");
    let url = format!("http://{}/status", stage.web.expect("a bridge is started"));
    let status = stage.get_at(&url, &[("Accept", "application/json")]).await.unwrap().body;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["ready"], &status["haproxy"]["up"]), (&json!(true), &json!(true)));
    assert_eq!(status["haproxy"]["generation"], json!(stage.info().await.unwrap().generation));
}

#[tokio::test(flavor = "multi_thread")]
async fn statsd_gets_bamboos_names() {
    let mut stage = Stage::set().await;
    let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stage.config.statsd.enabled = true;
    stage.config.statsd.host = listener.local_addr().unwrap().to_string();
    stage.config.statsd.prefix = "bamboo-server.".to_owned();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    std::fs::write(
        stage.path("rules.toml"),
        "[[rule]]\napp = \"/web\"\n[[rule.route]]\nhost = \"rule.example.com\"\n",
    )
    .unwrap();
    let mut missing = BTreeSet::from([
        "restart:1|c",
        "callback.marathon:1|c",
        "reload.domain:1|c",
        "haproxy.reload.marathon.reloaded:1|c",
        "haproxy.reload.marathon.duration",
        "haproxy.runtime.applied:1|c",
    ]);
    let mut buffer = [0; 512];
    while !missing.is_empty() {
        let packet =
            tokio::time::timeout(std::time::Duration::from_secs(20), listener.recv(&mut buffer)).await;
        let length = packet.unwrap_or_else(|_| panic!("never sent: {missing:?}")).unwrap();
        let packet = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let metric = packet.strip_prefix("bamboo-server.").unwrap_or_else(|| panic!("{packet}"));
        missing.retain(|expected| *expected != metric && *expected != metric.split(':').next().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statsd_host_that_does_not_exist_does_no_harm() {
    let mut stage = Stage::set().await;
    stage.config.statsd.enabled = true;
    stage.config.statsd.host = "statsd.invalid:8125".to_owned();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.until_metric("causeway_statsd_dropped_total", 1.0).await;
    stage.end_bridge().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_marathon_is_away_causeway_lives_but_is_not_ready() {
    let mut stage = Stage::set().await;
    stage.config.marathon.endpoints = vec!["http://127.0.0.1:1".to_owned()];
    stage.bridge();
    let answer = until("an answer", async || stage.ask("/readyz").await).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("Marathon has not told its apps yet"), "{}", answer.body);
    assert_eq!(stage.ask("/healthz").await.unwrap().status, 200);
    stage.until_metric("causeway_marathon_reconnects_total", 1.0).await;
    assert_eq!(stage.metric("causeway_source_connected{source=\"marathon\"}").await, Some(0.0));
    stage.end_bridge().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_told_before_haproxy_is_touched() {
    let mut stage = Stage::set().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stage.config.web.listen = taken.local_addr().unwrap().to_string();
    let error = bridge::run(stage.config.clone(), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("web.listen: 127.0.0.1:"), "{error}");
    assert!(!stage.config.haproxy.state_dir.join("gen-1").exists());
}
