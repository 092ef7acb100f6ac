//! What the handlers of rules work with: the store, what is allowed, what would come.

use std::sync::Arc;

use http::StatusCode;

use super::judge;
use crate::config::Config;
use crate::forecast::{Forecast, ForecastError, Foresight};
use crate::model::{Change, Rule, Timestamp};
use crate::rules::{RuleStore, Rules};
use crate::services::Terms;
use crate::web::{ApiError, Caller};

/// Where rules are read, judged and written.
#[derive(Clone, Debug)]
pub struct RuleDesk {
    store: Arc<dyn RuleStore>,
    foresight: Foresight,
    terms: Arc<Terms>,
}

impl RuleDesk {
    /// A desk for the rules of one store.
    #[must_use]
    pub fn new(store: Arc<dyn RuleStore>, foresight: Foresight, config: &Config) -> Self {
        Self { store, foresight, terms: Arc::new(Terms::from(config)) }
    }

    pub(in crate::web) fn store(&self) -> &dyn RuleStore {
        &*self.store
    }

    pub(super) async fn foresee(&self, before: Arc<Rules>, after: Rules) -> Result<Forecast, ApiError> {
        Ok(self.foresight.of(before, after).await?)
    }

    /// Judges a rule that somebody wants to write instead of `current`, whose app he may edit.
    ///
    /// # Errors
    /// 422 with everything that is wrong with it, in HAProxy's words where it has any; 403 with what is not his to say.
    pub(in crate::web) async fn judge(
        &self,
        caller: &Caller,
        current: Option<&Rule>,
        rule: &Rule,
    ) -> Result<(), ApiError> {
        judge::mistakes(current, rule)?;
        if !caller.is_admin() {
            let state = self.foresight.state().await?;
            judge::within_role(caller, current, rule, &self.terms, state.services())?;
        }
        Ok(())
    }
}

/// Who changes a rule, now, and why.
pub(in crate::web) fn change(caller: &Caller, why: String) -> Change {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    Change { by: caller.name().to_owned(), at: Timestamp(now.into()), why }
}

impl From<ForecastError> for ApiError {
    fn from(error: ForecastError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}
