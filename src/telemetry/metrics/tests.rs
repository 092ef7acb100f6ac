use std::collections::BTreeSet;

use super::*;
use crate::haproxy::stats::Figures;
use crate::model::{AppId, ServiceId};

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Metrics to which everything was told once.
fn told() -> Metrics {
    let metrics = Metrics::default();
    metrics.started();
    metrics.plan_noop();
    metrics.plan_runtime(3, Duration::from_millis(2));
    let applied = Applied::Reloaded { took: Duration::from_millis(40) };
    let slots = Reason::Slots { backend: "h_a_0".to_owned() };
    metrics.reload_done([&Reason::Head, &slots, &slots], applied, Duration::from_millis(50));
    metrics.reload_failed(Failure::Check);
    metrics.applied(Instant::now());
    metrics.drift(2);
    metrics.drift_repaired();
    metrics.hand_set(1);
    metrics.spares("http-roundrobin", 19, 1);
    metrics.slots(90, 10);
    let problems = ProblemKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    metrics.state(&Counts { apps: 3, services: 4, servers: 5, problems });
    metrics.of_reconciler(ProblemKind::Block, 1);
    for source in Source::ALL {
        metrics.heard(source);
        metrics.connected(source, true);
    }
    metrics.rules_changed();
    metrics.marathon_event("status_update_event");
    metrics.marathon_bytes(Read::App, 700);
    metrics.marathon_read(Read::App);
    metrics.marathon_error(Read::List);
    metrics.marathon_reconnect();
    metrics.haproxy_seen(None, None);
    metrics.service_figures(vec![ServiceFigures {
        service: ServiceId { app: AppId::new("/shop/\"web\""), port_index: 1 },
        backend: "h_p17".into(),
        figures: Figures { requests_total: 294, responses: Some([0, 280, 5, 4, 3, 2]), ..Figures::default() },
        rates: None,
    }]);
    metrics
}

fn text(metrics: &Metrics) -> String {
    metrics.texts().collect()
}

/// The names that `/metrics` shows, as they are asked for.
fn shown(text: &str) -> BTreeSet<String> {
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    families
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect()
}

#[test]
fn every_metric_is_in_the_page_and_the_page_promises_no_other() {
    let promised: BTreeSet<String> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("causeway_") || name.starts_with("process_"))
        .collect();
    assert_eq!(shown(&text(&told())), promised);
}

#[test]
fn every_name_for_statsd_is_in_the_page() {
    let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let metrics = Metrics::new(&StatsdConfig { enabled: true, host, prefix: "x".to_owned() });
    metrics.started();
    metrics.plan_noop();
    metrics.plan_runtime(3, Duration::from_millis(2));
    metrics.reload_done(
        [&Reason::Head],
        Applied::Started { took: Duration::ZERO },
        Duration::from_millis(50),
    );
    metrics.reload_failed(Failure::Reload);
    metrics.applied(Instant::now());
    metrics.drift(2);
    metrics.drift_repaired();
    metrics.state(&Counts::default());
    metrics.rules_changed();
    metrics.marathon_event("status_update_event");
    metrics.marathon_read(Read::List);
    metrics.marathon_error(Read::List);
    metrics.haproxy_seen(None, None);
    metrics.marathon_reconnect();
    let mut names = BTreeSet::new();
    while !names.contains("marathon.reconnects") {
        let mut buffer = [0; 512];
        let length = listener.recv(&mut buffer).unwrap();
        let packet = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let name = packet.strip_prefix("x.").and_then(|rest| rest.split_once(':')).unwrap().0.to_owned();
        assert!(PAGE.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        names.insert(name);
    }
    for bamboo in [
        "restart",
        "callback.marathon",
        "reload.domain",
        "haproxy.reload.error",
        "haproxy.reload.skipped",
        "haproxy.reload.marathon.reloaded",
        "haproxy.reload.marathon.duration",
    ] {
        assert!(names.contains(bamboo), "{bamboo} is not sent");
    }
}

#[test]
fn figures_are_shown_under_the_name_of_the_app_and_counters_by_their_reasons() {
    let text = text(&told());
    for line in [
        r#"causeway_service_requests_total{app="/shop/\"web\"",port_index="1",backend="h_p17"} 294"#,
        r#"causeway_service_responses_total{app="/shop/\"web\"",port_index="1",backend="h_p17",code="2xx"} 280"#,
        r#"causeway_haproxy_reload_reasons_total{reason="slots"} 2"#,
        r#"causeway_haproxy_reload_reasons_total{reason="head"} 1"#,
        r#"causeway_haproxy_reloads_total{how="reload"} 1"#,
        r#"causeway_haproxy_reloads_total{how="start"} 0"#,
        r#"causeway_plans_total{kind="runtime"} 1"#,
        "causeway_runtime_steps_total 3",
        "causeway_event_to_applied_seconds_count 1",
        r#"causeway_problems{kind="block"} 1"#,
        r#"causeway_spare_backends{profile="http-roundrobin",state="free"} 19"#,
        r#"causeway_source_connected{source="marathon"} 1"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains(".."), "each sentence ends once:\n{text}");
}

#[test]
fn it_is_ready_when_every_source_has_told_and_haproxy_was_brought_there_once() {
    let metrics = Metrics::default();
    assert_eq!(metrics.standing().waits_for.len(), 3);
    metrics.source_ready(Source::Marathon);
    metrics.brought(true);
    let standing = metrics.standing();
    assert!(!standing.ready && standing.waits_for[0].contains("rules"), "{standing:?}");
    metrics.source_ready(Source::Rules);
    metrics.reload_failed(Failure::Reload);
    let standing = metrics.standing();
    assert!(standing.ready, "a reload that fails is told by other figures: it is a latch");
    metrics.haproxy_seen(None, None);
    assert!(metrics.standing().waits_for[0].contains("HAProxy does not answer"));
    metrics.brought(false);
    metrics.haproxy_seen(None, None);
    assert!(metrics.standing().ready, "a HAProxy of the operator's may have no socket");
    assert_eq!(standing.last_round.unwrap().kind, RoundKind::Failed);
}
