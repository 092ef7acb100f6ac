use super::*;
use crate::config::{Config, TemplateConfig};
use crate::model::{AppId, Backend, Route, RouteMatch, Server, ServiceId, TaskId};
use crate::placement::{Occupant, Slot};

fn service(host: &str) -> Service {
    let matches = RouteMatch::HostPath { host: Some(host.to_owned()), path: String::new(), any_case: false };
    Service {
        id: ServiceId { app: AppId::new("/a"), port_index: 0 },
        port: Some(10_000),
        routes: vec![Route::new(matches)],
        app_id_route: true,
        marks: Default::default(),
        bind: None,
        certificate: None,
        client_ca: None,
        backend: Backend::new("h_a_0", Mode::Http, "roundrobin"),
        config: Default::default(),
        instances: 1,
        servers: vec![Server { task: TaskId::new("a.1"), endpoint: ([10, 0, 0, 1], 31_000).into() }],
    }
}

fn head() -> HeadContext {
    let ports =
        crate::haproxy::service_ports::ServicePorts::new(&Config::default().haproxy, Default::default());
    crate::bridge::inputs::head(&Config::default(), None, &ports)
}

fn loaded(dir: &std::path::Path) -> Result<Templates, TemplateError> {
    Templates::load(&TemplateConfig { dir: Some(dir.to_owned()), file: None })
}

#[test]
fn rule_1_equal_input_renders_equal_bytes() {
    let render = || {
        let templates = Templates::load(&TemplateConfig::default()).unwrap();
        let mut service_of_rule = service("x");
        service_of_rule.routes.push(Route::new(RouteMatch::Acl("path /x".to_owned())));
        let lines = Lines::of(std::iter::once(&service_of_rule), &maps::Maps::default());
        let head = templates.head(&head(), &lines, &[]).unwrap();
        (head, templates.service(&service("x"), Some("*:9"), false).unwrap())
    };
    assert_eq!(render(), render());
}

#[test]
fn rule_6_a_control_character_never_reaches_the_text() {
    let templates = Templates::load(&TemplateConfig::default()).unwrap();
    for evil in ["h\nbackend x", "h\rx", "h\0x", "h\tx", "h\u{1}x"] {
        let mut service = service("x");
        service.backend.name = evil.to_owned();
        assert!(templates.service(&service, None, false).is_err(), "{evil:?}");
    }
    let mut quoted = service("x");
    quoted.backend.balance = "a b#c\"d".to_owned();
    assert!(templates.service(&quoted, None, false).unwrap().contains("balance a\\ b\\#c\\\"d\n"));
}

#[test]
fn an_undefined_name_is_an_error_with_template_line_and_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("service.cfg"), "backend x\n    balance {{ service.nothing }}\n").unwrap();
    let error = loaded(dir.path()).unwrap().service(&service("x"), None, false).unwrap_err().to_string();
    assert!(error.contains("service.cfg:2") && error.contains("nothing"), "{error}");
    std::fs::write(dir.path().join("service.cfg"), "backend {{ service | no_such_filter }}\n").unwrap();
    let error = loaded(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no_such_filter"), "{error}");
}

#[test]
fn one_template_for_everything_draws_all_services_and_their_servers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("whole.tera");
    std::fs::write(
        &file,
        "global\n{% for service in services %}backend {{ service.backend.name }}\n{{ servers(service=service) }}{% endfor %}",
    )
    .unwrap();
    let templates = Templates::load(&TemplateConfig { dir: None, file: Some(file) }).unwrap();
    let service = service("x");
    let text = Text {
        head: templates.head(&head(), &Lines::default(), &[&service]).unwrap(),
        blocks: [(service.id.clone(), block(service, ""))].into_iter().collect(),
        ..Text::default()
    };
    assert_eq!(text.config("").0, "global\nbackend h_a_0\n    server slot1 10.0.0.1:31000\n\n");
}

/// A block of this shape, with one task in its first slot and nobody in its second.
fn block(service: Service, shape: &str) -> Arc<Block> {
    let server = &service.servers[0];
    let slots = vec![Slot::Serving(Occupant::new(server.task.clone(), server.endpoint).into())];
    Arc::new(Block { service: Arc::new(service), shape: shape.into(), slots: Arc::new(slots) })
}

