//! The running worker: steps are carried out on it, and what it reports is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::HaproxyConfig;
use crate::haproxy::runtime::{Epoch, Reply, TransactionError, batches, command, each_line, transact};
use crate::haproxy::servers::{ServerState, StateReader, Use, parse_states, parse_use};
use crate::haproxy::{Driver, HaproxyError};
use crate::placement::{Admin, Slot};
use crate::plan::Step;
use crate::render::maps::{MapName, Maps};
use crate::render::{Block, SERVERS_MARK, Templates, Text};

/// How long one exchange may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long HAProxy may take to report every server.
const AUDIT_DEADLINE: Duration = Duration::from_secs(30);
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
    /// What a map should say cannot be rendered.
    #[error("{0}")]
    Map(std::io::Error),
    /// A new address does not show.
    #[error("{0} does not show its new address")]
    Address(String),
}

/// Where what HAProxy reports differs from what it was brought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// A server; `found` is `None` where there is none.
    Server { backend: String, server: String, found: Option<ServerState>, wanted: ServerState },
    /// An entry of a map.
    Entry { map: MapName, key: String, found: Option<String>, wanted: Option<String> },
}

impl Difference {
    pub(super) fn backend(&self) -> Option<&str> {
        match self {
            Self::Server { backend, .. } => Some(backend),
            Self::Entry { .. } => None,
        }
    }

    pub(super) fn map(&self) -> Option<MapName> {
        match self {
            Self::Server { .. } => None,
            Self::Entry { map, .. } => Some(*map),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server { backend, server, found: None, .. } => write!(f, "{backend}/{server} is missing"),
            Self::Server { backend, server, found: Some(found), wanted } => {
                write!(f, "{backend}/{server}")?;
                if found.admin != wanted.admin {
                    write!(f, " is {} instead of {}", found.admin.as_str(), wanted.admin.as_str())?;
                }
                if found.weight != wanted.weight {
                    write!(f, " has weight {} instead of {}", found.weight, wanted.weight)?;
                }
                match found.endpoint {
                    _ if found.endpoint == wanted.endpoint => Ok(()),
                    Some(endpoint) => write!(f, " points to {endpoint}"),
                    None => f.write_str(" points nowhere"),
                }
            }
            Self::Entry { map, key, found, wanted } => {
                let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
                write!(
                    f,
                    "{key} in {} leads to {} instead of {}",
                    map.file(),
                    or_none(found),
                    or_none(wanted)
                )
            }
        }
    }
}

