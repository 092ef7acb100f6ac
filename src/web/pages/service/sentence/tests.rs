#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::haproxy::stats::ServerFigures;
use crate::web::api::detail::{LostRoute, MarathonTask, SetByHand, ShownRoute};
use crate::web::api::servers::Scope;
use crate::web::api::services::ServiceRow;
use crate::web::api::shown::ShownProblem;

/// A service with a host, whose tasks all take requests.
fn serving(instances: usize) -> ServiceDetail {
    ServiceDetail {
        row: ServiceRow {
            app: "/shop/web".to_owned(),
            port_index: Some(0),
            state: "up",
            mode: Some("http"),
            hosts: vec!["shop.example.com".to_owned()],
            port: None,
            servers_serving: instances,
            servers_total: instances,
            requests_per_second: None,
            errors_per_second: None,
            problems: 0,
        },
        backend: "h_shop_web_0".to_owned(),
        balance: "roundrobin".to_owned(),
        health: "marathon",
        closed: false,
        app_id_route: false,
        services: vec![0],
        not_exposed: Vec::new(),
        labels: Vec::new(),
        has_rule: false,
        routes: vec![ShownRoute {
            route: "shop.example.com".to_owned(),
            from: "label",
            order: None,
            weight: 0,
        }],
        lost: Vec::new(),
        servers: (0..instances).map(server).collect(),
        figures: None,
        haproxy_error: None,
        problems: Vec::new(),
        config: None,
        changes: Vec::new(),
    }
}

fn server(number: usize) -> ShownServer {
    ShownServer {
        task: format!("shop_web.{number}"),
        endpoint: Some("10.0.0.1:31000".to_owned()),
        state: "serving",
        server: Some(format!("slot{}", number + 1)),
        marathon: Some(MarathonTask {
            state: "running",
            health: "healthy",
            ready: true,
            host: "agent-1".to_owned(),
            version: "1".to_owned(),
        }),
        haproxy: Some(ServerFigures { status: "no check".to_owned(), ..ServerFigures::default() }),
        by_hand: None,
        fleet: None,
    }
}

fn told(change: impl FnOnce(&mut ServiceDetail)) -> Sentence {
    let mut service = serving(2);
    change(&mut service);
    sentence(&service)
}

/// What is said where no task of two gets requests, for this reason.
fn told_of_tasks(change: impl Fn(&mut ShownServer)) -> String {
    let said = told(|service| {
        service.row.state = "down";
        service.row.servers_serving = 0;
        for server in &mut service.servers {
            (server.state, server.server, server.haproxy) = ("out", None, None);
            change(server);
        }
    });
    assert_eq!(said.tone, "bad", "{said:?}");
    said.lead
}

#[test]
fn it_serves() {
    let said = told(|_| {});
    assert_eq!(
        (said.tone, said.lead.as_str()),
        ("good", "Serving shop.example.com: 2 servers take requests.")
    );
    assert_eq!(sentence(&serving(1)).lead, "Serving shop.example.com: one server takes requests.");
    let said = told(|service| {
        service.routes.push(ShownRoute {
            route: "b.example.com/x".to_owned(),
            from: "rule",
            order: None,
            weight: 0,
        });
    });
    assert_eq!(said.lead, "Serving shop.example.com and 1 more: 2 servers take requests.");
    let said = told(|service| {
        service.routes.clear();
        service.row.port = Some(10_001);
    });
    assert_eq!(said.lead, "Serving on port 10001: 2 servers take requests.");
    let said = told(|service| {
        service.routes.clear();
        service.app_id_route = true;
    });
    assert_eq!(said.lead, "Serving by its app id only: 2 servers take requests.");
}

#[test]
fn it_serves_and_something_it_asked_for_is_anothers() {
    let said = told(|service| service.lost.push(lost("b.example.com", Some("/rival:0"))));
    assert_eq!(said.tone, "good");
    assert_eq!(said.more, ["b.example.com leads to /rival:0, not here."]);
}

fn lost(route: &str, holder: Option<&str>) -> LostRoute {
    LostRoute { route: route.to_owned(), from: Some("label"), held_by: holder.map(str::to_owned) }
}

