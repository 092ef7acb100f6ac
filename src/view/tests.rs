use std::time::Duration;

use super::*;
use crate::config::{LabelsConfig, SafetyConfig};
use crate::model::{AppPort, Health, Task, TaskId, TaskState, Timestamp};
use crate::sources::SourceEvent;
use crate::state::State;

fn app(id: &str, labels: &[(&str, &str)]) -> Arc<App> {
    let task = Task {
        id: TaskId::new(&format!("{id}.0")),
        host: "10.0.0.1".into(),
        state: TaskState::Running,
        version: Timestamp::default(),
        health: Health::Unknown,
        ready: true,
        endpoints: [Some(([10, 0, 0, 1], 31_000).into())].into(),
    };
    Arc::new(App {
        id: AppId::new(id),
        instances: 1,
        scaled_at: None,
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        env: BTreeMap::new(),
        ports: vec![AppPort { service_port: None, name: None, container_port: None, udp_only: false }],
        health_checks: Vec::new(),
        tasks: [(task.id.clone(), task)].into(),
    })
}

fn state(apps: &[Arc<App>], now: Instant) -> State {
    let mut state =
        State::new(&LabelsConfig::default(), &SafetyConfig::default(), BTreeMap::new(), Default::default());
    state.fold(SourceEvent::Rules(Vec::new(), Vec::new()), now);
    state.fold(SourceEvent::Init, now);
    for app in apps {
        state.fold(SourceEvent::Upsert(Arc::clone(app)), now);
    }
    state.fold(SourceEvent::InitDone, now);
    state
}

const HOST: (&str, &str) = ("HAPROXY_0_VHOST", "a.example.com");

fn id(app: &str) -> ServiceId {
    ServiceId { app: AppId::new(app), port_index: 0 }
}

#[test]
fn a_view_stays_as_it_was_and_shares_what_did_not_change() {
    let now = Instant::now();
    let mut state = state(&[app("/a", &[HOST]), app("/b", &[("HAPROXY_0_VHOST", "b.example.com")])], now);
    let before = state.view().clone();
    state.fold(SourceEvent::Remove(AppId::new("/a")), now);
    let after = state.view();
    assert_eq!((before.apps.size(), after.apps.size()), (2, 1));
    assert!(before.service(&id("/a")).is_some() && after.service(&id("/a")).is_none());
    let settled = |view: &View| Arc::clone(view.settled.get(&AppId::new("/b")).unwrap());
    assert!(Arc::ptr_eq(&settled(&before), &settled(after)), "nothing was copied");
}

#[test]
fn a_route_that_was_lost_is_told_with_who_has_it() {
    let now = Instant::now();
    let state = state(&[app("/a", &[HOST]), app("/b", &[HOST])], now);
    let view = state.view();
    let lost = view.lost(&id("/b"));
    let [Lost::Route(route)] = lost.as_slice() else { panic!("{lost:?}") };
    assert_eq!(view.holder_of_route(&route.matches), Some(&id("/a")));
    assert!(view.lost(&id("/a")).is_empty());
    assert_eq!(view.counts().problems[&ProblemKind::Conflict], 1);
}

#[test]
fn a_problem_keeps_the_moment_when_it_was_first_seen() {
    let now = Instant::now();
    let wrong = |value: &str| app("/a", &[HOST, ("HAPROXY_0_MODE", value)]);
    let mut state = state(&[wrong("ftp")], now);
    let since = |state: &State| state.view().problems().map(|noted| noted.since).collect::<Vec<_>>();
    let first = since(&state);
    assert_eq!(first.len(), 1);
    let more = Arc::new(App { instances: 2, ..App::clone(&wrong("ftp")) });
    state.fold(SourceEvent::Upsert(more), now + Duration::from_secs(60));
    assert_eq!(since(&state), first, "the same problem");
    state.fold(SourceEvent::Upsert(wrong("udp")), now + Duration::from_secs(120));
    assert_eq!(since(&state), [first[0] + Duration::from_secs(120)], "another one");
    state.fold(SourceEvent::Upsert(app("/a", &[HOST])), now);
    assert!(since(&state).is_empty());
}

#[test]
fn a_held_read_is_a_problem_since_it_came() {
    let now = Instant::now();
    let mut state = state(&[app("/a", &[HOST])], now);
    state.fold(SourceEvent::Init, now);
    state.fold(SourceEvent::InitDone, now);
    let held = state.view().held.clone().unwrap();
    assert_eq!(held.problem.kind, ProblemKind::Held);
    assert_eq!(state.view().apps.size(), 1, "the last good copy stays");
    state.believe_held();
    assert!(state.view().held.is_none() && state.view().apps.is_empty());
}

#[test]
fn apps_that_are_not_served_say_why() {
    let off = [HOST, ("HAPROXY_0_ENABLED", "false")];
    let version =
        |n: &'static str| vec![HOST, ("HAPROXY_DEPLOYMENT_GROUP", "s"), ("HAPROXY_DEPLOYMENT_STARTED_AT", n)];
    let apps = [
        app("/plain", &[]),
        app("/off", &off),
        app("/on", &[("HAPROXY_0_VHOST", "on.example.com")]),
        app("/s/1", &version("2024-01-01T00:00:00")),
        app("/s/2", &version("2024-01-02T00:00:00")),
    ];
    let state = state(&apps, Instant::now());
    let told: Vec<(&str, Vec<&str>)> = apps
        .iter()
        .map(|app| {
            let why = state.view().unexposed(app);
            (app.id.as_str(), why.iter().map(|each| each.reason.name()).collect())
        })
        .collect();
    let expected = [
        ("/plain", vec!["not_asked"]),
        ("/off", vec!["disabled"]),
        ("/on", vec![]),
        ("/s/1", vec![]),
        ("/s/2", vec!["version"]),
    ];
    assert_eq!(told, expected);
}
