//! What changed, and how; the configuration that runs, those before, what differs between two, and the way back.

use axum::Extension;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Json, Redirect, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::templates::in_url;
use super::text::{Cut, cut};
use super::words::{CHANGES, Words};
use super::{PageError, Reader, Screen};
use crate::web::api::changes::{ChangeDetail, Filter, ShownChange};
use crate::web::api::config::{Between, GenerationList, ReleaseOrder, RollbackOrder};
use crate::web::api::{Asked, changes as api, config};
use crate::web::{ApiError, Audit, Seen};

/// Changes on one page.
const SHOWN: usize = 50;
/// The most of a text that is read back from an answer of the API.
const TEXT_MAX: usize = 64 * 1024 * 1024;

/// Which changes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Asks {
    app: String,
    /// Those before this one.
    before: String,
}

#[derive(Serialize)]
struct Content<'a> {
    asks: &'a Asks,
    changes: Vec<ShownChange>,
    next_url: Option<String>,
    list: GenerationList,
    words: Words,
    is_admin: bool,
}

pub(super) async fn show(
    reader: Reader,
    State(seen): State<Seen>,
    asks: Result<Query<Asks>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asks) = asks?;
    let told = |error: ApiError| PageError::to(&reader, error).back_to("/changes".to_owned());
    let filter = Filter {
        app: Some(asks.app.trim().to_owned()).filter(|app| !app.is_empty()),
        port_index: None,
        before: asks.before.parse().ok(),
        limit: Some(SHOWN),
    };
    let found = api::changes(reader.caller.clone(), State(seen.history.clone()), Asked(filter)).await;
    let Json(page) = found.map_err(told)?;
    let app = if asks.app.is_empty() { String::new() } else { format!("&app={}", in_url(&asks.app)) };
    let content = Content {
        next_url: page.next.map(|before| format!("/changes?before={before}{app}")),
        changes: page.changes,
        list: generations(&reader, &seen).await?,
        words: CHANGES,
        is_admin: reader.caller.is_admin(),
        asks: &asks,
    };
    Ok(reader.page("changes.html", Screen::Changes, "Changes", &content))
}

async fn generations(reader: &Reader, seen: &Seen) -> Result<GenerationList, PageError> {
    let list = config::generations(reader.caller.clone(), State(seen.running.clone())).await;
    list.map(|Json(list)| list).map_err(|error| PageError::to(reader, error))
}

#[derive(Serialize)]
struct One {
    detail: ChangeDetail,
}

/// One change, with its difference.
pub(super) async fn one(
    reader: Reader,
    State(seen): State<Seen>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, PageError> {
    let found = api::change(reader.caller.clone(), State(seen.history.clone()), id).await;
    let Json(detail) = found.map_err(|error| PageError::to(&reader, error).back_to("/changes".to_owned()))?;
    let title = format!("Change {}", detail.change.id);
    Ok(reader.page("change_page.html", Screen::Changes, &title, &One { detail }))
}

/// Which configuration, and which part of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Which {
    /// Empty: what runs.
    generation: String,
    q: String,
    from: usize,
}

#[derive(Serialize)]
struct ConfigContent<'a> {
    asks: &'a Which,
    cut: Cut,
    list: GenerationList,
    next_url: Option<String>,
    first_url: Option<String>,
    is_live: bool,
}

