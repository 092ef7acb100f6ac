//! What Causeway tells of itself: its log and its metrics.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

mod last_hour;
pub mod metrics;
pub(crate) mod process;
mod statsd;

pub use last_hour::LastHour;
pub use metrics::Metrics;

/// Starts logging to standard error. A second start in one process changes nothing.
///
/// # Errors
/// The level is not one.
pub fn start_log(config: &LogConfig) -> Result<(), tracing_subscriber::filter::ParseError> {
    // Its retries are ours, and so are the words about them.
    let filter =
        EnvFilter::try_new(format!("eventsource_client=error,zookeeper_client=off,{}", config.level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A log that somebody else started in this process stays.
    let _already_started = match config.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}
