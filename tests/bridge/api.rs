//! What `/api/v2` tells of what is known and what runs.

use serde_json::{Value, json};

use crate::stage::{Stage, app, until, vhost};

impl Stage {
    /// The answer of the API to a GET; `None` while there is none.
    pub(crate) async fn api(&self, path: &str) -> Option<Value> {
        let answer = self.ask(&format!("/api/v2{path}")).await?;
        serde_json::from_str(&answer.body).ok()
    }

    /// The generation that runs, once it can be gone back to.
    pub(crate) async fn can_go_back(&self) -> u64 {
        let first = self.info().await.unwrap().generation.unwrap();
        until("what it is made of to be kept", async || {
            let list = self.api("/config/generations").await?;
            (list["generations"][0]["can_roll_back"] == json!(true)).then_some(first)
        })
        .await
    }

    /// Waits until the API says at this pointer (RFC 6901) what is expected.
    pub(crate) async fn until_api(&self, path: &str, pointer: &str, expected: Value) -> Value {
        until(&format!("{path} to say {expected} at {pointer}"), async || {
            self.api(path).await.filter(|answer| answer.pointer(pointer) == Some(&expected))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_apps_and_problems_are_told_as_they_are() {
    let stage = Stage::with_apps(vec![
        vhost("/shop/web", 2, "web.example.com"),
        vhost("/shop/zlate", 1, "web.example.com"),
        app("/shop/quiet", 1, 0, json!({})),
        app("/data/cache", 1, 10_007, json!({ "HAPROXY_0_MODE": "tcp" })),
    ])
    .await;
    stage.served("web.example.com", "/", "/shop/web").await;
    let list = stage.until_api("/services", "/total", json!(3)).await;
    let web = stage.until_api("/services?q=shop%2Fweb", "/services/0/servers_serving", json!(2)).await;
    let web = &web["services"][0];
    assert_eq!(
        (&web["app"], &web["state"], &web["port_index"]),
        (&json!("/shop/web"), &json!("up"), &json!(0))
    );
    assert_eq!((&web["hosts"], &web["servers_total"]), (&json!(["web.example.com"]), &json!(2)));
    assert_eq!(list["services"][0]["port"], json!(10_007), "in order: {list}");

    for (query, expected) in [
        ("?mode=tcp", vec!["/data/cache"]),
        ("?group=%2Fshop", vec!["/shop/web", "/shop/zlate"]),
        ("?problems=true", vec!["/shop/zlate"]),
        ("?problems=false", vec!["/data/cache", "/shop/web"]),
        ("?exposed=false", vec!["/shop/quiet"]),
        ("?q=WEB.example.com", vec!["/shop/web"]),
        ("?q=10007", vec!["/data/cache"]),
        ("?state=down", vec![]),
        ("?limit=1", vec!["/data/cache"]),
        ("?limit=1&cursor=%2Fdata%2Fcache:0", vec!["/shop/web"]),
    ] {
        let answer = stage.api(&format!("/services{query}")).await.unwrap();
        let apps: Vec<&str> =
            answer["services"].as_array().unwrap().iter().map(|row| row["app"].as_str().unwrap()).collect();
        assert_eq!(apps, expected, "{query}: {answer}");
    }

    let quiet = stage.api("/apps?exposed=false").await.unwrap();
    assert_eq!(quiet["total"], json!(1));
    assert_eq!(quiet["apps"][0]["not_exposed"][0]["reason"], json!("not_asked"));
    let problems = stage.api("/problems?kind=conflict").await.unwrap();
    assert_eq!(problems["problems"][0]["app"], json!("/shop/zlate"));
    let since = problems["problems"][0]["since"].as_str().unwrap().to_owned();
    stage.put("/v2/apps/shop/zlate", json!({ "instances": 2 })).await;
    stage.until_api("/services?q=shop%2Fzlate", "/services/0/servers_serving", json!(2)).await;
    let problems = stage.api("/problems?kind=conflict").await.unwrap();
    assert_eq!(problems["problems"][0]["since"], json!(since), "it is the same problem still");

    for (asked, word) in [
        ("services?colour=blue", "colour"),
        ("services?state=fine", "state: expected one of up, degraded"),
        ("services?mode=udp", "mode: expected one of http, tcp"),
        ("problems?kind=worry", "kind: expected one of app, label"),
    ] {
        let wrong = stage.ask(&format!("/api/v2/{asked}")).await.unwrap();
        assert_eq!(wrong.status, 400, "{asked}");
        assert!(wrong.body.contains(word), "{}", wrong.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_tells_everything_that_is_known_of_it() {
    let labels = json!({
        "HAPROXY_0_VHOST": "web.example.com,taken.example.com", "HAPROXY_0_PATH": "/api", "HAPROXY_0_COLOUR": "blue",
        "HAPROXY_0_AUTH": "realm:ada:$5$saltsalt$0rl.MZtoLLPP3X0Rdl8riRnphIcAXJY27/aOAyK2hB5",
    });
    let taken = json!({ "HAPROXY_0_VHOST": "taken.example.com", "HAPROXY_0_PATH": "/api" });
    let stage = Stage::with_apps(vec![app("/shop/web", 2, 0, labels), app("/a", 1, 0, taken)]).await;
    stage.answers("web.example.com", "/api", 401).await;
    let web = stage.until_api("/services/shop/web", "/servers/1/state", json!("serving")).await;
    let label = |name: &str| {
        let labels = web["labels"].as_array().unwrap();
        labels.iter().find(|label| label["name"] == json!(name)).unwrap().clone()
    };
    assert!(label("HAPROXY_0_VHOST")["meaning"].is_string());
    assert!(label("HAPROXY_0_COLOUR")["problem"].as_str().unwrap().contains("not known"));
    assert_eq!(label("HAPROXY_0_AUTH")["value"], json!("(not shown)"));
    assert_eq!(web["routes"].as_array().unwrap().len(), 1);
    assert_eq!(web["lost"][0]["held_by"], json!("/a:0"), "{web}");
    let server = &web["servers"][0];
    assert_eq!((&server["marathon"]["state"], &server["haproxy"]["weight"]), (&json!("running"), &json!(1)));
    assert!(server["haproxy"]["since_seconds"].is_u64());
    assert_eq!(web["haproxy_error"], json!(null));
    let config = web["config"].as_str().unwrap();
    assert!(config.contains("backend h_shop_web_0") && config.contains("server slot1"), "{config}");
    assert!(!web.to_string().contains("phIcAXJY27/aOAyK2hB5"), "a hash is a secret");
    assert!(web["changes"][0]["how"].is_string());
    let kinds: Vec<&str> =
        web["problems"].as_array().unwrap().iter().map(|each| each["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"label") && kinds.contains(&"conflict"), "{kinds:?}");

    let whole = stage.ask("/api/v2/config").await.unwrap().body;
    assert!(whole.contains("frontend") && !whole.contains("phIcAXJY27/aOAyK2hB5"));
    let url = format!("http://{}/api/v2/config", stage.web.unwrap());
    let parts = stage.get_at(&url, &[("Accept", "application/json")]).await.unwrap().body;
    let parts: Value = serde_json::from_str(&parts).unwrap();
    assert_eq!(parts["blocks"][1]["app"], json!("/shop/web"));
    assert_eq!(parts["maps"]["maps/paths.map"]["web.example.com/api/"], json!("h_shop_web_0"), "{parts}");
    assert!(!parts.to_string().contains("IcAXJY27"), "a hash is a secret");
    let missing = stage.ask("/api/v2/services/shop/none").await.unwrap();
    assert_eq!(missing.status, 404);
    let quiet = stage.ask("/api/v2/services/shop/web?port_index=3").await.unwrap();
    assert_eq!(quiet.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_tells_what_why_how_and_how_long() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let start = stage.until_api("/changes", "/changes/0/how", json!("start")).await;
    assert_eq!(start["changes"][0]["services"][0]["app"], json!("/web"));
    let url = format!("http://{}/api/v2/stream", stage.web.unwrap());
    let mut stream = reqwest::Client::new().get(url).send().await.unwrap();

    stage.put("/v2/apps/web", json!({ "instances": 2 })).await;
    stage.tasks("web.example.com", 2).await;
    let list = stage.until_api("/changes", "/changes/0/how", json!("runtime")).await;
    let runtime = &list["changes"][0];
    assert!(runtime["events"][0].as_str().unwrap().contains("servers 1 → 2"), "{runtime}");
    assert!(runtime["event_to_applied_seconds"].as_f64().unwrap() > 0.0);
    assert!(runtime["took_seconds"].as_f64().unwrap() > 0.0);
    let detail = stage.api(&format!("/changes/{}", runtime["id"])).await.unwrap();
    assert!(detail["difference"].as_str().unwrap().contains("+    server slot2"), "{detail}");
    assert!(detail["commands"][0].as_str().unwrap().starts_with("set server"), "{detail}");

    let mut told = String::new();
    while !told.contains("\n\n") || !told.contains("event: change") {
        told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    assert!(told.contains("\"how\":\"runtime\"") && told.contains("id: "), "{told}");

    stage
        .put(
            "/v2/apps/web",
            json!({ "labels": { "HAPROXY_0_VHOST": "web.example.com", "HAPROXY_0_BALANCE": "source" } }),
        )
        .await;
    // Its tasks are replaced meanwhile, which are changes of their own.
    let reload = until("the reload to be told", async || {
        let list = stage.api("/changes").await?;
        list["changes"].as_array()?.iter().find(|change| change["how"] == "reload").cloned()
    })
    .await;
    assert_eq!(reload["reasons"][0]["kind"], json!("section_changed"), "{reload}");
    let detail = stage.api(&format!("/changes/{}", reload["id"])).await.unwrap();
    assert!(detail["difference"].as_str().unwrap().contains("+    balance source"), "{detail}");
    assert_eq!(stage.ask("/api/v2/changes/999").await.unwrap().status, 404);

    let generations = stage.api("/config/generations").await.unwrap();
    let numbers: Vec<u64> = generations["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| each["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [2, 1]);
    let diff = stage.ask("/api/v2/config/diff?from=1&to=2").await.unwrap().body;
    assert!(diff.contains("+    balance source"), "{diff}");
    let old = stage.ask("/api/v2/config/generations/1").await.unwrap().body;
    assert!(old.contains("balance roundrobin") && !old.contains("balance source"));
    let status = stage.api("/status").await.unwrap();
    assert_eq!(status["haproxy"]["reload_reasons"]["section_changed"], json!(1), "{status}");
    assert_eq!(status["haproxy"]["workers"].as_array().unwrap().len(), 1);
    assert!(status["marathon"]["connected"].is_string() && status["marathon"]["last_full_read"].is_string());
    assert_eq!(status["rules"]["kind"], json!("file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_what_is_there() {
    let stage = Stage::with_apps(vec![vhost("/web", 1, "web.example.com")]).await;
    stage.served("web.example.com", "/", "/web").await;
    let document = stage.api("/openapi.json").await.unwrap();
    assert_eq!(document["openapi"], json!("3.1.0"));
    let paths = document["paths"].as_object().unwrap();
    for path in
        ["/api/v2/rules/{app}", "/api/v2/fleet", "/api/v2/session", "/api/v2/tasks/{task}", "/api/v2/why"]
    {
        assert!(paths.contains_key(path), "{path} is not in {:?}", paths.keys());
    }
    // Each may ask for a login, whoever described it.
    for (path, methods) in paths {
        for (method, operation) in
            methods.as_object().unwrap().iter().filter(|(_, each)| each["responses"].is_object())
        {
            assert!(operation["responses"].get("401").is_some(), "{method} {path}");
        }
    }
    for (path, methods) in paths.iter().filter(|(_, methods)| methods.get("get").is_some()) {
        // A stream does not end.
        if path.ends_with("/stream") {
            continue;
        }
        let path =
            path.replace("{number}", "1").replace("/changes/{id}", "/changes/1").replace("/{id}", "/web");
        let answer = stage.ask(&path).await.unwrap();
        let known = methods["get"]["responses"].as_object().unwrap();
        assert!(known.contains_key(&answer.status.to_string()), "{path}: {} {}", answer.status, answer.body);
    }
}
