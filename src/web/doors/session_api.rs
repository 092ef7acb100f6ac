//! Logging in and out with a browser, and who one is.

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Router};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identity::{self, NotKnown};
use super::users::check_name;
use super::{Audit, Doors, Identity, Origin, is_browser, sessions, url_encoded};
use crate::web::ApiError;
use crate::web::pages::LOGIN;

pub(super) const PATH: &str = "/api/v2/session";
pub(super) const LOGOUT: &str = "/logout";

/// Logging in and out, and who one is, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(show, log_in, end), components(schemas(Login, Who)))]
pub(crate) struct Described;

/// What one logs in with.
#[derive(Deserialize, ToSchema)]
struct Login {
    user: String,
    password: String,
    /// The page to go on with, of a form.
    next: Option<String>,
}

/// Who one is, and what one may do.
#[derive(Serialize, ToSchema)]
struct Who<'a> {
    /// `name`, `role`, and the `prefixes` of an editor.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    identity: &'a super::Caller,
    /// How Causeway knows.
    by: &'a str,
    may_write: bool,
    is_admin: bool,
}

pub(super) fn routes(doors: Doors) -> Router {
    let session = get(show).post(log_in).delete(end);
    Router::new().route(PATH, session).route(LOGOUT, post(log_out)).with_state(doors)
}

/// Who one is, and what one may do.
#[utoipa::path(get, path = "/api/v2/session", tag = "session", responses((status = 200, body = Who)))]
async fn show(Extension(identity): Extension<Identity>) -> Response {
    Json(who(&identity)).into_response()
}

fn who(identity: &Identity) -> Who<'_> {
    let caller = &identity.caller;
    Who { identity: caller, by: identity.by, may_write: caller.may_write(), is_admin: caller.is_admin() }
}

/// Logs in; the answer sets the cookie of a session.
#[utoipa::path(post, path = "/api/v2/session", tag = "session", request_body = Login, responses((status = 200, body = Who),
    (status = 429, description = "Too many wrong passwords: later"), (status = 503, description = "The session cannot be kept")))]
async fn log_in(
    State(doors): State<Doors>,
    Extension(origin): Extension<Origin>,
    Extension(audit): Extension<Audit>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    let login = if is_form {
        Form::from_request(request, &()).await.map(|Form(login)| login).map_err(|refused| refused.status())
    } else {
        Json::from_request(request, &()).await.map(|Json(login)| login).map_err(|refused| refused.status())
    };
    // What was sent is not said again: it may be a password.
    let Login { user: name, password, next } = match login {
        Ok(login) => login,
        Err(status) => {
            let expected = "expected {\"user\": …, \"password\": …} as JSON, or the same as a form";
            return ApiError::new(status, expected).into_response();
        }
    };
    let logged_in = doors.log_in(&name, &password, origin.ip).await;
    if check_name(&name).is_ok() {
        audit.who(&name);
    }
    let user = match logged_in.map_err(NotKnown::from) {
        Ok(user) => user,
        Err(not_known) => {
            let mut request = Request::default();
            *request.headers_mut() = headers;
            if !is_form {
                return not_known.into_response(&request);
            }
            let next = url_encoded(local(next.as_deref()));
            return Redirect::to(&format!("{LOGIN}?failed&next={next}")).into_response();
        }
    };
    let begun = {
        let (doors, name, user) = (doors.clone(), name.clone(), user.clone());
        let before = identity::cookie(&headers).map(str::to_owned);
        tokio::task::spawn_blocking(move || {
            // A browser has one session: what it had before ends.
            if let Some(before) = before {
                doors.0.sessions.end(&before).map_err(|error| error.to_string())?;
            }
            doors.0.sessions.begin(&name, &user, Timestamp::now())
        })
    };
    let cookie = match begun.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(cookie) => cookie,
        Err(error) => return not_kept(&error),
    };
    let identity = Identity::user(&name, &user, "session");
    let mut response = match is_form {
        true => Redirect::to(local(next.as_deref())).into_response(),
        false => Json(who(&identity)).into_response(),
    };
    let cookie = identity::set_cookie(&cookie, sessions::LASTS.as_secs(), origin.tls);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// Logs out: the session ends, wherever its cookie is.
#[utoipa::path(delete, path = "/api/v2/session", tag = "session", responses((status = 204, description = "There is no session any more"),
    (status = 503, description = "It cannot be noted that it ended")))]
async fn end(
    State(doors): State<Doors>,
    Extension(origin): Extension<Origin>,
    Extension(audit): Extension<Audit>,
    headers: HeaderMap,
) -> Response {
    if let Some(cookie) = identity::cookie(&headers).map(str::to_owned) {
        let doors = doors.clone();
        let ended = tokio::task::spawn_blocking(move || doors.0.sessions.end(&cookie));
        match ended.await.map_err(|error| error.to_string()) {
            Ok(Ok(Some(session))) => audit.who(&session.user),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return not_kept(&error.to_string()),
            Err(error) => return not_kept(&error),
        }
    }
    let cookie = identity::set_cookie("", 0, origin.tls);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// As a form of a page does it.
async fn log_out(
    state: State<Doors>,
    origin: Extension<Origin>,
    audit: Extension<Audit>,
    headers: HeaderMap,
) -> Response {
    let is_browser = is_browser(&headers);
    let mut ended = end(state, origin, audit, headers).await;
    if is_browser && ended.status().is_success() {
        *ended.status_mut() = StatusCode::SEE_OTHER;
        ended.headers_mut().insert(header::LOCATION, http::HeaderValue::from_static(LOGIN));
    }
    ended
}

/// A path of our own, and nothing that leads elsewhere.
fn local(next: Option<&str>) -> &str {
    let leads_elsewhere = |next: &str| {
        !next.starts_with('/')
            || next.starts_with("//")
            || next.contains('\\')
            || next.chars().any(char::is_control)
    };
    next.filter(|next| !leads_elsewhere(next)).unwrap_or("/")
}

/// What is asked of the disk did not work.
fn not_kept(error: &str) -> Response {
    tracing::error!("sessions.json: {error}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "sessions cannot be kept; Causeway's log says why")
        .into_response()
}
