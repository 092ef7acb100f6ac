//! The first byte and the size of the pages, over our own socket, and how long it takes to say what a rule would come to.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::causeway::Causeway;
use crate::marathon::{id, vhost};
use crate::process::Result;
use crate::report::{Sorted, Table};

/// Each page is asked for so many times.
const TIMES: usize = 21;

pub(crate) fn measure(causeway: &Causeway, table: &mut Table) -> Result<()> {
    let service = format!("/services{}", id(7));
    let why = format!("/why?url=http://{}/", vhost(7));
    let rule = format!("/rules/edit?app={}", id(7));
    let pages = [
        "/",
        "/?q=app-7",
        "/?problems=1",
        &service,
        &why,
        "/rules",
        &rule,
        "/changes",
        "/changes/config",
        "/problems",
        "/node",
    ];
    for path in pages {
        let (median, size) = timed(causeway, "GET", path, "")?;
        let (what, figure) =
            (format!("page {path}, first byte, median of {TIMES}"), format!("{median:.1} ms"));
        match path {
            // The whole text is read for it, which grows with the cluster.
            "/changes/config" => table.told(&what, figure),
            _ => table.judged(&what, figure, "<= 50 ms", median <= 50.0),
        }
        table.judged("… size", format!("{} kB", size / 1000), "< 200 kB", size < 200_000);
    }
    let body =
        json!({ "app": id(7), "why": "tried", "routes": [{ "host": "tried.example.com" }] }).to_string();
    let (median, _) = timed(causeway, "POST", "/api/v2/rules?dry_run=true", &body)?;
    table.told(&format!("what a rule would come to, median of {TIMES}"), format!("{median:.1} ms"));
    Ok(())
}

/// The median of the first byte, in milliseconds, and the size.
fn timed(causeway: &Causeway, method: &str, path: &str, body: &str) -> Result<(f64, usize)> {
    let (mut first_bytes, mut size) = (Vec::new(), 0);
    for _ in 0..TIMES {
        let (first_byte, bytes) = ask(causeway, method, path, body)?;
        first_bytes.push(first_byte);
        size = bytes;
    }
    Ok((Sorted::of(first_bytes).ok_or("no page")?.percentile_ms(50), size))
}

/// How long it took until the first byte came, and how many came.
fn ask(causeway: &Causeway, method: &str, path: &str, body: &str) -> Result<(Duration, usize)> {
    let mut socket = UnixStream::connect(causeway.dir.join("state/causeway.sock"))?;
    let begun = Instant::now();
    let (kind, length) = ("Content-Type: application/json", body.len());
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes())?;
    let mut answer = vec![0];
    socket.read_exact(&mut answer)?;
    let first_byte = begun.elapsed();
    socket.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(format!(
            "{path} is answered with {}",
            String::from_utf8_lossy(&answer[..40.min(answer.len())])
        )
        .into());
    }
    Ok((first_byte, answer.len()))
}
