//! What is counted of calls: by the hour or day, and by groups of them. docs/compatibility.md says what
//! each figure means.
//!
//! **Exact**, by reading the calls of the time that is asked for, slice by slice, the oldest first
//! ([`Aggregating`]). A peak does not depend on where that time begins: calls that were listed before it and
//! may still be up ([`UP_AFTER_MS`]) are read, too, and those that may have begun within it though they
//! were listed later ([`UP_BEFORE_MS`]).
//!
//! **Within bounds.** Groups are counted first, and figures kept for those alone that have the most calls
//! (`groups.rs`); all others are one more line, so that nothing is left out. What does not fit is said
//! ([`Exceeded`]) and never left out silently.

mod groups;
mod lines;
#[cfg(test)]
mod properties;
mod up;

use std::collections::HashMap;
use std::sync::Arc;

pub use groups::{Dimension, Group};
use groups::{GroupCounts, numbers, write_group};
pub use lines::{BUCKETS_MAX, CALLS_OF_AN_HOUR_MAX, CELLS_MAX, Exceeded, Figures, TOP_MAX};
use lines::{Buckets, Lines, Period, Sample, check_size};
use up::{UP_AFTER_MS, UP_BEFORE_MS, Up};

use super::StoreError;
use super::across::Across;
use super::query::{ListRequest, LookRow, Most, Plan};
use super::scope::ScopedAccount;
use super::state::View;
use crate::domain::{AccountSid, Call, Filter, Order, Timestamp};
use crate::keys::PositionSpan;
use crate::wire::{Interval, Zone};

/// Rows of one look.
const ROWS: Most = Most { rows: 256, bytes: 256 * 1024 };

/// What is to be counted.
#[derive(Debug, Clone)]
pub struct AggregateRequest {
    /// Whose calls.
    pub accounts: Arc<[ScopedAccount]>,
    /// Which of them.
    pub filter: Filter,
    /// By the hour or day on the clocks of a zone, or over all.
    pub interval: Option<Interval>,
    pub zone: Zone,
    /// By what, in this order.
    pub group: Vec<Dimension>,
    /// Groups that are told apart, at most [`TOP_MAX`].
    pub top: usize,
    /// Active calls are up until then.
    pub now: Timestamp,
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
    /// The calls that are read.
    list: ListRequest,
    plan: Plan,
    /// What is still to be read in this pass; none once all was.
    left: Option<PositionSpan>,
    /// The calls of several accounts, in their place.
    across: Option<Across>,
    period: Period,
    pass: Pass,
}

enum Pass {
    /// How many calls each group has.
    Groups(GroupCounts),
    /// The figures, of these groups.
    Figures {
        lines: Box<Lines>,
        groups: Vec<Group>,
        numbers: HashMap<Box<[u8]>, usize>,
        others: usize,
    },
    /// What does not fit.
    Failed(Exceeded),
}

impl Aggregating {
    /// Fails where the time has more hours or days than an answer may have.
    pub fn new(request: AggregateRequest) -> Result<Self, Exceeded> {
        let mut filter = request.filter.clone();
        let period = Period { start: filter.start, end: filter.end };
        if let (Some(interval), Some(start), Some(end)) =
            (request.interval, period.start, period.end)
        {
            check_span(&request.zone, interval, start, end.minus_millis(1))?;
        }
        filter.start = filter.start.map(|start| start.minus_millis(UP_AFTER_MS));
        filter.end = filter.end.map(|end| end.plus_millis(UP_BEFORE_MS));
        let (order, accounts) = (Order::OldestFirst, &request.accounts);
        let across = (accounts.len() != 1)
            .then(|| Across::new(accounts.clone(), filter.clone(), order, None));
        let account = accounts.first().map_or(AccountSid::from_bytes([0; 16]), |one| one.account);
        let list = ListRequest { account, filter, order, after: None };
        let plan = Plan::of(&list);
        let left = Some(plan.span.clone());
        let pass = if request.group.is_empty() {
            Pass::figures(&request, period, Vec::new(), 0)
        } else {
            Pass::Groups(GroupCounts::default())
        };
        Ok(Self { request, list, plan, left, across, period, pass })
    }

