//! What HAProxy is to be brought to: services with their places, what is put aside, and the text of all that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::durable::FileError;
use crate::haproxy::generations::PREFIX_LINES;
use crate::haproxy::runtime::Epoch;
use crate::haproxy::servers::{Admin, ServerState, Use};
use crate::haproxy::service_ports::ServicePorts;
use crate::haproxy::{CheckFailure, Generation, Generations, HaproxyError};
use crate::model::{Problem, ProblemKind, Route, RouteMatch, Service, ServiceId, TaskId};
use crate::placement::{Placement, Slot};
use crate::plan::{Reason, Step};
use crate::render::files::CONFIG;
use crate::render::maps::{MapName, Maps};
use crate::render::{
    AclRoute, FREE_ENDPOINT, Files, HeadContext, MapEntry, Owners, Rendered, Shape, TemplateError, Templates,
    map_entries, server_lines,
};

use super::RoundError;
use super::good::GoodServices;
use super::journal::Journal;
use super::live::{Live, Wanted};

/// What a line about a change can tell, at most.
const EVENTS: usize = 1000;

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
    events: Vec<String>,
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

#[derive(Debug)]
struct Quarantine {
    /// What was refused; another shape is tried at once.
    refused: Arc<Service>,
    since: Instant,
    /// Its last good text is refused too, or there is none.
    left_out: bool,
    problem: Problem,
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
            events: Vec::new(),
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
        self.note_event(|| describe(&id, old.as_deref(), service.as_deref()));
        match (self.quarantine.get(&id), &service) {
            (Some(aside), Some(service)) if aside.refused.same_shape(service) => {}
            _ => {
                self.quarantine.remove(&id);
            }
        }
        self.refresh(&id);
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

    fn render_head(&mut self) -> Result<(), TemplateError> {
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

    /// What is wrong with services that are put aside.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<ServiceId, Problem> {
        self.quarantine.iter().map(|(id, aside)| (id.clone(), aside.problem.clone())).collect()
    }

    /// A worker was proven to run a candidate: it is what runs, and what to go back to. `epoch` is `None` where HAProxy
    /// is not ours to change while it runs.
    pub fn prove(&mut self, candidate: Candidate, epoch: Option<Epoch>) {
        self.rendered = candidate.rendered;
        self.placement = candidate.placement;
        self.effective = candidate.services;
        self.leaving.clear();
        self.dirty.clear();
        let entries = |service: &Service| self.entries(service);
        self.live = epoch
            .map(|epoch| Live::snapshot(epoch, &self.rendered, &self.effective, &self.placement, entries));
    }

    /// Takes over an adopted HAProxy, if what the last Causeway wrote down is what it has loaded.
    pub fn adopt(&mut self, epoch: Epoch, loaded: &Files) -> bool {
        if self.templates.is_whole() {
            return false;
        }
        let entries = |service: &Service| self.entries(service);
        self.live = Live::restore(epoch, &self.good, &self.placement, loaded, entries);
        let Some(live) = &self.live else { return false };
        for good in self.good.iter() {
            let service = &good.service;
            self.rendered.shapes.insert(service.id.clone(), Arc::clone(&good.shape));
            self.effective.insert(service.id.clone(), Arc::clone(service));
            let lines = server_lines(self.placement.slots(&service.id), service.backend.check);
            self.rendered.servers.insert(service.backend.name.clone(), lines.into());
        }
        self.rendered.maps = live.maps.clone();
        true
    }

    /// What runs is not known any more.
    pub fn forget_live(&mut self) {
        self.live = None;
    }

