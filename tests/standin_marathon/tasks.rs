use std::time::Duration;

use causeway::demo::marathon::Profile;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::bench::{Bench, Stream, address, ask, tasks, text};

#[tokio::test]
async fn ten_thousand_tasks_answer_each_by_its_address() {
    let bench = Bench::start(Profile::V1_11).await;
    let apps = (0..1000).map(|index| json!({"id": format!("/many/app-{index}"), "instances": 10})).collect();
    bench.standin.create_apps(apps).await.unwrap();
    let all = bench.get("/v2/apps?embed=apps.tasks").await;
    let all: Vec<Value> = all["apps"].as_array().unwrap().iter().flat_map(tasks).collect();
    assert_eq!(all.len(), 10_000);
    for task in &all {
        let answer = ask(address(task), "/where").await.unwrap();
        assert!(answer.contains(&format!("task: {}\n", text(&task["id"]))), "{answer}");
    }
}

#[tokio::test]
async fn a_dead_tasks_address_resets_and_its_open_connections_end() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/d", "cmd": "x"})).await;
    let app = bench.settled("/d").await;
    let place = address(&tasks(&app)[0]);
    let mut open = Stream::open(place, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    open.until(|said| said.contains("app: /d")).await;
    bench.put("/v2/apps/d", json!({"instances": 0})).await;
    open.until_end().await;
    bench.settled("/d").await;
    let mut dead = TcpStream::connect(place).await.unwrap();
    let _ = dead.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    let mut buffer = [0; 16];
    let read = tokio::io::AsyncReadExt::read(&mut dead, &mut buffer).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_answer_names_the_task_and_repeats_the_request() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/e", "cmd": "x"})).await;
    let app = bench.settled("/e").await;
    let task = &tasks(&app)[0];
    let request =
        "GET /p?q=1 HTTP/1.1\r\nHost: a.example.org\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let answer = Stream::open(address(task), request).await.until_end().await;
    for line in [
        format!("x-task: {}", text(&task["id"])),
        "x-app: /e".to_owned(),
        format!("host: {}", address(task)),
        "path: /p".to_owned(),
        "request-host: a.example.org".to_owned(),
        "x-forwarded-proto: https".to_owned(),
        format!("version: {}", text(&app["version"])),
    ] {
        assert!(answer.contains(&line), "{line} in {answer}");
    }
}

#[tokio::test]
async fn a_tcp_port_speaks_first_when_the_client_says_nothing() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/t", "cmd": "x", "labels": {"HAPROXY_0_MODE": "tcp"}})).await;
    let app = bench.settled("/t").await;
    let banner = format!("task {} app /t\n", text(&tasks(&app)[0]["id"]));
    let place = address(&tasks(&app)[0]);
    let mut silent = Stream::open(place, "").await;
    silent.until(|said| said == banner).await;
    let mut talking = Stream::open(place, "hello\nagain\n").await;
    talking.until(|said| said == format!("{banner}again\n")).await;
}

#[tokio::test]
async fn a_container_without_host_port_is_reached_at_its_own_address() {
    let bench = Bench::start(Profile::V1_11).await;
    bench
        .post(
            "/v2/apps",
            json!({"id": "/c", "networks": [{"mode": "container", "name": "dcos"}],
            "container": {"type": "MESOS", "portMappings": [
                {"containerPort": 18123}, {"containerPort": 80, "hostPort": 0}]}}),
        )
        .await;
    let task = tasks(&bench.settled("/c").await)[0].clone();
    assert_eq!(task["ports"].as_array().unwrap().len(), 1);
    let own = format!("{}:18123", text(&task["ipAddresses"][0]["ipAddress"])).parse().unwrap();
    assert!(ask(own, "/").await.unwrap().contains(text(&task["id"])));
    assert!(ask(address(&task), "/").await.unwrap().contains(text(&task["id"])));
}

fn checked(failures: u64) -> Value {
    json!({"id": "/h", "cmd": "x", "healthChecks": [{"path": "/health", "intervalSeconds": 0.05,
        "gracePeriodSeconds": 0, "maxConsecutiveFailures": failures}]})
}

#[tokio::test]
async fn health_fails_and_recovers_with_its_events() {
    let bench = Bench::start(Profile::V1_11).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", checked(0)).await;
    let app = bench.app_when("/h", |app| app["tasksHealthy"] == 1).await;
    let task = tasks(&app)[0].clone();
    let switch = format!("/standin/tasks/{}/health", text(&task["id"]));
    bench.put(&switch, json!({"healthy": false})).await;
    let app = bench.app_when("/h", |app| app["tasksUnhealthy"] == 1).await;
    let result = tasks(&app)[0]["healthCheckResults"][0].clone();
    assert_eq!(result["alive"], false);
    assert!(text(&task["id"]).starts_with(text(&result["instanceId"])));
    assert!(text(&result["lastFailureCause"]).starts_with("503"));
    assert!(ask(address(&task), "/").await.unwrap().starts_with("HTTP/1.1 200"));
    stream.event(|event| event["eventType"] == "failed_health_check_event").await;
    stream
        .event(|event| event["eventType"] == "health_status_changed_event" && event["alive"] == false)
        .await;
    stream
        .event(|event| event["eventType"] == "instance_health_changed_event" && event["healthy"] == false)
        .await;
    bench.put(&switch, json!({"healthy": true})).await;
    bench.app_when("/h", |app| app["tasksHealthy"] == 1).await;
}

