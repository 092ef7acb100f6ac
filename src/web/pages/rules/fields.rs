//! The fields of the editor: a rule as a form has it, and back.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::rule::HeaderCriterion;
use crate::model::{Criterion, RuleRoute};
use crate::web::rules::Shown;

/// What a form may have of each; more is left out.
const MOST: usize = 64;

/// A rule as a form has it: texts, whatever they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Fields {
    pub(super) app: String,
    /// The version that its writer saw; empty: there was no rule.
    pub(super) version: String,
    /// The version that somebody else stored meanwhile, once its writer was told.
    pub(super) theirs: String,
    pub(super) enabled: bool,
    pub(super) order: String,
    pub(super) replace: bool,
    /// Lines of `key = value`.
    pub(super) config: String,
    pub(super) why: String,
    pub(super) routes: Vec<RouteFields>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RouteFields {
    /// `all`, `any` or `acl`.
    pub(super) join: String,
    pub(super) acl: String,
    pub(super) port: String,
    pub(super) criteria: Vec<CriterionFields>,
}

/// A criterion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct CriterionFields {
    pub(super) kind: String,
    /// The name of a header.
    pub(super) name: String,
    pub(super) value: String,
}

/// A criterion as people read it.
pub(super) fn in_words(criterion: &Criterion) -> String {
    let CriterionFields { kind, name, value } = CriterionFields::from(criterion);
    match (name.as_str(), kind.as_str()) {
        ("", "path_exact") => format!("path exactly {value}"),
        ("", kind) => format!("{kind} {value}"),
        (name, _) if value.is_empty() => format!("header {name}"),
        (name, _) => format!("header {name}: {value}"),
    }
}

impl From<&Criterion> for CriterionFields {
    fn from(criterion: &Criterion) -> Self {
        let (name, value) = match criterion {
            Criterion::Header(HeaderCriterion { name, value }) => {
                (name.clone(), value.clone().unwrap_or_default())
            }
            Criterion::Host(value)
            | Criterion::Path(value)
            | Criterion::PathExact(value)
            | Criterion::Method(value)
            | Criterion::Source(value) => (String::new(), value.clone()),
        };
        Self { kind: criterion.kind().to_owned(), name, value }
    }
}

impl From<&RuleRoute> for RouteFields {
    fn from(route: &RuleRoute) -> Self {
        let simple = |kind: &str, value: &Option<String>| {
            value.clone().map(|value| CriterionFields { kind: kind.to_owned(), name: String::new(), value })
        };
        let all = simple("host", &route.host).into_iter().chain(simple("path", &route.path));
        let (join, criteria) = match (&route.acl, route.any.is_empty()) {
            (Some(_), _) => ("acl", Vec::new()),
            (None, false) => ("any", route.any.iter().map(CriterionFields::from).collect()),
            (None, true) => ("all", all.chain(route.all.iter().map(CriterionFields::from)).collect()),
        };
        let port = if route.port == 0 { String::new() } else { route.port.to_string() };
        Self { join: join.to_owned(), acl: route.acl.clone().unwrap_or_default(), port, criteria }
    }
}

impl From<&Shown> for Fields {
    fn from(rule: &Shown) -> Self {
        let config: String = rule.config.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        Self {
            app: rule.app.to_string(),
            version: rule.version.clone(),
            theirs: String::new(),
            enabled: rule.enabled,
            order: rule.order.map(|order| order.to_string()).unwrap_or_default(),
            replace: rule.replace,
            config,
            why: String::new(),
            routes: rule.routes.iter().map(RouteFields::from).collect(),
        }
    }
}

impl Fields {
    /// A rule that is begun: one route with a host to fill in.
    pub(super) fn begun(app: &str) -> Self {
        Self { app: app.to_owned(), enabled: true, routes: vec![RouteFields::begun()], ..Self::default() }
    }

