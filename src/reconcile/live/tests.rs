use super::*;
use crate::model::{AppId, Marks, Mode, TaskId};
use crate::placement::{Occupant, without_room};

const EPOCH: Epoch = Epoch { pid: 1, generation: 1 };

fn id() -> ServiceId {
    ServiceId { app: AppId::new("/a"), port_index: 0 }
}

fn at(task: &str, port: u16) -> Box<Occupant> {
    Box::new(Occupant::new(TaskId::new(task), ([10, 0, 0, 1], port).into()))
}

fn serving(task: &str, port: u16) -> Slot {
    Slot::Serving(at(task, port))
}

/// A block with these slots, and the text of a plain backend.
fn block(balance: &str, slots: &[Slot]) -> Arc<Block> {
    let service = Service {
        id: id(),
        port: None,
        routes: Vec::new(),
        app_id_route: false,
        marks: Marks::default(),
        bind: None,
        certificate: None,
        client_ca: None,
        backend: Backend::new("h_a_0", Mode::Http, balance),
        config: Default::default(),
        instances: 0,
        servers: Vec::new(),
    };
    let mark = format!("{SERVERS_MARK}h_a_0{SERVERS_MARK}");
    let shape = format!("# /a port 0\nbackend h_a_0 from http_service\n    balance {balance}\n{mark}");
    Arc::new(Block { service: Arc::new(service), shape: shape.into(), slots: Arc::new(slots.to_vec()) })
}

/// A worker that has read a text with this block, and can do everything.
fn live(dynamic: bool, block: Option<&Arc<Block>>) -> Live {
    let head = "defaults tcp_service from x\n    balance leastconn\ndefaults http_service from x\n    option y\n    balance roundrobin\n";
    let mut text = Text { dynamic, head: head.into(), ..Text::default() };
    if let Some(block) = block {
        text.blocks.insert_mut(id(), Arc::clone(block));
    }
    let features =
        Features { add_server: true, del_server: true, add_server_help: true, add_backend: true, wait: true };
    Live::fresh(EPOCH, &text, features)
}

/// The commands and the reasons that lead there.
fn work(live: &Live, wanted: &Arc<Block>) -> (Vec<String>, BTreeSet<Reason>) {
    let (mut steps, mut reasons) = (Vec::new(), BTreeSet::new());
    let wanted = Wanted { block: wanted, entries: Vec::new() };
    live.compare(&id(), Some(&wanted), |_| Vec::new(), &mut steps, &mut reasons);
    steps.sort();
    (steps.iter().map(Step::command).collect(), reasons)
}

fn add(slot: usize, port: u16) -> String {
    format!("add server h_a_0/slot{slot} 10.0.0.1:{port} pool-max-conn -1 pool-purge-delay 5s")
}

fn ready(slot: usize) -> String {
    format!("set server h_a_0/slot{slot} state ready")
}

#[test]
fn where_a_free_slot_is_no_server_tasks_bring_theirs_and_take_them_along() {
    let before = block("roundrobin", &[serving("a", 1), Slot::Free, Slot::Closing(at("c", 3))]);
    let mut live = live(true, Some(&before));
    let (text, _) = live.text.config("");
    assert!(text.contains("server slot1 ") && text.contains("server slot3 "), "who closes is still there");
    assert!(!text.contains("server slot2 "), "{text}");

    let after = block("roundrobin", &[serving("a", 1), serving("b", 2), Slot::Free, serving("d", 4)]);
    let (commands, reasons) = work(&live, &after);
    let gone = "del server h_a_0/slot3".to_owned();
    assert_eq!(commands, [add(2, 2), add(4, 4), ready(2), ready(4), gone]);
    assert!(reasons.is_empty(), "{reasons:?}");

    live.settle(&id(), Some(&Wanted { block: &after, entries: Vec::new() }));
    assert_eq!(work(&live, &after), Default::default(), "rule 1: what runs needs nothing");
    let (text, _) = live.text.config("");
    assert_eq!(text.matches("    server slot").count(), 3);
    assert!(!text.contains("slot3") && !text.contains("disabled"), "{text}");
}

#[test]
fn a_server_is_taken_away_only_out_of_maintenance() {
    let before = block("roundrobin", &[serving("a", 1), Slot::Draining(at("b", 2))]);
    // A worker that has just read its text drains nobody: who left is in maintenance there.
    let live = live(true, Some(&before));
    let (commands, _) = work(&live, &block("roundrobin", &[Slot::Free, Slot::Free]));
    let maint = "set server h_a_0/slot1 state maint";
    assert_eq!(commands, [maint, "del server h_a_0/slot1", "del server h_a_0/slot2"]);
}

