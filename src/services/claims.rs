//! Who has a route or a port where several services want it, and which routes can never be reached.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::LabelOrder;
use crate::model::{AppId, Problem, ProblemKind, Route, RouteMatch, Service, ServiceId};

mod cover;
#[cfg(test)]
mod tests;

/// What can be had by one service only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claimed {
    Port(u16),
    Route(RouteMatch),
}

impl std::fmt::Display for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(port) => write!(f, "service port {port}"),
            Self::Route(RouteMatch::HostPath { host, path, any_case }) => {
                let path = if path.is_empty() { "/" } else { path };
                let case = if *any_case { " in any case" } else { "" };
                write!(f, "route {}{path}{case}", host.as_deref().unwrap_or("*"))
            }
            Self::Route(RouteMatch::Acl(text)) => write!(f, "acl {text}"),
        }
    }
}

/// A claim; the least one wins where nobody holds the thing: a rule before a label, then the higher weight, then the lower
/// app id, then the lower port index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    from_label: bool,
    weight: Reverse<i32>,
    service: ServiceId,
}

/// Who wants a thing, and who has it.
#[derive(Debug, Default)]
struct Claimants {
    /// The best first. Nearly always there is one: a list takes least room.
    claims: Vec<Claim>,
    /// Who had it last: it keeps it against whoever comes later with as good a claim.
    holder: Option<ServiceId>,
}

impl Claimants {
    fn winner(&self, order: LabelOrder, is_port: bool) -> Option<&Claim> {
        let first = self.claims.first()?;
        let as_good = |claim: &&Claim| claim.from_label == first.from_label && claim.weight == first.weight;
        let holds = |claim: &&Claim| self.holder.as_ref() == Some(&claim.service);
        let by_holder = order == LabelOrder::Causeway || is_port;
        let holder = self.claims.iter().take_while(as_good).find(holds).filter(|_| by_holder);
        Some(holder.unwrap_or(first))
    }
}

/// Every claim, kept so that one changed app costs its own claims only.
#[derive(Debug, Default)]
pub struct Claims {
    by_thing: BTreeMap<Claimed, Claimants>,
    by_app: BTreeMap<AppId, Vec<(Claimed, Claim)>>,
    /// Ports that no service may have, and why.
    reserved: BTreeMap<u16, String>,
    order: LabelOrder,
    /// Claims whose weight somebody said: where there are none, no route shadows another.
    weighted: usize,
}

impl Claims {
    /// Claims with ports that no service may have, each with the reason.
    #[must_use]
    pub fn new(reserved: BTreeMap<u16, String>, order: LabelOrder) -> Self {
        Self { reserved, order, ..Self::default() }
    }

    /// A service had these routes and its port when Causeway last ran: it keeps them.
    pub fn remember(&mut self, service: &Service) {
        for (thing, claim) in claims_of(service) {
            self.by_thing.entry(thing).or_default().holder = Some(claim.service);
        }
    }

    /// Another version of a service takes over: it holds what the other held.
    pub fn hand_over(&mut self, from: &AppId, to: &AppId) {
        for (thing, claim) in self.by_app.get(from).map(Vec::as_slice).unwrap_or_default() {
            if let Some(claimants) = self.by_thing.get_mut(thing)
                && claimants.holder.as_ref() == Some(&claim.service)
            {
                claimants.holder = Some(ServiceId { app: to.clone(), ..claim.service.clone() });
            }
        }
    }

