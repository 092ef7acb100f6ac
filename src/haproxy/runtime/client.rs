//! Speaks to one worker: on its own socket, or where that is gone through its master.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{Ending, Failure, exchange, exchange_lines};
use super::features::Features;
use super::info::{Epoch, Info, Processes};
use super::reply::{Reply, blocks, ends_unmarked};
use crate::haproxy::HaproxyError;

/// The longest line of commands, in bytes: HAProxy takes 16 kB, newer ones refuse the whole line above it.
const LINE_MAX: usize = 14_000;
/// How long a master is waited for that refuses connections: it does while it executes itself anew in a reload.
const REEXECUTION: Duration = Duration::from_secs(1);
/// The pause between two tries.
const RETRY: Duration = Duration::from_millis(5);

/// Why a transaction did not go through.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Nobody answered; what became of the commands is not known.
    #[error(transparent)]
    Socket(#[from] HaproxyError),
    /// Another worker answered: nothing that was planned holds for it.
    #[error("another HAProxy answers: process {pid} with generation {generation:?}")]
    OtherEpoch {
        /// Its process id.
        pid: i32,
        /// The generation it has loaded.
        generation: Option<u64>,
    },
    /// The worker only finishes what it has: what it is told now serves nobody.
    #[error("HAProxy's process {pid} is stopping, another one takes its place")]
    Stopping {
        /// Its process id.
        pid: i32,
    },
    /// What came is not an answer of a worker: words of the master, or that the line is too long, and then nothing was
    /// carried out; or an answer that breaks off, and then nobody knows.
    #[error("HAProxy did not take the commands: {words:?}")]
    NotTaken {
        /// What came.
        words: String,
    },
    /// The answers do not fit the commands.
    #[error("HAProxy answered {replies} of {commands} commands")]
    Short {
        /// How many commands were sent.
        commands: usize,
        /// How many answers came.
        replies: usize,
    },
}

/// Who is meant, behind the master's socket.
#[derive(Clone, Copy, Debug)]
enum Whom {
    /// Whoever serves. These are questions, which can be asked twice.
    Current,
    /// This process, and no other: the master knows old workers too. These may be orders, which are given once.
    Process(i32),
}

/// What is said in one line.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    commands: &'a [&'a str],
    /// The rows that belong to the last command.
    payload: Option<&'a str>,
}

impl Line<'_> {
    fn text(self, prefix: &str) -> String {
        let mut text = String::new();
        for (index, command) in self.commands.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { ";" });
            text.push_str(prefix);
            text.push_str(command);
        }
        text.push('\n');
        if let Some(rows) = self.payload {
            text.push_str(rows);
            text.push('\n');
        }
        text
    }

    /// Behind the master's socket each command is prefixed: the prefix of the first does not hold for those after the
    /// `;`, and each command is a session of its own, in which no severity can be asked for (2.6.12 and 3.0.11).
    fn text_for_master(self, whom: Whom) -> String {
        match whom {
            Whom::Current => self.text("@1 "),
            Whom::Process(pid) => self.text(&format!("@!{pid} ")),
        }
    }
}

/// Speaks to the worker that serves, each time on a connection of its own. Where its socket is gone, or refuses, the same
/// commands go through its master: HAProxy never makes a deleted socket anew, not even in a reload.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    master: Option<PathBuf>,
    deadline: Duration,
    /// Whether the way through the master was told to the log.
    detour: AtomicBool,
}

