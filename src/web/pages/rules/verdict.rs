//! What a change of rules would come to, as a page shows it.

use serde::Serialize;
use serde_json::Value;

use crate::forecast::{Forecast, How, Verdict as Words};
use crate::web::ApiError;

/// Reasons and steps that a page shows; the rest is a number.
const SHOWN: usize = 12;

/// What a page shows beside the form.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    tone: &'static str,
    lead: String,
    /// What is wrong, each in a sentence.
    mistakes: Vec<String>,
    /// HAProxy's own words on free texts, with the column where it gives one.
    haproxy: Vec<Told>,
    details: Vec<String>,
    /// Problems that would come.
    problems: Vec<crate::model::Problem>,
    diff: String,
    steps: Vec<String>,
    more_steps: usize,
}

#[derive(Debug, Serialize)]
struct Told {
    route: u64,
    words: String,
    column: Option<u64>,
}

impl Verdict {
    /// What is no rule at all.
    pub(super) fn mistakes(mistakes: Vec<String>) -> Self {
        Self { tone: "bad", lead: "This cannot be stored".to_owned(), mistakes, ..Self::default() }
    }
}

impl From<&ApiError> for Verdict {
    fn from(error: &ApiError) -> Self {
        let texts = |name: &str| {
            let list = error.member(name).and_then(Value::as_array);
            let text = |value: &Value| value.as_str().map(str::to_owned);
            list.map(|list| list.iter().filter_map(text).collect::<Vec<_>>()).filter(|list| !list.is_empty())
        };
        let told = |value: &Value| {
            Some(Told {
                route: value.get("route")?.as_u64()?,
                words: value.get("words")?.as_str()?.to_owned(),
                column: value.get("column").and_then(Value::as_u64),
            })
        };
        let haproxy: Vec<Told> = error
            .member("haproxy")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(told).collect())
            .unwrap_or_default();
        let mistakes =
            texts("mistakes").or_else(|| texts("refused")).unwrap_or_else(|| vec![error.detail().to_owned()]);
        let lead = match error.status().as_u16() {
            401 | 403 => "This is not yours to say",
            503 => "Not just now",
            _ if !haproxy.is_empty() => "HAProxy refuses this",
            _ => "This cannot be stored",
        };
        // HAProxy's words stand for themselves.
        let mistakes = if haproxy.is_empty() { mistakes } else { Vec::new() };
        Self { tone: "bad", lead: lead.to_owned(), mistakes, haproxy, ..Self::default() }
    }
}

impl From<&Forecast> for Verdict {
    fn from(forecast: &Forecast) -> Self {
        let (lead, mut tone) = match forecast.how {
            How::Nothing => ("Nothing would change at HAProxy", "idle"),
            How::Runtime => ("Live at once, by commands to the running HAProxy", "good"),
            How::Reload => ("Live by a reload of HAProxy; no request is lost", "good"),
        };
        let mut details: Vec<String> =
            forecast.reasons.iter().take(SHOWN).map(|reason| format!("Reload: {reason}")).collect();
        let mut mistakes = Vec::new();
        match &forecast.haproxy {
            Words::NotNeeded => {}
            Words::Accepted => details.insert(0, "HAProxy takes the whole text.".to_owned()),
            Words::Refused { words } => {
                tone = "bad";
                mistakes.clone_from(words);
                details.insert(0, "HAProxy refuses the text; what is refused would be left out.".to_owned());
            }
            Words::Unknown { why } => {
                tone = "warn";
                details.insert(0, format!("HAProxy was not asked about the whole text: {why}"));
            }
        }
        if !forecast.problems.is_empty() && tone == "good" {
            tone = "warn";
        }
        Self {
            tone,
            lead: lead.to_owned(),
            mistakes,
            haproxy: Vec::new(),
            details,
            problems: forecast.problems.clone(),
            diff: forecast.diff.clone(),
            more_steps: forecast.steps.len().saturating_sub(SHOWN),
            steps: forecast.steps.iter().take(SHOWN).cloned().collect(),
        }
    }
}
