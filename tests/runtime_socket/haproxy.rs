//! A real HAProxy with a few backends and a map, and no port at all.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use causeway::haproxy::runtime::{Client, Epoch, Info};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

pub(crate) struct Haproxy {
    master: Child,
    dir: TempDir,
}

impl Haproxy {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("cw").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("maps")).unwrap();
        std::fs::write(dir.path().join("maps/hosts.map"), "a.example.com h_a_0\n").unwrap();
        let binary = std::env::var("HAPROXY").unwrap_or_else(|_| "haproxy".to_owned());
        write_config(&dir, 7);
        let master = Command::new(binary)
            .args(["-W", "-f", "haproxy.cfg", "-S"])
            .arg(format!("{},mode,600", dir.path().join("master.sock").display()))
            .arg("-C")
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let haproxy = Self { master, dir };
        haproxy.serving(None).await;
        haproxy
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.path("worker.sock"), Some(self.path("master.sock")), DEADLINE)
    }

    /// Waits for a worker that is not `before`, and for its master.
    pub(crate) async fn serving(&self, before: Option<i32>) -> Epoch {
        let client = self.client();
        until("a worker to serve", async || {
            let Info { pid, generation, .. } = client.info().await.filter(|info| Some(info.pid) != before)?;
            let processes = client.processes().await?;
            processes.workers.contains(&pid).then_some(())?;
            Some(Epoch { pid, generation: generation? })
        })
        .await
    }

    /// Makes a new worker with another generation.
    pub(crate) async fn reload(&self, generation: u64) -> Epoch {
        let before = self.client().info().await.unwrap().pid;
        write_config(&self.dir, generation);
        let master = self.path("master.sock");
        let _answer = causeway::haproxy::runtime::command(&master, "reload", DEADLINE).await.unwrap();
        self.serving(Some(before)).await
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.master.id()).unwrap());
        let _gone = killpg(group, Signal::SIGKILL);
        let _status = self.master.wait();
    }
}

fn write_config(dir: &TempDir, generation: u64) {
    let socket = dir.path().join("worker.sock").display().to_string();
    let text = format!(
        "global\n  description gen-{generation}\n  node test\n  stats socket {socket} mode 600 level admin\n\
         defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         backend h_a_0\n  http-request set-var(txn.be) req.hdr(host),map_str(maps/hosts.map)\n  \
         default-server inter 2s fall 3 rise 2\n  server-template slot 1-2 127.0.0.1:1 check disabled\n\
         backend h_b_0\n  balance source\n  server-template slot 1-2 127.0.0.1:1 disabled\n"
    );
    std::fs::write(dir.path().join("haproxy.cfg"), text).unwrap();
}

pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
