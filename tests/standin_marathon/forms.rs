use std::collections::BTreeSet;

use causeway::demo::marathon::Profile;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bench::{Bench, tasks, text};

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn fixture(text: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(text).unwrap();
    list["apps"].as_array().unwrap().clone()
}

/// Posts the fixture's apps as they were read and compares the keys of what is read back.
async fn assert_same_keys(profile: Profile, apps: Vec<Value>) {
    let bench = Bench::start(profile).await;
    for expected in apps {
        let id = text(&expected["id"]).to_owned();
        bench.post("/v2/apps", expected.clone()).await;
        bench.app_when(&id, |app| app["tasksRunning"] == expected["instances"]).await;
        let readiness =
            if expected.get("readinessCheckResults").is_some() { "&embed=apps.readiness" } else { "" };
        let all = bench.get(&format!("/v2/apps?embed=apps.tasks{readiness}")).await;
        let actual = all["apps"].as_array().unwrap().iter().find(|app| app["id"] == id).unwrap();
        assert_eq!(keys(actual), keys(&expected), "keys of {id} in {profile}");
        for part in ["container", "ipAddress", "upgradeStrategy", "versionInfo"] {
            if expected[part].is_object() {
                assert_eq!(keys(&actual[part]), keys(&expected[part]), "{part} of {id} in {profile}");
            }
        }
        for list in ["portDefinitions", "healthChecks", "readinessChecks"] {
            for (actual, expected) in actual[list].as_array().iter().zip(expected[list].as_array().iter()) {
                let key_sets = |list: &[Value]| list.iter().map(keys).collect::<Vec<_>>();
                assert_eq!(key_sets(actual), key_sets(expected), "{list} of {id} in {profile}");
            }
        }
        let running = |task: &&Value| task["startedAt"].is_string();
        let expected_task = tasks(&expected);
        let Some(expected_task) = expected_task.iter().find(running) else { continue };
        let mut task_keys = keys(&tasks(actual)[0]);
        let mut expected_keys = keys(expected_task);
        // Old versions leave the results out while there are none.
        if !task_keys.contains("healthCheckResults") || !expected_keys.contains("healthCheckResults") {
            task_keys.remove("healthCheckResults");
            expected_keys.remove("healthCheckResults");
        }
        assert_eq!(task_keys, expected_keys, "keys of a task of {id} in {profile}");
    }
}

#[tokio::test]
async fn apps_and_tasks_have_the_keys_of_marathon_1_11() {
    assert_same_keys(Profile::V1_11, fixture(include_str!("../fixtures/marathon/apps-embed-1.11.json")))
        .await;
}

#[tokio::test]
async fn apps_and_tasks_have_the_keys_of_marathon_1_4() {
    assert_same_keys(Profile::V1_4, fixture(include_str!("../fixtures/marathon/apps-embed-1.4.json"))).await;
}

#[tokio::test]
async fn apps_and_tasks_have_the_keys_of_marathon_0_11() {
    assert_same_keys(Profile::V0_11, fixture(include_str!("../fixtures/marathon/apps-embed-0.11.json")))
        .await;
}

fn old_form() -> Value {
    json!({
        "id": "/old", "cmd": "run", "instances": 1,
        "container": {"type": "DOCKER", "docker": {"image": "web", "network": "BRIDGE", "portMappings": [
            {"containerPort": 3000, "hostPort": 0, "servicePort": 10000, "labels": {"VIP_0": "1.1.1.1:30000"}}]}},
        "portDefinitions": [{"port": 10000, "protocol": "tcp", "labels": {}}],
        "healthChecks": [{"path": "/", "protocol": "HTTP", "portIndex": 0}],
        "somethingUnknown": {"kept": true},
    })
}

#[tokio::test]
async fn an_app_posted_in_the_old_form_comes_back_in_the_new_one() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", old_form()).await;
    let app = bench.app("/old").await;
    assert_eq!(app["networks"], json!([{"mode": "container/bridge"}]));
    let mapping = &app["container"]["portMappings"][0];
    assert_eq!(mapping["servicePort"], 10000);
    assert_eq!(mapping["protocol"], "tcp");
    assert_eq!(mapping["labels"]["VIP_0"], "1.1.1.1:30000");
    assert!(app["container"]["docker"].get("portMappings").is_none());
    assert!(app["container"]["docker"].get("network").is_none());
    assert!(app.get("portDefinitions").is_none() && app.get("ports").is_none());
    assert_eq!(app["somethingUnknown"], json!({"kept": true}));
}

#[tokio::test]
async fn an_app_posted_in_the_new_form_comes_back_in_the_old_one() {
    let bench = Bench::start(Profile::V1_4).await;
    bench
        .post(
            "/v2/apps",
            json!({"id": "/new", "networks": [{"mode": "container", "name": "dcos"}],
            "container": {"type": "DOCKER", "docker": {"image": "web"},
                "portMappings": [{"containerPort": 8123, "servicePort": 10200}]}}),
        )
        .await;
    let app = bench.app("/new").await;
    assert_eq!(app["container"]["docker"]["network"], "USER");
    assert_eq!(app["container"]["docker"]["portMappings"][0]["containerPort"], 8123);
    assert_eq!(app["ipAddress"]["networkName"], "dcos");
    assert!(app.get("networks").is_none() && app["container"].get("portMappings").is_none());
}

