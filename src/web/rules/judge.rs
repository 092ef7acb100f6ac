//! Who may write what into a rule. An admin may write everything that is sound; an editor gives typed criteria to his own
//! apps, on hosts that the operator allows them and that are nobody else's.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::rule::Meaning;
use crate::model::{AppId, Criterion, RouteMatch, Rule, RuleRoute, Service};
use crate::services::Terms;
use crate::view::View;
use crate::web::{ApiError, Caller};

/// Whether somebody may change anything of this app.
///
/// # Errors
/// 401 for nobody, 403 for others.
pub(in crate::web) fn may_change(caller: &Caller, app: &AppId) -> Result<(), ApiError> {
    if !caller.may_write() {
        return Err(match caller.name {
            None => ApiError::nobody(),
            Some(_) => ApiError::forbidden("a viewer changes nothing; ask an editor of the app, or an admin"),
        });
    }
    let is_group = Rule::new(app.clone()).group().is_some();
    if is_group && !caller.is_admin() {
        return Err(ApiError::forbidden("rules for groups are an admin's"));
    }
    if !caller.may_edit(app) {
        return Err(ApiError::forbidden(format!("{app} is outside of what {} may edit", caller.name())));
    }
    Ok(())
}

/// Refuses what cannot be stored. Keys that somebody else gave stay, also where we would not have taken them.
pub(super) fn mistakes(current: Option<&Rule>, rule: &Rule) -> Result<(), ApiError> {
    let mut checked = rule.clone();
    if let Some(current) = current {
        checked.config.retain(|key, value| current.config.get(key) != Some(value));
    }
    let mistakes = checked.mistakes();
    if mistakes.is_empty() { Ok(()) } else { Err(ApiError::mistakes(mistakes)) }
}

