//! The rule store as a source: read at the start and whenever the file changes.

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::SourceEvent;
use crate::rules::FileStore;

/// Follows the file until the receiver is gone. A file that cannot be read keeps the rules that were read last.
///
/// # Errors
/// The directory of the file cannot be watched.
pub async fn follow(store: FileStore, events: mpsc::Sender<SourceEvent>) -> Result<(), notify::Error> {
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
    loop {
        let exists = store.path().exists();
        match store.read() {
            Ok(_) if existed && !exists => {
                tracing::warn!(rules.file = %store.path().display(), "the rules file is gone; the last good rules stay");
            }
            Ok(rules) => {
                read_once = true;
                existed = exists;
                if events.send(SourceEvent::Rules(rules.rules, rules.problems)).await.is_err() {
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
    }
}
