//! The description of the API, made from its code (OpenAPI 3.1).

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde::Serialize;
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

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
    components(schemas(ErrorShown)),
    tags(
        (name = "services", description = "Services, and apps that are none"),
        (name = "problems", description = "What is wrong"),
        (name = "changes", description = "What changed"),
        (name = "config", description = "HAProxy's configuration"),
        (name = "status", description = "Sources, HAProxy, this process"),
        (name = "rules", description = "What people write"),
        (name = "session", description = "Who one is"),
    )
)]
struct Described;

/// What the API says when it does not do what it was asked (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorShown {
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What failed, on what, and what to do.
    pub detail: String,
}

/// Every error has the same shape, and each path may ask for a login.
struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut Document) {
        let content = || Content::new(Some(Ref::from_schema_name("ErrorShown")));
        let error = |description: &str| {
            let described = ResponseBuilder::new().description(description);
            described.content("application/problem+json", content()).build()
        };
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let responses = &mut operation.responses.responses;
                for (status, response) in responses.iter_mut() {
                    if let RefOr::T(response) = response
                        && status.starts_with(['4', '5'])
                    {
                        response.content.insert("application/problem+json".to_owned(), content());
                    }
                }
                let of_body = operation.request_body.is_some();
                for (status, description, applies) in [
                    ("400", "An id or a parameter that cannot be understood", true),
                    ("401", "This needs a login", true),
                    ("413", "The body is too large", of_body),
                    ("415", "The body is not JSON", of_body),
                    ("422", "A value that cannot be used", of_body),
                ] {
                    if applies {
                        responses.entry(status.to_owned()).or_insert_with(|| error(description).into());
                    }
                }
            }
        }
    }
}

pub(super) fn router() -> Router<Seen> {
    Router::new().route("/api/v2/openapi.json", get(|| async { Json(document()) }))
}

/// The whole description.
#[must_use]
pub fn document() -> Document {
    let mut document = Described::openapi();
    for more in [
        crate::web::rules::Described::openapi(),
        crate::web::fleet::Described::openapi(),
        crate::web::doors::session_api::Described::openapi(),
        crate::web::DescribedTask::openapi(),
    ] {
        document.merge(more);
    }
    Errors.modify(&mut document);
    document
}
