//! What a client may not do: send too much, or too slowly.

use super::*;

const LOGIN: &str = "Authorization: Basic YWRhOnRoZSBwYXNzd29yZCBvZiBhZGE=\r\n";

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused_at_its_length_or_at_the_limit() {
    let house = House::new().await;
    let right = house.post("/length").basic_auth(ADMIN.0, Some(ADMIN.1)).body(vec![b'x'; 65_536]);
    assert_eq!(right.send().await.unwrap().text().await.unwrap(), "65536");
    let head = format!("POST /length HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{LOGIN}");
    let told = house.say(format!("{head}Content-Length: 10485760\r\n\r\n").as_bytes()).await;
    assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("web.body_limit (65536 bytes)"), "{told}");
    // One that does not say how long it is.
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0;
    while sent < 160 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 1;
    }
    let mut answer = [0; 12];
    match stream.read_exact(&mut answer).await {
        Ok(_) => assert_eq!(&answer, b"HTTP/1.1 413"),
        // It was cut off before all of it was sent.
        Err(_) => assert!(sent < 160),
    }
    // Nobody has to log in to be refused.
    let anybody = "POST /api/v2/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n";
    assert!(house.say(anybody.as_bytes()).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_not_waited_for() {
    let house = House::with(|config| config.web.request_timeout = Duration::from_millis(1500)).await;
    let begun = std::time::Instant::now();
    for (path, login) in [("/length", LOGIN), (session_api::PATH, "")] {
        let kind = "Content-Type: application/json\r\nContent-Length: 1000";
        let told = house
            .say(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{login}{kind}\r\n\r\n{{").as_bytes())
            .await;
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("web.request_timeout"), "{told}");
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!(house.audit()[0]["status"], 503);
}

#[tokio::test]
async fn a_header_that_comes_too_slowly_or_never_ends_the_connection() {
    let house = House::with(|config| config.web.header_timeout = Duration::from_millis(300)).await;
    for begun in ["", "GET /healthz HTTP/1.1\r\nHost: loc"] {
        let told = tokio::time::timeout(Duration::from_secs(10), house.say(begun.as_bytes())).await.unwrap();
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408 "), "{told}");
    }
}

#[tokio::test]
async fn connections_are_counted_and_the_socket_has_places_of_its_own() {
    let house = House::with(|config| config.web.connections = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    let waiting = tokio::time::timeout(Duration::from_millis(300), status(house.get("/healthz"))).await;
    assert!(waiting.is_err());
    let mut socket = UnixStream::connect(house.config.web_socket()).await.unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    held.clear();
    assert_eq!(status(house.get("/healthz")).await, 200);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_they_may_do_with_it() {
    let house = House::new().await;
    for request in [
        house.get("/healthz"),
        house.get("/nowhere"),
        house.post("/thing"),
        house.get("/healthz").header("Host", "evil.example.com"),
        house.post("/thing").header("Origin", "http://evil.example.com"),
        house.post("/thing").header("Content-Length", "10485760"),
    ] {
        let answer = request.send().await.unwrap();
        let says = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(says("content-security-policy").starts_with("default-src 'none'; frame-ancestors 'none'"));
        assert_eq!(says("x-content-type-options"), "nosniff");
        assert_eq!(says("cache-control"), "no-store");
        assert_eq!(says("x-frame-options"), "DENY");
        assert_eq!(says("referrer-policy"), "same-origin");
        assert_eq!(says("cross-origin-opener-policy"), "same-origin");
    }
}

#[tokio::test]
async fn a_write_whose_client_went_away_is_finished_and_written_down() {
    let house = House::new().await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let request = format!("POST /long HTTP/1.1\r\nHost: localhost\r\n{LOGIN}Content-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BEGUN.notified().await;
    drop(stream);
    let audited = async {
        while house.audit().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), audited).await.unwrap();
    assert_eq!(
        (&house.audit()[0]["status"], &house.audit()[0]["why"]),
        (&json!(200), &json!("it was finished"))
    );
}
