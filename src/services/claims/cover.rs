//! Which routes take the requests of which others.

use crate::config::PathEnd;
use crate::model::RouteMatch;

/// The routes that take every request that this one takes, itself left out: its host, the wildcard of it, every host; each
/// prefix of its path; in any case too.
pub(super) fn covering(route: &RouteMatch, paths_end: PathEnd) -> Vec<RouteMatch> {
    let RouteMatch::HostPath { host, path, any_case } = route else { return Vec::new() };
    let mut hosts = vec![host.clone()];
    if let Some(host) = host {
        hosts.extend(wildcard(host).map(Some));
        hosts.push(None);
    }
    let mut covering = Vec::new();
    for host in hosts {
        for prefix in prefixes(path, paths_end) {
            if !*any_case {
                covering.push(RouteMatch::HostPath {
                    host: host.clone(),
                    path: prefix.to_owned(),
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
pub(super) fn within(wide: &RouteMatch, narrow: &RouteMatch, paths_end: PathEnd) -> Option<RouteMatch> {
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
    let longer = path.len() > shorter.len() && is_prefix(shorter, path, paths_end);
    (covers && longer).then(|| RouteMatch::HostPath {
        host: Some(host.clone()),
        path: path.clone(),
        any_case: *any_case,
    })
}

/// Whether some request is taken by both.
pub(super) fn overlap(one: &RouteMatch, other: &RouteMatch, paths_end: PathEnd) -> bool {
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
    let (short, long) =
        if one_path.len() < other_path.len() { (one_path, other_path) } else { (other_path, one_path) };
    hosts && is_prefix(short, long, paths_end)
}

/// The wildcard that stands for an exact host.
fn wildcard(host: &str) -> Option<String> {
    if host.starts_with("*.") {
        return None;
    }
    host.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

/// A path and everything before one of its ends; the last is empty.
fn prefixes(path: &str, paths_end: PathEnd) -> impl Iterator<Item = &str> {
    let ends = move |at: &usize| paths_end == PathEnd::Prefixes || path.as_bytes().get(*at) == Some(&b'/');
    let cuts = (0..path.len()).rev().filter(ends).filter_map(|at| path.get(..at));
    std::iter::once(path).chain(cuts)
}

/// Whether a path takes every request that a longer one takes, but for case.
fn is_prefix(short: &str, long: &str, paths_end: PathEnd) -> bool {
    prefixes(long, paths_end).any(|prefix| prefix.eq_ignore_ascii_case(short))
}
