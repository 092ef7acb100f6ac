//! What comes from outside, made up at random: nothing of it stops Causeway, and nothing of it starts a line of its own.
//! `make fuzz` takes many more cases.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeSet;

use causeway::config::{Config, TemplateConfig};
use causeway::haproxy::runtime::{Features, Info, Processes, Reply};
use causeway::haproxy::servers::{parse_states, parse_uses};
use causeway::model::rule::{Meaning, RuleRoute};
use causeway::render::Templates;
use causeway::services::{self, Terms};
use causeway::sources::marathon::parse_apps;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Labels of a port, with a value that does something.
const LABELS: [(&str, &str); 24] = [
    ("VHOST", "a.example.com,*.b.example.com"),
    ("PATH", "/p"),
    ("BACKEND_WEIGHT", "3"),
    ("PORT", "10101"),
    ("MODE", "tcp"),
    ("BALANCE", "leastconn"),
    ("STICKY", "true"),
    ("ENABLED", "true"),
    ("REDIRECT_TO_HTTPS", "true"),
    ("USE_HSTS", "true"),
    ("AUTH", "realm:user:$1$salt$qJH7.N4xYta3aEG/dfqo/0"),
    ("NETWORK_ALLOWED_ACL", "10.0.0.0/8 192.168.1.1"),
    ("BIND_ADDR", "127.0.0.1"),
    ("BIND_OPTIONS", "ssl alpn h2"),
    ("SSL_CERT", "a.pem"),
    ("BACKEND_PROTO", "https"),
    ("HTTP_BACKEND_PROXYPASS_PATH", "/q"),
    ("HTTP_BACKEND_REVPROXY_PATH", "/q"),
    ("HTTP_BACKEND_REDIR", "/start"),
    ("BACKEND_HEALTHCHECK_PORT_INDEX", "0"),
    ("CHECKS", "both"),
    ("BACKEND_HEAD", "backend {backend}\n  balance source\n"),
    ("HTTP_FRONTEND_ACL", "  acl x hdr(host) -i {hostname}\n"),
    ("GROUP", "external"),
];
/// What somebody who means harm would put into a value.
const BITS: [&str; 20] = [
    "\n",
    "\r",
    "\0",
    "\u{2028}",
    "\u{a0}",
    " ",
    "\"",
    "'",
    "\\",
    "#",
    "$HOME",
    "${HOME}",
    "%[env(HOME)]",
    "{",
    "}}",
    "\nbackend evil\n",
    "\n    http-request lua.x\n",
    ".if 1",
    "-f /etc/shadow",
    "<<",
];

fn value() -> impl Strategy<Value = String> {
    let bits = prop::collection::vec(
        prop_oneof![prop::sample::select(&BITS[..]).prop_map(str::to_owned), ".{0,6}"],
        0..4,
    );
    let good = prop::sample::select(&LABELS[..]).prop_map(|(_, value)| value.to_owned());
    (good, bits, any::<bool>()).prop_map(|(good, bits, alone)| match alone {
        true => bits.concat(),
        false => format!("{good}{}", bits.concat()),
    })
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let port =
        (0..3_u8, prop::sample::select(&LABELS[..])).prop_map(|(n, (name, _))| format!("HAPROXY_{n}_{name}"));
    let name = prop_oneof![
        6 => port,
        1 => "HAPROXY_[A-Z0-9_]{0,20}",
        1 => Just("HAPROXY_DEPLOYMENT_GROUP".to_owned()),
        1 => "\\PC{1,12}",
    ];
    prop::collection::vec((name, value()), 0..8)
}

fn app(id: &str, labels: Vec<(String, String)>) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    json!({ "apps": [{
        "id": id, "instances": 1, "labels": labels, "version": "2026-01-02T03:04:05.000Z",
        "healthChecks": [{ "protocol": "HTTP", "path": "/h", "portIndex": 0 }],
        "portDefinitions": [{ "port": 10_001 }, { "port": 10_002 }],
        "tasks": [{ "id": "t.1", "host": "10.0.0.1", "ports": [31_001, 31_002], "state": "TASK_RUNNING" }],
    }] })
}

/// The first words of the lines that the templates write.
fn known_words() -> BTreeSet<String> {
    let template = include_str!("../templates/service.cfg");
    let words = template.lines().filter_map(|line| line.split_whitespace().next());
    let words = words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
    words
        .chain([
            "#",
            "server",
            "userlist",
            "user",
            "frontend",
            "backend",
            "bind",
            "default_backend",
            "http-check",
            "option",
        ])
        .map(str::to_owned)
        .collect()
}

proptest! {
    #[test]
    fn no_label_starts_a_line_of_its_own(labels in labels(), id in "/[a-z0-9.-]{1,12}") {
        let templates = Templates::load(&TemplateConfig::default()).unwrap();
        let mut config = Config::default();
        config.tls.dir = Some("/tls".into());
        let (apps, _) = parse_apps(app(&id, labels).to_string().as_bytes()).unwrap();
        let words = known_words();
        for app in &apps {
            for service in services::of(app, None, &Terms::from(&config), false).services {
                // A control character is an error of the template, which puts the service aside.
                let Ok(text) = templates.service(&service, Some("*:1"), false) else { continue };
                let mut sections = 0;
                for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
                    prop_assert!(!line.chars().any(|c| c.is_control() && c != '\u{1}'), "{line:?}");
                    let word = line.split_whitespace().next().unwrap();
                    let marked = word.starts_with('\u{1}');
                    prop_assert!(marked || words.contains(word), "{line:?} in\n{text}");
                    sections += usize::from(word == "backend");
                }
                prop_assert_eq!(sections, 1, "{}", text);
            }
        }
    }

    #[test]
    fn what_is_taken_for_a_harmless_criterion_is_one_line_that_reads_nothing(text in value()) {
        let route = RuleRoute { acl: Some(text.clone()), ..RuleRoute::default() };
        if let Ok(Meaning::Acl(words)) = route.meaning() {
            prop_assert!(!words.chars().any(char::is_control), "{text:?} became {words:?}");
            let lower = words.to_lowercase();
            for word in ["env(", "lua.", "map(", "$"] {
                prop_assert!(!lower.contains(word), "{text:?} became {words:?}");
            }
            prop_assert!(!words.split(' ').any(|word| word == "-f" || word == "-M"), "{text:?} became {words:?}");
        }
    }

    #[test]
    fn no_answer_of_marathon_stops_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..600_usize) {
        let _any = parse_apps(&bytes);
        let mut json = app("/a", vec![("HAPROXY_0_VHOST".to_owned(), "a.x".to_owned())]).to_string().into_bytes();
        let at = at % json.len();
        for (place, byte) in json[at..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        let _any = parse_apps(&json);
    }

    #[test]
    fn no_answer_of_haproxy_stops_who_reads_it(text in "(\\PC|[\n\t#,: -]){0,200}") {
        let _any = (Reply::of(&text), Info::parse(&text), Processes::parse(&text), Features::parse(&text));
        let _any = (parse_states(&text), parse_uses(&text));
        let states = format!("1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n{text}\n");
        let _any = (parse_states(&states), parse_uses(&format!("# pxname,svname,scur\n{text}\n")));
    }
}