impl Client {
    /// A client of the worker at `socket`, reached through `master` too where there is one. An exchange ends after
    /// `deadline`, whatever became of it.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>, master: Option<PathBuf>, deadline: Duration) -> Self {
        Self { socket: socket.into(), master, deadline, detour: AtomicBool::new(false) }
    }

    /// Asks the worker that serves, and returns its whole answer. Several questions are parted by `;`, and their answers
    /// by empty lines.
    ///
    /// # Errors
    /// [`HaproxyError::Socket`] where nobody answers in time.
    pub async fn ask(&self, line: &str) -> Result<String, HaproxyError> {
        let commands: Vec<&str> = line.split(';').collect();
        self.ask_with(&commands, Ending::Close, self.deadline).await
    }

    /// Asks many questions, as few lines as possible, and returns their answers one after the other.
    ///
    /// # Errors
    /// [`HaproxyError::Socket`] where nobody answers in time.
    pub async fn ask_many(&self, questions: &[String]) -> Result<String, HaproxyError> {
        let mut answers = String::new();
        for batch in batches(questions) {
            let commands: Vec<&str> = batch.iter().map(String::as_str).collect();
            answers.push_str(&self.ask_with(&commands, Ending::Close, self.deadline).await?);
        }
        Ok(answers)
    }

    /// Asks one question whose answer may be many megabytes, and reads it line by line.
    ///
    /// # Errors
    /// [`HaproxyError::Socket`] where nobody answers in time; lines may have been read by then.
    pub async fn ask_for_lines(
        &self,
        question: &str,
        deadline: Duration,
        mut read: impl FnMut(&str),
    ) -> Result<(), HaproxyError> {
        match exchange_lines(&self.socket, &format!("{question}\n"), deadline, &mut read).await {
            Ok(()) => Ok(()),
            Err(Failure::Unreachable(_)) if self.master.is_some() => {
                let answer = self.ask_with(&[question], Ending::Close, deadline).await?;
                answer.lines().for_each(read);
                Ok(())
            }
            Err(error) => Err(error.at(&self.socket)),
        }
    }

    async fn ask_with(
        &self,
        commands: &[&str],
        ending: Ending,
        deadline: Duration,
    ) -> Result<String, HaproxyError> {
        let line = Line { commands, payload: None };
        let (answer, through_master) =
            self.send(Whom::Current, line, &line.text(""), ending, deadline).await?;
        match &self.master {
            // The words of the master are no answer of a worker.
            Some(master) if through_master && answer.starts_with("Can't ") => Err(HaproxyError::Socket {
                socket: master.display().to_string(),
                what: answer.trim().to_owned(),
            }),
            _ => Ok(answer),
        }
    }

    /// What the worker that serves says of itself; `None` where none answers.
    pub async fn info(&self) -> Option<Info> {
        Info::parse(&self.ask("show info").await.ok()?)
    }

    /// What the master says of its processes; `None` where none answers.
    pub async fn processes(&self) -> Option<Processes> {
        Processes::parse(&super::command(self.master.as_deref()?, "show proc", self.deadline).await.ok()?)
    }

    /// What the worker that serves can do. It holds for this worker: ask again after a reload.
    ///
    /// # Errors
    /// [`HaproxyError::Socket`] where nobody answers in time.
    pub async fn features(&self) -> Result<Features, HaproxyError> {
        Ok(Features::parse(&self.ask(Features::QUESTION).await?))
    }

    /// Waits until a server in maintenance can be deleted, at most for `limit` ([`Features::wait`]). Refused where it
    /// cannot by then, and at once where the way leads through the master, which does not let wait: look again later.
    ///
    /// # Errors
    /// [`HaproxyError::Socket`] where nobody answers in time.
    pub async fn await_removable(&self, server: &str, limit: Duration) -> Result<Reply, HaproxyError> {
        let command = format!("wait {}ms srv-removable {server}", limit.as_millis());
        let answer = self.ask_with(&[&command], Ending::Open, limit + self.deadline).await?;
        Ok(match answer.trim() {
            "" => Reply::Unknown(String::new()),
            words => Reply::of(words),
        })
    }

    /// Sends commands to one worker, as few lines as possible, each line behind a question who answers. Lines after one
    /// that failed are not sent.
    ///
    /// # Errors
    /// See [`TransactionError`]; commands of the line that failed may have been carried out.
    pub async fn transact(&self, epoch: Epoch, commands: &[String]) -> Result<Vec<Reply>, TransactionError> {
        self.transact_and_ask(epoch, commands, &[]).await.map(|(replies, _)| replies)
    }

    /// Sends commands as [`transact`](Self::transact) does, and questions behind them; the answers to these one after the other.
    ///
    /// # Errors
    /// See [`TransactionError`]; commands of the line that failed may have been carried out.
    pub async fn transact_and_ask(
        &self,
        epoch: Epoch,
        commands: &[String],
        questions: &[String],
    ) -> Result<(Vec<Reply>, String), TransactionError> {
        let all: Vec<String> = commands.iter().chain(questions).cloned().collect();
        let mut answers = Vec::with_capacity(all.len());
        for batch in batches(&all) {
            answers.extend(self.line(epoch, batch, None).await?);
        }
        let told = answers.split_off(commands.len().min(answers.len())).concat();
        Ok((answers.iter().map(|block| Reply::of(block)).collect(), told))
    }

    /// Tells one worker through its master, which finds it by its process id: while a reload is under way the socket may
    /// already be another worker's, and a line is carried out before its answer says by whom.
    ///
    /// # Errors
    /// [`HaproxyError::Socket`] where nobody answers in time, or there is no master.
    pub async fn tell_process(&self, pid: i32, commands: &[String]) -> Result<(), HaproxyError> {
        let Some(master) = &self.master else {
            let (socket, what) = (self.socket.display().to_string(), "it has no master".to_owned());
            return Err(HaproxyError::Socket { socket, what });
        };
        for batch in batches(commands) {
            let commands: Vec<&str> = batch.iter().map(String::as_str).collect();
            let text = Line { commands: &commands, payload: None }.text_for_master(Whom::Process(pid));
            exchange(master, &text, Ending::Close, self.deadline)
                .await
                .map_err(|failure| failure.at(master))?;
        }
        Ok(())
    }

    /// One line of commands for one worker, and as many answers; the payload belongs to the last.
    pub(super) async fn line(
        &self,
        epoch: Epoch,
        commands: &[String],
        payload: Option<&str>,
    ) -> Result<Vec<String>, TransactionError> {
        const SEVERITY: &str = "set severity-output number";
        let mut all = vec![SEVERITY, "show info"];
        all.extend(commands.iter().map(String::as_str));
        let direct = Line { commands: &all, payload }.text("");
        let line = Line { commands: &all[1..], payload };
        let whom = Whom::Process(epoch.pid);
        let (answer, through_master) = self.send(whom, line, &direct, Ending::Close, self.deadline).await?;
        // Severity is set in silence. An answer that breaks off inside its first block does not say who answers.
        let body = if through_master { &answer } else { answer.strip_prefix('\n').unwrap_or(&answer) };
        let (info, rest) = match body.split_once("\n\n") {
            Some((info, rest)) => (Info::parse(info), rest),
            None => (None, ""),
        };
        match info {
            Some(Info { pid, generation, .. })
                if pid != epoch.pid || generation != Some(epoch.generation) =>
            {
                return Err(TransactionError::OtherEpoch { pid, generation });
            }
            Some(Info { stopping: true, pid, .. }) => return Err(TransactionError::Stopping { pid }),
            Some(_) => {}
            None => {
                let words = answer.trim().chars().take(300).collect();
                return Err(TransactionError::NotTaken { words });
            }
        }
        let whole_lines = rest.rfind('\n').map_or("", |end| &rest[..=end]);
        let answers: Vec<String> = blocks(whole_lines).collect();
        if answers.len() == commands.len() {
            Ok(answers)
        } else {
            Err(TransactionError::Short { commands: commands.len(), replies: answers.len() })
        }
    }

    /// Says it on the worker's socket, or where nobody takes the connection through the master. Returns the answer, and
    /// whether it came through the master. `direct` is the text for the worker's socket.
    async fn send(
        &self,
        whom: Whom,
        line: Line<'_>,
        direct: &str,
        ending: Ending,
        deadline: Duration,
    ) -> Result<(String, bool), HaproxyError> {
        let error = match (exchange(&self.socket, direct, ending, deadline).await, &self.master) {
            (Ok(answer), _) => {
                if self.detour.swap(false, Ordering::Relaxed) {
                    tracing::info!(haproxy.socket = %self.socket.display(), "HAProxy's own socket answers again");
                }
                return Ok((answer, false));
            }
            (Err(Failure::Unreachable(error)), Some(master)) => {
                let gone = error.kind() == ErrorKind::NotFound;
                let text = line.text_for_master(whom);
                match through_master(master, &text, whom, gone, deadline).await {
                    Ok(answer) => {
                        if !self.detour.swap(true, Ordering::Relaxed) {
                            tracing::warn!(
                                haproxy.socket = %self.socket.display(),
                                "{error}; HAProxy is spoken to through its master, which takes a little longer. \
                                 Only a restart of HAProxy makes the socket anew"
                            );
                        }
                        return Ok((answer, true));
                    }
                    // Nobody is there at all: the worker's own socket is the one to tell of.
                    Err(Failure::Unreachable(_)) => Failure::Unreachable(error),
                    Err(broken) => return Err(broken.at(master)),
                }
            }
            (Err(error), _) => error,
        };
        Err(error.at(&self.socket))
    }
}

