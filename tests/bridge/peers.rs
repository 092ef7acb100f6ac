//! Servers that speak HTTP/2 or TLS themselves: another HAProxy, which answers with what it was spoken to in.

use std::net::TcpListener;
use std::process::{Child, Command};

use axum::body::Body;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::stage::{Stage, until};

/// A server, and the Marathon that tells of it as a task of one app.
struct Peer {
    haproxy: Child,
    marathon: String,
}

impl Peer {
    /// `words` are those of its `bind` line; `labels` those of the app.
    async fn set(stage: &Stage, name: &str, words: &str, labels: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "defaults\n    mode http\n    timeout client 5s\nfrontend peer\n    bind 127.0.0.1:{port} {words}\n\
             \x20   http-request return status 200 hdr X-App /peer content-type text/plain \
             lf-string \"tls %[ssl_fc] http %[fc_http_major] sni %[ssl_fc_sni]\"\n"
        );
        let path = stage.path(&format!("{name}.cfg"));
        std::fs::write(&path, config).unwrap();
        let haproxy = Command::new(&stage.config.haproxy.binary).arg("-f").arg(&path).spawn().unwrap();
        let mut of_app = json!({ "HAPROXY_0_VHOST": "peer.x" });
        for (label, value) in labels {
            of_app[*label] = json!(value);
        }
        let app = json!({
            "id": "/peer", "instances": 1, "labels": of_app, "version": "2026-01-02T03:04:05.000Z",
            "portDefinitions": [{ "port": 10_001, "protocol": "tcp" }],
            "tasks": [{ "id": "peer.1", "appId": "/peer", "host": "127.0.0.1", "ports": [port], "state": "TASK_RUNNING",
                "version": "2026-01-02T03:04:05.000Z", "startedAt": "2026-01-02T03:04:06.000Z" }],
        });
        Self { haproxy, marathon: marathon(app).await }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.haproxy.kill();
        let _reaped = self.haproxy.wait();
    }
}

/// A Marathon with one app, at this address.
async fn marathon(app: Value) -> String {
    let all = json!({ "apps": [app] });
    let one = json!({ "app": app });
    let attached = "event: event_stream_attached\r\n\
                    data: {\"eventType\":\"event_stream_attached\",\"remoteAddress\":\"127.0.0.1\"}\r\n\r\n";
    let events = move || async move {
        let body = stream::iter([Ok::<_, std::convert::Infallible>(attached)]).chain(stream::pending());
        ([("Content-Type", "text/event-stream")], Body::from_stream(body))
    };
    let router = Router::new()
        .route("/v2/apps", get(move || async move { Json(all) }))
        .route("/v2/apps/{*id}", get(move || async move { Json(one) }))
        .route("/v2/info", get(|| async { Json(json!({ "version": "1.11.24" })) }))
        .route("/v2/events", get(events));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// What the peer says, or the status of whoever answers instead.
async fn said(stage: &Stage) -> String {
    until("an answer", async || {
        let answer = stage.get("peer.x", "/").await?;
        match answer.status {
            404 => None,
            200 => Some(answer.body),
            status => Some(status.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_spoken_to_in_http_2_where_its_app_says_so() {
    let mut stage = Stage::set().await;
    let peer = Peer::set(&stage, "h2", "proto h2", &[("HAPROXY_0_BACKEND_PROTO", "h2")]).await;
    stage.config.marathon.endpoints = vec![peer.marathon.clone()];
    stage.bridge();
    assert_eq!(said(&stage).await, "tls 0 http 2 sni ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_tls_is_verified_by_tls_ca() {
    let mut stage = Stage::set().await;
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["peer.x".to_owned()]).unwrap();
        let (both, own) = (stage.path(&format!("{name}.pem")), stage.path(&format!("{name}-ca.pem")));
        std::fs::write(&both, format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem())).unwrap();
        std::fs::write(&own, made.cert.pem()).unwrap();
        (both, own)
    };
    let ((certificate, authority), (_, of_another)) = (made("peer"), made("other"));
    let words = format!("ssl crt {}", certificate.display());
    let peer = Peer::set(&stage, "tls", &words, &[("HAPROXY_0_BACKEND_PROTO", "https")]).await;
    stage.config.marathon.endpoints = vec![peer.marathon.clone()];
    stage.config.tls.ca = Some(stage.path("ca.pem"));
    std::fs::copy(&of_another, stage.path("ca.pem")).unwrap();
    stage.bridge();
    until("Causeway to be ready", async || {
        let ready = format!("http://{}/readyz", stage.web?);
        stage.get_at(&ready, &[]).await.filter(|answer| answer.status == 200)
    })
    .await;
    // HAProxy tries a second apart, longer than the client waits.
    assert!(stage.get("peer.x", "/").await.is_none_or(|answer| answer.status == 503));
    // Others come by a reload, and bad ones never.
    let pid = stage.info().await.unwrap().pid;
    std::fs::write(stage.path("ca.pem"), "no authority").unwrap();
    until("the bad ones to be told", async || {
        stage.metric("causeway_certificates_refused").await.filter(|count| *count == 1.0)
    })
    .await;
    assert_eq!(stage.info().await.unwrap().pid, pid);
    std::fs::copy(&authority, stage.path("ca.pem")).unwrap();
    until("the right authority", async || said(&stage).await.starts_with("tls 1 http 1").then_some(())).await;
    // Without authorities it is not verified, which is told.
    stage.end_bridge().await.unwrap();
    stage.config.tls.ca = None;
    stage.bridge();
    until("the problem", async || {
        let problems = format!("http://{}/api/v2/problems", stage.web?);
        stage.get_at(&problems, &[]).await.filter(|answer| answer.body.contains("they are not verified"))
    })
    .await;
    assert!(said(&stage).await.starts_with("tls 1"));
}
