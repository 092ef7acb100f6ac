//! The API of a running Causeway, by its Unix socket or by its address.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Certificate, Client, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::WriteArgs;
use crate::model::AppId;

/// The variable that holds a token.
const TOKEN: &str = "CAUSEWAY_TOKEN";

/// A Causeway that is asked.
pub(super) struct Api {
    client: Client,
    base: Url,
    token: Option<SecretString>,
    /// For people: what is asked.
    name: String,
}

/// The API's own words when it does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

impl Api {
    /// The Causeway of this host, which takes who may use its socket for an admin.
    pub(super) fn on(socket: &Path) -> Result<Self> {
        let client = Client::builder().unix_socket(socket).build()?;
        let base = Url::parse("http://localhost/").context("a fixed URL")?;
        Ok(Self { client, base, token: None, name: socket.display().to_string() })
    }

    /// A Causeway at an address.
    pub(super) fn at(url: &str, token_file: Option<&Path>, ca_file: Option<&Path>) -> Result<Self> {
        let base = Url::parse(url).with_context(|| format!("--url {url:?}"))?;
        let token = match token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Some(text.trim().to_owned())
            }
            None => std::env::var(TOKEN).ok(),
        };
        let mut client = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        if let Some(path) = ca_file {
            let told = || format!("--ca-file {}", path.display());
            let authorities = Certificate::from_pem_bundle(&std::fs::read(path).with_context(told)?);
            let authorities = authorities.with_context(told)?;
            ensure!(!authorities.is_empty(), "{}: it holds no certificate", told());
            client = client.tls_certs_only(authorities);
        }
        Ok(Self { client: client.build()?, base, token: token.map(Into::into), name: url.to_owned() })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.send(self.request(&Method::GET, path)?).await?.0)
    }

    /// The version of a rule; `None` where there is none.
    pub(super) async fn version(&self, path: &str) -> Result<Option<String>> {
        match self.get(path).await {
            Ok(rule) => Ok(rule["version"].as_str().map(str::to_owned)),
            Err(error) if error.downcast_ref::<NotThere>().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes, if the version is the one that is there; without one, if there is none.
    pub(super) async fn write(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        version: Option<&str>,
        how: &WriteArgs,
    ) -> Result<Value> {
        let path = if how.dry_run { format!("{path}?dry_run") } else { path.to_owned() };
        let mut request = self.request(method, &path)?;
        request = match version {
            Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
            None => request.header(header::IF_NONE_MATCH, "*"),
        };
        if let Some(why) = &how.why
            && body.is_none()
        {
            let why = HeaderValue::from_bytes(why.as_bytes()).context("--why: one line, please")?;
            request = request.header("X-Causeway-Why", why);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(self.send(request).await?.0)
    }

    fn request(&self, method: &Method, path: &str) -> Result<RequestBuilder> {
        let url = self.base.join(path.trim_start_matches('/'))?;
        let request = self.client.request(method.clone(), url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<(Value, StatusCode)> {
        let unreachable = || {
            format!(
                "{} does not answer; does a Causeway run there, and may you reach it? --config, --socket and --url say where it is",
                self.name
            )
        };
        let response = request.send().await.with_context(unreachable)?;
        let status = response.status();
        let text = response.text().await.with_context(unreachable)?;
        if status.is_success() {
            let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
            return Ok((value, status));
        }
        let words = words(&text, status);
        let refused = anyhow::Error::new(Refused(words.clone()));
        Err(if status == StatusCode::NOT_FOUND { anyhow::Error::new(NotThere(words)) } else { refused })
    }
}

/// There is no such rule.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotThere(String);

/// What a refusal says, a line a mistake.
fn words(text: &str, status: StatusCode) -> String {
    let Ok(problem) = serde_json::from_str::<Value>(text) else {
        return format!("{status}: {}", text.trim());
    };
    let mut words = problem["detail"].as_str().unwrap_or(text).to_owned();
    let mistakes: Vec<&str> =
        problem["mistakes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if mistakes.len() > 1 {
        words = format!("{} mistakes:\n  {}", mistakes.len(), mistakes.join("\n  "));
    }
    if let Some(by) = problem["current"]["changed"]["by"].as_str().filter(|by| !by.is_empty()) {
        words.push_str(&format!("; {by} changed it; look at it with `causeway rules get`"));
    }
    words
}

/// Where the rule of an app is.
pub(super) fn path_of(app: &AppId) -> String {
    let encoded: String = app
        .as_str()
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("/api/v2/rules/{encoded}")
}

/// What became of a rule that had this version before.
pub(super) fn done(version: &Option<String>) -> &'static str {
    if version.is_some() { "replaced" } else { "created" }
}
