//! What marathon-lb answers on its port for statistics.

use std::os::unix::fs::PermissionsExt;

use causeway::config::HaproxyMode;
use serde_json::json;

use crate::stage::{APP_ID, STATS, Stage, app, until, vhost};

/// The hash of "password".
const USERS: &str = "# who watches\njoe:$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1\n";

const READS: [&str; 7] = [
    "/_haproxy_getconfig",
    "/_haproxy_getvhostmap",
    "/_haproxy_getappmap",
    "/_haproxy_getpids",
    "/metrics",
    "/haproxy?stats",
    "/haproxy?stats;csv",
];
const SIGNALS: [&str; 2] = ["/_mlb_signal/hup", "/_mlb_signal/usr1"];

impl Stage {
    /// Asks on the port for statistics; `login` is `user:password`.
    async fn stats(&self, path: &str, login: Option<&str>) -> Option<(u16, String)> {
        let port = self.config.haproxy.bind_stats.rsplit_once(':').unwrap().1;
        let mut request = self.client.get(format!("http://{}:{port}{path}", self.host));
        if let Some((user, password)) = login.and_then(|login| login.split_once(':')) {
            request = request.basic_auth(user, Some(password));
        }
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn stats_status(&self, path: &str, login: Option<&str>) -> u16 {
        self.stats(path, login).await.expect("an answer").0
    }

    /// Waits until it answers with a text that holds this.
    async fn stats_says(&self, path: &str, part: &str) -> String {
        until(&format!("{part:?} in {path}"), async || {
            let (status, text) = self.stats(path, Some("joe:password")).await?;
            (status == 200 && text.contains(part)).then_some(text)
        })
        .await
    }

    fn let_joe_in(&mut self) {
        let path = self.path("users");
        std::fs::write(&path, USERS).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.config.haproxy.stats_users_file = Some(path);
    }
}

/// A port of every address that nobody has.
fn free_port_everywhere() -> String {
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    format!("0.0.0.0:{port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_says_what_runs() {
    let mut stage = Stage::set().await;
    stage.let_joe_in();
    let guarded = json!({
        "HAPROXY_0_VHOST": "guard.example.com,*.guard.example.com",
        "HAPROXY_0_AUTH": format!("Shop:{}", USERS.lines().last().unwrap()),
    });
    let apps = vec![vhost("/shop/web", 2, "web.example.com"), app("/guard", 1, 10_001, guarded)];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/shop/web").await;

    let config = stage.stats_says("/_haproxy_getconfig", "backend h_guard_0").await;
    assert!(config.contains("user joe password (not shown)\n") && !config.contains("$6$"));
    let hosts = stage.stats_says("/_haproxy_getvhostmap", "web.example.com h_shop_web_0\n").await;
    assert_eq!(
        hosts,
        "guard.example.com h_guard_0\nweb.example.com h_shop_web_0\n*.guard.example.com h_guard_0\n"
    );
    stage.stats_says("/_haproxy_getappmap", "/shop/web h_shop_web_0\n").await;
    // The master answers a moment after its worker.
    until("the processes to be told", async || {
        let pids = stage.stats_says("/_haproxy_getpids", "\n").await;
        let mut pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        pids.sort_unstable();
        let mut running = stage.haproxy_pids();
        running.sort_unstable();
        (pids == running).then_some(())
    })
    .await;
    stage.stats_says("/metrics", "haproxy_process_nbthread").await;
    stage.stats_says("/haproxy?stats", "Statistics Report for HAProxy").await;
    stage.stats_says("/haproxy?stats;csv", "h_shop_web_0,slot1,").await;
    // A route that comes at run time is told too.
    stage.marathon.create_apps(vec![vhost("/late", 1, "late.example.com")]).await.unwrap();
    stage.announce(&["/late"]).await;
    stage.stats_says("/_haproxy_getvhostmap", "late.example.com h_").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_reading_needs_no_login_and_signals_do() {
    let mut stage = Stage::set().await;
    stage.let_joe_in();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    for path in READS.into_iter().chain(["/_haproxy_health_check"]) {
        assert_eq!(stage.stats_status(path, None).await, 200, "{path}");
    }
    for path in SIGNALS {
        assert_eq!(stage.stats_status(path, None).await, 401, "{path}");
        assert_eq!(stage.stats_status(path, Some("joe:wrong")).await, 401, "{path}");
    }
    let url = format!("http://{}:{STATS}/_haproxy_getconfig", stage.host);
    let rebound = stage.get_at(&url, &[("Host", "evil.example.com")]).await.unwrap();
    assert_eq!(rebound.status, 421, "the name of a page elsewhere that leads here");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_everything_but_the_health_check_needs_a_login() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.bind_stats = free_port_everywhere();
    stage.let_joe_in();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    assert_eq!(stage.stats_status("/_haproxy_health_check", None).await, 200);
    for path in READS.into_iter().chain(SIGNALS) {
        assert_eq!(stage.stats_status(path, None).await, 401, "{path}");
        assert_eq!(stage.stats_status(path, Some("joe:wrong")).await, 401, "{path}");
        assert_eq!(stage.stats_status(path, Some("joe:password")).await, 200, "{path}");
    }
    // Whoever logs in at the statistics is known nowhere else.
    let url = format!("http://{}:{APP_ID}/", stage.host);
    assert_eq!(stage.get_at(&url, &[]).await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_users_there_is_nothing_but_the_health_check_beyond_loopback() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.bind_stats = free_port_everywhere();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    assert_eq!(stage.stats_status("/_haproxy_health_check", None).await, 200);
    for path in READS.into_iter().chain(SIGNALS) {
        let (status, text) = stage.stats(path, Some("joe:password")).await.unwrap();
        assert_eq!(status, 403, "{path}");
        assert!(text.contains("haproxy.stats_users_file"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_users_nobody_sends_a_signal_on_loopback_either() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    assert_eq!(stage.stats_status("/_haproxy_getpids", None).await, 200);
    for path in SIGNALS {
        assert_eq!(stage.stats_status(path, None).await, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_read_again_and_reload() {
    let mut stage = Stage::set().await;
    stage.let_joe_in();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    // The stand-in tells nobody of apps that it was given at once.
    stage.marathon.create_apps(vec![vhost("/new", 1, "new.example.com")]).await.unwrap();
    let (status, text) = stage.stats(SIGNALS[0], Some("joe:password")).await.unwrap();
    assert_eq!((status, text.as_str()), (200, "Sent SIGHUP signal to marathon-lb"));
    stage.served("new.example.com", "/", "/new").await;

    let before = stage.info().await.unwrap().generation;
    let (status, text) = stage.stats(SIGNALS[1], Some("joe:password")).await.unwrap();
    assert_eq!((status, text.as_str()), (200, "Sent SIGUSR1 signal to marathon-lb"));
    until("a new generation", async || (stage.info().await?.generation > before).then_some(())).await;
    stage.served("new.example.com", "/", "/new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_causeway_is_stopped_health_and_statistics_go_on() {
    let mut stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    stage.end_bridge().await.unwrap();
    for path in ["/_haproxy_health_check", "/metrics", "/haproxy?stats;csv"] {
        assert_eq!(stage.stats_status(path, None).await, 200, "{path}");
    }
    for path in &READS[..4] {
        let (status, text) = stage.stats(path, None).await.unwrap();
        assert_eq!(status, 503, "{path}");
        assert!(text.contains("Causeway does not answer"), "{text}");
    }
    stage.bridge();
    stage.stats_says("/_haproxy_getvhostmap", "web.example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_haproxy_reaches_causeway_too() {
    let mut stage = Stage::set().await;
    let haproxy = &mut stage.config.haproxy;
    let dir = haproxy.state_dir.parent().unwrap().display().to_string();
    haproxy.mode = HaproxyMode::External;
    haproxy.config_path = Some(format!("{dir}/haproxy.cfg").into());
    haproxy.reload_command =
        format!("haproxy -D -f {dir}/haproxy.cfg -p {dir}/run/pid -sf $(cat {dir}/run/pid 2>/dev/null)");
    // HAProxy's user has to come to the directory in which the socket is.
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.stats_says("/_haproxy_getvhostmap", "web.example.com h_web_0").await;
    let worker = stage.info().await.unwrap().pid;
    assert_eq!(stage.stats_says("/_haproxy_getpids", "\n").await, format!("{worker}\n"));
    stage.end_bridge().await.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_http_and_https_the_other_ports_are_served() {
    let mut stage = Stage::set().await;
    stage.config.haproxy.bind_http = String::new();
    stage.config.haproxy.bind_https = String::new();
    stage
        .marathon
        .create_apps(vec![app("/web", 1, 10_001, json!({ "HAPROXY_0_MODE": "http" }))])
        .await
        .unwrap();
    stage.bridge();
    let url = format!("http://{}:10001/", stage.host);
    until("the service port", async || stage.get_at(&url, &[]).await.filter(|answer| answer.app == "/web"))
        .await;
    let url = format!("http://{}:{APP_ID}/", stage.host);
    assert_eq!(stage.get_at(&url, &[("X-Marathon-App-Id", "/web")]).await.unwrap().app, "/web");
    assert!(stage.get("web.example.com", "/").await.is_none(), "nobody listens there");
}
