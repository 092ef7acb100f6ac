//! Trial checks: HAProxy's verdict on the text of one criterion, on a file that holds nothing else. The text is a person's
//! and hostile until proven, and what HAProxy says of it is shown to that person: so HAProxy gets nothing here that it
//! could show, and little of the machine (configuration manual, 2.3 and 7.1: texts can name files and variables).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{User, geteuid};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::check::{CheckFailure, alerts};
use crate::config::HaproxyConfig;
use crate::model::rule::acl;

mod raw;

/// How long a check may take; HAProxy needs some 30 ms for it.
const TIME: Duration = Duration::from_secs(2);
/// The memory that HAProxy may have for it, in KiB.
const MEMORY: u32 = 256 * 1024;
/// The limits, set by the shell that HAProxy then replaces: memory, seconds of a processor, files that it writes. `$1` is where
/// it is looked for, which is not handed on.
const LIMITED: &str =
    "ulimit -v \"$1\" && ulimit -t 2 && ulimit -f 0 || exit 125; PATH=$2; shift 2; exec \"$@\"";
/// What the shell ends with where it cannot set them.
const NO_LIMITS: i32 = 125;
/// How HAProxy names what it reads.
const STDIN: &str = "/dev/stdin";
/// The file, up to the criteria: nothing of the real one. Nobody listens there, since a check binds nothing.
const FILE: &str = "global\n    nbthread 1\n    maxconn 1\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\nfrontend trial\n    bind 127.0.0.1:1\n";

/// Why a text is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialRefusal {
    /// It is not harmless, or HAProxy does not take it.
    #[error("{words}")]
    Refused {
        /// Ours, or HAProxy's own.
        words: String,
        /// Where in the text, in characters from 1, where that can be told.
        column: Option<usize>,
    },
    /// HAProxy did not come to an end with it.
    #[error("HAProxy did not end with this acl within {TIME:?}, and was stopped")]
    Endless,
    /// It could not be tried; nothing is said of the text.
    #[error("the acl could not be tried: {why}")]
    Untried {
        /// What failed, on what, and what to do.
        why: String,
    },
}

/// Lets HAProxy check criteria, one check at a time for all clones.
#[derive(Clone, Debug)]
pub struct Trial {
    binary: PathBuf,
    /// Who does it where we are root: `haproxy.user`, else `nobody`.
    user: String,
    one: Arc<Mutex<()>>,
}

impl Trial {
    /// Trials with the binary of the configuration.
    #[must_use]
    pub fn new(config: &HaproxyConfig) -> Self {
        Self { binary: config.binary.clone(), user: config.user.clone(), one: Arc::default() }
    }

    /// Checks one criterion: that it is harmless, and that HAProxy takes it.
    ///
    /// # Errors
    /// [`TrialRefusal`] says why not.
    pub async fn check_acl(&self, text: &str) -> Result<(), TrialRefusal> {
        match self.refused(&[text]).await?.pop() {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Checks criteria, and names those that are refused, and why: mostly there is none, and one check says so.
    ///
    /// # Errors
    /// [`TrialRefusal::Untried`] or [`TrialRefusal::Endless`]: nothing is known of them then.
    pub async fn refused<'a>(&self, texts: &[&'a str]) -> Result<Vec<(&'a str, TrialRefusal)>, TrialRefusal> {
        let (mut refused, mut left) = (Vec::new(), Vec::new());
        for text in texts {
            match acl::harmless(text) {
                Ok(harmless) => left.push((*text, harmless)),
                Err(words) => refused.push((*text, TrialRefusal::Refused { words, column: None })),
            }
        }
        while !left.is_empty() {
            let alerts = self.alerts(left.iter().map(|(_, harmless)| harmless)).await?;
            if alerts.is_empty() {
                break;
            }
            // Of several texts HAProxy names the lines; what is left is checked again, in case it stopped at these.
            let mut words: BTreeMap<usize, String> = BTreeMap::new();
            for alert in &alerts {
                let line = CheckFailure::lines_of(alert, STDIN).first().copied().unwrap_or_default();
                if let Some(index) = line.checked_sub(FILE.lines().count() + 1).filter(|at| *at < left.len())
                {
                    words.entry(index).or_insert_with(|| cleaned(alert));
                }
            }
            if words.is_empty() {
                // Of one text everything is said.
                if left.len() > 1 {
                    return Err(untried(alerts.join("; ")));
                }
                words.insert(0, alerts.iter().map(|alert| cleaned(alert)).collect::<Vec<_>>().join("; "));
            }
            for (index, words) in words.into_iter().rev() {
                let (text, _) = left.remove(index);
                let column = column(text, &words);
                refused.push((text, TrialRefusal::Refused { words, column }));
            }
        }
        Ok(refused)
    }

