//! Which routes take the requests of which others.

use crate::model::RouteMatch;
use crate::model::route::EXACT;
use crate::model::service::PREFIX_END;

/// The routes by host and path that take every request that this one takes, itself left out: its host, the wildcard of it,
/// every host; each prefix of its path; in any case too. Of a line of the configuration its own place too: it asks for more.
pub(super) fn covering(route: &RouteMatch) -> Vec<RouteMatch> {
    let Some((host, path)) = route.place() else { return Vec::new() };
    let any_case = matches!(route, RouteMatch::HostPath { any_case: true, .. });
    let mut hosts = vec![host.map(str::to_owned)];
    if let Some(host) = host {
        hosts.extend(wildcard(host).map(Some));
        hosts.push(None);
    }
    let mut covering = Vec::new();
    for host in hosts {
        for prefix in wider(&path) {
            if let Some(whole) = prefix.strip_suffix(EXACT) {
                covering.push(RouteMatch::Exact { host: host.clone(), path: whole.to_owned() });
                continue;
            }
            let at = |path: String, any_case| RouteMatch::HostPath { host: host.clone(), path, any_case };
            if !any_case || prefix.is_empty() {
                covering.push(at(prefix.clone(), false));
            }
            if !prefix.is_empty() {
                covering.push(at(prefix.to_ascii_lowercase(), true));
            }
        }
    }
    covering.retain(|wider| wider != route);
    covering
}

/// The route that `wide` has to have at the host of `narrow`, so that it comes before that: where the host of `wide` covers
/// the other, and only its path is longer.
pub(super) fn within(wide: &RouteMatch, narrow: &RouteMatch) -> Option<RouteMatch> {
    if wide.is_line() || narrow.is_line() {
        return None;
    }
    let ((wide_host, path), (Some(host), shorter)) = (wide.place()?, narrow.place()?) else { return None };
    let covers = match wide_host {
        None => true,
        Some(wide_host) => wide_host != host && wildcard(host).as_deref() == Some(wide_host),
    };
    let longer = !path.eq_ignore_ascii_case(&shorter) && takes(&shorter, &path);
    (covers && longer).then(|| {
        let host = Some(host.to_owned());
        match wide {
            RouteMatch::HostPath { any_case, .. } => {
                RouteMatch::HostPath { host, path: path.into_owned(), any_case: *any_case }
            }
            _ => RouteMatch::Exact { host, path: path.trim_end_matches(EXACT).to_owned() },
        }
    })
}

/// Whether some request is taken by both.
pub(super) fn overlap(one: &RouteMatch, other: &RouteMatch) -> bool {
    let (Some((one_host, one_path)), Some((other_host, other_path))) = (one.place(), other.place()) else {
        return false;
    };
    let hosts = match (one_host, other_host) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => {
            one == other || wildcard(one).as_deref() == Some(other) || wildcard(other).as_deref() == Some(one)
        }
    };
    hosts && (takes(&one_path, &other_path) || takes(&other_path, &one_path))
}

/// The wildcard that stands for an exact host.
pub(super) fn wildcard(host: &str) -> Option<String> {
    if host.starts_with("*.") {
        return None;
    }
    host.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

/// A path and everything before one of its slashes; the last is empty. Of a whole path all that is before its end is a
/// prefix too.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let cuts = path.rmatch_indices('/').map(|(at, _)| &path[..at]);
    std::iter::once(path).chain(cuts)
}

/// The paths that take every request that this one takes, itself among them.
fn wider(path: &str) -> impl Iterator<Item = String> {
    let body = path.trim_end_matches(PREFIX_END).trim_end_matches(EXACT);
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
