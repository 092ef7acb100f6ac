//! The shared head: what of it comes from services, and when it has to be drawn again.

use std::collections::BTreeSet;

use super::Desired;
use crate::model::{RawHead, Route, Service};
use crate::render::lines::guarded_keys;
use crate::render::maps::entry_of;
use crate::render::{ClientHosts, Lines, TemplateError};

impl Desired {
    /// Renders the head again, if something in it changed.
    ///
    /// # Errors
    /// A template that fails.
    pub fn render_head(&mut self) -> Result<(), TemplateError> {
        if self.head_stale {
            if !self.head.service_port_binds.is_empty() {
                self.head.service_port_binds = self.binds_ahead();
            }
            let certificates: BTreeSet<&String> =
                self.text.blocks.values().filter_map(|block| block.service.certificate.as_ref()).collect();
            self.head.service_certificates = certificates.into_iter().cloned().collect();
            self.head.client_hosts = self.client_hosts();
            self.head.raw_routes = self.raw_routes();
            let lines = self.lines();
            let services: Vec<&Service> =
                self.text.blocks.values().map(|block| block.service.as_ref()).collect();
            self.text.head = self.templates.head(&self.head, &lines, &services)?;
            let routes = self.text.blocks.values().flat_map(|block| &block.service.routes);
            self.guarded = routes.filter_map(|route| guarded_keys(&route.matches)).collect();
            self.head_stale = false;
        }
        Ok(())
    }

    /// The hosts whose clients have to show a certificate.
    fn client_hosts(&self) -> Vec<ClientHosts> {
        let of_service = |service: &Service| {
            let ca = service.client_ca.clone()?;
            let own = || format!("{}{}", self.head.dir, self.head.default_certificate);
            let certificate = service.certificate.clone().unwrap_or_else(own);
            let hosts = service.routes.iter().filter_map(|route| route.matches.host().map(str::to_owned));
            let hosts: Vec<String> = hosts.collect::<BTreeSet<_>>().into_iter().collect();
            (!hosts.is_empty()).then_some(ClientHosts { certificate, ca, hosts })
        };
        let mut hosts: Vec<_> =
            self.text.blocks.values().filter_map(|block| of_service(&block.service)).collect();
        hosts.sort();
        hosts
    }

    /// The routes that are lines of the head.
    pub(super) fn lines(&self) -> Lines {
        Lines::of(self.text.blocks.values().map(|block| block.service.as_ref()), &self.text.maps)
    }

    /// What raw text adds to the shared frontends, service by service.
    fn raw_routes(&self) -> RawHead {
        let mut routes = RawHead::default();
        for raw in self.text.blocks.values().map(|block| &block.service.backend.extras.raw) {
            routes.http.extend_from_slice(&raw.http);
            routes.https.extend_from_slice(&raw.https);
            routes.app_id.extend_from_slice(&raw.app_id);
        }
        routes
    }

    /// Whether the head has a line that depends on one of these routes, or is one of them.
    pub(super) fn meets_lines(&self, service: &Service) -> bool {
        let guarded = |key: &str| {
            self.guarded.iter().any(|start| key.to_ascii_lowercase().starts_with(&start.to_ascii_lowercase()))
        };
        let meets = |route: &Route| entry_of(&route.matches).is_some_and(|(_, key)| guarded(&key));
        has_line(service) || (!self.guarded.is_empty() && service.routes.iter().any(meets))
    }
}

/// Whether a service has a route that is a line of the head, by a rule or by raw text.
pub(super) fn has_line(service: &Service) -> bool {
    service.backend.extras.raw.is_in_head() || service.routes.iter().any(|route| route.matches.is_line())
}
