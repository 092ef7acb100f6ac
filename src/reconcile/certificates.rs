//! A certificate that changed on disk is replaced in the running worker; a bad one changes nothing.

use super::Reconciler;
use crate::haproxy::HaproxyError;
use crate::haproxy::certificates::{self, Changed};
use crate::haproxy::runtime::Replaced;

impl Reconciler {
    /// Looks at the files that certificates and authorities come from.
    pub(super) async fn look_at_certificates(&mut self) {
        let (changed, others) = tokio::task::block_in_place(|| self.desired.look_at_certificates());
        // Files that came or went are loaded by a reload.
        self.dirty |= others;
        for changed in changed {
            self.renew(changed).await;
        }
        self.metrics.certificates_refused(self.desired.refused_certificates());
    }

    async fn renew(&mut self, changed: Changed) {
        let name = changed.name.clone();
        let replaced = match (self.desired.epoch(), std::str::from_utf8(&changed.bytes)) {
            (Some(epoch), Ok(pem)) if self.desired.is_swapped(&name) => {
                let dir = self.driver.generations().generation(epoch.generation).dir;
                let in_worker = self.desired.name_in_worker(&name, &dir);
                self.worker.replace_certificate(epoch, &in_worker, pem).await
            }
            // Nobody can be asked while it runs, or it is no text.
            _ => Ok(Replaced::TooLarge),
        };
        match replaced {
            Ok(Replaced::Done) => {
                tracing::info!("{name}: the new one is served to new connections");
                self.metrics.certificate_replaced();
                self.desired.take_certificate(changed, true);
                self.write_certificate(&name);
            }
            Ok(Replaced::NotLoaded) => {
                self.desired.take_certificate(changed, true);
                self.write_certificate(&name);
            }
            Ok(Replaced::Refused(words)) => self.desired.refuse_certificate(&name, &words),
            Ok(Replaced::TooLarge) => {
                let (binary, state_dir) = (&self.config.binary, &self.config.state_dir);
                match certificates::check(binary, state_dir, &changed, self.config.check_timeout).await {
                    Ok(()) => {
                        tracing::info!("{name}: the new one comes with a reload");
                        self.desired.take_certificate(changed, false);
                        self.dirty = true;
                    }
                    Err(HaproxyError::Check(failure)) => {
                        self.desired.refuse_certificate(&name, &failure.to_string());
                    }
                    Err(error) => {
                        tracing::warn!("{name}: {error}; it is looked at again");
                        self.desired.look_at_certificate_again(&name);
                    }
                }
            }
            Err(error) => {
                tracing::warn!("{name}: {error}; it is looked at again");
                self.desired.look_at_certificate_again(&name);
            }
        }
    }

    /// The files follow, so that a fresh start reads what runs.
    fn write_certificate(&self, name: &str) {
        let Some(epoch) = self.desired.epoch() else { return };
        let generations = self.driver.generations();
        let generation = generations.generation(epoch.generation);
        if let Err(error) =
            tokio::task::block_in_place(|| self.desired.write_extra(generations, &generation, name))
        {
            tracing::error!("{name}: {error}; the next reload writes it");
        }
    }
}
