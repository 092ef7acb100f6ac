//! Ten thousand apps of which one hundred are broken, in every way that stops marathon-lb or lets one app harm another:
//! the others are served, an event costs what it costs without them, and each is listed with its reason.
//!
//! `BENCH_BROKEN_APPS` takes fewer apps, `BENCH_SECONDS` shorter stretches.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::causeway::Causeway;
use crate::marathon::{Marathon, app, labels, vhost};
use crate::process::{Result, setting, until};
use crate::report::{Table, say};
use crate::{ADDRESS, MARATHON_PORT, cost};

const APPS: usize = 10_000;
const BROKEN: usize = 100;
const TASKS: usize = 2;

pub(crate) async fn bench(dir: &Path) -> Result<Table> {
    let sound = setting("BROKEN_APPS", APPS).saturating_sub(BROKEN);
    let all: Vec<Value> = (0..sound).map(|n| app(n, TASKS)).collect();
    say(&format!("{sound} apps that are sound …"));
    let (without, _, _) = run(&dir.join("sound"), &all, sound).await?;
    let mut broken: Vec<Value> = (0..BROKEN).map(broken).collect();
    // It has what some of the broken ones want too.
    let mut holder = app(sound, 1);
    holder["id"] = json!("/zy-holder");
    holder["labels"] = labels("holder.example.com");
    holder["labels"]["HAPROXY_0_PORT"] = json!("25000");
    broken.push(holder);
    say(&format!("… and {BROKEN} that are broken …"));
    let all: Vec<Value> = all.into_iter().chain(broken).collect();
    let (with, served, listed) = run(&dir.join("broken"), &all, sound).await?;
    say("… and without them again …");
    let (again, _, _) = run(&dir.join("again"), &all[..sound], sound).await?;
    // Two runs of the same differ by more than a tenth on a shared machine.
    let (without, spread) = ((without + again) / 2.0, (without - again).abs() / without.min(again));

    let mut table = Table::new(format!("{sound} sound apps, {BROKEN} broken ones"));
    table.judged("sound apps that answer", served.to_string(), &format!("{sound}"), served == sound);
    table.judged(
        "broken apps that are listed with a reason",
        listed.to_string(),
        &BROKEN.to_string(),
        listed == BROKEN,
    );
    table.told("our CPU time for a replacement, without the broken ones", format!("{without:.2} ms"));
    table.told("… with them", format!("{with:.2} ms"));
    let ratio = with / without;
    let most = 1.15 + spread;
    table.judged(
        "… ratio",
        format!("{ratio:.2}"),
        &format!("<= {most:.2}, the spread of two runs without"),
        ratio <= most,
    );
    Ok(table)
}

/// CPU milliseconds of a replacement, how many sound apps answer, and how many broken ones are listed.
async fn run(dir: &Path, apps: &[Value], sound: usize) -> Result<(f64, usize, usize)> {
    std::fs::create_dir_all(dir)?;
    let marathon = Marathon::start(dir, MARATHON_PORT, apps).await?;
    let causeway = Causeway::start(dir, ADDRESS, &marathon.url, "")?;
    causeway.explain(causeway.serves(&vhost(sound - 1)).await)?;
    let door = causeway.http();
    let served = tokio::task::spawn_blocking(move || (0..sound).filter(|n| door.answers(&vhost(*n))).count());
    let served = served.await?;
    let listed = listed(&causeway).await?;
    let cost = causeway.explain(cost::replacement(&causeway, &marathon, sound).await)?;
    causeway.stop().await?;
    Ok((cost, served, listed))
}

/// How many apps have a problem.
async fn listed(causeway: &Causeway) -> Result<usize> {
    let web = until("the address of the API", async || causeway.web()).await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{web}/api/v2/problems?limit=1000");
    let answer: Value = client.get(url).send().await?.error_for_status()?.json().await?;
    let problems = answer["problems"].as_array().cloned().unwrap_or_default();
    let has_reason = |problem: &&Value| problem["message"].as_str().is_some_and(|text| !text.is_empty());
    let apps: BTreeSet<String> = problems
        .iter()
        .filter(has_reason)
        .filter_map(|problem| problem["app"].as_str().map(str::to_owned))
        .filter(|app| app.starts_with("/zz-broken/"))
        .collect();
    Ok(apps.len())
}

/// A broken app; each kind of mistake comes again and again.
fn broken(n: usize) -> Value {
    let host = format!("broken-{n}.example.com");
    let kinds: [(&str, &str); 20] = [
        ("HAPROXY_0_PORT", "abc"),
        ("HAPROXY_0_PORT", "8000"),
        // Somebody has it.
        ("HAPROXY_0_PORT", "25000"),
        ("HAPROXY_0_VHOST", "app-0.example.com"),
        ("HAPROXY_0_VHOST", "a b.example.com"),
        ("HAPROXY_0_VHOST", "x.example.com\n    http-request deny"),
        ("HAPROXY_0_AUTH", "realm:user"),
        ("HAPROXY_0_AUTH", "realm:user:$6$rounds=20000000$salt$hash"),
        ("HAPROXY_0_BACKEND_WEIGHT", "high"),
        ("HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX", "1"),
        ("HAPROXY_0_NETWORK_ALLOWED_ACL", "everybody"),
        ("HAPROXY_0_BALANCE", "fair"),
        ("HAPROXY_0_MODE", "udp"),
        ("HAPROXY_0_BIND_OPTIONS", "lua-load /tmp/x.lua"),
        ("HAPROXY_0_BIND_ADDR", "not an address"),
        ("HAPROXY_0_SSL_CERT", "../../etc/shadow"),
        ("HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH", "no-slash"),
        ("HAPROXY_0_BACKEND_HEAD", "backend {backend}\n  {stray"),
        ("HAPROXY_0_VHOSTT", "typed-wrong.example.com"),
        ("HAPROXY_9_VHOST", "no-such-port.example.com"),
    ];
    let (label, value) = kinds[n % kinds.len()];
    let mut broken = app(n, 1);
    broken["id"] = json!(format!("/zz-broken/app-{n}"));
    broken["labels"] = labels(&host);
    broken["labels"][label] = json!(value);
    broken
}
