//! Which routes take the requests of which others.

use crate::model::RouteMatch;
use crate::model::service::PREFIX_END;

/// The routes that take every request that this one takes, itself left out: its host, the wildcard of it, every host; each
/// prefix of its path; in any case too.
pub(super) fn covering(route: &RouteMatch) -> Vec<RouteMatch> {
    let RouteMatch::HostPath { host, path, any_case } = route else { return Vec::new() };
    let mut hosts = vec![host.clone()];
    if let Some(host) = host {
        hosts.extend(wildcard(host).map(Some));
        hosts.push(None);
    }
    let mut covering = Vec::new();
    for host in hosts {
        for prefix in wider(path) {
            if !*any_case {
                covering.push(RouteMatch::HostPath {
                    host: host.clone(),
                    path: prefix.clone(),
                    any_case: false,
                });
            }
            if !prefix.is_empty() {
                let path = prefix.to_ascii_lowercase();
                covering.push(RouteMatch::HostPath { host: host.clone(), path, any_case: true });
            } else if *any_case {
                covering.push(RouteMatch::HostPath {
                    host: host.clone(),
                    path: String::new(),
                    any_case: false,
                });
            }
        }
    }
    covering.retain(|wider| wider != route);
    covering
}

/// The route that `wide` has to have at the host of `narrow`, so that it comes before that: where the host of `wide` covers
/// the other, and only its path is longer.
pub(super) fn within(wide: &RouteMatch, narrow: &RouteMatch) -> Option<RouteMatch> {
    let (
        RouteMatch::HostPath { host: wide_host, path, any_case },
        RouteMatch::HostPath { host: Some(host), path: shorter, .. },
    ) = (wide, narrow)
    else {
        return None;
    };
    let covers = match wide_host {
        None => true,
        Some(wide_host) => wide_host != host && wildcard(host).as_ref() == Some(wide_host),
    };
    let longer = !path.eq_ignore_ascii_case(shorter) && takes(shorter, path);
    (covers && longer).then(|| RouteMatch::HostPath {
        host: Some(host.clone()),
        path: path.clone(),
        any_case: *any_case,
    })
}

/// Whether some request is taken by both.
pub(super) fn overlap(one: &RouteMatch, other: &RouteMatch) -> bool {
    let (
        RouteMatch::HostPath { host: one_host, path: one_path, .. },
        RouteMatch::HostPath { host: other_host, path: other_path, .. },
    ) = (one, other)
    else {
        return false;
    };
    let hosts = match (one_host, other_host) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => {
            one == other || wildcard(one).as_ref() == Some(other) || wildcard(other).as_ref() == Some(one)
        }
    };
    hosts && (takes(one_path, other_path) || takes(other_path, one_path))
}

/// The wildcard that stands for an exact host.
fn wildcard(host: &str) -> Option<String> {
    if host.starts_with("*.") {
        return None;
    }
    host.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

/// A path and everything before one of its slashes; the last is empty.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let cuts = path.rmatch_indices('/').map(|(at, _)| &path[..at]);
    std::iter::once(path).chain(cuts)
}

/// The paths that take every request that this one takes, itself among them.
fn wider(path: &str) -> impl Iterator<Item = String> {
    let body = path.trim_end_matches(PREFIX_END);
    let anywhere = (1..=body.len()).filter_map(|end| Some(format!("{}{PREFIX_END}", body.get(..end)?)));
    prefixes(path).map(str::to_owned).chain(anywhere)
}

/// Whether a path takes every request that another takes, but for case.
fn takes(wide: &str, narrow: &str) -> bool {
    let (prefix, body) = match wide.strip_suffix(PREFIX_END) {
        None => return prefixes(narrow).any(|prefix| prefix.eq_ignore_ascii_case(wide)),
        Some(prefix) => (prefix, narrow.trim_end_matches(PREFIX_END)),
    };
    body.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
