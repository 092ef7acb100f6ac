//! When each source was last heard; its age is worked out when somebody asks.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Where apps and rules come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Marathon: its events, its heartbeat, and what was read.
    Marathon,
    /// The store of rules.
    Rules,
}

impl Source {
    pub(super) const ALL: [Self; 2] = [Self::Marathon, Self::Rules];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Marathon => "marathon",
            Self::Rules => "rules",
        }
    }
}

#[derive(Debug)]
pub(super) struct Sources {
    since: Instant,
    each: [OneSource; Source::ALL.len()],
}

#[derive(Debug, Default)]
struct OneSource {
    /// Milliseconds after `since`, plus one; 0: never.
    heard: AtomicU64,
    connected: AtomicBool,
    ready: AtomicBool,
}

impl Sources {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), each: Default::default() }
    }

    fn one(&self, source: Source) -> &OneSource {
        match source {
            Source::Marathon => &self.each[0],
            Source::Rules => &self.each[1],
        }
    }

    pub(super) fn heard(&self, source: Source) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.one(source).heard.store(now + 1, Ordering::Relaxed);
    }

    pub(super) fn connected(&self, source: Source, connected: bool) {
        self.one(source).connected.store(connected, Ordering::Relaxed);
    }

    pub(super) fn ready(&self, source: Source) {
        self.one(source).ready.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_connected(&self, source: Source) -> bool {
        self.one(source).connected.load(Ordering::Relaxed)
    }

    pub(super) fn is_ready(&self, source: Source) -> bool {
        self.one(source).ready.load(Ordering::Relaxed)
    }

    /// How long ago the source was heard; `None`: never.
    pub(super) fn age(&self, source: Source) -> Option<Duration> {
        let heard = self.one(source).heard.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since.elapsed().saturating_sub(Duration::from_millis(heard)))
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Seconds since the source was last heard.";
        let mut family = encoder.encode_descriptor("source_age_seconds", help, None, MetricType::Gauge)?;
        for source in Source::ALL {
            if let Some(age) = self.age(source) {
                one(&mut family, source, age.as_secs_f64())?;
            }
        }
        let help = "1 where the source is connected.";
        let mut family = encoder.encode_descriptor("source_connected", help, None, MetricType::Gauge)?;
        for source in Source::ALL {
            one(&mut family, source, u32::from(self.is_connected(source)))?;
        }
        Ok(())
    }
}

fn one(family: &mut MetricEncoder<'_>, source: Source, value: impl EncodeGaugeValue) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(&[("source", source.name())])?)
}
