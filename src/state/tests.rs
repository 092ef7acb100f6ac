use std::time::Duration;

use super::*;
use crate::config::LabelsConfig;
use crate::model::{AppPort, Health, Rule, Task, TaskState, Timestamp};

fn app(id: &str, tasks: usize) -> Arc<App> {
    let task = |n: usize| {
        let id = TaskId::new(&format!("{id}.{n}"));
        let task = Task {
            id: id.clone(),
            host: "10.0.0.1".into(),
            state: TaskState::Running,
            version: Timestamp::default(),
            health: Health::Unknown,
            ready: true,
            endpoints: [Some(([10, 0, 0, 1], 31_000).into())].into(),
        };
        (id, task)
    };
    let port = AppPort { service_port: Some(10_000), name: None, container_port: None, udp_only: false };
    Arc::new(App {
        id: AppId::new(id),
        instances: tasks,
        scaled_at: None,
        labels: [("HAPROXY_0_VHOST".into(), format!("{}.example.com", &id[1..]).into())]
            .into_iter()
            .collect(),
        env: BTreeMap::new(),
        ports: vec![port],
        health_checks: Vec::new(),
        tasks: (0..tasks).map(task).collect(),
    })
}

fn state(served_before: &[&str]) -> State {
    let served_before = served_before.iter().map(|id| TaskId::new(id)).collect();
    State::new(&LabelsConfig::default(), &SafetyConfig::default(), BTreeMap::new(), served_before)
}

fn full_read(state: &mut State, apps: &[Arc<App>], now: Instant) -> Changes {
    state.fold(SourceEvent::Init, now);
    for app in apps {
        assert!(state.fold(SourceEvent::Upsert(Arc::clone(app)), now).is_empty(), "nothing before InitDone");
    }
    state.fold(SourceEvent::InitDone, now)
}

fn without_rules(state: &mut State) -> Changes {
    state.fold(SourceEvent::Rules(Vec::new(), Vec::new()), Instant::now())
}

#[test]
fn rule_4_nothing_comes_out_before_every_source_has_told_all_it_knows() {
    let now = Instant::now();
    let mut state = state(&[]);
    assert!(full_read(&mut state, &[app("/a", 1)], now).is_empty());
    assert!(!state.is_ready());
    assert_eq!(without_rules(&mut state).len(), 1);
    assert!(state.is_ready());
}

#[test]
fn a_full_read_that_was_begun_again_counts_from_its_last_beginning() {
    let now = Instant::now();
    let mut state = state(&[]);
    without_rules(&mut state);
    state.fold(SourceEvent::Init, now);
    state.fold(SourceEvent::Upsert(app("/half", 1)), now);
    let changes = full_read(&mut state, &[app("/a", 1)], now);
    assert_eq!(changes.keys().map(|id| id.app.as_str()).collect::<Vec<_>>(), ["/a"]);
}

#[test]
fn what_did_not_change_comes_out_once_only() {
    let now = Instant::now();
    let mut state = state(&[]);
    without_rules(&mut state);
    assert_eq!(full_read(&mut state, &[app("/a", 1), app("/b", 1)], now).len(), 2);
    assert!(full_read(&mut state, &[app("/a", 1), app("/b", 1)], now).is_empty());
    assert!(state.fold(SourceEvent::Upsert(app("/a", 1)), now).is_empty());
    assert_eq!(state.fold(SourceEvent::Upsert(app("/a", 2)), now).len(), 1);
}

#[test]
fn rule_4_a_loss_above_the_share_is_held_until_it_holds_up() {
    let now = Instant::now();
    let mut state = state(&[]);
    without_rules(&mut state);
    full_read(&mut state, &[app("/a", 20), app("/b", 4)], now);
    let watched = full_read(&mut state, &[app("/b", 4)], now);
    assert!(watched.values().all(|service| service.as_ref().is_some_and(|service| service.backend.check)));
    assert_eq!(state.held().map(|(loss, _)| (loss.lost, loss.total)), Some((20, 24)));
    assert!(state.problems().iter().any(|problem| problem.kind == ProblemKind::Held));
    assert!(full_read(&mut state, &[app("/b", 4)], now + Duration::from_secs(59)).is_empty());
    let gone = full_read(&mut state, &[app("/b", 4)], now + Duration::from_secs(60));
    assert!(gone.values().any(Option::is_none) && state.held().is_none());
}

