//! What people order through the API, carried out between two rounds.

use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::Reconciler;
use super::desired::Happened;
use crate::history::{Done, How};
use crate::model::{ServiceId, TaskId};
use crate::placement::{Admin, ByHand, WEIGHT};

/// Orders that wait; more are refused.
const WAITING: usize = 16;

/// What a person orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A server is to take no new requests, or to take them again, or another share of them.
    Server {
        /// The service.
        service: ServiceId,
        /// The task.
        task: TaskId,
        /// Whether it takes requests.
        admin: Admin,
        /// Its weight; `None` leaves it as it is, and with [`Admin::Ready`] takes back what was set.
        weight: Option<u32>,
        /// Who.
        by: String,
        /// What for.
        why: String,
        /// Where it was ordered for every node; `None`: for this one, for `haproxy.by_hand_timeout` from now on.
        fleet: Option<FleetWide>,
    },
    /// Definitions, template and rules are to be those of an earlier generation.
    Rollback {
        /// The generation.
        generation: u64,
        /// Who.
        by: String,
        /// What for.
        why: String,
    },
    /// They are to be those of today again.
    Release {
        /// Who.
        by: String,
        /// What for.
        why: String,
    },
}

/// What is known of an order for every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetWide {
    /// When it was ordered.
    pub since: SystemTime,
    /// Until when it holds.
    pub until: SystemTime,
    /// Nothing is changed: it is asked whether it can be, and whether HAProxy has what is desired of the server.
    pub ask: bool,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// What it names is not there.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit how things stand.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be done now.
    #[error("{0}")]
    Unavailable(String),
    /// It is taken; HAProxy does not have it yet, and is brought there like to anything else that is desired.
    #[error("HAProxy does not have it yet; it is tried again, see the log")]
    NotYet,
}

/// An order, and whom to tell what became of it.
#[derive(Debug)]
pub struct Ordered {
    order: Order,
    answer: oneshot::Sender<Result<(), OrderError>>,
}

/// Gives orders; clones give them to the same reconciler.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<Ordered>);

impl Orders {
    /// A way for orders, and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Ordered>) {
        let (orders, received) = mpsc::channel(WAITING);
        (Self(orders), received)
    }

    /// Gives an order, and waits for what becomes of it.
    ///
    /// # Errors
    /// Why it was not carried out.
    pub async fn give(&self, order: Order) -> Result<(), OrderError> {
        let (answer, answered) = oneshot::channel();
        let gone = || OrderError::Unavailable("Causeway is busy or ends; try again".to_owned());
        self.0.try_send(Ordered { order, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Reconciler {
    /// Carries out an order, and tells what became of it once HAProxy has it.
    pub(super) async fn obey(&mut self, ordered: Ordered) {
        let result = match ordered.order {
            _ if !self.ready => Err(OrderError::Unavailable(
                "not every source has told all it knows yet; try again".to_owned(),
            )),
            Order::Server { service, task, admin, weight, by, why, fleet } => {
                self.set_server(&service, &task, admin, weight, (by, why), fleet).await
            }
            Order::Rollback { generation, by, why } => self.roll_back(generation, by, why).await,
            Order::Release { by, why } => self.release(by, why).await,
        };
        self.publish();
        // Whoever asked may be gone.
        let _gone = ordered.answer.send(result);
    }

    async fn set_server(
        &mut self,
        service: &ServiceId,
        task: &TaskId,
        admin: Admin,
        weight: Option<u32>,
        (by, why): (String, String),
        fleet: Option<FleetWide>,
    ) -> Result<(), OrderError> {
        let timeout = self.config.by_hand_timeout;
        if timeout.is_zero() {
            let words = "haproxy.by_hand_timeout is 0: nothing that is set by hand is kept";
            return Err(OrderError::Conflict(words.to_owned()));
        }
        let now = SystemTime::now();
        let (since, until) = fleet.map_or((now, now + timeout), |fleet| (fleet.since, fleet.until));
        let (ask, fleet) = (fleet.is_some_and(|fleet| fleet.ask), fleet.is_some());
        let (index, differs) = self.desired.order_server(service, task, |occupant| {
            if ask {
                return occupant.by_hand.as_deref().cloned();
            }
            let before = occupant.by_hand.as_ref().map_or(WEIGHT, |set| set.weight);
            let weight = weight.unwrap_or(if admin == Admin::Ready { WEIGHT } else { before });
            let is_plain = admin == Admin::Ready && weight == WEIGHT;
            let (by, why) = (Some(by.clone()), Some(why.clone()));
            (!is_plain).then_some(ByHand { admin, weight, since, until, by, why, fleet })
        })?;
        // To put back what was never taken out here is no change.
        if differs || !fleet {
            let of = if fleet { " for the fleet" } else { "" };
            tracing::info!(app.id = %service, task.id = %task, "{by} sets {} on slot{}{of}: {why}", admin.as_str(), index + 1);
            let task_id = task.to_string();
            let shown = weight.unwrap_or(WEIGHT);
            let what = format!("{service}: {task_id} is set to {} by hand{of}", admin.as_str());
            let how = How::Server { task: task_id, state: admin, weight: shown, by, why, fleet };
            let happened = [Happened { service: service.clone(), what }];
            self.outside.history.note(Done { happened: &happened, ..Done::by(how) });
            self.round().await;
        }
        if self.desired.is_brought(service, index) { Ok(()) } else { Err(OrderError::NotYet) }
    }
}