#[tokio::test]
async fn service_ports_are_assigned_from_10000_up_and_kept_over_updates() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "/a", "portDefinitions": [{"port": 10000}, {"port": 0}]})).await;
    bench.post("/v2/apps", json!({"id": "/b", "cmd": "x"})).await;
    assert_eq!(bench.app("/a").await["portDefinitions"][1]["port"], 10001);
    assert_eq!(bench.app("/b").await["portDefinitions"][0]["port"], 10002);
    bench.settled("/b").await;
    bench.put("/v2/apps/b", json!({"portDefinitions": [{"port": 0, "name": "again"}]})).await;
    assert_eq!(bench.app("/b").await["portDefinitions"][0]["port"], 10002);
}

#[tokio::test]
async fn ids_are_found_with_double_slashes_and_percent_escapes() {
    let bench = Bench::start(Profile::V1_11).await;
    bench.post("/v2/apps", json!({"id": "group/sub/app", "cmd": "x"})).await;
    for path in ["/v2/apps/group/sub/app", "/v2/apps//group/sub/app", "/v2/apps/%2Fgroup%2Fsub%2Fapp"] {
        assert_eq!(bench.get(path).await["app"]["id"], "/group/sub/app", "{path}");
    }
    assert_eq!(bench.get("/v2/apps/group/*").await["*"][0]["id"], "/group/sub/app");
    assert_eq!(bench.get("/v2/groups").await["groups"][0]["groups"][0]["id"], "/group/sub");
}

#[tokio::test]
async fn errors_have_marathons_statuses_and_bodies() {
    let bench = Bench::start(Profile::V1_11).await;
    let (status, body) = bench.send(Method::GET, "/v2/apps/x", Value::Null).await;
    assert_eq!((status, body), (StatusCode::NOT_FOUND, json!({"message": "App '/x' does not exist"})));
    let (status, body) = bench.send(Method::POST, "/v2/apps", json!({"id": "/NO", "cmd": "x"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(body["details"][0]["path"], "/id");
    let url = format!("{}/v2/apps", bench.standin.url());
    let response = bench.client.post(url).body("{").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()["x-marathon-leader"], bench.standin.url());
    assert_eq!(response.headers()["pragma"], "no-cache");
    assert_eq!(response.json::<Value>().await.unwrap()["message"], "Invalid JSON");
    bench.post("/v2/apps", json!({"id": "/twice", "cmd": "x"})).await;
    let (status, _) = bench.send(Method::POST, "/v2/apps", json!({"id": "/twice", "cmd": "x"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn lists_are_limited_by_labels_and_ids() {
    let bench = Bench::start(Profile::V1_11).await;
    let app = |id: &str, group: &str| json!({"id": id, "instances": 0, "labels": {"HAPROXY_GROUP": group}});
    bench
        .standin
        .create_apps(vec![app("/a", "external"), app("/b", "internal"), json!({"id": "/c"})])
        .await
        .unwrap();
    let ids = |list: Value| {
        list["apps"].as_array().unwrap().iter().map(|app| text(&app["id"]).to_owned()).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("label=HAPROXY_GROUP==external", vec!["/a"]),
        ("label=HAPROXY_GROUP!=external", vec!["/b"]),
        ("label=HAPROXY_GROUP%20in%20(external,internal)", vec!["/a", "/b"]),
        ("label=HAPROXY_GROUP", vec!["/a", "/b"]),
        ("id=C", vec!["/c"]),
    ] {
        assert_eq!(ids(bench.get(&format!("/v2/apps?{query}")).await), expected, "{query}");
    }
}

#[tokio::test]
async fn pods_are_an_empty_list_except_in_0_11() {
    let new = Bench::start(Profile::V1_11).await;
    assert_eq!(new.get("/v2/pods/::status").await, json!([]));
    let old = Bench::start(Profile::V0_11).await;
    assert_eq!(old.send(Method::GET, "/v2/pods", Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn credentials_guard_every_path_but_the_switches() {
    let mut options = super::bench::options(Profile::V1_11);
    options.credentials = Some(("marathon".to_owned(), "secret".to_owned()));
    let bench = Bench::with(options).await;
    for path in ["/ping", "/v2/apps", "/v2/events"] {
        assert_eq!(bench.send(Method::GET, path, Value::Null).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let url = format!("{}/ping", bench.standin.url());
    let answer = bench.client.get(url).basic_auth("marathon", Some("secret")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "pong\n");
    assert_eq!(bench.send(Method::GET, "/standin/faults", Value::Null).await.0, StatusCode::OK);
}
