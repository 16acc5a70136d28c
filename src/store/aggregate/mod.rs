//! What is counted of calls: by the minute, hour or day, and by groups of them. docs/compatibility.md says what
//! each figure means.
//!
//! **Exact**, by reading the calls of the time that is asked for, slice by slice, the oldest first
//! ([`Aggregating`]). A peak does not depend on where that time begins: calls that were listed before it and
//! may still be up ([`UP_AFTER_MS`]) are read, too, and those that may have begun within it though they
//! were listed later ([`UP_BEFORE_MS`]). Several accounts are read side by side (`windows.rs`).
//!
//! **Within bounds.** Groups are counted first, and figures kept for those alone that have the most calls
//! (`groups.rs`); all others are one more line, so that nothing is left out. What does not fit is said
//! ([`Exceeded`]) and never left out silently.

mod groups;
mod lines;
mod overview;
#[cfg(test)]
mod properties;
mod reading;
mod windows;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use groups::{Dimension, Group};
use groups::{GroupCounts, numbers, write_group, write_group_of_kind};
pub use lines::{BUCKETS_MAX, CALLS_OF_AN_HOUR_MAX, CELLS_MAX, Exceeded, Figures, TOP_MAX};
use lines::{Buckets, Counted, Lines, Period, Sample, check_size};
use overview::{GroupLines, Overview};
use reading::{Found, Reading};

use super::StoreError;
use super::scope::ScopedAccount;
use super::state::View;
use crate::codec::KindSums;
use crate::domain::{AccountSid, Filter, Quarter, Timestamp, Up};
use crate::wire::{Interval, Zone};

/// What is to be counted.
#[derive(Debug, Clone)]
pub struct AggregateRequest {
    /// Whose calls.
    pub accounts: Arc<[ScopedAccount]>,
    /// Which of them.
    pub filter: Filter,
    /// By the minute, hour or day on the clocks of a zone, or over all.
    pub interval: Option<Interval>,
    pub zone: Zone,
    /// By what, in this order.
    pub group: Vec<Dimension>,
    /// Groups that are told apart, at most [`TOP_MAX`].
    pub top: usize,
    /// Active calls are up until then.
    pub now: Timestamp,
}

impl AggregateRequest {
    /// The account, where all calls of one are meant, or those of a time.
    fn account_of_all_calls(&self) -> Option<AccountSid> {
        let Filter { start, end, .. } = self.filter;
        let [one] = &*self.accounts else { return None };
        let all = Filter { start, end, ..Filter::default() };
        (self.filter == all).then_some(one.account)
    }

    /// Whether trunks or applications of calls are asked for.
    fn names_kinds(&self) -> bool {
        let named =
            |dimension: &Dimension| matches!(dimension, Dimension::Trunk | Dimension::Application);
        !self.filter.search.application_sid.is_empty() || self.group.iter().any(named)
    }
}

/// What was counted.
#[derive(Debug)]
pub struct Aggregates {
    pub total: Figures,
    /// Those with the most calls, in that order.
    pub groups: Vec<(Group, Figures)>,
    /// How many other groups there are, and theirs.
    pub other: Option<(usize, Figures)>,
    zone: Zone,
    interval: Option<Interval>,
    buckets: Buckets,
    /// The first instants of the first bucket and of the last.
    span: Option<(Timestamp, Timestamp)>,
}

/// An hour or a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub start: Timestamp,
    pub end: Timestamp,
    /// Of all calls, of each group, and of other groups where there are any.
    pub figures: Option<Vec<Figures>>,
}

impl Aggregates {
    /// The next bucket from an instant on, or the first one.
    pub fn bucket(&self, from: Option<Timestamp>) -> Option<Bucket> {
        let (first, last) = self.span?;
        let from = from.unwrap_or(first);
        let (start, end) = self.zone.span(self.interval?, from);
        let figures = self.buckets.get(&start).cloned();
        (start <= last && end > from).then_some(Bucket { start, end, figures })
    }
}

