//! The payload of Bamboo's nodes, and of what its form cannot say.
//!
//! V2 is `{"version":"2","config":{"Acl":"…",…}}`, the version being text; V1 is the criterion itself. What Bamboo cannot
//! say goes into one config key as JSON, so that it is there whole or not at all; it repeats the `Acl` that it was written
//! with, since Bamboo's own page drops keys that it does not know, and its API changes `Acl` alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::rule::Meaning;
use crate::model::{AppId, Change, Rule, RuleRoute};

/// The config key of what Bamboo cannot say.
const EXTRAS: &str = "Causeway";
const ACL: &str = "Acl";
/// What no request fulfils: an empty criterion would stop every Bamboo.
const NEVER: &str = "always_false";
/// How many hosts or paths a line for Bamboo has at most; HAProxy's line takes 64 words.
const PATTERNS_MAX: usize = 50;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extras {
    acl: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    replace: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<Change>,
    routes: Vec<RuleRoute>,
}

/// A node's payload, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) rule: Rule,
    /// Whether everything is here that we wrote; else `Acl` is all there is.
    pub(super) extras: Found,
}

/// What became of what Bamboo cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there, and counts.
    Whole,
    /// There is none.
    None,
    /// It is there, and does not count; why.
    Void(&'static str),
}

/// Reads a payload.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(app: &AppId, data: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(data).map_err(|_| "it is not text".to_owned())?.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    // No criterion begins like this; what Bamboo would take for one stops every HAProxy.
    if !text.starts_with(['{', '[', '"']) {
        return Ok(Record { rule: of_acl(app, text), extras: Found::None });
    }
    Ok(of_config(app, config_in(text)?))
}

/// Understands what Bamboo calls the config of a service, the criterion (`Acl`) and what is ours among it.
fn of_config(app: &AppId, mut config: BTreeMap<String, String>) -> Record {
    let acl = config.remove(ACL).unwrap_or_default();
    let extras = config.remove(EXTRAS);
    let only_acl = |config, extras| {
        let rule = Rule { config, ..of_acl(app, &acl) };
        Record { rule, extras }
    };
    let Some(extras) = extras else { return only_acl(config, Found::None) };
    match serde_json::from_str::<Extras>(&extras) {
        Err(_) => only_acl(config, Found::Void("what it says beside Acl is not understood")),
        Ok(extras) if extras.acl != acl => only_acl(
            config,
            Found::Void("its Acl was changed by somebody who does not know what else it says"),
        ),
        Ok(extras) => {
            let rule = Rule {
                app: app.clone(),
                enabled: !extras.disabled,
                order: extras.order,
                replace: extras.replace,
                changed: extras.changed,
                config,
                routes: extras.routes,
            };
            Record { rule, extras: Found::Whole }
        }
    }
}

/// The rule that what Bamboo calls the config of a service comes to. Where `Acl` says another criterion than what is ours
/// among it, `Acl` counts.
#[must_use]
pub(crate) fn rule_of_config(app: &AppId, config: BTreeMap<String, String>) -> Rule {
    of_config(app, config).rule
}

fn config_in(text: &str) -> Result<BTreeMap<String, String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is broken JSON ({error})"))?;
    let not_v2 = || {
        "it is JSON, and not of the form {\"version\":\"2\",\"config\":{…}} with texts as values; Bamboo takes all of it for a criterion"
            .to_owned()
    };
    let Value::Object(fields) = value else { return Err(not_v2()) };
    // Go finds keys whatever their case.
    let field =
        |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    if field("version").and_then(Value::as_str) != Some("2") {
        return Err(not_v2());
    }
    match field("config") {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(config)) => config
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or_else(not_v2),
        Some(_) => Err(not_v2()),
    }
}

/// The rule that a criterion alone comes to.
fn of_acl(app: &AppId, acl: &str) -> Rule {
    let mut rule = Rule::new(app.clone());
    if !acl.is_empty() && acl != NEVER {
        rule.routes.push(RuleRoute { acl: Some(acl.to_owned()), ..RuleRoute::default() });
    }
    rule
}