#[derive(Clone, Debug)]
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
        let addresses = steps.iter().take_while(|step| step.sets_address()).count();
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
                Step::Address { server, endpoint } | Step::AddServer { server, endpoint, .. } => {
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
            let states = self.states(&backends).await?;
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
        backends: &BTreeSet<String>,
    ) -> Result<BTreeMap<(String, String), ServerState>, HaproxyError> {
        let lines: Vec<String> =
            backends.iter().map(|backend| format!("show servers state {backend}")).collect();
        let mut states = BTreeMap::new();
        for batch in batches(&lines) {
            states.extend(parse_states(&command(&self.socket, &batch.join(";"), DEADLINE).await?));
        }
        Ok(states)
    }

    /// Where what HAProxy reports of the servers of some backends differs from what is expected.
    pub(super) async fn differences(
        &self,
        expected: &BTreeMap<(String, String), ServerState>,
        backends: &BTreeSet<String>,
    ) -> Result<Vec<Difference>, WorkerError> {
        let states = self.states(backends).await?;
        let differs = |((backend, server), wanted): (&(String, String), &ServerState)| {
            let found = states.get(&(backend.clone(), server.clone())).copied();
            difference(backend, server, found, *wanted)
        };
        Ok(expected.iter().filter_map(differs).collect())
    }

    /// Compares everything that HAProxy reports with the text that it was brought to.
    pub(super) async fn audit(
        &self,
        text: &Text,
        maps: &[MapName],
        templates: &Templates,
    ) -> Result<Vec<Difference>, WorkerError> {
        let drawn = |block: &&std::sync::Arc<Block>| {
            block.shape.contains(SERVERS_MARK) || text.head.contains(SERVERS_MARK)
        };
        // How many of its slots HAProxy has named so far.
        let mut backends: BTreeMap<&str, (&[Slot], usize)> = text
            .blocks
            .values()
            .filter(drawn)
            .map(|block| (block.service.backend.name.as_str(), (block.slots.as_slice(), 0)))
            .collect();
        let mut differences = Vec::new();
        let mut reader = StateReader::default();
        each_line(&self.socket, "show servers state", AUDIT_DEADLINE, |line| {
            let Some((backend, server, found)) = reader.read(line) else { return };
            let Some((slots, seen)) = backends.get_mut(backend) else { return };
            let number = server.strip_prefix("slot").and_then(|number| number.parse::<usize>().ok());
            if let Some(slot) = number.and_then(|number| slots.get(number.checked_sub(1)?)) {
                *seen += 1;
                differences.extend(difference(backend, server, Some(found), ServerState::of(slot)));
            }
        })
        .await?;
        for (backend, (slots, _)) in backends.iter().filter(|(_, (slots, seen))| slots.len() != *seen) {
            for (slot, number) in slots.iter().zip(1..) {
                // Which one it is shows when it is looked at again.
                differences.extend(difference(
                    backend,
                    &format!("slot{number}"),
                    None,
                    ServerState::of(slot),
                ));
            }
        }
        for map in maps {
            differences.extend(self.map_differences(*map, &text.maps, templates).await?);
        }
        Ok(differences)
    }

    /// Where the entries of a map differ from what its file says: the operator's template may say more than the routes.
    pub(super) async fn map_differences(
        &self,
        map: MapName,
        maps: &Maps,
        templates: &Templates,
    ) -> Result<Vec<Difference>, WorkerError> {
        let mut file = Vec::new();
        templates.map(maps, map, &mut file).map_err(WorkerError::Map)?;
        let file = String::from_utf8_lossy(&file);
        let answer = command(&self.socket, &format!("show map {}", map.file()), DEADLINE).await?;
        let pair = |line: &'_ str| {
            let (key, value) = line.trim().split_once(' ')?;
            (!key.starts_with('#')).then(|| (key.to_owned(), value.trim().to_owned()))
        };
        let expected: BTreeMap<String, String> = file.lines().filter_map(pair).collect();
        let entries: BTreeMap<String, String> =
            answer.lines().filter_map(|line| pair(line.split_once(' ')?.1)).collect();
        let keys: BTreeSet<&String> = expected.keys().chain(entries.keys()).collect();
        let differs = keys.into_iter().filter(|key| expected.get(*key) != entries.get(*key));
        let difference = |key: &String| {
            let (found, wanted) = (entries.get(key).cloned(), expected.get(key).cloned());
            Difference::Entry { map, key: key.clone(), found, wanted }
        };
        Ok(differs.map(difference).collect())
    }

    /// What still uses the servers of some backends.
    pub(super) async fn usage(
        &self,
        backends: &BTreeSet<String>,
    ) -> Result<BTreeMap<(String, String), Use>, HaproxyError> {
        let lines: Vec<String> = backends.iter().map(|backend| format!("show stat {backend} 4 -1")).collect();
        let mut usage = BTreeMap::new();
        for batch in batches(&lines) {
            usage.extend(parse_use(&command(&self.socket, &batch.join(";"), DEADLINE).await?));
        }
        Ok(usage)
    }
}

fn difference(
    backend: &str,
    server: &str,
    found: Option<ServerState>,
    wanted: ServerState,
) -> Option<Difference> {
    let same = found.is_some_and(|found| {
        // Where a server in maintenance points to matters only once it is used.
        let same_place = wanted.admin == Admin::Maint || found.endpoint == wanted.endpoint;
        found.admin == wanted.admin && found.weight == wanted.weight && same_place
    });
    let name = |name: &str| name.to_owned();
    (!same).then(|| Difference::Server { backend: name(backend), server: name(server), found, wanted })
}
