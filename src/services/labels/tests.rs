use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::config::{Config, LabelsConfig};
use crate::model::{AppId, AppPort, Health, Service, Task, TaskId, TaskState, Timestamp};
use crate::services::{self, AppServices, Terms};
use crate::sources::SourceEvent;
use crate::state::State;

fn app(labels: &[(&str, &str)]) -> App {
    let port = AppPort { service_port: Some(10_000), name: None, container_port: None, udp_only: false };
    App {
        id: AppId::new("/a"),
        instances: 1,
        scaled_at: None,
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        env: BTreeMap::new(),
        ports: vec![port.clone(), port],
        health_checks: Vec::new(),
        tasks: BTreeMap::new(),
    }
}

fn services_of(labels: &[(&str, &str)]) -> AppServices {
    services::of(&app(labels), None, &Terms::from(&LabelsConfig::default()), false)
}

/// The first port's service, and what is wrong.
fn first(labels: &[(&str, &str)]) -> (Service, Vec<String>) {
    let found = services_of(labels);
    (found.services[0].clone(), found.problems.iter().map(ToString::to_string).collect())
}

#[test]
fn every_example_can_be_used_and_every_bad_value_is_told_with_what_is_expected() {
    let of_app = table::OF_APP.iter().map(|label| (label.name.to_owned(), label.example, label.bad));
    let of_port = table::OF_PORT.iter().map(|label| (format!("0_{}", label.name), label.example, label.bad));
    for (name, example, bad) in of_app.chain(of_port) {
        let name = format!("HAPROXY_{name}");
        let with = |value| {
            let labels = [("HAPROXY_0_MODE", "http"), (&name, value)];
            let terms = Terms { tls_dir: Some("/tls".into()), ..Terms::default() };
            let found = services::of(&app(&labels), None, &terms, false);
            found.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(with(example), Vec::<String>::new(), "{name} = {example}");
        if !bad.is_empty() {
            let problems = with(bad);
            assert_eq!(problems.len(), 1, "{name} = {bad}: {problems:?}");
            assert!(problems[0].starts_with(&format!("/a: label {name} = ")), "{problems:?}");
            assert!(problems[0].contains("xpected") || problems[0].contains("is not"), "{problems:?}");
        }
    }
}

#[test]
fn a_label_that_is_not_known_is_told_with_the_nearest_that_is() {
    for (name, nearest) in [
        ("HAPROXY_0_VHOSTS", "HAPROXY_{n}_VHOST"),
        ("HAPROXY_0_HOST", "HAPROXY_{n}_VHOST"),
        ("HAPROXY_VHOST", "HAPROXY_{n}_VHOST"),
        ("HAPROXY_GRUOP", "HAPROXY_GROUP"),
        ("HAPROXY_0_GROUPS", "HAPROXY_{n}_GROUP"),
        ("HAPROXY_0_STIKY", "HAPROXY_{n}_STICKY"),
        ("HAPROXY_0_BACKEND_WEIGTH", "HAPROXY_{n}_BACKEND_WEIGHT"),
    ] {
        let problems = first(&[(name, "x")]).1;
        assert!(problems[0].ends_with(&format!("nearest known one is {nearest})")), "{problems:?}");
    }
    assert!(!first(&[("HAPROXY_0_ZZZ", "x")]).1[0].contains("nearest"));
    assert!(first(&[("HAPROXY_0_BACKEND_HEAD", "x")]).1[0].contains("raw text"));
    assert!(first(&[("HAPROXY_DEPLOYMENT_COLOUR", "blue")]).1.is_empty());
}

#[test]
fn what_keeps_somebody_out_and_is_not_understood_lets_nobody_in() {
    for (name, value) in [
        ("HAPROXY_0_AUTH", "Shop:joe"),
        ("HAPROXY_0_AUTH", "Shop:joe:$6$rounds=20000000$abcdefgh$secret"),
        ("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "10.0.0.0/33"),
        ("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", ""),
        ("HAPROXY_0_BIND_OPTIONS", "verify required"),
        ("HAPROXY_0_BIND_OPTIONS", "verify required ca-file /etc/x"),
    ] {
        let (service, problems) = first(&[("HAPROXY_0_VHOST", "a.x"), (name, value)]);
        assert!(service.backend.extras.closed && service.routes.len() == 1, "{name} = {value}");
        assert!(problems[0].contains("503"), "{problems:?}");
        assert!(!problems[0].contains("secret") && !problems[0].contains("joe"), "{problems:?}");
    }
    let (service, problems) =
        first(&[("HAPROXY_0_VHOST", "a.x"), ("HAPROXY_0_BIND_OPTIONS", "verify required ca-file x.pem")]);
    assert!(service.backend.extras.closed && service.port.is_none(), "without tls.dir: {problems:?}");
    let login = table::OF_PORT.iter().find(|label| label.name == "AUTH").unwrap().example;
    let (service, problems) = first(&[("HAPROXY_0_AUTH", login)]);
    assert!(service.backend.extras.closed, "tcp has no login: {problems:?}");
    assert!(!format!("{service:?}").contains("yVfUwsw5T"), "no hash in a log");
    let other = services_of(&[("HAPROXY_0_AUTH", "Shop:joe")]).services;
    assert!(!other[1].backend.extras.closed, "only its own port");
}

#[test]
fn what_is_for_http_is_told_where_the_mode_is_tcp() {
    for name in ["STICKY", "REDIRECT_TO_HTTPS", "USE_HSTS"] {
        let name = format!("HAPROXY_0_{name}");
        let (service, problems) = first(&[(&name, "true"), ("HAPROXY_0_MODE", "tcp")]);
        assert!(problems[0].contains(&name) && problems[0].contains("no effect"), "{problems:?}");
        assert_eq!(*service.backend.extras, crate::model::Extras::default());
    }
}

#[test]
fn an_empty_host_or_path_is_none() {
    let (service, problems) = first(&[("HAPROXY_0_VHOST", "a.x"), ("HAPROXY_0_PATH", " ")]);
    assert_eq!((service.routes.len(), problems.len()), (1, 0));
    assert!(first(&[("HAPROXY_0_VHOST", "")]).0.routes.is_empty());
}

#[test]
fn a_server_that_would_be_haproxy_itself_gets_no_requests() {
    let mut app = app(&[("HAPROXY_0_VHOST", "a.x")]);
    for (name, endpoint) in [
        ("ours", "127.0.0.1:80"),
        ("range", "127.0.0.1:10005"),
        ("other", "127.0.0.1:31000"),
        ("far", "10.0.0.1:80"),
    ] {
        let id = TaskId::new(name);
        let task = Task {
            id: id.clone(),
            host: "x".into(),
            state: TaskState::Running,
            version: Timestamp::default(),
            health: Health::Unknown,
            ready: true,
            endpoints: vec![Some(endpoint.parse().unwrap())],
        };
        app.tasks.insert(id, task);
    }
    let found = services::of(&app, None, &Terms::from(&Config::default()), false);
    let tasks: Vec<&str> = found.services[0].servers.iter().map(|server| server.task.as_str()).collect();
    assert_eq!(tasks, ["far", "other"]);
    let told =
        found.problems.iter().filter(|problem| problem.message.contains("where HAProxy or Causeway listens"));
    assert_eq!(told.count(), 2);
}

/// Every way to be broken that a label knows.
#[test]
fn of_ten_thousand_apps_the_hundred_that_are_broken_harm_nobody() {
    let bad: Vec<(String, &str)> = table::OF_PORT
        .iter()
        .filter(|label| !label.bad.is_empty())
        .map(|label| (format!("HAPROXY_0_{}", label.name), label.bad))
        .chain([
            ("HAPROXY_0_VHOST".to_owned(), "same.x"),
            ("HAPROXY_0_PORT".to_owned(), "80"),
            ("HAPROXY_0_BACKEND_HEAD".to_owned(), "backend x\nbackend y"),
            ("HAPROXY_9_VHOST".to_owned(), "nine.x"),
        ])
        .collect();
    let mut state = State::new(
        &LabelsConfig::default(),
        &Default::default(),
        BTreeMap::from([(80, "it is ours".to_owned())]),
        Default::default(),
    );
    let now = std::time::Instant::now();
    state.fold(SourceEvent::Rules(Vec::new(), Vec::new()), now);
    state.fold(SourceEvent::Init, now);
    for n in 0..10_000 {
        let host = format!("host-{n}.x");
        let mut labels = vec![("HAPROXY_0_VHOST", host.as_str())];
        if n % 100 == 0 {
            let (name, value) = &bad[n / 100 % bad.len()];
            labels.retain(|(other, _)| other != name);
            labels.push((name, value));
        }
        let mut app = app(&labels);
        app.id = AppId::new(&format!("/app-{n}"));
        app.ports = vec![AppPort {
            service_port: u16::try_from(10_000 + n).ok(),
            name: None,
            container_port: None,
            udp_only: false,
        }];
        state.fold(SourceEvent::Upsert(std::sync::Arc::new(app)), now);
    }
    let changes = state.fold(SourceEvent::InitDone, now);
    let number = |id: &AppId| id.as_str().trim_start_matches("/app-").parse::<usize>().unwrap();
    let whole = changes.iter().filter(|(id, service)| {
        number(&id.app) % 100 != 0
            && service.as_ref().is_some_and(|service| service.routes.len() == 1 && service.port.is_some())
    });
    assert_eq!(whole.count(), 9_900);
    let told: std::collections::BTreeSet<usize> =
        state.problems().iter().filter_map(|problem| problem.app.as_ref()).map(number).collect();
    assert!(told.iter().all(|n| n % 100 == 0), "nobody else is told anything");
    // The first to want a host that several want has it, and nothing to be told.
    assert!(told.len() >= 98, "{}", told.len());
}

const BEGIN: &str = "<!-- written from src/services/labels/table.rs: begin -->\n";
const END: &str = "<!-- end -->";

/// The tables of `docs/labels.md`.
fn tables() -> String {
    let mut text = String::from(
        "### Of an app\n\n| label | value | default | what it does | example |\n|---|---|---|---|---|\n",
    );
    for label in table::OF_APP {
        let _infallible = writeln!(
            text,
            "| `HAPROXY_{}` | {} | {} | {} | `{}` |",
            label.name, label.value, label.default, label.meaning, label.example
        );
    }
    text.push_str(
        "\n### Of a port\n\n| label | value | default | what it does | example |\n|---|---|---|---|---|\n",
    );
    for label in table::OF_PORT {
        let example = if label.example.len() > 40 {
            format!("{}…", &label.example[..40])
        } else {
            label.example.to_owned()
        };
        let _infallible = writeln!(
            text,
            "| `HAPROXY_{{n}}_{}` | {} | {} | {} | `{example}` |",
            label.name, label.value, label.default, label.meaning
        );
    }
    let templates: Vec<&str> =
        raw::table::ALL.iter().filter(|template| template.of_port).map(|template| template.name).collect();
    let names = |names: &[&str], index: &str| {
        names.iter().map(|name| format!("`HAPROXY_{index}{name}`")).collect::<Vec<_>>().join(", ")
    };
    let _infallible = write!(
        text,
        "\nKnown, and without effect here, since only marathon-lb's deployment tool reads them: {}.\n\n\
         Raw text of HAProxy's configuration, for apps that `labels.raw` allows it to (docs/raw.md): {}.\n",
        names(table::OF_TOOLS, ""),
        names(&templates, "{n}_")
    );
    text
}

/// `UPDATE_DOCS=1 cargo nextest run the_page_of_labels` writes the page anew.
#[test]
fn the_page_of_labels_is_what_the_parser_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/labels.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has its mark");
    let (written, after) = rest.split_once(END).expect("the page has its mark");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", tables())).unwrap();
    } else {
        assert_eq!(written, tables(), "write it anew with UPDATE_DOCS=1");
    }
    let _terms_can_be_made_of_both = Terms::from(&Config::default());
}

#[test]
fn a_port_of_a_tasks_own_address_has_the_service_port_that_its_hash_gives() {
    let mut app = app(&[("HAPROXY_GROUP", "x")]);
    for (port, inside) in app.ports.iter_mut().zip([8080, 9090]) {
        (port.service_port, port.container_port) = (None, Some(inside));
    }
    let ports = |range: &str| -> Vec<Option<u16>> {
        let config = LabelsConfig { ip_per_task_ports: range.parse().unwrap(), ..LabelsConfig::default() };
        let found = services::of(&app, None, &Terms::from(&config), false);
        found.services.iter().map(|service| service.port).collect()
    };
    assert_eq!(ports(""), [None, None]);
    // `printf /a-8080-0 | sha1sum` begins with f47a8e50, `printf /a-9090-0 | sha1sum` with 0d930660.
    assert_eq!(ports("10050-10100"), [Some(10_078), Some(10_082)]);
}
