//! HAProxy's configuration: what runs, what ran, what differs, and the way back.

use std::fmt::Write as _;
use std::time::SystemTime;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Asked, said};
use crate::haproxy::{Generation, Generations};
use crate::history::{moment, unified};
use crate::reconcile::orders::Order;
use crate::reconcile::rollback::{Note, is_kept};
use crate::reconcile::standing::Running;
use crate::render::maps::MapName;
use crate::render::{Files, Text, without_secrets};
use crate::web::{ApiError, Audit, Caller, Seen};

/// How much of a difference is shown, in bytes.
const DIFFERENCE: usize = 4_000_000;

pub(super) fn router() -> Router<Seen> {
    Router::new()
        .route("/api/v2/config", get(config))
        .route("/api/v2/config/generations", get(generations))
        .route("/api/v2/config/generations/{number}", get(generation))
        .route("/api/v2/config/diff", get(diff))
        .route("/api/v2/config/rollback", post(roll_back).delete(release).get(rolled_back))
}

/// The configuration in parts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigParts {
    /// The generation.
    pub generation: Option<u64>,
    /// Global, defaults and the shared frontends; with a single-file template, everything.
    pub head: String,
    /// One block a service.
    pub blocks: Vec<ConfigBlock>,
    /// How many spare backends wait for new apps.
    pub spares: usize,
    /// What the map files say, by their names: keys and what they lead to.
    #[schema(value_type = Object)]
    pub maps: std::collections::BTreeMap<&'static str, std::collections::BTreeMap<String, String>>,
}

/// The text of one service.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigBlock {
    /// The app.
    pub app: String,
    /// The index of its port.
    pub port_index: usize,
    /// The text.
    pub text: String,
}

/// A generation on disk.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownGeneration {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub made: Option<String>,
    /// Whether it is what HAProxy is started with.
    pub current: bool,
    /// Whether a worker was seen to run it.
    pub good: bool,
    /// Whether it can be gone back to.
    pub can_roll_back: bool,
}

/// The generations on disk.
#[derive(Debug, Serialize, ToSchema)]
pub struct GenerationList {
    /// The newest first.
    pub generations: Vec<ShownGeneration>,
    /// What somebody went back to; `null` where nobody did.
    pub rolled_back: Option<ShownRollback>,
}

/// What somebody went back to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownRollback {
    /// The generation.
    pub generation: u64,
    /// Who did it.
    pub by: String,
    /// What for.
    pub why: String,
    /// When.
    pub since: String,
}

impl From<&Note> for ShownRollback {
    fn from(note: &Note) -> Self {
        let Note { generation, by, why, since } = note.clone();
        Self { generation, by, why, since: moment(since) }
    }
}

/// What runs, without its secrets. Plain text, or in parts where `Accept` asks for JSON.
#[utoipa::path(get, path = "/api/v2/config", tag = "config",
    responses((status = 200, content((String = "text/plain"), (ConfigParts = "application/json"))),
        (status = 503, description = "It is not known what runs")))]
pub(in crate::web) async fn config(
    _caller: Caller,
    State(running): State<Running>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let brought = running.brought();
    let generations = running.generations();
    let number = brought.epoch.map(|epoch| epoch.generation);
    let Some(text) = brought.text else {
        // What an external HAProxy was given last.
        let files = generations.current().and_then(|current| generations.read(&current));
        let Some(files) = files else {
            let detail = "it is not known what HAProxy runs; ask again in a moment";
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        };
        return Ok(without_secrets(files.config()).into_response());
    };
    let as_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    in_background(move || {
        if as_json {
            return Json(parts(&text, number)).into_response();
        }
        let dir = number.map(|number| generations.generation(number).dir.display().to_string());
        let (config, _) = text.config(&format!("{}/", dir.unwrap_or_default()));
        without_secrets(&config).into_response()
    })
    .await
}

