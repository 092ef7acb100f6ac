//! Our callback at a Marathon of before 1.5: registered, and registered again where it was lost.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::backoff::Complaints;
use super::error::{MarathonError, causes, shown};
use super::http::{Http, Wanted};

/// How often it is looked for, at least: a Marathon that was set up anew knows nobody.
const LOOK: Duration = Duration::from_secs(60);
/// How often after a failure, at least.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Keeps a URL registered, for good. Events are asked for by the stream all the same: a callback only wakes.
pub(crate) async fn keep(http: Arc<Http>, callback: String, resync: Duration, backoff_max: Duration) {
    let mut complaints = Complaints::default();
    loop {
        let kept = register(&http, &callback).await;
        let rest = if kept.is_ok() { resync.min(LOOK) } else { backoff_max.min(TRY_AGAIN) };
        match kept {
            Ok(news) => {
                complaints.over();
                if news {
                    tracing::info!(marathon.callback_url = callback, "Marathon will call back");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if let Some(attempt) = complaints.tell(&text) {
                    tracing::warn!(
                        attempt,
                        "marathon.callback_url cannot be registered: {text} (Marathon 1.5 and later has no callbacks: unset it; \
                         before, it needs --event_subscriber http_callback)"
                    );
                }
            }
        }
        tokio::time::sleep(rest).await;
    }
}

/// Registers a URL, unless it is; true where it was not.
async fn register(http: &Http, callback: &str) -> Result<bool, MarathonError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Subscriptions {
        callback_urls: Vec<String>,
    }
    let url = http.url(http.preferred(), ["v2", "eventSubscriptions"]);
    let answer = http.get(url.clone(), Wanted::Json).await?.success().await?;
    let read = |error| MarathonError::Body { url: shown(&url), cause: causes(error) };
    let known: Subscriptions = answer.response.json().await.map_err(read)?;
    if known.callback_urls.iter().any(|known| known == callback) {
        return Ok(false);
    }
    let mut registering: Url = url.clone();
    registering.query_pairs_mut().append_pair("callbackUrl", callback);
    http.get(registering, Wanted::Registration).await?.success().await?;
    Ok(true)
}