#[test]
fn rule_4_a_held_loss_that_does_not_hold_up_is_forgotten() {
    let now = Instant::now();
    let mut state = state(&[]);
    without_rules(&mut state);
    full_read(&mut state, &[app("/a", 20)], now);
    full_read(&mut state, &[app("/a", 1)], now);
    let healed = full_read(&mut state, &[app("/a", 20)], now + Duration::from_secs(5));
    assert!(state.held().is_none());
    let unwatched =
        |service: &Option<Arc<Service>>| service.as_ref().is_some_and(|service| !service.backend.check);
    assert!(healed.values().all(unwatched), "HAProxy's own checks end with the doubt");
}

#[test]
fn rule_4_a_loss_below_the_share_or_of_few_servers_is_applied() {
    let now = Instant::now();
    let mut state = state(&[]);
    without_rules(&mut state);
    full_read(&mut state, &[app("/a", 20), app("/b", 20), app("/c", 1)], now);
    assert_eq!(full_read(&mut state, &[app("/a", 20), app("/c", 1)], now).len(), 1);
    assert_eq!(full_read(&mut state, &[app("/a", 11), app("/c", 1)], now).len(), 1);
    assert!(state.held().is_none());
    full_read(&mut state, &[], now);
    assert!(state.held().is_some(), "nothing at all is held, however little there was");
}

#[test]
fn rule_4_the_first_list_is_judged_against_what_was_served_before_the_restart() {
    let now = Instant::now();
    let mut state = state(&["/a.0", "/a.1"]);
    without_rules(&mut state);
    assert!(full_read(&mut state, &[], now).is_empty());
    assert!(!state.is_ready() && state.held().is_some());
    assert_eq!(state.believe_held(), Changes::new());
    assert!(state.is_ready(), "a person said so");
}

#[test]
fn an_app_that_goes_gives_its_route_to_the_one_that_waits() {
    let now = Instant::now();
    let mut state = state(&[]);
    without_rules(&mut state);
    let second = Arc::new(App { id: AppId::new("/z"), ..App::clone(&app("/a", 1)) });
    full_read(&mut state, &[app("/a", 1), second], now);
    let conflicts = |state: &State| {
        state.problems().iter().filter(|problem| problem.kind == ProblemKind::Conflict).count()
    };
    assert_eq!(conflicts(&state), 2, "its route and its port");
    let changes = state.fold(SourceEvent::Remove(AppId::new("/a")), now);
    let heir = changes
        .iter()
        .find(|(id, _)| id.app.as_str() == "/z")
        .and_then(|(_, service)| service.clone())
        .unwrap();
    assert_eq!((heir.routes.len(), heir.port), (1, Some(10_000)));
    assert_eq!(conflicts(&state), 0);
}

#[test]
fn a_group_gives_config_to_its_apps_alone_and_a_change_of_it_touches_no_other() {
    let now = Instant::now();
    let mut state = state(&[]);
    full_read(&mut state, &[app("/team/a", 1), app("/team/b", 1), app("/teams", 1), app("/x", 1)], now);
    let rule = |id: &str, value: &str| {
        let mut rule = Rule::new(AppId::new(id));
        rule.config.insert("timeout".to_owned(), value.to_owned());
        rule
    };
    let fold = |state: &mut State, rules: Vec<Rule>| {
        let changes = state.fold(SourceEvent::Rules(rules, Vec::new()), now);
        let said = |(id, service): (ServiceId, Option<Arc<Service>>)| {
            let config = service.unwrap().config.values().cloned().collect::<String>();
            format!("{}={config}", id.app)
        };
        changes.into_iter().map(said).collect::<Vec<_>>()
    };
    assert_eq!(
        fold(&mut state, vec![rule("/team/**", "5s"), rule("/team/b", "7s")]),
        ["/team/a=5s", "/team/b=7s", "/teams=", "/x="]
    );
    // What has its own does not change.
    assert_eq!(fold(&mut state, vec![rule("/team/**", "6s"), rule("/team/b", "7s")]), ["/team/a=6s"]);
    assert_eq!(
        fold(&mut state, vec![rule("/**", "1s"), rule("/team/**", "6s"), rule("/team/b", "7s")]),
        ["/teams=1s", "/x=1s"]
    );
    assert!(
        fold(&mut state, vec![rule("/**", "1s"), rule("/team/**", "6s"), rule("/team/b", "7s")]).is_empty()
    );
    assert_eq!(fold(&mut state, vec![rule("/**", "1s"), rule("/team/b", "7s")]), ["/team/a=1s"]);
    // A control character is left out, and told once.
    assert_eq!(
        fold(&mut state, vec![rule("/team/**", "1s\nbackend x"), rule("/**", "1s")]),
        ["/team/a=", "/team/b="]
    );
    assert_eq!(
        state.problems().iter().filter(|problem| problem.message.contains("control character")).count(),
        2
    );
    assert!(!state.problems().iter().any(|problem| problem.message.contains("no such app")));
}
