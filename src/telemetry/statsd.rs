//! Metrics by StatsD's protocol: one metric a packet, as Bamboo sends them. Nobody waits for them, and they never fail
//! anything: what cannot be sent is dropped and counted.

use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::panic::RefUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cadence::prelude::*;
use cadence::{MetricSink, QueuingMetricSink, StatsdClient};
use prometheus_client::metrics::counter::Counter;

use crate::config::StatsdConfig;

/// Packets that may wait while a name is looked up.
const QUEUE: usize = 4096;
/// How long an address is used before its name is looked up again: listeners move.
const RESOLVE: Duration = Duration::from_secs(60);
/// How long a name without an address is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Sends to one listener; a thread of its own looks names up and sends.
#[derive(Debug)]
pub(super) struct Statsd {
    client: StatsdClient,
    dropped: Counter,
}

impl Statsd {
    /// `None` where it is switched off. Looks nothing up yet.
    pub(super) fn new(config: &StatsdConfig, dropped: Counter) -> Option<Self> {
        if !config.enabled {
            return None;
        }
        let udp = Udp { host: config.host.clone(), dropped: dropped.clone(), way: Mutex::default() };
        let queue = QueuingMetricSink::with_capacity(udp, QUEUE);
        Some(Self { client: StatsdClient::from_sink(&config.prefix, queue), dropped })
    }

    pub(super) fn count(&self, name: &str, count: u64) {
        self.note(self.client.count(name, count).is_ok());
    }

    pub(super) fn time(&self, name: &str, took: Duration) {
        self.note(self.client.time(name, u64::try_from(took.as_millis()).unwrap_or(u64::MAX)).is_ok());
    }

    pub(super) fn gauge(&self, name: &str, value: u64) {
        self.note(self.client.gauge(name, value).is_ok());
    }

    fn note(&self, queued: bool) {
        if !queued {
            self.dropped.inc();
        }
    }
}

/// The sending end, in the thread of the queue: a name that is looked up for long holds up nobody but it.
struct Udp {
    host: String,
    dropped: Counter,
    way: Mutex<Way>,
}

impl RefUnwindSafe for Udp {}

/// How to reach the listener, as far as it is known.
#[derive(Default)]
struct Way {
    socket: Option<UdpSocket>,
    resolve_at: Option<Instant>,
    complained: bool,
}

impl MetricSink for Udp {
    fn emit(&self, metric: &str) -> io::Result<usize> {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        if way.resolve_at.is_none_or(|at| at <= Instant::now()) {
            self.resolve(&mut way);
        }
        let Some(socket) = &way.socket else {
            self.dropped.inc();
            return Ok(0);
        };
        // A port that nobody listens on answers to the packet before: that is no reason to stop.
        socket.send(metric.as_bytes()).or_else(|_| socket.send(metric.as_bytes())).or_else(|_| {
            self.dropped.inc();
            Ok(0)
        })
    }
}

impl Udp {
    fn resolve(&self, way: &mut Way) {
        match connect(&self.host) {
            Ok(socket) => {
                if std::mem::take(&mut way.complained) {
                    tracing::info!(statsd.host = self.host, "StatsD has an address again");
                }
                way.socket = Some(socket);
                way.resolve_at = Some(Instant::now() + RESOLVE);
            }
            Err(error) => {
                if !std::mem::replace(&mut way.complained, true) {
                    tracing::warn!(
                        statsd.host = self.host,
                        "StatsD cannot be sent to ({error}); its metrics are dropped and it is tried again, all else goes \
                         on; check statsd.host"
                    );
                }
                // The address that it had is better than none.
                way.resolve_at = Some(Instant::now() + TRY_AGAIN);
            }
        }
    }
}

fn connect(host: &str) -> io::Result<UdpSocket> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let address = host.to_socket_addrs()?.next().ok_or_else(missing)?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: String) -> StatsdConfig {
        StatsdConfig { enabled: true, host, prefix: "bamboo-server.production.".to_owned() }
    }

    #[test]
    fn each_metric_is_a_packet_under_the_prefix_with_one_dot() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let statsd = Statsd::new(&config(host), Counter::default()).unwrap();
        statsd.count("restart", 1);
        statsd.time("haproxy.reload.marathon.duration", Duration::from_millis(73));
        statsd.gauge("services", 7);
        let mut packets = Vec::new();
        for _ in 0..3 {
            let mut buffer = [0; 512];
            let length = listener.recv(&mut buffer).unwrap();
            packets.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(
            packets,
            [
                "bamboo-server.production.restart:1|c",
                "bamboo-server.production.haproxy.reload.marathon.duration:73|ms",
                "bamboo-server.production.services:7|g",
            ]
        );
    }

    #[test]
    fn a_host_that_does_not_exist_or_does_not_listen_costs_nothing_but_the_metrics() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        for host in ["statsd.invalid:8125".to_owned(), silent] {
            let dropped = Counter::default();
            let statsd = Statsd::new(&config(host.clone()), dropped.clone()).unwrap();
            let begun = Instant::now();
            for _ in 0..3 * QUEUE {
                statsd.count("callback.marathon", 1);
            }
            assert!(begun.elapsed() < Duration::from_secs(1), "{host}: nobody waits");
            let deadline = Instant::now() + Duration::from_secs(20);
            while host.contains("invalid") && dropped.get() == 0 {
                assert!(Instant::now() < deadline, "{host}: what is lost is counted");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn switched_off_it_is_not_there() {
        assert!(Statsd::new(&StatsdConfig::default(), Counter::default()).is_none());
    }
}
