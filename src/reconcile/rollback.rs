//! Going back to an earlier generation: its definitions, its template and its rules, with the tasks of today.
//!
//! Beside each generation lies what it was made of: the services as they were good then (a link to the `good.json` of then,
//! which costs nothing) and the templates. What is gone back to is linked to `rollback/`, so that it outlives the generation, and
//! holds, also over restarts, until it is released.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Reconciler;
use super::good;
use super::orders::OrderError;
use crate::durable::{FileError, make_private_dir, replace_file};
use crate::haproxy::Generation;
use crate::history::{Done, How};
use crate::model::{Problem, ProblemKind, RouteMatch, Service, ServiceId};
use crate::render::{KeptTemplates, Templates};
use crate::view::Noted;

/// The directory of what is gone back to.
const DIR: &str = "rollback";
const NOTE: &str = "rollback.json";
const TEMPLATES: &str = "templates.json";

/// Who went back, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The generation.
    pub generation: u64,
    /// Who.
    pub by: String,
    /// What for.
    pub why: String,
    /// When.
    pub since: SystemTime,
}

/// What is gone back to.
#[derive(Debug)]
pub struct RolledBack {
    /// Who went back, and why.
    pub note: Note,
    /// The services as they were.
    definitions: BTreeMap<ServiceId, Arc<Service>>,
    routes: BTreeMap<RouteMatch, ServiceId>,
    ports: BTreeMap<u16, ServiceId>,
    pub(super) templates: Arc<Templates>,
}

impl RolledBack {
    fn new(note: Note, blocks: &good::Blocks, templates: Templates) -> Self {
        let mut definitions = BTreeMap::new();
        let (mut routes, mut ports) = (BTreeMap::new(), BTreeMap::new());
        for (id, block) in blocks {
            let service = &block.service;
            // Of one that was only kept until the next reload nothing is left to go back to.
            if service.routes.is_empty() && service.port.is_none() && !service.app_id_route {
                continue;
            }
            let own = crate::services::backend_name(id, service.backend.mode);
            routes.extend(service.routes.iter().map(|route| (route.matches.clone(), id.clone())));
            ports.extend(service.port.map(|port| (port, id.clone())));
            definitions.insert(id.clone(), Arc::new(service.on_backend(&own)));
        }
        Self { note, definitions, routes, ports, templates: Arc::new(templates) }
    }

    /// What is in force, as an earlier Causeway left it; `None` where nothing is, or it cannot be read.
    pub(super) fn load(state_dir: &Path) -> Option<Self> {
        let dir = state_dir.join(DIR);
        let note = serde_json::from_slice(&fs::read(dir.join(NOTE)).ok()?);
        let found = note.map_err(|error| error.to_string()).and_then(|note| Self::read(note, &dir));
        match found {
            Ok(found) => {
                tracing::warn!(
                    haproxy.generation = found.note.generation,
                    "definitions, template and rules stay those of an earlier generation, as {} said ({}), until that is released",
                    found.note.by,
                    found.note.why
                );
                Some(found)
            }
            Err(error) => {
                tracing::error!("{}: {error}; what was gone back to is not in force", dir.display());
                None
            }
        }
    }

    fn read(note: Note, dir: &Path) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        let templates = fs::read(dir.join(TEMPLATES)).map_err(told)?;
        let kept: KeptTemplates = serde_json::from_slice(&templates).map_err(|error| error.to_string())?;
        let templates = Templates::try_from(kept).map_err(|error| error.to_string())?;
        // It says of itself what cannot be read.
        fs::metadata(dir.join(good::FILE)).map_err(told)?;
        Ok(Self::new(note, &good::load_from(&dir.join(good::FILE)), templates))
    }

    /// A service as it was, with its tasks of today. One that was not there then is as it is, but for what belonged to another
    /// that is still there.
    pub(super) fn definition(&self, today: &Service, is_there: impl Fn(&ServiceId) -> bool) -> Service {
        if let Some(then) = self.definitions.get(&today.id) {
            return Service {
                servers: today.servers.clone(),
                instances: today.instances,
                ..Service::clone(then)
            };
        }
        let mut service = today.clone();
        let taken = |holder: Option<&ServiceId>| holder.is_some_and(&is_there);
        service.routes.retain(|route| !taken(self.routes.get(&route.matches)));
        if service.port.is_some_and(|port| taken(self.ports.get(&port))) {
            service.port = None;
            service.bind = None;
        }
        service
    }

    /// That it is in force, for everybody who looks for what is wrong.
    #[must_use]
    pub fn noted(&self) -> Noted {
        let Note { generation, by, why, since } = &self.note;
        let problem = Problem {
            app: None,
            kind: ProblemKind::RolledBack,
            message: format!("{by} went back to generation {generation}: {why}"),
            advice: "labels, rules and templates are those of then, and what changes in them has no effect, until it is \
                     released (DELETE /api/v2/config/rollback); tasks are those of today"
                .to_owned(),
        };
        Noted { problem, since: *since }
    }

    /// Whether a service has a definition of then.
    pub(super) fn has(&self, id: &ServiceId) -> bool {
        self.definitions.contains_key(id)
    }
}