    /// Replaces the claims of one app by those of its services, and names the other apps whose claims may be settled
    /// differently now.
    pub fn replace<'a>(
        &mut self,
        app: &AppId,
        services: impl IntoIterator<Item = &'a Service>,
    ) -> BTreeSet<AppId> {
        let claims: Vec<_> = services.into_iter().flat_map(claims_of).collect();
        let old = self.by_app.get(app).map(Vec::as_slice).unwrap_or_default();
        if old == claims {
            return BTreeSet::new();
        }
        let changed: Vec<Claimed> = old
            .iter()
            .filter(|claim| !claims.contains(claim))
            .chain(claims.iter().filter(|claim| !old.contains(claim)))
            .map(|(thing, _)| thing.clone())
            .collect();
        let mut affected = if self.shadows() { self.related(&changed) } else { BTreeSet::new() };
        for (thing, claim) in self.by_app.remove(app).unwrap_or_default() {
            self.weighted -= usize::from(claim.weight.0 != 0);
            let Some(claimants) = self.by_thing.get_mut(&thing) else { continue };
            claimants.claims.retain(|other| *other != claim);
            affected.extend(claimants.claims.iter().map(|claim| claim.service.app.clone()));
        }
        for (thing, claim) in &claims {
            self.weighted += usize::from(claim.weight.0 != 0);
            let claimants = self.by_thing.entry(thing.clone()).or_default();
            affected.extend(claimants.claims.iter().map(|claim| claim.service.app.clone()));
            if let Err(place) = claimants.claims.binary_search(claim) {
                claimants.claims.reserve_exact(1);
                claimants.claims.insert(place, claim.clone());
            }
        }
        for thing in &changed {
            if self.by_thing.get(thing).is_some_and(|claimants| claimants.claims.is_empty()) {
                self.by_thing.remove(thing);
            }
        }
        if !claims.is_empty() {
            self.by_app.insert(app.clone(), claims);
        }
        if self.shadows() {
            affected.extend(self.related(&changed));
        }
        affected.remove(app);
        affected
    }

    /// The service with what it won, and a problem for all it lost.
    #[must_use]
    pub fn settle(&mut self, service: &Service) -> (Service, Vec<Problem>) {
        let mut settled = service.clone();
        let mut problems = Vec::new();
        settled.port = service.port.filter(|port| match self.reserved.get(port) {
            Some(reason) => {
                let thing = Claimed::Port(*port);
                problems.push(lost(&service.id, &thing, &format!("is not to be had: {reason}")));
                false
            }
            None => self.wins(&service.id, Claimed::Port(*port), &mut problems),
        });
        settled.routes.retain(|route| {
            matches!(route.matches, RouteMatch::Acl(_))
                || self.wins(&service.id, Claimed::Route(route.matches.clone()), &mut problems)
        });
        if self.shadows() {
            settled.routes.retain(|route| self.is_seen(&service.id, route, &mut problems));
            self.spread(&service.id, &mut settled.routes);
        }
        (settled, problems)
    }

    fn wins(&mut self, id: &ServiceId, thing: Claimed, problems: &mut Vec<Problem>) -> bool {
        let is_port = matches!(thing, Claimed::Port(_));
        let Some(claimants) = self.by_thing.get_mut(&thing) else { return true };
        let winner = claimants.winner(self.order, is_port).map(|claim| claim.service.clone());
        let won = winner.as_ref().is_none_or(|winner| winner == id);
        if let Some(winner) = winner.as_ref().filter(|_| !won) {
            problems.push(lost(id, &thing, &format!("belongs to {winner}")));
        }
        claimants.holder = winner;
        won
    }

    /// Whether one route may be looked up before another that is more specific.
    fn shadows(&self) -> bool {
        self.weighted > 0 || self.order == LabelOrder::MarathonLb
    }

    /// Whether `one` comes before `other`, however specific they are.
    fn comes_before(&self, one: &Claim, other: &Claim) -> bool {
        match self.order {
            LabelOrder::Causeway => one.weight < other.weight,
            LabelOrder::MarathonLb => (one.weight, &one.service) < (other.weight, &other.service),
        }
    }

    fn winner_of(&self, route: &RouteMatch) -> Option<&Claim> {
        self.by_thing.get(&Claimed::Route(route.clone()))?.winner(self.order, false)
    }

    /// Whether a route can be reached: no other comes before it that takes every request that it takes.
    fn is_seen(&self, id: &ServiceId, route: &Route, problems: &mut Vec<Problem>) -> bool {
        let own = claim_of(id, route);
        let covering = cover::covering(&route.matches).into_iter().find_map(|wider| {
            let claim = self.winner_of(&wider)?;
            (claim.service != *id && self.comes_before(claim, &own)).then(|| (wider, claim.clone()))
        });
        let Some((wider, claim)) = covering else { return true };
        problems.push(Problem::of(
            &id.app,
            ProblemKind::Shadowed,
            format!(
                "{} of port index {} is shadowed by {} of {} (weight {} before {})",
                Claimed::Route(route.matches.clone()),
                id.port_index,
                Claimed::Route(wider),
                claim.service,
                claim.weight.0,
                route.weight
            ),
            "no request would ever reach it; everything else of the app is served: change one of the weights, or take it away",
        ));
        false
    }

    /// A route for many hosts that comes before those of one of them is looked up there too.
    fn spread(&self, id: &ServiceId, routes: &mut Vec<Route>) {
        let mut more = Vec::new();
        for route in routes.iter() {
            let own = claim_of(id, route);
            for (thing, claimants) in &self.by_thing {
                let Claimed::Route(narrow) = thing else { continue };
                let Some(there) = cover::within(&route.matches, narrow) else { continue };
                let first = claimants.winner(self.order, false);
                let loses = first.is_some_and(|claim| claim.service != *id && self.comes_before(&own, claim));
                let held = self.winner_of(&there).is_some_and(|claim| !self.comes_before(&own, claim));
                if loses && !held {
                    more.push(Route { matches: there, ..route.clone() });
                }
            }
        }
        routes.extend(more);
        routes.sort();
        routes.dedup();
    }

    /// The apps whose routes some requests of these have in common.
    fn related(&self, changed: &[Claimed]) -> BTreeSet<AppId> {
        let routes = |thing: &Claimed| match thing {
            Claimed::Route(route) => Some(route.clone()),
            Claimed::Port(_) => None,
        };
        let changed: Vec<RouteMatch> = changed.iter().filter_map(routes).collect();
        let overlaps = |thing: &Claimed| match thing {
            Claimed::Route(route) => changed.iter().any(|other| cover::overlap(route, other)),
            Claimed::Port(_) => false,
        };
        let claimants = self.by_thing.iter().filter(|(thing, _)| overlaps(thing));
        claimants
            .flat_map(|(_, claimants)| &claimants.claims)
            .map(|claim| claim.service.app.clone())
            .collect()
    }
}

fn lost(id: &ServiceId, thing: &Claimed, why: &str) -> Problem {
    Problem::of(
        &id.app,
        ProblemKind::Conflict,
        format!("{thing} of port index {} {why}", id.port_index),
        "it does not lead to this app; everything else of it is served: choose another",
    )
}

fn claim_of(id: &ServiceId, route: &Route) -> Claim {
    Claim { from_label: !route.from_rule, weight: Reverse(route.weight), service: id.clone() }
}

fn claims_of(service: &Service) -> Vec<(Claimed, Claim)> {
    let of_port = || Claim { from_label: true, weight: Reverse(0), service: service.id.clone() };
    let ports = service.port.map(|port| (Claimed::Port(port), of_port()));
    let routes = service.routes.iter().filter(|route| matches!(route.matches, RouteMatch::HostPath { .. }));
    ports
        .into_iter()
        .chain(routes.map(|route| (Claimed::Route(route.matches.clone()), claim_of(&service.id, route))))
        .collect()
}
