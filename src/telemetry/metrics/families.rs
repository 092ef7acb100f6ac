//! Every family of metrics that Causeway counts itself, and the registry that shows them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::sources::Sources;
use crate::model::ProblemKind;
use crate::telemetry::process::Process;

/// One label and its value; the values come from the code, so that there are only so many.
pub(super) type Label = [(&'static str, &'static str); 1];
/// Two labels, of which the first names what the operator chose.
pub(super) type ProfileAndState = [(&'static str, String); 2];
/// A gauge of things that are counted.
pub(super) type Count = Gauge<u64, AtomicU64>;
/// A counter of things of one kind.
pub(super) type ByKind = Family<Label, Counter>;

/// Seconds, from half a millisecond to a minute.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The families, ready to be counted up.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) plans: ByKind,
    pub(super) runtime_steps: Counter,
    pub(super) runtime_seconds: Histogram,
    pub(super) reloads: ByKind,
    pub(super) reload_reasons: ByKind,
    pub(super) reload_failures: ByKind,
    pub(super) reload_seconds: Histogram,
    pub(super) event_to_applied: Histogram,
    pub(super) drift_differences: Counter,
    pub(super) drift_repaired: Counter,
    pub(super) certificates_replaced: Counter,
    pub(super) certificates_refused: Count,
    pub(super) hand_set: Count,
    pub(super) haproxy_up: Count,
    pub(super) haproxy_workers: Family<Label, Count>,
    pub(super) haproxy_generation: Count,
    pub(super) apps: Count,
    pub(super) services: Count,
    pub(super) servers: Count,
    pub(super) problems: Family<Label, Count>,
    pub(super) spares: Family<ProfileAndState, Count>,
    pub(super) slots: Family<Label, Count>,
    pub(super) marathon_events: ByKind,
    pub(super) marathon_bytes: ByKind,
    pub(super) marathon_reads: ByKind,
    pub(super) marathon_errors: ByKind,
    pub(super) marathon_reconnects: Counter,
    pub(super) rules_changes: Counter,
    pub(super) statsd_dropped: Counter,
}

impl Families {
    /// The families, and the registry that shows them and what is only looked at when somebody asks.
    pub(super) fn new(sources: &Arc<Sources>) -> (Self, Registry) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new()));
        let ours = registry.sub_registry_with_prefix("causeway");
        let build: Family<Label, Count> = add(ours, "build_info", "The version that runs; always 1.");
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        ours.register_collector(Box::new(Arc::clone(sources)));
        let families = Self {
            plans: add(ours, "plans", "Plans by kind: noop, runtime, reload."),
            runtime_steps: add(ours, "runtime_steps", "Commands that changed the running HAProxy."),
            runtime_seconds: histogram(
                ours,
                "runtime_plan_seconds",
                "How long a plan took that needed no reload.",
            ),
            reloads: add(ours, "haproxy_reloads", "New generations that run, by how: start, reload."),
            reload_reasons: add(
                ours,
                "haproxy_reload_reasons",
                "Reasons of reloads; a reload may have several.",
            ),
            reload_failures: add(
                ours,
                "haproxy_reload_failures",
                "Reloads that failed, by the step that did.",
            ),
            reload_seconds: histogram(
                ours,
                "haproxy_reload_seconds",
                "How long a start or reload took, its check and proof included.",
            ),
            event_to_applied: histogram(
                ours,
                "event_to_applied_seconds",
                "Age of the oldest event that a round applied, when HAProxy was proven to have it.",
            ),
            drift_differences: add(
                ours,
                "drift_differences",
                "Differences between HAProxy and what it was brought to.",
            ),
            drift_repaired: add(ours, "drift_repaired", "Times that HAProxy was brought back."),
            certificates_replaced: add(
                ours,
                "certificates_replaced",
                "Certificates and authorities replaced while HAProxy ran.",
            ),
            certificates_refused: add(
                ours,
                "certificates_refused",
                "Changed certificates and authorities that HAProxy does not take; those of before go on serving.",
            ),
            hand_set: add(
                ours,
                "hand_set_servers",
                "States of servers that somebody set by hand and that are kept.",
            ),
            haproxy_up: add(ours, "haproxy_up", "1 where HAProxy's runtime socket answers."),
            haproxy_workers: add(
                ours,
                "haproxy_workers",
                "Workers of HAProxy: current, and old ones that finish.",
            ),
            haproxy_generation: add(ours, "haproxy_generation", "The generation that the worker has loaded."),
            apps: add(ours, "apps", "Apps that are known."),
            services: add(ours, "services", "Services that are served."),
            servers: add(ours, "servers", "Tasks that get requests, counted for each service."),
            problems: add(ours, "problems", "What is wrong with single apps, by kind."),
            spares: add(ours, "spare_backends", "Spare backends by profile: free, used."),
            slots: add(ours, "slots", "Places for servers in backends: free, used."),
            marathon_events: add(ours, "marathon_events", "Events of Marathon by type."),
            marathon_bytes: add(
                ours,
                "marathon_read_bytes",
                "Bytes read from Marathon, unpacked, by what was read.",
            ),
            marathon_reads: add(ours, "marathon_reads", "Reads of Marathon's API by what was read."),
            marathon_errors: add(ours, "marathon_errors", "Reads that failed, by what was read."),
            marathon_reconnects: add(
                ours,
                "marathon_reconnects",
                "Attempts to attach the event stream again.",
            ),
            rules_changes: add(ours, "rules_changes", "Changes of the rules that were read."),
            statsd_dropped: add(ours, "statsd_dropped", "Metrics that could not be sent to StatsD."),
        };
        // A counter that appears with its first event has no increase to show.
        for kind in ["noop", "runtime", "reload"] {
            drop(families.plans.get_or_create(&[("kind", kind)]));
        }
        for kind in ProblemKind::ALL {
            drop(families.problems.get_or_create(&[("kind", kind.name())]));
        }
        for how in ["start", "reload"] {
            drop(families.reloads.get_or_create(&[("how", how)]));
        }
        (families, registry)
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    // The registry ends the sentence.
    registry.register(name, help.trim_end_matches('.'), metric.clone());
    metric
}

fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let metric = Histogram::new(SECONDS);
    registry.register(name, help.trim_end_matches('.'), metric.clone());
    metric
}
