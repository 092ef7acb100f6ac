//! Which of an app's health checks is that of a port, and what HAProxy is to do of it.

use crate::model::{App, AppId, HealthCheck, HealthProtocol, Problem, ProblemKind, Watch};
use crate::wording::counted;

use super::labels::PortLabels;

/// The health check that counts for a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check<'a> {
    check: &'a HealthCheck,
    /// It asks another port of the app, which HAProxy cannot know: each task has its own.
    elsewhere: bool,
}

/// The first check that names a port of its own or this one's index; a command names none.
pub(super) fn of<'a>(
    app: &'a App,
    index: usize,
    labels: &PortLabels,
    problems: &mut Vec<Problem>,
) -> Option<Check<'a>> {
    let asked = match labels.health_index {
        None => index,
        Some(wanted) => match resolve(wanted, app.ports.len()) {
            Some(found) => found,
            None => {
                problems.push(Problem::of(
                    &app.id,
                    ProblemKind::Label,
                    format!("label HAPROXY_{index}_BACKEND_HEALTHCHECK_PORT_INDEX = {wanted}: there is no such port"),
                    format!("the app declares {}, counted from 0; the port's own check counts", counted(app.ports.len(), "port")),
                ));
                index
            }
        },
    };
    let of_port = |check: &&HealthCheck| {
        check.protocol != HealthProtocol::Command && (check.port.is_some() || check.port_index == Some(asked))
    };
    let check = app.health_checks.iter().find(of_port)?;
    Some(Check { check, elsewhere: check.port.is_none() && asked != index })
}

/// An index from the front, or from the back where it is negative.
fn resolve(wanted: isize, ports: usize) -> Option<usize> {
    let found = if wanted < 0 { ports.checked_sub(wanted.unsigned_abs())? } else { wanted.unsigned_abs() };
    (found < ports).then_some(found)
}

impl<'a> Check<'a> {
    /// What the app says of it.
    pub(super) fn check(self) -> &'a HealthCheck {
        self.check
    }

    /// Whether it is HTTP, which makes the mode http.
    pub(super) fn asks_http(self) -> bool {
        matches!(self.check.protocol, HealthProtocol::Http | HealthProtocol::Https)
    }

    /// How HAProxy does the same; `None` where it cannot.
    pub(super) fn watch(self, app: &AppId, index: usize, problems: &mut Vec<Problem>) -> Option<Watch> {
        let mut refused = |message: String| {
            let advice = "Marathon's word on the health of its tasks counts instead";
            problems.push(Problem::of(app, ProblemKind::Label, message, advice));
            None
        };
        if self.elsewhere {
            return refused(format!(
                "HAProxy cannot do the health check of port {index}: it asks another port, which is a different one in each task"
            ));
        }
        let path = self.check.path.as_deref().unwrap_or("/");
        let known = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '#');
        if self.asks_http() && !(path.starts_with('/') && path.chars().all(known)) {
            return refused(format!(
                "HAProxy cannot do the health check of port {index}: it takes no path like {path:?}"
            ));
        }
        Some(Watch {
            path: self.asks_http().then(|| path.to_owned()),
            tls: self.check.protocol == HealthProtocol::Https,
            port: self.check.port,
            interval: self.check.interval_seconds.max(1),
            timeout: self.check.timeout_seconds.max(1),
            fall: self.check.max_consecutive_failures.saturating_add(1),
        })
    }
}
