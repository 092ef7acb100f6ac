//! Where StatsD listens.

use serde::{Deserialize, Serialize};

/// Metrics sent by StatsD's protocol over UDP, as Bamboo does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsdConfig {
    /// Whether they are sent.
    pub enabled: bool,
    /// `host:port` of the listener.
    pub host: String,
    /// What each name begins with; a `.` follows it.
    pub prefix: String,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        Self { enabled: false, host: "127.0.0.1:8125".to_owned(), prefix: "causeway".to_owned() }
    }
}

impl StatsdConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let port = self.host.rsplit_once(':').and_then(|(host, port)| {
            (!host.is_empty()).then_some(())?;
            port.parse::<u16>().ok().filter(|port| *port != 0)
        });
        if port.is_none() {
            mistakes.push(format!("statsd.host: {:?} is not HOST:PORT, as in \"127.0.0.1:8125\"", self.host));
        }
        let reserved = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '|' | '@' | '#');
        if self.prefix.contains(reserved) {
            mistakes.push(format!(
                "statsd.prefix: {:?} has a space or one of `:|@#`, which StatsD reads as its own",
                self.prefix
            ));
        }
        mistakes
    }
}
