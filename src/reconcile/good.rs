//! What a worker was last proven to run, service by service: what to go back to, also after a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::durable::{FileError, replace_file_with};
use crate::model::{Service, ServiceId};
use crate::render::Shape;

/// The file beside the generations.
const FILE: &str = "good.json";

/// A service as it was good last: its routes and its text, without the servers, which are always today's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Good {
    pub(super) service: Arc<Service>,
    pub(super) shape: Shape,
}

/// Every service as it was good last.
#[derive(Debug, Default)]
pub struct GoodServices(BTreeMap<ServiceId, Good>);

impl GoodServices {
    /// Reads what an earlier Causeway left; nothing where there is nothing, or nothing that can be read.
    #[must_use]
    pub fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let Ok(json) = std::fs::read(&path) else { return Self::default() };
        let goods: Vec<Good> = serde_json::from_slice(&json).unwrap_or_else(|error| {
            tracing::warn!("{}: {error}; a service that is refused is left out", path.display());
            Vec::new()
        });
        Self(goods.into_iter().map(|good| (good.service.id.clone(), good)).collect())
    }

    pub(super) fn get(&self, id: &ServiceId) -> Option<&Good> {
        self.0.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Good> {
        self.0.values()
    }

    /// Takes what runs now as good, and writes it down where it differs from before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn prove(
        &mut self,
        state_dir: &Path,
        effective: &BTreeMap<ServiceId, Arc<Service>>,
        shapes: impl Fn(&ServiceId) -> Option<Shape>,
    ) -> Result<(), FileError> {
        let mut changed = self.0.len() != effective.len();
        let mut now = BTreeMap::new();
        for (id, service) in effective {
            let old = self.0.get(id).cloned();
            let good = match (shapes(id), old) {
                // It waits for a reload: what was good is what runs.
                (None, Some(good)) => good,
                (None, None) => continue,
                (Some(shape), Some(good)) if good.service.same_shape(service) && good.shape == shape => good,
                (Some(shape), _) => {
                    changed = true;
                    let service = Arc::new(Service { servers: Vec::new(), ..Service::clone(service) });
                    Good { service, shape }
                }
            };
            now.insert(id.clone(), good);
        }
        if !changed {
            return Ok(());
        }
        let path = state_dir.join(FILE);
        let goods: Vec<&Good> = now.values().collect();
        replace_file_with(&path, 0o600, |file| Ok(serde_json::to_writer(file, &goods)?))?;
        self.0 = now;
        Ok(())
    }
}
