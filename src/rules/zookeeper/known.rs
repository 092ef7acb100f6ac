//! What was read last, in memory and on disk: what there is while the ensemble is away, and what new readings are held
//! against.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::payload::{self, Found};
use super::{names, version};
use crate::durable::replace_file;
use crate::model::{AppId, Problem, ProblemKind};
use crate::rules::{Rules, Versioned};

/// Everything that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The base node: another one's rules are not these.
    pub(super) base: String,
    /// The transaction that made the base node: another tree at the same place has another.
    pub(super) czxid: i64,
    /// The latest transaction seen on the base node: a list that is older is no news.
    pub(super) zxid: i64,
    /// The children by name.
    pub(super) nodes: BTreeMap<String, Node>,
}

/// One child of the base node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) mzxid: i64,
    pub(super) data: String,
    /// What Bamboo cannot say was here, and a later write dropped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lost: bool,
}

impl Known {
    /// What is kept on disk of this base node; nothing where it cannot be read.
    pub(super) fn load(path: &Path, base: &str) -> Self {
        let empty = Self { base: base.to_owned(), ..Self::default() };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return empty,
            Err(error) => {
                tracing::warn!("{}: {error}; the rules read last are not known", path.display());
                return empty;
            }
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(known) if known.base == base => known,
            Ok(known) => {
                tracing::info!(
                    "the rules kept on disk are those of {}, and are not used for {base}",
                    known.base
                );
                empty
            }
            Err(error) => {
                tracing::warn!("{}: {error}; the rules read last are not known", path.display());
                empty
            }
        }
    }

    pub(super) fn save(&self, path: &Path) {
        let saved = serde_json::to_vec(self)
            .map_err(|error| error.to_string())
            .and_then(|text| replace_file(path, &text, 0o600).map_err(|error| error.to_string()));
        if let Err(error) = saved {
            tracing::warn!(
                "the rules of ZooKeeper cannot be kept on disk ({error}); a start without it would have none"
            );
        }
    }

    /// Takes a child as it was read. One that is older than what is known is no news.
    pub(super) fn take(&mut self, name: &str, mzxid: i64, data: &[u8]) {
        let data = String::from_utf8_lossy(data).into_owned();
        let old = self.nodes.get(name);
        if old.is_some_and(|old| old.mzxid >= mzxid) {
            return;
        }
        let lost = old.is_some_and(|old| loses(name, old, &data));
        self.nodes.insert(name.to_owned(), Node { mzxid, data, lost });
    }

    /// The rules, and what is wrong with any of them.
    pub(super) fn rules(&self, trouble: Option<&str>) -> Arc<Rules> {
        let mut rules = Rules::default();
        for (name, node) in &self.nodes {
            let Some(app) = names::id_of(name) else {
                rules.problems.push(Problem {
                    app: None,
                    kind: ProblemKind::Rule,
                    message: format!("the node {}/{name} has a name that is no app id", self.base),
                    advice: "it is left out, the others are used; a Bamboo beside us stops at it: delete it"
                        .to_owned(),
                });
                continue;
            };
            self.read(&app, name, node, &mut rules);
        }
        if let Some(trouble) = trouble {
            rules.problems.push(Problem {
                app: None,
                kind: ProblemKind::Rule,
                message: format!("the rules cannot be read from ZooKeeper {trouble}"),
                advice: "the rules read last are used, and none can be written until it is back".to_owned(),
            });
        }
        Arc::new(rules)
    }

    fn read(&self, app: &AppId, name: &str, node: &Node, rules: &mut Rules) {
        let problem = |message: String, advice: &str| Problem::of(app, ProblemKind::Rule, message, advice);
        if names::of(app) != name && self.nodes.contains_key(&names::of(app)) {
            rules.problems.push(problem(
                format!("it has two records, of which {name} is an old Bamboo's"),
                "the other one counts: delete this one",
            ));
            return;
        }
        let record = match payload::decode(app, node.data.as_bytes()) {
            Ok(record) => record,
            Err(error) => {
                rules.problems.push(problem(
                    format!("its record in ZooKeeper cannot be used: {error}"),
                    "it is left out, the others are used: write it again",
                ));
                return;
            }
        };
        let dropped = match record.extras {
            Found::Void(why) => Some(why),
            Found::None if node.lost => Some("a Bamboo wrote it and dropped what it does not know"),
            Found::None | Found::Whole => None,
        };
        if let Some(why) = dropped {
            rules.problems.push(problem(
                format!("of its record in ZooKeeper only Acl counts: {why}"),
                "its other routes, order and switches are gone: write the rule again, or leave it as it is by saving it here",
            ));
        }
        rules.problems.extend(crate::rules::doubt(&record.rule));
        rules.rules.push(Versioned { rule: record.rule, version: version(node.mzxid) });
    }
}

