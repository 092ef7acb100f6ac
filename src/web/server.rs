//! Listening: by TCP or TLS on `web.listen`, and on a Unix socket of our own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::add_extension::AddExtension;

use super::Seen;
use crate::config::Config;
use socket::Socket;
pub(super) use socket::name_of;
use tls::Tls;

mod socket;
mod tls;

/// How much the header of a request may hold.
pub(super) const HEADER_BYTES: usize = 16 * 1024;
/// How long a connection may live, whatever its client does.
const CONNECTION: Duration = Duration::from_secs(600);
/// How long an answer that is under way may take when the server ends.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody who came by TCP.
    Address {
        /// From where.
        ip: IpAddr,
        /// Whether by TLS.
        tls: bool,
    },
    /// A user of this system at our own socket: root, or the one that Causeway runs as.
    SystemUser(String),
}

/// What cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address.
    #[error(
        "web.listen: {address} cannot be listened on ({cause}); free it (another Causeway, perhaps), choose another, or \
         set web.listen = \"\" to do without"
    )]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The Unix socket.
    #[error("web.socket: {} cannot be listened on ({cause}); choose another path", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The certificate.
    #[error("{0}")]
    Tls(String),
}

/// What is listened on, and not served yet.
#[derive(Debug)]
pub struct Door {
    tcp: Option<(std::net::TcpListener, SocketAddr, Option<Tls>)>,
    socket: Socket,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    header: Duration,
}

impl Door {
    /// Listens on `web.listen`, where it is not empty, and on `web.socket`. An address that a Causeway before had is free at
    /// once (`SO_REUSEADDR`, which the standard library sets).
    ///
    /// # Errors
    /// The address or the socket is taken or cannot be had, or the certificate cannot be used.
    pub fn open(config: &Config) -> Result<Self, WebError> {
        let tls = Tls::open(&config.web.tls).map_err(WebError::Tls)?;
        let listen = |address: SocketAddr| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address, tls))
        };
        let tcp = match config.web.address() {
            Some(address) => Some(listen(address).map_err(|cause| WebError::Address { address, cause })?),
            None => None,
        };
        let path = config.web_socket();
        let socket = Socket::bind(&path).map_err(|cause| WebError::Socket { path, cause })?;
        let limits = Limits { connections: config.web.connections, header: config.web.header_timeout };
        Ok(Self { tcp, socket, limits })
    }

    /// The address, with the port that the system chose where the configuration says 0; `None` where there is only the socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address, _)| *address)
    }
}

/// Serves what is [`Seen`] until `stop`, then ends what is under way.
///
/// # Errors
/// A listener cannot be used.
pub async fn serve(door: Door, seen: Seen, stop: CancellationToken) -> io::Result<()> {
    let doors = seen.doors.clone();
    serve_router(door, doors.guard(super::router(seen)), stop).await
}

/// Serves a router that is guarded already.
pub(super) async fn serve_router(door: Door, router: Router, stop: CancellationToken) -> io::Result<()> {
    let Door { tcp, socket, limits } = door;
    let listener = Listener::Unix(UnixListener::from_std(socket.listener.try_clone()?)?);
    let mut listeners = JoinSet::new();
    listeners.spawn(listen(listener, router.clone(), limits, stop.clone()));
    if let Some((listener, address, tls)) = tcp {
        tracing::info!(web.listen = %address, web.tls = tls.is_some(), "metrics, status and the API are served");
        listeners.spawn(listen(Listener::Tcp(TcpListener::from_std(listener)?, tls), router, limits, stop));
    }
    while let Some(ended) = listeners.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    Ok(())
}

enum Listener {
    Tcp(TcpListener, Option<Tls>),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(TcpStream, SocketAddr, Option<tokio_rustls::TlsAcceptor>),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, address, tls.as_ref().map(Tls::acceptor)))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

async fn listen(listener: Listener, router: Router, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections));
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
            (Ok(accepted), place) => {
                let connection = greet(accepted, router.clone(), limits, stop.clone());
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
}

/// Finds out who is there.
async fn greet(accepted: Accepted, router: Router, limits: Limits, stop: CancellationToken) {
    match accepted {
        Accepted::Tcp(stream, address, acceptor) => {
            // An address of IPv4 on a socket of IPv6 is the same host.
            let ip = address.ip().to_canonical();
            let peer = Peer::Address { ip, tls: acceptor.is_some() };
            let Some(acceptor) = acceptor else {
                return http(stream, router, peer, limits, stop).await;
            };
            let greeting = tokio::time::timeout(limits.header, acceptor.accept(stream));
            match tokio::select! { greeted = greeting => greeted, () = stop.cancelled() => return } {
                Ok(Ok(stream)) => http(stream, router, peer, limits, stop).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, from = %ip, "a connection did not become one of TLS");
                }
                Err(_) => tracing::debug!(from = %ip, "a greeting of TLS took too long"),
            }
        }
        Accepted::Unix(stream) => match stream.peer_cred().map(socket::caller) {
            Ok(Some(name)) => http(stream, router, Peer::SystemUser(name), limits, stop).await,
            Ok(None) => {
                tracing::warn!("a user who is neither root nor Causeway's own came to web.socket; refused");
            }
            Err(error) => tracing::warn!(%error, "nobody knows who came to web.socket; refused"),
        },
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    peer: Peer,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(HEADER_BYTES);
    let service = TowerToHyperService::new(AddExtension::new(router, peer));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
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