/// A count that is taken slice by slice.
pub struct Aggregating {
    request: AggregateRequest,
    period: Period,
    /// The quarters of an hour in which that time lies.
    first: Quarter,
    last: Quarter,
    /// What is counted so far.
    counted: Counted,
    groups: Vec<Group>,
    numbers: HashMap<Box<[u8]>, usize>,
    others: usize,
    pass: Pass,
}

enum Pass {
    /// What is known without looking at calls: of all of them together.
    Overview(Overview),
    /// How many calls each group has.
    Groups(Reading, GroupCounts),
    /// The figures of these quarters, from one to another; those of the first of them are begun.
    Figures(VecDeque<(Quarter, Quarter)>, Option<(Reading, Box<Lines>)>),
    /// What does not fit.
    Failed(Exceeded),
}

impl Aggregating {
    /// Fails where the time has more minutes, hours or days than an answer may have.
    pub fn new(request: AggregateRequest) -> Result<Self, Exceeded> {
        let period = Period { start: request.filter.start, end: request.filter.end };
        if let (Some(interval), Some(start), Some(end)) =
            (request.interval, period.start, period.end)
        {
            check_span(&request.zone, interval, start, end.minus_millis(1))?;
        }
        let first = period.start.map(Quarter::of).unwrap_or_default();
        let last = period.end.map_or(Quarter::MAX, |end| Quarter::of(end.minus_millis(1)));
        let pass = if !request.group.is_empty() {
            Pass::Groups(Reading::around(&request, first, last, false), GroupCounts::default())
        } else if let Some(one) = request.account_of_all_calls() {
            Pass::Overview(Overview::new(one, first, last, None))
        } else {
            Pass::Figures([(first, last)].into(), None)
        };
        let counted = Counted::new(clock_of(&request), 0);
        let (groups, numbers, others) = Default::default();
        Ok(Self { request, period, first, last, counted, groups, numbers, others, pass })
    }

    /// Reads some more. True once all was, or more would be in vain.
    pub fn go_on(&mut self, view: &View) -> Result<bool, StoreError> {
        let done = match &mut self.pass {
            Pass::Overview(overview) => {
                match overview.go_on(view, &self.request, self.period, &mut self.counted)? {
                    Ok(true) => {
                        let open = std::mem::take(&mut overview.open).into();
                        self.pass = Pass::Figures(open, None);
                        Ok(false)
                    }
                    other => other,
                }
            }
            Pass::Groups(..) => self.count_groups(view)?,
            Pass::Figures(..) => self.count_figures(view)?,
            Pass::Failed(_) => Ok(true),
        };
        Ok(done.unwrap_or_else(|exceeded| {
            self.pass = Pass::Failed(exceeded);
            true
        }))
    }

    fn count_groups(&mut self, view: &View) -> Result<Result<bool, Exceeded>, StoreError> {
        let Pass::Groups(reading, counts) = &mut self.pass else { return Ok(Ok(false)) };
        let (request, period) = (&self.request, self.period);
        let (mut key, mut exceeded) = (Vec::new(), Ok(()));
        let done = reading.go_on(view, request, period, |found| {
            if exceeded.is_ok() {
                exceeded = add_to_groups(counts, request, period, &found, &mut key);
            }
        })?;
        if let Err(exceeded) = exceeded {
            return Ok(Err(exceeded));
        }
        if done {
            let (groups, others) = std::mem::take(counts).top(request.top);
            (self.numbers, self.others) = (numbers(&groups), others);
            self.counted = Counted::new(clock_of(request), groups.len() + 1);
            self.groups = groups;
            // The peak of several groups together is not that of any of them.
            let lines = GroupLines::new(&request.group, &self.numbers).filter(|_| others == 0);
            self.pass = match request.account_of_all_calls().zip(lines) {
                Some((one, lines)) => {
                    Pass::Overview(Overview::new(one, self.first, self.last, Some(lines)))
                }
                None => Pass::Figures([(self.first, self.last)].into(), None),
            };
        }
        Ok(Ok(false))
    }

