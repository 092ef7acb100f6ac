//! Raw text of HAProxy's configuration that people wrote, each line proven to stay in the section it is for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a service's raw text adds to what Causeway writes, or puts in its place, section by section. Each line is one of
/// HAProxy's, without its indentation, and written so that HAProxy reads the words that were looked at and no others.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Raw {
    /// More users and groups for its user list.
    pub users: Vec<String>,
    /// Lines of the frontend of its own that its service port then has.
    pub frontend: Vec<String>,
    /// True where those say themselves where a connection leads.
    pub leads: bool,
    /// What names the networks that are let in (`acl network_allowed …`), instead of what Causeway writes.
    pub allowed: Vec<String>,
    /// What keeps everybody else out, instead of what Causeway writes.
    pub denial: Vec<String>,
    /// Lines of its backend, behind whatever keeps somebody out.
    pub backend: Vec<String>,
    /// Words behind each of its servers, with a space before each.
    pub server: String,
    /// Words for the checks of each server, with a space before each, instead of what Causeway writes.
    pub check: Option<String>,
    /// Lines of the shared frontend for clear HTTP that lead to it.
    pub http: Vec<String>,
    /// Lines of the shared frontend for TLS that lead to it.
    pub https: Vec<String>,
    /// Lines of the app-id frontend that lead to it.
    pub app_id: Vec<String>,
}

impl Raw {
    /// No text.
    pub const NOTHING: Self = Self {
        users: Vec::new(),
        frontend: Vec::new(),
        leads: false,
        allowed: Vec::new(),
        denial: Vec::new(),
        backend: Vec::new(),
        server: String::new(),
        check: None,
        http: Vec::new(),
        https: Vec::new(),
        app_id: Vec::new(),
    };

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NOTHING
    }

    /// Whether lines of the shared frontends are its own.
    #[must_use]
    pub fn is_in_head(&self) -> bool {
        !self.http.is_empty() || !self.https.is_empty() || !self.app_id.is_empty()
    }

    /// Whether its servers are other than what a running HAProxy is told of a server that is added.
    #[must_use]
    pub fn changes_servers(&self) -> bool {
        !self.server.is_empty()
            || self.check.is_some()
            || self.backend.iter().any(|line| line.starts_with("balance ") || line.starts_with("hash-"))
    }
}

impl fmt::Debug for Raw {
    /// Without the hashes of passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("users", &self.users.len())
            .field("frontend", &self.frontend)
            .field("backend", &self.backend)
            .field("server", &self.server)
            .field("http", &self.http)
            .field("https", &self.https)
            .finish_non_exhaustive()
    }
}

/// What the operator's templates of marathon-lb add to the shared parts of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RawHead {
    /// Lines of `global`.
    pub global: Vec<String>,
    /// Lines of the defaults that every proxy has.
    pub defaults: Vec<String>,
    /// Lines of the shared frontend for clear HTTP.
    pub http: Vec<String>,
    /// Lines of the shared frontend for TLS.
    pub https: Vec<String>,
    /// Words behind its address.
    pub https_bind: Vec<String>,
    /// Lines of the app-id frontend.
    pub app_id: Vec<String>,
    /// Lines of the frontend of the statistics.
    pub stats: Vec<String>,
    /// Whole sections of the operator's own.
    pub sections: Vec<String>,
}
