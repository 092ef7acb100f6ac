//! The rule stores against a real ZooKeeper (Debian's package), one node and three, also while it breaks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "rules_store/access.rs"]
mod access;
#[path = "rules_store/bridged.rs"]
mod bridged;
#[path = "bridge/browser.rs"]
#[allow(dead_code, reason = "the browser of the bridge's own tests, of which this needs a part")]
mod browser;
#[path = "rules_store/ensemble.rs"]
mod ensemble;
#[path = "rules_store/faults.rs"]
mod faults;
#[path = "rules_store/fleet.rs"]
mod fleet;
#[path = "rules_store/fleet_pages.rs"]
mod fleet_pages;
#[path = "rules_store/layout.rs"]
mod layout;
#[path = "rules_store/proxy.rs"]
mod proxy;
#[path = "rules_store/rest.rs"]
mod rest;
#[path = "bridge/stage.rs"]
#[allow(dead_code, reason = "the stage of the bridge's own tests, of which this needs a part")]
mod stage;
