//! Which apps may have which hosts and ports, as the operator says.

use crate::config::{PolicyConfig, PortRange, port_range};
use crate::model::{AppId, Problem, ProblemKind, Route, Service};

/// What the operator says, parsed. Without a line for hosts every app may have every host; with one, only what is said.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    hosts: Vec<(Vec<String>, Vec<Vec<String>>)>,
    ports: Vec<(Vec<String>, Vec<PortRange>)>,
}

impl From<&PolicyConfig> for Policy {
    fn from(config: &PolicyConfig) -> Self {
        let hosts = config
            .vhosts
            .iter()
            .map(|(apps, hosts)| (parts(apps, '/'), hosts.iter().map(|host| parts(host, '.')).collect()));
        let ports = config.ports.iter().map(|(apps, ports)| {
            (parts(apps, '/'), ports.iter().filter_map(|text| port_range(text)).collect())
        });
        Self { hosts: hosts.collect(), ports: ports.collect() }
    }
}

impl Policy {
    /// Takes away what the app may not have, and tells it.
    pub(super) fn apply(&self, service: &mut Service, problems: &mut Vec<Problem>) {
        let app = service.id.app.clone();
        let index = service.id.port_index;
        let mut refused = |what: String, key: &str| {
            problems.push(Problem::of(
                &app,
                ProblemKind::Policy,
                format!("{what} of port index {index} is not for this app: {key} does not allow it"),
                "it does not lead to this app; everything else of it is served: choose another, or ask for it",
            ));
        };
        service.routes.retain(|route| {
            let allowed = self.allows_route(&service.id.app, route);
            if !allowed {
                refused(route.matches.to_string(), "policy.vhosts");
            }
            allowed
        });
        if let Some(port) = service.port.filter(|port| !self.allows_port(&service.id.app, *port)) {
            refused(format!("service port {port}"), "policy.ports");
            service.port = None;
            service.bind = None;
        }
    }

    /// A route without a host, and a criterion in words, may take any host: they need a line that allows all of them.
    pub(super) fn allows_route(&self, app: &AppId, route: &Route) -> bool {
        let host = route.matches.host().map(|host| parts(host, '.'));
        let fits = |pattern: &Vec<String>| match &host {
            Some(host) => matches(pattern, host),
            None => pattern.iter().all(|part| part == "**"),
        };
        self.hosts.is_empty() || lines_of(&self.hosts, app).any(|patterns| patterns.iter().any(fits))
    }

    /// Whether the app may have every host there is.
    pub(super) fn allows_any_host(&self, app: &AppId) -> bool {
        let all = |pattern: &Vec<String>| pattern.iter().all(|part| part == "**");
        self.hosts.is_empty() || lines_of(&self.hosts, app).any(|patterns| patterns.iter().any(all))
    }

    fn allows_port(&self, app: &AppId, port: u16) -> bool {
        self.ports.is_empty()
            || lines_of(&self.ports, app).any(|ranges| ranges.iter().any(|range| range.contains(port)))
    }
}

/// Whether a pattern of app ids fits one.
pub(super) fn fits(pattern: &str, app: &AppId) -> bool {
    matches(&parts(pattern, '/'), &parts(app.as_str(), '/'))
}

fn lines_of<'a, T>(lines: &'a [(Vec<String>, T)], app: &AppId) -> impl Iterator<Item = &'a T> {
    let id = parts(app.as_str(), '/');
    lines.iter().filter(move |(pattern, _)| matches(pattern, &id)).map(|(_, allowed)| allowed)
}

fn parts(text: &str, separator: char) -> Vec<String> {
    text.trim_matches(separator).split(separator).map(str::to_owned).collect()
}

/// Whether a pattern fits: `*` is one part, `**` any number of them. The wildcard of a host is a part like any other, which
/// no name in the pattern fits.
fn matches(pattern: &[String], parts: &[String]) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=parts.len()).any(|skipped| matches(rest, &parts[skipped..]))
        }
        Some((first, rest)) => match parts.split_first() {
            Some((part, others)) => (first == "*" || first == part) && matches(rest, others),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RouteMatch;

    #[test]
    fn a_star_is_one_part_and_two_are_any_number() {
        for (pattern, text, separator, fits) in [
            ("/team-a/**", "/team-a/web", '/', true),
            ("/team-a/**", "/team-a/x/y", '/', true),
            ("/team-a/**", "/team-ab/web", '/', false),
            ("/*/web", "/team-a/web", '/', true),
            ("/**", "/x", '/', true),
            ("*.a.x", "www.a.x", '.', true),
            ("*.a.x", "a.x", '.', false),
            ("*.a.x", "*.a.x", '.', true),
            ("**.a.x", "c.b.a.x", '.', true),
            ("www.a.x", "*.a.x", '.', false),
            ("**", "any.thing", '.', true),
        ] {
            assert_eq!(
                matches(&parts(pattern, separator), &parts(text, separator)),
                fits,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn routes_of_rules_need_a_host_that_the_app_may_have_whatever_else_they_ask() {
        use std::collections::BTreeMap;

        use crate::model::{Criterion, Line};
        let lines = [("/team/**", vec!["*.team.x"]), ("/ops/**", vec!["**"])];
        let vhosts: BTreeMap<String, Vec<String>> = lines
            .into_iter()
            .map(|(apps, hosts)| (apps.to_owned(), hosts.into_iter().map(str::to_owned).collect()))
            .collect();
        let policy = Policy::from(&PolicyConfig { vhosts, ..PolicyConfig::default() });
        let host = |host: &str| (!host.is_empty()).then(|| host.to_owned());
        let exact = |at: &str| RouteMatch::Exact { host: host(at), path: "/x".to_owned() };
        let line = |at: &str| {
            let criteria = vec![Criterion::Method("PUT".to_owned())];
            RouteMatch::Line(Box::new(Line { host: host(at), path: String::new(), exact: false, criteria }))
        };
        let text = || RouteMatch::Acl("hdr(host) -i a.team.x".to_owned());
        for (app, matches, allowed) in [
            ("/team/a", exact("a.team.x"), true),
            ("/team/a", exact("a.other.x"), false),
            ("/team/a", exact(""), false),
            ("/team/a", line("a.team.x"), true),
            ("/team/a", line("a.other.x"), false),
            ("/team/a", line(""), false),
            ("/team/a", text(), false),
            ("/team/a", RouteMatch::Default("/team/a".to_owned()), false),
            ("/ops/a", line("a.other.x"), true),
            ("/ops/a", text(), true),
            ("/nobody", exact("a.team.x"), false),
        ] {
            let route = Route { from_rule: true, order: Some(1), ..Route::new(matches) };
            assert_eq!(policy.allows_route(&AppId::new(app), &route), allowed, "{app} {}", route.matches);
        }
    }
}
