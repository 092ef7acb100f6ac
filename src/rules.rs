//! The rule store: a TOML file that people edit, or that we write.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{FileError, replace_file};
use crate::model::{AppId, Problem, ProblemKind, Rule};

/// Rules in a local file.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
}

/// What a read of the rules came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules that can be used.
    pub rules: Vec<Rule>,
    /// The others.
    pub problems: Vec<Problem>,
}

/// Why the file as a whole could not be read; the last good rules stay.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("rules file {path}: {cause}; the last good rules stay")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// It is not TOML.
    #[error("rules file {path}: not TOML: {message}; the last good rules stay")]
    Syntax {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// It has no byte in it.
    #[error("rules file {path} is empty; the last good rules stay (to have none, leave a comment in it)")]
    Empty {
        /// The file.
        path: String,
    },
}

#[derive(Serialize)]
struct Document<'a> {
    rule: &'a [Rule],
}

impl FileStore {
    /// The store in `path`; the file need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every rule; one that cannot be used is a problem, the others stand.
    ///
    /// # Errors
    /// The file as a whole cannot be read; one that does not exist holds no rule.
    pub fn read(&self) -> Result<Rules, RulesError> {
        let path = || self.path.display().to_string();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Rules::default()),
            Err(cause) => return Err(RulesError::Read { path: path(), cause }),
        };
        if text.is_empty() {
            return Err(RulesError::Empty { path: path() });
        }
        parse(&text).map_err(|message| RulesError::Syntax { path: path(), message })
    }

    /// Replaces all rules, atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, rules: &[Rule]) -> Result<(), FileError> {
        let invalid = |error: toml::ser::Error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        let text = toml::to_string(&Document { rule: rules })
            .map_err(|error| FileError::of(&self.path)(invalid(error)))?;
        replace_file(&self.path, format!("# Rules: see docs/rules.md\n{text}").as_bytes(), 0o600)
    }
}

fn parse(text: &str) -> Result<Rules, String> {
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {line}: {}", error.message().trim().replace('\n', "; "))
    })?;
    let mut rules = Rules::default();
    let written = match table.remove("rule") {
        Some(toml::Value::Array(written)) => written,
        Some(_) => return Err("`rule` is not a list; write [[rule]]".to_owned()),
        None => Vec::new(),
    };
    if let Some(key) = table.keys().next() {
        return Err(format!("unknown key {key:?}; a rules file holds [[rule]] only"));
    }
    for (index, value) in written.into_iter().enumerate() {
        let app = value.get("app").and_then(toml::Value::as_str).map(AppId::new);
        let problem = match Rule::deserialize(value) {
            Ok(rule) if rules.rules.iter().any(|other| other.app == rule.app) => {
                "there is a rule for this app already".to_owned()
            }
            Ok(rule) => {
                rules.rules.push(rule);
                continue;
            }
            Err(error) => error.message().trim().replace('\n', "; "),
        };
        rules.problems.push(Problem {
            app,
            kind: ProblemKind::Rule,
            message: format!("rule {} of the file: {problem}", index + 1),
            advice: "this rule is left out, the others are used: correct it".to_owned(),
        });
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RuleRoute;

    #[test]
    fn one_broken_rule_leaves_the_others_standing() {
        let rules = parse(
            "[[rule]]\napp = \"a\"\n[[rule.route]]\nhost = \"x\"\n[[rule]]\napp = \"/b\"\nwrong = 1\n[[rule]]\napp = \"/a\"\n",
        )
        .unwrap();
        assert_eq!(rules.rules.len(), 1);
        assert_eq!(rules.rules[0].app, AppId::new("/a"));
        assert_eq!(rules.rules[0].routes[0].host.as_deref(), Some("x"));
        assert_eq!(rules.problems.len(), 2);
        assert_eq!(rules.problems[0].app, Some(AppId::new("/b")));
    }

    #[test]
    fn what_is_written_reads_back_and_replaces_the_file_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::new(&dir.path().join("rules.toml"));
        assert_eq!(store.read().unwrap(), Rules::default());
        let route = RuleRoute { acl: Some("path /x".to_owned()), port: 1, ..RuleRoute::default() };
        let rule = Rule { routes: vec![route], ..Rule::new(AppId::new("/a")) };
        store.write(std::slice::from_ref(&rule)).unwrap();
        assert_eq!(store.read().unwrap().rules, [rule]);
    }

    #[test]
    fn an_empty_file_is_not_an_order_to_forget_every_rule() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.toml");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(FileStore::new(&path).read(), Err(RulesError::Empty { .. })));
        std::fs::write(&path, "# none\n").unwrap();
        assert_eq!(FileStore::new(&path).read().unwrap(), Rules::default());
    }
}
