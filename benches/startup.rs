//! From nothing to serving 10,000 apps of 10 tasks: seconds and peak memory of Causeway alone, beside what HAProxy
//! itself needs to check and start the same files. Run it with `make bench`.
//!
//! The stand-in Marathon is a process of its own; its tasks are real servers. `APPS` and `TASKS` in the environment change
//! the size.

#[path = "shared/stage.rs"]
mod stage;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stage::{Process, Result, answered, app, causeway, marathon, peak_mb, say, terminate, until};

const RUNS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let size =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (apps, tasks) = (size("APPS", 10_000), size("TASKS", 10));
    let dir = tempfile::Builder::new().prefix("cwb").tempdir()?;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    let all: Vec<_> = (0..apps).map(|n| app(n, tasks)).collect();
    let (_marathon, bytes) = marathon(&client, dir.path(), &all).await?;
    say(&format!("{apps} apps of {tasks} tasks: {:.1} MB of JSON from Marathon", bytes as f64 / 1e6));

    let mut rows = Vec::new();
    for run in 1..=RUNS {
        let row = measure(&client, &dir.path().join(format!("r{run}")), apps).await?;
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
    let begun = Instant::now();
    let mut bridge = causeway(dir)?;
    let last = format!("app-{}.example.com", apps - 1);
    until(async || answered(client, &last).await).await?;
    let serving = begun.elapsed().as_secs_f64();
    let peak_mb = peak_mb(bridge.0.id())?;
    terminate(&mut bridge)?;
    until(async || answered(client, &last).await.is_none().then_some(())).await?;

    let current = dir.join("state/current");
    let begun = Instant::now();
    let checked =
        Command::new("haproxy").args(["-c", "-q", "-f", "haproxy.cfg", "-C"]).arg(&current).status()?;
    let check = begun.elapsed().as_secs_f64();
    assert!(checked.success(), "HAProxy refuses what it ran");
    let begun = Instant::now();
    let alone = Command::new("haproxy")
        .args(["-W", "-f", "haproxy.cfg", "-C"])
        .arg(&current)
        .stderr(Stdio::null())
        .spawn()?;
    let mut haproxy = Process(alone);
    until(async || answered(client, &last).await).await?;
    let start = begun.elapsed().as_secs_f64();
    terminate(&mut haproxy)?;
    until(async || answered(client, &last).await.is_none().then_some(())).await?;
    Ok(Row { serving, peak_mb, check, start })
}
