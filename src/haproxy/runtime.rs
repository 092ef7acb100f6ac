//! Commands on HAProxy's sockets (management guide, section 9).

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::HaproxyError;

/// Sends one command and reads the whole answer.
///
/// Each command has a connection of its own: a kept one stays with the old worker after a reload. The write side is
/// closed at once, since the master of 2.6 keeps the connection until the client half-closes it.
///
/// # Errors
/// [`HaproxyError::Socket`] where nobody answers within `deadline`.
pub async fn command(socket: &Path, line: &str, deadline: Duration) -> Result<String, HaproxyError> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(line.as_bytes()).await?;
        stream.write_all(b"\n").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let failed = |what: String| HaproxyError::Socket { socket: socket.display().to_string(), what };
    match tokio::time::timeout(deadline, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer to `{line}` within {deadline:?}"))),
    }
}

/// Sends one command and reads the answer line by line: it may be many megabytes.
///
/// # Errors
/// [`HaproxyError::Socket`] where nobody answers within `deadline`.
pub async fn each_line(
    socket: &Path,
    line: &str,
    deadline: Duration,
    mut read: impl FnMut(&str),
) -> Result<(), HaproxyError> {
    use tokio::io::AsyncBufReadExt;
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(line.as_bytes()).await?;
        stream.write_all(b"\n").await?;
        stream.shutdown().await?;
        let mut reader = tokio::io::BufReader::with_capacity(64 * 1024, stream);
        let mut text = Vec::new();
        while reader.read_until(b'\n', &mut text).await? > 0 {
            read(String::from_utf8_lossy(&text).trim_end_matches('\n'));
            text.clear();
        }
        Ok::<_, std::io::Error>(())
    };
    let failed = |what: String| HaproxyError::Socket { socket: socket.display().to_string(), what };
    match tokio::time::timeout(deadline, exchange).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no whole answer to `{line}` within {deadline:?}"))),
    }
}

/// What a worker says of itself (`show info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The worker's process id.
    pub pid: i32,
    /// The generation it has loaded, from `description`.
    pub generation: Option<u64>,
    /// True where it only finishes what it has.
    pub stopping: bool,
    /// HAProxy's version.
    pub version: String,
}

impl Info {
    /// Reads the answer to `show info`; `None` where it is not one.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let value = |key: &str| {
            answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::trim)
        };
        Some(Self {
            pid: value("Pid")?.parse().ok()?,
            generation: value("description").and_then(super::generations::number_of),
            stopping: value("Stopping") == Some("1"),
            version: value("Version").unwrap_or_default().to_owned(),
        })
    }
}

/// What the master says of its processes (`show proc`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The master's process id.
    pub master: i32,
    /// Reloads that failed, as the master counts them.
    pub failed_reloads: u32,
    /// The workers that take connections.
    pub workers: Vec<i32>,
    /// Workers of before, which only finish what they have.
    pub old_workers: Vec<i32>,
}

impl Processes {
    /// Reads the answer to `show proc`; `None` where it is not one.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let mut processes = Self::default();
        let mut old = false;
        for line in answer.lines() {
            if let Some(heading) = line.strip_prefix("# ") {
                old = heading.contains("old");
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(Ok(pid)) = words.first().map(|word| word.parse::<i32>()) else { continue };
            match words.get(1) {
                Some(&"master") => {
                    processes.master = pid;
                    processes.failed_reloads = line
                        .split_once("[failed: ")
                        .and_then(|(_, rest)| rest.split(']').next()?.parse().ok())
                        .unwrap_or(0);
                }
                Some(&"worker") if old => processes.old_workers.push(pid),
                Some(&"worker") => processes.workers.push(pid),
                _ => {}
            }
        }
        (processes.master != 0).then_some(processes)
    }
}

/// Which worker is spoken to. A reload or a restart by anybody makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The worker's process id.
    pub pid: i32,
    /// The generation it has loaded.
    pub generation: u64,
}

/// What HAProxy said to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done, or was so already.
    Done,
    /// HAProxy refused, in its words.
    Refused(String),
    /// Words that are not known here: look before deciding.
    Unknown(String),
}

/// The longest line of commands: HAProxy takes 16 kB, newer ones refuse the whole line above it.
const LINE_MAX: usize = 14_000;

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
    /// The answers do not fit the commands.
    #[error("HAProxy answered {replies} of {commands} commands")]
    Short {
        /// How many commands were sent.
        commands: usize,
        /// How many answers came.
        replies: usize,
    },
}

