//! Apps, and why some are not served.

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Asked, page};
use crate::model::App;
use crate::view::View;
use crate::web::{ApiError, Caller, Seen};

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/apps", get(apps))
}

/// Which apps.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// `false`: those that have ports that are not served, or no service at all; `true`: those that have a service.
    exposed: Option<bool>,
    /// Only those whose id holds this text.
    q: Option<String>,
    /// At most so many.
    limit: Option<usize>,
    /// The `next` of the answer before.
    cursor: Option<String>,
}

/// Why an app, or one of its ports, is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WhyNot {
    /// The index of the port; `null` for the app as a whole.
    pub port_index: Option<usize>,
    /// Why, in a word: not_asked, group, disabled, strict, no_ports, udp, version.
    pub reason: String,
    /// Why, in words, and what to do.
    pub why: String,
}

/// An app, and why it is not served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnexposedApp {
    /// The app.
    pub app: String,
    /// How many tasks it is to have.
    pub instances: usize,
    /// How many it has.
    pub tasks: usize,
    /// How many ports it declares.
    pub ports: usize,
    /// The port indexes that are served.
    pub services: Vec<usize>,
    /// Why the others are not.
    pub not_exposed: Vec<WhyNot>,
}

/// Some apps.
#[derive(Debug, Serialize, ToSchema)]
pub struct AppPage {
    /// The apps, by id.
    pub apps: Vec<UnexposedApp>,
    /// How many there are.
    pub total: usize,
    /// What to ask for next; `null` at the end.
    pub next: Option<String>,
}

pub(in crate::web) fn why_not(view: &View, app: &App) -> Vec<WhyNot> {
    let shown = |each: crate::services::exposure::Unexposed| WhyNot {
        port_index: each.port_index,
        reason: each.reason.name().to_owned(),
        why: each.why,
    };
    view.unexposed(app).into_iter().map(shown).collect()
}

/// The apps that Marathon knows; with `exposed=false` those that are not served, or not whole, and why.
#[utoipa::path(get, path = "/api/v2/apps", tag = "services", params(Filter),
    responses((status = 200, body = AppPage), (status = 400, description = "An unknown parameter")))]
pub(super) async fn apps(
    _caller: Caller,
    State(view): State<View>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<AppPage>, ApiError> {
    let limit = page(filter.limit);
    let (mut apps, mut total, mut next) = (Vec::new(), 0, None);
    let has_text = |app: &App| filter.q.as_ref().is_none_or(|text| app.id.as_str().contains(text.as_str()));
    for app in view.apps.values().filter(|app| has_text(app)) {
        let services: Vec<usize> = view.settled.get(&app.id).map_or_else(Vec::new, |settled| {
            settled.services.iter().map(|service| service.id.port_index).collect()
        });
        let not_exposed = if filter.exposed == Some(true) { Vec::new() } else { why_not(&view, app) };
        let is_asked = match filter.exposed {
            None => true,
            Some(true) => !services.is_empty(),
            Some(false) => !not_exposed.is_empty(),
        };
        if !is_asked {
            continue;
        }
        total += 1;
        if filter.cursor.as_ref().is_some_and(|cursor| app.id.as_str() <= cursor.as_str()) {
            continue;
        }
        if apps.len() == limit {
            next.get_or_insert_with(|| apps.last().map(|last: &UnexposedApp| last.app.clone()));
            continue;
        }
        apps.push(UnexposedApp {
            app: app.id.to_string(),
            instances: app.instances,
            tasks: app.tasks.len(),
            ports: app.ports.len(),
            services,
            not_exposed,
        });
    }
    Ok(Json(AppPage { apps, total, next: next.flatten() }))
}
