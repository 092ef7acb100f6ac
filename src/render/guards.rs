//! What keeps somebody out of a service has to be in its text: an operator's template that leaves it away would open a door.

use crate::model::{Extras, Service};

use super::templates::SERVICE;
use super::{HeadContext, Lines, TemplateError, Templates};

/// Takes one guard away; false where the service has none of the kind.
type Without = fn(&mut Service) -> bool;

/// What keeps somebody out, in words, and the same service without it.
const GUARDS: [(&str, Without); 4] = [
    ("the login (service.backend.extras.login)", |service| service.backend.extras.login.take().is_some()),
    ("the allowed networks (service.backend.extras.allowed)", |service| {
        !std::mem::take(&mut service.backend.extras.allowed).is_empty()
    }),
    ("that it is closed (service.backend.extras.closed)", |service| {
        std::mem::take(&mut service.backend.extras.closed)
    }),
    ("the certificates of clients (service.client_ca)", |service| service.client_ca.take().is_some()),
];

impl Templates {
    /// Refuses to draw a guarded service by a template of the operator's whose text is the same without the guard.
    ///
    /// # Errors
    /// [`TemplateError::Guard`]; what a template fails on.
    pub fn prove_guards(&self, head: &HeadContext, service: &Service) -> Result<(), TemplateError> {
        if !self.is_custom() || !service.is_guarded() {
            return Ok(());
        }
        let draw = |service: &Service| match self.is_whole() {
            true => self.head(head, &Lines::default(), &[service]),
            false => self.service(service, None, false),
        };
        let drawn = draw(service)?;
        for (guard, take) in GUARDS {
            let mut without = service.clone();
            if take(&mut without) && draw(&without)? == drawn {
                let template = self.whole_name().unwrap_or(SERVICE).to_owned();
                return Err(TemplateError::Guard { template, guard });
            }
        }
        Ok(())
    }

    /// What the operator's templates leave away of what keeps somebody out, in words.
    pub(super) fn undrawn_guards(&self, head: &HeadContext, example: &Service) -> Vec<String> {
        let login = crate::model::Login {
            user: "user".to_owned(),
            hash: "hash".to_owned(),
            realm: "realm".to_owned(),
        };
        let extras = |change: fn(&mut Extras)| {
            let mut service = example.clone();
            change(&mut service.backend.extras);
            service
        };
        let mut with_login = example.clone();
        with_login.backend.extras.login = Some(login);
        let with_ca = Service { client_ca: Some("ca.pem".to_owned()), ..example.clone() };
        let guarded = [
            with_login,
            extras(|extras| extras.allowed = vec!["10.0.0.0/8".to_owned()]),
            extras(|extras| extras.closed = true),
            with_ca,
        ];
        let refused = guarded.iter().filter_map(|service| self.prove_guards(head, service).err());
        refused.map(|error| error.to_string()).collect()
    }
}
