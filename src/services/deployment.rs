//! Two versions of one service side by side, as marathon-lb's deployment tool has them: one service with the tasks of both,
//! of which so many old ones are drained as there are new ones to take over.

use std::collections::BTreeSet;

use crate::model::{App, AppId, Service, TaskId};

use super::AppServices;
use super::labels::AppLabels;

/// Which group: the parents of its apps, and the name on their labels.
pub type Group = (String, String);

/// The deployment group of an app, if it is in one.
#[must_use]
pub fn group_of(app: &App) -> Option<Group> {
    let name = app.labels.get("HAPROXY_DEPLOYMENT_GROUP")?.trim();
    let (parent, _) = app.id.as_str().rsplit_once('/')?;
    let others = app.labels.get("HAPROXY_DEPLOYMENT_PARENTS").map_or("", AsRef::as_ref);
    let others = others.split(',').map(|group| group.trim().trim_end_matches('/'));
    // Nobody joins a group that does not name his parent too.
    let parents: BTreeSet<&str> = others.filter(|group| !group.is_empty()).chain([parent]).collect();
    let parents = parents.into_iter().collect::<Vec<_>>().join(",");
    (!name.is_empty()).then(|| (parents, name.to_owned()))
}

/// Who is who in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The oldest: its definition counts, and its service has the tasks of all.
    pub base: AppId,
    /// Tasks that are to go.
    pub draining: BTreeSet<TaskId>,
}

/// The roles in a group: the one that was started later is the newer, by marathon-lb's rules, and without a date the oldest.
#[must_use]
pub fn roles(members: &[&App]) -> Option<Roles> {
    let mut by_age: Vec<(AppLabels, &App)> =
        members.iter().map(|app| (AppLabels::parse(app, None, &mut Vec::new()), *app)).collect();
    by_age.sort_by(|(one, a), (other, b)| (&one.started_at, &a.id).cmp(&(&other.started_at, &b.id)));
    // Where two versions stay side by side, the one that was scaled later is the newer.
    let stays = by_age.last().is_some_and(|(labels, _)| labels.new_instances.is_some_and(|count| count > 0));
    if stays
        && let [(_, old), (_, new)] = by_age.as_slice()
        && old.scaled_at > new.scaled_at
    {
        by_age.reverse();
    }
    let (_, base) = by_age.first()?;
    let (labels, newest) = by_age.last()?;
    let mut draining = BTreeSet::new();
    if by_age.len() > 1 {
        let fresh = newest.serving().count();
        let target = labels.new_instances.and(labels.target_instances).unwrap_or(1);
        let spare = (fresh + base.instances).saturating_sub(target);
        // The first by their ids, so that every node drains the same ones.
        draining.extend(base.tasks.keys().take(fresh.min(spare)).cloned());
    }
    Some(Roles { base: base.id.clone(), draining })
}

/// Gives the services of the base the tasks of the others, port by port.
pub(crate) fn join(base: &mut AppServices, others: &[AppServices], roles: &Roles) {
    for service in &mut base.services {
        service.servers.retain(|server| !roles.draining.contains(&server.task));
        let same_port = |other: &&Service| other.id.port_index == service.id.port_index;
        let partners: Vec<&Service> =
            others.iter().flat_map(|other| other.services.iter().find(same_port)).collect();
        for partner in partners {
            service.instances += partner.instances;
            service.servers.extend(partner.servers.iter().cloned());
        }
        service.servers.sort_by(|one, other| one.task.cmp(&other.task));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Health, Task, TaskState, Timestamp};

    fn app(id: &str, tasks: usize, labels: &[(&str, &str)]) -> App {
        let task = |n: usize| {
            let id = TaskId::new(&format!("{id}.{n}"));
            let task = Task {
                id: id.clone(),
                host: "10.0.0.1".into(),
                state: TaskState::Running,
                version: Timestamp::default(),
                health: Health::Unknown,
                ready: true,
                endpoints: Vec::new(),
            };
            (id, task)
        };
        App {
            id: AppId::new(id),
            instances: tasks,
            scaled_at: None,
            labels: labels
                .iter()
                .map(|(name, value)| (format!("HAPROXY_DEPLOYMENT_{name}").into(), (*value).into()))
                .collect(),
            env: BTreeMap::new(),
            ports: Vec::new(),
            health_checks: Vec::new(),
            tasks: (0..tasks).map(task).collect(),
        }
    }

    #[test]
    fn so_many_old_tasks_are_drained_as_new_ones_can_take_over() {
        for (old, new, target, drained) in
            [(4, 0, "4", 0), (4, 2, "4", 2), (4, 4, "4", 4), (4, 2, "8", 0), (4, 6, "8", 2), (2, 5, "5", 2)]
        {
            let green = app("/s/green", old, &[("GROUP", "s")]);
            let blue = app(
                "/s/blue",
                new,
                &[
                    ("GROUP", "s"),
                    ("STARTED_AT", "2024-01-02T03:04:05"),
                    ("NEW_INSTANCES", "0"),
                    ("TARGET_INSTANCES", target),
                ],
            );
            let roles = roles(&[&blue, &green]).unwrap();
            assert_eq!(
                (roles.base.as_str(), roles.draining.len()),
                ("/s/green", drained),
                "{old} {new} {target}"
            );
        }
    }

    #[test]
    fn only_apps_of_one_parent_are_a_group() {
        let group = |id| group_of(&app(id, 0, &[("GROUP", "s")]));
        assert_eq!(group("/team/a-blue"), group("/team/a-green"));
        assert_ne!(group("/team/a-blue"), group("/other/a-green"));
        assert_eq!(group_of(&app("/a", 0, &[])), None);
        let across = |id, parents| group_of(&app(id, 0, &[("GROUP", "s"), ("PARENTS", parents)]));
        assert_eq!(across("/blue/web", "/green"), across("/green/web", "/blue/"));
        assert_ne!(across("/blue/web", "/green"), group("/green/web"), "both have to say so");
        assert_ne!(across("/blue/web", "/green"), across("/evil/web", "/blue,/green"));
    }

    #[test]
    fn of_two_that_stay_side_by_side_the_one_that_was_scaled_last_is_the_newer() {
        let labels = |started| {
            [("GROUP", "s"), ("NEW_INSTANCES", "2"), ("TARGET_INSTANCES", "4"), ("STARTED_AT", started)]
        };
        let mut green = app("/s/green", 3, &labels("2024-01-01T00:00:00"));
        let mut blue = app("/s/blue", 2, &labels("2024-01-02T00:00:00"));
        let at = |day: u8| Some(Timestamp(format!("2024-02-0{day}T00:00:00").into()));
        (green.scaled_at, blue.scaled_at) = (at(1), at(2));
        assert_eq!(roles(&[&blue, &green]).unwrap().base.as_str(), "/s/green");
        (green.scaled_at, blue.scaled_at) = (at(2), at(1));
        assert_eq!(roles(&[&blue, &green]).unwrap().base.as_str(), "/s/blue");
    }
}
