//! What is wrong with one app, and never stops another.

use serde::Serialize;

use super::AppId;

/// What is wrong, in a word that logs, metrics and pages share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The scheduler's record of the app cannot be understood.
    App,
    /// A label has a value that cannot be used.
    Label,
    /// A rule cannot be used.
    Rule,
    /// Two services want the same route or port.
    Conflict,
    /// The operator does not allow an app what it asks for.
    Policy,
    /// No request would ever reach a route: another comes before it.
    Shadowed,
    /// A task's host has no address.
    Host,
    /// The app has tasks, and none may get requests.
    NoServer,
    /// HAProxy or the template does not take the app's block.
    Block,
    /// A source would take away too much at once, and is not believed yet.
    Held,
    /// Somebody went back to an earlier generation: what changed since has no effect.
    RolledBack,
    /// HAProxy could not be brought to what is desired.
    Haproxy,
}

impl ProblemKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::App,
        Self::Label,
        Self::Rule,
        Self::Conflict,
        Self::Policy,
        Self::Shadowed,
        Self::Host,
        Self::NoServer,
        Self::Block,
        Self::Held,
        Self::RolledBack,
        Self::Haproxy,
    ];

    /// The word for it, as logs, metrics and pages have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Label => "label",
            Self::Rule => "rule",
            Self::Conflict => "conflict",
            Self::Policy => "policy",
            Self::Shadowed => "shadowed",
            Self::Host => "host",
            Self::NoServer => "no_server",
            Self::Block => "block",
            Self::Held => "held",
            Self::RolledBack => "rolled_back",
            Self::Haproxy => "haproxy",
        }
    }
}

/// One thing that is wrong with one app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Whose problem it is; `None` where no app can be named.
    pub app: Option<AppId>,
    /// What kind of problem.
    pub kind: ProblemKind,
    /// What failed and on what: the label, the rule, the port, the line.
    pub message: String,
    /// What happens now, and what to do.
    pub advice: String,
}

impl Problem {
    /// A problem of one app.
    #[must_use]
    pub fn of(app: &AppId, kind: ProblemKind, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { app: Some(app.clone()), kind, message: message.into(), advice: advice.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(app) = &self.app {
            write!(f, "{app}: ")?;
        }
        write!(f, "{} ({})", self.message, self.advice)
    }
}