/// A configuration, with its lines numbered.
pub(super) async fn text(
    reader: Reader,
    State(seen): State<Seen>,
    asks: Result<Query<Which>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asks) = asks?;
    let told = |error: ApiError| PageError::to(&reader, error).back_to("/changes".to_owned());
    let running = State(seen.running.clone());
    let text = match asks.generation.trim() {
        "" => {
            let answer =
                config::config(reader.caller.clone(), running, HeaderMap::new()).await.map_err(told)?;
            read(answer).await.map_err(told)?
        }
        number => {
            let number = number.parse().map_err(|_| {
                told(ApiError::new(StatusCode::BAD_REQUEST, format!("generation: {number:?} is no number")))
            })?;
            config::generation(reader.caller.clone(), running, Ok(Path(number))).await.map_err(told)?
        }
    };
    let cut = cut(&text, &asks.q, asks.from);
    let url = |from: usize| {
        format!("/changes/config?generation={}&q={}&from={from}", in_url(&asks.generation), in_url(&asks.q))
    };
    let content = ConfigContent {
        next_url: (cut.found > asks.from + cut.sections.len()).then(|| url(asks.from + cut.sections.len())),
        first_url: (asks.from > 0).then(|| url(0)),
        is_live: asks.generation.is_empty(),
        list: generations(&reader, &seen).await?,
        asks: &asks,
        cut,
    };
    let title = match asks.generation.as_str() {
        "" => "Live configuration".to_owned(),
        number => format!("Configuration of generation {number}"),
    };
    Ok(reader.page("config.html", Screen::Changes, &title, &content))
}

/// The text of an answer.
async fn read(answer: Response) -> Result<String, ApiError> {
    let bytes = axum::body::to_bytes(answer.into_body(), TEXT_MAX).await;
    let wrong = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the configuration cannot be shown");
    String::from_utf8(bytes.map_err(|_| wrong())?.into()).map_err(|_| wrong())
}

/// Which two.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Two {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Difference<'a> {
    asks: &'a Two,
    diff: String,
    list: GenerationList,
}

/// What differs between two configurations.
pub(super) async fn compare(
    reader: Reader,
    State(seen): State<Seen>,
    asks: Result<Query<Two>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asks) = asks?;
    let between_to = asks.to.parse().ok();
    let between = Between { from: asks.from.parse().ok(), to: between_to };
    let found = config::diff(reader.caller.clone(), State(seen.running.clone()), Asked(between)).await;
    let diff = found.map_err(|error| PageError::to(&reader, error).back_to("/changes".to_owned()))?;
    let list = generations(&reader, &seen).await?;
    // What the API takes where nobody said.
    let current = list.generations.iter().find(|each| each.current).map(|each| each.number);
    let to = between_to.or(current);
    let from = asks.from.parse().ok().or_else(|| {
        list.generations.iter().map(|each| each.number).find(|number| to.is_some_and(|to| *number < to))
    });
    let said = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let asks = Two { from: said(from), to: said(to) };
    let content = Difference { asks: &asks, diff, list };
    Ok(reader.page("difference.html", Screen::Changes, "What differs", &content))
}

/// What a form says of a rollback, or of its end.
#[derive(Debug, Deserialize)]
pub(super) struct Back {
    /// Empty: the rollback ends.
    #[serde(default)]
    generation: String,
    why: String,
}

/// Goes back to an earlier configuration, or ends that, as the API does.
pub(super) async fn roll_back(
    reader: Reader,
    State(seen): State<Seen>,
    Extension(audit): Extension<Audit>,
    form: Result<Form<Back>, FormRejection>,
) -> Result<Response, PageError> {
    let told = |error: ApiError| PageError::to(&reader, error).back_to("/changes".to_owned());
    let Form(form) = form.map_err(|error| told(ApiError::new(error.status(), error.body_text())))?;
    let (caller, running) = (reader.caller.clone(), State(seen.running.clone()));
    match form.generation.trim() {
        "" => {
            let order = Ok(Json(ReleaseOrder { why: form.why }));
            config::release(caller, Extension(audit), running, order).await.map_err(told)?;
        }
        number => {
            let generation = number.parse().map_err(|_| {
                told(ApiError::new(StatusCode::BAD_REQUEST, format!("generation: {number:?} is no number")))
            })?;
            let order = Ok(Json(RollbackOrder { generation, why: form.why }));
            let Json(_rolled_back) =
                config::roll_back(caller, Extension(audit), running, order).await.map_err(told)?;
        }
    }
    Ok(Redirect::to("/changes").into_response())
}
