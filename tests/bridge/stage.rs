//! A stand-in Marathon, a real HAProxy and a bridge between them, each test on addresses of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use causeway::bridge;
use causeway::config::{Config, PortRange};
use causeway::demo::marathon::{Options, Profile, StandIn};
use causeway::haproxy::runtime::{Client, Info};
use causeway::web::Door;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const HTTP: u16 = 8000;
pub(crate) const HTTPS: u16 = 8443;
pub(crate) const APP_ID: u16 = 9091;
pub(crate) const STATS: u16 = 9090;

/// How long a test waits for what has to come.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) marathon: StandIn,
    pub(crate) config: Config,
    /// The address that HAProxy listens on.
    pub(crate) host: String,
    pub(crate) client: reqwest::Client,
    /// Where Causeway itself answers, once it is started.
    pub(crate) web: Option<SocketAddr>,
    bridge: Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>,
    dir: TempDir,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) app: String,
    pub(crate) task: String,
    pub(crate) body: String,
}

impl Stage {
    /// Marathon runs, HAProxy's configuration is set, nothing is bridged yet.
    pub(crate) async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    pub(crate) async fn set_with(options: impl FnOnce(&mut Options)) -> Self {
        // Tests run side by side, in processes or threads.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let process = std::process::id();
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = format!("127.{}.{}.{own}", 100 + process / 256 % 100, process % 256);
        let mut settings = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            profile: Profile::default(),
            first_task_port: 0,
            kill_grace: Duration::from_millis(200),
            ..Options::default()
        };
        options(&mut settings);
        let marathon = StandIn::start(settings).await.unwrap();
        let dir = tempfile::Builder::new().prefix("cw").tempdir().unwrap();
        let mut config = Config::default();
        config.marathon.endpoints = vec![marathon.url()];
        config.marathon.backoff_max = Duration::from_millis(300);
        let haproxy = &mut config.haproxy;
        // Another one than the system's, to try it.
        if let Ok(binary) = std::env::var("HAPROXY") {
            haproxy.binary = binary.into();
        }
        haproxy.state_dir = dir.path().join("state");
        haproxy.socket = dir.path().join("run/haproxy.sock");
        haproxy.master_socket = dir.path().join("run/master.sock");
        haproxy.reload_interval = Duration::from_millis(20);
        haproxy.bind_http = format!("{host}:{HTTP}");
        haproxy.bind_https = format!("{host}:{HTTPS}");
        haproxy.bind_app_id = format!("{host}:{APP_ID}");
        haproxy.bind_stats = format!("{host}:{STATS}");
        haproxy.bind_service_ports.clone_from(&host);
        haproxy.service_port_range = PortRange { first: 10_000, last: 10_049 };
        haproxy.stats_interval = Duration::from_millis(200);
        // Any free port: tests run side by side.
        config.web.listen = "127.0.0.1:0".to_owned();
        config.rules.file = Some(dir.path().join("rules.toml"));
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(3))
            .danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self { marathon, config, host, client, web: None, bridge: None, dir }
    }

    /// A stage with these apps running, and the bridge started.
    pub(crate) async fn with_apps(apps: Vec<Value>) -> Self {
        let mut stage = Self::set().await;
        stage.marathon.create_apps(apps).await.unwrap();
        stage.bridge();
        stage
    }

    pub(crate) fn bridge(&mut self) {
        let _one_log_a_process = causeway::telemetry::start_log(&self.config.log);
        let stop = CancellationToken::new();
        let door = Door::open(&self.config).unwrap();
        self.web = door.address();
        let running = tokio::spawn(bridge::run_with(self.config.clone(), door, stop.clone()));
        self.bridge = Some((running, stop));
    }

    /// Ends the bridge; HAProxy goes on, as is the default.
    pub(crate) async fn end_bridge(&mut self) -> anyhow::Result<()> {
        let (running, stop) = self.bridge.take().expect("a bridge runs");
        stop.cancel();
        running.await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn get(&self, host: &str, path: &str) -> Option<Answer> {
        self.get_at(&format!("http://{}:{HTTP}{path}", self.host), &[("Host", host)]).await
    }

    pub(crate) async fn get_at(&self, url: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let mut request = self.client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.ok()?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (app, task, status) = (header("x-app"), header("x-task"), response.status().as_u16());
        Some(Answer { status, app, task, body: response.text().await.ok()? })
    }

    /// Waits until a request is answered by this app.
    pub(crate) async fn served(&self, host: &str, path: &str, app: &str) -> Answer {
        let what = format!("{host}{path} by {app}");
        until(&what, async || self.get(host, path).await.filter(|answer| answer.app == app)).await
    }

    /// Waits until a request is answered with this status.
    pub(crate) async fn answers(&self, host: &str, path: &str, status: u16) -> Answer {
        let what = format!("{status} for {host}{path}");
        until(&what, async || self.get(host, path).await.filter(|answer| answer.status == status)).await
    }

    /// Waits until exactly these many tasks answer for a host.
    pub(crate) async fn tasks(&self, host: &str, count: usize) -> std::collections::BTreeSet<String> {
        let what = format!("{count} tasks behind {host}");
        until(&what, async || {
            let mut tasks = std::collections::BTreeSet::new();
            for _ in 0..count * 4 {
                tasks.insert(self.get(host, "/").await.filter(|answer| answer.status == 200)?.task);
            }
            (tasks.len() == count).then_some(tasks)
        })
        .await
    }

    /// Speaks TCP: sends a line, reads what comes first.
    pub(crate) async fn tcp(&self, port: u16) -> Option<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect((self.host.as_str(), port)).await.ok()?;
        stream.write_all(b"hello\n").await.ok()?;
        let mut buffer = [0; 256];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await.ok()?.ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&buffer[..read]).into_owned())
    }

    /// Puts, once no deployment is under way any more.
    pub(crate) async fn put(&self, path: &str, body: Value) -> reqwest::StatusCode {
        let url = format!("{}{path}", self.marathon.url());
        until("the last deployment to end", async || {
            let status = self.client.put(&url).json(&body).send().await.ok()?.status();
            (status != reqwest::StatusCode::CONFLICT).then_some(status)
        })
        .await
    }

    /// Deletes, once no deployment is under way any more.
    pub(crate) async fn delete(&self, path: &str) -> reqwest::StatusCode {
        let url = format!("{}{path}", self.marathon.url());
        until("the last deployment to end", async || {
            let status = self.client.delete(&url).send().await.ok()?.status();
            (status != reqwest::StatusCode::CONFLICT).then_some(status)
        })
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> reqwest::StatusCode {
        let url = format!("{}{path}", self.marathon.url());
        self.client.post(url).json(&body).send().await.unwrap().status()
    }

    pub(crate) async fn info(&self) -> Option<Info> {
        // Where a reload failed, the worker of 3.x may have lost its own socket to the one that did not come up.
        let Self { config, .. } = self;
        let (socket, master) = (config.haproxy.socket.clone(), config.haproxy.master_socket.clone());
        Client::new(socket, Some(master), Duration::from_secs(2)).info().await
    }

    /// The server lines of the current files whose servers get requests.
    pub(crate) fn serving_lines(&self) -> Vec<String> {
        let serves = |line: &&str| line.contains("server slot") && !line.contains("disabled");
        self.current().lines().filter(serves).map(|line| line.trim().to_owned()).collect()
    }

    /// The configuration that is current.
    pub(crate) fn current(&self) -> String {
        std::fs::read_to_string(self.config.haproxy.state_dir.join("current/haproxy.cfg")).unwrap_or_default()
    }
}

