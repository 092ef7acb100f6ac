//! `haproxy -c`: HAProxy's own verdict on a generation, before anything is switched.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::HaproxyError;
use crate::config::HaproxyConfig;
use crate::durable::{FileError, make_private_dir};
use crate::render::Files;

/// HAProxy's words about a configuration it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFailure {
    /// The lines of its answer that tell what is wrong, without time and process.
    pub alerts: Vec<String>,
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.alerts.join("; "))
    }
}

impl std::error::Error for CheckFailure {}

impl CheckFailure {
    /// Takes HAProxy's output.
    #[must_use]
    pub fn from_output(output: &str) -> Self {
        Self { alerts: alerts(output) }
    }

    /// The lines of the configuration that an alert names, from 1.
    #[must_use]
    pub fn lines(alert: &str) -> Vec<usize> {
        Self::lines_of(alert, "haproxy.cfg")
    }

    /// The lines that an alert names of another file.
    pub(super) fn lines_of(alert: &str, file: &str) -> Vec<usize> {
        let place = |(at, _): (usize, &str)| {
            let rest = alert[at + file.len()..].strip_prefix(':')?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        alert.match_indices(file).filter_map(place).collect()
    }
}

/// The alerts in HAProxy's output, without their prefix; the summaries at its end tell nothing.
pub(super) fn alerts(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("[ALERT]"))
        .map(|rest| rest.split_once(" : ").map_or(rest, |(_, words)| words).trim())
        .map(|words| words.strip_prefix("config : ").unwrap_or(words).to_owned())
        .filter(|words| {
            !words.starts_with("Error(s) found in configuration") && !words.starts_with("Fatal errors found")
        })
        .collect()
}

/// HAProxy's words with what they mean to an operator, where only a start shows them.
pub(super) fn explain(output: &str) -> String {
    let words = alerts(output).join("; ");
    let words = if words.is_empty() { output.trim().replace('\n', "; ") } else { words };
    let meaning = if words.contains("UNIX socket") {
        "the directory of haproxy.socket or haproxy.master_socket has to be there, and writable"
    } else if words.contains("Permission denied") {
        "it may not listen there; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    } else if words.contains("Address already in use") || words.contains("cannot bind") {
        "an address it has to listen on is taken by another program; change haproxy.bind_… or stop that program"
    } else if words.contains("FD limit") || words.contains("ulimit") {
        "it needs more open files than it may have; raise LimitNOFILE (ulimit -n), or lower haproxy.maxconn or the range"
    } else if words.contains("cannot open") || words.contains("No such file") {
        "a file or a user it names does not exist"
    } else {
        return words;
    };
    format!("{words} ({meaning})")
}

/// Checks `haproxy.cfg` in `dir` with `binary`.
///
/// # Errors
/// [`HaproxyError::Check`] with HAProxy's words; [`HaproxyError::Spawn`] where it cannot be run or does not end in time.
pub(super) async fn check(binary: &Path, dir: &Path, deadline: Duration) -> Result<(), HaproxyError> {
    let mut command = bare(binary);
    command.arg("-c").arg("-C").arg(dir).arg("-f").arg(crate::render::files::CONFIG);
    let spawn = |cause| HaproxyError::Spawn { program: binary.display().to_string(), cause };
    let output = match tokio::time::timeout(deadline, command.kill_on_drop(true).output()).await {
        Ok(output) => output.map_err(spawn)?,
        Err(_) => {
            let cause = std::io::Error::other(format!("the check did not end within {deadline:?}"));
            return Err(spawn(cause));
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let failure = CheckFailure::from_output(&words);
    Err(if failure.alerts.is_empty() {
        CheckFailure { alerts: vec![format!("{} ({})", words.trim(), output.status)] }.into()
    } else {
        failure.into()
    })
}

/// Checks files that nothing is to be done with, in a directory of their own that is gone afterwards.
///
/// # Errors
/// As a check of a generation; and where the files cannot be written.
pub(crate) async fn check_aside(config: &HaproxyConfig, files: Files) -> Result<(), HaproxyError> {
    // Before the first start there is none.
    let has_dir = config.state_dir.is_dir();
    let root = if has_dir { config.state_dir.clone() } else { std::env::temp_dir() };
    let write = move || {
        let dir =
            tempfile::Builder::new().prefix("aside-").tempdir_in(&root).map_err(FileError::of(&root))?;
        for (name, bytes) in &files.0 {
            let path = dir.path().join(name);
            if let Some(parent) = path.parent() {
                make_private_dir(parent)?;
            }
            let mut options = std::fs::OpenOptions::new();
            let opened = options.write(true).create_new(true).mode(0o600).open(&path);
            opened.and_then(|mut file| file.write_all(bytes)).map_err(FileError::of(&path))?;
        }
        Ok::<_, FileError>(dir)
    };
    let written = tokio::task::spawn_blocking(write).await;
    let dir = written.map_err(|error| HaproxyError::Spawn {
        program: config.binary.display().to_string(),
        cause: std::io::Error::other(error),
    })??;
    check(&config.binary, dir.path(), config.check_timeout).await
}

/// HAProxy with no environment but its path: a configuration can print variables, and ours hold passwords.
pub(super) fn bare(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "[NOTICE]   (11043) : haproxy version is 2.6.12-1+deb12u4\n\
        [ALERT]    (11043) : config : parsing [haproxy.cfg:59] : unknown keyword 'x' in 'backend' section\n\
        [ALERT]    (11043) : config : Error(s) found in configuration file : haproxy.cfg\n";

    #[test]
    fn alerts_keep_the_words_that_tell_what_is_wrong() {
        let failure = CheckFailure::from_output(OUTPUT);
        assert_eq!(failure.alerts, ["parsing [haproxy.cfg:59] : unknown keyword 'x' in 'backend' section"]);
        assert_eq!(CheckFailure::lines(&failure.alerts[0]), [59]);
    }

    #[test]
    fn what_only_a_start_shows_is_said_in_words() {
        let taken = "[ALERT]    (1) : Starting frontend x: cannot bind socket (Address already in use) [127.0.0.1:80]";
        assert!(explain(taken).contains("taken by another program"));
        assert!(
            explain("[ALERT] (1) : Cannot raise FD limit to 108040, limit is 20000.").contains("LimitNOFILE")
        );
    }
}