/// Where the worker's socket is gone, a master that refuses may only be executing itself anew; connections that it had
/// not taken by then are reset.
async fn through_master(
    master: &Path,
    text: &str,
    whom: Whom,
    gone: bool,
    deadline: Duration,
) -> Result<String, Failure> {
    let begun = Instant::now();
    loop {
        let result = exchange(master, text, Ending::Close, deadline).await;
        let again = match (&result, whom) {
            (Err(Failure::Unreachable(error)), _) => gone && error.kind() == ErrorKind::ConnectionRefused,
            (Err(Failure::Cut(_)), Whom::Current) => gone,
            _ => false,
        };
        if !again || begun.elapsed() >= REEXECUTION.min(deadline) {
            return result;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The room that the prefix of each command takes behind the master's socket: `@!`, a process id, a space and the `;`.
const PREFIX: usize = 14;

fn batches(commands: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut first, mut length) = (0, 0);
    for (index, command) in commands.iter().enumerate() {
        let after_unmarked = index > first && ends_unmarked(&commands[index - 1]);
        if after_unmarked || (length + command.len() + PREFIX > LINE_MAX && index > first) {
            batches.push(&commands[first..index]);
            (first, length) = (index, 0);
        }
        length += command.len() + PREFIX;
    }
    if first < commands.len() {
        batches.push(&commands[first..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_in_lines_that_haproxy_takes() {
        let commands: Vec<String> =
            (0..1000).map(|n| format!("set server h_app_0/slot{n} state ready")).collect();
        let batches = batches(&commands);
        assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), 1000);
        let line = |batch: &[String]| {
            let commands: Vec<&str> = batch.iter().map(String::as_str).collect();
            Line { commands: &commands, payload: None }.text_for_master(Whom::Process(4_194_304)).len()
        };
        assert!(batches.iter().all(|batch| line(batch) <= LINE_MAX));
        assert!(super::batches(&[]).is_empty());
    }

    #[test]
    fn what_2_6_answers_without_an_empty_line_is_the_last_of_its_line() {
        let commands: Vec<String> =
            ["set map m a b", "add server b/s 127.0.0.1:1", "enable health b/s", "del server b/t"]
                .map(str::to_owned)
                .into();
        let sizes: Vec<usize> = batches(&commands).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [2, 2]);
    }

    #[test]
    fn a_line_for_the_master_names_the_worker_before_each_command() {
        let line =
            Line { commands: &["show info", "add map @1 maps/hosts.map <<"], payload: Some("a b\nc d\n") };
        assert_eq!(line.text(""), "show info;add map @1 maps/hosts.map <<\na b\nc d\n\n");
        let text = line.text_for_master(Whom::Process(7));
        assert_eq!(text, "@!7 show info;@!7 add map @1 maps/hosts.map <<\na b\nc d\n\n");
        assert!(line.text_for_master(Whom::Current).starts_with("@1 show info;@1 add map"));
    }
}
