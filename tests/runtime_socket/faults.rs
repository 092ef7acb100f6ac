//! Sockets that answer half, not at all, or for somebody else.

use std::time::{Duration, Instant};

use causeway::haproxy::HaproxyError;
use causeway::haproxy::runtime::{Client, Entry, Epoch, Info, MapError, Reply, TransactionError, command};

use crate::fake::{After, Fake};
use crate::haproxy::DEADLINE;

const EPOCH: Epoch = Epoch { pid: 71, generation: 3 };
const INFO: &str = "Name: HAProxy\nVersion: 2.6.12\nPid: 71\nStopping: 0\ndescription: gen-3\n";

/// What two commands for `EPOCH` come to on a socket that answers this.
async fn transact(answer: &str) -> Result<Vec<Reply>, TransactionError> {
    let fake = Fake::answering(answer.as_bytes(), After::Close);
    let commands = ["set server a/slot1 state ready", "set server a/slot2 state ready"].map(str::to_owned);
    Client::new(fake.socket(), None, DEADLINE).transact(EPOCH, &commands).await
}

#[tokio::test]
async fn as_many_answers_as_commands_are_believed_and_no_other_number() {
    let refused = Reply::Refused("No such server.".to_owned());
    let both = transact(&format!("\n{INFO}\n[3]: No such server.\n\n\n")).await.unwrap();
    assert_eq!(both, [refused, Reply::Done], "one that is refused does not hide the next");
    for (replies, answers) in
        [(0, ""), (1, "\n"), (0, "[3]: No such ser"), (1, "[3]: No such server.\n\n[6]: Ne"), (3, "\n\n\n")]
    {
        let error = transact(&format!("\n{INFO}\n{answers}")).await.unwrap_err();
        let TransactionError::Short { commands, replies: got } = error else { panic!("{error:?}") };
        assert_eq!((commands, got), (2, replies), "{answers:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_it_says_who_answers_is_no_answer() {
    let error = transact("").await.unwrap_err();
    assert!(error.to_string().contains("closed without an answer"), "{error}");
    for cut in ["\n", "\nName: HAProxy\nPid: 7", "\nPid: 71\n", "garbage"] {
        let error = transact(cut).await.unwrap_err();
        assert!(matches!(error, TransactionError::NotTaken { .. }), "{cut:?}: {error:?}");
    }
    let too_big = "The command line is too big for the buffer size. Please change tune.bufsize in the configuration \
                   to use a bigger command.\n";
    let error = transact(too_big).await.unwrap_err();
    assert!(error.to_string().contains("too big"), "{error}");
}

#[tokio::test]
async fn nothing_holds_for_another_worker() {
    let other = |from: &str, to: &str| format!("\n{}\n\n\n", INFO.replace(from, to));
    for (from, to) in [("Pid: 71", "Pid: 72"), ("gen-3", "gen-4"), ("gen-3", "of somebody else")] {
        let error = transact(&other(from, to)).await.unwrap_err();
        assert!(matches!(error, TransactionError::OtherEpoch { .. }), "{to}: {error:?}");
    }
    let error = transact(&other("Stopping: 0", "Stopping: 1")).await.unwrap_err();
    assert!(matches!(error, TransactionError::Stopping { pid: 71 }), "{error:?}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let begun = Instant::now();
    for answer in ["", "\nName: HAProxy\n"] {
        let fake = Fake::answering(answer.as_bytes(), After::Silence);
        let client = Client::new(fake.socket(), None, Duration::from_millis(80));
        let error = client.transact(EPOCH, &["set server a/slot1 state ready".to_owned()]).await.unwrap_err();
        let TransactionError::Socket(HaproxyError::Socket { what, .. }) = error else { panic!("{error:?}") };
        assert!(
            what.contains("no answer to `set severity-output number;show info;set server a/slot1"),
            "{what}"
        );
        let map = client.replace_map(EPOCH, "maps/hosts.map", [Entry::new("a", "b").unwrap()]).await;
        assert!(matches!(map, Err(MapError::Transaction(TransactionError::Socket(_)))), "{map:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_read_all_the_same() {
    let fake = Fake::answering(b"Name: HAProxy\nnode: caf\xe9\nPid: 71\n\n", After::Close);
    let answer = command(&fake.socket(), "show info", DEADLINE).await.unwrap();
    assert_eq!(Info::parse(&answer).unwrap().pid, 71);
}

#[tokio::test]
async fn a_map_whose_version_is_not_told_is_left_alone() {
    let fake = Fake::answering(format!("\n{INFO}\nIt rains.\n\n").as_bytes(), After::Close);
    let client = Client::new(fake.socket(), None, DEADLINE);
    let error = client.replace_map(EPOCH, "maps/hosts.map", []).await.unwrap_err();
    assert!(matches!(&error, MapError::Refused { words, .. } if words == "It rains."), "{error:?}");
}

#[tokio::test]
async fn where_nobody_listens_the_workers_socket_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, master) = (dir.path().join("worker.sock"), dir.path().join("master.sock"));
    let client = Client::new(&worker, Some(master), DEADLINE);
    let begun = Instant::now();
    let HaproxyError::Socket { socket, .. } = client.ask("show info").await.unwrap_err() else { panic!() };
    assert_eq!(socket, worker.display().to_string());
    assert!(begun.elapsed() < Duration::from_millis(500), "there is nothing to wait for");
}

#[tokio::test]
async fn the_masters_own_words_are_not_taken_for_a_workers() {
    let words = b"Can't find the target PID matching the prefix '@1'\n";
    let master = Fake::answering(words, After::Close);
    let client = Client::new(master.socket().with_file_name("gone.sock"), Some(master.socket()), DEADLINE);
    let HaproxyError::Socket { what, .. } = client.ask("show info").await.unwrap_err() else { panic!() };
    assert!(what.contains("target PID"), "{what}");
    let error = client.transact(EPOCH, &["set server a/slot1 state ready".to_owned()]).await.unwrap_err();
    assert!(
        matches!(&error, TransactionError::NotTaken { words } if words.contains("target PID")),
        "{error:?}"
    );
}
