//! Counting: how many calls a list has, and how they stand.

use std::collections::BTreeMap;

use super::StoreError;
use super::query::{IndexPass, ListRequest, LookRow, Most, Plan, span};
use super::sealed::{Part, Parts, SealedQuarter, With, whole_days};
use super::state::View;
use crate::codec::KindSums;
use crate::domain::{
    AccountSid, Call, CallKind, CallStatus, Day, Direction, Filter, Order, Quarter, Rank, Timestamp,
};
use crate::index::{DayRow, IndexError};
use crate::keys::{PositionSpan, StatusKey};

/// Rows of one look at keys.
const KEYS: Most = Most { rows: 2048, bytes: usize::MAX };
/// Rows of one look at records.
const RECORDS: Most = Most { rows: 256, bytes: 256 * 1024 };

/// Parts of a time that are taken before others get a turn.
const PARTS: usize = 1024;

/// How many calls of a direction have which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusCount {
    /// By [`CallStatus`], as in [`CallStatus::ALL`]; stale calls apart.
    pub statuses: [u64; CallStatus::ALL.len()],
    /// Calls that are stale, by no status.
    pub stale: u64,
}

impl StatusCount {
    /// Those of others besides.
    pub(super) fn add(&mut self, other: Self) {
        self.stale += other.stale;
        for (count, more) in self.statuses.iter_mut().zip(other.statuses) {
            *count += more;
        }
    }
}

/// How many calls there are by the time of listing, in steps that become longer the more time there is.
#[derive(Debug, Clone)]
pub struct CountsByTime {
    /// The shortest step, in quarters of an hour: a day, or one.
    quarters: u32,
    /// A step is so many powers of two of that.
    shift: u32,
    counts: BTreeMap<u32, u64>,
}

/// Steps that are told apart.
const STEPS_MAX: usize = if cfg!(test) { 5 } else { 4096 };

impl CountsByTime {
    /// By days of UTC, which are counted as a whole where that is known.
    pub fn by_days() -> Self {
        Self { quarters: Day::QUARTERS, shift: 0, counts: BTreeMap::new() }
    }

    /// By quarters of an hour.
    pub fn by_quarters() -> Self {
        Self { quarters: 1, ..Self::by_days() }
    }

    fn add(&mut self, quarter: Quarter, calls: u64) {
        if calls == 0 {
            return;
        }
        let step = quarter.number() / self.quarters;
        *self.counts.entry(step >> self.shift).or_default() += calls;
        while self.counts.len() > STEPS_MAX {
            self.shift += 1;
            let mut counts = BTreeMap::new();
            for (step, calls) in std::mem::take(&mut self.counts) {
                *counts.entry(step >> 1).or_default() += calls;
            }
            self.counts = counts;
        }
    }

    /// The newest calls that can be passed over where so many are to be: how many they are, and the step of the
    /// next one, from its beginning to before which time all others are listed. None: no others.
    pub fn pass_over(&self, calls: u64) -> (u64, Option<(Timestamp, Timestamp)>) {
        let mut passed = 0_u64;
        for (step, count) in self.counts.iter().rev() {
            if passed + count > calls {
                let at = |step: u64| {
                    let quarter = (step << self.shift) * u64::from(self.quarters);
                    u32::try_from(quarter)
                        .map_or(Timestamp::MAX, |quarter| Quarter::new(quarter).start())
                };
                return (passed, Some((at((*step).into()), at(u64::from(*step) + 1))));
            }
            passed += count;
        }
        (passed, None)
    }
}

/// A count that is taken slice by slice, so that others get a turn in between, and that ends where
/// it is not gone on with.
pub struct Counting {
    request: ListRequest,
    plan: Plan,
    /// Status keys and directions, by the plan's ranges if they are exact; none where only the sum is
    /// wanted.
    cells: Vec<(StatusKey, Direction)>,
    /// The time, where the kinds of calls decide which of them count; none once all of it was gone through.
    parts: Option<Parts>,
    /// What is still to be looked at.
    left: Option<PositionSpan>,
    count: u64,
    standing: [StatusCount; 2],
    by_time: Option<CountsByTime>,
}

impl Counting {
    /// How many calls a list has from its beginning, exact as of the scan.
    pub fn of_list(request: &ListRequest) -> Self {
        let request = ListRequest { after: None, ..request.clone() };
        let plan = Plan::of(&request);
        Self::new(request, plan, Vec::new())
    }

