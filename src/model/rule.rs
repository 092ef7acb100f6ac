//! What a person wrote for an app.

use serde::{Deserialize, Serialize};

use super::AppId;

/// A rule: routes that a person gave to an app, beside those of its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The app the rule is for.
    pub app: AppId,
    /// Its routes.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RuleRoute>,
}

/// One route of a rule: `host` and `path`, or a free HAProxy criterion, and the port it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRoute {
    /// The host, or `*.parent` for one label below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path prefix; it ends at a `/` or at the end of the URL's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The criterion of an HAProxy ACL, as Bamboo's rules have it (`hdr(host) -i example.com`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// The index of the app's port that the route leads to.
    #[serde(default)]
    pub port: usize,
}
