//! At 1,000 × 5, under load: 1,000 task replacements, 200 scale steps, 100 new apps and 100 changes of vhosts, at the same time;
//! then 50 forced reloads. Reloads are counted, and requests that fail.
//!
//! wrk asks four ways, by vhost and by service port, keep-alive and one request a connection, at a rate that leaves CPU to the rest. What it asks for are apps that
//! change all the time themselves: every fourth replacement and every second scale step is theirs, and each is rolled over once by a change
//! of its labels (its second vhost; the first stays). They keep three running tasks of five at least.
//!
//! Everything else stays within the room of its backend: an app is either scaled, or rolled over, or loses tasks. An
//! app whose rolling update doubles it while it also loses tasks has no slot left, and then a reload is no fault.
//!
//! `BENCH_SECONDS`, `…_REPLACEMENTS`, `…_SCALINGS`, `…_NEW_APPS`, `…_VHOST_CHANGES` and `…_RELOADS` make it smaller.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::causeway::{Causeway, SERVICE_PORTS};
use crate::load::{Counted, Load, Way, Wrk};
use crate::marathon::{Marathon, app, id, labels, vhost};
use crate::process::{Result, setting, until};
use crate::report::{Table, say};
use crate::{ADDRESS, MARATHON_PORT};

const APPS: usize = 1_000;
const TASKS: usize = 5;
/// The first apps are those that wrk asks for.
const TARGETS: usize = 10;
/// The other apps that lose tasks, are scaled, and get other vhosts, begin at these.
const SCALED: usize = 800;
const ROLLED: usize = 900;
/// A target keeps so many running tasks.
const LEAST: usize = 3;
/// The longest that wrk may run.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The app that forces reloads: its service port is one outside the range, another one each time, and a port of its own needs
/// a frontend of its own.
const RELOADER: &str = "/reloader";

struct Scene<'a> {
    causeway: &'a Causeway,
    marathon: &'a Marathon,
    dir: &'a Path,
    /// The service ports of the first two targets.
    ports: [u16; 2],
}

pub(crate) async fn bench(dir: &Path) -> Result<Vec<Table>> {
    let mut all: Vec<Value> = (0..APPS).map(|n| app(n, TASKS)).collect();
    for target in &mut all[..TARGETS] {
        target["upgradeStrategy"] = json!({ "minimumHealthCapacity": 0.6, "maximumOverCapacity": 0.2 });
    }
    let mut reloader = app(APPS, 1);
    (reloader["id"], reloader["labels"]) = (json!(RELOADER), labels("reloader.example.com"));
    all.push(reloader);
    let marathon = Marathon::start(dir, MARATHON_PORT, &all).await?;
    let causeway = Causeway::start(dir, ADDRESS, &marathon.url, "reload_interval = \"1s\"\n")?;
    causeway.explain(causeway.serves(&vhost(APPS - 1)).await)?;
    let ports = [service_port(&marathon, &id(0)).await?, service_port(&marathon, &id(1)).await?];
    let scene = Scene { causeway: &causeway, marathon: &marathon, dir, ports };
    let changes = causeway.explain(scene.under_changes().await)?;
    let reloads = causeway.explain(scene.under_reloads().await)?;
    causeway.stop().await?;
    Ok(vec![changes, reloads])
}

async fn service_port(marathon: &Marathon, app: &str) -> Result<u16> {
    let app = marathon.get(&format!("/v2/apps{app}")).await?;
    let port = app["app"]["portDefinitions"][0]["port"].as_u64().ok_or("an app without a port")?;
    Ok(u16::try_from(port)?)
}

