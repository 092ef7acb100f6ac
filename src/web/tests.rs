use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::Config;
use crate::telemetry::metrics::Source;

struct Served {
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<io::Result<()>>,
}

fn serve_on(listen: &str) -> Served {
    let door = Door::open(&WebConfig { listen: listen.to_owned() }).unwrap().unwrap();
    let (address, metrics, stop) = (door.address(), Metrics::default(), CancellationToken::new());
    let serving = tokio::spawn(serve(Some(door), seen(&metrics), stop.clone()));
    Served { address, metrics, stop, serving }
}

impl Served {
    /// Says these bytes, and gives all that is answered.
    async fn say(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _broken_off = stream.read_to_string(&mut answer).await;
        answer
    }

    async fn get(&self, path: &str, host: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn seen(metrics: &Metrics) -> Seen {
    let (_nobody, brought) = watch::channel(Default::default());
    let (_nobody, view) = watch::channel(Default::default());
    let running = Running::new(brought, &Config::default().haproxy);
    Seen { metrics: metrics.clone(), running, view, history: Default::default() }
}

#[tokio::test]
async fn only_the_names_of_loopback_are_answered_to() {
    let served = serve_on("127.0.0.1:0");
    for (host, expected) in [
        ("127.0.0.1:9089", "200"),
        ("127.1.2.3", "200"),
        ("LocalHost:80", "200"),
        ("[::1]:9089", "200"),
        ("rebound.example.com", "421"),
        ("localhost.example.com", "421"),
        ("10.0.0.1", "421"),
        ("localhost@example.com", "421"),
        ("127.0.0.1.example.com:9089", "421"),
        ("", "421"),
    ] {
        let answer = served.get("/healthz", host).await;
        assert_eq!(status(&answer), expected, "{host:?}: {answer}");
    }
    let without = served.say("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&without), "421");
    let twice = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n";
    assert_ne!(status(&served.say(twice).await), "200");
    let target = "GET http://evil/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&served.say(target).await), "421");
}

#[tokio::test]
async fn readiness_says_what_is_missing_and_then_holds() {
    let served = serve_on("127.0.0.1:0");
    let answer = served.get("/readyz", "localhost").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.contains("Marathon has not told its apps yet"), "{answer}");
    served.metrics.source_ready(Source::Marathon);
    served.metrics.source_ready(Source::Rules);
    served.metrics.brought(true);
    let answer = served.get("/readyz", "localhost").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with(r#"{"ready":true,"waits_for":[]}"#), "{answer}");
}

#[tokio::test]
async fn pages_are_what_they_say_and_nothing_else_is_there() {
    let served = serve_on("[::1]:0");
    let metrics = served.get("/metrics", "localhost").await.to_lowercase();
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(metrics.contains("x-content-type-options: nosniff\r\n"));
    assert!(metrics.contains("process_resident_memory_bytes ") && metrics.contains("# eof\n"), "{metrics}");
    let answer = served.get("/status", "localhost").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: BTreeMap<String, serde_json::Value> = serde_json::from_str(body).unwrap();
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["sources"][0]["name"], "marathon");
    assert_eq!(status(&served.get("/", "localhost").await), "404");
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&served.say(post).await), "405");
    let long =
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(2 * HEADER_BYTES));
    assert_eq!(status(&served.say(&long).await), "431");
}

#[tokio::test]
async fn it_ends_in_time_although_a_client_stays_and_its_address_is_free_at_once() {
    let served = serve_on("127.0.0.1:0");
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    served.stop.cancel();
    tokio::time::timeout(GRACE * 2, served.serving).await.unwrap().unwrap().unwrap();
    let again = Door::open(&WebConfig { listen: served.address.to_string() }).unwrap().unwrap();
    let error = Door::open(&WebConfig { listen: again.address().to_string() }).unwrap_err().to_string();
    assert!(error.starts_with("web.listen: 127.0.0.1:") && error.contains("web.listen = \"\""), "{error}");
    assert!(Door::open(&WebConfig { listen: String::new() }).unwrap().is_none());
}
