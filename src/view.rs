//! What is known of apps, services and rules, for who asks: a snapshot that shares everything with the state it is of, so
//! that one is published after each event at no cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rpds::RedBlackTreeMapSync;

use crate::model::{App, AppId, Problem, ProblemKind, Route, RouteMatch, Rule, Service, ServiceId};
use crate::services::Terms;
use crate::services::exposure::{self, Unexposed};

#[cfg(test)]
mod tests;

/// Every app, by id. A clone costs nothing.
pub type Apps = RedBlackTreeMapSync<AppId, Arc<App>>;

/// What is known at one moment. A clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Whether every source has told all it knows once; before, nothing is settled.
    pub ready: bool,
    /// What the configuration says of services.
    pub terms: Arc<Terms>,
    /// Every app that the source knows.
    pub apps: Apps,
    /// What became of each app, and of each rule without one.
    pub settled: RedBlackTreeMapSync<AppId, Arc<Settled>>,
    /// The rules that count, by app or group pattern.
    pub rules: Arc<BTreeMap<AppId, Rule>>,
    /// What is wrong with rules that cannot be used, and with their store.
    pub rule_problems: Arc<[Noted]>,
    /// What is wrong with apps as the source gave them.
    pub source_problems: RedBlackTreeMapSync<AppId, Arc<[Noted]>>,
    /// Templates of the operator's that are left out.
    pub template_problems: Arc<[Noted]>,
    /// The full read that is not believed yet.
    pub held: Option<Arc<Noted>>,
}

/// A problem, and since when there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The problem.
    pub problem: Problem,
    /// When it was first seen, by this Causeway.
    pub since: SystemTime,
}

/// What an app comes to, before claims are settled.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its services.
    pub services: Vec<Arc<Service>>,
    /// What is wrong with its labels and its rule.
    pub problems: Vec<Problem>,
}

/// What became of an app.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// What it asked for; `None` where there is a rule, and no app.
    pub wanted: Option<Arc<Wanted>>,
    /// Its services, with the routes and ports that they won.
    pub services: Vec<Arc<Service>>,
    /// Everything that is wrong with it.
    pub problems: Box<[Noted]>,
}

/// A route or a port that a service asked for, and did not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost<'a> {
    /// A route.
    Route(&'a Route),
    /// The service port.
    Port(u16),
}

/// How much is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Apps that are known.
    pub apps: usize,
    /// Services that are served.
    pub services: usize,
    /// Servers of all services.
    pub servers: usize,
    /// Problems by kind; every kind is there.
    pub problems: BTreeMap<ProblemKind, usize>,
}

/// Turns the moments that events come with into those of a calendar; a clock that is set does not move what is past.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    started: Instant,
    on: SystemTime,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { started: Instant::now(), on: SystemTime::now() }
    }
}

impl Calendar {
    /// The moment of the calendar.
    #[must_use]
    pub fn at(&self, moment: Instant) -> SystemTime {
        match moment.checked_duration_since(self.started) {
            Some(later) => self.on + later,
            None => self.on - self.started.duration_since(moment),
        }
    }
}

/// Notes problems; one that there was before keeps its moment.
#[must_use]
pub fn note<T: FromIterator<Noted>>(
    problems: impl IntoIterator<Item = Problem>,
    before: &[Noted],
    now: SystemTime,
) -> T {
    let since = |problem: &Problem| before.iter().find(|old| old.problem == *problem).map(|old| old.since);
    problems.into_iter().map(|problem| Noted { since: since(&problem).unwrap_or(now), problem }).collect()
}

impl View {
    /// Every service, with what it won.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.settled.values().flat_map(|settled| &settled.services)
    }

    /// One service.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.settled.get(&id.app)?.services.iter().find(|service| service.id == *id)
    }

    /// One service as its app asked for it.
    #[must_use]
    pub fn wanted(&self, id: &ServiceId) -> Option<&Service> {
        let wanted = self.settled.get(&id.app)?.wanted.as_ref()?;
        wanted.services.iter().find(|service| service.id == *id).map(AsRef::as_ref)
    }

    /// What a service asked for and did not get.
    #[must_use]
    pub fn lost(&self, id: &ServiceId) -> Vec<Lost<'_>> {
        let (Some(wanted), Some(won)) = (self.wanted(id), self.service(id)) else { return Vec::new() };
        let gone = |route: &&Route| !won.routes.iter().any(|kept| kept.matches == route.matches);
        let routes = wanted.routes.iter().filter(gone).map(Lost::Route);
        routes.chain(wanted.port.filter(|_| won.port.is_none()).map(Lost::Port)).collect()
    }

    /// Who has a route. Walks every service.
    #[must_use]
    pub fn holder_of_route(&self, route: &RouteMatch) -> Option<&ServiceId> {
        let has = |service: &&Arc<Service>| service.routes.iter().any(|held| held.matches == *route);
        self.services().find(has).map(|service| &service.id)
    }

    /// Who has a service port. Walks every service.
    #[must_use]
    pub fn holder_of_port(&self, port: u16) -> Option<&ServiceId> {
        self.services().find(|service| service.port == Some(port)).map(|service| &service.id)
    }

    /// Why an app has ports that are not served, or none at all; empty where all of it is.
    #[must_use]
    pub fn unexposed(&self, app: &App) -> Vec<Unexposed> {
        let served = self.settled.get(&app.id).map(|settled| settled.services.as_slice()).unwrap_or_default();
        let is_served = |index: usize| served.iter().any(|service| service.id.port_index == index);
        let mut why = exposure::unexposed(app, self.rules.get(&app.id), &self.terms);
        why.retain(|each| each.port_index.is_none_or(|index| !is_served(index)));
        // What nothing else explains: another version of it has its services.
        if why.is_empty() && served.is_empty() && self.ready {
            why.push(Unexposed::of_version());
        }
        why
    }

    /// Everything that is wrong, with any app or none.
    pub fn problems(&self) -> impl Iterator<Item = &Noted> {
        let of_sources = self.source_problems.values().flat_map(|problems| problems.iter());
        let of_services = self.settled.values().flat_map(|settled| &settled.problems);
        let held = self.held.iter().map(AsRef::as_ref);
        of_sources
            .chain(of_services)
            .chain(self.rule_problems.iter())
            .chain(self.template_problems.iter())
            .chain(held)
    }

    /// What is wrong with one app.
    pub fn problems_of<'a>(&'a self, app: &'a AppId) -> impl Iterator<Item = &'a Noted> {
        let of_source = self.source_problems.get(app).into_iter().flat_map(|problems| problems.iter());
        let of_services = self.settled.get(app).into_iter().flat_map(|settled| &settled.problems);
        let of_rule = self.rule_problems.iter().filter(move |noted| noted.problem.app.as_ref() == Some(app));
        of_source.chain(of_services).chain(of_rule)
    }

    /// How much there is. Walks everything: for a slow clock, not for each event.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut problems: BTreeMap<ProblemKind, usize> =
            ProblemKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for noted in self.problems() {
            *problems.entry(noted.problem.kind).or_default() += 1;
        }
        Counts {
            apps: self.apps.size(),
            services: self.services().count(),
            servers: self.services().map(|service| service.servers.len()).sum(),
            problems,
        }
    }
}
