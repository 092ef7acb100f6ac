//! What a person wrote for an app: routes beside those of its labels, and what goes with them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AppId, Timestamp};

pub mod acl;
pub mod criterion;

pub use criterion::{Criterion, HeaderCriterion};

/// More criteria than any route needs; a line of HAProxy's takes 64 words.
const CRITERIA_MAX: usize = 32;
/// The end of a pattern that stands for every app of a group (`/team/**`).
const GROUP: &str = "/**";

/// A rule: what a person gave to an app, or the defaults that every app of a group gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The app the rule is for, or a group pattern (`/team/**`), which carries `config` only.
    pub app: AppId,
    /// False: as if the rule were not there.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Where its routes are looked up: ascending, before every rule that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
    /// True: the routes of the app's labels are dropped.
    #[serde(default, skip_serializing_if = "is_no")]
    pub replace: bool,
    /// Who changed it last, when, why; a file that is edited by hand need not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Change>,
    /// Free keys for templates, as Bamboo has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Its routes.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RuleRoute>,
}

/// Who changed a rule, when, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// The time, UTC, as RFC 3339 writes it.
    #[serde(default)]
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The reason, in the user's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// One route of a rule: typed criteria or a free HAProxy criterion, and the port it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleRoute {
    /// The host, or `*.parent` for one label below it. Short for a host in `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path prefix; it ends at a `/` or at the end of the URL's path. Short for a path in `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The criterion of an HAProxy ACL, as Bamboo's rules have it (`hdr(host) -i example.com`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// Criteria that all have to hold, with `host` and `path`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Criterion>,
    /// Criteria of which one has to hold; stands alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Criterion>,
    /// The index of the app's port that the route leads to.
    #[serde(default, skip_serializing_if = "is_first")]
    pub port: usize,
}

/// What a route asks of a request, every value parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// All of the criteria hold; at least one.
    All(Vec<Criterion>),
    /// One of the criteria holds; at least two.
    Any(Vec<Criterion>),
    /// HAProxy is asked: a criterion that was found harmless, quoted as HAProxy reads it.
    Acl(String),
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_yes(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_no(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_first(index: &usize) -> bool {
    *index == 0
}

impl Rule {
    /// A rule that says nothing yet.
    #[must_use]
    pub fn new(app: AppId) -> Self {
        Self {
            app,
            enabled: true,
            order: None,
            replace: false,
            changed: None,
            config: BTreeMap::new(),
            routes: Vec::new(),
        }
    }

    /// The group with its slash (`/team/`) where the rule is for one.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.app.as_str().strip_suffix(GROUP).map(|group| &self.app.as_str()[..=group.len()])
    }

    /// Everything that keeps the rule from being stored by us; what is read from elsewhere may have worse.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let id = self.app.as_str();
        let known = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
        let name = id.strip_suffix(GROUP).unwrap_or(id);
        let parts_are_names =
            name.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
        if !(name.chars().all(known) && parts_are_names && id.len() <= 255 && (name != "/" || id == GROUP)) {
            mistakes.push(format!(
                "{id:?} is not the id of an app; expected one like \"/group/app\", or a group as \"/group/**\""
            ));
        }
        if self.group().is_some() && (!self.routes.is_empty() || self.replace || self.order.is_some()) {
            mistakes.push("a rule for a group carries config only: no routes, order or replace".to_owned());
        }
        for (index, route) in self.routes.iter().enumerate() {
            if let Err(error) = route.meaning() {
                mistakes.push(format!("route {}: {error}", index + 1));
            }
        }
        mistakes.extend(self.text_mistakes());
        mistakes
    }

    /// What Bamboo's keys and a line of text cannot hold.
    fn text_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (key, value) in &self.config {
            // Bamboo's own key, and the one that holds what Bamboo's form cannot say.
            if key.eq_ignore_ascii_case("acl") || key == "Causeway" {
                mistakes.push(format!("config.{key}: this key is taken; use routes, or another name"));
            }
            let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if key.is_empty() || key.len() > 64 || !key.chars().all(known) {
                mistakes.push(format!(
                    "config.{key:?}: a key has letters, digits, \"-\", \".\" and \"_\", at most 64"
                ));
            }
            if value.chars().any(char::is_control) {
                mistakes.push(format!("config.{key}: the value holds a control character"));
            }
        }
        if let Some(change) = &self.changed
            && [&*change.by, &*change.at.0, &*change.why]
                .iter()
                .any(|text| text.chars().any(char::is_control))
        {
            mistakes.push("changed: the text holds a control character".to_owned());
        }
        mistakes
    }
}

impl RuleRoute {
    /// A route of criteria that all have to hold.
    #[must_use]
    pub fn all_of(criteria: Vec<Criterion>, port: usize) -> Self {
        Self { all: criteria, port, ..Self::default() }.shortened()
    }

