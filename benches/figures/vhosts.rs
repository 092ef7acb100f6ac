//! Requests a second through HAProxy with 10,000 vhosts beside 10: two Causeways with a HAProxy each, both running all the time, asked in turn, always for
//! the last vhost. Tasks are one listening server for each of the two.
//!
//! On a machine with two cores wrk and the tasks take most of the CPU, so HAProxy's own CPU time a request is told too.
//! `BENCH_VHOSTS` and `…_SECONDS` make it smaller.

use std::path::Path;
use std::time::Duration;

use crate::causeway::Causeway;
use crate::load::{Load, Way, Wrk};
use crate::marathon::{Marathon, app, vhost};
use crate::process::{Result, cpu_time, setting};
use crate::report::{Table, median, say};
use crate::{ADDRESS, MARATHON_PORT, SECOND_ADDRESS, SECOND_MARATHON_PORT};

const PAIRS: usize = 5;
const FEW: usize = 10;

/// A HAProxy with so many vhosts.
struct Side {
    vhosts: usize,
    causeway: Causeway,
    _marathon: Marathon,
}

/// What one run of wrk came to.
struct Run {
    per_second: f64,
    /// HAProxy's CPU time for one request, in microseconds.
    cpu_us: f64,
}

pub(crate) async fn bench(dir: &Path) -> Result<Table> {
    let many = setting("VHOSTS", 10_000);
    let few = side(&dir.join("few"), FEW, ADDRESS, MARATHON_PORT).await?;
    let many = side(&dir.join("many"), many, SECOND_ADDRESS, SECOND_MARATHON_PORT).await?;
    // Whatever is done once, at first use, is in no pair.
    run(dir, &few, 1).await?;
    run(dir, &many, 1).await?;
    let (mut rates, mut costs, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let seconds = u64::try_from(setting("SECONDS", 5))?;
        // Who is first changes from pair to pair.
        let (one, other) = if pair % 2 == 0 {
            let one = run(dir, &few, seconds).await?;
            (one, run(dir, &many, seconds).await?)
        } else {
            let other = run(dir, &many, seconds).await?;
            (run(dir, &few, seconds).await?, other)
        };
        say(&format!(
            "pair {}: {:.0} requests/s with {}, {:.0} with {}; HAProxy's CPU a request {:.1} and {:.1} µs",
            pair + 1,
            one.per_second,
            few.vhosts,
            other.per_second,
            many.vhosts,
            one.cpu_us,
            other.cpu_us
        ));
        rates.push(other.per_second / one.per_second);
        costs.push(other.cpu_us / one.cpu_us);
        shown.push((one.per_second, other.per_second));
    }
    let ratio = median(rates);
    let rate = |side: fn(&(f64, f64)) -> f64| median(shown.iter().map(side).collect());
    let mut table = Table::new(format!("{} vhosts beside {FEW}", many.vhosts));
    table.told(
        "requests a second, median",
        format!("{:.0} and {:.0}", rate(|pair| pair.1), rate(|pair| pair.0)),
    );
    let what = format!("ratio, median of {PAIRS} interleaved pairs");
    table.judged(&what, format!("{ratio:.3}"), ">= 0.9", ratio >= 0.9);
    table.told("HAProxy's CPU time a request, ratio", format!("{:.3}", median(costs)));
    Ok(table)
}

async fn side(dir: &Path, vhosts: usize, address: &'static str, port: u16) -> Result<Side> {
    std::fs::create_dir_all(dir)?;
    let all: Vec<_> = (0..vhosts).map(|n| app(n, 1)).collect();
    let marathon = Marathon::start(dir, port, &all).await?;
    let causeway = Causeway::start(dir, address, &marathon.url, "")?;
    causeway.explain(causeway.serves(&vhost(vhosts - 1)).await)?;
    Ok(Side { vhosts, causeway, _marathon: marathon })
}

async fn run(dir: &Path, side: &Side, seconds: u64) -> Result<Run> {
    let worker = side.causeway.worker()?;
    let hosts = [vhost(side.vhosts - 1)];
    let load = Load {
        target: side.causeway.http().0,
        hosts: &hosts,
        way: Way::Flat,
        connections: 20,
        pause: Duration::ZERO,
    };
    let before = cpu_time(worker)?;
    let counted = Wrk::start(dir, &load, Duration::from_secs(seconds))?.counted().await?;
    let cpu = cpu_time(worker)? - before;
    let requests = counted.get("requests");
    if counted.failed() > 0 || requests == 0 {
        return Err(format!("requests failed where nothing changes: {}", counted.describe()).into());
    }
    let requests = requests as f64;
    Ok(Run {
        per_second: requests / (counted.get("duration_us") as f64 / 1e6),
        cpu_us: cpu.as_secs_f64() * 1e6 / requests,
    })
}
