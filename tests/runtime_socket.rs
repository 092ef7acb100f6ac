//! The client of HAProxy's sockets: the same conversations with a real HAProxy, and with recordings of this version and of
//! newer ones; and what a socket does that is no conversation at all.
//!
//! To record again: `CAUSEWAY_RECORD=tests/transcripts HAPROXY=/path/to/haproxy cargo test --test runtime_socket recorded`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the stage of a test may panic as its tests may")]

#[path = "runtime_socket/conversations.rs"]
mod conversations;
#[path = "runtime_socket/fake.rs"]
mod fake;
#[path = "runtime_socket/faults.rs"]
mod faults;
#[path = "runtime_socket/haproxy.rs"]
mod haproxy;
#[path = "runtime_socket/real.rs"]
mod real;
#[path = "runtime_socket/transcript.rs"]
mod transcript;
