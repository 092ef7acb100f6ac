//! Sessions: who logged in with a browser. They are kept in a file, so that they survive a restart, and so that one that ended
//! does not come back with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::users::{User, random, sha256};
use crate::durable::{FileError, replace_file};
use crate::web::reread::lock;

/// How long a session lasts.
pub(super) const LASTS: SignedDuration = SignedDuration::from_hours(12);
/// The most sessions of one user; the oldest ends.
const OF_ONE_USER: usize = 50;

/// A session of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Who logged in.
    pub(super) user: String,
    /// The hash of the hash of his password then: with another password the session has ended.
    password: String,
    /// Seconds since 1970 until which it lasts.
    expires: i64,
}

/// All sessions, by the SHA-256 of what their cookie says: who reads the file has none of them.
#[derive(Debug)]
pub(super) struct Sessions {
    path: PathBuf,
    held: Mutex<HashMap<String, Session>>,
}

impl Sessions {
    /// Reads those of before. A file that cannot be read holds none: everybody logs in again.
    pub(super) fn open(path: &Path) -> Self {
        let held = match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}; everybody has to log in again", path.display());
                HashMap::new()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                tracing::warn!("{}: {error}; everybody has to log in again", path.display());
                HashMap::new()
            }
        };
        Self { path: path.to_owned(), held: Mutex::new(held) }
    }

    /// Begins a session, and gives what its cookie says.
    ///
    /// # Errors
    /// The system gives no random bytes, or the session cannot be kept.
    pub(super) fn begin(&self, name: &str, user: &User, now: Timestamp) -> Result<String, String> {
        let cookie = random()?;
        let mut held = lock(&self.held);
        held.retain(|_, session| session.expires > now.as_second());
        let mut of_user: Vec<_> = held.iter().filter(|(_, session)| session.user == name).collect();
        of_user.sort_by_key(|(_, session)| session.expires);
        let more = of_user.len().saturating_sub(OF_ONE_USER - 1);
        let oldest: Vec<String> = of_user.into_iter().take(more).map(|(id, _)| id.clone()).collect();
        for id in oldest {
            held.remove(&id);
        }
        let session = Session {
            user: name.to_owned(),
            password: password_mark(user),
            expires: now.as_second().saturating_add(LASTS.as_secs()),
        };
        held.insert(sha256(&cookie), session);
        self.write(&held).map_err(|error| format!("the session cannot be kept: {error}"))?;
        Ok(cookie)
    }

    /// The session of a cookie, if it lasts.
    pub(super) fn find(&self, cookie: &str, now: Timestamp) -> Option<Session> {
        lock(&self.held).get(&sha256(cookie)).filter(|session| session.expires > now.as_second()).cloned()
    }

    /// Ends the session of a cookie, for good: also in the file. Tells whether there was one.
    ///
    /// # Errors
    /// The file cannot be written; the session has ended all the same, until the next start.
    pub(super) fn end(&self, cookie: &str) -> Result<Option<Session>, FileError> {
        let mut held = lock(&self.held);
        let ended = held.remove(&sha256(cookie));
        if ended.is_some() {
            self.write(&held)?;
        }
        Ok(ended)
    }

    fn write(&self, held: &HashMap<String, Session>) -> Result<(), FileError> {
        let json = serde_json::to_vec(held).unwrap_or_default();
        replace_file(&self.path, &json, 0o600)
    }
}

impl Session {
    /// Whether the user still has the password that he logged in with.
    pub(super) fn is_of(&self, user: &User) -> bool {
        user.password.is_some() && self.password == password_mark(user)
    }
}

fn password_mark(user: &User) -> String {
    sha256(user.password.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Role;

    fn user(password: &str) -> User {
        User { role: Role::Viewer, password: Some(password.to_owned()) }
    }

    #[test]
    fn a_session_survives_a_restart_until_its_time_is_over_or_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.json");
        let (sessions, now) = (Sessions::open(&path), Timestamp::UNIX_EPOCH);
        let ada = user("a hash");
        let (one, other) =
            (sessions.begin("ada", &ada, now).unwrap(), sessions.begin("ada", &ada, now).unwrap());
        let again = Sessions::open(&path);
        let session = again.find(&one, now).unwrap();
        assert!(session.user == "ada" && session.is_of(&ada) && !session.is_of(&user("another hash")));
        assert_eq!(again.find(&one, now + LASTS), None);
        assert!(again.find(&one, now + LASTS - SignedDuration::from_secs(1)).is_some());
        assert!(again.end(&one).unwrap().is_some() && again.end(&one).unwrap().is_none());
        assert_eq!(again.find(&one, now), None);
        let after_all = Sessions::open(&path);
        assert!(after_all.find(&one, now).is_none() && after_all.find(&other, now).is_some());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&other) && !text.contains("a hash"), "{text}");
    }

    #[test]
    fn a_user_has_a_number_of_sessions_and_the_oldest_ends() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&dir.path().join("sessions.json"));
        let (ada, bob) = (user("a"), user("b"));
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let of_bob = sessions.begin("bob", &bob, at(0)).unwrap();
        let first = sessions.begin("ada", &ada, at(1)).unwrap();
        let second = sessions.begin("ada", &ada, at(2)).unwrap();
        for number in 3..=51 {
            sessions.begin("ada", &ada, at(number)).unwrap();
        }
        assert!(sessions.find(&first, at(60)).is_none() && sessions.find(&second, at(60)).is_some());
        assert!(sessions.find(&of_bob, at(60)).is_some());
    }

    #[test]
    fn a_broken_file_holds_no_session() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.json");
        std::fs::write(&path, "{").unwrap();
        let sessions = Sessions::open(&path);
        assert!(lock(&sessions.held).is_empty());
    }
}
