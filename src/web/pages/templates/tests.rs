#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn every_template_loads() {
    assert_eq!(TERA.as_ref().err(), None);
}

fn drawn(template: &str, content: serde_json::Value) -> String {
    let mut tera = TERA.as_ref().unwrap().clone();
    tera.add_raw_template("piece.html", template).unwrap();
    tera.render("piece.html", &Context::from_serialize(&content).unwrap()).unwrap()
}

#[test]
fn what_a_filter_makes_is_escaped() {
    let content = serde_json::json!({ "text": "<script>alert('x')</script>-\"&" });
    for filter in ["time", "breakable", "marked", "state", "kind"] {
        let text = drawn(&format!("{{{{ text | {filter} }}}}"), content.clone());
        assert!(!text.contains("<script") && !text.contains("\"&\""), "{filter}: {text}");
    }
    assert_eq!(drawn("{{ text | in_url }}", content), "%3Cscript%3Ealert%28%27x%27%29%3C/script%3E-%22%26");
}

#[test]
fn long_names_may_break_behind_their_parts_and_lose_nothing() {
    let text = drawn("{{ id | breakable }}", serde_json::json!({ "id": "/shop/web-1" }));
    assert_eq!(text, "/<wbr>shop/<wbr>web-<wbr>1");
}

#[test]
fn figures_are_short() {
    let content = serde_json::json!({ "values": [0.0, 0.04, 1.26, 12.6, 1234567.0] });
    let text = drawn("{% for each in values %}{{ each | rate }} {% endfor %}", content);
    assert_eq!(text, "0 &lt;0.1 1.3 13 1,234,567 ");
    let content = serde_json::json!({ "values": [0.0004, 0.0123, 2.0, 61.0, 600.0, 90000.0, 900000.0] });
    let text = drawn("{% for each in values %}{{ each | seconds }} | {% endfor %}", content);
    assert_eq!(text, "under 1 ms | 12 ms | 2.0 s | 61 s | 10 min | 25 h | 10 days | ");
}

#[test]
fn a_moment_is_shown_in_utc_until_a_script_knows_better() {
    let text = drawn("{{ at | time }}", serde_json::json!({ "at": "2026-11-21T14:02:03.123Z" }));
    let at = "2026-11-21T14:02:03.123Z";
    assert_eq!(text, format!("<time datetime=\"{at}\" title=\"{at}\">2026-11-21 14:02:03 UTC</time>"));
}
