//! The first byte and the size of the pages, over our own socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::causeway::Causeway;
use crate::process::Result;
use crate::report::{Sorted, Table};

/// Each page is asked for so many times.
const TIMES: usize = 21;

pub(crate) fn measure(causeway: &Causeway, table: &mut Table) -> Result<()> {
    for path in ["/", "/?q=app-77", "/?problems=1", "/problems"] {
        let (mut first_bytes, mut size) = (Vec::new(), 0);
        for _ in 0..TIMES {
            let (first_byte, bytes) = ask(causeway, path)?;
            first_bytes.push(first_byte);
            size = bytes;
        }
        let median = Sorted::of(first_bytes).ok_or("no page")?.percentile_ms(50);
        table.judged(
            &format!("page {path}, first byte, median of {TIMES}"),
            format!("{median:.1} ms"),
            "<= 50 ms",
            median <= 50.0,
        );
        table.judged("… size", format!("{} kB", size / 1000), "< 200 kB", size < 200_000);
    }
    Ok(())
}

/// How long it took until the first byte came, and how many came.
fn ask(causeway: &Causeway, path: &str) -> Result<(Duration, usize)> {
    let mut socket = UnixStream::connect(causeway.dir.join("state/causeway.sock"))?;
    let begun = Instant::now();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
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
