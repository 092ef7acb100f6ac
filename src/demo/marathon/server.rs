//! Connections of the REST API: hyper parses requests; what hyper cannot write is written to the raw socket.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::admin;
use super::core::Core;
use super::faults::{BodyForm, BrokenAnswer, HttpFault, Standby, StandbyMode};
use super::proxy::Forward;
use super::reply::{Pieces, Reply};
use super::routes::{self, Call};
use super::streams::{self, StreamRequest};

/// What happens to a connection that hyper gives back.
enum Takeover {
    Stream(StreamRequest),
    Forward(Forward),
    /// Bytes, then the end.
    Bytes(Vec<u8>),
    /// Nothing until the client gives up.
    Hang,
}

/// Where a request leaves word that the connection is to be taken over.
#[derive(Default)]
struct Slot {
    takeover: Mutex<Option<Takeover>>,
    filled: Notify,
}

/// Accepts connections until the stand-in ends.
pub(super) async fn accept(core: Arc<Core>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = core.ended.cancelled() => return,
        };
        match accepted {
            Ok((stream, remote)) => core.spawn(connection(core.clone(), stream, remote)),
            // Out of file descriptors: the connection waits in the backlog until one is free.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(core: Arc<Core>, stream: TcpStream, remote: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let slot = Arc::new(Slot::default());
    let service = service_fn(|request| Box::pin(answer(core.clone(), slot.clone(), request, remote)));
    let mut connection =
        http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = poll_fn(|context| connection.poll_without_shutdown(context)) => return,
        () = slot.filled.notified() => {}
    }
    let mut stream = connection.into_parts().io.into_inner();
    let takeover = slot.takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
    match takeover {
        Some(Takeover::Stream(request)) => streams::serve(core, stream, request, remote).await,
        Some(Takeover::Forward(forward)) => forward.run(stream, core.address).await,
        Some(Takeover::Bytes(bytes)) => {
            core.counters.sent(bytes.len() as u64);
            let _ = stream.write_all(&bytes).await;
        }
        Some(Takeover::Hang) => {
            let mut buffer = [0; 512];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
        None => {}
    }
}

async fn answer(
    core: Arc<Core>,
    slot: Arc<Slot>,
    request: Request<Incoming>,
    remote: SocketAddr,
) -> Result<Response<Pieces>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    match decide(&core, &parts, body, remote).await {
        Ok(reply) => {
            core.counters.sent(reply.length());
            Ok(reply.into_response())
        }
        Err(takeover) => {
            *slot.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
            slot.filled.notify_one();
            pending().await
        }
    }
}

async fn decide(core: &Arc<Core>, parts: &Parts, body: Bytes, remote: SocketAddr) -> Result<Reply, Takeover> {
    let path = parts.uri.path();
    if path == "/standin" || path.starts_with("/standin/") {
        return Ok(admin::answer(core, parts, body, remote).await);
    }
    core.counters.request(path);
    if !authorised(core, parts) {
        return Ok(Reply::page(StatusCode::UNAUTHORIZED));
    }
    let standby = core.faults.read().standby.clone();
    let events = path == "/v2/events" || path.starts_with("/v2/events/");
    if let Some(standby) = standby {
        return standing_by(&standby, parts, &body, events);
    }
    if events {
        return stream(core, parts);
    }
    if core.faults.not_ready() {
        return Ok(Reply::page(StatusCode::SERVICE_UNAVAILABLE));
    }
    let read = matches!(parts.method, Method::GET | Method::HEAD);
    let fault = if read { core.faults.hit(path) } else { None };
    if let Some(reply) = fault.as_ref().map(instead).transpose()?.flatten() {
        return Ok(reply.dressed(core));
    }
    let reply = routes::answer(core, &Call::new(parts, body, remote)).await.dressed(core);
    if matches!(fault, Some(HttpFault::Named(BrokenAnswer::Truncated))) {
        return Err(Takeover::Bytes(reply.first_half()));
    }
    Ok(reply)
}

fn authorised(core: &Core, parts: &Parts) -> bool {
    let Some((user, password)) = &core.options.credentials else { return true };
    let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    parts.headers.get(AUTHORIZATION).is_some_and(|given| given.as_bytes() == expected.as_bytes())
}

fn standing_by(standby: &Standby, parts: &Parts, body: &Bytes, events: bool) -> Result<Reply, Takeover> {
    if events && standby.mode == StandbyMode::Redirect {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let location = format!("{}{path}", standby.target.trim_end_matches('/'));
        let reply = Reply { status: StatusCode::FOUND, headers: Default::default(), body: Vec::new() };
        return Ok(reply.with(LOCATION, &location));
    }
    Err(Takeover::Forward(Forward::new(&standby.target, parts, body)))
}

/// Jetty wants one `Accept` line that is exactly `text/event-stream`.
fn stream(core: &Core, parts: &Parts) -> Result<Reply, Takeover> {
    let accepted = parts.headers.get_all(ACCEPT).iter().any(|value| value == "text/event-stream");
    if parts.method != Method::GET || !accepted {
        return Err(Takeover::Bytes(streams::METHOD_NOT_ALLOWED.as_bytes().to_vec()));
    }
    let query = routes::query(parts.uri.query().unwrap_or_default());
    let all = |wanted: &str| {
        query.iter().filter(|(key, _)| key == wanted).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let profile = core.profile();
    Err(Takeover::Stream(StreamRequest {
        types: if profile.has_instances() { all("event_type") } else { Vec::new() },
        light: profile.has_instances() && all("plan-format").iter().any(|format| format == "light"),
    }))
}

/// The answer a fault puts in place of the true one; None for faults that only break the true one.
fn instead(fault: &HttpFault) -> Result<Option<Reply>, Takeover> {
    Ok(Some(match fault {
        HttpFault::Status { status, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match body {
                BodyForm::Html => Reply::page(status),
                BodyForm::Json => Reply::message(status, status.canonical_reason().unwrap_or("error")),
            }
        }
        HttpFault::Named(BrokenAnswer::Hang) => return Err(Takeover::Hang),
        HttpFault::Named(BrokenAnswer::EmptyList) => Reply::ok(&json!({"apps": []})),
        HttpFault::Named(BrokenAnswer::MissingApps) => {
            Reply::ok(&json!({"message": "The service is not available"}))
        }
        HttpFault::Named(BrokenAnswer::NotJson) => Reply::plain("<not json>"),
        HttpFault::Named(BrokenAnswer::Truncated) => return Ok(None),
    }))
}
