//! What an event costs and how fast it is at three sizes of the cluster: 10 × 5, 1,000 × 5, 10,000 × 10.
//!
//! `BENCH_SIZES=2` takes only the first two; `…_EVENTS`, `…_NEW_APPS` and `…_SECONDS` make each part shorter.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::causeway::Causeway;
use crate::latency::Latency;
use crate::marathon::{Marathon, app, labels, vhost};
use crate::process::{Result, memory, setting};
use crate::report::{Table, say};
use crate::{ADDRESS, MARATHON_PORT, cost, latency, new_apps, pages};

const SIZES: [(usize, usize); 3] = [(10, 5), (1_000, 5), (10_000, 10)];
/// How long it is quiet before memory is read a last time.
const REST: Duration = Duration::from_secs(15);
/// The app that is scaled from nothing to one and back: its first answer is the new task's.
pub(crate) const PROBE: (&str, &str) = ("/probe", "probe.example.com");

pub(crate) async fn bench(dir: &Path) -> Result<Vec<Table>> {
    let (mut tables, mut latencies) = (Vec::new(), Vec::new());
    for (apps, tasks) in SIZES.into_iter().take(setting("SIZES", SIZES.len())) {
        let (table, latency) = measure(&dir.join(apps.to_string()), apps, tasks).await?;
        tables.push(table);
        latencies.push(latency);
    }
    if let (Some(smallest), Some(largest)) = (latencies.first(), latencies.last())
        && latencies.len() > 1
    {
        let ratio = largest.median_ms / smallest.median_ms;
        let mut table = Table::new("Over the sizes");
        let what = "event to first answer, median, largest to smallest";
        table.judged(what, format!("{ratio:.2}"), "<= 2", ratio <= 2.0);
        tables.push(table);
    }
    Ok(tables)
}

async fn measure(dir: &Path, apps: usize, tasks: usize) -> Result<(Table, Latency)> {
    std::fs::create_dir_all(dir)?;
    let mut all: Vec<Value> = (0..apps).map(|n| app(n, tasks)).collect();
    let mut probe = app(apps, 0);
    (probe["id"], probe["labels"]) = (json!(PROBE.0), labels(PROBE.1));
    all.push(probe);
    let marathon = Marathon::start(dir, MARATHON_PORT, &all).await?;
    drop(all);
    let causeway = Causeway::start(dir, ADDRESS, &marathon.url, "")?;
    causeway.explain(causeway.serves(&vhost(apps - 1)).await)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started = memory(causeway.pid())?;

    say(&format!("{apps} x {tasks} serves; CPU time of an event …"));
    let mut table = Table::new(format!("{apps} apps of {tasks} tasks"));
    causeway.explain(cost::measure(&causeway, &marathon, apps, &mut table).await)?;
    say("… event to first answer …");
    let latency = causeway.explain(latency::measure(&causeway, &marathon, &mut table).await)?;
    let worked = memory(causeway.pid())?;
    say("… new apps …");
    causeway.explain(new_apps::measure(&causeway, &marathon, &mut table).await)?;
    causeway.explain(pages::measure(&causeway, &mut table))?;
    tokio::time::sleep(REST).await;
    let rested = memory(causeway.pid())?;
    table
        .told("our resident memory after start", format!("{:.0} MB (peak {:.0})", started.now, started.peak));
    table.told("… after the events", format!("{:.0} MB (peak {:.0})", worked.now, worked.peak));
    let (figure, aim) = (format!("{:.0} MB (peak {:.0})", rested.now, rested.peak), "<= 120 MB");
    table.judged("… after new apps and 15 s of rest", figure, aim, rested.now <= 120.0);
    causeway.stop().await?;
    Ok((table, latency))
}