#[tokio::test]
async fn a_task_that_fails_too_often_is_killed_and_replaced() {
    let bench = Bench::start(Profile::V1_11).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", checked(2)).await;
    let app = bench.app_when("/h", |app| app["tasksHealthy"] == 1 && app["deployments"] == json!([])).await;
    let id = tasks(&app)[0]["id"].clone();
    bench.put(&format!("/standin/tasks/{}/health", text(&id)), json!({"serving": false})).await;
    stream
        .event(|event| event["eventType"] == "unhealthy_instance_kill_event" && event["taskId"] == id)
        .await;
    bench.app_when("/h", |app| app["tasksHealthy"] == 1 && tasks(app)[0]["id"] != id).await;
}

#[tokio::test]
async fn health_results_are_keyed_by_task_before_1_4() {
    let bench = Bench::start(Profile::V0_11).await;
    bench.post("/v2/apps", checked(0)).await;
    let app = bench.app_when("/h", |app| app["tasksHealthy"] == 1).await;
    let task = &tasks(&app)[0];
    assert_eq!(task["healthCheckResults"][0]["taskId"], task["id"]);
    assert!(task["healthCheckResults"][0].get("instanceId").is_none());
}

#[tokio::test]
async fn a_lost_task_is_unreachable_and_may_come_back() {
    let bench = Bench::start(Profile::V1_11).await;
    let mut stream = bench.stream("").await;
    bench.post("/v2/apps", json!({"id": "/u", "cmd": "x"})).await;
    let app = bench.settled("/u").await;
    let id = text(&tasks(&app)[0]["id"]).to_owned();
    let switch = format!("/standin/tasks/{id}/state");
    bench.put(&switch, json!({"state": "TASK_LOST"})).await;
    assert_eq!(tasks(&bench.app("/u").await)[0]["state"], "TASK_UNREACHABLE");
    stream.event(|event| event["taskStatus"] == "TASK_LOST").await;
    bench.put(&switch, json!({"state": "TASK_RUNNING"})).await;
    assert_eq!(tasks(&bench.app("/u").await)[0]["state"], "TASK_RUNNING");
    bench.put(&switch, json!({"state": "TASK_FAILED"})).await;
    let app = bench.app_when("/u", |app| app["tasksRunning"] == 1 && tasks(app)[0]["id"] != json!(id)).await;
    assert_eq!(app["lastTaskFailure"]["state"], "TASK_FAILED");
}

#[tokio::test]
async fn a_storm_reports_a_state_of_one_task_of_each_app_spread_over_a_time() {
    let bench = Bench::start(Profile::V1_11).await;
    let apps = (0..20).map(|index| json!({"id": format!("/s/app-{index:02}"), "instances": 2})).collect();
    bench.standin.create_apps(apps).await.unwrap();
    let mut stream = bench.stream("").await;
    let states = async || -> Vec<Vec<String>> {
        let all = bench.get("/v2/apps?embed=apps.tasks").await;
        let states = |app: &Value| tasks(app).iter().map(|task| text(&task["state"]).to_owned()).collect();
        all["apps"].as_array().unwrap().iter().map(states).collect()
    };
    let began = Instant::now();
    let answer =
        bench.post("/standin/storm", json!({"state": "TASK_LOST", "apps": 15, "over_ms": 200})).await;
    assert_eq!(answer["reported"], 15);
    assert!(began.elapsed() >= Duration::from_millis(200));
    let lost = states().await;
    assert!(lost[..15].iter().all(|app| *app == ["TASK_UNREACHABLE", "TASK_RUNNING"]), "{lost:?}");
    assert!(lost[15..].iter().all(|app| *app == ["TASK_RUNNING", "TASK_RUNNING"]), "{lost:?}");
    let last = |event: &Value| event["taskStatus"] == "TASK_LOST" && event["appId"] == "/s/app-14";
    stream.event(last).await;
    let counted = stream.events().iter().filter(|event| event["taskStatus"] == "TASK_LOST").count();
    assert_eq!(counted, 15);

    // Those that run already are left alone.
    let answer = bench.post("/standin/storm", json!({"state": "TASK_RUNNING", "apps": 1000})).await;
    assert_eq!(answer["reported"], 15);
    assert!(states().await.iter().all(|app| *app == ["TASK_RUNNING", "TASK_RUNNING"]));
}

#[tokio::test]
async fn everything_is_closed_when_the_stand_in_ends() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/z", "cmd": "x"})).await;
    let place = address(&tasks(&bench.settled("/z").await)[0]);
    let (api, mut stream) = (bench.standin.address(), bench.stream("").await);
    let started = Instant::now();
    bench.standin.shutdown().await;
    stream.until_end().await;
    assert!(TcpStream::connect(place).await.is_err());
    assert!(TcpStream::connect(api).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
}