impl Drop for Stage {
    /// HAProxy outlives us by design.
    fn drop(&mut self) {
        self.kill_haproxy();
    }
}

impl Stage {
    /// Kills master and workers.
    pub(crate) fn kill_haproxy(&self) {
        self.signal_haproxy(Signal::SIGKILL);
    }

    /// Signals master and workers.
    pub(crate) fn signal_haproxy(&self, signal: Signal) {
        for pid in self.haproxy_pids() {
            let _gone = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Master and workers, by the socket on their command line.
    pub(crate) fn haproxy_pids(&self) -> Vec<i32> {
        let socket = self.config.haproxy.master_socket.display().to_string();
        let ours = |process: &std::fs::DirEntry| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&socket)
        };
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter(ours);
        processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
    }

    /// Tells by an event that these apps changed: apps that the stand-in was given at once have none of their own.
    pub(crate) async fn announce(&self, apps: &[&str]) {
        let actions: Vec<Value> =
            apps.iter().map(|app| json!({ "action": "StartApplication", "app": app })).collect();
        let plan = json!({ "id": "x", "version": "x", "steps": [{ "actions": actions }] });
        self.post("/standin/events", json!({ "eventType": "deployment_success", "id": "x", "plan": plan }))
            .await;
    }
}

/// Waits for something to come true, and says what it was when it does not.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An app of one port, with these labels.
pub(crate) fn app(id: &str, instances: u32, port: u16, labels: Value) -> Value {
    json!({
        "id": id, "cmd": "serve", "instances": instances,
        "portDefinitions": [{ "port": port, "protocol": "tcp" }], "labels": labels,
    })
}

/// An app with a vhost.
pub(crate) fn vhost(id: &str, instances: u32, host: &str) -> Value {
    app(id, instances, 0, json!({ "HAPROXY_0_VHOST": host }))
}
