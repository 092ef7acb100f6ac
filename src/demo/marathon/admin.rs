//! `/standin`: switches and actions of the stand-in itself; no fault and no password affects it.
//!
//! | request | body | effect |
//! |---|---|---|
//! | `GET`, `PUT`, `PATCH`, `DELETE /standin/faults` | [`Faults`] | reads, replaces, overlays, clears the switches |
//! | `POST /standin/failover` | `{"pause_ms": N}` | closes streams, forgets HTTP and TCP results; not ready for N ms |
//! | `POST /standin/close_streams` | | closes all event streams |
//! | `PUT /standin/tasks/{id}/health` | `{"healthy": bool, "serving": bool}` | 503 on health paths; resets connections |
//! | `PUT /standin/tasks/{id}/state` | `{"state": "TASK_…"}` | as an agent's report, with its events |
//! | `POST /standin/storm` | `{"state": "TASK_…", "apps": N, "over_ms": N}` | the same for one task of each of N apps |
//! | `PUT /standin/readiness/{app}` | `{"ready": bool}` | 503 on readiness paths |
//! | `POST /standin/events` | an event or an array of them | publishes as given |
//! | `POST /standin/apps` | an array of apps | creates them with running tasks, without deployments |
//! | `GET`, `DELETE /standin/counters` | | reads, resets what was read |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::core::Core;
use super::faults::{EventFault, Faults};
use super::reply::Reply;
use super::storm::{self, Storm};
use super::{health, lifecycle, routes, update};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Failover {
    pause_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskHealth {
    healthy: Option<bool>,
    serving: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Readiness {
    ready: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    state: String,
}

/// Answers a request from this machine; others are refused.
pub(super) async fn answer(core: &Arc<Core>, parts: &Parts, body: Bytes, remote: SocketAddr) -> Reply {
    if !remote.ip().is_loopback() {
        return Reply::message(StatusCode::FORBIDDEN, "only from this machine");
    }
    let path = routes::decoded(parts.uri.path());
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).skip(1).collect();
    let outcome = match (&parts.method, segments.as_slice()) {
        (&Method::GET, ["faults"]) => Ok(Reply::ok(&faults(core))),
        (&Method::PUT, ["faults"]) => parse(&body).map(|switches| set(core, switches)),
        (&Method::PATCH, ["faults"]) => patched(core, &body).map(|switches| set(core, switches)),
        (&Method::DELETE, ["faults"]) => Ok(set(core, Faults::default())),
        (&Method::POST, ["failover"]) => parse(if body.is_empty() { b"{}" } else { &body }).map(|failover| {
            fail_over(core, &failover);
            done()
        }),
        (&Method::POST, ["close_streams"]) => {
            core.bus.close_streams();
            Ok(done())
        }
        (&Method::PUT, ["tasks", task, "health"]) => {
            parse(&body).map(|wanted| task_health(core, task, &wanted))
        }
        (&Method::PUT, ["tasks", task, "state"]) => {
            parse(&body).map(|report: Report| found(lifecycle::report(core, task, &report.state), task))
        }
        (&Method::POST, ["storm"]) => match parse::<Storm>(&body) {
            Ok(wanted) => Ok(Reply::ok(&json!({"reported": storm::report(core, &wanted).await}))),
            Err(message) => Err(message),
        },
        (&Method::PUT, ["readiness", app @ ..]) => parse(&body).map(|wanted: Readiness| {
            let id = format!("/{}", app.join("/"));
            found(lifecycle::set_ready(core, &id, wanted.ready), &id)
        }),
        (&Method::POST, ["events"]) => parse(&body).and_then(|event| publish(core, event)),
        (&Method::POST, ["apps"]) => create(core, &body).await,
        (&Method::GET, ["counters"]) => {
            Ok(Reply::ok(&core.counters.json(core.bus.streams(), core.bus.published())))
        }
        (&Method::DELETE, ["counters"]) => {
            core.counters.reset();
            Ok(done())
        }
        _ => Ok(Reply::message(StatusCode::NOT_FOUND, "no such switch")),
    };
    outcome.unwrap_or_else(|message| Reply::message(StatusCode::BAD_REQUEST, &message))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn done() -> Reply {
    Reply::ok(&json!({}))
}

fn found(found: bool, what: &str) -> Reply {
    if found { done() } else { Reply::not_found(what) }
}

fn faults(core: &Core) -> Value {
    json!(&*core.faults.read())
}

fn set(core: &Core, switches: Faults) -> Reply {
    core.bus.cut_at_next_event.store(switches.events == Some(EventFault::SlowReaderClose), Ordering::Relaxed);
    core.faults.set(switches);
    Reply::ok(&faults(core))
}

/// The switches in force with those in the body laid over them; null switches off.
fn patched(core: &Core, body: &[u8]) -> Result<Faults, String> {
    let mut switches = faults(core);
    let given: serde_json::Map<String, Value> = parse(body)?;
    for (key, value) in given {
        switches[key] = value;
    }
    serde_json::from_value(switches).map_err(|error| error.to_string())
}

fn fail_over(core: &Core, failover: &Failover) {
    core.faults.pause(Instant::now() + Duration::from_millis(failover.pause_ms));
    health::forget(core);
    core.bus.close_streams();
}

fn task_health(core: &Core, task: &str, wanted: &TaskHealth) -> Reply {
    let mut state = core.state();
    let Some((app, index)) = state.task_mut(task) else { return Reply::not_found(task) };
    let live = &app.tasks[index].live;
    if let Some(healthy) = wanted.healthy {
        live.healthy.store(healthy, Ordering::Relaxed);
    }
    if let Some(serving) = wanted.serving {
        live.set_serving(serving);
    }
    done()
}

/// Publishes one event or an array of them.
fn publish(core: &Core, event: Value) -> Result<Reply, String> {
    let events = match event {
        Value::Array(events) => events,
        event => vec![event],
    };
    let count = events.len();
    if events.into_iter().all(|event| core.bus.publish_raw(event)) {
        return Ok(Reply::ok(&json!({"published": count})));
    }
    Err("an event is a JSON object with an eventType".to_owned())
}

async fn create(core: &Arc<Core>, body: &[u8]) -> Result<Reply, String> {
    let apps: Vec<Value> = parse(body)?;
    let count = apps.len();
    update::create_running(core, apps).await.map_err(|refusal| refusal.to_string())?;
    Ok(Reply::ok(&json!({"created": count})))
}
