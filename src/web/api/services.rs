//! The list of services.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::shown::of_service;
use super::{Asked, known, page};
use crate::haproxy::stats::ServiceFigures;
use crate::model::{App, Mode, RouteMatch, Service, ServiceId};
use crate::placement::{Admin, Occupant, Slot};
use crate::reconcile::standing::{Brought, Running};
use crate::telemetry::Metrics;
use crate::view::View;
use crate::web::{ApiError, Caller, Seen};

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/services", get(services))
}

/// The states of services and of apps without any.
const STATES: [&str; 7] = ["up", "degraded", "down", "suspended", "last_good", "left_out", "unexposed"];

/// Which services.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Filter {
    /// Only those whose app, host, path, port, backend, task or server address holds this text, in any case.
    pub(in crate::web) q: Option<String>,
    /// Only those in this state: up, degraded, down, suspended, last_good, left_out, unexposed.
    pub(in crate::web) state: Option<String>,
    /// Only apps of this `HAPROXY_GROUP`, or, where it begins with a slash, below this group of Marathon's.
    pub(in crate::web) group: Option<String>,
    /// `http` or `tcp`.
    pub(in crate::web) mode: Option<String>,
    /// Only those that have problems, or have none.
    pub(in crate::web) problems: Option<bool>,
    /// `true` (also where it is not said): what is served; `false`: apps without any service.
    pub(in crate::web) exposed: Option<bool>,
    /// At most so many; 100 where it is not said, 1000 at most.
    pub(in crate::web) limit: Option<usize>,
    /// The `next` of the answer before.
    pub(in crate::web) cursor: Option<String>,
}

/// A service, in a row.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ServiceRow {
    /// The app.
    pub app: String,
    /// The index of the app's port; `null` for an app without a service.
    pub port_index: Option<usize>,
    /// In a word: up, degraded (fewer servers than instances), down (no server, or closed: a label that keeps somebody
    /// out cannot be used), suspended (no instances asked for),
    /// last_good (its newest definition is refused), left_out (refused, and nothing good before), unexposed.
    pub state: &'static str,
    /// `http` or `tcp`.
    pub mode: Option<&'static str>,
    /// The hosts that lead to it; with their paths, where they have any.
    pub hosts: Vec<String>,
    /// The service port that leads to it.
    pub port: Option<u16>,
    /// Servers that may get requests.
    pub servers_serving: usize,
    /// Tasks that it is to have.
    pub servers_total: usize,
    /// Requests a second; connections for TCP. `null` before HAProxy was looked at twice.
    pub requests_per_second: Option<f64>,
    /// Answers 5xx a second; failed connections and answers for TCP.
    pub errors_per_second: Option<f64>,
    /// How many problems it has.
    pub problems: usize,
}

/// Some services.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServicePage {
    /// The services, by app id and port index.
    pub services: Vec<ServiceRow>,
    /// How many there are.
    pub total: usize,
    /// How many there are in each state, whatever `state` asks for; `unexposed`: apps without any service.
    #[schema(value_type = Object)]
    pub states: BTreeMap<&'static str, usize>,
    /// What to ask for next; `null` at the end.
    pub next: Option<String>,
}

/// What rows are made of.
pub(super) struct Rows<'a> {
    pub(super) view: &'a View,
    pub(super) brought: &'a Brought,
    pub(super) figures: &'a Figures,
}

/// The figures of every service, ordered by service.
pub(super) type Figures = Arc<Vec<ServiceFigures>>;

