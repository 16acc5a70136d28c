//! Going through the calls of a time, the oldest first: sealed quarters of an hour as a whole, the calls of the
//! others one by one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::windows::{WindowStep, Windows};
use super::{AggregateRequest, Period};
use crate::codec::KindSums;
use crate::domain::{AccountSid, Call, CallKind, Day, Filter, Order, Quarter, Timestamp};
use crate::index::{QUARTERS_AFTER, QUARTERS_BEFORE};
use crate::keys::PositionSpan;
use crate::store::StoreError;
use crate::store::across::Across;
use crate::store::query::{ListRequest, LookRow, Most, Plan};
use crate::store::sealed::{Part, Parts, SealedQuarter, With, whole_days};
use crate::store::state::View;
use crate::wire::Interval;

/// Rows of one look.
const ROWS: Most = Most { rows: 256, bytes: 256 * 1024 };
/// Sealed quarters that are taken before others get a turn.
const SEALED: usize = 64;

/// What was found.
pub(super) enum Found<'a> {
    Call(Arc<Call>),
    /// A quarter with its calls and their kinds, all of which are in the time that is asked for, or none.
    Quarter(&'a SealedQuarter, &'a [(CallKind<'a>, KindSums)]),
    /// A whole day of that time with its calls, of which only their kinds are asked for.
    Day(&'a [(CallKind<'static>, KindSums)]),
    /// All that is still to come is listed no earlier than this.
    Passed(Timestamp),
}

/// A time that is read slice by slice.
pub(super) struct Reading {
    /// One time after the other. None where the kinds of calls do not decide which of them count: all are
    /// looked at.
    parts: VecDeque<Parts>,
    /// Calls that are looked at, and what of them is still to be.
    calls: Option<(ListRequest, Plan, PositionSpan)>,
    /// The calls of several accounts, where all are looked at.
    across: Option<Across>,
    /// Several accounts, when how many of whose calls are up no account knows by itself.
    windows: Option<Windows>,
    /// Accounts that are read one after the other, by their numbers: of each these times.
    accounts: Range<usize>,
    times: [Option<(Quarter, Quarter, With)>; 3],
    /// The days that are taken as a whole.
    days: Option<(Day, Day)>,
}

impl Reading {
    /// The calls that are listed in some quarters, or may be up in them. When calls are up is asked of all where
    /// `ups` are wanted, else of those alone that are listed in others.
    pub fn around(request: &AggregateRequest, first: Quarter, last: Quarter, ups: bool) -> Self {
        let (before, after) = (first.minus(QUARTERS_AFTER), last.plus(QUARTERS_BEFORE));
        let mut reading = Self {
            parts: VecDeque::new(),
            calls: None,
            across: None,
            windows: None,
            accounts: 0..0,
            times: [None; 3],
            days: None,
        };
        let of_kinds = request.filter.is_of_kinds()
            && request.group.iter().all(|dimension| dimension.is_of_kinds());
        match &*request.accounts {
            accounts if of_kinds && (!ups || accounts.len() == 1) => {
                let own = match ups {
                    true => With::Ups,
                    false if request.names_kinds() => With::Kinds,
                    false => With::Nothing,
                };
                reading.accounts = 0..accounts.len();
                reading.days = whole_days(&request.filter).filter(|_| own == With::Nothing);
                reading.times = [
                    (first > before).then(|| (before, first.minus(1), With::Ups)),
                    Some((first, last, own)),
                    (last < after).then(|| (last.plus(1), after, With::Ups)),
                ];
            }
            _ if of_kinds => {
                reading.windows = Some(Windows::new(request.accounts.clone(), before, after));
            }
            [one] => reading.calls = Some(calls_of(request, one.account, before, after)),
            _ => {
                let (accounts, filter) =
                    (request.accounts.clone(), listed_in(request, before, after));
                reading.across = Some(Across::new(accounts, filter, Order::OldestFirst, None));
            }
        }
        reading
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        self.across.as_ref().map_or(0, Across::bytes)
            + self.windows.as_ref().map_or(0, Windows::bytes)
            + self.parts.iter().map(Parts::bytes).sum::<usize>()
    }

