use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::list::{Record, records_of_file};
use super::super::pending::{KnownApps, Pending, ReadApp};
use super::*;
use crate::model::{App, Task};

const V0_11: &[u8] = include_bytes!("../../../../tests/fixtures/marathon/apps-embed-0.11.json");
const V1_4: &[u8] = include_bytes!("../../../../tests/fixtures/marathon/apps-embed-1.4.json");
const V1_11: &[u8] = include_bytes!("../../../../tests/fixtures/marathon/apps-embed-1.11.json");

/// Agents by name: `agent-1.example.org` is 192.0.2.1, and so on.
fn agents(name: &str) -> Option<IpAddr> {
    let number: u8 = name.strip_prefix("agent-")?.strip_suffix(".example.org")?.parse().ok()?;
    Some(IpAddr::from([192, 0, 2, number]))
}

fn read(json: &[u8]) -> BTreeMap<String, ReadApp> {
    let records = records_of_file(json).unwrap();
    let read = records.into_iter().map(|record| match record {
        Record::App(wire) => Pending::of(*wire, &KnownApps::default()).build(&agents),
        Record::Wrong(id, problem) => panic!("{id}: {problem}"),
    });
    read.map(|read| (read.app.id.as_str().to_owned(), read)).collect()
}

fn one(json: &str) -> App {
    read(json.as_bytes()).into_values().next().unwrap().app
}

/// The endpoints of each task in the order of the tasks' ids, `-` where there is none.
fn endpoints(app: &App) -> Vec<String> {
    let text = |task: &Task| {
        let each = task.endpoints.iter().map(|it| it.map_or("-".to_owned(), |endpoint| endpoint.to_string()));
        each.collect::<Vec<_>>().join(" ")
    };
    app.tasks.values().map(text).collect()
}

fn service_ports(app: &App) -> Vec<Option<u16>> {
    app.ports.iter().map(|port| port.service_port).collect()
}

#[test]
fn marathon_0_11_host_tasks_are_reached_at_their_agents_name() {
    let apps = read(V0_11);
    let app = &apps["/host"].app;
    assert_eq!(service_ports(app), [Some(10001), Some(10002)]);
    assert_eq!(endpoints(app), ["192.0.2.1:31001 192.0.2.1:31002", "192.0.2.1:31003 192.0.2.1:31004"]);
}

#[test]
fn without_a_state_a_task_runs_once_it_has_started() {
    let apps = read(V0_11);
    let states: Vec<_> = apps["/host"].app.tasks.values().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Running, TaskState::Starting]);
}

#[test]
fn marathon_0_11_bridge_tasks_are_reached_at_their_host_port() {
    let apps = read(V0_11);
    let app = &apps["/bridge"].app;
    assert_eq!(service_ports(app), [Some(10101)]);
    assert_eq!(endpoints(app), ["192.0.2.1:31101", "192.0.2.1:31102"]);
    let health: Vec<_> = app.tasks.values().map(|task| task.health).collect();
    assert_eq!(health, [Health::Healthy, Health::Unknown]);
}

#[test]
fn with_host_networking_the_tasks_own_address_saves_looking_up_the_agent() {
    assert_eq!(endpoints(&read(V1_4)["/host"].app), ["10.0.0.1:31001 10.0.0.1:31002"]);
}

#[test]
fn the_address_of_a_bridge_is_never_used() {
    assert_eq!(endpoints(&read(V1_4)["/bridge"].app), ["192.0.2.1:31101", "192.0.2.1:31102"]);
}

#[test]
fn on_a_user_network_only_mappings_with_a_host_port_count_host_ports() {
    let apps = read(V1_4);
    let app = &apps["/user-net"].app;
    assert_eq!(service_ports(app), [Some(10201), Some(10202)]);
    assert_eq!(endpoints(app), ["9.0.1.4:80 192.0.2.1:31201"]);
}

#[test]
fn discovery_ports_have_an_address_of_their_own_and_no_service_port() {
    let apps = read(V1_4);
    let app = &apps["/ip-per-task"].app;
    assert_eq!(
        app.ports,
        [AppPort {
            service_port: None,
            name: Some("http".into()),
            container_port: Some(80),
            udp_only: false
        }]
    );
    assert_eq!(endpoints(app), ["192.168.1.7:80"]);
}

#[test]
fn marathon_1_11_every_form_of_networking_has_its_endpoints() {
    let apps = read(V1_11);
    let of = |id: &str| endpoints(&apps[id].app);
    let two_ports = ["10.0.0.1:31001 10.0.0.1:31002", "10.0.0.2:31003 10.0.0.2:31004"];
    assert_eq!(of("/host/two-ports")[..2], two_ports);
    assert_eq!(of("/host/fixed"), ["10.0.0.1:8080"]);
    assert_eq!(of("/host/no-ports"), [""]);
    assert_eq!(of("/bridge/web"), ["192.0.2.1:31101 192.0.2.1:31102"]);
    assert_eq!(of("/overlay/plain"), ["9.0.1.4:80"]);
    assert_eq!(of("/overlay/mixed"), ["9.0.1.9:9000 192.0.2.1:31301 192.0.2.1:31302"]);
    assert_eq!(of("/overlay/two-nets"), ["9.0.1.20:80 9.0.1.20:81"]);
}

