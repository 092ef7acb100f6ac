//! Each template that a label can say, as a user sees it: an app with a text, requests that the text decides on, and who
//! answers; and beside it an app with a text that cannot be used, what it is told, and what is served nevertheless.

use std::time::{Duration, Instant};

use causeway::config::RawLabels;
use serde_json::{Value, json};

use crate::asked::{Asking, labels, listen_for_tls};
use crate::stage::{Stage, app};
pub(crate) use rows::ROWS;
use rows::Row;

mod rows;

/// How long what the table says may take to become so: servers that fail a check are used until then.
const DEADLINE: Duration = Duration::from_secs(20);

/// An app of the table: its name, its labels, what is seen of it and what is told of it.
struct Case {
    name: String,
    app: Value,
    port: u16,
    requests: &'static [&'static str],
    told: Option<&'static str>,
}

impl Case {
    fn of(row: &Row, index: usize, is_bad: bool) -> Self {
        let name = row.template.to_lowercase().replace('_', "-") + if is_bad { "-bad" } else { "" };
        let text = if is_bad { row.bad } else { row.text };
        let labels = labels(&name, &[row.beside, &[(row.template, text)]].concat());
        let port = 10_000 + u16::try_from(2 * index + usize::from(is_bad)).unwrap();
        let mut app = app(&format!("/{name}"), 1, port, labels);
        if row.beside.iter().any(|(label, _)| *label == "CHECKS") {
            let protocol = if row.template.contains("TCP") { "TCP" } else { "HTTP" };
            app["healthChecks"] = json!([{
                "protocol": protocol, "path": "/up", "portIndex": 0, "intervalSeconds": 1, "timeoutSeconds": 1,
                "gracePeriodSeconds": 1, "maxConsecutiveFailures": 0,
            }]);
        }
        let told = (is_bad || row.template.starts_with("MAP_")).then_some(row.told);
        Self { name, app, port, requests: if is_bad { row.still } else { row.shows }, told }
    }

    /// What is wrong with what is told of the app: just that its text cannot be used, where it is so.
    fn wrongly_told(&self, problems: &[Value]) -> Option<String> {
        let own = json!(format!("/{}", self.name));
        let own: Vec<&str> = problems
            .iter()
            .filter(|problem| problem["app"] == own)
            .map(|problem| problem["message"].as_str().unwrap())
            .collect();
        let is_right = match (&own[..], self.told) {
            ([], None) => true,
            ([message], Some(told)) => message.contains("HAPROXY_0_") && message.contains(told),
            _ => false,
        };
        (!is_right).then(|| format!("{}: told {:?}, but {own:?}", self.name, self.told))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_template_does_what_it_says_and_a_text_that_cannot_be_used_harms_nobody() {
    let mut stage = Stage::set().await;
    listen_for_tls(&mut stage);
    stage.config.labels.raw = RawLabels::Allow;
    stage.config.haproxy.service_port_range.last = 10_100;
    let both = |(index, row)| [false, true].map(|is_bad| Case::of(row, index, is_bad));
    let cases: Vec<Case> = ROWS.iter().enumerate().flat_map(both).collect();
    stage.marathon.create_apps(cases.iter().map(|case| case.app.clone()).collect()).await.unwrap();
    stage.bridge();
    stage.served("backend-head.example.com", "/", "/backend-head").await;
    let asking = Asking::of(&stage);
    let mut open: Vec<(&Case, &str)> =
        cases.iter().flat_map(|case| case.requests.iter().map(move |line| (case, *line))).collect();
    let deadline = Instant::now() + DEADLINE;
    let mut wrong = Vec::new();
    while !open.is_empty() {
        wrong.clear();
        for (case, line) in std::mem::take(&mut open) {
            if let Some(why) = asking.wrong(&case.name, case.port, line).await {
                wrong.push(why);
                open.push((case, line));
            }
        }
        if Instant::now() > deadline {
            break;
        }
    }
    assert!(wrong.is_empty(), "{} of the table are not so:\n{}", wrong.len(), wrong.join("\n"));
    let problems = stage.api("/problems?limit=1000").await.unwrap();
    let problems = problems["problems"].as_array().unwrap();
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.wrongly_told(problems)).collect();
    assert!(wrong.is_empty(), "{} of the table are not told so:\n{}", wrong.len(), wrong.join("\n"));
}
