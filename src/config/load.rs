//! Reading the configuration: text and environment over the defaults, with every mistake collected.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::policy::FREE_TABLES;
use crate::import::bamboo;
use crate::wording::counted;

const PREFIX: &str = "CAUSEWAY_";
/// Set for the command line, not for the configuration.
const NOT_KEYS: [&str; 2] = ["CAUSEWAY_CONFIG", "CAUSEWAY_TOKEN"];
const PASSWORD: &str = "CAUSEWAY_MARATHON__PASSWORD";
const TOKEN: &str = "CAUSEWAY_MARATHON__TOKEN";
const ZOOKEEPER_PASSWORD: &str = "CAUSEWAY_RULES__ZOOKEEPER__PASSWORD";
/// The variables that hold secrets: no other program gets them. The last one is Bamboo's.
pub(crate) const SECRETS: [&str; 4] = [PASSWORD, TOKEN, ZOOKEEPER_PASSWORD, "MARATHON_PASSWORD"];

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    /// One line a mistake: the place, what is wrong, what is expected.
    pub mistakes: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {}:", counted(self.mistakes.len(), "mistake"))?;
        for mistake in &self.mistakes {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let Some(file) = file else { return from_text("", "", environment) };
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
        mistakes: vec![format!("{}: cannot be read: {error}", file.display())],
    })?;
    let name = file.display().to_string();
    if file.extension().is_none_or(|extension| extension != "json") {
        return from_text(&name, &text, environment);
    }
    let mut environment: Vec<(String, String)> = environment.into_iter().collect();
    let imported = bamboo::import(&text, environment.clone())
        .map_err(|error| ConfigError { mistakes: vec![format!("{name}: {error}")] })?;
    for (name, secret) in imported.variables() {
        // What is set by our own name counts more.
        if environment.iter().all(|(other, _)| *other != name) {
            environment.push((name, secret));
        }
    }
    from_text(&format!("{name}, as TOML"), &imported.to_toml(), environment)
}

pub(super) fn from_text(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let defaults = Table::try_from(Config::default()).expect("the defaults are plain tables");
    let mut overlay = Overlay {
        merged: defaults.clone(),
        defaults,
        located: Vec::new(),
        mistakes: Vec::new(),
        variables: BTreeMap::new(),
    };
    match text.parse::<Table>() {
        Ok(table) => overlay.table(name, text, &table, &mut Vec::new()),
        Err(error) => overlay.mistakes.push(syntax_mistake(name, text, &error)),
    }
    let mut secrets = Vec::new();
    let (mut variables, others): (Vec<_>, Vec<_>) =
        environment.into_iter().partition(|(key, _)| key.starts_with(PREFIX));
    variables.sort();
    for (variable, value) in variables {
        if SECRETS.contains(&variable.as_str()) {
            secrets.push((variable, value));
        } else if !NOT_KEYS.contains(&variable.as_str()) {
            overlay.variable(&variable, &value);
        }
    }
    let mut config =
        Config::deserialize(std::mem::take(&mut overlay.merged)).expect("each key was tried on its own");
    for (variable, value) in others {
        config.labels.take_variable(&variable, &value);
    }
    for (variable, value) in secrets {
        let secret = Some(value.into());
        match variable.as_str() {
            PASSWORD => config.marathon.password = secret,
            TOKEN => config.marathon.token = secret,
            _ => config.rules.zookeeper.password = secret,
        }
    }
    for mistake in config.mistakes() {
        overlay.place(name, text, mistake);
    }
    let mistakes = overlay.in_order();
    if mistakes.is_empty() { Ok(config) } else { Err(ConfigError { mistakes }) }
}

struct Overlay {
    defaults: Table,
    merged: Table,
    /// Mistakes of the file, by their line.
    located: Vec<(usize, String)>,
    mistakes: Vec<String>,
    /// The variables that set a key, by its path.
    variables: BTreeMap<Vec<String>, String>,
}

impl Overlay {
    fn table(&mut self, name: &str, text: &str, table: &Table, path: &mut Vec<String>) {
        for (key, value) in table {
            path.push(key.clone());
            let dotted = path.join(".");
            // It was found there when the text was parsed.
            let line = line_of(text, path).unwrap_or(1);
            let place = format!("{name}:{line}: {dotted}");
            match (lookup(&self.defaults, path), value) {
                (None, _) => {
                    let nearest = self.nearest(&dotted);
                    self.located.push((line, format!("{place}: unknown key{nearest}")));
                }
                (Some(Value::Table(_)), Value::Table(inner)) if !FREE_TABLES.contains(&dotted.as_str()) => {
                    self.table(name, text, inner, path);
                }
                (Some(_), value) => {
                    if let Err(error) = self.set(path, value.clone()) {
                        self.located.push((line, format!("{place}: {error}")));
                    }
                }
            }
            path.pop();
        }
    }

