//! Which Marathon is asked, by which way, with which credentials.

use super::*;

#[tokio::test]
async fn a_redirect_to_a_listed_host_is_followed_with_the_credentials() {
    let leader = Fake::new(&list(&[app("/a", &[])])).await;
    let leader_url = format!("http://localhost:{}", leader.address.port());
    let fake = Fake::new("").await;
    let to_leader = Reply::by(move |request| Reply::redirect(format!("{leader_url}{}", request.target)));
    for path in ["/v2/events", "/v2/apps", "/v2/info"] {
        fake.reply(path, to_leader.clone());
    }
    let token = Some("geheim".into());
    let hosts = vec!["localhost".to_owned()];
    let cfg = MarathonConfig { token: token.clone(), redirect_hosts: hosts, ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    followed.full_read(1).await;
    for path in ["/v2/events", "/v2/apps"] {
        let request = leader.requests(path).remove(0);
        assert_eq!(request.header("authorization"), Some("Bearer geheim"));
        assert_eq!(request.target, fake.requests(path)[0].target);
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_with_credentials_and_says_what_to_set() {
    let leader = Fake::new(&list(&[])).await;
    let fake = Fake::new("").await;
    let to = format!("http://localhost:{}/v2/events", leader.address.port());
    fake.reply("/v2/events", Reply::redirect(to));
    let cfg = MarathonConfig { token: Some("geheim".into()), ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    followed.status_says("marathon.redirect_hosts").await;
    followed.status_says(&format!("http://localhost:{}", leader.address.port())).await;
    assert!(leader.requests("/v2/events").is_empty());
}

#[tokio::test]
async fn redirects_in_a_circle_lead_to_the_next_endpoint() {
    let good = Fake::new(&list(&[app("/a", &[])])).await;
    let circle = Fake::new("").await;
    circle.reply("/v2/events", Reply::redirect(format!("{}/v2/events?again", circle.url())));
    let mut followed = Followed::new(&config(&[circle.url(), good.url()]));
    followed.full_read(1).await;
    assert!(circle.requests("/v2/events").len() <= 5);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_passed_over() {
    let good = Fake::new(&list(&[app("/a", &[])])).await;
    let mut followed = Followed::new(&config(&["http://127.0.0.1:1".to_owned(), good.url()]));
    followed.full_read(1).await;
    let connected = followed.status.wait_for(|status| status.connected.is_some());
    let connected = tokio::time::timeout(PATIENCE, connected).await.unwrap().unwrap().connected.clone();
    assert_eq!(connected, Some(format!("{}/", good.url())));
    let mut marathon = Marathon::new(
        &config(&["http://127.0.0.1:1".to_owned(), good.url()]),
        HashSet::new(),
        Metrics::default(),
    )
    .unwrap();
    assert_eq!(marathon.read_all().await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_token_file_is_read_again_when_marathon_refuses_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let fake = Fake::new("").await;
    let apps = list(&[app("/a", &[])]);
    let reply = Reply::by(move |request| match request.header("authorization") {
        Some("token=new") if request.path() == "/v2/events" => Reply::Stream { attached: true },
        Some("token=new") => Reply::ok(apps.clone()),
        _ => Reply::html(401, "Unauthorized"),
    });
    fake.reply("/v2/events", reply.clone());
    fake.reply("/v2/apps", reply);
    let token = MarathonConfig {
        token_file: Some(file.clone()),
        token_scheme: TokenScheme::Token,
        ..config(&[fake.url()])
    };
    let mut followed = Followed::new(&token);
    followed.status_says("answered 401").await;
    std::fs::write(&file, "new\n").unwrap();
    followed.full_read(1).await;
}

#[tokio::test]
async fn a_service_account_logs_in_once_and_again_after_a_401() {
    let key = include_str!("../fixtures/marathon/service-account-key.pem");
    let public = include_bytes!("../fixtures/marathon/service-account-key.pub.pem");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("account.json");
    let login = Fake::new("").await;
    let account = serde_json::json!({
        "uid": "causeway", "private_key": key, "scheme": "RS256", "login_endpoint": format!("{}/login", login.url()),
    });
    std::fs::write(&file, account.to_string()).unwrap();
    let given = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = given.clone();
    login.reply(
        "/login",
        Reply::by(move |request| {
            #[derive(serde::Deserialize)]
            struct Login {
                uid: String,
                token: String,
            }
            let asked: Login = serde_json::from_str(&request.body).unwrap();
            assert_eq!(asked.uid, "causeway");
            let validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
            let public = jsonwebtoken::DecodingKey::from_rsa_pem(public).unwrap();
            jsonwebtoken::decode::<serde_json::Value>(&asked.token, &public, &validation).unwrap();
            let number = 1 + counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Reply::ok(format!("{{\"token\":\"token-{number}\"}}"))
        }),
    );
    let fake = Fake::new("").await;
    let valid = given.clone();
    let apps = list(&[app("/a", &[])]);
    let revoked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let refused = revoked.clone();
    let reply = Reply::by(move |request| {
        let number = valid.load(std::sync::atomic::Ordering::SeqCst);
        let good = number > refused.load(std::sync::atomic::Ordering::SeqCst)
            && request.header("authorization") == Some(&format!("token=token-{number}"));
        match request.path() {
            _ if !good => Reply::Json(401, "{}".to_owned()),
            "/v2/events" => Reply::Stream { attached: true },
            _ => Reply::ok(apps.clone()),
        }
    });
    fake.reply("/v2/events", reply.clone());
    fake.reply("/v2/apps", reply);
    let cfg = MarathonConfig { service_account_file: Some(file), ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    followed.full_read(1).await;
    assert_eq!(given.load(std::sync::atomic::Ordering::SeqCst), 1);
    revoked.store(1, std::sync::atomic::Ordering::SeqCst);
    followed.refresh.ask();
    followed.full_read(2).await;
    assert_eq!(given.load(std::sync::atomic::Ordering::SeqCst), 2);
    login.reply("/login", Reply::html(500, "Broken"));
    revoked.store(2, std::sync::atomic::Ordering::SeqCst);
    followed.refresh.ask();
    followed.status_says("/login failed: it answered 500: Broken").await;
}

#[test]
fn certificates_and_keys_are_taken_as_pem() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let cfg = MarathonConfig {
        endpoints: vec!["https://localhost:8443".to_owned()],
        ca_file: Some(certificate.clone()),
        client_certificate_file: Some(certificate),
        client_key_file: Some(key),
        ..MarathonConfig::default()
    };
    assert!(Marathon::new(&cfg, HashSet::new(), Metrics::default()).is_ok());
}

#[test]
fn a_wrong_file_of_the_configuration_is_told_by_its_key_and_never_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("geheim");
    std::fs::write(&file, r#"{"uid":"x","private_key":"geheimnis","login_endpoint":"http://x"}"#).unwrap();
    let wrong = [
        ("ca_file", MarathonConfig { ca_file: Some(file.clone()), ..MarathonConfig::default() }),
        (
            "service_account_file",
            MarathonConfig { service_account_file: Some(file.clone()), ..MarathonConfig::default() },
        ),
        (
            "token_file",
            MarathonConfig { token_file: Some(dir.path().join("none")), ..MarathonConfig::default() },
        ),
    ];
    for (key, cfg) in wrong {
        let error = Marathon::new(&cfg, HashSet::new(), Metrics::default()).err().unwrap().to_string();
        assert!(error.contains(&format!("marathon.{key}")) && !error.contains("geheimnis"), "{error}");
    }
}
