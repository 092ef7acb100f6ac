//! The doors over real sockets, before a small router whose handlers ask the caller what he may.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::{get, post, put};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::users::UsersFile;
use super::*;
use crate::model::AppId;
use crate::web::Door;
use crate::web::server::serve_router;

mod limits;
mod logins;
mod sessions;
mod ways;

const ADMIN: (&str, &str) = ("ada", "the password of ada");
const EDITOR: (&str, &str) = ("eve", "the password of eve");
const VIEWER: (&str, &str) = ("vic", "the password of vic");

/// A Causeway's doors, its state on disk, and what is behind them.
struct House {
    config: Config,
    users: UsersFile,
    address: SocketAddr,
    client: Client,
    open: Option<(CancellationToken, JoinHandle<std::io::Result<()>>)>,
    dir: tempfile::TempDir,
}

impl House {
    /// On loopback, with an admin, an editor of `/team-a/**` and a viewer.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.haproxy.state_dir = dir.path().to_owned();
        config.web.listen = "127.0.0.1:0".to_owned();
        change(&mut config);
        let users = UsersFile::new(&config.users_file());
        let prefixes = vec!["/team-a/**".to_owned()];
        for ((name, password), role) in
            [(ADMIN, Role::Admin), (EDITOR, Role::Editor { prefixes }), (VIEWER, Role::Viewer)]
        {
            users.add_user(name, &role, Some(password)).unwrap();
        }
        let client =
            Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(20));
        let client = client.build().unwrap();
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut house = Self { config, users, address, client, open: None, dir };
        house.open();
        house
    }

    fn open(&mut self) {
        let door = Door::open(&self.config).unwrap();
        let mut address = door.address().unwrap();
        address.set_ip([127, 0, 0, 1].into());
        self.address = address;
        let stop = CancellationToken::new();
        let router = Doors::open(&self.config).unwrap().guard(behind());
        self.open = Some((stop.clone(), tokio::spawn(serve_router(door, router, stop))));
    }

    async fn restart(&mut self) {
        let (stop, serving) = self.open.take().unwrap();
        stop.cancel();
        serving.await.unwrap().unwrap();
        self.open();
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Logs in, and gives the cookie as a browser sends it.
    async fn log_in(&self, (user, password): (&str, &str)) -> String {
        let answer = self.post(session_api::PATH).json(&json!({ "user": user, "password": password }));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split_once(';').unwrap().0.to_owned()
    }

    /// Says these bytes by TCP, and gives all that is answered until the connection ends.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has heard enough may not listen to the end.
        let _refused = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _broken_off = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn status(request: RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

/// The handler of `/long` has begun.
static BEGUN: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// What stands behind the doors.
fn behind() -> Router {
    async fn write(caller: Caller) -> String {
        caller.name().to_owned()
    }
    async fn edit(
        caller: Caller,
        Path(app): Path<String>,
        audit: axum::Extension<Audit>,
    ) -> Result<String, ApiError> {
        audit.about(&app);
        if !caller.may_edit(&AppId::new(&app)) {
            return Err(ApiError::forbidden(format!("{app} is not below your prefixes")));
        }
        Ok("edited".to_owned())
    }
    async fn roll_back(caller: Caller) -> Result<&'static str, ApiError> {
        if caller.is_admin() { Ok("done") } else { Err(ApiError::forbidden("this needs the role admin")) }
    }
    async fn long(audit: axum::Extension<Audit>) {
        BEGUN.notify_one();
        tokio::time::sleep(Duration::from_millis(300)).await;
        audit.why("it was finished");
    }
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route("/status", get(|| async { "{}" }))
        .route("/metrics", get(|| async { "" }))
        .route("/thing", get(|caller: Caller| async move { caller.name().to_owned() }).post(write))
        .route("/rules/{*app}", put(edit))
        .route("/rollback", post(roll_back))
        .route("/long", post(long))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/api/marathon/event_callback", post(|| async { "Got it!" }))
        .route("/heard", get(|headers: HeaderMap| async move { format!("{headers:?}") }))
}
