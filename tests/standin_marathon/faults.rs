use std::time::Duration;

use causeway::demo::marathon::Profile;
use reqwest::{Client, Method, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::bench::{Bench, Stream, options, tasks, text};

#[tokio::test]
async fn a_standby_redirects_streams_and_proxies_the_rest() {
    let (leader, standby) = (Bench::start(Profile::V1_11).await, Bench::start(Profile::V1_11).await);
    leader.post("/v2/apps", json!({"id": "/a", "cmd": "x"})).await;
    leader.settled("/a").await;
    let target = leader.standin.url();
    standby.put("/standin/faults", json!({"standby": {"mode": "redirect", "target": target}})).await;
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
    let url = format!("{}/v2/events?event_type=x", standby.standin.url());
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], format!("{target}/v2/events?event_type=x"));
    let answer = client.get(format!("{}/v2/apps/a", standby.standin.url())).send().await.unwrap();
    assert_eq!(answer.headers()["x-marathon-leader"], target);
    assert_eq!(answer.headers()["x-marathon-via"], format!("1.1 {}", standby.standin.address()));
    assert_eq!(answer.json::<Value>().await.unwrap()["app"]["id"], "/a");
    standby.put("/v2/apps/a", json!({"instances": 2})).await;
    assert_eq!(leader.app("/a").await["instances"], 2);
    standby.put("/standin/faults", json!({"standby": {"mode": "proxy", "target": target}})).await;
    let mut stream = standby.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    leader.standin.publish(json!({"eventType": "through"})).unwrap();
    stream.until(|said| said.contains("event: through")).await;
}

#[tokio::test]
async fn a_standby_whose_leader_is_gone_answers_502() {
    let standby = Bench::start(Profile::V1_11).await;
    standby
        .put("/standin/faults", json!({"standby": {"mode": "proxy", "target": "http://127.0.0.1:1"}}))
        .await;
    let (status, body) = standby.send(Method::GET, "/v2/apps", Value::Null).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(text(&body).contains("<html>"));
}

#[tokio::test]
async fn streams_can_end_at_once() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.put("/standin/faults", json!({"events": "eof"})).await;
    let said = bench.stream("").await.until_end().await;
    assert!(
        said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\n") && !said.contains("event:")
    );
}

#[tokio::test]
async fn streams_can_fall_silent_without_ending() {
    let mut options = options(Profile::V1_11);
    options.heartbeat = Duration::from_millis(20);
    let bench = Bench::with(options).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    bench.put("/standin/faults", json!({"events": "silent"})).await;
    bench.standin.publish(json!({"eventType": "unheard"})).unwrap();
    // What was sent before the switch may still be on its way.
    let deadline = Instant::now() + Duration::from_millis(400);
    let mut quiet = false;
    while Instant::now() < deadline && !quiet {
        quiet = timeout(Duration::from_millis(150), stream.read()).await.is_err();
    }
    assert!(quiet);
    assert!(!stream.text().contains("unheard"));
    let mut fresh = bench.stream("").await;
    fresh.until(|said| said.ends_with("\r\n\r\n")).await;
    assert!(timeout(Duration::from_millis(150), fresh.read()).await.is_err());
    bench.send(Method::DELETE, "/standin/faults", Value::Null).await;
    bench.standin.publish(json!({"eventType": "heard"})).unwrap();
    stream.until(|said| said.contains("event: heard")).await;
}

#[tokio::test]
async fn streams_can_be_cut_as_if_their_readers_were_slow() {
    let bench = Bench::start(Profile::V1_4).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    bench.put("/standin/faults", json!({"events": "slow_reader_close"})).await;
    bench.standin.publish(json!({"eventType": "x"})).unwrap();
    assert!(!stream.until_end().await.contains("event: x"));
}

