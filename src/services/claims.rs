//! Who has a route or a port where several services want it, and which routes can never be reached.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::LabelOrder;
use crate::model::{AppId, Line, Problem, ProblemKind, Route, RouteMatch, Service, ServiceId};

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
            Self::Route(route) => route.fmt(f),
        }
    }
}

/// A claim; the least one wins where nobody holds the thing: the lower order, one before none, then the higher weight, then
/// a rule before a label, then the lower app id, then the lower port index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    rank: Rank,
    from_label: bool,
    service: ServiceId,
}

/// What somebody said about the order of a route; the least is looked up first, however specific others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    no_order: bool,
    order: i64,
    weight: Reverse<i32>,
}

impl Rank {
    const NONE: Self = Self { no_order: true, order: 0, weight: Reverse(0) };

    fn of(route: &Route) -> Self {
        let (no_order, order) = (route.order.is_none(), route.order.unwrap_or_default());
        Self { no_order, order, weight: Reverse(route.weight) }
    }
}

impl std::fmt::Display for Rank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.no_order {
            true => write!(f, "weight {}", self.weight.0),
            false => write!(f, "order {}", self.order),
        }
    }
}

/// Who wants a thing, and who has it.
#[derive(Clone, Debug, Default)]
struct Claimants {
    /// The best first. Nearly always there is one: a list takes least room.
    claims: Vec<Claim>,
    /// Who had it last: it keeps it against whoever comes later with as good a claim.
    holder: Option<ServiceId>,
}

impl Claimants {
    fn winner(&self, order: LabelOrder, is_port: bool) -> Option<&Claim> {
        let first = self.claims.first()?;
        let as_good = |claim: &&Claim| claim.from_label == first.from_label && claim.rank == first.rank;
        let holds = |claim: &&Claim| self.holder.as_ref() == Some(&claim.service);
        let by_holder = order == LabelOrder::Causeway || is_port;
        let holder = self.claims.iter().take_while(as_good).find(holds).filter(|_| by_holder);
        Some(holder.unwrap_or(first))
    }
}

