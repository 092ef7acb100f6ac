//! The moment of an event travels with what was read because of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn what_is_told_says_when_the_event_came_in_however_often_the_read_failed() {
    let fake = Fake::new(&list(&[app("/a", &["t1"])])).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let reads = Arc::clone(&asked);
    fake.reply(
        "/v2/apps/a",
        Reply::by(move |_| match reads.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::html(503, "not now"),
            _ => single(&app("/a", &["t1", "t2"])),
        }),
    );
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    assert!(followed.since.is_empty(), "nobody announced the first read");

    let before = Instant::now();
    fake.event(&status_event("/a", "t2", "TASK_RUNNING"));
    fake.asked("/v2/apps/a", 1).await;
    let first_read = Instant::now();
    followed.until("the second task is there", |it| it.task("/a", "t2").is_some()).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(followed.since.len(), 1);
    assert!((before..first_read).contains(&followed.since[0]), "the failed read is part of the wait");

    fake.event(&status_event("/a", "t1", "TASK_KILLED"));
    followed.until("the first task is gone", |it| it.task("/a", "t1").is_none()).await;
    assert_eq!(followed.since.len(), 2, "an ending is told from the event itself");
    assert!(followed.since[1] > first_read);
}

#[tokio::test]
async fn a_full_read_answers_the_events_that_named_no_app() {
    let fake = Fake::new(&list(&[app("/a", &["t1"])])).await;
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    let before = Instant::now();
    fake.event(r#"{"eventType":"group_change_success","groupId":"/","version":"2026-01-02T00:00:01.000Z"}"#);
    followed.full_read(2).await;
    assert_eq!(followed.since.len(), 1);
    assert!(
        (before..before + Duration::from_secs(1)).contains(&followed.since[0]),
        "not when it was read at last"
    );
    followed.refresh.ask();
    followed.full_read(3).await;
    assert_eq!(followed.since.len(), 1, "a read that a person asked for answers no event");
}
