use super::*;
use crate::model::{Backend, Criterion, Line, Marks, Mode};

/// A service by its app id and what it asks for: `port 80`, `HOST/PATH`, each with ` @WEIGHT` or ` @order ORDER`; a rule's
/// with ` !`; a whole path with ` =`; a line that asks for a method too with ` PUT`.
fn service(app: &str, wants: &[&str]) -> Service {
    let mut port = None;
    let mut routes = Vec::new();
    for want in wants {
        let (want, from_rule) = want.strip_suffix(" !").map_or((*want, false), |want| (want, true));
        let (want, weight) = want.split_once(" @").unwrap_or((want, "0"));
        if let Some(number) = want.strip_prefix("port ") {
            port = number.parse().ok();
            continue;
        }
        let (host, path) = want.split_at(want.find('/').unwrap_or(want.len()));
        let (path, any_case) = path.strip_suffix(" -i").map_or((path, false), |path| (path, true));
        let host = (host != "any").then(|| host.to_owned());
        let (path, asks) = path.strip_suffix(" PUT").map_or((path, false), |path| (path, true));
        let (path, exact) = path.strip_suffix(" =").map_or((path, false), |path| (path, true));
        let text = path.to_owned();
        let matches = match (asks, exact) {
            (false, false) => RouteMatch::HostPath { host, path: text, any_case },
            (false, true) => RouteMatch::Exact { host, path: text },
            (true, exact) => {
                let criteria = vec![Criterion::Method("PUT".to_owned())];
                RouteMatch::Line(Box::new(Line { host, path: text, exact, criteria }))
            }
        };
        let order = weight.strip_prefix("order ").map(|order| order.parse().unwrap());
        let weight = if order.is_some() { 0 } else { weight.parse().unwrap() };
        routes.push(Route { matches, from_rule, weight, order });
    }
    Service {
        id: ServiceId { app: AppId::new(app), port_index: 0 },
        port,
        routes,
        app_id_route: false,
        marks: Marks::default(),
        bind: None,
        certificate: None,
        client_ca: None,
        backend: Backend::new("h", Mode::Http, "roundrobin"),
        config: Default::default(),
        instances: 0,
        servers: Vec::new(),
    }
}

/// What each of these services wins, when all claim at once, and what is told.
fn settled(claims: &mut Claims, services: &[Service]) -> (Vec<Vec<String>>, Vec<String>) {
    for service in services {
        claims.replace(&service.id.app, [service]);
    }
    let (mut won, mut told) = (Vec::new(), Vec::new());
    for service in services {
        let (settled, problems) = claims.settle(service);
        let port = settled.port.map(|port| format!("port {port}"));
        let routes = settled.routes.iter().map(|route| {
            Claimed::Route(route.matches.clone()).to_string().trim_start_matches("route ").to_owned()
        });
        won.push(port.into_iter().chain(routes).collect());
        told.extend(problems.iter().map(|problem| problem.message.clone()));
    }
    (won, told)
}

fn fresh() -> Claims {
    Claims::new(BTreeMap::new(), LabelOrder::Causeway)
}

#[test]
fn a_first_tie_goes_to_the_lower_app_id_and_the_holder_keeps_it_from_then_on() {
    let mut claims = fresh();
    let [b, c] = ["/b", "/c"].map(|app| service(app, &["x", "port 80"]));
    let (won, told) = settled(&mut claims, &[c.clone(), b.clone()]);
    assert_eq!(won, [vec![], vec!["port 80".to_owned(), "x/".to_owned()]]);
    assert_eq!(
        told,
        ["service port 80 of port index 0 belongs to /b:0", "route x/ of port index 0 belongs to /b:0"]
    );
    // A lower one that comes later gets nothing, also when the holder's claims change.
    let a = service("/a", &["x", "port 80"]);
    let b = service("/b", &["x", "y", "port 80"]);
    let (won, _) = settled(&mut claims, &[a.clone(), b, c]);
    assert_eq!(won, [vec![], vec!["port 80".to_owned(), "x/".to_owned(), "y/".to_owned()], vec![]]);
    // When it goes, the lowest has it.
    assert_eq!(claims.replace(&AppId::new("/b"), []).len(), 2);
    assert_eq!(settled(&mut claims, &[a]).0, [["port 80", "x/"]]);
}

