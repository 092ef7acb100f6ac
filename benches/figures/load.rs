//! wrk, and what it counted.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{Process, Result, signal};

const SCRIPT: &str = include_str!("load.lua");

/// How wrk uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Request after request on each.
    Keep,
    /// One request on each.
    Close,
    /// As [`Way::Keep`], for one host, as fast as it can, without comparing the answers.
    Flat,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Close => "close",
            Self::Flat => "flat",
        }
    }
}

/// How wrk asks.
pub(crate) struct Load<'a> {
    pub(crate) target: SocketAddr,
    pub(crate) hosts: &'a [String],
    pub(crate) way: Way,
    pub(crate) connections: usize,
    /// Before each request of a connection.
    pub(crate) pause: Duration,
}

/// A running wrk.
pub(crate) struct Wrk(Process);

/// What wrk counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted(HashMap<String, u64>);

impl Wrk {
    /// Starts it, its script in `dir`; it goes on until it is told to stop, or this time is over.
    pub(crate) fn start(dir: &Path, load: &Load<'_>, longest: Duration) -> Result<Self> {
        let script = dir.join("load.lua");
        // One that started before may still be reading it.
        if !script.exists() {
            std::fs::write(&script, SCRIPT)?;
        }
        let mut command = Command::new("wrk");
        command
            .args(["-t1", &format!("-c{}", load.connections), &format!("-d{}s", longest.as_secs()), "-s"])
            .arg(&script)
            .arg(format!("http://{}/", load.target))
            .args(["--", load.way.name(), &load.pause.as_millis().to_string()])
            .args(load.hosts)
            .stdout(Stdio::piped());
        Ok(Self(Process::spawn(&mut command)?))
    }

    /// Tells it to stop, and reads what it counted.
    pub(crate) async fn stop(self) -> Result<Counted> {
        signal(self.0.pid(), Signal::SIGINT)?;
        self.counted().await
    }

    /// Waits until its time is over, and reads what it counted.
    pub(crate) async fn counted(mut self) -> Result<Counted> {
        tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            self.0.0.stdout.take().ok_or("wrk has no output")?.read_to_string(&mut said)?;
            self.0.0.wait()?;
            let figures = said.lines().find_map(|line| line.strip_prefix("FIGURES "));
            let figures = figures.ok_or_else(|| format!("wrk did not count: {said}"))?;
            let pairs = figures.split(' ').filter_map(|pair| pair.split_once('='));
            let counts = pairs.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
            Ok(Counted(counts.collect()))
        })
        .await?
    }
}

impl Counted {
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Requests that got no good answer.
    pub(crate) fn failed(&self) -> u64 {
        ["connect", "read", "write", "status", "timeout"].iter().map(|name| self.get(name)).sum()
    }

    pub(crate) fn describe(&self) -> String {
        let kinds = ["connect", "read", "write", "status", "timeout"];
        let failed: Vec<String> = kinds
            .iter()
            .filter(|kind| self.get(kind) > 0)
            .map(|kind| format!("{kind} {}", self.get(kind)))
            .collect();
        let which = if failed.is_empty() { String::new() } else { format!(" ({})", failed.join(", ")) };
        let (requests, p99) = (self.get("requests"), self.get("p99_us") as f64 / 1e3);
        format!("{}{which} of {requests}, p99 {p99:.1} ms", self.failed())
    }
}
