//! Which apps may have raw text, and the operator's templates of marathon-lb.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConfigError, LabelsConfig};
use crate::services::raw;

/// Which apps may have raw text of HAProxy's configuration in their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RawLabels {
    /// None.
    #[default]
    Deny,
    /// Those whose id one of these patterns fits.
    Only(Vec<String>),
    /// All.
    Allow,
}

impl Serialize for RawLabels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Deny => "deny".serialize(serializer),
            Self::Allow => "allow".serialize(serializer),
            Self::Only(patterns) => patterns.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RawLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected \"deny\", \"allow\", or a list of patterns of app ids like [\"/team-a/**\"]"
        )]
        enum Written {
            Word(String),
            List(Vec<String>),
        }
        let patterns = match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "deny" => return Ok(Self::Deny),
            Written::Word(word) if word == "allow" => return Ok(Self::Allow),
            // The environment has no lists.
            Written::Word(word) => word.split(',').map(|pattern| pattern.trim().to_owned()).collect(),
            Written::List(patterns) => patterns,
        };
        match patterns.iter().find(|pattern| !pattern.starts_with('/')) {
            None => Ok(Self::Only(patterns)),
            Some(pattern) => Err(serde::de::Error::custom(format!(
                "{pattern:?} is neither \"deny\" nor \"allow\" nor a pattern of app ids like \"/team-a/**\" (* is one part, ** any number)"
            ))),
        }
    }
}

impl LabelsConfig {
    pub(super) fn raw_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(dir) = self.templates_dir.as_ref().filter(|dir| !dir.is_dir()) {
            mistakes.push(format!("labels.templates_dir: {} is not a directory", dir.display()));
        }
        for name in self.templates.keys().filter(|name| !raw::is_template(name)) {
            mistakes.push(format!(
                "labels.templates: {name} is not one of marathon-lb's templates (docs/raw.md has them)"
            ));
        }
        mistakes
    }

    /// Takes a template from the environment, where marathon-lb has it: a `\n` in it is a line break.
    pub(super) fn take_variable(&mut self, variable: &str, text: &str) {
        if let Some(name) = variable.strip_prefix("HAPROXY_").filter(|name| raw::is_template(name)) {
            self.templates.retain(|known, _| known.trim_start_matches("HAPROXY_") != name);
            self.templates.insert(name.to_owned(), text.replace("\\n", "\n"));
        }
    }

    /// Reads the templates of the directory that nothing else says.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_templates(&mut self) -> Result<(), ConfigError> {
        let Some(dir) = self.templates_dir.clone() else { return Ok(()) };
        let mut mistakes = Vec::new();
        for name in raw::template_names() {
            let path = dir.join(format!("HAPROXY_{name}"));
            let is_said = self.templates.keys().any(|known| known.trim_start_matches("HAPROXY_") == name);
            if is_said || !path.exists() {
                continue;
            }
            match read(&path) {
                Ok(text) => drop(self.templates.insert(name.to_owned(), text)),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigError { mistakes }) }
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("labels.templates_dir: {} cannot be read: {error}", path.display()))
}
