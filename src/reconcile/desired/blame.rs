//! Who is to blame for a text that HAProxy does not take: those services are put aside, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Candidate, Desired};
use crate::haproxy::generations::PREFIX_LINES;
use crate::haproxy::{CheckFailure, HaproxyError};
use crate::model::{Problem, ProblemKind, Route, Service, ServiceId};
use crate::render::lines::NamedCriterion;
use crate::render::{Block, DIR_MARK};
use crate::view::Noted;

/// A service that is put aside.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// What was refused; another shape is tried at once.
    pub(super) refused: Arc<Service>,
    /// When it was tried last.
    pub(super) since: Instant,
    /// Its last good text is refused too, or there is none.
    pub left_out: bool,
    /// What is wrong with it, since it was refused first.
    pub noted: Noted,
}

/// Every service that is put aside. A clone costs nothing.
pub type PutAside = rpds::RedBlackTreeMapSync<ServiceId, Quarantine>;

impl Desired {
    /// What is wrong with services that are put aside, or lack a route that HAProxy does not take.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<ServiceId, Problem> {
        let lacking = self.lacking.iter();
        let aside = self.quarantine.iter().map(|(id, aside)| (id, &aside.noted));
        lacking.chain(aside).map(|(id, noted)| (id.clone(), noted.problem.clone())).collect()
    }

    /// How many services are put aside.
    #[must_use]
    pub fn put_aside_count(&self) -> usize {
        self.quarantine.size()
    }

    /// Who is put aside, and why.
    #[must_use]
    pub fn put_aside_now(&self) -> PutAside {
        self.quarantine.clone()
    }

    /// Puts aside whoever is to blame for a text that HAProxy did not take: the services that its words name; where they
    /// name none and only starting failed, everything that is not as it was good last. False where nobody is to blame.
    pub fn blame(&mut self, error: &HaproxyError, candidate: &Candidate) -> bool {
        let (alerts, started) = match error {
            HaproxyError::Check(failure) => (&failure.alerts, false),
            HaproxyError::Start { failure, .. } | HaproxyError::Reload { failure, .. } => {
                (&failure.alerts, true)
            }
            _ => return false,
        };
        let differs = |(id, block): &(&ServiceId, &Arc<Block>)| {
            self.good.get(*id).is_none_or(|good| !good.service.same_shape(&block.service))
        };
        let (mut culprits, named_all) = self.culprits(alerts, candidate);
        if !named_all {
            // Where something that is nobody's is wrong, who is as he was when HAProxy took him is not to blame: he is named for
            // what is wrong there.
            culprits.retain(|id, _| self.text.blocks.get_key_value(id).is_some_and(|pair| differs(&pair)));
        }
        let changed: Vec<ServiceId> =
            self.text.blocks.iter().filter(differs).map(|(id, _)| id.clone()).collect();
        let mut put_aside = false;
        for (id, words) in culprits {
            put_aside |= self.put_aside(&id, &words);
        }
        // Without words nobody can be named: it may have been too slow only.
        if put_aside || !started || alerts.is_empty() {
            return put_aside;
        }
        if changed.len() == self.text.blocks.size() {
            // To leave everybody out would help nobody.
            return false;
        }
        for id in changed {
            put_aside |= self.put_aside(&id, &error.to_string());
        }
        put_aside
    }

    /// Whom these alerts name, each with the first of them; and whether every alert names somebody.
    fn culprits(&self, alerts: &[String], candidate: &Candidate) -> (BTreeMap<ServiceId, String>, bool) {
        let (config, owners) = candidate.text.config(DIR_MARK);
        let mut culprits = BTreeMap::new();
        let mut named_all = true;
        for alert in alerts {
            let by_line = CheckFailure::lines(alert).into_iter().filter_map(|line| {
                let line = line.checked_sub(PREFIX_LINES)?;
                let owner = owners.of_line(&config, line).cloned();
                owner.or_else(|| self.owner_of_acl(config.lines().nth(line.checked_sub(1)?)?))
            });
            let names = |block: &&Arc<Block>| {
                let name = &block.service.backend.name;
                let mut certificates = block.service.certificate.iter().chain(&block.service.client_ca);
                [format!("'{name}'"), format!(" {name}_in:"), format!(" {name}:")]
                    .iter()
                    .any(|form| alert.contains(form))
                    || certificates.any(|file| alert.contains(&format!("'{file}'")))
            };
            let named = candidate.text.blocks.values().filter(names).map(|block| block.service.id.clone());
            let mut names_somebody = false;
            for id in by_line.chain(named) {
                names_somebody = true;
                culprits.entry(id).or_insert_with(|| alert.clone());
            }
            named_all &= names_somebody;
        }
        (culprits, named_all)
    }

    /// Puts aside who wants a port of its own that cannot be had, before HAProxy finds out.
    /// True where there was one.
    pub fn try_own_ports(&mut self) -> bool {
        let own = |block: &Arc<Block>| block.service.port.filter(|port| !self.ports.contains(*port));
        let held: BTreeSet<u16> =
            self.live.iter().flat_map(|live| live.text.blocks.values()).filter_map(own).collect();
        let refused: Vec<(ServiceId, String)> = self
            .text
            .blocks
            .values()
            .filter_map(|block| {
                let port = own(block).filter(|port| !held.contains(port))?;
                let error = self.ports.try_bind(port).err()?;
                Some((block.service.id.clone(), format!("port {port} cannot be listened on: {error}")))
            })
            .collect();
        let mut put_aside = false;
        for (id, words) in refused {
            put_aside |= self.put_aside(&id, &words);
        }
        put_aside
    }

    /// Gives a service that was put aside longer ago than `after` another chance, one at a time, so that nobody is put
    /// aside again for another's sake. True where there was one.
    pub fn release_quarantine(&mut self, after: Duration) -> bool {
        let due = self.quarantine.iter().filter(|(_, aside)| aside.since.elapsed() >= after);
        let Some(id) = due.min_by_key(|(_, aside)| aside.since).map(|(id, _)| id.clone()) else {
            return false;
        };
        self.tried_again = self.quarantine.get(&id).map(|aside| (id.clone(), aside.noted.since));
        self.quarantine.remove_mut(&id);
        self.take_out(&id);
        self.refresh(&id);
        true
    }

    /// Puts a service aside: onto its last good text, or out where it has none, or where that is refused too.
    pub(super) fn put_aside(&mut self, id: &ServiceId, words: &str) -> bool {
        let Some(service) = self.definition(id) else { return false };
        let again = self.quarantine.get(id);
        if again.is_some_and(|aside| aside.left_out) {
            return false;
        }
        let same_as_good = self.good.get(id).is_none_or(|good| {
            let now = self.text.blocks.get(id).map(|block| &block.shape);
            good.service.same_shape(&service.on_backend(&good.service.backend.name))
                && now == Some(&good.shape)
        });
        // What is to keep somebody out is not served as it was when it kept out nobody.
        let opens = service.is_guarded() && self.good.get(id).is_some_and(|good| !good.service.is_guarded());
        let left_out = again.is_some() || same_as_good || opens;
        let stays = if left_out {
            "it is left out"
        } else {
            "its last good configuration stays, with today's servers"
        };
        let problem = Problem::of(
            &id.app,
            ProblemKind::Block,
            format!("port index {} cannot be served as configured: {words}", id.port_index),
            format!("{stays}; everything else is served: correct the labels, the rule or the template"),
        );
        tracing::error!("{problem}");
        let tried_again = self.tried_again.as_ref().filter(|(other, _)| other == id).map(|(_, since)| *since);
        let since = again.map(|aside| aside.noted.since).or(tried_again).unwrap_or_else(SystemTime::now);
        let noted = Noted { problem, since };
        let aside = Quarantine { refused: service, since: Instant::now(), left_out, noted };
        self.quarantine.insert_mut(id.clone(), aside);
        self.refresh(id);
        true
    }

    /// A service as it was good last, with today's servers, and without what belongs to somebody else by now.
    pub(super) fn as_good(&self, service: &Service, good: &Service) -> Service {
        let others = || self.services.values().filter(|other| other.id != service.id);
        let taken_route = |route: &Route| {
            others().any(|other| other.routes.iter().any(|held| held.matches == route.matches))
        };
        let routes = good.routes.iter().filter(|route| !taken_route(route)).cloned().collect();
        let port = good.port.filter(|port| !others().any(|other| other.port == Some(*port)));
        Service {
            servers: service.servers.clone(),
            instances: service.instances,
            routes,
            port,
            ..good.clone()
        }
    }

    /// The service whose ACL or raw text stands on a line of the head.
    pub(super) fn owner_of_acl(&self, line: &str) -> Option<ServiceId> {
        // Raw text ends with the name of its backend, as a comment.
        if let Some((_, name)) = line.rsplit_once(" # ") {
            let blocks = self.text.blocks.iter();
            let mut own = blocks.filter(|(_, block)| block.service.backend.extras.raw.is_in_head());
            return own.find(|(_, block)| block.service.backend.name == name).map(|(id, _)| id.clone());
        }
        let names: BTreeSet<&str> = line.split_whitespace().collect();
        let lines = self.lines();
        let is_named = |criterion: &NamedCriterion| names.contains(criterion.name.as_str());
        let route = lines.all().find(|route| route.criteria.iter().chain(&route.except).any(is_named))?;
        let blocks = self.text.blocks.values();
        blocks
            .map(|block| &block.service)
            .find(|service| service.backend.name == route.backend)
            .map(|service| service.id.clone())
    }
}
