//! What this process costs, under the names that every exporter gives it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the process's figures whenever somebody asks.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970.
    started: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: now.as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cpu = ConstCounter::new(cpu_time().as_secs_f64());
        let help = "CPU time of the process, user and system.";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
        let mut gauge = |name: &str, help: &str, value: f64| {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        if let Some(kilobytes) = resident_kilobytes() {
            gauge("process_resident_memory_bytes", "Resident memory of the process.", kilobytes * 1024.0)?;
        }
        gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            self.started,
        )?;
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            let open = u32::try_from(files.count()).unwrap_or(u32::MAX);
            gauge("process_open_fds", "Open files of the process.", open.into())?;
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let limit = u32::try_from(soft).unwrap_or(u32::MAX);
            gauge("process_max_fds", "The limit of open files.", limit.into())?;
        }
        Ok(())
    }
}

/// CPU time of this process so far, user and system.
pub(crate) fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// `VmRSS` of proc(5).
pub(crate) fn resident_kilobytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
