//! Who asks, and what they may do. The doors find out before any handler runs; handlers take a [`Caller`] and ask it.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Serialize;

use super::ApiError;
use crate::model::AppId;

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Edits typed rules of the apps below his prefixes.
    Editor {
        /// Group patterns (`/team-a/**`) and app ids.
        prefixes: Vec<String>,
    },
    /// May do everything: free text, group patterns, order, rollback.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The user's name, as the audit log has it; `None` where nobody logged in.
    pub name: Option<String>,
    /// What he may do.
    #[serde(flatten)]
    pub role: Role,
}

impl Caller {
    /// Somebody who did not log in, and may read all the same.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: None, role: Role::Viewer }
    }

    /// A user.
    #[must_use]
    pub fn user(name: impl Into<String>, role: Role) -> Self {
        Self { name: Some(name.into()), role }
    }

    /// The name for a log and for who changed a rule.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("anonymous")
    }

    /// Whether everything is allowed.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether anything may be changed at all.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.role != Role::Viewer
    }

    /// Whether what belongs to this app may be changed.
    #[must_use]
    pub fn may_edit(&self, app: &AppId) -> bool {
        match &self.role {
            Role::Viewer => false,
            Role::Editor { prefixes } => prefixes.iter().any(|prefix| covers(prefix, app)),
            Role::Admin => true,
        }
    }
}

/// Whether a group pattern (`/team/**`) or an app id stands for this app.
fn covers(prefix: &str, app: &AppId) -> bool {
    match prefix.strip_suffix("**") {
        Some(group) if group.ends_with('/') => app.as_str().starts_with(group),
        _ => app.as_str() == prefix,
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(ApiError::nobody)
    }
}