#[test]
fn every_line_knows_whose_it_is() {
    let blocks = ["/a", "/b"].map(|app| {
        let mut service = service("x");
        service.id.app = AppId::new(app);
        let shape = format!("backend {app}\n\u{1}{app}\u{1}");
        (service.id.clone(), block(service, &shape))
    });
    let text = Text { head: "global\n".into(), blocks: blocks.into_iter().collect(), ..Text::default() };
    let (config, owners) = text.config("");
    let line = "    server slot1 10.0.0.1:31000\n";
    assert_eq!(config, format!("global\n\nbackend /a\n{line}\nbackend /b\n{line}"));
    let owner = |line| owners.of_line(&config, line).map(|id| id.app.as_str().to_owned());
    assert_eq!(
        [owner(1), owner(3), owner(4), owner(6)],
        [None, Some("/a".into()), Some("/a".into()), Some("/b".into())]
    );
}

#[test]
fn routes_become_the_keys_that_the_frontends_look_up() {
    let key = |host: Option<&str>, path: &str| {
        maps::entry_of(&RouteMatch::HostPath {
            host: host.map(str::to_owned),
            path: path.to_owned(),
            any_case: false,
        })
        .unwrap()
    };
    assert_eq!(key(Some("a.x"), ""), (MapName::Hosts, "a.x".to_owned()));
    assert_eq!(key(Some("a.x"), "/p"), (MapName::Paths, "a.x/p/".to_owned()));
    assert_eq!(key(Some("*.x"), ""), (MapName::Wildcards, "x".to_owned()));
    assert_eq!(key(Some("*.x"), "/p"), (MapName::Paths, "*.x/p/".to_owned()));
    assert_eq!(key(None, "/p"), (MapName::Paths, "/p/".to_owned()));
    assert_eq!(key(Some("a.x"), "/p…"), (MapName::Paths, "a.x/p".to_owned()));
    assert_eq!(key(None, ""), (MapName::Hosts, "*".to_owned()));
    let exact = |path: &str| RouteMatch::Exact { host: Some("a.x".to_owned()), path: path.to_owned() };
    assert_eq!(maps::entry_of(&exact("/p")).unwrap(), (MapName::Paths, "a.x/p/?".to_owned()));
    assert_eq!(maps::entry_of(&exact("/")).unwrap(), (MapName::Paths, "a.x//?".to_owned()));
    let id = RouteMatch::Default("/group/app".to_owned());
    assert_eq!(maps::entry_of(&id).unwrap(), (MapName::Defaults, "/group/app/".to_owned()));
}

#[test]
fn a_template_is_told_what_it_keeps_from_being_done_at_run_time() {
    let notices = |templates: Templates| templates.notices(&head(), &service("x")).unwrap();
    assert_eq!(notices(Templates::load(&TemplateConfig::default()).unwrap()), Vec::<String>::new());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("service.cfg"),
        "backend {{ service.backend.name }}\n    server a 127.0.0.1:1\n",
    )
    .unwrap();
    let told = notices(loaded(dir.path()).unwrap());
    assert!(told[0].starts_with("service.cfg does not draw its servers"), "{told:?}");
    assert!(told.len() == 5 && told[1].contains("does not draw the login"), "{told:?}");
    let file = dir.path().join("whole.tera");
    std::fs::write(&file, "global\n{% for service in services %}{{ servers(service=service) }}{% endfor %}")
        .unwrap();
    let told = notices(Templates::load(&TemplateConfig { dir: None, file: Some(file) }).unwrap());
    assert!(told.len() == MapName::ALL.len() + 3 && told[0].contains("maps/apps.map"), "{told:?}");
}