/// Sends commands to one worker, as few lines as possible, each line behind a question who answers. Lines after one that
/// failed are not sent.
///
/// # Errors
/// See [`TransactionError`]; commands of the line that failed may have been carried out.
pub async fn transact(
    socket: &Path,
    epoch: Epoch,
    commands: &[String],
    deadline: Duration,
) -> Result<Vec<Reply>, TransactionError> {
    let mut replies = Vec::with_capacity(commands.len());
    for batch in batches(commands) {
        let line = format!("set severity-output number;show info;{}", batch.join(";"));
        let answer = command(socket, &line, deadline).await?;
        let mut blocks = blocks(&answer).skip(1);
        let info = blocks.next().and_then(|block| Info::parse(&block));
        match info {
            Some(info)
                if info.pid == epoch.pid && info.generation == Some(epoch.generation) && !info.stopping => {}
            Some(info) => {
                return Err(TransactionError::OtherEpoch { pid: info.pid, generation: info.generation });
            }
            None => return Err(TransactionError::Short { commands: batch.len(), replies: 0 }),
        }
        let before = replies.len();
        replies.extend(blocks.map(|block| Reply::of(&block)));
        if replies.len() - before != batch.len() {
            return Err(TransactionError::Short { commands: batch.len(), replies: replies.len() - before });
        }
    }
    Ok(replies)
}

impl Reply {
    /// Reads an answer under `set severity-output number`: silence is done, 0 to 3 are errors, 4 to 7 are remarks.
    fn of(block: &str) -> Self {
        let block = block.trim();
        if block.is_empty() {
            return Self::Done;
        }
        let severity = block.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        match severity {
            Some((level @ ("0" | "1" | "2" | "3"), words)) if !level.is_empty() => {
                Self::Refused(words.to_owned())
            }
            // HAProxy lists its commands as a remark when it does not know one.
            Some(("4" | "5" | "6" | "7", words)) if !words.starts_with("Unknown command") => Self::Done,
            _ => Self::Unknown(block.to_owned()),
        }
    }
}

/// The answers in a text: each ends with an empty line.
fn blocks(answer: &str) -> impl Iterator<Item = String> {
    let mut lines = answer.lines();
    std::iter::from_fn(move || {
        let mut block = String::new();
        loop {
            match lines.next() {
                None => return (!block.is_empty()).then(|| std::mem::take(&mut block)),
                Some("") => return Some(std::mem::take(&mut block)),
                Some(line) => {
                    block.push_str(line);
                    block.push('\n');
                }
            }
        }
    })
}

/// Commands in as many at once as HAProxy takes in a line.
#[must_use]
pub fn batches(commands: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut first, mut length) = (0, 0);
    for (index, command) in commands.iter().enumerate() {
        if length + command.len() + 1 > LINE_MAX && index > first {
            batches.push(&commands[first..index]);
            (first, length) = (index, 0);
        }
        length += command.len() + 1;
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
    fn what_a_worker_says_of_itself_is_read() {
        let answer =
            "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 11242\nStopping: 0\ndescription: gen-7\n\n";
        let info =
            Info { pid: 11242, generation: Some(7), stopping: false, version: "2.6.12-1+deb12u4".to_owned() };
        assert_eq!(Info::parse(answer), Some(info));
        assert_eq!(Info::parse("Unknown command"), None);
    }

    #[test]
    fn the_masters_table_tells_new_workers_from_old_ones() {
        let answer = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
            11241           master          1 [failed: 2]   0d00h00m03s     2.6.12-1+deb12u4\n# workers\n\
            11351           worker          0               0d00h00m01s     2.6.12-1+deb12u4\n# old workers\n\
            11242           worker          1               0d00h00m03s     2.6.12-1+deb12u4\n# programs\n\n";
        let expected =
            Processes { master: 11241, failed_reloads: 2, workers: vec![11351], old_workers: vec![11242] };
        assert_eq!(Processes::parse(answer), Some(expected));
        assert_eq!(Processes::parse(""), None);
    }

    #[test]
    fn answers_are_told_apart_by_their_empty_lines_and_read_by_severity() {
        let answer = "\nName: HAProxy\nPid: 7\n\n\n[3]: No such server.\n\n[4]: no need to change the addr\n\n\
                      [6]: Unknown command, but maybe\n  show\n\n?\n\n";
        let replies: Vec<Reply> = blocks(answer).skip(2).map(|block| Reply::of(&block)).collect();
        assert_eq!(replies[0], Reply::Done);
        assert_eq!(replies[1], Reply::Refused("No such server.".to_owned()));
        assert_eq!(replies[2], Reply::Done);
        assert!(matches!(replies[3], Reply::Unknown(_)) && matches!(replies[4], Reply::Unknown(_)));
        assert_eq!(replies.len(), 5);
    }

    #[test]
    fn commands_go_in_lines_that_haproxy_takes() {
        let commands: Vec<String> =
            (0..1000).map(|n| format!("set server h_app_0/slot{n} state ready")).collect();
        let batches = batches(&commands);
        assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), 1000);
        assert!(batches.iter().all(|batch| batch.join(";").len() <= LINE_MAX));
        assert!(super::batches(&[]).is_empty());
    }
}
