//! What HAProxy is to be brought to: services with their places, what is put aside, and the text of all that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use crate::config::Config;
use crate::haproxy::Certificates;
use crate::haproxy::runtime::Features;
use crate::haproxy::service_ports::ServicePorts;
use crate::model::{Service, ServiceId, TaskId};
use crate::placement::{Placement, Slot, room, with_room, without_room};
use crate::render::files::TextFiles;
use crate::render::{
    Block, Files, HeadContext, MapEntry, Shape, TemplateError, Templates, Text, map_entries,
};

use super::good::{self, Blocks};
use super::journal::Journal;
use super::live::{Live, Wanted};
use super::rollback::RolledBack;

mod blame;
mod certificates;
mod earlier;
mod happened;
mod head;
mod orders;
mod raw;
mod running;
mod spares;
mod texts;

pub use blame::PutAside;
pub use happened::Happened;
pub(super) use running::Names;
use spares::{SpareTerms, Stock};
pub use texts::Lacking;

/// What HAProxy is to be brought to. What a copy comes to is never written down.
#[derive(Clone, Debug)]
pub struct Desired {
    templates: Arc<Templates>,
    /// Those of the configuration, while somebody went back to others.
    templates_of_today: Arc<Templates>,
    rolled_back: Option<Arc<RolledBack>>,
    head: HeadContext,
    ports: ServicePorts,
    pages: BTreeMap<String, Bytes>,
    certificates: Certificates,
    /// Pages and certificates, by their path in a generation.
    extra: Arc<BTreeMap<String, Bytes>>,
    /// Those that the worker has loaded.
    loaded_extra: Arc<BTreeMap<String, Bytes>>,
    /// The spare backends that a HAProxy gets when it reads its text anew.
    stock: Stock,
    spare_terms: SpareTerms,
    placement: Placement,
    journal: Journal,
    /// What runs; `None` where that is not known, or not ours to change while it runs.
    live: Option<Live>,
    /// What a HAProxy that is not ours to change while it runs was proven to have loaded last.
    loaded: Option<Text>,
    /// What the worker can do that serves, or served last.
    features: Features,
    /// Services that may differ from what runs.
    dirty: BTreeSet<ServiceId>,
    /// Slots that somebody leaves, by service, and since when.
    leaving: BTreeMap<(ServiceId, usize), Instant>,
    /// The last of them that HAProxy was asked for, where there are more.
    looked_at: Option<(ServiceId, usize)>,
    /// Slots on whose server somebody set something by hand.
    by_hand: BTreeSet<(ServiceId, usize)>,
    /// The services as they should be.
    services: BTreeMap<ServiceId, Arc<Service>>,
    /// What they are rendered to: those that are put aside as they were good last, or not at all.
    text: Text,
    /// What runs, or ran last.
    good: Blocks,
    quarantine: PutAside,
    /// Who was put aside and is tried again, and since when something is wrong with it.
    tried_again: Option<(ServiceId, SystemTime)>,
    head_stale: bool,
    /// What the keys begin with of map entries on which a line of the head depends.
    guarded: BTreeSet<String>,
    /// Criteria in words that HAProxy does not take, and what it says.
    refused_texts: BTreeMap<String, String>,
    lacking: Lacking,
    /// The services that changed since the last round that got through, as they were before.
    before: BTreeMap<ServiceId, Option<Arc<Service>>>,
}

/// A text that HAProxy is asked to read, with everything that is true once it has.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The text.
    pub text: Text,
    placement: Placement,
}

