//! What `/api/v2` tells of what is known and what runs.

use serde_json::{Value, json};

use crate::stage::{Stage, app, until, vhost};

impl Stage {
    /// The answer of the API to a GET; `None` while there is none.
    pub(crate) async fn api(&self, path: &str) -> Option<Value> {
        let answer = self.ask(&format!("/api/v2{path}")).await?;
        serde_json::from_str(&answer.body).ok()
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

    let wrong = stage.ask("/api/v2/services?colour=blue").await.unwrap();
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("colour"), "{}", wrong.body);
}
