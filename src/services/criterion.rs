//! What a request has to look like, from text that a person or a label gave: parsed into what cannot do harm.

use crate::config::PathEnd;
use crate::model::rule::Meaning;
use crate::model::service::PREFIX_END;
use crate::model::{Criterion, Line, RouteMatch, RuleRoute};

pub(super) use crate::model::rule::criterion::{host, path};

/// The matches that a rule's route comes to, one for each of several criteria of which one has to hold: look-ups where host
/// and path suffice, lines of the configuration where it takes more.
pub(super) fn of_rule(route: &RuleRoute) -> Result<Vec<RouteMatch>, String> {
    let meaning = route.meaning().map_err(|error| format!("a route of its rule: {error}"))?;
    Ok(match meaning {
        Meaning::All(criteria) => vec![of_all(criteria)],
        Meaning::Any(criteria) => criteria.into_iter().map(|criterion| of_all(vec![criterion])).collect(),
        Meaning::Acl(text) => vec![RouteMatch::Acl(text)],
    })
}

/// A path as a route has it. One with a `/` at its end means the same wherever paths end: itself, and what is below it.
pub(super) fn ending(path: &str, paths_end: PathEnd) -> String {
    match paths_end {
        PathEnd::Prefixes if !path.is_empty() && !path.ends_with('/') => format!("{path}{PREFIX_END}"),
        _ => path.trim_end_matches('/').to_owned(),
    }
}

fn of_all(criteria: Vec<Criterion>) -> RouteMatch {
    let (mut host, mut prefix, mut whole, mut others) = (None, String::new(), None, Vec::new());
    for criterion in criteria {
        match criterion {
            Criterion::Host(text) => host = Some(text),
            Criterion::Path(text) => prefix = text,
            Criterion::PathExact(text) => whole = Some(text),
            other => others.push(other),
        }
    }
    // What is all of the path lies below the prefix, as was looked at when it was parsed.
    match (whole, others.is_empty()) {
        (Some(path), true) => RouteMatch::Exact { host, path },
        (None, true) => RouteMatch::HostPath { host, path: prefix, any_case: false },
        (whole, false) => {
            others.sort();
            others.dedup();
            let exact = whole.is_some();
            RouteMatch::Line(Box::new(Line { host, path: whole.unwrap_or(prefix), exact, criteria: others }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_look_ups_where_it_can_be_and_one_criterion_where_it_cannot() {
        let of = |text: &str| of_rule(&toml::from_str(text).unwrap());
        let look_up = |host: &str, path: &str| RouteMatch::HostPath {
            host: (!host.is_empty()).then(|| host.to_owned()),
            path: path.to_owned(),
            any_case: false,
        };
        assert_eq!(of("acl = \"hdr(host) -i A.com\"").unwrap(), [look_up("a.com", "")]);
        assert_eq!(
            of("any = [{ host = \"a\" }, { path = \"/b\" }]").unwrap(),
            [look_up("a", ""), look_up("", "/b")]
        );
        let method = || Criterion::Method("PUT".to_owned());
        let line = |host: Option<&str>, path: &str, exact, criteria| {
            let (host, path) = (host.map(str::to_owned), path.to_owned());
            RouteMatch::Line(Box::new(Line { host, path, exact, criteria }))
        };
        assert_eq!(of("all = [{ method = \"put\" }]").unwrap(), [line(None, "", false, vec![method()])]);
        assert_eq!(
            of("host = \"a\"\nall = [{ method = \"PUT\" }]").unwrap(),
            [line(Some("a"), "", false, vec![method()])]
        );
        assert_eq!(
            of("path = \"/a\"\nall = [{ path_exact = \"/a/b\" }, { method = \"PUT\" }]").unwrap(),
            [line(None, "/a/b", true, vec![method()])]
        );
        assert_eq!(
            of("any = [{ path_exact = \"/a/\" }, { method = \"PUT\" }]").unwrap(),
            [RouteMatch::Exact { host: None, path: "/a/".to_owned() }, line(None, "", false, vec![method()])]
        );
        assert!(of("path = \"/a\"\nall = [{ path_exact = \"/ab\" }]").unwrap_err().contains("no path is"));
        assert!(of("acl = \"src -f /etc/shadow\"").unwrap_err().contains("refused"));
    }
}
