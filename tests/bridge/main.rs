//! The bridge as a user meets it: apps go into Marathon's API over a socket, requests go through a real HAProxy, and the
//! answer names the task that gave it.

#![allow(clippy::unwrap_used, reason = "the stage of a test may panic as its tests may")]

mod api;
mod api_writes;
mod asked;
mod browser;
mod claims;
mod dynamic;
mod external;
mod faults;
mod labels;
mod labels_each;
mod labels_live;
mod leaving;
mod marathon_lb;
mod metrics;
mod pages;
mod pages_rules;
mod peers;
mod raw;
mod raw_each;
mod recovery;
mod rest_rules;
mod rule_2;
mod rules_cli;
mod rules_file;
mod rules_meaning;
mod rules_that_hold;
mod rules_trial;
mod runtime;
mod serving;
mod shown;
mod stage;
mod tls;
mod why;
