use super::*;
use crate::model::{Change, Criterion, RuleRoute, Timestamp};

const BY_HAND: &str = "# who may go where\n\n[[rule]]\n# the shop\napp = \"/shop\" # not the old one\nenabled = true\n\n\
    [[rule.route]]\nhost = 'shop.example.com'   # the main door\n\n[[rule.route]]\n# the side door\nhost = \"side.example.com\"\n\n\
    # the blog\n[[rule]]\napp = \"blog\"\n[[rule.route]]\nhost = \"blog.example.com\"\n";

fn store(text: &str) -> (tempfile::TempDir, FileStore) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.toml");
    if !text.is_empty() {
        std::fs::write(&path, text).unwrap();
    }
    (dir, FileStore::new(&path))
}

fn host(app: &str, host: &str) -> Rule {
    let route = RuleRoute { host: Some(host.to_owned()), ..RuleRoute::default() };
    Rule { routes: vec![route], ..Rule::new(AppId::new(app)) }
}

fn text(store: &FileStore) -> String {
    std::fs::read_to_string(&store.path).unwrap()
}

#[test]
fn one_broken_rule_leaves_the_others_standing() {
    let rules = parse(
        "[[rule]]\napp = \"a\"\n[[rule.route]]\nhost = \"x\"\n[[rule]]\napp = \"/b\"\nwrong = 1\n[[rule]]\napp = \"/a\"\n",
    )
    .unwrap();
    assert_eq!(rules.rules.len(), 1);
    assert_eq!(rules.rules[0].rule.app, AppId::new("/a"));
    assert_eq!(rules.rules[0].rule.routes[0].host.as_deref(), Some("x"));
    assert_eq!(rules.problems.len(), 2);
    assert_eq!(rules.problems[0].app, Some(AppId::new("/b")));
}

#[test]
fn an_empty_file_is_not_an_order_to_forget_every_rule() {
    let (_dir, store) = store("# none\n");
    assert_eq!(store.read().unwrap(), Rules::default());
    std::fs::write(&store.path, "").unwrap();
    assert!(matches!(store.read(), Err(FileReadError::Empty { .. })));
}