/// Whether a new payload says less than the old one did, because what Bamboo cannot say was dropped.
fn loses(name: &str, old: &Node, data: &str) -> bool {
    let Some(app) = names::id_of(name) else { return false };
    let (Ok(before), Ok(after)) =
        (payload::decode(&app, old.data.as_bytes()), payload::decode(&app, data.as_bytes()))
    else {
        return false;
    };
    if after.extras != Found::None {
        return false;
    }
    match before.extras {
        Found::Whole => {
            // What Acl alone would have said: had the rule no more than that, nothing is lost.
            let alone = payload::without_extras(&before.rule);
            !payload::leads_alike(&before.rule, &alone)
        }
        Found::None => old.lost,
        Found::Void(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Rule, RuleRoute};

    fn node(mzxid: i64, data: &str) -> Node {
        Node { mzxid, data: data.to_owned(), lost: false }
    }

    fn known(nodes: &[(&str, &str)]) -> Known {
        let nodes = nodes.iter().map(|(name, data)| ((*name).to_owned(), node(1, data))).collect();
        Known { base: "/b".to_owned(), nodes, ..Known::default() }
    }

    #[test]
    fn one_record_that_cannot_be_used_is_one_problem() {
        let known =
            known(&[("%zz", "path /x"), ("%2Fa", "{\"version\":2}"), ("%2Fb", "path /b"), ("c", "path /c")]);
        let rules = known.rules(None);
        let apps: Vec<&str> = rules.rules.iter().map(|each| each.rule.app.as_str()).collect();
        assert_eq!(apps, ["/b", "/c"]);
        let told: Vec<Option<&str>> =
            rules.problems.iter().map(|problem| problem.app.as_ref().map(AppId::as_str)).collect();
        assert_eq!(told, [Some("/a"), None]);
        assert_eq!(known.rules(Some("gone")).problems.len(), 3);
    }

    #[test]
    fn an_old_record_beside_a_new_one_of_the_same_app_does_not_count() {
        let rules = known(&[("a", "path /old"), ("%2Fa", "path /new")]).rules(None);
        assert_eq!(rules.rules.len(), 1);
        assert_eq!(rules.rules[0].rule.routes[0].acl.as_deref(), Some("path /new"));
        assert_eq!(rules.problems.len(), 1);
    }

    #[test]
    fn older_readings_are_no_news_and_what_a_bamboo_drops_is_told_until_somebody_writes_it_again() {
        let mut known = known(&[]);
        let mut rule = Rule::new(AppId::new("/a"));
        rule.routes.push(RuleRoute { host: Some("x.com".to_owned()), ..RuleRoute::default() });
        known.take("%2Fa", 5, &payload::encode(&rule));
        known.take("%2Fa", 6, br#"{"version":"2","config":{"Acl":"hdr(host) -i x.com"}}"#);
        assert!(known.rules(None).problems.is_empty(), "nothing was lost");
        rule.order = Some(1);
        known.take("%2Fa", 7, &payload::encode(&rule));
        known.take("%2Fa", 8, br#"{"version":"2","config":{"Acl":"hdr(host) -i y.com"}}"#);
        assert_eq!(known.rules(None).problems.len(), 1);
        known.take("%2Fa", 9, br#"{"version":"2","config":{"Acl":"hdr(host) -i z.com"}}"#);
        assert_eq!(known.rules(None).problems.len(), 1, "it is still lost");
        known.take("%2Fa", 4, b"path /older");
        assert_eq!(known.rules(None).rules[0].version.as_str(), "9");
        known.take("%2Fa", 10, &payload::encode(&rule));
        assert!(known.rules(None).problems.is_empty());
    }

    #[test]
    fn what_is_kept_on_disk_is_for_one_base_node() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.json");
        let known = known(&[("%2Fa", "path /x")]);
        known.save(&path);
        assert_eq!(Known::load(&path, "/b"), known);
        assert!(Known::load(&path, "/other").nodes.is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(Known::load(&path, "/b").nodes.is_empty());
    }
}
