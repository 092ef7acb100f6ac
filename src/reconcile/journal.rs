//! Who sits where, on disk before the first command that uses it: a whole file now and then, and a line a change since.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{FileError, replace_file_with};
use crate::model::ServiceId;
use crate::placement::{Placement, Slot};

const WHOLE: &str = "placement.json";
const SINCE: &str = "placement.journal";

/// The placement on disk.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    since: Option<File>,
    /// The digest of what the whole file says, where that is known.
    written: Option<u64>,
}

/// Text on its way to a digest: tens of megabytes need not be held to see that they are the same.
#[derive(Default)]
struct Digest(DefaultHasher);

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    id: ServiceId,
    slots: Vec<Slot>,
}

impl Journal {
    /// The journal in a directory; nothing is read or written yet.
    #[must_use]
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), since: None, written: None }
    }

    /// Reads what an earlier Causeway left. What cannot be read is told and left out: its tasks are placed anew.
    #[must_use]
    pub(super) fn load(&self) -> Placement {
        let path = self.dir.join(WHOLE);
        let mut placement: Placement = match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}; tasks are placed anew", path.display());
                Placement::default()
            }),
            Err(_) => Placement::default(),
        };
        let since = std::fs::read_to_string(self.dir.join(SINCE)).unwrap_or_default();
        // The last line may have been cut by a crash; then its commands were not sent either.
        for line in since.lines().map_while(|line| serde_json::from_str::<Line>(line).ok()) {
            placement.restore(line.id, line.slots);
        }
        placement
    }

    /// Notes the slots of one service.
    ///
    /// # Errors
    /// The line cannot be written.
    pub(super) fn note(&mut self, id: &ServiceId, slots: &[Slot]) -> Result<(), FileError> {
        let path = self.dir.join(SINCE);
        if self.since.is_none() {
            let mut options = File::options();
            let file =
                options.create(true).append(true).mode(0o600).open(&path).map_err(FileError::of(&path))?;
            self.since = Some(file);
        }
        let line = Line { id: id.clone(), slots: slots.to_vec() };
        let mut json =
            serde_json::to_vec(&line).map_err(std::io::Error::from).map_err(FileError::of(&path))?;
        json.push(b'\n');
        let written = self.since.iter_mut().try_for_each(|file| {
            let whole = file.metadata()?.len();
            // Half a line would swallow the ones after it.
            file.write_all(&json).or_else(|error| file.set_len(whole).and(Err(error)))
        });
        written.map_err(FileError::of(&path))
    }

    /// Writes everything, and begins the lines anew.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&mut self, placement: &Placement) -> Result<(), FileError> {
        let path = self.dir.join(WHOLE);
        let mut digest = Digest::default();
        serde_json::to_writer(&mut digest, placement)
            .map_err(std::io::Error::from)
            .map_err(FileError::of(&path))?;
        let digest = digest.0.finish();
        if self.since.is_none() && self.written == Some(digest) {
            return Ok(());
        }
        replace_file_with(&path, 0o600, |file| Ok(serde_json::to_writer(file, placement)?))?;
        self.written = Some(digest);
        self.since = None;
        match std::fs::remove_file(self.dir.join(SINCE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FileError::of(&path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppId, TaskId};
    use crate::placement::Occupant;

    #[test]
    fn what_was_noted_since_the_whole_was_written_counts_and_a_cut_line_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(dir.path());
        let id = |app: &str| ServiceId { app: AppId::new(app), port_index: 0 };
        let serving = |task: &str| {
            Slot::Serving(Occupant { task: TaskId::new(task), endpoint: ([10, 0, 0, 1], 1).into() })
        };
        let mut placement = Placement::default();
        placement.restore(id("/a"), vec![serving("a.1")]);
        journal.write(&placement).unwrap();
        journal.note(&id("/a"), &[serving("a.2"), Slot::Free]).unwrap();
        journal.note(&id("/b"), &[serving("b.1")]).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(SINCE))
            .unwrap()
            .write_all(b"{\"app\":\"/a\",")
            .unwrap();
        let read = Journal::new(dir.path()).load();
        assert_eq!(read.slots(&id("/a")), [serving("a.2"), Slot::Free]);
        assert_eq!(read.slots(&id("/b")), [serving("b.1")]);
        journal.write(&read).unwrap();
        assert_eq!(Journal::new(dir.path()).load(), read);
    }
}
