//! Real ZooKeepers on addresses and ports of their own, run as an ordinary user, ended when they are dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use causeway::config::{Config, RuleStoreKind};
use causeway::model::{AppId, Rule, RuleRoute};
use causeway::rules::{Rules, ZookeeperStore};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;
use tokio::sync::watch;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions};

/// How long a test waits for what has to come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const BASE: &str = "/marathon-haproxy/state";
/// The user that has nothing of its own.
const NOBODY: u32 = 65_534;
/// Ends with its standard input, whatever becomes of the test, and takes java with it.
const WRAPPER: &str =
    "\"$@\" </dev/null >zookeeper.log 2>&1 & pid=$!; echo $pid; cat >/dev/null; kill -9 $pid; wait";

/// A ZooKeeper of one node or three.
pub(crate) struct Ensemble {
    nodes: Vec<Node>,
    dir: TempDir,
    address: String,
}

struct Node {
    dir: PathBuf,
    port: u16,
    running: Option<(Child, Pid)>,
}

impl Ensemble {
    pub(crate) fn start(count: usize) -> Self {
        Self::start_with(count, "")
    }

    /// Starts with more lines of configuration.
    pub(crate) fn start_with(count: usize, lines: &str) -> Self {
        let mut ensemble = Self::prepare(count, lines);
        for index in 0..count {
            ensemble.start_node(index);
        }
        ensemble.answers();
        ensemble
    }

