//! What HAProxy is to be brought to: services with their places, what is put aside, and the text of all that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::durable::{FileError, replace_file};
use crate::haproxy::CheckFailure;
use crate::haproxy::generations::{Generations, PREFIX_LINES};
use crate::model::{Problem, ProblemKind, RouteMatch, Service, ServiceId};
use crate::placement::Placement;
use crate::render::files::CONFIG;
use crate::render::maps::MapName;
use crate::render::{
    AclRoute, Files, HeadContext, Owners, Rendered, Shape, TemplateError, Templates, map_entries,
    server_lines,
};

use super::good::GoodServices;
use crate::haproxy::service_ports::ServicePorts;

/// The file beside the generations that says who sits where.
pub const PLACEMENT: &str = "placement.json";

/// What HAProxy is to be brought to.
#[derive(Debug)]
pub struct Desired {
    templates: Templates,
    head: HeadContext,
    ports: ServicePorts,
    /// Pages and certificates, by their path in a generation.
    extra: BTreeMap<String, Vec<u8>>,
    placement: Placement,
    /// The services as they should be.
    services: BTreeMap<ServiceId, Arc<Service>>,
    /// The services as they are rendered: those that are put aside as they were good last, or not at all.
    effective: BTreeMap<ServiceId, Arc<Service>>,
    good: GoodServices,
    quarantine: BTreeMap<ServiceId, Quarantine>,
    rendered: Rendered,
    head_stale: bool,
    events: Vec<String>,
}

#[derive(Debug)]
struct Quarantine {
    /// What was refused; another shape is tried at once.
    refused: Arc<Service>,
    since: Instant,
    problem: Problem,
}

impl Desired {
    /// Nothing yet, on the places of `placement`; `good` is what a worker was last proven to run.
    #[must_use]
    pub fn new(
        templates: Templates,
        head: HeadContext,
        ports: ServicePorts,
        extra: BTreeMap<String, Vec<u8>>,
        placement: Placement,
        good: GoodServices,
    ) -> Self {
        Self {
            templates,
            head,
            ports,
            extra,
            placement,
            services: BTreeMap::new(),
            effective: BTreeMap::new(),
            good,
            quarantine: BTreeMap::new(),
            rendered: Rendered::default(),
            head_stale: true,
            events: Vec::new(),
        }
    }

    /// Sets a service, or takes it away.
    pub fn set(&mut self, id: ServiceId, service: Option<Arc<Service>>) {
        let old = match service.clone() {
            Some(service) => self.services.insert(id.clone(), service),
            None => self.services.remove(&id),
        };
        self.events.push(describe(&id, old.as_deref(), service.as_deref()));
        match (self.quarantine.get(&id), &service) {
            (Some(aside), Some(service)) if aside.refused.same_shape(service) => {}
            _ => {
                self.quarantine.remove(&id);
            }
        }
        self.refresh(&id);
    }

    /// The text of everything, and whose each line is.
    ///
    /// # Errors
    /// A template that fails on the head; a service on which one fails is put aside.
    pub fn files(&mut self) -> Result<(Files, Owners), TemplateError> {
        if self.head_stale {
            let acl_routes = self.acl_routes();
            let services: Vec<&Service> = self.effective.values().map(AsRef::as_ref).collect();
            self.rendered.head = self.templates.head(&self.head, &acl_routes, &services)?;
            self.head_stale = false;
        }
        let (config, owners) = self.rendered.text();
        let mut files = self.extra.clone();
        files.insert(CONFIG.to_owned(), config.into_bytes());
        for map in MapName::ALL {
            files.insert(map.file().to_owned(), self.templates.map(&self.rendered.maps, map)?.into_bytes());
        }
        Ok((Files(files), owners))
    }

