use super::*;
use crate::model::{AppId, Backend, Mode};

fn id() -> ServiceId {
    ServiceId { app: AppId::new("/a"), port_index: 0 }
}

fn service(tasks: &[&str]) -> Service {
    let server = |task: &&str| Server { task: TaskId::new(task), endpoint: ([10, 0, 0, 1], 1).into() };
    Service {
        id: id(),
        port: None,
        routes: Vec::new(),
        app_id_route: false,
        marks: Default::default(),
        bind: None,
        certificate: None,
        client_ca: None,
        backend: Backend::new("h_a_0", Mode::Http, "roundrobin"),
        config: Default::default(),
        instances: tasks.len(),
        servers: tasks.iter().map(server).collect(),
    }
}

/// Each slot in a word: who serves, `(who)` leaves, `-` free.
fn slots(placement: &Placement) -> Vec<String> {
    placement
        .slots(&id())
        .iter()
        .map(|slot| match slot {
            Slot::Free => "-".to_owned(),
            Slot::Serving(occupant) => occupant.task.to_string(),
            Slot::Draining(occupant) | Slot::Closing(occupant) => format!("({})", occupant.task),
        })
        .collect()
}

#[test]
fn rule_3_who_stays_keeps_its_slot_and_nobody_sits_where_somebody_still_leaves() {
    let mut placement = Placement::default();
    placement.place(&service(&["a", "b", "c"]), 0, &[]);
    assert_eq!(slots(&placement), ["a", "b", "c"]);
    placement.place(&service(&["b", "d", "c", "e"]), 0, &[]);
    assert_eq!(slots(&placement), ["(a)", "b", "c", "d", "e"]);
    placement.set(&id(), 0, Slot::Free);
    placement.place(&service(&["b", "c", "d", "e", "f"]), 0, &[]);
    assert_eq!(slots(&placement), ["f", "b", "c", "d", "e"]);
}

#[test]
fn who_comes_back_while_it_leaves_sits_there_already() {
    let mut placement = Placement::default();
    placement.place(&service(&["a", "b"]), 0, &[]);
    placement.place(&service(&["b"]), 0, &[]);
    placement.place(&service(&["a", "b"]), 0, &[]);
    assert_eq!(slots(&placement), ["a", "b"]);
}

#[test]
fn a_task_at_another_address_sits_in_another_slot() {
    let mut placement = Placement::default();
    placement.place(&service(&["a"]), 0, &[]);
    let mut moved = service(&["a"]);
    moved.servers[0].endpoint = ([10, 0, 0, 2], 2).into();
    placement.place(&moved, 0, &[]);
    assert_eq!(slots(&placement), ["(a)", "a"]);
}

#[test]
fn there_is_room_for_twice_the_instances_up_to_twenty_and_then_for_half_as_many_again() {
    assert_eq!([0, 1, 3, 10, 12, 14, 20].map(room), [2, 2, 6, 20, 20, 21, 30]);
    let mut placement = Placement::default();
    placement.place(&service(&["a", "b", "c", "d"]), 0, &[]);
    placement.place(&service(&["d"]), 0, &[]);
    placement.restore(id(), with_room(&placement.slots(&id()), 1));
    assert_eq!(
        slots(&placement),
        ["(a)", "(b)", "(c)", "d", "-", "-", "-", "-"],
        "who drains goes on draining"
    );
    for (index, slot) in placement.slots(&id()).iter().enumerate().take(3) {
        placement.set(&id(), index, Slot::Closing(slot.occupant().unwrap().clone().into()));
    }
    placement.restore(id(), with_room(&placement.slots(&id()), 1));
    assert_eq!(slots(&placement), ["-", "-", "-", "d"], "the room shrinks as far as who stays allows");
    placement.place(&service(&["d", "e"]), 0, &[]);
    assert_eq!(slots(&placement), ["e", "-", "-", "d"]);
}

#[test]
fn a_slot_is_given_to_nobody_before_the_worker_knows_that_it_is_free() {
    let mut placement = Placement::default();
    let running = placement.place(&service(&["a", "b"]), 0, &[]);
    placement.set(&id(), 0, Slot::Free);
    placement.place(&service(&["b", "c"]), 0, &running);
    assert_eq!(slots(&placement), ["-", "b", "c"]);
}

#[test]
fn it_reads_back_as_it_was_written() {
    let mut placement = Placement::default();
    placement.place(&service(&["a", "b"]), 0, &[]);
    placement.place(&service(&["b"]), 0, &[]);
    placement.restore(ServiceId { port_index: 7, ..id() }, Arc::default());
    let json = serde_json::to_string(&placement).unwrap();
    assert_eq!(serde_json::from_str::<Placement>(&json).unwrap(), placement);
}