impl Desired {
    /// Nothing yet, on the places and with the good texts that an earlier Causeway left in the state directory.
    #[must_use]
    pub fn new(
        templates: Templates,
        head: HeadContext,
        ports: ServicePorts,
        (pages, certificates): (BTreeMap<String, Bytes>, Certificates),
        config: &Config,
    ) -> Self {
        let journal = Journal::new(&config.haproxy.state_dir);
        let templates_of_today = Arc::new(templates);
        let rolled_back = RolledBack::load(&config.haproxy.state_dir).map(Arc::new);
        let templates = Arc::clone(rolled_back.as_ref().map_or(&templates_of_today, |to| &to.templates));
        let spare_terms = SpareTerms::from(config);
        let mut desired = Self {
            stock: Stock::new(&templates, spare_terms),
            spare_terms,
            templates,
            templates_of_today,
            rolled_back,
            head,
            ports,
            pages,
            certificates,
            extra: Arc::default(),
            loaded_extra: Arc::default(),
            loaded: None,
            placement: journal.load(),
            journal,
            live: None,
            features: Features::default(),
            dirty: BTreeSet::new(),
            leaving: BTreeMap::new(),
            looked_at: None,
            by_hand: BTreeSet::new(),
            services: BTreeMap::new(),
            text: Text::default(),
            good: good::load(&config.haproxy.state_dir),
            quarantine: PutAside::default(),
            tried_again: None,
            head_stale: true,
            guarded: BTreeSet::new(),
            refused_texts: BTreeMap::new(),
            lacking: Lacking::default(),
            before: BTreeMap::new(),
        };
        desired.gather_extra();
        desired
    }

    /// The tasks that got requests when the earlier Causeway wrote them down.
    #[must_use]
    pub fn served_before(&self) -> HashSet<TaskId> {
        self.placement.serving().cloned().collect()
    }

    /// The services as they were good last, with the routes and ports they had.
    pub fn good_services(&self) -> impl Iterator<Item = &Service> {
        self.good.values().map(|block| block.service.as_ref())
    }

    /// Other service ports are bound ahead: some were taken while HAProxy was down.
    pub fn set_ports(&mut self, ports: ServicePorts) {
        if ports == self.ports {
            return;
        }
        if !self.head.service_port_binds.is_empty() {
            self.head.service_port_binds = ports.binds();
        }
        // With the entries of the ports that were.
        let ids: Vec<ServiceId> = self.text.blocks.keys().cloned().collect();
        for id in &ids {
            self.take_out(id);
        }
        self.ports = ports;
        self.head_stale = true;
        for id in ids {
            self.refresh(&id);
        }
    }