    /// The same route in its shortest form: a host and a path need no list.
    fn shortened(self) -> Self {
        match self.all.as_slice() {
            [Criterion::Host(host)] => Self { host: Some(host.clone()), all: Vec::new(), ..self },
            [Criterion::Path(path)] => Self { path: Some(path.clone()), all: Vec::new(), ..self },
            [Criterion::Host(host), Criterion::Path(path)] => {
                Self { host: Some(host.clone()), path: Some(path.clone()), all: Vec::new(), ..self }
            }
            _ => self,
        }
    }

    /// Reads an ACL's text into a route: typed where it is of a form we know, else as free text. `&&` joins criteria
    /// here, which HAProxy itself does not know: only for what people give to us, never for what Bamboo wrote.
    ///
    /// # Errors
    /// What is refused, and why.
    pub fn from_acl_with_and(text: &str, port: usize) -> Result<Self, String> {
        match acl::conjunction(text)? {
            Some(criteria) => Ok(Self::all_of(criteria, port)),
            None => {
                let text = acl::harmless(text)?;
                Ok(Self { acl: Some(text), port, ..Self::default() })
            }
        }
    }

    /// What the route asks of a request.
    ///
    /// # Errors
    /// Which value cannot be used, and what is expected.
    pub fn meaning(&self) -> Result<Meaning, String> {
        if self.all.len().max(self.any.len()) > CRITERIA_MAX {
            return Err(format!("it has more than {CRITERIA_MAX} criteria; use several routes"));
        }
        let typed = self.host.is_some() || self.path.is_some() || !self.all.is_empty();
        match (&self.acl, typed, self.any.is_empty()) {
            (Some(_), true, _) | (Some(_), _, false) => {
                Err("acl stands alone: it has criteria beside it".to_owned())
            }
            (Some(text), false, true) => acl::meaning(text),
            (None, true, false) => Err("`any` stands alone: it has other criteria beside it".to_owned()),
            (None, true, true) => self.meaning_of_all(),
            (None, false, false) => {
                let any: Vec<Criterion> = self.any.iter().map(Criterion::parsed).collect::<Result<_, _>>()?;
                Ok(if any.len() == 1 { Meaning::All(any) } else { Meaning::Any(any) })
            }
            (None, false, true) => {
                Err("it has neither host nor path, nor other criteria, nor acl".to_owned())
            }
        }
    }

    fn meaning_of_all(&self) -> Result<Meaning, String> {
        let host = self.host.iter().cloned().map(Criterion::Host);
        let path = self.path.iter().cloned().map(Criterion::Path);
        let all: Vec<Criterion> = host
            .chain(path)
            .chain(self.all.iter().cloned())
            .map(|criterion| criterion.parsed())
            .collect::<Result<_, _>>()?;
        for (index, criterion) in all.iter().enumerate() {
            let same_kind = |other: &&Criterion| {
                std::mem::discriminant(*other) == std::mem::discriminant(criterion)
                    && !matches!(other, Criterion::Header(_))
            };
            if all[..index].iter().any(|other| same_kind(&other)) {
                return Err(format!(
                    "two criteria of the kind {} cannot both hold; use `any`",
                    criterion.kind()
                ));
            }
        }
        let path =
            all.iter().find_map(|each| if let Criterion::Path(path) = each { Some(path) } else { None });
        let exact =
            all.iter().find_map(|each| if let Criterion::PathExact(path) = each { Some(path) } else { None });
        if let (Some(path), Some(exact)) = (path, exact)
            && !format!("{exact}/").starts_with(&format!("{path}/"))
        {
            return Err(format!("no path is {exact:?} and below {path:?}"));
        }
        Ok(Meaning::All(all))
    }
}

impl Meaning {
    /// The host and path pairs that mean the same, for the map files: `None` where it takes more than a look-up.
    #[must_use]
    pub fn host_paths(&self) -> Option<Vec<(Option<String>, String)>> {
        match self {
            Self::Acl(_) => None,
            Self::Any(criteria) => {
                criteria.iter().map(|criterion| pair(std::slice::from_ref(criterion))).collect()
            }
            Self::All(criteria) => pair(criteria).map(|pair| vec![pair]),
        }
    }

    /// The one criterion of an `acl` line that means the same: `None` where it takes several lines.
    #[must_use]
    pub fn single_acl(&self) -> Option<String> {
        match self {
            Self::Acl(text) => Some(text.clone()),
            Self::All(criteria) => match criteria.as_slice() {
                [criterion] => Some(criterion.acl()),
                _ => None,
            },
            Self::Any(criteria) => criterion::any_acl(criteria),
        }
    }
}

/// A host and a path prefix that all of the criteria come to.
fn pair(criteria: &[Criterion]) -> Option<(Option<String>, String)> {
    let mut pair = (None, String::new());
    for criterion in criteria {
        match criterion {
            Criterion::Host(host) => pair.0 = Some(host.clone()),
            Criterion::Path(path) => pair.1.clone_from(path),
            _ => return None,
        }
    }
    Some(pair)
}

#[cfg(test)]
mod tests;
