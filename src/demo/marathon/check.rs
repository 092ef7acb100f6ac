//! One probe of a task over a real socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::network::reset;

/// A reset that follows the accept comes within this time on loopback.
const RESET_FOLLOWS_WITHIN: Duration = Duration::from_millis(50);
const RESPONSE_LIMIT: u64 = 64 * 1024;

/// What a readiness check keeps of an answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: String,
}

/// Whether something accepts and keeps the connection.
pub(super) async fn connect(address: SocketAddr, limit: Duration) -> Result<(), String> {
    let stream = match timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| format!("ConnectException: {error}"))?,
        Err(_) => return Err("ConnectException: timed out".to_owned()),
    };
    let mut byte = [0];
    match timeout(RESET_FOLLOWS_WITHIN, stream.peek(&mut byte)).await {
        Ok(Ok(0)) => Err("connection closed".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(_)) | Err(_) => {
            reset(&stream);
            Ok(())
        }
    }
}

/// Gets a path; an error is the text of the failure.
pub(super) async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<Answer, String> {
    match timeout(limit, fetch(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("ConnectException: {error}")),
        Err(_) => Err(format!("AskTimeoutException: no answer in {} ms", limit.as_millis())),
    }
}

async fn fetch(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = format!(
        "GET {slash}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: marathon\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::with_capacity(512);
    (&mut stream).take(RESPONSE_LIMIT).read_to_end(&mut response).await?;
    // Leaves no socket in TIME_WAIT behind, of which thousands of checks would make many.
    reset(&stream);
    let text = String::from_utf8_lossy(&response);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP status"))?;
    let content_type = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.trim().to_owned());
    Ok(Answer { status, content_type: content_type.unwrap_or_default(), body: body.to_owned() })
}
