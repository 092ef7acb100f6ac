//! Who has a route or a port where several services want it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AppId, Problem, ProblemKind, RouteMatch, Service, ServiceId};

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

/// A claim; the least one wins: a rule before a label, then the lower app id, then the lower port index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    from_label: bool,
    service: ServiceId,
}

/// Every claim, kept so that one changed app costs its own claims only.
#[derive(Debug, Default)]
pub struct Claims {
    by_thing: BTreeMap<Claimed, BTreeSet<Claim>>,
    by_app: BTreeMap<AppId, Vec<(Claimed, Claim)>>,
    /// Ports that no service may have, and why.
    reserved: BTreeMap<u16, String>,
}

impl Claims {
    /// Claims with ports that no service may have, each with the reason.
    #[must_use]
    pub fn new(reserved: BTreeMap<u16, String>) -> Self {
        Self { reserved, ..Self::default() }
    }

    /// Replaces the claims of one app by those of its services, and names the other apps whose claims are settled
    /// differently now.
    pub fn replace(&mut self, app: &AppId, services: &[Service]) -> BTreeSet<AppId> {
        let mut affected = BTreeSet::new();
        for (thing, claim) in self.by_app.remove(app).unwrap_or_default() {
            let Some(claims) = self.by_thing.get_mut(&thing) else { continue };
            claims.remove(&claim);
            affected.extend(claims.iter().map(|claim| claim.service.app.clone()));
            if claims.is_empty() {
                self.by_thing.remove(&thing);
            }
        }
        let claims: Vec<_> = services.iter().flat_map(claims_of).collect();
        for (thing, claim) in &claims {
            let others = self.by_thing.entry(thing.clone()).or_default();
            affected.extend(others.iter().map(|claim| claim.service.app.clone()));
            others.insert(claim.clone());
        }
        if !claims.is_empty() {
            self.by_app.insert(app.clone(), claims);
        }
        affected.remove(app);
        affected
    }

    /// The service with what it won, and a problem for all it lost.
    #[must_use]
    pub fn settle(&self, service: &Service) -> (Service, Vec<Problem>) {
        let mut settled = service.clone();
        let mut problems = Vec::new();
        settled.port = service.port.filter(|port| {
            let reserved = self.reserved.get(port).map(|reason| format!("is not to be had: {reason}"));
            self.wins(&service.id, &Claimed::Port(*port), reserved, &mut problems)
        });
        settled.routes.retain(|route| {
            matches!(route.matches, RouteMatch::Acl(_))
                || self.wins(&service.id, &Claimed::Route(route.matches.clone()), None, &mut problems)
        });
        (settled, problems)
    }

    fn wins(
        &self,
        id: &ServiceId,
        thing: &Claimed,
        refused: Option<String>,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let holder = self.by_thing.get(thing).and_then(BTreeSet::first).map(|claim| &claim.service);
        let lost = refused
            .or_else(|| holder.filter(|holder| *holder != id).map(|holder| format!("belongs to {holder}")));
        let Some(lost) = lost else { return true };
        problems.push(Problem::of(
            &id.app,
            ProblemKind::Conflict,
            format!("{thing} of port index {} {lost}", id.port_index),
            "it does not lead to this app; everything else of it is served: choose another",
        ));
        false
    }
}

fn claims_of(service: &Service) -> Vec<(Claimed, Claim)> {
    let claim = |from_rule: bool| Claim { from_label: !from_rule, service: service.id.clone() };
    let ports = service.port.map(|port| (Claimed::Port(port), claim(false)));
    let routes = service.routes.iter().filter(|route| matches!(route.matches, RouteMatch::HostPath { .. }));
    ports
        .into_iter()
        .chain(routes.map(|route| (Claimed::Route(route.matches.clone()), claim(route.from_rule))))
        .collect()
}
