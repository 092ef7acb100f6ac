//! What happened to services since the last round that got through, in words.

use std::sync::Arc;

use super::Desired;
use crate::model::{Service, ServiceId};
use crate::wording::counted;

/// What happened to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The service.
    pub service: ServiceId,
    /// What happened to it, in words.
    pub what: String,
}

impl Desired {
    /// What changed since the last round that got through.
    pub fn take_events(&mut self) -> Vec<Happened> {
        let before = std::mem::take(&mut self.before);
        let happened = |(id, old): (ServiceId, Option<Arc<Service>>)| {
            let what = describe(&id, old.as_deref(), self.services.get(&id).map(AsRef::as_ref))?;
            Some(Happened { service: id, what })
        };
        before.into_iter().filter_map(happened).collect()
    }

    /// Forgets what changed without effect.
    pub fn forget_events(&mut self) {
        self.before.clear();
    }
}

/// What happened to a service, in words; nothing where it did not change to the eye.
fn describe(id: &ServiceId, old: Option<&Service>, new: Option<&Service>) -> Option<String> {
    Some(match (old, new) {
        (None, None) => return None,
        (None, Some(new)) => format!("{id} is new with {}", counted(new.servers.len(), "server")),
        (Some(_), None) => format!("{id} is gone"),
        (Some(old), Some(new)) if old.servers != new.servers => {
            let gone = old.servers.iter().filter(|server| !new.servers.contains(server));
            let come = new.servers.iter().filter(|server| !old.servers.contains(server));
            let moves: Vec<String> = come
                .map(|server| format!("+{}", server.endpoint))
                .chain(gone.map(|server| format!("-{}", server.endpoint)))
                .collect();
            let shown = moves.iter().take(4).cloned().collect::<Vec<_>>().join(" ");
            let more = if moves.len() > 4 { " …" } else { "" };
            format!("{id} servers {} → {} ({shown}{more})", old.servers.len(), new.servers.len())
        }
        (Some(old), Some(new)) if old.same_shape(new) => return None,
        (Some(_), Some(_)) => format!("{id} changed"),
    })
}
