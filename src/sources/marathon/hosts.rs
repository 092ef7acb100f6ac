//! Addresses of the agents that registered with a name.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

const FRESH: Duration = Duration::from_secs(60);
/// How long a failed look-up is not tried again, so that one dead name does not slow every read.
const FAILED: Duration = Duration::from_secs(5);
const ONE_LOOKUP: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The last address known; it outlives failing look-ups.
    address: Option<IpAddr>,
    again_at: Instant,
    failed: bool,
}

/// A cache of look-ups: an address holds 60 s, and after that until a newer one is found.
#[derive(Debug, Default)]
pub(crate) struct Hosts(Mutex<HashMap<Box<str>, Entry>>);

impl Hosts {
    /// Looks up what is not known or no longer fresh: all names together, and for no longer than `budget`, from which
    /// the time spent is taken.
    pub(crate) async fn look_up(&self, names: HashSet<Box<str>>, budget: &mut Duration) {
        let now = Instant::now();
        let due: Vec<Box<str>> = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names
                .into_iter()
                .filter(|name| known.get(name).is_none_or(|entry| entry.again_at <= now))
                .collect()
        };
        let mut missing: HashSet<Box<str>> = due.iter().cloned().collect();
        let mut found = stream::iter(due).map(look_up_one).buffer_unordered(AT_ONCE);
        let deadline = now + *budget;
        while let Ok(Some((name, address))) = tokio::time::timeout_at(deadline, found.next()).await {
            missing.remove(&name);
            self.remember(name, address);
        }
        for name in missing {
            self.remember(name, None);
        }
        *budget = budget.saturating_sub(now.elapsed());
    }

    fn remember(&self, name: Box<str>, address: Option<IpAddr>) {
        let failed = address.is_none();
        let again_at = Instant::now() + if failed { FAILED } else { FRESH };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(&name).and_then(|entry| entry.address);
        known.insert(name, Entry { address: address.or(before), again_at, failed });
    }

    /// The last address known for this name.
    pub(crate) fn address(&self, name: &str) -> Option<IpAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.address
    }

    /// Whether the last look-up of this name failed.
    pub(crate) fn failed(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).is_some_and(|entry| entry.failed)
    }
}

async fn look_up_one(name: Box<str>) -> (Box<str>, Option<IpAddr>) {
    let addresses = tokio::time::timeout(ONE_LOOKUP, tokio::net::lookup_host((&*name, 0))).await;
    let address =
        addresses.ok().and_then(Result::ok).and_then(|found| preferred(found.map(|found| found.ip())));
    (name, address)
}

fn preferred(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = addresses.collect();
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

/// Looks up one name without a runtime, in its own thread, because a look-up cannot be broken off.
pub(crate) fn look_up_blocking(name: &str) -> Option<IpAddr> {
    use std::net::ToSocketAddrs as _;
    let (tx, rx) = std::sync::mpsc::channel();
    let owned = name.to_owned();
    std::thread::spawn(move || {
        let found = (owned.as_str(), 0).to_socket_addrs().ok();
        // The receiver is gone when the look-up took too long.
        let _ = tx.send(found.and_then(|found| preferred(found.map(|found| found.ip()))));
    });
    rx.recv_timeout(ONE_LOOKUP).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_version_4_is_preferred() {
        let found = ["::1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        assert_eq!(preferred(found.into_iter()), Some("10.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn looking_up_takes_no_longer_than_its_budget() {
        let hosts = Hosts::default();
        let mut budget = Duration::ZERO;
        hosts.look_up(HashSet::from(["agent.invalid".into()]), &mut budget).await;
        assert!(hosts.failed("agent.invalid") && hosts.address("agent.invalid").is_none());
    }

    #[tokio::test]
    async fn a_name_that_fails_keeps_its_last_address() {
        let hosts = Hosts::default();
        hosts.remember("agent.invalid".into(), Some("10.0.0.9".parse().unwrap()));
        hosts.remember("agent.invalid".into(), None);
        assert_eq!(hosts.address("agent.invalid"), Some("10.0.0.9".parse().unwrap()));
        assert!(hosts.failed("agent.invalid"));
    }
}
