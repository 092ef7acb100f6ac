//! What is wrong: what, whose, since when, what it means, what to do.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Json, Response};
use serde::{Deserialize, Serialize};

use super::words::{KINDS, Word};
use super::{PageError, Reader, Screen};
use crate::web::Seen;
use crate::web::api::Asked;
use crate::web::api::shown::{Filter, ProblemPage, ShownProblem, problems};

/// Problems that a page shows; the newest.
const SHOWN: usize = 200;

/// Which of them; what is empty is not asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Form {
    kind: String,
    app: String,
}

/// Problems of one kind.
#[derive(Serialize)]
struct Kind {
    #[serde(flatten)]
    word: Word,
    /// How many there are.
    count: usize,
    is_chosen: bool,
    /// Those that are shown.
    problems: Vec<ShownProblem>,
}

#[derive(Serialize)]
struct Content<'a> {
    form: &'a Form,
    kinds: Vec<Kind>,
    total: usize,
    shown: usize,
}

pub(super) async fn show(
    reader: Reader,
    State(seen): State<Seen>,
    form: Result<Query<Form>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(form) = form?;
    let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = Filter { kind: said(&form.kind), app: said(&form.app), limit: Some(SHOWN) };
    let (view, running) = (State(seen.view.borrow().clone()), State(seen.running.clone()));
    let found = problems(reader.caller.clone(), view, running, Asked(filter)).await;
    let Json(page) = found.map_err(|error| PageError::to(&reader, error))?;
    let ProblemPage { problems, total, kinds } = page;
    let shown = problems.len();
    let mut of_kinds: BTreeMap<&str, Vec<ShownProblem>> = BTreeMap::new();
    for problem in problems {
        of_kinds.entry(problem.kind).or_default().push(problem);
    }
    let kind = |word: &Word| Kind {
        word: *word,
        count: kinds.get(word.name).copied().unwrap_or_default(),
        is_chosen: form.kind == word.name,
        problems: of_kinds.remove(word.name).unwrap_or_default(),
    };
    let kinds = KINDS.0.iter().map(kind).filter(|kind| kind.count > 0 || kind.is_chosen).collect();
    let content = Content { form: &form, kinds, total, shown };
    Ok(reader.page("problems.html", Screen::Problems, "Problems", &content))
}
