//! Generations on disk: `gen-N/` with everything HAProxy reads, made current by renaming one symlink.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::durable::{FileError, make_private_dir, replace_file_with, sync_dir, write_synced};
use crate::render::files::{CONFIG, Contents};
use crate::render::{DIR_MARK, Files};

/// Lines that the writer puts before the rendered text: `show info` then says which generation is loaded.
pub(crate) const PREFIX_LINES: usize = 3;
/// Texts that are kept for people, beside the current one and the last good one.
const KEPT: usize = 5;
const GOOD: &str = "good";
/// What is kept with a generation and is none of its files: what it was made of.
const MADE_OF: &str = "made-of";

/// One generation on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// Its directory.
    pub dir: PathBuf,
}

impl Generation {
    /// The name, as `show info` says it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("gen-{}", self.number)
    }

    /// The directory of what it was made of, which HAProxy never reads.
    #[must_use]
    pub fn made_of(&self) -> PathBuf {
        self.dir.join(MADE_OF)
    }
}

/// The number in a generation's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("gen-")?.parse().ok()
}

/// The directory that holds them.
#[derive(Clone, Debug)]
pub struct Generations {
    root: PathBuf,
    /// The number that was given last.
    last: Arc<AtomicU64>,
}

impl Generations {
    /// Opens the directory, and makes it where it is missing, for nobody but us.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, FileError> {
        make_private_dir(root)?;
        Ok(Self::at(root))
    }

    /// The directory as it is, to look at.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), last: Arc::default() }
    }

    /// The directory that holds them.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The symlink that HAProxy is started with.
    #[must_use]
    pub fn current_link(&self) -> PathBuf {
        self.root.join("current")
    }

    /// The generation with this number.
    #[must_use]
    pub fn generation(&self, number: u64) -> Generation {
        Generation { number, dir: self.root.join(format!("gen-{number}")) }
    }

    /// The current one.
    #[must_use]
    pub fn current(&self) -> Option<Generation> {
        let target = fs::read_link(self.current_link()).ok()?;
        Some(self.generation(number_of(target.to_str()?)?))
    }

    /// The newest one that a worker was seen to run.
    #[must_use]
    pub fn last_good(&self) -> Option<Generation> {
        self.good_before(u64::MAX)
    }

    /// The newest one before a number that a worker was seen to run.
    #[must_use]
    pub fn good_before(&self, number: u64) -> Option<Generation> {
        let earlier = self.numbers().into_iter().rev().filter(|each| *each < number);
        earlier.map(|number| self.generation(number)).find(|each| self.is_good(each))
    }

    /// Writes a new generation, fsynced, without making it current.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, contents: &impl Contents) -> Result<Generation, FileError> {
        // A number is never used twice: a late worker of a discarded generation would prove another.
        let on_disk = self.numbers().last().copied().unwrap_or(0);
        let number = 1 + self.last.fetch_max(on_disk, Ordering::Relaxed).max(on_disk);
        self.last.store(number, Ordering::Relaxed);
        let generation = self.generation(number);
        let written = self.write_files(&generation, contents);
        if written.is_err() {
            // On a full disk half a generation would take the room that the next one needs.
            self.discard(&generation);
        }
        written.map(|()| generation)
    }

    fn write_files(&self, generation: &Generation, contents: &impl Contents) -> Result<(), FileError> {
        make_private_dir(&generation.dir)?;
        let mut dirs = BTreeSet::from([generation.dir.clone()]);
        for name in contents.names() {
            let path = generation.dir.join(name);
            if let Some(parent) = path.parent() {
                make_private_dir(parent)?;
                dirs.insert(parent.to_owned());
            }
            write_synced(&path, |out| write_file(generation, contents, name, out))?;
        }
        for dir in &dirs {
            sync_dir(dir)?;
        }
        sync_dir(&self.root)
    }

    /// Replaces one file of a generation, whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn update(
        &self,
        generation: &Generation,
        contents: &impl Contents,
        name: &str,
    ) -> Result<(), FileError> {
        let path = generation.dir.join(name);
        replace_file_with(&path, 0o600, |out| write_file(generation, contents, name, out))
    }

    /// Reads a generation back, as it was rendered; `None` where it is not whole.
    #[must_use]
    pub fn read(&self, generation: &Generation) -> Option<Files> {
        let mut files = BTreeMap::new();
        read_into(&generation.dir, &generation.dir, &mut files).ok()?;
        files.remove(GOOD);
        let config = String::from_utf8(files.remove(CONFIG)?).ok()?;
        files.insert(CONFIG.to_owned(), rendered(generation, &config)?.into_bytes());
        Some(Files(files))
    }

    /// Makes a generation the current one, by one rename.
    ///
    /// # Errors
    /// The link cannot be made or renamed.
    pub fn make_current(&self, generation: &Generation) -> Result<(), FileError> {
        let next = self.root.join("current.next");
        let _absent = fs::remove_file(&next);
        symlink(generation.name(), &next).map_err(FileError::of(&next))?;
        fs::rename(&next, self.current_link()).map_err(FileError::of(&self.current_link()))?;
        sync_dir(&self.root)
    }

    /// Notes that a worker runs this generation, and removes what nobody needs any more; `in_use` are those that old
    /// workers still run.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn mark_good(&self, generation: &Generation, in_use: &BTreeSet<u64>) -> Result<(), FileError> {
        write_synced(&generation.dir.join(GOOD), |_| Ok(()))?;
        let current = self.current().map(|each| each.number);
        let numbers = self.numbers();
        let spared = |number: &u64| {
            Some(*number) == current || *number == generation.number || in_use.contains(number)
        };
        for number in numbers.iter().rev().skip(KEPT).filter(|number| !spared(number)) {
            let _best_effort = fs::remove_dir_all(self.generation(*number).dir);
        }
        Ok(())
    }

    /// Removes a generation that was never applied; the current one stays.
    pub fn discard(&self, generation: &Generation) {
        if self.current().as_ref() == Some(generation) {
            return;
        }
        let _best_effort = fs::remove_dir_all(&generation.dir);
    }

    /// Every generation that is kept, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Generation> {
        self.numbers().into_iter().map(|number| self.generation(number)).collect()
    }

    /// Whether a worker was seen to run it.
    #[must_use]
    pub fn is_good(&self, generation: &Generation) -> bool {
        generation.dir.join(GOOD).exists()
    }

    fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut numbers: Vec<u64> =
            entries.filter_map(|entry| number_of(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        numbers
    }
}

