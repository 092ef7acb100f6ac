//! Problems, as the API shows them.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Asked, known, page};
use crate::history::moment;
use crate::model::{ProblemKind, ServiceId};
use crate::reconcile::standing::{Brought, Running};
use crate::view::{Noted, View};
use crate::web::{ApiError, Caller, Seen};

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/problems", get(problems))
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShownProblem {
    /// The app; `null` where none can be named.
    pub app: Option<String>,
    /// The kind of problem: app, label, rule, conflict, policy, shadowed, host, no_server, block, held, rolled_back.
    pub kind: &'static str,
    /// What failed, and on what.
    pub message: String,
    /// What happens now, and what to do.
    pub advice: String,
    /// When it was first seen, by this Causeway.
    pub since: String,
}

impl From<&Noted> for ShownProblem {
    fn from(noted: &Noted) -> Self {
        let problem = &noted.problem;
        Self {
            app: problem.app.as_ref().map(ToString::to_string),
            kind: problem.kind.name(),
            message: problem.message.clone(),
            advice: problem.advice.clone(),
            since: moment(noted.since),
        }
    }
}

/// What is wrong with one service: with its app, or with its block.
pub(super) fn of_service<'a>(
    view: &'a View,
    brought: &'a Brought,
    id: &'a ServiceId,
) -> impl Iterator<Item = &'a Noted> {
    let of_block = brought.put_aside.get(id).map(|aside| &aside.noted);
    view.problems_of(&id.app).chain(of_block).chain(brought.lacking.get(id))
}

/// Which problems.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Filter {
    /// Only those of this kind.
    pub(in crate::web) kind: Option<String>,
    /// Only those of this app.
    pub(in crate::web) app: Option<String>,
    /// At most so many.
    pub(in crate::web) limit: Option<usize>,
}

/// Problems, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemPage {
    /// The problems.
    pub problems: Vec<ShownProblem>,
    /// How many there are.
    pub total: usize,
    /// How many there are of each kind, whatever `kind` asks for.
    #[schema(value_type = Object)]
    pub kinds: BTreeMap<&'static str, usize>,
}

/// Everything that is wrong, with single apps or with the sources.
#[utoipa::path(get, path = "/api/v2/problems", tag = "problems", params(Filter),
    responses((status = 200, body = ProblemPage), (status = 400, description = "An unknown parameter")))]
pub(in crate::web) async fn problems(
    _caller: Caller,
    State(view): State<View>,
    State(running): State<Running>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<ProblemPage>, ApiError> {
    known("kind", filter.kind.as_deref(), &ProblemKind::ALL.map(ProblemKind::name))?;
    let brought = running.brought();
    let rolled_back = brought.rolled_back.as_ref().map(|to| to.noted());
    let of_blocks = brought.put_aside.values().map(|aside| &aside.noted).chain(brought.lacking.values());
    let has_app = |noted: &&Noted| {
        let of_app = |app: &str| noted.problem.app.as_ref().is_some_and(|id| id.as_str() == app);
        filter.app.as_deref().is_none_or(of_app)
    };
    let mut found: Vec<&Noted> =
        view.problems().chain(of_blocks).chain(&rolled_back).chain(&brought.failed).filter(has_app).collect();
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for noted in &found {
        *kinds.entry(noted.problem.kind.name()).or_default() += 1;
    }
    found.retain(|noted| filter.kind.as_deref().is_none_or(|kind| kind == noted.problem.kind.name()));
    found.sort_by(|one, other| (other.since, &one.problem).cmp(&(one.since, &other.problem)));
    let total = found.len();
    let problems = found.into_iter().take(page(filter.limit)).map(ShownProblem::from).collect();
    Ok(Json(ProblemPage { problems, total, kinds }))
}
