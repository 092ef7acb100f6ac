//! The one owner of what the sources said: folds their events, keeps the last good copy, knows what changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::config::SafetyConfig;
use crate::model::{App, AppId, Problem, ProblemKind, Service, ServiceId, TaskId};
use crate::services::claims::Claims;
use crate::services::deployment::{self, Group, Roles};
use crate::services::{self, AppServices, Terms};
use crate::sources::SourceEvent;
use crate::view::{self, Apps, Calendar, Noted, Settled, View, Wanted};

/// Services that changed: the new one, or `None` where it is gone.
pub type Changes = BTreeMap<ServiceId, Option<Arc<Service>>>;

/// Everything that the sources said, folded.
#[derive(Clone, Debug)]
pub struct State {
    /// What there is to know for who asks.
    view: View,
    safety: SafetyConfig,
    incoming: Option<Apps>,
    claims: Claims,
    /// The deployment groups, and which app is in which.
    groups: BTreeMap<Group, Versions>,
    group_of: BTreeMap<AppId, Group>,
    wanted: BTreeMap<AppId, Arc<Wanted>>,
    held: Option<Held>,
    /// Tasks that HAProxy served when Causeway last ran: what the first list is judged against.
    served_before: HashSet<TaskId>,
    new_problems: Vec<Problem>,
    apps_read: bool,
    rules_read: bool,
    calendar: Calendar,
    /// When the event came that is folded now.
    now: Instant,
}

/// The versions of one service.
#[derive(Clone, Debug, Default)]
struct Versions {
    members: BTreeSet<AppId>,
    roles: Option<Roles>,
}

/// A full read that is not believed yet.
#[derive(Clone, Debug)]
struct Held {
    since: Instant,
    apps: Apps,
    loss: Loss,
}

/// What a full read would take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Servers that would go.
    pub lost: usize,
    /// Servers that there are.
    pub total: usize,
    apps: BTreeSet<AppId>,
}

impl State {
    /// A state that knows nothing yet. `terms` are what the configuration says of services, `reserved` are ports that no service may have, with the reason.
    #[must_use]
    pub fn new(
        terms: impl Into<Terms>,
        safety: &SafetyConfig,
        reserved: BTreeMap<u16, String>,
        served_before: HashSet<TaskId>,
    ) -> Self {
        let terms: Terms = terms.into();
        let claims = Claims::new(reserved, terms.labels.order);
        Self {
            view: View { terms: Arc::new(terms), ..View::default() },
            safety: safety.clone(),
            incoming: None,
            claims,
            groups: BTreeMap::new(),
            group_of: BTreeMap::new(),
            wanted: BTreeMap::new(),
            held: None,
            served_before,
            new_problems: Vec::new(),
            apps_read: false,
            rules_read: false,
            calendar: Calendar::default(),
            now: Instant::now(),
        }
    }

    /// Templates of the operator's are left out, for as long as this Causeway runs.
    pub fn tell_of_templates(&mut self, problems: Vec<Problem>) {
        self.view.template_problems = self.note(problems, &[]).into();
    }

    /// A service had its routes and its port when Causeway last ran: it keeps them against whoever wants them too.
    pub fn remember(&mut self, service: &Service) {
        self.claims.remember(service);
    }

