//! A new generation: written, checked, made the running one, and proven.

use tokio::time::Instant;

use super::desired::Candidate;
use super::{CULPRITS, Reconciler, RoundError};
use crate::durable::FileError;
use crate::haproxy::runtime::Epoch;
use crate::haproxy::service_ports::ServicePorts;
use crate::haproxy::{Applied, Driver, HaproxyError};
use crate::model::Service;
use crate::plan::{Plan, Reason, plan};
use crate::render::Files;

impl Reconciler {
    /// Brings HAProxy there by a new generation. Whoever is to blame for what HAProxy does not take is put aside, service
    /// by service, and the rest goes on.
    pub(super) async fn reload(&mut self) -> Result<(), RoundError> {
        self.probe_ports().await;
        for _ in 0..CULPRITS {
            let begun = Instant::now();
            let refused = self.try_texts().await | self.try_raw().await;
            if refused && self.plans_anew() {
                return Ok(());
            }
            // Of a HAProxy that lives, and of which nothing is known, the ports would look taken: by itself.
            let is_known = self.desired.epoch().is_some() || !self.driver.is_alive().await;
            let is_ours = matches!(self.driver, Driver::Managed(_)) && is_known;
            if is_ours && self.desired.try_own_ports() && self.plans_anew() {
                return Ok(());
            }
            let candidate = self.desired.candidate()?;
            let mut reasons: Vec<Reason> = self.waiting.iter().cloned().collect();
            if self.desired.epoch().is_none() {
                let files = match &self.loaded {
                    Some(_) => self.desired.whole_files(&candidate).map_err(of_template)?,
                    None => Files::default(),
                };
                match plan(&files, self.loaded.as_ref()) {
                    // What is equal is loaded all the same where somebody asks for it.
                    Plan::Noop if self.asked => {}
                    Plan::Noop => {
                        let epoch = self.worker.epoch(&self.driver).await;
                        self.proven(candidate, epoch).await;
                        self.metrics.plan_noop();
                        self.since = None;
                        self.brought();
                        self.desired.forget_events();
                        self.audit_soon = true;
                        return Ok(());
                    }
                    Plan::Reload { reasons: found } => reasons = found,
                }
            }
            match self.load(&candidate).await {
                Ok((applied, number)) => {
                    let took = begun.elapsed();
                    let epoch = self.worker.epoch_of(&self.driver, number).await;
                    self.proven(candidate, epoch).await;
                    self.reloaded(&applied, number, &reasons, took);
                    self.metrics.reload_done(&reasons, applied, begun.elapsed());
                    self.brought();
                    return Ok(());
                }
                Err(error) => {
                    self.metrics.reload_failed((&error).into());
                    let to_blame = match &error {
                        RoundError::Haproxy(error) => self.desired.blame(error, &candidate),
                        _ => false,
                    };
                    if !matches!(error, RoundError::Haproxy(HaproxyError::Check(_))) {
                        self.look_anew().await;
                    }
                    if !to_blame {
                        return Err(error);
                    }
                    self.gave_up(&error);
                    if self.plans_anew() {
                        return Ok(());
                    }
                }
            }
        }
        let alerts = vec![format!("more than {CULPRITS} services are refused one after the other")];
        Err(HaproxyError::Check(crate::haproxy::CheckFailure { alerts }).into())
    }

