use super::*;

fn app() -> AppId {
    AppId::new("/a")
}

fn rule(toml: &str) -> Rule {
    toml::from_str(&format!("app = \"/a\"\n{toml}")).unwrap()
}

fn acl_of(toml: &str) -> String {
    let payload = encode(&rule(toml));
    let value: Value = serde_json::from_slice(&payload).unwrap();
    value["config"]["Acl"].as_str().unwrap().to_owned()
}

#[test]
fn both_forms_of_bamboo_are_read() {
    let acl = |data: &str| decode(&app(), data.as_bytes()).unwrap().rule.routes[0].acl.clone().unwrap();
    assert_eq!(acl("hdr(host) -i x.com"), "hdr(host) -i x.com");
    assert_eq!(acl(r#"{"version":"2","config":{"Acl":"path_beg \u003cx","B":"1"}}"#), "path_beg <x");
    assert_eq!(acl(r#"{"Version":"2","Config":{"Acl":"path /x"}}"#), "path /x");
    let none = decode(&app(), br#"{"version":"2","config":{"timeout":"5s"}}"#).unwrap().rule;
    assert_eq!((none.routes.len(), none.config["timeout"].as_str()), (0, "5s"));
}

#[test]
fn json_that_is_not_the_second_form_is_a_problem_and_not_a_criterion() {
    for data in [
        r#"{"version":2,"config":{"Acl":"x"}}"#,
        r#"{"version":"3","config":{"Acl":"x"}}"#,
        r#"{"version":"2","config":{"Acl":1}}"#,
        r#"{"version":"2","config":[]}"#,
        r#"{"version":"2","config":{"Acl":"x"}"#,
        "{}",
        "[]",
        "\"x\"",
        "",
        "  ",
    ] {
        assert!(decode(&app(), data.as_bytes()).is_err(), "{data}");
    }
    assert!(decode(&app(), &[0xff, 0xfe]).is_err());
}

#[test]
fn a_record_that_bamboo_wrote_goes_back_as_it_was() {
    let data = r#"{"config":{"Acl":"path_beg -i /x","timeout":"5s"},"version":"2"}"#;
    let record = decode(&app(), data.as_bytes()).unwrap();
    assert_eq!(record.extras, Found::None);
    assert_eq!(String::from_utf8(encode(&record.rule)).unwrap(), data);
}

#[test]
fn everything_a_rule_says_is_read_back() {
    for text in [
        "",
        "enabled = false\n[[route]]\nacl = \"path /x\"",
        "order = -5\nreplace = true\n[[route]]\nhost = \"x.com\"\nport = 2",
        "[changed]\nby = \"ada\"\nat = \"2026-11-21T10:00:00Z\"\nwhy = \"a \\\"b\\\" <c>\"\n[[route]]\nhost = \"x.com\"",
        "[config]\ntimeout = \"5s\"\n[[route]]\nany = [{ source = \"10.0.0.0/8\" }, { method = \"GET\" }]",
    ] {
        let rule = rule(text);
        let record = decode(&app(), &encode(&rule)).unwrap();
        assert_eq!(record.rule, rule, "{text}");
    }
}

#[test]
fn bamboo_is_given_the_best_criterion_that_it_can_serve_and_never_an_empty_one() {
    for (text, acl) in [
        ("", "always_false"),
        ("enabled = false\n[[route]]\nhost = \"x\"", "always_false"),
        ("[[route]]\nhost = \"x\"\nport = 1", "always_false"),
        ("[[route]]\nhost = \"x\"\nall = [{ method = \"GET\" }]", "always_false"),
        ("[[route]]\nhost = \"X.com\"", "hdr(host) -i x.com"),
        ("[[route]]\nhost = \"*.x.com\"", "hdr_end(host) -i .x.com"),
        ("[[route]]\npath = \"/x/\"", "path_beg /x"),
        ("[[route]]\npath = \"/\"", "path_beg /"),
        ("[[route]]\nhost = \"x.com\"\npath = \"/y\"", "base_beg -i x.com/y"),
        ("[[route]]\nhost = \"*.x.com\"\npath = \"/y\"", "base_reg -i ^[^./]+[.]x[.]com/y"),
        ("[[route]]\nhost = \"a\"\n[[route]]\npath = \"/p\"\n[[route]]\nhost = \"b\"", "hdr(host) -i a b"),
        ("[[route]]\nany = [{ host = \"a\" }, { host = \"b\" }]", "hdr(host) -i a b"),
        ("[[route]]\nacl = \"path_reg '^/v\\\\d'\"", "path_reg '^/v\\d'"),
        ("[[route]]\nall = [{ header = { name = \"X-T\", value = \"a b\" } }]", "hdr(X-T) -i 'a b'"),
        ("[[route]]\nall = [{ source = \"10.0.0.0/8\" }]", "src 10.0.0.0/8"),
    ] {
        assert_eq!(acl_of(text), acl, "{text}");
    }
    assert_eq!(acl_of("").len(), NEVER.len());
}

#[test]
fn what_bamboo_dropped_or_changed_leaves_its_acl_to_count() {
    let rule = rule("order = 1\n[[route]]\nhost = \"x.com\"\n[[route]]\npath = \"/y\"");
    let mut value: Value = serde_json::from_slice(&encode(&rule)).unwrap();
    value["config"]["Acl"] = "path /new".into();
    let record = decode(&app(), value.to_string().as_bytes()).unwrap();
    assert!(matches!(record.extras, Found::Void(_)));
    assert_eq!(record.rule.routes[0].acl.as_deref(), Some("path /new"));
    value["config"].as_object_mut().unwrap().remove(EXTRAS);
    let record = decode(&app(), value.to_string().as_bytes()).unwrap();
    assert_eq!((record.extras, record.rule.order), (Found::None, None));
    value["config"][EXTRAS] = "{broken".into();
    assert!(matches!(decode(&app(), value.to_string().as_bytes()).unwrap().extras, Found::Void(_)));
}

#[test]
fn a_rule_that_only_says_who_wrote_it_loses_nothing_that_leads_requests() {
    let plain = rule("[[route]]\nacl = \"hdr(host) -i x.com\"");
    let signed = rule("[changed]\nby = \"ada\"\n[[route]]\nhost = \"x.com\"");
    assert!(leads_alike(&plain, &signed));
    assert!(!leads_alike(&plain, &rule("order = 1\n[[route]]\nhost = \"x.com\"")));
}
