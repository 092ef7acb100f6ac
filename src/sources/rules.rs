//! The rule store as a source: read at the start and whenever the file changes.

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{SourceEvent, SourceMessage};
use crate::rules::FileStore;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Source;

/// Follows the file until the receiver is gone. A file that cannot be read keeps the rules that were read last.
///
/// # Errors
/// The directory of the file cannot be watched.
pub async fn follow(
    store: FileStore,
    events: mpsc::Sender<SourceMessage>,
    metrics: Metrics,
) -> Result<(), notify::Error> {
    let (changed_tx, mut changed) = mpsc::channel::<()>(1);
    let name = store.path().file_name().map(std::ffi::OsStr::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file makes events too, and the directory may hold what is not ours.
        let ours = |path: &std::path::PathBuf| path.file_name() == name.as_deref();
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(ours)) {
            let _already_told = changed_tx.try_send(());
        }
    })?;
    // The directory, since editors and we replace the file.
    let dir = store.path().parent().unwrap_or(store.path());
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    let mut read_once = false;
    let mut existed = false;
    // Since when there is something to read.
    let mut since = None;
    loop {
        let exists = store.path().exists();
        let read = store.read();
        metrics.connected(Source::Rules, read.is_ok());
        if read.is_ok() {
            metrics.heard(Source::Rules);
        }
        match read {
            Ok(_) if existed && !exists => {
                tracing::warn!(rules.file = %store.path().display(), "the rules file is gone; the last good rules stay");
            }
            Ok(rules) => {
                if std::mem::replace(&mut read_once, true) {
                    metrics.rules_changed();
                }
                existed = exists;
                let event = SourceEvent::Rules(rules.rules, rules.problems);
                if events.send(SourceMessage { event, since }).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) if read_once => tracing::warn!("{error}"),
            // Nothing good was ever read: to serve without rules would take routes away that were there before.
            Err(error) => tracing::error!("{error}; nothing is rendered before it can be read"),
        }
        if changed.recv().await.is_none() {
            return Ok(());
        }
        since = Some(std::time::Instant::now());
    }
}
