//! The bridge as a user meets it: apps go into Marathon's API over a socket, requests go through a real HAProxy, and the
//! answer names the task that gave it.

mod external;
mod labels;
mod rules_file;
mod rules_that_hold;
mod serving;
mod stage;
