//! One exchange on one socket: connect, say it, read the whole answer.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::haproxy::HaproxyError;

/// The longest answer that is read, in bytes: `show stat` of 10,000 backends of four servers has twelve million.
const ANSWER_MAX: u64 = 1 << 28;
/// Room for what a worker says of itself and of the servers of a backend or two.
const ANSWER_USUAL: usize = 16 * 1024;

/// After so many lines of a long answer there is a pause: HAProxy writes no further meanwhile, and serves.
const BREATH: (usize, Duration) = (1_000, Duration::from_millis(2));

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody took the connection: nothing was said.
    Unreachable(Error),
    /// It was closed or reset before a byte was answered; `None` where it was closed in good order.
    Cut(Option<Error>),
    /// It broke off, or took too long: what became of the commands is not known.
    Broken(String),
}

impl Failure {
    pub(super) fn at(&self, socket: &Path) -> HaproxyError {
        let what = match self {
            Self::Unreachable(error) | Self::Cut(Some(error)) => error.to_string(),
            Self::Cut(None) => "it was closed without an answer".to_owned(),
            Self::Broken(what) => what.clone(),
        };
        HaproxyError::Socket { socket: socket.display().to_string(), what }
    }
}

/// Whether the write side is closed when all is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// At once: the master keeps the connection until then, and half a payload ends instead of waiting for the rest.
    Close,
    /// Left open, since `wait` gives up when it is closed. A worker closes by itself when it has answered.
    Open,
}

/// Says `text` and reads all there is to read.
pub(super) async fn exchange(
    socket: &Path,
    text: &str,
    ending: Ending,
    deadline: Duration,
) -> Result<String, Failure> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.map_err(Failure::Unreachable)?;
        let said = async {
            stream.write_all(text.as_bytes()).await?;
            match ending {
                Ending::Close => stream.shutdown().await,
                Ending::Open => Ok(()),
            }
        };
        let said = said.await;
        // Most answers fit: each read is a call of the system.
        let mut answer = Vec::with_capacity(ANSWER_USUAL);
        let read = (&mut stream).take(ANSWER_MAX).read_to_end(&mut answer).await;
        // HAProxy refuses some lines before it has read them whole; its words are worth more than the broken pipe.
        if answer.is_empty() {
            return Err(Failure::Cut(said.err().or(read.err())));
        }
        match read {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                Err(Failure::Broken(error.to_string()))
            }
            _ => Ok(String::from_utf8(answer)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())),
        }
    };
    match tokio::time::timeout(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => {
            let line = text.lines().next().unwrap_or_default();
            let line: String = line.chars().take(200).collect();
            Err(Failure::Broken(format!("no answer to `{line}` within {deadline:?}")))
        }
    }
}

/// Says `text` and reads the answer line by line: it may be many megabytes.
pub(super) async fn exchange_lines(
    socket: &Path,
    text: &str,
    deadline: Duration,
    mut read: impl FnMut(&str),
) -> Result<(), Failure> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.map_err(Failure::Unreachable)?;
        let broken = |error: Error| Failure::Broken(error.to_string());
        stream.write_all(text.as_bytes()).await.map_err(broken)?;
        stream.shutdown().await.map_err(broken)?;
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let (mut line, mut lines) = (Vec::new(), 0_usize);
        while reader.read_until(b'\n', &mut line).await.map_err(broken)? > 0 {
            read(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            line.clear();
            lines += 1;
            if lines.is_multiple_of(BREATH.0) {
                tokio::time::sleep(BREATH.1).await;
            }
        }
        Ok(())
    };
    let text = text.trim();
    let late = |_| Err(Failure::Broken(format!("no whole answer to `{text}` within {deadline:?}")));
    tokio::time::timeout(deadline, exchange).await.unwrap_or_else(late)
}

/// Sends one line of commands to one socket and reads the whole answer. Where a worker is meant, [`super::Client::ask`]
/// knows a second way to it.
///
/// # Errors
/// [`HaproxyError::Socket`] where nobody answers within `deadline`.
pub async fn command(socket: &Path, line: &str, deadline: Duration) -> Result<String, HaproxyError> {
    let text = format!("{line}\n");
    match exchange(socket, &text, Ending::Close, deadline).await {
        // The master of 2.6 takes `reload` in silence.
        Err(Failure::Cut(None)) => Ok(String::new()),
        result => result.map_err(|failure| failure.at(socket)),
    }
}