#[test]
fn it_serves_with_fewer_servers() {
    let said = told(|service| {
        service.row.state = "degraded";
        service.servers[1].state = "out";
        service.servers[1].marathon.as_mut().unwrap().health = "unhealthy";
    });
    assert_eq!((said.tone, said.lead.as_str()), ("warn", "Serving shop.example.com, with 1 of 2 servers."));
    assert_eq!(said.more, ["One task is unhealthy by Marathon's health check."]);
    let said = told(|service| {
        service.row.servers_total = 4;
        service.servers.pop();
    });
    assert_eq!(said.more, ["3 tasks are not started by Marathon yet."]);
    let said = told(|service| service.servers[0].by_hand = Some(by_hand_of("drain", 1)));
    assert_eq!(said.more, ["One task was taken out by hand."]);
}

#[test]
fn it_serves_as_it_was_defined_before() {
    let said = told(|service| {
        service.row.state = "last_good";
        service.problems.push(problem("block", "HAProxy says: unknown keyword"));
    });
    assert_eq!(said.tone, "warn");
    assert_eq!(
        said.lead,
        "Serving shop.example.com, as it was defined before: HAProxy refuses its newest definition."
    );
    assert_eq!(said.more, ["HAProxy says: unknown keyword (mend it)"]);
}

fn problem(kind: &'static str, message: &str) -> ShownProblem {
    ShownProblem {
        app: Some("/shop/web".to_owned()),
        kind,
        message: message.to_owned(),
        advice: "mend it".to_owned(),
        since: "2026-11-21T14:00:00Z".to_owned(),
    }
}

#[test]
fn it_is_left_out() {
    let said = told(|service| {
        service.row.state = "left_out";
        service.problems.push(problem("block", "HAProxy says no"));
    });
    assert_eq!((said.tone, said.more.len()), ("bad", 1));
    assert!(said.lead.starts_with("Not serving: HAProxy refuses its definition"), "{said:?}");
}

#[test]
fn it_is_suspended_or_closed() {
    let said = sentence(&ServiceDetail { servers: Vec::new(), ..serving(0) });
    assert_eq!(said.tone, "idle");
    assert!(said.lead.contains("suspended"), "{said:?}");
    let said = told(|service| service.closed = true);
    assert_eq!(
        (said.tone, said.lead.as_str()),
        ("bad", "Not serving: it is closed, every request gets 503.")
    );
}

#[test]
fn nothing_leads_to_it() {
    let said = told(|service| service.routes.clear());
    assert_eq!(said.lead, "Not reachable: all 2 servers take requests, but nothing leads to them.");
    assert!(said.more[0].contains("HAPROXY_0_VHOST"), "{said:?}");
    let said = told(|service| {
        service.routes.clear();
        service.lost.push(lost("shop.example.com", Some("/rival:0")));
        service.lost.push(lost("shop.example.com/x", None));
    });
    assert_eq!(said.tone, "bad");
    assert_eq!(
        said.more,
        [
            "shop.example.com leads to /rival:0, not here.",
            "shop.example.com/x does not lead here; its problems say why."
        ]
    );
}

#[test]
fn no_task_may_get_requests() {
    let of =
        |change: fn(&mut MarathonTask)| told_of_tasks(|server| change(server.marathon.as_mut().unwrap()));
    assert_eq!(of(|task| task.state = "starting"), "Not serving: 2 tasks are starting.");
    assert_eq!(
        of(|task| task.health = "unhealthy"),
        "Not serving: 2 tasks are unhealthy by Marathon's health check."
    );
    assert_eq!(of(|task| task.health = "unknown"), "Not serving: 2 tasks are not known to be healthy yet.");
    assert_eq!(
        of(|task| task.ready = false),
        "Not serving: 2 tasks are not ready yet, by their readiness check."
    );
    assert_eq!(
        of(|task| task.state = "unreachable"),
        "Not serving: 2 tasks are on an agent that Marathon cannot reach."
    );
    assert_eq!(of(|task| task.state = "killing"), "Not serving: 2 tasks are being killed.");
    assert_eq!(of(|task| task.state = "ended"), "Not serving: 2 tasks have ended.");
    assert_eq!(
        told_of_tasks(|server| server.endpoint = None),
        "Not serving: 2 tasks have no address that HAProxy could reach."
    );
    assert_eq!(
        told_of_tasks(|server| server.state = "draining"),
        "Not serving: 2 tasks are drained: others have their places."
    );
    assert_eq!(
        told_of_tasks(|server| server.marathon = None),
        "Not serving: 2 tasks are gone, and their servers are leaving."
    );
    assert_eq!(told_of_tasks(|_| {}), "Not serving: 2 tasks are not among the servers yet.");
}

