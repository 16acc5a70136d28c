//! The merge: a call is the join of its events.
//!
//! An event is a record of its own (all that it says and nothing else), and two records of one call
//! join into one. The join is commutative, associative and idempotent, `listed_at` and `stale`
//! apart, so that a call does not depend on the order in which its events arrive, nor on how often.
//! Every part of it is either "the greater one wins" or "a set, cut to its greatest elements".

use std::cmp::{Ordering, Reverse};

use super::{
    Call, CdrTimes, Field, Moment, Origin, Rank, SipReason, Source, StampedEvent, StatusProgress,
    TIMELINE_MAX, TimelineEntry, Timestamp,
};

/// The call after this event. A new call is listed at the event's time, or at `received_at` where
/// it has none; a known call keeps its place.
///
/// A record that is imported whole is merged by [`Call::join`].
pub fn merge(stored: Option<&Call>, event: StampedEvent, received_at: Timestamp) -> Call {
    let listed_at = event
        .stamp
        .listed_at
        .or(event.stamp.attempted_at)
        .or(event.stamp.at.map(Moment::time))
        .unwrap_or(received_at);
    let news = event.into_call(listed_at);
    match stored {
        Some(call) => call.join(&news),
        None => news,
    }
}

impl Call {
    /// What both records say together. The place in lists is that of `self`, and so is whether it has
    /// a namesake; a stale call is stale
    /// no longer once it hears something new.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        if other.progress.precedence() > joined.progress.precedence() {
            joined.progress = other.progress.clone();
        }
        if other.reason.as_ref().map(SipReason::precedence)
            > joined.reason.as_ref().map(SipReason::precedence)
        {
            joined.reason.clone_from(&other.reason);
        }
        joined.attempted_at = least(joined.attempted_at, other.attempted_at);
        joined.said_attempted_at = least(joined.said_attempted_at, other.said_attempted_at);
        joined.said_answered_at = least(joined.said_answered_at, other.said_answered_at);
        joined.answered_at = least(joined.answered_at, other.answered_at);
        joined.cdr = joined.cdr.join(other.cdr);
        if joined.direction.weight() < other.direction.weight() {
            joined.direction = other.direction.clone();
        }
        for (mine, theirs) in joined.texts.iter_mut().zip(&other.texts) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(mine), Some(theirs)) => take_greater(mine, theirs),
                (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            }
        }
        joined.extras.join(&other.extras);
        join_timeline(&mut joined.timeline, &other.timeline);
        if joined != *self {
            joined.stale = false;
        }
        joined
    }

    /// The same call, given up: no event for too long. `at` is when that was noticed.
    #[must_use]
    pub fn into_stale(mut self, at: Timestamp) -> Self {
        let entry = TimelineEntry {
            at: Some(at.into()),
            source: Source::Sweep,
            status: None,
            sip_status: self.progress.sip_status,
        };
        join_timeline(&mut self.timeline, &[entry]);
        self.stale = true;
        self
    }
}

impl StatusProgress {
    /// The greater wins: the higher rank, then what no CDR says, then a known time, then the newest (the
    /// earliest among final ones, CDRs apart: a call ends once), then the greater canonical value.
    fn precedence(&self) -> impl Ord + '_ {
        let canonical = (
            self.status.as_str(),
            self.sip_status,
            self.terminated_at,
            self.end_said,
            self.duration,
        );
        let rank = self.status.rank();
        let own = (!self.by_cdr).then(|| turn(Origin { rank, at: self.at }));
        (rank, own, self.at, canonical)
    }
}

impl CdrTimes {
    fn join(self, other: Self) -> Self {
        Self {
            attempted_at: least(self.attempted_at, other.attempted_at),
            answered_at: least(self.answered_at, other.answered_at),
            end: self.end.max(other.end),
        }
    }
}

impl SipReason {
    /// The greater wins, in the order of [`StatusProgress`].
    fn precedence(&self) -> impl Ord + '_ {
        (turn(self.origin), self.sip_status, &*self.text)
    }
}

/// The order of what decides a status.
fn turn(origin: Origin) -> impl Ord {
    let Origin { rank, at } = origin;
    let last = if rank == Rank::Terminal { None } else { at };
    let first = if rank == Rank::Terminal { at.map(Reverse) } else { None };
    (rank, at.is_some(), last, first)
}

/// The earlier of two times, where they are known.
pub(super) fn least(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Field<super::Direction> {
    fn weight(&self) -> impl Ord {
        (self.origin, self.value)
    }
}

/// An empty text never replaces another, wherever it comes from.
fn take_greater(mine: &mut Field<Box<str>>, theirs: &Field<Box<str>>) {
    let weight = |field: &Field<Box<str>>| (!field.value.is_empty(), field.origin);
    if (weight(theirs), &theirs.value) > (weight(mine), &mine.value) {
        *mine = theirs.clone();
    }
}

fn join_timeline(mine: &mut Vec<TimelineEntry>, theirs: &[TimelineEntry]) {
    for entry in theirs {
        if let Err(place) = mine.binary_search_by(|have| order(have, entry)) {
            mine.insert(place, *entry);
        }
    }
    // A state that was found afterwards is no news where it is known when it was reached. Each entry
    // with a time stands for one without at most, so that what the cut below leaves out stays out.
    let timed: Vec<_> = mine.iter().filter(|entry| entry.at.is_some()).copied().collect();
    mine.retain(|found| {
        let state = (found.status, found.sip_status);
        let is_found = found.at.is_none() && found.source == Source::Mirror;
        !is_found || !timed.iter().any(|entry| (entry.status, entry.sip_status) == state)
    });
    let surplus = mine.len().saturating_sub(TIMELINE_MAX);
    mine.drain(..surplus);
}

/// By time, and within one instant by how far along the call was, so that a timeline reads well.
fn order(a: &TimelineEntry, b: &TimelineEntry) -> Ordering {
    let rank = |entry: &TimelineEntry| entry.status.map(super::CallStatus::rank);
    (a.at, rank(a), a).cmp(&(b.at, rank(b), b))
}
