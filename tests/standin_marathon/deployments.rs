use std::collections::HashMap;
use std::time::Duration;

use causeway::demo::marathon::Profile;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bench::{Bench, address, ask, options, tasks, text};

fn of_task<'a>(events: &'a [Value], task: &str) -> Vec<&'a str> {
    let updates = events.iter().filter(|event| event["eventType"] == "status_update_event");
    updates.filter(|event| event["taskId"] == task).map(|event| text(&event["taskStatus"])).collect()
}

#[tokio::test]
async fn scaling_changes_only_the_version_and_the_time_of_scaling() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/s", "cmd": "x"})).await;
    let before = bench.settled("/s").await;
    bench.put("/v2/apps/s", json!({"instances": 3})).await;
    let after = bench.settled("/s").await;
    assert!(text(&after["version"]) > text(&before["version"]));
    assert_eq!(after["versionInfo"]["lastScalingAt"], after["version"]);
    assert_eq!(after["versionInfo"]["lastConfigChangeAt"], before["versionInfo"]["lastConfigChangeAt"]);
    assert!(tasks(&after).iter().any(|task| task["id"] == tasks(&before)[0]["id"]));
    let versions = bench.get("/v2/apps/s/versions").await;
    assert_eq!(versions["versions"], json!([after["version"], before["version"]]));
    let old = bench.get(&format!("/v2/apps/s/versions/{}", text(&before["version"]))).await;
    assert_eq!(old["instances"], 1);
}

