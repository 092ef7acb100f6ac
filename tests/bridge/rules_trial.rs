//! Free text of rules: hostile until proven, and tried alone by the real HAProxy.

use std::time::{Duration, Instant};

use causeway::config::HaproxyConfig;
use causeway::haproxy::trial::{Trial, TrialRefusal};

fn trial() -> Trial {
    let mut config = HaproxyConfig::default();
    if let Ok(binary) = std::env::var("HAPROXY") {
        config.binary = binary.into();
    }
    Trial::new(&config)
}

#[tokio::test]
async fn what_haproxy_takes_is_taken_and_what_it_does_not_is_told_in_its_own_words() {
    let trial = trial();
    for good in [
        "hdr(host) -i example.com",
        "hdr_sub(user-agent) 'Mobile Safari'",
        "path_reg ^/v\\d+/",
        "req.cook(canary) -m found",
        "src 10.0.0.0/8 2001:db8::/32",
        "hdr(host) -i x && path_beg /y",
        "always_false",
    ] {
        assert_eq!(trial.check_acl(good).await, Ok(()), "{good}");
    }
    for (bad, words, column) in [
        ("no_such_fetch(x) y", "unknown fetch method 'no_such_fetch' in ACL expression", Some(1)),
        ("path,no_such(1) y", "unknown converter 'no_such'", Some(6)),
        ("src 10.0.0.0/99", "'10.0.0.0/99'", Some(5)),
        ("hdr(host) -z x", "'-z' is not a valid ACL option", Some(11)),
        ("path_reg '['", "missing terminating ]", Some(11)),
        ("hdr(host", "expected ')'", Some(1)),
    ] {
        match trial.check_acl(bad).await {
            Err(TrialRefusal::Refused { words: told, column: at }) => {
                assert!(told.contains(words), "{bad}: {told}");
                assert!(!told.contains("stdin") && !told.contains("trial"), "{bad}: {told}");
                assert_eq!(at, column, "{bad}: {told}");
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn hostile_text_never_comes_to_haproxy() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "the secret\n").unwrap();
    let reads_file = format!("src -f {}", secret.display());
    let sixty_one = format!("path {}", "/x ".repeat(60));
    for (text, refused) in [
        ("src -f /etc/shadow", "may not be read"),
        (&reads_file, "may not be read"),
        ("src \"-f\" /etc/shadow", "may not be read"),
        ("src -\"f\" /etc/shadow", "may not be read"),
        ("src \"$SECRET\"", "not allowed"),
        ("src $SECRET", "not allowed"),
        ("src \"${SECRET}\"", "not allowed"),
        ("path -f /dev/zero", "may not be read"),
        ("path -M -f /etc/passwd", "may not be read"),
        ("env(SECRET) -m found", "may not be read"),
        ("str(x),map(/etc/passwd) x", "may not be read"),
        ("str(x),map_reg(/etc/passwd) x", "may not be read"),
        ("lua.code x", "may not be read"),
        ("path /a\nlua-load /x", "control character"),
        ("path /a\r", "control character"),
        ("path /a\0", "control character"),
        ("path \\n", "not allowed"),
        (&sixty_one, "too many words"),
        ("", "empty"),
    ] {
        match trial().check_acl(text).await {
            Err(TrialRefusal::Refused { words, .. }) => {
                assert!(words.contains(refused), "{text:?}: {words}");
                assert!(!words.contains("the secret"), "{text:?}: {words}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_trial_has_no_environment_no_privileges_little_memory_and_little_time() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    // Who is nobody has to get at it.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = directory.path().join("haproxy");
    let stand_in = |script: &str| {
        std::fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        Trial::new(&HaproxyConfig { binary: binary.clone(), ..HaproxyConfig::default() })
    };
    let told = "[ -z \"$HOME$USER$SECRET\" ] || exit 3\n\
        echo \"[ALERT] (1) : config : parsing [/dev/stdin:9] : uid $(id -u), memory $(ulimit -v), files $(ulimit -f), here $(pwd)\" >&2\nexit 1";
    let refusal = stand_in(told).check_acl("path /x").await.unwrap_err().to_string();
    assert!(refusal.contains("memory 262144, files 0, here /"), "{refusal}");
    assert!(!refusal.contains("uid 0,"), "{refusal}");
    let begun = Instant::now();
    assert_eq!(stand_in("exec sleep 60").check_acl("path /x").await, Err(TrialRefusal::Endless));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let missing = Trial::new(&HaproxyConfig { binary: "/no/such".into(), ..HaproxyConfig::default() });
    assert!(matches!(missing.check_acl("path /x").await, Err(TrialRefusal::Untried { .. })));
}

#[tokio::test]
async fn of_many_texts_those_that_are_refused_are_named() {
    let texts = ["path /a", "no_such_fetch x", "path /b", "src x -f y"];
    let refused = trial().refused(&texts).await.unwrap();
    let mut names: Vec<&str> = refused.iter().map(|(text, _)| *text).collect();
    names.sort_unstable();
    assert_eq!(names, ["no_such_fetch x", "src x -f y"]);
    assert_eq!(trial().refused(&["path /a", "path /b"]).await, Ok(Vec::new()));
}
