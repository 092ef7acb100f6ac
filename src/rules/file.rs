//! Rules in a local TOML file, edited by hand or by us: what a person wrote keeps its order and its comments.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use notify::{RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::{RuleStore, RuleVersion, Rules, StoreError, Versioned, doubt, refuse_mistakes};
use crate::durable::replace_file;
use crate::model::{AppId, Problem, ProblemKind, Rule};

mod document;

/// Rules in a local file.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// One of our own writes at a time.
    writing: Mutex<()>,
    following: Mutex<Option<watch::Receiver<Option<Arc<Rules>>>>>,
}

/// Why the file as a whole could not be read; the last good rules stay.
#[derive(Debug, thiserror::Error)]
pub enum FileReadError {
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

impl FileStore {
    /// The store in `path`; the file need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), shared: Arc::default() }
    }

    /// Reads every rule; one that cannot be used is a problem, the others stand.
    ///
    /// # Errors
    /// The file as a whole cannot be read; one that does not exist holds no rule.
    pub fn read(&self) -> Result<Rules, FileReadError> {
        self.parse(&self.text()?)
    }

    fn text(&self) -> Result<String, FileReadError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) if text.is_empty() => Err(FileReadError::Empty { path: self.name() }),
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(cause) => Err(FileReadError::Read { path: self.name(), cause }),
        }
    }

    fn parse(&self, text: &str) -> Result<Rules, FileReadError> {
        parse(text).map_err(|message| FileReadError::Syntax { path: self.name(), message })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads, edits and replaces the file, if the rule is what was expected.
    fn edit(
        &self,
        app: &AppId,
        expected: Option<&RuleVersion>,
        rule: Option<&Rule>,
    ) -> Result<Option<RuleVersion>, StoreError> {
        let _writing = lock(&self.shared.writing);
        let text = self.text()?;
        let rules = self.parse(&text)?;
        let current = rules.get(app);
        if current.map(|current| &current.version) != expected {
            let current = current.cloned().map(Box::new);
            return Err(StoreError::Conflict { app: app.clone(), current });
        }
        // One that cannot be used is there too, and is not ours to overwrite.
        if current.is_none()
            && let Some(problem) = rules.problems.iter().find(|problem| problem.app.as_ref() == Some(app))
        {
            return Err(StoreError::Invalid {
                app: app.clone(),
                mistakes: vec![format!(
                    "the file has one that cannot be used ({}); correct it there",
                    problem.message
                )],
            });
        }
        let syntax = |message: String| FileReadError::Syntax { path: self.name(), message };
        let edited = document::edit(&text, app, rule).map_err(syntax)?;
        // What we write is read back before it is the truth.
        let after = self.parse(&edited)?;
        let written = after.get(app);
        if written.map(|written| &written.rule) != rule {
            let mistakes = vec!["it would not be read back as it is".to_owned()];
            return Err(StoreError::Invalid { app: app.clone(), mistakes });
        }
        replace_file(&self.path, edited.as_bytes(), 0o600)?;
        Ok(written.map(|written| written.version.clone()))
    }

    /// Follows the file until every receiver is gone. A file that cannot be read keeps what was read last.
    async fn follow(self, told: watch::Sender<Option<Arc<Rules>>>) -> Result<(), notify::Error> {
        let (changed_tx, mut changed) = mpsc::channel::<()>(1);
        let name = self.path.file_name().map(std::ffi::OsStr::to_owned);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the file makes events too, and the directory may hold what is not ours.
            let ours = |path: &PathBuf| path.file_name() == name.as_deref();
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(ours)) {
                let _already_told = changed_tx.try_send(());
            }
        })?;
        // The directory, since editors and we replace the file.
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        let mut existed = false;
        loop {
            let exists = self.path.exists();
            let read_once = told.borrow().is_some();
            match self.read() {
                Ok(_) if existed && !exists => {
                    tracing::warn!(rules.file = %self.path.display(), "the rules file is gone; the last good rules stay");
                }
                Ok(rules) => {
                    existed = exists;
                    let rules = Some(Arc::new(rules));
                    told.send_if_modified(|last| {
                        let differs = *last != rules;
                        *last = rules;
                        differs
                    });
                }
                Err(error) if read_once => tracing::warn!("{error}"),
                // Nothing good was ever read: to serve without rules would take routes away that were there before.
                Err(error) => tracing::error!("{error}; nothing is rendered before it can be read"),
            }
            tokio::select! {
                change = changed.recv() => if change.is_none() { return Ok(()) },
                () = told.closed() => return Ok(()),
            }
        }
    }
}

impl RuleStore for FileStore {
    fn list(&self) -> BoxFuture<'_, Result<Arc<Rules>, StoreError>> {
        Box::pin(async { Ok(Arc::new(self.read()?)) })
    }

    fn get<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        Box::pin(async { Ok(self.read()?.get(app).cloned()) })
    }

    fn put<'a>(
        &'a self,
        rule: &'a Rule,
        expected: Option<&'a RuleVersion>,
    ) -> BoxFuture<'a, Result<RuleVersion, StoreError>> {
        Box::pin(async move {
            refuse_mistakes(rule)?;
            let written = self.edit(&rule.app, expected, Some(rule))?;
            Ok(written.expect("a rule that was written and read back has a version"))
        })
    }

    fn delete<'a>(
        &'a self,
        app: &'a AppId,
        expected: &'a RuleVersion,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.edit(app, Some(expected), None).map(|_| ()) })
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<Rules>>> {
        let mut following = lock(&self.shared.following);
        following
            .get_or_insert_with(|| {
                let (told, rules) = watch::channel(None);
                let store = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = store.follow(told).await {
                        tracing::error!("the rules file cannot be watched: {error}");
                    }
                });
                rules
            })
            .clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it held nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a rule says is its version: the same text again is the same rule.
fn version(rule: &Rule) -> RuleVersion {
    let mut hasher = DefaultHasher::new();
    toml::to_string(rule).unwrap_or_default().hash(&mut hasher);
    RuleVersion::new(&format!("{:016x}", hasher.finish()))
}

/// Understands a rules file; what is wrong with one rule is its problem.
///
/// # Errors
/// It is no rules file.
pub(crate) fn parse(text: &str) -> Result<Rules, String> {
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
            Ok(rule) if rules.get(&rule.app).is_some() => "there is a rule for this app already".to_owned(),
            Ok(rule) => {
                rules.problems.extend(doubt(&rule));
                rules.rules.push(Versioned { version: version(&rule), rule });
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
mod tests;
