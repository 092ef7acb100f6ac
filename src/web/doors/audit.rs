//! The audit log: every write, with who and why, one JSON object a line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use serde::Serialize;

use crate::durable::{FileError, give_to_owner_of_dir};
use crate::web::reread::lock;
use crate::web::server::name_of;

/// The longest word on why, in characters.
const LONGEST: usize = 500;

/// What a handler adds to its line of the audit log. It is in the extensions of each request that may change something.
#[derive(Clone, Debug, Default)]
pub struct Audit(Arc<Mutex<Said>>);

#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) who: Option<String>,
    why: Option<String>,
    about: Option<String>,
    pub(super) changes_nothing: bool,
}

impl Audit {
    /// Says why: in the words of who asked. The header `X-Causeway-Why` says so too.
    pub fn why(&self, why: &str) {
        lock(&self.0).why = text(why);
    }

    /// Says what it is about, where the path does not: an app's id, what is tried only.
    pub fn about(&self, what: &str) {
        lock(&self.0).about = text(what);
    }

    /// Says that it is no write after all: who only asks what would come leaves no line, or writes would drown in them.
    pub fn changes_nothing(&self) {
        lock(&self.0).changes_nothing = true;
    }

    /// Says who it was, where the door did not know yet: a login.
    pub(super) fn who(&self, who: &str) {
        lock(&self.0).who = Some(who.to_owned());
    }

    pub(super) fn said(&self) -> Said {
        lock(&self.0).clone()
    }
}

/// What a person said, in one line and of bounded length; `None` where that is nothing.
fn text(said: &str) -> Option<String> {
    let line: String =
        said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    (!line.is_empty()).then_some(line)
}

/// One write.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// When it was done.
    pub(super) at: Timestamp,
    /// Who did it.
    pub(super) who: String,
    /// How he was known.
    pub(super) by: &'static str,
    /// From where.
    pub(super) from: String,
    /// What was asked for.
    pub(super) method: String,
    /// Of what; without the query, which is nobody's business.
    pub(super) path: String,
    /// What was answered.
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The file of the audit log.
#[derive(Clone, Debug)]
pub struct AuditLog(PathBuf);

impl AuditLog {
    /// The audit log in a state directory.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self(state_dir.join("audit.log"))
    }

    /// Writes down what somebody changed in a file by a command.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn record_command(&self, command: &str, file: &Path, about: &str) -> Result<(), FileError> {
        // Who became root by sudo is known by his own name.
        let sudo = std::env::var("SUDO_USER").ok().filter(|_| geteuid().is_root());
        let who = sudo.unwrap_or_else(|| name_of(geteuid()));
        let (from, file) = ("command line".to_owned(), file.to_string_lossy());
        let entry = Entry::now(&who, "command", from, command, &file, 200);
        self.append(&Entry { about: text(about), ..entry }).map_err(FileError::of(&self.0))?;
        give_to_owner_of_dir(&self.0)
    }

    /// Writes down what was done: to the file, and to Causeway's own log. The file is opened for each line, so that it may be
    /// moved away at any time.
    pub(super) async fn record(&self, mut entry: Entry, said: Said) {
        if let Some(who) = said.who {
            entry.who = who;
        }
        (entry.about, entry.why) = (said.about, said.why);
        tracing::info!(
            audit.who = entry.who,
            audit.by = entry.by,
            audit.from = entry.from,
            http.method = entry.method,
            http.path = entry.path,
            http.status = entry.status,
            audit.about = entry.about.as_deref(),
            audit.why = entry.why.as_deref(),
            "a write"
        );
        let log = self.clone();
        let written = tokio::task::spawn_blocking(move || log.append(&entry)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::error!(
                "the audit log {} cannot be written: {error}; its line is the one above",
                self.0.display()
            );
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        // No link is followed: root writes here too, and the directory is not root's.
        let mut opened = OpenOptions::new();
        opened.append(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let mut file = opened.open(&self.0)?;
        // One write, so that lines of two requests do not mix.
        file.write_all(&line)?;
        file.sync_data()
    }
}

impl Entry {
    /// A write that was answered just now.
    pub(super) fn now(
        who: &str,
        by: &'static str,
        from: String,
        method: &str,
        path: &str,
        status: u16,
    ) -> Self {
        Self {
            at: Timestamp::now(),
            who: who.to_owned(),
            by,
            from,
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            about: None,
            why: None,
        }
    }
}
