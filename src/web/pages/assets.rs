//! What pages bring along: one stylesheet, two scripts, a picture. Their names have a hash of their content, so that a browser
//! keeps them until there are others.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;
use sha1::{Digest, Sha1};

struct Asset {
    /// The path, with the hash.
    path: String,
    kind: &'static str,
    content: &'static str,
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("causeway", "css", "text/css", include_str!("../../../templates/assets/causeway.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("causeway", "js", "text/javascript", include_str!("../../../templates/assets/causeway.js"))
});
static HTMX: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("htmx", "js", "text/javascript", include_str!("../../../templates/assets/htmx.js"))
});
static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("icon", "svg", "image/svg+xml", include_str!("../../../templates/assets/icon.svg"))
});

impl Asset {
    fn new(name: &str, suffix: &str, kind: &'static str, content: &'static str) -> Self {
        let hash: String = Sha1::digest(content).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { path: format!("/assets/{name}-{hash}.{suffix}"), kind, content }
    }
}

/// Where the layout finds them.
#[derive(Serialize)]
pub(super) struct Links {
    style: &'static str,
    script: &'static str,
    htmx: &'static str,
    icon: &'static str,
}

pub(super) fn links() -> Links {
    Links { style: &STYLE.path, script: &SCRIPT.path, htmx: &HTMX.path, icon: &ICON.path }
}

pub(super) async fn asset(Path(file): Path<String>) -> Response {
    let all = [&*STYLE, &*SCRIPT, &*HTMX, &*ICON];
    let found = all.into_iter().find(|asset| asset.path.strip_prefix("/assets/") == Some(&file));
    let Some(asset) = found else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, format!("{}; charset=utf-8", asset.kind)),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
    ];
    (headers, asset.content).into_response()
}
