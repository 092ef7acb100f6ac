//! The rule stores against a real ZooKeeper (Debian's package), one node and three, also while it breaks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "rules_store/access.rs"]
mod access;
#[path = "rules_store/ensemble.rs"]
mod ensemble;
#[path = "rules_store/faults.rs"]
mod faults;
#[path = "rules_store/layout.rs"]
mod layout;
#[path = "rules_store/proxy.rs"]
mod proxy;
