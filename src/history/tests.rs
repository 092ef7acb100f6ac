use super::*;
use crate::model::AppId;

fn happened(app: &str) -> Vec<Happened> {
    let service = ServiceId { app: AppId::new(app), port_index: 0 };
    vec![Happened { what: format!("{service} is new with 1 server"), service }]
}

fn runtime(happened: &[Happened]) -> Done<'_> {
    Done { happened, ..Done::by(How::Runtime { steps: 3 }) }
}

#[tokio::test]
async fn the_last_changes_are_kept_in_order_and_told_to_who_listens() {
    let history = History::default();
    let (_, mut told) = history.follow(None);
    for number in 0..KEPT + 10 {
        history.note(runtime(&happened(&format!("/a{number}"))));
        assert!(told.try_recv().is_ok());
    }
    let last = history.before(None, 3);
    assert_eq!(last.iter().map(|change| change.id).collect::<Vec<_>>(), [510, 509, 508]);
    assert_eq!(history.before(Some(509), 1)[0].id, 508);
    assert_eq!(history.before(None, usize::MAX).len(), KEPT);
    assert!(history.get(10).is_none() && history.get(11).is_some());
    let service = ServiceId { app: AppId::new("/a509"), port_index: 0 };
    assert_eq!(history.of(&service, None, 5).len(), 1);
}

#[tokio::test]
async fn who_comes_back_is_told_what_he_missed_or_that_it_is_too_much() {
    let history = History::default();
    for number in 0..KEPT + 1 {
        history.note(runtime(&happened(&format!("/a{number}"))));
    }
    let ids = |after| {
        history.follow(Some(after)).0.map(|missed| missed.iter().map(|each| each.id).collect::<Vec<_>>())
    };
    assert_eq!(ids(499), Some(vec![500, 501]));
    assert_eq!(ids(501), Some(vec![]));
    assert_eq!(ids(0), None, "the first is not known any more");
    assert_eq!(ids(900), None, "of another Causeway");
}

#[test]
fn what_fails_again_in_the_same_words_is_noted_once() {
    let history = History::default();
    let failed = |error: &str| Done::by(How::Failed { error: error.to_owned() });
    for error in ["one", "one", "two", "one"] {
        history.note(failed(error));
    }
    assert_eq!(history.before(None, 10).len(), 3);
}

#[test]
fn a_change_of_thousands_names_some_of_them() {
    let history = History::default();
    let all: Vec<Happened> = (0..1000).flat_map(|number| happened(&format!("/a{number}"))).collect();
    history.note(runtime(&all));
    let change = &history.before(None, 1)[0];
    assert_eq!((change.events.len(), change.services.len(), change.events_total), (NAMED, NAMED, 1000));
}

#[test]
fn texts_of_old_changes_are_let_go_of_before_they_are_too_much() {
    use crate::model::{Backend, Marks, Mode, Service};
    use crate::placement::Slot;
    use crate::render::Block;

    let history = History::default();
    let text_of = |number: usize, slots: usize| {
        let id = happened("/a")[0].service.clone();
        let service = Service {
            id: id.clone(),
            port: None,
            routes: Vec::new(),
            app_id_route: false,
            marks: Marks::default(),
            bind: None,
            certificate: None,
            client_ca: None,
            backend: Backend::new(format!("h_a_{number}"), Mode::Http, "roundrobin"),
            config: Default::default(),
            instances: 1,
            servers: Vec::new(),
        };
        let shape = format!("backend h_a_{number}\n").into();
        let slots = Arc::new(vec![Slot::Free; slots]);
        let block = Block { service: Arc::new(service), shape, slots };
        let mut text = Text::default();
        text.blocks.insert_mut(id, Arc::new(block));
        text
    };
    for number in 0..10 {
        let (before, after) = (text_of(number, 1000), text_of(number + 1, 2000));
        let told = happened("/a");
        history.note(Done { before: Some(&before), after: Some(&after), ..runtime(&told) });
    }
    let kept: Vec<u64> =
        (1..=10).filter(|id| history.get(*id).is_some_and(|(_, texts)| texts.is_some())).collect();
    assert_eq!(kept, [5, 6, 7, 8, 9, 10]);
    let difference = history.get(10).unwrap().1.unwrap().difference();
    assert!(difference.contains("-backend h_a_9\n+backend h_a_10\n"), "{difference}");
}
