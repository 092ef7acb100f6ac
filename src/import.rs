//! What marathon-lb and Bamboo were told, turned into our configuration, with a report of what has no counterpart.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use toml::Value;

use crate::durable::{FileError, make_private_dir, replace_file};

pub mod bamboo;
pub mod marathon_lb;

/// Why nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// marathon-lb itself would not take these arguments.
    #[error("marathon-lb does not take these arguments: {0}")]
    Arguments(String),
    /// It is not Bamboo's configuration.
    #[error("{0}")]
    Bamboo(String),
}

/// A configuration that comes of another tool's.
#[derive(Debug, Default)]
pub struct Imported {
    /// The other tool's name.
    tool: &'static str,
    settings: Vec<Setting>,
    secrets: Vec<Secret>,
    notes: Vec<String>,
}

/// A key, its value, and where it came from.
#[derive(Debug)]
struct Setting {
    key: &'static str,
    value: Value,
    from: String,
    /// False where it would keep the configuration from loading here: it is written as a comment.
    usable: bool,
}

/// What must not stand in the configuration: a file of its own, for nobody else to read, and the key that names it.
#[derive(Debug)]
struct Secret {
    key: &'static str,
    file: String,
    content: SecretString,
    /// The variable that takes it instead of a file.
    variable: Option<&'static str>,
    from: String,
}

impl Imported {
    fn new(tool: &'static str) -> Self {
        Self { tool, ..Self::default() }
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>, from: impl Into<String>) {
        self.settings.push(Setting { key, value: value.into(), from: from.into(), usable: true });
    }

    /// Sets a key that names files. Where one is not here, the key is written as a comment.
    fn set_files(&mut self, key: &'static str, value: impl Into<Value>, paths: &[PathBuf], from: &str) {
        let missing: Vec<String> =
            paths.iter().filter(|path| !path.exists()).map(|path| path.display().to_string()).collect();
        let (value, from, usable) = (value.into(), from.to_owned(), missing.is_empty());
        if !usable {
            self.note(format!("{from}: {} is not there; {key} is written as a comment", missing.join(", ")));
        }
        self.settings.push(Setting { key, value, from, usable });
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// What has no counterpart, or is different now, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The variables that hold its secrets, for a configuration that is used as it is.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let of =
            |secret: &Secret| Some((secret.variable?.to_owned(), secret.content.expose_secret().to_owned()));
        self.secrets.iter().filter_map(of).collect()
    }

    /// Writes the secrets into files of `dir`, for nobody else to read, and names them in the configuration. Without a
    /// directory they are left out, and the report says so.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn place_secrets(&mut self, dir: Option<&Path>) -> Result<(), FileError> {
        let secrets = std::mem::take(&mut self.secrets);
        let mut certificates = Vec::new();
        for secret in secrets {
            let Some(dir) = dir else {
                let instead = match secret.variable {
                    Some(variable) => format!(
                        "set {variable} where Causeway runs, or write it to a file that {} names",
                        secret.key
                    ),
                    None => format!("write it to a file that {} names", secret.key),
                };
                self.note(format!(
                    "{}: a secret is not written here; {instead}, or let --output write that file",
                    secret.from
                ));
                continue;
            };
            let path = dir.join(&secret.file);
            if let Some(parent) = path.parent() {
                make_private_dir(parent)?;
            }
            replace_file(&path, secret.content.expose_secret().as_bytes(), 0o600)?;
            if secret.key == CERTIFICATES {
                certificates.push(path.display().to_string());
            } else {
                self.set(secret.key, path.display().to_string(), secret.from);
            }
        }
        self.add_certificates(certificates);
        Ok(())
    }

    /// Certificates that were given as text come behind those that were given as files.
    fn add_certificates(&mut self, more: Vec<String>) {
        if more.is_empty() {
            return;
        }
        let more = more.into_iter().map(Value::String);
        match self.settings.iter_mut().find(|setting| setting.key == CERTIFICATES && setting.usable) {
            Some(Setting { value: Value::Array(all), .. }) => all.extend(more),
            _ => self.set(CERTIFICATES, more.collect::<Vec<_>>(), "certificates given as text"),
        }
    }

    /// The configuration: the report as comments, then each key with where it came from. Secrets are placed before.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# What {} was told, as Causeway's configuration. Every key: config/causeway.toml.\n",
            self.tool
        );
        if !self.notes.is_empty() {
            text.push_str("#\n# What is different, or has no counterpart:\n");
            for note in &self.notes {
                let _infallible = writeln!(text, "# * {}", one_line(note));
            }
        }
        let mut tables: Vec<&str> = Vec::new();
        for table in self.settings.iter().map(|setting| table_of(setting.key).0) {
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        for table in tables {
            let _infallible = writeln!(text, "\n[{table}]");
            for setting in self.settings.iter().filter(|setting| table_of(setting.key).0 == table) {
                let hash = if setting.usable { "" } else { "# " };
                let (_, key) = table_of(setting.key);
                let (from, value) = (one_line(&setting.from), inline(&setting.value));
                let _infallible = writeln!(text, "# {from}\n{hash}{key} = {value}");
            }
        }
        text
    }
}

/// The key of the certificates, the only one that several secrets may have.
const CERTIFICATES: &str = "tls.certificates";

/// The table and the key inside it.
fn table_of(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// A value on one line, whatever is in it: it may have to be a comment.
fn inline(value: &Value) -> String {
    match value {
        // TOML's basic strings take what JSON's do, but for DEL.
        Value::String(text) => {
            serde_json::Value::from(text.as_str()).to_string().replace('\u{7f}', "\\u007f")
        }
        Value::Array(all) => format!("[{}]", all.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key:?} = {}", inline(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// What somebody else wrote, where a line break would end a comment.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Takes `user:password` out of a URL, which is no place for them.
fn without_login(url: &str) -> (String, Option<(String, SecretString)>) {
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return (url.to_owned(), None) };
    let (user, password) = (parsed.username().to_owned(), parsed.password().map(str::to_owned));
    let Some(password) = password.filter(|_| !user.is_empty()) else { return (url.to_owned(), None) };
    let taken = parsed.set_username("").and_then(|()| parsed.set_password(None));
    match taken {
        Ok(()) => (parsed.to_string().trim_end_matches('/').to_owned(), Some((user, password.into()))),
        Err(()) => (url.to_owned(), None),
    }
}

#[cfg(test)]
mod tests;
