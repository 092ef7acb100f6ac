//! Groups: read as a tree made of the apps' ids, written in the simple form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::canonical;
use super::core::Core;
use super::profile::Profile;
use super::render::{self, Embed};
use super::state::State;
use super::update::{self, Accepted, Change, Refusal, Terms, object};

/// The root group with its apps but without tasks, as plans carry it.
pub(super) fn root_text(profile: Profile, state: &mut State) -> String {
    text(profile, state, "/", Embed::default()).unwrap_or_else(|| "{}".to_owned())
}

/// A group as JSON text; None when there is none of that id.
pub(super) fn text(profile: Profile, state: &mut State, id: &str, embed: Embed) -> Option<String> {
    let ids: Vec<String> =
        state.apps.iter().filter(|(_, app)| app.defined).map(|(id, _)| id.clone()).collect();
    let mut children: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut apps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut known = state.groups.clone();
    for app in ids {
        let group = update::parent(&app);
        apps.entry(group.clone()).or_default().push(app);
        known.insert(group);
    }
    for group in known {
        let mut child = group;
        while child != "/" {
            let parent = update::parent(&child);
            children.entry(parent.clone()).or_default().insert(child);
            child = parent;
        }
    }
    let exists = id == "/" || children.values().any(|groups| groups.contains(id));
    exists.then(|| node(profile, state, id, embed, &children, &apps))
}

fn node(
    profile: Profile,
    state: &mut State,
    id: &str,
    embed: Embed,
    children: &BTreeMap<String, BTreeSet<String>>,
    apps: &BTreeMap<String, Vec<String>>,
) -> String {
    let mut rendered = Vec::new();
    for app in apps.get(id).into_iter().flatten() {
        if let Some(app) = state.apps.get_mut(app) {
            rendered.push(if embed.tasks {
                String::from_utf8_lossy(&render::app(profile, app, embed)).into_owned()
            } else {
                format!("{}}}", app.definition.text(profile))
            });
        }
    }
    let groups: Vec<String> = children
        .get(id)
        .into_iter()
        .flatten()
        .map(|child| node(profile, state, child, embed, children, apps))
        .collect();
    let pods = if profile.has_instances() { "\"pods\":[]," } else { "" };
    format!(
        "{{\"id\":{},\"apps\":[{}],\"groups\":[{}],{pods}\"dependencies\":[],\"version\":{}}}",
        json!(id),
        rendered.join(","),
        groups.join(","),
        json!(state.version)
    )
}

/// Creates (`create`) or replaces a group: apps under it that are not named are removed.
pub(super) async fn write(
    core: &Arc<Core>,
    id: &str,
    body: Value,
    create: bool,
    force: bool,
) -> Result<Accepted, Refusal> {
    let body = object(body)?;
    let id = absolute(id, body.get("id").and_then(Value::as_str).unwrap_or_default());
    let changes = {
        let mut state = core.state();
        if create && id != "/" && text(core.profile(), &mut state, &id, Embed::default()).is_some() {
            return Err(Refusal::Exists(format!("Group {id}")));
        }
        let mut wanted = Vec::new();
        let mut groups = BTreeSet::from([id.clone()]);
        flatten(&id, &body, &mut wanted, &mut groups);
        let scale = body.get("scaleBy").and_then(Value::as_f64);
        let changes = match scale {
            Some(factor) => scaled(core, &state, &id, factor)?,
            None => replaced(core, &state, &id, wanted)?,
        };
        groups.remove("/");
        state.groups.extend(groups);
        changes
    };
    update::apply(core, changes, Terms { force, group: id, kill: Vec::new() }).await
}

/// Removes a group with all that is in it.
pub(super) async fn remove(core: &Arc<Core>, id: &str, force: bool) -> Result<Accepted, Refusal> {
    let changes: Vec<Change> = {
        let mut state = core.state();
        if text(core.profile(), &mut state, id, Embed::default()).is_none() {
            return Err(Refusal::NotFound(format!("Group '{id}'")));
        }
        state.groups.retain(|group| group != id && !under(id, group));
        let apps = state.apps.iter().filter(|(app, entry)| entry.defined && under(id, app));
        apps.map(|(app, _)| Change::Remove(app.clone())).collect()
    };
    update::apply(core, changes, Terms { force, group: id.to_owned(), kill: Vec::new() }).await
}

/// Whether an app or group lies somewhere in a group.
pub(super) fn under(group: &str, id: &str) -> bool {
    group == "/" || id.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'))
}

fn absolute(group: &str, id: &str) -> String {
    let joined = if id.starts_with('/') { id.to_owned() } else { format!("{group}/{id}") };
    let segments: Vec<&str> = joined.split('/').filter(|segment| !segment.is_empty()).collect();
    format!("/{}", segments.join("/"))
}

fn flatten(
    group: &str,
    body: &Map<String, Value>,
    apps: &mut Vec<Map<String, Value>>,
    groups: &mut BTreeSet<String>,
) {
    let entries = |key: &str| body.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for app in entries("apps") {
        if let Value::Object(mut app) = app {
            let id = absolute(group, app.get("id").and_then(Value::as_str).unwrap_or_default());
            app.insert("id".to_owned(), json!(id));
            apps.push(app);
        }
    }
    for child in entries("groups") {
        if let Value::Object(child) = child {
            let id = absolute(group, child.get("id").and_then(Value::as_str).unwrap_or_default());
            groups.insert(id.clone());
            flatten(&id, &child, apps, groups);
        }
    }
}

fn replaced(
    core: &Core,
    state: &State,
    id: &str,
    wanted: Vec<Map<String, Value>>,
) -> Result<Vec<Change>, Refusal> {
    let mut changes = Vec::new();
    let mut kept = BTreeSet::new();
    for app in wanted {
        let draft = canonical::draft(core.profile(), app, None, None)?;
        kept.insert(draft.id.clone());
        changes.push(Change::Define(draft));
    }
    let gone =
        state.apps.iter().filter(|(app, entry)| entry.defined && under(id, app) && !kept.contains(*app));
    changes.extend(gone.map(|(app, _)| Change::Remove(app.clone())));
    Ok(changes)
}

fn scaled(core: &Core, state: &State, id: &str, factor: f64) -> Result<Vec<Change>, Refusal> {
    let mut changes = Vec::new();
    for (app, entry) in state.apps.iter().filter(|(app, entry)| entry.defined && under(id, app)) {
        let instances = (entry.definition.instances as f64 * factor).ceil() as u64;
        let posted = object(json!({"instances": instances}))?;
        let base = (&entry.definition.body, entry.definition.ip_address.as_ref());
        changes.push(Change::Define(canonical::draft(core.profile(), posted, Some(app), Some(base))?));
    }
    Ok(changes)
}