#[test]
fn templates_have_the_config_of_rules_word_by_word() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("service.cfg"),
        "backend {{ service.backend.name }}\n    timeout server {{ service.config.timeout | default(value=\"30s\") }}\n\
         {% if service.config.maintenance is defined %}    http-request return status 503 lf-string {{ service.config.maintenance }}\n{% endif %}",
    )
    .unwrap();
    let templates = loaded(dir.path()).unwrap();
    let mut service = service("x");
    let drawn = |service: &Service| templates.service(service, None, false).unwrap().to_string();
    assert_eq!(drawn(&service), "backend h_a_0\n    timeout server 30s\n");
    service.config.insert("timeout".to_owned(), "5s if { always_true } # \"x\"".to_owned());
    service.config.insert("maintenance".to_owned(), "back soon".to_owned());
    assert_eq!(
        drawn(&service),
        "backend h_a_0\n    timeout server 5s\\ if\\ {\\ always_true\\ }\\ \\#\\ \\\"x\\\"\n    \
         http-request return status 503 lf-string back\\ soon\n"
    );
    service.config.insert("timeout".to_owned(), "5s\nbackend evil".to_owned());
    assert!(templates.service(&service, None, false).is_err());
}

#[test]
fn a_line_stands_where_it_belongs_and_below_it_longer_paths_come_first() {
    use crate::model::{Criterion, Line};
    let service_of = |app: &str, host: Option<&str>, path: &str, order| {
        let mut service = service("own.x");
        service.id.app = AppId::new(app);
        service.backend.name = crate::services::backend_name(&service.id, Mode::Http);
        let (host, path) = (host.map(str::to_owned), path.to_owned());
        let criteria = vec![Criterion::Method("PUT".to_owned())];
        let line = Line { host, path, exact: false, criteria };
        service.routes = vec![Route { order, ..Route::new(RouteMatch::Line(Box::new(line))) }];
        service
    };
    let services = [
        service_of("/a", Some("a.x"), "/p", None),
        service_of("/b", Some("a.x"), "/p/longer", None),
        service_of("/c", None, "", None),
        service_of("/d", Some("*.x"), "", None),
        service_of("/e", None, "", Some(20)),
        service_of("/f", None, "", Some(3)),
    ];
    let mut entries = maps::Maps::default();
    for key in ["a.x/p/", "a.x/p/q/", "a.x/p/it/?", "a.x/pq/", "b.x/p/q/"] {
        entries.insert(MapName::Paths, key.to_owned(), "h_other_0".to_owned());
    }
    let lines = Lines::of(services.iter(), &entries);
    let apps = |routes: &[LineRoute]| routes.iter().map(|route| route.app.clone()).collect::<Vec<_>>();
    assert_eq!(apps(&lines.ordered), ["/f", "/e"]);
    assert_eq!(apps(&lines.host_path), ["/b", "/a"]);
    assert_eq!((apps(&lines.wildcard), apps(&lines.any)), (vec!["/d".to_owned()], vec!["/c".to_owned()]));
    let except: Vec<&str> = lines.host_path[1].except.iter().map(|but| but.text.as_str()).collect();
    assert_eq!(except, ["var(txn.path) -m str -- /p/it/?", "var(txn.path) -m beg -- /p/q/"]);
    assert!(lines.host_path[0].except.is_empty());
    assert_eq!(lines::guarded_keys(&services[0].routes[0].matches).as_deref(), Some("a.x/p/"));
    // No two services ever have an ACL in common.
    let names: std::collections::BTreeSet<&str> =
        lines.all().flat_map(|route| &route.criteria).map(|criterion| criterion.name.as_str()).collect();
    assert_eq!(names.len(), lines.all().map(|route| route.criteria.len()).sum::<usize>());
}

#[test]
fn a_guarded_service_is_not_drawn_by_a_template_that_leaves_its_guard_away() {
    let dir = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        std::fs::write(dir.path().join("service.cfg"), text).unwrap();
        loaded(dir.path()).unwrap()
    };
    let mut guarded = service("x");
    guarded.backend.extras.allowed = vec!["10.0.0.0/8".to_owned()];
    let backend = "backend {{ service.backend.name }}\n{{ servers(service=service) }}";
    let open = with(backend);
    assert!(open.prove_guards(&head(), &service("x")).is_ok());
    let refused = open.prove_guards(&head(), &guarded).unwrap_err().to_string();
    assert!(refused.contains("service.cfg") && refused.contains("allowed"), "{refused}");
    let drawn =
        format!("{backend}{{% for net in service.backend.extras.allowed %}}# {{{{ net }}}}\n{{% endfor %}}");
    assert!(with(&drawn).prove_guards(&head(), &guarded).is_ok());
    assert!(Templates::load(&TemplateConfig::default()).unwrap().prove_guards(&head(), &guarded).is_ok());
}
