//! A socket that answers what a test tells it to, whatever it is asked.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

pub(crate) struct Fake {
    dir: tempfile::TempDir,
}

/// What becomes of the connection when the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It is closed.
    Close,
    /// Nothing, for as long as the test lasts.
    Silence,
}

impl Fake {
    pub(crate) fn answering(answer: &[u8], after: After) -> Self {
        let dir = tempfile::Builder::new().prefix("cw").tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("worker.sock")).unwrap();
        let answer = answer.to_vec();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut said = Vec::new();
                let _read_or_not = stream.read_to_end(&mut said).await;
                let _written_or_not = stream.write_all(&answer).await;
                if after == After::Silence {
                    kept.push(stream);
                }
            }
        });
        Self { dir }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("worker.sock")
    }
}
