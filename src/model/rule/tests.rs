use super::*;

fn route(toml: &str) -> RuleRoute {
    toml::from_str(toml).unwrap()
}

fn meaning(text: &str) -> Meaning {
    acl::meaning(text).unwrap()
}

#[test]
fn hosts_are_lowered_and_wildcards_stand_for_one_label() {
    use criterion::host;
    assert_eq!(host("Shop.Example.com").unwrap(), "shop.example.com");
    assert_eq!(host("*.example.com").unwrap(), "*.example.com");
    for bad in ["", "a b", "a.*.com", "*", "a\nbackend x", "http://x", "x:80", ".x", "x.", "a;b", "a#b"] {
        assert!(host(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_path_begins_with_a_slash_and_loses_the_one_at_its_end() {
    use criterion::path;
    assert_eq!(path("/api/").unwrap(), "/api");
    assert_eq!(path("/").unwrap(), "");
    for bad in ["api", "", "/a b", "/a\nb", "/a;b", "/a#b", "/a\\b", "/a\"b"] {
        assert!(path(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_short_route_and_a_list_of_criteria_mean_the_same() {
    let short = route("host = \"Shop.example.com\"\npath = \"/cart/\"");
    let long = route("all = [{ host = \"shop.example.com\" }, { path = \"/cart\" }]");
    assert_eq!(short.meaning(), long.meaning());
    assert_eq!(
        short.meaning().unwrap().host_paths().unwrap(),
        [(Some("shop.example.com".to_owned()), "/cart".to_owned())]
    );
}

#[test]
fn any_of_hosts_and_paths_is_several_look_ups_and_everything_else_is_none() {
    let any = route("any = [{ host = \"a.example.com\" }, { path = \"/x\" }]").meaning().unwrap();
    assert_eq!(
        any.host_paths().unwrap(),
        [(Some("a.example.com".to_owned()), String::new()), (None, "/x".to_owned())]
    );
    for text in [
        "all = [{ header = { name = \"X-Team\", value = \"blue\" } }]",
        "all = [{ method = \"get\" }, { host = \"x\" }]",
        "any = [{ source = \"10.0.0.0/8\" }, { path_exact = \"/x\" }]",
    ] {
        assert_eq!(route(text).meaning().unwrap().host_paths(), None, "{text}");
    }
}

#[test]
fn criteria_that_contradict_or_cannot_be_used_are_refused_with_what_is_expected() {
    for (text, expected) in [
        ("", "neither host nor path"),
        ("acl = \"path /x\"\nhost = \"x\"", "stands alone"),
        ("acl = \"path /x\"\nany = [{ host = \"x\" }]", "stands alone"),
        ("host = \"x\"\nany = [{ host = \"y\" }]", "stands alone"),
        ("host = \"x\"\nall = [{ host = \"y\" }]", "cannot both hold"),
        ("all = [{ source = \"10.0.0.0/33\" }]", "not a network"),
        ("all = [{ source = \"localhost\" }]", "not a network"),
        ("all = [{ method = \"GET POST\" }]", "not a method"),
        ("all = [{ header = { name = \"X Team\" } }]", "name of a header"),
        ("all = [{ header = { name = \"X\", value = \"a\\nb\" } }]", "no value of a header"),
        ("all = [{ header = { name = \"X\", value = \"$HOME\" } }]", "no value of a header"),
        ("all = [{ path_exact = \"x\" }]", "not a path"),
        // To HAProxy a flag, and the next value the file that it reads.
        ("any = [{ header = { name = \"X\", value = \"-f\" } }]", "no value of a header"),
        ("path = \"/a\"\nall = [{ path_exact = \"/ab\" }]", "no path is"),
    ] {
        let error = route(text).meaning().unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_criterion_of_a_single_known_form_is_understood_as_typed() {
    let host = |host: &str| Criterion::Host(host.to_owned());
    assert_eq!(meaning("hdr(host) -i Example.com"), Meaning::All(vec![host("example.com")]));
    assert_eq!(meaning("hdr(host) -i a.com b.com"), Meaning::Any(vec![host("a.com"), host("b.com")]));
    assert_eq!(meaning("hdr_dom(host) -i a.com"), Meaning::Any(vec![host("a.com"), host("*.a.com")]));
    assert_eq!(meaning("hdr_dom(host) -i shop"), Meaning::Acl("hdr_dom(host) -i shop".to_owned()));
    assert_eq!(meaning("path_beg /x"), Meaning::All(vec![Criterion::Path("/x".to_owned())]));
    assert_eq!(meaning("path /x/"), Meaning::All(vec![Criterion::PathExact("/x/".to_owned())]));
    assert_eq!(meaning("src 10.0.0.0/8"), Meaning::All(vec![Criterion::Source("10.0.0.0/8".to_owned())]));
    // Paths are looked up as they are written, so that what ignores case is HAProxy's.
    assert_eq!(meaning("path_beg -i /x"), Meaning::Acl("path_beg -i /x".to_owned()));
    assert_eq!(meaning("hdr(host) -m reg ^a"), Meaning::Acl("hdr(host) -m reg ^a".to_owned()));
    assert_eq!(
        meaning("hdr_sub(user-agent) \"Mobile Safari\""),
        Meaning::Acl("hdr_sub(user-agent) 'Mobile Safari'".to_owned())
    );
}

#[test]
fn two_ampersands_join_criteria_where_people_give_them_to_us_and_nowhere_else() {
    let route = RuleRoute::from_acl_with_and("hdr(host) -i x.com && path_beg /y", 1).unwrap();
    assert_eq!((route.host.as_deref(), route.path.as_deref(), route.port), (Some("x.com"), Some("/y"), 1));
    assert!(RuleRoute::from_acl_with_and("hdr(host) -i x.com && path_reg ^/y", 0).is_err());
    let plain = RuleRoute::from_acl_with_and("path_reg ^/y", 0).unwrap();
    assert_eq!(plain.acl.as_deref(), Some("path_reg ^/y"));
    // HAProxy reads four hosts; so do we where the text is Bamboo's.
    assert!(matches!(meaning("hdr(host) -i x && path_beg /y"), Meaning::Acl(_)));
}

const HOSTILE: [&str; 36] = [
    "src -f /etc/shadow",
    "src \"-f\" /etc/shadow",
    "src '-f' /etc/shadow",
    "src \\-f \"/etc/shadow\" -f x",
    "src -\"f\" /etc/shadow",
    "src ''-f /etc/shadow",
    "path -f /dev/zero",
    "path -i -f /dev/zero",
    "src \"$SECRET\"",
    "src $SECRET",
    "path -M -f x",
    "path \"-M\" x",
    "hdr(host) a\nbackend x",
    "hdr(host) a\r",
    "hdr(host) a\u{0}",
    "hdr(host) a\u{85}b",
    "hdr(host) a\u{2028}b",
    "hdr(host) a\\nbackend",
    "hdr(host) \"a\\x0abackend x\"",
    "hdr(host) a\tb",
    "env(HOME) -m found",
    "\"e\"nv(HOME) -m found",
    "ENV(HOME) -m found",
    "path,map(/etc/passwd) x",
    "path,map_str(x) y",
    "path,m'ap'_beg(x) y",
    "lua.f",
    "path,lua.f x",
    "l\"ua\".f",
    "hdr(host),set-var(txn.backend) -m found",
    "path,unset-var(txn.x) -m found",
    "path 'a",
    "path \"a",
    "path a\\",
    "path a # b",
    "",
];

#[test]
fn an_acl_may_not_leave_its_line_or_read_anything() {
    for bad in HOSTILE {
        assert!(acl::harmless(bad).is_err(), "{bad:?} came to {:?}", acl::harmless(bad));
        assert!(acl::meaning(bad).is_err(), "{bad:?}");
        assert!(RuleRoute::from_acl_with_and(bad, 0).is_err(), "{bad:?}");
    }
    assert!(acl::harmless(&"a ".repeat(61)).is_err());
    assert!(acl::harmless(&"a".repeat(2000)).is_err());
    for (good, expected) in [
        (" hdr(host) -i  example.com ", "hdr(host) -i example.com"),
        ("hdr(host) -i maps.example.com", "hdr(host) -i maps.example.com"),
        ("path_reg ^/v\\d+/a\\.b", "path_reg '^/v\\d+/a\\.b'"),
        ("hdr(x) a\\ b", "hdr(x) 'a b'"),
    ] {
        assert_eq!(acl::harmless(good).unwrap(), expected);
    }
}

/// Reads a line as HAProxy does, without any of the checks: what the harmless text says has to be what was looked at.
fn haproxy_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "{line:?}");
    words.extend(word);
    words
}

#[test]
fn no_mixture_of_pieces_comes_through_with_a_word_that_is_refused() {
    let pieces = [
        "-f",
        "-M",
        "-",
        "f",
        "env(",
        "e",
        "nv(",
        "map",
        "_str",
        "(",
        "lua",
        ".",
        "$",
        "HOME",
        "\"",
        "'",
        "\\",
        " ",
        " ",
        "#",
        "\n",
        "\r",
        "\0",
        "\t",
        "\\x2d",
        "\\n",
        "path",
        "hdr(host)",
        "-i",
        "/x",
        ",",
        "set-var(",
        "{",
        "}",
        "\u{2028}",
        "&&",
        "||",
        "!",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut accepted = 0;
    for _ in 0..200_000 {
        let text: String = (0..random.usize(1..9)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        let Ok(line) = acl::harmless(&text) else { continue };
        accepted += 1;
        assert!(!line.chars().any(char::is_control) && !line.contains('$'), "{text:?}: {line:?}");
        for word in haproxy_words(&line) {
            let lower = word.to_ascii_lowercase();
            assert!(!word.starts_with("-f") && !word.starts_with("-M"), "{text:?}: {line:?}");
            for refused in ["env(", "lua.", "set-var(", "map(", "map_str("] {
                assert!(!lower.contains(refused), "{text:?}: {line:?}");
            }
        }
        assert!(!line.contains('#') || line.contains('\''), "{text:?}: {line:?}");
        assert_eq!(acl::harmless(&line).as_ref(), Ok(&line), "{text:?}: it does not stay as it is");
    }
    assert!(accepted > 5_000, "only {accepted} texts were accepted: the test tries too little");
}

#[test]
fn a_group_carries_config_only_and_ids_are_those_of_marathon() {
    let mut rule = Rule::new(AppId::new("/team/**"));
    rule.config.insert("timeout".to_owned(), "5s".to_owned());
    assert_eq!(rule.group(), Some("/team/"));
    assert_eq!(Rule::new(AppId::new("/**")).group(), Some("/"));
    assert_eq!(rule.mistakes(), Vec::<String>::new());
    rule.routes.push(route("host = \"x\""));
    assert!(rule.mistakes()[0].contains("config only"));
    for bad in ["/", "//a", "/a//b", "/a/../b", "/a/.", "/a b", "/a\n", "/a/*", "/a%2f", "/a/"] {
        assert!(!Rule::new(AppId::new(bad)).mistakes().is_empty(), "{bad:?}");
    }
    assert!(Rule::new(AppId::new("/a/b.c-d")).mistakes().is_empty());
}

#[test]
fn config_keys_that_are_taken_or_would_leave_their_place_are_mistakes() {
    for (key, value) in
        [("Acl", "x"), ("acl", "x"), ("Causeway", "x"), ("a b", "x"), ("", "x"), ("a", "x\ny")]
    {
        let mut rule = Rule::new(AppId::new("/a"));
        rule.config.insert(key.to_owned(), value.to_owned());
        assert!(!rule.mistakes().is_empty(), "{key:?}");
    }
}
