//! When a call is up, for the peaks: from its attempt, as it takes a channel from then on and is counted
//! among the active calls, to its end.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::{Call, Moment, Quarter, Source, Timestamp};

/// How long before it was listed a call may be up. Nearly all are listed when they begin.
pub const UP_BEFORE_MS: u64 = 60 * 60 * 1000;
/// How long after it was listed a call may be up: what no kept time of an end says is not known.
pub const UP_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// From an instant to before another, later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Up {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// When a call is up, as its record has it: of an active one that depends on what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTime {
    pub from: Timestamp,
    /// None: the call is active.
    pub until: Option<Timestamp>,
    /// It is up no longer than to this instant.
    pub latest: Timestamp,
}

impl UpTime {
    /// None where the call is up at no time.
    ///
    /// It begins with the attempt, or the answer where that alone is known. It ends:
    /// * with the end, which is not part of it: two calls of which one begins as the other ends are not
    ///   up at the same time;
    /// * where its time is not known, after the duration, or, without one, with the last time that is
    ///   known of the call, which is part of it;
    /// * for an active call with now, which is part of it. Where no time is known it begins with the listing;
    /// * for a stale call with the last time that is known of it, which is part of it.
    pub fn of(call: &Call) -> Option<Self> {
        let begun = call.attempted_at().or(call.answered_at());
        let (from, until) = if call.live() {
            (begun.unwrap_or(call.listed_at), None)
        } else if let Some(end) = call.terminated_at().filter(|_| call.ended()) {
            (begun?, Some(end))
        } else if let Some(seconds) = call.duration() {
            let end = call.answered_at().or(begun)?.plus_millis(seconds.saturating_mul(1000));
            (begun?, Some(end))
        } else {
            (begun?, Some(last_known(call)?.plus_millis(1)))
        };
        let from = from.max(call.listed_at.minus_millis(UP_BEFORE_MS));
        let latest = call.listed_at.plus_millis(UP_AFTER_MS);
        let until = until.map(|until| until.min(latest));
        (from < until.unwrap_or(latest)).then_some(Self { from, until, latest })
    }

    /// As far as is known now.
    pub fn at(self, now: Timestamp) -> Option<Up> {
        let until = || now.max(self.from).plus_millis(1).min(self.latest);
        let until = self.until.unwrap_or_else(until);
        (self.from < until).then_some(Up { from: self.from, until })
    }
}

impl Up {
    /// As far as is known now; none where the call is up at no time.
    pub fn of(call: &Call, now: Timestamp) -> Option<Self> {
        UpTime::of(call)?.at(now)
    }
}

/// How many are up at the same time at most, quarter of an hour by quarter of an hour.
pub struct Peaks {
    begins: Peekable<IntoIter<Timestamp>>,
    ends: Peekable<IntoIter<Timestamp>>,
    up: u32,
}

impl Peaks {
    pub fn new(ups: impl Iterator<Item = Up>) -> Self {
        let (mut begins, mut ends): (Vec<_>, Vec<_>) = ups.map(|up| (up.from, up.until)).unzip();
        begins.sort_unstable();
        ends.sort_unstable();
        Self { begins: begins.into_iter().peekable(), ends: ends.into_iter().peekable(), up: 0 }
    }

    /// In a quarter that comes after those that were asked for before.
    pub fn within(&mut self, quarter: Quarter) -> u32 {
        let Self { begins, ends, up } = self;
        // Who is still up as it begins.
        while begins.next_if(|at| *at < quarter.start()).is_some() {
            *up = up.saturating_add(1);
        }
        while ends.next_if(|at| *at <= quarter.start()).is_some() {
            *up = up.saturating_sub(1);
        }
        let mut most = *up;
        while let Some(at) = begins.next_if(|at| *at < quarter.end()) {
            while ends.next_if(|end| *end <= at).is_some() {
                *up = up.saturating_sub(1);
            }
            *up = up.saturating_add(1);
            most = most.max(*up);
        }
        most
    }
}

fn last_known(call: &Call) -> Option<Timestamp> {
    let events = call.timeline.iter().filter(|entry| entry.source != Source::Sweep);
    let newest = events.filter_map(|entry| entry.at).max().map(Moment::time);
    newest.max(call.attempted_at()).max(call.answered_at())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ACCOUNT, CALL, bare_event};
    use super::super::{CallId, CallStatus, EventTimes, StampedEvent, merge};
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn at(seconds_ago: u64) -> Timestamp {
        Timestamp::from_millis(NOW - seconds_ago * 1000).unwrap()
    }

    fn event(status: CallStatus, seconds_ago: u64) -> StampedEvent {
        let id = CallId { account: ACCOUNT, sid: CALL };
        bare_event(id, Some(status), at(seconds_ago))
    }

    fn call(events: &[StampedEvent]) -> Call {
        let merge_in = |call: Option<Call>, event: &StampedEvent| {
            Some(merge(call.as_ref(), event.clone(), at(0)))
        };
        events.iter().fold(None, merge_in).unwrap()
    }

    /// Milliseconds before now: from, until.
    fn up(call: &Call) -> Option<(i64, i64)> {
        let ago = |at: Timestamp| NOW.cast_signed() - at.millis().cast_signed();
        Up::of(call, at(0)).map(|up| (ago(up.from), ago(up.until)))
    }

    #[test]
    fn a_call_is_up_from_its_attempt_to_its_end() {
        use CallStatus::{Busy, Completed, InProgress, Ringing, Trying};
        let rung = [event(Trying, 90), event(Ringing, 80)];
        assert_eq!(up(&call(&rung)), Some((90_000, -1)), "active: now is part of it");
        let talked = [&rung[..], &[event(InProgress, 70), event(Completed, 10)]].concat();
        assert_eq!(up(&call(&talked)), Some((90_000, 10_000)));
        assert_eq!(up(&call(&[event(Busy, 5)])), None, "it began as it ended");
        assert_eq!(up(&call(&[event(Trying, 6), event(Busy, 5)])), Some((6000, 5000)));
        let mut stale = call(&talked[..3]);
        stale.stale = true;
        assert_eq!(up(&stale), Some((90_000, 69_999)), "its last event is part of it");
    }

    #[test]
    fn an_end_without_a_time_follows_from_the_duration_or_the_last_event() {
        use CallStatus::{Completed, InProgress, Trying};
        let mut end = event(Completed, 0);
        end.stamp = EventTimes { at: None, terminated_at: None, ..end.stamp };
        let begun = [event(Trying, 90), event(InProgress, 70)];
        let ended = |end: &StampedEvent| call(&[&begun[..], std::slice::from_ref(end)].concat());
        assert_eq!(ended(&end).progress.terminated_at, None);
        assert_eq!(up(&ended(&end)), Some((90_000, 69_999)));
        end.duration = Some(30);
        assert_eq!(up(&ended(&end)), Some((90_000, 40_000)));
    }

    #[test]
    fn a_call_is_up_for_no_longer_than_a_day_after_it_was_listed_and_an_hour_before() {
        use CallStatus::{InProgress, Ringing};
        let long = [event(InProgress, 3 * 86_400)];
        assert_eq!(up(&call(&long)), Some((3 * DAY.cast_signed(), 2 * DAY.cast_signed())));
        let late = [event(Ringing, 10), event(InProgress, 2 * 3600)];
        assert_eq!(call(&late).listed_at, at(10));
        assert_eq!(up(&call(&late)), Some((3_610_000, -1)));
    }
}
