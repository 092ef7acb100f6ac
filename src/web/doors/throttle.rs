//! Wrong passwords are slowed: for each user, and for each address they come from.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::web::reread::lock;

/// How many users and addresses are remembered; who failed longest ago is forgotten first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8192).expect("it is more than none");
/// Wrong passwords in a row that cost nothing: people mistype.
const FREE: u32 = 5;
/// The longest wait of an address.
const ADDRESS_WAIT: Duration = Duration::from_secs(32);
/// The longest wait of a user: short, since others can make him wait.
const USER_WAIT: Duration = Duration::from_secs(8);
/// After so long without a wrong password all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// Who failed how often.
#[derive(Debug)]
pub(super) struct Throttle(Mutex<LruCache<Key, Failures>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(String),
    /// Of IPv6 the network, whose addresses its owner has for the taking.
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Throttle {
    /// Begins to try a password: counts as a wrong one until it [`succeeded`](Self::succeeded), so that many at once are no
    /// way around.
    ///
    /// # Errors
    /// How long to wait before the next one is tried.
    pub(super) fn begin(&self, user: &str, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut failures = lock(&self.0);
        let keys = keys(user, from);
        let wait = keys.iter().filter_map(|key| failures.get(key)?.wait(key, now)).max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        for key in keys {
            let count = match failures.get(&key) {
                Some(failed) if now.duration_since(failed.last) < FORGOTTEN => failed.count.saturating_add(1),
                _ => 1,
            };
            failures.put(key, Failures { count, last: now });
        }
        Ok(())
    }

    /// The password was right: the user has a clean slate; the address only loses what this attempt counted, or somebody
    /// could guess the passwords of others between logins of his own.
    pub(super) fn succeeded(&self, user: &str, from: IpAddr) {
        let mut failures = lock(&self.0);
        let [of_user, of_address] = keys(user, from);
        failures.pop(&of_user);
        if let Some(failed) = failures.get_mut(&of_address) {
            failed.count = failed.count.saturating_sub(1);
        }
    }
}

impl Failures {
    fn wait(self, key: &Key, now: Instant) -> Option<Duration> {
        let over = self.count.checked_sub(FREE)?;
        let most = if matches!(key, Key::User(_)) { USER_WAIT } else { ADDRESS_WAIT };
        let wait = Duration::from_secs(1 << over.min(10)).min(most);
        wait.checked_sub(now.duration_since(self.last)).filter(|left| !left.is_zero())
    }
}

fn keys(user: &str, from: IpAddr) -> [Key; 2] {
    let address = match from {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        IpAddr::V4(_) => from,
    };
    [Key::User(user.to_owned()), Key::Address(address)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn after_five_wrong_passwords_each_next_one_waits_longer_up_to_a_limit() {
        let (throttle, mut now) = (Throttle::default(), Instant::now());
        for _ in 0..5 {
            assert_eq!(throttle.begin("ada", HERE, now), Ok(()));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            let wait = throttle.begin("ada", HERE, now).unwrap_err();
            assert_eq!(wait, Duration::from_secs(seconds));
            now += wait;
            assert_eq!(throttle.begin("ada", HERE, now), Ok(()));
        }
        // From elsewhere her wait is the user's, and so is anybody's from here the address's.
        assert_eq!(throttle.begin("ada", THERE, now), Err(USER_WAIT));
        assert_eq!(throttle.begin("bob", HERE, now), Err(ADDRESS_WAIT));
        assert_eq!(throttle.begin("bob", THERE, now), Ok(()));
        assert_eq!(throttle.begin("ada", HERE, now + FORGOTTEN), Ok(()));
        assert_eq!(throttle.begin("ada", HERE, now + FORGOTTEN), Ok(()), "all was forgotten");
    }

    #[test]
    fn a_login_of_ones_own_does_not_wash_an_address_clean() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for guess in 0..5 {
            assert_eq!(throttle.begin(&format!("victim{guess}"), HERE, now), Ok(()));
            if guess < 4 {
                assert_eq!(throttle.begin("mallory", HERE, now), Ok(()));
                throttle.succeeded("mallory", HERE);
            }
        }
        assert!(throttle.begin("victim", HERE, now).is_err());
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for host in 1..=5 {
            let from = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
            assert_eq!(throttle.begin(&format!("user{host}"), from, now), Ok(()));
        }
        let from = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 9, 9, 9, 9));
        assert!(throttle.begin("another", from, now).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..u32::try_from(REMEMBERED.get()).unwrap() {
            let from = IpAddr::V4((0x0a00_0000 + number).into());
            assert_eq!(throttle.begin(&format!("user{number}"), from, now), Ok(()));
        }
        assert_eq!(lock(&throttle.0).len(), REMEMBERED.get());
    }
}
