//! What a rule means, as requests through a real HAProxy see it: by host, path, header, method and source, in the order of
//! look-up that `docs/rules.md` gives.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::stage::{HTTP, Stage, app, until, vhost};

/// A request, in a line: `METHOD HOST/PATH NAME:VALUE … from SOURCE`.
struct Asked {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    source: Option<IpAddr>,
}

impl Asked {
    fn parse(text: &str) -> Self {
        let (text, source) = match text.split_once(" from ") {
            Some((text, source)) => (text, Some(source.parse().unwrap())),
            None => (text, None),
        };
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let (host, path) = target.split_at(target.find('/').unwrap());
        let header = |word: &str| {
            let (name, value) = word.split_once(':').unwrap();
            (name.to_owned(), value.to_owned())
        };
        let headers = words.map(header).collect();
        Self { method, host: host.to_owned(), path: path.to_owned(), headers, source }
    }

    /// The app that answers; a number where nobody does.
    async fn answer(&self, stage: &Stage) -> Option<String> {
        let client = reqwest::Client::builder().local_address(self.source).build().unwrap();
        let method = reqwest::Method::from_bytes(self.method.as_bytes()).unwrap();
        let url = format!("http://{}:{HTTP}{}", stage.host, self.path);
        let mut request = client.request(method, url).header("Host", &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.ok()?;
        let status = response.status();
        match response.headers().get("x-app").and_then(|app| app.to_str().ok()) {
            Some(app) => Some(app.to_owned()),
            None => Some(status.as_u16().to_string()),
        }
    }
}

/// Saves rules and waits until a request shows them.
async fn rules(stage: &Stage, text: &str, request: &str, app: &str) {
    std::fs::write(stage.path("rules.toml"), text).unwrap();
    let asked = Asked::parse(request);
    until(request, async || asked.answer(stage).await.filter(|answer| answer == app)).await;
}

async fn assert_all(stage: &Stage, table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (request, app) in table {
        let answer = Asked::parse(request).answer(stage).await;
        if answer.as_deref() != Some(app) {
            wrong.push(format!("{request}: {answer:?}, expected {app}"));
        }
    }
    let head = stage.current().split("\nbackend ").next().unwrap_or_default().to_owned();
    assert!(wrong.is_empty(), "{}\n{head}", wrong.join("\n"));
}

fn plain(ids: &[&str]) -> Vec<Value> {
    ids.iter().map(|id| app(id, 1, 0, json!({}))).collect()
}

fn at(id: &str, host: &str, path: &str) -> Value {
    app(id, 1, 0, json!({ "HAPROXY_0_VHOST": host, "HAPROXY_0_PATH": path, "HAPROXY_0_BACKEND_WEIGHT": "0" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_criterion_alone_and_together_leads_where_it_says() {
    let mut apps = vec![
        vhost("/shop", 1, "shop.x"),
        at("/api", "shop.x", "/api"),
        at("/v2", "shop.x", "/api/v2"),
        vhost("/wild", 1, "*.w.x"),
        vhost("/one", 1, "one.w.x"),
    ];
    apps.extend(plain(&["/canary", "/exact", "/write", "/any", "/net", "/beta", "/both", "/last", "/deny"]));
    let stage = Stage::with_apps(apps).await;
    stage.served("shop.x", "/", "/shop").await;
    rules(
        &stage,
        r#"
        [[rule]]
        app = "/canary"
        route = [{ host = "shop.x", all = [{ header = { name = "X-Canary", value = "yes please" } }] }]
        [[rule]]
        app = "/exact"
        route = [{ host = "shop.x", all = [{ path_exact = "/api/status" }] }, { all = [{ path_exact = "/only" }] },
            { all = [{ path_exact = "/" }, { host = "root.x" }] }]
        [[rule]]
        app = "/write"
        route = [{ host = "shop.x", path = "/api", all = [{ method = "POST" }] }]
        [[rule]]
        app = "/any"
        [[rule.route]]
        any = [{ host = "any.x" }, { path = "/any" }, { path_exact = "/whole" }, { method = "DELETE" },
            { header = { name = "X-Any" } }]
        [[rule]]
        app = "/net"
        route = [{ host = "shop.x", path = "/admin", all = [{ source = "127.0.0.8/30" }] }]
        [[rule]]
        app = "/beta"
        route = [{ host = "*.w.x", all = [{ header = { name = "X-Beta", value = "1" } }] }]
        [[rule]]
        app = "/both"
        [[rule.route]]
        host = "shop.x"
        path = "/api"
        all = [{ method = "POST" }, { header = { name = "X-Both", value = "a, b" } }, { source = "127.0.0.0/8" }]
        [[rule]]
        app = "/last"
        route = [{ acl = "path_reg ^/re" }]
        "#,
        "GET nobody.x/re",
        "/last",
    )
    .await;
    assert_all(
        &stage,
        &[
            ("GET shop.x/", "/shop"),
            ("GET shop.x/ X-Canary:no", "/shop"),
            // The longer path comes before a line that asks for more.
            ("GET shop.x/api X-Any:1", "/api"),
            ("GET shop.x/api", "/api"),
            ("POST shop.x/api", "/write"),
            ("POST shop.x/api/x?y=/api/v2", "/write"),
            ("POST shop.x/apiary", "/shop"),
            ("POST shop.x/api/v2", "/v2"),
            ("POST shop.x/api/v2/x", "/v2"),
            ("GET shop.x/api/v2", "/v2"),
            // A whole path is the longest that there is.
            ("GET shop.x/api/status", "/exact"),
            ("GET shop.x/api/status?x=1", "/exact"),
            ("POST shop.x/api/status", "/exact"),
            ("GET shop.x/api/status/", "/api"),
            ("GET shop.x/api/status/x", "/api"),
            ("GET shop.x/Api/status", "/shop"),
            ("GET nobody.x/only", "/exact"),
            ("GET nobody.x/only/", "404"),
            ("GET root.x/", "/exact"),
            ("GET root.x/x", "404"),
            ("GET any.x/", "/any"),
            ("GET any.x:8000/x", "/any"),
            ("GET nobody.x/any/x", "/any"),
            ("GET nobody.x/whole", "/any"),
            ("GET nobody.x/whole/x", "404"),
            ("DELETE nobody.x/", "/any"),
            ("GET nobody.x/ X-Any:", "/any"),
            // Neither host nor path: behind whoever asks for either.
            ("DELETE shop.x/", "/shop"),
            ("GET shop.x/admin from 127.0.0.9", "/net"),
            ("GET shop.x/admin from 127.0.0.12", "/shop"),
            ("GET b.w.x/", "/wild"),
            ("GET b.w.x/ X-Beta:1", "/beta"),
            ("GET one.w.x/ X-Beta:1", "/one"),
            ("GET a.b.w.x/ X-Beta:1", "404"),
            // Free text last.
            ("GET nobody.x/re", "/last"),
            ("GET shop.x/re", "/shop"),
            ("GET nobody.x/re X-Any:1", "/any"),
        ],
    )
    .await;
    // Values with spaces do not fit into the table's lines.
    let url = format!("http://{}:{HTTP}/", stage.host);
    let answer = stage.get_at(&url, &[("Host", "shop.x"), ("X-Canary", "Yes Please")]).await.unwrap();
    assert_eq!(answer.app, "/canary");
    let both = stage.client.post(format!("{url}api")).header("Host", "shop.x").header("X-Both", "a, b");
    assert_eq!(both.send().await.unwrap().headers()["x-app"], "/both");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_come_first_ascending_whatever_is_more_specific() {
    let mut apps = vec![
        vhost("/web", 1, "web.x"),
        at("/web-api", "web.x", "/api"),
        app("/heavy", 1, 0, json!({ "HAPROXY_0_VHOST": "heavy.x", "HAPROXY_0_BACKEND_WEIGHT": "9" })),
    ];
    apps.extend(plain(&["/a", "/b", "/c", "/d", "/e", "/f"]));
    let stage = Stage::with_apps(apps).await;
    stage.served("web.x", "/", "/web").await;
    rules(
        &stage,
        r#"
        [[rule]]
        app = "/a"
        order = -5
        route = [{ path = "/status" }]
        [[rule]]
        app = "/b"
        order = 10
        route = [{ host = "web.x" }, { host = "b.x" }]
        [[rule]]
        app = "/c"
        order = 7
        route = [{ all = [{ header = { name = "X-C" } }] }]
        [[rule]]
        app = "/d"
        order = 20
        route = [{ all = [{ header = { name = "X-D" } }] }, { host = "b.x", path = "/d" }]
        [[rule]]
        app = "/e"
        order = 8
        route = [{ acl = "hdr_reg(X-E) ." }]
        [[rule]]
        app = "/f"
        route = [{ host = "heavy.x", all = [{ method = "POST" }] }, { host = "heavy.x", path = "/f" }]
        "#,
        "GET nobody.x/ X-D:1",
        "/d",
    )
    .await;
    assert_all(
        &stage,
        &[
            ("GET web.x/", "/b"),
            // It shadows what is inside of it.
            ("GET web.x/api", "/b"),
            ("GET b.x/d", "/b"),
            ("GET web.x/api X-D:1", "/b"),
            ("GET web.x/api X-C:1", "/c"),
            ("GET web.x/api X-C:1 X-D:1 X-E:1", "/c"),
            ("GET web.x/api X-E:1", "/e"),
            // The lowest order, at every host.
            ("GET web.x/status X-C:1 X-E:1", "/a"),
            ("GET heavy.x/status", "/a"),
            ("GET nobody.x/status/x X-D:1", "/a"),
            ("GET heavy.x/ X-D:1", "/d"),
            // A weight comes before everything that has neither.
            ("POST heavy.x/", "/heavy"),
            ("GET heavy.x/f", "/heavy"),
        ],
    )
    .await;
    // Orders of hosts and paths change while HAProxy runs, also against lines.
    let before = stage.info().await.unwrap().pid;
    let text = std::fs::read_to_string(stage.path("rules.toml")).unwrap();
    rules(&stage, &text.replace("order = 10", "order = 30"), "GET web.x/api X-D:1", "/d").await;
    assert_all(&stage, &[("GET web.x/api", "/b"), ("GET b.x/d", "/d"), ("GET b.x/d X-E:1", "/e")]).await;
    assert_eq!(stage.info().await.unwrap().pid, before, "it was a reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_paths_are_live_without_a_reload_and_everything_else_by_one() {
    let mut apps = vec![vhost("/web", 1, "web.x"), vhost("/rep", 1, "rep.x")];
    apps.extend(plain(&["/a", "/b"]));
    let stage = Stage::with_apps(apps).await;
    stage.served("web.x", "/", "/web").await;
    let before = stage.info().await.unwrap().pid;
    // On a tie the rule beats the label.
    rules(&stage, "[[rule]]\napp = \"/a\"\nroute = [{ host = \"web.x\" }]", "GET web.x/", "/a").await;
    let exact = "[[rule]]\napp = \"/a\"\nroute = [{ host = \"web.x\", all = [{ path_exact = \"/e\" }] }]\n";
    rules(&stage, exact, "GET web.x/", "/web").await;
    assert_all(&stage, &[("GET web.x/e", "/a"), ("GET web.x/e/", "/web")]).await;
    let ordered =
        "[[rule]]\napp = \"/a\"\norder = 1\nroute = [{ path = \"/o\" }, { acl = \"hdr(host) -i O.x\" }]\n";
    rules(&stage, ordered, "GET web.x/o", "/a").await;
    assert_all(&stage, &[("GET o.x/", "/a")]).await;
    // Disabled is as if it were not there; `replace` drops what the labels say, and nothing else of the app.
    let replace = "[[rule]]\napp = \"/rep\"\nreplace = true\nroute = [{ host = \"rep2.x\" }]\n";
    rules(&stage, &format!("{ordered}{replace}"), "GET rep2.x/", "/rep").await;
    assert_all(&stage, &[("GET rep.x/", "404")]).await;
    let disabled = replace.replace("replace = true", "replace = true\nenabled = false");
    rules(&stage, &disabled, "GET rep.x/", "/rep").await;
    assert_all(&stage, &[("GET rep2.x/", "404"), ("GET web.x/o", "/web")]).await;
    rules(&stage, "[[rule]]\napp = \"/a\"\nroute = [{ path = \"/\" }]", "GET nobody.x/x", "/a").await;
    rules(&stage, "# none\n", "GET nobody.x/x", "404").await;
    assert_eq!(stage.info().await.unwrap().pid, before, "it was a reload");
    let line = "[[rule]]\napp = \"/b\"\nroute = [{ host = \"web.x\", all = [{ method = \"DELETE\" }] }]\n";
    rules(&stage, line, "DELETE web.x/", "/b").await;
    assert_ne!(stage.info().await.unwrap().pid, before);
    // A longer path below a line that asks for one.
    let line = "[[rule]]\napp = \"/b\"\nroute = [{ host = \"web.x\", path = \"/p\", all = [{ method = \"DELETE\" }] }]\n";
    rules(&stage, line, "DELETE web.x/p/q", "/b").await;
    let longer = format!("{line}[[rule]]\napp = \"/a\"\nroute = [{{ host = \"web.x\", path = \"/p/q\" }}]\n");
    rules(&stage, &longer, "DELETE web.x/p/q", "/a").await;
    assert_all(&stage, &[("DELETE web.x/p", "/b"), ("GET web.x/p", "/web")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_rule_is_last_and_only_where_it_is_asked_for() {
    let mut stage = Stage::set().await;
    stage.config.labels.default_rule = true;
    let mut apps = plain(&["/team/app", "/team/app2", "/text", "/ruled"]);
    apps.push(app("/label", 1, 0, json!({ "HAPROXY_0_PATH": "/team/app/label" })));
    stage.marathon.create_apps(apps).await.unwrap();
    stage.bridge();
    stage.served("any.x", "/team/app", "/team/app").await;
    rules(
        &stage,
        "[[rule]]\napp = \"/text\"\nroute = [{ acl = \"path_end .txt\" }]\n\
         [[rule]]\napp = \"/ruled\"\nroute = [{ host = \"ruled.x\" }]\n",
        "GET any.x/a.txt",
        "/text",
    )
    .await;
    assert_all(
        &stage,
        &[
            ("GET any.x/team/app/x", "/team/app"),
            ("GET any.x/Team/App/x", "/team/app"),
            ("GET any.x/team/app2", "/team/app2"),
            ("GET any.x/team/app/label", "/label"),
            ("GET any.x/team/app/x.txt", "/text"),
            ("GET any.x/ruled", "404"),
            ("GET any.x/label", "404"),
        ],
    )
    .await;
    std::fs::write(
        stage.path("rules.toml"),
        "[[rule]]\napp = \"/ruled\"\nenabled = false\nroute = [{ host = \"ruled.x\" }]\n",
    )
    .unwrap();
    stage.served("any.x", "/ruled", "/ruled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gives_config_to_templates_and_no_directive() {
    let mut stage = Stage::set().await;
    let templates = stage.path("templates");
    std::fs::create_dir(&templates).unwrap();
    let built_in = include_str!("../../templates/service.cfg");
    let balance = "    balance {{ service.backend.balance }}";
    let drawn =
        format!("{balance}\n    timeout server {{{{ service.config.timeout | default(value=\"30s\") }}}}");
    std::fs::write(templates.join("service.cfg"), built_in.replace(balance, &drawn)).unwrap();
    stage.config.template.dir = Some(templates);
    let apps = ["/team/a", "/team/b", "/other"];
    stage
        .marathon
        .create_apps(apps.map(|id| vhost(id, 1, &format!("{}.x", &id[1..].replace('/', "-")))).into())
        .await
        .unwrap();
    stage.bridge();
    stage.served("other.x", "/", "/other").await;
    let timeout = |config: &str, backend: &str| {
        let section = config.split("\nbackend ").find(|section| section.starts_with(backend))?;
        let line = section.lines().find_map(|line| line.trim().strip_prefix("timeout server "))?;
        Some(line.to_owned())
    };
    let timeouts = |config: &str| {
        ["h_team_a_0", "h_team_b_0", "h_other_0"].map(|backend| timeout(config, backend).unwrap_or_default())
    };
    let shown = async |rules: &str, expected: [&str; 3]| {
        std::fs::write(stage.path("rules.toml"), rules).unwrap();
        let what = format!("{expected:?} for {rules}");
        until(&what, async || (timeouts(&stage.current()) == expected).then_some(())).await;
    };
    shown("[[rule]]\napp = \"/team/**\"\nconfig = { timeout = \"5s\" }\n", ["5s", "5s", "30s"]).await;
    shown(
        "[[rule]]\napp = \"/team/**\"\nconfig = { timeout = \"5s\" }\n\
         [[rule]]\napp = \"/**\"\nconfig = { timeout = \"6s\" }\n\
         [[rule]]\napp = \"/team/b\"\nconfig = { timeout = \"7s\" }\n",
        ["5s", "7s", "6s"],
    )
    .await;
    // What has a line break is left out; what has spaces is one word all the same.
    shown(
        "[[rule]]\napp = \"/team/a\"\nconfig = { timeout = \"9s\\n    http-request deny\" }\n\
         [[rule]]\napp = \"/team/b\"\nconfig = { timeout = \"9s http-request deny\" }\n\
         [[rule]]\napp = \"/other\"\nconfig = { timeout = \"8s\" }\n",
        ["30s", "9s\\ http-request\\ deny", "8s"],
    )
    .await;
    assert!(!stage.current().contains("http-request deny"));
    assert_all(&stage, &[("GET team-a.x/", "/team/a"), ("GET team-b.x/", "/team/b")]).await;
}
