//! `docs/label-tests.md`: every label with the test that proves it, written from the tables of the tests themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::{labels_each, raw_each};

/// Labels that a test of its own proves, and whether with a value that can be used (`true`) or one that cannot; which file of
/// `tests/bridge`, and which test there.
const ELSEWHERE: &[(&str, bool, &str, &str)] = &[
    ("GROUP", true, "labels.rs", "groups_and_enabled_decide_what_is_served"),
    ("DEPLOYMENT_GROUP", true, "claims.rs", "blue_and_green_are_one_service_until_the_old_one_is_gone"),
    ("DEPLOYMENT_STARTED_AT", true, "claims.rs", "blue_and_green_are_one_service_until_the_old_one_is_gone"),
    ("DEPLOYMENT_TARGET_INSTANCES", true, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_NEW_INSTANCES", true, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_PARENTS", true, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_GROUP", false, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_STARTED_AT", false, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_TARGET_INSTANCES", false, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_NEW_INSTANCES", false, "claims.rs", SIDE_BY_SIDE),
    ("DEPLOYMENT_PARENTS", false, "claims.rs", SIDE_BY_SIDE),
    ("{n}_GROUP", true, "labels.rs", "groups_and_enabled_decide_what_is_served"),
    ("{n}_ENABLED", true, "labels.rs", "strict_serves_only_what_is_enabled"),
    ("{n}_BALANCE", true, "labels.rs", "port_mode_and_balance_are_as_labelled"),
    (
        "{n}_REDIRECT_TO_HTTPS",
        true,
        "labels_live.rs",
        "a_redirect_comes_and_goes_without_a_reload_and_never_stays_with_a_spare",
    ),
    (
        "{n}_STICKY",
        true,
        "labels_live.rs",
        "a_client_stays_with_its_task_while_others_come_and_go_and_over_a_reload",
    ),
    (
        "{n}_CHECKS",
        true,
        "labels_live.rs",
        "haproxys_own_checks_take_out_who_fails_them_and_bring_back_who_recovers",
    ),
    (
        "{n}_BIND_OPTIONS",
        true,
        "tls.rs",
        "a_host_with_client_certificates_is_reached_by_its_own_name_over_tls_only",
    ),
    (
        "{n}_SSL_CERT",
        true,
        "tls.rs",
        "a_host_has_the_certificate_that_its_app_names_and_a_bad_one_harms_nobody_else",
    ),
    ("{n}_BACKEND_PROTO", true, "peers.rs", "a_server_is_spoken_to_in_http_2_where_its_app_says_so"),
    ("{n}_BACKEND_PROTO", true, "peers.rs", "a_server_that_speaks_tls_is_verified_by_tls_ca"),
];
const SIDE_BY_SIDE: &str =
    "versions_stay_side_by_side_or_have_several_parents_where_all_of_their_labels_say_so";
/// Every value of them can be used.
const NEVER_BAD: &[&str] = &["GROUP", "{n}_GROUP"];
const BEGIN: &str = "<!-- written from the tables of tests/bridge: begin -->\n";
const END: &str = "<!-- end -->";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The labels of a page that is written from what the parser reads, by their names without `HAPROXY_`.
fn labels(page: &str, with: &str) -> Vec<String> {
    let page = read(page);
    let name = |line: &str| Some(line.strip_prefix("| `HAPROXY_")?.split_once('`')?.0.to_owned());
    page.lines().filter(|line| line.contains(with)).filter_map(name).collect()
}

/// Whether a row of the table is about a label: all but the host that every row has for its requests.
fn is_about(row: &labels_each::Row, label: &str) -> bool {
    let Some(label) = label.strip_prefix("{n}_") else { return false };
    let (name, with, _) = row;
    match name.contains("-bad") {
        true => with.last().is_some_and(|(last, _)| *last == label),
        false => with.iter().any(|(own, _)| *own == label && (label != "VHOST" || with.len() == 1)),
    }
}

