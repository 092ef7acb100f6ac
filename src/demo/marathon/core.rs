//! What all parts of the stand-in share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Options;
use super::clock::Clock;
use super::counters::Counters;
use super::events::Bus;
use super::faults::FaultBoard;
use super::network::Network;
use super::profile::Profile;
use super::state::State;

/// Checks in flight; more would only queue in the kernel.
const CHECKS_AT_ONCE: usize = 256;

/// The shared parts: state behind one lock, the bus, the tasks' network.
pub(super) struct Core {
    pub(super) options: Options,
    pub(super) address: SocketAddr,
    pub(super) clock: Clock,
    pub(super) bus: Bus,
    pub(super) network: Network,
    pub(super) faults: FaultBoard,
    pub(super) counters: Counters,
    pub(super) checks: Semaphore,
    pub(super) tracker: TaskTracker,
    pub(super) ended: CancellationToken,
    state: Mutex<State>,
}

impl Core {
    pub(super) fn new(options: Options, address: SocketAddr) -> Arc<Self> {
        let clock = Clock::default();
        let state = State { version: clock.version(), ..State::default() };
        let tracker = TaskTracker::new();
        let ended = CancellationToken::new();
        Arc::new(Self {
            bus: Bus::new(options.profile),
            network: Network::new(&options, tracker.clone(), ended.clone()),
            options,
            address,
            clock,
            faults: FaultBoard::default(),
            counters: Counters::default(),
            checks: Semaphore::new(CHECKS_AT_ONCE),
            tracker,
            ended,
            state: Mutex::new(state),
        })
    }

    pub(super) fn profile(&self) -> Profile {
        self.options.profile
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` until it ends or the stand-in does.
    pub(super) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = work => {}
                () = ended.cancelled() => {}
            }
        });
    }

    pub(super) fn stop(&self) {
        self.ended.cancel();
        self.tracker.close();
    }
}
