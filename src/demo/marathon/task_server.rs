//! What a task answers: HTTP that names the task, or plain TCP lines.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::network::{LivePort, LiveTask};

const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];
/// How long a plain TCP service waits for the client before it speaks.
const SPEAKS_AFTER: Duration = Duration::from_millis(500);

/// Serves one connection until it ends, the task dies or stops serving.
pub(super) async fn serve(stream: TcpStream, task: Arc<LiveTask>, port: LivePort, token: CancellationToken) {
    let _ = stream.set_nodelay(true);
    tokio::select! {
        () = speak(stream, task, port) => {}
        () = token.cancelled() => {}
    }
}

async fn speak(stream: TcpStream, task: Arc<LiveTask>, port: LivePort) {
    let mut first = [0; 8];
    let peek = stream.peek(&mut first);
    let read = if port.speaks_tcp { tokio::time::timeout(SPEAKS_AFTER, peek).await } else { Ok(peek.await) };
    match read {
        Ok(Ok(0) | Err(_)) => {}
        Ok(Ok(read)) if is_http(&first[..read]) => speak_http(stream, task, port).await,
        Ok(Ok(_)) => speak_lines(stream, &task, false).await,
        Err(_) => speak_lines(stream, &task, true).await,
    }
}

fn is_http(first: &[u8]) -> bool {
    METHODS.iter().any(|method| first.starts_with(method) || method.starts_with(first))
}

async fn speak_http(stream: TcpStream, task: Arc<LiveTask>, port: LivePort) {
    let label = HeaderValue::from_str(&task.id).unwrap_or(HeaderValue::from_static("-"));
    let app = HeaderValue::from_str(&task.app).unwrap_or(HeaderValue::from_static("-"));
    let service = service_fn(move |request| {
        let (task, label, app) = (task.clone(), label.clone(), app.clone());
        async move {
            let mut response = answer(request, &task, port).await;
            response.headers_mut().insert("x-task", label);
            response.headers_mut().insert("x-app", app);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            Ok::<_, Infallible>(response)
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Names the task and repeats the request. `?delay_ms=N` holds the answer back, for tests of draining; `?location=…` sends
/// the client there, for tests of what rewrites that.
async fn answer(request: Request<Incoming>, task: &LiveTask, port: LivePort) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let mut status = StatusCode::OK;
    let unhealthy =
        !task.healthy.load(Ordering::Relaxed) && task.health_paths.iter().any(|known| known == path);
    let unready =
        !task.ready.load(Ordering::Relaxed) && task.readiness_paths.iter().any(|known| known == path);
    if unhealthy || unready {
        status = StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut text = format!(
        "app: {}\ntask: {}\nversion: {}\nhost: {}:{}\npath: {path}\nmethod: {}\n",
        task.app,
        task.id,
        task.version,
        task.host,
        port.number,
        request.method()
    );
    for (name, value) in request.headers() {
        if name == HOST || name.as_str().starts_with("x-forwarded-") {
            let name = if name == HOST { "request-host" } else { name.as_str() };
            let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    let delay = request.uri().query().and_then(delay);
    let location = request.uri().query().and_then(|query| query.strip_prefix("location="));
    let location = location.and_then(|text| HeaderValue::from_str(text).ok());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut body = request.into_body();
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        let _ = writeln!(text, "body-bytes: {read}");
    }
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    if let Some(location) = location {
        status = StatusCode::FOUND;
        response.headers_mut().insert(LOCATION, location);
    }
    *response.status_mut() = status;
    response
}

fn delay(query: &str) -> Option<Duration> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("delay_ms="))?;
    text.parse().ok().map(Duration::from_millis)
}

/// Says which task it is, at the client's first line or at once, and repeats the following lines.
async fn speak_lines(mut stream: TcpStream, task: &LiveTask, at_once: bool) {
    let banner = format!("task {} app {}\n", task.id, task.app);
    if at_once && stream.write_all(banner.as_bytes()).await.is_err() {
        return;
    }
    let mut introduced = at_once;
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let mut said = &buffer[..read];
        if !introduced {
            let Some(end) = said.iter().position(|byte| *byte == b'\n') else { continue };
            introduced = true;
            said = &said[end + 1..];
            if stream.write_all(banner.as_bytes()).await.is_err() {
                return;
            }
        }
        if stream.write_all(said).await.is_err() {
            return;
        }
    }
}
