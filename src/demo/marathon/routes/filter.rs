//! Filters of `/v2/apps`: `label`, `id` and `cmd`.

use serde_json::Value;

use super::super::definition::Definition;
use super::Call;

/// One part of a label selector.
enum Term {
    Equal(String, String),
    Unequal(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Has(String),
}

/// What a list was asked to be limited to.
pub(super) struct Filter {
    id: Option<String>,
    cmd: Option<String>,
    labels: Vec<Term>,
}

impl Filter {
    pub(super) fn of(call: &Call) -> Self {
        let lower = |key| call.value(key).map(str::to_lowercase);
        Self {
            id: lower("id"),
            cmd: lower("cmd"),
            labels: call.values("label").iter().flat_map(|text| terms(text)).collect(),
        }
    }

    pub(super) fn passes(&self, definition: &Definition) -> bool {
        let label = |key: &str| definition.body["labels"].get(key).and_then(Value::as_str);
        let cmd = definition.body.get("cmd").and_then(Value::as_str).unwrap_or_default();
        self.id.as_ref().is_none_or(|wanted| definition.id.to_lowercase().contains(wanted))
            && self.cmd.as_ref().is_none_or(|wanted| cmd.to_lowercase().contains(wanted))
            && self.labels.iter().all(|term| match term {
                Term::Equal(key, value) => label(key) == Some(value),
                Term::Unequal(key, value) => label(key).is_some_and(|label| label != value),
                Term::In(key, values) => {
                    label(key).is_some_and(|label| values.iter().any(|value| value == label))
                }
                Term::NotIn(key, values) => {
                    label(key).is_some_and(|label| !values.iter().any(|value| value == label))
                }
                Term::Has(key) => label(key).is_some(),
            })
    }
}

/// Parses `a==b, c!=d, e in (x,y), f notin (z), g`.
fn terms(text: &str) -> Vec<Term> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_u32, 0);
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(term).collect()
}

fn term(part: &str) -> Term {
    let owned = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
    let listed = |(key, values): (&str, &str)| {
        let values = values.trim().trim_start_matches('(').trim_end_matches(')');
        (key.trim().to_owned(), values.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((key, value)) = part.split_once("==").map(owned) {
        Term::Equal(key, value)
    } else if let Some((key, value)) = part.split_once("!=").map(owned) {
        Term::Unequal(key, value)
    } else if let Some((key, values)) = part.split_once(" notin ").map(listed) {
        Term::NotIn(key, values)
    } else if let Some((key, values)) = part.split_once(" in ").map(listed) {
        Term::In(key, values)
    } else {
        Term::Has(part.to_owned())
    }
}
