//! The stand-in Marathon as a process of its own, and a client of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::process::{Process, Result, until};

pub(crate) const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");
/// Status updates of a task that is killed and of the one that replaces it: KILLING, KILLED, STAGING, STARTING, RUNNING.
pub(crate) const EVENTS_OF_A_REPLACEMENT: usize = 5;

/// A stand-in Marathon.
pub(crate) struct Marathon {
    _process: Process,
    pub(crate) url: String,
    /// The size of its whole list.
    pub(crate) bytes: usize,
    client: reqwest::Client,
}

impl Marathon {
    /// Starts one with these apps; ready when its list grows no more.
    pub(crate) async fn start(dir: &Path, port: u16, apps: &[Value]) -> Result<Self> {
        let file = dir.join("apps.json");
        std::fs::write(&file, serde_json::to_vec(apps)?)?;
        // Task ports are below those that the system gives to outgoing connections.
        let first_task_port = (port + 10_000).to_string();
        let process = Process::spawn(
            Command::new(CAUSEWAY)
                .args(["marathon", "--profile", "1.11", "--port", &port.to_string()])
                .args(["--first-task-port", &first_task_port, "--apps"])
                .arg(&file)
                .stdout(Stdio::null()),
        )?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
        let url = format!("http://127.0.0.1:{port}");
        let list = format!("{url}/v2/apps?embed=apps.tasks");
        let mut last = 0;
        let bytes = until("the apps of the stand-in Marathon", async || {
            let body = client.get(&list).send().await.ok()?.bytes().await.ok()?;
            let whole =
                body.len() > apps.len() * 100 && body.len() == std::mem::replace(&mut last, body.len());
            whole.then_some(body.len())
        })
        .await?;
        Ok(Self { _process: process, url, bytes, client })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let response = self.client.get(format!("{}{path}", self.url)).send().await?;
        Ok(response.error_for_status()?.json().await?)
    }

    /// Sends a change; the size of the answer.
    pub(crate) async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Result<usize> {
        let request = self.client.request(method.clone(), format!("{}{path}", self.url)).json(body);
        let response = request.send().await?;
        let status = response.status();
        let answer = response.text().await?;
        if !status.is_success() {
            return Err(format!("{method} {path}: {status} {answer}").into());
        }
        Ok(answer.len())
    }

    /// Changes an app, whatever deployment is under way.
    pub(crate) async fn change(&self, app: &str, body: &Value) -> Result<()> {
        self.send(reqwest::Method::PUT, &format!("/v2/apps{app}?force=true"), body).await.map(drop)
    }

    pub(crate) async fn post_app(&self, app: &Value) -> Result<()> {
        self.send(reqwest::Method::POST, "/v2/apps", app).await.map(drop)
    }

    /// The running tasks of an app.
    pub(crate) async fn running(&self, app: &str) -> Result<Running> {
        let response = self.client.get(format!("{}/v2/apps{app}/tasks", self.url)).send().await?;
        let body = response.error_for_status()?.bytes().await?;
        let answer: Value = serde_json::from_slice(&body)?;
        let tasks = answer["tasks"].as_array().cloned().unwrap_or_default();
        let running = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING");
        let tasks = running.filter_map(|task| task["id"].as_str().map(str::to_owned)).collect();
        Ok(Running { tasks, bytes: body.len() })
    }

    /// Kills a task, which Marathon replaces; the size of the answer.
    pub(crate) async fn kill(&self, task: &str) -> Result<usize> {
        self.send(reqwest::Method::POST, "/v2/tasks/delete", &json!({ "ids": [task] })).await
    }

    /// Bytes of REST answers, and how often an app, and the whole list, was read.
    pub(crate) async fn counters(&self) -> Result<Counters> {
        let counters = self.get("/standin/counters").await?;
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap_or(0)).unwrap_or(0);
        Ok(Counters {
            bytes: number(&counters["bytesSent"]),
            apps: number(&counters["requests"]["app"]),
            lists: number(&counters["requests"]["apps"]),
        })
    }

    /// The size of what is read of one app.
    pub(crate) async fn app_bytes(&self, app: &str) -> Result<usize> {
        let query = "embed=app.tasks&embed=app.deployments&embed=app.readiness";
        let response = self.client.get(format!("{}/v2/apps{app}?{query}", self.url)).send().await?;
        Ok(response.error_for_status()?.bytes().await?.len())
    }

    /// Waits until no deployment is under way.
    pub(crate) async fn settled(&self) -> Result<()> {
        until("the end of all deployments", async || {
            let deployments = self.get("/v2/deployments").await.ok()?;
            deployments.as_array()?.is_empty().then_some(())
        })
        .await
    }

    /// Which app had a task that began to run, and when the event arrived, beside Causeway.
    pub(crate) async fn listen(&self) -> Result<UnboundedReceiver<(String, Instant)>> {
        let (tx, rx) = unbounded_channel();
        // Without the time limit of the client for requests.
        let request = reqwest::Client::builder().no_proxy().build()?;
        let request = request.get(format!("{}/v2/events?event_type=status_update_event", self.url));
        let response = request.header("Accept", "text/event-stream").send().await?.error_for_status()?;
        let mut body = response.bytes_stream();
        tokio::spawn(async move {
            let mut unread = Vec::new();
            while let Some(Ok(chunk)) = body.next().await {
                let now = Instant::now();
                unread.extend_from_slice(&chunk);
                while let Some(end) = unread.windows(2).position(|bytes| bytes == b"\r\n") {
                    let line: Vec<u8> = unread.drain(..end + 2).collect();
                    let Some(data) = line.strip_prefix(b"data: ") else { continue };
                    let Ok(event) = serde_json::from_slice::<Value>(data) else { continue };
                    let app = event["appId"].as_str().unwrap_or_default().to_owned();
                    if event["taskStatus"] == "TASK_RUNNING" && tx.send((app, now)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(rx)
    }
}

/// The running tasks of an app, the oldest first, with the size of the answer that said so.
pub(crate) struct Running {
    pub(crate) tasks: Vec<String>,
    pub(crate) bytes: usize,
}

/// What a stand-in counted.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) bytes: usize,
    pub(crate) apps: usize,
    pub(crate) lists: usize,
}

/// The n-th app: a vhost of its own, no check, a port that Marathon assigns.
pub(crate) fn app(n: usize, tasks: usize) -> Value {
    json!({
        "id": id(n), "cmd": "serve", "instances": tasks, "cpus": 0.1, "mem": 32,
        "env": { "SOME": "value", "OTHER": "value" },
        "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "http", "labels": {} }],
        "labels": labels(&vhost(n)),
    })
}

pub(crate) fn id(n: usize) -> String {
    format!("/group-{}/app-{n}", n % 100)
}

pub(crate) fn vhost(n: usize) -> String {
    format!("app-{n}.example.com")
}

pub(crate) fn labels(vhosts: &str) -> Value {
    json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": vhosts })
}
