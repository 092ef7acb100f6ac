//! Certificates that apps bring along.

use serde_json::json;

use crate::stage::{HTTPS, Stage, app, until, vhost};

/// Makes a certificate for a host, and tells what a client sees of it.
fn certificate(stage: &Stage, file: &str, host: &str) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(stage.path(file), pem).unwrap();
    made.cert.der().to_vec()
}

/// The certificate that a client is shown for a host, and who answers.
async fn shown(stage: &Stage, host: &str) -> Option<(Vec<u8>, String)> {
    let address = format!("{}:{HTTPS}", stage.host).parse().unwrap();
    let client =
        reqwest::Client::builder().resolve(host, address).danger_accept_invalid_certs(true).tls_info(true);
    let response = client.build().unwrap().get(format!("https://{host}:{HTTPS}/")).send().await.ok()?;
    let app = response.headers().get("x-app").map(|app| app.to_str().unwrap().to_owned()).unwrap_or_default();
    let info = response.extensions().get::<reqwest::tls::TlsInfo>()?;
    Some((info.peer_certificate()?.to_vec(), app))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_the_certificate_that_its_app_names_and_a_bad_one_harms_nobody_else() {
    let mut stage = Stage::set().await;
    stage.config.tls.dir = Some(stage.path(""));
    stage.config.tls.certificates = vec![stage.path("default.pem")];
    let by_default = certificate(&stage, "default.pem", "default.x");
    let own = certificate(&stage, "own.pem", "own.x");
    std::fs::write(stage.path("bad.pem"), "no certificate").unwrap();
    let with = |id: &str, host: &str, file: &str| {
        app(id, 1, 0, json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_SSL_CERT": file }))
    };
    stage
        .marathon
        .create_apps(vec![
            vhost("/web", 1, "web.x"),
            with("/own", "own.x", "own.pem"),
            with("/bad", "bad.x", "bad.pem"),
        ])
        .await
        .unwrap();
    stage.bridge();
    stage.served("web.x", "/", "/web").await;
    let found = async |host: &str| until(host, async || shown(&stage, host).await).await;
    assert_eq!(found("own.x").await, (own.clone(), "/own".to_owned()));
    assert_eq!(found("web.x").await, (by_default.clone(), "/web".to_owned()));
    // It is mended, and another comes.
    stage.put("/v2/apps/bad", json!({ "labels": { "HAPROXY_0_VHOST": "bad.x" } })).await;
    until("the mended one", async || shown(&stage, "bad.x").await.filter(|(_, app)| app == "/bad")).await;
    stage.put("/v2/apps/own", json!({ "labels": { "HAPROXY_0_VHOST": "own.x" } })).await;
    until("the certificate to go", async || {
        shown(&stage, "own.x").await.filter(|(der, _)| *der == by_default)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_to_be_guarded_in_a_way_that_fails_is_not_served_as_it_was_unguarded() {
    let mut stage = Stage::set().await;
    stage.config.tls.dir = Some(stage.path(""));
    certificate(&stage, "own.pem", "own.x");
    std::fs::write(stage.path("bad.pem"), "no certificate").unwrap();
    let labels = |options: &str| json!({ "HAPROXY_0_VHOST": "own.x", "HAPROXY_0_SSL_CERT": "own.pem", "HAPROXY_0_BIND_OPTIONS": options });
    stage
        .marathon
        .create_apps(vec![app("/own", 1, 10_001, labels("no-tls-tickets")), vhost("/web", 1, "web.x")])
        .await
        .unwrap();
    stage.bridge();
    stage.served("own.x", "/", "/own").await;
    let url = format!("https://{}:10001/", stage.host);
    let port = async || stage.get_at(&url, &[]).await.map(|answer| answer.app);
    assert_eq!(port().await.as_deref(), Some("/own"));
    stage.put("/v2/apps/own", json!({ "labels": labels("verify required ca-file bad.pem") })).await;
    until("the port to be closed", async || port().await.is_none().then_some(())).await;
    stage.served("web.x", "/", "/web").await;
    stage.put("/v2/apps/own", json!({ "labels": labels("verify required ca-file own.pem") })).await;
    stage.served("own.x", "/", "/own").await;
    assert_eq!(port().await, None, "without a certificate of a client");
}
