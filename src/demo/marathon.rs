//! A stand-in for Mesosphere's Marathon: the REST API, the event stream and real listening tasks in one process.
//!
//! It speaks the form of one Marathon version at a time ([`Profile`]); what is posted in another version's form is
//! converted. Faults are switched over HTTP under `/standin`.

mod admin;
mod canonical;
mod check;
mod clock;
mod core;
mod counters;
mod definition;
mod deployment;
mod events;
mod faults;
mod form;
mod group;
mod health;
mod lifecycle;
mod network;
mod plan;
mod profile;
mod proxy;
mod readiness;
mod render;
mod reply;
mod routes;
mod server;
mod service_ports;
mod state;
mod storm;
mod streams;
mod task_server;
mod update;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use profile::{Profile, UnknownProfile};

use self::core::Core;

/// How a stand-in is to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the REST API listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Which Marathon version's wire forms are spoken.
    pub profile: Profile,
    /// The first address given to a task; every task gets the next free one of `127.0.0.0/8`.
    pub task_network: Ipv4Addr,
    /// The host port of a task's first port, the second port is one higher and so on; 0 picks free ports.
    pub first_task_port: u16,
    /// How long a task goes on serving after TASK_KILLING. Mesos's default is 3 s.
    pub kill_grace: Duration,
    /// The pause between two heartbeats of an event stream. Jetty's default is 10 s.
    pub heartbeat: Duration,
    /// The time from TASK_STAGING to TASK_RUNNING.
    pub start_delay: Duration,
    /// User and password of Basic authentication, which guards every path but `/standin`.
    pub credentials: Option<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            profile: Profile::default(),
            task_network: Ipv4Addr::new(127, 10, 0, 1),
            first_task_port: 31000,
            kill_grace: Duration::from_secs(3),
            heartbeat: Duration::from_secs(10),
            start_delay: Duration::from_millis(50),
            credentials: None,
        }
    }
}

/// Why a stand-in could not start or take an app.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the REST API could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The first address for tasks is outside `127.0.0.0/8`.
    #[error("task network {0} is not in 127.0.0.0/8")]
    TaskNetwork(Ipv4Addr),
    /// An app given to [`StandIn::create_apps`] was refused.
    #[error("app refused: {0}")]
    App(String),
    /// What was given to [`StandIn::publish`] is not an object with an `eventType`.
    #[error("an event is a JSON object with an eventType")]
    Event,
}

/// A running stand-in; dropping it closes all its sockets and ends all its tasks.
pub struct StandIn {
    core: Arc<Core>,
}

impl StandIn {
    /// Binds the REST API and starts to serve.
    pub async fn start(options: Options) -> Result<Self, Error> {
        if options.task_network.octets()[0] != 127 {
            return Err(Error::TaskNetwork(options.task_network));
        }
        let address = options.listen;
        let listen = |source| Error::Listen { address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let core = Core::new(options, bound);
        core.tracker.spawn(server::accept(core.clone(), listener));
        Ok(Self { core })
    }

    /// The address the REST API listens on.
    pub fn address(&self) -> SocketAddr {
        self.core.address
    }

    /// The URL of the REST API, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.core.address)
    }

    /// Creates apps whose tasks run at once: no deployment, one `group_change_success` for all of them.
    ///
    /// An app that is already there keeps its tasks and gets the new definition's missing ones.
    pub async fn create_apps(&self, apps: Vec<Value>) -> Result<(), Error> {
        update::create_running(&self.core, apps).await.map_err(|refusal| Error::App(refusal.to_string()))
    }

    /// Publishes an event as given to every open stream; `timestamp` is added when absent.
    pub fn publish(&self, event: Value) -> Result<(), Error> {
        self.core.bus.publish_raw(event).then_some(()).ok_or(Error::Event)
    }

    /// Stops serving and waits until all sockets are closed.
    pub async fn shutdown(self) {
        self.core.stop();
        self.core.tracker.wait().await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.core.stop();
    }
}