fn parts(text: &Text, generation: Option<u64>) -> ConfigParts {
    let block =
        |(id, block): (&crate::model::ServiceId, &std::sync::Arc<crate::render::Block>)| ConfigBlock {
            app: id.app.to_string(),
            port_index: id.port_index,
            text: without_secrets(&block.text(text.is_dynamic(&block.service.backend))),
        };
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let map = |map: MapName| (map.file(), text.maps.entries(map).map(owned).collect());
    ConfigParts {
        generation,
        head: without_secrets(&text.head.replace(crate::render::SERVERS_MARK, "")),
        blocks: text.blocks.iter().map(block).collect(),
        spares: text.spares.size(),
        maps: MapName::ALL.into_iter().map(map).collect(),
    }
}

/// The generations on disk, and what somebody went back to.
#[utoipa::path(get, path = "/api/v2/config/generations", tag = "config", responses((status = 200, body = GenerationList)))]
pub(in crate::web) async fn generations(
    _caller: Caller,
    State(running): State<Running>,
) -> Result<Json<GenerationList>, ApiError> {
    let rolled_back = running.brought().rolled_back;
    let rolled_back = rolled_back.as_ref().map(|to| ShownRollback::from(&to.note));
    let generations = running.generations();
    in_background(move || {
        let current = generations.current();
        let shown = |generation: Generation| ShownGeneration {
            number: generation.number,
            made: made(&generation).map(moment),
            current: current.as_ref() == Some(&generation),
            good: generations.is_good(&generation),
            can_roll_back: is_kept(&generation),
        };
        let generations = generations.all().into_iter().rev().map(shown).collect();
        Json(GenerationList { generations, rolled_back })
    })
    .await
}

fn made(generation: &Generation) -> Option<SystemTime> {
    let about = std::fs::metadata(&generation.dir).ok()?;
    // Not every file system keeps it.
    about.created().or_else(|_| about.modified()).ok()
}

/// The text of a generation, without its secrets.
#[utoipa::path(get, path = "/api/v2/config/generations/{number}", tag = "config",
    params(("number" = u64, Path, description = "Its number")),
    responses((status = 200, content_type = "text/plain", body = String), (status = 404, description = "It is not kept")))]
pub(in crate::web) async fn generation(
    _caller: Caller,
    State(running): State<Running>,
    number: Result<Path<u64>, PathRejection>,
) -> Result<String, ApiError> {
    let Path(number) = number?;
    let generations = running.generations();
    in_background(move || files(&generations, number).map(|files| without_secrets(files.config()))).await?
}

fn files(generations: &Generations, number: u64) -> Result<Files, ApiError> {
    generations.read(&generations.generation(number)).ok_or_else(|| {
        let detail =
            format!("generation {number} is not kept; /api/v2/config/generations has those that are");
        ApiError::new(StatusCode::NOT_FOUND, detail)
    })
}

/// Which generations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Between {
    /// The older one; the one before `to` where it is not said.
    pub(in crate::web) from: Option<u64>,
    /// The newer one; the current one where it is not said.
    pub(in crate::web) to: Option<u64>,
}

/// The unified difference of two generations, their maps among it, without secrets. What is done at run time changes the files
/// of the current one, within a second.
#[utoipa::path(get, path = "/api/v2/config/diff", tag = "config", params(Between),
    responses((status = 200, content_type = "text/plain", body = String), (status = 404, description = "One of them is not kept")))]
pub(in crate::web) async fn diff(
    _caller: Caller,
    State(running): State<Running>,
    Asked(between): Asked<Between>,
) -> Result<String, ApiError> {
    let generations = running.generations();
    in_background(move || {
        let none = || ApiError::new(StatusCode::NOT_FOUND, "there are no two generations to compare");
        let to = between.to.or_else(|| Some(generations.current()?.number)).ok_or_else(none)?;
        let before = || generations.all().iter().rev().map(|each| each.number).find(|number| *number < to);
        let from = between.from.or_else(before).ok_or_else(none)?;
        let (old, new) = (files(&generations, from)?, files(&generations, to)?);
        Ok(difference(&old, &new))
    })
    .await?
}

