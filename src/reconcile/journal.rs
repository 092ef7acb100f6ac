//! Who sits where, on disk before the first command that uses it: a whole file now and then, and a line a change since.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::durable::{FileError, replace_file_with};
use crate::model::ServiceId;
use crate::placement::{Placement, Slot, Slots};

const WHOLE: &str = "placement.json";
/// The lines since are in files with a number of their own, so that lines can be noted while the whole is written.
const SINCE: (&str, &str) = ("placement-", ".journal");
/// Lines that are worth a whole file.
const LINES: usize = 2_000;

/// The placement on disk.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    since: Option<File>,
    number: u64,
    lines: usize,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    id: ServiceId,
    slots: Vec<Slot>,
}

#[derive(Serialize)]
struct LineRef<'a> {
    #[serde(flatten)]
    id: &'a ServiceId,
    slots: &'a [Slot],
}

/// A copy has no file: what is noted in it would be in another than the one that is read.
impl Clone for Journal {
    fn clone(&self) -> Self {
        Self { dir: self.dir.clone(), since: None, number: self.number, lines: self.lines }
    }
}

/// The lines up to here are in the whole file that is written next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

impl Journal {
    /// The journal in a directory; nothing is written yet.
    #[must_use]
    pub(super) fn new(dir: &Path) -> Self {
        let number = journals(dir).last().map_or(0, |(number, _)| *number) + 1;
        Self { dir: dir.to_owned(), since: None, number, lines: 0 }
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
        for (_, path) in journals(&self.dir) {
            let since = std::fs::read_to_string(path).unwrap_or_default();
            // The last line may have been cut by a crash; then its commands were not sent either.
            for line in since.lines().map_while(|line| serde_json::from_str::<Line>(line).ok()) {
                placement.restore(line.id, Arc::new(line.slots));
            }
        }
        placement
    }

    /// Notes the slots of one service.
    ///
    /// # Errors
    /// The line cannot be written.
    pub(super) fn note(&mut self, id: &ServiceId, slots: &Slots) -> Result<(), FileError> {
        let path = self.dir.join(format!("{}{:08}{}", SINCE.0, self.number, SINCE.1));
        if self.since.is_none() {
            let mut options = File::options();
            let file =
                options.create(true).append(true).mode(0o600).open(&path).map_err(FileError::of(&path))?;
            self.since = Some(file);
        }
        let mut json = serde_json::to_vec(&LineRef { id, slots })
            .map_err(std::io::Error::from)
            .map_err(FileError::of(&path))?;
        json.push(b'\n');
        let written = self.since.iter_mut().try_for_each(|file| {
            let whole = file.metadata()?.len();
            // Half a line would swallow the ones after it.
            file.write_all(&json).or_else(|error| file.set_len(whole).and(Err(error)))
        });
        self.lines += 1;
        written.map_err(FileError::of(&path))
    }

    /// Whether so much was noted that it is time for a whole file.
    #[must_use]
    pub(super) fn is_long(&self) -> bool {
        self.lines > LINES
    }

    /// Begins the lines anew; those up to the mark go once a whole file that holds them is written.
    pub(super) fn turn(&mut self) -> Mark {
        let mark = Mark(self.number);
        self.number += 1;
        self.lines = 0;
        self.since = None;
        mark
    }
}

/// Writes everything, and removes the lines up to the mark.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(dir: &Path, placement: &Placement, mark: Mark) -> Result<(), FileError> {
    replace_file_with(&dir.join(WHOLE), 0o600, |file| Ok(serde_json::to_writer(file, placement)?))?;
    for (_, path) in journals(dir).into_iter().take_while(|(number, _)| *number <= mark.0) {
        std::fs::remove_file(&path).map_err(FileError::of(&path))?;
    }
    Ok(())
}

fn journals(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let numbered = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(SINCE.0)?.strip_suffix(SINCE.1)?.parse().ok()?;
        Some((number, entry.path()))
    };
    let mut journals: Vec<(u64, PathBuf)> = entries.filter_map(numbered).collect();
    journals.sort();
    journals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppId, TaskId};
    use crate::placement::Occupant;

    fn id(app: &str) -> ServiceId {
        ServiceId { app: AppId::new(app), port_index: 0 }
    }

    fn serving(task: &str) -> Slots {
        Arc::new(vec![
            Slot::Serving(Occupant::new(TaskId::new(task), ([10, 0, 0, 1], 1).into()).into()),
            Slot::Free,
        ])
    }

    #[test]
    fn what_was_noted_since_the_whole_was_written_counts_and_a_cut_line_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(dir.path());
        let mut placement = Placement::default();
        placement.restore(id("/a"), serving("a.1"));
        let mark = journal.turn();
        write(dir.path(), &placement, mark).unwrap();
        journal.note(&id("/a"), &serving("a.2")).unwrap();
        journal.note(&id("/b"), &serving("b.1")).unwrap();
        let (_, lines) = journals(dir.path()).pop().unwrap();
        File::options().append(true).open(lines).unwrap().write_all(b"{\"app\":\"/a\",").unwrap();
        let read = Journal::new(dir.path()).load();
        assert_eq!(read.slots(&id("/a")), serving("a.2"));
        assert_eq!(read.slots(&id("/b")), serving("b.1"));
    }

    #[test]
    fn what_is_noted_while_the_whole_is_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(dir.path());
        let mut placement = Placement::default();
        placement.restore(id("/a"), serving("a.1"));
        journal.note(&id("/a"), &serving("a.1")).unwrap();
        let mark = journal.turn();
        journal.note(&id("/b"), &serving("b.1")).unwrap();
        write(dir.path(), &placement, mark).unwrap();
        assert_eq!(journals(dir.path()).len(), 1, "the lines that the whole holds are gone");
        let mut next = Journal::new(dir.path());
        assert_eq!(next.load().slots(&id("/b")), serving("b.1"));
        next.note(&id("/a"), &serving("a.2")).unwrap();
        assert_eq!(Journal::new(dir.path()).load().slots(&id("/a")), serving("a.2"), "later lines count");
    }
}