impl Rows<'_> {
    pub(super) fn figures_of(&self, id: &ServiceId) -> Option<&ServiceFigures> {
        let at = self.figures.binary_search_by(|each| each.service.cmp(id)).ok()?;
        self.figures.get(at)
    }

    pub(super) fn state(&self, service: &Service, serving: usize) -> &'static str {
        match self.brought.put_aside.get(&service.id) {
            Some(aside) if aside.left_out => "left_out",
            Some(_) => "last_good",
            None if service.instances == 0 => "suspended",
            None if serving == 0 || self.in_force(service).backend.extras.closed => "down",
            None if serving < service.instances => "degraded",
            None => "up",
        }
    }

    /// Servers that may get requests: as HAProxy was brought to, or where that is not known, as they should be.
    pub(super) fn serving(&self, service: &Service) -> usize {
        let block = self.brought.text.as_ref().and_then(|text| text.blocks.get(&service.id));
        let by_hand =
            |occupant: &Occupant| occupant.by_hand.as_ref().is_some_and(|set| set.admin != Admin::Ready);
        let serves = |slot: &&Slot| matches!(slot, Slot::Serving(occupant) if !by_hand(occupant));
        block.map_or(service.servers.len(), |block| block.slots.iter().filter(serves).count())
    }

    /// A service as HAProxy has it, where somebody went back to an earlier generation: its labels of today do not count then.
    pub(super) fn in_force<'b>(&'b self, service: &'b Service) -> &'b Service {
        let text = self.brought.text.as_ref().filter(|_| self.brought.rolled_back.is_some());
        text.and_then(|text| text.service(&service.id)).map_or(service, AsRef::as_ref)
    }

    pub(super) fn row(&self, service: &Service) -> ServiceRow {
        let in_force = self.in_force(service);
        let figures = self.figures_of(&service.id);
        let serving = self.serving(service);
        ServiceRow {
            app: service.id.app.to_string(),
            port_index: Some(service.id.port_index),
            state: self.state(service, serving),
            mode: Some(in_force.backend.mode.as_str()),
            hosts: in_force.routes.iter().map(|route| shown(&route.matches)).collect(),
            port: in_force.port,
            servers_serving: serving,
            servers_total: service.instances,
            requests_per_second: figures.and_then(|each| each.rates).map(|rates| rates.requests),
            errors_per_second: figures.and_then(|each| each.rates).map(|rates| rates.errors),
            problems: of_service(self.view, self.brought, &service.id).count(),
        }
    }

    fn has_problems(&self, service: &Service) -> bool {
        let of_block = self.brought.put_aside.contains_key(&service.id);
        of_block || self.view.problems_of(&service.id.app).next().is_some()
    }

    fn row_of_app(&self, app: &App) -> ServiceRow {
        ServiceRow {
            app: app.id.to_string(),
            port_index: None,
            state: "unexposed",
            mode: None,
            hosts: Vec::new(),
            port: None,
            servers_serving: 0,
            servers_total: app.instances,
            requests_per_second: None,
            errors_per_second: None,
            problems: self.view.problems_of(&app.id).count(),
        }
    }
}

/// A route as people write it.
pub(super) fn shown(route: &RouteMatch) -> String {
    if let RouteMatch::HostPath { host, path, .. } = route {
        return format!("{}{path}", host.as_deref().unwrap_or("*"));
    }
    let text = route.to_string();
    text.strip_prefix("route ").map(str::to_owned).unwrap_or(text)
}

impl Filter {
    fn is_app(&self, app: Option<&App>, id: &str) -> bool {
        let Some(group) = &self.group else { return true };
        if group.starts_with('/') {
            let parent = group.trim_end_matches('/');
            return id.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'));
        }
        let of_label = |(name, value): (&str, &str)| {
            name.starts_with("HAPROXY_")
                && name.ends_with("GROUP")
                && !name.ends_with("DEPLOYMENT_GROUP")
                && value.split(',').any(|each| each.trim() == group)
        };
        app.is_some_and(|app| app.labels.iter().map(|(name, value)| (&**name, &**value)).any(of_label))
    }

    fn finds(&self, service: &Service) -> bool {
        let Some(text) = &self.q else { return true };
        let text = text.trim().to_ascii_lowercase();
        let has = |field: &str| field.to_ascii_lowercase().contains(&text);
        has(service.id.app.as_str())
            || has(&service.backend.name)
            || service.port.is_some_and(|port| port.to_string() == text)
            || service.routes.iter().any(|route| has(&shown(&route.matches)))
            || service.servers.iter().any(|server| has(server.task.as_str()))
            || (text.contains(['.', ':'])
                && service.servers.iter().any(|server| server.endpoint.to_string().contains(&text)))
    }

