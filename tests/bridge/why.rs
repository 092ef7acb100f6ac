//! What `GET /api/v2/why` says of a request, and what becomes of the same request when it is really sent.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::stage::{APP_ID, HTTP, HTTPS, Stage, app, until, vhost};

/// A request: `METHOD URL NAME:VALUE … from ADDRESS`. In the URL, `:http`, `:https` and `:id` are the ports of the stage.
struct Asked {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    from: Option<IpAddr>,
}

impl Asked {
    fn parse(text: &str) -> Self {
        let (text, from) = match text.split_once(" from ") {
            Some((text, from)) => (text, Some(from.parse().unwrap())),
            None => (text, None),
        };
        let mut words = text.split(' ');
        let (method, url) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let url = url
            .replace(":https/", &format!(":{HTTPS}/"))
            .replace(":http/", &format!(":{HTTP}/"))
            .replace(":id/", &format!(":{APP_ID}/"));
        let header = |word: &str| {
            let (name, value) = word.split_once(':').unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self { method, url, headers: words.map(header).collect(), from }
    }

    /// What becomes of it: the app that answers, and the status; `(0, "")` where nobody does.
    async fn sent(&self, stage: &Stage) -> (u64, String) {
        let url = reqwest::Url::parse(&self.url).unwrap();
        let address = format!("{}:{}", stage.host, url.port_or_known_default().unwrap()).parse().unwrap();
        let client = reqwest::Client::builder()
            .resolve(url.host_str().unwrap(), address)
            .local_address(self.from)
            .redirect(reqwest::redirect::Policy::none())
            .danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let mut request = client.request(self.method.parse().unwrap(), url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let Ok(response) = request.send().await else { return (0, String::new()) };
        let app = response.headers().get("x-app").map(|app| app.to_str().unwrap().to_owned());
        match app {
            Some(app) => (200, app),
            None => (response.status().as_u16().into(), String::new()),
        }
    }

    /// What `why` says of it.
    async fn explained(&self, stage: &Stage) -> Value {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("url", &self.url).append_pair("method", &self.method);
        for (name, value) in &self.headers {
            query.append_pair("header", &format!("{name}: {value}"));
        }
        if let Some(from) = self.from {
            query.append_pair("from", &from.to_string());
        }
        let path = format!("/why?{}", query.finish());
        // Before the first round is through, it is not known what runs.
        until(&path, async || stage.api(&path).await.filter(|answer| answer["steps"].is_array())).await
    }
}

/// What `why` says, as [`Asked::sent`] has it.
fn result(explained: &Value) -> (u64, String) {
    let result = &explained["result"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (result["status"].as_u64(), result["app"].as_str()) {
        (Some(status), _) => (status, String::new()),
        (None, Some(app)) if text(&result["sentence"]).contains("answers") => (200, app.to_owned()),
        _ => (0, String::new()),
    }
}

/// A hash of crypt(3).
const HASH: &str =
    "$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1";

const RULES: &str = r#"
[[rule]]
app = "/team/blue"
[[rule.route]]
all = [{ host = "shop.x" }, { header = { name = "X-Team", value = "blue" } }]

[[rule]]
app = "/team/local"
[[rule.route]]
all = [{ host = "shop.x" }, { path = "/local" }, { source = "127.0.0.9/32" }]

[[rule]]
app = "/team/first"
order = 1
[[rule.route]]
all = [{ path = "/first" }, { method = "PUT" }]

[[rule]]
app = "/team/text"
[[rule.route]]
acl = "hdr_sub(user-agent) 'Mobile Safari'"

[[rule]]
app = "/team/tls"
[[rule.route]]
acl = "ssl_fc_sni -i sni.x"

[[rule]]
app = "/team/exact"
[[rule.route]]
all = [{ host = "shop.x" }, { path_exact = "/exact" }]
"#;

async fn stage() -> Stage {
    let mut stage = Stage::set().await;
    let made = rcgen::generate_simple_self_signed(vec!["shop.x".to_owned()]).unwrap();
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(stage.path("shop.pem"), pem).unwrap();
    stage.config.tls.certificates = vec![stage.path("shop.pem")];
    std::fs::write(stage.path("rules.toml"), RULES).unwrap();
    let with = |id: &str, port: u16, labels: Value| app(id, 1, port, labels);
    let path = |id: &str, host: &str, path: &str| {
        with(id, 0, json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_PATH": path }))
    };
    let mut apps = vec![
        with("/shop/web", 10_001, json!({ "HAPROXY_0_VHOST": "shop.x" })),
        path("/shop/api", "shop.x", "/api"),
        path("/shop/apiv2", "shop.x", "/api/v2"),
        path("/wild/api", "*.wild.x", "/api"),
        vhost("/wild/all", 1, "*.wild.x"),
        vhost("/wild/one", 1, "one.wild.x"),
        vhost("/shop/younger", 1, "shop.x"),
        vhost("/shop/none", 0, "none.x"),
        with("/shop/tls", 0, json!({ "HAPROXY_0_VHOST": "tls.x", "HAPROXY_0_REDIRECT_TO_HTTPS": "true" })),
        with(
            "/shop/auth",
            0,
            json!({ "HAPROXY_0_VHOST": "auth.x", "HAPROXY_0_AUTH": format!("The shop:joe:{HASH}") }),
        ),
        with(
            "/shop/inside",
            0,
            json!({ "HAPROXY_0_VHOST": "inside.x", "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL": "127.0.0.8 10.0.0.0/8" }),
        ),
        with(
            "/shop/closed",
            0,
            json!({ "HAPROXY_0_VHOST": "closed.x", "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL": "everyone" }),
        ),
        with(
            "/shop/root",
            0,
            json!({ "HAPROXY_0_VHOST": "root.x", "HAPROXY_0_HTTP_BACKEND_REDIR": "/welcome" }),
        ),
        with("/data/cache", 10_007, json!({ "HAPROXY_0_MODE": "tcp" })),
    ];
    for team in ["blue", "local", "first", "text", "tls", "exact"] {
        apps.push(with(&format!("/team/{team}"), 0, json!({})));
    }
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("shop.x", "/", "/shop/web").await;
    stage.served("shop.x", "/exact", "/team/exact").await;
    stage.answers("none.x", "/", 503).await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn what_why_says_is_what_becomes_of_the_request() {
    let stage = stage().await;
    let table = [
        ("GET http://shop.x:http/", 200, "/shop/web"),
        ("GET http://SHOP.X:http/what?ever=1", 200, "/shop/web"),
        ("GET http://shop.x:http/api", 200, "/shop/api"),
        ("GET http://shop.x:http/api/", 200, "/shop/api"),
        ("GET http://shop.x:http/apiary", 200, "/shop/web"),
        ("POST http://shop.x:http/api/v2/carts?x=/y", 200, "/shop/apiv2"),
        ("GET http://shop.x:http/API/v2", 200, "/shop/web"),
        ("GET http://a.wild.x:http/", 200, "/wild/all"),
        ("GET http://a.wild.x:http/api/x", 200, "/wild/api"),
        ("GET http://one.wild.x:http/api", 200, "/wild/one"),
        ("GET http://a.b.wild.x:http/", 404, ""),
        ("GET http://nobody.x:http/", 404, ""),
        ("GET http://none.x:http/", 503, ""),
        ("GET http://shop.x:http/ X-Team:blue", 200, "/team/blue"),
        ("GET http://shop.x:http/ X-Team:red,BLUE", 200, "/team/blue"),
        ("GET http://shop.x:http/api X-Team:blue", 200, "/shop/api"),
        ("GET http://shop.x:http/local from 127.0.0.9", 200, "/team/local"),
        ("GET http://shop.x:http/local from 127.0.0.10", 200, "/shop/web"),
        ("PUT http://shop.x:http/first", 200, "/team/first"),
        ("GET http://shop.x:http/first", 200, "/shop/web"),
        ("GET http://shop.x:http/exact", 200, "/team/exact"),
        ("GET http://shop.x:http/exact/more", 200, "/shop/web"),
        ("GET http://nobody.x:http/ User-Agent:Safari", 404, ""),
        ("GET https://shop.x:https/", 200, "/shop/web"),
        ("GET https://sni.x:https/", 200, "/team/tls"),
        ("GET http://sni.x:http/", 404, ""),
        ("GET http://tls.x:http/page?a=b", 301, ""),
        ("GET https://tls.x:https/page", 200, "/shop/tls"),
        ("GET http://auth.x:http/", 401, ""),
        ("GET http://inside.x:http/ from 127.0.0.8", 200, "/shop/inside"),
        ("GET http://inside.x:http/ from 127.0.0.10", 403, ""),
        ("GET http://closed.x:http/", 503, ""),
        ("GET http://root.x:http/", 301, ""),
        ("GET http://root.x:http/welcome", 200, "/shop/root"),
        ("GET http://any.x:id/ X-Marathon-App-Id:/shop/API", 200, "/shop/api"),
        ("GET http://any.x:id/ X-Marathon-App-Id:/nobody", 404, ""),
        ("GET http://any.x:10001/", 200, "/shop/web"),
        ("GET http://any.x:10049/", 0, ""),
        ("GET http://any.x:7/", 0, ""),
        ("GET https://shop.x:http/", 0, ""),
        ("GET http://shop.x:http/ Host:nobody.x", 404, ""),
    ];
    let mut wrong = Vec::new();
    for (request, status, app) in table {
        let asked = Asked::parse(request);
        let (sent, explained) = (asked.sent(&stage).await, asked.explained(&stage).await);
        let said = result(&explained);
        if sent != (status, app.to_owned()) || said != sent || !explained["differs"].is_null() {
            wrong.push(format!(
                "{request}: sent {sent:?}, expected {status} {app}, said {said:?}: {explained:#}"
            ));
        }
        let is_routed = request.contains(":http/") && !request.starts_with("GET https");
        assert!(!is_routed || explained["haproxy_asked"] == json!(true), "{request}: {explained:#}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_names_who_lost_and_what_would_help_and_takes_no_nonsense() {
    let stage = stage().await;
    let explained = Asked::parse("GET http://shop.x:http/api/v2").explained(&stage).await;
    let lookup = &explained["steps"][1];
    let fates: Vec<(&str, &str)> = lookup["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|each| Some((each["app"].as_str()?, each["fate"].as_str()?)))
        .filter(|(_, fate)| *fate != "no_match")
        .collect();
    assert_eq!(fates[0], ("/shop/apiv2", "won"), "{lookup:#}");
    assert!(fates.contains(&("/shop/web", "lost")), "looked up behind: {lookup:#}");
    assert!(fates.contains(&("/shop/younger", "lost")), "a claim that was not won: {lookup:#}");
    assert_eq!(explained["servers"].as_array().map(Vec::len), Some(1));

    // Free text, of which only HAProxy can tell.
    let url = "/why?url=http://nobody.x/&header=User-Agent:+Mobile+Safari";
    let explained = stage.api(url).await.unwrap();
    assert_eq!(explained["result"]["app"], json!("/team/text"), "{explained:#}");
    assert_eq!(explained["differs"], Value::Null);
    let other = stage.api("/why?url=http://nobody.x/").await.unwrap();
    assert_eq!(other["result"]["status"], json!(404), "{other:#}");

    // A closed app: its servers are well, and nobody is let in.
    let closed = stage.api("/why?url=http://closed.x/").await.unwrap();
    assert!(closed["result"]["sentence"].as_str().unwrap().ends_with("its problems say which"), "{closed:#}");
    let row = stage.api("/services?q=closed.x").await.unwrap();
    assert_eq!(row["services"][0]["state"], json!("down"), "{row:#}");

    // A host that an app names, and no scheme; a login is not shown.
    let asked = stage.api("/why?url=tls.x&header=Authorization:+Basic+c2VjcmV0").await.unwrap();
    assert_eq!(asked["result"]["location"], json!("https://tls.x/"), "{asked:#}");
    let port = stage.api(&format!("/why?url=http://tls.x:{HTTP}/")).await.unwrap();
    assert_eq!(port["result"]["location"], json!(format!("https://tls.x:{HTTPS}/")), "{port:#}");
    assert!(!asked.to_string().contains("c2VjcmV0"), "{asked:#}");

    for (query, word) in [
        ("url=ftp://x/", "ftp"),
        ("url=", "url"),
        ("url=http://x/&method=G%20T", "method"),
        ("url=http://x/&header=x", "colon"),
        ("url=http://x/&header=a%0d%0ab:c", "header"),
        ("url=http://x/&header=Content-Length:5", "body"),
        ("url=http://x/&from=nobody", "from"),
        ("url=http://x/&method=CONNECT", "CONNECT"),
        ("uri=http://x/", "uri"),
    ] {
        let answer = stage.ask(&format!("/api/v2/why?{query}")).await.unwrap();
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(answer.body.contains(word), "{query}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_template_without_the_frontend_is_said_so() {
    let mut stage = Stage::set().await;
    let templates = stage.path("templates");
    std::fs::create_dir_all(&templates).unwrap();
    let head = include_str!("../../templates/head.cfg");
    let (before, _) = head.split_once("{%- if why_socket %}").unwrap();
    std::fs::write(templates.join("head.cfg"), before).unwrap();
    stage.config.template.dir = Some(templates);
    stage.marathon.create_apps(vec![vhost("/shop/web", 1, "shop.x")]).await.unwrap();
    stage.bridge();
    stage.served("shop.x", "/", "/shop/web").await;
    let explained = until("an answer", async || {
        stage
            .api("/why?url=http://shop.x/")
            .await
            .filter(|answer| answer["result"]["app"] == json!("/shop/web"))
    })
    .await;
    assert_eq!(explained["haproxy_asked"], json!(false));
    assert!(explained["not_asked_because"].as_str().unwrap().contains("template"), "{explained:#}");
}
