//! What the API's words mean, in words for people, and how they look: a tone, and never that alone.

use serde::Serialize;
use tera::Value;

use super::templates::escaped;

/// One word of the API.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Word {
    /// As the API has it.
    pub(super) name: &'static str,
    /// As a page has it.
    pub(super) word: &'static str,
    /// good, warn, bad, idle.
    pub(super) tone: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
}

/// Words of one sort.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Words(pub(super) &'static [Word]);

impl Words {
    /// The word as a chip, whose meaning shows when one points at it.
    pub(super) fn chip(&self, name: &str) -> Value {
        let Some(word) = self.0.iter().find(|word| word.name == name) else {
            return Value::safe_string(&format!("<span class=\"chip idle\">{}</span>", escaped(name)));
        };
        let Word { word, tone, meaning, .. } = word;
        let title = escaped(meaning);
        Value::safe_string(&format!("<span class=\"chip {tone}\" title=\"{title}\">{word}</span>"))
    }
}

const fn word(name: &'static str, word: &'static str, tone: &'static str, meaning: &'static str) -> Word {
    Word { name, word, tone, meaning }
}

/// The states of a service.
pub(super) const STATES: Words = Words(&[
    word("up", "Up", "good", "Every instance that it is to have takes requests."),
    word("degraded", "Degraded", "warn", "It serves, with fewer servers than it is to have instances."),
    word(
        "down",
        "Down",
        "bad",
        "No server takes requests, or a label that keeps somebody out cannot be used: clients get 503.",
    ),
    word(
        "last_good",
        "Last good",
        "warn",
        "Its newest definition is refused; it serves as it was defined before.",
    ),
    word(
        "left_out",
        "Left out",
        "bad",
        "HAProxy refuses its definition, and there is no earlier one that was good: nothing leads to it.",
    ),
    word("suspended", "Suspended", "idle", "It is to have no instances: clients get 503."),
    word(
        "unexposed",
        "Not exposed",
        "idle",
        "An app without a service: no label or rule asks for one, or something keeps it out.",
    ),
]);

/// The kinds of problems.
pub(super) const KINDS: Words = Words(&[
    word(
        "app",
        "App",
        "bad",
        "Marathon's record of the app cannot be understood; what was known of it before stays.",
    ),
    word("label", "Label", "warn", "A label has a value that cannot be used; the app goes on without it."),
    word("rule", "Rule", "warn", "A rule cannot be used; it is as if it were not there."),
    word(
        "conflict",
        "Conflict",
        "warn",
        "Two services want the same route or port; one has it, the other goes without.",
    ),
    word("policy", "Policy", "warn", "The operator does not allow the app what it asks for."),
    word("shadowed", "Shadowed", "warn", "No request would ever reach a route: another comes before it."),
    word("host", "Host", "bad", "The address of a task's agent cannot be found; the task gets no requests."),
    word("no_server", "No server", "bad", "The app has tasks, and none may get requests: clients get 503."),
    word(
        "block",
        "Block",
        "bad",
        "HAProxy or a template does not take what the app asks for; it serves as before, or is left out.",
    ),
    word(
        "haproxy",
        "HAProxy",
        "bad",
        "HAProxy could not be brought to what is desired: it goes on with what it has, and what changed since has no effect.",
    ),
    word(
        "rolled_back",
        "Rolled back",
        "warn",
        "Somebody went back to an earlier generation; what changed since has no effect until it is released.",
    ),
    word(
        "held",
        "Held",
        "warn",
        "A source would take away very much at once; what was known before stays until it is believed.",
    ),
]);

/// The states of a server.
pub(super) const SERVERS: Words = Words(&[
    word("serving", "In use", "good", "It gets requests."),
    word(
        "by_hand",
        "Out by hand",
        "warn",
        "Somebody took it out: it gets no new requests until it is put back, or the time is over.",
    ),
    word(
        "draining",
        "Draining",
        "warn",
        "It leaves: it gets no new requests but those that stick to it, and finishes what it has.",
    ),
    word("closing", "Closing", "idle", "It has left; its place is free again when nothing uses it any more."),
    word(
        "out",
        "Not used",
        "idle",
        "A task of the app that may get no requests: Marathon's word on it says why.",
    ),
]);

/// How a change was done.
pub(super) const CHANGES: Words = Words(&[
    word("runtime", "At run time", "good", "By commands to the running HAProxy; no connection noticed."),
    word("reload", "Reload", "idle", "By a new worker of HAProxy; the one before finishes what it has."),
    word("start", "Start", "idle", "HAProxy was started."),
    word("failed", "Failed", "bad", "It did not get through; HAProxy goes on with what it has."),
    word("rollback", "Rollback", "warn", "Somebody went back to an earlier configuration."),
    word("release", "Release", "idle", "Somebody ended a rollback."),
    word("server", "By hand", "warn", "Somebody set a server by hand."),
]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProblemKind;

    #[test]
    fn every_kind_of_problem_has_a_word() {
        for kind in ProblemKind::ALL {
            assert!(KINDS.0.iter().any(|word| word.name == kind.name()), "{}", kind.name());
        }
    }
}
