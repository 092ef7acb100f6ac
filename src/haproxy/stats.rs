//! What HAProxy counts for each service (`show stat`, management guide 9.1), under the name of the app.
//!
//! A backend's own name does not always say whose it is: a new app may borrow a spare one. So the names are looked up in
//! [`Backends`], which whoever changes HAProxy keeps.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use csv::{ByteRecord, ReaderBuilder};

use super::HaproxyError;
use super::runtime::{Info, Processes, command};
use crate::config::HaproxyConfig;
use crate::model::ServiceId;
use crate::telemetry::Metrics;

mod servers;

pub use servers::{ServerFigures, parse_servers};

/// How long HAProxy may be silent within an answer; with 10,000 backends the whole of it takes a tenth of a second.
const SILENCE: Duration = Duration::from_secs(5);

/// Which backend serves which service now. A handle; clones share the table.
#[derive(Clone, Debug, Default)]
pub struct Backends(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    owners: HashMap<Arc<str>, ServiceId>,
    names: HashMap<ServiceId, Arc<str>>,
}

impl Backends {
    /// Notes the backend that serves a service from now on; `None` where no backend does. What was noted of the service
    /// before is forgotten.
    pub fn set(&self, service: &ServiceId, backend: Option<&str>) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = table.names.get(service).map(AsRef::as_ref) == backend;
        if same && backend.is_none_or(|name| table.owners.get(name) == Some(service)) {
            return;
        }
        if let Some(before) = table.names.remove(service)
            && table.owners.get(&before) == Some(service)
        {
            table.owners.remove(&before);
        }
        if let Some(name) = backend {
            let name: Arc<str> = name.into();
            table.owners.insert(Arc::clone(&name), service.clone());
            table.names.insert(service.clone(), name);
        }
    }

    /// Whose a backend is.
    #[must_use]
    pub fn owner(&self, backend: &str) -> Option<ServiceId> {
        self.read().owners.get(backend).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What HAProxy has counted for one backend since its worker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// False where no server can take a request.
    pub up: bool,
    /// Servers that take requests, backups among them.
    pub servers_up: u64,
    /// Requests that wait for a server.
    pub queued: u64,
    /// Sessions under way.
    pub sessions: u64,
    /// Sessions in all.
    pub sessions_total: u64,
    /// Requests; 0 for TCP.
    pub requests_total: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Connections to servers that failed.
    pub connection_errors: u64,
    /// Answers of servers that failed.
    pub response_errors: u64,
    /// Connections that were tried again.
    pub retries: u64,
    /// Requests that went to another server after all.
    pub redispatches: u64,
    /// Answers by status: 1xx to 5xx, and others; `None` for TCP.
    pub responses: Option<[u64; 6]>,
}

/// How much a service has to do, between the last two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Requests a second; connections for TCP.
    pub requests: f64,
    /// Answers 5xx a second; failed connections and answers for TCP.
    pub errors: f64,
}

impl Figures {
    /// Requests, or connections for TCP, and how many of them went wrong.
    fn work(&self) -> [u64; 2] {
        match self.responses {
            Some([.., failed, _]) => [self.requests_total, failed],
            None => [self.sessions_total, self.connection_errors + self.response_errors],
        }
    }

    /// The rates since what was counted before; a worker that started meanwhile counts anew.
    fn rates(&self, before: &Self, seconds: f64) -> Option<Rates> {
        let grown = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let [requests, errors] = [0, 1].map(|at| grown(self.work()[at], before.work()[at]));
        let a_second = |count: u64| Some(f64::from(u32::try_from(count).ok()?) / seconds);
        (seconds > 0.0).then_some(())?;
        Some(Rates { requests: a_second(requests)?, errors: a_second(errors)? })
    }
}

/// Orders figures by their service, and works out their rates from those of before, which are so ordered.
pub fn rate(figures: &mut [ServiceFigures], before: &[ServiceFigures], seconds: f64) {
    figures.sort_by(|one, other| one.service.cmp(&other.service));
    for each in figures {
        let old = before.binary_search_by(|old| old.service.cmp(&each.service)).ok();
        each.rates = old.and_then(|at| each.figures.rates(&before.get(at)?.figures, seconds));
    }
}

/// The figures of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceFigures {
    /// The service.
    pub service: ServiceId,
    /// The backend that serves it.
    pub backend: Arc<str>,
    /// What HAProxy counts for it.
    pub figures: Figures,
    /// How much it has to do; `None` before it was looked at twice.
    pub rates: Option<Rates>,
}

/// What is wrong with an answer to `show stat`.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// It cannot be read to its end.
    #[error("{socket}: the figures cannot be read: {cause}")]
    Read {
        /// The socket's path.
        socket: String,
        /// Why.
        cause: csv::Error,
    },
    /// The socket does not answer.
    #[error(transparent)]
    Socket(#[from] HaproxyError),
    /// A column that is needed is not there.
    #[error("HAProxy's figures have no column {0}")]
    Column(&'static str),
}

/// Where the columns are that are read.
struct Columns {
    proxy: usize,
    name: usize,
    status: usize,
    numbers: [usize; NUMBERS.len()],
    responses: [usize; RESPONSES.len()],
}

const NUMBERS: [&str; 12] =
    ["act", "bck", "qcur", "scur", "stot", "req_tot", "bin", "bout", "econ", "eresp", "wretr", "wredis"];
const RESPONSES: [&str; 6] = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];

