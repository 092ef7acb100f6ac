//! From nothing to serving 10,000 apps of 10 tasks: seconds and peak memory of Causeway alone, beside what HAProxy
//! itself needs to check and start the same files. Run it with `make bench`.
//!
//! The stand-in Marathon is a process of its own; its tasks are real servers. `APPS` and `TASKS` in the environment change
//! the size.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");
const ADDRESS: &str = "127.99.0.1";
const HTTP: u16 = 8000;
const MARATHON: u16 = 18_080;
const RUNS: usize = 3;

fn main() -> Result<()> {
    let size =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (apps, tasks) = (size("APPS", 10_000), size("TASKS", 10));
    let dir = tempfile::Builder::new().prefix("cwb").tempdir()?;
    let file = dir.path().join("apps.json");
    std::fs::write(&file, serde_json::to_vec(&(0..apps).map(|n| app(n, tasks)).collect::<Vec<_>>())?)?;
    let marathon = Process(
        Command::new(CAUSEWAY)
            .args(["marathon", "--port", &MARATHON.to_string(), "--first-task-port", "41000", "--apps"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()?,
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    let url = format!("http://127.0.0.1:{MARATHON}/v2/apps?embed=apps.tasks");
    let mut last = 0;
    let bytes = runtime.block_on(until(async || {
        let body = client.get(&url).send().await.ok()?.bytes().await.ok()?;
        // It is whole when it grows no more.
        let whole = body.len() > apps * tasks * 100 && body.len() == std::mem::replace(&mut last, body.len());
        whole.then_some(body.len())
    }))?;
    say(&format!("{apps} apps of {tasks} tasks: {:.1} MB of JSON from Marathon", bytes as f64 / 1e6));

    let mut rows = Vec::new();
    for run in 1..=RUNS {
        let row = runtime.block_on(measure(&client, &dir.path().join(format!("r{run}")), apps))?;
        say(&format!(
            "run {run}: start to serving {:.2} s, peak memory {} MB; haproxy -c {:.2} s + start {:.2} s; ratio {:.2}",
            row.serving,
            row.peak_mb,
            row.check,
            row.start,
            row.serving / (row.check + row.start)
        ));
        rows.push(row);
    }
    drop(marathon);
    let median = |figure: fn(&Row) -> f64| {
        let mut figures: Vec<f64> = rows.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let alone = median(|row| row.check + row.start);
    say(&format!(
        "median: start to serving {:.2} s (aim: at most twice HAProxy's own {alone:.2} s plus 2 s = {:.2} s), peak memory {:.0} MB (aim: at most 250 MB)",
        median(|row| row.serving),
        2.0 * alone + 2.0,
        median(|row| row.peak_mb as f64),
    ));
    Ok(())
}

struct Row {
    /// Seconds from the start of Causeway until the last app answered through HAProxy.
    serving: f64,
    peak_mb: u64,
    /// Seconds of `haproxy -c` on the same files.
    check: f64,
    /// Seconds from the start of HAProxy alone until it answered.
    start: f64,
}

async fn measure(client: &reqwest::Client, dir: &Path, apps: usize) -> Result<Row> {
    std::fs::create_dir_all(dir)?;
    let config = write_config(dir)?;
    let begun = Instant::now();
    let mut causeway =
        Process(Command::new(CAUSEWAY).args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn()?);
    let last = format!("app-{}.example.com", apps - 1);
    until(async || answered(client, &last).await).await?;
    let serving = begun.elapsed().as_secs_f64();
    let peak_mb = peak_kb(causeway.0.id())? / 1024;
    terminate(&mut causeway.0)?;
    until(async || answered(client, &last).await.is_none().then_some(())).await?;

    let current = dir.join("state/current");
    let begun = Instant::now();
    let checked =
        Command::new("haproxy").args(["-c", "-q", "-f", "haproxy.cfg", "-C"]).arg(&current).status()?;
    let check = begun.elapsed().as_secs_f64();
    assert!(checked.success(), "HAProxy refuses what it ran");
    let begun = Instant::now();
    let mut haproxy = Process(
        Command::new("haproxy")
            .args(["-W", "-f", "haproxy.cfg", "-C"])
            .arg(&current)
            .stderr(Stdio::null())
            .spawn()?,
    );
    until(async || answered(client, &last).await).await?;
    let start = begun.elapsed().as_secs_f64();
    terminate(&mut haproxy.0)?;
    until(async || answered(client, &last).await.is_none().then_some(())).await?;
    Ok(Row { serving, peak_mb, check, start })
}

fn app(n: usize, tasks: usize) -> Value {
    json!({
        "id": format!("/group-{}/app-{n}", n % 100), "cmd": "serve", "instances": tasks, "cpus": 0.1, "mem": 32,
        "env": { "SOME": "value", "OTHER": "value" },
        "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "http", "labels": {} }],
        "labels": { "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": format!("app-{n}.example.com") },
    })
}

fn write_config(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("causeway.toml");
    let state = dir.display();
    std::fs::write(
        &path,
        format!(
            "[marathon]\nendpoints = [\"http://127.0.0.1:{MARATHON}\"]\n[haproxy]\nstate_dir = \"{state}/state\"\n\
             socket = \"{state}/run/haproxy.sock\"\nmaster_socket = \"{state}/run/master.sock\"\non_exit = \"stop\"\n\
             bind_http = \"{ADDRESS}:{HTTP}\"\nbind_app_id = \"\"\nbind_stats = \"\"\nbind_service_ports = \"{ADDRESS}\"\n"
        ),
    )?;
    Ok(path)
}

async fn answered(client: &reqwest::Client, host: &str) -> Option<()> {
    let request = client.get(format!("http://{ADDRESS}:{HTTP}/")).header("Host", host);
    let response = request.timeout(Duration::from_secs(5)).send().await.ok()?;
    (response.status() == 200 && response.headers().contains_key("x-task")).then_some(())
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(180);
    while Instant::now() < deadline {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("it did not come within three minutes".into())
}

fn peak_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn terminate(child: &mut Child) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    child.wait()?;
    Ok(())
}

/// A process that does not outlive the bench.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn say(line: &str) {
    use std::io::Write as _;
    let _closed = writeln!(std::io::stdout(), "{line}");
}