    /// Sets a service, or takes it away.
    pub fn set(&mut self, id: ServiceId, service: Option<Arc<Service>>) {
        let old = match service {
            Some(service) => self.services.insert(id.clone(), service),
            None => self.services.remove(&id),
        };
        let new = self.services.get(&id);
        let came_or_went = old.is_some() != new.is_some();
        let same = matches!((&old, new), (Some(old), Some(new)) if old.same_shape(new));
        self.before.entry(id.clone()).or_insert(old);
        match (self.quarantine.get(&id), self.definition(&id)) {
            (Some(aside), Some(service)) if aside.refused.same_shape(&service) => {}
            _ => {
                self.quarantine.remove_mut(&id);
            }
        }
        self.refresh(&id);
        if came_or_went {
            self.refresh_later(&id);
        }
        if same {
            return;
        }
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

    /// The text for a HAProxy that reads it anew: without what is only kept until then, each service on a backend of its
    /// own name with the room that it should have, and with all the spares again. It is made for what the worker can do
    /// that serves now: without room where that takes servers while it runs.
    ///
    /// # Errors
    /// A template that fails on the head; a service on which one fails is put aside.
    pub fn candidate(&mut self) -> Result<Candidate, TemplateError> {
        self.name_certificates();
        self.render_head()?;
        let (mut text, mut placement) = (self.text.clone(), self.placement.clone());
        text.dynamic = self.features.dynamic_servers() && self.templates.let_add_servers();
        for (id, block) in &self.text.blocks {
            if !self.is_wanted(id) {
                text.blocks.remove_mut(id);
                placement.remove(id);
                continue;
            }
            let slots = match text.is_dynamic(&block.service.backend) {
                true => without_room(&block.slots),
                false => with_room(&block.slots, block.service.instances),
            };
            let borrowed = self.stock.has(&block.service.backend.name);
            if !borrowed && Arc::ptr_eq(&slots, &block.slots) {
                continue;
            }
            let (mut service, mut shape) = (Arc::clone(&block.service), Arc::clone(&block.shape));
            if borrowed {
                let own = crate::services::backend_name(id, service.backend.mode);
                service = Arc::new(service.on_backend(&own));
                shape = self.templates.service(&service, None, false)?;
                for (map, key, value) in self.entries(&block.service) {
                    text.maps.remove(map, &key, &value);
                }
                for (map, key, backend) in self.entries(&service) {
                    text.maps.insert(map, key, backend);
                }
            }
            placement.restore(id.clone(), Arc::clone(&slots));
            text.blocks.insert_mut(id.clone(), Arc::new(Block { service, shape, slots }));
        }
        text.spares = self.stock.spares(text.dynamic);
        Ok(Candidate { text, placement })
    }

    /// The files of a text.
    #[must_use]
    pub fn files<'a>(&'a self, text: &'a Text) -> TextFiles<'a> {
        TextFiles { text, templates: &self.templates, extra: &self.extra }
    }

    /// The files of a candidate, whole.
    ///
    /// # Errors
    /// A template that fails.
    pub fn whole_files(&self, candidate: &Candidate) -> std::io::Result<Files> {
        Files::of(&self.files(&candidate.text))
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
        self.placement.retain(|id| self.text.blocks.contains_key(id));
    }

    /// Renders one service again, as it is or as it was good last.
    fn refresh(&mut self, id: &ServiceId) {
        let (service, good_shape) = match (self.definition(id), self.quarantine.get(id)) {
            (Some(service), None) => (Some(service), None),
            (Some(service), Some(aside)) if !aside.left_out => match self.good.get(id) {
                Some(good) => {
                    let service = self.as_good(&service, &good.service);
                    // Its text may bind a port that is somebody else's by now.
                    let same_port = service.port == good.service.port;
                    (Some(Arc::new(service)), same_port.then(|| Arc::clone(&good.shape)))
                }
                None => (None, None),
            },
            _ => (None, None),
        };
        let service = match service {
            Some(service) => Some(self.without_refused(service)),
            None => {
                self.lacking.remove_mut(id);
                None
            }
        };
        let old = self.take_out(id);
        // What runs stays, empty, until HAProxy reads its text anew: its connections end, and no reload is needed.
        let kept = || {
            let runs = self.live.as_ref()?.text.blocks.get(id)?;
            let shape = self.own_bind(&runs.service).is_none().then(|| Arc::clone(&runs.shape));
            Some((Arc::new(runs.service.emptied()), shape))
        };
        let (service, good_shape) = match service {
            Some(service) => (Some(service), good_shape),
            None => kept().map_or((None, None), |(service, shape)| (Some(service), shape)),
        };
        self.dirty.insert(id.clone());
        let of_head = |service: Option<&Service>| {
            service.is_some_and(|each| {
                self.meets_lines(each) || each.bind.is_some() || each.certificate.is_some()
            })
        };
        let (was, is) = (old.as_ref().map(|old| old.service.as_ref()), service.as_deref());
        let same = matches!((was, is), (Some(was), Some(is)) if was.same_shape(is));
        self.head_stale |= !same && (self.templates.is_whole() || of_head(was) || of_head(is));
        match service {
            Some(service) => self.render(id, service, good_shape, old.as_deref()),
            None => self.placement.remove(id),
        }
    }

    /// Takes a service out of the text.
    fn take_out(&mut self, id: &ServiceId) -> Option<Arc<Block>> {
        let old = self.text.blocks.get(id).cloned()?;
        self.text.blocks.remove_mut(id);
        for (map, key, backend) in self.entries(&old.service) {
            self.text.maps.remove(map, &key, &backend);
        }
        self.give_back(id, &old.service.backend.name);
        Some(old)
    }

    fn render(&mut self, id: &ServiceId, service: Arc<Service>, shape: Option<Shape>, old: Option<&Block>) {
        let (service, shape) = match shape {
            Some(shape) => (service, shape),
            None => match self.draw(service, old) {
                Ok(drawn) => drawn,
                Err(error) => {
                    self.put_aside(id, &error.to_string());
                    return;
                }
            },
        };
        let mut least = self.borrow(&service.backend.name);
        if self.live.is_none() && self.placement.slots(id).is_empty() {
            // It is read anew in any case: the room that it gets then is made once.
            least = least.max(room(service.instances.max(service.servers.len())));
        }
        let runs = self.live.as_ref().and_then(|live| live.text.blocks.get(id));
        let running = runs.map(|runs| runs.slots.as_slice()).unwrap_or_default();
        let slots = self.placement.place(&service, least, running);
        for (map, key, backend) in self.entries(&service) {
            self.text.maps.insert(map, key, backend);
        }
        self.text.blocks.insert_mut(id.clone(), Arc::new(Block { service, shape, slots }));
        self.watch_leaving(id);
    }

    /// The text of a service, on its own backend or on a spare that is like it.
    fn draw(
        &self,
        service: Arc<Service>,
        old: Option<&Block>,
    ) -> Result<(Arc<Service>, Shape), TemplateError> {
        if let Some(old) = old.filter(|old| old.service.same_shape(&service)) {
            return Ok((service, Arc::clone(&old.shape)));
        }
        self.templates.prove_guards(&self.head, &service)?;
        if self.templates.is_whole() {
            return Ok((service, Shape::default()));
        }
        let own_bind = self.own_bind(&service);
        if own_bind.is_none()
            && let Some(name) = self.spare_for(&service)?
        {
            let service = Arc::new(service.on_backend(&name));
            if let Some(old) = old.filter(|old| old.service.same_shape(&service)) {
                return Ok((service, Arc::clone(&old.shape)));
            }
            let shape = self.templates.service(&service, None, false)?;
            return Ok((service, shape));
        }
        let shape = self.templates.service(&service, own_bind.as_deref(), false)?;
        Ok((service, shape))
    }

    /// The address of a frontend of its own, where the port of a service is not bound ahead, or asks for more.
    fn own_bind(&self, service: &Service) -> Option<String> {
        let port = service.port?;
        match &service.bind {
            Some(bind) => Some(self.ports.bind_at(bind.address.as_deref(), port)),
            None => (!self.ports.contains(port)).then(|| self.ports.bind(port)),
        }
    }

    /// The addresses to bind ahead: without the ports that have frontends of their own.
    fn binds_ahead(&self) -> Vec<String> {
        let own = |service: &Service| service.port.filter(|_| service.bind.is_some());
        self.ports.binds_without(&self.text.blocks.values().filter_map(|block| own(&block.service)).collect())
    }

    /// Takes over the slots of a service, and keeps an eye on who leaves.
    fn reseat(&mut self, id: &ServiceId) {
        let Some(block) = self.text.blocks.get(id) else { return };
        let block = Block { slots: self.placement.slots(id), ..Block::clone(block) };
        self.text.blocks.insert_mut(id.clone(), Arc::new(block));
        self.watch_leaving(id);
    }

    fn watch_leaving(&mut self, id: &ServiceId) {
        for (index, slot) in self.placement.slots(id).iter().enumerate() {
            let key = (id.clone(), index);
            if matches!(slot, Slot::Draining(_) | Slot::Closing(_)) {
                self.leaving.entry(key).or_insert_with(Instant::now);
            } else {
                self.leaving.remove(&key);
            }
            let key = (id.clone(), index);
            if matches!(slot, Slot::Serving(occupant) if occupant.by_hand.is_some()) {
                self.by_hand.insert(key);
            } else {
                self.by_hand.remove(&key);
            }
        }
        self.dirty.insert(id.clone());
    }

    /// The text as it should be.
    pub(crate) fn text(&self) -> &Text {
        &self.text
    }

    /// The map entries that a service should have.
    pub(crate) fn entries_of(&self, id: &ServiceId) -> Vec<MapEntry> {
        self.text.service(id).map(|service| self.entries(service)).unwrap_or_default()
    }

    fn entries(&self, service: &Service) -> Vec<MapEntry> {
        map_entries(service, |port| self.ports.contains(port))
    }

    fn wanted(&self, id: &ServiceId) -> Option<Wanted<'_>> {
        let block = self.text.blocks.get(id)?;
        Some(Wanted { block, entries: self.entries(&block.service) })
    }
}
