//! What a standby does: it passes a request to the leader and the bytes of the answer back.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Marathon's `--leader_proxy_connection_timeout`.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A request ready to be sent to the leader.
pub(super) struct Forward {
    target: String,
    bytes: Vec<u8>,
}

impl Forward {
    /// Writes the request again, for a connection of its own.
    pub(super) fn new(target: &str, parts: &Parts, body: &Bytes) -> Self {
        let target = target.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut bytes = format!("{} {path} HTTP/1.1\r\n", parts.method).into_bytes();
        for (name, value) in &parts.headers {
            if matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding") {
                continue;
            }
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(
            format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes(),
        );
        bytes.extend_from_slice(body);
        Self { target, bytes }
    }

    /// Passes it on; the client's connection ends with the answer.
    pub(super) async fn run(self, mut client: TcpStream, via: SocketAddr) {
        let connected = timeout(CONNECT_WITHIN, TcpStream::connect(&self.target)).await;
        let Ok(Ok(mut leader)) = connected else {
            let page = "<html>\n<body><h2>HTTP ERROR 502 Bad Gateway</h2></body>\n</html>\n";
            let head = format!(
                "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html;charset=iso-8859-1\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                page.len()
            );
            let _ = client.write_all(format!("{head}{page}").as_bytes()).await;
            return;
        };
        if leader.write_all(&self.bytes).await.is_err() {
            return;
        }
        let mut first = vec![0; 16 * 1024];
        let Ok(read @ 1..) = leader.read(&mut first).await else { return };
        first.truncate(read);
        if let Some(end) = first.windows(2).position(|pair| pair == b"\r\n") {
            let line = format!("\r\nX-Marathon-Via: 1.1 {via}");
            first.splice(end..end, line.into_bytes());
        }
        if client.write_all(&first).await.is_ok() {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut leader).await;
        }
    }
}
