//! Why, rules and changes in a real browser, as people use them.

use std::time::Duration;

use causeway::config::WebAuth;
use causeway::web::Role;
use causeway::web::doors::users::UsersFile;
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::browser::Browser;
use crate::stage::{Stage, app, until, vhost};

fn apps() -> Vec<Value> {
    vec![
        vhost("/shop/web", 2, "shop.example.com"),
        app("/shop/api", 1, 0, json!({ "HAPROXY_0_VHOST": "shop.example.com", "HAPROXY_0_PATH": "/api" })),
        app("/shop/cart", 1, 0, json!({})),
        app("/shop/younger", 1, 0, json!({ "HAPROXY_0_VHOST": "shop.example.com" })),
        vhost("/other/app", 1, "other.example.com"),
        vhost(
            "/platform/identity/production/eu-central-1/login-frontend-canary-2026-11",
            1,
            "login.example.com",
        ),
    ]
}

const RULES: &str = r#"
[[rule]]
app = "/shop/web"
order = 10
changed = { by = "ada", at = "2026-11-20T09:30:00Z", why = "the old host stays until spring" }
[[rule.route]]
host = "old.example.com"

[[rule]]
app = "/shop/api"
order = 20
[[rule.route]]
all = [{ host = "shop.example.com" }, { header = { name = "X-Team", value = "blue" } }]
[[rule.route]]
acl = "hdr_sub(user-agent) 'Mobile Safari'"

[[rule]]
app = "/other/app"
enabled = false
[[rule.route]]
path = "/other"

[[rule]]
app = "/shop/**"
config = { timeout = "10s" }
"#;

/// How long a start may take, of ten thousand services, without optimization.
const START: Duration = Duration::from_secs(180);

const PASSWORD: &str = "a long password";

impl Stage {
    async fn ruled(auth: WebAuth, crowd: Vec<Value>) -> (Self, Browser) {
        let mut stage = Self::set().await;
        stage.config.web.auth = auth;
        std::fs::write(stage.path("rules.toml"), RULES).unwrap();
        stage.marathon.create_apps([apps(), crowd].concat()).await.unwrap();
        if auth != WebAuth::None {
            let users = UsersFile::new(&stage.config.users_file());
            let editor = Role::Editor { prefixes: vec!["/shop/**".to_owned()] };
            for (name, role) in [("ed", editor), ("vera", Role::Viewer)] {
                users.add_user(name, &role, Some(PASSWORD)).unwrap();
            }
        }
        stage.bridge();
        let started = async {
            while stage.get("old.example.com", "/").await.is_none_or(|answer| answer.status != 200) {}
        };
        tokio::time::timeout(START, started).await.expect("the services are served");
        let browser = Browser::open(&stage).await;
        (stage, browser)
    }
}

impl Browser {
    /// Presses the button with this accessible name, or text.
    async fn press(&self, name: &str) {
        let path = format!("//button[@aria-label='{name}' or normalize-space(.)='{name}']");
        let button = self.driver.find(By::XPath(path)).await.unwrap();
        button.scroll_into_view().await.unwrap();
        button.click().await.unwrap();
    }

    /// Logs somebody in, whoever it was before.
    async fn as_user(&self, name: &str) {
        if !self.texts(".who button").await.is_empty() {
            self.press("Log out").await;
        }
        self.go("/login?next=/rules").await;
        self.fill("[name=user]", name).await;
        self.fill("[name=password]", PASSWORD).await;
        self.click("main button").await;
        self.says(".who", name).await;
    }

