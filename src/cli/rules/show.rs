//! Rules and forecasts as people read them.

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::model::{Criterion, Rule, RuleRoute};
use crate::web::rules::Shown;

/// JSON, indented.
pub(super) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A rules file.
pub(super) fn toml(rules: &[Shown]) -> Result<String> {
    #[derive(Serialize)]
    struct File {
        rule: Vec<Rule>,
    }
    let rules: Vec<Rule> = rules.iter().cloned().map(Rule::from).collect();
    if rules.is_empty() {
        // An empty file would be taken for one that broke.
        return Ok("# no rules\n".to_owned());
    }
    Ok(toml::to_string(&File { rule: rules })?)
}

/// A line a rule, in columns.
pub(super) fn list(rules: &[Shown]) -> String {
    let mut rows = vec![["APP", "ORDER", "ROUTES", "CHANGED"].map(str::to_owned)];
    for rule in rules {
        let mut routes: Vec<String> = rule.routes.iter().map(route).collect();
        if !rule.enabled {
            routes.insert(0, "(disabled)".to_owned());
        }
        if rule.replace {
            routes.push("(instead of labels)".to_owned());
        }
        if !rule.config.is_empty() {
            routes.push(format!("config {}", rule.config.keys().cloned().collect::<Vec<_>>().join(",")));
        }
        let changed = rule.changed.as_ref().map_or(String::new(), |change| {
            let why = if change.why.is_empty() { String::new() } else { format!(": {}", change.why) };
            format!("{} by {}{why}", change.at.0, change.by)
        });
        let order = rule.order.map_or("-".to_owned(), |order| order.to_string());
        rows.push([rule.app.to_string(), order, routes.join("; "), changed]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 4]| {
        let [app, order, routes, changed] = row;
        let [first, second, third] = widths;
        format!("{app:first$}  {order:second$}  {routes:third$}  {changed}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn route(route: &RuleRoute) -> String {
    let joined = |criteria: &[Criterion], word: &str| {
        criteria.iter().map(Criterion::acl).collect::<Vec<_>>().join(word)
    };
    let mut text = match (&route.acl, route.any.is_empty()) {
        (Some(acl), _) => format!("acl {acl}"),
        (None, false) => joined(&route.any, " or "),
        (None, true) => {
            let host = route.host.as_deref().unwrap_or("*");
            let mut text = format!("{host}{}", route.path.as_deref().unwrap_or_default());
            if !route.all.is_empty() {
                text =
                    if route.host.is_some() || route.path.is_some() { text + " and " } else { String::new() };
                text.push_str(&joined(&route.all, " and "));
            }
            text
        }
    };
    if route.port > 0 {
        text.push_str(&format!(" to port {}", route.port));
    }
    text
}

/// What a change would come to.
pub(super) fn forecast(forecast: &Value) -> String {
    let lines = |key: &str| forecast[key].as_array().cloned().unwrap_or_default();
    let mut text = forecast["diff"].as_str().unwrap_or_default().to_owned();
    let how = match forecast["how"].as_str().unwrap_or_default() {
        "nothing" => "Nothing to do: what runs is what it would come to.",
        "runtime" => "At run time, without a reload:",
        _ => "With a reload:",
    };
    text.push_str(how);
    text.push('\n');
    for step in lines("steps") {
        text.push_str(&format!("  {}\n", step.as_str().unwrap_or_default()));
    }
    for reason in lines("reasons") {
        let of = |key: &str| reason[key].as_str().map(|value| format!(" {value}")).unwrap_or_default();
        let what = ["section", "backend", "file"].map(of).concat();
        text.push_str(&format!("  reload: {}{what}\n", reason["reason"].as_str().unwrap_or_default()));
    }
    let haproxy = &forecast["haproxy"];
    match haproxy["verdict"].as_str().unwrap_or_default() {
        "accepted" => text.push_str("HAProxy takes the whole text.\n"),
        "refused" => {
            text.push_str("HAProxy refuses the text:\n");
            for words in haproxy["words"].as_array().into_iter().flatten() {
                text.push_str(&format!("  {}\n", words.as_str().unwrap_or_default()));
            }
        }
        "unknown" => text
            .push_str(&format!("HAProxy was not asked: {}\n", haproxy["why"].as_str().unwrap_or_default())),
        _ => {}
    }
    for problem in lines("problems") {
        let of = |key: &str| problem[key].as_str().unwrap_or_default();
        text.push_str(&format!("problem: {}: {} ({})\n", of("app"), of("message"), of("advice")));
    }
    text
}
