//! What a request has to look like, from text that a person or a label gave: parsed into what cannot do harm.

use crate::config::PathEnd;
use crate::model::service::PREFIX_END;
use crate::model::{RouteMatch, RuleRoute};

pub(super) use crate::model::rule::criterion::{host, path};

/// A route of host and path, of which at least one is given.
pub(super) fn host_path(host_text: Option<&str>, path_text: Option<&str>) -> Result<RouteMatch, String> {
    Ok(RouteMatch::HostPath {
        host: host_text.map(host).transpose()?,
        path: path_text.map(path).transpose()?.unwrap_or_default(),
        any_case: false,
    })
}

/// A path as a route has it. One with a `/` at its end means the same wherever paths end: itself, and what is below it.
pub(super) fn ending(path: &str, paths_end: PathEnd) -> String {
    match paths_end {
        PathEnd::Prefixes if !path.is_empty() && !path.ends_with('/') => format!("{path}{PREFIX_END}"),
        _ => path.trim_end_matches('/').to_owned(),
    }
}

/// The matches that a rule's route comes to: look-ups where hosts and paths suffice, else one criterion of HAProxy.
pub(super) fn of_rule(route: &RuleRoute) -> Result<Vec<RouteMatch>, String> {
    let meaning = route.meaning().map_err(|error| format!("a route of its rule: {error}"))?;
    if let Some(pairs) = meaning.host_paths() {
        let look_up = |(host, path)| RouteMatch::HostPath { host, path, any_case: false };
        return Ok(pairs.into_iter().map(look_up).collect());
    }
    match meaning.single_acl() {
        Some(text) => Ok(vec![RouteMatch::Acl(text)]),
        None => Err("a route of its rule asks for several things that are not host or path, which cannot be served yet".to_owned()),
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
        assert_eq!(of("all = [{ method = \"put\" }]").unwrap(), [RouteMatch::Acl("method PUT".to_owned())]);
        assert!(
            of("host = \"a\"\nall = [{ method = \"PUT\" }]").unwrap_err().contains("cannot be served yet")
        );
        assert!(of("acl = \"src -f /etc/shadow\"").unwrap_err().contains("refused"));
    }
}
