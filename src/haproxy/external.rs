//! The HAProxy that the operator runs: one file and three commands, as Bamboo has it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::{Applied, CheckFailure, Generation, Generations, HaproxyError, check};
use crate::config::HaproxyConfig;
use crate::durable::{FileError, replace_file};
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
        let path = self.config.config_path.clone().unwrap_or_default();
        let before = std::fs::read(&path).ok();
        let begun = Instant::now();
        let text = std::fs::read(generation.dir.join(CONFIG)).map_err(FileError::of(&generation.dir))?;
        replace_file(&path, &text, 0o600)?;
        let reloaded = self.run("haproxy.reload_command", &self.config.reload_command).await;
        if !self.config.cleanup_command.is_empty()
            && let Err(error) = self.run("haproxy.cleanup_command", &self.config.cleanup_command).await
        {
            tracing::warn!("{error}; HAProxy itself is not affected");
        }
        let failure = match reloaded {
            Ok(output) if output.success => {
                self.generations.make_current(generation)?;
                self.generations.mark_good(generation)?;
                return Ok(Applied::Reloaded { took: begun.elapsed() });
            }
            Ok(output) => {
                let words = check::explain(&output.words);
                HaproxyError::Reload {
                    generation: generation.name(),
                    words: format!("haproxy.reload_command: {words}"),
                }
            }
            Err(error) => error,
        };
        // The file stays what HAProxy runs: Bamboo leaves the new one there and never tries again.
        if let Some(before) = before {
            replace_file(&path, &before, 0o600)?;
        }
        Err(failure)
    }

    async fn run(&self, key: &'static str, command: &str) -> Result<Output, HaproxyError> {
        let deadline: Duration = self.config.command_timeout;
        let failed = |what: String| HaproxyError::Command { key, command: command.to_owned(), what };
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(deadline, shell.output()).await {
            Ok(Ok(output)) => {
                let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
                words.push_str(&String::from_utf8_lossy(&output.stderr));
                Ok(Output { success: output.status.success(), words })
            }
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("it did not end within {deadline:?} and was stopped"))),
        }
    }
}

struct Output {
    success: bool,
    words: String,
}
