//! Our callback at a Marathon of before 1.5.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{Fake, Followed, Reply, config};

const CALLBACK: &str = "http://node-1:9089/api/marathon/event_callback?node=1";

#[tokio::test]
async fn our_callback_is_registered_as_it_is_and_again_where_it_was_lost() {
    let marathon = Fake::new(r#"{"apps":[]}"#).await;
    let known: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&known);
    marathon.reply(
        "/v2/eventSubscriptions",
        Reply::by(move |request| {
            let url = reqwest::Url::parse(&format!("http://x{}", request.target)).unwrap();
            let mut known = kept.lock().unwrap();
            known.extend(
                url.query_pairs().filter(|(key, _)| key == "callbackUrl").map(|(_, url)| url.into_owned()),
            );
            Reply::ok(serde_json::json!({ "callbackUrls": *known }).to_string())
        }),
    );
    let mut config = config(&[marathon.url()]);
    config.callback_url = Some(CALLBACK.to_owned());
    config.resync = Duration::from_secs(1);
    let mut followed = Followed::new(&config);
    followed.full_read(1).await;
    // Looked for, registered, found there.
    marathon.asked("/v2/eventSubscriptions", 3).await;
    assert_eq!(*known.lock().unwrap(), [CALLBACK]);
    known.lock().unwrap().clear();
    let asked = marathon.requests("/v2/eventSubscriptions").len();
    marathon.asked("/v2/eventSubscriptions", asked + 3).await;
    assert_eq!(*known.lock().unwrap(), [CALLBACK]);
}

#[tokio::test]
async fn a_marathon_without_callbacks_is_followed_all_the_same() {
    let marathon = Fake::new(r#"{"apps":[{"id":"/a"}]}"#).await;
    marathon.reply("/v2/eventSubscriptions", Reply::html(404, "Not Found"));
    let mut config = config(&[marathon.url()]);
    config.callback_url = Some(CALLBACK.to_owned());
    config.backoff_max = Duration::from_millis(100);
    let mut followed = Followed::new(&config);
    followed.full_read(1).await;
    marathon.asked("/v2/eventSubscriptions", 3).await;
    assert!(followed.apps.contains_key("/a"));
}
