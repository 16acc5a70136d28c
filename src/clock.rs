//! The one place that reads the clock. Everywhere else time is a parameter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{Moment, Timestamp};

/// This machine's time.
#[expect(clippy::disallowed_methods, reason = "this is the module that reads the clock")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// This machine's time, in whole milliseconds.
pub fn now() -> Timestamp {
    let since = system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(millis).unwrap_or(Timestamp::MAX)
}

/// How far the clock may step back, in microseconds, before moments follow it.
const STEP_MICROS_MAX: u64 = 5_000_000;

/// This machine's time, in microseconds, and later than every moment that this process has been told
/// before: so the order of events that come one after the other is kept. Only where the clock steps
/// back by more than some seconds moments do, too.
pub fn moment() -> Moment {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let since = system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let next = |last| Some(after(last, clock));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    let last = last.unwrap_or_else(|last| last);
    Moment::from_micros(after(last, clock)).unwrap_or_else(|| Timestamp::MAX.into())
}

const fn after(last: u64, clock: u64) -> u64 {
    if clock > last || last - clock > STEP_MICROS_MAX { clock } else { last + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_only_grow_and_follow_the_clock() {
        let moments: Vec<_> = (0..10_000).map(|_| moment()).collect();
        assert!(moments.is_sorted_by(|a, b| a < b));
        assert_eq!(after(7, 9), 9);
        assert_eq!((after(9, 9), after(9, 7)), (10, 10), "a small step back");
        assert_eq!(after(STEP_MICROS_MAX + 9, 8), 8, "a large one");
    }
}