/// Refuses what only an admin may say. What an admin said before and the editor leaves as it is stays.
pub(super) fn within_role(
    caller: &Caller,
    current: Option<&Rule>,
    rule: &Rule,
    view: &View,
) -> Result<(), ApiError> {
    // What was switched off is judged as new when it is switched on.
    let standing = current.filter(|current| current.enabled || !rule.enabled);
    let mut refused = Vec::new();
    if rule.order != current.and_then(|current| current.order) {
        refused.push("order is an admin's to say".to_owned());
    }
    let is_new = |route: &&RuleRoute| standing.is_none_or(|current| !current.routes.contains(route));
    let new: Vec<(Vec<Reach>, &RuleRoute)> =
        rule.routes.iter().filter(is_new).map(|route| (reaches(route), route)).collect();
    let others: Vec<&Arc<Service>> = match new.is_empty() {
        true => Vec::new(),
        false => view.services().filter(|service| !caller.may_edit(&service.id.app)).collect(),
    };
    for (reaches, route) in new {
        if is_free_text(route) {
            let text = route.acl.as_deref().unwrap_or_default();
            refused.push(format!("the criterion {text:?} is free text, which is an admin's to write"));
        }
        for reach in reaches {
            refused.extend(reach.refusal(&rule.app, &view.terms, &others));
        }
    }
    let written = current.map_or(&[][..], |current| &current.routes);
    for route in written.iter().filter(|route| is_free_text(route) && !rule.routes.contains(route)) {
        let text = route.acl.as_deref().unwrap_or_default();
        refused.push(format!("the criterion {text:?} is free text, which is an admin's to take away"));
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(ApiError::forbidden(refused.join("; ")).with("refused", refused))
}

/// Refuses to take away a rule with something in it that only an admin may say: nobody else could bring it back.
///
/// # Errors
/// 401 for nobody, 403 for others.
pub(in crate::web) fn may_take_away(caller: &Caller, current: &Rule) -> Result<(), ApiError> {
    may_change(caller, &current.app)?;
    if caller.is_admin() || !is_admins(current) {
        return Ok(());
    }
    let words = format!(
        "the rule for {} has an order or free text, which are an admin's; switch it off, or ask an admin to take it away",
        current.app
    );
    Err(ApiError::forbidden(words))
}

/// Whether a rule has something in it that only an admin may say.
pub(in crate::web) fn is_admins(rule: &Rule) -> bool {
    rule.order.is_some() || rule.routes.iter().any(is_free_text)
}

fn is_free_text(route: &RuleRoute) -> bool {
    matches!(route.meaning(), Ok(Meaning::Acl(_)))
}

/// The free texts of a rule that HAProxy has not been asked about, each with the number of its route.
pub(super) fn untried<'a>(current: Option<&Rule>, rule: &'a Rule) -> Vec<(usize, &'a str)> {
    let known = |route: &RuleRoute| current.is_some_and(|current| current.routes.contains(route));
    let is_untried = |(route, _): &(&RuleRoute, usize)| is_free_text(route) && !known(route);
    let text = |(route, number): (&'a RuleRoute, usize)| Some((number, route.acl.as_deref()?));
    rule.routes.iter().zip(1..).filter(is_untried).filter_map(text).collect()
}

/// Which requests a route asks for, as far as they may be somebody else's.
#[derive(Debug, Default)]
struct Reach {
    host: Option<String>,
    path: Option<String>,
    /// It asks for a header, a method or a source too.
    more: bool,
}

fn reaches(route: &RuleRoute) -> Vec<Reach> {
    let of = |criteria: &[Criterion]| {
        let mut reach = Reach::default();
        for criterion in criteria {
            match criterion {
                Criterion::Host(host) => reach.host = Some(host.clone()),
                Criterion::Path(path) | Criterion::PathExact(path) => reach.path = Some(path.clone()),
                _ => reach.more = true,
            }
        }
        reach
    };
    match route.meaning() {
        Ok(Meaning::All(criteria)) => vec![of(&criteria)],
        Ok(Meaning::Any(criteria)) => criteria.iter().map(|one| of(std::slice::from_ref(one))).collect(),
        Ok(Meaning::Acl(_)) | Err(_) => Vec::new(),
    }
}

impl Reach {
    fn refusal(&self, app: &AppId, terms: &Terms, others: &[&Arc<Service>]) -> Option<String> {
        let path = self.path.clone().unwrap_or_default();
        let shown = format!("{}{path}", self.host.as_deref().unwrap_or("*"));
        let asked = RouteMatch::HostPath { host: self.host.clone(), path: path.clone(), any_case: false };
        if !terms.allows(app, &asked) {
            return Some(format!("policy.vhosts does not allow {app} the route {shown}"));
        }
        if self.more && self.host.is_none() {
            return Some(
                "a header, method or source without a host asks for requests to anybody; name a host"
                    .to_owned(),
            );
        }
        let owner = others.iter().find(|service| {
            service.routes.iter().filter_map(|route| place(&route.matches)).any(|(taken_host, taken)| match (
                self.host.as_deref(),
                taken_host,
            ) {
                (Some(host), Some(taken)) => covers(host, taken) || covers(taken, host),
                (None, None) => is_below(&path, &taken),
                _ => false,
            })
        })?;
        Some(format!("the route {shown} is {}'s; an admin may give it to {app}", owner.id.app))
    }
}

/// The host and the path that lead to somebody; those of the default rule too.
fn place(matches: &RouteMatch) -> Option<(Option<&str>, Cow<'_, str>)> {
    match matches {
        RouteMatch::Default(path) => Some((None, path.into())),
        other => other.place(),
    }
}

/// Whether a host is the other, or a wildcard over it.
fn covers(host: &str, other: &str) -> bool {
    host == other
        || host.strip_prefix("*.").is_some_and(|parent| {
            other.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        })
}

/// Whether a path is another one, or below it.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::model::{Backend, Marks, Mode, Route, ServiceId};
    use crate::view::Settled;
    use crate::web::Role;

    fn editor() -> Caller {
        Caller::user("ada", Role::Editor { prefixes: vec!["/team-a/**".to_owned()] })
    }

    fn service(app: &str, host: Option<&str>, path: &str) -> Service {
        let host = host.map(str::to_owned);
        let matches = RouteMatch::HostPath { host, path: path.to_owned(), any_case: false };
        Service {
            id: ServiceId { app: AppId::new(app), port_index: 0 },
            port: None,
            routes: vec![Route::new(matches)],
            app_id_route: false,
            marks: Marks::default(),
            bind: None,
            certificate: None,
            client_ca: None,
            backend: Backend::new("h_x_0", Mode::Http, "roundrobin"),
            config: BTreeMap::new(),
            instances: 1,
            servers: Vec::new(),
        }
    }

    fn rule(text: &str) -> Rule {
        toml::from_str(&format!("app = \"/team-a/web\"\n{text}")).unwrap()
    }

    fn judged(config: &str, current: Option<&str>, text: &str) -> Result<(), String> {
        let config = Config::from_text(config, []).unwrap();
        let services = [
            service("/team-b/web", Some("b.example.com"), "/x"),
            service("/team-b/api", Some("*.b.example.org"), ""),
            service("/team-b/old", None, "/team-b"),
            service("/team-a/api", Some("a.example.com"), ""),
        ];
        let mut view = View { terms: Arc::new(Terms::from(&config)), ..View::default() };
        for service in services {
            let id = service.id.app.clone();
            let settled = Settled { services: vec![Arc::new(service)], ..Settled::default() };
            view.settled.insert_mut(id, Arc::new(settled));
        }
        let current = current.map(rule);
        within_role(&editor(), current.as_ref(), &rule(text), &view)
            .map_err(|error| error.detail().to_owned())
    }

    #[test]
    fn an_editor_gives_typed_criteria_on_hosts_that_are_nobody_elses() {
        for good in [
            "[[route]]\nhost = \"a.example.com\"\npath = \"/web\"",
            "[[route]]\npath = \"/team-a\"",
            "[[route]]\nacl = \"hdr(host) -i new.example.com\"",
            "[[route]]\nhost = \"new.example.com\"\nall = [{ method = \"GET\" }]",
            "replace = true\nenabled = false\nconfig = { timeout = \"5s\" }",
        ] {
            assert_eq!(judged("", None, good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("[[route]]\nhost = \"b.example.com\"\npath = \"/other\"", "is /team-b/web's"),
            ("[[route]]\nhost = \"*.example.com\"", "is /team-b/web's"),
            ("[[route]]\nhost = \"deep.b.example.org\"", "is /team-b/api's"),
            ("[[route]]\npath = \"/team-b/under\"", "is /team-b/old's"),
            (
                "[[route]]\nany = [{ host = \"a.example.com\" }, { host = \"b.example.com\" }]",
                "/team-b/web's",
            ),
            ("[[route]]\nacl = \"hdr_sub(user-agent) x\"", "free text"),
            ("[[route]]\nall = [{ method = \"GET\" }]", "name a host"),
            ("order = 1", "order is an admin's"),
        ] {
            let error = judged("", None, bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn policy_narrows_an_editor_to_the_hosts_of_his_apps() {
        let policy = "[policy.vhosts]\n\"/team-a/**\" = [\"*.a.example.com\"]\n";
        assert_eq!(judged(policy, None, "[[route]]\nhost = \"x.a.example.com\""), Ok(()));
        for bad in
            ["host = \"a.example.com\"", "path = \"/x\"", "all = [{ host = \"x.y\" }, { method = \"PUT\" }]"]
        {
            let error = judged(policy, None, &format!("[[route]]\n{bad}")).unwrap_err();
            assert!(error.contains("policy.vhosts does not allow"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_an_admin_said_stays_unless_the_editor_switches_it_on() {
        let admins = "order = 3\n[[route]]\nacl = \"hdr_sub(user-agent) x\"";
        let more = format!("{admins}\n[[route]]\nhost = \"a.example.com\"");
        assert_eq!(judged("", Some(admins), &more), Ok(()));
        assert!(judged("", Some(&format!("enabled = false\n{admins}")), admins).is_err());
        assert!(judged("", Some(admins), "order = 4").is_err());
        let error = judged("", Some(admins), "order = 3").unwrap_err();
        assert!(error.contains("an admin's to take away"), "{error}");
        let off = format!("enabled = false\n{admins}");
        assert_eq!(judged("", Some(admins), &off), Ok(()));
    }

    #[test]
    fn what_an_admin_said_an_editor_does_not_take_away() {
        let may = |caller: &Caller, text: &str| {
            may_take_away(caller, &rule(text)).map_err(|error| error.status().as_u16())
        };
        let free_text = "[[route]]\nacl = \"hdr_sub(user-agent) x\"";
        for (text, expected) in [
            ("[[route]]\nhost = \"a.example.com\"", Ok(())),
            ("[[route]]\nacl = \"hdr(host) -i a.example.com\"", Ok(())),
            ("order = 3", Err(403)),
            (free_text, Err(403)),
        ] {
            assert_eq!(may(&editor(), text), expected, "{text}");
            assert_eq!(may(&Caller::user("root", Role::Admin), text), Ok(()), "{text}");
            assert_eq!(may(&Caller::anonymous(), text), Err(401), "{text}");
        }
    }

    #[test]
    fn groups_are_an_admins_and_apps_outside_of_the_prefix_somebody_elses() {
        let may = |caller: &Caller, app: &str| {
            may_change(caller, &AppId::new(app)).map_err(|error| error.status().as_u16())
        };
        assert_eq!(may(&editor(), "/team-a/web"), Ok(()));
        assert_eq!(may(&editor(), "/team-a/**"), Err(403));
        assert_eq!(may(&editor(), "/team-b/web"), Err(403));
        assert_eq!(may(&Caller::anonymous(), "/team-a/web"), Err(401));
        assert_eq!(may(&Caller::user("v", Role::Viewer), "/team-a/web"), Err(403));
        assert_eq!(may(&Caller::user("root", Role::Admin), "/team-a/**"), Ok(()));
    }
}
