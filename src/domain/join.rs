//! The merge: a call is the join of its events.
//!
//! An event is a record of its own (all that it says and nothing else), and two records of one call
//! join into one. The join is commutative, associative and idempotent, `listed_at` and `stale`
//! apart, so that a call does not depend on the order in which its events arrive, nor on how often.
//! Every part of it is either "the greater one wins" or "a set, cut to its greatest elements".

use std::cmp::{Ordering, Reverse};

use super::{
    Call, EXTRA_BYTES_MAX, EXTRAS_MAX, Entry, Extra, Field, Progress, Rank, StampedEvent,
    TIMELINE_MAX, Timestamp,
};

/// The call after this event. A new call is listed at the event's time, or at `received_at` where
/// it has none; a known call keeps its place.
///
/// A record that is imported whole is merged by [`Call::join`].
pub fn merge(known: Option<&Call>, event: StampedEvent, received_at: Timestamp) -> Call {
    let listed_at = event
        .stamp
        .listed_at
        .or(event.stamp.attempted_at)
        .or(event.stamp.at)
        .unwrap_or(received_at);
    let mut news = event.into_call(listed_at);
    news.fit_extras();
    match known {
        Some(call) => call.join(&news),
        None => news,
    }
}

impl Call {
    /// What both records say together. The place in lists is that of `self`; a stale call is stale
    /// no longer once it hears something new.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        if other.progress.precedence() > joined.progress.precedence() {
            joined.progress = other.progress.clone();
        }
        joined.attempted_at = least(joined.attempted_at, other.attempted_at);
        joined.answered_at = least(joined.answered_at, other.answered_at);
        take_greater(&mut joined.direction, &other.direction);
        for (mine, theirs) in joined.texts.iter_mut().zip(&other.texts) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(mine), Some(theirs)) => take_greater(mine, theirs),
                (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            }
        }
        joined.extras_cut = match (joined.extras_cut, &other.extras_cut) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs.clone())),
            (mine, theirs) => mine.or_else(|| theirs.clone()),
        };
        join_extras(&mut joined.extras, &other.extras);
        joined.fit_extras();
        join_timeline(&mut joined.timeline, &other.timeline);
        if joined != *self {
            joined.stale = false;
        }
        joined
    }

    /// Keeps the keys that come first by name, up to the bounds, and remembers the first that did
    /// not fit. A key that is dropped once would be dropped in every other order of events too:
    /// the number and the size of those before it only ever grow.
    fn fit_extras(&mut self) {
        let mut bytes = 0;
        let cut = self.extras_cut.as_deref();
        let fitting = self.extras.iter().take(EXTRAS_MAX).take_while(|extra| {
            bytes += usize::from(extra.bytes_max);
            bytes <= EXTRA_BYTES_MAX && cut.is_none_or(|cut| *extra.key < *cut)
        });
        let fitting = fitting.count();
        if let Some(first) = self.extras.get(fitting) {
            let first = first.key.clone();
            self.extras_cut = Some(self.extras_cut.take().map_or(first.clone(), |c| c.min(first)));
            self.extras.truncate(fitting);
        }
    }

    /// The same call, given up: no event for too long. `at` is when that was noticed.
    #[must_use]
    pub fn into_stale(mut self, at: Timestamp) -> Self {
        let entry = Entry {
            at: Some(at),
            source: super::Source::Sweep,
            status: None,
            sip_status: self.progress.sip_status,
        };
        join_timeline(&mut self.timeline, &[entry]);
        self.stale = true;
        self
    }
}

impl Progress {
    /// The greater wins: the higher rank, then a known time, then the newest (the earliest among
    /// final ones: a call ends once), then the greater canonical value.
    fn precedence(&self) -> impl Ord + '_ {
        let rank = self.status.rank();
        let last = if rank == Rank::Terminal { None } else { self.at };
        let first = if rank == Rank::Terminal { self.at.map(Reverse) } else { None };
        let canonical = (
            self.status.as_str(),
            self.sip_status,
            self.sip_reason.as_deref(),
            self.terminated_at,
            self.duration,
        );
        (rank, self.at.is_some(), last, first, canonical)
    }
}

fn least(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn take_greater<T: Ord + Clone>(mine: &mut Field<T>, theirs: &Field<T>) {
    if (theirs.origin, &theirs.value) > (mine.origin, &mine.value) {
        *mine = theirs.clone();
    }
}

fn join_extras(mine: &mut Vec<Extra>, theirs: &[Extra]) {
    for extra in theirs {
        match mine.binary_search_by(|have| have.key.cmp(&extra.key)) {
            Err(place) => mine.insert(place, extra.clone()),
            Ok(place) => {
                let Some(have) = mine.get_mut(place) else { continue };
                let bytes_max = have.bytes_max.max(extra.bytes_max);
                if (extra.origin, &extra.json) > (have.origin, &have.json) {
                    *have = extra.clone();
                }
                have.bytes_max = bytes_max;
            }
        }
    }
}

fn join_timeline(mine: &mut Vec<Entry>, theirs: &[Entry]) {
    for entry in theirs {
        if let Err(place) = mine.binary_search_by(|have| order(have, entry)) {
            mine.insert(place, *entry);
        }
    }
    let surplus = mine.len().saturating_sub(TIMELINE_MAX);
    mine.drain(..surplus);
}

/// By time, and within one instant by how far along the call was, so that a timeline reads well.
fn order(a: &Entry, b: &Entry) -> Ordering {
    let rank = |entry: &Entry| entry.status.map(super::CallStatus::rank);
    (a.at, rank(a), a).cmp(&(b.at, rank(b), b))
}
