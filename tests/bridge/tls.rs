//! Certificates that apps bring along.

use serde_json::json;

use crate::stage::{APP_ID, HTTPS, Stage, app, until, vhost};

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
    let by_path = stage.path("own.pem").display().to_string();
    let with = |id: &str, host: &str, file: &str| {
        app(id, 1, 0, json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_SSL_CERT": file }))
    };
    stage
        .marathon
        .create_apps(vec![
            vhost("/web", 1, "web.x"),
            with("/own", "own.x", &by_path),
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
    stage.answers("own.x", "/", 421).await;
    assert_eq!(port().await, None, "without a certificate of a client");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_client_certificates_is_reached_by_its_own_name_over_tls_only() {
    let mut stage = Stage::set().await;
    stage.config.tls.dir = Some(stage.path(""));
    stage.config.tls.certificates = vec![stage.path("default.pem")];
    certificate(&stage, "default.pem", "default.x");
    certificate(&stage, "own.pem", "own.x");
    certificate(&stage, "clients.pem", "client.x");
    let clients = "verify required ca-file clients.pem";
    let own = json!({ "HAPROXY_0_VHOST": "own.x", "HAPROXY_0_SSL_CERT": "own.pem", "HAPROXY_0_BIND_OPTIONS": clients });
    let bare = json!({ "HAPROXY_0_VHOST": "bare.x", "HAPROXY_0_BIND_OPTIONS": clients });
    stage
        .marathon
        .create_apps(vec![app("/own", 1, 10_001, own), app("/bare", 1, 0, bare), vhost("/web", 1, "web.x")])
        .await
        .unwrap();
    stage.bridge();
    stage.served("web.x", "/", "/web").await;
    let ask = async |name: &str, host: &str, with: Option<&str>, port: u16| {
        let address = format!("{}:{port}", stage.host).parse().unwrap();
        let mut client =
            reqwest::Client::builder().resolve(name, address).danger_accept_invalid_certs(true).http1_only();
        if let Some(file) = with {
            let pem = std::fs::read(stage.path(file)).unwrap();
            client = client.identity(reqwest::Identity::from_pem(&pem).unwrap());
        }
        let request = client.build().unwrap().get(format!("https://{name}:{port}/")).header("Host", host);
        let response = request.send().await.ok()?;
        let app = response.headers().get("x-app").map(|app| app.to_str().unwrap().to_owned());
        Some(app.unwrap_or_else(|| response.status().as_str().to_owned()))
    };
    for host in ["own.x", "bare.x"] {
        let app = format!("/{}", host.trim_end_matches(".x"));
        assert_eq!(ask(host, host, Some("clients.pem"), HTTPS).await, Some(app), "{host}");
        assert_eq!(ask(host, host, None, HTTPS).await, None, "the connection is refused");
        assert_eq!(
            ask("web.x", host, Some("clients.pem"), HTTPS).await.as_deref(),
            Some("421"),
            "by another name"
        );
        assert_eq!(stage.get(host, "/").await.unwrap().status, 421, "in clear");
    }
    assert_eq!(
        ask("own.x", "bare.x", Some("clients.pem"), HTTPS).await.as_deref(),
        Some("421"),
        "with the certificate for another"
    );
    assert_eq!(ask("web.x", "web.x", None, HTTPS).await.as_deref(), Some("/web"));
    assert_eq!(
        ask("any.x", "any.x", Some("clients.pem"), 10_001).await.as_deref(),
        Some("/own"),
        "its service port asks the same"
    );
    assert_eq!(ask("any.x", "any.x", None, 10_001).await, None);
    let by_id = [("X-Marathon-App-Id", "/own")];
    let by_id = stage.get_at(&format!("http://{}:{APP_ID}/", stage.host), &by_id).await.unwrap();
    assert_eq!(by_id.status, 421);
    // Other authorities: who showed the certificate of before is a stranger.
    let theirs = std::fs::read(stage.path("clients.pem")).unwrap();
    certificate(&stage, "clients.pem", "other.x");
    let others = std::fs::read(stage.path("clients.pem")).unwrap();
    std::fs::write(stage.path("presented.pem"), &theirs).unwrap();
    until("strangers to be refused", async || {
        ask("own.x", "own.x", Some("presented.pem"), HTTPS).await.is_none().then_some(())
    })
    .await;
    assert_eq!(ask("own.x", "own.x", Some("clients.pem"), HTTPS).await.as_deref(), Some("/own"));
    assert_ne!(theirs, others);
    // A host that comes is asked for too, with the next reload.
    let labels = json!({ "HAPROXY_0_VHOST": "bare.x,more.x", "HAPROXY_0_BIND_OPTIONS": clients });
    stage.put("/v2/apps/bare", json!({ "labels": labels })).await;
    until("the new host", async || {
        ask("more.x", "more.x", Some("clients.pem"), HTTPS).await.filter(|answer| answer == "/bare")
    })
    .await;
    assert_eq!(ask("more.x", "more.x", None, HTTPS).await, None);
}

/// Waits until clients are shown this certificate for a host.
async fn is_shown(stage: &Stage, host: &str, der: &[u8]) {
    until(host, async || shown(stage, host).await.filter(|(seen, _)| seen == der)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_changes_is_swapped_while_haproxy_runs_and_a_bad_one_keeps_the_old() {
    let mut stage = Stage::set().await;
    std::fs::create_dir(stage.path("shared")).unwrap();
    stage.config.tls.dir = Some(stage.path(""));
    stage.config.tls.certificates = vec![stage.path("shared")];
    certificate(&stage, "shared/default.pem", "web.x");
    certificate(&stage, "own.pem", "own.x");
    let own = json!({ "HAPROXY_0_VHOST": "own.x", "HAPROXY_0_SSL_CERT": "own.pem" });
    stage.marathon.create_apps(vec![app("/own", 1, 0, own), vhost("/web", 1, "web.x")]).await.unwrap();
    stage.bridge();
    stage.served("web.x", "/", "/web").await;
    let pid = stage.info().await.unwrap().pid;
    let renewed = certificate(&stage, "own.pem", "own.x");
    is_shown(&stage, "own.x", &renewed).await;
    let default = certificate(&stage, "shared/default.pem", "web.x");
    is_shown(&stage, "web.x", &default).await;
    let copy = std::path::Path::new(&stage.config.haproxy.state_dir).join("current/tls/own.pem");
    until("the files to follow", async || {
        (std::fs::read(&copy).ok()? == std::fs::read(stage.path("own.pem")).ok()?).then_some(())
    })
    .await;
    let refused = async |count: f64| {
        until("what is refused to be told", async || {
            stage.metric("causeway_certificates_refused").await.filter(|now| *now == count)
        })
        .await;
    };
    // A key that is not the certificate's, half a file, none: the old one goes on, and that is told.
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let whole = std::fs::read_to_string(stage.path("own.pem")).unwrap();
    let of_another = format!("{}{key}", &whole[..whole.find("-----BEGIN PRIVATE KEY").unwrap()]);
    for bad in [of_another.as_str(), &whole[..200], ""] {
        std::fs::write(stage.path("own.pem"), bad).unwrap();
        refused(1.0).await;
        assert_eq!(shown(&stage, "own.x").await.unwrap().0, renewed, "{bad}");
        std::fs::write(stage.path("own.pem"), &whole).unwrap();
        refused(0.0).await;
    }
    assert_eq!(stage.info().await.unwrap().pid, pid, "none of it took a reload");
    // While Causeway is away too.
    stage.end_bridge().await.unwrap();
    std::fs::write(stage.path("shared/default.pem"), "no certificate").unwrap();
    let renewed = certificate(&stage, "own.pem", "own.x");
    stage.bridge();
    is_shown(&stage, "own.x", &renewed).await;
    is_shown(&stage, "web.x", &default).await;
    assert_eq!(stage.info().await.unwrap().pid, pid);
    // One that comes needs a reload, and one that is bad still harms nobody.
    let more = certificate(&stage, "shared/more.pem", "more.x");
    stage.put("/v2/apps/more", app("/more", 1, 0, json!({ "HAPROXY_0_VHOST": "more.x" }))).await;
    is_shown(&stage, "more.x", &more).await;
    is_shown(&stage, "web.x", &default).await;
}
