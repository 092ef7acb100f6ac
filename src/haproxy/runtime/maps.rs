//! Replaces all entries of a map at once.

use super::client::{Client, TransactionError};
use super::info::Epoch;
use super::reply::{Reply, severity};

/// An entry of a map that can be sent: both words are what a command line and a payload take as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry<'a> {
    key: &'a str,
    value: &'a str,
}

/// A word that cannot be sent as a key or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} cannot be a word of a map: {reason}")]
pub struct EntryError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The longest word of an entry, in bytes; the longest path that a browser sends fits.
const WORD_MAX: usize = 2_048;

impl<'a> Entry<'a> {
    /// An entry of these two words.
    ///
    /// A space would end the key, a `;` or a line break the command; a backslash vanishes in a command and stays in a
    /// payload; `<<` begins a payload; `#` names an entry by its number (management guide, 9.3, `del map`).
    ///
    /// # Errors
    /// A word is empty, too long, or has other characters than letters, digits and `_.:/*~%@+=,!$&'()-[]?`.
    pub fn new(key: &'a str, value: &'a str) -> Result<Self, EntryError> {
        for word in [key, value] {
            check(word)?;
        }
        Ok(Self { key, value })
    }

    /// The bytes of its row in a payload.
    fn row_len(self) -> usize {
        self.key.len() + self.value.len() + 2
    }
}

fn check(word: &str) -> Result<(), EntryError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/*~%@+=,!$&'()-[]?".contains(&byte);
    let reason = if word.is_empty() {
        "it is empty"
    } else if word.len() > WORD_MAX {
        "it is longer than 2048 bytes"
    } else if !word.bytes().all(plain) {
        "it has a character that HAProxy's commands do not carry"
    } else {
        return Ok(());
    };
    Err(EntryError { word: word.chars().take(80).collect(), reason })
}

/// Why a map was not replaced. It has the entries it had.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The map's name cannot be sent.
    #[error(transparent)]
    Name(#[from] EntryError),
    /// The exchange failed. Where it was the last one, the new entries may be there.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// HAProxy refused a command, or said what is not known here.
    #[error("`{command}`: HAProxy said {words:?}")]
    Refused {
        /// The command, without its payload.
        command: String,
        /// Its words.
        words: String,
    },
}

/// The most that goes into one payload, its command included, in bytes: 2.6 drops what does not fit into its buffer of 16 kB
/// without a word.
const PAYLOAD_MAX: usize = 14_000;

impl Client {
    /// Gives a map these entries instead of those it has, all at once: requests see either. `map` is the file's name as
    /// the configuration has it. Nothing is changed before the last command, and a failure clears what was prepared.
    ///
    /// # Errors
    /// See [`MapError`].
    pub async fn replace_map(
        &self,
        epoch: Epoch,
        map: &str,
        entries: impl IntoIterator<Item = Entry<'_>>,
    ) -> Result<(), MapError> {
        check(map)?;
        let command = format!("prepare map {map}");
        let words = self.say(epoch, &command, None).await?;
        let version = severity(words.trim()).1.strip_prefix("New version created: ").unwrap_or_default();
        let Ok(version) = version.trim().parse::<u32>() else {
            return Err(MapError::Refused { command, words: words.trim().to_owned() });
        };
        let filled = self.fill_and_commit(epoch, map, version, entries).await;
        if filled.is_err() {
            // Best effort: what is left of it costs memory, and nobody looks it up.
            let _left = self.say(epoch, &format!("clear map @{version} {map}"), None).await;
        }
        filled
    }

    async fn fill_and_commit(
        &self,
        epoch: Epoch,
        map: &str,
        version: u32,
        entries: impl IntoIterator<Item = Entry<'_>>,
    ) -> Result<(), MapError> {
        let add = format!("add map @{version} {map} <<");
        for payload in payloads(entries) {
            self.done(epoch, &add, Some(&payload)).await?;
        }
        self.done(epoch, &format!("commit map @{version} {map}"), None).await
    }

    async fn done(&self, epoch: Epoch, command: &str, payload: Option<&str>) -> Result<(), MapError> {
        match Reply::of(&self.say(epoch, command, payload).await?) {
            Reply::Done => Ok(()),
            Reply::Refused(words) | Reply::Unknown(words) => {
                Err(MapError::Refused { command: command.to_owned(), words })
            }
        }
    }

    /// One command, with the rows that belong to it. A payload ends the line, and newer versions read one line a
    /// connection, so that each has a connection of its own.
    pub(super) async fn say(
        &self,
        epoch: Epoch,
        command: &str,
        payload: Option<&str>,
    ) -> Result<String, TransactionError> {
        let commands = [command.to_owned()];
        Ok(self.line(epoch, &commands, payload).await?.pop().unwrap_or_default())
    }
}

/// Rows in pieces that one payload takes.
fn payloads<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    for entry in entries {
        let fits = payloads.last().is_some_and(|rows| rows.len() + entry.row_len() <= PAYLOAD_MAX);
        if !fits {
            payloads.push(String::new());
        }
        if let Some(rows) = payloads.last_mut() {
            rows.push_str(entry.key);
            rows.push(' ');
            rows.push_str(entry.value);
            rows.push('\n');
        }
    }
    payloads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_haproxy_would_read_otherwise_is_refused_before_it_is_sent() {
        for key in ["", "a b", "a\tb", "a\nb", "a;b", "a\\b", "a<<b", "#1", "é", "a\u{7f}"] {
            assert!(Entry::new(key, "b").is_err() && Entry::new("k", key).is_err(), "{key:?}");
        }
        assert!(Entry::new(&"x".repeat(WORD_MAX + 1), "b").is_err());
        for key in ["a.example.com/", "a.example.com/~user/%20/+=,!$&'()-[]?/", "10001", "/shop/web:0", "*.x"]
        {
            assert!(Entry::new(key, "h_shop_web_0").is_ok(), "{key:?}");
        }
    }

    #[test]
    fn every_entry_is_in_one_payload_and_no_payload_is_too_long() {
        let mut random = fastrand::Rng::with_seed(3);
        for count in [0, 1, 2, 500, 3_000] {
            let keys: Vec<String> =
                (0..count).map(|n| format!("{n}{}", "x".repeat(random.usize(..WORD_MAX - 5)))).collect();
            let entries: Vec<Entry<'_>> =
                keys.iter().filter_map(|key| Entry::new(key, "h_app_0").ok()).collect();
            let payloads = payloads(entries.iter().copied());
            assert!(payloads.iter().all(|rows| rows.len() <= PAYLOAD_MAX && rows.ends_with(" h_app_0\n")));
            let rows: Vec<&str> = payloads.iter().flat_map(|rows| rows.lines()).collect();
            assert!(rows.iter().map(|row| row.split(' ').next().unwrap_or_default()).eq(keys.iter()));
        }
    }
}
