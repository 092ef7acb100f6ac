//! The HAProxy that Causeway runs: master-worker, in a session of its own so that it outlives us, reloaded through the
//! master's socket, adopted again on the next start.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Group, Pid, Uid, User, geteuid};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::runtime::{Client, Info, Processes, command};
use super::{Applied, CheckFailure, Generation, Generations, HaproxyError, check, log_lines};
use crate::config::HaproxyConfig;
use crate::durable::{FileError, make_private_dir, replace_file};
use crate::render::Files;

/// How long one command on a socket may take; HAProxy answers in microseconds unless it is being replaced.
const COMMAND: Duration = Duration::from_secs(2);
/// How often a start or a reload is looked at until the new worker answers.
const LOOK: Duration = Duration::from_millis(5);

/// A HAProxy that is ours to run.
#[derive(Debug)]
pub struct Managed {
    config: HaproxyConfig,
    client: Client,
    generations: Generations,
    /// The master, where this process started it.
    child: Option<Child>,
    output: PathBuf,
    /// The process id of the master, kept by `setsid`.
    pid_file: PathBuf,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody answers.
    Absent,
    /// The master answers.
    Running(Processes),
    /// A worker answers, its master does not.
    WorkerOnly,
    /// The master that was started is there, but nobody answers: it is busy, or its sockets are gone.
    Silent,
}

/// Where HAProxy goes when it is started as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jail {
    /// The directory it is locked into.
    pub chroot: PathBuf,
    user: Uid,
    group: Gid,
}

impl Jail {
    /// The jail for this configuration; `None` where we are not root, and so is not HAProxy.
    ///
    /// # Errors
    /// The configured user or group does not exist.
    pub fn of(config: &HaproxyConfig) -> Result<Option<Self>, FileError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let missing = |what: &str, name: &str| FileError {
            path: format!("haproxy.{what} = {name:?}"),
            cause: std::io::Error::new(std::io::ErrorKind::NotFound, format!("there is no such {what}")),
        };
        let user =
            User::from_name(&config.user).ok().flatten().ok_or_else(|| missing("user", &config.user))?;
        let group =
            Group::from_name(&config.group).ok().flatten().ok_or_else(|| missing("group", &config.group))?;
        Ok(Some(Self { chroot: config.state_dir.join("chroot"), user: user.uid, group: group.gid }))
    }
}

/// The name of the log socket in the directory that HAProxy can reach.
const LOG_SOCKET: &str = "log.sock";

/// Where HAProxy finds the log socket, from inside its jail if it has one.
#[must_use]
pub fn log_socket(config: &HaproxyConfig, jail: Option<&Jail>) -> PathBuf {
    match jail {
        Some(_) => Path::new("/").join(LOG_SOCKET),
        None => config.socket.with_file_name(LOG_SOCKET),
    }
}

impl Managed {
    /// Makes the directories and the log socket; starts nothing yet.
    ///
    /// # Errors
    /// A directory or the socket cannot be made.
    pub fn open(config: &HaproxyConfig, jail: Option<&Jail>) -> Result<Self, HaproxyError> {
        let generations = Generations::open(&config.state_dir)?;
        for socket in [&config.socket, &config.master_socket] {
            if let Some(dir) = socket.parent() {
                make_private_dir(dir)?;
            }
        }
        match jail {
            Some(jail) => {
                make_private_dir(&jail.chroot)?;
                let open_to_enter = std::os::unix::fs::PermissionsExt::from_mode(0o711);
                std::fs::set_permissions(&jail.chroot, open_to_enter).map_err(FileError::of(&jail.chroot))?;
                log_lines::receive(&jail.chroot.join(LOG_SOCKET), Some((jail.user, jail.group)))?;
            }
            None => log_lines::receive(&log_socket(config, None), None)?,
        }
        let output = config.state_dir.join("haproxy.out");
        let pid_file = config.state_dir.join("haproxy.pid");
        let client = Client::new(config.socket.clone(), Some(config.master_socket.clone()), COMMAND);
        Ok(Self { config: config.clone(), client, generations, child: None, output, pid_file })
    }

