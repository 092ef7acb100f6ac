//! Free text of rules: what HAProxy does not take is left out before it is in any configuration, and nothing else of its app.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Desired;
use crate::haproxy::trial::TrialRefusal;
use crate::model::{Problem, ProblemKind, RouteMatch, Service, ServiceId};

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
            for problem in self.text_problems(&id) {
                tracing::warn!("{problem}");
            }
            self.refresh(&id);
        }
    }

    /// A service without the routes that HAProxy does not take.
    pub(super) fn without_refused(&self, service: Arc<Service>) -> Arc<Service> {
        let is_refused = |matches: &RouteMatch| matches!(matches, RouteMatch::Acl(text) if self.refused_texts.contains_key(text));
        if self.refused_texts.is_empty() || !service.routes.iter().any(|route| is_refused(&route.matches)) {
            return service;
        }
        let routes = service.routes.iter().filter(|route| !is_refused(&route.matches)).cloned().collect();
        Arc::new(Service { routes, ..Service::clone(&service) })
    }

    /// What HAProxy says against the texts of a service.
    pub(super) fn text_problems(&self, id: &ServiceId) -> Vec<Problem> {
        let routes = self.services.get(id).map(|service| service.routes.as_slice()).unwrap_or_default();
        let refused = routes.iter().filter_map(|route| match &route.matches {
            RouteMatch::Acl(text) => Some((text, self.refused_texts.get(text)?)),
            _ => None,
        });
        let problem = |(text, words): (&String, &String)| {
            Problem::of(
                &id.app,
                ProblemKind::Rule,
                format!("HAProxy does not take the acl {text:?} of its rule: {words}"),
                "this route is left out, the others are served: correct the rule",
            )
        };
        refused.map(problem).collect()
    }
}

fn is_text(matches: &RouteMatch, text: &str) -> bool {
    matches!(matches, RouteMatch::Acl(own) if own == text)
}
