//! What the API shows beside what it has to.

use serde::{Deserialize, Serialize};

/// What the API shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// The environment variables of apps that Bamboo's `/api/state` shows; no others are kept, they may hold secrets.
    pub state_env: Vec<String>,
}

impl ApiConfig {
    pub(super) fn mistakes(&self) -> Vec<String> {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let wrong = self.state_env.iter().filter(|name| name.is_empty() || !name.chars().all(known));
        wrong.map(|name| format!("api.state_env: {name:?} is not the name of a variable")).collect()
    }
}