    async fn choose(&self, selector: &str, value: &str) {
        let script = "const e = document.querySelector(arguments[0]); e.value = arguments[1]; \
                      e.dispatchEvent(new Event('input', { bubbles: true })); e.dispatchEvent(new Event('change', { bubbles: true }))";
        self.run(script, json!([selector, value])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_why_shows_the_way_of_a_request_step_by_step() {
    let (_stage, browser) = Stage::ruled(WebAuth::Login, Vec::new()).await;
    why(&browser).await;
}

async fn why(browser: &Browser) {
    browser.go("/services/shop/web").await;
    browser.says("#parts", "order 10").await;
    browser.go("/why").await;
    browser.fill("[name=url]", "http://shop.example.com/api/carts").await;
    browser.press("Ask HAProxy").await;
    browser.says("#result .lead", "answers").await;
    let lead = browser.text("#result .lead").await;
    assert!(lead.contains("/shop/api"), "{lead}");
    browser.says("#result", "HAProxy itself named the backend").await;
    let won = browser.texts(".candidates .won .whose").await;
    assert!(won[0].starts_with("/shop/api"), "{won:?}");
    let lost = browser.texts(".candidates .lost").await.join("\n");
    assert!(lost.contains("/shop/web") && lost.contains("/shop/younger"), "{lost}");
    browser.look("why").await;

    // The address of the page is the question, without scripts too.
    browser.go("/why?url=shop.example.com/&header=X-Team%3A+blue&from=10.1.2.3").await;
    browser.says("#result .lead", "answers").await;
    let lead = browser.text("#result .lead").await;
    assert!(lead.contains("/shop/api"), "{lead}");
    browser.go("/why?url=http://nobody.example.com/").await;
    browser.says("#result .lead", "404").await;
    browser.look("why-404").await;
    browser.go("/why?url=ftp://x/").await;
    browser.says(".note.bad", "not HTTP").await;
    browser.go("/why?app=/shop/web").await;
    let url = browser.run("return document.querySelector('[name=url]').value", json!([])).await;
    assert_eq!(url, json!("http://old.example.com/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_rules_are_written_ordered_and_never_lost() {
    let (stage, browser) = Stage::ruled(WebAuth::None, Vec::new()).await;
    rules(&stage, &browser).await;
}

async fn rules(stage: &Stage, browser: &Browser) {
    browser.go("/rules").await;
    let order = async |browser: &Browser| browser.texts(".rules tbody td:nth-child(2) a:first-child").await;
    assert_eq!(order(browser).await, ["/shop/web", "/shop/api", "/other/app", "/shop/**"]);
    browser.look("rules").await;
    // By its arrow, by number, by dragging.
    browser.press("Move /shop/api up").await;
    browser.says("#list", "/shop/web").await;
    assert_eq!(order(browser).await[..2], ["/shop/api", "/shop/web"]);
    let numbers = "const r = [...document.querySelectorAll('tr[data-ordered]')]; \
        const data = new DataTransfer(); \
        r[1].dispatchEvent(new DragEvent('dragstart', { bubbles: true, dataTransfer: data })); \
        r[0].dispatchEvent(new DragEvent('dragover', { bubbles: true, cancelable: true, dataTransfer: data })); \
        r[0].dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }))";
    browser.run(numbers, json!([])).await;
    until("the dragged rule to be first", async || {
        (order(browser).await.first()? == "/shop/web").then_some(())
    })
    .await;
    let unordered = numbers
        .replace(
            "const r = [...",
            "const o = document.querySelector(\"tr[data-rule='/other/app']\"); const r = [...",
        )
        .replace("r[1]", "o");
    browser.run(&unordered, json!([])).await;
    until("the rule without an order to have one", async || {
        (order(browser).await.first()? == "/other/app").then_some(())
    })
    .await;
    browser.press("Enable the rule for /other/app").await;
    browser.says(".note.good", "/other/app").await;
    stage.served("nobody.example.com", "/other/x", "/other/app").await;

    // A new one: HAProxy's verdict as one writes, then it is stored and live.
    browser.click_on("New rule").await;
    browser.fill("[name=app]", "/shop/cart").await;
    browser.fill("[name='route.0.0.value']", "cart.example.com").await;
    browser.says("#verdict", "commands to the running HAProxy").await;
    browser.says("#verdict .diff", "cart.example.com").await;
    browser.press("Add a criterion").await;
    browser.says("#editor", "Route 1").await;
    until("the new field", async || (browser.texts(".criterion").await.len() == 2).then_some(())).await;
    browser.choose("[name='route.0.1.kind']", "method").await;
    browser.fill("[name='route.0.1.value']", "POST").await;
    browser.says("#verdict", "reload").await;
    browser.look("rule").await;
    // Free text that HAProxy refuses, in its own words.
    browser.choose("[name='route.0.join']", "acl").await;
    browser.fill("[name='route.0.acl']", "hdr(host) -q x").await;
    browser.says("#verdict", "HAProxy refuses").await;
    browser.look("rule-refused").await;
    browser.choose("[name='route.0.join']", "all").await;
    browser.press("Remove criterion 2 of route 1").await;
    until("the field to go", async || (browser.texts(".criterion").await.len() == 1).then_some(())).await;
    browser.fill("[name=why]", "spring sale").await;
    browser.press("Store the rule").await;
    browser.says(".note.good", "/shop/cart").await;
    stage.served("cart.example.com", "/", "/shop/cart").await;
    browser.says("#list", "spring sale").await;

    // Two edit the same rule: the second is told, and nothing of his is lost.
    browser.go("/rules/edit?app=/shop/cart").await;
    let rule = stage.api("/rules/shop/cart").await.unwrap();
    let mut theirs = rule.clone();
    theirs["routes"] = json!([{ "host": "theirs.example.com" }]);
    theirs["why"] = json!("mine first");
    let put = stage
        .client
        .put(format!("http://{}/api/v2/rules/shop/cart", stage.web.unwrap()))
        .header("If-Match", format!("{:?}", rule["version"].as_str().unwrap()))
        .json(&theirs);
    assert_eq!(put.send().await.unwrap().status(), 200);
    browser.fill("[name='route.0.0.value']", "mine.example.com").await;
    browser.press("Store the change").await;
    browser.says("#conflict", "Somebody else changed this rule").await;
    let told = browser.text("#conflict").await;
    assert!(told.contains("theirs.example.com") && told.contains("mine.example.com"), "{told}");
    let kept =
        browser.run("return document.querySelector(\"[name='route.0.0.value']\").value", json!([])).await;
    assert_eq!(kept, json!("mine.example.com"));
    browser.look("rule-conflict").await;
    browser.press("Store mine instead").await;
    browser.says(".note.good", "/shop/cart").await;
    stage.served("mine.example.com", "/", "/shop/cart").await;

    // Bamboo's rules.
    browser.go("/rules/import").await;
    let bamboos = r#"{"/shop/younger":{"Id":"/shop/younger","Acl":"hdr(host) -i younger.example.com"}}"#;
    browser.fill("[name=text]", bamboos).await;
    browser.press("What would it do?").await;
    browser.says(".rows", "younger.example.com").await;
    browser.look("rules-import").await;
    browser.press("Import 1 rule").await;
    browser.says(".rows", "imported").await;
    stage.served("younger.example.com", "/", "/shop/younger").await;
    browser.go("/rules/edit?app=/shop/younger").await;
    browser.click_on("Take the rule away").await;
    browser.press("Delete this rule").await;
    browser.says(".note.good", "deleted").await;
    stage.answers("younger.example.com", "/", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_rules_offer_nobody_what_is_not_his() {
    let (_stage, browser) = Stage::ruled(WebAuth::Login, Vec::new()).await;
    browser.go("/rules").await;
    browser.says("main", "Log in").await;
    assert_eq!(browser.texts("main button, main .actions a").await, ["Find"]);
    browser.go("/rules/edit?app=/shop/web").await;
    browser.says("main", "Log in").await;
    assert!(browser.texts("main button").await.iter().all(|text| text.is_empty()
        || text == "Remove"
        || text == "✕"
        || text.starts_with("Add")
        || text == "Try"));
    assert_eq!(
        browser.run("return document.querySelector('fieldset.plain').disabled", json!([])).await,
        json!(true)
    );

    browser.as_user("vera").await;
    browser.go("/rules").await;
    browser.says("main", "You may look at rules").await;
    assert_eq!(browser.texts(".rules button").await, Vec::<String>::new());

    browser.as_user("ed").await;
    browser.go("/rules").await;
    browser.says("main", "The order is an admin's to say").await;
    let rows = browser.texts(".rules tbody tr").await;
    assert!(rows.iter().any(|row| row.contains("/other/app") && row.contains("not yours")), "{rows:?}");
    assert_eq!(browser.texts(".rules input[type=number], .rules .moves").await, Vec::<String>::new());
    browser.go("/rules/edit?app=/shop/web").await;
    browser.says("#editor", "an admin's to write").await;
    browser.look("rule-editor").await;
    browser.fill("[name='route.0.0.value']", "other.example.com").await;
    browser.says("#verdict", "not yours to say").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_changes_tell_what_happened_and_lead_back() {
    let (stage, browser) = Stage::ruled(WebAuth::None, Vec::new()).await;
    changes(&stage, &browser).await;
}

/// Everything of the screens above among ten thousand other services, on a HAProxy that has them all.
#[tokio::test(flavor = "multi_thread")]
async fn pages_among_ten_thousand_services() {
    let other =
        |n| vhost(&format!("/crowd-{}/service-{n:05}", n % 40), 0, &format!("service-{n}.example.com"));
    let (stage, mut browser) = Stage::ruled(WebAuth::None, (0..10_000).map(other).collect()).await;
    browser.at = "-10000";
    browser.go("/").await;
    browser.says("#list", "The first 100 of 10,0").await;
    browser.fill("#q", "shop/web").await;
    until("one row to be left", async || {
        (browser.texts(".services tbody tr").await.len() == 1).then_some(())
    })
    .await;
    browser.click_on("/shop/web").await;
    browser.says("#sentence", "2 servers take requests").await;
    browser.click(".servers tbody tr:first-child summary").await;
    browser.fill(".servers tbody tr:first-child [name=why]", "a new disk").await;
    browser.click(".servers tbody tr:first-child button").await;
    browser.says("#sentence", "with 1 of 2 servers").await;
    stage.tasks("shop.example.com", 1).await;
    browser.look("service").await;
    let drained = "//tr[contains(., 'a new disk')]";
    browser.find(By::XPath(format!("{drained}//summary"))).await.click().await.unwrap();
    browser
        .find(By::XPath(format!("{drained}//input[@name='why']")))
        .await
        .send_keys("it is in")
        .await
        .unwrap();
    browser.find(By::XPath(format!("{drained}//button"))).await.click().await.unwrap();
    browser.says("#sentence", "2 servers take requests").await;
    browser.go("/problems").await;
    browser.says("main", "/shop/younger").await;
    browser.go("/node").await;
    browser.says("#marathon", "Connected to").await;
    why(&browser).await;
    changes(&stage, &browser).await;
    rules(&stage, &browser).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

async fn changes(stage: &Stage, browser: &Browser) {
    stage.put("/v2/apps/shop/web", json!({ "instances": 3 })).await;
    stage.tasks("shop.example.com", 3).await;
    stage
        .put(
            "/v2/apps/other/app",
            json!({ "labels": { "HAPROXY_0_VHOST": "other.example.com", "HAPROXY_0_BALANCE": "source" } }),
        )
        .await;
    until("a reload", async || {
        browser.go("/changes").await;
        browser.texts(".timeline .chip").await.iter().any(|chip| chip == "Reload").then_some(())
    })
    .await;
    browser.look("changes").await;
    browser.click(".timeline li a").await;
    browser.says("h1", "Change").await;
    browser.says(".diff", "source").await;
    browser.look("change").await;

    browser.go("/changes/config").await;
    let blocks = browser.texts("details.block summary").await;
    assert!(blocks.iter().any(|block| block.starts_with("frontend http_in")), "{blocks:?}");
    assert_eq!(
        browser.run("return document.querySelector('#L1 a').textContent", json!([])).await,
        json!("1")
    );
    browser.fill("[name=q]", "/shop/web").await;
    browser.press("Show").await;
    until("one block", async || (browser.texts("details.block").await.len() == 1).then_some(())).await;
    browser.look("config").await;
    browser.go("/changes/diff").await;
    browser.says(".diff", "source").await;
    browser.look("difference").await;

    // Back, and on again: every page says so meanwhile.
    browser.go("/changes").await;
    browser.click_on("Roll back").await;
    browser.fill("#rollback [name=why]", "balance by luck").await;
    browser.run("document.querySelector('#rollback').requestSubmit()", json!([])).await;
    browser.says("aside .note.warn", "Rolled back to generation").await;
    browser.look("changes-rolled-back").await;
    browser.go("/").await;
    browser.says("body", "balance by luck").await;
    browser.go("/changes").await;
    browser.fill("aside [name=why]", "it was not that").await;
    browser.press("Release").await;
    until("the release", async || {
        browser.go("/changes").await;
        browser.text("aside").await.contains("Roll back").then_some(())
    })
    .await;
    assert!(!stage.current().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_rules_show_hostile_texts_as_texts_and_a_thousand_rules_in_parts() {
    let mut stage = Stage::set().await;
    stage.config.web.auth = WebAuth::None;
    let evil = r#"\"><script>alert(1)</script><img src=x onerror=alert(1)>"#;
    let mut rules = format!(
        "[[rule]]\napp = \"/shop/web\"\norder = 1\nchanged = {{ by = \"{evil}\", at = \"{evil}\", why = \"{evil}\" }}\n\
         config = {{ evil = \"{evil}\" }}\n[[rule.route]]\nacl = 'hdr_sub(user-agent) \"<script>alert(1)</script>\"'\n\
         [[rule.route]]\nhost = \"evil.example.com\"\n"
    );
    for n in 0..250 {
        rules.push_str(&format!(
            "[[rule]]\napp = \"/many/app-{n:03}\"\n[[rule.route]]\nhost = \"app-{n}.example.com\"\n"
        ));
    }
    std::fs::write(stage.path("rules.toml"), rules).unwrap();
    stage.marathon.create_apps(vec![app("/shop/web", 1, 0, json!({}))]).await.unwrap();
    stage.bridge();
    stage.served("evil.example.com", "/", "/shop/web").await;
    let browser = Browser::open(&stage).await;
    let url = "/why?url=http%3A%2F%2Fevil.example.com%2F%3Cscript%3Ealert(1)%3C%2Fscript%3E&header=X%3A+%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in [
        "/rules",
        "/rules/edit?app=/shop/web",
        "/rules/edit?app=%22%3E%3Cscript%3E",
        "/rules?q=%3Cscript%3E&done=%3Cscript%3E",
        url,
        "/changes",
        "/changes/1",
        "/changes/config?q=%3Cscript%3E",
    ] {
        browser.go(path).await;
        browser.says("h1", "").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new(), "{path}");
        let scripts =
            browser.run("return document.querySelectorAll('main script, main img').length", json!([])).await;
        assert_eq!(scripts, json!(0), "{path}");
    }
    browser.go("/rules").await;
    assert_eq!(browser.texts(".rules tbody tr").await.len(), 100);
    browser.says(".rules", "<script>alert(1)</script>").await;
    browser.click_on("More rules").await;
    browser.click_on("More rules").await;
    browser.says("#list", "/many/app-249").await;
    assert_eq!(browser.texts(".rules tbody tr").await.len(), 51);
}