#[tokio::test]
async fn a_killed_task_serves_through_its_grace_and_is_then_gone() {
    let mut options = options(Profile::V1_11);
    options.kill_grace = Duration::from_millis(600);
    let bench = Bench::with(options).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", json!({"id": "/s", "cmd": "x", "instances": 2})).await;
    let before = bench.settled("/s").await;
    let started = Instant::now();
    bench.put("/v2/apps/s", json!({"instances": 1})).await;
    let killing =
        bench.app_when("/s", |app| tasks(app).iter().any(|task| task["state"] == "TASK_KILLING")).await;
    let victim = tasks(&killing).into_iter().find(|task| task["state"] == "TASK_KILLING").unwrap();
    assert!(ask(address(&victim), "/").await.unwrap().contains(text(&victim["id"])));
    let after = bench.settled("/s").await;
    assert!(started.elapsed() >= Duration::from_millis(600));
    assert_eq!(tasks(&after).len(), 1);
    assert!(ask(address(&victim), "/").await.is_err());
    stream.event(|event| event["taskStatus"] == "TASK_KILLED").await;
    stream.until(|said| said.matches("event: deployment_success").count() == 2).await;
    assert_eq!(
        of_task(&stream.events(), text(&victim["id"])),
        ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"]
    );
    let conditions: Vec<String> = stream
        .events()
        .iter()
        .filter(|event| event["instanceId"].as_str().is_some_and(|id| text(&victim["id"]).starts_with(id)))
        .filter_map(|event| event["condition"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(
        conditions,
        ["Scheduled", "Provisioned", "Staging", "Starting", "Running", "Running", "Killing", "Killed"]
    );
    assert_eq!(tasks(&before).len(), 2);
}

#[tokio::test]
async fn before_1_4_only_the_first_running_and_the_end_are_events() {
    let bench = Bench::start(Profile::V0_11).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", json!({"id": "/s", "cmd": "x"})).await;
    let app = bench.settled("/s").await;
    let id = text(&tasks(&app)[0]["id"]).to_owned();
    bench.put("/v2/apps/s", json!({"instances": 0})).await;
    stream.event(|event| event["taskStatus"] == "TASK_KILLED").await;
    assert_eq!(of_task(&stream.events(), &id), ["TASK_RUNNING", "TASK_KILLED"]);
    assert!(!stream.text().contains("instance_changed_event"));
}

#[tokio::test]
async fn a_rolling_upgrade_keeps_the_minimum_of_healthy_tasks() {
    let bench = Bench::start(Profile::V1_11).await;
    bench
        .post(
            "/v2/apps",
            json!({"id": "/r", "cmd": "x", "instances": 4,
            "healthChecks": [{"path": "/health", "intervalSeconds": 1}],
            "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.25}}),
        )
        .await;
    let before =
        bench.app_when("/r", |app| app["tasksHealthy"] == 4 && app["deployments"] == json!([])).await;
    let mut stream = bench.stream("").await;
    stream.until(|said| said.contains("event_stream_attached")).await;
    bench
        .put(
            "/v2/apps/r",
            json!({"labels": {"changed": "yes"}, "portDefinitions": [{"port": 0}, {"port": 0}]}),
        )
        .await;
    let during = bench.app("/r").await;
    assert_eq!(during["labels"]["changed"], "yes");
    assert_eq!(during["deployments"].as_array().unwrap().len(), 1);
    let old = tasks(&during).into_iter().find(|task| task["version"] == before["version"]).unwrap();
    assert_eq!(old["ports"].as_array().unwrap().len(), 1);
    stream.event(|event| event["eventType"] == "deployment_success").await;
    let after = bench.app("/r").await;
    assert_eq!(tasks(&after).len(), 4);
    assert!(tasks(&after).iter().all(|task| task["version"] == after["version"]));
    // Replayed from the events: never less than two able to serve, never more than five in all.
    let mut states: HashMap<String, String> =
        tasks(&before).iter().map(|task| (text(&task["id"]).to_owned(), "TASK_RUNNING".to_owned())).collect();
    for event in stream.events().iter().filter(|event| event["eventType"] == "status_update_event") {
        let (task, status) = (text(&event["taskId"]).to_owned(), text(&event["taskStatus"]).to_owned());
        if status == "TASK_KILLED" {
            states.remove(&task)
        } else {
            states.insert(task, status)
        };
        let running = states.values().filter(|status| *status == "TASK_RUNNING").count();
        assert!(running >= 2, "{states:?}");
        assert!(states.len() <= 5, "{states:?}");
    }
}

#[tokio::test]
async fn a_second_change_is_refused_until_the_first_is_over_or_overridden() {
    let bench = Bench::start(Profile::V1_11).await;
    bench
        .post(
            "/v2/apps",
            json!({"id": "/l", "cmd": "x", "readinessChecks": [{"path": "/ready", "portName": "default"}]}),
        )
        .await;
    bench.settled("/l").await;
    bench.put("/standin/readiness/l", json!({"ready": false})).await;
    bench.put("/v2/apps/l", json!({"labels": {"n": "1"}})).await;
    let (status, body) = bench.send(Method::PUT, "/v2/apps/l", json!({"labels": {"n": "2"}})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let deployments = bench.get("/v2/deployments").await;
    assert_eq!(body["deployments"], json!([{"id": deployments[0]["id"]}]));
    assert_eq!(deployments[0]["affectedApps"], json!(["/l"]));
    assert_eq!(bench.app("/l").await["labels"]["n"], "1");
    bench.put("/v2/apps/l?force=true", json!({"labels": {"n": "2"}})).await;
    let deployments = bench.get("/v2/deployments").await;
    assert_eq!(deployments.as_array().unwrap().len(), 1);
    assert_eq!(bench.app("/l").await["labels"]["n"], "2");
}

#[tokio::test]
async fn a_deployment_waits_for_readiness_and_shows_its_results() {
    let bench = Bench::start(Profile::V1_11).await;
    let check = json!({"name": "ready", "path": "/ready", "portName": "default", "intervalSeconds": 0.05,
        "preserveLastResponse": true});
    bench.post("/v2/apps", json!({"id": "/w", "cmd": "x", "readinessChecks": [check]})).await;
    let before = bench.settled("/w").await;
    assert_eq!(before["readinessCheckResults"], json!([]));
    bench.put("/standin/readiness/w", json!({"ready": false})).await;
    bench.put("/v2/apps/w", json!({"labels": {"n": "1"}})).await;
    let waiting = bench.app_when("/w", |app| app["readinessCheckResults"][0]["ready"] == false).await;
    assert_eq!(waiting["readinessCheckResults"][0]["lastResponse"]["status"], 503);
    assert_eq!(waiting["tasksRunning"], 2);
    bench.put("/standin/readiness/w", json!({"ready": true})).await;
    let after = bench.settled("/w").await;
    assert_eq!(after["readinessCheckResults"], json!([]));
    assert!(tasks(&after).iter().all(|task| task["version"] == after["version"]));
}

#[tokio::test]
async fn a_deleted_apps_definition_is_gone_at_once() {
    let bench = Bench::start(Profile::V1_11).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", json!({"id": "/d", "cmd": "x"})).await;
    let app = bench.settled("/d").await;
    let (status, _) = bench.send(Method::DELETE, "/v2/apps/d", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(bench.get("/v2/apps").await["apps"], json!([]));
    assert!(ask(address(&tasks(&app)[0]), "/").await.is_ok());
    stream.event(|event| event["eventType"] == "app_terminated_event").await;
    assert!(ask(address(&tasks(&app)[0]), "/").await.is_err());
}

#[tokio::test]
async fn a_killed_task_is_replaced_unless_the_kill_scales_down() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/g/k", "cmd": "x", "instances": 2})).await;
    let app = bench.settled("/g/k").await;
    let victim = text(&tasks(&app)[0]["id"]).to_owned();
    let (_, answer) = bench.send(Method::DELETE, &format!("/v2/apps/g/k/tasks/{victim}"), Value::Null).await;
    assert_eq!(answer["task"]["id"], json!(victim));
    let next = victim.replace("._app.1", "._app.2");
    let app = bench
        .app_when("/g/k", |app| {
            app["tasksRunning"] == 2 && tasks(app).iter().any(|task| task["id"] == json!(next))
        })
        .await;
    assert_eq!(app["instances"], 2);
    let answer = bench.post("/v2/tasks/delete?scale=true", json!({"ids": [next]})).await;
    assert!(answer["deploymentId"].is_string());
    let app = bench.settled("/g/k").await;
    assert_eq!(app["instances"], 1);
    assert!(tasks(&app).iter().all(|task| task["id"] != json!(next)));
}

#[tokio::test]
async fn deleting_a_deployment_rolls_back() {
    let bench = Bench::start(Profile::V1_11).await;
    bench
        .post(
            "/v2/apps",
            json!({"id": "/b", "cmd": "old", "readinessChecks": [{"path": "/r", "portName": "default"}]}),
        )
        .await;
    bench.settled("/b").await;
    bench.put("/standin/readiness/b", json!({"ready": false})).await;
    let id = bench.put("/v2/apps/b", json!({"cmd": "new"})).await["deploymentId"].take();
    bench.put("/standin/readiness/b", json!({"ready": true})).await;
    let (status, _) =
        bench.send(Method::DELETE, &format!("/v2/deployments/{}", text(&id)), Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(bench.settled("/b").await["cmd"], "old");
}

#[tokio::test]
async fn a_group_is_created_replaced_and_removed_as_a_whole() {
    let bench = Bench::start(Profile::V1_11).await;
    bench
        .post(
            "/v2/groups",
            json!({"id": "/shop", "apps": [{"id": "a", "cmd": "x"}, {"id": "b", "cmd": "x"}]}),
        )
        .await;
    bench.settled("/shop/a").await;
    bench.settled("/shop/b").await;
    bench.put("/v2/groups/shop", json!({"apps": [{"id": "a", "cmd": "x", "instances": 2}]})).await;
    assert_eq!(bench.settled("/shop/a").await["instances"], 2);
    let ids = bench.get("/v2/groups/shop").await["apps"].as_array().unwrap().len();
    assert_eq!(ids, 1);
    bench.app_when("/shop/a", |app| app["deployments"] == json!([])).await;
    let (status, _) = bench.send(Method::DELETE, "/v2/groups/shop?force=true", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(bench.get("/v2/apps").await["apps"], json!([]));
}
