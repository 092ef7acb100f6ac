//! What rules change: the apps that they are for, or that their group covers, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Changes, State};
use crate::model::{AppId, Problem, Rule};

impl State {
    /// Takes over all rules. Who is rebuilt is who has another rule, or is of a group that says something else.
    pub(super) fn replace_rules(&mut self, rules: Vec<Rule>, problems: Vec<Problem>) -> Changes {
        let rules: BTreeMap<AppId, Rule> = rules.into_iter().map(|rule| (rule.app.clone(), rule)).collect();
        let old = std::mem::replace(&mut self.view.rules, Arc::new(rules));
        let rules = &self.view.rules;
        let ids: BTreeSet<&AppId> = old.keys().chain(rules.keys()).collect();
        let mut changed = BTreeSet::new();
        for id in ids {
            let (before, now) = (old.get(id), rules.get(id));
            match before.or(now).and_then(Rule::group) {
                None if before != now => {
                    changed.insert(id.clone());
                }
                Some(group) if before.map(|rule| &rule.config) != now.map(|rule| &rule.config) => {
                    changed.extend(self.apps_below(group).cloned());
                }
                _ => {}
            }
        }
        let before = Arc::clone(&self.view.rule_problems);
        self.view.rule_problems = self.note(problems, &before).into();
        if self.rules_read {
            return self.rebuild(changed);
        }
        self.rules_read = true;
        self.rebuild_all()
    }

    /// The apps of a group, given with the slash at its end.
    fn apps_below<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a AppId> {
        let ids = self.view.apps.range(AppId::new(group)..).map(|(id, _)| id);
        ids.take_while(move |id| id.as_str().starts_with(group))
    }

    /// What rules say to the templates of an app: its own over those of its groups, of which the longest wins.
    pub(super) fn config_of(&self, app: &AppId) -> BTreeMap<String, String> {
        let id = app.as_str();
        let groups = id.match_indices('/').map(|(at, _)| AppId::new(&format!("{}/**", &id[..at])));
        let mut config = BTreeMap::new();
        for rule in groups.chain([app.clone()]).filter_map(|pattern| self.view.rules.get(&pattern)) {
            config.extend(rule.config.clone());
        }
        config
    }
}