/// Every claim, kept so that one changed app costs its own claims only.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    by_thing: BTreeMap<Claimed, Claimants>,
    by_app: BTreeMap<AppId, Vec<(Claimed, Claim)>>,
    /// Ports that no service may have, and why.
    reserved: BTreeMap<u16, String>,
    order: LabelOrder,
    /// Claims whose rank somebody said: where there are none, no route shadows another.
    ranked: usize,
    /// Those of them that come after what has none.
    negative: usize,
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
            self.ranked -= usize::from(claim.rank != Rank::NONE);
            self.negative -= usize::from(claim.rank > Rank::NONE);
            let Some(claimants) = self.by_thing.get_mut(&thing) else { continue };
            claimants.claims.retain(|other| *other != claim);
            affected.extend(claimants.claims.iter().map(|claim| claim.service.app.clone()));
        }
        for (thing, claim) in &claims {
            self.ranked += usize::from(claim.rank != Rank::NONE);
            self.negative += usize::from(claim.rank > Rank::NONE);
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
            matches!(route.matches, RouteMatch::Default(_))
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
        self.ranked > 0 || self.order == LabelOrder::MarathonLb
    }

    /// Whether `one` comes before `other`, however specific they are.
    fn comes_before(&self, one: &Claim, other: &Claim) -> bool {
        match self.order {
            LabelOrder::Causeway => one.rank < other.rank,
            LabelOrder::MarathonLb => (one.rank, &one.service) < (other.rank, &other.service),
        }
    }

    fn winner_of(&self, route: &RouteMatch) -> Option<&Claim> {
        self.by_thing.get(&Claimed::Route(route.clone()))?.winner(self.order, false)
    }

    /// Whether a route can be reached: no other comes before it that takes every request that it takes.
    fn is_seen(&self, id: &ServiceId, route: &Route, problems: &mut Vec<Problem>) -> bool {
        let own = claim_of(id, route);
        // Between a line and a map entry only what somebody said decides.
        let first = |claim: &Claim| match route.matches.is_line() {
            true => claim.rank < own.rank,
            false => self.comes_before(claim, &own),
        };
        let covering = cover::covering(&route.matches).into_iter().find_map(|wider| {
            let claim = self.winner_of(&wider)?;
            (claim.service != *id && first(claim)).then(|| (wider, claim.clone()))
        });
        let Some((wider, claim)) = covering else { return true };
        problems.push(Problem::of(
            &id.app,
            ProblemKind::Shadowed,
            format!(
                "{} of port index {} is shadowed by {wider} of {} ({} before {})",
                route.matches, id.port_index, claim.service, claim.rank, own.rank
            ),
            "no request would ever reach it; everything else of the app is served: change one of the orders or weights, or take it away",
        ));
        false
    }

    /// A route for many hosts that comes before those of one of them is looked up there too.
    fn spread(&self, id: &ServiceId, routes: &mut Vec<Route>) {
        let mut more = Vec::new();
        for route in routes.iter() {
            let own = claim_of(id, route);
            let many = route.matches.host().is_none_or(|host| host.starts_with("*."));
            let may_be_first =
                own.rank < Rank::NONE || self.negative > 0 || self.order == LabelOrder::MarathonLb;
            if !many || !may_be_first {
                continue;
            }
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
        let mut apps = BTreeSet::new();
        for route in changed.iter().filter_map(Claimed::route) {
            let overlaps = |thing: &Claimed| thing.route().is_some_and(|other| cover::overlap(route, other));
            let mut add = |(thing, claimants): (&Claimed, &Claimants)| {
                if overlaps(thing) {
                    apps.extend(claimants.claims.iter().map(|claim| claim.service.app.clone()));
                }
            };
            match route.host().filter(|host| !host.starts_with("*.")) {
                // Of an exact host only three hosts have any in common, and they lie side by side.
                Some(host) => {
                    let wildcard = cover::wildcard(host);
                    for host in [Some(host), wildcard.as_deref(), None] {
                        self.at_host(host).for_each(&mut add);
                    }
                }
                None => self.by_thing.iter().for_each(add),
            }
        }
        apps
    }

    /// The routes of one host, or of those for any.
    fn at_host(&self, host: Option<&str>) -> impl Iterator<Item = (&Claimed, &Claimants)> {
        let owned = || (host.map(str::to_owned), String::new());
        let ((host, path), (other_host, other_path), (line_host, line_path)) = (owned(), owned(), owned());
        let line = Line { host: line_host, path: line_path, exact: false, criteria: Vec::new() };
        let firsts = [
            RouteMatch::HostPath { host, path, any_case: false },
            RouteMatch::Exact { host: other_host, path: other_path },
            RouteMatch::Line(Box::new(line)),
        ];
        firsts.into_iter().flat_map(|first| {
            let kind = std::mem::discriminant(&first);
            let host = first.host().map(str::to_owned);
            let same = move |route: &RouteMatch| {
                std::mem::discriminant(route) == kind && route.host() == host.as_deref()
            };
            let after = self.by_thing.range(Claimed::Route(first)..);
            after.take_while(move |(thing, _)| thing.route().is_some_and(&same))
        })
    }
}

impl Claimed {
    fn route(&self) -> Option<&RouteMatch> {
        match self {
            Self::Route(route) => Some(route),
            Self::Port(_) => None,
        }
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
    Claim { rank: Rank::of(route), from_label: !route.from_rule, service: id.clone() }
}

fn claims_of(service: &Service) -> Vec<(Claimed, Claim)> {
    let of_port = || Claim { rank: Rank::NONE, from_label: true, service: service.id.clone() };
    let ports = service.port.map(|port| (Claimed::Port(port), of_port()));
    let routes = service.routes.iter().filter(|route| !matches!(route.matches, RouteMatch::Default(_)));
    ports
        .into_iter()
        .chain(routes.map(|route| (Claimed::Route(route.matches.clone()), claim_of(&service.id, route))))
        .collect()
}
