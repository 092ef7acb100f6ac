//! Where a task stands: whether it still gets requests, and whether it may be killed without losing any.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::Reconciler;
use super::desired::{Desired, Lacking, PutAside};
use super::orders::{Order, OrderError, Ordered, Orders};
use super::rollback::RolledBack;

use crate::config::HaproxyConfig;
use crate::forecast::CopyRequests;
use crate::haproxy::inquiry::{self, InquiryError, Question, Verdict};
use crate::haproxy::runtime::{Client, Epoch, Info, Processes, command};
use crate::haproxy::servers::{StateReader, Use, parse_uses};
use crate::haproxy::stats::{ServerFigures, parse_servers};
use crate::haproxy::{Generations, HaproxyError};
use crate::history::History;
use crate::model::{AppId, Endpoint, TaskId};
use crate::placement::Slot;
use crate::render::Text;
use crate::view::Noted;
use crate::wording::counted;

/// How long HAProxy may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What HAProxy was brought to, at one moment. A clone costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Brought {
    /// What runs; `None` where that is not known, or where HAProxy is not ours to change while it runs.
    pub text: Option<Text>,
    /// What was loaded last, where HAProxy is not ours to change while it runs.
    pub loaded: Option<Text>,
    /// The worker that runs it.
    pub epoch: Option<Epoch>,
    /// Services that are not on their newest block.
    pub put_aside: PutAside,
    /// The generation that somebody went back to.
    pub rolled_back: Option<Arc<RolledBack>>,
    /// Services that lack a route, since HAProxy does not take its text.
    pub lacking: Lacking,
    /// What keeps HAProxy from being brought to what is desired.
    pub failed: Option<Noted>,
}

impl Reconciler {
    /// Publishes what HAProxy was brought to.
    pub(super) fn publish(&self) {
        self.outside.brought.send_replace(Brought {
            text: self.desired.running().cloned(),
            loaded: self.desired.loaded().cloned(),
            epoch: self.desired.epoch(),
            put_aside: self.desired.put_aside_now(),
            rolled_back: self.desired.rolled_back().cloned(),
            lacking: self.desired.lacking_now(),
            failed: self.failed.clone(),
        });
    }
}

/// Whom the reconciler tells and answers, besides the log and the metrics.
#[derive(Debug)]
pub struct Outside {
    /// Who asks what HAProxy was brought to.
    pub brought: watch::Sender<Brought>,
    /// The log of changes.
    pub history: History,
    /// Orders of people.
    pub orders: mpsc::Receiver<Ordered>,
    /// Who works out what would come, on a copy of what is desired.
    pub copies: CopyRequests<Desired>,
}

/// What runs, for who asks while the reconciler works.
#[derive(Clone, Debug)]
pub struct Running {
    brought: watch::Receiver<Brought>,
    client: Arc<Client>,
    master: PathBuf,
    why: Option<PathBuf>,
    trusted_proxies: Arc<[String]>,
    state_dir: PathBuf,
    by_hand_timeout: Duration,
    orders: Orders,
}

/// Where a task stands in HAProxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStanding {
    /// The task.
    pub task: TaskId,
    /// Each server that it is.
    pub servers: Vec<ServerStanding>,
    /// Workers of before, which finish what they have.
    pub old_workers: Vec<OldWorker>,
    /// Whether it can be killed without losing a request.
    pub safe_to_kill: bool,
    /// Why, or why not.
    pub why: String,
}

/// A server of the worker that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerStanding {
    /// Whose it is.
    pub app: AppId,
    /// The index of the app's port.
    pub port_index: usize,
    /// The backend; the app may have borrowed it.
    pub backend: String,
    /// The server's name.
    pub server: String,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// `serving`, `draining` or `closing`.
    pub state: &'static str,
    /// What still uses it; `None` where HAProxy does not know it.
    #[serde(flatten)]
    pub used: Option<Use>,
}

/// A worker of before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OldWorker {
    /// Its process id.
    pub pid: i32,
    /// What still uses the task there; `None` where that is not known.
    #[serde(flatten)]
    pub used: Option<Use>,
}

impl Running {
    /// What runs is told by whoever holds the other end.
    #[must_use]
    pub fn new(brought: watch::Receiver<Brought>, orders: Orders, config: &HaproxyConfig) -> Self {
        let client = Client::new(config.socket.clone(), Some(config.master_socket.clone()), DEADLINE);
        Self {
            brought,
            client: Arc::new(client),
            master: config.master_socket.clone(),
            state_dir: config.state_dir.clone(),
            by_hand_timeout: config.by_hand_timeout,
            orders,
            why: inquiry::socket(config),
            trusted_proxies: config.trusted_proxies.as_slice().into(),
        }
    }

    /// Asks HAProxy where a request would go; `None` where it has no frontend to be asked by: its template has none, or the
    /// path of the socket would be too long.
    ///
    /// # Errors
    /// HAProxy does not answer.
    pub async fn ask_why(&self, question: &Question) -> Option<Result<Verdict, InquiryError>> {
        let socket = self.why.as_ref()?;
        let Brought { text, loaded, .. } = self.brought();
        text.or(loaded).filter(|text| text.head.contains("\nfrontend why "))?;
        Some(inquiry::ask(socket, question, DEADLINE).await)
    }

    /// Networks of proxies whose word on a request's way counts.
    #[must_use]
    pub fn trusted_proxies(&self) -> &[String] {
        &self.trusted_proxies
    }

