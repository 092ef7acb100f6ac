//! What brings a request to a service.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Criterion;

/// What ends an exact path among keys of prefixes: no path holds it, since it begins what is asked for behind the path.
pub const EXACT: &str = "/?";

/// What brings a request to a service, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// What a request has to look like.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// True where a rule made it; a rule beats a label.
    pub from_rule: bool,
    /// What a label said about its order: a higher one is looked up first; 0 where none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight: i32,
    /// What its rule said about its order: looked up before everything that has none, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
}

impl Route {
    /// A route that nobody gave an order.
    #[must_use]
    pub fn new(matches: RouteMatch) -> Self {
        Self { matches, from_rule: false, weight: 0, order: None }
    }

    /// Whether somebody said that it comes before routes that are more specific.
    #[must_use]
    pub fn is_ranked(&self) -> bool {
        self.order.is_some() || self.weight != 0
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(weight: &i32) -> bool {
    *weight == 0
}

/// What a request has to look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteMatch {
    /// An exact host, or `*.parent`, or none; and a path, empty for every path.
    HostPath {
        /// The host in lower case; `None` for any.
        host: Option<String>,
        /// The path prefix, without a `/` at its end; empty for every path. In lower case where case does not count.
        path: String,
        /// True where upper and lower case of the path are the same.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        any_case: bool,
    },
    /// The same with a path that has to be all of the request's.
    Exact {
        /// The host in lower case; `None` for any.
        host: Option<String>,
        /// The path.
        path: String,
    },
    /// A host and a path, and more: what only a line of the configuration can ask for.
    Line(Box<Line>),
    /// The text of one HAProxy criterion.
    Acl(String),
    /// The app's id as a path, where neither a label nor a rule says anything of it.
    Default(String),
}

/// A host and a path, as [`RouteMatch::HostPath`] or [`RouteMatch::Exact`] have them, and criteria that have to hold too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    /// The host in lower case; `None` for any.
    pub host: Option<String>,
    /// The path: a prefix, empty for every path, or all of it.
    pub path: String,
    /// Whether it is all of the path.
    pub exact: bool,
    /// The others, parsed, at least one: headers, methods, networks.
    pub criteria: Vec<Criterion>,
}

impl RouteMatch {
    /// The host that a request has to have, where it has to have one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::HostPath { host, .. } | Self::Exact { host, .. } => host.as_deref(),
            Self::Line(line) => line.host.as_deref(),
            Self::Acl(_) | Self::Default(_) => None,
        }
    }

    /// The host and the path where requests have to be, the path without the `/` at its end, or with [`EXACT`] there;
    /// `None` where only HAProxy can tell.
    #[must_use]
    pub fn place(&self) -> Option<(Option<&str>, Cow<'_, str>)> {
        let whole = |path: &str| Cow::Owned(format!("{path}{EXACT}"));
        let path = match self {
            Self::HostPath { path, .. } => path.into(),
            Self::Exact { path, .. } => whole(path),
            Self::Line(line) if line.exact => whole(&line.path),
            Self::Line(line) => (&line.path).into(),
            Self::Acl(_) | Self::Default(_) => return None,
        };
        Some((self.host(), path))
    }

    /// Whether it is a line of the configuration, and no map entry.
    #[must_use]
    pub fn is_line(&self) -> bool {
        matches!(self, Self::Line(_) | Self::Acl(_))
    }
}

impl fmt::Display for RouteMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |host: &Option<String>| host.as_deref().unwrap_or("*").to_owned();
        let or_root = |path: &str| if path.is_empty() { "/" } else { path }.to_owned();
        match self {
            Self::HostPath { host, path, any_case } => {
                write!(f, "route {}{}", any(host), or_root(path))?;
                if *any_case { f.write_str(" in any case") } else { Ok(()) }
            }
            Self::Exact { host, path } => write!(f, "route {}{path} exactly", any(host)),
            Self::Line(line) => {
                let exactly = if line.exact { " exactly" } else { "" };
                let criteria: Vec<String> = line.criteria.iter().map(Criterion::acl).collect();
                let criteria = criteria.join(" and ");
                write!(f, "route {}{}{exactly} with {criteria}", any(&line.host), or_root(&line.path))
            }
            Self::Acl(text) => write!(f, "acl {text}"),
            Self::Default(path) => write!(f, "default rule {path}"),
        }
    }
}
