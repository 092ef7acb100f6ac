use std::net::IpAddr;

use super::super::list::{Record, records_of_file};
use super::super::pending::Pending;
use super::*;

/// An app with one service port, and tasks given as JSON.
fn app_json(extra: &str, tasks: &str) -> String {
    format!(
        r#"{{"id":"/a","networks":[{{"mode":"host"}}],"portDefinitions":[{{"port":10001,"name":"http"}}],
        "version":"2026-01-02T00:00:00.000Z",
        "versionInfo":{{"lastConfigChangeAt":"2026-01-02T00:00:00.000Z"}}{extra},"tasks":[{tasks}]}}"#
    )
}

fn task(id: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","host":"10.0.0.1","ports":[31000],"state":"TASK_RUNNING",
        "version":"2026-01-02T00:00:00.000Z"{more}}}"#
    )
}

const CHECKED: &str = r#","healthChecks":[{"protocol":"HTTP"}]"#;
const ALIVE: &str = r#","healthCheckResults":[{"alive":true}]"#;

fn reading(cluster: &Cluster, json: &str) -> Reading {
    let nowhere = |_: &str| None::<IpAddr>;
    match records_of_file(json.as_bytes()).unwrap().remove(0) {
        Record::App(wire) => Reading::App(Box::new(Pending::of(*wire, &cluster.all()).build(&nowhere))),
        Record::Wrong(id, problem) => Reading::Wrong(id, problem),
    }
}

/// Merges an answer to a read that begins now.
fn merge(cluster: &mut Cluster, json: &str) -> Change {
    let began = cluster.next_moment();
    let reading = reading(cluster, json);
    cluster.merge(reading, began)
}

fn commit(cluster: &mut Cluster, json: &[&str], now: Instant) -> Snapshot {
    let began = cluster.next_moment();
    let readings = json.iter().map(|json| reading(cluster, json)).collect();
    cluster.commit(readings, began, now).unwrap()
}

fn a() -> AppId {
    AppId::new("/a")
}

fn task_of(cluster: &Cluster, id: &str) -> Option<Task> {
    cluster.known(&a()).unwrap().app.tasks.get(&TaskId::new(id)).cloned()
}

fn ending(target: &str, what: What) -> Ending {
    Ending { app: a(), target: Target::Task(TaskId::new(target)), what }
}

#[tokio::test]
async fn a_task_that_ended_never_comes_back_whatever_a_later_answer_says() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    let both = app_json("", &[task("t1", ""), task("t2", "")].join(","));
    merge(&mut cluster, &both);
    let told = cluster.end(&ending("t1", What::Ended), now).unwrap();
    assert_eq!(told.tasks.len(), 1);
    merge(&mut cluster, &both);
    assert!(task_of(&cluster, "t1").is_none() && task_of(&cluster, "t2").is_some());
    let snapshot = commit(&mut cluster, &[&both], now + REMEMBER_ENDINGS * 2);
    assert_eq!(snapshot.apps[0].tasks.len(), 1, "it is still listed, so its end is still remembered");
    commit(&mut cluster, &[&app_json("", "")], now + REMEMBER_ENDINGS * 2);
    assert!(cluster.ended.is_empty(), "an old end that is listed no more is forgotten");
}

#[tokio::test]
async fn an_end_heard_before_the_app_was_read_holds_too() {
    let mut cluster = Cluster::default();
    assert!(cluster.end(&ending("t1", What::Ended), Instant::now()).is_none());
    merge(&mut cluster, &app_json("", &task("t1", "")));
    assert!(task_of(&cluster, "t1").is_none());
}

#[tokio::test]
async fn a_kill_is_never_taken_back_by_an_answer_that_still_shows_the_task_running() {
    let mut cluster = Cluster::default();
    let json = app_json("", &format!("{},{}", task("t1", ""), task("t2", "")));
    merge(&mut cluster, &json);
    let told = cluster.end(&ending("t1", What::Killing), Instant::now()).unwrap();
    assert_eq!(told.tasks[&TaskId::new("t1")].state, TaskState::Killing);
    assert!(merge(&mut cluster, &json).upsert.is_none());
    assert_eq!(task_of(&cluster, "t1").unwrap().state, TaskState::Killing);
}

#[tokio::test]
async fn a_kill_that_would_leave_nobody_waits_for_the_read_that_tells_who_is_new() {
    let mut cluster = Cluster::default();
    let json = app_json("", &task("t1", ""));
    merge(&mut cluster, &json);
    assert!(cluster.end(&ending("t1", What::Killing), Instant::now()).is_none());
    assert_eq!(task_of(&cluster, "t1").unwrap().state, TaskState::Running);
    let told = merge(&mut cluster, &json).upsert.unwrap();
    assert_eq!(told.tasks[&TaskId::new("t1")].state, TaskState::Killing, "the read shows that nobody is new");
}

