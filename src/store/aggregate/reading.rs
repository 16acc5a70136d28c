//! Going through the calls of a time, the oldest first: sealed quarters of an hour as a whole, the calls of the
//! others one by one.

use std::sync::Arc;

use super::{AggregateRequest, Period};
use crate::domain::{AccountSid, Call, Filter, Order, Quarter};
use crate::keys::PositionSpan;
use crate::store::StoreError;
use crate::store::across::Across;
use crate::store::query::{ListRequest, LookRow, Most, Plan};
use crate::store::sealed::{Part, Parts, SealedQuarter, With};
use crate::store::state::View;
use crate::wire::Interval;

/// Rows of one look.
const ROWS: Most = Most { rows: 256, bytes: 256 * 1024 };
/// Sealed quarters that are taken before others get a turn.
const SEALED: usize = 64;

/// What was found.
pub(super) enum Found {
    Call(Arc<Call>),
    /// A quarter with its calls, all of which are in the time that is asked for, or none.
    Quarter(Box<SealedQuarter>),
}

/// A time that is read slice by slice.
pub(super) struct Reading {
    /// None where the kinds of calls do not decide which of them count: all are looked at.
    parts: Option<Parts>,
    /// Calls that are looked at, and what of them is still to be.
    calls: Option<(ListRequest, Plan, PositionSpan)>,
    /// The calls of several accounts: when how many of them are up no account knows by itself.
    across: Option<Across>,
}

impl Reading {
    /// The calls that are listed in these quarters.
    pub fn new(request: &AggregateRequest, first: Quarter, last: Quarter) -> Self {
        let mut reading = Self { parts: None, calls: None, across: None };
        let of_kinds = request.group.iter().all(|dimension| dimension.is_of_kinds());
        match &*request.accounts {
            [one] if of_kinds && request.filter.is_of_kinds() => {
                reading.parts = Some(Parts::new(one.account, first, last, With::Ups));
            }
            [one] => reading.calls = Some(calls_of(request, one.account, first, last)),
            _ => {
                let (accounts, filter) =
                    (request.accounts.clone(), listed_in(request, first, last));
                reading.across = Some(Across::new(accounts, filter, Order::OldestFirst, None));
            }
        }
        reading
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        self.across.as_ref().map_or(0, Across::bytes) + self.parts.as_ref().map_or(0, Parts::bytes)
    }

    /// Reads some more. True once all was.
    pub fn go_on(
        &mut self,
        view: &View,
        request: &AggregateRequest,
        period: Period,
        mut take: impl FnMut(Found),
    ) -> Result<bool, StoreError> {
        if let Some(across) = &mut self.across {
            for (_, listed) in across.calls(view, ROWS.rows)? {
                take(Found::Call(view.unpacked(listed)?));
            }
            return Ok(across.is_done());
        }
        for _ in 0..SEALED {
            if let Some((list, plan, span)) = self.calls.take() {
                let look = view.look(list.account, &plan, &span, ROWS, true)?;
                for (_, found) in look.found {
                    let LookRow::Call(listed) = found else { continue };
                    let call = view.unpacked(listed)?;
                    if list.filter.matches(&call) {
                        take(Found::Call(call));
                    }
                }
                let rest = look.reached.map(|reached| span.after(reached));
                self.calls = rest.filter(|rest| !rest.is_empty()).map(|rest| (list, plan, rest));
                return Ok(self.calls.is_none() && self.parts.is_none());
            }
            let Some(parts) = &mut self.parts else { return Ok(true) };
            let account = parts.account();
            let calls = |first, last| Some(calls_of(request, account, first, last));
            match parts.next(view)? {
                None => {
                    self.parts = None;
                    return Ok(true);
                }
                Some(Part::Open(first, last)) => self.calls = calls(first, last),
                Some(Part::Sealed(of)) if is_whole(request, period, of.row.quarter) => {
                    take(Found::Quarter(of));
                }
                Some(Part::Sealed(of)) => self.calls = calls(of.row.quarter, of.row.quarter),
            }
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