    /// What HAProxy was brought to.
    #[must_use]
    pub fn brought(&self) -> Brought {
        self.brought.borrow().clone()
    }

    /// What HAProxy says of the servers of a backend now.
    ///
    /// # Errors
    /// HAProxy does not answer.
    pub async fn servers(&self, backend: &str) -> Result<Vec<ServerFigures>, HaproxyError> {
        Ok(parse_servers(&self.client.ask(&format!("show stat {backend} 4 -1")).await?))
    }

    /// Orders something, and waits for what becomes of it.
    ///
    /// # Errors
    /// Why it was not carried out.
    pub async fn order(&self, order: Order) -> Result<(), OrderError> {
        self.orders.give(order).await
    }

    /// How long what is set by hand is kept.
    #[must_use]
    pub fn by_hand_timeout(&self) -> Duration {
        self.by_hand_timeout
    }

    /// HAProxy's processes, as its master knows them; `None` where it does not answer.
    pub async fn processes(&self) -> Option<Processes> {
        self.client.processes().await
    }

    /// The generations on disk, to look at.
    #[must_use]
    pub fn generations(&self) -> Generations {
        Generations::at(&self.state_dir)
    }

    /// Where a task stands now; `None` where it is not known what runs.
    ///
    /// # Errors
    /// HAProxy does not answer.
    pub async fn task(&self, task: &TaskId) -> Result<Option<TaskStanding>, HaproxyError> {
        let Some(text) = self.brought().text else { return Ok(None) };
        let mut servers = seats(&text, task);
        let questions: Vec<String> =
            servers.iter().map(|server| format!("show stat {} 4 -1", server.backend)).collect();
        let uses = match questions.is_empty() {
            true => Default::default(),
            false => parse_uses(&self.client.ask_many(&questions).await?),
        };
        for server in &mut servers {
            server.used = uses.get(&(server.backend.clone(), server.server.clone())).copied();
        }
        let endpoints: Vec<Endpoint> = servers.iter().map(|server| server.endpoint).collect();
        let mut old_workers = Vec::new();
        for pid in self.client.processes().await.unwrap_or_default().old_workers {
            let used = self.old_worker(pid, &endpoints).await.ok().flatten();
            old_workers.push(OldWorker { pid, used });
        }
        let why = danger(&servers, &old_workers);
        Ok(Some(TaskStanding {
            task: task.clone(),
            servers,
            old_workers,
            safe_to_kill: why.is_none(),
            why: why.unwrap_or_else(|| "nothing uses it any more".to_owned()),
        }))
    }

    /// What uses these addresses in a worker of before (management guide, 9.4: `@!<pid>`). Of a task whose slot was given
    /// on the address is not known any more: then everything that the worker still has counts.
    async fn old_worker(&self, pid: i32, endpoints: &[Endpoint]) -> Result<Option<Use>, HaproxyError> {
        let ask =
            async |question: &str| command(&self.master, &format!("@!{pid} {question}"), DEADLINE).await;
        if endpoints.is_empty() {
            let answer = ask("show info").await?;
            let connections = Info::value(&answer, "CurrConns").and_then(|count| count.parse().ok());
            return Ok(connections.map(|connections| Use { sessions: 0, connections }));
        }
        let mut reader = StateReader::default();
        let mut names = Vec::new();
        for line in ask("show servers state").await?.lines() {
            if let Some((backend, server, state)) = reader.read(line)
                && state.endpoint.is_some_and(|endpoint| endpoints.contains(&endpoint))
            {
                names.push((backend.to_owned(), server.to_owned()));
            }
        }
        let mut used = Use::default();
        for name in &names {
            let uses = parse_uses(&ask(&format!("show stat {} 4 -1", name.0)).await?);
            let Some(one) = uses.get(name) else { return Ok(None) };
            used.sessions += one.sessions;
            used.connections += one.connections;
        }
        Ok(Some(used))
    }
}

/// The servers that a task is.
fn seats(text: &Text, task: &TaskId) -> Vec<ServerStanding> {
    let mut servers = Vec::new();
    for (id, block) in &text.blocks {
        for (slot, number) in block.slots.iter().zip(1..) {
            let Some(occupant) = slot.occupant().filter(|occupant| occupant.task == *task) else { continue };
            servers.push(ServerStanding {
                app: id.app.clone(),
                port_index: id.port_index,
                backend: block.service.backend.name.clone(),
                server: format!("slot{number}"),
                endpoint: occupant.endpoint,
                state: match slot {
                    Slot::Serving(_) => "serving",
                    Slot::Draining(_) => "draining",
                    Slot::Closing(_) | Slot::Free => "closing",
                },
                used: None,
            });
        }
    }
    servers
}

/// What a kill now would lose.
fn danger(servers: &[ServerStanding], old_workers: &[OldWorker]) -> Option<String> {
    for server in servers {
        let name = format!("{}/{}", server.backend, server.server);
        match server.used {
            _ if server.state == "serving" => {
                return Some(format!("{name} takes requests for {}", server.app));
            }
            None => return Some(format!("what uses {name} is not known")),
            Some(used) if used.sessions > 0 => {
                return Some(format!("{name} has {} under way", counted(used.sessions, "session")));
            }
            Some(_) => {}
        }
    }
    let busy = |worker: &&OldWorker| worker.used.is_none_or(|used| used.sessions + used.connections > 0);
    old_workers.iter().find(busy).map(|worker| {
        format!("the worker of before, process {}, may still have connections to it", worker.pid)
    })
}
