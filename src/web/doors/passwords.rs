//! Passwords: kept as argon2id hashes, tried a few at a time, wrong ones slowed.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use aws_lc_rs::{hmac, rand};
use lru::LruCache;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::throttle::Throttle;
use super::users::{Users, check_name};
use crate::web::reread::lock;

/// How many passwords are tried at once: each takes a core for some 20 ms, and 19 MiB.
const AT_ONCE: usize = 2;
/// How long a password waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// How long a password that was right is not tried again, for scripts that send theirs with each request.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// How many of them are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).expect("it is more than none");
/// The shortest password that may be set, in characters (NIST SP 800-63B, section 5.1.1.2).
const SHORTEST: usize = 8;
/// The longest password, in bytes.
const LONGEST: usize = 1024;
/// A hash of no password, with the parameters of [`Argon2::default`]: who is unknown takes as long as who is known.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbCE$bm9ib2R5IGF0IGFsbCwgYW5kIG5vIHBhc3N3b3JkISE";

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such user, or it is not his password.
    Wrong,
    /// Too many wrong ones before; nothing was tried.
    Later(Duration),
    /// Too many others are being tried.
    Busy,
}

/// Tries passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    throttle: Throttle,
    /// Of this process only: what is remembered is worth nothing elsewhere.
    key: hmac::Key,
    right: Mutex<LruCache<[u8; 32], Instant>>,
}

impl Passwords {
    /// Remembers nothing yet.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new() -> Result<Self, String> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| "the system gives no random bytes".to_owned())?;
        Ok(Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            throttle: Throttle::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            right: Mutex::new(LruCache::new(REMEMBERED)),
        })
    }

    /// Whether this is the user's password.
    ///
    /// # Errors
    /// Why he is not let in.
    pub(super) async fn verify(
        &self,
        users: &Users,
        user: &str,
        password: SecretString,
        from: IpAddr,
    ) -> Result<(), Refusal> {
        // No user can have this name or password: nothing to try, and nothing to find out by how long that takes.
        if check_name(user).is_err() || password.expose_secret().len() > LONGEST {
            return Err(Refusal::Wrong);
        }
        let hash = users.users.get(user).and_then(|user| user.password.clone());
        let mark = self.mark(user, &password, hash.as_deref());
        if self.was_right(mark) {
            return Ok(());
        }
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else { return Err(Refusal::Busy) };
        // Many at once with the same password: the first was tried for all of them.
        if self.was_right(mark) {
            return Ok(());
        }
        self.throttle.begin(user, from, Instant::now()).map_err(Refusal::Later)?;
        let is_right = tokio::task::spawn_blocking(move || {
            let is_right = is_password(password.expose_secret(), hash.as_deref().unwrap_or(NOBODY));
            // It is kept although whoever asked went away: what works here goes on working.
            drop(turn);
            is_right && hash.is_some()
        });
        if !is_right.await.unwrap_or(false) {
            return Err(Refusal::Wrong);
        }
        self.throttle.succeeded(user, from);
        lock(&self.right).put(mark, Instant::now());
        Ok(())
    }

    /// What is remembered of a password: nothing that leads back to it, and nothing that outlives the hash in the file.
    fn mark(&self, user: &str, password: &SecretString, hash: Option<&str>) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, hash.unwrap_or_default(), password.expose_secret()] {
            context.update(part.as_bytes());
            // None of the first two has it.
            context.update(&[0]);
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }

    fn was_right(&self, mark: [u8; 32]) -> bool {
        lock(&self.right).get(&mark).is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }
}

/// The hash under which a password is kept.
///
/// # Errors
/// It is too short or too long.
pub(super) fn hash(password: &str) -> Result<String, String> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(format!("a password has at least {SHORTEST} characters, and at most {LONGEST} bytes"));
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash.map_err(|error| format!("the password cannot be hashed: {error}"))?.to_string())
}

fn is_password(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Role;
    use crate::web::doors::users::User;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn users() -> Users {
        let ada = User { role: Role::Viewer, password: Some(hash("ada's password").unwrap()) };
        let proxied = User { role: Role::Viewer, password: None };
        let mut users = Users::default();
        users.users = [("ada".to_owned(), ada), ("proxied".to_owned(), proxied)].into();
        users
    }

    #[tokio::test]
    async fn a_password_is_right_for_its_user_only_and_until_it_is_changed() {
        let (passwords, mut users) = (Passwords::new().unwrap(), users());
        let verify = async |users: &Users, user: &str, password: &str| {
            passwords.verify(users, user, password.into(), HERE).await
        };
        assert_eq!(verify(&users, "ada", "ada's password").await, Ok(()));
        assert_eq!(lock(&passwords.right).len(), 1);
        assert_eq!(verify(&users, "ada", "ada's password").await, Ok(()));
        assert_eq!(verify(&users, "ada", "another password").await, Err(Refusal::Wrong));
        assert_eq!(verify(&users, "nobody", "ada's password").await, Err(Refusal::Wrong));
        assert_eq!(verify(&users, "proxied", "").await, Err(Refusal::Wrong));
        users.users.get_mut("ada").unwrap().password = Some(hash("her new password").unwrap());
        assert_eq!(verify(&users, "ada", "ada's password").await, Err(Refusal::Wrong));
        assert_eq!(verify(&users, "ada", "her new password").await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn wrong_passwords_at_once_are_slowed_as_well_and_right_ones_are_not() {
        let (passwords, users) = (Arc::new(Passwords::new().unwrap()), Arc::new(users()));
        let at_once = async |password: &'static str| {
            let mut tried = tokio::task::JoinSet::new();
            for _ in 0..12 {
                let (passwords, users) = (Arc::clone(&passwords), Arc::clone(&users));
                tried.spawn(async move { passwords.verify(&users, "ada", password.into(), HERE).await });
            }
            tried.join_all().await
        };
        assert!(at_once("ada's password").await.iter().all(Result::is_ok));
        let wrong = at_once("a wrong password").await;
        let tried = wrong.iter().filter(|result| **result == Err(Refusal::Wrong)).count();
        assert_eq!(tried, 5, "{wrong:?}");
        // What was right a moment ago is not in doubt because of it.
        assert_eq!(passwords.verify(&users, "ada", "ada's password".into(), HERE).await, Ok(()));
    }

    #[test]
    fn who_is_unknown_takes_as_long_as_who_is_known() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let known = hash("ada's password").unwrap();
        assert_eq!(nobody.params, PasswordHash::new(&known).unwrap().params);
        assert!(nobody.hash.is_some() && nobody.salt.is_some());
        assert!(!is_password("", NOBODY) && is_password("ada's password", &known));
    }

    #[test]
    fn a_short_password_is_refused() {
        assert!(hash("1234567").unwrap_err().contains("at least 8"));
        assert!(hash(&"x".repeat(1025)).is_err());
    }
}
