use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

const BY_VERSION: &str = include_str!("../../../../tests/fixtures/marathon/events-by-version.json");

fn app() -> AppId {
    AppId::new("/g/my-app")
}

fn told(json: &Value) -> Told {
    parse(&json.to_string()).unwrap()
}

#[test]
fn every_event_of_every_version_is_read_and_names_its_app() {
    let versions: BTreeMap<String, Vec<Value>> = serde_json::from_str(BY_VERSION).unwrap();
    assert!(versions.len() >= 8);
    for (version, events) in versions {
        for event in events {
            let kind = event["eventType"].as_str().unwrap().to_owned();
            let told = told(&event);
            let about_app = EVENT_TYPES.contains(&kind.as_str())
                && !matches!(kind.as_str(), "event_stream_attached" | "group_change_success");
            assert_eq!(
                told.dirty.contains(&app()) || told.preparing == Some(app()),
                about_app || kind == "deployment_step_failure",
                "{version}: {event}"
            );
            assert_eq!(told.attached, kind == "event_stream_attached");
            assert_eq!(told.group_change.is_some(), kind == "group_change_success");
            assert_eq!(told.deployment.is_some(), kind.starts_with("deployment_"), "{version}: {event}");
        }
    }
}

#[test]
fn actions_are_found_under_both_keys_and_in_lists_of_lists() {
    let event = |steps: &str| {
        let json =
            format!(r#"{{"eventType":"deployment_success","plan":{{"version":"v","steps":{steps}}}}}"#);
        parse(&json).unwrap().dirty
    };
    let both = [AppId::new("/a"), AppId::new("/b")];
    assert_eq!(
        event(
            r#"[{"actions":[{"type":"ScaleApplication","app":"/b"}]},{"actions":[{"action":"x","app":"/a"}]}]"#
        ),
        both
    );
    assert_eq!(
        event(r#"[[{"action":"x","app":"/b"},{"action":"x","pod":"/p"}],[{"action":"x","app":"/a"}]]"#),
        both
    );
    assert_eq!(event(r#"[{"actions":null}, 5]"#), []);
}

#[test]
fn a_status_that_ends_a_task_takes_it_out_and_a_positive_one_only_marks_the_app() {
    let of = |status: &str| {
        let json = format!(
            r#"{{"eventType":"status_update_event","appId":"/g/my-app","taskId":"t","taskStatus":"{status}"}}"#
        );
        let told = parse(&json).unwrap();
        let prepares = matches!(status, "TASK_STAGING" | "TASK_STARTING");
        assert_eq!((told.dirty == [app()], told.preparing.is_some()), (!prepares, prepares), "{status}");
        told.ending.map(|ending| ending.what)
    };
    for ended in ["FINISHED", "FAILED", "KILLED", "ERROR", "DROPPED", "GONE", "GONE_BY_OPERATOR", "UNKNOWN"] {
        assert_eq!(of(&format!("TASK_{ended}")), Some(What::Ended), "{ended}");
    }
    assert_eq!(of("TASK_LOST"), Some(What::Lost));
    assert_eq!(of("TASK_KILLING"), Some(What::Killing));
    assert_eq!(of("TASK_UNREACHABLE"), Some(What::Unreachable));
    for positive in ["STAGING", "STARTING", "RUNNING", "NEW_IN_2030"] {
        assert_eq!(of(&format!("TASK_{positive}")), None);
    }
}

#[test]
fn only_a_verdict_of_unhealthy_is_believed() {
    let of = |json: &str| parse(json).unwrap().ending;
    let unhealthy = of(
        r#"{"eventType":"instance_health_changed_event","instanceId":"g_my-app.marathon-1","runSpecId":"/g/my-app","healthy":false}"#,
    );
    let target = Target::Instance("g_my-app.marathon-1".into());
    assert_eq!(unhealthy, Some(Ending { app: app(), target, what: What::Unhealthy }));
    for verdict in ["true", "null"] {
        let json = format!(
            r#"{{"eventType":"instance_health_changed_event","instanceId":"i","runSpecId":"/g/my-app","healthy":{verdict}}}"#
        );
        assert_eq!(of(&json), None);
    }
    let by_task =
        of(r#"{"eventType":"health_status_changed_event","appId":"/g/my-app","taskId":"t","alive":false}"#);
    assert_eq!(by_task.unwrap().target, Target::Task(TaskId::new("t")));
}

#[test]
fn an_instance_is_told_from_the_id_of_its_task_in_every_version() {
    let same = [
        ("g_my-app.c7c3", "g_my-app.marathon-c7c3"),
        ("g_my-app.c7c3.2", "g_my-app.marathon-c7c3"),
        ("g_my-app.instance-c7c3._app.4", "g_my-app.instance-c7c3"),
        ("g_my-app.marathon-c7c3.web", "g_my-app.marathon-c7c3"),
        ("g_pod.instance-c7c3.web.1", "g_pod.instance-c7c3"),
        ("a.b_c.instance-c7c3._app.1", "a.b_c.instance-c7c3"),
    ];
    for (task, instance) in same {
        assert_eq!(instance_of(task).as_deref(), Some(instance));
    }
    assert_eq!(instance_of("my-app_0-1396592784349"), None);
}

#[test]
fn an_unknown_event_tells_nothing_and_garbage_is_an_error() {
    assert_eq!(parse(r#"{"eventType":"brand_new_event","appId":"/x"}"#).unwrap(), Told::default());
    assert_eq!(parse(r#"{"eventType":"framework_message_event","message":[1,2]}"#).unwrap(), Told::default());
    assert_eq!(parse(r#"{"eventType":"brand_new_event","appId":7}"#).unwrap(), Told::default());
    assert!(parse(r#"{"eventType":"status_update_event","appId":7}"#).is_err());
    assert!(parse("{\"eventType\":").is_err());
    assert!(parse("[]").is_err());
}