    /// HAProxy's words against these criteria, each on a line of its own behind [`FILE`].
    async fn alerts(&self, criteria: impl Iterator<Item = &String>) -> Result<Vec<String>, TrialRefusal> {
        let _one_at_a_time = self.one.lock().await;
        let mut text = FILE.to_owned();
        for (index, criterion) in criteria.enumerate() {
            text.push_str(&format!("    acl trial{index} {criterion}\n"));
        }
        let output = self.run(&text).await?;
        if output.status.success() {
            return Ok(Vec::new());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let alerts = alerts(&said);
        if alerts.is_empty() || output.status.code() == Some(NO_LIMITS) {
            let (binary, status) = (self.binary.display(), output.status);
            return Err(untried(format!("{binary} ended with {status} and said {:?}", said.trim())));
        }
        Ok(alerts)
    }

    /// Runs `haproxy -c` on a text that is in no directory: a file in memory, which only this process and HAProxy have.
    async fn run(&self, text: &str) -> Result<Output, TrialRefusal> {
        let file =
            in_memory(text).map_err(|error| untried(format!("no file in memory can be had: {error}")))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITED, "sh", &MEMORY.to_string()]);
        command
            .arg(std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/sbin:/usr/bin:/sbin:/bin")));
        command.arg(&self.binary).args(["-c", "-f", STDIN]);
        command.env_clear().current_dir("/").stdin(Stdio::from(file)).kill_on_drop(true);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        if geteuid().is_root() {
            // Other groups of ours are left behind with the user id, as the standard library has it.
            let user = self.unprivileged()?;
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let child = command
            .spawn()
            .map_err(|error| untried(format!("{}: {error}", Path::new("/bin/sh").display())))?;
        match tokio::time::timeout(TIME, child.wait_with_output()).await {
            Ok(output) => output.map_err(|error| untried(error.to_string())),
            Err(_) => Err(TrialRefusal::Endless),
        }
    }

    fn unprivileged(&self) -> Result<User, TrialRefusal> {
        let named = |name: &str| User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root());
        named(&self.user).or_else(|| named("nobody")).ok_or_else(|| {
            untried(format!(
                "there is neither a user {:?} (haproxy.user) nor one \"nobody\", and root does not do it",
                self.user
            ))
        })
    }
}

fn untried(why: String) -> TrialRefusal {
    TrialRefusal::Untried { why }
}

fn in_memory(text: &str) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(c"trial", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

/// HAProxy's words without where in our file it found the text.
pub(crate) fn cleaned(alert: &str) -> String {
    let words = match alert.strip_prefix("parsing [") {
        Some(rest) => rest.split_once(']').map_or(alert, |(_, words)| words.trim_start_matches([' ', ':'])),
        None => alert,
    };
    let words = match words.split_once("while parsing ACL 'trial") {
        Some((_, rest)) => rest.split_once("' : ").map_or(words, |(_, words)| words),
        None => words,
    };
    words.trim().to_owned()
}

/// Where the last thing that HAProxy quotes stands in the text, in characters from 1: it goes from the whole to the part.
fn column(text: &str, words: &str) -> Option<usize> {
    let quoted = words.split('\'').skip(1).step_by(2).filter(|word| !word.is_empty());
    let at = quoted.filter_map(|word| text.find(word)).last()?;
    Some(text[..at].chars().count() + 1)
}
