//! Certificates and authorities: copies of the operator's files that go into each generation, looked at again and again. A
//! new version is taken over only when HAProxy took it; until then, and when it is bad, the copy stays as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;

use super::HaproxyError;
use crate::config::Config;
use crate::durable::{FileError, write_synced};
use crate::render::Files;
use crate::render::files::CONFIG;

/// The directory of a generation with the certificates of `tls.certificates`, which the HTTPS frontend loads whole.
pub const SHARED: &str = "certs";
/// The directory with the files of `tls.dir` that labels name.
pub const NAMED: &str = "tls";
/// The authorities of `tls.ca`, which sign the servers' certificates.
pub const AUTHORITIES: &str = "ca/servers.pem";

/// What a file was when it was looked at: of one that is the same the content is not read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { inode: found.ino(), size: found.size(), modified })
    }
}

#[derive(Clone, Debug)]
struct Copy {
    source: PathBuf,
    /// `None`: nobody looked yet.
    stamp: Option<Option<Stamp>>,
    bytes: Bytes,
    /// Why the source is not what is used.
    refused: Option<String>,
}

/// A file whose source has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its path inside a generation.
    pub name: String,
    /// What the source says now.
    pub bytes: Bytes,
}

/// The copies, by their path inside a generation.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    paths: Vec<PathBuf>,
    dir: Option<PathBuf>,
    copies: BTreeMap<String, Copy>,
    /// What the generation that runs has of files that nobody named yet.
    loaded: BTreeMap<String, Bytes>,
}

impl Certificates {
    /// The files of the configuration. What the loaded generation has goes on until its source was looked at.
    ///
    /// # Errors
    /// A file that cannot be read, and of which there is no copy.
    pub fn open(config: &Config, loaded: Option<&Files>) -> Result<Self> {
        let loaded = loaded.into_iter().flat_map(|files| &files.0);
        let mut certificates = Self {
            paths: config.tls.certificates.clone(),
            dir: config.tls.dir.clone(),
            copies: BTreeMap::new(),
            loaded: loaded
                .filter(|(name, _)| Self::is_name(name))
                .map(|(name, bytes)| (name.clone(), Bytes::copy_from_slice(bytes)))
                .collect(),
        };
        for (name, source) in certificates.shared() {
            certificates
                .add(&name, &source)
                .with_context(|| format!("tls.certificates: {}", source.display()))?;
        }
        if let Some(ca) = &config.tls.ca {
            certificates.add(AUTHORITIES, ca).with_context(|| format!("tls.ca: {}", ca.display()))?;
        }
        Ok(certificates)
    }

    /// Every file, by its path inside a generation.
    pub fn files(&self) -> impl Iterator<Item = (&String, &Bytes)> {
        self.copies.iter().map(|(name, copy)| (name, &copy.bytes))
    }

