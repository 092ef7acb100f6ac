//! How it stands with everything, for `/status` and `/readyz`.

use serde::Serialize;

use super::{Metrics, Source};

/// How it stands, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Causeway's version.
    pub version: &'static str,
    /// Whether every source has told all it knows, and HAProxy was brought there once.
    pub ready: bool,
    /// What is missing until then, in words.
    pub waits_for: Vec<&'static str>,
    /// Where apps and rules come from.
    pub sources: Vec<SourceStanding>,
    /// HAProxy, when it was looked at last (`haproxy.stats_interval`).
    pub haproxy: HaproxyStanding,
    /// The last round; `None` before the first.
    pub last_round: Option<Round>,
    /// Apps that are known.
    pub apps: usize,
    /// Services that are served.
    pub services: usize,
    /// How much is wrong with single apps.
    pub problems: usize,
}

/// One source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStanding {
    /// `marathon` or `rules`.
    pub name: &'static str,
    /// Whether it has told all it knows once.
    pub ready: bool,
    /// Whether it is connected now.
    pub connected: bool,
    /// Seconds since it was last heard; `None`: never.
    pub age_seconds: Option<f64>,
}

/// HAProxy.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HaproxyStanding {
    /// Whether its runtime socket answers.
    pub up: bool,
    /// Its version.
    pub version: Option<String>,
    /// The generation that its worker has loaded.
    pub generation: Option<u64>,
    /// Workers that take connections.
    pub workers: usize,
    /// Workers of before, which only finish what they have.
    pub old_workers: usize,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoundKind {
    /// Nothing was to do.
    Noop,
    /// The running worker was changed.
    Runtime,
    /// A new generation runs.
    Reload,
    /// It did not get through.
    Failed,
}

/// A round.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// What it came to.
    pub kind: RoundKind,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// How long ago it ended, in seconds.
    pub age_seconds: f64,
}

impl Metrics {
    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let sources = &self.0.sources;
        let known = self.known();
        let mut waits_for = Vec::new();
        if !sources.is_ready(Source::Marathon) {
            waits_for.push("Marathon has not told its apps yet; see the log and marathon.endpoints");
        }
        if !sources.is_ready(Source::Rules) {
            waits_for.push("the rules have not been read yet; see the log and rules.file");
        }
        if !known.brought {
            waits_for.push("HAProxy has not been brought to what is desired yet; see the log");
        } else if known.watched && !known.haproxy.up {
            waits_for.push("HAProxy does not answer; it is started again if it is gone, see the log");
        }
        let of = |source: Source| SourceStanding {
            name: source.name(),
            ready: sources.is_ready(source),
            connected: sources.is_connected(source),
            age_seconds: sources.age(source).map(|age| age.as_secs_f64()),
        };
        Standing {
            version: env!("CARGO_PKG_VERSION"),
            ready: waits_for.is_empty(),
            waits_for,
            sources: Source::ALL.map(of).into(),
            haproxy: known.haproxy.clone(),
            last_round: known.last_round.map(|(at, kind, took)| Round {
                kind,
                took_seconds: took.as_secs_f64(),
                age_seconds: at.elapsed().as_secs_f64(),
            }),
            apps: known.counts.apps,
            services: known.counts.services,
            problems: known.problems(),
        }
    }
}
