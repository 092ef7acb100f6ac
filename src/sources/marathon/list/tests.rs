use super::*;

fn read(json: &str) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let mut take = |record| {
        records.push(record);
        true
    };
    read_list(json.as_bytes(), &[], &mut take).map_err(|error| error.to_string())?;
    Ok(records)
}

#[test]
fn one_wrong_app_is_told_under_its_id_and_the_others_go_on() {
    let records = read(
        r#"{"x":{"apps":1},"apps":[{"id":"/a"},{"id":"/b","ports":"many"},{"id":7},null,{"id":"/c"}],"y":[]}"#,
    );
    let told: Vec<_> = records
        .unwrap()
        .into_iter()
        .map(|record| match record {
            Record::App(app) => app.id,
            Record::Wrong(id, problem) => {
                assert_eq!(problem.kind, ProblemKind::App);
                format!("wrong {id}")
            }
        })
        .collect();
    assert_eq!(told, ["/a", "wrong /b", "wrong /", "wrong /", "/c"]);
}

#[test]
fn a_body_without_all_its_apps_is_an_error_and_never_an_empty_list() {
    for body in ["", "{}", "[]", "null", r#"{"message":"x"}"#, r#"{"apps":null}"#, r#"{"apps":[{"id":"/a"}"#]
    {
        assert!(read(body).is_err(), "{body}");
    }
    for body in [r#"{"apps":[{"id":"/a"},"#, r#"{"apps":[]} x"#, "<html></html>", r#"{"apps":[{"id":"/a"}]"#]
    {
        assert!(read(body).is_err(), "{body}");
    }
    assert_eq!(read(r#"{"apps":[]}"#).unwrap().len(), 0);
}

#[test]
fn a_list_is_given_while_it_is_read() {
    let mut given = 0;
    let body = format!("{{\"apps\":[{}", "{\"id\":\"/a\"},".repeat(1000));
    let mut take = |_| {
        given += 1;
        given < 10
    };
    assert!(read_list(body.as_bytes(), &[], &mut take).is_err());
    assert_eq!(given, 10);
}

#[test]
fn a_file_may_hold_a_list_an_app_or_a_group_of_groups() {
    let ids = |json: &str| {
        let records = records_of_file(json.as_bytes()).unwrap();
        let id = |record| match record {
            Record::App(app) => app.id,
            Record::Wrong(id, problem) => panic!("{id}: {problem}"),
        };
        records.into_iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(r#"{"apps":[{"id":"/a"},{"id":"/b"}]}"#), ["/a", "/b"]);
    assert_eq!(ids(r#"{"app":{"id":"/a"}}"#), ["/a"]);
    assert_eq!(ids(r#" [{"id":"/a"}]"#), ["/a"]);
    assert_eq!(ids(r#"{"id":"/a","cmd":"x"}"#), ["/a"]);
    assert_eq!(
        ids(r#"{"id":"/","apps":[{"id":"/a"}],"groups":[{"id":"/g","apps":[{"id":"/g/b"}]}]}"#),
        ["/a", "/g/b"]
    );
    assert!(records_of_file(b"hello").is_err());
}

#[test]
fn variables_are_kept_by_name_and_no_others() {
    let mut kept = Vec::new();
    let json = r#"{"apps":[{"id":"/a","env":{"TIER":"gold","DB":"x","BAMBOO_X":"1","S":{"secret":"s"}}},{"id":"/b"}]}"#;
    let named = ["TIER".to_owned(), "S".to_owned()];
    let mut take = |record| {
        if let Record::App(app) = record {
            kept.push(
                app.env.0.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            );
        }
        true
    };
    read_list(json.as_bytes(), &named, &mut take).unwrap();
    assert_eq!(kept, [vec!["BAMBOO_X=1", "TIER=gold"], vec![]]);
}
