//! What is said with HAProxy, whichever it is, and what has to come of it. Each is held with the HAProxy of this machine,
//! and with recordings of other versions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway::haproxy::runtime::{Client, Entry, Epoch, MapError, Reply};
use causeway::haproxy::servers::{parse_states, parse_uses};
use causeway::placement::Admin;

use crate::haproxy::{DEADLINE, Haproxy};
use crate::transcript::{Player, Recorder, read};

/// Every command that Causeway sends or may send, and how HAProxy's answer is to be taken: `+` done, `-` refused, `0` refused
/// since it is not there.
const COMMANDS: &str = "
+ set server h_a_0/slot1 addr 127.0.0.2 port 7
+ set server h_a_0/slot1 addr 127.0.0.2 port 7
+ set server h_a_0/slot1 addr 127.0.0.3 port 7
+ set server h_a_0/slot1 addr 127.0.0.3 port 8
+ set server h_a_0/slot1 addr ::1 port 8
- set server h_a_0/slot1 addr nonsense port 7
- set server h_a_0/slot1 addr ::1 port x
0 set server h_a_0/slot7 addr 127.0.0.3 port 7
- set server h_x_0/slot1 addr 127.0.0.3 port 7
+ set server h_a_0/slot1 state ready
+ set server h_a_0/slot1 health down
+ set server h_a_0/slot1 state drain
+ set server h_a_0/slot1 state maint
- set server h_a_0/slot1 state asleep
0 set server h_a_0/slot7 state ready
+ set server h_a_0/slot1 weight 50
- set server h_a_0/slot1 weight 300
- set server h_b_0/slot1 weight 50
+ enable health h_a_0/slot1
- enable health h_b_0/slot1
+ enable server h_a_0/slot1
+ disable server h_a_0/slot1
+ shutdown sessions server h_a_0/slot1
0 shutdown sessions server h_a_0/slot7
+ add map maps/hosts.map b.example.com h_b_0
+ set map maps/hosts.map b.example.com h_a_0
0 set map maps/hosts.map c.example.com h_a_0
+ del map maps/hosts.map b.example.com
0 del map maps/hosts.map b.example.com
- add map maps/none.map b.example.com h_b_0
- set map maps/none.map b.example.com h_b_0
- del map maps/none.map b.example.com
- clear map maps/none.map
- prepare map maps/none.map
- add map @99 maps/hosts.map b.example.com h_b_0
- commit map @99 maps/hosts.map
- add server h_b_0/slot3 127.0.0.1:9
- add server h_x_0/slot3 127.0.0.1:9
- add server h_a_0/slot3 127.0.0.1:9 nonsense
+ add server h_a_0/slot3 127.0.0.1:9 check inter 2s fall 3 rise 2 weight 100
- add server h_a_0/slot3 127.0.0.1:9
+ enable health h_a_0/slot3
+ set server h_a_0/slot3 state ready
- del server h_a_0/slot3
+ set server h_a_0/slot3 addr 127.0.0.4 port 10
+ set server h_a_0/slot3 state drain
+ set server h_a_0/slot3 state maint
+ del server h_a_0/slot3
0 del server h_a_0/slot3
0 set server h_a_0/slot3 state ready
- what is this
+ set server h_a_0/slot2 addr 127.0.0.5 port 11
";

async fn everything(client: &Client) {
    let info = client.info().await.unwrap();
    let epoch = Epoch { pid: info.pid, generation: info.generation.unwrap() };
    assert_eq!((epoch.generation, info.stopping), (7, false));

    let expected: Vec<(&str, String)> = COMMANDS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(mark, line)| (mark, line.to_owned()))
        .collect();
    let commands: Vec<String> = expected.iter().map(|(_, command)| command.clone()).collect();
    let replies = client.transact(epoch, &commands).await.unwrap();
    assert_eq!(replies.len(), commands.len());
    for ((mark, command), reply) in expected.iter().zip(&replies) {
        let taken = match reply {
            Reply::Done => "+",
            Reply::Refused(_) if reply.is_absent() => "0",
            Reply::Refused(_) => "-",
            Reply::Unknown(_) => "?",
        };
        assert_eq!(taken, *mark, "{command}: {reply:?}");
    }

    // What came of it shows, so that no answer stands for another command.
    let questions = ["h_a_0", "h_b_0"].map(|backend| format!("show servers state {backend}"));
    let states = parse_states(&client.ask_many(&questions).await.unwrap());
    let state = |backend: &str, slot: &str| states[&(backend.to_owned(), slot.to_owned())];
    assert_eq!(states.len(), 4);
    assert_eq!(state("h_a_0", "slot1").endpoint, "[::1]:8".parse().ok());
    assert_eq!(state("h_a_0", "slot2").endpoint, "127.0.0.5:11".parse().ok());
    assert!(states.values().all(|state| state.admin == Admin::Maint));
    let used = parse_uses(&client.ask("show stat h_a_0 4 -1").await.unwrap());
    assert_eq!(used.len(), 2);
    let used = used[&("h_a_0".to_owned(), "slot1".to_owned())];
    assert_eq!(used.sessions + used.connections, 0);

    assert_eq!(map(client).await, [("a.example.com", "h_a_0")].map(owned));
    let entries = [("x.example.com/a/", "h_a_0"), ("y.example.com", "h_b_0"), ("10001", "h_b_0")];
    let sent = entries.map(|(key, value)| Entry::new(key, value).unwrap());
    client.replace_map(epoch, "maps/hosts.map", sent).await.unwrap();
    assert_eq!(map(client).await, entries.map(owned));
    let refused = client.replace_map(epoch, "maps/none.map", sent).await;
    assert!(matches!(refused, Err(MapError::Refused { .. })), "{refused:?}");
    assert!(matches!(client.replace_map(epoch, "maps/a b", sent).await, Err(MapError::Name(_))));
    client.replace_map(epoch, "maps/hosts.map", []).await.unwrap();
    assert!(map(client).await.is_empty());

    let features = client.features().await.unwrap();
    assert!(features.add_server && features.del_server);
    let before = |versions: &[&str]| versions.iter().any(|version| info.version.starts_with(version));
    assert!(!before(&["2.", "3.0", "3.1"]) || !features.dynamic_servers());
    assert!(!before(&["2.", "3.0", "3.1", "3.2", "3.3"]) || !features.add_backend);
    assert_eq!(features.wait, !info.version.starts_with("2."), "3.0 is the first with `wait`");
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The entries of the map, in its order.
async fn map(client: &Client) -> Vec<(String, String)> {
    let answer = client.ask("show map maps/hosts.map").await.unwrap();
    let entry = |line: &str| line.split_once(' ')?.1.split_once(' ').map(owned);
    answer.lines().filter_map(entry).collect()
}

