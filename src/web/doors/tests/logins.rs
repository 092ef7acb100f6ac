//! Who may do what, with which login.

use super::*;

#[tokio::test]
async fn without_a_login_loopback_may_read_and_nothing_else() {
    let house = House::new().await;
    for path in ["/thing", "/metrics", "/healthz", "/readyz", "/status", session_api::PATH] {
        assert_eq!(status(house.get(path)).await, 200, "{path}");
    }
    let answer = house.post("/thing").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let ways: Vec<_> = answer.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(ways, ["Basic realm=\"Causeway\", charset=\"UTF-8\"", "Bearer realm=\"Causeway\""]);
    for method in ["PUT", "PATCH", "DELETE", "TRACE", "WHATEVER"] {
        let method = method.parse().unwrap();
        let answer = status(house.client.request(method, house.url("/rules/team-a/web"))).await;
        assert!([401, 405].contains(&answer.as_u16()), "{answer}");
    }
    assert_eq!(house.audit(), [Value::Null; 0]);
}

#[tokio::test]
async fn another_address_needs_a_login_for_reading_too_but_never_for_health() {
    let house = House::with(|config| config.web.listen = "0.0.0.0:0".to_owned()).await;
    for path in ["/thing", "/metrics", session_api::PATH, "/nowhere"] {
        assert_eq!(status(house.get(path)).await, 401, "{path}");
        assert_eq!(status(house.get(path).header("Host", "localhost")).await, 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/status", "/status/"] {
        assert_ne!(status(house.get(path).header("Host", "node-1")).await, 401, "{path}");
    }
    assert_eq!(status(house.post("/healthz")).await, 401);
    assert_eq!(status(house.post("/api/marathon/event_callback")).await, 200);
    let (user, password) = VIEWER;
    assert_eq!(status(house.get("/metrics").basic_auth(user, Some(password))).await, 200);
}

#[tokio::test]
async fn with_auth_none_everybody_may_do_everything() {
    let house = House::with(|config| {
        config.web.listen = "0.0.0.0:0".to_owned();
        config.web.auth = WebAuth::None;
    })
    .await;
    assert_eq!(status(house.post("/rollback").header("Host", "node-1")).await, 200);
    let who: Value = house.get(session_api::PATH).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        who,
        json!({ "name": null, "role": "admin", "by": "nobody", "may_write": true, "is_admin": true })
    );
    // Pages of elsewhere are kept out all the same.
    assert_eq!(status(house.post("/rollback").header("Origin", "http://evil.example.com")).await, 403);
    assert_eq!(house.audit()[0]["who"], "anonymous");
}

#[tokio::test]
async fn a_wrong_login_is_no_login_not_even_for_what_anybody_may_read() {
    let house = House::new().await;
    let (user, password) = ADMIN;
    for (user, given) in [(user, "wrong"), ("nobody", password), (user, ""), ("a\r\nb", password)] {
        let answer = house.get("/thing").basic_auth(user, Some(given)).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.text().await.unwrap().contains("the user or the password is wrong"));
    }
    for authorization in
        ["Basic", "Basic !!!", "Basic YQ==", "Digest x", "Bearer ", "Bearer causeway_wrong", "Bearer wrong"]
    {
        let answer = status(house.get("/thing").header("Authorization", authorization)).await;
        assert_eq!(answer, 401, "{authorization}");
    }
    assert_eq!(status(house.post("/rollback").basic_auth(user, Some(password))).await, 200);
}

