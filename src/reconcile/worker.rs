//! The running worker: steps are carried out on it, and what it reports is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::HaproxyConfig;
use crate::haproxy::runtime::{Epoch, Reply, TransactionError, command, transact};
use crate::haproxy::servers::{Admin, ServerState, Use, parse_states, parse_use};
use crate::haproxy::{Driver, HaproxyError};
use crate::plan::Step;
use crate::render::maps::MapName;

/// How long one exchange may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a new address is looked for before a slot is made ready: newer versions set it after their answer.
const LOOKS: usize = 50;
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// A step that was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    /// The exchange failed.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// A socket failed.
    #[error(transparent)]
    Socket(#[from] HaproxyError),
    /// HAProxy refused a command, or said what is not known here.
    #[error("`{command}`: HAProxy said {words:?}")]
    Refused {
        /// The command.
        command: String,
        /// Its words.
        words: String,
    },
    /// A new address does not show.
    #[error("{0} does not show its new address")]
    Address(String),
}

#[derive(Debug)]
pub(super) struct Worker {
    socket: PathBuf,
}

impl Worker {
    pub(super) fn new(config: &HaproxyConfig) -> Self {
        Self { socket: config.socket.clone() }
    }

    /// Which worker answers; `None` where none does, or HAProxy is not ours to change.
    pub(super) async fn epoch(&self, driver: &Driver) -> Option<Epoch> {
        let Driver::Managed(managed) = driver else { return None };
        let info = managed.info().await?;
        Some(Epoch { pid: info.pid, generation: info.generation? })
    }

    /// Carries out sorted steps: addresses first, and the rest when they show.
    pub(super) async fn carry_out(&self, epoch: Epoch, steps: &[Step]) -> Result<(), WorkerError> {
        let addresses = steps.iter().take_while(|step| matches!(step, Step::Address { .. })).count();
        let (addresses, rest) = steps.split_at(addresses);
        self.transact(epoch, addresses).await?;
        self.await_addresses(addresses).await?;
        self.transact(epoch, rest).await
    }

    async fn transact(&self, epoch: Epoch, steps: &[Step]) -> Result<(), WorkerError> {
        if steps.is_empty() {
            return Ok(());
        }
        let commands: Vec<String> = steps.iter().map(Step::command).collect();
        let replies = transact(&self.socket, epoch, &commands, DEADLINE).await?;
        for (command, reply) in commands.into_iter().zip(replies) {
            if let Reply::Refused(words) | Reply::Unknown(words) = reply {
                // What is to be gone is gone already.
                if command.starts_with("del map ") && words.contains("not found") {
                    continue;
                }
                return Err(WorkerError::Refused { command, words });
            }
        }
        Ok(())
    }

    async fn await_addresses(&self, addresses: &[Step]) -> Result<(), WorkerError> {
        let wanted: Vec<_> = addresses
            .iter()
            .filter_map(|step| match step {
                Step::Address { server, endpoint } => {
                    Some(((server.backend.clone(), format!("slot{}", server.slot)), *endpoint))
                }
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let backends: BTreeSet<String> = wanted.iter().map(|((backend, _), _)| backend.clone()).collect();
        let mut missing = String::new();
        for _ in 0..LOOKS {
            let states = self.states(Some(&backends)).await?;
            let absent = wanted.iter().find(|(name, endpoint)| {
                states.get(name).is_none_or(|state| state.endpoint != Some(*endpoint))
            });
            match absent {
                None => return Ok(()),
                Some(((backend, server), _)) => missing = format!("{backend}/{server}"),
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(WorkerError::Address(missing))
    }

    async fn states(
        &self,
        backends: Option<&BTreeSet<String>>,
    ) -> Result<BTreeMap<(String, String), ServerState>, HaproxyError> {
        let line = match backends {
            None => "show servers state".to_owned(),
            Some(backends) => joined(backends, |backend| format!("show servers state {backend}")),
        };
        Ok(parse_states(&command(&self.socket, &line, DEADLINE).await?))
    }

    /// Where what HAProxy reports differs from what is expected, in words.
    pub(super) async fn differences(
        &self,
        expected: &BTreeMap<(String, String), ServerState>,
        backends: Option<&BTreeSet<String>>,
    ) -> Result<Vec<String>, HaproxyError> {
        let states = self.states(backends).await?;
        let mut differences = Vec::new();
        for ((backend, server), wanted) in expected {
            let name = || format!("{backend}/{server}");
            match states.get(&(backend.clone(), server.clone())) {
                None => differences.push(format!("{} is missing", name())),
                Some(state) if state.admin != wanted.admin => {
                    differences.push(format!(
                        "{} is {:?} instead of {:?}",
                        name(),
                        state.admin,
                        wanted.admin
                    ));
                }
                Some(state) if state.admin != Admin::Maint && state.endpoint != wanted.endpoint => {
                    differences.push(format!("{} points to {:?}", name(), state.endpoint));
                }
                Some(_) => {}
            }
        }
        Ok(differences)
    }

    /// Where the entries of maps differ from what is expected, in words.
    pub(super) async fn map_differences(
        &self,
        expected: &BTreeMap<MapName, BTreeMap<&str, &str>>,
    ) -> Result<Vec<String>, HaproxyError> {
        let mut differences = Vec::new();
        for (map, expected) in expected {
            let answer = command(&self.socket, &format!("show map {}", map.file()), DEADLINE).await?;
            let entry = |line: &'_ str| -> Option<(String, String)> {
                let (key, value) = line.split_once(' ')?.1.split_once(' ')?;
                Some((key.to_owned(), value.to_owned()))
            };
            let entries: BTreeMap<String, String> = answer.lines().filter_map(entry).collect();
            let same = entries
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .eq(expected.iter().map(|(k, v)| (*k, *v)));
            if !same {
                differences.push(format!("other entries in {}", map.file()));
            }
        }
        Ok(differences)
    }

    /// What still uses the servers of some backends.
    pub(super) async fn usage(
        &self,
        backends: &BTreeSet<String>,
    ) -> Result<BTreeMap<(String, String), Use>, HaproxyError> {
        let mut usage = BTreeMap::new();
        for backend in backends {
            let answer = command(&self.socket, &format!("show stat {backend} 4 -1"), DEADLINE).await?;
            usage.extend(
                parse_use(&answer).into_iter().map(|(server, used)| ((backend.clone(), server), used)),
            );
        }
        Ok(usage)
    }
}

fn joined(backends: &BTreeSet<String>, line: impl Fn(&String) -> String) -> String {
    backends.iter().map(line).collect::<Vec<_>>().join(";")
}