/// The same, with the worker's socket gone from the disk.
async fn master(client: &Client) {
    everything(client).await;
    assert_eq!(client.processes().await.unwrap().workers, [client.info().await.unwrap().pid]);
}

/// How a server is deleted where `wait` is known.
async fn deletion(client: &Client) {
    let info = client.info().await.unwrap();
    let epoch = Epoch { pid: info.pid, generation: info.generation.unwrap() };
    let add = ["add server h_a_0/slot3 127.0.0.1:9", "set server h_a_0/slot3 state ready"].map(str::to_owned);
    assert_eq!(client.transact(epoch, &add).await.unwrap(), [Reply::Done, Reply::Done]);
    let limit = Duration::from_millis(50);
    let serving = client.await_removable("h_a_0/slot3", limit).await.unwrap();
    assert!(matches!(serving, Reply::Refused(_)), "{serving:?}");
    let maint = ["set server h_a_0/slot3 state maint".to_owned()];
    assert_eq!(client.transact(epoch, &maint).await.unwrap(), [Reply::Done]);
    // 2.6 has no `wait`: it looks at `show stat` until nothing uses the server.
    if !info.version.starts_with("2.") {
        assert_eq!(client.await_removable("h_a_0/slot3", limit).await.unwrap(), Reply::Done);
    }
    assert_eq!(client.transact(epoch, &["del server h_a_0/slot3".to_owned()]).await.unwrap(), [Reply::Done]);
}

fn transcripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// Holds a conversation with the real HAProxy, and writes it down where that is asked for.
async fn recorded(name: &str, sockets: &[&'static str], talk: impl AsyncFn(&Client)) {
    let haproxy = Haproxy::start().await;
    let Some(dir) = std::env::var_os("CAUSEWAY_RECORD") else {
        let worker = if sockets.contains(&"worker") { "worker.sock" } else { "gone.sock" };
        return talk(&Client::new(haproxy.path(worker), Some(haproxy.path("master.sock")), DEADLINE)).await;
    };
    let version = haproxy.client().info().await.unwrap().version;
    let version = version.split(['-', '+']).next().unwrap_or_default();
    let real: Vec<_> = sockets.iter().map(|name| (*name, haproxy.path(&format!("{name}.sock")))).collect();
    let recorder = Recorder::start(&real);
    talk(&Client::new(recorder.path("worker.sock"), Some(recorder.path("master.sock")), DEADLINE)).await;
    std::fs::write(Path::new(&dir).join(format!("{name}-{version}.txt")), recorder.text()).unwrap();
}

/// Holds a conversation with each recording of it.
async fn played(name: &str, talk: impl AsyncFn(&Client)) {
    let mut versions = 0;
    for file in std::fs::read_dir(transcripts()).unwrap().map(|entry| entry.unwrap().path()) {
        if !file.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}-")) {
            continue;
        }
        let player = Player::start(read(&file));
        talk(&Client::new(player.path("worker.sock"), Some(player.path("master.sock")), DEADLINE)).await;
        assert!(player.is_over(), "{}: not all of it was said", file.display());
        versions += 1;
    }
    assert_eq!(versions, 2, "recordings of {name}");
}

#[tokio::test]
async fn every_answer_of_the_real_haproxy_is_understood_and_can_be_recorded() {
    recorded("worker", &["worker"], everything).await;
}

#[tokio::test]
async fn everything_can_be_said_through_the_real_master_and_can_be_recorded() {
    recorded("master", &["master"], master).await;
}

#[tokio::test]
async fn a_server_is_deleted_by_the_real_haproxy_and_can_be_recorded() {
    recorded("deletion", &["worker"], deletion).await;
}

#[tokio::test]
async fn every_answer_of_each_version_is_understood() {
    played("worker", everything).await;
}

#[tokio::test]
async fn everything_can_be_said_through_the_master_of_each_version() {
    played("master", master).await;
}

#[tokio::test]
async fn a_server_is_deleted_by_each_version() {
    played("deletion", deletion).await;
}