#[tokio::test]
async fn an_answer_to_a_read_that_began_before_the_event_does_not_resurrect_and_a_later_one_may() {
    let mut cluster = Cluster::default();
    let json = app_json(CHECKED, &task("t1", ALIVE));
    for what in [What::Unhealthy, What::Unreachable, What::Lost] {
        merge(&mut cluster, &json);
        let began = cluster.next_moment();
        let stale = reading(&cluster, &json);
        assert!(cluster.end(&ending("t1", what), Instant::now()).is_some());
        assert!(cluster.merge(stale, began).upsert.is_none(), "{what:?}");
        assert!(merge(&mut cluster, &json).upsert.is_some(), "{what:?}");
        assert_eq!(cluster.known(&a()).unwrap().app.serving().count(), 1);
    }
}

#[tokio::test]
async fn an_event_about_an_instance_takes_out_its_task() {
    let mut cluster = Cluster::default();
    merge(&mut cluster, &app_json("", &task("a.instance-1._app.1", "")));
    let target = Target::Instance("a.instance-1".into());
    let told = cluster.end(&Ending { app: a(), target, what: What::Unhealthy }, Instant::now()).unwrap();
    assert_eq!(told.tasks.values().next().unwrap().health, Health::Unhealthy);
}

#[tokio::test]
async fn results_that_vanish_change_no_verdict() {
    let mut cluster = Cluster::default();
    merge(&mut cluster, &app_json(CHECKED, &task("t1", ALIVE)));
    assert!(merge(&mut cluster, &app_json(CHECKED, &task("t1", ""))).upsert.is_none());
    assert_eq!(task_of(&cluster, "t1").unwrap().health, Health::Healthy);
    merge(&mut cluster, &app_json(CHECKED, &[task("t1", ""), task("t2", "")].join(",")));
    assert_eq!(task_of(&cluster, "t2").unwrap().health, Health::Unknown, "a new task has no verdict");
}

#[tokio::test]
async fn a_task_that_was_served_before_is_healthy_until_marathon_says_otherwise() {
    let mut cluster = Cluster::new(HashSet::from([TaskId::new("t1")]));
    merge(&mut cluster, &app_json(CHECKED, &[task("t1", ""), task("t2", "")].join(",")));
    assert_eq!(task_of(&cluster, "t1").unwrap().health, Health::Healthy);
    assert_eq!(task_of(&cluster, "t2").unwrap().health, Health::Unknown);
    let dead = r#","healthCheckResults":[{"alive":false}]"#;
    merge(&mut cluster, &app_json(CHECKED, &task("t1", dead)));
    assert_eq!(task_of(&cluster, "t1").unwrap().health, Health::Unhealthy);
}

#[tokio::test]
async fn an_app_that_is_as_before_keeps_its_arc_and_is_not_told() {
    let mut cluster = Cluster::default();
    let json = app_json("", &task("t1", ""));
    let first = merge(&mut cluster, &json).upsert.unwrap();
    assert!(merge(&mut cluster, &json).upsert.is_none());
    let snapshot = commit(&mut cluster, &[&json], Instant::now());
    assert!(Arc::ptr_eq(&first, &snapshot.apps[0]));
}

#[tokio::test]
async fn an_outdated_task_keeps_the_endpoint_of_the_service_port_it_was_launched_with() {
    let mut cluster = Cluster::default();
    merge(&mut cluster, &app_json("", &task("t1", "")));
    let changed = r#"{"id":"/a","networks":[{"mode":"host"}],
        "portDefinitions":[{"port":10009,"name":"admin"},{"port":10001,"name":"http"}],
        "versionInfo":{"lastConfigChangeAt":"2026-01-03T00:00:00.000Z"},"tasks":[TASK]}"#;
    merge(&mut cluster, &changed.replace("TASK", &task("t1", "")));
    let endpoints = task_of(&cluster, "t1").unwrap().endpoints;
    assert_eq!(*endpoints, [None, Some("10.0.0.1:31000".parse().unwrap())]);
    merge(&mut cluster, &changed.replace("TASK", &task("t1", "")));
    assert_eq!(task_of(&cluster, "t1").unwrap().endpoints, endpoints, "and again");
}

