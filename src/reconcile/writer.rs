//! What runs, on its way to disk: beside the rounds, from a snapshot, so that no change waits for a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::good::{self, Blocks};
use super::journal::{self, Mark};
use super::rollback;
use crate::durable::FileError;
use crate::haproxy::{Generation, Generations};
use crate::placement::Placement;
use crate::render::files::{CONFIG, TextFiles};
use crate::render::maps::MapName;
use crate::render::{Templates, Text};

/// Everything that the next Causeway needs to go on with what runs.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) generation: Generation,
    /// What runs; `None` where that is what the generation was made of.
    pub(super) text: Option<Text>,
    pub(super) good: Blocks,
    /// Who sits where, where it is time to write that whole.
    pub(super) placement: Option<(Placement, Mark)>,
    pub(super) templates: Arc<Templates>,
    pub(super) extra: Arc<BTreeMap<String, Bytes>>,
}

/// What the files say.
#[derive(Debug, Default)]
struct Written {
    generation: u64,
    text: Text,
    good: Blocks,
    /// The generation that has what it was made of beside it.
    made_of: u64,
}

/// Writes one snapshot at a time.
#[derive(Debug)]
pub(super) struct Writer {
    generations: Generations,
    written: Option<Written>,
    job: Option<JoinHandle<(Written, Result<(), FileError>)>>,
}

impl Writer {
    /// A writer for what is on disk now.
    pub(super) fn new(generations: &Generations, good: Blocks) -> Self {
        let written = Written { good, ..Written::default() };
        Self { generations: generations.clone(), written: Some(written), job: None }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// The files of a generation say this.
    pub(super) fn says(&mut self, generation: u64, text: &Text) {
        if let Some(written) = &mut self.written {
            written.generation = generation;
            written.text = text.clone();
        }
    }

    /// Begins to write; only while none is under way.
    pub(super) fn begin(&mut self, snapshot: Snapshot) {
        let Some(mut written) = self.written.take() else { return };
        let generations = self.generations.clone();
        self.job = Some(tokio::task::spawn_blocking(move || {
            let result = write(&generations, snapshot, &mut written);
            if result.is_err() {
                // What came through is not known: the next time everything is written.
                written.generation = 0;
            }
            (written, result)
        }));
    }

    /// Waits for the one that is under way; for ever where there is none.
    pub(super) async fn done(&mut self) -> Result<(), FileError> {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let ended = job.await;
        self.job = None;
        let (written, result) = ended.unwrap_or_else(|panic| {
            let cause = std::io::Error::other(panic.to_string());
            let path = self.generations.root().display().to_string();
            (Written::default(), Err(FileError { path, cause }))
        });
        self.written = Some(written);
        result
    }
}

fn write(generations: &Generations, snapshot: Snapshot, written: &mut Written) -> Result<(), FileError> {
    let Snapshot { generation, text, good, placement, templates, extra } = snapshot;
    if let Some(text) = text {
        let files = TextFiles { text: &text, templates: &templates, extra: &extra };
        let known = written.generation == generation.number;
        for map in MapName::ALL {
            if !known || !text.maps.entries(map).eq(written.text.maps.entries(map)) {
                generations.update(&generation, &files, map.file())?;
            }
        }
        if !known || !same_config(&text, &written.text) {
            generations.update(&generation, &files, CONFIG)?;
        }
        written.generation = generation.number;
        written.text = text;
    }
    let same_good = good::same(&good, &written.good);
    if !same_good {
        good::write(generations.root(), &good)?;
    }
    if !same_good || written.made_of != generation.number {
        // Without it, nobody goes back to this generation.
        match rollback::keep(generations.root(), &generation, &templates) {
            Ok(()) => written.made_of = generation.number,
            Err(error) => tracing::warn!("{error}; nobody can go back to {}", generation.name()),
        }
    }
    written.good = good;
    placement.map_or(Ok(()), |(placement, mark)| journal::write(generations.root(), &placement, mark))
}

fn same_config(one: &Text, other: &Text) -> bool {
    let same_block =
        |((_, one), (_, other)): ((_, &Arc<_>), (_, &Arc<_>))| Arc::ptr_eq(one, other) || one == other;
    one.dynamic == other.dynamic
        && one.head == other.head
        && one.blocks.size() == other.blocks.size()
        && one.blocks.iter().zip(other.blocks.iter()).all(same_block)
        && one.spares == other.spares
}
