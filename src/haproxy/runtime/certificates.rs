//! Replaces a certificate or a list of authorities that a worker has loaded (management guide, 9.3, `set ssl cert`,
//! `set ssl ca-file`).

use super::client::{Client, TransactionError};
use super::info::Epoch;

/// What goes into one payload, its command included, in bytes: 2.6 takes no more than its buffer of 16 kB.
const PAYLOAD_MAX: usize = 14_000;

/// What became of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// New connections see it.
    Done,
    /// The worker has no such file.
    NotLoaded,
    /// It is larger than what a command carries.
    TooLarge,
    /// HAProxy does not take it, and goes on with what it has.
    Refused(String),
}

impl Client {
    /// Replaces what the worker has loaded as `name`, be it a certificate, authorities, or both.
    ///
    /// # Errors
    /// The exchange failed; whether it was replaced is not known.
    pub async fn replace_certificate(
        &self,
        epoch: Epoch,
        name: &str,
        pem: &str,
    ) -> Result<Replaced, TransactionError> {
        let mut replaced = Replaced::NotLoaded;
        for kind in ["cert", "ca-file"] {
            let shown = self.say(epoch, &format!("show ssl {kind}"), None).await?;
            let has = |line: &str| line.split(" - ").next().is_some_and(|file| file.trim() == name);
            if !shown.lines().any(has) {
                continue;
            }
            // An empty line would end the payload.
            let rows: Vec<&str> = pem.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
            if rows.is_empty() {
                return Ok(Replaced::Refused("the file is empty".to_owned()));
            }
            let rows = format!("{}\n", rows.join("\n"));
            if rows.len() > PAYLOAD_MAX {
                return Ok(Replaced::TooLarge);
            }
            let set = self.say(epoch, &format!("set ssl {kind} {name} <<"), Some(&rows)).await?;
            if !set.to_ascii_lowercase().contains("transaction created") {
                return Ok(Replaced::Refused(words(&set)));
            }
            let committed = self.say(epoch, &format!("commit ssl {kind} {name}"), None).await?;
            if !committed.contains("Success!") {
                // Best effort: what is left open would be found by the next `set`.
                let _left = self.say(epoch, &format!("abort ssl {kind} {name}"), None).await;
                return Ok(Replaced::Refused(words(&committed)));
            }
            replaced = Replaced::Done;
        }
        Ok(replaced)
    }
}

/// HAProxy's words in one line, without the mark of how grave they are.
fn words(answer: &str) -> String {
    let answer = super::reply::severity(answer.trim()).1;
    answer.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
