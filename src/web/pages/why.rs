//! Why a request goes where it goes: a form, and the way in steps below each other.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::templates::in_url;
use super::{PageError, Reader, Screen};
use crate::model::{AppId, RouteMatch};
use crate::view::View;
use crate::web::api::why::{Asking, Explained, explain};
use crate::web::{ApiError, Seen};
use crate::why::{Fate, StepKind};

/// Methods that the form offers; the URL of the page takes any.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

#[derive(Serialize)]
struct Content {
    url: String,
    method: String,
    methods: Vec<String>,
    headers: String,
    from: String,
    is_asked: bool,
    explained: Option<Explained>,
    tone: &'static str,
    /// Where the app of the result is looked at.
    app_url: Option<String>,
    mistake: Option<String>,
    steps: Vec<Step>,
}

/// A step, as the page has it.
#[derive(Serialize)]
struct Step {
    name: &'static str,
    title: String,
    details: Vec<String>,
    candidates: Vec<Candidate>,
    /// Those that were looked for in vain; they are folded.
    missed: Vec<Candidate>,
}

#[derive(Serialize)]
struct Candidate {
    #[serde(flatten)]
    candidate: crate::why::Candidate,
    url: Option<String>,
    won: bool,
}

pub(super) async fn show(
    reader: Reader,
    State(seen): State<Seen>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let view = seen.view.borrow().clone();
    let query = query.unwrap_or_default();
    let wrong = |detail: String| PageError::to(&reader, ApiError::new(StatusCode::BAD_REQUEST, detail));
    let asking = match query.strip_prefix("app=") {
        // From the page of a service.
        Some(app) => {
            let app = form_urlencoded::parse(format!("app={app}").as_bytes())
                .next()
                .map(|(_, app)| app.into_owned());
            Asking { url: example(&view, &app.unwrap_or_default()).unwrap_or_default(), ..Asking::default() }
        }
        None => Asking::of_query(&query).map_err(wrong)?,
    };
    let is_asked = !asking.url.trim().is_empty() && !query.starts_with("app=");
    let answer = match is_asked {
        true => Some(explain(&view, &seen.running, &asking).await),
        false => None,
    };
    let (explained, mistake, status) = match answer {
        Some(Ok(explained)) => (Some(explained), None, StatusCode::OK),
        Some(Err(error)) => (None, Some(error.detail().to_owned()), error.status()),
        None => (None, None, StatusCode::OK),
    };
    let method = asking.method.clone().unwrap_or_else(|| "GET".to_owned()).to_uppercase();
    let mut methods: Vec<String> = METHODS.iter().map(|each| (*each).to_owned()).collect();
    if !methods.contains(&method) {
        methods.push(method.clone());
    }
    let content = Content {
        url: asking.url,
        method,
        methods,
        headers: asking.header.join("\n"),
        from: asking.from.unwrap_or_default(),
        is_asked,
        tone: explained.as_ref().map_or("idle", tone),
        app_url: explained
            .as_ref()
            .and_then(|each| service_url(each.result.app.as_deref()?, each.result.port_index)),
        steps: explained.as_ref().map(steps).unwrap_or_default(),
        explained,
        mistake,
    };
    Ok(reader.page_with(status, "why.html", Screen::Why, "Why", &content))
}

/// A URL that leads to an app, to begin with.
fn example(view: &View, app: &str) -> Option<String> {
    let settled = view.settled.get(&AppId::new(app))?;
    let routes = settled.services.iter().flat_map(|service| &service.routes);
    let url = |matches: &RouteMatch| {
        let (host, path) = matches.place()?;
        let host = host.unwrap_or("any.example.com").replacen('*', "any", 1);
        let path = path.trim_end_matches("/?");
        Some(format!("http://{host}{}", if path.is_empty() { "/" } else { path }))
    };
    routes.filter_map(|route| url(&route.matches)).next()
}

fn tone(explained: &Explained) -> &'static str {
    match explained.result.status {
        Some(301..=308) => "warn",
        Some(_) => "bad",
        None if explained.result.app.is_some() => "good",
        None => "bad",
    }
}

fn service_url(app: &str, port: Option<usize>) -> Option<String> {
    let port = port.map(|port| format!("?port={port}")).unwrap_or_default();
    Some(format!("/services{}{port}", in_url(app)))
}

fn steps(explained: &Explained) -> Vec<Step> {
    let step = |step: &crate::why::Step| {
        let shown = |candidate: &crate::why::Candidate| Candidate {
            url: candidate.app.as_deref().and_then(|app| service_url(app, candidate.port_index)),
            won: candidate.fate == Fate::Won,
            candidate: candidate.clone(),
        };
        let (missed, candidates): (Vec<_>, Vec<_>) =
            step.candidates.iter().map(shown).partition(|each| each.candidate.fate == Fate::NoMatch);
        Step {
            name: match step.kind {
                StepKind::Frontend => "Frontend",
                StepKind::Lookup => "Look-up",
                StepKind::Guard => "On the way",
                StepKind::Backend => "Backend",
            },
            title: step.title.clone(),
            details: step.details.clone(),
            candidates,
            missed,
        }
    };
    explained.steps.iter().map(step).collect()
}