    /// Reads some more. True once all was, or more would be in vain.
    pub fn go_on(&mut self, view: &View) -> Result<bool, StoreError> {
        if let Some(across) = &mut self.across {
            for (_, listed) in across.calls(view, ROWS.rows)? {
                let call = view.unpacked(listed)?;
                if let Err(exceeded) = self.pass.add(&call, &self.request, self.period) {
                    self.pass = Pass::Failed(exceeded);
                    return Ok(true);
                }
            }
            if across.is_done() {
                self.left = None;
            }
        } else if let Some(span) = self.left.take().filter(|span| !span.is_empty()) {
            let look = view.look(self.list.account, &self.plan, &span, ROWS, true)?;
            for (_, found) in look.found {
                let LookRow::Call(listed) = found else { continue };
                let call = view.unpacked(listed)?;
                if !self.list.filter.matches(&call) {
                    continue;
                }
                if let Err(exceeded) = self.pass.add(&call, &self.request, self.period) {
                    self.pass = Pass::Failed(exceeded);
                    return Ok(true);
                }
            }
            self.left = look.reached.map(|reached| span.after(reached));
        }
        if self.left.is_some() {
            return Ok(false);
        }
        let Pass::Groups(counts) = &mut self.pass else { return Ok(true) };
        let (groups, others) = std::mem::take(counts).top(self.request.top);
        self.pass = Pass::figures(&self.request, self.period, groups, others);
        self.left = Some(self.plan.span.clone());
        self.across = self.across.take().map(Across::rewound);
        Ok(false)
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        let merge = self.across.as_ref().map_or(0, Across::bytes);
        merge
            + match &self.pass {
                Pass::Groups(counts) => counts.bytes(),
                Pass::Figures { lines, .. } => lines.bytes(),
                Pass::Failed(_) => 0,
            }
    }

    /// What was counted.
    pub fn finish(self) -> Result<Aggregates, Exceeded> {
        let (lines, groups, others) = match self.pass {
            Pass::Figures { lines, groups, others, .. } => (lines, groups, others),
            Pass::Groups(_) => (Box::new(Lines::new(self.period, None, 0)), Vec::new(), 0),
            Pass::Failed(exceeded) => return Err(exceeded),
        };
        let (totals, buckets) = lines.finish()?;
        let mut totals = totals.into_iter();
        let total = totals.next().unwrap_or_default();
        let groups: Vec<_> = groups.into_iter().zip(totals.by_ref()).collect();
        let rest = totals.next().unwrap_or_default();
        // A call of a new group may have come after the groups were chosen.
        let is_other = others > 0 || rest != Figures::default();
        let other = is_other.then_some((others, rest));
        let (zone, interval) = (self.request.zone, self.request.interval);
        let span = span(&zone, interval, self.period, &buckets);
        if let (Some((first, last)), Some(interval)) = (span, interval) {
            check_span(&zone, interval, first, last)?;
        }
        Ok(Aggregates { total, groups, other, zone, interval, buckets, span })
    }
}

impl Pass {
    fn figures(
        request: &AggregateRequest,
        period: Period,
        groups: Vec<Group>,
        others: usize,
    ) -> Self {
        let interval = request.interval.map(|interval| (interval, request.zone.clone()));
        let width = if request.group.is_empty() { 0 } else { groups.len() + 1 };
        let lines = Box::new(Lines::new(period, interval, width));
        Self::Figures { lines, numbers: numbers(&groups), groups, others }
    }

    fn add(
        &mut self,
        call: &Call,
        request: &AggregateRequest,
        period: Period,
    ) -> Result<(), Exceeded> {
        let sample = Sample {
            listed_at: call.listed_at,
            answered: call.answered(),
            seconds: call.duration().unwrap_or_default(),
            up: Up::of(call, request.now),
        };
        let mut key = Vec::new();
        write_group(&request.group, call, &mut key);
        match self {
            Self::Groups(counts) => {
                let counts_as_call = period.has(call.listed_at);
                if counts_as_call || period.part_of(sample.up).is_some() {
                    counts.add(&key, u64::from(counts_as_call))?;
                }
                Ok(())
            }
            Self::Figures { lines, groups, numbers, .. } => {
                let is_grouped = !request.group.is_empty();
                let group = numbers.get(&*key).copied().unwrap_or(groups.len());
                lines.add(&sample, is_grouped.then_some(group))
            }
            Self::Failed(exceeded) => Err(*exceeded),
        }
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
