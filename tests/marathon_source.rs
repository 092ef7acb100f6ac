//! The Marathon source against a scripted server over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway::config::{MarathonConfig, TokenScheme};
use causeway::model::{App, AppId, Problem, ProblemKind, TaskId, TaskState};
use causeway::sources::marathon::{Marathon, MarathonError, MarathonStatus, parse_apps};
use causeway::sources::{Refresh, SourceEvent, SourceMessage};
use causeway::telemetry::Metrics;
use tokio::sync::{mpsc, watch};

#[path = "marathon_source/access.rs"]
mod access;
#[path = "marathon_source/announced.rs"]
mod announced;
#[path = "marathon_source/callback.rs"]
mod callback;
#[path = "marathon_source/fake.rs"]
mod fake;

use fake::{ATTACHED, Fake, Reply};

const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that was told, folded as the state of the program folds it.
struct Followed {
    rx: mpsc::Receiver<SourceMessage>,
    refresh: Refresh,
    status: watch::Receiver<MarathonStatus>,
    apps: BTreeMap<String, Arc<App>>,
    collecting: Option<BTreeMap<String, Arc<App>>>,
    problems: BTreeMap<String, Vec<Problem>>,
    full_reads: usize,
    removed: usize,
    /// When the events came in that were answered, in the order of the answers.
    since: Vec<Instant>,
}

impl Followed {
    fn new(config: &MarathonConfig) -> Self {
        let marathon = Marathon::new(config, HashSet::new(), Metrics::default()).unwrap();
        let (tx, rx) = mpsc::channel(64);
        let refresh = Refresh::default();
        let status = marathon.status();
        tokio::spawn(marathon.follow(tx, refresh.clone()));
        Self {
            rx,
            refresh,
            status,
            apps: BTreeMap::new(),
            collecting: None,
            problems: BTreeMap::new(),
            full_reads: 0,
            removed: 0,
            since: Vec::new(),
        }
    }

    fn fold(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Init => self.collecting = Some(BTreeMap::new()),
            SourceEvent::Upsert(app) => {
                let into = self.collecting.as_mut().unwrap_or(&mut self.apps);
                into.insert(app.id.to_string(), app);
            }
            SourceEvent::Remove(id) => {
                self.removed += 1;
                self.apps.remove(id.as_str());
            }
            SourceEvent::Problems(id, problems) => {
                self.problems.insert(id.to_string(), problems);
            }
            SourceEvent::InitDone => {
                self.apps = self.collecting.take().expect("an Init came before");
                self.full_reads += 1;
            }
            SourceEvent::Rules(..) => panic!("Marathon has no rules"),
        }
    }

    /// Folds what comes until the condition holds.
    async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition(self) {
            let event = tokio::time::timeout_at(deadline, self.rx.recv()).await;
            let event = event.unwrap_or_else(|_| {
                panic!("waited in vain until {what}; known: {:?}; {:?}", self.apps, *self.status.borrow())
            });
            let message = event.expect("the source goes on");
            self.since.extend(message.since);
            self.fold(message.event);
        }
    }

    async fn full_read(&mut self, number: usize) {
        self.until("everything was read", |it| it.full_reads >= number).await;
    }

    async fn status_says(&mut self, text: &str) {
        let says = |status: &MarathonStatus| {
            status.last_error.as_ref().is_some_and(|(_, error)| error.contains(text))
        };
        let found = tokio::time::timeout(PATIENCE, self.status.wait_for(says)).await.map(|_| ());
        assert!(found.is_ok(), "no error says {text:?}: {:?}", *self.status.borrow());
    }

    fn task(&self, app: &str, task: &str) -> Option<&causeway::model::Task> {
        self.apps.get(app)?.tasks.get(&TaskId::new(task))
    }
}

fn config(endpoints: &[String]) -> MarathonConfig {
    MarathonConfig {
        endpoints: endpoints.to_vec(),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(5),
        backoff_max: Duration::from_secs(1),
        ..MarathonConfig::default()
    }
}

