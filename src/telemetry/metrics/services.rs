//! The figures of each service, under the name of its app: piece by piece, so that those of 10,000 services are never one
//! text in memory.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder};
use prometheus_client::encoding::{EncodeLabel, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::haproxy::stats::{Figures, ServiceFigures};

/// What a family shows of the figures.
enum Value {
    Gauge(fn(&Figures) -> u64),
    Counter(fn(&Figures) -> u64),
    /// One counter a class of status; none for TCP.
    Responses,
}

struct ServiceFamily {
    name: &'static str,
    help: &'static str,
    value: Value,
}

const fn family(name: &'static str, help: &'static str, value: Value) -> ServiceFamily {
    ServiceFamily { name, help, value }
}

const FAMILIES: [ServiceFamily; 13] = [
    family(
        "service_up",
        "1 where a server of the service takes requests.",
        Value::Gauge(|it| u64::from(it.up)),
    ),
    family("service_servers_up", "Servers that take requests.", Value::Gauge(|it| it.servers_up)),
    family("service_queued_requests", "Requests that wait for a server.", Value::Gauge(|it| it.queued)),
    family("service_sessions_current", "Sessions under way.", Value::Gauge(|it| it.sessions)),
    family("service_sessions", "Sessions.", Value::Counter(|it| it.sessions_total)),
    family("service_requests", "Requests; 0 for TCP.", Value::Counter(|it| it.requests_total)),
    family("service_responses", "Answers by class of their status.", Value::Responses),
    family("service_received_bytes", "Bytes from clients.", Value::Counter(|it| it.bytes_in)),
    family("service_sent_bytes", "Bytes to clients.", Value::Counter(|it| it.bytes_out)),
    family(
        "service_connection_errors",
        "Connections to servers that failed.",
        Value::Counter(|it| it.connection_errors),
    ),
    family(
        "service_response_errors",
        "Answers of servers that failed.",
        Value::Counter(|it| it.response_errors),
    ),
    family("service_retries", "Connections that were tried again.", Value::Counter(|it| it.retries)),
    family(
        "service_redispatches",
        "Requests that went to another server.",
        Value::Counter(|it| it.redispatches),
    ),
];

const CODES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Services in one piece of text.
const PIECE: usize = 500;

/// The text of each family in turn, in pieces that are made when they are asked for.
pub(super) fn texts(services: Arc<Vec<ServiceFigures>>) -> impl Iterator<Item = String> + Send {
    let pieces = services.len().div_ceil(PIECE);
    FAMILIES.iter().flat_map(move |family| {
        let services = Arc::clone(&services);
        (0..pieces).map(move |piece| text_of(Shown { family, services: Arc::clone(&services), piece }))
    })
}

fn text_of(shown: Shown) -> String {
    let first = shown.piece == 0;
    let mut registry = Registry::with_prefix("causeway");
    registry.register_collector(Box::new(shown));
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _infallible = text::encode_registry(&mut text, &registry);
    if !first {
        // A family says what it is (HELP and TYPE) only once.
        let head: usize =
            text.split_inclusive('\n').take_while(|line| line.starts_with('#')).map(str::len).sum();
        drop(text.drain(..head));
    }
    text
}

struct Shown {
    family: &'static ServiceFamily,
    services: Arc<Vec<ServiceFigures>>,
    piece: usize,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family.name)
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ServiceFamily { name, help, value } = self.family;
        let kind = if matches!(value, Value::Gauge(_)) { MetricType::Gauge } else { MetricType::Counter };
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for service in self.services.iter().skip(self.piece * PIECE).take(PIECE) {
            let labels = |code| Labels { service, code };
            match value {
                Value::Gauge(of) => {
                    ConstGauge::new(of(&service.figures)).encode(family.encode_family(&labels(None))?)?;
                }
                Value::Counter(of) => {
                    ConstCounter::new(of(&service.figures)).encode(family.encode_family(&labels(None))?)?;
                }
                Value::Responses => {
                    let counted = service.figures.responses.into_iter().flatten();
                    for (code, count) in CODES.into_iter().zip(counted) {
                        ConstCounter::new(count).encode(family.encode_family(&labels(Some(code)))?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Labels<'a> {
    service: &'a ServiceFigures,
    code: Option<&'static str>,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let id = &self.service.service;
        ("app", id.app.as_str()).encode(encoder.encode_label())?;
        ("port_index", id.port_index).encode(encoder.encode_label())?;
        ("backend", &*self.service.backend).encode(encoder.encode_label())?;
        match self.code {
            Some(code) => ("code", code).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}
