//! Free text of rules: what HAProxy does not take is left out before it is in any configuration, and nothing else of its app.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use rpds::RedBlackTreeMapSync;

use super::Desired;
use crate::haproxy::trial::TrialRefusal;
use crate::model::{Problem, ProblemKind, RouteMatch, Service, ServiceId};
use crate::view::Noted;

/// What is wrong with services that lack a route. A clone costs nothing.
pub type Lacking = RedBlackTreeMapSync<ServiceId, Noted>;

impl Desired {
    /// The criteria in words that no HAProxy has read yet.
    #[must_use]
    pub fn untried_texts(&self) -> Vec<String> {
        let of = |service: &Service| {
            let texts = service.routes.iter().filter_map(|route| match &route.matches {
                RouteMatch::Acl(text) => Some(text.clone()),
                _ => None,
            });
            texts.collect::<Vec<_>>()
        };
        let wanted: BTreeSet<String> =
            self.text.blocks.values().flat_map(|block| of(&block.service)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let known: BTreeSet<String> = self.good.values().flat_map(|block| of(&block.service)).collect();
        wanted.difference(&known).cloned().collect()
    }

    /// Leaves out routes by texts that HAProxy does not take, and tells whose they are. What nobody asks for any more is
    /// forgotten, so that it is tried anew.
    pub fn refuse_texts(&mut self, refused: &[(&str, TrialRefusal)]) {
        let asked: BTreeSet<&RouteMatch> =
            self.services.values().flat_map(|each| &each.routes).map(|route| &route.matches).collect();
        self.refused_texts.retain(|text, _| asked.contains(&RouteMatch::Acl(text.clone())));
        for (text, refusal) in refused {
            self.refused_texts.insert((*text).to_owned(), refusal.to_string());
        }
        let has_one = |service: &Service| {
            service.routes.iter().any(|route| refused.iter().any(|(text, _)| is_text(&route.matches, text)))
        };
        let ids: Vec<ServiceId> =
            self.services.iter().filter(|(_, service)| has_one(service)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.refresh(&id);
        }
    }

    /// A service without the routes that HAProxy does not take, which is noted.
    pub(super) fn without_refused(&mut self, service: Arc<Service>) -> Arc<Service> {
        let id = &service.id;
        let words: Vec<String> = service
            .routes
            .iter()
            .filter_map(|route| match &route.matches {
                RouteMatch::Acl(text) => Some(format!("the acl {text:?}: {}", self.refused_texts.get(text)?)),
                _ => None,
            })
            .collect();
        if words.is_empty() {
            self.lacking.remove_mut(id);
            return service;
        }
        let problem = Problem::of(
            &id.app,
            ProblemKind::Rule,
            format!("HAProxy does not take {}", words.join("; ")),
            "what it does not take is left out, the other routes are served: correct the rule",
        );
        let same = self.lacking.get(id).filter(|noted| noted.problem == problem);
        if same.is_none() {
            tracing::warn!("{problem}");
            self.lacking.insert_mut(id.clone(), Noted { problem, since: SystemTime::now() });
        }
        let refused = |matches: &RouteMatch| matches!(matches, RouteMatch::Acl(text) if self.refused_texts.contains_key(text));
        let routes = service.routes.iter().filter(|route| !refused(&route.matches)).cloned().collect();
        Arc::new(Service { routes, ..Service::clone(&service) })
    }

    /// Who lacks a route that HAProxy does not take.
    #[must_use]
    pub fn lacking_now(&self) -> Lacking {
        self.lacking.clone()
    }
}

fn is_text(matches: &RouteMatch, text: &str) -> bool {
    matches!(matches, RouteMatch::Acl(own) if own == text)
}