    /// Everything but the processes.
    pub(crate) fn prepare(count: usize, lines: &str) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let process = std::process::id();
        let address = format!(
            "127.{}.{}.{}",
            210 + process / 256 % 40,
            process % 256,
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = tempfile::Builder::new().prefix("cw-zk").tempdir().unwrap();
        own(dir.path());
        // All are held until each is known, so that none is given out twice.
        let held: Vec<TcpListener> =
            (0..3 * count).map(|_| TcpListener::bind((address.as_str(), 0)).unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
        drop(held);
        let servers: String = (0..count)
            .map(|i| {
                format!(
                    "server.{}={address}:{}:{};{address}:{}\n",
                    i + 1,
                    ports[3 * i + 1],
                    ports[3 * i + 2],
                    ports[3 * i]
                )
            })
            .collect();
        let nodes = (0..count)
            .map(|i| {
                let node = dir.path().join((i + 1).to_string());
                std::fs::create_dir_all(node.join("data")).unwrap();
                let single = format!("clientPortAddress={address}\nclientPort={}\n", ports[3 * i]);
                let quorum = format!("initLimit=20\nsyncLimit=6\nelectionPortBindRetry=20\n{servers}");
                let config = format!(
                    "tickTime=250\nmaxSessionTimeout=20000\nminSessionTimeout=500\nadmin.enableServer=false\n\
                     4lw.commands.whitelist=*\ndataDir={}\n{lines}{}",
                    node.join("data").display(),
                    if count == 1 { &single } else { &quorum },
                );
                std::fs::write(node.join("zoo.cfg"), config).unwrap();
                std::fs::write(node.join("data/myid"), (i + 1).to_string()).unwrap();
                for path in ["", "data", "zoo.cfg", "data/myid"] {
                    own(&node.join(path));
                }
                Node { dir: node, port: ports[3 * i], running: None }
            })
            .collect();
        Self { nodes, dir, address }
    }

    /// Starts a single node that speaks TLS only, with its key and certificate.
    pub(crate) fn take_tls_only(&mut self, identity: &str, authority: &str) {
        let dir = self.nodes[0].dir.clone();
        for (name, pem) in [("identity.pem", identity), ("authority.pem", authority)] {
            std::fs::write(dir.join(name), pem).unwrap();
            own(&dir.join(name));
        }
        let config = std::fs::read_to_string(dir.join("zoo.cfg")).unwrap();
        let config = config.replace("clientPort", "secureClientPort")
            + "ssl.keyStore.location=identity.pem\nssl.keyStore.type=PEM\nssl.trustStore.location=authority.pem\n\
               ssl.trustStore.type=PEM\nssl.clientAuth=none\n";
        std::fs::write(dir.join("zoo.cfg"), config).unwrap();
        self.start_node(0);
    }

    pub(crate) fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WRAPPER, "sh", "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args([
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dzookeeper.fsync.warningthresholdms=10000",
            ])
            .arg("-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory")
            .args(["-cp", "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:/usr/share/java/*"])
            .args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"])
            .current_dir(&node.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        node.running = Some((child, Pid::from_raw(pid.trim().parse().unwrap())));
    }

    /// Waits until every node that runs serves.
    pub(crate) fn answers(&self) {
        let start = Instant::now();
        for node in self.nodes.iter().filter(|node| node.running.is_some()) {
            while self.mode(node.port).is_none() {
                let log = || std::fs::read_to_string(node.dir.join("zookeeper.log")).unwrap_or_default();
                assert!(start.elapsed() < DEADLINE, "ZooKeeper does not serve: {}", log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// `leader`, `follower` or `standalone`; `None` while it serves nobody.
    fn mode(&self, port: u16) -> Option<String> {
        let mut stream = TcpStream::connect((self.address.as_str(), port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.lines().find_map(|line| Some(line.strip_prefix("Mode: ")?.to_owned()))
    }

    pub(crate) fn leader(&self) -> usize {
        let leads = |node: &Node| node.running.is_some() && self.mode(node.port).as_deref() == Some("leader");
        let start = Instant::now();
        loop {
            if let Some(leader) = self.nodes.iter().position(leads) {
                return leader;
            }
            assert!(start.elapsed() < DEADLINE, "nobody leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn kill_node(&mut self, index: usize) {
        if let Some((mut child, pid)) = self.nodes[index].running.take() {
            let _gone = kill(pid, Signal::SIGKILL);
            drop(child.stdin.take());
            let _ended = child.wait();
        }
    }

    /// Stops or continues a node.
    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        kill(self.nodes[index].running.as_ref().unwrap().1, signal).unwrap();
    }

    pub(crate) fn host(&self, index: usize) -> String {
        format!("{}:{}", self.address, self.nodes[index].port)
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|index| self.host(index)).collect()
    }

    /// A configuration that keeps its state under a name of its own.
    pub(crate) fn config(&self, name: &str) -> Config {
        let mut config = Config::default();
        config.haproxy.state_dir = self.dir.path().join(name);
        std::fs::create_dir_all(&config.haproxy.state_dir).unwrap();
        config.rules.store = RuleStoreKind::Zookeeper;
        let zookeeper = &mut config.rules.zookeeper;
        zookeeper.hosts = self.hosts();
        zookeeper.session_timeout = Duration::from_secs(4);
        zookeeper.write_timeout = Duration::from_secs(15);
        config
    }

    pub(crate) fn store(&self, name: &str) -> ZookeeperStore {
        ZookeeperStore::new(&self.config(name)).unwrap()
    }

    /// A session that knows nothing of Causeway: what Bamboo, or a person, does.
    pub(crate) async fn client(&self) -> Client {
        Client::connector()
            .with_session_timeout(Duration::from_secs(10))
            .connect(&self.hosts().join(","))
            .await
            .unwrap()
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            self.kill_node(index);
        }
    }
}

fn own(path: &std::path::Path) {
    if geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

pub(crate) fn open() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

/// What Bamboo does on PUT: the record, and then the base node to wake the others.
pub(crate) async fn bamboo_puts(client: &Client, name: &str, data: &str) {
    let path = format!("{BASE}/{name}");
    match client.check_stat(&path).await.unwrap() {
        Some(_) => {
            client.set_data(&path, data.as_bytes(), None).await.unwrap();
            client.set_data(BASE, b"", None).await.unwrap();
        }
        None => {
            client.mkdir(BASE, &open()).await.unwrap();
            client.create(&path, data.as_bytes(), &open()).await.unwrap();
        }
    }
}

/// Waits for rules.
pub(crate) async fn until(
    rules: &mut watch::Receiver<Option<Arc<Rules>>>,
    what: &str,
    holds: impl Fn(&Rules) -> bool,
) -> Arc<Rules> {
    let seen = rules.wait_for(|rules| rules.as_ref().is_some_and(|rules| holds(rules)));
    match tokio::time::timeout(DEADLINE, seen).await {
        Ok(rules) => rules.unwrap().clone().unwrap(),
        Err(_) => panic!("waited for {what}"),
    }
}

pub(crate) fn host_rule(app: &str, host: &str) -> Rule {
    let route = RuleRoute { host: Some(host.to_owned()), ..RuleRoute::default() };
    Rule { routes: vec![route], ..Rule::new(AppId::new(app)) }
}