#[test]
fn what_was_held_when_causeway_last_ran_is_held_still() {
    let mut claims = fresh();
    claims.remember(&service("/b", &["x", "port 80"]));
    let (won, _) =
        settled(&mut claims, &[service("/a", &["x", "port 80"]), service("/b", &["x", "port 80"])]);
    assert!(won[0].is_empty() && won[1].len() == 2);
    let mut claims = fresh();
    claims.remember(&service("/gone", &["x"]));
    assert_eq!(settled(&mut claims, &[service("/a", &["x"])]).0, [["x/"]]);
}

#[test]
fn a_rule_beats_a_label_that_holds_and_a_higher_weight_beats_a_holder() {
    let mut claims = fresh();
    let holder = service("/a", &["x", "y"]);
    settled(&mut claims, std::slice::from_ref(&holder));
    let (won, _) = settled(&mut claims, &[holder, service("/b", &["x !"]), service("/c", &["y @1"])]);
    assert_eq!(won, [vec![], vec!["x/"], vec!["y/"]]);
}

#[test]
fn a_route_with_a_weight_shadows_what_is_inside_of_it() {
    for (wide, narrow) in [
        ("x @1", "x/api"),
        ("*.x @1", "a.x"),
        ("any/api @1", "a.x/api/v2"),
        ("*.x/api @1", "a.x/api"),
        ("x/api -i @1", "x/api/V2"),
        ("x @1", "x/api -i"),
        ("x", "x/api @-1"),
    ] {
        let mut claims = fresh();
        let (won, told) = settled(&mut claims, &[service("/n", &[narrow]), service("/w", &[wide])]);
        assert!(won[0].is_empty() && won[1].len() == 1, "{wide} {narrow}: {won:?}");
        assert!(told[0].contains("shadowed by route") && told[0].contains("/w:0"), "{told:?}");
        // Once the wide one is gone, the other is there.
        assert_eq!(claims.replace(&AppId::new("/w"), []), BTreeSet::from([AppId::new("/n")]));
        assert_eq!(settled(&mut claims, &[service("/n", &[narrow])]).1, Vec::<String>::new());
    }
    for (one, other) in
        [("x", "x/api"), ("x/api @1", "x"), ("x/a @1", "x/ab"), ("*.x @1", "a.b.x"), ("x/Api @1", "x/api")]
    {
        let mut claims = fresh();
        assert!(
            settled(&mut claims, &[service("/a", &[one]), service("/b", &[other])]).1.is_empty(),
            "{one} {other}"
        );
    }
}

#[test]
fn a_route_of_many_hosts_with_a_weight_comes_before_the_hosts_it_meets() {
    let mut claims = fresh();
    let hosts = service("/h", &["a.x", "*.y", "b.x/status/own @9"]);
    let (won, told) = settled(&mut claims, &[service("/s", &["any/status @5"]), hosts]);
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(won[0], ["*/status", "*.y/status", "a.x/status"]);
    assert_eq!(won[1], ["*.y/", "a.x/", "b.x/status/own"]);
    let affected = claims.replace(&AppId::new("/i"), [&service("/i", &["new.x"])]);
    assert_eq!(affected, BTreeSet::from([AppId::new("/s")]), "only who meets the new host");
}

#[test]
fn in_the_order_of_marathon_lb_the_weight_then_the_app_id_decide() {
    let mut claims = Claims::new(BTreeMap::new(), LabelOrder::MarathonLb);
    // Of its own reference: /one of /path-one shadows /one/two of /path-onetwo.
    let (won, told) = settled(
        &mut claims,
        &[
            service("/path-one", &["x/one @1"]),
            service("/path-onetwo", &["x/one/two @1"]),
            service("/root", &["x"]),
        ],
    );
    assert_eq!(won, [vec!["x/one"], vec![], vec!["x/"]]);
    assert!(told[0].contains("shadowed"), "{told:?}");
    let mut claims = Claims::new(BTreeMap::new(), LabelOrder::MarathonLb);
    let late = service("/b", &["x"]);
    settled(&mut claims, std::slice::from_ref(&late));
    assert_eq!(
        settled(&mut claims, &[late, service("/a", &["x"])]).0,
        [vec![], vec!["x/"]],
        "it remembers nobody"
    );
}

