//! Whether memory stays flat: ten replacements a second for minutes, at 1,000 × 5. Not part of `make bench`.
//!
//! `BENCH_MINUTES` says how long.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::causeway::Causeway;
use crate::marathon::{Marathon, app, id, vhost};
use crate::process::{Result, memory, setting};
use crate::report::{Table, say};
use crate::{ADDRESS, MARATHON_PORT};

pub(crate) async fn bench(dir: &Path) -> Result<Table> {
    let (apps, tasks) = (setting("APPS", 1_000), 5);
    let all: Vec<_> = (0..apps).map(|n| app(n, tasks)).collect();
    let marathon = Marathon::start(dir, MARATHON_PORT, &all).await?;
    let causeway = Causeway::start(dir, ADDRESS, &marathon.url, "")?;
    causeway.explain(causeway.serves(&vhost(apps - 1)).await)?;
    let generation = causeway.generation()?;
    let length = Duration::from_secs(u64::try_from(60 * setting("MINUTES", 10))?);
    let (begun, mut told) = (Instant::now(), 0);
    let mut ticks = interval(Duration::from_millis(100));
    // What the first minute leaves is the measure: caches are full by then.
    let mut early = None;
    let mut killed = 0;
    while begun.elapsed() < length {
        ticks.tick().await;
        if let Some(task) = marathon.running(&id(killed % apps)).await?.tasks.first() {
            marathon.kill(task).await?;
        }
        killed += 1;
        let minute = begun.elapsed().as_secs() / 60;
        if minute > told {
            told = minute;
            let now = memory(causeway.pid())?;
            early.get_or_insert(now);
            say(&format!("minute {minute}: {:.1} MB (peak {:.1}), {killed} replacements", now.now, now.peak));
        }
    }
    let (early, late) = (early.unwrap_or(memory(causeway.pid())?), memory(causeway.pid())?);
    let mut table = Table::new(format!("{killed} replacements, {apps} apps of {tasks} tasks"));
    let grown = late.now - early.now;
    table.told("our resident memory after a minute", format!("{:.1} MB", early.now));
    let figure = format!("{:.1} MB (peak {:.1})", late.now, late.peak);
    table.judged("… at the end", figure, "flat: within 10 %", grown <= early.now / 10.0);
    table.told("reloads", (causeway.generation()? - generation).to_string());
    causeway.stop().await?;
    Ok(table)
}
