//! What a generation holds, as text.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;

use super::maps::MapName;
use super::{DIR_MARK, Templates, Text};

/// The configuration, named `haproxy.cfg`.
pub const CONFIG: &str = "haproxy.cfg";
/// The hosts whose clients have to show a certificate, where there are any.
const CLIENTS: &str = "certs.list";
/// What the lines of that list begin with in the head, so that the head differs where the list does.
const CLIENTS_MARK: &str = "    # crt-list: ";

/// What a generation holds, written file by file, so that no large one is ever held whole.
pub trait Contents {
    /// The files, by their path inside the generation.
    fn names(&self) -> Vec<&str>;

    /// Writes one file; `dir` stands where its text names the directory of the generation.
    ///
    /// # Errors
    /// A template that fails; where it goes does not take it.
    fn write(&self, name: &str, dir: &str, out: &mut dyn Write) -> io::Result<()>;
}

/// The files that come of a text.
#[derive(Clone, Copy, Debug)]
pub struct TextFiles<'a> {
    /// The text.
    pub text: &'a Text,
    /// What draws the maps.
    pub templates: &'a Templates,
    /// Pages and certificates.
    pub extra: &'a BTreeMap<String, Bytes>,
}

impl Contents for TextFiles<'_> {
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = vec![CONFIG];
        for map in MapName::ALL {
            names.push(map.file());
        }
        names.extend(self.extra.keys().map(String::as_str));
        if self.text.head.contains(CLIENTS_MARK) {
            names.push(CLIENTS);
        }
        names
    }

    fn write(&self, name: &str, dir: &str, out: &mut dyn Write) -> io::Result<()> {
        if let Some(bytes) = self.extra.get(name) {
            return out.write_all(bytes);
        }
        if name == CLIENTS {
            for line in self.text.head.lines().filter_map(|line| line.strip_prefix(CLIENTS_MARK)) {
                writeln!(out, "{}", line.replace(DIR_MARK, dir))?;
            }
            return Ok(());
        }
        match MapName::ALL.into_iter().find(|map| map.file() == name) {
            Some(map) => self.templates.map(&self.text.maps, map, out),
            None => self.text.write(dir, out),
        }
    }
}

/// Every file of a generation, by its path inside it, as it was read or is to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// The configuration's text; empty where there is none.
    #[must_use]
    pub fn config(&self) -> &str {
        self.text(CONFIG)
    }

    /// A file as text; empty where there is none or it is not text.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Takes files up whole, with a mark where they name the directory of the generation.
    ///
    /// # Errors
    /// A template that fails.
    pub fn of(contents: &impl Contents) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for name in contents.names() {
            let mut bytes = Vec::new();
            contents.write(name, DIR_MARK, &mut bytes)?;
            files.insert(name.to_owned(), bytes);
        }
        Ok(Self(files))
    }
}

impl Contents for Files {
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn write(&self, name: &str, dir: &str, out: &mut dyn Write) -> io::Result<()> {
        if name == CONFIG {
            return out.write_all(self.config().replace(DIR_MARK, dir).as_bytes());
        }
        self.0.get(name).map_or(Ok(()), |bytes| out.write_all(bytes))
    }
}