#[test]
fn an_address_is_never_changed_under_a_server() {
    let live = live(true, Some(&block("roundrobin", &[serving("a", 1)])));
    let (commands, reasons) = work(&live, &block("roundrobin", &[serving("b", 2)]));
    assert_eq!((commands.len(), reasons.len()), (0, 1));
}

#[test]
fn a_balance_that_takes_no_servers_keeps_its_slots_and_so_does_an_older_haproxy() {
    for (dynamic, balance) in [(true, "source"), (true, "static-rr"), (false, "roundrobin")] {
        let live = live(dynamic, Some(&block(balance, &[serving("a", 1), Slot::Free])));
        let (text, _) = live.text.config("");
        assert!(text.contains("server slot2 127.0.0.1:1 disabled"), "{balance}: {text}");
        let (commands, reasons) = work(&live, &block(balance, &[serving("a", 1), serving("b", 2)]));
        let address = "set server h_a_0/slot2 addr 10.0.0.1 port 2".to_owned();
        assert_eq!(commands, [address, ready(2)], "{balance}");
        assert!(reasons.is_empty());
    }
}

#[test]
fn a_plain_backend_is_added_at_run_time_and_any_other_by_a_reload() {
    let mut live = live(true, None);
    let plain = block("roundrobin", &[serving("a", 1)]);
    let (commands, reasons) = work(&live, &plain);
    let (new, publish) =
        ("add backend h_a_0 from http_service".to_owned(), "publish backend h_a_0".to_owned());
    assert_eq!(commands, [new, add(1, 1), ready(1), publish]);
    assert!(reasons.is_empty());

    // The defaults balance otherwise; its text says more; it has a frontend before it.
    let more = |text: &str| {
        let block = Block::clone(&plain);
        let shape = block.shape.replace("    balance", text).into();
        Arc::new(Block { shape, ..block })
    };
    let bound =
        Block { shape: format!("frontend x\n    bind :1\n{}", plain.shape).into(), ..Block::clone(&plain) };
    let others = [block("leastconn", &[]), more("    timeout server 5s\n    balance"), Arc::new(bound)];
    for other in &others {
        let (commands, reasons) = work(&live, other);
        assert_eq!((commands.len(), reasons.len()), (0, 1), "{}", other.shape);
    }
    live.features.add_backend = false;
    assert_eq!(work(&live, &plain).1.len(), 1, "3.2 adds none");
    live.features.add_backend = true;

    live.settle(&id(), Some(&Wanted { block: &plain, entries: Vec::new() }));
    assert_eq!(work(&live, &plain), Default::default(), "rule 1: what runs needs nothing");
}

#[test]
fn an_adopted_text_is_known_by_what_it_looks_like() {
    let slots = [serving("a", 1), Slot::Free, serving("c", 3)];
    let block = block("roundrobin", &slots);
    let (mut good, mut placement) = (Blocks::default(), Placement::default());
    good.insert_mut(id(), Arc::clone(&block));
    placement.restore(id(), Arc::clone(&block.slots));
    for dynamic in [false, true] {
        let (text, _) = live(dynamic, Some(&block)).text.config(DIR_MARK);
        let config = (crate::render::files::CONFIG.to_owned(), text.into_bytes());
        let files = Files([config].into_iter().collect());
        let restored = |dynamic| {
            let spares = Text { dynamic, ..Text::default() };
            Live::restore(EPOCH, &good, &placement, &spares, &files, |_| Vec::new())
        };
        assert!(restored(!dynamic).is_none());
        let live = restored(dynamic).unwrap();
        assert_eq!((live.text.dynamic, &live.text.blocks[&id()].slots), (dynamic, &block.slots));
    }
}

#[test]
fn a_text_for_a_worker_that_takes_servers_has_no_room_and_everybody_keeps_their_place() {
    let slots = |slots: &[Slot]| Arc::new(slots.to_vec());
    let tight = [serving("a", 1), Slot::Free, Slot::Draining(at("c", 3))];
    assert_eq!(*without_room(&slots(&tight)), tight);
    let loose = [
        serving("a", 1),
        Slot::Closing(at("b", 2)),
        Slot::Draining(at("c", 3)),
        Slot::Free,
        Slot::Closing(at("e", 5)),
    ];
    assert_eq!(*without_room(&slots(&loose)), tight);
    assert!(without_room(&slots(&[Slot::Free])).is_empty());
}
