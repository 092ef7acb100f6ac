//! What is ordered for one server on every node: a record beside the others' presence, which each Causeway carries out once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Fleet, FleetError};
use crate::durable::replace_file;
use crate::model::{ServiceId, TaskId};
use crate::placement::{Admin, WEIGHT, WEIGHT_MAX};
use crate::reconcile::orders::{FleetWide, Order, OrderError, Orders};
use crate::rules::zookeeper::fleet::{Folder, Node, Nodes};

/// The folder of the records.
const FOLDER: &str = "servers";
/// How often what cannot be carried out yet is tried: a task may not be known here yet.
const RETRY: Duration = Duration::from_secs(1);
/// So much longer than it holds a record stays: clocks of nodes differ.
const GRACE: Duration = Duration::from_secs(60);
/// The most that a record says of who and why, in bytes.
const SAID: usize = 2_000;

/// What somebody ordered for one server, on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerOrder {
    /// The service.
    pub service: ServiceId,
    /// The task.
    pub task: TaskId,
    /// Whether it takes requests.
    pub admin: Admin,
    /// Its weight; `None` leaves it as it is, and with [`Admin::Ready`] takes back what was set.
    pub weight: Option<u32>,
    /// Who.
    pub by: String,
    /// What for.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// Until when it holds.
    pub until: Timestamp,
}

/// What is ordered, by the name of its node.
type Posted = BTreeMap<String, (Node, ServerOrder)>;

/// What is ordered, and what became of it here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Board {
    posted: Arc<Posted>,
    /// By the transaction: `None` once it is carried out, or why it is not yet.
    standing: BTreeMap<i64, Option<String>>,
}

impl Board {
    /// What became of the newest orders.
    pub(super) fn newest(&self, count: usize) -> BTreeMap<i64, Option<String>> {
        let newest = self.standing.iter().rev().take(count);
        newest.map(|(zxid, why)| (*zxid, why.clone())).collect()
    }

    /// What is ordered for the servers of a service and holds, by task.
    pub(super) fn of(&self, service: &ServiceId) -> BTreeMap<TaskId, (i64, ServerOrder)> {
        let now = Timestamp::now();
        let holds = |(_, order): &&(Node, ServerOrder)| order.service == *service && order.until > now;
        let posted = self.posted.values().filter(holds);
        posted.map(|(node, order)| (order.task.clone(), (node.zxid, order.clone()))).collect()
    }
}

impl ServerOrder {
    fn name(&self) -> String {
        Folder::name_of(&format!("{}:{}", self.service, self.task))
    }

    /// Whether it only takes back what was set.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.admin == Admin::Ready && self.weight.is_none_or(|weight| weight == WEIGHT)
    }

    /// Reads a record; whoever may write there is believed no more than somebody at the API.
    fn read(name: &str, data: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        let is_said =
            |text: &str| !text.is_empty() && text.len() <= SAID && !text.chars().any(char::is_control);
        match () {
            () if order.name() != name => Err("its name is another server's".to_owned()),
            () if order.admin == Admin::Maint => Err("admin is neither ready nor drain".to_owned()),
            () if order.weight.is_some_and(|weight| weight > WEIGHT_MAX) => {
                Err(format!("weight is above {WEIGHT_MAX}"))
            }
            () if !is_said(&order.by) || !is_said(&order.why) => {
                Err("by or why is empty, too long, or holds a control character".to_owned())
            }
            () => Ok(order),
        }
    }

    /// The order to this node, or only the question whether it can be carried out here, and is.
    #[must_use]
    pub fn given(&self, ask: bool) -> Order {
        Order::Server {
            service: self.service.clone(),
            task: self.task.clone(),
            admin: self.admin,
            weight: self.weight,
            by: self.by.clone(),
            why: self.why.clone(),
            fleet: Some(FleetWide { since: self.at.into(), until: self.until.into(), ask }),
        }
    }
}

