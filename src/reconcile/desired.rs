//! What HAProxy is to be brought to: services with their places, what is put aside, and the text of all that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::haproxy::service_ports::ServicePorts;
use crate::model::{RouteMatch, Service, ServiceId, TaskId};
use crate::placement::{Placement, Slot};
use crate::render::files::CONFIG;
use crate::render::maps::MapName;
use crate::render::{
    AclRoute, Files, HeadContext, MapEntry, Owners, Rendered, Shape, TemplateError, Templates, map_entries,
    server_lines,
};

use super::good::GoodServices;
use super::journal::Journal;
use super::live::{Live, Wanted};

mod blame;
mod running;

use blame::Quarantine;

/// What HAProxy is to be brought to.
#[derive(Debug)]
pub struct Desired {
    templates: Templates,
    head: HeadContext,
    ports: ServicePorts,
    /// Pages and certificates, by their path in a generation.
    extra: BTreeMap<String, Vec<u8>>,
    placement: Placement,
    journal: Journal,
    /// What runs; `None` where that is not known, or not ours to change while it runs.
    live: Option<Live>,
    /// Services that may differ from what runs.
    dirty: BTreeSet<ServiceId>,
    /// Slots that somebody leaves, by service, and since when.
    leaving: BTreeMap<(ServiceId, usize), Instant>,
    /// The services as they should be.
    services: BTreeMap<ServiceId, Arc<Service>>,
    /// The services as they are rendered: those that are put aside as they were good last, or not at all.
    effective: BTreeMap<ServiceId, Arc<Service>>,
    good: GoodServices,
    quarantine: BTreeMap<ServiceId, Quarantine>,
    rendered: Rendered,
    head_stale: bool,
    /// The services that changed since the last round that got through, as they were before.
    before: BTreeMap<ServiceId, Option<Arc<Service>>>,
}

/// A text that HAProxy is asked to read, with everything that is true once it has.
#[derive(Debug)]
pub struct Candidate {
    /// Every file.
    pub files: Files,
    /// Whose each line of the configuration is.
    pub owners: Owners,
    rendered: Rendered,
    placement: Placement,
    services: BTreeMap<ServiceId, Arc<Service>>,
}

impl Desired {
    /// Nothing yet, on the places and with the good texts that an earlier Causeway left in `state_dir`.
    #[must_use]
    pub fn new(
        templates: Templates,
        head: HeadContext,
        ports: ServicePorts,
        extra: BTreeMap<String, Vec<u8>>,
        state_dir: &Path,
    ) -> Self {
        let journal = Journal::new(state_dir);
        Self {
            templates,
            head,
            ports,
            extra,
            placement: journal.load(),
            journal,
            live: None,
            dirty: BTreeSet::new(),
            leaving: BTreeMap::new(),
            services: BTreeMap::new(),
            effective: BTreeMap::new(),
            good: GoodServices::load(state_dir),
            quarantine: BTreeMap::new(),
            rendered: Rendered::default(),
            head_stale: true,
            before: BTreeMap::new(),
        }
    }

    /// The tasks that got requests when the earlier Causeway wrote them down.
    #[must_use]
    pub fn served_before(&self) -> HashSet<TaskId> {
        self.placement.serving().cloned().collect()
    }

    /// Other service ports are bound ahead: some were taken while HAProxy was down.
    pub fn set_ports(&mut self, ports: ServicePorts) {
        if ports == self.ports {
            return;
        }
        if !self.head.service_port_binds.is_empty() {
            self.head.service_port_binds = ports.binds();
        }
        self.ports = ports;
        self.head_stale = true;
        let ids: Vec<ServiceId> = self.services.keys().cloned().collect();
        for id in ids {
            self.rendered.shapes.remove(&id);
            self.refresh(&id);
        }
    }

    /// Sets a service, or takes it away.
    pub fn set(&mut self, id: ServiceId, service: Option<Arc<Service>>) {
        let old = match service.clone() {
            Some(service) => self.services.insert(id.clone(), service),
            None => self.services.remove(&id),
        };
        self.before.entry(id.clone()).or_insert(old);
        match (self.quarantine.get(&id), &service) {
            (Some(aside), Some(service)) if aside.refused.same_shape(service) => {}
            _ => {
                self.quarantine.remove(&id);
            }
        }
        self.refresh(&id);
        // What they fall back to may belong to this one now.
        let aside: Vec<ServiceId> = self
            .quarantine
            .iter()
            .filter(|(other, aside)| **other != id && !aside.left_out)
            .map(|(id, _)| id.clone())
            .collect();
        for other in aside {
            self.refresh(&other);
        }
    }

