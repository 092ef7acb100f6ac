//! What only a real HAProxy can show.

use std::time::Duration;

use causeway::haproxy::runtime::{Client, Entry, Info, TransactionError, command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::haproxy::{DEADLINE, Haproxy, until};

async fn count(client: &Client) -> usize {
    client.ask("show map maps/hosts.map").await.unwrap().lines().filter(|line| line.contains(' ')).count()
}

#[tokio::test]
async fn a_map_of_many_payloads_is_replaced_at_once_through_either_socket() {
    let haproxy = Haproxy::start().await;
    let epoch = haproxy.serving(None).await;
    let names =
        |count: usize| (0..count).map(|n| format!("host-{n}.a-long-domain.example.com")).collect::<Vec<_>>();
    for gone in [false, true] {
        let client = haproxy.client();
        for count_wanted in [3_000, 1, 0, 1_000] {
            let names = names(count_wanted);
            let entries = names.iter().map(|name| Entry::new(name, "h_a_0").unwrap());
            client.replace_map(epoch, "maps/hosts.map", entries).await.unwrap();
            assert_eq!(count(&client).await, count_wanted);
        }
        if !gone {
            std::fs::remove_file(haproxy.path("worker.sock")).unwrap();
        }
    }
}

#[tokio::test]
async fn a_payload_over_the_buffer_is_not_taken_so_that_none_may_be_sent() {
    let haproxy = Haproxy::start().await;
    let rows: String = (0..600).map(|n| format!("host-{n}.example.com h_a_0_and_more\n")).collect();
    assert!(rows.len() > 16_384);
    let socket = haproxy.path("worker.sock");
    let _words = command(&socket, &format!("add map maps/hosts.map <<\n{rows}"), DEADLINE).await;
    assert_eq!(count(&haproxy.client()).await, 1);
}

#[tokio::test]
async fn many_commands_are_all_answered_through_either_socket() {
    let haproxy = Haproxy::start().await;
    let epoch = haproxy.serving(None).await;
    let commands: Vec<String> =
        (0..1_000).map(|n| format!("set server h_a_0/slot1 weight {}", n % 256)).collect();
    let client = haproxy.client();
    assert_eq!(client.transact(epoch, &commands).await.unwrap().len(), 1_000);
    std::fs::remove_file(haproxy.path("worker.sock")).unwrap();
    assert_eq!(client.transact(epoch, &commands).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn after_a_reload_the_old_worker_takes_no_orders_and_the_master_leads_to_the_new_one() {
    let haproxy = Haproxy::start().await;
    let old = haproxy.serving(None).await;
    // A connection that is not finished keeps the old worker.
    let mut held = tokio::net::UnixStream::connect(haproxy.path("worker.sock")).await.unwrap();
    held.write_all(b"prompt\n").await.unwrap();
    let read = held.read(&mut [0; 16]).await.unwrap();
    assert!(read > 0);
    let new = haproxy.reload(8).await;
    let ready = ["set server h_a_0/slot1 state ready".to_owned()];
    let worker = haproxy.client();
    let master = Client::new(haproxy.path("gone.sock"), Some(haproxy.path("master.sock")), DEADLINE);
    assert_eq!(worker.processes().await.unwrap().old_workers, [old.pid]);

    let error = worker.transact(old, &ready).await.unwrap_err();
    assert!(
        matches!(error, TransactionError::OtherEpoch { pid, generation: Some(8) } if pid == new.pid),
        "{error:?}"
    );
    // The master knows the old worker by its process id, and reaches it.
    until("the old worker to say that it stops", async || {
        let error = master.transact(old, &ready).await.err()?;
        matches!(error, TransactionError::Stopping { pid } if pid == old.pid).then_some(())
    })
    .await;
    assert_eq!(
        master.info().await.map(|info| (info.pid, info.generation)),
        Some((new.pid, Some(8))),
        "`@1` is the new one"
    );
    for client in [worker, master] {
        assert_eq!(client.transact(new, &ready).await.unwrap().len(), 1);
    }
    drop(held);
}

#[tokio::test]
async fn the_socket_is_not_made_anew_by_a_reload_and_the_master_serves_all_the_time() {
    let haproxy = Haproxy::start().await;
    let epoch = haproxy.serving(None).await;
    std::fs::remove_file(haproxy.path("worker.sock")).unwrap();
    let client = haproxy.client();
    assert_eq!(client.info().await.map(|info| info.pid), Some(epoch.pid));
    let _none_on_2_6 = command(&haproxy.path("master.sock"), "reload", DEADLINE).await.unwrap();
    // No try of these fails, though the master executes itself anew.
    until("the new worker", async || {
        let Info { pid, .. } = Info::parse(&client.ask("show info").await.unwrap())?;
        (pid != epoch.pid).then_some(())
    })
    .await;
    assert!(!haproxy.path("worker.sock").exists());
}

#[tokio::test]
async fn a_worker_that_is_gone_is_not_mistaken_for_another() {
    let haproxy = Haproxy::start().await;
    let epoch = haproxy.serving(None).await;
    let master =
        Client::new(haproxy.path("gone.sock"), Some(haproxy.path("master.sock")), Duration::from_secs(2));
    let gone = causeway::haproxy::runtime::Epoch { pid: 4_194_300, ..epoch };
    let error = master.transact(gone, &["set server h_a_0/slot1 state ready".to_owned()]).await.unwrap_err();
    assert!(
        matches!(&error, TransactionError::NotTaken { words } if words.contains("target PID")),
        "{error:?}"
    );
}