    fn count_figures(&mut self, view: &View) -> Result<Result<bool, Exceeded>, StoreError> {
        let Pass::Figures(left, begun) = &mut self.pass else { return Ok(Ok(false)) };
        let (request, period) = (&self.request, self.period);
        if begun.is_none() {
            let Some((first, last)) = left.pop_front() else { return Ok(Ok(true)) };
            let own = Period {
                start: period.start.max((first > self.first).then(|| first.start())),
                end: match period.end {
                    _ if last < self.last => Some(last.end()),
                    end => end,
                },
            };
            let lines = Lines::new(own, clock_of(request), self.counted.totals.len() - 1);
            *begun = Some((Reading::around(request, first, last, true), Box::new(lines)));
        }
        let Some((reading, lines)) = begun else { return Ok(Ok(false)) };
        let (mut key, mut exceeded) = (Vec::new(), Ok(()));
        let (numbers, others) = (&self.numbers, self.groups.len());
        let own = lines.period();
        let done = reading.go_on(view, request, own, |found| {
            if exceeded.is_ok() {
                exceeded = add_to_lines(lines, request, own, &found, (numbers, others), &mut key);
            }
        })?;
        if let Err(exceeded) = exceeded {
            return Ok(Err(exceeded));
        }
        if done && let Some((_, lines)) = begun.take() {
            return Ok(self.counted.absorb(*lines).map(|()| false));
        }
        Ok(Ok(false))
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        let more = match &self.pass {
            Pass::Groups(reading, counts) => reading.bytes() + counts.bytes(),
            Pass::Figures(_, Some((reading, lines))) => reading.bytes() + lines.bytes(),
            Pass::Overview(overview) => overview.bytes(),
            Pass::Figures(_, None) | Pass::Failed(_) => 0,
        };
        self.counted.bytes() + more
    }

    /// What was counted.
    pub fn finish(self) -> Result<Aggregates, Exceeded> {
        if let Pass::Failed(exceeded) = self.pass {
            return Err(exceeded);
        }
        let Counted { totals, buckets, .. } = self.counted;
        let mut totals = totals.into_iter();
        let total = totals.next().unwrap_or_default();
        let groups: Vec<_> = self.groups.into_iter().zip(totals.by_ref()).collect();
        let rest = totals.next().unwrap_or_default();
        // A call of a new group may have come after the groups were chosen.
        let is_other = self.others > 0 || rest != Figures::default();
        let other = is_other.then_some((self.others, rest));
        let (zone, interval) = (self.request.zone, self.request.interval);
        let span = span(&zone, interval, self.period, &buckets);
        if let (Some((first, last)), Some(interval)) = (span, interval) {
            check_span(&zone, interval, first, last)?;
        }
        Ok(Aggregates { total, groups, other, zone, interval, buckets, span })
    }
}

fn clock_of(request: &AggregateRequest) -> Option<(Interval, Zone)> {
    request.interval.map(|interval| (interval, request.zone.clone()))
}

