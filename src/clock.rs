//! The one place that reads the clock. Everywhere else time is a parameter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{Moment, Timestamp};

/// This machine's time.
#[expect(clippy::disallowed_methods, reason = "this is the module that reads the clock")]
pub fn system_time() -> SystemTime {
    let now = SystemTime::now();
    #[cfg(debug_assertions)]
    let now = wrong::shifted(now);
    now
}

/// A clock that is wrong, for tests of the whole program: no release has this.
#[cfg(debug_assertions)]
mod wrong {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::time::{Duration, Instant, SystemTime};

    /// A file that says by how many milliseconds the clock is wrong, at any time.
    const FILE: &str = "TEST_CLOCK_SHIFT";
    /// How often it is read, in milliseconds.
    const READ_EVERY: u64 = 20;

    pub fn shifted(now: SystemTime) -> SystemTime {
        static FROM: OnceLock<Option<(PathBuf, Instant)>> = OnceLock::new();
        static READ: AtomicU64 = AtomicU64::new(0);
        static SHIFT: AtomicI64 = AtomicI64::new(0);
        let from = FROM.get_or_init(|| Some((std::env::var_os(FILE)?.into(), Instant::now())));
        let Some((file, begun)) = from else { return now };
        let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) + READ_EVERY;
        let read = READ.load(Ordering::Acquire);
        let is_due = passed >= read + READ_EVERY;
        if is_due
            && READ.compare_exchange(read, passed, Ordering::AcqRel, Ordering::Acquire).is_ok()
            && let Ok(text) = std::fs::read_to_string(file)
            && let Ok(millis) = text.trim().parse()
        {
            SHIFT.store(millis, Ordering::Release);
        }
        let shift = SHIFT.load(Ordering::Acquire);
        let by = Duration::from_millis(shift.unsigned_abs());
        if shift < 0 { now - by } else { now + by }
    }
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
