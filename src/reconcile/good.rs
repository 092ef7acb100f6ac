//! What a worker was last proven to run, service by service: what to go back to, also after a restart.

use std::path::Path;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::durable::{FileError, replace_file_with};
use crate::model::{Service, ServiceId};
use crate::render::{Block, Shape};

/// The file beside the generations.
pub(super) const FILE: &str = "good.json";

/// Every service as it was good last. Its servers are always today's.
pub(super) type Blocks = RedBlackTreeMapSync<ServiceId, Arc<Block>>;

#[derive(Deserialize)]
struct Record {
    service: Arc<Service>,
    shape: Shape,
}

#[derive(Serialize)]
struct RecordRef<'a> {
    service: &'a Service,
    shape: &'a str,
}

/// Reads what an earlier Causeway left; nothing where there is nothing, or nothing that can be read.
#[must_use]
pub(super) fn load(state_dir: &Path) -> Blocks {
    load_from(&state_dir.join(FILE))
}

/// Reads what was kept of it in another place.
#[must_use]
pub(super) fn load_from(path: &Path) -> Blocks {
    let Ok(json) = std::fs::read(path) else { return Blocks::default() };
    let records: Vec<Record> = serde_json::from_slice(&json).unwrap_or_else(|error| {
        tracing::warn!("{}: {error}; a service that is refused is left out", path.display());
        Vec::new()
    });
    let block = |record: Record| {
        let id = record.service.id.clone();
        (id, Arc::new(Block { service: record.service, shape: record.shape, slots: Arc::default() }))
    };
    records.into_iter().map(block).collect()
}

/// Writes down what is good.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(state_dir: &Path, blocks: &Blocks) -> Result<(), FileError> {
    replace_file_with(&state_dir.join(FILE), 0o600, |file| {
        use serde::ser::{SerializeSeq, Serializer};
        let mut json = serde_json::Serializer::new(file);
        let mut records = json.serialize_seq(None)?;
        for block in blocks.values() {
            let service = Service { servers: Vec::new(), ..Service::clone(&block.service) };
            records.serialize_element(&RecordRef { service: &service, shape: &block.shape })?;
        }
        Ok(records.end()?)
    })
}

/// Whether both would be written down alike.
#[must_use]
pub(super) fn same(one: &Blocks, other: &Blocks) -> bool {
    one.size() == other.size()
        && one.iter().zip(other.iter()).all(|((_, one), (_, other))| {
            Arc::ptr_eq(one, other) || (one.shape == other.shape && one.service.same_shape(&other.service))
        })
}
