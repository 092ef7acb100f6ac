//! Answers of the REST API.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HeaderName, HeaderValue, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Value, json};

use super::core::Core;
use super::update::{Accepted, Refusal};

/// A body made of pieces that are shared rather than copied.
pub(super) struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// An answer before it is written.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<Bytes>,
}

impl Reply {
    /// JSON text as it is.
    pub(super) fn text(status: StatusCode, body: Vec<Bytes>) -> Self {
        Self { status, headers: HeaderMap::new(), body }.with(CONTENT_TYPE, "application/json")
    }

    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Self::text(status, vec![value.to_string().into()])
    }

    pub(super) fn ok(value: &Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// `{"message": …}`.
    pub(super) fn message(status: StatusCode, message: &str) -> Self {
        Self::json(status, &json!({"message": message}))
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::message(StatusCode::NOT_FOUND, &format!("{what} does not exist"))
    }

    pub(super) fn plain(text: &'static str) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![Bytes::from_static(text.as_bytes())],
        }
        .with(CONTENT_TYPE, "text/plain;charset=utf-8")
    }

    /// A page as the servlet container writes it.
    pub(super) fn page(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let code = status.as_u16();
        let page = format!(
            "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n\
             <title>Error {code} {reason}</title>\n</head>\n<body><h2>HTTP ERROR {code} {reason}</h2>\n</body>\n</html>\n"
        );
        let reply = Self { status, headers: HeaderMap::new(), body: vec![page.into()] }
            .with(CONTENT_TYPE, "text/html;charset=iso-8859-1");
        if status == StatusCode::UNAUTHORIZED {
            return reply.with(WWW_AUTHENTICATE, "Basic realm=\"Mesosphere\"");
        }
        reply
    }

    /// The answer to an accepted change.
    pub(super) fn accepted(core: &Core, status: StatusCode, accepted: &Accepted) -> Self {
        let body = json!({"version": accepted.version, "deploymentId": accepted.deployment});
        Self::json(status, &body).deployment(core, accepted)
    }

    /// Names the deployment in a header, as 1.4 and later do.
    pub(super) fn deployment(self, core: &Core, accepted: &Accepted) -> Self {
        if core.profile().has_instances() {
            return self.with(HeaderName::from_static("marathon-deployment-id"), &accepted.deployment);
        }
        self
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds what Marathon sets on everything.
    pub(super) fn dressed(self, core: &Core) -> Self {
        self.with(CACHE_CONTROL, "no-cache, no-store, must-revalidate")
            .with(PRAGMA, "no-cache")
            .with(EXPIRES, "0")
            .with(HeaderName::from_static("x-marathon-leader"), &format!("http://{}", core.address))
    }

    pub(super) fn length(&self) -> u64 {
        self.body.iter().map(|piece| piece.len() as u64).sum()
    }

    pub(super) fn into_response(self) -> Response<Pieces> {
        let mut response = Response::new(Pieces(self.body.into()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// Head and the first half of the body as bytes, for an answer that breaks off.
    pub(super) fn first_half(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", self.length()).as_bytes());
        let body = self.body.concat();
        bytes.extend_from_slice(&body[..body.len() / 2]);
        bytes
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::NotFound(_) => Self::message(StatusCode::NOT_FOUND, &message),
            Refusal::Exists(_) => Self::message(StatusCode::CONFLICT, &message),
            Refusal::Locked(ids) => {
                let deployments: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
                Self::json(StatusCode::CONFLICT, &json!({"message": message, "deployments": deployments}))
            }
            Refusal::Invalid(problem) => Self::json(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({
                    "message": "Object is not valid",
                    "details": [{"path": problem.path, "errors": [problem.message]}],
                }),
            ),
            Refusal::Json(details) => {
                Self::json(StatusCode::BAD_REQUEST, &json!({"message": "Invalid JSON", "details": details}))
            }
            Refusal::NoServicePort => Self::message(StatusCode::INTERNAL_SERVER_ERROR, &message),
        }
    }
}
