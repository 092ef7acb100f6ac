//! The demo: a stand-in Marathon, demo apps, a real HAProxy, on high ports of loopback.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::bridge;
use crate::cli::DemoArgs;
use crate::config::{Config, OnExit, PortRange, WebAuth};
use crate::telemetry;

pub mod marathon;

/// The ports of HAProxy's other frontends, and of the TCP app.
const APP_ID_PORT: u16 = 9091;
const STATS_PORT: u16 = 9090;
const TCP_PORT: u16 = 10_001;

/// Runs the demo until `stop`; leaves nothing behind.
///
/// # Errors
/// A port that is taken, or no HAProxy.
pub async fn run(args: &DemoArgs, stop: CancellationToken) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("causeway-demo-").tempdir()?;
    let options = marathon::Options {
        listen: ([127, 0, 0, 1], args.marathon_port).into(),
        ..marathon::Options::default()
    };
    let stand_in =
        marathon::StandIn::start(options).await.context("the stand-in Marathon (see --marathon-port)")?;
    let mut config = Config::default();
    config.log.level = "causeway=info,warn".to_owned();
    config.marathon.endpoints = vec![stand_in.url()];
    let haproxy = &mut config.haproxy;
    haproxy.state_dir = dir.path().join("state");
    haproxy.socket = dir.path().join("run/haproxy.sock");
    haproxy.master_socket = dir.path().join("run/master.sock");
    haproxy.on_exit = OnExit::Stop;
    haproxy.bind_http = format!("127.0.0.1:{}", args.http_port);
    haproxy.bind_app_id = format!("127.0.0.1:{APP_ID_PORT}");
    haproxy.bind_stats = format!("127.0.0.1:{STATS_PORT}");
    haproxy.bind_service_ports = "127.0.0.1".to_owned();
    haproxy.service_port_range = PortRange { first: 10_000, last: 10_100 };
    // To try everything without a user; it is only for this host.
    config.web.auth = WebAuth::None;
    telemetry::start_log(&config.log)?;

    let client = reqwest::Client::new();
    for app in apps() {
        let response = client.post(format!("{}/v2/apps", stand_in.url())).json(&app).send().await?;
        response.error_for_status().with_context(|| format!("posting {}", app["id"]))?;
    }
    let web = config.web.listen.clone();
    let mut bridging = tokio::spawn(bridge::run(config, stop.clone()));
    let served = tokio::select! {
        served = wait_until_served(&client, args.http_port, &stop) => served,
        ended = &mut bridging => return ended.context("the bridge")?,
    };
    let result = if served.is_ok() && !stop.is_cancelled() {
        tell(&page(args.marathon_port, args.http_port, &web));
        if args.once { show_once(&client, args, &stop).await } else { Ok(()) }
    } else {
        served
    };
    if args.once || result.is_err() {
        stop.cancel();
    }
    let bridged = bridging.await.context("the bridge")?;
    stand_in.shutdown().await;
    bridged.and(result)
}

fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn apps() -> [Value; 4] {
    let port = |index: u16| json!([{ "port": index, "protocol": "tcp" }]);
    [
        json!({
            "id": "/shop/web", "cmd": "web", "instances": 2, "portDefinitions": port(10_002),
            "labels": { "HAPROXY_0_VHOST": "shop.example.com" },
        }),
        json!({
            "id": "/shop/api", "cmd": "api", "instances": 2, "portDefinitions": port(10_003),
            "labels": { "HAPROXY_0_VHOST": "shop.example.com", "HAPROXY_0_PATH": "/api" },
        }),
        json!({
            "id": "/data/cache", "cmd": "cache", "instances": 2, "portDefinitions": port(TCP_PORT),
            "labels": { "HAPROXY_0_MODE": "tcp" },
        }),
        json!({
            "id": "/shop/checkout", "cmd": "checkout", "instances": 2, "portDefinitions": port(10_004),
            "labels": { "HAPROXY_0_VHOST": "checkout.example.com" },
            "healthChecks": [{
                "protocol": "HTTP", "path": "/health", "portIndex": 0, "gracePeriodSeconds": 5,
                "intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 0,
            }],
        }),
    ]
}