    /// Criteria in words that are new are tried alone before anything else: some errors stop HAProxy at the first. True where
    /// one was left out.
    async fn try_texts(&mut self) -> bool {
        let texts = self.desired.untried_texts();
        if texts.is_empty() {
            return false;
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        match self.trial.refused(&texts).await {
            Ok(refused) => {
                self.desired.refuse_texts(&refused);
                !refused.is_empty()
            }
            Err(error) => {
                tracing::debug!("{error}; the check of everything tells");
                false
            }
        }
    }

    /// The same of raw text that is new, all of it in one file without anything else.
    async fn try_raw(&mut self) -> bool {
        let services = self.desired.untried_raw();
        let services: Vec<&Service> = services.iter().map(AsRef::as_ref).collect();
        match self.trial.refused_raw(self.desired.own_sections(), &services).await {
            Ok(refused) => {
                let refused: Vec<_> =
                    refused.into_iter().map(|(service, words)| (service.id.clone(), words)).collect();
                self.desired.refuse_raw(&refused)
            }
            Err(error) => {
                tracing::debug!("raw text: {error}; the check of everything tells");
                false
            }
        }
    }

    /// After somebody was put aside: without them there may be nothing left that needs a reload.
    fn plans_anew(&mut self) -> bool {
        let anew = self.desired.epoch().is_some() && !self.waiting.contains(&Reason::Drift);
        if anew {
            self.waiting.clear();
            self.dirty = true;
        }
        anew
    }

    /// Writes a generation, lets HAProxy check it, and makes it the running one. The old worker serves until then: who
    /// leaves meanwhile is drained there at once, and in the new one by the next round.
    async fn load(&mut self, candidate: &Candidate) -> Result<(Applied, u64), RoundError> {
        let files = self.desired.files(&candidate.text);
        let generation = tokio::task::block_in_place(|| self.driver.generations().write(&files))?;
        let driver = &mut self.driver;
        let loading = async {
            driver.check(&generation).await?;
            driver.apply(&generation).await
        };
        let (desired, worker, pending) = (&self.desired, &self.worker, &self.pending);
        let removing = async {
            loop {
                let steps = pending.peek(|changes| desired.removals(changes)).await;
                if let Some(old) = desired.epoch().filter(|_| !steps.is_empty())
                    && let Err(error) = worker.drain_in(old, &steps).await
                {
                    tracing::debug!("{error}; the new worker is told");
                }
            }
        };
        let applied = tokio::select! {
            applied = loading => applied,
            never = removing => never,
        };
        if !matches!(applied, Err(HaproxyError::Check(_))) {
            self.reloaded = Some(Instant::now());
        }
        if applied.is_err() {
            self.driver.generations().discard(&generation);
        }
        Ok((applied?, generation.number))
    }

    /// While HAProxy is down others may take a port that it bound ahead: it would never start again.
    async fn probe_ports(&mut self) {
        let managed = matches!(self.driver, Driver::Managed(_));
        if managed && !self.driver.is_alive().await {
            let ports = tokio::task::block_in_place(|| ServicePorts::probe(&self.config, self.https));
            self.desired.set_ports(ports);
        }
    }

    async fn proven(&mut self, candidate: Candidate, epoch: Option<Epoch>) {
        self.loaded = match epoch {
            Some(_) => None,
            None => self.desired.whole_files(&candidate).ok(),
        };
        if let Some(generation) = self.driver.generations().current() {
            self.writer.says(generation.number, &candidate.text);
        }
        if epoch.is_some() {
            self.learn().await;
        }
        self.desired.prove(candidate, epoch);
        self.name_all_backends();
        self.waiting.clear();
        self.asked = false;
        // Who drains does not drain there yet.
        self.dirty |= !self.desired.dirty().is_empty();
        self.audit_soon = epoch.is_some();
        self.unwritten = true;
        self.write(true);
    }

    /// A reload failed: what runs now is what can be seen.
    async fn look_anew(&mut self) {
        let same = match (self.desired.epoch(), self.worker.epoch(&self.driver).await) {
            (Some(before), Some(now)) => before == now,
            _ => false,
        };
        if !same {
            self.desired.forget_live();
            // Of a worker of ours that is not known any more the files prove nothing: it is reloaded.
            let external = matches!(self.driver, Driver::External(_));
            self.loaded = if external { self.driver.observe().await.map(|(_, files)| files) } else { None };
        }
    }
}

fn of_template(cause: std::io::Error) -> RoundError {
    RoundError::File(FileError { path: "the files of the next generation".to_owned(), cause })
}