    /// What is wrong with services that are put aside.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<ServiceId, Problem> {
        self.quarantine.iter().map(|(id, aside)| (id.clone(), aside.problem.clone())).collect()
    }

    /// A worker runs what is desired now: it is what to go back to.
    ///
    /// # Errors
    /// It cannot be written down for the next Causeway.
    pub fn prove(&mut self, generations: &Generations) -> Result<(), FileError> {
        self.good.prove(generations.root(), &self.effective, &self.rendered)
    }

    /// Puts the services aside that HAProxy's words name; false where they name none.
    pub fn quarantine_culprits(&mut self, failure: &CheckFailure, config: &str, owners: &Owners) -> bool {
        let mut culprits: BTreeMap<ServiceId, String> = BTreeMap::new();
        for alert in &failure.alerts {
            let by_line = CheckFailure::lines(alert).into_iter().filter_map(|line| {
                let line = line.checked_sub(PREFIX_LINES)?;
                owners
                    .of_line(config, line)
                    .cloned()
                    .or_else(|| self.owner_of_acl(config.lines().nth(line.checked_sub(1)?)?))
            });
            let named = self
                .effective
                .values()
                .filter(|service| alert.contains(&format!("'{}'", service.backend.name)));
            for id in by_line.chain(named.map(|service| service.id.clone())) {
                culprits.entry(id).or_insert_with(|| alert.clone());
            }
        }
        let mut put_aside = false;
        for (id, words) in culprits {
            put_aside |= self.put_aside(&id, &words);
        }
        put_aside
    }

    /// Puts everything aside that is not as it was good last; false where that is nothing.
    pub fn quarantine_changes(&mut self, words: &str) -> bool {
        let differs = |(id, service): &(&ServiceId, &Arc<Service>)| {
            self.good.get(id).is_none_or(|good| !good.service.same_shape(service))
        };
        let changed: Vec<ServiceId> =
            self.effective.iter().filter(differs).map(|(id, _)| id.clone()).collect();
        if self.good.is_empty() {
            return false;
        }
        let mut put_aside = false;
        for id in changed {
            put_aside |= self.put_aside(&id, words);
        }
        put_aside
    }

    /// Gives services that were put aside longer ago than `after` another chance; true where there are any.
    pub fn release_quarantine(&mut self, after: Duration) -> bool {
        let due: Vec<ServiceId> = self
            .quarantine
            .iter()
            .filter(|(_, aside)| aside.since.elapsed() >= after)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &due {
            self.quarantine.remove(id);
            self.refresh(id);
        }
        !due.is_empty()
    }

    /// Writes who sits where, before anything uses it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save_placement(&self, generations: &Generations) -> Result<(), FileError> {
        let path = generations.root().join(PLACEMENT);
        let json = serde_json::to_vec(&self.placement)
            .map_err(std::io::Error::from)
            .map_err(FileError::of(&path))?;
        replace_file(&path, &json, 0o600)
    }

    /// What changed since the last round that got through, a line each.
    pub fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// Forgets what changed without effect.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    fn put_aside(&mut self, id: &ServiceId, words: &str) -> bool {
        let Some(service) = self.services.get(id).filter(|_| !self.quarantine.contains_key(id)) else {
            return false;
        };
        let stays = if self.good.get(id).is_some() {
            "its last good configuration stays, with today's servers"
        } else {
            "it is left out"
        };
        let problem = Problem::of(
            &id.app,
            ProblemKind::Block,
            format!("HAProxy refuses the configuration of port index {}: {words}", id.port_index),
            format!("{stays}; everything else is served: correct the labels, the rule or the template"),
        );
        tracing::error!("{problem}");
        let aside = Quarantine { refused: Arc::clone(service), since: Instant::now(), problem };
        self.quarantine.insert(id.clone(), aside);
        self.refresh(id);
        true
    }

    /// Renders one service again, as it is or as it was good last.
    fn refresh(&mut self, id: &ServiceId) {
        let (service, good_shape) = match (self.services.get(id), self.quarantine.contains_key(id)) {
            (Some(service), false) => (Some(Arc::clone(service)), None),
            (Some(service), true) => match self.good.get(id) {
                Some(good) => {
                    let service =
                        Service { servers: service.servers.clone(), ..Service::clone(&good.service) };
                    (Some(Arc::new(service)), Some(Arc::clone(&good.shape)))
                }
                None => (None, None),
            },
            (None, _) => (None, None),
        };
        let old = self.effective.remove(id);
        if let Some(old) = &old {
            for (map, key, backend) in map_entries(old, |port| self.ports.contains(port)) {
                self.rendered.maps.remove(map, &key, &backend);
            }
            self.rendered.servers.remove(&old.backend.name);
        }
        let shape_stays = matches!((&old, &service), (Some(old), Some(new)) if old.same_shape(new));
        let shape = self.rendered.shapes.remove(id).filter(|_| shape_stays).or(good_shape);
        let of_head = |service: &Option<Arc<Service>>| service.as_deref().is_some_and(has_acl_route);
        self.head_stale |= !shape_stays && (self.templates.is_whole() || of_head(&old) || of_head(&service));
        match service {
            Some(service) => self.render(id, service, shape),
            None => self.placement.remove(id),
        }
    }

    fn render(&mut self, id: &ServiceId, service: Arc<Service>, shape: Option<Shape>) {
        if !self.templates.is_whole() {
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
        let lines = server_lines(&service, &self.placement);
        self.rendered.servers.insert(service.backend.name.clone(), lines.into());
        for (map, key, backend) in map_entries(&service, |port| self.ports.contains(port)) {
            self.rendered.maps.insert(map, key, backend);
        }
        self.effective.insert(id.clone(), service);
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

    /// The service whose ACL stands on a line of the head.
    fn owner_of_acl(&self, line: &str) -> Option<ServiceId> {
        let names: BTreeSet<&str> = line.split_whitespace().collect();
        let route = self.acl_routes().into_iter().find(|route| names.contains(route.name.as_str()))?;
        self.effective
            .values()
            .find(|service| service.backend.name == route.backend)
            .map(|service| service.id.clone())
    }
}

fn has_acl_route(service: &Service) -> bool {
    service.routes.iter().any(|route| matches!(route.matches, RouteMatch::Acl(_)))
}

/// What happened to a service, in words.
fn describe(id: &ServiceId, old: Option<&Service>, new: Option<&Service>) -> String {
    match (old, new) {
        (None, None) => format!("{id} stays away"),
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
        (Some(_), Some(_)) => format!("{id} changed"),
    }
}
