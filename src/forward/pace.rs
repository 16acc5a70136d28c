//! When the next attempt is made: of one hook, and at a target that does not answer.
//!
//! A target at which attempts fail one after the other, those of several hooks, is *down*. Then one attempt is made
//! at a time, after a pause that doubles, whatever waits for it; each with the hook whose turn it is. One success,
//! and what waits is sent: with one more attempt at a time for each that succeeds.
//!
//! An answer that may be about the hook and not about the target, such as 400 or 500, counts once a hook until an
//! attempt succeeds. So the few that a target refuses for good do not keep others waiting. All else counts each
//! time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The pause after a first failure, at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// So many failures one after the other that count, and a target is down.
const FAILURES_MAX: u32 = 5;
/// Doublings beyond which a pause grows no more: far above any bound of it.
const DOUBLINGS_MAX: u32 = 20;

/// A pause after so many failures: any between none and a bound that doubles (full jitter). `share` is between
/// 0 and 1.
pub(super) fn pause(failures: u32, longest: Duration, share: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let bound = PAUSE_MIN.saturating_mul(1 << doublings).min(longest);
    bound.mul_f64(share.clamp(0.0, 1.0))
}

/// How a target answers.
#[derive(Debug)]
pub(super) struct Pace {
    longest: Duration,
    concurrency: usize,
    /// Attempts that failed since the last success.
    in_a_row: u32,
    /// Those of them that count.
    failures: u32,
    /// Hooks since then of which an answer was that may be about them alone.
    refused: BTreeSet<u64>,
    /// Attempts that may be under way while it is not down.
    allowed: usize,
    /// While it is down: when the next attempt is made.
    probe_at: Option<Instant>,
}

impl Pace {
    pub fn new(concurrency: usize, longest: Duration) -> Self {
        let refused = BTreeSet::new();
        Self {
            longest,
            concurrency,
            in_a_row: 0,
            failures: 0,
            refused,
            allowed: concurrency,
            probe_at: None,
        }
    }

    pub fn is_down(&self) -> bool {
        self.probe_at.is_some()
    }

    /// Whether one more attempt may be made, beside those that are under way.
    pub fn admits(&self, under_way: usize, now: Instant) -> bool {
        match self.probe_at {
            Some(at) => under_way == 0 && now >= at,
            None => under_way < self.allowed,
        }
    }

    /// When an attempt may be made that may not be made now; none where that is not a matter of time.
    pub fn next(&self) -> Option<Instant> {
        self.probe_at
    }

    /// Whether attempts fail one after the other, be it down or not.
    pub fn is_failing(&self) -> bool {
        self.in_a_row >= FAILURES_MAX
    }

    /// Says whether it was down until now.
    pub fn succeeded(&mut self) -> bool {
        let was_down = self.probe_at.take().is_some();
        (self.in_a_row, self.failures) = (0, 0);
        self.refused.clear();
        self.allowed = if was_down { 1 } else { (self.allowed + 1).min(self.concurrency) };
        was_down
    }

    /// An attempt has failed; `refused` is the hook, where that may be about the hook alone. Says whether attempts
    /// fail one after the other from now on.
    pub fn failed(&mut self, refused: Option<u64>, now: Instant, share: f64) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.is_down() || refused.is_none_or(|seq| self.refused.insert(seq)) {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= FAILURES_MAX {
                // Not much less than the bound: a target that is down is left alone.
                let share = 0.5 + share.clamp(0.0, 1.0) / 2.0;
                let after = pause(self.failures - FAILURES_MAX + 1, self.longest, share);
                self.probe_at = Some(now + after);
            }
        }
        self.in_a_row == FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let longest = Duration::from_mins(1);
        let bounds: Vec<_> = (1..9).map(|n| pause(n, longest, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, longest, 1.0), longest);
        assert_eq!(pause(9, longest, 0.0), Duration::ZERO);
        assert_eq!(pause(2, longest, 0.25), Duration::from_millis(500));
    }

    #[test]
    fn a_target_that_is_down_gets_one_attempt_at_a_time_and_comes_back_slowly() {
        let (longest, now) = (Duration::from_mins(1), Instant::now());
        let mut pace = Pace::new(4, longest);
        assert!(pace.admits(3, now) && !pace.admits(4, now));
        let began: Vec<_> = (0..5).map(|_| pace.failed(None, now, 1.0)).collect();
        assert_eq!(began, [false, false, false, false, true]);
        let probe = pace.next().unwrap();
        assert_eq!(probe, now + Duration::from_secs(1));
        assert!(!pace.admits(0, now) && pace.admits(0, probe) && !pace.admits(1, probe));
        assert!(!pace.failed(None, probe, 1.0));
        assert_eq!(pace.next().unwrap(), probe + Duration::from_secs(2));
        assert!(pace.succeeded());
        assert!(!pace.is_down() && pace.admits(0, now) && !pace.admits(1, now));
        assert!(!pace.succeeded());
        assert!(pace.admits(1, now) && !pace.admits(2, now));
        assert!((0..9).all(|_| !pace.succeeded()));
        assert!(pace.admits(3, now) && !pace.admits(4, now));
    }
    #[test]
    fn hooks_that_are_refused_again_and_again_do_not_make_a_target_down() {
        let (longest, now) = (Duration::from_mins(1), Instant::now());
        let mut pace = Pace::new(4, longest);
        let began: Vec<_> = (0..36).map(|n| pace.failed(Some(n % 4), now, 1.0)).collect();
        assert_eq!(began.iter().position(|began| *began), Some(4), "that is said once");
        assert!(pace.is_failing() && !pace.is_down() && pace.admits(3, now));
        pace.failed(Some(5), now, 1.0);
        assert!(pace.is_down(), "a fifth one is refused");
        // From then on each attempt counts, so that the pauses grow.
        pace.failed(Some(5), now, 1.0);
        assert_eq!(pace.next().unwrap(), now + Duration::from_secs(2));
        assert!(pace.succeeded() && !pace.is_failing());
        assert!((1..5).all(|seq| !pace.failed(Some(seq), now, 1.0)), "they count anew");
        assert!(!pace.is_down());
        assert!(pace.failed(None, now, 1.0) && pace.is_down(), "another kind counts with them");
    }
}