/// Counts for each group what was found: a call that is only up in the time counts as none.
fn add_to_groups(
    counts: &mut GroupCounts,
    request: &AggregateRequest,
    period: Period,
    found: &Found<'_>,
    key: &mut Vec<u8>,
) -> Result<(), Exceeded> {
    match found {
        Found::Call(call) => {
            let counts_as_call = period.has(call.listed_at);
            if counts_as_call || period.part_of(Up::of(call, request.now)).is_some() {
                write_group(&request.group, call, key);
                counts.add(key, u64::from(counts_as_call))?;
            }
        }
        Found::Quarter(of, kinds) => {
            let is_in = period.has(of.row.quarter.start());
            let mut is_up = vec![is_in; kinds.len()];
            if !is_in {
                for (number, up) in &of.ups {
                    if let Some(is_up) = is_up.get_mut(*number as usize)
                        && !*is_up
                    {
                        *is_up = period.part_of(up.at(request.now)).is_some();
                    }
                }
            }
            for ((kind, sums), is_up) in kinds.iter().zip(is_up) {
                if is_up && request.filter.matches_kind(kind) {
                    write_group_of_kind(&request.group, kind, key);
                    counts.add(key, if is_in { sums.calls } else { 0 })?;
                }
            }
        }
        Found::Day(kinds) => {
            for (kind, sums) in kinds.iter().filter(|(kind, _)| request.filter.matches_kind(kind)) {
                write_group_of_kind(&request.group, kind, key);
                counts.add(key, sums.calls)?;
            }
        }
        Found::Passed(_) => {}
    }
    Ok(())
}

/// Counts what was found, in the line of its group where there are groups.
fn add_to_lines(
    lines: &mut Lines,
    request: &AggregateRequest,
    period: Period,
    found: &Found<'_>,
    (numbers, others): (&HashMap<Box<[u8]>, usize>, usize),
    key: &mut Vec<u8>,
) -> Result<(), Exceeded> {
    let is_grouped = !request.group.is_empty();
    let line = |key: &[u8]| is_grouped.then(|| numbers.get(key).copied().unwrap_or(others));
    match found {
        Found::Call(call) => {
            write_group(&request.group, call, key);
            let sample = Sample {
                listed_at: call.listed_at,
                answered: call.answered(),
                seconds: call.duration().unwrap_or_default(),
                up: Up::of(call, request.now),
            };
            lines.add(&sample, line(key))?;
            lines.check_size()
        }
        Found::Quarter(of, kinds) => {
            let at = of.row.quarter.start();
            let mut groups = Vec::with_capacity(kinds.len());
            for (kind, sums) in *kinds {
                let matches = request.filter.matches_kind(kind);
                write_group_of_kind(&request.group, kind, key);
                let line = line(key);
                groups.push(matches.then_some(line));
                if matches && period.has(at) {
                    let answered = if kind.answered { sums.calls } else { 0 };
                    let KindSums { calls, seconds } = *sums;
                    lines.add_calls(at, &Figures { calls, answered, seconds, peak: 0 }, line)?;
                }
            }
            for (number, up) in &of.ups {
                if let Some(Some(line)) = groups.get(*number as usize) {
                    lines.add_up(up.at(request.now), *line);
                }
            }
            lines.check_size()
        }
        // Figures have peaks, so that they are never read by days.
        Found::Day(_) => Ok(()),
        Found::Passed(at) => lines.take_steps(*at),
    }
}

/// The first instants of the first bucket and of the last: those of the time that was asked for, or, where
/// it has no beginning or no end, of what was found.
fn span(
    zone: &Zone,
    interval: Option<Interval>,
    period: Period,
    buckets: &Buckets,
) -> Option<(Timestamp, Timestamp)> {
    let interval = interval?;
    if let (Some(start), Some(end)) = (period.start, period.end)
        && start >= end
    {
        return None;
    }
    let first_of = |at: Timestamp| zone.span(interval, at).0;
    let (first, last) = (buckets.keys().next(), buckets.keys().next_back());
    let first = period.start.map(first_of).or(first.copied())?;
    let last = period.end.map(|end| first_of(end.minus_millis(1))).or(last.copied())?;
    (first <= last).then_some((first, last))
}

/// Whether there are not too many buckets from one instant to another.
fn check_span(
    zone: &Zone,
    interval: Interval,
    first: Timestamp,
    last: Timestamp,
) -> Result<(), Exceeded> {
    let (mut at, mut count) = (first, 0);
    while at <= last && at < Timestamp::MAX {
        count += 1;
        check_size(count, 1)?;
        at = zone.span(interval, at).1;
    }
    Ok(())
}
