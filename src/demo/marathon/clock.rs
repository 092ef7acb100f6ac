//! Time as Marathon writes it.

use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::Timestamp;

/// Gives out versions that never repeat and never go back.
#[derive(Default)]
pub(super) struct Clock {
    last: Mutex<i64>,
}

impl Clock {
    /// A version: now, but at least one millisecond after the last one given.
    pub(super) fn version(&self) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Timestamp::now().as_millisecond().max(*last + 1);
        written(Timestamp::from_millisecond(*last).unwrap_or_default())
    }
}

/// Now, as `yyyy-MM-ddTHH:mm:ss.SSSZ`.
pub(super) fn now() -> String {
    written(Timestamp::now())
}

/// Now, as an HTTP `Date`.
pub(super) fn http_date() -> String {
    Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