#[tokio::test]
async fn a_change_of_labels_alone_leaves_the_endpoints_of_outdated_tasks() {
    let mut cluster = Cluster::default();
    merge(&mut cluster, &app_json("", &task("t1", "")));
    let newer = app_json(r#","labels":{"x":"y"}"#, &task("t1", ""))
        .replace("lastConfigChangeAt\":\"2026-01-02", "lastConfigChangeAt\":\"2026-01-03");
    let told = merge(&mut cluster, &newer).upsert.unwrap();
    assert_eq!(*told.tasks[&TaskId::new("t1")].endpoints, [Some("10.0.0.1:31000".parse().unwrap())]);
}

#[tokio::test]
async fn readiness_decides_only_while_a_deployment_waits_for_it() {
    let mut cluster = Cluster::default();
    let deploying = |results: &str| {
        format!(
            r#","readinessChecks":[{{}}],"deployments":[{{"id":"d"}}],"readinessCheckResults":[{results}]"#
        )
    };
    let ready = |cluster: &Cluster, id: &str| task_of(cluster, id).unwrap().ready;
    merge(&mut cluster, &app_json("", &task("old", "")));
    let both = [task("old", ""), task("new", "")].join(",");
    merge(&mut cluster, &app_json(&deploying(""), &both));
    assert!(ready(&cluster, "old"), "it was ready before");
    assert!(!ready(&cluster, "new"), "nobody has said that it is");
    assert!(cluster.awaits_readiness(&a()));
    let waiting = r#"{"taskId":"new","ready":true},{"taskId":"new","ready":false}"#;
    merge(&mut cluster, &app_json(&deploying(waiting), &both));
    assert!(!ready(&cluster, "new"), "every check has to pass");
    merge(&mut cluster, &app_json(&deploying(r#"{"taskId":"new","ready":true}"#), &both));
    assert!(ready(&cluster, "new") && !cluster.awaits_readiness(&a()));
    merge(&mut cluster, &app_json("", &[task("old", ""), task("newer", "")].join(",")));
    assert!(ready(&cluster, "newer"), "without a deployment there is nothing to wait for");
}

#[tokio::test]
async fn an_app_that_cannot_be_understood_now_keeps_its_last_good_copy() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    let good = merge(&mut cluster, &app_json("", &task("t1", ""))).upsert.unwrap();
    let wrong = r#"{"id":"/a","ports":"many"}"#;
    let change = merge(&mut cluster, wrong);
    assert!(change.upsert.is_none());
    assert_eq!(change.problems.unwrap().len(), 1);
    assert!(merge(&mut cluster, wrong).problems.is_none(), "the same problem is told once");
    let snapshot = commit(&mut cluster, &[wrong], now);
    assert!(Arc::ptr_eq(&snapshot.apps[0], &good));
    assert_eq!(snapshot.problems.len(), 1);
    let snapshot = commit(&mut cluster, &[&app_json("", &task("t1", ""))], now);
    assert_eq!(snapshot.problems, [(a(), Vec::new())], "a solved problem is taken back");
}

#[tokio::test]
async fn a_record_without_an_id_makes_no_app_disappear() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    merge(&mut cluster, &app_json("", &task("t1", "")));
    assert_eq!(commit(&mut cluster, &[r#"{"id":5}"#], now).apps.len(), 1);
    assert_eq!(commit(&mut cluster, &[], now).apps.len(), 0);
}

#[tokio::test]
async fn a_full_read_does_not_undo_what_was_read_or_removed_after_it_began() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    let old = app_json("", &task("t1", ""));
    let began = cluster.next_moment();
    let readings = vec![reading(&cluster, &old)];
    let newer = merge(&mut cluster, &app_json("", &task("t2", ""))).upsert.unwrap();
    let snapshot = cluster.commit(readings, began, now).unwrap();
    assert!(Arc::ptr_eq(&snapshot.apps[0], &newer));
    let began = cluster.next_moment();
    let readings = vec![reading(&cluster, &old)];
    let removed = cluster.next_moment();
    assert!(cluster.remove(&a(), removed));
    assert!(cluster.commit(readings, began, now).unwrap().apps.is_empty());
}

#[tokio::test]
async fn an_old_answer_brings_no_app_back_that_a_newer_list_did_not_have() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    let json = app_json("", &task("t1", ""));
    let (single, full) = (cluster.next_moment(), cluster.next_moment());
    let (late, later) = (reading(&cluster, &json), reading(&cluster, &json));
    assert!(commit(&mut cluster, &[], now).apps.is_empty());
    assert!(cluster.merge(late, single).upsert.is_none());
    assert!(cluster.commit(vec![later], full, now).is_none());
    assert!(cluster.known(&a()).is_none());
}

#[tokio::test]
async fn what_is_heard_of_a_task_while_its_app_is_first_read_outweighs_the_answer() {
    let mut cluster = Cluster::default();
    let began = cluster.next_moment();
    let first = reading(&cluster, &app_json(CHECKED, &task("t1", ALIVE)));
    assert!(cluster.end(&ending("t1", What::Unhealthy), Instant::now()).is_none());
    let told = cluster.merge(first, began).upsert.unwrap();
    assert_eq!(told.serving().count(), 0);
}