    /// How the calls of a list stand from its beginning, inbound and outbound.
    pub fn of_standing(request: &ListRequest) -> Self {
        let request = ListRequest { after: None, ..request.clone() };
        let Filter { start, end, .. } = request.filter;
        if request.filter == (Filter { start, end, ..Filter::default() }) {
            return Self::of_cells(request, Plan::cells());
        }
        // No range of keys tells both of them.
        let plan = Plan { exact: false, ..Plan::of(&request) };
        Self::new(request, plan, Plan::cells())
    }

    /// How many calls of an account are active.
    pub fn of_live(account: AccountSid) -> Self {
        let (filter, order) = (Filter::default(), Order::NewestFirst);
        let up = |(status_key, _): &(StatusKey, Direction)| matches!(status_key, StatusKey::Status(status) if status.rank() < Rank::Terminal);
        let cells = Plan::cells().into_iter().filter(up).collect();
        // Few are: they are looked at.
        let looked_at = Self::of_cells(ListRequest { account, filter, order, after: None }, cells);
        Self { parts: None, left: Some(looked_at.plan.span.clone()), ..looked_at }
    }

    fn of_cells(request: ListRequest, cells: Vec<(StatusKey, Direction)>) -> Self {
        let plan = Plan::cells_of(&request, &cells);
        Self::new(request, plan, cells)
    }

    fn new(request: ListRequest, plan: Plan, cells: Vec<(StatusKey, Direction)>) -> Self {
        let Filter { start, end, .. } = request.filter;
        let first = start.map(Quarter::of).unwrap_or_default();
        let last = end.map_or(Quarter::MAX, |end| Quarter::of(end.minus_millis(1)));
        let names = !request.filter.search.application_sid.is_empty();
        let with = if names { With::Kinds } else { With::Nothing };
        let days = whole_days(&request.filter).filter(|_| !names);
        let parts = (request.filter.is_of_kinds() && !plan.span.is_empty())
            .then(|| Parts::new(request.account, first, last, with).by_days(days));
        let left = Some(plan.span.clone()).filter(|_| parts.is_none());
        let (count, standing, by_time) = Default::default();
        Self { request, plan, cells, parts, left, count, standing, by_time }
    }

    /// Has the calls of a list be counted by the time of listing as well, besides what was counted before.
    pub(super) fn count_by_time(&mut self, before: CountsByTime) {
        if before.quarters < Day::QUARTERS {
            self.parts = self.parts.take().map(|parts| parts.by_days(None));
        }
        self.by_time = Some(before);
    }

    pub(super) fn by_time(&mut self) -> Option<CountsByTime> {
        self.by_time.take()
    }

    /// How many there are, so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How they stand: inbound, outbound.
    pub fn standing(&self) -> [StatusCount; 2] {
        self.standing
    }

    /// How many of them have a status: inbound, outbound.
    pub fn with_status(&self) -> [u64; 2] {
        self.standing.map(|of| of.statuses.iter().sum())
    }

    /// One look more. True once everything was looked at.
    pub fn go_on(&mut self, view: &View) -> Result<bool, StoreError> {
        for _ in 0..PARTS {
            if let Some(span) = self.left.take().filter(|span| !span.is_empty()) {
                self.look(view, &span)?;
                return Ok(self.left.is_none() && self.parts.is_none());
            }
            let Some(parts) = &mut self.parts else { return Ok(true) };
            let (first, last) = match parts.next(view)? {
                None => {
                    self.parts = None;
                    return Ok(true);
                }
                Some(Part::Day(of)) => {
                    self.count_day(&of).map_err(|error| view.index_failed(&error))?;
                    continue;
                }
                Some(Part::Sealed(of)) if self.has_whole(of.row.quarter) => {
                    self.count_quarter(&of).map_err(|error| view.index_failed(&error))?;
                    continue;
                }
                Some(Part::Sealed(of)) => (of.row.quarter, of.row.quarter),
                Some(Part::Open(first, last)) => (first, last),
            };
            let mut part = self.request.clone();
            part.filter.start = part.filter.start.max(Some(first.start()));
            if last < Quarter::MAX {
                let end = part.filter.end.map_or(last.end(), |end| end.min(last.end()));
                part.filter.end = Some(end);
            }
            self.left = Some(span(&part));
        }
        Ok(false)
    }

    /// Whether a quarter of an hour is in the time that is asked for as a whole.
    fn has_whole(&self, quarter: Quarter) -> bool {
        let Filter { start, end, .. } = self.request.filter;
        start.is_none_or(|start| start <= quarter.start())
            && end.is_none_or(|end| quarter.end() <= end)
    }

