//! From Marathon's event to the first answer of the new task, at three sizes of the cluster, with what each step of
//! scaling (a dozen events) costs:
//! CPU time, bytes read from Marathon, reloads. Run it with `make bench`.
//!
//! The stand-in Marathon is a process of its own. The time of an event is when it arrives at a listener beside Causeway's.

#[path = "shared/stage.rs"]
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use stage::{MARATHON, Result, answered, app, causeway, marathon, peak_mb, say, terminate, until};

/// Events that are measured at each size.
const EVENTS: usize = 100;
const SIZES: [(usize, usize); 3] = [(10, 5), (1_000, 5), (10_000, 10)];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("cwe").tempdir()?;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    say(
        "apps x tasks | event to first answer: median / p99 / max | CPU a step | bytes read a step | reloads",
    );
    for (apps, tasks) in SIZES {
        measure(&client, &dir.path().join(format!("{apps}")), apps, tasks).await?;
    }
    Ok(())
}

async fn measure(client: &reqwest::Client, dir: &Path, apps: usize, tasks: usize) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut all: Vec<Value> = (0..apps).map(|n| app(n, tasks)).collect();
    // One app that is scaled from nothing to one and back: its first answer is the new task's.
    let mut probe = app(apps, 0);
    probe["id"] = json!("/probe");
    probe["labels"]["HAPROXY_0_VHOST"] = json!("probe.example.com");
    all.push(probe);
    let (mut stand_in, _) = marathon(client, dir, &all).await?;
    let mut bridge = causeway(dir)?;
    until(async || answered(client, "app-0.example.com").await).await?;
    let url = format!("http://127.0.0.1:{MARATHON}");
    let mut running = listen(&url).await?;

    let generation = generation(dir)?;
    let (mut latencies, mut cpu, mut bytes) = (Vec::new(), Duration::ZERO, 0);
    for _ in 0..EVENTS {
        let (cpu_before, bytes_before) = (cpu_time(bridge.0.id())?, bytes_sent(client, &url).await?);
        scale(client, &url, 1).await?;
        let event = running.recv().await.ok_or("the event stream ended")?;
        // Closer than `until` looks.
        while answered(client, "probe.example.com").await.is_none() {
            if event.elapsed() > Duration::from_secs(30) {
                return Err("the new task did not answer within 30 s".into());
            }
        }
        latencies.push(event.elapsed());
        cpu += cpu_time(bridge.0.id())? - cpu_before;
        bytes += bytes_sent(client, &url).await? - bytes_before;
        scale(client, &url, 0).await?;
        until(async || answered(client, "probe.example.com").await.is_none().then_some(())).await?;
        // A slot is given on when nothing uses it any more; nobody scales ten times a second.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    say(&format!(
        "{apps} x {tasks} | {:.1} / {:.1} / {:.1} ms | {:.2} ms | {} | {} | {} MB",
        at(0.5),
        at(0.99),
        at(1.0),
        cpu.as_secs_f64() * 1e3 / EVENTS as f64,
        bytes / EVENTS as u64,
        self::generation(dir)? - generation,
        peak_mb(bridge.0.id())?,
    ));
    terminate(&mut bridge)?;
    terminate(&mut stand_in)?;
    Ok(())
}

/// Scales, whatever deployment is under way.
async fn scale(client: &reqwest::Client, url: &str, instances: usize) -> Result<()> {
    let body = json!({ "instances": instances });
    until(async || {
        let response = client.put(format!("{url}/v2/apps/probe?force=true")).json(&body).send().await.ok()?;
        response.status().is_success().then_some(())
    })
    .await
}

/// The moments at which TASK_RUNNING of the probe arrives.
async fn listen(url: &str) -> Result<tokio::sync::mpsc::UnboundedReceiver<Instant>> {
    let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
    let request = reqwest::Client::new().get(format!("{url}/v2/events?event_type=status_update_event"));
    let mut body =
        request.header("Accept", "text/event-stream").send().await?.error_for_status()?.bytes_stream();
    tokio::spawn(async move {
        while let Some(Ok(chunk)) = body.next().await {
            let text = String::from_utf8_lossy(&chunk);
            if text.contains("TASK_RUNNING") && text.contains("/probe") && tx.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    Ok(rx)
}

/// CPU time of a process, in ticks of 10 ms.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").ok_or("no stat")?.1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

async fn bytes_sent(client: &reqwest::Client, url: &str) -> Result<u64> {
    let counters: Value = client.get(format!("{url}/standin/counters")).send().await?.json().await?;
    Ok(counters["bytesSent"].as_u64().unwrap_or(0))
}

fn generation(dir: &Path) -> Result<u64> {
    let target = std::fs::read_link(dir.join("state/current"))?;
    Ok(target.to_string_lossy().trim_start_matches("gen-").parse()?)
}
