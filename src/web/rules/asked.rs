//! What a request about rules asks for: whose rule, which version, a dry run or not.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::form::Given;
use super::{change_by, conflict, may_change};
use crate::model::{AppId, Rule};
use crate::rules::{RuleVersion, StoreError, Versioned};
use crate::web::{ApiError, Audit, Caller};

/// The app that the path names: `/api/v2/rules/group/app`, with one slash before it or two, or as `%2Fgroup%2Fapp`.
pub(super) struct AppPath(pub(super) AppId);

impl<S: Send + Sync> FromRequestParts<S> for AppPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Self(AppId::new(&id)))
    }
}

/// A body of JSON, whatever its type says.
pub(super) struct JsonBody(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|error| ApiError::new(error.status(), error.body_text()))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))
    }
}

/// Who asks for a change, and how.
pub(in crate::web) struct Asking {
    pub(in crate::web) caller: Caller,
    pub(super) headers: HeaderMap,
    /// Only what would come is asked for.
    pub(super) dry_run: bool,
    audit: Audit,
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let mut pairs = parts.uri.query().unwrap_or_default().split('&');
        let dry_run = pairs.any(|pair| matches!(pair, "dry_run" | "dry_run=" | "dry_run=true" | "dry_run=1"));
        let audit = parts.extensions.get::<Audit>().cloned().unwrap_or_default();
        if dry_run {
            audit.changes_nothing();
        }
        Ok(Self { caller, headers: parts.headers.clone(), dry_run, audit })
    }
}

impl Asking {
    /// What a page asks for on behalf of its reader.
    pub(in crate::web) fn of_page(caller: Caller, audit: Audit, dry_run: bool) -> Self {
        if dry_run {
            audit.changes_nothing();
        }
        Self { caller, headers: HeaderMap::new(), dry_run, audit }
    }

    /// A rule as it is given, with who changes it now and why; `app` is the one that the path names.
    ///
    /// # Errors
    /// 422 with what cannot be understood; 401 or 403 where the app is not his to edit.
    pub(super) fn rule(&self, given: Value, app: Option<&AppId>) -> Result<Rule, ApiError> {
        if let Some(app) = app {
            may_change(&self.caller, app)?;
        }
        let (mut rule, why) = Given::parse(given)?.into_rule(app, &self.headers)?;
        may_change(&self.caller, &rule.app)?;
        if !self.dry_run {
            self.audit.about(rule.app.as_str());
            self.audit.why(&why);
        }
        rule.changed = Some(change_by(&self.caller, why));
        Ok(rule)
    }
}

/// Which version of a rule a writer saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) enum Expected {
    /// None: it creates the rule.
    New,
    /// None, and the request said so by `If-None-Match: *`.
    NewByHeader,
    /// Whichever there is.
    Any,
    /// One of these.
    OneOf(Vec<RuleVersion>),
}

impl Expected {
    /// The version that somebody saw; none where he saw no rule.
    pub(in crate::web) fn seen(version: Option<&str>) -> Self {
        version.map_or(Self::NewByHeader, |version| Self::OneOf(vec![RuleVersion::new(version)]))
    }

    /// Takes `If-Match` or `If-None-Match` (RFC 9110, section 13.1).
    ///
    /// # Errors
    /// 428 where the request says nothing: two writers would undo each other unseen.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
            (Some("*"), None) => Ok(Self::Any),
            // A weak tag never matches here.
            (Some(tags), None) => Ok(Self::OneOf(
                tags.split(',').map(|tag| RuleVersion::new(tag.trim().trim_matches('"'))).collect(),
            )),
            (None, Some("*")) => Ok(Self::NewByHeader),
            _ => Err(ApiError::new(
                StatusCode::PRECONDITION_REQUIRED,
                "say which version is meant: If-Match with the ETag that GET gave, or If-None-Match: * to create a rule",
            )),
        }
    }

    /// The version to replace, `None` to create.
    ///
    /// # Errors
    /// The rule is another, is there, or is not.
    pub(super) fn version(
        &self,
        app: &AppId,
        current: Option<&Versioned>,
    ) -> Result<Option<RuleVersion>, ApiError> {
        let version = current.map(|current| current.version.clone());
        let fits = match (self, &version) {
            (Self::New | Self::NewByHeader, there) => there.is_none(),
            (Self::Any, there) => there.is_some(),
            (Self::OneOf(versions), Some(there)) => versions.contains(there),
            (Self::OneOf(_), None) => false,
        };
        if fits {
            return Ok(version);
        }
        let current = current.cloned().map(Box::new);
        Err(self.error(StoreError::Conflict { app: app.clone(), current }))
    }

    /// The same expectation of a writer who has just read the rule.
    ///
    /// # Errors
    /// What was read is not what was expected.
    pub(super) fn narrowed_to(&self, current: &Versioned) -> Result<Self, ApiError> {
        let version = self.version(&current.rule.app, Some(current))?;
        Ok(Self::OneOf(version.into_iter().collect()))
    }

    /// A conflict is 412 where the request set a condition, else 409.
    pub(super) fn error(&self, error: StoreError) -> ApiError {
        match (self, &error) {
            (Self::New, StoreError::Conflict { .. }) => conflict(StatusCode::CONFLICT, error),
            _ => error.into(),
        }
    }
}

/// Applies a merge patch (RFC 7396): `null` takes a member away, objects are merged, anything else replaces.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => {
                fields.remove(&name);
            }
            value => merge(fields.entry(name).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_sets_takes_away_and_replaces_lists() {
        let mut rule = json!({ "app": "/a", "config": { "x": "1", "y": "2" }, "routes": [{ "host": "a" }] });
        merge(&mut rule, json!({ "config": { "x": null, "z": "3" }, "routes": [], "order": 1 }));
        assert_eq!(rule, json!({ "app": "/a", "config": { "y": "2", "z": "3" }, "routes": [], "order": 1 }));
    }

    #[test]
    fn a_write_says_which_version_it_saw() {
        let of = |pairs: &[(header::HeaderName, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            Expected::of(&headers).map_err(|error| error.status().as_u16())
        };
        assert_eq!(of(&[]), Err(428));
        assert_eq!(of(&[(header::IF_MATCH, "*")]), Ok(Expected::Any));
        assert_eq!(of(&[(header::IF_NONE_MATCH, "*")]), Ok(Expected::NewByHeader));
        assert_eq!(of(&[(header::IF_NONE_MATCH, "\"7\"")]), Err(428));
        let versions = ["7", "8", "W/\"9"].map(RuleVersion::new).to_vec();
        assert_eq!(of(&[(header::IF_MATCH, "\"7\", \"8\",W/\"9\"")]), Ok(Expected::OneOf(versions)));
    }
}
