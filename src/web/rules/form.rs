//! Rules as the API writes and takes them: JSON, every member shown.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{AppId, Change, Rule, RuleRoute};
use crate::rules::{RuleVersion, Versioned};
use crate::web::ApiError;

/// The header that says why a rule is changed, where the body does not.
const WHY: &str = "x-causeway-why";
/// More than a reason needs.
const WHY_CHARACTERS: usize = 500;

/// A rule as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Rule)]
pub(crate) struct Shown {
    /// The app, or a group pattern.
    #[schema(value_type = String)]
    pub(crate) app: AppId,
    /// False: as if it were not there.
    pub(crate) enabled: bool,
    /// Where its routes are looked up.
    pub(crate) order: Option<i64>,
    /// Whether the routes of the labels are dropped.
    pub(crate) replace: bool,
    /// Free keys for templates.
    pub(crate) config: BTreeMap<String, String>,
    /// Its routes.
    pub(crate) routes: Vec<RuleRoute>,
    /// Who changed it last, when, and why.
    pub(crate) changed: Option<Change>,
    /// Its version, as `ETag` has it.
    pub(crate) version: String,
}

impl From<&Versioned> for Shown {
    fn from(each: &Versioned) -> Self {
        let Rule { app, enabled, order, replace, changed, config, routes } = each.rule.clone();
        Self { app, enabled, order, replace, config, routes, changed, version: each.version.to_string() }
    }
}

impl From<&Rule> for Shown {
    /// A rule that is not stored yet.
    fn from(rule: &Rule) -> Self {
        Self::from(&Versioned { rule: rule.clone(), version: RuleVersion::new("") })
    }
}

impl From<Shown> for Rule {
    fn from(shown: Shown) -> Self {
        let Shown { app, enabled, order, replace, config, routes, changed, version: _ } = shown;
        Self { app, enabled, order, replace, changed, config, routes }
    }
}

/// A rule as it is given. What is shown can be given back: `changed` and `version` are ours to say, and are not looked at.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = GivenRule)]
pub(super) struct Given {
    /// The app, or a group pattern; where the path names it, it need not be here.
    #[schema(value_type = Option<String>)]
    app: Option<AppId>,
    /// False: as if it were not there.
    enabled: Option<bool>,
    /// Where its routes are looked up, ascending, before those without.
    order: Option<i64>,
    /// Whether the routes of the labels are dropped.
    replace: bool,
    /// Free keys for templates.
    config: BTreeMap<String, String>,
    /// Its routes. The rules file has them one by one, as `route`.
    #[serde(alias = "route")]
    routes: Vec<RuleRoute>,
    #[serde(rename = "changed")]
    #[schema(value_type = Object)]
    _changed: Value,
    #[serde(rename = "version")]
    #[schema(value_type = String)]
    _version: Value,
    /// Why it is changed.
    why: Option<String>,
}

impl Given {
    /// Reads a rule.
    ///
    /// # Errors
    /// 422 with what is not of this form.
    pub(super) fn parse(body: Value) -> Result<Self, ApiError> {
        // A list would do for its members in their order.
        if !body.is_object() {
            return Err(ApiError::mistakes(vec!["expected a rule: an object".to_owned()]));
        }
        serde_json::from_value(body).map_err(|error| ApiError::mistakes(vec![error.to_string()]))
    }

    /// The rule, and why it is changed; `app` is the one that the path names.
    ///
    /// # Errors
    /// 422 with what cannot be understood; what the rule says is not judged yet.
    pub(super) fn into_rule(
        self,
        app: Option<&AppId>,
        headers: &HeaderMap,
    ) -> Result<(Rule, String), ApiError> {
        let mut mistakes = Vec::new();
        let app = match (self.app, app) {
            (Some(given), Some(named)) if given != *named => {
                mistakes.push(format!("app: the body says {given}, the path {named}"));
                given
            }
            (Some(app), _) => app,
            (None, Some(app)) => app.clone(),
            (None, None) => {
                mistakes.push("app: whose rule is it?".to_owned());
                AppId::new("/")
            }
        };
        let mut routes = Vec::new();
        for (route, number) in self.routes.into_iter().zip(1..) {
            match understood(route) {
                Ok(route) => routes.push(route),
                Err(error) => mistakes.push(format!("route {number}: {error}")),
            }
        }
        let header = || headers.get(WHY).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let why = self.why.or_else(|| header().map(str::to_owned)).unwrap_or_default();
        if why.chars().count() > WHY_CHARACTERS {
            mistakes.push(format!("why: more than {WHY_CHARACTERS} characters"));
        }
        let rule = Rule {
            app,
            enabled: self.enabled.unwrap_or(true),
            order: self.order,
            replace: self.replace,
            changed: None,
            config: self.config,
            routes,
        };
        if mistakes.is_empty() {
            return Ok((rule, why));
        }
        // All of them at once, those of the rest too.
        if rule.app.as_str() != "/" {
            mistakes.extend(rule.mistakes());
        }
        Err(ApiError::mistakes(mistakes))
    }
}

/// A route whose text may join criteria by `&&`, which HAProxy does not know.
fn understood(route: RuleRoute) -> Result<RuleRoute, String> {
    match &route.acl {
        Some(text)
            if text.contains("&&")
                && RuleRoute { acl: None, port: 0, ..route.clone() } == RuleRoute::default() =>
        {
            RuleRoute::from_acl_with_and(text, route.port)
        }
        _ => Ok(route),
    }
}
