//! The REST API's paths.

mod apps;
mod filter;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::core::Core;
use super::profile::Profile;
use super::render::Embed;
use super::reply::Reply;
use super::update::{self, Change, Refusal, Terms};
use super::{deployment, group};

/// A request as the routes see it.
pub(super) struct Call {
    pub(super) method: Method,
    /// The path as sent, for `api_post_event`.
    pub(super) uri: String,
    /// The decoded path's segments; empty ones are dropped, so that `/v2/apps//a/b` is `/v2/apps/a/b`.
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) remote: SocketAddr,
}

impl Call {
    pub(super) fn new(parts: &Parts, body: Bytes, remote: SocketAddr) -> Self {
        let decoded = decoded(parts.uri.path());
        Self {
            method: parts.method.clone(),
            uri: parts.uri.path().to_owned(),
            segments: decoded.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect(),
            query: query(parts.uri.query().unwrap_or_default()),
            body,
            remote,
        }
    }

    fn values(&self, key: &str) -> Vec<String> {
        self.query.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone()).collect()
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value == "true")
    }

    fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::Json(error.to_string()))
    }

    /// What `embed` names; the prefix may be `apps.`, `app.`, `group.apps.` or none.
    fn embed(&self) -> Embed {
        let names = self.values("embed");
        let has = |wanted: &str| names.iter().any(|name| name.rsplit('.').next() == Some(wanted));
        Embed { tasks: has("tasks") || has("failures"), readiness: has("readiness") }
    }
}

/// The answer to a request that no fault hit.
pub(super) async fn answer(core: &Arc<Core>, call: &Call) -> Reply {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let outcome = match (&call.method, segments.as_slice()) {
        (&Method::GET | &Method::HEAD, ["ping"]) => Ok(Reply::plain("pong\n")),
        (_, ["v2", "apps", rest @ ..]) => apps::answer(core, call, rest).await,
        (_, ["v2", "tasks", rest @ ..]) => tasks::answer(core, call, rest).await,
        (_, ["v2", "groups", rest @ ..]) => groups(core, call, rest).await,
        (_, ["v2", "pods", rest @ ..]) => Ok(pods(core, call, rest)),
        (_, ["v2", "deployments", rest @ ..]) => deployments(core, call, rest).await,
        (&Method::GET, ["v2", "info"]) => Ok(Reply::ok(&info(core))),
        (&Method::GET, ["v2", "leader"]) => Ok(Reply::ok(&json!({"leader": core.address.to_string()}))),
        (&Method::GET, ["v2", "queue"]) => Ok(Reply::ok(&json!({"queue": []}))),
        _ => Ok(unknown(core)),
    };
    outcome.unwrap_or_else(Reply::from)
}

/// From 1.10.26 an unknown path is an error of the server.
fn unknown(core: &Core) -> Reply {
    if core.profile() == Profile::V1_11 {
        return Reply::message(StatusCode::INTERNAL_SERVER_ERROR, "URI not found");
    }
    Reply::page(StatusCode::NOT_FOUND)
}

async fn groups(core: &Arc<Core>, call: &Call, rest: &[&str]) -> Result<Reply, Refusal> {
    let id = format!("/{}", rest.join("/"));
    let force = call.flag("force");
    match call.method {
        Method::GET | Method::HEAD => {
            let embed = Embed {
                tasks: call.values("embed").iter().any(|name| name.ends_with("apps.tasks")),
                ..Embed::default()
            };
            let text = group::text(core.profile(), &mut core.state(), &id, embed);
            let text = text.ok_or_else(|| Refusal::NotFound(format!("Group '{id}'")))?;
            Ok(Reply::text(StatusCode::OK, vec![text.into()]))
        }
        Method::POST => {
            let accepted = group::write(core, &id, call.json()?, true, force).await?;
            Ok(Reply::accepted(core, StatusCode::CREATED, &accepted))
        }
        Method::PUT => {
            let accepted = group::write(core, &id, call.json()?, false, force).await?;
            Ok(Reply::accepted(core, StatusCode::OK, &accepted))
        }
        Method::DELETE => {
            let accepted = group::remove(core, &id, force).await?;
            Ok(Reply::accepted(core, StatusCode::OK, &accepted))
        }
        _ => Ok(Reply::page(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// There are never pods; `HEAD /v2/pods` tells that the API is there (1.4).
fn pods(core: &Core, call: &Call, rest: &[&str]) -> Reply {
    if !core.profile().has_instances() {
        return Reply::page(StatusCode::NOT_FOUND);
    }
    match (&call.method, rest) {
        (&Method::GET | &Method::HEAD, [] | ["::status"]) => Reply::ok(&json!([])),
        (&Method::GET, pod) => {
            let id = pod.join("/");
            Reply::not_found(&format!("Pod '/{}'", id.split("::").next().unwrap_or_default()))
        }
        _ => Reply::page(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn deployments(core: &Arc<Core>, call: &Call, rest: &[&str]) -> Result<Reply, Refusal> {
    match (&call.method, rest) {
        (&Method::GET, []) => {
            let state = core.state();
            let readiness = |id: &str| -> Vec<Value> {
                state.apps.get(id).map(|app| app.readiness.values().cloned().collect()).unwrap_or_default()
            };
            let entries: Vec<Value> =
                state.deployments.iter().map(|entry| entry.json(core.profile(), readiness)).collect();
            Ok(Reply::ok(&json!(entries)))
        }
        (&Method::DELETE, [id]) => {
            let found = core.state().deployments.iter().find(|entry| entry.id == *id).cloned();
            let found = found.ok_or_else(|| Refusal::NotFound(format!("DeploymentPlan {id}")))?;
            if call.flag("force") {
                deployment::cancel(core, &mut core.state(), id);
                return Ok(Reply {
                    status: StatusCode::ACCEPTED,
                    headers: Default::default(),
                    body: Vec::new(),
                });
            }
            let changes = found.originals.into_iter().map(|(app, definition)| match definition {
                None => Change::Remove(app),
                Some(definition) => Change::Define(apps::again(&definition)),
            });
            let terms = Terms { force: true, group: "/".to_owned(), kill: Vec::new() };
            let accepted = update::apply(core, changes.collect(), terms).await?;
            Ok(Reply::accepted(core, StatusCode::OK, &accepted))
        }
        _ => Ok(Reply::page(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

fn info(core: &Core) -> Value {
    json!({
        "name": "marathon",
        "version": core.profile().release(),
        "buildref": "unknown",
        "elected": true,
        "leader": core.address.to_string(),
        "frameworkId": "96d7da70-b731-4cfb-96a7-0ee877af615d-0000",
        "marathon_config": {
            "framework_name": "marathon",
            "ha": true,
            "hostname": core.address.ip().to_string(),
            "local_port_min": 10000,
            "local_port_max": 20000,
            "features": ["task_killing"],
            "mesos_role": null,
            "webui_url": null,
        },
        "zookeeper_config": {"zk_max_versions": core.profile().versions_kept()},
        "http_config": {"http_port": core.address.port(), "https_port": 8443},
    })
}

/// A path or query part with its percent escapes undone.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escape = text.get(index + 1..index + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[index], escape) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A query string's pairs, decoded.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&key.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}