#[tokio::test]
async fn reads_can_fail_with_any_status_and_form() {
    let bench = Bench::start(Profile::V1_11).await;
    for status in [401, 404, 502, 503] {
        bench.put("/standin/faults", json!({"http": {"status": status, "body": "html"}})).await;
        let (given, body) = bench.send(Method::GET, "/v2/apps", Value::Null).await;
        assert_eq!(given.as_u16(), status);
        assert!(text(&body).starts_with("<html>"));
    }
    bench.put("/standin/faults", json!({"http": {"status": 503}, "paths": ["/v2/apps"], "count": 2})).await;
    assert_eq!(bench.send(Method::GET, "/v2/info", Value::Null).await.0, StatusCode::OK);
    assert_eq!(bench.get("/v2/apps").await["message"], "Service Unavailable");
    assert_eq!(bench.send(Method::GET, "/v2/apps", Value::Null).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bench.send(Method::GET, "/v2/apps", Value::Null).await.0, StatusCode::OK);
}

#[tokio::test]
async fn reads_can_be_useless_in_every_way() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/a", "cmd": "x"})).await;
    bench.put("/standin/faults", json!({"http": "empty_list"})).await;
    assert_eq!(bench.get("/v2/apps").await, json!({"apps": []}));
    bench.put("/standin/faults", json!({"http": "missing_apps"})).await;
    assert!(bench.get("/v2/apps").await["message"].is_string());
    bench.put("/standin/faults", json!({"http": "not_json"})).await;
    assert!(bench.get("/v2/apps").await.is_string());
    bench.put("/standin/faults", json!({"http": "truncated"})).await;
    let said = Stream::open(bench.standin.address(), "GET /v2/apps HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .until_end()
        .await;
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let promised: usize =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    assert_eq!(body.len(), promised / 2);
    bench.put("/standin/faults", json!({"http": "hang"})).await;
    let mut hanging = Stream::open(bench.standin.address(), "GET /v2/apps HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(timeout(Duration::from_millis(200), hanging.read()).await.is_err());
}

#[tokio::test]
async fn a_failover_closes_streams_and_forgets_what_marathon_checked() {
    let bench = Bench::start(Profile::V1_11).await;
    let check = |protocol: &str| json!({"path": "/", "protocol": protocol, "intervalSeconds": 600});
    bench
        .post(
            "/v2/apps",
            json!({"id": "/f", "cmd": "x", "healthChecks": [check("HTTP"), check("MESOS_HTTP")]}),
        )
        .await;
    let results = |app: &Value| tasks(app)[0]["healthCheckResults"].as_array().unwrap().len();
    bench.app_when("/f", |app| app["deployments"] == json!([]) && results(app) == 2).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    bench.post("/standin/failover", json!({"pause_ms": 300})).await;
    stream.until_end().await;
    assert!(!bench.stream("").await.until_end().await.contains("attached"));
    let app = bench.app_when("/f", |app| app["id"] == "/f").await;
    assert_eq!(results(&app), 1);
    bench.stream("").await.until(|said| said.contains("event_stream_attached")).await;
}

#[tokio::test]
async fn a_deployment_can_be_announced_before_it_is_readable() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/e", "cmd": "x"})).await;
    bench.settled("/e").await;
    bench.put("/standin/faults", json!({"deployment_info_first": 300})).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    let change = async { bench.put("/v2/apps/e", json!({"labels": {"n": "1"}})).await };
    let watch = async {
        stream.event(|event| event["eventType"] == "deployment_info").await;
        assert_eq!(bench.app("/e").await["labels"], json!({}));
        stream.event(|event| event["eventType"] == "group_change_success").await;
        assert_eq!(bench.app("/e").await["labels"]["n"], "1");
    };
    tokio::join!(change, watch);
}

#[tokio::test]
async fn counters_tell_what_was_read() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.send(Method::DELETE, "/standin/counters", Value::Null).await;
    bench.get("/v2/apps").await;
    bench.get("/v2/apps").await;
    bench.get("/ping").await;
    let counters = bench.get("/standin/counters").await;
    assert_eq!(counters["requests"], json!({"apps": 2, "ping": 1}));
    assert!(counters["bytesSent"].as_u64().unwrap() >= 25);
}