    fn variable(&mut self, variable: &str, value: &str) {
        let path: Vec<String> =
            variable[PREFIX.len()..].to_lowercase().split("__").map(str::to_owned).collect();
        let result = match lookup(&self.defaults, &path) {
            None | Some(Value::Table(_)) => Err(format!("unknown key{}", self.nearest(&path.join(".")))),
            Some(default) => parse_like(default, value).and_then(|value| self.set(&path, value)),
        };
        match result {
            Ok(()) => _ = self.variables.insert(path, variable.to_owned()),
            Err(error) => self.mistakes.push(format!("environment {variable}: {error}")),
        }
    }

    /// Says where the key of a mistake is set, which only shows when all of it is known: by a variable, or on a line of the file.
    fn place(&mut self, name: &str, text: &str, mistake: String) {
        let key = mistake.split_once(": ").map_or("", |(key, _)| key);
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        if let Some(variable) = self.variables.get(&path) {
            self.mistakes.push(format!("environment {variable}: {mistake}"));
        } else if let Some(line) = line_of(text, &path) {
            self.located.push((line, format!("{name}:{line}: {mistake}")));
        } else {
            self.mistakes.push(mistake);
        }
    }

    /// The mistakes of the file by their lines, then the others.
    fn in_order(mut self) -> Vec<String> {
        self.located.sort_by_key(|(line, _)| *line);
        self.located.into_iter().map(|(_, mistake)| mistake).chain(self.mistakes).collect()
    }

    /// Sets one key, having tried it alone over the defaults, so that a mistake is told for its own key.
    fn set(&mut self, path: &[String], value: Value) -> Result<(), String> {
        let mut trial = self.defaults.clone();
        *lookup_mut(&mut trial, path).ok_or("unknown key")? = value.clone();
        Config::deserialize(trial).map_err(|error| expected(error.message()))?;
        *lookup_mut(&mut self.merged, path).ok_or("unknown key")? = value;
        Ok(())
    }

    fn nearest(&self, dotted: &str) -> String {
        let mut keys: Vec<String> = self.defaults.keys().cloned().collect();
        collect_keys(&self.defaults, "", &mut keys);
        let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let score = |key: &String| {
            strsim::jaro_winkler(key, dotted).max(0.98 * strsim::jaro_winkler(&leaf(key), &leaf(dotted)))
        };
        let best = keys.iter().map(|key| (score(key), key)).max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((score, key)) if score > 0.8 => format!("; the nearest known key is {key}"),
            _ => String::new(),
        }
    }
}

fn lookup<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(table, |table, key| table.get(key)?.as_table())?;
    parent.get(last)
}

fn lookup_mut<'a>(table: &'a mut Table, path: &[String]) -> Option<&'a mut Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(table, |table, key| table.get_mut(key)?.as_table_mut())?;
    parent.get_mut(last)
}

pub(super) fn collect_keys(table: &Table, prefix: &str, keys: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => collect_keys(inner, &format!("{prefix}{key}."), keys),
            _ => keys.push(format!("{prefix}{key}")),
        }
    }
}

/// Reads an environment variable as the type that the key's default has; a list is separated by commas.
fn parse_like(default: &Value, text: &str) -> Result<Value, String> {
    match default {
        Value::Integer(_) => {
            text.parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number"))
        }
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_| format!("{text:?} is not a number")),
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("{text:?} is not true or false"))
        }
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.into()))
                .collect(),
        )),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// serde's words on one line; where they name a type, how it is written.
fn expected(message: &str) -> String {
    let message = message.trim().replace('\n', "; ");
    let written = [
        ("a duration", "a duration, as in \"30s\" or \"5m\""),
        ("u16", "a whole number from 0 to 65535"),
        ("u32", "a whole number from 0 on"),
        ("usize", "a whole number from 0 on"),
        ("f64", "a number"),
    ];
    let found = written.iter().find_map(|(kind, words)| {
        Some(format!("{}expected {words}", message.strip_suffix(&format!("expected {kind}"))?))
    });
    found.unwrap_or(message)
}

fn syntax_mistake(name: &str, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    format!("{name}:{line}: not TOML: {}", error.message().trim().replace('\n', "; "))
}

/// The line a key stands on; `None` where the text does not set it.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = Some(document.get_ref());
    let mut start = None;
    for key in path {
        let (name, value) = table?.iter().find(|(name, _)| name.get_ref() == key.as_str())?;
        start = Some(name.span().start);
        table = match value.get_ref() {
            toml::de::DeValue::Table(inner) => Some(inner),
            _ => None,
        };
    }
    start.map(|start| 1 + text[..start].matches('\n').count())
}