    /// Reads some more. True once all was.
    pub fn go_on(
        &mut self,
        view: &View,
        request: &AggregateRequest,
        period: Period,
        mut take: impl FnMut(Found<'_>),
    ) -> Result<bool, StoreError> {
        if let Some(across) = &mut self.across {
            let mut passed = None;
            for (place, listed) in across.calls(view, ROWS.rows)? {
                take(Found::Call(view.unpacked(listed)?));
                passed = Some(place.position.listed_at());
            }
            if let Some(at) = passed {
                take(Found::Passed(at));
            }
            return Ok(across.is_done());
        }
        for _ in 0..SEALED {
            if let Some((list, plan, span)) = self.calls.take() {
                let look = view.look(list.account, &plan, &span, ROWS, true)?;
                let mut passed = None;
                for (position, found) in look.found {
                    let LookRow::Call(listed) = found else { continue };
                    let call = view.unpacked(listed)?;
                    if list.filter.matches(&call) {
                        take(Found::Call(call));
                        passed = Some(position.listed_at());
                        if let Some(windows) = &mut self.windows {
                            windows.note(1);
                        }
                    }
                }
                if let Some(at) = passed.filter(|_| self.windows.is_none()) {
                    take(Found::Passed(at));
                }
                let rest = look.reached.map(|reached| span.after(reached));
                self.calls = rest.filter(|rest| !rest.is_empty()).map(|rest| (list, plan, rest));
                return Ok(false);
            }
            let Some(parts) = self.parts.front_mut() else {
                if self.begin_more(view, request, &mut take)? {
                    return Ok(true);
                }
                continue;
            };
            let account = parts.account();
            let calls = |first, last| Some(calls_of(request, account, first, last));
            match parts.next(view)? {
                None => drop(self.parts.pop_front()),
                Some(Part::Open(first, last)) => self.calls = calls(first, last),
                Some(Part::Day(of)) => {
                    let kinds = of.bare_kinds().collect::<Result<Vec<_>, _>>();
                    take(Found::Day(&kinds.map_err(|error| view.index_failed(&error))?));
                }
                Some(Part::Sealed(of)) if is_whole(request, period, of.row.quarter) => {
                    let kinds = of.kinds().map_err(|error| view.index_failed(&error))?;
                    take(Found::Quarter(&of, &kinds));
                    match &mut self.windows {
                        Some(windows) => windows.note(of.ups.len()),
                        None => take(Found::Passed(of.row.quarter.start())),
                    }
                }
                Some(Part::Sealed(of)) => self.calls = calls(of.row.quarter, of.row.quarter),
            }
        }
        Ok(false)
    }

    /// Begins with the next account, or time of one. True where there is none.
    fn begin_more(
        &mut self,
        view: &View,
        request: &AggregateRequest,
        take: &mut impl FnMut(Found<'_>),
    ) -> Result<bool, StoreError> {
        let Some(windows) = &mut self.windows else {
            let Some(one) = self.accounts.next().and_then(|n| request.accounts.get(n)) else {
                return Ok(true);
            };
            let times = self.times.iter().flatten();
            let parts = times.map(|(first, last, with)| {
                let days = self.days.filter(|_| *with == With::Nothing);
                Parts::new(one.account, *first, *last, *with).by_days(days)
            });
            self.parts.extend(parts);
            return Ok(false);
        };
        if let Some((account, next, last)) = windows.has_read() {
            let (_, plan, span) = calls_of(request, account, next, last);
            let one = Most { rows: 1, ..ROWS };
            let look = view.look(account, &plan, &span, one, false)?;
            let found = look.found.first().map(|(position, _)| *position).or(look.reached);
            windows.goes_on(found.map(|position| Quarter::of(position.listed_at())));
        }
        match windows.next() {
            None => return Ok(true),
            Some(WindowStep::Read(account, first, last)) => {
                self.parts.push_back(Parts::new(account, first, last, With::Ups));
            }
            Some(WindowStep::Passed(at)) => take(Found::Passed(at)),
        }
        Ok(false)
    }
}

/// The matching calls of an account that are listed in these quarters.
fn calls_of(
    request: &AggregateRequest,
    account: AccountSid,
    first: Quarter,
    last: Quarter,
) -> (ListRequest, Plan, PositionSpan) {
    let (filter, order) = (listed_in(request, first, last), Order::OldestFirst);
    let list = ListRequest { account, filter, order, after: None };
    let plan = Plan::of(&list);
    let span = plan.span.clone();
    (list, plan, span)
}

/// The calls that are meant and listed in these quarters, whether or not they are in the time that is
/// asked for.
fn listed_in(request: &AggregateRequest, first: Quarter, last: Quarter) -> Filter {
    let end = (last < Quarter::MAX).then(|| last.end());
    Filter { start: Some(first.start()), end, ..request.filter.clone() }
}

/// Whether a quarter is in the time that is asked for as a whole, or not at all, and does not lie in two
/// buckets.
pub(super) fn is_whole(request: &AggregateRequest, period: Period, quarter: Quarter) -> bool {
    let (start, end) = (quarter.start(), quarter.end());
    let cuts = |at| start < at && at < end;
    let in_one = |interval: Interval| request.zone.span(interval, start).1 >= end;
    !period.start.is_some_and(cuts)
        && !period.end.is_some_and(cuts)
        && request.interval.is_none_or(in_one)
}