    /// Whether a path inside a generation is that of a certificate or authorities.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        [SHARED, NAMED, "ca"].contains(&name.split('/').next().unwrap_or_default())
    }

    /// The default certificate: the first of the first path.
    #[must_use]
    pub fn default_certificate(&self) -> Option<&str> {
        self.copies.keys().map(String::as_str).find(|name| name.starts_with(SHARED))
    }

    /// What is wrong with a source, by the path inside a generation: the copy of before is used.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &Path, &str)> {
        self.copies
            .iter()
            .filter_map(|(name, copy)| Some((name.as_str(), copy.source.as_path(), copy.refused.as_deref()?)))
    }

    /// Labels name these files, and no others; true where that differs from before. One that cannot be read is left out,
    /// which HAProxy's check finds.
    pub fn set_named<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let wanted: BTreeMap<&str, PathBuf> =
            names.into_iter().filter_map(|name| Some((name, self.source(name)?))).collect();
        let before = self.copies.len();
        self.copies.retain(|name, _| !name.starts_with(NAMED) || wanted.contains_key(name.as_str()));
        let mut differs = self.copies.len() != before;
        for (name, source) in wanted {
            if !self.copies.contains_key(name) {
                differs |= self.add(name, &source).is_ok();
            }
        }
        differs
    }

    /// The source of a file that labels name.
    fn source(&self, name: &str) -> Option<PathBuf> {
        let file = name.strip_prefix(NAMED)?.strip_prefix('/')?;
        Some(self.dir.as_ref()?.join(file))
    }

    fn add(&mut self, name: &str, source: &Path) -> std::io::Result<()> {
        let (stamp, bytes) = match self.loaded.remove(name) {
            Some(bytes) => (None, bytes),
            None => (Some(Stamp::of(source)), Bytes::from(std::fs::read(source)?)),
        };
        let copy = Copy { source: source.to_owned(), stamp, bytes, refused: None };
        self.copies.insert(name.to_owned(), copy);
        Ok(())
    }

    /// Looks whether files came to or went from the directories of `tls.certificates`; true where they did.
    pub fn look_for_files(&mut self) -> bool {
        let found: BTreeMap<String, PathBuf> = self.shared().into_iter().collect();
        let known = self.copies.keys().filter(|name| name.starts_with(SHARED));
        // An empty or unreadable directory is no reason to serve without certificates.
        if found.is_empty() || known.eq(found.keys()) {
            return false;
        }
        let before: BTreeMap<PathBuf, Copy> = self
            .copies
            .extract_if(.., |name, _| name.starts_with(SHARED))
            .map(|(_, copy)| (copy.source.clone(), copy))
            .collect();
        for (name, source) in found {
            match before.get(&source) {
                Some(copy) => {
                    self.copies.insert(name, copy.clone());
                }
                None => {
                    if let Err(error) = self.add(&name, &source) {
                        tracing::error!("tls.certificates: {}: {error}; it is left out", source.display());
                    }
                }
            }
        }
        true
    }

    /// The files whose sources changed since the last look. A source that is gone changes nothing.
    pub fn look(&mut self) -> Vec<Changed> {
        let mut changed = Vec::new();
        for (name, copy) in &mut self.copies {
            let stamp = Stamp::of(&copy.source);
            if copy.stamp == Some(stamp) {
                continue;
            }
            copy.stamp = Some(stamp);
            match std::fs::read(&copy.source) {
                Ok(bytes) if bytes == copy.bytes => copy.refused = None,
                Ok(bytes) => changed.push(Changed { name: name.clone(), bytes: bytes.into() }),
                Err(error) => copy.refuse(name, &error.to_string()),
            }
        }
        changed
    }

    /// HAProxy takes it: the copy is what the source says.
    pub fn take(&mut self, changed: Changed) {
        if let Some(copy) = self.copies.get_mut(&changed.name) {
            copy.bytes = changed.bytes;
            copy.refused = None;
        }
    }

    /// HAProxy does not take it: the copy stays.
    pub fn refuse(&mut self, name: &str, why: &str) {
        if let Some(copy) = self.copies.get_mut(name) {
            copy.refuse(name, why);
        }
    }

    /// HAProxy could not be asked: the next look finds it again.
    pub fn look_again(&mut self, name: &str) {
        if let Some(copy) = self.copies.get_mut(name) {
            copy.stamp = None;
        }
    }

    /// The files of `tls.certificates`. HAProxy loads a directory in the order of its names, and the first is the default.
    fn shared(&self) -> Vec<(String, PathBuf)> {
        let mut sources = Vec::new();
        for path in &self.paths {
            let Ok(entries) = std::fs::read_dir(path) else {
                sources.push(path.clone());
                continue;
            };
            let hidden = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            };
            let mut inside: Vec<PathBuf> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_file() && !hidden(path))
                .collect();
            inside.sort();
            sources.extend(inside);
        }
        let name = |(index, path): (usize, PathBuf)| {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (format!("{SHARED}/{index:03}-{file}"), path)
        };
        sources.into_iter().enumerate().map(name).collect()
    }
}

