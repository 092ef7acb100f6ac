//! Waiting between attempts, and telling of failures without flooding the log.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);

/// Doubles from a quarter of a second to the maximum; each wait is cut by up to a half at random, so that many
/// balancers do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(max: Duration) -> Self {
        Self { attempts: 0, max }
    }

    pub(crate) fn wait(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(16)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Counts failures in a row: the first is told, then every tenth, and each one whose text is new.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    count: u64,
    last: String,
}

impl Complaints {
    /// The number of this failure, if it is to be told.
    pub(crate) fn tell(&mut self, text: &str) -> Option<u64> {
        self.count += 1;
        let fresh = self.last != text;
        text.clone_into(&mut self.last);
        (fresh || self.count == 1 || self.count.is_multiple_of(10)).then_some(self.count)
    }

    pub(crate) fn over(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_start_small_again() {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        let waits: Vec<_> = (0..40).map(|_| backoff.wait()).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2);
        assert!(waits[10..].iter().all(|wait| (1.0..=2.0).contains(&wait.as_secs_f64())));
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }

    #[test]
    fn the_first_failure_and_every_tenth_are_told_and_each_new_text() {
        let mut complaints = Complaints::default();
        let told: Vec<u64> = (0..25).filter_map(|_| complaints.tell("refused")).collect();
        assert_eq!(told, [1, 10, 20]);
        assert_eq!(complaints.tell("503"), Some(26));
        complaints.over();
        assert_eq!(complaints.tell("503"), Some(1));
    }
}