/// Keeps what a generation is made of beside it.
///
/// # Errors
/// It cannot be written.
pub(super) fn keep(
    state_dir: &Path,
    generation: &Generation,
    templates: &Templates,
) -> Result<(), FileError> {
    let dir = generation.made_of();
    make_private_dir(&dir)?;
    link(&state_dir.join(good::FILE), &dir.join(good::FILE))?;
    // Other templates make another generation.
    if dir.join(TEMPLATES).exists() {
        return Ok(());
    }
    let json = serde_json::to_vec(&templates.kept()).unwrap_or_default();
    replace_file(&dir.join(TEMPLATES), &json, 0o600)
}

/// Whether a generation can be gone back to.
#[must_use]
pub fn is_kept(generation: &Generation) -> bool {
    [good::FILE, TEMPLATES].iter().all(|name| generation.made_of().join(name).exists())
}

/// Gives a file another name, in place of what has that name.
fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    let next: PathBuf = to.with_extension("next");
    let _absent = fs::remove_file(&next);
    fs::hard_link(from, &next).map_err(FileError::of(&next))?;
    fs::rename(&next, to).map_err(FileError::of(to))?;
    // Where both are the same file already, a rename does nothing.
    let _absent = fs::remove_file(&next);
    Ok(())
}

impl Reconciler {
    /// Goes back to an earlier generation.
    pub(super) async fn roll_back(&mut self, number: u64, by: String, why: String) -> Result<(), OrderError> {
        let generation = self.driver.generations().generation(number);
        if !is_kept(&generation) {
            let words =
                format!("generation {number} is not kept; GET /api/v2/config/generations has those that are");
            return Err(OrderError::NotFound(words));
        }
        // What runs is on disk, so that it can be gone back to as well.
        self.write_all().await;
        let note = Note { generation: number, by: by.clone(), why: why.clone(), since: SystemTime::now() };
        let rolled_back = self.adopt_rollback(&generation, note)?;
        self.desired.roll_back(Some(Arc::new(rolled_back)));
        tracing::warn!(haproxy.generation = number, "{by} goes back to generation {number}: {why}");
        self.outside.history.note(Done::by(How::Rollback { generation: number, by, why }));
        self.bring_order().await
    }

    /// Goes on with the definitions of today.
    pub(super) async fn release(&mut self, by: String, why: String) -> Result<(), OrderError> {
        if self.desired.rolled_back().is_none() {
            return Err(OrderError::NotFound("nothing was gone back to".to_owned()));
        }
        let note = self.driver.generations().root().join(DIR).join(NOTE);
        if let Err(error) = fs::remove_file(&note)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(OrderError::Unavailable(format!("{}: {error}", note.display())));
        }
        self.desired.roll_back(None);
        tracing::warn!("{by} releases what was gone back to: {why}");
        self.outside.history.note(Done::by(How::Release { by, why }));
        self.bring_order().await
    }

    /// Links what is gone back to to its place, and reads it.
    fn adopt_rollback(&self, generation: &Generation, note: Note) -> Result<RolledBack, OrderError> {
        let dir = self.driver.generations().root().join(DIR);
        let write = || {
            make_private_dir(&dir)?;
            for name in [good::FILE, TEMPLATES] {
                link(&generation.made_of().join(name), &dir.join(name))?;
            }
            let json = serde_json::to_vec(&note).unwrap_or_default();
            replace_file(&dir.join(NOTE), &json, 0o600)
        };
        write().map_err(|error| OrderError::Unavailable(error.to_string()))?;
        RolledBack::read(note.clone(), &dir).map_err(|error| {
            let _best_effort = fs::remove_file(dir.join(NOTE));
            OrderError::Conflict(format!("generation {} cannot be read: {error}", note.generation))
        })
    }

    /// Brings HAProxy to what was ordered, without the rest between two reloads.
    async fn bring_order(&mut self) -> Result<(), OrderError> {
        self.reloaded = None;
        self.retry = None;
        let failures = self.failures;
        self.round().await;
        if self.failures > failures || self.is_reload_due() {
            let words = "HAProxy was not brought there; it is tried again, the changes and the log say why";
            return Err(OrderError::Unavailable(words.to_owned()));
        }
        Ok(())
    }
}