impl Copy {
    fn refuse(&mut self, name: &str, why: &str) {
        tracing::error!(
            "{}: {why}; the copy of before goes on serving ({name}): put a whole certificate with its key there",
            self.source.display()
        );
        self.refused = Some(why.to_owned());
    }
}

/// Asks HAProxy about a certificate or a list of authorities by a configuration that has nothing else.
///
/// # Errors
/// [`HaproxyError::Check`] with its words; what keeps it from being asked.
pub async fn check(
    binary: &Path,
    state_dir: &Path,
    changed: &Changed,
    deadline: Duration,
) -> Result<(), HaproxyError> {
    let dir = tempfile::tempdir_in(state_dir).map_err(FileError::of(state_dir))?;
    let config = match changed.bytes.windows(11).any(|part| part == b"PRIVATE KEY") {
        true => "frontend f\n    mode http\n    timeout client 1s\n    bind 127.0.0.1:1 ssl crt file.pem\n",
        false => {
            "frontend f\n    mode http\n    timeout client 1s\n    bind 127.0.0.1:1\nbackend b\n    mode http\n    timeout server 1s\n    timeout connect 1s\n    server s 127.0.0.1:1 ssl verify required ca-file file.pem\n"
        }
    };
    for (name, bytes) in [(CONFIG, config.as_bytes()), ("file.pem", &changed.bytes)] {
        write_synced(&dir.path().join(name), |out| out.write_all(bytes))?;
    }
    super::check::check(binary, dir.path(), deadline).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_its_source_only_when_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.pem", "b");
        write("a.pem", "a");
        let mut config = Config::default();
        config.tls.certificates = vec![dir.path().to_owned()];
        let mut certificates = Certificates::open(&config, None).unwrap();
        let now = |certificates: &Certificates| -> Vec<String> {
            certificates
                .files()
                .map(|(name, bytes)| format!("{name}={}", String::from_utf8_lossy(bytes)))
                .collect()
        };
        assert_eq!(now(&certificates), ["certs/000-a.pem=a", "certs/001-b.pem=b"]);
        assert_eq!(certificates.default_certificate(), Some("certs/000-a.pem"));
        assert!(certificates.look().is_empty() && !certificates.look_for_files());
        write("b.pem", "other");
        let changed = certificates.look();
        assert_eq!(changed[0].name, "certs/001-b.pem");
        assert!(certificates.look().is_empty(), "it is told once");
        certificates.refuse("certs/001-b.pem", "bad");
        assert_eq!(certificates.refused().count(), 1);
        assert_eq!(now(&certificates), ["certs/000-a.pem=a", "certs/001-b.pem=b"]);
        certificates.take(changed.into_iter().next().unwrap());
        assert_eq!(now(&certificates)[1], "certs/001-b.pem=other");
        assert_eq!(certificates.refused().count(), 0);
        std::fs::remove_file(dir.path().join("b.pem")).unwrap();
        write("c.pem", "c");
        assert!(certificates.look_for_files());
        assert_eq!(now(&certificates), ["certs/000-a.pem=a", "certs/001-c.pem=c"]);
    }

    #[test]
    fn what_was_loaded_goes_on_until_its_source_was_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.pem"), "new").unwrap();
        let mut config = Config::default();
        config.tls.dir = Some(dir.path().to_owned());
        let loaded = Files(BTreeMap::from([("tls/a.pem".to_owned(), b"old".to_vec())]));
        let mut certificates = Certificates::open(&config, Some(&loaded)).unwrap();
        assert!(certificates.set_named(["tls/a.pem", "tls/none.pem"]));
        assert!(!certificates.set_named(["tls/a.pem"]));
        assert_eq!(certificates.files().next().unwrap().1, "old");
        assert_eq!(certificates.look()[0].bytes, "new");
        assert!(certificates.set_named([]));
    }
}
