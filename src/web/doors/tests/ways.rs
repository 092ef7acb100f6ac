//! The ways in: our own socket, TLS, a proxy; and what is not opened.

use std::os::unix::fs::PermissionsExt;

use super::*;

async fn by_socket(path: &std::path::Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn whoever_comes_by_the_socket_is_an_admin_under_his_own_name() {
    let house = House::new().await;
    let path = house.config.web_socket();
    assert_eq!(path, house.dir.path().join("causeway.sock"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let request = |method: &str, path: &str| {
        // No name of a host is checked: no browser comes this way.
        format!(
            "{method} {path} HTTP/1.1\r\nHost: causeway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = by_socket(&path, &request("GET", session_api::PATH)).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let who: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        who,
        json!({ "name": me, "role": "admin", "by": "socket", "may_write": true, "is_admin": true })
    );
    assert!(by_socket(&path, &request("POST", "/rollback")).await.starts_with("HTTP/1.1 200 "));
    let audit = house.audit();
    assert_eq!((&audit[0]["who"], &audit[0]["from"]), (&json!(me), &json!("web.socket")));
}

#[tokio::test]
async fn a_server_on_loopback_answers_to_its_own_names_and_those_it_was_given() {
    let house = House::with(|config| config.web.hosts = vec!["causeway.example.com".to_owned()]).await;
    for (host, expected) in [
        ("localhost", 200),
        ("127.0.0.1:9089", 200),
        ("Causeway.example.com", 200),
        ("causeway.example.com:443", 200),
        ("evil.example.com", 421),
        ("causeway.example.com.evil.example.com", 421),
        ("10.0.0.1", 421),
    ] {
        for path in ["/thing", "/healthz", session_api::PATH] {
            assert_eq!(status(house.get(path).header("Host", host)).await, expected, "{host} {path}");
        }
        let (user, password) = ADMIN;
        let write = house.post("/thing").header("Host", host).basic_auth(user, Some(password));
        assert_eq!(status(write).await, expected, "{host}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_listed_names_the_user_and_nobody_else_does() {
    let house = House::with(|config| {
        config.web.listen = "0.0.0.0:0".to_owned();
        config.web.trusted_header = Some("X-Forwarded-User".to_owned());
        config.web.trusted_proxies = vec!["127.0.0.2".to_owned(), "127.0.1.0/24".to_owned()];
    })
    .await;
    house.users.add_user("proxied", &Role::Admin, None).unwrap();
    let from =
        |address: &str| Client::builder().local_address(Some(address.parse().unwrap())).build().unwrap();
    let write = |address: &str, user: &str| {
        status(from(address).post(house.url("/thing")).header("X-Forwarded-User", user.to_owned()))
    };
    assert_eq!(write("127.0.0.2", "proxied").await, 200);
    assert_eq!(write("127.0.1.9", "ada").await, 200);
    assert_eq!(write("127.0.0.2", "vic").await, 403);
    assert_eq!(write("127.0.0.2", "unknown").await, 403);
    assert_eq!(write("127.0.0.2", "").await, 401);
    assert_eq!(write("127.0.0.3", "proxied").await, 401);
    assert_eq!(write("127.0.0.1", "ada").await, 401);
    let twice = from("127.0.0.2").post(house.url("/thing"));
    assert_eq!(status(twice.header("X-Forwarded-User", "ada").header("X-Forwarded-User", "vic")).await, 401);
    // Nobody logs in as one who has no password.
    let login = house.post(session_api::PATH).json(&json!({ "user": "proxied", "password": "" }));
    assert_eq!(status(login).await, 401);
    assert_eq!(house.audit()[0]["by"], "proxy");
    // From where is what the proxy says; and what the client itself says stands before it.
    let forwarded = from("127.0.0.2").post(house.url("/thing")).header("X-Forwarded-User", "ada");
    status(forwarded.header("X-Forwarded-For", "1.2.3.4, 10.9.8.7, 127.0.1.1")).await;
    assert_eq!(house.audit().last().unwrap()["from"], "10.9.8.7");
    // A cookie of a browser that speaks TLS to the proxy is for TLS.
    let login = json!({ "user": ADMIN.0, "password": ADMIN.1 });
    let login = from("127.0.0.2").post(house.url(session_api::PATH)).json(&login);
    let answer = login.header("X-Forwarded-Proto", "https").send().await.unwrap();
    assert!(answer.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"));
    // No handler sees what let somebody in.
    let heard = from("127.0.0.2")
        .get(house.url("/heard"))
        .header("X-Forwarded-User", "ada")
        .basic_auth("a", Some("b"));
    let heard = heard.send().await.unwrap().text().await.unwrap();
    assert!(
        heard.contains("host") && !heard.contains("x-forwarded-user") && !heard.contains("authorization"),
        "{heard}"
    );
}

fn certificate(dir: &std::path::Path) -> (String, String, PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), dir.join("web.crt"), dir.join("web.key"))
}

#[tokio::test]
async fn a_certificate_that_is_swapped_is_served_to_the_next_connection() {
    let pki = tempfile::tempdir().unwrap();
    let (first, first_key, crt, key) = certificate(pki.path());
    std::fs::write(&crt, &first).unwrap();
    std::fs::write(&key, first_key).unwrap();
    let house = House::with(|config| {
        config.web.listen = "0.0.0.0:0".to_owned();
        config.web.tls.certificate = Some(crt.clone());
        config.web.tls.key = Some(key.clone());
        config.web.header_timeout = Duration::from_millis(500);
    })
    .await;
    let url = format!("https://localhost:{}", house.address.port());
    // A client of its own trusts one certificate only.
    let get = async |pem: &str| {
        let authority = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).build().unwrap();
        client.get(format!("{url}/healthz")).send().await.is_ok_and(|answer| answer.status() == 200)
    };
    assert!(get(&first).await);
    let (second, second_key, ..) = certificate(pki.path());
    std::fs::write(&crt, &second).unwrap();
    assert!(get(&first).await, "without its key a new certificate is not used yet");
    std::fs::write(&key, second_key).unwrap();
    assert!(get(&second).await && !get(&first).await);
    std::fs::write(&crt, "no certificate").unwrap();
    assert!(get(&second).await);
    // Its cookie is for TLS, and for this host.
    let authority = reqwest::Certificate::from_pem(second.as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([authority]).build().unwrap();
    let login = client
        .post(format!("{url}{}", session_api::PATH))
        .json(&json!({ "user": ADMIN.0, "password": ADMIN.1 }));
    let cookie = login.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-causeway_session=") && cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split_once(';').unwrap().0;
    assert_eq!(status(client.post(format!("{url}/thing")).header("Cookie", cookie)).await, 200);
    // Who does not greet, or not in TLS, is not waited for.
    for greeting in ["", "GET / HTTP/1.1\r\n\r\n"] {
        tokio::time::timeout(Duration::from_secs(10), house.say(greeting.as_bytes())).await.unwrap();
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _, crt, key) = certificate(dir.path());
    let (_, of_another, ..) = certificate(dir.path());
    let mut config = Config::default();
    config.haproxy.state_dir = dir.path().to_owned();
    config.web.listen = "127.0.0.1:0".to_owned();
    config.web.tls.certificate = Some(crt.clone());
    config.web.tls.key = Some(key.clone());
    for (certificate, private, expected) in [
        ("", of_another.as_str(), "holds no certificate"),
        (one.as_str(), "", "web.tls.key"),
        (one.as_str(), of_another.as_str(), "cannot be used together"),
    ] {
        std::fs::write(&crt, certificate).unwrap();
        std::fs::write(&key, private).unwrap();
        let error = Door::open(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn without_users_nothing_is_opened_beyond_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.haproxy.state_dir = dir.path().to_owned();
    let open = |config: &Config, listen: &str, auth: WebAuth| {
        let mut config = config.clone();
        config.web.listen = listen.to_owned();
        config.web.auth = auth;
        assert_eq!(Doors::mistakes(&config).is_empty(), Doors::open(&config).is_ok());
        Doors::open(&config).map(drop).map_err(|error| error.to_string())
    };
    for listen in ["0.0.0.0:9089", "[::]:9089", "10.1.2.3:9089"] {
        let error = open(&config, listen, WebAuth::Login).unwrap_err();
        assert!(error.contains("causeway user add NAME --role admin") && error.contains(listen), "{error}");
        assert_eq!(open(&config, listen, WebAuth::None), Ok(()));
    }
    for listen in ["127.0.0.1:9089", "[::1]:9089", ""] {
        assert_eq!(open(&config, listen, WebAuth::Login), Ok(()));
    }
    UsersFile::new(&config.users_file()).add_user("ada", &Role::Viewer, None).unwrap();
    assert_eq!(open(&config, "0.0.0.0:9089", WebAuth::Login), Ok(()));
    // Others could read it: not any more.
    std::fs::set_permissions(config.users_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    open(&config, "0.0.0.0:9089", WebAuth::Login).unwrap();
    assert_eq!(std::fs::metadata(config.users_file()).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(config.users_file(), "[users").unwrap();
    assert!(open(&config, "0.0.0.0:9089", WebAuth::Login).unwrap_err().contains("nothing is listened on"));
    config.web.listen = "127.0.0.1:9089".to_owned();
    assert!(Doors::open(&config).is_ok() && Doors::mistakes(&config).len() == 1);
}
