//! Spare backends: a new app with ordinary settings is served by one that waits for it, without a reload. The next
//! reload that happens anyway gives it a backend of its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::Desired;
use super::head::has_line;
use crate::config::{Checks, Config};
use crate::model::{AppId, Backend, Marks, Mode, Service, ServiceId, Watch};
use crate::placement::Slot;
use crate::render::{Spare, TemplateError, Templates, Text};

/// Stands for the name of a backend where two texts are compared.
const NOBODY: &str = "nobody";
/// What Marathon does where a health check says nothing else (its API, `healthChecks`), in seconds.
const MARATHONS_CHECK: (u32, u32, u32) = (60, 20, 4);

type Spares = RedBlackTreeMapSync<Arc<str>, Arc<Spare>>;

/// Every spare backend, as a HAProxy has it that has just read its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock(Spares);

/// What the configuration says of spares.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpareTerms {
    checks: Checks,
    backends: usize,
    slots: usize,
}

impl From<&Config> for SpareTerms {
    fn from(config: &Config) -> Self {
        let haproxy = &config.haproxy;
        Self { checks: config.labels.checks, backends: haproxy.spare_backends, slots: haproxy.spare_slots }
    }
}

impl Stock {
    /// The spares that the configuration asks for; none where one template makes the whole text.
    pub(super) fn new(templates: &Templates, terms: SpareTerms) -> Self {
        let mut stock = Self::default();
        if templates.is_whole() {
            return stock;
        }
        for (kind, backend, share) in profiles(terms.checks) {
            let letter = if backend.mode == Mode::Http { 'h' } else { 't' };
            let service = waiting(backend, terms.slots);
            let Ok(profile) = profile(templates, &service) else {
                // The same mistake is told of the services that there are.
                return Self::default();
            };
            for _ in 0..terms.backends.div_ceil(share) {
                // An app's backend ends in `_` and the index of its port: no two are ever alike.
                let name = format!("{letter}_p{}", stock.0.size() + 1);
                let Ok(shape) = templates.service(&service.on_backend(&name), None, true) else { continue };
                let (profile, words) = (Arc::clone(&profile), service.backend.server_words().into());
                let spare = Spare { kind, profile, shape, words, slots: terms.slots };
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

/// The settings that a new app is likely to have, each with its share of `haproxy.spare_backends`.
fn profiles(checks: Checks) -> Vec<(&'static str, Backend, usize)> {
    let plain = |mode, balance: &str| Backend::new(NOBODY, mode, balance);
    let mut sticky = plain(Mode::Http, "roundrobin");
    sticky.extras.sticky = true;
    let mut profiles = vec![
        ("http_roundrobin", plain(Mode::Http, "roundrobin"), 1),
        ("tcp_roundrobin", plain(Mode::Tcp, "roundrobin"), 4),
        ("http_leastconn", plain(Mode::Http, "leastconn"), 4),
        ("tcp_leastconn", plain(Mode::Tcp, "leastconn"), 4),
        ("http_sticky", sticky, 4),
    ];
    if checks != Checks::Marathon {
        let (interval, timeout, fall) = MARATHONS_CHECK;
        let mut checked = plain(Mode::Http, "roundrobin");
        checked.check = true;
        checked.watch = Watch { path: Some("/".to_owned()), interval, timeout, fall, ..Watch::default() };
        profiles.push(("http_checked", checked, 1));
    }
    profiles
}

/// A service that nobody has yet.
fn waiting(backend: Backend, slots: usize) -> Service {
    Service {
        id: ServiceId { app: AppId::new("/"), port_index: 0 },
        port: None,
        routes: Vec::new(),
        app_id_route: false,
        marks: Marks::default(),
        bind: None,
        certificate: None,
        client_ca: None,
        backend,
        config: BTreeMap::new(),
        instances: slots,
        servers: Vec::new(),
    }
}

/// The text that every backend like it has: whatever a template makes of a service, it fits a spare where the text
/// would be the same but for names and comments.
fn profile(templates: &Templates, service: &Service) -> Result<Arc<str>, TemplateError> {
    let text = templates.service(&service.on_backend(NOBODY), None, true)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    Ok(format!("{}\n{}", lines.join("\n"), service.backend.server_words()).into())
}

impl Desired {
    /// The spare that a service has, or can have: where it has a backend of its own that runs, it keeps that.
    pub(super) fn spare_for(&self, service: &Service) -> Result<Option<Arc<str>>, TemplateError> {
        let Some(live) = &self.live else { return Ok(None) };
        if has_line(service) || !service.backend.extras.raw.is_empty() {
            return Ok(None);
        }
        let has = live.text.blocks.get(&service.id).map(|runs| runs.service.backend.name.as_str());
        if has.is_some_and(|name| !self.stock.has(name)) {
            return Ok(None);
        }
        // Better than a spare is a backend of its own name.
        let own = || self.templates.service(service, None, false);
        if has.is_none() && live.defaults_of(service, &own()?).is_some() {
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
