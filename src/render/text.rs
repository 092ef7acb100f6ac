//! The text of everything, in parts that are shared by what is desired, what runs and what is written to disk. A clone
//! costs nothing, and the whole is never held in memory to be written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::maps::Maps;
use super::{DIR_MARK, SERVERS_MARK, Shape};
use crate::model::{Backend, Service, ServiceId};
use crate::placement::{Admin, Slot, Slots, WEIGHT};

/// The block of one service: what it was rendered from, its text, and who sits in its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The service; its backend may be a borrowed spare.
    pub service: Arc<Service>,
    /// The text, with a mark where the server lines go; empty where one template makes the whole text.
    pub shape: Shape,
    /// Who sits where.
    pub slots: Slots,
}

/// A backend that waits for a new app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// What it is for, in a word.
    pub kind: &'static str,
    /// The text of every backend like it, with a placeholder for the name.
    pub profile: Arc<str>,
    /// Its text.
    pub shape: Shape,
    /// What stands behind the address of each of its servers.
    pub words: Arc<str>,
    /// How many slots it has, all free.
    pub slots: usize,
}

/// The text of everything.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Global, defaults and the shared frontends; with a single-file template, everything.
    pub head: Shape,
    /// One block a service.
    pub blocks: RedBlackTreeMapSync<ServiceId, Arc<Block>>,
    /// Backends without a service, by name.
    pub spares: RedBlackTreeMapSync<Arc<str>, Arc<Spare>>,
    /// What the map files say.
    pub maps: Maps,
    /// True where it is for a worker that takes and gives up servers while it runs: there a slot in which nobody sits is
    /// no server at all. False: it is one in maintenance, to be filled.
    pub dynamic: bool,
}

impl Block {
    /// Its text, as it stands in the configuration; `dynamic` where a slot in which nobody sits is no server.
    #[must_use]
    pub fn text(&self, dynamic: bool) -> String {
        let backend = &self.service.backend;
        let is_server = |(_, slot): &(usize, &Slot)| !dynamic || **slot != Slot::Free;
        let mut text = Vec::new();
        let _infallible = fill(&mut text, &self.shape, DIR_MARK, |out, _| {
            server_lines(out, (1..).zip(self.slots.iter()).filter(is_server), &backend.server_words())
        });
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Which part of the text is whose.
#[derive(Clone, Debug, Default)]
pub struct Owners(Vec<(usize, usize, ServiceId)>);

impl Owners {
    /// The service that line `line` (from 1) of `text` belongs to; `None` for the head.
    #[must_use]
    pub fn of_line(&self, text: &str, line: usize) -> Option<&ServiceId> {
        let at = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
        let index = self.0.partition_point(|(_, end, _)| *end <= at);
        self.0.get(index).filter(|(first, _, _)| *first <= at).map(|(_, _, id)| id)
    }
}

impl Text {
    /// The block of a service, if it has one.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.blocks.get(id).map(|block| &block.service)
    }

    /// Whether a slot of this backend in which nobody sits is no server at all.
    #[must_use]
    pub fn is_dynamic(&self, backend: &Backend) -> bool {
        self.dynamic && backend.takes_servers()
    }

    /// The text of one service, with its servers; empty where it has none.
    #[must_use]
    pub fn block_text(&self, id: &ServiceId) -> String {
        let Some(block) = self.blocks.get(id) else { return String::new() };
        let blocks = RedBlackTreeMapSync::default().insert(id.clone(), Arc::clone(block));
        Self { blocks, dynamic: self.dynamic, ..Self::default() }.config("").0
    }

    /// Writes the configuration as HAProxy reads it; `dir` stands where the directory of the generation goes.
    ///
    /// # Errors
    /// Where it goes does not take it.
    pub fn write(&self, dir: &str, out: &mut dyn Write) -> io::Result<()> {
        self.write_parts(dir, out, |_, _| Ok(()))
    }

    /// The configuration, and for each of its lines whose service it is.
    #[must_use]
    pub fn config(&self, dir: &str) -> (String, Owners) {
        let (mut text, mut owners) = (Vec::new(), Owners::default());
        let _infallible = self.write_parts(dir, &mut text, |at, id| {
            owners.0.push((at.start, at.end, id.clone()));
            Ok(())
        });
        (String::from_utf8(text).unwrap_or_default(), owners)
    }

    fn write_parts(
        &self,
        dir: &str,
        out: &mut dyn Write,
        mut block_written: impl FnMut(std::ops::Range<usize>, &ServiceId) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut out = Counted { out, written: 0 };
        // A head of the operator's may draw the servers of any service.
        let by_name: BTreeMap<&str, &Block> = if self.head.contains(SERVERS_MARK) {
            self.blocks.values().map(|block| (block.service.backend.name.as_str(), block.as_ref())).collect()
        } else {
            BTreeMap::new()
        };
        fill(&mut out, &self.head, dir, |out, name| match by_name.get(name) {
            Some(block) => self.server_lines(out, block),
            None => Ok(()),
        })?;
        for (id, block) in self.blocks.iter().filter(|(_, block)| !block.shape.is_empty()) {
            out.write_all(b"\n")?;
            let first = out.written;
            fill(&mut out, &block.shape, dir, |out, _| self.server_lines(out, block))?;
            block_written(first..out.written, id)?;
        }
        for spare in self.spares.values() {
            out.write_all(b"\n")?;
            let slots = vec![Slot::Free; spare.slots];
            fill(&mut out, &spare.shape, dir, |out, _| server_lines(out, (1..).zip(&slots), &spare.words))?;
        }
        Ok(())
    }

    fn server_lines(&self, out: &mut impl Write, block: &Block) -> io::Result<()> {
        let backend = &block.service.backend;
        let is_server = |(_, slot): &(usize, &Slot)| !self.is_dynamic(backend) || **slot != Slot::Free;
        server_lines(out, (1..).zip(block.slots.iter()).filter(is_server), &backend.server_words())
    }
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    written: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn fill<W: Write>(
    out: &mut W,
    shape: &str,
    dir: &str,
    servers: impl Fn(&mut W, &str) -> io::Result<()>,
) -> io::Result<()> {
    for (index, part) in shape.split(SERVERS_MARK).enumerate() {
        // Between two marks stands the backend's name.
        if index % 2 == 1 {
            servers(out, part)?;
        } else if part.contains(DIR_MARK) {
            out.write_all(part.replace(DIR_MARK, dir).as_bytes())?;
        } else {
            out.write_all(part.as_bytes())?;
        }
    }
    Ok(())
}

/// Server lines: each slot by its name, with who sits there, and `disabled` unless it serves.
fn server_lines<'a>(
    out: &mut impl Write,
    slots: impl Iterator<Item = (usize, &'a Slot)>,
    words: &str,
) -> io::Result<()> {
    for (number, slot) in slots {
        write!(out, "    server slot{number} {}", slot.endpoint())?;
        if slot.weight() != WEIGHT {
            write!(out, " weight {}", slot.weight())?;
        }
        out.write_all(words.as_bytes())?;
        out.write_all(if slot.admin() == Admin::Ready { b"\n" } else { b" disabled\n" })?;
    }
    Ok(())
}
