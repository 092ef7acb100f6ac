//! Where rules are kept: a file that people edit, or ZooKeeper, beside Bamboos. Both have one face, [`RuleStore`].

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::config::{Config, RuleStoreKind};
use crate::durable::FileError;
use crate::model::{AppId, Problem, Rule};

pub mod file;
pub(crate) mod read;
pub mod zookeeper;

pub use file::FileStore;
pub use zookeeper::ZookeeperStore;
pub use zookeeper::fleet::FleetHandle;

/// Rules by app id, changed by compare-and-set. Several writers, of which some are people with editors or Bamboos, never
/// undo each other unseen.
pub trait RuleStore: fmt::Debug + Send + Sync {
    /// Every rule, and what is wrong with those that cannot be used.
    fn list(&self) -> BoxFuture<'_, Result<Arc<Rules>, StoreError>>;

    /// One rule; `None` where there is none, or none that can be used.
    fn get<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>>;

    /// Creates a rule (`expected` is `None`: there must be none), or replaces the one of that version.
    fn put<'a>(
        &'a self,
        rule: &'a Rule,
        expected: Option<&'a RuleVersion>,
    ) -> BoxFuture<'a, Result<RuleVersion, StoreError>>;

    /// Takes away the rule of that version.
    fn delete<'a>(
        &'a self,
        app: &'a AppId,
        expected: &'a RuleVersion,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Follows the rules: the latest good reading, `None` until there is one. What a slow reader misses is in the next.
    /// The sender goes away only when the store cannot be followed any more.
    fn watch(&self) -> watch::Receiver<Option<Arc<Rules>>>;
}

/// The version of a rule, opaque: what an ETag is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleVersion(Box<str>);

impl RuleVersion {
    /// Takes a version as it was given out; one that never was fits no rule.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The rule.
    pub rule: Rule,
    /// Its version.
    pub version: RuleVersion,
}

/// What a reading of all rules came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules that can be used, disabled ones and those of groups too.
    pub rules: Vec<Versioned>,
    /// What is wrong with the others, and with the store.
    pub problems: Vec<Problem>,
}

impl Rules {
    /// The rules that count: those that are enabled, those for groups too.
    #[must_use]
    pub fn enabled(&self) -> Vec<Rule> {
        self.rules.iter().map(|each| &each.rule).filter(|rule| rule.enabled).cloned().collect()
    }

    /// The rules that apply to apps by themselves: enabled, and not for a group.
    #[must_use]
    pub fn of_apps(&self) -> Vec<Rule> {
        let applies = |rule: &&Rule| rule.enabled && rule.group().is_none();
        self.rules.iter().map(|each| &each.rule).filter(applies).cloned().collect()
    }

    /// The config keys of an app: its own rule's over those of its groups, of which the longest wins.
    #[must_use]
    pub fn config_of(&self, app: &AppId) -> std::collections::BTreeMap<String, String> {
        let mut rules: Vec<&Rule> = self
            .rules
            .iter()
            .map(|each| &each.rule)
            .filter(|rule| rule.enabled)
            .filter(|rule| {
                rule.app == *app || rule.group().is_some_and(|group| app.as_str().starts_with(group))
            })
            .collect();
        rules.sort_by_key(|rule| rule.group().map_or(usize::MAX, str::len));
        let mut config = std::collections::BTreeMap::new();
        for rule in rules {
            config.extend(rule.config.clone());
        }
        config
    }

