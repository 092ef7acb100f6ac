//! Rules in the local file.

use crate::stage::{Stage, app, until, vhost};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_leads_hosts_paths_and_criteria_to_an_app_as_soon_as_the_file_is_saved() {
    let stage =
        Stage::with_apps(vec![app("/plain", 1, 10_001, json!({})), vhost("/web", 1, "web.example.com")])
            .await;
    stage.served("web.example.com", "/", "/web").await;
    assert_eq!(stage.get("plain.example.com", "/").await.unwrap().status, 404);
    std::fs::write(
        stage.path("rules.toml"),
        "[[rule]]\napp = \"/plain\"\n\
         [[rule.route]]\nhost = \"plain.example.com\"\n\
         [[rule.route]]\nhost = \"web.example.com\"\npath = \"/plain\"\n\
         [[rule.route]]\nacl = \"hdr(X-Team) -i blue\"\n",
    )
    .unwrap();
    stage.served("plain.example.com", "/", "/plain").await;
    stage.served("web.example.com", "/plain/x", "/plain").await;
    stage.served("web.example.com", "/", "/web").await;
    let by_header = [("Host", "unknown.example.com"), ("X-Team", "Blue")];
    let url = format!("http://{}:8000/", stage.host);
    // A criterion is a reload, hosts are live before it.
    until("the criterion to lead there", async || {
        stage.get_at(&url, &by_header).await.filter(|answer| answer.app == "/plain")
    })
    .await;
    std::fs::write(stage.path("rules.toml"), "# none\n").unwrap();
    stage.answers("plain.example.com", "/", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_criterion_that_haproxy_refuses_is_left_out_and_stops_nobody_from_the_first_start_on() {
    let mut stage = Stage::set().await;
    let refused = "[[rule]]\napp = \"/both\"\nroute = [{ acl = \"no_such_fetch(x) y\" }, { acl = \"path_end .gif\" }]\n";
    std::fs::write(stage.path("rules.toml"), refused).unwrap();
    let apps = vec![
        app("/plain", 1, 10_001, json!({})),
        vhost("/web", 1, "web.example.com"),
        vhost("/both", 1, "both.example.com"),
    ];
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    // It lacks this route only.
    stage.served("both.example.com", "/", "/both").await;
    stage.served("nobody.example.com", "/a.gif", "/both").await;
    stage.served("web.example.com", "/", "/web").await;
    let before = stage.info().await.unwrap();
    std::fs::write(
        stage.path("rules.toml"),
        format!(
            "{refused}[[rule]]\napp = \"/plain\"\n[[rule.route]]\nacl = \"path_reg [\"\n\
             [[rule]]\napp = \"/web\"\n[[rule.route]]\nhost = \"second.example.com\"\n"
        ),
    )
    .unwrap();
    stage.served("second.example.com", "/", "/web").await;
    stage.marathon.create_apps(vec![vhost("/new", 1, "new.example.com")]).await.unwrap();
    stage.announce(&["/new"]).await;
    stage.served("new.example.com", "/", "/new").await;
    assert!(!stage.current().contains("no_such_fetch") && !stage.current().contains("path_reg"));
    assert_eq!(stage.info().await.unwrap().pid, before.pid, "what is refused is no reason for a reload");
    // Once it is corrected, it is there.
    std::fs::write(stage.path("rules.toml"), refused.replace("no_such_fetch(x) y", "path_end .png")).unwrap();
    stage.served("nobody.example.com", "/a.png", "/both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_or_goes_away_keeps_the_last_good_rules() {
    let mut stage = Stage::set().await;
    let rules = stage.path("rules.toml");
    std::fs::write(&rules, "[[rule]]\napp = \"/plain\"\n[[rule.route]]\nhost = \"plain.example.com\"\n")
        .unwrap();
    stage.marathon.create_apps(vec![app("/plain", 1, 10_001, json!({}))]).await.unwrap();
    stage.bridge();
    stage.served("plain.example.com", "/", "/plain").await;
    for text in ["[[rule\n", ""] {
        std::fs::write(&rules, text).unwrap();
        // Something else changes, so that a round goes by.
        stage.put("/v2/apps/plain", json!({ "instances": if text.is_empty() { 3 } else { 2 } })).await;
        stage.tasks("plain.example.com", if text.is_empty() { 3 } else { 2 }).await;
    }
    std::fs::remove_file(&rules).unwrap();
    stage.put("/v2/apps/plain", json!({ "instances": 1 })).await;
    stage.tasks("plain.example.com", 1).await;
    std::fs::write(&rules, "[[rule]]\napp = \"/plain\"\n[[rule.route]]\nhost = \"moved.example.com\"\n")
        .unwrap();
    stage.served("moved.example.com", "/", "/plain").await;
    until("the old host to go", async || {
        stage.get("plain.example.com", "/").await.filter(|answer| answer.status == 404)
    })
    .await;
}
