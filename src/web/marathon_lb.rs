//! marathon-lb's endpoints, `/_haproxy_get…` and `/_mlb_signal/…`, which it served by code inside of HAProxy. Here HAProxy
//! asks for logins and passes these few paths on, over a Unix socket that only HAProxy can reach; nothing else is answered.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use nix::unistd::{Gid, Group, Uid, User, geteuid};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;

use crate::config::{HaproxyConfig, HaproxyMode};
use crate::durable::{FileError, make_private_dir};
use crate::haproxy::Generations;
use crate::haproxy::managed::Jail;
use crate::haproxy::runtime::Client;
use crate::reconcile::Pending;
use crate::render::files::CONFIG;
use crate::render::maps::MapName;
use crate::render::without_secrets;
use crate::sources::Refresh;

/// The name of the socket.
const SOCKET: &str = "mlb.sock";
/// How long HAProxy may take to say which processes it has.
const DEADLINE: Duration = Duration::from_secs(2);
/// Files are passed on in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// Where the socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath {
    /// For us.
    pub on_disk: PathBuf,
    /// For HAProxy, from inside its jail if it has one.
    pub for_haproxy: PathBuf,
}

/// Where HAProxy reaches us.
#[must_use]
pub fn socket(config: &HaproxyConfig, jail: Option<&Jail>) -> SocketPath {
    match jail {
        Some(jail) => {
            SocketPath { on_disk: jail.chroot.join(SOCKET), for_haproxy: Path::new("/").join(SOCKET) }
        }
        None => {
            let path = config.socket.with_file_name(SOCKET);
            SocketPath { on_disk: path.clone(), for_haproxy: path }
        }
    }
}

/// What the endpoints show, and whom they tell.
#[derive(Clone, Debug)]
pub struct Endpoints {
    current: PathBuf,
    client: std::sync::Arc<Client>,
    refresh: Refresh,
    pending: Pending,
}

impl Endpoints {
    /// Endpoints that show this HAProxy, ask `refresh` for a full read, and `pending` for a reload.
    #[must_use]
    pub fn new(config: &HaproxyConfig, refresh: Refresh, pending: Pending) -> Self {
        let client = Client::new(config.socket.clone(), Some(config.master_socket.clone()), DEADLINE);
        let current = Generations::at(&config.state_dir).current_link();
        Self { current, client: client.into(), refresh, pending }
    }

    /// The lines of a file of the current generation, as `shown` makes them of whole lines; nothing where there is none.
    async fn lines(
        &self,
        file: &str,
        shown: fn(&str) -> String,
    ) -> impl Stream<Item = io::Result<String>> + use<> {
        let file = File::open(self.current.join(file)).await.ok().map(BufReader::new);
        stream::try_unfold(file, move |file| async move {
            let Some(mut file) = file else { return Ok(None) };
            let mut piece = String::new();
            while piece.len() < PIECE && file.read_line(&mut piece).await? > 0 {}
            Ok((!piece.is_empty()).then(|| (shown(&piece), Some(file))))
        })
    }
}

/// Listens, for nobody but HAProxy. `None` where there are no statistics, and so nobody would ask.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(config: &HaproxyConfig, jail: Option<&Jail>) -> Result<Option<UnixListener>, FileError> {
    if config.bind_stats.is_empty() {
        return Ok(None);
    }
    if !config.stats_are_local() && config.stats_users_file.is_none() {
        tracing::info!(
            haproxy.bind_stats = config.bind_stats,
            "statistics, /metrics and marathon-lb's endpoints are refused, since other hosts reach them and nobody may \
             log in; the health check answers: set haproxy.stats_users_file, or bind them to 127.0.0.1"
        );
    }
    let path = socket(config, jail).on_disk;
    if let Some(dir) = path.parent() {
        make_private_dir(dir)?;
    }
    let open = || {
        let _absent = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = haproxy_user(config) {
            chown(&path, Some(user.as_raw()), Some(group.as_raw()))?;
            let_through(config, &path)?;
        }
        Ok(listener)
    };
    open().map(Some).map_err(FileError::of(&path))
}

/// The user that HAProxy drops to; `None` where it stays ours.
fn haproxy_user(config: &HaproxyConfig) -> Option<(Uid, Gid)> {
    let user = || User::from_name(&config.user).ok().flatten();
    let group = || Group::from_name(&config.group).ok().flatten();
    if geteuid().is_root() { Some((user()?.uid, group()?.gid)) } else { None }
}

/// The operator's HAProxy has no jail, and its user has to pass a directory that is ours alone. He can list nothing there,
/// and the other sockets in it are ours.
fn let_through(config: &HaproxyConfig, socket: &Path) -> io::Result<()> {
    let Some(dir) = socket.parent().filter(|_| config.mode == HaproxyMode::External) else { return Ok(()) };
    let permissions = std::fs::metadata(dir)?.permissions();
    if permissions.mode() & 0o777 == 0o700 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// Answers for as long as it is polled.
///
/// # Errors
/// The socket cannot be used any more.
pub async fn serve(listener: UnixListener, endpoints: Endpoints) -> io::Result<()> {
    axum::serve(listener, router(endpoints)).await
}

fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/_haproxy_getconfig", get(config))
        .route("/_haproxy_getvhostmap", get(vhost_map))
        .route("/_haproxy_getappmap", get(app_map))
        .route("/_haproxy_getpids", get(pids))
        // marathon-lb takes any method, and its users send GET.
        .route("/_mlb_signal/hup", any(read_again))
        .route("/_mlb_signal/usr1", any(reload))
        .with_state(endpoints)
}