fn app(id: &str, tasks: &[&str]) -> String {
    let task = |task: &&str| {
        format!(
            r#"{{"id":"{task}","host":"10.0.0.1","ports":[31000],"state":"TASK_RUNNING","version":"2026-01-02T00:00:00.000Z"}}"#
        )
    };
    let tasks = tasks.iter().map(task).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"id":"{id}","networks":[{{"mode":"host"}}],"portDefinitions":[{{"port":10001}}],
        "version":"2026-01-02T00:00:00.000Z","versionInfo":{{"lastConfigChangeAt":"2026-01-02T00:00:00.000Z"}},
        "tasks":[{tasks}]}}"#
    )
}

fn list(apps: &[String]) -> String {
    format!("{{\"apps\":[{}]}}", apps.join(","))
}

fn single(app: &str) -> Reply {
    Reply::ok(format!("{{\"app\":{app}}}"))
}

fn status_event(app: &str, task: &str, status: &str) -> String {
    format!(
        r#"{{"eventType":"status_update_event","appId":"{app}","taskId":"{task}","taskStatus":"{status}"}}"#
    )
}

#[tokio::test]
async fn everything_is_read_only_after_the_stream_is_attached() {
    let fake = Fake::new(&list(&[app("/a", &["t1"])])).await;
    fake.reply("/v2/events", Reply::Stream { attached: false });
    fake.reply("/v2/info", Reply::ok(r#"{"version":"1.11.24"}"#));
    let mut followed = Followed::new(&config(&[fake.url()]));
    fake.asked("/v2/events", 1).await;
    let attached_at = Instant::now();
    while fake.requests("/v2/apps").is_empty() {
        fake.event(ATTACHED);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    followed.full_read(1).await;
    assert!(fake.requests("/v2/apps")[0].at >= attached_at);
    assert_eq!(followed.apps.len(), 1);
    let version = followed.status.wait_for(|status| status.version.is_some());
    let status = tokio::time::timeout(PATIENCE, version).await.unwrap().unwrap().clone();
    assert_eq!(status.version.as_deref(), Some("1.11.24"));
    assert_eq!(status.connected, Some(format!("{}/", fake.url())));
    assert_eq!(status.apps, 1);
}

#[tokio::test]
async fn a_stream_whose_attachment_is_never_told_is_taken_as_attached_after_two_seconds() {
    let fake = Fake::new(&list(&[app("/a", &[])])).await;
    fake.reply("/v2/events", Reply::Stream { attached: false });
    let begun = Instant::now();
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn the_stream_is_asked_for_as_marathon_takes_it() {
    let fake = Fake::new(&list(&[])).await;
    let mut followed = Followed::new(&config(&[format!("{}/service/marathon/", fake.url())]));
    let request = fake.asked("/service/marathon/v2/events", 1).await.remove(0);
    let accepts: Vec<_> =
        request.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("accept")).collect();
    assert_eq!(accepts.len(), 1);
    assert_eq!(accepts[0].1, "text/event-stream");
    assert_eq!(request.header("accept-encoding"), None);
    assert!(request.target.contains("plan-format=light"), "{}", request.target);
    assert!(request.target.contains("event_type=event_stream_attached"), "{}", request.target);
    followed.status_says("404").await;
}

#[tokio::test]
async fn a_wrong_app_is_told_as_a_problem_and_the_others_are_kept() {
    let apps = [app("/a", &["t1"]), r#"{"id":"/b","ports":"many"}"#.to_owned(), app("/c", &[])];
    let fake = Fake::new(&list(&apps)).await;
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    assert_eq!(followed.apps.keys().collect::<Vec<_>>(), ["/a", "/c"]);
    assert_eq!(followed.problems["/b"][0].kind, ProblemKind::App);
}

#[tokio::test]
async fn a_full_read_that_fails_changes_nothing_and_is_tried_again() {
    let wrong = [
        Reply::Json(503, r#"{"message":"Could not determine the leader"}"#.to_owned()),
        Reply::html(503, "Error 503 Too many concurrent requests"),
        Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"apps\":[".to_owned()),
        Reply::Raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"apps\":[{\"id\":\"/z\"},".to_owned()),
        Reply::ok("{}"),
        Reply::html(200, "Log in"),
        Reply::Hang,
    ];
    let fake = Fake::new(&list(&[app("/a", &["t1"])])).await;
    let cfg = MarathonConfig { read_timeout: Duration::from_millis(300), ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    followed.full_read(1).await;
    for (number, reply) in wrong.into_iter().enumerate() {
        fake.reply("/v2/apps", reply);
        let before = fake.requests("/v2/apps").len();
        followed.refresh.ask();
        fake.asked("/v2/apps", before + 2).await;
        assert!(followed.rx.try_recv().is_err(), "told after a failed read");
        fake.reply("/v2/apps", Reply::ok(list(&[app("/a", &["t1"])])));
        followed.full_read(number + 2).await;
        assert_eq!(followed.apps.len(), 1);
    }
}

#[tokio::test]
async fn an_answer_of_200_and_the_end_is_no_subscription_and_is_backed_off_from() {
    let fake = Fake::new(&list(&[])).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    fake.reply("/v2/events", Reply::Raw(head.to_owned()));
    let mut followed = Followed::new(&config(&[fake.url()]));
    let requests = fake.asked("/v2/events", 4).await;
    let gap = |number: usize| requests[number].at - requests[number - 1].at;
    assert!(gap(1) >= Duration::from_millis(120), "{:?}", gap(1));
    assert!(gap(2) >= Duration::from_millis(240), "{:?}", gap(2));
    assert!(gap(3) >= Duration::from_millis(480), "{:?}", gap(3));
    followed.status_says("does not lead").await;
}

#[tokio::test]
async fn a_silent_stream_is_opened_again() {
    let fake = Fake::new(&list(&[])).await;
    let cfg = MarathonConfig { stream_timeout: Duration::from_millis(200), ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    fake.asked("/v2/events", 2).await;
    followed.status_says("was silent for 200ms").await;
    followed.full_read(2).await;
}

#[tokio::test]
async fn a_heartbeat_in_two_halves_keeps_the_stream_and_hides_no_event() {
    let fake = Fake::new(&list(&[])).await;
    let cfg = MarathonConfig { stream_timeout: Duration::from_millis(500), ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    followed.full_read(1).await;
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..6 {
        beat.tick().await;
        fake.bytes("\r");
        beat.tick().await;
        fake.bytes("\n");
    }
    fake.reply("/v2/apps/a", single(&app("/a", &["t1"])));
    fake.event(&status_event("/a", "t1", "TASK_RUNNING"));
    followed.until("the app is there", |it| it.apps.contains_key("/a")).await;
    assert_eq!(fake.requests("/v2/events").len(), 1);
}

#[tokio::test]
async fn a_recorded_stream_of_jetty_is_understood_to_its_end() {
    let fake = Fake::new(&list(&[])).await;
    let recorded = include_str!("fixtures/marathon/sse-jetty-9.4.57.bin");
    fake.reply("/v2/events", Reply::Raw(recorded.to_owned()));
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    followed.status_says("Marathon closed it").await;
    assert!(followed.status.borrow().last_event.is_some());
}

#[tokio::test]
async fn a_new_stream_does_not_wait_for_a_read_that_hangs() {
    let fake = Fake::new("").await;
    fake.reply("/v2/apps", Reply::Hang);
    let cfg = MarathonConfig { read_timeout: Duration::from_secs(60), ..config(&[fake.url()]) };
    let mut followed = Followed::new(&cfg);
    fake.asked("/v2/apps", 1).await;
    fake.reply("/v2/apps", Reply::ok(list(&[app("/a", &[])])));
    fake.hang_up();
    followed.full_read(1).await;
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_everything_is_read_again() {
    let fake = Fake::new(&list(&[])).await;
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    fake.reply("/v2/apps", Reply::ok(list(&[app("/a", &[])])));
    fake.hang_up();
    followed.full_read(2).await;
    assert!(followed.apps.contains_key("/a"));
}

#[tokio::test]
async fn without_a_stream_the_apps_are_read_all_the_same() {
    let fake = Fake::new(&list(&[app("/a", &[])])).await;
    let recorded = include_str!("fixtures/marathon/sse-405-jetty-9.4.57.bin");
    fake.reply("/v2/events", Reply::Raw(recorded.to_owned()));
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(2).await;
    followed.status_says("answered 405: Error 405 HTTP method GET").await;
}

#[tokio::test]
async fn a_task_that_ended_is_taken_out_at_once_and_stays_out() {
    let fake = Fake::new(&list(&[app("/a", &["t1", "t2", "t3"])])).await;
    fake.reply("/v2/apps/a", Reply::Hang);
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    fake.event(&status_event("/a", "t1", "TASK_KILLED"));
    followed.until("t1 is out", |it| it.task("/a", "t1").is_none()).await;
    fake.event(&status_event("/a", "t2", "TASK_KILLING"));
    let killing = |it: &Followed| it.task("/a", "t2").is_some_and(|task| task.state == TaskState::Killing);
    followed.until("t2 is being killed", killing).await;
    followed.refresh.ask();
    followed.full_read(2).await;
    assert!(followed.task("/a", "t1").is_none());
    assert!(killing(&followed));
}

#[tokio::test]
async fn fifty_one_apps_of_a_deployment_are_read_as_one_list() {
    let fake = Fake::new(&list(&[])).await;
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    let actions: Vec<_> =
        (0..51).map(|number| format!(r#"{{"action":"RestartApplication","app":"/app-{number}"}}"#)).collect();
    fake.event(&format!(
        r#"{{"eventType":"deployment_info","plan":{{"version":"v","steps":[{{"actions":[{}]}}]}}}}"#,
        actions.join(",")
    ));
    followed.full_read(2).await;
    assert_eq!(fake.requests("/v2/apps").len(), 2);
    assert!((0..51).all(|number| fake.requests(&format!("/v2/apps/app-{number}")).is_empty()));
}

#[tokio::test]
async fn an_app_is_removed_only_when_marathon_itself_says_that_it_does_not_exist() {
    let fake = Fake::new(&list(&[app("/g/a", &[]), app("/g/b", &[])])).await;
    fake.reply("/v2/apps/g/a", Reply::html(404, "Not here"));
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    for id in ["/g/a", "/g/b"] {
        fake.event(&format!(r#"{{"eventType":"app_terminated_event","appId":"{id}"}}"#));
    }
    followed.until("/g/b is gone", |it| !it.apps.contains_key("/g/b")).await;
    fake.asked("/v2/apps/g/a", 3).await;
    assert!(followed.apps.contains_key("/g/a"));
    fake.reply("/v2/apps/g/a", Reply::Json(404, r#"{"message":"App '/g/a' does not exist"}"#.to_owned()));
    followed.until("/g/a is gone", |it| it.apps.is_empty()).await;
    assert_eq!(followed.removed, 2);
}

#[tokio::test]
async fn an_unexplained_change_reads_everything_and_an_explained_one_only_its_apps() {
    let fake = Fake::new(&list(&[])).await;
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    fake.reply("/v2/apps/a", single(&app("/a", &[])));
    fake.event(r#"{"eventType":"group_change_success","groupId":"/","version":"v1"}"#);
    fake.event(
        r#"{"eventType":"deployment_info","plan":{"version":"v1","steps":[{"actions":[{"app":"/a"}]}]}}"#,
    );
    followed.until("the app is there", |it| it.apps.contains_key("/a")).await;
    assert_eq!(followed.full_reads, 1);
    fake.event(r#"{"eventType":"group_change_success","groupId":"/","version":"v2"}"#);
    followed.full_read(2).await;
    fake.event("{\"eventType\": garbage");
    followed.full_read(3).await;
}

#[tokio::test]
async fn the_ports_of_an_outdated_task_are_those_of_the_definition_it_was_launched_from() {
    let old = r#"{"id":"/a","networks":[{"mode":"host"}],"portDefinitions":[{"port":10002},{"port":10001}]}"#;
    let changed = app("/a", &["t1"])
        .replace("lastConfigChangeAt\":\"2026-01-02", "lastConfigChangeAt\":\"2026-01-03")
        .replace("[31000]", "[31002,31001]");
    let gone = changed.replace("/a", "/b");
    let fake = Fake::new(&list(&[changed, gone])).await;
    fake.reply("/v2/apps/a/versions/2026-01-02T00:00:00.000Z", Reply::ok(old));
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    let endpoints = |it: &Followed, app: &str| it.task(app, "t1").unwrap().endpoints.clone();
    assert_eq!(*endpoints(&followed, "/a"), [Some("10.0.0.1:31001".parse().unwrap())]);
    assert_eq!(*endpoints(&followed, "/b"), [None]);
    followed.refresh.ask();
    followed.full_read(2).await;
    assert_eq!(fake.requests("/v2/apps/a/versions/2026-01-02T00:00:00.000Z").len(), 1);
    assert_eq!(fake.requests("/v2/apps/b/versions/2026-01-02T00:00:00.000Z").len(), 1);
}

#[tokio::test]
async fn readiness_has_no_event_and_is_asked_for_until_it_is_there() {
    let deploying = |ready: bool| {
        let more = format!(
            r#""readinessChecks":[{{}}],"deployments":[{{"id":"d"}}],"readinessCheckResults":[{{"taskId":"t1","ready":{ready}}}],"tasks""#
        );
        app("/a", &["t1"]).replace("\"tasks\"", &more)
    };
    let fake = Fake::new(&list(&[deploying(false)])).await;
    fake.reply("/v2/apps/a", single(&deploying(false)));
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    assert!(!followed.task("/a", "t1").unwrap().ready);
    fake.asked("/v2/apps/a", 1).await;
    fake.reply("/v2/apps/a", single(&deploying(true)));
    followed.until("it is ready", |it| it.task("/a", "t1").is_some_and(|task| task.ready)).await;
}

#[tokio::test]
async fn an_agent_without_an_address_is_a_problem_of_its_app_alone() {
    let lost = app("/lost", &["t1"]).replace("10.0.0.1", "agent.invalid");
    let fake = Fake::new(&list(&[lost, app("/a", &["t1"])])).await;
    let mut followed = Followed::new(&config(&[fake.url()]));
    followed.full_read(1).await;
    assert_eq!(*followed.task("/lost", "t1").unwrap().endpoints, [None]);
    assert_eq!(followed.problems["/lost"][0].kind, ProblemKind::Host);
    assert!(followed.task("/a", "t1").unwrap().endpoints[0].is_some());
    fake.asked("/v2/apps/lost", 1).await;
}

#[tokio::test]
async fn following_ends_when_nobody_listens() {
    let fake = Fake::new(&list(&[])).await;
    let marathon = Marathon::new(&config(&[fake.url()]), HashSet::new(), Metrics::default()).unwrap();
    let (tx, rx) = mpsc::channel(1);
    let following = tokio::spawn(marathon.follow(tx, Refresh::default()));
    drop(rx);
    tokio::time::timeout(PATIENCE, following).await.unwrap().unwrap();
}

#[test]
fn a_file_of_marathons_json_is_read_without_a_server() {
    let (apps, problems) = parse_apps(list(&[app("/a", &["t1"]), "7".to_owned()]).as_bytes()).unwrap();
    assert_eq!(apps[0].id, AppId::new("/a"));
    assert_eq!(problems[0].0, AppId::new("/"));
    assert!(matches!(parse_apps(b"no"), Err(MarathonError::Body { .. })));
}