    /// The text for a HAProxy that reads it anew: without what is only kept until then, with the room that each service
    /// should have.
    ///
    /// # Errors
    /// A template that fails on the head; a service on which one fails is put aside.
    pub fn candidate(&mut self) -> Result<Candidate, TemplateError> {
        self.render_head()?;
        let mut candidate = Candidate {
            rendered: self.rendered.clone(),
            placement: self.placement.clone(),
            services: self.effective.clone(),
            files: Files::default(),
            owners: Owners::default(),
        };
        for id in self.effective.keys().filter(|id| !self.is_wanted(id)) {
            if let Some(retired) = candidate.services.remove(id) {
                candidate.rendered.servers.remove(&retired.backend.name);
            }
            candidate.rendered.shapes.remove(id);
            candidate.placement.remove(id);
        }
        for (id, service) in &candidate.services {
            candidate.placement.make_room(id, service.instances);
            let slots = candidate.placement.slots(id);
            if slots != self.placement.slots(id) {
                let lines = server_lines(slots, service.backend.check);
                candidate.rendered.servers.insert(service.backend.name.clone(), lines.into());
            }
        }
        (candidate.files, candidate.owners) = self.files_of(&candidate.rendered)?;
        Ok(candidate)
    }

    fn files_of(&self, rendered: &Rendered) -> Result<(Files, Owners), TemplateError> {
        let (config, owners) = rendered.text();
        let mut files = self.extra.clone();
        files.insert(CONFIG.to_owned(), config.into_bytes());
        for map in MapName::ALL {
            files.insert(map.file().to_owned(), self.templates.map(&rendered.maps, map)?.into_bytes());
        }
        Ok((Files(files), owners))
    }

    /// Renders the head again, if something in it changed.
    ///
    /// # Errors
    /// A template that fails.
    pub fn render_head(&mut self) -> Result<(), TemplateError> {
        if self.head_stale {
            let acl_routes = self.acl_routes();
            let services: Vec<&Service> = self.effective.values().map(AsRef::as_ref).collect();
            self.rendered.head = self.templates.head(&self.head, &acl_routes, &services)?;
            self.head_stale = false;
        }
        Ok(())
    }

    /// Whether a service is there by right: one that is not is only kept, empty, until HAProxy reads its text anew.
    fn is_wanted(&self, id: &ServiceId) -> bool {
        self.services.contains_key(id) && self.quarantine.get(id).is_none_or(|aside| !aside.left_out)
    }

    /// An adopted HAProxy may serve apps that are gone: each that was not told of goes out, and so do the places of
    /// those that went while nobody looked.
    pub fn retire_unwanted(&mut self, told: &BTreeSet<ServiceId>) {
        let gone: Vec<ServiceId> = self.services.keys().filter(|id| !told.contains(id)).cloned().collect();
        for id in gone {
            self.set(id, None);
        }
        self.placement.retain(|id| self.effective.contains_key(id));
    }

    /// What changed since the last round that got through, a line a service.
    pub fn take_events(&mut self) -> Vec<String> {
        let before = std::mem::take(&mut self.before);
        before
            .iter()
            .filter_map(|(id, old)| describe(id, old.as_deref(), self.services.get(id).map(AsRef::as_ref)))
            .collect()
    }

    /// Forgets what changed without effect.
    pub fn forget_events(&mut self) {
        self.before.clear();
    }

