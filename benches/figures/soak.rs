//! Whether it holds out: replacements, scaling and faults for minutes under load, at 200 × 5. `make soak`, not part of `make bench`.
//!
//! Every half a minute something goes wrong, by turns: Marathon fails over, its streams end, its reads fail, Causeway is killed
//! and started again, a reload is forced. `BENCH_MINUTES` says how long (10).

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::causeway::{Causeway, SERVICE_PORTS};
use crate::load::{Load, Way, Wrk};
use crate::marathon::{Marathon, app, id, vhost};
use crate::process::{Result, memory, setting};
use crate::report::{Table, say};
use crate::{ADDRESS, MARATHON_PORT};

const APPS: usize = 200;
const TASKS: usize = 5;
/// The first apps are those that wrk asks for; they lose no more than a task at a time.
const TARGETS: usize = 10;
const FAULTS: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

pub(crate) async fn bench(dir: &Path) -> Result<Table> {
    let all: Vec<Value> = (0..APPS).map(|n| app(n, TASKS)).collect();
    let marathon = Marathon::start(dir, MARATHON_PORT, &all).await?;
    let mut causeway = Causeway::start(dir, ADDRESS, &marathon.url, "reload_interval = \"1s\"\n")?;
    causeway.explain(causeway.serves(&vhost(APPS - 1)).await)?;
    let generation = causeway.generation()?;
    let hosts: Vec<String> = (0..TARGETS).map(vhost).collect();
    let load = |way| Load {
        target: causeway.http().0,
        hosts: &hosts,
        way,
        connections: 10,
        pause: Duration::from_millis(20),
    };
    let wrks = [Wrk::start(dir, &load(Way::Keep), LONGEST)?, Wrk::start(dir, &load(Way::Close), LONGEST)?];
    let length = Duration::from_secs(u64::try_from(60 * setting("MINUTES", 10))?);
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut replaced, mut faults, mut minutes) = (0, 0, 0);
    // What the first two minutes leave is the measure: caches are full by then.
    let mut early = None;
    while begun.elapsed() < length {
        ticks.tick().await;
        let change = change(&marathon, replaced).await;
        // While its reads fail on purpose, nothing changes.
        replaced += usize::from(change.is_ok());
        if begun.elapsed() > FAULTS * (faults + 1) {
            fault(&marathon, &mut causeway, faults).await?;
            faults += 1;
        }
        let minute = begun.elapsed().as_secs() / 60;
        if minute > minutes {
            minutes = minute;
            let now = memory(causeway.pid())?;
            if minute >= 2 {
                early.get_or_insert(now);
            }
            say(&format!("minute {minute}: {:.1} MB, {replaced} changes, {faults} faults", now.now));
        }
    }
    marathon.settled().await?;
    let late = memory(causeway.pid())?;
    let early = early.unwrap_or(late);
    let mut table =
        Table::new(format!("{replaced} changes and {faults} faults, {APPS} apps of {TASKS} tasks"));
    for (name, wrk) in ["keep-alive", "one request a connection"].into_iter().zip(wrks) {
        let counted = wrk.stop().await?;
        table.judged(&format!("failed requests, {name}"), counted.describe(), "0", counted.failed() == 0);
        table.judged("… from another app", counted.get("wrong").to_string(), "0", counted.get("wrong") == 0);
    }
    table.told("our resident memory after two minutes", format!("{:.1} MB", early.now));
    let flat = late.now <= early.now * 1.2;
    table.judged("… at the end", format!("{:.1} MB", late.now), "flat: within 20 %", flat);
    table.told("reloads", (causeway.generation()? - generation).to_string());
    causeway.stop().await?;
    Ok(table)
}

/// A task is replaced, or an app scaled.
async fn change(marathon: &Marathon, n: usize) -> Result<()> {
    let app = id(n % APPS);
    if n % 5 == 4 && n % APPS >= TARGETS {
        return marathon.change(&app, &json!({ "instances": TASKS + n / APPS % 2 })).await;
    }
    match marathon.running(&app).await?.tasks.as_slice() {
        [task, rest @ ..] if rest.len() + 1 >= TASKS => marathon.kill(task).await.map(drop),
        _ => Ok(()),
    }
}

async fn fault(marathon: &Marathon, causeway: &mut Causeway, n: u32) -> Result<()> {
    match n % 5 {
        0 => marathon.send(Method::POST, "/standin/failover", &json!({ "pause_ms": 2_000 })).await.map(drop),
        1 => marathon.send(Method::POST, "/standin/close_streams", &Value::Null).await.map(drop),
        2 => {
            let failing = json!({ "http": { "status": 503 }, "paths": ["/v2/apps"], "count": 20 });
            marathon.send(Method::PUT, "/standin/faults", &failing).await.map(drop)
        }
        3 => causeway.kill_and_start(),
        _ => {
            let port = usize::from(SERVICE_PORTS.1) + 100 + usize::try_from(n)? % 1_000;
            let ports = json!([{ "port": port, "protocol": "tcp", "name": "http" }]);
            marathon.change(&id(APPS - 1), &json!({ "portDefinitions": ports })).await
        }
    }
}