impl Fleet {
    /// Orders something for a server on every node: the last word on a server counts. The transaction that wrote it.
    ///
    /// # Errors
    /// There is no fleet, or ZooKeeper does not answer.
    pub async fn order(&self, order: &ServerOrder) -> Result<i64, FleetError> {
        let folder = self.shared.as_ref().ok_or(FleetError::Alone)?.folder(FOLDER);
        let name = order.name();
        let written = folder.change(&name, |there| {
            let mut order = order.clone();
            // Whoever is cut off hears of it as long as he may have what it takes back.
            if let Some(Ok(before)) = there.map(|data| ServerOrder::read(&name, data))
                && order.is_plain()
            {
                order.until = order.until.max(before.until);
            }
            serde_json::to_vec(&order).unwrap_or_default()
        });
        Ok(written.await?)
    }

    /// What is ordered for the servers of a service on every node, by task, with the transactions.
    #[must_use]
    pub fn ordered(&self, service: &ServiceId) -> BTreeMap<TaskId, (i64, ServerOrder)> {
        self.own.board.borrow().of(service)
    }

    /// Carries out what is ordered for every node; for good.
    pub async fn carry_out(self, orders: Orders) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        let (told, nodes) = watch::channel(None);
        let folder = shared.folder(FOLDER);
        let carrier = Carrier {
            fleet: &self,
            folder: &folder,
            orders,
            done: Done::load(&self.own.state_dir),
            unreadable: BTreeSet::new(),
            refused: BTreeMap::new(),
        };
        tokio::join!(folder.follow(told), carrier.run(nodes));
    }
}

struct Carrier<'a> {
    fleet: &'a Fleet,
    folder: &'a Folder,
    orders: Orders,
    done: Done,
    /// Records that cannot be read, once that was told.
    unreadable: BTreeSet<i64>,
    /// What HAProxy does not have yet, and why.
    refused: BTreeMap<i64, String>,
}

impl Carrier<'_> {
    async fn run(mut self, mut nodes: watch::Receiver<Nodes>) {
        let mut ticks = interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut posted = Arc::<Posted>::default();
        loop {
            tokio::select! {
                changed = nodes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let nodes = nodes.borrow_and_update().clone().unwrap_or_default();
                    posted = Arc::new(self.read(nodes));
                }
                _ = ticks.tick(), if !posted.is_empty() => {}
            }
            self.work(&posted).await;
        }
    }

    /// Reads the records; one that cannot be read is told once, and stops nobody.
    fn read(&mut self, nodes: BTreeMap<String, Node>) -> Posted {
        let told = std::mem::take(&mut self.unreadable);
        let mut posted = BTreeMap::new();
        for (name, node) in nodes {
            match ServerOrder::read(&name, &node.data) {
                Ok(order) => _ = posted.insert(name, (node, order)),
                Err(error) => {
                    if !told.contains(&node.zxid) {
                        tracing::warn!(
                            "ZooKeeper: the order {FOLDER}/{name} cannot be read ({error}); it is left out, the others are carried out: delete it"
                        );
                    }
                    self.unreadable.insert(node.zxid);
                }
            }
        }
        let there: BTreeSet<i64> = posted.values().map(|(node, _)| node.zxid).collect();
        self.done.keep(&there);
        self.refused.retain(|zxid, _| there.contains(zxid));
        posted
    }

    /// Carries out what is new, in the order in which it was written, and takes away what is over.
    async fn work(&mut self, posted: &Arc<Posted>) {
        let now = Timestamp::now();
        let (done, refused) = (&self.done.zxids, &self.refused);
        let is_due = |(node, order): &&(Node, ServerOrder)| {
            order.until > now && (!done.contains(&node.zxid) || refused.contains_key(&node.zxid))
        };
        let mut due: Vec<_> = posted.values().filter(is_due).collect();
        due.sort_by_key(|(node, _)| node.zxid);
        self.tell(posted);
        for (node, order) in due {
            let zxid = node.zxid;
            let given = self.orders.give(order.given(self.done.zxids.contains(&zxid))).await;
            if matches!(given, Ok(()) | Err(OrderError::NotYet)) {
                self.done.add(zxid);
            }
            match given {
                Ok(()) => _ = self.refused.remove(&zxid),
                Err(error) => _ = self.refused.insert(zxid, error.to_string()),
            }
            self.tell(posted);
        }
        let over = |order: &ServerOrder| order.until.checked_add(GRACE).is_ok_and(|until| until < now);
        for (name, (node, _)) in posted.iter().filter(|(_, (_, order))| over(order)) {
            if let Err(error) = self.folder.remove(name, node).await {
                tracing::debug!("{error}; an order that is over is taken away later");
                return;
            }
        }
    }

    fn tell(&self, posted: &Arc<Posted>) {
        let standing = |(node, _): &(Node, ServerOrder)| match self.refused.get(&node.zxid) {
            Some(why) => Some((node.zxid, Some(why.clone()))),
            None => self.done.zxids.contains(&node.zxid).then_some((node.zxid, None)),
        };
        let standing = posted.values().filter_map(standing).collect();
        let board = Board { posted: Arc::clone(posted), standing };
        self.fleet.own.board.send_if_modified(|last| {
            let differs = *last != board;
            *last = board;
            differs
        });
    }
}