    /// An app without a service.
    fn finds_app(&self, app: &App) -> bool {
        let text = self.q.as_ref().map(|text| text.trim().to_ascii_lowercase());
        let is_found = text.is_none_or(|text| app.id.as_str().to_ascii_lowercase().contains(&text));
        is_found && self.mode.is_none() && self.is_app(Some(app), app.id.as_str())
    }
}

/// Every service that HAProxy serves, or every app that has none.
#[utoipa::path(get, path = "/api/v2/services", tag = "services", params(Filter),
    responses((status = 200, body = ServicePage), (status = 400, description = "An unknown parameter")))]
pub(in crate::web) async fn services(
    _caller: Caller,
    State(view): State<View>,
    State(running): State<Running>,
    State(metrics): State<Metrics>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<ServicePage>, ApiError> {
    known("state", filter.state.as_deref(), &STATES)?;
    known("mode", filter.mode.as_deref(), &[Mode::Http.as_str(), Mode::Tcp.as_str()])?;
    let (brought, figures) = (running.brought(), metrics.figures());
    let rows = Rows { view: &view, brought: &brought, figures: &figures };
    let after = filter.cursor.as_deref().and_then(|cursor| {
        let (app, index) = cursor.rsplit_once(':')?;
        Some((app.to_owned(), index.parse::<usize>().ok()?))
    });
    if filter.cursor.is_some() && after.is_none() {
        return Err(ApiError::new(http::StatusCode::BAD_REQUEST, "cursor: it is not one that was given out"));
    }
    let limit = page(filter.limit);
    let mut found = Page { limit, after, ..Page::default() };
    let has_service =
        |app: &App| view.settled.get(&app.id).is_some_and(|settled| !settled.services.is_empty());
    let without = view.apps.values().filter(|app| !has_service(app) && filter.finds_app(app));
    if filter.exposed == Some(false) {
        for app in without {
            let has_problems = || view.problems_of(&app.id).next().is_some();
            if found.takes((app.id.as_str(), 0), "unexposed", has_problems, &filter) {
                found.services.push(rows.row_of_app(app));
            }
        }
    } else {
        found.states.insert("unexposed", without.count());
        let is_mode = |mode: Mode| filter.mode.as_deref().is_none_or(|wanted| wanted == mode.as_str());
        for service in view.services().filter(|service| is_mode(service.backend.mode)) {
            let id = &service.id.app;
            if filter.is_app(view.apps.get(id).map(AsRef::as_ref), id.as_str()) && filter.finds(service) {
                let has_problems = || rows.has_problems(service);
                let state = rows.state(service, rows.serving(service));
                if found.takes((id.as_str(), service.id.port_index), state, has_problems, &filter) {
                    found.services.push(rows.row(service));
                }
            }
        }
    }
    Ok(Json(found.into()))
}

/// A page that is being filled.
#[derive(Default)]
struct Page {
    services: Vec<ServiceRow>,
    total: usize,
    states: BTreeMap<&'static str, usize>,
    is_more: bool,
    limit: usize,
    after: Option<(String, usize)>,
}

impl Page {
    /// Counts one, and says whether its row belongs on the page: most rows are never made.
    fn takes(
        &mut self,
        place: (&str, usize),
        state: &'static str,
        has_problems: impl Fn() -> bool,
        filter: &Filter,
    ) -> bool {
        if filter.problems.is_some_and(|wanted| wanted != has_problems()) {
            return false;
        }
        *self.states.entry(state).or_default() += 1;
        if filter.state.as_deref().is_some_and(|wanted| wanted != state) {
            return false;
        }
        self.total += 1;
        if self.after.as_ref().is_some_and(|(app, index)| place <= (app.as_str(), *index)) {
            return false;
        }
        self.is_more = self.services.len() == self.limit;
        !self.is_more
    }
}

impl From<Page> for ServicePage {
    fn from(page: Page) -> Self {
        let cursor = |row: &ServiceRow| format!("{}:{}", row.app, row.port_index.unwrap_or(0));
        let next = page.services.last().filter(|_| page.is_more).map(cursor);
        Self { services: page.services, total: page.total, states: page.states, next }
    }
}