    /// Whether every required source has told all it knows once; nothing is rendered before.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.apps_read && self.rules_read
    }

    /// Whether the apps have been told whole once.
    #[must_use]
    pub fn has_apps(&self) -> bool {
        self.apps_read
    }

    /// Whether the rules have been told once.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.rules_read
    }

    /// What is known now, for who asks; the clone of it costs nothing.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The loss for which a full read is held, and since when.
    #[must_use]
    pub fn held(&self) -> Option<(&Loss, Instant)> {
        self.held.as_ref().map(|held| (&held.loss, held.since))
    }

    /// Everything that is wrong with any app, in order.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.view.problems().map(|noted| noted.problem.clone()).collect();
        problems.sort();
        problems
    }

    /// Problems that came since the last call, for the log.
    pub fn take_new_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.new_problems)
    }

    /// Folds one event. Nothing comes out before every required source is ready.
    pub fn fold(&mut self, event: SourceEvent, now: Instant) -> Changes {
        self.now = now;
        let changes = self.folded(event, now);
        let since =
            |held: &Held| Noted { problem: held_problem(&held.loss), since: self.calendar.at(held.since) };
        self.view.held = self.held.as_ref().map(since).map(Arc::new);
        self.view.ready = self.is_ready();
        changes
    }

    fn folded(&mut self, event: SourceEvent, now: Instant) -> Changes {
        match event {
            SourceEvent::Init => self.incoming = Some(Apps::default()),
            SourceEvent::Upsert(app) => match &mut self.incoming {
                Some(incoming) => incoming.insert_mut(app.id.clone(), app),
                None => return self.upsert(app),
            },
            SourceEvent::Remove(id) => match &mut self.incoming {
                Some(incoming) => {
                    incoming.remove_mut(&id);
                }
                None => return self.remove(&id),
            },
            SourceEvent::Problems(id, problems) => {
                let old = self.view.source_problems.get(&id).cloned().unwrap_or_default();
                let problems = self.note(problems, &old);
                if problems.is_empty() {
                    self.view.source_problems.remove_mut(&id);
                } else {
                    self.view.source_problems.insert_mut(id, problems.into());
                }
            }
            SourceEvent::InitDone => {
                if let Some(incoming) = self.incoming.take() {
                    return self.judge(incoming, now);
                }
            }
            SourceEvent::Rules(rules, problems) => return self.replace_rules(rules, problems),
        }
        Changes::new()
    }

    /// A person says that the held read is true.
    pub fn believe_held(&mut self) -> Changes {
        self.view.held = None;
        let changes = match self.held.take() {
            Some(held) => self.swap(held.apps),
            None => Changes::new(),
        };
        self.view.ready = self.is_ready();
        changes
    }

    fn upsert(&mut self, app: Arc<App>) -> Changes {
        let id = app.id.clone();
        if let Some(held) = &mut self.held {
            held.apps.insert_mut(id.clone(), Arc::clone(&app));
        }
        self.view.apps.insert_mut(id.clone(), app);
        self.rebuild([id])
    }

    fn remove(&mut self, id: &AppId) -> Changes {
        if let Some(held) = &mut self.held {
            held.apps.remove_mut(id);
        }
        self.view.apps.remove_mut(id);
        self.view.source_problems.remove_mut(id);
        self.rebuild([id.clone()])
    }

    /// A full read is believed unless it takes away too much at once; then it has to hold up for a time.
    fn judge(&mut self, incoming: Apps, now: Instant) -> Changes {
        let loss = self.loss(&incoming);
        let too_much = loss.lost > self.safety.hold_servers
            && loss.lost as f64 > self.safety.hold_share * loss.total as f64
            || (incoming.is_empty() && loss.total > 0);
        let since = self.held.as_ref().map_or(now, |held| held.since);
        if !too_much || now.duration_since(since) >= self.safety.hold_time {
            if too_much {
                tracing::warn!(
                    servers.lost = loss.lost,
                    servers.total = loss.total,
                    "the loss held up for {:?} and is applied",
                    self.safety.hold_time
                );
            }
            self.held = None;
            return self.swap(incoming);
        }
        if self.held.is_none() {
            tracing::error!(servers.lost = loss.lost, servers.total = loss.total, "{}", held_problem(&loss));
        }
        let watched = loss.apps.clone();
        self.held = Some(Held { since, apps: incoming, loss });
        self.rebuild(watched)
    }

    fn loss(&self, incoming: &Apps) -> Loss {
        let serving = |apps: &Apps| -> HashSet<TaskId> {
            apps.values().flat_map(|app| app.serving()).map(|task| task.id.clone()).collect()
        };
        let after = serving(incoming);
        if !self.apps_read {
            let lost = self.served_before.difference(&after).count();
            return Loss { lost, total: self.served_before.len(), apps: BTreeSet::new() };
        }
        let mut loss = Loss { lost: 0, total: 0, apps: BTreeSet::new() };
        for app in self.view.apps.values() {
            for task in app.serving() {
                loss.total += 1;
                if !after.contains(&task.id) {
                    loss.lost += 1;
                    loss.apps.insert(app.id.clone());
                }
            }
        }
        loss
    }

    fn swap(&mut self, incoming: Apps) -> Changes {
        let old = std::mem::replace(&mut self.view.apps, incoming);
        let gone = |id: &&AppId| !self.view.apps.contains_key(*id) && old.contains_key(*id);
        for id in self.view.source_problems.keys().filter(gone).cloned().collect::<Vec<_>>() {
            self.view.source_problems.remove_mut(&id);
        }
        if !self.apps_read {
            self.apps_read = true;
            return self.rebuild_all();
        }
        let same = |id: &AppId| match (old.get(id), self.view.apps.get(id)) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            _ => false,
        };
        let watched = self
            .view
            .settled
            .iter()
            .filter(|(_, settled)| settled.services.iter().any(|each| each.backend.check));
        let changed: BTreeSet<AppId> = old
            .keys()
            .chain(self.view.apps.keys())
            .filter(|id| !same(id))
            .chain(watched.map(|(id, _)| id))
            .cloned()
            .collect();
        self.rebuild(changed)
    }

    fn rebuild_all(&mut self) -> Changes {
        let of_apps = self.view.rules.iter().filter(|(_, rule)| rule.group().is_none()).map(|(id, _)| id);
        let all: BTreeSet<AppId> = self.view.apps.keys().chain(of_apps).cloned().collect();
        self.rebuild(all)
    }

    fn rebuild(&mut self, ids: impl IntoIterator<Item = AppId>) -> Changes {
        if !self.is_ready() {
            return Changes::new();
        }
        let mut unsettled = BTreeSet::new();
        for id in self.regroup(ids) {
            let wanted = self.build(&id);
            unsettled.extend(self.claims.replace(&id, &wanted.services));
            if self.view.apps.contains_key(&id) {
                let AppServices { services, problems } = wanted;
                // Collected, the list would keep the room that the services themselves took.
                let mut shared = Vec::with_capacity(services.len());
                shared.extend(services.into_iter().map(Arc::new));
                self.wanted.insert(id.clone(), Arc::new(Wanted { services: shared, problems }));
            } else {
                self.wanted.remove(&id);
            }
            unsettled.insert(id);
        }
        let mut changes = Changes::new();
        for id in unsettled {
            self.settle(&id, &mut changes);
        }
        changes
    }

    /// These apps and all that are versions of the same service as one of them, before or now.
    fn regroup(&mut self, ids: impl IntoIterator<Item = AppId>) -> BTreeSet<AppId> {
        let ids: BTreeSet<AppId> = ids.into_iter().collect();
        let mut changed = BTreeSet::new();
        for id in &ids {
            let group = self.view.apps.get(id).and_then(|app| deployment::group_of(app));
            let old = match &group {
                Some(group) => self.group_of.insert(id.clone(), group.clone()),
                None => self.group_of.remove(id),
            };
            if let Some(old) = old.filter(|old| Some(old) != group.as_ref()) {
                self.groups.entry(old.clone()).or_default().members.remove(id);
                changed.insert(old);
            }
            if let Some(group) = group {
                self.groups.entry(group.clone()).or_default().members.insert(id.clone());
                changed.insert(group);
            }
        }
        let mut all = ids;
        for name in changed {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let members: Vec<&App> =
                group.members.iter().filter_map(|id| self.view.apps.get(id)).map(Arc::as_ref).collect();
            let roles = deployment::roles(&members);
            if let (Some(old), Some(new)) = (&group.roles, &roles)
                && old.base != new.base
            {
                self.claims.hand_over(&old.base, &new.base);
            }
            all.extend(group.members.iter().cloned());
            group.roles = roles;
            if group.members.is_empty() {
                self.groups.remove(&name);
            }
        }
        all
    }

    /// The services of one app; of a group the oldest version has those of all.
    fn build(&self, id: &AppId) -> AppServices {
        let of = |id: &AppId| {
            let watched = self.held.as_ref().is_some_and(|held| held.loss.apps.contains(id));
            match self.view.apps.get(id) {
                Some(app) => {
                    let mut found = services::of(app, self.view.rules.get(id), &self.view.terms, watched);
                    if !self.view.rules.is_empty() {
                        services::configure(&mut found, id, self.config_of(id));
                    }
                    found
                }
                None => AppServices::default(),
            }
        };
        let mut wanted = of(id);
        let group = self.group_of.get(id).and_then(|group| self.groups.get(group));
        let Some(Versions { members, roles: Some(roles) }) = group.filter(|group| group.members.len() > 1)
        else {
            return wanted;
        };
        if roles.base == *id {
            let others: Vec<AppServices> = members.iter().filter(|other| *other != id).map(of).collect();
            deployment::join(&mut wanted, &others, roles);
        } else {
            wanted.services.clear();
        }
        wanted
    }

    fn settle(&mut self, id: &AppId, changes: &mut Changes) {
        let wanted = self.wanted.get(id).cloned();
        let (mut services, mut problems) = (Vec::new(), Vec::new());
        if let Some(wanted) = &wanted {
            problems.clone_from(&wanted.problems);
            services.reserve_exact(wanted.services.len());
            for service in &wanted.services {
                let (won, lost) = self.claims.settle(service);
                // Most lose nothing.
                services.push(if won == **service { Arc::clone(service) } else { Arc::new(won) });
                problems.extend(lost);
            }
        }
        let is_app = self.view.apps.contains_key(id);
        if !is_app && self.view.rules.contains_key(id) {
            problems.push(Problem::of(
                id,
                ProblemKind::Rule,
                "there is a rule for it, but no such app",
                "the rule leads nowhere until an app with this id is deployed; check the id for a typing error",
            ));
        }
        let old = self.view.settled.get(id).cloned().unwrap_or_default();
        let problems = self.note(problems, &old.problems).into();
        for service in &old.services {
            changes.insert(service.id.clone(), None);
        }
        for service in &mut services {
            match old.services.iter().find(|old| old.id == service.id) {
                Some(same) if *same == *service => {
                    *service = Arc::clone(same);
                    changes.remove(&service.id);
                }
                _ => {
                    changes.insert(service.id.clone(), Some(Arc::clone(service)));
                }
            }
        }
        let settled = Settled { wanted, services, problems };
        if is_app || !settled.problems.is_empty() {
            self.view.settled.insert_mut(id.clone(), Arc::new(settled));
        } else {
            self.view.settled.remove_mut(id);
        }
    }

    /// Notes what is wrong now, and keeps what is new for the log.
    fn note(&mut self, problems: Vec<Problem>, before: &[Noted]) -> Vec<Noted> {
        let is_new = |problem: &&Problem| !before.iter().any(|old| old.problem == **problem);
        self.new_problems.extend(problems.iter().filter(is_new).cloned());
        view::note(problems, before, self.calendar.at(self.now))
    }
}

fn held_problem(loss: &Loss) -> Problem {
    Problem {
        app: None,
        kind: ProblemKind::Held,
        message: format!("a full read would take away {} of {} servers at once, and is held", loss.lost, loss.total),
        advice: "the servers stay, watched by HAProxy's own checks; the source is asked again until the loss holds up \
                 (safety.hold_time), or send SIGUSR1 to Causeway to apply it now"
            .to_owned(),
    }
}

mod rules;
#[cfg(test)]
mod tests;
