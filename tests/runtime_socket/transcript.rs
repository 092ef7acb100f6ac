//! Conversations on sockets, kept byte by byte: recorded between the client and a real HAProxy, and played to the client.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What was said on one connection, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// `worker` or `master`: whose socket it was.
    pub(crate) socket: String,
    pub(crate) said: String,
    pub(crate) answer: String,
}

/// One exchange after the other: `@ worker`, then what was said behind `> ` and what was answered behind `< `, line by
/// line. A last line without a line break stands behind `>| ` or `<| `.
pub(crate) fn write(exchanges: &[Exchange]) -> String {
    let mut text = String::new();
    for exchange in exchanges {
        writeln!(text, "@ {}", exchange.socket).unwrap();
        for (mark, words) in [('>', &exchange.said), ('<', &exchange.answer)] {
            for line in words.split_inclusive('\n') {
                match line.strip_suffix('\n') {
                    Some("") => writeln!(text, "{mark}").unwrap(),
                    Some(line) => writeln!(text, "{mark} {line}").unwrap(),
                    None => writeln!(text, "{mark}| {line}").unwrap(),
                }
            }
        }
    }
    text
}

pub(crate) fn read(path: &Path) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if let Some(socket) = line.strip_prefix("@ ") {
            let (said, answer) = (String::new(), String::new());
            exchanges.push(Exchange { socket: socket.to_owned(), said, answer });
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let exchange = exchanges.last_mut().unwrap();
        let (mark, words) = line.split_once(' ').unwrap_or((line, ""));
        let (side, end) = match mark {
            ">" => (&mut exchange.said, "\n"),
            ">|" => (&mut exchange.said, ""),
            "<" => (&mut exchange.answer, "\n"),
            "<|" => (&mut exchange.answer, ""),
            other => panic!("{other}: not a line of a transcript"),
        };
        side.push_str(words);
        side.push_str(end);
    }
    exchanges
}

/// Listens in place of HAProxy, and answers as it did, as long as it is asked the same.
pub(crate) struct Player {
    dir: tempfile::TempDir,
    left: Arc<Mutex<Vec<Exchange>>>,
}

impl Player {
    /// Listens on the sockets that the conversation has; the others are not there.
    pub(crate) fn start(exchanges: Vec<Exchange>) -> Self {
        let dir = tempfile::Builder::new().prefix("cw").tempdir().unwrap();
        let names: Vec<String> = exchanges.iter().map(|exchange| exchange.socket.clone()).collect();
        let left = Arc::new(Mutex::new(exchanges));
        for name in ["worker", "master"].into_iter().filter(|name| names.iter().any(|each| each == name)) {
            let listener = UnixListener::bind(dir.path().join(format!("{name}.sock"))).unwrap();
            tokio::spawn(play(listener, name, Arc::clone(&left)));
        }
        Self { dir, left }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything was said.
    pub(crate) fn is_over(&self) -> bool {
        self.left.lock().unwrap().is_empty()
    }
}

async fn play(listener: UnixListener, name: &str, left: Arc<Mutex<Vec<Exchange>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let said = listen(&mut stream).await;
        let exchange = left.lock().unwrap().first().cloned();
        let answer = match exchange {
            Some(exchange) if exchange.socket == name && exchange.said == said => {
                left.lock().unwrap().remove(0);
                exchange.answer
            }
            other => format!("not in the transcript: {said:?}, but {:?}\n", other.map(|other| other.said)),
        };
        let _read_or_not = stream.write_all(answer.as_bytes()).await;
    }
}

/// What the client says: until it closes its side, which it does not before `wait` has answered.
async fn listen(stream: &mut UnixStream) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..read]);
        if said.starts_with(b"wait ") && said.ends_with(b"\n") {
            break;
        }
    }
    String::from_utf8(said).unwrap()
}

/// Stands between the client and a real HAProxy, and writes down what both say.
pub(crate) struct Recorder {
    dir: tempfile::TempDir,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Recorder {
    /// Listens for each of these sockets in place of HAProxy's.
    pub(crate) fn start(sockets: &[(&'static str, PathBuf)]) -> Self {
        let dir = tempfile::Builder::new().prefix("cw").tempdir().unwrap();
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        for (name, real) in sockets {
            let listener = UnixListener::bind(dir.path().join(format!("{name}.sock"))).unwrap();
            tokio::spawn(record(listener, name, real.clone(), Arc::clone(&exchanges)));
        }
        Self { dir, exchanges }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self) -> String {
        write(&self.exchanges.lock().unwrap())
    }
}

async fn record(listener: UnixListener, name: &str, real: PathBuf, exchanges: Arc<Mutex<Vec<Exchange>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let said = listen(&mut stream).await;
        let mut haproxy = UnixStream::connect(&real).await.unwrap();
        haproxy.write_all(said.as_bytes()).await.unwrap();
        if !said.starts_with("wait ") {
            haproxy.shutdown().await.unwrap();
        }
        let mut answer = String::new();
        haproxy.read_to_string(&mut answer).await.unwrap();
        exchanges.lock().unwrap().push(Exchange { socket: name.to_owned(), said, answer: answer.clone() });
        let _read_or_not = stream.write_all(answer.as_bytes()).await;
    }
}
