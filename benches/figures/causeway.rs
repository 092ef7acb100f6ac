//! Causeway with its HAProxy, on an address of its own, and how what it does is seen from outside.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::marathon::CAUSEWAY;
use crate::process::{PATIENCE, Process, Result, signal, until};

const HTTP: u16 = 8000;
/// More than the default, so that new apps get a port in the range beside 10,000 others.
pub(crate) const SERVICE_PORTS: (u16, u16) = (10_000, 20_200);
/// Flags of maintenance and drain, whoever asked for it; that a server began as `disabled` (0x04) is no more than a note
/// (management guide, `show servers state`).
const NOT_SERVING: u32 = 0x01 | 0x02 | 0x08 | 0x10 | 0x20;
/// The pause between two attempts while the first answer is waited for: short beside what is measured, long enough to leave
/// the CPU to those who have to work.
const PROBE_PAUSE: Duration = Duration::from_micros(200);

/// A running Causeway.
pub(crate) struct Causeway {
    pub(crate) process: Process,
    pub(crate) dir: PathBuf,
    address: &'static str,
}

impl Causeway {
    /// Starts one with its state in `dir`; `haproxy` are more lines of that part of the configuration.
    pub(crate) fn start(dir: &Path, address: &'static str, marathon: &str, haproxy: &str) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (path, state, (first, last)) = (dir.join("causeway.toml"), dir.display(), SERVICE_PORTS);
        // The periodic read of everything is not what an event costs.
        std::fs::write(
            &path,
            format!(
                "[marathon]\nendpoints = [\"{marathon}\"]\nresync = \"1h\"\n[haproxy]\nstate_dir = \"{state}/state\"\n\
                 socket = \"{state}/run/haproxy.sock\"\nmaster_socket = \"{state}/run/master.sock\"\non_exit = \"stop\"\n\
                 bind_http = \"{address}:{HTTP}\"\nbind_app_id = \"\"\nbind_stats = \"\"\n\
                 bind_service_ports = \"{address}\"\nservice_port_range = \"{first}-{last}\"\n{haproxy}\
                 [web]\nlisten = \"127.0.0.1:0\"\n"
            ),
        )?;
        Ok(Self { process: spawn(dir)?, dir: dir.to_owned(), address })
    }

    /// Kills it, which leaves HAProxy, and starts another.
    pub(crate) fn kill_and_start(&mut self) -> Result<()> {
        signal(self.pid(), Signal::SIGKILL)?;
        self.process.0.wait()?;
        self.process = spawn(&self.dir)?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn http(&self) -> Door {
        Door(SocketAddr::new(self.address.parse().unwrap_or([127, 0, 0, 1].into()), HTTP))
    }

    /// Waits until a host answers.
    pub(crate) async fn serves(&self, host: &str) -> Result<()> {
        let door = self.http();
        let ended = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
            !status.lines().any(|line| line.starts_with("VmRSS:"))
        };
        until(host, async || (door.answers(host) || ended()).then_some(())).await?;
        if ended() { Err("Causeway ended".into()) } else { Ok(()) }
    }

    /// Where its API listens, which its log says.
    pub(crate) fn web(&self) -> Option<String> {
        let log = std::fs::read_to_string(self.dir.join("causeway.log")).ok()?;
        let (_, rest) = log.split_once("web.listen=")?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    /// The number of the current generation: each reload makes a new one.
    pub(crate) fn generation(&self) -> Result<u64> {
        let target = std::fs::read_link(self.dir.join("state/current"))?;
        Ok(target.to_string_lossy().trim_start_matches("gen-").parse()?)
    }

    /// What tells one writing of the configuration from the next: its file is replaced.
    pub(crate) fn written(&self) -> Option<(u64, i64, i64)> {
        let file = std::fs::metadata(self.dir.join("state/current/haproxy.cfg")).ok()?;
        Some((file.ino(), file.mtime(), file.mtime_nsec()))
    }

    /// What HAProxy's worker answers to a command.
    pub(crate) fn ask_worker(&self, command: &str) -> Result<String> {
        let mut socket = UnixStream::connect(self.dir.join("run/haproxy.sock"))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The process id of HAProxy's worker.
    pub(crate) fn worker(&self) -> Result<u32> {
        let info = self.ask_worker("show info")?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid: ")).ok_or("no Pid in show info")?;
        Ok(pid.trim().parse()?)
    }

    /// Where the servers are that get requests, as HAProxy reports them.
    pub(crate) fn serving(&self) -> Result<HashSet<String>> {
        let answer = self.ask_worker("show servers state")?;
        let mut lines = answer.lines().skip_while(|line| !line.starts_with("# "));
        let header: Vec<&str> =
            lines.next().unwrap_or_default().trim_start_matches("# ").split(' ').collect();
        let column = |name: &str| header.iter().position(|word| *word == name).ok_or("no such column");
        let (address, port, admin) = (column("srv_addr")?, column("srv_port")?, column("srv_admin_state")?);
        let serving = lines.filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let admin: u32 = words.get(admin)?.parse().ok()?;
            (admin & NOT_SERVING == 0)
                .then(|| Some(format!("{}:{}", words.get(address)?, words.get(port)?)))?
        });
        Ok(serving.collect())
    }

    /// Ends it and its HAProxy, and waits until nobody answers any more.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.end();
        let door = self.http();
        until("the end of HAProxy", async || TcpStream::connect(door.0).is_err().then_some(())).await
    }

    /// The last lines it logged, for when a bench fails.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("causeway.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// Adds what it logged last to a failure.
    pub(crate) fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| format!("{error}\nCauseway's last words:\n{}", self.last_words()).into())
    }
}

fn spawn(dir: &Path) -> Result<Process> {
    let log = File::options().create(true).append(true).open(dir.join("causeway.log"))?;
    let config = dir.join("causeway.toml");
    Process::spawn(Command::new(CAUSEWAY).args(["run", "--config"]).arg(config).stderr(log))
}

impl Drop for Causeway {
    /// A Causeway that had to be killed, or was told to end twice, leaves its HAProxy behind.
    fn drop(&mut self) {
        self.process.end();
        let pid = std::fs::read_to_string(self.dir.join("state/haproxy.pid")).unwrap_or_default();
        let Ok(pid) = pid.trim().parse::<u32>() else { return };
        let is_ours = || {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains(&*self.dir.to_string_lossy())
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_ours() && Instant::now() < deadline {
            let _gone = signal(pid, Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Where HAProxy answers.
#[derive(Clone, Copy)]
pub(crate) struct Door(pub(crate) SocketAddr);

impl Door {
    /// Whether a task answers for a host. One request on a connection of its own: so it is never the last one of an old
    /// worker.
    pub(crate) fn answers(&self, host: &str) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut socket = TcpStream::connect(self.0)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            socket.write_all(request.as_bytes())?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-task: "))
    }

    /// Asks without much of a pause until a task answers for a host, and says when that was.
    pub(crate) async fn first_answer(self, host: String) -> Result<Instant> {
        tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                if self.answers(&host) {
                    return Ok(Instant::now());
                }
                std::thread::sleep(PROBE_PAUSE);
            }
            Err(format!("{host} did not answer within {} s", PATIENCE.as_secs()).into())
        })
        .await?
    }
}
