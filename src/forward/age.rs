//! How old a hook may become before it is set aside.

use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::Timestamp;
use crate::store::BelievedClock;

/// The age of all targets. A clock that has stepped forward is not believed at once: it must not set aside all
/// that waits.
pub(super) struct Ages {
    max_millis: u64,
    clock: Mutex<BelievedClock>,
}

impl Ages {
    pub fn new(max: Duration) -> Self {
        let max_millis = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        Self { max_millis, clock: Mutex::new(BelievedClock::new()) }
    }

    /// What came before this time is too old; none where the clock is not believed.
    pub fn least(&self, now: Timestamp) -> Option<Timestamp> {
        let believed = self.clock.lock().believes(now);
        believed.then(|| now.minus_millis(self.max_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn nothing_is_too_old_because_the_clock_has_stepped_forward() {
        let ages = Ages::new(Duration::from_mins(1));
        let now = clock::now();
        assert_eq!(ages.least(now), Some(now.minus_millis(60_000)));
        let day = now.plus_millis(86_400_000);
        assert_eq!(ages.least(day), None);
        assert_eq!(ages.least(day.plus_millis(1000)), None, "it has not stayed there for long");
    }
}