fn text(body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.into()).into_response()
}

async fn config(State(endpoints): State<Endpoints>) -> Response {
    text(Body::from_stream(endpoints.lines(CONFIG, without_secrets).await))
}

/// `host backend`, of hosts as a whole.
async fn vhost_map(State(endpoints): State<Endpoints>) -> Response {
    let exact = endpoints.lines(MapName::Hosts.file(), str::to_owned).await;
    // The map knows them by their parent.
    let starred = |piece: &str| piece.split_inclusive('\n').map(|line| format!("*.{line}")).collect();
    let wildcards = endpoints.lines(MapName::Wildcards.file(), starred).await;
    text(Body::from_stream(exact.chain(wildcards)))
}

/// `app backend`.
async fn app_map(State(endpoints): State<Endpoints>) -> Response {
    text(Body::from_stream(endpoints.lines(MapName::Apps.file(), str::to_owned).await))
}

/// What `pidof haproxy` says: whoever deploys by marathon-lb's tools waits until there are two again, one worker and the
/// master.
async fn pids(State(endpoints): State<Endpoints>) -> Response {
    let pids: Vec<String> = match endpoints.client.processes().await {
        Some(all) => {
            let all = all.workers.iter().chain(&all.old_workers).chain([&all.master]);
            all.map(ToString::to_string).collect()
        }
        // The operator's HAProxy may have no master.
        None => endpoints.client.info().await.map(|info| info.pid.to_string()).into_iter().collect(),
    };
    if pids.is_empty() {
        let words = "HAProxy does not answer on its sockets; ask again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text(words)).into_response();
    }
    text(format!("{}\n", pids.join(" ")))
}

async fn read_again(State(endpoints): State<Endpoints>, headers: HeaderMap) -> Response {
    signal(&headers, "HUP", "everything is read again from Marathon", || endpoints.refresh.ask())
}

async fn reload(State(endpoints): State<Endpoints>, headers: HeaderMap) -> Response {
    signal(&headers, "USR1", "HAProxy is reloaded", || endpoints.pending.ask_reload())
}

fn signal(headers: &HeaderMap, name: &str, what: &str, send: impl FnOnce()) -> Response {
    let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // A browser that has the login would send it for any page that asks.
    let by_a_page = word("sec-fetch-site").is_some_and(|site| !["none", "same-origin"].contains(&site));
    if by_a_page || headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, text("a page of another site may not send this\n")).into_response();
    }
    let user = word("x-causeway-user").unwrap_or_default();
    tracing::info!(web.user = user, "{user} asked at haproxy.bind_stats: {what}");
    send();
    text(format!("Sent SIG{name} signal to marathon-lb"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Asked {
        dir: tempfile::TempDir,
        listener_path: PathBuf,
    }

    async fn serving() -> Asked {
        let dir = tempfile::tempdir().unwrap();
        let config = HaproxyConfig {
            state_dir: dir.path().join("state"),
            socket: dir.path().join("run/haproxy.sock"),
            master_socket: dir.path().join("run/master.sock"),
            ..HaproxyConfig::default()
        };
        let maps = config.state_dir.join("current/maps");
        std::fs::create_dir_all(&maps).unwrap();
        let users: String = (0..5_000).map(|n| format!("    user u{n} password $6$hash{n}\n")).collect();
        std::fs::write(config.state_dir.join("current").join(CONFIG), format!("global\n{users}end\n"))
            .unwrap();
        std::fs::write(maps.join("hosts.map"), "a.x h_a_0\n").unwrap();
        std::fs::write(maps.join("wildcards.map"), "y h_y_0\nz h_z_0\n").unwrap();
        let listener = listen(&config, None).unwrap().unwrap();
        let endpoints = Endpoints::new(&config, Refresh::default(), Pending::default());
        tokio::spawn(serve(listener, endpoints));
        Asked { listener_path: socket(&config, None).on_disk, dir }
    }

    impl Asked {
        async fn ask(&self, path: &str, headers: &str) -> String {
            let mut stream = tokio::net::UnixStream::connect(&self.listener_path).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn a_configuration_of_many_pieces_is_shown_without_any_hash() {
        let asked = serving().await;
        let answer = asked.ask("/_haproxy_getconfig", "").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("end\n"));
        assert_eq!(answer.matches("(not shown)").count(), 5_000);
        assert!(!answer.contains("hash"));
        drop(asked.dir);
    }

    #[tokio::test]
    async fn wildcards_are_written_as_hosts_and_a_map_that_is_not_there_is_empty() {
        let asked = serving().await;
        let answer = asked.ask("/_haproxy_getvhostmap", "").await;
        for line in ["a.x h_a_0\n", "*.y h_y_0\n*.z h_z_0\n"] {
            assert!(answer.contains(line), "{answer}");
        }
        assert!(asked.ask("/_haproxy_getappmap", "").await.starts_with("HTTP/1.1 200"));
        assert!(asked.ask("/_haproxy_getpids", "").await.starts_with("HTTP/1.1 503"));
        assert!(asked.ask("/api/v2/services", "").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_page_of_another_site_cannot_send_a_signal() {
        let asked = serving().await;
        let sent = asked.ask("/_mlb_signal/hup", "X-Causeway-User: joe\r\n").await;
        assert!(sent.ends_with("Sent SIGHUP signal to marathon-lb"), "{sent}");
        for header in ["Sec-Fetch-Site: cross-site\r\n", "Origin: http://evil.example.com\r\n"] {
            assert!(asked.ask("/_mlb_signal/usr1", header).await.starts_with("HTTP/1.1 403"), "{header}");
        }
    }
}
