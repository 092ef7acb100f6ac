//! HAProxy: its sockets, its process, its generations on disk.

pub mod certificates;
pub mod check;
pub mod external;
pub mod generations;
pub mod inquiry;
mod log_lines;
pub mod managed;
pub mod runtime;
pub mod servers;
pub mod service_ports;
pub mod stats;
pub mod trial;

use std::time::Duration;

pub use certificates::Certificates;
pub use check::CheckFailure;
pub use external::External;
pub use generations::{Generation, Generations};
pub use managed::Managed;

use crate::durable::FileError;
use crate::render::Files;

/// What went wrong with HAProxy.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// The program cannot be started at all.
    #[error("{program} cannot be run: {cause}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        cause: std::io::Error,
    },
    /// HAProxy does not take the configuration.
    #[error("HAProxy refuses the configuration: {0}")]
    Check(#[from] CheckFailure),
    /// The configuration is good, but HAProxy does not start with it.
    #[error("HAProxy does not start with {generation}: {words}")]
    Start {
        /// The generation.
        generation: String,
        /// HAProxy's own words, and what they mean.
        words: String,
        /// The lines that tell what is wrong.
        failure: CheckFailure,
    },
    /// The reload was done, but no new worker came up.
    #[error("HAProxy did not reload to {generation}: {words}")]
    Reload {
        /// The generation.
        generation: String,
        /// HAProxy's own words, and what they mean.
        words: String,
        /// The lines that tell what is wrong.
        failure: CheckFailure,
    },
    /// A socket gave no answer.
    #[error("{socket}: {what}")]
    Socket {
        /// The socket's path.
        socket: String,
        /// What happened.
        what: String,
    },
    /// A command of the operator failed.
    #[error("{key} ({command}): {what}")]
    Command {
        /// The key it is configured by.
        key: &'static str,
        /// The command.
        command: String,
        /// What happened.
        what: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The HAProxy that is driven, whoever runs it.
#[derive(Debug)]
pub enum Driver {
    /// Causeway runs it.
    Managed(Box<Managed>),
    /// The operator does.
    External(Box<External>),
}

impl Driver {
    /// What runs now: the files of the generation that the running HAProxy says it has loaded; `None` where nothing runs
    /// or what runs is not known.
    pub async fn observe(&mut self) -> Option<(u64, Files)> {
        match self {
            Self::Managed(managed) => managed.observe().await,
            Self::External(external) => external.observe(),
        }
    }

    /// Lets HAProxy check a generation that is not current yet.
    ///
    /// # Errors
    /// [`HaproxyError::Check`] with HAProxy's words; others where the check itself could not be made.
    pub async fn check(&self, generation: &Generation) -> Result<(), HaproxyError> {
        match self {
            Self::Managed(managed) => managed.check(generation).await,
            Self::External(external) => external.check(generation).await,
        }
    }

    /// Makes a checked generation the running one: a start or a seamless reload, proven. After an error what was current
    /// before is current again.
    ///
    /// # Errors
    /// What did not work, in HAProxy's words.
    pub async fn apply(&mut self, generation: &Generation) -> Result<Applied, HaproxyError> {
        match self {
            Self::Managed(managed) => managed.apply(generation).await,
            Self::External(external) => external.apply(generation).await,
        }
    }

    /// Whether HAProxy can be reached; `true` where that is not ours to know.
    pub async fn is_alive(&mut self) -> bool {
        match self {
            Self::Managed(managed) => managed.is_alive().await,
            Self::External(_) => true,
        }
    }

    /// The generations on disk.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        match self {
            Self::Managed(managed) => managed.generations(),
            Self::External(external) => external.generations(),
        }
    }
}

/// How a generation became the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// HAProxy was started.
    Started {
        /// How long it took until the worker answered.
        took: Duration,
    },
    /// HAProxy was reloaded, and a new worker answers.
    Reloaded {
        /// How long it took until the new worker answered.
        took: Duration,
    },
}
