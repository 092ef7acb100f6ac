//! From Marathon's TASK_RUNNING to the first answer of the new task.

use std::time::Duration;

use serde_json::json;

use crate::causeway::Causeway;
use crate::marathon::Marathon;
use crate::process::{Result, setting, until};
use crate::report::{Sorted, Table};
use crate::sizes::PROBE;

/// Nobody scales ten times a second, and a slot is given on only when nothing uses it any more.
const PAUSE: Duration = Duration::from_millis(400);

pub(crate) struct Latency {
    pub(crate) median_ms: f64,
}

/// Scales an app from nothing to one and back. The event is sent when it arrives at a listener beside Causeway's.
pub(crate) async fn measure(causeway: &Causeway, marathon: &Marathon, table: &mut Table) -> Result<Latency> {
    let (app, host) = PROBE;
    let mut running = marathon.listen().await?;
    let generation = causeway.generation()?;
    let door = causeway.http();
    let mut latencies = Vec::new();
    for _ in 0..setting("EVENTS", 100) {
        let first_answer = tokio::spawn(door.first_answer(host.to_owned()));
        marathon.change(app, &json!({ "instances": 1 })).await?;
        let event = loop {
            let (of, at) = running.recv().await.ok_or("the event stream ended")?;
            if of == app {
                break at;
            }
        };
        latencies.push(first_answer.await??.saturating_duration_since(event));
        marathon.change(app, &json!({ "instances": 0 })).await?;
        until("the end of the probe", async || (!door.answers(host)).then_some(())).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let reloads = causeway.generation()? - generation;
    let latencies = Sorted::of(latencies).ok_or("no event")?;
    let at = |percent| latencies.percentile_ms(percent);
    let shown = |percent| format!("{:.1} ms", at(percent));
    table.judged("event to first answer, median", shown(50), "<= 5 ms", at(50) <= 5.0);
    table.judged("… p99", shown(99), "<= 25 ms", at(99) <= 25.0);
    table.told("… max", shown(100));
    table.judged("… reloads meanwhile", reloads.to_string(), "0", reloads == 0);
    Ok(Latency { median_ms: at(50) })
}
