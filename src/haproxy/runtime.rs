//! Commands on HAProxy's sockets (management guide, sections 9.3 and 9.4): which worker is spoken to, what it is told, and
//! what each of its answers means.
//!
//! Every exchange has a connection of its own: a kept one stays with the old worker after a reload, which goes on saying
//! yes to what nobody serves from any more.

mod certificates;
mod client;
mod exchange;
mod features;
mod info;
mod maps;
mod reply;

pub use certificates::Replaced;
pub use client::{Client, TransactionError};
pub use exchange::command;
pub use features::Features;
pub use info::{Epoch, Info, Processes};
pub use maps::{Entry, EntryError, MapError};
pub use reply::Reply;
