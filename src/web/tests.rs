use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::server::{GRACE, HEADER_BYTES};
use super::*;
use crate::config::Config;
use crate::reconcile::orders::Orders;
use crate::telemetry::metrics::Source;

struct Served {
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    _state: tempfile::TempDir,
}

fn config(listen: &str) -> (Config, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.haproxy.state_dir = state.path().to_owned();
    config.web.listen = listen.to_owned();
    (config, state)
}

fn serve_on(listen: &str) -> Served {
    let (config, _state) = config(listen);
    let door = Door::open(&config).unwrap();
    let address = door.address().unwrap();
    let (metrics, stop) = (Metrics::default(), CancellationToken::new());
    let serving = tokio::spawn(serve(door, seen(&metrics, &config), stop.clone()));
    Served { address, metrics, stop, serving, _state }
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

fn seen(metrics: &Metrics, config: &Config) -> Seen {
    let (_nobody, brought) = watch::channel(Default::default());
    let (_nobody, view) = watch::channel(Default::default());
    let running = Running::new(brought, Orders::new().0, &config.haproxy);
    let store = crate::rules::open(config).unwrap();
    let (foresight, _state, _desired) = crate::forecast::Foresight::new(config);
    let (_nobody, read) = watch::channel(None);
    Seen {
        metrics: metrics.clone(),
        running,
        history: Default::default(),
        origins: Default::default(),
        rules: RuleDesk::new(store, foresight, view.clone(), config),
        callback: Callback::default(),
        view,
        fleet: Fleet::new(None, &config.haproxy, metrics.clone(), read),
        state_env: Default::default(),
        doors: Doors::open(config).unwrap(),
    }
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
    assert!(
        answer.contains("content-type: text/plain; charset=utf-8\r\n") && answer.ends_with("\r\n\r\nOK"),
        "{answer}"
    );
    let json =
        "GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    let answer = served.say(json).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: BTreeMap<String, serde_json::Value> = serde_json::from_str(body).unwrap();
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["sources"][0]["name"], "marathon");
    assert_eq!(status(&served.get("/", "localhost").await), "200");
    assert_eq!(status(&served.get("/nowhere", "localhost").await), "404");
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&served.say(post).await), "401");
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
    let (mut config, _state) = config(&served.address.to_string());
    let again = Door::open(&config).unwrap();
    // Another state directory, another socket: it is the address that is taken.
    let (other, _other_state) = self::config(&again.address().unwrap().to_string());
    let error = Door::open(&other).unwrap_err().to_string();
    assert!(error.starts_with("web.listen: 127.0.0.1:") && error.contains("web.listen = \"\""), "{error}");
    drop(again);
    config.web.listen = String::new();
    assert_eq!(Door::open(&config).unwrap().address(), None);
}
