//! Files that are read again when they change.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Read<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// What files hold, as of now: they are looked at whenever somebody asks, which costs a system call each, and no moment passes in
/// which a user who was removed is still let in. A change that cannot be used is told once; what was good last stays.
pub(super) struct Reread<T> {
    paths: Vec<PathBuf>,
    read: Read<T>,
    held: Mutex<(Stamps, Arc<T>)>,
}

type Stamps = Vec<Option<Stamp>>;

/// What tells two versions of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl<T> Reread<T> {
    /// Reads for the first time.
    ///
    /// # Errors
    /// What `read` says.
    pub(super) fn open(
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Before reading: what changes meanwhile is read again.
        let stamps = stamps(&paths);
        let held = Mutex::new((stamps, Arc::new(read()?)));
        Ok(Self { paths, read: Box::new(read), held })
    }

    /// As [`open`](Self::open), with `until_then` where they cannot be used yet.
    pub(super) fn open_or(
        paths: Vec<PathBuf>,
        until_then: T,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let stamps = stamps(&paths);
        let first = read().unwrap_or_else(|error| {
            tracing::error!("{error}; it is read again when it changes");
            until_then
        });
        Self { paths, read: Box::new(read), held: Mutex::new((stamps, Arc::new(first))) }
    }

    /// What the files hold.
    pub(super) fn get(&self) -> Arc<T> {
        let mut held = lock(&self.held);
        let stamps = stamps(&self.paths);
        if stamps != held.0 {
            held.0 = stamps;
            match (self.read)() {
                Ok(value) => held.1 = Arc::new(value),
                Err(error) => tracing::error!("{error}; what was good last stays"),
            }
        }
        Arc::clone(&held.1)
    }
}

impl<T> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn stamps(paths: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let metadata = Path::metadata(path).ok()?;
        Some(Stamp {
            file: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        })
    };
    paths.iter().map(stamp).collect()
}

/// Locks; a panic elsewhere leaves nothing half done here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
