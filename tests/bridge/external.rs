//! The HAProxy that the operator runs.

use causeway::config::{HaproxyMode, WebAuth};
use serde_json::json;

use crate::stage::{Stage, until, vhost};

async fn external(reload: &str) -> Stage {
    let mut stage = Stage::set().await;
    let haproxy = &mut stage.config.haproxy;
    let dir = haproxy.state_dir.parent().unwrap().display().to_string();
    std::fs::create_dir_all(format!("{dir}/run")).unwrap();
    haproxy.mode = HaproxyMode::External;
    haproxy.config_path = Some(format!("{dir}/haproxy.cfg").into());
    haproxy.reload_command = reload.replace("DIR", &dir);
    haproxy.validate_command = "haproxy -c -f {{.}}".to_owned();
    haproxy.cleanup_command = format!("echo clean >> {dir}/cleaned");
    stage.marathon.create_apps(vec![vhost("/web", 1, "web.example.com")]).await.unwrap();
    stage
}

/// What Bamboo's users have: a new process that takes over from the old one.
const RELOAD: &str = "haproxy -D -f DIR/haproxy.cfg -p DIR/run/pid -sf $(cat DIR/run/pid 2>/dev/null)";

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_commands_check_reload_and_clean_up() {
    let mut stage = external(RELOAD).await;
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    // It is asked where a request goes, as one of our own is.
    let why = stage.until_api("/why?url=http://web.example.com/", "/haproxy_asked", json!(true)).await;
    assert_eq!((&why["result"]["app"], &why["differs"]), (&json!("/web"), &json!(null)), "{why:#}");
    assert!(std::fs::read_to_string(stage.path("cleaned")).unwrap().lines().count() >= 2);
    stage.end_bridge().await.unwrap();
    kill_all(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_goes_by_the_operators_commands_too() {
    let mut stage = external(RELOAD).await;
    stage.config.web.auth = WebAuth::None;
    stage.bridge();
    stage.served("web.example.com", "/", "/web").await;
    let first = stage.can_go_back().await;
    let labels = json!({ "HAPROXY_0_VHOST": "new.example.com", "HAPROXY_0_BALANCE": "source" });
    stage.put("/v2/apps/web", json!({ "labels": labels })).await;
    stage.served("new.example.com", "/", "/web").await;
    let order = json!({ "generation": first, "why": "it was better" });
    let (status, answer) = stage.post_api("/config/rollback", order).await;
    assert_eq!(status, 200, "{answer}");
    stage.served("web.example.com", "/", "/web").await;
    stage.answers("new.example.com", "/", 404).await;
    let (status, _) = stage.order(reqwest::Method::DELETE, "/config/rollback", json!({ "why": "x" })).await;
    assert_eq!(status, 204);
    stage.served("new.example.com", "/", "/web").await;
    stage.end_bridge().await.unwrap();
    kill_all(&stage);
}

/// Ends what the operator's command started.
fn kill_all(stage: &Stage) {
    let pids = std::fs::read_to_string(stage.path("run/pid")).unwrap();
    for pid in pids.split_whitespace() {
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_command_that_fails_or_hangs_puts_the_file_back() {
    let mut stage = external("exit 3").await;
    std::fs::write(stage.path("haproxy.cfg"), "# the operator's own\n").unwrap();
    stage.bridge();
    until("the reload to be tried", async || std::fs::read_to_string(stage.path("cleaned")).ok()).await;
    until("the file to be put back", async || {
        (std::fs::read_to_string(stage.path("haproxy.cfg")).unwrap() == "# the operator's own\n")
            .then_some(())
    })
    .await;
    stage.end_bridge().await.unwrap();
    stage.config.haproxy.reload_command = "sleep 60".to_owned();
    stage.config.haproxy.command_timeout = std::time::Duration::from_millis(200);
    std::fs::remove_file(stage.path("cleaned")).unwrap();
    stage.bridge();
    until("the hanging command to be given up", async || std::fs::read_to_string(stage.path("cleaned")).ok())
        .await;
    until("the file to be put back again", async || {
        (std::fs::read_to_string(stage.path("haproxy.cfg")).unwrap() == "# the operator's own\n")
            .then_some(())
    })
    .await;
    stage.end_bridge().await.unwrap();
}
