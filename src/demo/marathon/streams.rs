//! `/v2/events`, written to the raw socket in the framing of Jetty's EventSourceServlet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::clock;
use super::core::Core;
use super::events::Subscription;
use super::faults::EventFault;

/// What a client asked of its stream.
pub(super) struct StreamRequest {
    /// Only events of these types; empty: all.
    pub(super) types: Vec<String>,
    /// Plans without the root groups.
    pub(super) light: bool,
}

/// The page Jetty answers with when `Accept` is not exactly `text/event-stream`.
pub(super) const METHOD_NOT_ALLOWED: &str = concat!(
    "HTTP/1.1 405 Method Not Allowed\r\n",
    "Connection: close\r\n",
    "Cache-Control: must-revalidate,no-cache,no-store\r\n",
    "Content-Type: text/html;charset=iso-8859-1\r\n",
    "Content-Length: 562\r\n",
    "Server: Jetty(9.4.57.v20241219)\r\n",
    "\r\n",
    "<html>\n<head>\n",
    "<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n",
    "<title>Error 405 HTTP method GET is not supported by this URL</title>\n",
    "</head>\n",
    "<body><h2>HTTP ERROR 405 HTTP method GET is not supported by this URL</h2>\n",
    "<table>\n",
    "<tr><th>URI:</th><td>/v2/events</td></tr>\n",
    "<tr><th>STATUS:</th><td>405</td></tr>\n",
    "<tr><th>MESSAGE:</th><td>HTTP method GET is not supported by this URL</td></tr>\n",
    "<tr><th>SERVLET:</th><td>T$1-2aaf7cc2</td></tr>\n",
    "</table>\n",
    "<hr/><a href=\"https://jetty.org/\">Powered by Jetty:// 9.4.57.v20241219</a><hr/>\n",
    "\n",
    "</body>\n</html>\n",
);

/// Serves one stream until its reader leaves or it is cut.
pub(super) async fn serve(
    core: Arc<Core>,
    mut stream: TcpStream,
    request: StreamRequest,
    remote: SocketAddr,
) {
    let _ = stream.set_nodelay(true);
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: text/event-stream;charset=utf-8\r\nConnection: close\r\n\
         Server: Jetty(9.4.57.v20241219)\r\n\r\n",
        clock::http_date()
    );
    let not_ready = core.faults.not_ready() || core.faults.read().events == Some(EventFault::Eof);
    if stream.write_all(head.as_bytes()).await.is_err() || not_ready {
        return;
    }
    core.counters.stream_opened();
    let mut subscription = core.bus.subscribe(&core.ended);
    let remote = remote.ip().to_string();
    // Published after the queue is subscribed: whatever comes later reaches this stream.
    core.bus.publish("event_stream_attached", json!({"remoteAddress": remote}));
    let cut = subscription.cut.clone();
    let (reader, writer) = stream.split();
    tokio::select! {
        () = write(&core, writer, &mut subscription, &request) => {}
        () = until_closed(reader) => {}
        () = cut.cancelled() => {}
    }
    core.bus.unsubscribe(&cut);
    core.bus.publish("event_stream_detached", json!({"remoteAddress": remote}));
}

async fn until_closed(mut reader: ReadHalf<'_>) {
    let mut buffer = [0; 512];
    while let Ok(1..) = reader.read(&mut buffer).await {}
}

async fn write(
    core: &Core,
    mut writer: WriteHalf<'_>,
    subscription: &mut Subscription,
    request: &StreamRequest,
) {
    let mut fault = core.faults.changed.subscribe();
    let beat = core.options.heartbeat;
    let mut heartbeat = interval_at(Instant::now() + beat, beat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let silent = *fault.borrow_and_update() == Some(EventFault::Silent);
        tokio::select! {
            event = subscription.rx.recv() => {
                let Some(event) = event else { return };
                let wanted = request.types.is_empty() || request.types.contains(&event.kind);
                if silent || !wanted {
                    continue;
                }
                let frame = event.frame(request.light);
                if writer.write_all(frame).await.is_err() {
                    return;
                }
                core.counters.streamed(frame.len() as u64);
            }
            _ = heartbeat.tick() => {
                if !silent && pulse(core, &mut writer).await.is_err() {
                    return;
                }
            }
            changed = fault.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// CR, flushed, then LF: readers get them as one piece or as two.
async fn pulse(core: &Core, writer: &mut WriteHalf<'_>) -> std::io::Result<()> {
    let delay = match core.faults.read().events {
        Some(EventFault::SplitHeartbeat { delay_ms }) => Duration::from_millis(delay_ms),
        _ => Duration::ZERO,
    };
    writer.write_all(b"\r").await?;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    writer.write_all(b"\n").await?;
    core.counters.streamed(2);
    Ok(())
}