impl Columns {
    fn of(header: &ByteRecord) -> Result<Self, StatsError> {
        let find = |name: &'static str| {
            let plain = |field: &[u8]| field.strip_prefix(b"# ").unwrap_or(field) == name.as_bytes();
            header.iter().position(plain).ok_or(StatsError::Column(name))
        };
        let mut numbers = [0; NUMBERS.len()];
        for (column, name) in numbers.iter_mut().zip(NUMBERS) {
            *column = find(name)?;
        }
        let mut responses = [0; RESPONSES.len()];
        for (column, name) in responses.iter_mut().zip(RESPONSES) {
            *column = find(name)?;
        }
        Ok(Self {
            proxy: find("pxname")?,
            name: find("svname")?,
            status: find("status")?,
            numbers,
            responses,
        })
    }

    fn figures(&self, row: &ByteRecord) -> Figures {
        let number = |column: usize| {
            let text = row.get(column).and_then(|field| std::str::from_utf8(field).ok());
            text.and_then(|text| text.parse::<u64>().ok())
        };
        let [act, bck, queued, sessions, sessions_total, requests_total, bytes_in, bytes_out, rest @ ..] =
            self.numbers.map(|column| number(column).unwrap_or(0));
        let [connection_errors, response_errors, retries, redispatches] = rest;
        let counted = self.responses.map(number);
        Figures {
            up: row.get(self.status).is_some_and(|status| status.starts_with(b"UP")),
            servers_up: act + bck,
            queued,
            sessions,
            sessions_total,
            requests_total,
            bytes_in,
            bytes_out,
            connection_errors,
            response_errors,
            retries,
            redispatches,
            responses: counted.iter().any(Option::is_some).then(|| counted.map(Option::unwrap_or_default)),
        }
    }
}

/// Reads the answer to `show stat`, a line at a time, and keeps the backends that somebody has.
///
/// # Errors
/// It cannot be read, or is not such an answer.
pub fn parse(answer: impl Read, backends: &Backends) -> Result<Vec<ServiceFigures>, StatsError> {
    let unreadable = |cause| StatsError::Read { socket: "show stat".to_owned(), cause };
    let mut lines = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(answer);
    let mut row = ByteRecord::new();
    lines.read_byte_record(&mut row).map_err(unreadable)?;
    let columns = Columns::of(&row)?;
    let mut all = Vec::with_capacity(backends.read().owners.len());
    while lines.read_byte_record(&mut row).map_err(unreadable)? {
        if row.get(columns.name) != Some(b"BACKEND") {
            continue;
        }
        let name = row.get(columns.proxy).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        // Held for one look only: whoever changes HAProxy must not wait for a slow answer.
        let known = backends.read().owners.get_key_value(name).map(|(name, id)| (name.clone(), id.clone()));
        if let Some((backend, service)) = known {
            all.push(ServiceFigures { service, backend, figures: columns.figures(&row), rates: None });
        }
    }
    Ok(all)
}

/// Asks a worker for the figures of all its backends. Blocks.
fn ask(socket: &Path, backends: &Backends) -> Result<Vec<ServiceFigures>, StatsError> {
    let connect = || {
        use std::io::Write as _;
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        // Any proxy, only its backend, any server.
        stream.write_all(b"show stat -1 2 -1\n")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        Ok::<_, std::io::Error>(stream)
    };
    let failed = |error: std::io::Error| HaproxyError::Socket {
        socket: socket.display().to_string(),
        what: error.to_string(),
    };
    parse(connect().map_err(failed)?, backends).map_err(|error| match error {
        StatsError::Read { cause, .. } => StatsError::Read { socket: socket.display().to_string(), cause },
        other => other,
    })
}

/// Looks at HAProxy every `haproxy.stats_interval`, and tells the metrics: its processes, and the figures of each
/// service. Never ends; a HAProxy that does not answer is looked at again.
pub async fn follow(config: HaproxyConfig, metrics: Metrics) {
    let mut ticks = tokio::time::interval(config.stats_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let info = command(&config.socket, "show info", SILENCE).await.ok();
        let info = info.and_then(|answer| Info::parse(&answer));
        let processes = command(&config.master_socket, "show proc", SILENCE).await.ok();
        let processes = processes.and_then(|answer| Processes::parse(&answer));
        let alive = info.is_some();
        metrics.haproxy_seen(info.as_ref(), processes.as_ref());
        if !alive {
            metrics.service_figures(Vec::new());
            continue;
        }
        let (socket, backends): (PathBuf, _) = (config.socket.clone(), metrics.backends().clone());
        match tokio::task::spawn_blocking(move || ask(&socket, &backends)).await {
            Ok(Ok(figures)) => metrics.service_figures(figures),
            Ok(Err(error)) => tracing::debug!("{error}; the figures of before are shown"),
            Err(error) => tracing::warn!(
                "the figures of HAProxy could not be taken in ({error}); they are asked for again"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