/// What each way in answers: a name for it, the request's host and path, and the app that has to answer.
const WAYS: [(&str, &str, &str, &str); 3] = [
    ("a vhost", "shop.example.com", "/", "/shop/web"),
    ("a path of it", "shop.example.com", "/api/orders", "/shop/api"),
    ("a health-checked app", "checkout.example.com", "/", "/shop/checkout"),
];

async fn answer(client: &reqwest::Client, port: u16, host: &str, path: &str) -> Option<String> {
    let request = client.get(format!("http://127.0.0.1:{port}{path}")).header("Host", host);
    let response = request.timeout(Duration::from_secs(2)).send().await.ok()?;
    Some(response.headers().get("x-app")?.to_str().ok()?.to_owned())
}

async fn wait_until_served(client: &reqwest::Client, port: u16, stop: &CancellationToken) -> Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    for (name, host, path, app) in WAYS {
        while answer(client, port, host, path).await.as_deref() != Some(app) {
            if stop.is_cancelled() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                anyhow::bail!(
                    "{name} ({host}{path}) was not served by {app} within 30 s; the log above says why"
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

fn page(marathon: u16, http: u16, web: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "causeway".to_owned());
    let mut page = format!(
        "\nWhat is live, and why: open http://{web}/ in a browser.\n\n\
         HAProxy serves what the stand-in Marathon runs. Try, in another terminal:\n\n"
    );
    for (name, host, path, _) in WAYS {
        let _infallible =
            writeln!(page, "  curl -H 'Host: {host}' http://127.0.0.1:{http}{path:<14} # {name}");
    }
    let _infallible = write!(
        page,
        "  curl -H 'X-Marathon-App-Id: /shop/web' http://127.0.0.1:{APP_ID_PORT}/     # by app id
  echo hello | curl -s -m1 telnet://127.0.0.1:{TCP_PORT}                 # a TCP app, by its service port
  curl -H 'Host: unknown.example.com' http://127.0.0.1:{http}/        # nobody has it: 404
  curl http://127.0.0.1:{STATS_PORT}/metrics    'http://127.0.0.1:{STATS_PORT}/haproxy?stats'
  curl http://{web}/metrics    http://{web}/api/v2/services   # under the apps' own names
  {program} rules --url http://{web} list   # and set, import, rm: rules by the command line

Change what runs, and watch the line that says what happened and why:

  curl -X PUT http://127.0.0.1:{marathon}/v2/apps/shop/web -H 'Content-Type: application/json' -d '{{\"instances\": 4}}'
  curl -X PUT http://127.0.0.1:{marathon}/v2/apps/shop/web -H 'Content-Type: application/json' -d '{{\"instances\": 1}}'
  curl -X DELETE http://127.0.0.1:{marathon}/v2/apps/shop/api

Ctrl-C ends everything and leaves nothing behind.

"
    );
    page
}

/// Asks each way in, scales an app, and says how long it took until every task answered.
async fn show_once(client: &reqwest::Client, args: &DemoArgs, stop: &CancellationToken) -> Result<()> {
    for (name, host, path, _) in WAYS {
        let app = answer(client, args.http_port, host, path).await.unwrap_or_default();
        tell(&format!("{name}: {host}{path} is answered by {app}\n"));
    }
    let begun = tokio::time::Instant::now();
    let url = format!("http://127.0.0.1:{}/v2/apps/shop/web", args.marathon_port);
    client.put(url).json(&json!({ "instances": 4 })).send().await?.error_for_status()?;
    let mut tasks = std::collections::BTreeSet::new();
    while tasks.len() < 4 && !stop.is_cancelled() {
        let request =
            client.get(format!("http://127.0.0.1:{}/", args.http_port)).header("Host", "shop.example.com");
        let response = request.send().await?.error_for_status()?;
        tasks.extend(response.headers().get("x-task").and_then(|task| task.to_str().ok()).map(str::to_owned));
        anyhow::ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "scaling /shop/web to 4 did not show within 30 s"
        );
    }
    tell(&format!("scaled /shop/web from 2 to 4: all four answer after {:?}\n", begun.elapsed()));
    Ok(())
}
