//! What the handlers of rules work with: the store, what is allowed, what would come.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;

use super::judge;
use crate::config::Config;
use crate::forecast::{Forecast, ForecastError, Foresight};
use crate::haproxy::trial::{Trial, TrialRefusal};
use crate::model::{Change, Rule, Timestamp};
use crate::rules::{RuleStore, Rules};
use crate::view::View;
use crate::web::{ApiError, Caller};

/// Where rules are read, judged and written.
#[derive(Clone, Debug)]
pub struct RuleDesk {
    store: Arc<dyn RuleStore>,
    foresight: Foresight,
    /// What is known of apps: whose a host is.
    view: watch::Receiver<View>,
    trial: Trial,
}

impl RuleDesk {
    /// A desk for the rules of one store.
    #[must_use]
    pub fn new(
        store: Arc<dyn RuleStore>,
        foresight: Foresight,
        view: watch::Receiver<View>,
        config: &Config,
    ) -> Self {
        Self { store, foresight, view, trial: Trial::new(&config.haproxy) }
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
    /// 422 with everything that is wrong with it; 403 with what is not his to say.
    pub(in crate::web) fn judge(
        &self,
        caller: &Caller,
        current: Option<&Rule>,
        rule: &Rule,
    ) -> Result<(), ApiError> {
        judge::mistakes(current, rule)?;
        if !caller.is_admin() {
            let view = self.view.borrow().clone();
            if !view.ready {
                return Err(ForecastError::NotReady.into());
            }
            judge::within_role(caller, current, rule, &view)?;
        }
        Ok(())
    }

    /// Lets HAProxy judge the free texts of rules that were found sound, each with the rule that it is to replace: all of
    /// them at once, since each run takes its time.
    ///
    /// # Errors
    /// 422 with HAProxy's own words on each text that it refuses.
    pub(in crate::web) async fn try_texts(&self, rules: &[(Option<&Rule>, &Rule)]) -> Result<(), ApiError> {
        let texts: Vec<(&Rule, usize, &str)> = rules
            .iter()
            .flat_map(|(current, rule)| {
                judge::untried(*current, rule).into_iter().map(|(number, text)| (*rule, number, text))
            })
            .collect();
        let words: Vec<&str> = texts.iter().map(|(_, _, text)| *text).collect();
        let refused = match self.trial.refused(&words).await {
            Ok(refused) if refused.is_empty() => return Ok(()),
            Ok(refused) => refused,
            Err(untried @ TrialRefusal::Untried { .. }) => {
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, untried.to_string()));
            }
            // Which of them it was is not known.
            Err(refusal) => return Err(ApiError::mistakes(vec![refusal.to_string()])),
        };
        let (mut mistakes, mut told) = (Vec::new(), Vec::new());
        for (text, refusal) in refused {
            let (rule, number) = texts
                .iter()
                .find(|(_, _, each)| *each == text)
                .map_or((String::new(), 1), |(rule, number, _)| (rule.app.to_string(), *number));
            let column = match &refusal {
                TrialRefusal::Refused { column, .. } => *column,
                _ => None,
            };
            mistakes.push(match rules {
                [_] => format!("route {number}: {refusal}"),
                _ => format!("{rule}: route {number}: {refusal}"),
            });
            told.push(
                json!({ "app": rule, "route": number, "words": refusal.to_string(), "column": column }),
            );
        }
        Err(ApiError::mistakes(mistakes).with("haproxy", told))
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
