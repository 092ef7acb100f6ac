use std::time::Duration;

use causeway::demo::marathon::Profile;
use serde_json::{Value, json};

use super::bench::{Bench, Stream, options, text};

const WIRE: &str = include_str!("../fixtures/marathon/sse-jetty-9.4.57.bin");

/// Puts the fixture's values where they differ from run to run.
fn with_fixed_values(said: &str) -> String {
    let date = said.lines().find(|line| line.starts_with("Date: ")).unwrap();
    let fixed = WIRE.lines().find(|line| line.starts_with("Date: ")).unwrap();
    assert_eq!(date.len(), fixed.len());
    let start = said.find(",\"timestamp\":").unwrap();
    let end = start + said[start..].find('}').unwrap();
    format!("{}{}", &said[..start], &said[end..]).replace(date, fixed)
}

#[tokio::test]
async fn a_stream_is_byte_for_byte_jettys() {
    let mut options = options(Profile::V1_11);
    options.heartbeat = Duration::from_millis(300);
    let bench = Bench::with(options).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.ends_with("\r\n\r\n\r\n")).await;
    bench.post("/standin/events", json!({"a": 1, "eventType": "x", "timestamp": "t"})).await;
    let said = stream.until(|said| said.contains("event: x") && said.ends_with("\r\n\r\n")).await;
    let published = r#"{"a":1,"eventType":"x","timestamp":"t"}"#;
    assert_eq!(with_fixed_values(&said).replace(published, r#"{"a":1}"#), WIRE);
}

#[tokio::test]
async fn a_wrong_accept_gets_jettys_405_page() {
    let bench = Bench::start(Profile::V1_11).await;
    for accept in ["Accept: text/event-stream, */*\r\n", "Accept: text/event-stream;q=1\r\n", ""] {
        let request = format!("GET /v2/events HTTP/1.1\r\nHost: x\r\n{accept}\r\n");
        let mut stream = Stream::open(bench.standin.address(), &request).await;
        stream.until_end().await;
        assert_eq!(stream.seen, include_bytes!("../fixtures/marathon/sse-405-jetty-9.4.57.bin"), "{accept}");
    }
    let request = "GET /v2/events HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nAccept: text/event-stream\r\n\r\n";
    let mut stream = Stream::open(bench.standin.address(), request).await;
    assert!(stream.until(|said| said.contains("\r\n\r\n")).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_kept_alive_connection_can_become_a_stream() {
    let bench = Bench::start(Profile::V1_11).await;
    let mut stream = Stream::open(bench.standin.address(), "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stream.until(|said| said.ends_with("pong\n")).await;
    let request = "GET /v2/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream.socket, request.as_bytes()).await.unwrap();
    stream.until(|said| said.contains("event_stream_attached")).await;
}

#[tokio::test]
async fn a_heartbeat_can_arrive_in_two_pieces() {
    let mut options = options(Profile::V1_11);
    options.heartbeat = Duration::from_millis(200);
    let bench = Bench::with(options).await;
    bench.put("/standin/faults", json!({"events": {"split_heartbeat": {"delay_ms": 100}}})).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("}\r\n\r\n\r") && said.ends_with('\r')).await;
    let said = stream.until(|said| said.ends_with('\n')).await;
    assert!(said.ends_with("\r\n"));
}

#[tokio::test]
async fn only_the_types_asked_for_are_sent_from_1_4_on() {
    for (profile, filtered) in [(Profile::V1_4, true), (Profile::V0_11, false)] {
        let bench = Bench::start(profile).await;
        let mut stream = bench.stream("?event_type=wanted&event_type=event_stream_attached").await;
        stream.until(|said| said.contains("event_stream_attached")).await;
        for kind in ["unwanted", "wanted"] {
            bench.standin.publish(json!({"eventType": kind})).unwrap();
        }
        let said = stream.until(|said| said.contains("event: wanted")).await;
        assert_eq!(!said.contains("unwanted"), filtered, "{profile}");
    }
}

/// Publishes far more than the sockets and the queue hold, to a reader that does not read.
async fn overflow(profile: Profile) -> (Bench, Stream) {
    let bench = Bench::start(profile).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    let filler = "x".repeat(100_000);
    for index in 0..3000 {
        bench.standin.publish(json!({"eventType": "filler", "index": index, "filler": filler})).unwrap();
        tokio::task::yield_now().await;
    }
    (bench, stream)
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_from_1_8_on() {
    let (bench, mut stream) = overflow(Profile::V1_8).await;
    stream.until_end().await;
    assert!(stream.events().len() < 3000);
    assert_eq!(bench.get("/standin/counters").await["streamsOpen"], 0);
}

#[tokio::test]
async fn a_slow_reader_loses_events_without_notice_before() {
    let (bench, mut stream) = overflow(Profile::V1_4).await;
    // Whatever is queued has to be read first, or the last event is lost as well.
    loop {
        bench.standin.publish(json!({"eventType": "last"})).unwrap();
        assert!(stream.read().await);
        if stream.seen.windows(11).any(|window| window == b"event: last") {
            break;
        }
    }
    let fillers = stream.text().matches("event: filler").count();
    assert!(fillers < 3000, "{fillers}");
}

#[tokio::test]
async fn whole_plans_are_sent_until_1_7_unless_light_ones_are_asked_for() {
    let bench = Bench::start(Profile::V1_4).await;
    let (mut heavy, mut light) = (bench.stream("").await, bench.stream("?plan-format=light").await);
    for stream in [&mut heavy, &mut light] {
        stream.until(|said| said.contains("event_stream_attached")).await;
    }
    bench.post("/v2/apps", json!({"id": "/g/a", "cmd": "x"})).await;
    let is_info = |event: &Value| event["eventType"] == "deployment_info";
    let plan = heavy.event(is_info).await["plan"].take();
    assert_eq!(plan["original"]["apps"], json!([]));
    assert_eq!(plan["target"]["groups"][0]["apps"][0]["id"], "/g/a");
    let plan = light.event(is_info).await["plan"].take();
    assert!(plan.get("original").is_none());
    assert_eq!(plan["steps"][0]["actions"][0]["action"], "StartApplication");
}

#[tokio::test]
async fn a_single_write_is_announced_with_its_definition_after_it_is_readable() {
    let bench = Bench::start(Profile::V1_11).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", json!({"id": "/g/a", "cmd": "x", "labels": {"k": "v"}})).await;
    let posted = stream.event(|event| event["eventType"] == "api_post_event").await;
    assert_eq!(posted["appDefinition"]["labels"]["k"], "v");
    assert_eq!(posted["uri"], "/v2/apps");
    let change = stream.event(|event| event["eventType"] == "group_change_success").await;
    assert_eq!(change["groupId"], "/g");
    assert_eq!(change["version"], bench.app("/g/a").await["version"]);
    assert_eq!(text(&change["timestamp"]).len(), 24);
}
