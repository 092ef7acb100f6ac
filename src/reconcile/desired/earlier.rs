//! The definitions of an earlier generation, while somebody went back to it.

use std::sync::Arc;

use super::Desired;
use super::spares::Stock;
use crate::model::{Service, ServiceId};
use crate::reconcile::rollback::RolledBack;

impl Desired {
    /// What was gone back to.
    #[must_use]
    pub fn rolled_back(&self) -> Option<&Arc<RolledBack>> {
        self.rolled_back.as_ref()
    }

    /// Takes the definitions and the templates of an earlier generation, or those of today again. Everything is drawn anew.
    pub fn roll_back(&mut self, to: Option<Arc<RolledBack>>) {
        let templates = to.as_ref().map_or(&self.templates_of_today, |to| &to.templates);
        let other_text = templates.kept() != self.templates.kept();
        let templates = Arc::clone(templates);
        // With the entries and the backends that they have now.
        let ids: Vec<ServiceId> = self.text.blocks.keys().cloned().collect();
        for id in &ids {
            self.take_out(id);
        }
        if other_text {
            self.stock = Stock::new(&templates, self.spare_terms);
            self.text.spares = Default::default();
        }
        self.templates = templates;
        self.rolled_back = to;
        self.quarantine = Default::default();
        self.head_stale = true;
        for id in ids {
            self.refresh(&id);
        }
    }

    /// A service as it is to be: as it is today, or as it was in the generation that somebody went back to.
    pub(super) fn definition(&self, id: &ServiceId) -> Option<Arc<Service>> {
        let today = self.services.get(id)?;
        Some(match &self.rolled_back {
            None => Arc::clone(today),
            Some(to) => Arc::new(to.definition(today, |other| self.services.contains_key(other))),
        })
    }

    /// One that came or went takes its routes back from those that came later, or leaves them.
    pub(super) fn refresh_later(&mut self, id: &ServiceId) {
        let Some(to) = self.rolled_back.clone().filter(|to| to.has(id)) else { return };
        let later: Vec<ServiceId> =
            self.services.keys().filter(|other| *other != id && !to.has(other)).cloned().collect();
        for other in later {
            self.refresh(&other);
        }
    }
}
