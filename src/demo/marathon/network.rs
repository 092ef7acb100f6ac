//! The tasks' network: an address of `127.0.0.0/8` per task and few listeners for all of them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Options;
use super::task_server;

/// Up to this many fixed ports are bound at their task's own address, where they are in nobody's way.
const OWN_LISTENERS: usize = 1_000;
const BACKLOG: i32 = 4096;

/// A port a task answers on.
#[derive(Clone, Copy, Debug)]
pub(super) struct LivePort {
    pub(super) number: u16,
    pub(super) speaks_tcp: bool,
    /// Chosen by the app rather than by the stand-in.
    pub(super) fixed: bool,
}

/// What a task's server needs to know of its task.
#[derive(Debug)]
pub(super) struct LiveTask {
    pub(super) id: String,
    pub(super) app: String,
    pub(super) version: String,
    pub(super) address: Ipv4Addr,
    /// The address as text, which is the task's host name.
    pub(super) host: String,
    pub(super) agent: String,
    pub(super) ports: Vec<LivePort>,
    pub(super) health_paths: Vec<String>,
    pub(super) readiness_paths: Vec<String>,
    pub(super) healthy: AtomicBool,
    pub(super) ready: Arc<AtomicBool>,
    /// Cancelled when the task's process is gone.
    pub(super) life: CancellationToken,
    connections: Mutex<Option<CancellationToken>>,
}

impl LiveTask {
    #[expect(clippy::too_many_arguments, reason = "one call site, all of it plain data")]
    pub(super) fn new(
        id: String,
        app: String,
        version: String,
        address: Ipv4Addr,
        ports: Vec<LivePort>,
        health_paths: Vec<String>,
        readiness_paths: Vec<String>,
        ready: Arc<AtomicBool>,
        life: CancellationToken,
    ) -> Self {
        let host = address.to_string();
        Self {
            agent: format!("standin-{host}"),
            id,
            app,
            version,
            address,
            host,
            ports,
            health_paths,
            readiness_paths,
            healthy: AtomicBool::new(true),
            ready,
            connections: Mutex::new(Some(life.child_token())),
            life,
        }
    }

    fn connections(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token new connections live under; None while the task does not serve.
    pub(super) fn serving(&self) -> Option<CancellationToken> {
        self.connections().clone().filter(|token| !token.is_cancelled())
    }

    /// Stops (open connections are closed, new ones reset) or resumes serving.
    pub(super) fn set_serving(&self, serving: bool) {
        let mut connections = self.connections();
        if serving && connections.is_none() {
            *connections = Some(self.life.child_token());
        } else if !serving && let Some(token) = connections.take() {
            token.cancel();
        }
    }
}

/// Gives out addresses and ports and finds the task behind a connection.
pub(super) struct Network {
    first_address: Ipv4Addr,
    first_port: u16,
    next_address: Mutex<u32>,
    tasks: Arc<RwLock<HashMap<Ipv4Addr, Arc<LiveTask>>>>,
    wildcards: Mutex<HashSet<u16>>,
    /// The host port of every port index.
    indexed: Mutex<Vec<u16>>,
    own_listeners: Arc<AtomicUsize>,
    tracker: TaskTracker,
    ended: CancellationToken,
}

impl Network {
    pub(super) fn new(options: &Options, tracker: TaskTracker, ended: CancellationToken) -> Self {
        Self {
            first_address: options.task_network,
            first_port: options.first_task_port,
            next_address: Mutex::new(u32::from(options.task_network)),
            tasks: Arc::default(),
            wildcards: Mutex::default(),
            indexed: Mutex::default(),
            own_listeners: Arc::default(),
            tracker,
            ended,
        }
    }

    /// The next address no task has; an address is not given out again before all others were.
    pub(super) fn address(&self) -> Ipv4Addr {
        let mut next = self.next_address.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            let address = Ipv4Addr::from(*next);
            *next += 1;
            if address.octets()[0] != 127 || address == Ipv4Addr::new(127, 255, 255, 255) {
                *next = u32::from(self.first_address);
            } else if !tasks.contains_key(&address) {
                return address;
            }
        }
    }

    /// The host port of a task's port `index`, bound for all tasks at the first use.
    pub(super) fn port(&self, index: usize) -> u16 {
        let mut indexed = self.indexed.lock().unwrap_or_else(PoisonError::into_inner);
        while indexed.len() <= index {
            let wanted = match self.first_port {
                0 => 0,
                first => first.saturating_add(u16::try_from(indexed.len()).unwrap_or(u16::MAX)),
            };
            let bound = self.listen_everywhere(wanted).unwrap_or_else(|error| {
                tracing::warn!(port = wanted, %error, "a task port is taken; binding it at each task's address");
                wanted
            });
            indexed.push(bound);
        }
        indexed[index]
    }

    /// Makes a task reachable.
    pub(super) fn attach(&self, task: &Arc<LiveTask>) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).insert(task.address, task.clone());
        for port in &task.ports {
            let everywhere =
                self.wildcards.lock().unwrap_or_else(PoisonError::into_inner).contains(&port.number);
            if everywhere {
                continue;
            }
            let own = self.own_listeners.load(Ordering::Relaxed) < OWN_LISTENERS;
            let result = if own {
                self.listen_at(task, port.number)
            } else {
                self.listen_everywhere(port.number).map(drop)
            };
            if let Err(error) = result {
                tracing::warn!(task = task.id, port = port.number, fixed = port.fixed, %error, "cannot bind a task's port");
            }
        }
    }

    /// Ends a task's process: connections are closed, new ones reset or refused.
    pub(super) fn detach(&self, task: &LiveTask) {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner).remove(&task.address);
        task.life.cancel();
    }

    fn listen_everywhere(&self, port: u16) -> io::Result<u16> {
        let listener = bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false)?;
        let port = listener.local_addr()?.port();
        self.wildcards.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        self.tracker.spawn(accept(listener, self.tasks.clone(), self.ended.clone()));
        Ok(port)
    }

    fn listen_at(&self, task: &Arc<LiveTask>, port: u16) -> io::Result<()> {
        let listener = bind(SocketAddr::from((task.address, port)), true)?;
        let (tasks, own, life) = (self.tasks.clone(), self.own_listeners.clone(), task.life.clone());
        own.fetch_add(1, Ordering::Relaxed);
        self.tracker.spawn(async move {
            accept(listener, tasks, life).await;
            own.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // So that a proxy on this machine can still bind the same port on the wildcard address.
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    tasks: Arc<RwLock<HashMap<Ipv4Addr, Arc<LiveTask>>>>,
    ended: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors: the connection waits in the backlog until one is free.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        match claim(&stream, &tasks) {
            Some((task, port, token)) => {
                tokio::spawn(task_server::serve(stream, task, port, token));
            }
            None => reset(&stream),
        }
    }
}

/// The live, serving task a connection was made to.
fn claim(
    stream: &TcpStream,
    tasks: &RwLock<HashMap<Ipv4Addr, Arc<LiveTask>>>,
) -> Option<(Arc<LiveTask>, LivePort, CancellationToken)> {
    let SocketAddr::V4(local) = stream.local_addr().ok()? else { return None };
    let task = tasks.read().unwrap_or_else(PoisonError::into_inner).get(local.ip()).cloned()?;
    let port = *task.ports.iter().find(|port| port.number == local.port())?;
    let token = task.serving()?;
    Some((task, port, token))
}

/// Makes the close that follows a reset instead of an orderly end.
pub(super) fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
