//! The figures of Causeway beside their aims: `make bench` for all, `make bench FIGURES="sizes burst"` for some.
//!
//! The stand-in Marathon and Causeway are processes of their own, HAProxy is the system's, tasks are real servers on loopback.
//! A figure that misses its aim is said and fails nothing; what does not work at all fails.
//! `BENCH_…` in the environment makes a bench smaller, to try it: each module names its own.

mod broken;
mod burst;
mod causeway;
mod changes;
mod cost;
mod latency;
mod load;
mod marathon;
mod new_apps;
mod pages;
mod process;
mod report;
mod sizes;
mod soak;
mod startup;
mod vhosts;

use std::path::Path;

use process::Result;
use report::{Table, say};

/// Where HAProxy listens, and a second one beside it.
const ADDRESS: &str = "127.99.0.1";
const SECOND_ADDRESS: &str = "127.99.0.2";
/// The port of the stand-in Marathon, on 127.0.0.1, and of a second one.
const MARATHON_PORT: u16 = 19_080;
const SECOND_MARATHON_PORT: u16 = 19_090;

/// All that run when none is named; `soak` only runs when it is.
const FIGURES: [&str; 6] = ["startup", "sizes", "changes", "vhosts", "burst", "broken"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::process::ExitCode {
    use tokio::signal::unix::{SignalKind, signal};
    // Cargo's own arguments (`--bench`) are no names.
    let named: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all = || FIGURES.map(str::to_owned).to_vec();
    let wanted = if named.is_empty() { all() } else { named };
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return 1.into() };
    // Dropping what runs ends its processes.
    let result = tokio::select! {
        result = run(&wanted) => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminated.recv() => Err("terminated".into()),
    };
    match result {
        Ok(()) => 0.into(),
        Err(error) => {
            say(&format!("\nthe bench failed: {error}"));
            1.into()
        }
    }
}

async fn run(wanted: &[String]) -> Result<()> {
    let (mut aims, mut held) = (0, 0);
    for name in wanted {
        let dir = tempfile::Builder::new().prefix("cwb").tempdir()?;
        say(&format!("\n# {name}"));
        for table in measure(name, dir.path()).await? {
            table.print();
            let (all, holding) = table.aims();
            (aims, held) = (aims + all, held + holding);
        }
    }
    say(&format!("\n{held} of {aims} aims hold."));
    Ok(())
}

async fn measure(name: &str, dir: &Path) -> Result<Vec<Table>> {
    match name {
        "broken" => Ok(vec![broken::bench(dir).await?]),
        "startup" => Ok(vec![startup::bench(dir).await?]),
        "sizes" => sizes::bench(dir).await,
        "changes" => changes::bench(dir).await,
        "vhosts" => Ok(vec![vhosts::bench(dir).await?]),
        "burst" => Ok(vec![burst::bench(dir).await?]),
        "soak" => Ok(vec![soak::bench(dir).await?]),
        _ => Err(format!("there is no bench {name}; there are {} and soak", FIGURES.join(", ")).into()),
    }
}