#[tokio::test]
async fn a_whole_rule_is_written_and_read_back_and_the_file_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = store("");
    let mut rule = host("/a", "x.example.com");
    rule.order = Some(-3);
    rule.replace = true;
    rule.enabled = false;
    rule.config.insert("timeout".to_owned(), "5 \"s\"\\".to_owned());
    let at = Timestamp("2026-11-21T10:00:00Z".into());
    rule.changed = Some(Change { by: "ada".to_owned(), at, why: "moved".to_owned() });
    rule.routes.push(RuleRoute {
        acl: Some("path_reg '^/v\\d'".to_owned()),
        port: 1,
        ..RuleRoute::default()
    });
    let any = vec![Criterion::Source("10.0.0.0/8".to_owned()), Criterion::PathExact("/x".to_owned())];
    rule.routes.push(RuleRoute { any, ..RuleRoute::default() });
    let version = store.put(&rule, None).await.unwrap();
    assert_eq!(store.get(&rule.app).await.unwrap(), Some(Versioned { rule, version }));
    let mode = std::fs::metadata(&store.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_edit_touches_only_its_rule_and_keeps_comments_and_order() {
    let (_dir, store) = store(BY_HAND);
    let shop = store.get(&AppId::new("/shop")).await.unwrap().unwrap();
    // Nothing new: not a byte changes, also where a default was written out.
    let version = store.put(&shop.rule, Some(&shop.version)).await.unwrap();
    assert_eq!(version, shop.version);
    assert_eq!(text(&store), BY_HAND);
    let mut rule = shop.rule.clone();
    rule.routes[0].host = Some("new.example.com".to_owned());
    rule.routes.push(RuleRoute { path: Some("/shop".to_owned()), ..RuleRoute::default() });
    store.put(&rule, Some(&version)).await.unwrap();
    let after = text(&store);
    let expected = BY_HAND.replace("'shop.example.com'", "\"new.example.com\"");
    for line in expected.lines().filter(|line| !line.is_empty()) {
        assert!(after.contains(line), "{line:?} is gone from\n{after}");
    }
    let place = |text: &str| after.find(text).unwrap_or_else(|| panic!("{text:?} is not in\n{after}"));
    assert!(place("# the side door") < place("path = \"/shop\""), "{after}");
    assert!(place("path = \"/shop\"") < place("# the blog"), "{after}");
    assert!(place("# the blog") < place("app = \"blog\""), "{after}");
}

#[tokio::test]
async fn rules_are_added_at_the_end_and_taken_away_with_their_own_comments() {
    let (_dir, store) = store(BY_HAND);
    store.put(&host("/new", "new.example.com"), None).await.unwrap();
    assert!(text(&store).starts_with(BY_HAND), "{}", text(&store));
    let shop = store.get(&AppId::new("/shop")).await.unwrap().unwrap();
    store.delete(&shop.rule.app, &shop.version).await.unwrap();
    let after = text(&store);
    assert!(after.contains("# the blog\n[[rule]]\napp = \"blog\""), "{after}");
    assert!(!after.contains("shop"), "{after}");
    for app in ["/blog", "/new"] {
        let rule = store.get(&AppId::new(app)).await.unwrap().unwrap();
        store.delete(&rule.rule.app, &rule.version).await.unwrap();
    }
    assert_eq!(store.read().unwrap(), Rules::default());
}

#[tokio::test]
async fn a_list_written_on_one_line_can_be_edited_too() {
    let (_dir, store) = store("rule = [{ app = \"/a\", route = [{ host = \"x\" }] }]\n");
    store.put(&host("/b", "y"), None).await.unwrap();
    let a = store.get(&AppId::new("/a")).await.unwrap().unwrap();
    store.put(&host("/a", "z"), Some(&a.version)).await.unwrap();
    let rules = store.read().unwrap();
    assert_eq!(rules.of_apps(), [host("/a", "z"), host("/b", "y")]);
}

#[tokio::test]
async fn a_version_that_is_not_the_current_one_changes_nothing() {
    let (_dir, store) = store(BY_HAND);
    let app = AppId::new("/shop");
    let old = store.get(&app).await.unwrap().unwrap();
    assert!(matches!(store.put(&old.rule, None).await, Err(StoreError::Conflict { .. })));
    // A person edits the file meanwhile.
    std::fs::write(&store.path, BY_HAND.replace("side.", "back.")).unwrap();
    match store.put(&host("/shop", "mine"), Some(&old.version)).await {
        Err(StoreError::Conflict { current: Some(current), .. }) => {
            assert_eq!(current.rule.routes[1].host.as_deref(), Some("back.example.com"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.delete(&app, &old.version).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(
        store.delete(&AppId::new("/none"), &old.version).await,
        Err(StoreError::Conflict { .. })
    ));
    assert_eq!(text(&store), BY_HAND.replace("side.", "back."));
}

#[tokio::test]
async fn what_cannot_be_stored_or_what_a_person_left_broken_is_not_overwritten() {
    let (_dir, store) = store("[[rule]]\napp = \"/a\"\nwrong = 1\n");
    assert!(matches!(store.put(&host("/a", "x"), None).await, Err(StoreError::Invalid { .. })));
    assert!(matches!(store.put(&host("/b", "not a host"), None).await, Err(StoreError::Invalid { .. })));
    store.put(&host("/b", "x"), None).await.unwrap();
    std::fs::write(&store.path, "[[rule\n").unwrap();
    assert!(matches!(store.put(&host("/c", "x"), None).await, Err(StoreError::File(_))));
    assert_eq!(text(&store), "[[rule\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_seen_by_those_who_watch() {
    let (_dir, store) = store("");
    let mut rules = store.watch();
    let mut version = None;
    for round in 0..20 {
        let rule = host("/a", &format!("h{round}.example.com"));
        version = Some(store.put(&rule, version.as_ref()).await.unwrap());
        let seen =
            rules.wait_for(|rules| rules.as_ref().is_some_and(|rules| rules.of_apps() == [rule.clone()]));
        tokio::time::timeout(std::time::Duration::from_secs(5), seen).await.expect("it is seen").unwrap();
    }
}

#[test]
fn the_example_in_the_manual_is_a_rules_file() {
    let manual = include_str!("../../../docs/rules.md");
    let example = manual.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let rules = parse(example).unwrap();
    assert_eq!(rules.problems, []);
    assert_eq!(rules.rules.len(), 2);
    for each in &rules.rules {
        assert_eq!(each.rule.mistakes(), Vec::<String>::new());
    }
}
