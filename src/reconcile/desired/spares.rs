//! Spare backends: a new app with ordinary settings is served by one that waits for it, without a reload. The next
//! reload that happens anyway gives it a backend of its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{Desired, has_acl_route};
use crate::config::HaproxyConfig;
use crate::model::{AppId, Backend, Mode, Service, ServiceId};
use crate::placement::Slot;
use crate::render::{Spare, TemplateError, Templates, Text};

/// The settings that a new app is likely to have, each with its share of `haproxy.spare_backends`.
const PROFILES: [(&str, Mode, &str, usize); 4] = [
    ("http_roundrobin", Mode::Http, "roundrobin", 1),
    ("tcp_roundrobin", Mode::Tcp, "roundrobin", 4),
    ("http_leastconn", Mode::Http, "leastconn", 4),
    ("tcp_leastconn", Mode::Tcp, "leastconn", 4),
];
/// Stands for the name of a backend where two texts are compared.
const NOBODY: &str = "nobody";

type Spares = RedBlackTreeMapSync<Arc<str>, Arc<Spare>>;

/// Every spare backend, as a HAProxy has it that has just read its text.
#[derive(Debug, Default)]
pub(super) struct Stock(Spares);

impl Stock {
    /// The spares that the configuration asks for; none where one template makes the whole text.
    pub(super) fn new(templates: &Templates, config: &HaproxyConfig) -> Self {
        let mut stock = Self::default();
        if templates.is_whole() {
            return stock;
        }
        for (kind, mode, balance, share) in PROFILES {
            let service = waiting(mode, balance, config.spare_slots);
            let Ok(profile) = profile(templates, &service) else {
                // The same mistake is told of the services that there are.
                return Self::default();
            };
            for _ in 0..config.spare_backends.div_ceil(share) {
                let letter = if mode == Mode::Http { 'h' } else { 't' };
                // An app's backend ends in `_` and the index of its port: no two are ever alike.
                let name = format!("{letter}_p{}", stock.0.size() + 1);
                let Ok(shape) = templates.service(&service.on_backend(&name), None, true) else { continue };
                let profile = Arc::clone(&profile);
                let spare = Spare { kind, profile, shape, slots: config.spare_slots };
                stock.0.insert_mut(name.into(), Arc::new(spare));
            }
        }
        stock
    }

    pub(super) fn has(&self, backend: &str) -> bool {
        self.0.contains_key(backend)
    }

    /// All of them; `dynamic` without slots, as a worker has them that takes servers while it runs: each of their
    /// algorithms lets it.
    pub(super) fn spares(&self, dynamic: bool) -> Spares {
        if !dynamic {
            return self.0.clone();
        }
        let empty = |spare: &Arc<Spare>| Arc::new(Spare { slots: 0, ..Spare::clone(spare) });
        self.0.iter().map(|(name, spare)| (Arc::clone(name), empty(spare))).collect()
    }

    pub(super) fn as_text(&self, dynamic: bool) -> Text {
        Text { spares: self.spares(dynamic), dynamic, ..Text::default() }
    }
}

/// A service that nobody has yet.
fn waiting(mode: Mode, balance: &str, slots: usize) -> Service {
    Service {
        id: ServiceId { app: AppId::new("/"), port_index: 0 },
        port: None,
        routes: Vec::new(),
        app_id_route: false,
        backend: Backend { name: NOBODY.to_owned(), mode, balance: balance.to_owned(), check: false },
        instances: slots,
        servers: Vec::new(),
    }
}

/// The text that every backend like it has: whatever a template makes of a service, it fits a spare where the text
/// would be the same but for names and comments.
fn profile(templates: &Templates, service: &Service) -> Result<Arc<str>, TemplateError> {
    let text = templates.service(&service.on_backend(NOBODY), None, true)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    Ok(lines.join("\n").into())
}

impl Desired {
    /// The spare that a service has, or can have: where it has a backend of its own that runs, it keeps that.
    pub(super) fn spare_for(&self, service: &Service) -> Result<Option<Arc<str>>, TemplateError> {
        let Some(live) = &self.live else { return Ok(None) };
        if service.backend.check || has_acl_route(service) {
            return Ok(None);
        }
        let has = live.text.blocks.get(&service.id).map(|runs| runs.service.backend.name.as_str());
        if has.is_some_and(|name| !self.stock.has(name)) {
            return Ok(None);
        }
        let profile = profile(&self.templates, service)?;
        let fits = |(name, spare): &(&Arc<str>, &Arc<Spare>)| match has {
            Some(has) => has == &***name && spare.profile == profile,
            None => live.text.spares.contains_key(*name) && spare.profile == profile,
        };
        let candidates = if has.is_some() { &self.stock.0 } else { &self.text.spares };
        Ok(candidates.iter().find(fits).map(|(name, _)| Arc::clone(name)))
    }

    /// Takes a spare out of those that wait, and tells how many slots it has; none where it is no spare.
    pub(super) fn borrow(&mut self, backend: &str) -> usize {
        let waiting = self.text.spares.get(backend).map_or(0, |spare| spare.slots);
        self.text.spares.remove_mut(backend);
        waiting
    }

    /// A spare that was never used waits again.
    pub(super) fn give_back(&mut self, id: &ServiceId, backend: &str) {
        let Some(live) = &self.live else { return };
        if live.text.blocks.contains_key(id) {
            return;
        }
        if let Some((name, spare)) = live.text.spares.get_key_value(backend) {
            self.text.spares.insert_mut(Arc::clone(name), Arc::clone(spare));
        }
    }

    /// A spare whose app is gone, and whose last connection has ended, waits for the next one.
    pub(super) fn reclaim_spares(&mut self, changed: &BTreeSet<ServiceId>) {
        let Some(live) = &mut self.live else { return };
        let mut gone = Vec::new();
        for id in changed.iter().filter(|id| !self.services.contains_key(id)) {
            let Some(runs) = live.text.blocks.get(id) else { continue };
            let is_empty = runs.service.routes.is_empty()
                && runs.service.port.is_none()
                && runs.slots.iter().all(|slot| *slot == Slot::Free);
            let same = self.text.blocks.get(id).is_some_and(|block| block.slots == runs.slots);
            if let Some((name, spare)) = self.stock.0.get_key_value(runs.service.backend.name.as_str())
                && is_empty
                && same
            {
                let slots = if live.text.dynamic { 0 } else { runs.slots.len() };
                let spare = Arc::new(Spare { slots, ..Spare::clone(spare) });
                gone.push((id.clone(), Arc::clone(name), spare));
            }
        }
        for (id, name, spare) in gone {
            for text in [&mut live.text, &mut self.text] {
                text.blocks.remove_mut(&id);
                text.spares.insert_mut(Arc::clone(&name), Arc::clone(&spare));
            }
            self.placement.remove(&id);
            self.good.remove_mut(&id);
            self.dirty.remove(&id);
        }
    }

    /// How many spares wait, and how many are borrowed, by their kind.
    #[must_use]
    pub fn spare_counts(&self) -> BTreeMap<&'static str, SpareCount> {
        let Some(live) = &self.live else { return BTreeMap::new() };
        let mut counts: BTreeMap<&'static str, SpareCount> = BTreeMap::new();
        for (name, spare) in &self.stock.0 {
            let count = counts.entry(spare.kind).or_default();
            if live.text.spares.contains_key(name) {
                count.free += 1;
            } else {
                count.used += 1;
            }
        }
        counts
    }
}

/// How many spares of a kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpareCount {
    /// They wait.
    pub free: usize,
    /// A service has borrowed them.
    pub used: usize,
}