fn prefix(generation: &Generation) -> String {
    format!("global\n    description {}\n\n", generation.name())
}

fn write_file(
    generation: &Generation,
    contents: &impl Contents,
    name: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    if name == CONFIG {
        out.write_all(prefix(generation).as_bytes())?;
    }
    contents.write(name, &format!("{}/", generation.dir.display()), out)
}

fn rendered(generation: &Generation, config: &str) -> Option<String> {
    let dir = format!("{}/", generation.dir.display());
    Some(config.strip_prefix(&prefix(generation))?.replace(&dir, DIR_MARK))
}

fn read_into(root: &Path, dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.ends_with(MADE_OF) {
            continue;
        }
        if path.is_dir() {
            read_into(root, &path, files)?;
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            files.insert(name.to_owned(), fs::read(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(config: &str) -> Files {
        Files(BTreeMap::from([
            (CONFIG.to_owned(), config.as_bytes().to_vec()),
            ("maps/hosts.map".to_owned(), b"a h_a_0\n".to_vec()),
        ]))
    }

    #[test]
    fn a_generation_reads_back_as_it_was_rendered() {
        let dir = tempfile::tempdir().unwrap();
        let generations = Generations::open(&dir.path().join("state")).unwrap();
        let files = files("frontend f\n    use @generation@/maps/hosts.map\n");
        let first = generations.write(&files).unwrap();
        assert_eq!(generations.read(&first), Some(files.clone()));
        let on_disk = fs::read_to_string(first.dir.join(CONFIG)).unwrap();
        assert!(on_disk.starts_with("global\n    description gen-1\n"), "{on_disk}");
        assert!(on_disk.contains(&format!("{}/maps/hosts.map", first.dir.display())));
        assert_eq!(generations.write(&files).unwrap().number, 2);
    }

    #[test]
    fn the_current_one_those_in_use_and_the_last_five_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let generations = Generations::open(dir.path()).unwrap();
        let oldest = generations.write(&files("a")).unwrap();
        generations.make_current(&oldest).unwrap();
        for _ in 0..9 {
            let next = generations.write(&files("a")).unwrap();
            generations.mark_good(&next, &BTreeSet::from([3])).unwrap();
        }
        assert_eq!(generations.numbers(), [1, 3, 6, 7, 8, 9, 10]);
        assert_eq!(generations.current(), Some(oldest));
        assert_eq!(generations.last_good().map(|each| each.number), Some(10));
    }
}