    /// The generations on disk.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    pub(super) async fn observe(&mut self) -> Option<(u64, Files)> {
        let number = self.info().await?.generation?;
        let files = self.generations.read(&self.generations.generation(number))?;
        Some((number, files))
    }

    /// What the worker says of itself; `None` where none answers.
    pub async fn info(&self) -> Option<Info> {
        self.client.info().await
    }

    /// What the master says of its processes; `None` where none answers.
    pub async fn processes(&self) -> Option<Processes> {
        self.client.processes().await
    }

    /// The generations that old workers still run, while they finish what they have (management guide, 9.4: `@!<pid>`).
    async fn run_by_old_workers(&self) -> BTreeSet<u64> {
        let mut generations = BTreeSet::new();
        for pid in self.processes().await.unwrap_or_default().old_workers {
            let answer = command(&self.config.master_socket, &format!("@!{pid} show info"), COMMAND).await;
            generations.extend(answer.ok().and_then(|answer| Info::parse(&answer)?.generation));
        }
        generations
    }

    /// What runs. While the master of 2.6 executes itself anew, right after a start and in a reload, it refuses
    /// connections although its worker serves: only where neither answers is nobody there. To start a second HAProxy
    /// beside a running one would be worse than to wait, since both could bind the same ports.
    pub async fn presence(&self) -> Presence {
        let deadline = Instant::now() + COMMAND;
        loop {
            if let Some(processes) = self.processes().await {
                return Presence::Running(processes);
            }
            let worker = self.info().await;
            match worker {
                None if self.master().is_some() && !self.is_cut_off() => return Presence::Silent,
                None => return Presence::Absent,
                Some(_) if Instant::now() > deadline => return Presence::WorkerOnly,
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// The master that was started last, if it is there, whatever its sockets say.
    fn master(&self) -> Option<Pid> {
        let pid: i32 = std::fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "haproxy").then(|| Pid::from_raw(pid))
    }

    /// Whether somebody took the sockets of a running HAProxy away: nobody can ever speak to it again.
    fn is_cut_off(&self) -> bool {
        !self.config.socket.exists() && !self.config.master_socket.exists()
    }

    pub(super) async fn is_alive(&mut self) -> bool {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            tracing::error!(haproxy.status = %status, "HAProxy has ended; it is started again");
            self.child = None;
        }
        self.presence().await != Presence::Absent
    }

    pub(super) async fn check(&self, generation: &Generation) -> Result<(), HaproxyError> {
        check::check(&self.config.binary, &generation.dir, self.config.check_timeout).await
    }

    pub(super) async fn apply(&mut self, generation: &Generation) -> Result<Applied, HaproxyError> {
        let before = self.generations.current();
        self.generations.make_current(generation)?;
        let presence = self.presence().await;
        let begun = Instant::now();
        let result = match &presence {
            Presence::Running(processes) => self.reload(generation, processes).await,
            Presence::Absent => self.start(generation).await,
            Presence::WorkerOnly | Presence::Silent => Err(HaproxyError::Socket {
                socket: self.config.master_socket.display().to_string(),
                what:
                    "the master does not answer although its worker does; HAProxy has to be restarted by hand"
                        .to_owned(),
            }),
        };
        match result {
            Ok(()) => {
                // It runs: nothing that goes wrong from here on makes that untrue.
                if let Err(error) = self.generations.mark_good(generation, &self.run_by_old_workers().await) {
                    tracing::error!("{error}; {} runs all the same", generation.name());
                }
                let took = begun.elapsed();
                Ok(if presence == Presence::Absent {
                    Applied::Started { took }
                } else {
                    Applied::Reloaded { took }
                })
            }
            Err(error) => {
                // A crash now would start the bad one: what was current is current again at once.
                if let Some(before) = before {
                    self.generations.make_current(&before)?;
                }
                Err(error)
            }
        }
    }

    /// Starts the current generation, whatever it is: what serves after a reboot while every source is away.
    ///
    /// # Errors
    /// HAProxy does not start with it.
    pub async fn start_current(&mut self) -> Result<Option<Generation>, HaproxyError> {
        let candidates = [self.generations.current(), self.generations.last_good()];
        self.start_first(candidates.into_iter().flatten()).await
    }

    /// Starts the newest generation before the current one that a worker was seen to run, and the current one where there
    /// is none.
    ///
    /// # Errors
    /// HAProxy does not start with it.
    pub async fn start_before_current(&mut self) -> Result<Option<Generation>, HaproxyError> {
        let current = self.generations.current();
        let before = current.as_ref().and_then(|current| self.generations.good_before(current.number));
        self.start_first(before.into_iter().chain(current)).await
    }

    async fn start_first(
        &mut self,
        candidates: impl Iterator<Item = Generation>,
    ) -> Result<Option<Generation>, HaproxyError> {
        let generations = self.generations.clone();
        let mut failure = Ok(None);
        for generation in candidates.filter(|each| generations.read(each).is_some()) {
            generations.make_current(&generation)?;
            match self.start(&generation).await {
                Ok(()) => return Ok(Some(generation)),
                Err(error) => failure = Err(error),
            }
        }
        failure
    }

    async fn start(&mut self, generation: &Generation) -> Result<(), HaproxyError> {
        let failed = |what: String| {
            let (words, failure) = self.words(&what);
            HaproxyError::Start { generation: generation.name(), words, failure }
        };
        // It makes its socket anew; and a master of 3.x keeps a question waiting for a worker that is not there yet.
        let own_socket = Client::new(self.config.socket.clone(), None, COMMAND);
        let cut_off = self.master();
        let mut child = self.spawn()?;
        let deadline = Instant::now() + self.config.reload_timeout;
        loop {
            if self.loaded(own_socket.info().await, generation, None).await {
                self.child = Some(child);
                if let Some(old) = cut_off {
                    tracing::warn!(
                        haproxy.pid = old.as_raw(),
                        "the sockets of the HAProxy before are gone; it finishes what it has and ends"
                    );
                    let _gone = kill(old, Signal::SIGUSR1);
                }
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(failed(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                let _gone = child.start_kill();
                return Err(failed(format!("no worker answered within {:?}", self.config.reload_timeout)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts the master in a session of its own (`setsid` becomes HAProxy, so that the process id is the master's).
    /// Its output goes to a file, since it outlives us.
    fn spawn(&self) -> Result<Child, HaproxyError> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&self.output);
        let file =
            file.and_then(|file| file.set_len(0).map(|()| file)).map_err(FileError::of(&self.output))?;
        let again = file.try_clone().map_err(FileError::of(&self.output))?;
        let mut program: Command = check::bare(Path::new("setsid"));
        program
            .arg(&self.config.binary)
            .arg("-W")
            .arg("-S")
            .arg(format!("{},mode,600", self.config.master_socket.display()))
            .arg("-C")
            .arg(self.generations.current_link())
            .args(["-f", crate::render::files::CONFIG])
            .stdout(Stdio::from(file))
            .stderr(Stdio::from(again));
        let name = self.config.binary.display().to_string();
        let child = program.spawn().map_err(|cause| HaproxyError::Spawn { program: name, cause })?;
        let pid = child.id().map(|pid| pid.to_string()).unwrap_or_default();
        replace_file(&self.pid_file, pid.as_bytes(), 0o600)?;
        Ok(child)
    }

    /// Asks the master to reload, and proves the new worker by its process and the generation it has loaded. The answer to
    /// `reload` proves no success, since 2.6 gives none; but where a newer one says that it failed, it did: its count of
    /// failed reloads stays at one however often they fail (3.4.7).
    async fn reload(&self, generation: &Generation, before: &Processes) -> Result<(), HaproxyError> {
        let failed = |what: String| {
            let (words, failure) = self.words(&what);
            HaproxyError::Reload { generation: generation.name(), words, failure }
        };
        let _fresh_words =
            std::fs::File::options().write(true).open(&self.output).and_then(|file| file.set_len(0));
        let old_worker = self.info().await.map(|info| info.pid);
        let deadline = Instant::now() + self.config.reload_timeout;
        let answer = command(&self.config.master_socket, "reload", self.config.reload_timeout).await;
        if answer.is_ok_and(|words| words.trim_start().starts_with("Success=0")) {
            return Err(failed("the new worker did not start".to_owned()));
        }
        loop {
            if self.loaded(self.info().await, generation, old_worker).await {
                return Ok(());
            }
            // While the master executes itself anew, nobody answers.
            if let Some(now) = self.processes().await
                && now.failed_reloads > before.failed_reloads
            {
                return Err(failed("the new worker did not start".to_owned()));
            }
            if Instant::now() > deadline {
                return Err(failed(format!(
                    "no new worker answered within {:?}",
                    self.config.reload_timeout
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the worker that says this of itself is a new one that has loaded this generation, and its master answers again.
    async fn loaded(&self, info: Option<Info>, generation: &Generation, old_worker: Option<i32>) -> bool {
        let Some(info) = info else { return false };
        if info.generation != Some(generation.number) || Some(info.pid) == old_worker || info.stopping {
            return false;
        }
        self.processes().await.is_some_and(|processes| processes.workers.contains(&info.pid))
    }

    /// What HAProxy printed, with what happened, for a person and for blaming.
    fn words(&self, what: &str) -> (String, CheckFailure) {
        let output = self.read_output();
        (format!("{what}: {}", check::explain(&output)), CheckFailure::from_output(&output))
    }

    fn read_output(&self) -> String {
        std::fs::read(&self.output)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Stops HAProxy, workers of before too.
    pub async fn stop(&mut self) {
        if let Some(processes) = self.processes().await {
            let _gone = kill(Pid::from_raw(processes.master), Signal::SIGTERM);
        }
        if let Some(child) = &mut self.child
            && tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err()
        {
            let _gone = child.start_kill();
        }
        for path in [&self.config.socket, &self.config.master_socket, &log_socket(&self.config, None)] {
            let _gone = std::fs::remove_file(path);
        }
    }
}
