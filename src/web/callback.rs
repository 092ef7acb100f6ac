//! Where an old Marathon tells its events: a nudge to read, whatever the body says.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::sources::Refresh;
use crate::telemetry::Metrics;

/// The least time between two reads that callbacks ask for: anybody can call, and a read is the whole list.
pub const REST: Duration = Duration::from_secs(2);

/// Marathon's callbacks, on their way to the source.
#[derive(Clone, Debug, Default)]
pub struct Callback(Arc<Notify>);

impl Callback {
    /// Passes callbacks on, one a `rest`: those that come meanwhile are one more afterwards, and none is lost.
    pub async fn pass_on(self, refresh: Refresh, rest: Duration) {
        loop {
            self.0.notified().await;
            refresh.ask();
            tokio::time::sleep(rest).await;
        }
    }
}

/// What Bamboo answers. The event is read to its end or its limit, so that Marathon's connection can be used again, and
/// thrown away.
pub(super) async fn heard(
    State(callback): State<Callback>,
    State(metrics): State<Metrics>,
    mut body: Body,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], &'static str) {
    metrics.marathon_event("callback");
    callback.0.notify_one();
    while let Some(Ok(_)) = body.frame().await {}
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Got it!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn callbacks_in_a_burst_are_two_reads_and_none_is_lost() {
        let rest = Duration::from_millis(50);
        let (callback, refresh) = (Callback::default(), Refresh::default());
        tokio::spawn(callback.clone().pass_on(refresh.clone(), rest));
        let asked = async || tokio::time::timeout(rest * 6, refresh.asked()).await.is_ok();
        callback.0.notify_one();
        assert!(asked().await);
        for _ in 0..100 {
            callback.0.notify_one();
        }
        assert!(asked().await, "what came while it rested");
        assert!(!asked().await);
    }
}
