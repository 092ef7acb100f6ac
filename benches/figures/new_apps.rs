//! From TASK_RUNNING of an app that is new to the first answer through its vhost: no check, ordinary settings, a port in
//! the range.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::causeway::Causeway;
use crate::marathon::{Marathon, app, labels};
use crate::process::{Result, setting};
use crate::report::{Sorted, Table};

/// Where each new app costs a reload they are spaced: then fewer have to do.
const AT_MOST: Duration = Duration::from_secs(120);

pub(crate) async fn measure(causeway: &Causeway, marathon: &Marathon, table: &mut Table) -> Result<()> {
    let mut running = marathon.listen().await?;
    let (generation, begun) = (causeway.generation()?, Instant::now());
    let mut latencies = Vec::new();
    for n in 0..setting("NEW_APPS", 30) {
        if begun.elapsed() > AT_MOST {
            break;
        }
        let (id, host) = (format!("/new/app-{n}"), format!("new-{n}.example.com"));
        let mut posted = app(n, 1);
        (posted["id"], posted["labels"]) = (json!(id), labels(&host));
        let first_answer = tokio::spawn(causeway.http().first_answer(host));
        marathon.post_app(&posted).await?;
        let event = loop {
            let (of, at) = running.recv().await.ok_or("the event stream ended")?;
            if of == id {
                break at;
            }
        };
        latencies.push(first_answer.await??.saturating_duration_since(event));
        marathon.settled().await?;
    }
    let (count, reloads) = (latencies.len(), causeway.generation()? - generation);
    let latencies = Sorted::of(latencies).ok_or("no new app")?;
    let (median, max) = (latencies.percentile_ms(50), latencies.percentile_ms(100));
    let what = format!("new app to first answer, median of {count}");
    table.judged(&what, format!("{median:.1} ms"), "<= 25 ms", median <= 25.0);
    table.judged("… max", format!("{max:.1} ms"), "<= 25 ms", max <= 25.0);
    table.judged("… reloads meanwhile", reloads.to_string(), "0", reloads == 0);
    Ok(())
}
