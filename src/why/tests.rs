use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::config::{LabelsConfig, SafetyConfig};
use crate::model::{App, AppId, AppPort, Health, Task, TaskId, TaskState, Timestamp};
use crate::placement::{Occupant, Slot};
use crate::render::map_entries;
use crate::sources::SourceEvent;
use crate::state::State;

const HEAD: &str = "global\n    x\nfrontend http_in from x\n    bind *:80,127.0.0.1:81\nfrontend https_in from x\n    bind *:443 ssl crt x\n\
                    frontend service_ports from x\n    bind *:10000-10009\nfrontend mine\n    bind :99\n\
                    frontend why from x\n    bind unix@/x accept-proxy\n";

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

/// What is known of these apps, and the text that comes of them.
fn known(apps: &[Arc<App>]) -> (View, Text) {
    let now = Instant::now();
    let mut state =
        State::new(&LabelsConfig::default(), &SafetyConfig::default(), BTreeMap::new(), Default::default());
    state.fold(SourceEvent::Rules(Vec::new(), Vec::new()), now);
    state.fold(SourceEvent::Init, now);
    for app in apps {
        state.fold(SourceEvent::Upsert(Arc::clone(app)), now);
    }
    state.fold(SourceEvent::InitDone, now);
    let view = state.view().clone();
    let mut text = Text { head: HEAD.into(), ..Text::default() };
    for service in view.services() {
        let slots = service
            .servers
            .iter()
            .map(|server| Slot::Serving(Occupant::new(server.task.clone(), server.endpoint).into()));
        for (map, key, value) in map_entries(service, |_| true) {
            text.maps.insert(map, key, value);
        }
        let block =
            Block { service: Arc::clone(service), shape: "".into(), slots: Arc::new(slots.collect()) };
        text.blocks.insert_mut(service.id.clone(), Arc::new(block));
    }
    (view, text)
}

fn asked(url: &str) -> Asked {
    Asked::parse(url, None, &[], None).unwrap()
}

fn way_of(apps: &[Arc<App>], asked: &Asked, verdict: Option<&Verdict>) -> Way {
    let (view, text) = known(apps);
    let known = Known { text: &text, view: &view, verdict, trusted_proxies: &[] };
    way(&known, asked, Frontend::of(&text, asked).as_ref())
}

fn verdict(backend: Option<&str>) -> Verdict {
    Verdict {
        status: if backend.is_some() { http::StatusCode::OK } else { http::StatusCode::NOT_FOUND },
        location: None,
        backend: backend.map(str::to_owned),
        by_app_id: None,
        by_port: None,
        lines: Vec::new(),
    }
}

#[test]
fn the_frontend_is_found_by_the_port_or_by_the_scheme() {
    let (_, text) = known(&[]);
    for (url, expected) in [
        ("x.example.com", Some("http_in")),
        ("http://x.example.com:81/", Some("http_in")),
        ("http://x.example.com:80/", Some("http_in")),
        ("https://x.example.com/", Some("https_in")),
        ("http://x.example.com:10009/", Some("service_ports")),
        ("http://x.example.com:99/", Some("mine")),
        ("http://x.example.com:10010/", None),
    ] {
        let found = Frontend::of(&text, &asked(url)).map(|frontend| frontend.name);
        assert_eq!(found.as_deref(), expected, "{url}");
    }
    assert_eq!((asked("http://x:80/").port, asked("http://x/").port), (Some(80), None));
}

#[test]
fn where_haproxy_says_something_else_its_word_counts_and_the_difference_is_told() {
    let apps = [app("/a", &[("HAPROXY_0_VHOST", "a.x")]), app("/b", &[("HAPROXY_0_VHOST", "b.x")])];
    let asked = asked("http://a.x/");
    let same = way_of(&apps, &asked, Some(&verdict(Some("h_a_0"))));
    assert_eq!(same.differs, None, "{same:#?}");
    assert_eq!(same.ending.app.as_deref(), Some("/a"));
    let other = way_of(&apps, &asked, Some(&verdict(Some("h_b_0"))));
    assert_eq!(other.ending.app.as_deref(), Some("/b"));
    assert!(other.differs.unwrap().contains("h_b_0"));
    let nothing = way_of(&apps, &asked, Some(&verdict(None)));
    assert_eq!((nothing.ending.status, nothing.differs.is_some()), (Some(404), true));
    let unasked = way_of(&apps, &asked, None);
    assert_eq!((unasked.ending.app.as_deref(), unasked.differs), (Some("/a"), None));
}

#[test]
fn a_404_names_who_has_the_host_with_more_and_who_is_not_served() {
    let apps = [
        app("/a", &[("HAPROXY_0_VHOST", "a.x"), ("HAPROXY_0_PATH", "/api")]),
        app("/c", &[("HAPROXY_1_VHOST", "a.x")]),
    ];
    let way = way_of(&apps, &asked("http://a.x/apiary"), None);
    assert_eq!(way.ending.status, Some(404));
    let hints = way.ending.hints.join("\n");
    assert!(hints.contains("/a has a.x") && hints.contains("/c names a.x in its label"), "{hints}");
    let looked: Vec<&str> = way.steps[1].candidates.iter().map(|each| each.key.as_str()).collect();
    assert!(looked.contains(&"a.x/apiary"), "{looked:?}");
}

#[test]
fn an_app_without_a_server_is_told_with_why() {
    let mut none = App::clone(&app("/a", &[("HAPROXY_0_VHOST", "a.x")]));
    none.tasks.clear();
    none.instances = 0;
    let way = way_of(&[Arc::new(none)], &asked("http://a.x/"), None);
    assert_eq!(way.ending.status, Some(503));
    assert!(way.ending.sentence.contains("suspended"), "{}", way.ending.sentence);
}
