//! Marathon as a source of apps: its event stream says what changed, its REST API says what is true.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

mod auth;
mod backoff;
mod callback;
mod cluster;
mod convert;
mod error;
mod events;
mod follower;
mod hosts;
mod http;
mod inbox;
mod list;
mod pending;
mod reader;
mod schedule;
mod since;
mod status;
mod stream;
mod wire;

pub use error::MarathonError;
pub use status::MarathonStatus;

use self::cluster::Cluster;
use self::follower::Follower;
use self::http::Http;
use self::list::{Record, records_of_file};
use self::pending::Pending;
use self::reader::Reader;
use self::status::Reporter;
use super::{Refresh, SourceMessage};
use crate::config::MarathonConfig;
use crate::model::{App, AppId, Problem, ProblemKind, TaskId};
use crate::telemetry::Metrics;

/// The apps of one answer with what is wrong with some of them.
pub type AppsAndProblems<A> = (Vec<A>, Vec<(AppId, Vec<Problem>)>);

/// Follows the Marathons of one cluster, 0.11 … 1.11.
pub struct Marathon {
    config: MarathonConfig,
    reader: Reader,
    reporter: Reporter,
    served_before: HashSet<TaskId>,
}

impl Marathon {
    /// Prepares the connections. Reads the files of the configuration (certificates, secrets), and no network.
    ///
    /// `served_before` are the tasks that HAProxy served when this program last ran: an unknown health of theirs
    /// counts as healthy until Marathon says otherwise. `metrics` count what is heard and read.
    ///
    /// # Errors
    /// A file that cannot be read or used, or an endpoint that is no URL.
    pub fn new(
        config: &MarathonConfig,
        served_before: HashSet<TaskId>,
        metrics: Metrics,
    ) -> Result<Self, MarathonError> {
        let reporter = Reporter::new(metrics);
        let http = Arc::new(Http::new(config, reporter.clone())?);
        Ok(Self { config: config.clone(), reader: Reader::new(http), reporter, served_before })
    }

    /// Keeps these variables of apps too; all but a few are dropped while they are read, they may hold secrets.
    #[must_use]
    pub fn keeping(mut self, variables: &[String]) -> Self {
        self.reader.variables = variables.into();
        self
    }

    /// How it stands with Marathon; the handle outlives [`Self::follow`]. The time of the last event changes without
    /// a notification.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<MarathonStatus> {
        self.reporter.subscribe()
    }

    /// Follows until the receiver of `events` is gone. A Marathon that fails is asked again, and nothing is told
    /// until it answers: what was told before stays true.
    pub async fn follow(self, events: mpsc::Sender<SourceMessage>, refresh: Refresh) {
        let Self { config, reader, reporter, served_before } = self;
        Follower::new(&config, reader, reporter, served_before, events).run(&config, refresh).await;
    }

    /// Reads everything once, from the first endpoint that answers.
    ///
    /// # Errors
    /// What the last endpoint failed with, if none answers.
    pub async fn read_all(&mut self) -> Result<AppsAndProblems<Arc<App>>, MarathonError> {
        let mut attempts = self.reader.http.endpoint_count();
        loop {
            attempts -= 1;
            let mut cluster = Cluster::new(self.served_before.clone());
            let began = cluster.next_moment();
            match self.reader.all(&cluster.all()).await {
                Ok(readings) => {
                    let snapshot = cluster.commit(readings, began, Instant::now()).unwrap_or_default();
                    return Ok((snapshot.apps, snapshot.problems));
                }
                Err(error) if attempts == 0 => return Err(error),
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }
}

/// Reads Marathon's JSON from a file: `{"apps":[…]}`, `{"app":{…}}`, a list of apps, a group with its groups, or one
/// app. Agents that registered with a name are looked up, which may take two seconds for each name.
///
/// # Errors
/// [`MarathonError::Body`] if it is not JSON, or not of these forms. An app that cannot be understood is no error but
/// a problem, and the others are given.
pub fn parse_apps(json: &[u8]) -> Result<AppsAndProblems<App>, MarathonError> {
    let failed = |error: serde_json::Error| MarathonError::Body {
        url: "the file".to_owned(),
        cause: error.to_string(),
    };
    let records = records_of_file(json).map_err(failed)?;
    let mut apps = Vec::new();
    let mut problems: Vec<(AppId, Vec<Problem>)> = Vec::new();
    let mut addresses = std::collections::HashMap::<String, Option<IpAddr>>::new();
    for record in records {
        let pending = match record {
            Record::App(wire) => Pending::of(*wire, &pending::KnownApps::default()),
            Record::Wrong(id, problem) => {
                problems.push((id, vec![problem]));
                continue;
            }
        };
        let names: HashSet<String> = pending.hosts().map(str::to_owned).collect();
        for name in &names {
            addresses.entry(name.clone()).or_insert_with(|| hosts::look_up_blocking(name));
        }
        let app = pending.build(&|name| addresses.get(name).copied().flatten()).app;
        let mut without: Vec<_> = names.into_iter().filter(|name| addresses[name].is_none()).collect();
        without.sort();
        if !without.is_empty() {
            let message = format!("the agents {} have no address", without.join(", "));
            let problem = Problem::of(&app.id, ProblemKind::Host, message, "their tasks get no requests");
            problems.push((app.id.clone(), vec![problem]));
        }
        apps.push(app);
    }
    Ok((apps, problems))
}
