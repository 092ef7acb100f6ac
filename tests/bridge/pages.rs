//! The pages, in a real browser.

use serde_json::json;

use crate::browser::Browser;
use crate::stage::{Stage, app, vhost};

#[tokio::test(flavor = "multi_thread")]
async fn pages_services_are_shown_and_found() {
    let mut stage = Stage::set().await;
    let mut apps = vec![
        vhost("/shop/web", 2, "shop.example.com"),
        app("/data/cache", 2, 10_001, json!({ "HAPROXY_0_MODE": "tcp" })),
        app("/shop/quiet", 1, 0, json!({})),
        vhost("/shop/rival", 1, "shop.example.com"),
    ];
    apps.extend(
        (0..16).map(|n| vhost(&format!("/team-{n}/payments/api-{n}"), 1, &format!("api-{n}.example.com"))),
    );
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("api-15.example.com", "/", "/team-15/payments/api-15").await;
    let browser = Browser::open(&stage).await;
    browser.go("/").await;
    browser.says(".services", "/shop/web").await;
    browser.look("services").await;
}
