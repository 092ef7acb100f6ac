//! Requests of the tables that stand for the documentation of labels: `WAY HOST/PATH [with NAME: VALUE] => what`.
//!
//! The way is http, https, tls:NAME (https, with NAME as the name of the TLS connection), id (the app-id frontend), port or
//! tls-port (the app's service port), port@NUMBER, or port-of:ADDRESS (the service port there). HOST stands for a host of the app's own. What comes is `app`, or a status (with `|`
//! between two of which one is so, by version), or `nothing`; and behind it a text that the answer holds, its headers included,
//! in lower case, or with `!` does not hold.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};

use crate::stage::{APP_ID, HTTP, HTTPS, Stage};

/// What `openssl passwd -6` makes of "password".
const HASH: &str =
    "$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1";

/// The host that HOST stands for.
fn own_host(name: &str) -> String {
    format!("{name}.example.com")
}

/// The labels of an app of this name, by their names without `HAPROXY_0_`.
pub(crate) fn labels(name: &str, labels: &[(&str, &str)]) -> Value {
    let entries = labels.iter().map(|(label, value)| {
        let value = value.replace("HOST", &own_host(name)).replace("HASH", HASH);
        (format!("HAPROXY_0_{label}"), json!(value))
    });
    entries.collect::<serde_json::Map<_, _>>().into()
}

/// Lets the stage listen for TLS, with a certificate that fits no host, and its directory as `tls.dir`.
pub(crate) fn listen_for_tls(stage: &mut Stage) {
    let certificate = rcgen::generate_simple_self_signed(vec!["any.example.com".to_owned()]).unwrap();
    let pem = format!("{}{}", certificate.cert.pem(), certificate.signing_key.serialize_pem());
    std::fs::write(stage.path("any.pem"), pem).unwrap();
    stage.config.tls.certificates = vec![stage.path("any.pem")];
    stage.config.tls.dir = Some(stage.path(""));
}

/// Every name leads to the stage.
struct ToStage(SocketAddr);

impl Resolve for ToStage {
    fn resolve(&self, _: Name) -> Resolving {
        let address: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(async { Ok(address) })
    }
}

/// Who asks.
pub(crate) struct Asking {
    client: reqwest::Client,
    address: String,
}

/// Status, the app that says it answered, and everything that the answer holds, in lower case.
type Answer = (u16, String, String);

impl Asking {
    /// Asks this stage.
    pub(crate) fn of(stage: &Stage) -> Self {
        let client = reqwest::Client::builder()
            .danger_accept_invalid_certs(true)
            .dns_resolver(Arc::new(ToStage(format!("{}:0", stage.host).parse().unwrap())))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self { client, address: stage.host.clone() }
    }

    /// What is not as the line says of the app of this name, which has this service port.
    pub(crate) async fn wrong(&self, name: &str, port: u16, line: &str) -> Option<String> {
        let (request, what) = line.split_once(" => ").unwrap();
        let answer = self.ask(name, port, request).await;
        (!expected(name, what, answer.as_ref())).then(|| format!("{name}: {line}\n    but {answer:?}"))
    }

    /// `None` where nothing answers.
    async fn ask(&self, name: &str, port: u16, request: &str) -> Option<Answer> {
        let (request, header) = request.split_once(" with ").unwrap_or((request, ""));
        let (way, url) = request.split_once(' ').unwrap();
        let (host, path) = url.split_once('/').unwrap();
        let own = own_host(name);
        let (scheme, port) = match way {
            "http" => ("http", HTTP),
            "id" => ("http", APP_ID),
            "tls-port" => ("https", port),
            _ if way.starts_with("port") => match way.strip_prefix("port@") {
                Some(number) => ("http", number.parse().unwrap()),
                None => ("http", port),
            },
            _ => ("https", HTTPS),
        };
        let at = way.strip_prefix("tls:").or(way.strip_prefix("port-of:")).unwrap_or(&self.address);
        let at = at.replace("HOST", &own);
        let url = format!("{scheme}://{at}:{port}/{}", path.replace("HOST", &own));
        let mut request = self.client.get(url).header("Host", host.replace("HOST", &own));
        if way == "id" {
            request = request.header("X-Marathon-App-Id", format!("/{name}"));
        }
        if let Some((header, value)) = header.split_once(": ") {
            request = request.header(header, value);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let app = response.headers().get("x-app").map(|app| app.to_str().unwrap().to_owned());
        let mut all = String::new();
        for (header, value) in response.headers() {
            all.push_str(&format!("{header}: {}\n", value.to_str().unwrap_or_default()));
        }
        all.push_str(&response.text().await.ok()?);
        Some((status, app.unwrap_or_default(), all.to_lowercase()))
    }
}

fn expected(name: &str, what: &str, answer: Option<&Answer>) -> bool {
    let (who, text) = what.split_once(' ').unwrap_or((what, ""));
    let Some((status, app, all)) = answer else { return who == "nothing" };
    let right = match who {
        "nothing" => false,
        "app" => *status == 200 && *app == format!("/{name}"),
        wanted => wanted.split('|').any(|wanted| status.to_string() == wanted),
    };
    let text = text.replace("HOST", &own_host(name)).to_lowercase();
    right
        && match text.strip_prefix('!') {
            Some(absent) => !all.contains(absent),
            None => all.contains(&text),
        }
}
