//! Causeway's own HTTP server: metrics, health, status. It listens on loopback only, since it knows no users yet; and since
//! every page that a browser on this host shows can reach loopback, it answers only to the names of loopback.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRef, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::config::WebConfig;
use crate::history::History;
use crate::model::TaskId;
use crate::reconcile::standing::Running;
use crate::telemetry::Metrics;
use crate::view::View;

#[allow(unused_qualifications, reason = "utoipa writes them")]
pub mod api;
mod caller;
mod error;
pub mod marathon_lb;

pub use caller::{Caller, Role};
pub use error::ApiError;

/// Connections at once; more wait in the backlog.
const CONNECTIONS: usize = 64;
/// How long the header of a request may take, and how long a connection may be idle.
const HEADER: Duration = Duration::from_secs(10);
/// How much the header of a request may hold.
const HEADER_BYTES: usize = 16 * 1024;
/// How long a request may take until its answer begins.
const ANSWER: Duration = Duration::from_secs(10);
/// How much the body of a request may hold; nothing here reads one yet.
const BODY_BYTES: usize = 64 * 1024;
/// How long a connection may live, whatever its client does.
const CONNECTION: Duration = Duration::from_secs(600);
/// How long an answer that is under way may take when the server ends.
const GRACE: Duration = Duration::from_secs(2);

/// What is shown.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What is counted.
    pub metrics: Metrics,
    /// What runs.
    pub running: Running,
    /// What is known of apps, services and rules.
    pub view: watch::Receiver<View>,
    /// The log of changes.
    pub history: History,
}

impl FromRef<Seen> for View {
    fn from_ref(seen: &Seen) -> Self {
        seen.view.borrow().clone()
    }
}

impl FromRef<Seen> for History {
    fn from_ref(seen: &Seen) -> Self {
        seen.history.clone()
    }
}

impl FromRef<Seen> for Metrics {
    fn from_ref(seen: &Seen) -> Self {
        seen.metrics.clone()
    }
}

impl FromRef<Seen> for Running {
    fn from_ref(seen: &Seen) -> Self {
        seen.running.clone()
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "web.listen: {address} cannot be listened on ({cause}); free it (another Causeway, perhaps), choose another, or \
     set web.listen = \"\" to do without"
)]
pub struct WebError {
    address: SocketAddr,
    cause: io::Error,
}

/// An address that is listened on, and not served yet.
#[derive(Debug)]
pub struct Door {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Door {
    /// Listens on `web.listen`; `None` where that is empty. An address that a Causeway before had is free at once
    /// (`SO_REUSEADDR`, which the standard library sets).
    ///
    /// # Errors
    /// The address is taken, or not of this host.
    pub fn open(config: &WebConfig) -> Result<Option<Self>, WebError> {
        let Some(address) = config.address() else { return Ok(None) };
        let open = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        open().map(Some).map_err(|cause| WebError { address, cause })
    }

    /// The address, with the port that the system chose where the configuration says 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until `stop`, then ends what is under way. Without a door it only waits for `stop`.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(door: Option<Door>, seen: Seen, stop: CancellationToken) -> io::Result<()> {
    let Some(door) = door else {
        stop.cancelled().await;
        return Ok(());
    };
    let listener = TcpListener::from_std(door.listener)?;
    tracing::info!(web.listen = %door.address, "metrics and status are served");
    let router = router(seen);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // Those that ended are not kept.
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, _)), place) => {
                let connection = connection(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // Out of file descriptors: the connection waits in the backlog until one is free.
            (Err(error), _) => {
                tracing::debug!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Each ends within its own grace.
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off is no error of ours.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = tokio::time::timeout(GRACE, connection).await;
}

fn router(seen: Seen) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/api/v2/tasks/{task}", get(task))
        .merge(api::router())
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page\n") })
        .with_state(seen)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER))
        .layer(middleware::from_fn(only_loopback))
}

/// Lets a request through that was meant for this host. A page from elsewhere whose name was made to point here by its DNS
/// sends its own name.
async fn only_loopback(mut request: Request, next: Next) -> Response {
    if !is_for_loopback(&request) {
        let words = "only 127.0.0.1, [::1] and localhost are answered to; see web.listen\n";
        return (StatusCode::MISDIRECTED_REQUEST, words).into_response();
    }
    // There are no users yet.
    request.extensions_mut().insert(Caller::anonymous());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_for_loopback(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let named = |host: Option<&str>| host.is_some_and(is_loopback);
    // A target with a host of its own outweighs the header (RFC 9112, section 3.2.2).
    named(host) && request.uri().authority().is_none_or(|target| is_loopback(target.as_str()))
}

/// Whether `host` or `host:port` is a name of loopback.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    let texts = metrics.texts().map(Ok::<_, std::convert::Infallible>);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(stream::iter(texts))).into_response()
}

async fn ready(State(metrics): State<Metrics>) -> Response {
    let standing = metrics.standing();
    let status = if standing.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": standing.ready, "waits_for": standing.waits_for }))).into_response()
}

async fn status(State(metrics): State<Metrics>) -> Response {
    Json(metrics.standing()).into_response()
}

/// Where a task stands, and whether it is safe to kill. A task that nobody knows is: nothing leads to it.
async fn task(State(running): State<Running>, Path(task): Path<String>) -> Response {
    let unavailable = |why: String| {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": why, "safe_to_kill": false })))
            .into_response()
    };
    match running.task(&TaskId::new(&task)).await {
        Ok(Some(standing)) => Json(standing).into_response(),
        Ok(None) => unavailable("it is not known what HAProxy runs; ask again in a moment".to_owned()),
        Err(error) => unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
