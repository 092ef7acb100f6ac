//! The running worker: steps are carried out on it, and what it reports is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::HaproxyConfig;
use crate::haproxy::runtime::{Client, Entry, Epoch, Features, MapError, Replaced, Reply, TransactionError};
use crate::haproxy::servers::{ServerState, StateReader, Use, parse_states, parse_uses};
use crate::haproxy::{Driver, HaproxyError};
use crate::placement::{Admin, Slot};
use crate::plan::{ServerName, Step};
use crate::render::maps::{MapName, Maps};
use crate::render::{Block, SERVERS_MARK, Templates, Text};

/// How long one exchange may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long HAProxy may take to report every server.
const AUDIT_DEADLINE: Duration = Duration::from_secs(30);
/// How often a new address is looked for before a slot is made ready: newer versions set it after their answer.
const LOOKS: usize = 50;
/// More entries of one map than this are not changed one by one.
const MANY_ENTRIES: usize = 500;
/// The keys and values of a map.
type Pairs = Vec<(String, String)>;
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// The pause between two questions who answers, after a reload.
const HANDOVER: Duration = Duration::from_millis(10);
/// Answers of the new worker, one after the other, after which the old one is taken to take no connections any more.
const IN_A_ROW: usize = 3;
/// What HAProxy reports of servers, by backend and name.
type States = BTreeMap<(String, String), ServerState>;

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
    /// A map was not replaced.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What a map should say cannot be rendered.
    #[error("{0}")]
    Template(std::io::Error),
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

    /// Whether it is of this server, and HAProxy has one of its name.
    pub(super) fn is_found(&self, of_backend: &str, name: &str) -> bool {
        matches!(self, Self::Server { backend, server, found: Some(_), .. } if backend == of_backend && server == name)
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

/// What became of steps.
#[derive(Debug, Default)]
pub(super) struct CarriedOut {
    /// The servers that HAProxy refused to take away: they may be in use yet, and nothing else depends on it.
    pub(super) refused: Vec<ServerName>,
    /// What it said of the servers of the backends that were touched, right behind the last step.
    states: States,
}

#[derive(Clone, Debug)]
pub(super) struct Worker {
    client: Arc<Client>,
}

impl CarriedOut {
    /// Whether every server was as expected right behind the last step.
    pub(super) fn is_as(&self, expected: &States) -> bool {
        differences(expected, &self.states).is_empty()
    }
}

impl Worker {
    pub(super) fn new(config: &HaproxyConfig) -> Self {
        let client = Client::new(config.socket.clone(), Some(config.master_socket.clone()), DEADLINE);
        Self { client: Arc::new(client) }
    }

    /// Which worker answers; `None` where none does, or HAProxy is not ours to change.
    pub(super) async fn epoch(&self, driver: &Driver) -> Option<Epoch> {
        let Driver::Managed(_) = driver else { return None };
        let info = self.client.info().await?;
        Some(Epoch { pid: info.pid, generation: info.generation? })
    }

    /// The worker that has loaded a generation; another one, where none has that answers. After a reload the old worker
    /// still takes connections for a moment, beside the new one: who answers is asked until it is the new one again and
    /// again.
    pub(super) async fn epoch_of(&self, driver: &Driver, generation: u64) -> Option<Epoch> {
        let (mut last, mut in_a_row) = (None, 0);
        for _ in 0..LOOKS {
            last = self.epoch(driver).await;
            in_a_row =
                if last.is_some_and(|epoch| epoch.generation == generation) { in_a_row + 1 } else { 0 };
            if last.is_none() || in_a_row == IN_A_ROW {
                break;
            }
            tokio::time::sleep(HANDOVER).await;
        }
        last
    }

    /// What the worker can do that serves.
    pub(super) async fn features(&self) -> Result<Features, HaproxyError> {
        self.client.features().await
    }

    /// Replaces a certificate, or authorities, that the worker has loaded.
    pub(super) async fn replace_certificate(
        &self,
        epoch: Epoch,
        name: &str,
        pem: &str,
    ) -> Result<Replaced, TransactionError> {
        self.client.replace_certificate(epoch, name, pem).await
    }

    /// Carries out sorted steps: addresses first, and the rest when they show. Where many entries of one map change it is
    /// replaced at once, by what `after` says of it.
    pub(super) async fn carry_out(
        &self,
        epoch: Epoch,
        steps: &[Step],
        after: impl FnOnce(MapName) -> Result<Pairs, WorkerError> + Copy,
    ) -> Result<CarriedOut, WorkerError> {
        let addresses = steps.iter().take_while(|step| step.sets_address()).count();
        let (addresses, rest) = steps.split_at(addresses);
        let begun = self.transact(epoch, addresses).await?;
        self.await_addresses(addresses, begun.states).await?;
        let up = rest.iter().take_while(|step| step.comes_before_routes()).count();
        let (up, rest) = rest.split_at(up);
        let of_map = |map: &MapName| rest.iter().filter(|step| step.map() == Some(*map)).count();
        let replaced: Vec<MapName> =
            MapName::ALL.into_iter().filter(|map| of_map(map) > MANY_ENTRIES).collect();
        if replaced.is_empty() {
            let together: Vec<Step> = up.iter().chain(rest).cloned().collect();
            return self.transact(epoch, &together).await;
        }
        self.transact(epoch, up).await?;
        for map in &replaced {
            let pairs = after(*map)?;
            let entries = pairs.iter().map(|(key, value)| Entry::new(key, value));
            let entries: Vec<Entry<'_>> = entries.collect::<Result<_, _>>().map_err(MapError::from)?;
            self.client.replace_map(epoch, map.file(), entries).await?;
        }
        let one_by_one = |step: &&Step| step.map().is_none_or(|map| !replaced.contains(&map));
        let rest: Vec<Step> = rest.iter().filter(one_by_one).cloned().collect();
        self.transact(epoch, &rest).await
    }

    /// Drains servers in a worker that is being replaced.
    pub(super) async fn drain_in(&self, old: Epoch, steps: &[Step]) -> Result<(), WorkerError> {
        let commands: Vec<String> = steps.iter().map(Step::command).collect();
        Ok(self.client.tell_process(old.pid, &commands).await?)
    }

    /// Carries out steps, and asks in the same breath how the servers are that they touched.
    async fn transact(&self, epoch: Epoch, steps: &[Step]) -> Result<CarriedOut, WorkerError> {
        if steps.is_empty() {
            return Ok(CarriedOut::default());
        }
        let mut refused = Vec::new();
        for step in steps {
            if let Some((key, value)) = step.entry() {
                // Whatever it came from: it never becomes a command of its own.
                Entry::new(key, value).map_err(MapError::from)?;
            }
        }
        let commands: Vec<String> = steps.iter().map(Step::command).collect();
        let backends: BTreeSet<&str> =
            steps.iter().filter_map(|step| Some(step.server()?.backend.as_str())).collect();
        let questions: Vec<String> = backends.into_iter().map(states_of).collect();
        let (replies, told) = self.client.transact_and_ask(epoch, &commands, &questions).await?;
        for ((step, command), reply) in steps.iter().zip(commands).zip(replies) {
            match (step, reply) {
                // What is to be gone is gone already.
                (Step::RemoveRoute { .. } | Step::RemoveServer { .. }, reply) if reply.is_absent() => {}
                (Step::RemoveServer { server }, Reply::Refused(words)) => {
                    tracing::debug!("`{command}`: HAProxy said {words:?}; it is tried again");
                    refused.push(server.clone());
                }
                (_, Reply::Refused(words) | Reply::Unknown(words)) => {
                    return Err(WorkerError::Refused { command, words });
                }
                (_, Reply::Done) => {}
            }
        }
        Ok(CarriedOut { refused, states: parse_states(&told) })
    }

    /// Waits until new addresses show; `states` is what showed right behind the commands.
    async fn await_addresses(&self, addresses: &[Step], mut states: States) -> Result<(), WorkerError> {
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
            let absent = wanted.iter().find(|(name, endpoint)| {
                states.get(name).is_none_or(|state| state.endpoint != Some(*endpoint))
            });
            match absent {
                None => return Ok(()),
                Some(((backend, server), _)) => missing = format!("{backend}/{server}"),
            }
            tokio::time::sleep(LOOK).await;
            states = self.states(&backends).await?;
        }
        Err(WorkerError::Address(missing))
    }

    async fn states(&self, backends: &BTreeSet<String>) -> Result<States, HaproxyError> {
        let lines: Vec<String> = backends.iter().map(|backend| states_of(backend)).collect();
        Ok(parse_states(&self.client.ask_many(&lines).await?))
    }

    /// Where what HAProxy reports of the servers of some backends differs from what is expected.
    pub(super) async fn differences(
        &self,
        expected: &States,
        backends: &BTreeSet<String>,
    ) -> Result<Vec<Difference>, WorkerError> {
        Ok(differences(expected, &self.states(backends).await?))
    }

    /// Compares everything that HAProxy reports with the text that it was brought to.
    pub(super) async fn audit(
        &self,
        text: &Text,
        maps: &[MapName],
        templates: &Templates,
    ) -> Result<Vec<Difference>, WorkerError> {
        let drawn =
            |block: &&Arc<Block>| block.shape.contains(SERVERS_MARK) || text.head.contains(SERVERS_MARK);
        let most = text.spares.values().map(|spare| spare.slots).max().unwrap_or(0);
        let free = vec![Slot::Free; most];
        let spares = text.spares.iter().map(|(name, spare)| (&**name, &free[..spare.slots], false));
        let blocks = text.blocks.values().filter(drawn);
        let blocks = blocks.map(|block| {
            let backend = &block.service.backend;
            (backend.name.as_str(), block.slots.as_slice(), text.is_dynamic(backend))
        });
        // How many of its servers HAProxy has not named yet.
        let count = |slots: &[Slot], dynamic: bool| {
            slots.iter().filter(|slot| !dynamic || **slot != Slot::Free).count()
        };
        let mut backends: BTreeMap<&str, (&[Slot], bool, usize)> = blocks
            .chain(spares)
            .map(|(name, slots, dynamic)| (name, (slots, dynamic, count(slots, dynamic))))
            .collect();
        let mut differences = Vec::new();
        let mut reader = StateReader::default();
        let question = "show servers state";
        let read = |line: &str| {
            let Some((backend, server, found)) = reader.read(line) else { return };
            let Some((slots, dynamic, unseen)) = backends.get_mut(backend) else { return };
            let number = server.strip_prefix("slot").and_then(|number| number.parse::<usize>().ok());
            if let Some(slot) = number.and_then(|number| slots.get(number.checked_sub(1)?)) {
                *unseen = unseen.saturating_sub(count(std::slice::from_ref(slot), *dynamic));
                differences.extend(difference(backend, server, Some(found), ServerState::of(slot)));
            }
        };
        self.client.ask_for_lines(question, AUDIT_DEADLINE, read).await?;
        for (backend, (slots, dynamic, _)) in backends.iter().filter(|(_, (.., unseen))| *unseen > 0) {
            let there = |(slot, _): &(&Slot, usize)| count(std::slice::from_ref(*slot), *dynamic) > 0;
            for (slot, number) in slots.iter().zip(1..).filter(there) {
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

    /// Where the entries of a map differ from what its file says.
    pub(super) async fn map_differences(
        &self,
        map: MapName,
        maps: &Maps,
        templates: &Templates,
    ) -> Result<Vec<Difference>, WorkerError> {
        let expected: BTreeMap<String, String> = pairs(map, maps, templates)?.into_iter().collect();
        let answer = self.client.ask(&format!("show map {}", map.file())).await?;
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
        Ok(parse_uses(&self.client.ask_many(&lines).await?))
    }
}

/// The keys and values of a map, as its file says them: the operator's template may say more than the routes.
pub(super) fn pairs(map: MapName, maps: &Maps, templates: &Templates) -> Result<Pairs, WorkerError> {
    let mut file = Vec::new();
    templates.map(maps, map, &mut file).map_err(WorkerError::Template)?;
    Ok(String::from_utf8_lossy(&file).lines().filter_map(pair).collect())
}

fn pair(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().split_once(' ')?;
    (!key.starts_with('#')).then(|| (key.to_owned(), value.trim().to_owned()))
}

fn states_of(backend: &str) -> String {
    format!("show servers state {backend}")
}

fn differences(expected: &States, states: &States) -> Vec<Difference> {
    let differs = |(name, wanted): (&(String, String), &ServerState)| {
        difference(&name.0, &name.1, states.get(name).copied(), *wanted)
    };
    expected.iter().filter_map(differs).collect()
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