    /// The rule of an app or a group pattern.
    #[must_use]
    pub fn get(&self, app: &AppId) -> Option<&Versioned> {
        self.rules.iter().find(|each| each.rule.app == *app)
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rule has another version than the one expected, or is there, or is not. Nothing was changed.
    #[error("the rule of {app} has changed meanwhile: {}", found(.current.as_deref()))]
    Conflict {
        /// Whose rule.
        app: AppId,
        /// What is there now, where it can be used.
        current: Option<Box<Versioned>>,
    },
    /// The rule cannot be stored as it is. Nothing was changed.
    #[error("the rule of {app} cannot be stored: {}", .mistakes.join("; "))]
    Invalid {
        /// Whose rule.
        app: AppId,
        /// Everything that is wrong with it.
        mistakes: Vec<String>,
    },
    /// The store does not answer, or does not let us. Nothing was changed.
    #[error("{message}")]
    Unavailable {
        /// Who failed, what happens now, what to do.
        message: String,
    },
    /// The store went away while it was written to, and did not come back in time to be asked: the change may have been
    /// made, or not.
    #[error("{message}")]
    Unconfirmed {
        /// Who failed, and what to look at.
        message: String,
    },
    /// The file as a whole cannot be read; nothing was changed.
    #[error(transparent)]
    File(#[from] file::FileReadError),
    /// The file cannot be written; nothing was changed.
    #[error("rules file {0}")]
    Write(#[from] FileError),
}

fn found(current: Option<&Versioned>) -> String {
    match current {
        Some(current) => format!("it has version {} now", current.version),
        None => "there is none that can be used".to_owned(),
    }
}

/// Refuses a rule that we would not read back as it is.
fn refuse_mistakes(rule: &Rule) -> Result<(), StoreError> {
    let mistakes = rule.mistakes();
    if mistakes.is_empty() { Ok(()) } else { Err(StoreError::Invalid { app: rule.app.clone(), mistakes }) }
}

/// What is odd about a rule that was read, and is used all the same.
fn doubt(rule: &Rule) -> Option<Problem> {
    let odd = rule.group().is_some() && (!rule.routes.is_empty() || rule.replace || rule.order.is_some());
    odd.then(|| {
        Problem::of(
            &rule.app,
            crate::model::ProblemKind::Rule,
            "a rule for a group has routes, order or replace",
            "only its config is used: give routes to the apps themselves",
        )
    })
}

/// Opens the store that the configuration names; it is followed from the first [`RuleStore::watch`] on.
///
/// # Errors
/// The configuration of the store cannot be used.
pub fn open(config: &Config) -> Result<Arc<dyn RuleStore>, StoreError> {
    match config.rules.store {
        RuleStoreKind::File => Ok(Arc::new(FileStore::new(&config.rules_file()))),
        RuleStoreKind::Zookeeper => Ok(Arc::new(ZookeeperStore::new(config)?)),
    }
}

/// As [`open`], with what Causeways alone share, where the store is one that several share.
///
/// # Errors
/// The configuration of the store cannot be used.
pub fn open_shared(config: &Config) -> Result<(Arc<dyn RuleStore>, Option<FleetHandle>), StoreError> {
    match config.rules.store {
        RuleStoreKind::File => Ok((open(config)?, None)),
        RuleStoreKind::Zookeeper => {
            let store = ZookeeperStore::new(config)?;
            let fleet = store.fleet();
            Ok((Arc::new(store), Some(fleet)))
        }
    }
}

/// Opens the store for a command that only looks at the rules.
///
/// # Errors
/// The configuration of the store cannot be used.
pub fn open_to_look(config: &Config) -> Result<Arc<dyn RuleStore>, StoreError> {
    match config.rules.store {
        RuleStoreKind::File => open(config),
        RuleStoreKind::Zookeeper => Ok(Arc::new(ZookeeperStore::new(config)?.looking_only())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_of_an_app_is_its_own_over_the_longest_group_over_the_others() {
        let rule = |app: &str, pairs: &[(&str, &str)]| {
            let mut rule = Rule::new(AppId::new(app));
            rule.config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Versioned { rule, version: RuleVersion::new("1") }
        };
        let mut rules = Rules {
            rules: vec![
                rule("/team/a", &[("a", "app")]),
                rule("/**", &[("a", "all"), ("b", "all"), ("c", "all")]),
                rule("/team/**", &[("a", "team"), ("b", "team")]),
                rule("/teamster/**", &[("b", "other")]),
            ],
            problems: Vec::new(),
        };
        let config = |rules: &Rules, app: &str| {
            rules.config_of(&AppId::new(app)).into_values().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(config(&rules, "/team/a"), "app team all");
        assert_eq!(config(&rules, "/team/b"), "team team all");
        assert_eq!(config(&rules, "/x"), "all all all");
        assert_eq!(rules.of_apps().len(), 1);
        rules.rules[0].rule.enabled = false;
        assert_eq!(config(&rules, "/team/a"), "team team all");
        assert!(rules.of_apps().is_empty());
    }
}
