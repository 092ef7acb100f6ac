//! CPU time and bytes of one task event, persisting apart.
//!
//! The event is one of those of a replacement: a task is killed, and Marathon starts another, in an app of its own each time. Three stretches of equal length are
//! measured, each long enough for two audits (every 15 s): one idle, one with few replacements, one with many. In both of
//! the latter something changes in every second, so that the files are written equally often, about once a second; the
//! writings are counted by watching the file. With the idle stretch taken off, what is left is
//! `replacements × one replacement + writings × one writing`, twice, which gives both.
//!
//! CPU time is Causeway's own (`haproxy -c` and HAProxy are other processes), in nanoseconds, all threads.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::causeway::Causeway;
use crate::marathon::{EVENTS_OF_A_REPLACEMENT, Marathon, id};
use crate::process::{Result, cpu_time, setting};
use crate::report::{Table, ms};

/// The length of a stretch, seconds.
const STRETCH: usize = 30;
/// The last of each stretch, in which tasks that were killed end and others start: a task takes 3 s to end.
const TAIL: Duration = Duration::from_secs(5);
/// Replacements a second.
const FEW: usize = 1;
const MANY: usize = 10;

/// Of a replacement's five status updates two change what HAProxy does: one task leaves, another comes. What the other three
/// cost is theirs.
const EVENTS_WITH_CHANGES: f64 = 2.0;

/// What one stretch took.
struct Stretch {
    cpu: Duration,
    replacements: usize,
    writings: usize,
    /// Of REST answers to others than this bench.
    bytes: usize,
    app_reads: usize,
    list_reads: usize,
}

pub(crate) async fn measure(
    causeway: &Causeway,
    marathon: &Marathon,
    apps: usize,
    table: &mut Table,
) -> Result<()> {
    let idle = stretch(causeway, marathon, apps, 0).await?;
    let few = stretch(causeway, marathon, apps, FEW).await?;
    // With few apps no app is to lose most of its tasks at once.
    let many = stretch(causeway, marathon, apps, MANY.min(apps / 2)).await?;
    let (one, writing) = solve(&idle, &few, &many);
    let event = one / EVENTS_WITH_CHANGES;
    let what = "our CPU time for one task event (half a replacement)";
    table.judged(what, format!("{event:.2} ms"), "<= 2 ms", event <= 2.0);
    table.told("… of a whole replacement, five status updates", format!("{one:.2} ms"));
    let writings = many.writings;
    table.told("… of writing the files once", format!("{writing:.1} ms ({writings} in {} s)", seconds()));
    table.told("… idle, of a second", format!("{:.2} ms", ms(idle.cpu) / seconds() as f64));
    let bytes = many.bytes / many.replacements.max(1) / EVENTS_OF_A_REPLACEMENT;
    let most = marathon.app_bytes(&id(0)).await?;
    let holds = bytes <= most && many.list_reads == 0;
    table.judged("bytes read for one task event", bytes.to_string(), &format!("<= {most}, one app"), holds);
    let reads = many.app_reads as f64 / many.replacements.max(1) as f64;
    table.told("… reads of the app a replacement", format!("{reads:.1}"));
    Ok(())
}

/// CPU milliseconds of a replacement.
pub(crate) async fn replacement(causeway: &Causeway, marathon: &Marathon, apps: usize) -> Result<f64> {
    let idle = stretch(causeway, marathon, apps, 0).await?;
    let few = stretch(causeway, marathon, apps, FEW).await?;
    let many = stretch(causeway, marathon, apps, MANY.min(apps / 2)).await?;
    Ok(solve(&idle, &few, &many).0)
}

/// One replacement and one writing, in milliseconds of CPU time.
fn solve(idle: &Stretch, few: &Stretch, many: &Stretch) -> (f64, f64) {
    let above = |stretch: &Stretch| (ms(stretch.cpu) - ms(idle.cpu)).max(0.0);
    let row = |stretch: &Stretch| (stretch.replacements as f64, stretch.writings as f64, above(stretch));
    let ((few_n, few_w, few_ms), (many_n, many_w, many_ms)) = (row(few), row(many));
    let determinant = few_n * many_w - many_n * few_w;
    if determinant.abs() < 1.0 {
        // Nothing is written, or it cannot be told apart: then all of it counts.
        return (many_ms / many_n.max(1.0), 0.0);
    }
    let one = (few_ms * many_w - many_ms * few_w) / determinant;
    let writing = (few_n * many_ms - many_n * few_ms) / determinant;
    (one, writing)
}

fn seconds() -> usize {
    setting("SECONDS", STRETCH)
}

async fn stretch(causeway: &Causeway, marathon: &Marathon, apps: usize, rate: usize) -> Result<Stretch> {
    let length = Duration::from_secs(u64::try_from(seconds())?);
    let count = rate * usize::try_from(length.saturating_sub(TAIL).as_secs())?;
    let before = marathon.counters().await?;
    let (cpu, begun) = (cpu_time(causeway.pid())?, Instant::now());
    let watch = async {
        let (mut writings, mut last) = (0, causeway.written());
        while begun.elapsed() < length {
            let now = causeway.written();
            writings += usize::from(now.is_some() && std::mem::replace(&mut last, now) != now);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        writings
    };
    let kill = async {
        let (mut replacements, mut answers) = (0, 0);
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate.max(1))?);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for n in 0..count {
            ticks.tick().await;
            let running = marathon.running(&id(n % apps)).await?;
            answers += running.bytes;
            let Some(task) = running.tasks.first() else { continue };
            answers += marathon.kill(task).await?;
            replacements += 1;
        }
        Result::Ok((replacements, answers))
    };
    let (writings, killed) = tokio::join!(watch, kill);
    let (replacements, answers) = killed?;
    let cpu = cpu_time(causeway.pid())? - cpu;
    let after = marathon.counters().await?;
    Ok(Stretch {
        cpu,
        replacements,
        writings,
        bytes: (after.bytes - before.bytes).saturating_sub(answers),
        app_reads: (after.apps - before.apps).saturating_sub(count),
        list_reads: after.lists - before.lists,
    })
}