/// What was taken here, also by the Causeway before this one: it is not taken again, so that what a person set since then
/// stays.
struct Done {
    path: PathBuf,
    zxids: BTreeSet<i64>,
}

impl Done {
    fn load(state_dir: &Path) -> Self {
        let path = state_dir.join("fleet-orders.json");
        let read = match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| error.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error.to_string()),
        };
        let zxids = read.unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; what is ordered for the fleet is carried out again", path.display());
            BTreeSet::new()
        });
        Self { path, zxids }
    }

    fn add(&mut self, zxid: i64) {
        if self.zxids.insert(zxid) {
            self.save();
        }
    }

    fn keep(&mut self, there: &BTreeSet<i64>) {
        let before = self.zxids.len();
        self.zxids.retain(|zxid| there.contains(zxid));
        if self.zxids.len() != before {
            self.save();
        }
    }

    fn save(&self) {
        let json = serde_json::to_vec(&self.zxids).unwrap_or_default();
        if let Err(error) = replace_file(&self.path, &json, 0o600) {
            tracing::warn!("{error}; after a restart what is ordered for the fleet is carried out again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppId;

    fn order() -> ServerOrder {
        ServerOrder {
            service: ServiceId { app: AppId::new("/shop/web"), port_index: 0 },
            task: TaskId::new("shop_web.1"),
            admin: Admin::Drain,
            weight: Some(3),
            by: "ada".to_owned(),
            why: "disk".to_owned(),
            at: "2026-11-21T14:00:00.123456789Z".parse().unwrap(),
            until: "2026-11-21T14:30:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_other_is() {
        let name = order().name();
        let read = |order: &ServerOrder| ServerOrder::read(&name, &serde_json::to_vec(order).unwrap());
        assert_eq!(name, "%2Fshop%2Fweb%3A0%3Ashop_web.1");
        assert_eq!(read(&order()), Ok(order()));
        for wrong in [
            ServerOrder { task: TaskId::new("other"), ..order() },
            ServerOrder { admin: Admin::Maint, ..order() },
            ServerOrder { weight: Some(257), ..order() },
            ServerOrder { why: "a\nb".to_owned(), ..order() },
            ServerOrder { by: String::new(), ..order() },
            ServerOrder { why: "x".repeat(2_001), ..order() },
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
        assert!(ServerOrder::read("x", b"{").is_err());
    }

    #[test]
    fn what_was_carried_out_is_known_after_a_restart_as_long_as_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut done = Done::load(dir.path());
        done.add(5);
        done.add(7);
        done.keep(&[7, 8].into());
        assert_eq!(Done::load(dir.path()).zxids, [7].into());
        std::fs::write(dir.path().join("fleet-orders.json"), "[").unwrap();
        assert_eq!(Done::load(dir.path()).zxids, [].into());
    }
}
