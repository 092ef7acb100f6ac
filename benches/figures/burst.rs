//! 5,000 events in one second over 5,000 apps: from the first until HAProxy has all of it, and memory.
//!
//! Three times, each of 5,000 apps of 5 tasks: a task is lost (one event each), comes back (one event each), fails and is replaced (four status
//! updates each). HAProxy is asked where its servers are while it happens; not more often, since each answer lists 50,000 slots.
//! `BENCH_APPS` makes it smaller.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::causeway::Causeway;
use crate::marathon::{Marathon, app, vhost};
use crate::process::{PATIENCE, Result, memory, setting};
use crate::report::{Table, say};
use crate::{ADDRESS, MARATHON_PORT};

const TASKS: usize = 5;
/// How long the events of all apps take.
const OVER: Duration = Duration::from_secs(1);
const AIM: f64 = 3.0;
/// Between two looks at HAProxy.
const LOOK: Duration = Duration::from_millis(150);
/// So long it is quiet before memory is read.
const REST: Duration = Duration::from_secs(20);

pub(crate) async fn bench(dir: &Path) -> Result<Table> {
    let apps = setting("APPS", 5_000);
    let all: Vec<_> = (0..apps).map(|n| app(n, TASKS)).collect();
    let marathon = Marathon::start(dir, MARATHON_PORT, &all).await?;
    let causeway = Causeway::start(dir, ADDRESS, &marathon.url, "")?;
    causeway.explain(causeway.serves(&vhost(apps - 1)).await)?;
    let mut table = Table::new(format!("{apps} events in a second over {apps} apps of {TASKS} tasks"));
    let result = storms(&causeway, &marathon, apps, &mut table).await;
    causeway.explain(result)?;
    causeway.stop().await?;
    Ok(table)
}

async fn storms(causeway: &Causeway, marathon: &Marathon, apps: usize, table: &mut Table) -> Result<()> {
    tokio::time::sleep(REST).await;
    let (started, generation) = (memory(causeway.pid())?, causeway.generation()?);
    let before = causeway.serving()?;
    if before.len() != apps * TASKS {
        return Err(format!("{} servers serve, {} should", before.len(), apps * TASKS).into());
    }
    let mut after_first = None;
    for (what, state, serving, others) in [
        ("a task of each is lost", "TASK_LOST", apps * (TASKS - 1), 0),
        ("it comes back", "TASK_RUNNING", apps * TASKS, 0),
        ("a task of each fails and is replaced", "TASK_FAILED", apps * TASKS, apps),
    ] {
        let reads = marathon.counters().await?;
        let begun = Instant::now();
        let body = json!({ "state": state, "apps": apps, "over_ms": OVER.as_millis() });
        let storm = marathon.send(reqwest::Method::POST, "/standin/storm", &body);
        let applied = async {
            loop {
                let now = tokio::task::block_in_place(|| causeway.serving()).unwrap_or_default();
                let new = now.difference(&before).count();
                if now.len() == serving && new == others {
                    return Result::Ok(begun.elapsed().as_secs_f64());
                }
                if begun.elapsed() > PATIENCE {
                    return Err(format!("{what}: {} servers serve, {new} of them new", now.len()).into());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let sent = async { storm.await.map(|_| begun.elapsed().as_secs_f64()) };
        let (sent, applied) = tokio::try_join!(sent, applied)?;
        let now = memory(causeway.pid())?;
        let read = marathon.counters().await?;
        say(&format!(
            "{what}: sent in {sent:.2} s, applied after {applied:.2} s; {:.0} MB (peak {:.0}); read {} apps, {} lists",
            now.now,
            now.peak,
            read.apps - reads.apps,
            read.lists - reads.lists
        ));
        table.judged(what, format!("{applied:.2} s (sent in {sent:.2} s)"), "<= 3 s", applied <= AIM);
        tokio::time::sleep(REST).await;
        after_first.get_or_insert(memory(causeway.pid())?);
    }
    let rested = memory(causeway.pid())?;
    let first = after_first.unwrap_or(started);
    table.told("our resident memory before", format!("{:.0} MB (peak {:.0})", started.now, started.peak));
    table.told("… after the first and 20 s of rest", format!("{:.0} MB (peak {:.0})", first.now, first.peak));
    // What the first one leaves is room that the others use again.
    let flat = rested.now <= first.now * 1.1;
    let figure = format!("{:.0} MB (peak {:.0})", rested.now, rested.peak);
    table.judged("… after the last and 20 s of rest", figure, "flat: within 10 % of the first", flat);
    let reloads = causeway.generation()? - generation;
    table.judged("reloads meanwhile", reloads.to_string(), "0", reloads == 0);
    Ok(())
}