#[test]
fn no_task_may_get_requests_for_several_reasons() {
    let said = told(|service| {
        for server in &mut service.servers {
            server.state = "out";
        }
        service.servers[0].marathon.as_mut().unwrap().state = "starting";
        service.servers[1].marathon.as_mut().unwrap().health = "unhealthy";
    });
    assert_eq!(said.lead, "Not serving: none of its tasks may get requests.");
    assert_eq!(said.more, ["One task is starting.", "One task is unhealthy by Marathon's health check."]);
}

#[test]
fn marathon_runs_no_task_of_it() {
    let said = told(|service| service.servers.clear());
    assert_eq!(said.lead, "Not serving: Marathon runs no task of it.");
    assert!(said.more[0].contains("is to have 2"), "{said:?}");
}

fn by_hand_of(state: &'static str, weight: u32) -> SetByHand {
    SetByHand {
        state,
        weight,
        since: "2026-11-21T14:00:00Z".to_owned(),
        until: "2026-11-22T14:00:00Z".to_owned(),
        by: Some("ada".to_owned()),
        why: Some("a new disk".to_owned()),
        scope: Scope::Node,
    }
}

#[test]
fn somebody_took_every_server_out() {
    for set in [by_hand_of("drain", 1), by_hand_of("maint", 1), by_hand_of("ready", 0)] {
        let said =
            told(|service| service.servers.iter_mut().for_each(|server| server.by_hand = Some(set.clone())));
        assert_eq!(said.lead, "Not serving: its servers were taken out by hand, by ada (a new disk).");
        assert_eq!(said.more, ["Put one back below."]);
    }
    let said = told(|service| {
        for server in &mut service.servers {
            server.by_hand = Some(SetByHand { by: None, why: None, ..by_hand_of("drain", 1) });
        }
    });
    assert!(said.lead.ends_with("by somebody at HAProxy's socket."), "{said:?}");
    let said = told(|service| service.servers[0].by_hand = Some(by_hand_of("ready", 5)));
    assert_eq!(said.tone, "good", "another weight is no reason");
}

#[test]
fn haproxys_own_checks_find_every_server_down() {
    let said = told(|service| {
        for server in &mut service.servers {
            let live = server.haproxy.as_mut().unwrap();
            live.status = "DOWN".to_owned();
            live.check_words = Some("Connection refused".to_owned());
        }
    });
    assert_eq!(said.lead, "Not serving: HAProxy's own checks find every server down.");
    assert_eq!(said.more, ["The check says: Connection refused."]);
}

#[test]
fn haproxy_does_not_answer() {
    let silent = |service: &mut ServiceDetail| {
        service.haproxy_error = Some("haproxy.sock: timeout".to_owned());
        service.servers.iter_mut().for_each(|server| server.haproxy = None);
    };
    let said = told(silent);
    assert_eq!(said.tone, "warn");
    assert_eq!(said.lead, "It should be serving shop.example.com: all 2 servers take requests.");
    assert!(said.more[0].contains("haproxy.sock: timeout"), "{said:?}");
    let said = told(|service| {
        silent(service);
        service.servers.clear();
    });
    assert!(said.lead.starts_with("Not serving: Marathon runs no task"), "{said:?}");
    assert!(said.more.iter().any(|more| more.contains("timeout")), "{said:?}");
}

#[test]
fn everything_leaves() {
    let said = told(|service| {
        service.row.servers_total = 1;
        service.servers.truncate(1);
        service.servers[0].state = "draining";
    });
    assert_eq!(said.lead, "Not serving: one task is drained: another has its place.");
}