/// Writes a payload.
pub(super) fn encode(rule: &Rule) -> Vec<u8> {
    // By key, as Bamboo writes it.
    serde_json::json!({ "config": config_of_rule(rule), "version": "2" }).to_string().into_bytes()
}

/// A rule as what Bamboo calls the config of a service. Where Bamboo's form says it all, nothing of ours is in it.
#[must_use]
pub(crate) fn config_of_rule(rule: &Rule) -> BTreeMap<String, String> {
    let acl = best_acl(rule);
    let mut config = rule.config.clone();
    if (Rule { config: rule.config.clone(), ..of_acl(&rule.app, &acl) }) != *rule {
        let extras = Extras {
            acl: acl.clone(),
            disabled: !rule.enabled,
            order: rule.order,
            replace: rule.replace,
            changed: rule.changed.clone(),
            routes: rule.routes.clone(),
        };
        let extras = serde_json::to_string(&extras).expect("texts and numbers have a JSON form");
        config.insert(EXTRAS.to_owned(), extras);
    }
    config.insert(ACL.to_owned(), acl);
    config
}

/// What is left of a rule when only its `Acl` counts.
pub(super) fn without_extras(rule: &Rule) -> Rule {
    of_acl(&rule.app, &best_acl(rule))
}

/// Whether two rules bring the same requests to the same place: who changed them and why aside.
pub(super) fn leads_alike(one: &Rule, other: &Rule) -> bool {
    one.enabled == other.enabled
        && one.order == other.order
        && one.replace == other.replace
        && one.routes.len() == other.routes.len()
        && one
            .routes
            .iter()
            .zip(&other.routes)
            .all(|(one, other)| one.port == other.port && one.meaning().ok() == other.meaning().ok())
}

/// The best single criterion that Bamboo can serve: never one that catches more than the rule means to, as far as Bamboo's
/// HAProxy can tell, and never an empty one. Bamboo knows one backend an app, so only routes to the first port count.
fn best_acl(rule: &Rule) -> String {
    if !rule.enabled || rule.group().is_some() {
        return NEVER.to_owned();
    }
    let meanings: Vec<Meaning> =
        rule.routes.iter().filter(|route| route.port == 0).filter_map(|route| route.meaning().ok()).collect();
    // What a person or a Bamboo wrote is kept to the letter.
    if let [RuleRoute { acl: Some(text), port: 0, .. }] = rule.routes.as_slice() {
        return text.clone();
    }
    let mut kind = None;
    let mut patterns = Vec::new();
    for meaning in &meanings {
        match meaning.host_paths() {
            Some(pairs) => {
                for (host, path) in pairs {
                    let (of_kind, pattern) = host_path_acl(host.as_deref(), &path);
                    if *kind.get_or_insert(of_kind) == of_kind && patterns.len() < PATTERNS_MAX {
                        patterns.push(pattern);
                    }
                }
            }
            None if kind.is_none() => {
                if let Some(text) = meaning.single_acl() {
                    return text;
                }
            }
            None => {}
        }
    }
    match kind {
        Some(kind) => format!("{kind} {}", patterns.join(" ")),
        None => NEVER.to_owned(),
    }
}

/// Fetch and flags, and the pattern. `base` is the host and the path in one.
fn host_path_acl(host: Option<&str>, path: &str) -> (&'static str, String) {
    match (host, host.and_then(|host| host.strip_prefix('*'))) {
        (None, _) if path.is_empty() => ("path_beg", "/".to_owned()),
        (None, _) => ("path_beg", path.to_owned()),
        (Some(_), Some(parent)) if path.is_empty() => ("hdr_end(host) -i", parent.to_owned()),
        (Some(_), Some(parent)) => ("base_reg -i", format!("^[^./]+{}{}", literal(parent), literal(path))),
        (Some(host), None) if path.is_empty() => ("hdr(host) -i", host.to_owned()),
        (Some(host), None) => ("base_beg -i", format!("{host}{path}")),
    }
}

/// Text inside a regular expression, without a backslash or a dollar, which mean something on the line.
fn literal(text: &str) -> String {
    text.chars().map(|c| if ".+*()$".contains(c) { format!("[{c}]") } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests;
