//! What the benches share: processes that end with the bench, a configuration on addresses of its own, waiting.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");
pub(crate) const ADDRESS: &str = "127.99.0.1";
pub(crate) const HTTP: u16 = 8000;
pub(crate) const MARATHON: u16 = 18_080;

/// A process that does not outlive the bench.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A stand-in Marathon with these apps, in a process of its own; ready when its list grows no more. With the bytes of it.
pub(crate) async fn marathon(
    client: &reqwest::Client,
    dir: &Path,
    apps: &[Value],
) -> Result<(Process, usize)> {
    let file = dir.join("apps.json");
    std::fs::write(&file, serde_json::to_vec(apps)?)?;
    let process = Process(
        Command::new(CAUSEWAY)
            .args(["marathon", "--port", &MARATHON.to_string(), "--first-task-port", "41000", "--apps"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()?,
    );
    let url = format!("http://127.0.0.1:{MARATHON}/v2/apps?embed=apps.tasks");
    let mut last = 0;
    let bytes = until(async || {
        let body = client.get(&url).send().await.ok()?.bytes().await.ok()?;
        let whole = body.len() > apps.len() * 100 && body.len() == std::mem::replace(&mut last, body.len());
        whole.then_some(body.len())
    })
    .await?;
    Ok((process, bytes))
}

/// Causeway, with its state in `dir`.
pub(crate) fn causeway(dir: &Path) -> Result<Process> {
    let config = write_config(dir)?;
    Ok(Process(Command::new(CAUSEWAY).args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn()?))
}

pub(crate) fn app(n: usize, tasks: usize) -> Value {
    json!({
        "id": format!("/group-{}/app-{n}", n % 100), "cmd": "serve", "instances": tasks, "cpus": 0.1, "mem": 32,
        "env": { "SOME": "value", "OTHER": "value" },
        "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "http", "labels": {} }],
        "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": format!("app-{n}.example.com") },
    })
}

fn write_config(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("causeway.toml");
    let state = dir.display();
    std::fs::write(
        &path,
        format!(
            "[marathon]\nendpoints = [\"http://127.0.0.1:{MARATHON}\"]\n[haproxy]\nstate_dir = \"{state}/state\"\n\
             socket = \"{state}/run/haproxy.sock\"\nmaster_socket = \"{state}/run/master.sock\"\non_exit = \"stop\"\n\
             bind_http = \"{ADDRESS}:{HTTP}\"\nbind_app_id = \"\"\nbind_stats = \"\"\nbind_service_ports = \"{ADDRESS}\"\n\
             [web]\nlisten = \"127.0.0.1:0\"\n"
        ),
    )?;
    Ok(path)
}

/// Whether a task answers for a host.
pub(crate) async fn answered(client: &reqwest::Client, host: &str) -> Option<()> {
    let request = client.get(format!("http://{ADDRESS}:{HTTP}/")).header("Host", host);
    let response = request.timeout(Duration::from_secs(5)).send().await.ok()?;
    (response.status() == 200 && response.headers().contains_key("x-task")).then_some(())
}

/// Waits for what has to come.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(180);
    while Instant::now() < deadline {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("it did not come within three minutes".into())
}

/// Peak resident memory.
pub(crate) fn peak_mb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// Asks a process to end, and waits for it.
pub(crate) fn terminate(process: &mut Process) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process.0.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    process.0.wait()?;
    Ok(())
}

pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _closed = writeln!(std::io::stdout(), "{line}");
}