/// Ticks so often that all come within the time.
fn pace(count: usize) -> Interval {
    let all = Duration::from_secs(u64::try_from(setting("SECONDS", 60)).unwrap_or(60));
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let mut ticks = interval((all / count).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

impl Scene<'_> {
    async fn under_changes(&self) -> Result<Table> {
        let generation = self.causeway.generation()?;
        let load = self.start_load()?;
        let begun = Instant::now();
        let (replaced, scaled, new, moved) =
            tokio::try_join!(self.replace(), self.scale(), self.post_apps(), self.move_vhosts())?;
        say(&format!(
            "{replaced} replacements, {scaled} scale steps, {new} new apps, {moved} changes of vhosts in {:.0} s",
            begun.elapsed().as_secs_f64()
        ));
        self.marathon.settled().await?;
        self.all_applied(new, moved).await?;
        let counted = stop(load).await?;
        let reloads = self.causeway.generation()? - generation;
        let mut table = Table::new(format!(
            "{APPS} apps of {TASKS} tasks: {replaced} replacements, {scaled} scale steps, {new} new apps, {moved} changes of vhosts"
        ));
        table.judged("reloads", reloads.to_string(), "0 on slots with room", reloads == 0);
        tell(&mut table, &counted);
        Ok(table)
    }

    async fn under_reloads(&self) -> Result<Table> {
        let wanted = setting("RELOADS", 50);
        let load = self.start_load()?;
        let (first, begun) = (self.causeway.generation()?, Instant::now());
        let mut changes: u16 = 0;
        loop {
            let before = self.causeway.generation()?;
            let reloads = usize::try_from(before - first)?;
            if reloads >= wanted {
                say(&format!(
                    "{reloads} reloads by {changes} changes in {:.0} s",
                    begun.elapsed().as_secs_f64()
                ));
                break;
            }
            changes += 1;
            let port =
                json!([{ "port": SERVICE_PORTS.1 + 100 + changes, "protocol": "tcp", "name": "http" }]);
            self.marathon.change(RELOADER, &json!({ "portDefinitions": port })).await?;
            until("a forced reload", async || self.causeway.generation().ok().filter(|now| *now != before))
                .await?;
        }
        // What comes with the last worker is seen too.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let reloads = self.causeway.generation()? - first;
        let mut table = Table::new(format!("{APPS} apps of {TASKS} tasks: {reloads} forced reloads"));
        tell(&mut table, &stop(load).await?);
        Ok(table)
    }

    /// wrk, four ways.
    fn start_load(&self) -> Result<Vec<(&'static str, Wrk)>> {
        let http = self.causeway.http().0;
        let hosts: Vec<String> = (0..TARGETS).map(vhost).collect();
        let port = |index: usize| SocketAddr::new(http.ip(), self.ports[index]);
        [
            ("by vhost, keep-alive", http, hosts.as_slice(), Way::Keep),
            ("by vhost, one request a connection", http, &hosts, Way::Close),
            ("by service port, keep-alive", port(0), &hosts[..1], Way::Keep),
            ("by service port, one request a connection", port(1), &hosts[1..2], Way::Close),
        ]
        .into_iter()
        .map(|(name, target, hosts, way)| {
            // About 330 requests a second each.
            let load = Load { target, hosts, way, connections: 10, pause: Duration::from_millis(30) };
            Ok((name, Wrk::start(self.dir, &load, LONGEST)?))
        })
        .collect()
    }

    /// Kills tasks, which Marathon replaces: every fourth is of an app that wrk asks for.
    async fn replace(&self) -> Result<usize> {
        let count = setting("REPLACEMENTS", 1_000);
        let mut ticks = pace(count);
        let mut replaced = 0;
        for n in 0..count {
            ticks.tick().await;
            let target = n % 4 == 0;
            let app = if target { n / 4 % TARGETS } else { TARGETS + n % (SCALED - TARGETS) };
            let running = self.marathon.running(&id(app)).await?.tasks;
            if running.len() <= if target { LEAST } else { 1 } {
                // Its turn comes again; another app goes first.
                let other = TARGETS + (n + SCALED / 2) % (SCALED - TARGETS);
                let Some(task) = self.marathon.running(&id(other)).await?.tasks.into_iter().next() else {
                    continue;
                };
                self.marathon.kill(&task).await?;
            } else {
                self.marathon.kill(&running[0]).await?;
            }
            replaced += 1;
        }
        Ok(replaced)
    }

    /// One more and one less by turns: every second step is of an app that wrk asks for.
    async fn scale(&self) -> Result<usize> {
        let count = setting("SCALINGS", 200);
        let mut ticks = pace(count);
        for n in 0..count {
            ticks.tick().await;
            let (app, round) = match n % 2 {
                0 => (n / 2 % TARGETS, n / 2 / TARGETS),
                _ => (SCALED + n / 2 % (ROLLED - SCALED) / 2, n / 2 % 2),
            };
            let instances = TASKS + (round + 1) % 2;
            self.marathon.change(&id(app), &json!({ "instances": instances })).await?;
        }
        Ok(count)
    }

    async fn post_apps(&self) -> Result<usize> {
        let count = setting("NEW_APPS", 100);
        let mut ticks = pace(count);
        for n in 0..count {
            ticks.tick().await;
            let mut posted = app(n, 2);
            (posted["id"], posted["labels"]) = (json!(format!("/new/app-{n}")), labels(&new_vhost(n)));
            self.marathon.post_app(&posted).await?;
        }
        Ok(count)
    }

    /// Every tenth is the second vhost of an app that wrk asks for, the others are the only one of theirs.
    async fn move_vhosts(&self) -> Result<usize> {
        let count = setting("VHOST_CHANGES", 100);
        let mut ticks = pace(count);
        for n in 0..count {
            ticks.tick().await;
            let (app, vhosts) = match n % 10 {
                0 => (n / 10 % TARGETS, format!("{},{}", vhost(n / 10 % TARGETS), moved_vhost(n))),
                _ => (ROLLED + n, moved_vhost(n)),
            };
            self.marathon.change(&id(app), &json!({ "labels": labels(&vhosts) })).await?;
        }
        Ok(count)
    }

    /// Waits until what is new is there, and what was moved is gone.
    async fn all_applied(&self, new: usize, moved: usize) -> Result<()> {
        let door = self.causeway.http();
        for host in (0..new).map(new_vhost).chain((0..moved).map(moved_vhost)) {
            self.causeway.serves(&host).await?;
        }
        for app in (0..moved).filter(|n| n % 10 != 0).map(|n| vhost(ROLLED + n)) {
            until("the end of an old vhost", async || (!door.answers(&app)).then_some(())).await?;
        }
        Ok(())
    }
}

fn new_vhost(n: usize) -> String {
    format!("new-{n}.example.com")
}

fn moved_vhost(n: usize) -> String {
    format!("moved-{n}.example.com")
}

async fn stop(load: Vec<(&'static str, Wrk)>) -> Result<Vec<(&'static str, Counted)>> {
    let mut counted = Vec::new();
    for (name, wrk) in load {
        counted.push((name, wrk.stop().await?));
    }
    Ok(counted)
}

fn tell(table: &mut Table, counted: &[(&'static str, Counted)]) {
    for (name, counted) in counted {
        let what = format!("failed requests {name}");
        table.judged(&what, counted.describe(), "0", counted.failed() == 0);
    }
    let wrong: u64 = counted.iter().map(|(_, counted)| counted.get("wrong")).sum();
    table.judged("answers from another app", wrong.to_string(), "0", wrong == 0);
}