    /// Renders one service again, as it is or as it was good last.
    fn refresh(&mut self, id: &ServiceId) {
        let (service, good_shape) = match (self.services.get(id), self.quarantine.get(id)) {
            (Some(service), None) => (Some(Arc::clone(service)), None),
            (Some(service), Some(aside)) if !aside.left_out => match self.good.get(id) {
                Some(good) => {
                    let service = self.as_good(service, &good.service);
                    // Its text may bind a port that is somebody else's by now.
                    let same_port = service.port == good.service.port;
                    (Some(Arc::new(service)), same_port.then(|| Arc::clone(&good.shape)))
                }
                None => (None, None),
            },
            _ => (None, None),
        };
        let old = self.effective.remove(id);
        if let Some(old) = &old {
            for (map, key, backend) in self.entries(old) {
                self.rendered.maps.remove(map, &key, &backend);
            }
            self.rendered.servers.remove(&old.backend.name);
        }
        // What runs stays, empty, until HAProxy reads its text anew: its connections end, and no reload is needed.
        let service = service.or_else(|| {
            let old = old
                .as_deref()
                .filter(|_| self.live.as_ref().is_some_and(|live| live.services.contains_key(id)))?;
            let (routes, servers) = (Vec::new(), Vec::new());
            Some(Arc::new(Service { routes, servers, port: None, app_id_route: false, ..old.clone() }))
        });
        self.dirty.insert(id.clone());
        let shape_stays = matches!((&old, &service), (Some(old), Some(new)) if old.same_shape(new));
        let rendered = self.rendered.shapes.remove(id).filter(|_| shape_stays);
        let shape = good_shape.or(rendered);
        let of_head = |service: &Option<Arc<Service>>| service.as_deref().is_some_and(has_acl_route);
        self.head_stale |= !shape_stays && (self.templates.is_whole() || of_head(&old) || of_head(&service));
        match service {
            Some(service) => self.render(id, service, shape),
            None => self.placement.remove(id),
        }
    }

    fn render(&mut self, id: &ServiceId, service: Arc<Service>, shape: Option<Shape>) {
        if self.templates.is_whole() {
            self.rendered.shapes.insert(id.clone(), Shape::default());
        } else {
            let own_bind =
                service.port.filter(|port| !self.ports.contains(*port)).map(|port| self.ports.bind(port));
            let shape = match shape {
                Some(shape) => Ok(shape),
                None => self.templates.service(&service, own_bind.as_deref()),
            };
            match shape {
                Ok(shape) => {
                    self.rendered.shapes.insert(id.clone(), shape);
                }
                Err(error) => {
                    self.put_aside(id, &error.to_string());
                    return;
                }
            }
        }
        self.placement.place(&service);
        for (map, key, backend) in self.entries(&service) {
            self.rendered.maps.insert(map, key, backend);
        }
        self.effective.insert(id.clone(), service);
        self.redraw(id);
    }

    /// Draws the server lines of a service again, and keeps an eye on who leaves.
    pub(super) fn redraw(&mut self, id: &ServiceId) {
        let Some(service) = self.effective.get(id) else { return };
        let slots = self.placement.slots(id);
        for (index, slot) in slots.iter().enumerate() {
            let key = (id.clone(), index);
            if matches!(slot, Slot::Draining(_) | Slot::Closing(_)) {
                self.leaving.entry(key).or_insert_with(Instant::now);
            } else {
                self.leaving.remove(&key);
            }
        }
        let lines = server_lines(slots, service.backend.check);
        self.rendered.servers.insert(service.backend.name.clone(), lines.into());
        self.dirty.insert(id.clone());
    }

    fn entries(&self, service: &Service) -> Vec<MapEntry> {
        map_entries(service, |port| self.ports.contains(port))
    }

    fn wanted(&self, id: &ServiceId) -> Option<Wanted<'_>> {
        let service = self.effective.get(id)?;
        let shape = self.rendered.shapes.get(id)?;
        Some(Wanted { service, shape, slots: self.placement.slots(id), entries: self.entries(service) })
    }

    fn acl_routes(&self) -> Vec<AclRoute> {
        let mut routes = Vec::new();
        for service in self.effective.values() {
            let acls = service.routes.iter().filter_map(|route| match &route.matches {
                RouteMatch::Acl(text) => Some(text),
                RouteMatch::HostPath { .. } => None,
            });
            for (index, acl) in acls.enumerate() {
                routes.push(AclRoute {
                    app: service.id.app.to_string(),
                    name: format!("rule_{}_{index}", service.backend.name),
                    backend: service.backend.name.clone(),
                    acl: acl.clone(),
                });
            }
        }
        routes
    }
}

fn has_acl_route(service: &Service) -> bool {
    service.routes.iter().any(|route| matches!(route.matches, RouteMatch::Acl(_)))
}

/// What happened to a service, in words; nothing where it did not change to the eye.
fn describe(id: &ServiceId, old: Option<&Service>, new: Option<&Service>) -> Option<String> {
    Some(match (old, new) {
        (None, None) => return None,
        (None, Some(new)) => format!("{id} is new with {} server(s)", new.servers.len()),
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
