//! A clock that has stepped forward is not believed at once.

use std::time::{Duration, Instant};

use crate::clock;
use crate::domain::Timestamp;

/// A step of the clock that is not believed at once.
const STEP: Duration = Duration::from_hours(1);

/// When it was asked last, by two clocks: one that can be set and one that cannot.
pub struct BelievedClock {
    last: Instant,
    clock: Timestamp,
    paused_until: Option<Instant>,
}

impl BelievedClock {
    pub fn new() -> Self {
        Self { last: Instant::now(), clock: clock::now(), paused_until: None }
    }

    pub fn last(&self) -> Instant {
        self.last
    }

    /// Whether this time is believed. A clock that has stepped forward by more than an hour is not,
    /// until it has stayed there for an hour: a wrong clock must not end all calls.
    pub fn believes(&mut self, now: Timestamp) -> bool {
        let passed = self.last.elapsed();
        let shown = now.millis().saturating_sub(self.clock.millis());
        self.last = Instant::now();
        self.clock = now;
        if Duration::from_millis(shown) > passed + STEP {
            tracing::warn!(
                "the clock has stepped forward; no call or webhook is given up or deleted for an hour"
            );
            self.paused_until = Some(self.last + STEP);
        }
        if self.paused_until.is_some_and(|until| until > self.last) {
            return false;
        }
        self.paused_until = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_at_once() {
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let mut checked = BelievedClock { last: Instant::now(), clock: now, paused_until: None };
        assert!(checked.believes(now.plus_millis(1000)));
        assert!(!checked.believes(now.plus_millis(2 * 3_600_000)));
        assert!(!checked.believes(now.plus_millis(2 * 3_600_000 + 1)), "not yet confirmed");
        checked.paused_until = Some(Instant::now());
        assert!(checked.believes(now.plus_millis(2 * 3_600_000 + 2)), "an hour later it is");
    }
}