#[test]
fn a_task_of_an_older_definition_is_never_given_ports_by_index() {
    let apps = read(V1_11);
    let read = &apps["/deploying"];
    assert_eq!(endpoints(&read.app), ["- -", "10.0.0.1:31602 10.0.0.1:31603"]);
    assert_eq!(read.outdated.len(), 1);
    assert!(read.deploying);
    assert_eq!(read.readiness.values().collect::<Vec<_>>(), [&false]);
}

#[test]
fn states_and_their_ports_are_told_apart() {
    use TaskState::{Ended, Killing, Running, Starting, Unreachable};
    let apps = read(V1_11);
    let app = &apps["/states"].app;
    let states: Vec<_> = app.tasks.values().map(|task| task.state).collect();
    assert_eq!(states, [Starting, Starting, Running, Killing, Unreachable, Ended, Starting]);
    assert_eq!(endpoints(app)[5..], ["-", "-"]);
    assert_eq!(app.serving().count(), 1);
}

#[test]
fn an_index_without_a_service_port_is_kept() {
    let app = one(r#"{"id":"x","networks":[{"mode":"container/bridge"}],"container":{"portMappings":[
            {"containerPort":80,"servicePort":0,"hostPort":0},{"containerPort":81,"hostPort":0},
            {"containerPort":82,"servicePort":10082,"hostPort":0,"protocol":"udp"}]}}"#);
    assert_eq!(app.id.as_str(), "/x");
    assert_eq!(service_ports(&app), [None, None, Some(10082)]);
    assert_eq!(app.ports.iter().map(|port| port.udp_only).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn what_is_missing_gives_no_endpoint_and_no_error() {
    let app =
        one(r#"{"id":"/x","ports":[1,2],"tasks":[null,{"id":"t","host":null,"ports":[31000],"startedAt":"x",
            "healthCheckResults":[null]},{"id":"u","host":"[::1]","ports":[31000]}]}"#);
    assert_eq!(endpoints(&app), ["- -", "[::1]:31000 -"]);
}

#[test]
fn every_key_may_be_null() {
    let keys = "labels env ports portDefinitions container networks ipAddress healthChecks readinessChecks \
                readinessCheckResults deployments tasks version versionInfo";
    let nulls: Vec<_> = keys.split_whitespace().map(|key| format!("\"{key}\":null")).collect();
    let app = one(&format!("{{\"id\":\"/x\",{}}}", nulls.join(",")));
    assert!(app.ports.is_empty() && app.tasks.is_empty());
}

#[test]
fn of_the_environment_only_what_the_program_reads_is_kept() {
    let app =
        one(r#"{"id":"/x","env":{"PASSWORD":"geheim","BAMBOO_TCP_PORT":"53","BAMBOO_S":{"secret":"s0"}},
            "labels":{"a":"b","n":1,"t":true,"o":{}}}"#);
    assert_eq!(app.env, BTreeMap::from([("BAMBOO_TCP_PORT".into(), "53".into())]));
    let labels: Vec<_> = app.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["a=b", "n=1", "t=true"]);
}

#[test]
fn health_checks_are_read_in_every_form() {
    let app = one(
        r#"{"id":"/x","healthChecks":[{"path":"/h"},{"protocol":"MESOS_TCP","portIndex":1,"intervalSeconds":5},
            {"protocol":"COMMAND","command":{"value":"true"}},{"protocol":"HTTPS","port":8443}]}"#,
    );
    let told: Vec<_> = app
        .health_checks
        .iter()
        .map(|it| (it.protocol, it.port_index, it.port, it.interval_seconds))
        .collect();
    assert_eq!(
        told,
        [
            (HealthProtocol::Http, Some(0), None, 60),
            (HealthProtocol::Tcp, Some(1), None, 5),
            (HealthProtocol::Command, None, None, 60),
            (HealthProtocol::Https, None, Some(8443), 60),
        ]
    );
}

fn definition(ports: &[(Option<u16>, Option<&str>)], forms: &[Form]) -> Definition {
    let port = |(service_port, name): &(Option<u16>, Option<&str>)| AppPort {
        service_port: *service_port,
        name: name.map(Into::into),
        container_port: None,
        udp_only: false,
    };
    Definition { ports: ports.iter().map(port).collect(), forms: forms.to_vec(), host_networking: true }
}

#[test]
fn endpoints_are_carried_by_service_port_then_by_name_then_by_shape() {
    let at = |port: u16| Some(SocketAddr::from(([10, 0, 0, 1], port)));
    let two = [Form::HostPort, Form::HostPort];
    let old = definition(&[(Some(1), Some("a")), (Some(2), Some("b"))], &two);
    let carried = |new: &Definition| new.carry(&old.ports, &old.forms, &[at(31), at(32)]);
    assert_eq!(carried(&definition(&[(Some(2), None), (Some(1), None)], &two)), [at(32), at(31)]);
    assert_eq!(carried(&definition(&[(Some(3), Some("b")), (Some(4), Some("a"))], &two)), [at(32), at(31)]);
    assert_eq!(carried(&definition(&[(Some(3), None), (Some(4), None)], &two)), [at(31), at(32)]);
    let three = [Form::HostPort, Form::HostPort, Form::HostPort];
    let added = definition(&[(Some(9), None), (Some(1), None), (Some(2), None)], &three);
    assert_eq!(carried(&added), [None, at(31), at(32)]);
}