    fn look(&mut self, view: &View, span: &PositionSpan) -> Result<(), StoreError> {
        let records = !self.plan.exact;
        let most = if records { RECORDS } else { KEYS };
        let IndexPass { found, reached, .. } =
            view.look(self.request.account, &self.plan, span, most, records)?;
        for (position, found) in found {
            if self.cells.is_empty() {
                let calls = u64::from(view.is_wanted(&self.request, found)?);
                self.count += calls;
                if let Some(by_time) = &mut self.by_time {
                    by_time.add(Quarter::of(position.listed_at()), calls);
                }
            } else {
                self.count_by_status(view, found)?;
            }
        }
        self.left = reached.map(|reached| span.after(reached));
        Ok(())
    }

    /// Whether nothing is asked of calls but when they are listed, nor how they stand.
    fn is_of_all(&self) -> bool {
        let Filter { start, end, .. } = self.request.filter;
        let all = self.request.filter == (Filter { start, end, ..Filter::default() });
        all && self.cells.is_empty()
    }

    /// Counts the calls of a day.
    fn count_day(&mut self, of: &DayRow) -> Result<(), IndexError> {
        let before = self.count;
        if self.is_of_all() {
            self.count += of.sums().calls;
        } else {
            for kind in of.bare_kinds() {
                self.count_kind(kind?);
            }
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.add(of.day.first(), self.count - before);
        }
        Ok(())
    }

    /// Counts the calls of a quarter of an hour.
    fn count_quarter(&mut self, of: &SealedQuarter) -> Result<(), IndexError> {
        let (row, before) = (&of.row, self.count);
        if self.is_of_all() {
            self.count += row.sums.calls;
        } else if let Some(kinds) = &of.kinds {
            kinds.kinds()?.into_iter().for_each(|kind| self.count_kind(kind));
        } else {
            for kind in row.bare_kinds() {
                self.count_kind(kind?);
            }
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.add(row.quarter, self.count - before);
        }
        Ok(())
    }

    fn count_kind(&mut self, (kind, sums): (CallKind<'_>, KindSums)) {
        if self.request.filter.matches_kind(&kind) {
            self.add(status_key_of(&kind), kind.direction, sums.calls);
        }
    }

    /// Counts a call under its status and direction.
    fn count_by_status(&mut self, view: &View, found: LookRow) -> Result<(), StoreError> {
        let cell = match found {
            LookRow::Call(listed) => {
                let call = view.unpacked(listed)?;
                self.request.filter.matches(&call).then(|| cell_of(&call))
            }
            LookRow::In(range) => self.cells.get(range).copied(),
        };
        if let Some((status_key, direction)) = cell {
            self.add(status_key, direction, 1);
        }
        Ok(())
    }

    fn add(&mut self, status_key: StatusKey, direction: Direction, calls: u64) {
        self.count += calls;
        let Some(of) = self.standing.get_mut(direction as usize) else { return };
        match status_key {
            StatusKey::Stale => of.stale += calls,
            StatusKey::Status(status) => {
                if let Some(count) = of.statuses.get_mut(status as usize) {
                    *count += calls;
                }
            }
        }
    }
}

fn status_key_of(kind: &CallKind<'_>) -> StatusKey {
    if kind.stale { StatusKey::Stale } else { StatusKey::Status(kind.status) }
}

fn cell_of(call: &Call) -> (StatusKey, Direction) {
    (StatusKey::of(call), call.direction.value)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_passed_over_are_the_newest_calls_and_the_most_that_whole_steps_allow(
            calls in vec((0..900_u32, 0..5_u64), 0..40),
            wanted in 0..120_u64,
            by_days in any::<bool>(),
        ) {
            let mut by_time =
                if by_days { CountsByTime::by_days() } else { CountsByTime::by_quarters() };
            for (quarter, count) in &calls {
                by_time.add(Quarter::new(*quarter), *count);
            }
            let total: u64 = calls.iter().map(|(_, count)| count).sum();
            let (passed, others) = by_time.pass_over(wanted);
            prop_assert!(passed <= wanted);
            prop_assert!(by_time.counts.len() <= STEPS_MAX);
            let Some((start, end)) = others else {
                prop_assert_eq!(passed, total);
                return Ok(());
            };
            let newer = calls.iter().filter(|(quarter, _)| Quarter::new(*quarter).start() >= end);
            prop_assert_eq!(passed, newer.map(|(_, count)| count).sum::<u64>());
            let last = (Quarter::of(end).number() - 1) / by_time.quarters;
            let step = by_time.counts.get(&(last >> by_time.shift));
            prop_assert!(passed + step.unwrap() > wanted);
            let in_step = calls.iter().filter(|(quarter, _)| {
                let at = Quarter::new(*quarter).start();
                start <= at && at < end
            });
            prop_assert_eq!(Some(&in_step.map(|(_, count)| count).sum::<u64>()), step);
        }
    }
}
