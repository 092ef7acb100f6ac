//! The description of the API, made from its code (OpenAPI 3.1).

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use crate::web::Seen;

/// What is described.
#[derive(OpenApi)]
#[openapi(
    info(title = "Causeway", description = "What HAProxy serves for Marathon, and how it came to be.", license(name = "Apache-2.0")),
    paths(
        super::services::services,
        super::detail::service,
        super::servers::set_server,
        super::apps::apps,
        super::shown::problems,
        super::changes::changes,
        super::changes::change,
        super::changes::follow,
        super::config::config,
        super::config::generations,
        super::config::generation,
        super::config::diff,
        super::config::roll_back,
        super::config::release,
        super::config::rolled_back,
        super::status::status,
        super::why::why,
    ),
    tags(
        (name = "services", description = "Services, and apps that are none"),
        (name = "problems", description = "What is wrong"),
        (name = "changes", description = "What changed"),
        (name = "config", description = "HAProxy's configuration"),
        (name = "status", description = "Sources, HAProxy, this process"),
    )
)]
struct Described;

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/openapi.json", get(|| async { Json(document()) }))
}

/// The whole description.
#[must_use]
pub fn document() -> Document {
    Described::openapi()
}
