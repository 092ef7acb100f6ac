//! From nothing to serving 10,000 apps of 10 tasks: seconds and peak memory of Causeway alone, beside what HAProxy itself
//! needs to check and start the same files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::causeway::Causeway;
use crate::marathon::{Marathon, app, vhost};
use crate::process::{Process, Result, memory, setting, until};
use crate::report::{Table, median, say};
use crate::{ADDRESS, MARATHON_PORT};

const RUNS: usize = 3;

struct Run {
    /// Seconds from the start of Causeway until the last app answered through HAProxy.
    serving: f64,
    peak_mb: f64,
    /// Seconds of `haproxy -c` on the same files.
    check: f64,
    /// Seconds from the start of HAProxy alone until it answered.
    start: f64,
}

pub(crate) async fn bench(dir: &Path) -> Result<Table> {
    let (apps, tasks) = (setting("APPS", 10_000), setting("TASKS", 10));
    let all: Vec<_> = (0..apps).map(|n| app(n, tasks)).collect();
    let marathon = Marathon::start(dir, MARATHON_PORT, &all).await?;
    let mut runs = Vec::new();
    for number in 1..=RUNS {
        let run = measure(&dir.join(format!("r{number}")), &marathon, apps).await?;
        say(&format!(
            "run {number}: start to serving {:.2} s, peak {:.0} MB; haproxy -c {:.2} s, start {:.2} s",
            run.serving, run.peak_mb, run.check, run.start
        ));
        runs.push(run);
    }
    let middle = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let (serving, peak) = (middle(|run| run.serving), middle(|run| run.peak_mb));
    let alone = middle(|run| run.check + run.start);
    let aim = 2.0 * alone + 2.0;
    let mut table = Table::new(format!("{apps} apps of {tasks} tasks: start"));
    table.told("JSON from Marathon", format!("{:.1} MB", marathon.bytes as f64 / 1e6));
    table.told("HAProxy alone: check and start", format!("{alone:.2} s"));
    table.judged(
        "start to serving, median",
        format!("{serving:.2} s"),
        &format!("<= {aim:.2} s"),
        serving <= aim,
    );
    table.judged("our peak memory, median", format!("{peak:.0} MB"), "<= 250 MB", peak <= 250.0);
    Ok(table)
}

async fn measure(dir: &Path, marathon: &Marathon, apps: usize) -> Result<Run> {
    let begun = Instant::now();
    let causeway = Causeway::start(dir, ADDRESS, &marathon.url, "")?;
    let (door, last) = (causeway.http(), vhost(apps - 1));
    causeway.explain(causeway.serves(&last).await)?;
    let serving = begun.elapsed().as_secs_f64();
    let peak_mb = memory(causeway.pid())?.peak;
    causeway.stop().await?;

    let current = dir.join("state/current");
    let begun = Instant::now();
    let mut check = Command::new("haproxy");
    if !check.args(["-c", "-q", "-f", "haproxy.cfg", "-C"]).arg(&current).status()?.success() {
        return Err("HAProxy refuses what it ran".into());
    }
    let check = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let mut command = Command::new("haproxy");
    let command = command.args(["-W", "-f", "haproxy.cfg", "-C"]).arg(&current).stderr(Stdio::null());
    let mut haproxy = Process::spawn(command)?;
    until("HAProxy alone", async || door.answers(&last).then_some(())).await?;
    let start = begun.elapsed().as_secs_f64();
    haproxy.end();
    until("the end of HAProxy", async || (!door.answers(&last)).then_some(())).await?;
    Ok(Run { serving, peak_mb, check, start })
}
