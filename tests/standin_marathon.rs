//! The stand-in Marathon on the wire: forms, events, deployments, health, faults.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails the test")]

#[path = "standin_marathon/bench.rs"]
mod bench;
#[path = "standin_marathon/deployments.rs"]
mod deployments;
#[path = "standin_marathon/events.rs"]
mod events;
#[path = "standin_marathon/faults.rs"]
mod faults;
#[path = "standin_marathon/forms.rs"]
mod forms;
#[path = "standin_marathon/tasks.rs"]
mod tasks;
