//! The files that HAProxy reads beside its text: pages, certificates, authorities.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Desired;
use crate::durable::FileError;
use crate::haproxy::certificates::{AUTHORITIES, Changed, NAMED};
use crate::haproxy::{Certificates, Generation, Generations};
use crate::model::{Problem, ProblemKind, Service};
use crate::plan::Reason;
use crate::render::{ClientHosts, DIR_MARK, Files};

impl Desired {
    /// What runs has loaded these files, as far as they are no text.
    pub(super) fn set_loaded_extra(&mut self, loaded: &Files) {
        let is_extra = |name: &str| name.starts_with("errors/") || Certificates::is_name(name);
        let extra = loaded.0.iter().filter(|(name, _)| is_extra(name));
        self.loaded_extra =
            Arc::new(extra.map(|(name, bytes)| (name.clone(), Bytes::copy_from_slice(bytes))).collect());
    }

    /// Files that differ from those that the worker has loaded.
    pub(super) fn extra_reasons(&self) -> impl Iterator<Item = Reason> {
        let (new, old) = (&self.extra, &self.loaded_extra);
        let same = Arc::ptr_eq(new, old) || new == old;
        let names =
            new.keys().chain(old.keys()).filter(move |name| !same && new.get(*name) != old.get(*name));
        names.map(|file| Reason::File { file: file.clone() })
    }

    /// Takes up the files that services name.
    pub(super) fn name_certificates(&mut self) {
        let services = self.text.blocks.values().map(|block| block.service.as_ref());
        if self.certificates.set_named(services.flat_map(names)) {
            self.gather_extra();
        }
    }

    pub(super) fn gather_extra(&mut self) {
        let certificates = self.certificates.files().map(|(name, bytes)| (name.clone(), bytes.clone()));
        let extra: BTreeMap<String, Bytes> = self.pages.clone().into_iter().chain(certificates).collect();
        if extra != *self.extra {
            self.extra = Arc::new(extra);
        }
        let default = self.certificates.default_certificate().unwrap_or_default();
        if self.head.default_certificate != default {
            self.head.default_certificate = default.to_owned();
            self.head_stale = true;
        }
    }

    /// Certificates and authorities whose sources changed; true where files came or went too.
    pub(in crate::reconcile) fn look_at_certificates(&mut self) -> (Vec<Changed>, bool) {
        let others = self.certificates.look_for_files();
        if others {
            self.gather_extra();
        }
        (self.certificates.look(), others)
    }

    /// The name by which the worker knows a file of its generation, whose directory is `dir`.
    pub(in crate::reconcile) fn name_in_worker(&self, name: &str, dir: &Path) -> String {
        if self.head.dir.is_empty() { name.to_owned() } else { format!("{}/{name}", dir.display()) }
    }

    /// Whether HAProxy does as the new file says once it was replaced (2.6.12). Not for its servers, which go on with the
    /// authorities they began with; and not for hosts whose clients show certificates: a name of the list comes behind the
    /// same name without that demand once it is replaced.
    pub(in crate::reconcile) fn is_swapped(&self, name: &str) -> bool {
        let is_it = |file: &str| file.strip_prefix(DIR_MARK).unwrap_or(file) == name;
        let of_clients = |hosts: &ClientHosts| is_it(&hosts.ca) || is_it(&hosts.certificate);
        name != AUTHORITIES && !self.head.client_hosts.iter().any(of_clients)
    }

    /// HAProxy takes a changed file; `loaded` where the worker has it already.
    pub(in crate::reconcile) fn take_certificate(&mut self, changed: Changed, loaded: bool) {
        if loaded {
            Arc::make_mut(&mut self.loaded_extra).insert(changed.name.clone(), changed.bytes.clone());
        }
        self.certificates.take(changed);
        self.gather_extra();
    }

    /// HAProxy does not take it.
    pub(in crate::reconcile) fn refuse_certificate(&mut self, name: &str, why: &str) {
        self.certificates.refuse(name, why);
    }

    /// It has to be looked at again.
    pub(in crate::reconcile) fn look_at_certificate_again(&mut self, name: &str) {
        self.certificates.look_again(name);
    }

    /// Writes one of these files into the generation that runs.
    pub(in crate::reconcile) fn write_extra(
        &self,
        generations: &Generations,
        generation: &Generation,
        name: &str,
    ) -> Result<(), FileError> {
        generations.update(generation, &self.files(&self.text), name)
    }

    /// How many sources are bad.
    pub(in crate::reconcile) fn refused_certificates(&self) -> usize {
        self.certificates.refused().count()
    }

    /// Files whose source is bad: of the apps that name them, or of nobody.
    #[must_use]
    pub fn certificate_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, source, why) in self.certificates.refused() {
            let message = format!("{}: {why}", source.display());
            let advice = "the one of before goes on serving; put a whole one there";
            let users =
                self.text.blocks.values().filter(|block| names(&block.service).any(|each| each == name));
            let before = problems.len();
            problems.extend(users.map(|block| {
                Problem::of(&block.service.id.app, ProblemKind::Label, message.clone(), advice)
            }));
            if problems.len() == before {
                let advice = advice.to_owned();
                problems.push(Problem { app: None, kind: ProblemKind::Label, message, advice });
            }
        }
        problems
    }
}

/// The files of `tls.dir` and `tls.ca` that a service names, by their path in a generation.
fn names(service: &Service) -> impl Iterator<Item = &str> {
    let words = service.bind.iter().flat_map(|bind| &bind.options);
    let files = service.certificate.iter().chain(&service.client_ca).chain(words);
    files
        .map(|file| file.strip_prefix(DIR_MARK).unwrap_or(file))
        .filter(|file| file.strip_prefix(NAMED).is_some_and(|rest| rest.starts_with('/')))
}
