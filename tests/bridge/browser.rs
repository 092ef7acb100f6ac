//! A real Chromium, driven as a person uses it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, ChromiumLikeCapabilities};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::stage::{Stage, until};

/// Deque's axe-core, which looks for what keeps people out of a page.
const AXE: &str = include_str!("../fixtures/axe/axe.min.js");
/// How long a page may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);
/// The widths that pages are looked at, in pixels.
pub(crate) const WIDTHS: [u32; 3] = [1440, 768, 390];

pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    /// Where Causeway's pages are.
    base: String,
    /// What the names of pictures end in.
    pub(crate) at: &'static str,
    process: Child,
}

impl Browser {
    /// Opens a browser on the pages of a stage that is bridged.
    pub(crate) async fn open(stage: &Stage) -> Self {
        let address = stage.web.expect("a bridge runs");
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver, of the package chromium-driver: make setup");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver says its port");
            if let Some((_, port)) = line.rsplit_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut wishes = ChromeCapabilities::new();
        for argument in
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        {
            wishes.add_arg(argument).unwrap();
        }
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wishes).await.unwrap();
        driver.set_page_load_timeout(Duration::from_secs(30)).await.unwrap();
        // What no page may do is written down before any page is there.
        let watch = json!({ "source": "window.complaints = []; window.alert = () => complaints.push('a script ran'); \
            addEventListener('error', event => complaints.push('error: ' + event.message)); \
            document.addEventListener('securitypolicyviolation', event => complaints.push('policy: ' + event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample));" });
        driver.cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", watch).await.unwrap();
        let browser = Self { driver, base: format!("http://{address}"), at: "", process };
        browser.width(1440, 900).await;
        browser
    }

    /// Goes to a page.
    pub(crate) async fn go(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base)).await.unwrap();
    }

    /// The text of the first element that a selector finds; nothing where there is none.
    pub(crate) async fn text(&self, selector: &str) -> String {
        match self.driver.find(By::Css(selector)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// The texts of all elements that a selector finds.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())";
        serde_json::from_value(self.run(script, json!([selector])).await).unwrap()
    }

    /// Waits until the first element that a selector finds has a text in it, and says all of it.
    pub(crate) async fn says(&self, selector: &str, part: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text(selector).await;
            if text.contains(part) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{selector} does not say {part:?}, but {text:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for an element, which may still be on its way.
    pub(crate) async fn find(&self, by: By) -> WebElement {
        until(&format!("{by:?}"), async || self.driver.find(by.clone()).await.ok()).await
    }

    /// Clicks on the first element that a selector finds.
    pub(crate) async fn click(&self, selector: &str) {
        self.find(By::Css(selector)).await.click().await.unwrap();
    }

    /// Clicks on the link or button with this text.
    pub(crate) async fn click_on(&self, text: &str) {
        let path =
            format!("//*[self::a or self::button or self::summary][contains(normalize-space(.), '{text}')]");
        self.find(By::XPath(path)).await.click().await.unwrap();
    }

    /// Types into the first element that a selector finds, in place of what is there.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.find(By::Css(selector)).await;
        element.send_keys(Key::Control + "a").await.unwrap();
        element.send_keys(Key::Backspace + text).await.unwrap();
    }

    /// Presses a key where the focus is.
    pub(crate) async fn key(&self, key: Key) {
        self.driver.action_chain().send_keys(key).perform().await.unwrap();
    }

    /// Runs a script, which the policy of the page does not keep from running.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        let arguments = arguments.as_array().cloned().unwrap_or_default();
        self.driver.execute(script, arguments).await.unwrap().json().clone()
    }

    /// Makes the window this wide and high.
    pub(crate) async fn width(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", size).await.unwrap();
    }

    async fn scheme(&self, name: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": name }] });
        self.driver.cdp().send_raw("Emulation.setEmulatedMedia", media).await.unwrap();
    }

    /// Keeps pictures of the whole page under `target/screenshots`, at each width, light and dark, and looks at each whether
    /// anything serious keeps people out of it, or is wider than the window.
    pub(crate) async fn look(&self, name: &str) {
        let name = format!("{name}{}", self.at);
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        for width in WIDTHS {
            for scheme in ["light", "dark"] {
                self.scheme(scheme).await;
                self.width(width, 900).await;
                let high = self.run("return document.documentElement.scrollHeight", json!([])).await;
                let high = high.as_u64().and_then(|high| u32::try_from(high).ok()).unwrap_or(900);
                self.width(width, high.clamp(900, 2400)).await;
                let picture = self.driver.screenshot_as_png().await.unwrap();
                std::fs::write(dir.join(format!("{name}-{width}-{scheme}.png")), picture).unwrap();
                let wide = self.run("return document.documentElement.scrollWidth", json!([])).await;
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{name} is {wide} wide at {width}");
            }
        }
        // What axe looks at does not depend on the width in between.
        for (width, scheme) in [(1440, "light"), (1440, "dark"), (390, "light")] {
            self.scheme(scheme).await;
            self.width(width, 900).await;
            let found = self.axe().await;
            assert!(found.is_empty(), "{name} at {width}, {scheme}: {}", found.join("\n"));
        }
        self.scheme("light").await;
        self.width(1440, 900).await;
    }

    /// What axe finds that is serious or worse.
    pub(crate) async fn axe(&self) -> Vec<String> {
        let there = self.run("return typeof window.axe", json!([])).await;
        if there != json!("object") {
            self.run(AXE, json!([])).await;
        }
        let script = "const done = arguments[arguments.length - 1]; \
            axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }) \
               .then(found => done(found.violations), error => done([{ impact: 'critical', id: String(error), nodes: [] }]))";
        let found = self.driver.execute_async(script, vec![]).await.unwrap().json().clone();
        let serious = |each: &&Value| matches!(each["impact"].as_str(), Some("serious" | "critical"));
        let told = |each: &Value| {
            let nodes: Vec<&str> = each["nodes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|node| node["html"].as_str())
                .take(4)
                .collect();
            let summary = each["nodes"][0]["failureSummary"].as_str().unwrap_or_default();
            format!("{}: {} {summary} {}", each["id"], each["help"], nodes.join(" | "))
        };
        found.as_array().into_iter().flatten().filter(serious).map(told).collect()
    }

    /// What the browser has refused or complained of.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let script = "return window.complaints ?? []";
        serde_json::from_value(self.run(script, json!([])).await).unwrap_or_default()
    }

    /// Lets pages run their scripts, or not.
    pub(crate) async fn scripts(&self, run: bool) {
        let off = json!({ "value": !run });
        self.driver.cdp().send_raw("Emulation.setScriptExecutionDisabled", off).await.unwrap();
    }

    /// The address of the page.
    pub(crate) async fn url(&self) -> String {
        self.driver.current_url().await.unwrap().to_string().replacen(&self.base, "", 1)
    }
}

impl Drop for Browser {
    /// The driver and every process of its browser.
    fn drop(&mut self) {
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
