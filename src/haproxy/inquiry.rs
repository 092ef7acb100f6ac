//! Asking HAProxy where a request would go: a frontend of its own, on Unix sockets beside the runtime socket, has the same
//! routing as those for traffic, and answers instead of passing on. What a request brings along beside its text comes as it
//! would from a network: addresses by the PROXY protocol, which only these sockets accept, and TLS as TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::config::HaproxyConfig;

mod certificate;

/// The name of the backend that the shared routing leads to.
const BACKEND: HeaderName = HeaderName::from_static("x-causeway-backend");
/// The name of the backend that the app-id frontend leads to.
const BY_APP_ID: HeaderName = HeaderName::from_static("x-causeway-by-app-id");
/// The name of the backend that the frontend of service ports leads to.
const BY_PORT: HeaderName = HeaderName::from_static("x-causeway-by-port");
/// The names of all lines of the routing that hold, with spaces between them.
const LINES: HeaderName = HeaderName::from_static("x-causeway-lines");
/// `.<pid>.tmp` is put behind the path while HAProxy binds it, and `sun_path` holds 108 bytes with its end.
const PATH_MAX: usize = 96;
/// What begins a header of the PROXY protocol's second version (its specification, section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Second version, command PROXY.
const PROXY: u8 = 0x21;

/// The path of the socket for requests in clear: beside the runtime socket, so where HAProxy may make one. `None` where that
/// path is too long, or has what an address of HAProxy's cannot.
#[must_use]
pub fn socket(config: &HaproxyConfig) -> Option<PathBuf> {
    let path = format!("{}.why", config.socket.display());
    (path.len() + tls_suffix().len() <= PATH_MAX && !path.contains(',')).then(|| path.into())
}

/// What the path of the socket for requests by TLS has more.
#[must_use]
pub const fn tls_suffix() -> &'static str {
    "-tls"
}

/// A request as it would come from a network.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// The path, with the query.
    pub target: Uri,
    /// The headers, `Host` among them.
    pub headers: HeaderMap,
    /// Whether it comes by TLS, and with which name (SNI).
    pub tls: Option<String>,
    /// The client's address.
    pub from: IpAddr,
    /// The port that the client connects to.
    pub port: u16,
}

/// What HAProxy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// 200 where the request would go to the backend, else the status of HAProxy's own answer.
    pub status: StatusCode,
    /// Where HAProxy's own answer sends the client.
    pub location: Option<String>,
    /// The backend by the shared routing.
    pub backend: Option<String>,
    /// The backend by `X-Marathon-App-Id`.
    pub by_app_id: Option<String>,
    /// The backend by the service port.
    pub by_port: Option<String>,
    /// The names of all lines of the routing that hold, whichever counts; none where HAProxy answers itself.
    pub lines: Vec<String>,
}

/// HAProxy was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    /// Its socket cannot be reached.
    #[error("HAProxy's socket {} cannot be reached ({cause})", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The connection broke.
    #[error("HAProxy did not answer ({0})")]
    Broken(String),
    /// It took too long.
    #[error("HAProxy did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// What answered is not the frontend that was meant.
    #[error("what answers at HAProxy's socket does not name a backend (status {0})")]
    Foreign(StatusCode),
}

/// Asks; `socket` is that of [`socket`].
///
/// # Errors
/// HAProxy cannot be reached, or does not answer within `deadline`.
pub async fn ask(socket: &Path, question: &Question, deadline: Duration) -> Result<Verdict, InquiryError> {
    tokio::time::timeout(deadline, answer(socket, question))
        .await
        .unwrap_or(Err(InquiryError::Slow(deadline)))
}

async fn answer(socket: &Path, question: &Question) -> Result<Verdict, InquiryError> {
    let broken = |error: io::Error| InquiryError::Broken(error.to_string());
    let path = match question.tls {
        Some(_) => PathBuf::from(format!("{}{}", socket.display(), tls_suffix())),
        None => socket.to_owned(),
    };
    let mut stream = UnixStream::connect(&path)
        .await
        .map_err(|cause| InquiryError::Unreachable { path: path.clone(), cause })?;
    stream.write_all(&proxy_header(question.from, question.port)).await.map_err(broken)?;
    let response = match &question.tls {
        None => exchange(stream, question).await?,
        Some(name) => {
            let connector = TlsConnector::from(Arc::new(tls()));
            // A client that names no host, or an address, sends no name (RFC 6066, section 3).
            let name = ServerName::try_from(name.clone())
                .unwrap_or_else(|_| ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST)));
            exchange(connector.connect(name, stream).await.map_err(broken)?, question).await?
        }
    };
    verdict(&response)
}

/// Whatever certificate there is will do: the socket is ours, and the name is what routing is asked about.
fn tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions that rustls takes for safe")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(certificate::Any))
        .with_no_client_auth()
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    question: &Question,
) -> Result<Response<Incoming>, InquiryError> {
    let broken = |error: hyper::Error| InquiryError::Broken(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question.target.clone();
    *request.headers_mut() = question.headers.clone();
    // One question a connection; it ends with whoever asks.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    sender.send_request(request).await.map_err(broken)
}

fn verdict(response: &Response<Incoming>) -> Result<Verdict, InquiryError> {
    let text = |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let named = |name: &HeaderName| text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    if !response.headers().contains_key(BACKEND) {
        return Err(InquiryError::Foreign(response.status()));
    }
    Ok(Verdict {
        status: response.status(),
        location: named(&header::LOCATION),
        backend: named(&BACKEND),
        by_app_id: named(&BY_APP_ID),
        by_port: named(&BY_PORT),
        lines: text(&LINES).unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    })
}

/// A header of the PROXY protocol's second version: TCP from this address to this port, at loopback.
fn proxy_header(from: IpAddr, port: u16) -> Vec<u8> {
    /// The port that the client comes from: the first of those that are given out (RFC 6335, section 6).
    const FROM_PORT: u16 = 49_152;
    let (family, addresses) = match from {
        IpAddr::V4(from) => (0x11_u8, [from.octets(), Ipv4Addr::LOCALHOST.octets()].concat()),
        IpAddr::V6(from) => (0x21_u8, [from.octets(), Ipv6Addr::LOCALHOST.octets()].concat()),
    };
    let length: u16 = if from.is_ipv4() { 12 } else { 36 };
    let mut header = Vec::from(SIGNATURE);
    header.extend([PROXY, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header.extend(FROM_PORT.to_be_bytes());
    header.extend(port.to_be_bytes());
    header
}
