//! Raw text of services: what HAProxy does not take alone never gets into a configuration with others.

use std::sync::Arc;

use super::Desired;
use crate::model::{Service, ServiceId};

impl Desired {
    /// The services whose raw text no HAProxy has read yet.
    #[must_use]
    pub fn untried_raw(&self) -> Vec<Arc<Service>> {
        let is_new = |service: &Service| {
            let raw = &service.backend.extras.raw;
            let read = self.good.get(&service.id).map(|good| &good.service.backend.extras.raw);
            !raw.is_empty() && read != Some(raw)
        };
        let services = self.text.blocks.values().map(|block| &block.service);
        services.filter(|service| is_new(service)).map(Arc::clone).collect()
    }

    /// The operator's own sections, which raw text may name.
    #[must_use]
    pub fn own_sections(&self) -> &[String] {
        &self.head.raw.sections
    }

    /// Puts services aside whose raw text HAProxy does not take. True where there was one.
    pub fn refuse_raw(&mut self, refused: &[(ServiceId, String)]) -> bool {
        let mut put_aside = false;
        for (id, words) in refused {
            put_aside |= self.put_aside(id, &format!("HAProxy does not take its raw text: {words}"));
        }
        put_aside
    }
}
