//! A server that says what the test wants it to say, byte by byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub(crate) const ATTACHED: &str = r#"{"remoteAddress":"127.0.0.1","eventType":"event_stream_attached"}"#;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    Raw(String),
    Hang,
    /// An event stream; with the event of its own attachment or without.
    Stream {
        attached: bool,
    },
    By(Arc<dyn Fn(&Request) -> Reply + Send + Sync>),
}

impl Reply {
    pub(crate) fn ok(json: impl Into<String>) -> Self {
        Self::Json(200, json.into())
    }

    pub(crate) fn by(reply: impl Fn(&Request) -> Self + Send + Sync + 'static) -> Self {
        Self::By(Arc::new(reply))
    }

    pub(crate) fn redirect(to: String) -> Self {
        Self::Raw(format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    pub(crate) fn html(status: u16, title: &str) -> Self {
        let page = format!("<html><head><title>{title}</title></head><body></body></html>");
        let length = page.len();
        Self::Raw(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
        ))
    }
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    replies: HashMap<String, Reply>,
    streams: Vec<mpsc::UnboundedSender<String>>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// A Marathon that gives a stream, attached at once, and these apps.
    pub(crate) async fn new(apps: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        fake.reply("/v2/events", Reply::Stream { attached: true });
        fake.reply("/v2/apps", Reply::ok(apps));
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// What came for this path.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|request| request.path() == path).cloned().collect()
    }

    /// Waits until so many requests came for this path.
    pub(crate) async fn asked(&self, path: &str, times: usize) -> Vec<Request> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let requests = self.requests(path);
            if requests.len() >= times {
                return requests;
            }
            assert!(Instant::now() < deadline, "{path} was asked for {} times, not {times}", requests.len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn event(&self, json: &str) {
        self.bytes(&format!("event: x\r\ndata: {json}\r\n\r\n"));
    }

    pub(crate) fn bytes(&self, bytes: &str) {
        self.state.lock().unwrap().streams.retain(|stream| stream.send(bytes.to_owned()).is_ok());
    }

    pub(crate) fn hang_up(&self) {
        self.state.lock().unwrap().streams.clear();
    }

    async fn serve(self, mut socket: TcpStream) {
        let Some(request) = read_request(&mut socket).await else { return };
        let mut reply = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            state.replies.get(request.path()).cloned()
        };
        while let Some(Reply::By(by)) = &reply {
            reply = Some(by(&request));
        }
        let id = request.path().trim_start_matches("/v2/apps").to_owned();
        let missing = || Reply::Json(404, format!("{{\"message\":\"App '{id}' does not exist\"}}"));
        match reply.unwrap_or_else(missing) {
            Reply::Json(status, body) => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.write_all(body.as_bytes()).await;
            }
            Reply::Raw(raw) => {
                let _ = socket.write_all(raw.as_bytes()).await;
            }
            Reply::Hang => {
                let _ = socket.read(&mut [0; 1]).await;
            }
            Reply::Stream { attached } => self.stream(socket, attached).await,
            Reply::By(_) => unreachable!(),
        }
    }

    async fn stream(self, mut socket: TcpStream, attached: bool) {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=utf-8\r\nConnection: close\r\n\r\n";
        let _ = socket.write_all(head.as_bytes()).await;
        let (tx, mut rx) = mpsc::unbounded_channel();
        if attached {
            let _ = tx.send(format!("event: event_stream_attached\r\ndata: {ATTACHED}\r\n\r\n"));
        }
        self.state.lock().unwrap().streams.push(tx);
        while let Some(bytes) = rx.recv().await {
            if socket.write_all(bytes.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mut request = Request { at: Instant::now(), target, headers, body: String::new() };
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + 4 + length {
        socket.read_buf(&mut bytes).await.ok()?;
    }
    request.body = String::from_utf8(bytes[end + 4..].to_vec()).ok()?;
    Some(request)
}
