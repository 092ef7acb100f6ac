//! How much there was of something in each minute of the last hour, for a small picture.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Minutes that are kept.
const MINUTES: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// A sum for each minute.
#[derive(Clone, Debug)]
pub struct LastHour {
    /// The oldest first; the last is the minute that is under way.
    sums: VecDeque<f64>,
    /// When the minute that is under way began.
    began: Instant,
}

impl Default for LastHour {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl LastHour {
    fn new(now: Instant) -> Self {
        Self { sums: VecDeque::from([0.0; MINUTES]), began: now }
    }

    /// Something more.
    pub fn add(&mut self, much: f64, now: Instant) {
        self.turn(now);
        if let Some(sum) = self.sums.back_mut() {
            *sum += much;
        }
    }

    /// The sums of the last 60 minutes, the oldest first.
    #[must_use]
    pub fn minutes(&self, now: Instant) -> Vec<f64> {
        let mut turned = self.clone();
        turned.turn(now);
        turned.sums.into()
    }

    /// Lets the minutes go by.
    fn turn(&mut self, now: Instant) {
        for _ in 0..MINUTES {
            if now.duration_since(self.began) < MINUTE {
                return;
            }
            self.began += MINUTE;
            self.sums.pop_front();
            self.sums.push_back(0.0);
        }
        // More than an hour of silence.
        if now.duration_since(self.began) >= MINUTE {
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_kept_for_an_hour() {
        let start = Instant::now();
        let mut hour = LastHour::new(start);
        hour.add(2.0, start);
        hour.add(3.0, start + Duration::from_secs(59));
        hour.add(7.0, start + Duration::from_secs(60));
        let minutes = hour.minutes(start + Duration::from_secs(61));
        assert_eq!((minutes.len(), &minutes[58..]), (60, &[5.0, 7.0][..]));
        let minutes = hour.minutes(start + Duration::from_secs(59 * 60));
        assert_eq!(minutes[..2], [5.0, 7.0]);
        assert_eq!(hour.minutes(start + Duration::from_secs(60 * 60))[0], 7.0);
        assert!(hour.minutes(start + Duration::from_secs(500_000)).iter().all(|sum| *sum == 0.0));
        hour.add(1.0, start + Duration::from_secs(500_000));
        assert_eq!(hour.minutes(start + Duration::from_secs(500_001))[59], 1.0);
    }
}