fn difference(old: &Files, new: &Files) -> String {
    let names: std::collections::BTreeSet<&String> = old.0.keys().chain(new.0.keys()).collect();
    let mut text = String::new();
    for name in names {
        if old.0.get(name) == new.0.get(name) {
            continue;
        }
        if name.starts_with("certs/") {
            // A private key may be in it.
            let _infallible = writeln!(text, "certificate {name} differs");
            continue;
        }
        text.push_str(&unified(name, &without_secrets(old.text(name)), &without_secrets(new.text(name))));
        if text.len() > DIFFERENCE {
            let end = (0..=DIFFERENCE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push_str("\n… the difference is longer than is shown\n");
            return text;
        }
    }
    text
}

/// What is to be gone back to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackOrder {
    /// The generation.
    pub generation: u64,
    /// What for; everybody who looks sees it.
    pub why: String,
}

/// What a release is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseOrder {
    /// What for.
    pub why: String,
}

/// Goes back to an earlier generation: its template, its rules and its labels' settings, with the tasks of today. Apps that came
/// later are served as they are, without what belonged to another then. It holds, also over restarts, until it is released; labels
/// and rules that change meanwhile have their effect then. Answers once HAProxy was brought there.
#[utoipa::path(post, path = "/api/v2/config/rollback", tag = "config", request_body = RollbackOrder,
    responses((status = 200, body = ShownRollback), (status = 403, description = "Not an admin"),
        (status = 404, description = "The generation is not kept"), (status = 503, description = "HAProxy is not there yet")))]
pub(in crate::web) async fn roll_back(
    caller: Caller,
    Extension(audit): Extension<Audit>,
    State(running): State<Running>,
    order: Result<Json<RollbackOrder>, JsonRejection>,
) -> Result<Json<ShownRollback>, ApiError> {
    let by = admin(&caller)?;
    let Json(RollbackOrder { generation, why }) = order?;
    let why = said("why", &why)?;
    audit.why(&why);
    audit.about(&format!("generation {generation}"));
    running.order(Order::Rollback { generation, by: by.clone(), why: why.clone() }).await?;
    let note = running.brought().rolled_back.as_ref().map(|to| to.note.clone());
    let note = note.unwrap_or(Note { generation, by, why, since: SystemTime::now() });
    Ok(Json(ShownRollback::from(&note)))
}

/// Goes on with the template, rules and labels of today.
#[utoipa::path(delete, path = "/api/v2/config/rollback", tag = "config", request_body = ReleaseOrder,
    responses((status = 204, description = "Released"), (status = 403, description = "Not an admin"),
        (status = 404, description = "Nothing was gone back to"), (status = 503, description = "HAProxy is not there yet")))]
pub(in crate::web) async fn release(
    caller: Caller,
    Extension(audit): Extension<Audit>,
    State(running): State<Running>,
    order: Result<Json<ReleaseOrder>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let by = admin(&caller)?;
    let Json(ReleaseOrder { why }) = order?;
    let why = said("why", &why)?;
    audit.why(&why);
    running.order(Order::Release { by, why }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody went back to.
#[utoipa::path(get, path = "/api/v2/config/rollback", tag = "config",
    responses((status = 200, body = ShownRollback), (status = 404, description = "Nothing was gone back to")))]
pub(in crate::web) async fn rolled_back(
    _caller: Caller,
    State(running): State<Running>,
) -> Result<Json<ShownRollback>, ApiError> {
    match running.brought().rolled_back {
        Some(to) => Ok(Json(ShownRollback::from(&to.note))),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, "nothing was gone back to")),
    }
}

fn admin(caller: &Caller) -> Result<String, ApiError> {
    if caller.is_admin() {
        return Ok(caller.name().to_owned());
    }
    Err(ApiError::forbidden(format!(
        "{} is not an admin: only an admin goes back to an earlier generation",
        caller.name()
    )))
}

/// Does what takes long beside everything else.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("an answer of the API could not be made: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made; see the log")
    })
}
