//! The HAProxy that the operator runs: one file and three commands, as Bamboo has it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::Instant;

use super::{Applied, CheckFailure, Generation, Generations, HaproxyError, check};
use crate::config::{HaproxyConfig, SECRETS};
use crate::durable::{FileError, make_private_dir, replace_file};
use crate::render::Files;
use crate::render::files::CONFIG;

/// A HAProxy that is not ours to run.
#[derive(Debug)]
pub struct External {
    config: HaproxyConfig,
    generations: Generations,
}

impl External {
    /// Makes the directory of the generations.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(config: &HaproxyConfig) -> Result<Self, HaproxyError> {
        if let Some(dir) = config.socket.parent() {
            make_private_dir(dir)?;
        }
        Ok(Self { config: config.clone(), generations: Generations::open(&config.state_dir)? })
    }

    pub(super) fn generations(&self) -> &Generations {
        &self.generations
    }

    /// What the operator's HAProxy was last brought to: the current generation, if its file is still in place.
    pub(super) fn observe(&self) -> Option<(u64, Files)> {
        let current = self.generations.current()?;
        let in_place = std::fs::read(self.config.config_path.as_ref()?).ok()?;
        let ours = std::fs::read(current.dir.join(CONFIG)).ok()?;
        let files = (in_place == ours).then(|| self.generations.read(&current)).flatten()?;
        Some((current.number, files))
    }

    pub(super) async fn check(&self, generation: &Generation) -> Result<(), HaproxyError> {
        if self.config.validate_command.is_empty() {
            return check::check(&self.config.binary, &generation.dir, self.config.check_timeout).await;
        }
        let file = generation.dir.join(CONFIG).display().to_string();
        let command = self.config.validate_command.replace("{{.}}", &file);
        let output = self.run("haproxy.validate_command", &command).await?;
        if output.success {
            return Ok(());
        }
        let mut failure = CheckFailure::from_output(&output.words);
        if failure.alerts.is_empty() {
            failure.alerts.push(output.words.trim().to_owned());
        }
        Err(failure.into())
    }

    pub(super) async fn apply(&self, generation: &Generation) -> Result<Applied, HaproxyError> {
        // A link of the operator's stays a link, and its file keeps its mode.
        let path = self.config.config_path.clone().unwrap_or_default();
        let path = path.canonicalize().unwrap_or(path);
        let before = std::fs::read(&path).ok();
        let mode = std::fs::metadata(&path).map_or(0o600, |file| file.permissions().mode() & 0o777);
        let begun = Instant::now();
        let text = std::fs::read(generation.dir.join(CONFIG)).map_err(FileError::of(&generation.dir))?;
        replace_file(&path, &text, mode)?;
        let reloaded = self.run("haproxy.reload_command", &self.config.reload_command).await;
        if !self.config.cleanup_command.is_empty()
            && let Err(error) = self.run("haproxy.cleanup_command", &self.config.cleanup_command).await
        {
            tracing::warn!("{error}; HAProxy itself is not affected");
        }
        let failure = match reloaded {
            Ok(output) if output.success => {
                // It runs: nothing that goes wrong from here on makes that untrue.
                let noted = self
                    .generations
                    .make_current(generation)
                    .and_then(|()| self.generations.mark_good(generation, &BTreeSet::new()));
                if let Err(error) = noted {
                    tracing::error!("{error}; {} runs all the same", generation.name());
                }
                return Ok(Applied::Reloaded { took: begun.elapsed() });
            }
            Ok(output) => {
                let words = check::explain(&output.words);
                HaproxyError::Reload {
                    generation: generation.name(),
                    words: format!("haproxy.reload_command: {words}"),
                    failure: CheckFailure::from_output(&output.words),
                }
            }
            Err(error) => error,
        };
        // The file stays what HAProxy runs: Bamboo leaves the new one there and never tries again.
        match before {
            Some(before) => replace_file(&path, &before, mode)?,
            None => std::fs::remove_file(&path).map_err(FileError::of(&path))?,
        }
        Err(failure)
    }

    async fn run(&self, key: &'static str, command: &str) -> Result<Output, HaproxyError> {
        let deadline: Duration = self.config.command_timeout;
        let failed = |what: String| HaproxyError::Command { key, command: command.to_owned(), what };
        let mut shell = Command::new("sh");
        // HAProxy, which these may start, can print its environment; a command that is given up takes its children along.
        shell.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        for secret in SECRETS {
            shell.env_remove(secret);
        }
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = shell.spawn().map_err(|error| failed(error.to_string()))?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        match tokio::time::timeout(deadline, child.wait_with_output()).await {
            Ok(Ok(output)) => {
                let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
                words.push_str(&String::from_utf8_lossy(&output.stderr));
                if words.trim().is_empty() {
                    words = format!("it ended with {} and said nothing", output.status);
                }
                Ok(Output { success: output.status.success(), words })
            }
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => {
                if let Some(group) = group {
                    let _gone = killpg(group, Signal::SIGKILL);
                }
                Err(failed(format!("it did not end within {deadline:?} and was stopped")))
            }
        }
    }
}

struct Output {
    success: bool,
    words: String,
}