    /// What a form sent, and which button sent it.
    pub(super) fn of_form(body: &[u8]) -> (Self, String) {
        let pairs = form_urlencoded::parse(body);
        let mut fields = Self::default();
        let mut what = String::new();
        let mut routes: BTreeMap<usize, (RouteFields, BTreeMap<usize, CriterionFields>)> = BTreeMap::new();
        for (name, value) in pairs {
            let value = value.into_owned();
            match &*name {
                "app" => fields.app = value.trim().to_owned(),
                "version" => fields.version = value,
                "theirs" => fields.theirs = value,
                "enabled" => fields.enabled = true,
                "order" => fields.order = value.trim().to_owned(),
                "replace" => fields.replace = true,
                "config" => fields.config = value,
                "why" => fields.why = value.trim().to_owned(),
                "do" => what = value,
                other => {
                    let parts: Vec<&str> = other.split('.').collect();
                    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number < MOST);
                    match parts.as_slice() {
                        ["route", at, name] => {
                            let Some(at) = number(at) else { continue };
                            let (route, _) = routes.entry(at).or_default();
                            match *name {
                                "join" => route.join = value,
                                "acl" => route.acl = value.trim().to_owned(),
                                "port" => route.port = value.trim().to_owned(),
                                _ => {}
                            }
                        }
                        ["route", at, number_of, name] => {
                            let (Some(at), Some(place)) = (number(at), number(number_of)) else { continue };
                            let criterion = routes.entry(at).or_default().1.entry(place).or_default();
                            match *name {
                                "kind" => criterion.kind = value,
                                "name" => criterion.name = value.trim().to_owned(),
                                "value" => criterion.value = value.trim().to_owned(),
                                _ => {}
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        fields.routes = routes
            .into_values()
            .map(|(route, criteria)| RouteFields { criteria: criteria.into_values().collect(), ..route })
            .collect();
        (fields, what)
    }

    /// Does what a button of the form says: `add-route`, `remove-1`, `add-1`, `remove-1-2`. False where it says something else.
    pub(super) fn edit(&mut self, what: &str) -> bool {
        let mut parts = what.split('-');
        let (verb, first, second) = (parts.next(), parts.next(), parts.next());
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok());
        match (verb, first, number(first), number(second)) {
            (Some("add"), Some("route"), ..) => self.routes.push(RouteFields::begun()),
            (Some("add"), _, Some(route), _) => {
                if let Some(route) = self.routes.get_mut(route) {
                    let next = ["host", "path", "header"].into_iter().find(|kind| {
                        !route.criteria.iter().any(|each| each.kind == *kind) || *kind == "header"
                    });
                    let kind = if route.join == "any" {
                        route.criteria.last().map(|each| each.kind.clone())
                    } else {
                        None
                    };
                    let kind = kind.unwrap_or_else(|| next.unwrap_or("header").to_owned());
                    route.criteria.push(CriterionFields { kind, ..CriterionFields::default() });
                }
            }
            (Some("remove"), _, Some(route), None) if route < self.routes.len() => {
                self.routes.remove(route);
            }
            (Some("remove"), _, Some(route), Some(criterion)) => {
                if let Some(route) = self.routes.get_mut(route)
                    && criterion < route.criteria.len()
                {
                    route.criteria.remove(criterion);
                }
            }
            _ => return false,
        }
        true
    }

    /// The rule as the API takes it.
    ///
    /// # Errors
    /// What is no rule at all: numbers that are none, lines without a `=`.
    pub(super) fn rule(&self) -> Result<Value, Vec<String>> {
        let mut mistakes = Vec::new();
        let order = match self.order.as_str() {
            "" => Value::Null,
            text => text.parse::<i64>().map(|order| json!(order)).unwrap_or_else(|_| {
                mistakes.push(format!("order: {text:?} is no whole number"));
                Value::Null
            }),
        };
        let mut config = Map::new();
        for line in self.config.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some((key, value)) => {
                    config.insert(key.trim().to_owned(), json!(value.trim()));
                }
                None => mistakes.push(format!("config: {line:?} has no \"=\"; expected key = value")),
            }
        }
        let mut routes = Vec::new();
        for (route, number) in self.routes.iter().zip(1..) {
            match route.route() {
                Ok(route) => routes.push(route),
                Err(mistake) => mistakes.push(format!("route {number}: {mistake}")),
            }
        }
        if self.app.is_empty() {
            mistakes.push("app: whose rule is it? expected an id like /group/app".to_owned());
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(json!({
            "app": self.app, "enabled": self.enabled, "order": order, "replace": self.replace,
            "config": config, "routes": routes, "why": self.why,
        }))
    }
}

impl RouteFields {
    fn begun() -> Self {
        let host = CriterionFields { kind: "host".to_owned(), ..CriterionFields::default() };
        Self { join: "all".to_owned(), criteria: vec![host], ..Self::default() }
    }

    fn route(&self) -> Result<Value, String> {
        let port = match self.port.as_str() {
            "" => 0,
            text => text.parse::<usize>().map_err(|_| format!("port: {text:?} is no index of a port"))?,
        };
        let mut route = match self.join.as_str() {
            "acl" => json!({ "acl": self.acl }),
            join => {
                let criteria: Vec<Value> = self.criteria.iter().map(CriterionFields::criterion).collect();
                if criteria.is_empty() {
                    return Err("it asks for nothing; add a criterion, or remove the route".to_owned());
                }
                json!({ (if join == "any" { "any" } else { "all" }): criteria })
            }
        };
        route["port"] = json!(port);
        // In its shortest form, so that a rule that is opened and saved is the same rule.
        let short = |list: &Value, kind: &str, at: usize| {
            list.get(at).and_then(|each| each.get(kind)).and_then(Value::as_str).map(str::to_owned)
        };
        if let Some(list) = route.get("all").cloned() {
            let count = list.as_array().map_or(0, Vec::len);
            let (host, path) = (short(&list, "host", 0), short(&list, "path", count.saturating_sub(1)));
            match (count, host, path) {
                (1, Some(host), _) => route = json!({ "host": host, "port": port }),
                (1, None, Some(path)) => route = json!({ "path": path, "port": port }),
                (2, Some(host), Some(path)) => route = json!({ "host": host, "path": path, "port": port }),
                _ => {}
            }
        }
        Ok(route)
    }
}

impl CriterionFields {
    fn criterion(&self) -> Value {
        match self.kind.as_str() {
            "header" if self.value.is_empty() => json!({ "header": { "name": self.name } }),
            "header" => json!({ "header": { "name": self.name, "value": self.value } }),
            kind => json!({ kind: self.value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_and_comes_to_the_rule_that_it_was_drawn_from() {
        let body = "app=/shop/web&version=7&enabled=1&order=5&config=timeout+%3D+5s%0A&why=moved\
                    &route.0.join=all&route.0.0.kind=host&route.0.0.value=a.x&route.0.1.kind=path&route.0.1.value=/p\
                    &route.2.join=any&route.2.port=1&route.2.0.kind=path&route.2.0.value=/a&route.2.3.kind=header&route.2.3.name=X-T\
                    &route.1.join=acl&route.1.acl=hdr(x)+y&do=try";
        let (fields, what) = Fields::of_form(body.as_bytes());
        assert_eq!(what, "try");
        let rule = fields.rule().unwrap();
        assert_eq!(
            rule["routes"],
            json!([
                { "host": "a.x", "path": "/p", "port": 0 },
                { "acl": "hdr(x) y", "port": 0 },
                { "any": [{ "path": "/a" }, { "header": { "name": "X-T" } }], "port": 1 },
            ])
        );
        assert_eq!((&rule["config"], &rule["order"]), (&json!({ "timeout": "5s" }), &json!(5)));
        let routes: Vec<RuleRoute> = serde_json::from_value(rule["routes"].clone()).unwrap();
        let again: Vec<RouteFields> = routes.iter().map(RouteFields::from).collect();
        assert_eq!(again[0], fields.routes[0]);
        assert_eq!(again[2], fields.routes[2]);
    }

    #[test]
    fn buttons_add_and_remove_and_mistakes_are_told_together() {
        let mut fields = Fields::begun("/a");
        for what in ["add-0", "add-route", "remove-1-0"] {
            assert!(fields.edit(what), "{what}");
        }
        assert_eq!(fields.routes[0].criteria[1].kind, "path");
        fields.order = "first".to_owned();
        fields.config = "timeout".to_owned();
        let mistakes = fields.rule().unwrap_err();
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(fields.edit("remove-1") && fields.routes.len() == 1 && !fields.edit("save"));
        assert!(fields.edit("remove-9-9"), "what is gone already");
    }
}
