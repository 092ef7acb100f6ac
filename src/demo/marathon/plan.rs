//! What a deployment is going to do.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::definition::Definition;
use super::profile::Profile;

/// What is done to one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Start,
    Scale,
    Restart,
    Stop,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "StartApplication",
            Self::Scale => "ScaleApplication",
            Self::Restart => "RestartApplication",
            Self::Stop => "StopApplication",
        }
    }
}

/// Something done to an app.
pub(super) type Action = (Act, String);

/// A running deployment.
#[derive(Clone)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) steps: Vec<Vec<Action>>,
    pub(super) current: usize,
    pub(super) cancel: CancellationToken,
    /// The definitions before, to roll back to.
    pub(super) originals: Vec<(String, Option<Arc<Definition>>)>,
    /// The root group before and after, as text, where events carry it.
    pub(super) roots: Option<Arc<(String, String)>>,
}

impl Deployment {
    /// The apps it changes.
    pub(super) fn apps(&self) -> Vec<&str> {
        self.originals.iter().map(|(id, _)| id.as_str()).collect()
    }

    /// The plan as events carry it.
    pub(super) fn plan(&self, profile: Profile) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| actions(profile, step)).collect();
        json!({"id": self.id, "version": self.version, "steps": steps})
    }

    /// The step a `deployment_info` or `deployment_step_success` is about.
    pub(super) fn step(&self, profile: Profile, index: usize) -> Value {
        actions(profile, self.steps.get(index).map(Vec::as_slice).unwrap_or_default())
    }

    /// A payload with the whole root groups in its plan.
    pub(super) fn heavy(&self, payload: &str) -> Option<String> {
        let (original, target) = &**self.roots.as_ref()?;
        let plan = format!("\"plan\":{{\"original\":{original},\"target\":{target},");
        Some(payload.replacen("\"plan\":{", &plan, 1))
    }

    /// An entry of `/v2/deployments`; `readiness` gives an app's readiness results.
    pub(super) fn json(&self, profile: Profile, readiness: impl Fn(&str) -> Vec<Value>) -> Value {
        let current = self.steps.get(self.current).map(Vec::as_slice).unwrap_or_default();
        let key = action_key(profile);
        let acting: Vec<Value> = current
            .iter()
            .map(|(act, app)| json!({key: act.name(), "app": app, "readinessCheckResults": readiness(app)}))
            .collect();
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| actions(profile, step))
            .map(|mut step| if profile == Profile::V0_11 { step["actions"].take() } else { step })
            .collect();
        let mut entry = json!({
            "id": self.id,
            "version": self.version,
            "affectedApps": self.apps(),
            "steps": steps,
            "currentActions": acting,
            "currentStep": self.current + 1,
            "totalSteps": self.steps.len(),
        });
        if profile.has_instances() {
            entry["affectedPods"] = json!([]);
        }
        entry
    }
}

/// Until 1.1.1 the action's kind stood under `type`.
fn action_key(profile: Profile) -> &'static str {
    if profile == Profile::V0_11 { "type" } else { "action" }
}

fn actions(profile: Profile, step: &[Action]) -> Value {
    let key = action_key(profile);
    let actions: Vec<Value> = step.iter().map(|(act, app)| json!({key: act.name(), "app": app})).collect();
    json!({"actions": actions})
}
