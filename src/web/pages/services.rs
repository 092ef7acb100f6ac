//! The first page: how it stands, and every service in a row.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Json, Response};
use serde::{Deserialize, Serialize};

use super::strip::{Tile, strip};
use super::words::{STATES, Word, Words};
use super::{PageError, Reader, Screen};
use crate::web::Seen;
use crate::web::api::Asked;
use crate::web::api::services::{Filter, ServicePage, services};

/// What the form asks for; what is empty is not asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Form {
    q: String,
    /// One of the API's, `unexposed` among them.
    state: String,
    group: String,
    mode: String,
    /// Anything: only those that have problems.
    problems: String,
    cursor: String,
}

/// Services of one state, with a way to them.
#[derive(Debug, Serialize)]
struct Count {
    #[serde(flatten)]
    word: Word,
    count: usize,
    url: String,
    is_chosen: bool,
}

#[derive(Serialize)]
struct Content<'a> {
    strip: Vec<Tile>,
    form: &'a Form,
    is_filtered: bool,
    page: ServicePage,
    counts: Vec<Count>,
    all_url: String,
    next_url: Option<String>,
    states: Words,
    waits_for: Vec<&'static str>,
    /// Marathon has no app, and there is no rule.
    is_first_visit: bool,
    marathon: String,
}

impl Form {
    fn filter(&self) -> Filter {
        let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let unexposed = self.state == "unexposed";
        Filter {
            q: said(&self.q),
            state: said(&self.state).filter(|_| !unexposed),
            group: said(&self.group),
            mode: said(&self.mode),
            problems: (!self.problems.is_empty()).then_some(true),
            exposed: unexposed.then_some(false),
            limit: None,
            cursor: said(&self.cursor),
        }
    }

    /// The address of the page that these are asked for on.
    fn url(&self) -> String {
        let fields = [
            ("q", &self.q),
            ("state", &self.state),
            ("group", &self.group),
            ("mode", &self.mode),
            ("problems", &self.problems),
            ("cursor", &self.cursor),
        ];
        let said = fields.iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> =
            said.map(|(name, value)| format!("{name}={}", super::templates::in_url(value))).collect();
        if query.is_empty() { "/".to_owned() } else { format!("/?{}", query.join("&")) }
    }

    fn is_empty(&self) -> bool {
        [&self.q, &self.state, &self.group, &self.mode, &self.problems].into_iter().all(String::is_empty)
    }
}

pub(super) async fn show(
    reader: Reader,
    State(seen): State<Seen>,
    form: Result<Query<Form>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(form) = form?;
    let view = seen.view.borrow().clone();
    let asked = Asked(form.filter());
    let (running, metrics) = (State(seen.running.clone()), State(seen.metrics.clone()));
    let found = services(reader.caller.clone(), State(view.clone()), running, metrics, asked).await;
    let Json(page) = found.map_err(|error| PageError::to(&reader, error))?;
    let of_state = |word: &Word| Count {
        word: *word,
        count: page.states.get(word.name).copied().unwrap_or_default(),
        url: Form { state: word.name.to_owned(), cursor: String::new(), ..form.clone() }.url(),
        is_chosen: form.state == word.name,
    };
    let content = Content {
        strip: strip(&seen, reader.problems),
        is_filtered: !form.is_empty(),
        counts: STATES.0.iter().map(of_state).filter(|each| each.count > 0 || each.is_chosen).collect(),
        all_url: Form { state: String::new(), cursor: String::new(), ..form.clone() }.url(),
        next_url: page.next.clone().map(|cursor| Form { cursor, ..form.clone() }.url()),
        page,
        states: STATES,
        waits_for: seen.metrics.standing().waits_for,
        is_first_visit: view.ready && view.apps.is_empty() && view.rules.is_empty(),
        marathon: seen.origins.endpoints().join(", "),
        form: &form,
    };
    Ok(reader.page("services.html", Screen::Services, "Services", &content))
}
