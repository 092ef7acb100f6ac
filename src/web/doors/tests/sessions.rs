//! Sessions of browsers, and pages of elsewhere.

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";

fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}={}&", url_encoded(value))).collect()
}

#[tokio::test]
async fn a_session_does_what_its_user_may_and_survives_a_restart() {
    let mut house = House::new().await;
    let answer = house.post(session_api::PATH).json(&json!({ "user": EDITOR.0, "password": EDITOR.1 }));
    let answer = answer.send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("causeway_session="), "{cookie}");
    for attribute in ["; Path=/", "; Max-Age=43200", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "without TLS a browser would not send it back");
    let who: Value = answer.json().await.unwrap();
    let expected = json!({ "name": "eve", "role": "editor", "prefixes": ["/team-a/**"], "by": "session",
        "may_write": true, "is_admin": false });
    assert_eq!(who, expected);
    let cookie = cookie.split_once(';').unwrap().0.to_owned();
    let put = async |house: &House, app: &str| {
        let put =
            house.client.put(house.url(&format!("/rules{app}"))).header("Cookie", format!("a=b; {cookie}"));
        status(put).await.as_u16()
    };
    assert_eq!(put(&house, "/team-a/web").await, 200);
    assert_eq!(put(&house, "/team-b/web").await, 403);
    house.restart().await;
    assert_eq!(put(&house, "/team-a/web").await, 200);
    let shown: Value =
        house.get(session_api::PATH).header("Cookie", &cookie).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown, expected);
    let kept = std::fs::read_to_string(house.dir.path().join("sessions.json")).unwrap();
    assert!(!kept.contains(cookie.split_once('=').unwrap().1), "{kept}");
    for name in ["sessions.json", "users.toml"] {
        let mode = std::fs::metadata(house.dir.path().join(name)).unwrap().permissions();
        assert_eq!(PermissionsExt::mode(&mode) & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_session_that_ended_cannot_be_replayed_not_even_after_a_restart() {
    let mut house = House::new().await;
    for by_page in [false, true] {
        let (cookie, other) = (house.log_in(ADMIN).await, house.log_in(ADMIN).await);
        let write = async |house: &House, cookie: &str| {
            status(house.post("/thing").header("Cookie", cookie)).await.as_u16()
        };
        assert_eq!(write(&house, &cookie).await, 200);
        let end = if by_page {
            house.post("/logout").header("User-Agent", "Mozilla/5.0")
        } else {
            house.client.delete(house.url(session_api::PATH))
        };
        let ended = end.header("Cookie", &cookie).send().await.unwrap();
        assert_eq!(ended.status(), if by_page { 303 } else { 204 });
        assert!(
            ended.headers()["set-cookie"]
                .to_str()
                .unwrap()
                .starts_with("causeway_session=; Path=/; Max-Age=0")
        );
        assert_eq!(write(&house, &cookie).await, 401);
        house.restart().await;
        assert_eq!(write(&house, &cookie).await, 401);
        assert_eq!(write(&house, &other).await, 200, "another session of the same user goes on");
    }
    let log: Vec<_> = house.audit().iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    assert!(log.contains(&"/logout".to_owned()), "{log:?}");
}

#[tokio::test]
async fn another_password_another_role_and_no_user_end_or_change_sessions_at_once() {
    let house = House::new().await;
    let (ada, eve, vic) = (house.log_in(ADMIN).await, house.log_in(EDITOR).await, house.log_in(VIEWER).await);
    let write = async |cookie: &str| status(house.post("/thing").header("Cookie", cookie)).await.as_u16();
    assert_eq!((write(&ada).await, write(&eve).await, write(&vic).await), (200, 200, 403));
    house.users.set_password(ADMIN.0, "another password").unwrap();
    house.users.remove_user(EDITOR.0).unwrap();
    let text = std::fs::read_to_string(house.config.users_file()).unwrap();
    std::fs::write(house.config.users_file(), text.replace("\"viewer\"", "\"admin\"")).unwrap();
    assert_eq!((write(&ada).await, write(&eve).await, write(&vic).await), (401, 401, 200));
    // Who comes again under the same name, with the same password, is another.
    house.users.add_user(EDITOR.0, &Role::Admin, Some(EDITOR.1)).unwrap();
    assert_eq!(write(&eve).await, 401);
}

#[tokio::test]
async fn logging_in_again_ends_the_session_before() {
    let house = House::new().await;
    let before = house.log_in(VIEWER).await;
    let login = house.post(session_api::PATH).header("Cookie", &before);
    assert_eq!(status(login.json(&json!({ "user": VIEWER.0, "password": VIEWER.1 }))).await, 200);
    assert_eq!(status(house.post("/thing").header("Cookie", &before)).await, 401);
}

#[tokio::test]
async fn a_form_logs_in_and_leads_on_but_not_elsewhere() {
    let house = House::new().await;
    for (next, expected) in [
        ("/rules?q=1", "/rules?q=1"),
        ("", "/"),
        ("//evil.example.com", "/"),
        ("/\\evil.example.com", "/"),
        ("https://evil.example.com", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
    ] {
        let fields = [("user", VIEWER.0), ("password", VIEWER.1), ("next", next)];
        let answer = house
            .post(session_api::PATH)
            .header("Content-Type", FORM)
            .body(form(&fields))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 303);
        assert_eq!(answer.headers()["location"], expected);
        assert!(answer.headers().contains_key("set-cookie"));
    }
    let wrong = [("user", VIEWER.0), ("password", "wrong")];
    let refused = house.post(session_api::PATH).header("Content-Type", FORM).body(form(&wrong));
    let refused = refused.send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["location"]),
        (303, &"/login?failed&next=/".parse().unwrap())
    );
    assert!(!refused.headers().contains_key("set-cookie"));
    // What was sent comes back in no message.
    let answer = house.post(session_api::PATH).json(&json!({ "user": "ada", "password": ["hunter22"] }));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 422);
    assert!(!answer.text().await.unwrap().contains("hunter22"));
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing_whatever_lets_the_browser_in() {
    let house = House::new().await;
    let cookie = house.log_in(ADMIN).await;
    let own = format!("http://{}", house.address);
    let write = |headers: &[(&str, &str)]| {
        let mut request = house.post("/thing").header("Cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        status(request)
    };
    for foreign in [
        &[("Origin", "https://evil.example.com")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example.com")],
        // Another port of this host is another origin, which the cookie does not tell apart.
        &[("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")],
        &[("Origin", "http://127.0.0.1:1")],
    ] {
        assert_eq!(write(foreign).await, 403, "{foreign:?}");
    }
    for own in
        [&[][..], &[("Origin", own.as_str())], &[("Sec-Fetch-Site", "same-origin"), ("Origin", own.as_str())]]
    {
        assert_eq!(write(own).await, 200, "{own:?}");
    }
    // Nor is anybody logged in by one.
    let login = house.post(session_api::PATH).header("Origin", "https://evil.example.com");
    let answer = login.json(&json!({ "user": ADMIN.0, "password": ADMIN.1 })).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}