#[test]
fn a_path_that_ends_anywhere_shadows_longer_words_too() {
    let mut claims = fresh();
    let routes = [service("/a", &["x/one… @1"]), service("/b", &["x/onetwo…"]), service("/c", &["x/one"])];
    assert_eq!(settled(&mut claims, &routes).0, [vec!["x/one…"], vec![], vec![]]);
    let mut claims = fresh();
    let routes =
        [service("/a", &["x/one @1"]), service("/b", &["x/onetwo…"]), service("/c", &["x/one/two…"])];
    assert_eq!(settled(&mut claims, &routes).0, [vec!["x/one"], vec!["x/onetwo…"], vec![]]);
    let mut claims = fresh();
    let (won, _) = settled(&mut claims, &[service("/any", &["any/st… @5"]), service("/h", &["a.x"])]);
    assert_eq!(won[0], ["*/st…", "a.x/st…"], "it comes before the host it meets");
}

#[test]
fn what_did_not_change_touches_nobody() {
    let mut claims = fresh();
    settled(&mut claims, &[service("/a", &["x @1"]), service("/b", &["x/b"])]);
    assert!(claims.replace(&AppId::new("/a"), [&service("/a", &["x @1"])]).is_empty());
}

#[test]
fn an_order_comes_before_every_weight_and_ascends() {
    for (first, second, shadowed) in [
        ("x @order 1 !", "x/api @9", true),
        ("x @order 1 !", "x/api @order 2 !", true),
        ("x @order -1 !", "x/api @order 0 !", true),
        ("x @order 2 !", "x/api @order 1 !", false),
        ("x @order 1 !", "x/api @order 1 !", false),
        ("x/api @order 1 !", "x", false),
        ("x/api @order 1 !", "x/api/status =", true),
        ("any/api/status = @order 1 !", "x/api/status =", true),
        ("any/api @order 1 !", "*.x/api/status = !", true),
        // A line asks for more, and so takes not all of what the other takes; it is shadowed as others are.
        ("x/api PUT @order 1 !", "x/api", false),
        ("x @order 1 !", "x/api PUT @order 2 !", true),
        ("x @order 2 !", "x/api PUT @order 2 !", false),
        ("x @1", "x/api PUT !", true),
        ("x", "x/api PUT !", false),
    ] {
        let mut claims = fresh();
        let (won, told) = settled(&mut claims, &[service("/b", &[second]), service("/a", &[first])]);
        assert_eq!(won[1].len(), 1, "{first}, {second}: {won:?}");
        assert_eq!(won[0].is_empty(), shadowed, "{first}, {second}: {won:?} {told:?}");
        assert_eq!(told.len(), usize::from(shadowed), "{first}, {second}: {told:?}");
        assert!(told.iter().all(|message| message.contains("shadowed by route")), "{told:?}");
        // Once it goes, the other is there.
        let affected = claims.replace(&AppId::new("/a"), []);
        assert!(!shadowed || affected.contains(&AppId::new("/b")), "{first}, {second}");
        assert_eq!(settled(&mut claims, &[service("/b", &[second])]).1, Vec::<String>::new());
    }
}

#[test]
fn on_a_tie_the_rule_beats_the_label_and_a_line_has_one_owner_too() {
    let mut claims = fresh();
    let (won, _) = settled(&mut claims, &[service("/a", &["x @5"]), service("/b", &["x !"])]);
    assert_eq!(won, [vec!["x/"], vec![]], "a weight is no tie");
    let mut claims = fresh();
    let (won, told) =
        settled(&mut claims, &[service("/b", &["x/p PUT !"]), service("/a", &["x/p PUT !", "x/p"])]);
    assert_eq!(won[0], Vec::<String>::new());
    assert_eq!(won[1].len(), 2);
    assert!(told[0].contains("belongs to /a:0"), "{told:?}");
    let mut claims = fresh();
    let (won, _) =
        settled(&mut claims, &[service("/a", &["x @order 7 !"]), service("/b", &["x @order 3 !"])]);
    assert_eq!(won, [vec![], vec!["x/"]]);
}

#[test]
fn a_path_of_every_host_with_an_order_is_looked_up_at_each_host_it_meets() {
    let mut claims = fresh();
    let others = service("/h", &["a.x", "a.x/status/deep", "b.x/status/own @order 1 !"]);
    let (won, told) = settled(&mut claims, &[service("/s", &["any/status @order 5 !"]), others]);
    assert_eq!(won[0], ["*/status", "a.x/status"]);
    assert_eq!(won[1], ["a.x/", "b.x/status/own"]);
    assert!(told.len() == 1 && told[0].contains("a.x/status/deep"), "{told:?}");
}