#[tokio::test]
async fn wrong_passwords_are_slowed_and_said_to_be() {
    let house = House::new().await;
    let wrong = json!({ "user": ADMIN.0, "password": "a guess" });
    for _ in 0..5 {
        assert_eq!(status(house.post(session_api::PATH).json(&wrong)).await, 401);
    }
    let right = json!({ "user": ADMIN.0, "password": ADMIN.1 });
    let slowed = house.post(session_api::PATH).json(&right).send().await.unwrap();
    assert_eq!(slowed.status(), 429);
    let wait: u64 = slowed.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    // By the other way in as well.
    assert_eq!(status(house.get("/thing").basic_auth(ADMIN.0, Some(ADMIN.1))).await, 429);
    // What was tried is written down, what was not is not; and no password is.
    let audit = house.audit();
    assert_eq!(audit.len(), 6);
    assert!(audit.iter().take(5).all(|line| line["who"] == "ada" && line["status"] == 401), "{audit:?}");
    assert!(!format!("{audit:?}").contains("guess"));
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_an_editor_only_what_is_his() {
    let house = House::new().await;
    let put = async |app: &str, (user, password): (&str, &str)| {
        let put = house.client.put(house.url(&format!("/rules{app}"))).basic_auth(user, Some(password));
        status(put.header("X-Causeway-Why", "a\ttest")).await.as_u16()
    };
    assert_eq!(put("/team-a/web", VIEWER).await, 403);
    assert_eq!(put("/team-a/web", EDITOR).await, 200);
    assert_eq!(put("/team-a/deep/web", EDITOR).await, 200);
    assert_eq!(put("/team-b/web", EDITOR).await, 403);
    assert_eq!(put("/team-ab/web", EDITOR).await, 403);
    assert_eq!(put("/team-b/web", ADMIN).await, 200);
    let roll_back = |(user, password): (&str, &'static str)| {
        status(house.post("/rollback").basic_auth(user, Some(password)))
    };
    assert_eq!(roll_back(EDITOR).await, 403);
    assert_eq!(roll_back(ADMIN).await, 200);
    // Each of them is in the audit log, with who and why.
    let audit = house.audit();
    let brief: Vec<String> = audit
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["who"], line["method"], line["path"], line["status"]).replace('"', "")
        })
        .collect();
    assert_eq!(brief[0], "vic PUT /rules/team-a/web 403");
    assert_eq!(brief[1], "eve PUT /rules/team-a/web 200");
    assert_eq!(brief[3], "eve PUT /rules/team-b/web 403");
    assert_eq!(brief[7], "ada POST /rollback 200");
    let mut line = audit[1].clone();
    assert!(line["at"].take().as_str().unwrap().ends_with('Z'));
    let expected = json!({ "at": null, "who": "eve", "by": "basic", "from": "127.0.0.1", "method": "PUT",
        "path": "/rules/team-a/web", "status": 200, "about": "team-a/web", "why": "a test" });
    assert_eq!(line, expected);
    let mode =
        PermissionsExt::mode(&std::fs::metadata(house.dir.path().join("audit.log")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_token_has_a_role_prefixes_and_an_end() {
    let house = House::new().await;
    let editor = Role::Editor { prefixes: vec!["/team-a/**".to_owned()] };
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
    let good = house.users.add_token("ci", &editor, Some(soon)).unwrap();
    let before = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let expired = house.users.add_token("old", &Role::Admin, Some(before)).unwrap();
    let put = |app: &str, token: &str| {
        status(house.client.put(house.url(&format!("/rules{app}"))).bearer_auth(token))
    };
    assert_eq!(put("/team-a/web", &good).await, 200);
    assert_eq!(put("/team-b/web", &good).await, 403);
    assert_eq!(status(house.post("/rollback").bearer_auth(&good)).await, 403);
    let answer = house.post("/rollback").bearer_auth(&expired).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.text().await.unwrap().contains("the token has expired"));
    assert_eq!(house.audit()[0]["who"], "token:ci");
    assert_eq!(house.audit()[0]["by"], "token");
    house.users.remove_token("ci").unwrap();
    assert_eq!(put("/team-a/web", &good).await, 401);
    let files = std::fs::read_to_string(house.config.users_file()).unwrap() + &format!("{:?}", house.audit());
    assert!(!files.contains(&good) && !files.contains(&expired));
}

#[tokio::test]
async fn a_browser_is_not_made_to_show_a_box_of_its_own() {
    let house = House::with(|config| config.web.listen = "0.0.0.0:0".to_owned()).await;
    for (name, value) in [("User-Agent", "Mozilla/5.0 (X11)"), ("Sec-Fetch-Mode", "cors")] {
        for request in [house.get("/thing"), house.get("/thing").basic_auth("ada", Some("wrong"))] {
            let answer = request.header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), 401);
            assert!(!answer.headers().contains_key("www-authenticate"), "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn a_browser_is_sent_to_the_login_page() {
    let house = House::new().await;
    let doors = Doors::open(&house.config).unwrap();
    let Ok(inner) = Arc::try_unwrap(doors.0) else { panic!("nobody else has these doors") };
    let asks = |method: &str, accept: &str| {
        let request = Request::builder().method(method).uri("/services?q=a&b=%0A").header("Accept", accept);
        inner.ask_for_login(&request.body(axum::body::Body::empty()).unwrap())
    };
    let answer = asks("GET", "text/html,*/*");
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()["location"], "/login?next=/services%3Fq%3Da%26b%3D%250A");
    assert_eq!(asks("GET", "application/json").status(), 401);
    assert_eq!(asks("POST", "text/html").status(), 401);
}

#[tokio::test]
async fn who_is_removed_or_added_is_so_at_once() {
    let house = House::new().await;
    let (user, password) = VIEWER;
    let get = || status(house.get("/thing").basic_auth(user, Some(password)));
    assert_eq!(get().await, 200);
    house.users.remove_user(user).unwrap();
    assert_eq!(get().await, 401);
    house.users.add_user(user, &Role::Admin, Some(password)).unwrap();
    assert_eq!(status(house.post("/rollback").basic_auth(user, Some(password))).await, 200);
    // A file that is broken by hand changes nothing.
    let path = house.config.users_file();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "[users").unwrap();
    assert_eq!(get().await, 200);
    std::fs::write(&path, good).unwrap();
    assert_eq!(get().await, 200);
    // One that is gone holds nobody.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(get().await, 401);
}
