//! A stand-in with a client, and waiting by polling with a deadline.

use std::net::SocketAddr;
use std::time::Duration;

use causeway::demo::marathon::{Options, Profile, StandIn};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) standin: StandIn,
    pub(crate) client: Client,
}

pub(crate) fn options(profile: Profile) -> Options {
    Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        profile,
        first_task_port: 0,
        kill_grace: Duration::from_millis(300),
        start_delay: Duration::from_millis(10),
        heartbeat: Duration::from_secs(600),
        ..Options::default()
    }
}

impl Bench {
    pub(crate) async fn start(profile: Profile) -> Self {
        Self::with(options(profile)).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let standin = StandIn::start(options).await.unwrap();
        Self { standin, client: Client::builder().no_proxy().build().unwrap() }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.client.request(method, format!("{}{path}", self.standin.url())).json(&body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, Value::Null).await.1
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(Method::POST, path, body).await;
        assert!(status.is_success(), "{status} {answer}");
        answer
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(Method::PUT, path, body).await;
        assert!(status.is_success(), "{status} {answer}");
        answer
    }

    pub(crate) async fn app(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v2/apps{id}?embed=apps.readiness")).await;
        answer.get("app").cloned().unwrap_or_default()
    }

    /// The app once `condition` holds.
    pub(crate) async fn app_when(&self, id: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut tick = interval(Duration::from_millis(10));
        loop {
            let app = self.app(id).await;
            if condition(&app) {
                return app;
            }
            assert!(Instant::now() < deadline, "never became so: {app:#}");
            tick.tick().await;
        }
    }

    /// The app once its deployment is over.
    pub(crate) async fn settled(&self, id: &str) -> Value {
        self.app_when(id, |app| app["deployments"] == json!([]) && app["tasksRunning"] == app["instances"])
            .await
    }

    pub(crate) async fn stream(&self, query: &str) -> Stream {
        let request =
            format!("GET /v2/events{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
        Stream::open(self.standin.address(), &request).await
    }
}

pub(crate) fn tasks(app: &Value) -> Vec<Value> {
    app["tasks"].as_array().cloned().unwrap_or_default()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Where the first port of a task is.
pub(crate) fn address(task: &Value) -> SocketAddr {
    format!("{}:{}", text(&task["host"]), task["ports"][0]).parse().unwrap()
}

/// A raw connection and what it said so far.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) seen: Vec<u8>,
}

impl Stream {
    pub(crate) async fn open(address: SocketAddr, request: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        Self { socket, seen: Vec::new() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads once; false at the end.
    pub(crate) async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match timeout(PATIENCE, self.socket.read(&mut buffer)).await {
            Ok(Ok(read @ 1..)) => {
                self.seen.extend_from_slice(&buffer[..read]);
                true
            }
            Ok(_) => false,
            Err(_) => panic!("nothing came after: {}", self.text()),
        }
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.text()) {
            assert!(Instant::now() < deadline, "never came after: {}", self.text());
            assert!(self.read().await, "ended after: {}", self.text());
        }
        self.text()
    }

    pub(crate) async fn until_end(&mut self) -> String {
        while self.read().await {}
        self.text()
    }

    /// The payloads of all whole events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.split("\r\n").filter_map(|line| line.strip_prefix("data: "));
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(event) = self.events().into_iter().find(&wanted) {
                return event;
            }
            assert!(self.read().await, "ended after: {}", self.text());
        }
    }
}

/// One HTTP exchange with a task, as text; an error when the connection broke.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example.org\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    if answer.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}