    /// The worker that is changed while it runs.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.live.as_ref().map(|live| live.epoch)
    }

    /// The same text runs in another worker.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        if let Some(live) = &mut self.live {
            live.epoch = epoch;
        }
    }

    /// An adopted HAProxy may serve apps that are gone: each that nobody wants any more goes out, and so do the places of
    /// those that went while nobody looked.
    pub fn retire_unwanted(&mut self) {
        self.placement.retain(|id| self.effective.contains_key(id));
        let unwanted: Vec<ServiceId> =
            self.effective.keys().filter(|id| !self.is_wanted(id)).cloned().collect();
        for id in unwanted {
            self.refresh(&id);
        }
    }

    /// What has to be done: steps for the running worker, in their order, and reasons for a reload.
    ///
    /// # Errors
    /// A template that fails on the head.
    pub fn work(&mut self) -> Result<(Vec<Step>, BTreeSet<Reason>), TemplateError> {
        self.render_head()?;
        let (mut steps, mut reasons) = (Vec::new(), BTreeSet::new());
        let Some(live) = &self.live else {
            reasons.insert(Reason::Start);
            return Ok((steps, reasons));
        };
        if live.head != self.rendered.head {
            reasons.insert(Reason::Head);
        }
        for id in &self.dirty {
            live.compare(id, self.wanted(id).as_ref(), &mut steps, &mut reasons);
        }
        steps.sort();
        Ok((steps, reasons))
    }

    /// Notes who sits where in every service that is about to change.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_placement(&mut self) -> Result<(), FileError> {
        for id in &self.dirty {
            self.journal.note(id, self.placement.slots(id))?;
        }
        Ok(())
    }

    /// The steps were carried out. Services that wait for a reload stay dirty.
    pub fn settle(&mut self, steps: &[Step]) {
        let Some(mut live) = self.live.take() else { return };
        for step in steps {
            live.settle_route(step);
        }
        let dirty = std::mem::take(&mut self.dirty);
        for id in dirty {
            let wanted = self.wanted(&id);
            live.settle(&id, wanted.as_ref());
            let (mut steps, mut reasons) = (Vec::new(), BTreeSet::new());
            live.compare(&id, wanted.as_ref(), &mut steps, &mut reasons);
            if !reasons.is_empty() {
                self.dirty.insert(id);
            }
        }
        self.live = Some(live);
    }

    /// The server states that the running worker should report.
    #[must_use]
    pub fn expected_states(
        &self,
        backends: Option<&BTreeSet<String>>,
    ) -> BTreeMap<(String, String), ServerState> {
        let mut expected = BTreeMap::new();
        for live in self.live.iter().flat_map(|live| live.services.values()) {
            if backends.is_some_and(|backends| !backends.contains(&live.backend)) {
                continue;
            }
            for (slot, number) in live.slots.iter().zip(1..) {
                let admin = match slot {
                    Slot::Serving(_) => Admin::Ready,
                    Slot::Draining(_) => Admin::Drain,
                    Slot::Closing(_) | Slot::Free => Admin::Maint,
                };
                let endpoint = slot.occupant().map_or(FREE_ENDPOINT, |occupant| occupant.endpoint);
                let state = ServerState { endpoint: Some(endpoint), admin };
                expected.insert((live.backend.clone(), format!("slot{number}")), state);
            }
        }
        expected
    }

    /// The entries that the maps of the running worker should hold.
    #[must_use]
    pub fn expected_maps(&self) -> Option<&Maps> {
        self.live.as_ref().map(|live| &live.maps)
    }

    /// The backends in which somebody leaves a slot.
    #[must_use]
    pub fn leaving_backends(&self) -> BTreeSet<String> {
        let backend = |id: &ServiceId| self.effective.get(id).map(|service| service.backend.name.clone());
        self.leaving.keys().filter_map(|(id, _)| backend(id)).collect()
    }

    /// Moves on who leaves: no session left, or too long gone, is maintenance; nothing left at all is a free slot.
    /// True where somebody moved on.
    pub fn advance(&mut self, usage: &BTreeMap<(String, String), Use>, drain_timeout: Duration) -> bool {
        let mut moved = BTreeSet::new();
        for ((id, index), since) in &self.leaving {
            let Some(service) = self.effective.get(id) else { continue };
            let Some(used) = usage.get(&(service.backend.name.clone(), format!("slot{}", index + 1))) else {
                continue;
            };
            let next = match &self.placement.slots(id).get(*index) {
                Some(Slot::Draining(occupant)) if used.sessions == 0 || since.elapsed() >= drain_timeout => {
                    Slot::Closing(occupant.clone())
                }
                Some(Slot::Closing(_)) if used.sessions == 0 && used.connections == 0 => Slot::Free,
                _ => continue,
            };
            moved.insert((id.clone(), *index, matches!(next, Slot::Free)));
            self.placement.set(id, *index, next);
        }
        for (id, index, free) in &moved {
            if *free {
                self.leaving.remove(&(id.clone(), *index));
            }
            self.redraw(id);
        }
        !moved.is_empty()
    }

    /// Writes the text of what runs into the files of the generation that runs, and everything that the next Causeway
    /// needs to go on with it.
    ///
    /// # Errors
    /// A template that fails, or a file that cannot be written.
    pub fn persist(&mut self, generation: &Generation, generations: &Generations) -> Result<(), RoundError> {
        let Some(live) = &self.live else { return Ok(()) };
        let (files, _) = self.files_of(&live.rendered())?;
        generations.update(generation, &files)?;
        self.persist_places(generations)?;
        Ok(())
    }

    /// Writes down who sits where, and what is good.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn persist_places(&mut self, generations: &Generations) -> Result<(), FileError> {
        let (rendered, live) = (&self.rendered, &self.live);
        let runs = |id: &ServiceId| {
            let shape = rendered.shapes.get(id)?;
            let same = |live: &Live| live.services.get(id).is_some_and(|service| service.shape == *shape);
            live.as_ref().is_none_or(same).then(|| Arc::clone(shape))
        };
        self.good.prove(generations.root(), &self.effective, runs)?;
        self.journal.write(&self.placement)
    }

    /// Puts aside whoever is to blame for a text that HAProxy did not take: the services that its words name; where they
    /// name none and only starting failed, everything that is not as it was good last. False where nobody is to blame.
    pub fn blame(&mut self, error: &HaproxyError, candidate: &Candidate) -> bool {
        let (alerts, started) = match error {
            HaproxyError::Check(failure) => (&failure.alerts, false),
            HaproxyError::Start { failure, .. } | HaproxyError::Reload { failure, .. } => {
                (&failure.alerts, true)
            }
            _ => return false,
        };
        let mut put_aside = false;
        for (id, words) in self.culprits(alerts, candidate) {
            put_aside |= self.put_aside(&id, &words);
        }
        if put_aside || !started {
            return put_aside;
        }
        let differs = |(id, service): &(&ServiceId, &Arc<Service>)| {
            self.good.get(id).is_none_or(|good| !good.service.same_shape(service))
        };
        let changed: Vec<ServiceId> =
            self.effective.iter().filter(differs).map(|(id, _)| id.clone()).collect();
        if changed.len() == self.effective.len() {
            // To leave everybody out would help nobody.
            return false;
        }
        for id in changed {
            put_aside |= self.put_aside(&id, &error.to_string());
        }
        put_aside
    }

    fn culprits(&self, alerts: &[String], candidate: &Candidate) -> BTreeMap<ServiceId, String> {
        let (config, owners) = (candidate.files.config(), &candidate.owners);
        let mut culprits = BTreeMap::new();
        for alert in alerts {
            let by_line = CheckFailure::lines(alert).into_iter().filter_map(|line| {
                let line = line.checked_sub(PREFIX_LINES)?;
                let owner = owners.of_line(config, line).cloned();
                owner.or_else(|| self.owner_of_acl(config.lines().nth(line.checked_sub(1)?)?))
            });
            let names = |service: &&Arc<Service>| {
                let name = &service.backend.name;
                [format!("'{name}'"), format!(" {name}_in:"), format!(" {name}:")]
                    .iter()
                    .any(|form| alert.contains(form))
            };
            let named = self.effective.values().filter(names).map(|service| service.id.clone());
            for id in by_line.chain(named) {
                culprits.entry(id).or_insert_with(|| alert.clone());
            }
        }
        culprits
    }

    /// Gives a service that was put aside longer ago than `after` another chance, one at a time, so that nobody is put
    /// aside again for another's sake. True where there was one.
    pub fn release_quarantine(&mut self, after: Duration) -> bool {
        let due = self.quarantine.iter().filter(|(_, aside)| aside.since.elapsed() >= after);
        let Some(id) = due.min_by_key(|(_, aside)| aside.since).map(|(id, _)| id.clone()) else {
            return false;
        };
        self.quarantine.remove(&id);
        self.rendered.shapes.remove(&id);
        self.refresh(&id);
        true
    }

    /// What changed since the last round that got through, a line each.
    pub fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    fn note_event(&mut self, describe: impl FnOnce() -> String) {
        // While rounds fail they pile up; the line says how many there are more.
        if self.events.len() < EVENTS {
            self.events.push(describe());
        }
    }

    /// Forgets what changed without effect.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Puts a service aside: onto its last good text, or out where it has none, or where that is refused too.
    fn put_aside(&mut self, id: &ServiceId, words: &str) -> bool {
        let Some(service) = self.services.get(id) else { return false };
        let again = self.quarantine.get(id);
        if again.is_some_and(|aside| aside.left_out) {
            return false;
        }
        let same_as_good = self.good.get(id).is_none_or(|good| {
            good.service.same_shape(service) && self.rendered.shapes.get(id) == Some(&good.shape)
        });
        let left_out = again.is_some() || same_as_good;
        let stays = if left_out {
            "it is left out"
        } else {
            "its last good configuration stays, with today's servers"
        };
        let problem = Problem::of(
            &id.app,
            ProblemKind::Block,
            format!("HAProxy refuses the configuration of port index {}: {words}", id.port_index),
            format!("{stays}; everything else is served: correct the labels, the rule or the template"),
        );
        tracing::error!("{problem}");
        let aside = Quarantine { refused: Arc::clone(service), since: Instant::now(), left_out, problem };
        self.quarantine.insert(id.clone(), aside);
        self.rendered.shapes.remove(id);
        self.refresh(id);
        true
    }

    /// Renders one service again, as it is or as it was good last.
    fn refresh(&mut self, id: &ServiceId) {
        let (service, good_shape) = match (self.services.get(id), self.quarantine.get(id)) {
            (Some(service), None) => (Some(Arc::clone(service)), None),
            (Some(service), Some(aside)) if !aside.left_out => match self.good.get(id) {
                Some(good) => {
                    (Some(Arc::new(self.as_good(service, &good.service))), Some(Arc::clone(&good.shape)))
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

    /// A service as it was good last, with today's servers, and without what belongs to somebody else by now.
    fn as_good(&self, service: &Service, good: &Service) -> Service {
        let others = || self.services.values().filter(|other| other.id != service.id);
        let taken_route = |route: &Route| {
            others().any(|other| other.routes.iter().any(|held| held.matches == route.matches))
        };
        let routes = good.routes.iter().filter(|route| !taken_route(route)).cloned().collect();
        let port = good.port.filter(|port| !others().any(|other| other.port == Some(*port)));
        Service {
            servers: service.servers.clone(),
            instances: service.instances,
            routes,
            port,
            ..good.clone()
        }
    }

    /// Draws the server lines of a service again, and keeps an eye on who leaves.
    fn redraw(&mut self, id: &ServiceId) {
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