fn cell(text: &str) -> String {
    let shown: String = text
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() })
        .collect();
    let shown = shown.trim_end_matches('\n').replace('\u{7}', "\\u{7}").replace('|', "\\|").replace('`', "'");
    shown.split('\n').map(|line| format!("`{}`", line.trim())).collect::<Vec<_>>().join("<br>")
}

fn cells(lines: &[&str]) -> String {
    lines.iter().map(|line| cell(line)).collect::<Vec<_>>().join("<br>")
}

fn with(labels: &[(&str, &str)]) -> String {
    let shown: Vec<String> =
        labels.iter().map(|(name, value)| cell(&format!("{name} = {value}").replace('\n', "\\n"))).collect();
    shown.join("<br>")
}

/// The page's tables.
fn tables() -> String {
    let mut text = String::from(
        "### Which test is about which label\n\n| label | a value that can be used | one that cannot |\n|---|---|---|\n",
    );
    for label in labels("docs/labels.md", "") {
        let tests = |usable: bool| {
            let rows = labels_each::ROWS
                .iter()
                .filter(|row| is_about(row, &label) && row.0.contains("-bad") != usable);
            let rows = rows.map(|(name, ..)| format!("`{name}`"));
            let others = ELSEWHERE.iter().filter(|(name, good, ..)| *name == label && *good == usable);
            let others = others.map(|(_, _, file, test)| format!("{file}: `{test}`"));
            rows.chain(others).collect::<Vec<_>>()
        };
        let (good, bad) = (tests(true), tests(false));
        assert!(!good.is_empty(), "no test shows what HAPROXY_{label} does");
        assert!(
            !bad.is_empty() || NEVER_BAD.contains(&label.as_str()),
            "no test shows a bad HAPROXY_{label}"
        );
        let bad = if bad.is_empty() { "there is none".to_owned() } else { bad.join(", ") };
        let _infallible = writeln!(text, "| `HAPROXY_{label}` | {} | {bad} |", good.join(", "));
    }
    text.push_str("\n### The rows\n\n| app | `HAPROXY_0_…` | requests, and what comes |\n|---|---|---|\n");
    for (name, labels, requests) in labels_each::ROWS {
        let _infallible = writeln!(text, "| `{name}` | {} | {} |", with(labels), cells(requests));
    }
    text.push_str("\n### Templates as labels\n\n| `HAPROXY_0_…` | beside it | a text | requests, and what comes | a text that is not used | what its Problem says | what is served nevertheless |\n|---|---|---|---|---|---|---|\n");
    for row in raw_each::ROWS {
        let _infallible = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            row.template,
            with(row.beside),
            cell(row.text),
            cells(row.shows),
            cell(row.bad),
            row.told,
            cells(row.still)
        );
    }
    text
}

#[test]
fn every_template_that_a_label_can_say_has_a_row() {
    let rows: Vec<&str> = raw_each::ROWS.iter().map(|row| row.template).collect();
    assert_eq!(rows, labels("docs/raw.md", "` | yes |"), "one row for each, in their order");
}

#[test]
fn the_tests_that_prove_a_label_elsewhere_are_there() {
    let names: BTreeSet<&str> = ELSEWHERE.iter().map(|(label, ..)| *label).collect();
    let known = labels("docs/labels.md", "");
    assert!(names.iter().all(|name| known.iter().any(|label| label == name)), "{names:?}");
    for (_, _, file, test) in ELSEWHERE {
        assert!(
            read(&format!("tests/bridge/{file}")).contains(&format!("async fn {test}(")),
            "{file}: {test}"
        );
    }
}

/// `UPDATE_DOCS=1 cargo nextest run the_page_of` writes the page anew.
#[test]
fn the_page_of_proven_labels_is_what_the_tests_ask() {
    let page = read("docs/label-tests.md");
    let (before, rest) = page.split_once(BEGIN).expect("the page has its mark");
    let (written, after) = rest.split_once(END).expect("the page has its mark");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/label-tests.md");
        std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", tables())).unwrap();
    } else {
        assert_eq!(written, tables(), "write it anew with UPDATE_DOCS=1");
    }
}
