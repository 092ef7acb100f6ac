use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn schedule() -> (Schedule, Instant) {
    let now = Instant::now();
    (Schedule::new(HOUR, Duration::from_secs(30), now), now)
}

fn id(number: usize) -> AppId {
    AppId::new(&format!("/app-{number}"))
}

#[tokio::test]
async fn fifty_changed_apps_are_read_singly_eight_at_a_time() {
    let (mut schedule, now) = schedule();
    (0..50).for_each(|number| schedule.dirty(id(number)));
    let mut begun = Vec::new();
    while let Some(Next::One(app)) = schedule.next(now) {
        begun.push(app);
    }
    assert_eq!(begun.len(), 8);
    schedule.one_done(&begun[0]);
    assert!(matches!(schedule.next(now), Some(Next::One(_))));
    assert_eq!(schedule.next(now), None);
}

#[tokio::test]
async fn fifty_one_changed_apps_are_one_list() {
    let (mut schedule, now) = schedule();
    (0..51).for_each(|number| schedule.dirty(id(number)));
    assert_eq!(schedule.next(now), Some(Next::All));
    assert_eq!(schedule.next(now), None);
    schedule.all_done(Vec::new(), now);
    assert_eq!(schedule.next(now), None);
}

#[tokio::test]
async fn an_app_that_changes_while_it_is_read_is_read_again_after() {
    let (mut schedule, now) = schedule();
    schedule.dirty(id(1));
    assert_eq!(schedule.next(now), Some(Next::One(id(1))));
    schedule.dirty(id(1));
    assert_eq!(schedule.next(now), None);
    schedule.one_done(&id(1));
    assert_eq!(schedule.next(now), Some(Next::One(id(1))));
}

#[tokio::test]
async fn a_failed_read_is_tried_again_later_and_an_event_does_not_hurry_it() {
    let (mut schedule, now) = schedule();
    schedule.dirty(id(1));
    assert!(schedule.next(now).is_some());
    schedule.one_failed(id(1), now);
    schedule.dirty(id(1));
    assert_eq!(schedule.next(now), None);
    let at = schedule.wake_at(now);
    assert!(at > now && at <= now + Duration::from_millis(250));
    assert_eq!(schedule.next(at), Some(Next::One(id(1))));
}

#[tokio::test]
async fn a_change_that_no_deployment_explains_within_two_seconds_reads_everything() {
    let (mut schedule, now) = schedule();
    schedule.deployment("v1".to_owned());
    schedule.group_change("v1".to_owned(), now);
    schedule.group_change("v2".to_owned(), now);
    schedule.deployment("v2".to_owned());
    schedule.group_change("v3".to_owned(), now);
    let due = schedule.wake_at(now);
    assert_eq!(due, now + EXPLANATION);
    assert_eq!(schedule.next(now), None);
    schedule.wake(due);
    assert_eq!(schedule.next(due), Some(Next::All));
    schedule.all_done(Vec::new(), due);
    assert!(schedule.wake_at(due) > due + HOUR / 2);
}

#[tokio::test]
async fn everything_is_read_again_after_the_resync_time_give_or_take_a_tenth() {
    let (mut schedule, now) = schedule();
    let at = schedule.wake_at(now);
    assert!((3240.0..=3960.0).contains(&(at - now).as_secs_f64()));
    schedule.wake(at);
    assert_eq!(schedule.next(at), Some(Next::All));
}

#[tokio::test]
async fn a_task_that_waits_for_readiness_is_looked_at_every_second() {
    let (mut schedule, now) = schedule();
    schedule.readiness(&id(1), true, now);
    let at = schedule.wake_at(now);
    assert_eq!(at, now + READINESS);
    schedule.wake(at);
    assert_eq!(schedule.next(at), Some(Next::One(id(1))));
}

#[tokio::test]
async fn an_app_without_a_url_of_its_own_is_read_with_all_others() {
    let (mut schedule, now) = schedule();
    schedule.dirty(AppId::new("/shop/tasks"));
    assert_eq!(schedule.next(now), Some(Next::All));
}

#[tokio::test]
async fn apps_that_cannot_be_completed_are_not_read_in_a_hurry_however_many_they_are() {
    let (mut schedule, mut now) = schedule();
    schedule.all();
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(schedule.next(now), Some(Next::All));
        let incomplete = (0..60).map(id).chain([AppId::new("/x/tasks")]).collect();
        schedule.all_done(incomplete, now);
        assert_eq!(schedule.next(now), None);
        let before = now;
        now = schedule.retries.values().map(|(at, _)| *at).max().unwrap();
        waits.push(now - before);
    }
    assert!(waits[11] > Duration::from_secs(15), "{waits:?}");
}

#[tokio::test]
async fn a_task_that_is_only_prepared_is_read_with_what_comes_next_or_a_second_later() {
    let (mut schedule, now) = schedule();
    schedule.preparing(id(1), now);
    schedule.preparing(id(2), now);
    assert_eq!(schedule.next(now), None);
    schedule.dirty(id(1));
    assert_eq!(schedule.next(now), Some(Next::One(id(1))));
    schedule.one_done(&id(1));
    let later = schedule.wake_at(now);
    assert_eq!(later, now + PREPARATION);
    schedule.wake(later);
    assert_eq!(schedule.next(later), Some(Next::One(id(2))));
    schedule.one_done(&id(2));
    assert_eq!(schedule.next(later), None, "the first was read already");
}
