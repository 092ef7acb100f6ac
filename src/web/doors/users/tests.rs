use std::os::unix::fs::PermissionsExt;

use super::*;

const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbCE$bm9ib2R5IGF0IGFsbCwgYW5kIG5vIHBhc3N3b3JkISE";

#[test]
fn one_entry_that_cannot_be_used_harms_no_other() {
    let digits = "0".repeat(64);
    let text = format!(
        r#"
        [users]
        ada = {{ role = "admin", password = "{HASH}" }}
        eve = {{ role = "editor", prefixes = ["/team-a/**", "/team-b/web"] }}
        "with:colon" = {{ role = "viewer" }}
        plain = {{ role = "viewer", password = "hunter22" }}
        boss = {{ role = "boss" }}
        all = {{ role = "editor", prefixes = ["*"] }}
        none = {{ role = "editor" }}
        typo = {{ rol = "viewer" }}
        [tokens]
        ci = {{ role = "viewer", sha256 = "{digits}", expires = "2027-01-31T00:00:00Z" }}
        short = {{ role = "viewer", sha256 = "00" }}
        soon = {{ role = "viewer", sha256 = "{digits}", expires = "soon" }}
        "#
    );
    let users = Users::parse(&text).unwrap();
    assert_eq!(users.users.keys().collect::<Vec<_>>(), ["ada", "eve"]);
    assert_eq!(users.tokens().len(), 1);
    assert_eq!(users.tokens()[0].expires.unwrap().to_string(), "2027-01-31T00:00:00Z");
    for expected in [
        "users.with:colon: a name has 1 to 64",
        "users.plain: password is not a hash",
        "users.boss: \"boss\" is not a role",
        "users.all: \"*\" is neither an app id",
        "users.none: an editor needs prefixes",
        "users.typo: unknown field `rol`",
        "tokens.short: sha256 is not 64",
        "tokens.soon: expires: \"soon\"",
    ] {
        assert!(
            users.mistakes.iter().any(|mistake| mistake.starts_with(expected)),
            "{expected}: {:#?}",
            users.mistakes
        );
    }
    // The password that stood there is in no message.
    assert!(!users.mistakes.iter().any(|mistake| mistake.contains("hunter22")));
    assert!(Users::parse("[user]\n").unwrap_err().contains("neither users nor tokens"));
    assert!(Users::parse("users = 1\n").is_err() && Users::parse("[users").is_err());
}

#[test]
fn the_file_is_for_us_only_and_keeps_what_a_person_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("of-its-own/users.toml");
    let file = UsersFile::new(&path);
    assert!(file.read().unwrap().users.is_empty());
    file.add_user("ada", &Role::Admin, Some("ada's password")).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap() + "\n# Eve comes by the proxy.\n";
    assert!(!text.contains("ada's password"), "{text}");
    std::fs::write(&path, text).unwrap();
    let editor = Role::Editor { prefixes: vec!["/team-a/**".to_owned()] };
    file.add_user("eve", &editor, None).unwrap();
    let secret = file.add_token("ci", &editor, None).unwrap();
    let users = file.read().unwrap();
    assert!(users.mistakes.is_empty(), "{:?}", users.mistakes);
    assert_eq!(users.users["eve"], User { role: editor, password: None });
    assert_eq!(users.token(&secret).unwrap().name, "ci");
    assert!(users.token(&secret[..secret.len() - 1]).is_none());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("# Eve comes by the proxy.") && !text.contains(&secret), "{text}");

    let before = users.users["ada"].password.clone();
    file.set_password("ada", "her new password").unwrap();
    assert_ne!(file.read().unwrap().users["ada"].password, before);
    file.remove_user("eve").unwrap();
    file.remove_token("ci").unwrap();
    let users = file.read().unwrap();
    assert!(users.users.len() == 1 && users.tokens().is_empty());
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let file = UsersFile::new(&path);
    file.add_user("ada", &Role::Admin, None).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let refused = [
        file.add_user("ada", &Role::Viewer, None),
        file.add_user("a:b", &Role::Viewer, None),
        file.add_user("bob", &Role::Viewer, Some("short")),
        file.set_password("bob", "long enough for all"),
        file.remove_user("bob"),
        file.remove_token("ci"),
    ];
    let words = ["user ada exists", "a name has", "at least 8", "no user bob", "no user bob", "no token ci"];
    for (refused, words) in refused.into_iter().zip(words) {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    std::fs::write(&path, "[users").unwrap();
    assert!(
        file.add_user("bob", &Role::Viewer, None).unwrap_err().to_string().contains("correct it by hand")
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[users");
}

#[test]
fn prefixes_are_app_ids_or_groups() {
    for good in ["/**", "/team-a/**", "/team-a/web", "/a/b/**"] {
        assert!(role("editor", vec![good.to_owned()]).is_ok(), "{good}");
    }
    for bad in
        ["", "/", "**", "team-a/**", "/team-*/**", "/team-a/*", "/team-a/", "/a b", "/a\n", "/team-a**"]
    {
        assert!(role("editor", vec![bad.to_owned()]).is_err(), "{bad:?}");
    }
}
