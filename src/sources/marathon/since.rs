//! Since when what is read was announced: the moment of the oldest event that a read answers. No clock of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::model::AppId;

/// The events that no read answers yet.
#[derive(Debug, Default)]
pub(crate) struct Since {
    apps: HashMap<AppId, Instant>,
    /// Changes that name no app, by their version.
    unexplained: BTreeMap<String, Instant>,
    /// What only a full read answers.
    doubt: Option<Instant>,
}

/// The events that one read answers, should it succeed.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    app: Option<AppId>,
    oldest: Option<Instant>,
}

impl Answered {
    /// When the oldest of them came in.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.oldest
    }
}

impl Since {
    /// An event says that an app changed.
    pub(crate) fn dirty(&mut self, app: &AppId, at: Instant) {
        match self.apps.get_mut(app) {
            Some(oldest) => *oldest = at.min(*oldest),
            None => drop(self.apps.insert(app.clone(), at)),
        }
    }

    /// An event says something that only a full read answers.
    pub(crate) fn doubt(&mut self, at: Instant) {
        self.doubt = Some(self.doubt.map_or(at, |oldest| oldest.min(at)));
    }

    /// An event tells of a change, but not of which app.
    pub(crate) fn unexplained(&mut self, version: String, at: Instant) {
        self.unexplained.entry(version).or_insert(at);
    }

    /// Another event names the apps of that change.
    pub(crate) fn explained(&mut self, version: &str) {
        self.unexplained.remove(version);
    }

    /// One app is read.
    pub(crate) fn one(&mut self, app: &AppId) -> Answered {
        Answered { app: Some(app.clone()), oldest: self.apps.remove(app) }
    }

    /// Everything is read.
    pub(crate) fn all(&mut self) -> Answered {
        let apps = self.apps.drain().map(|(_, at)| at);
        let changes = std::mem::take(&mut self.unexplained).into_values();
        Answered { app: None, oldest: apps.chain(changes).chain(self.doubt.take()).min() }
    }

    /// The read failed: its events wait for another.
    pub(crate) fn unanswered(&mut self, answered: Answered) {
        match (answered.app, answered.oldest) {
            (Some(app), Some(at)) => self.dirty(&app, at),
            (None, Some(at)) => self.doubt(at),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn times() -> [Instant; 3] {
        let first = Instant::now();
        [first, first + Duration::from_secs(1), first + Duration::from_secs(2)]
    }

    #[test]
    fn a_read_answers_the_oldest_event_of_its_app_and_nothing_that_comes_after() {
        let [first, second, third] = times();
        let (a, b) = (AppId::new("/a"), AppId::new("/b"));
        let mut since = Since::default();
        since.dirty(&a, first);
        since.dirty(&a, second);
        since.dirty(&b, third);
        let answered = since.one(&a);
        assert_eq!(answered.oldest(), Some(first));
        since.dirty(&a, second);
        since.unanswered(answered);
        assert_eq!(since.one(&a).oldest(), Some(first), "what a failed read was to answer waits on");
        assert_eq!(since.one(&a).oldest(), None, "a read that nobody announced answers nothing");
        assert_eq!(since.one(&b).oldest(), Some(third));
    }

    #[test]
    fn a_full_read_answers_everything_but_changes_that_were_explained() {
        let [first, second, third] = times();
        let mut since = Since::default();
        since.unexplained("v1".to_owned(), first);
        since.explained("v1");
        since.unexplained("v2".to_owned(), third);
        since.dirty(&AppId::new("/a"), second);
        let answered = since.all();
        assert_eq!(answered.oldest(), Some(second));
        since.unanswered(answered);
        assert_eq!(since.all().oldest(), Some(second));
        assert_eq!(since.all().oldest(), None);
    }
}
