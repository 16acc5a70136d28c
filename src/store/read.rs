//! Questions: lists, single calls, counts.

use std::ops::Bound;
use std::sync::Arc;

use super::StoreError;
use super::open::Store;
use crate::domain::{AccountSid, Call, CallId, CallStatus, Direction, Filter, Order, Position};
use crate::index::Index;
use crate::keys::{Range, Slot, Span, live_ranges};
use crate::registry::State;

/// Rows that one look into registry and index takes at most.
const CHUNK_ROWS: usize = 256;
/// Rows that it takes at least: where few of them match, many looks cost more than many rows.
const CHUNK_ROWS_MIN: usize = 32;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose calls.
    pub account: AccountSid,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// From after this position on, in that order.
    pub after: Option<Position>,
}

/// Calls in order, and where the list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The calls.
    pub calls: Vec<Arc<Call>>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
}

impl Store {
    /// The next calls of a list, at most `limit`. A page that is not the last may be empty.
    pub fn page(&self, request: &Request, limit: usize) -> Result<Page, StoreError> {
        let ranges = plan(request.account, &request.filter);
        let mut span = span(request);
        let mut page = Page { calls: Vec::new(), next: request.after };
        loop {
            let left = limit - page.calls.len();
            if span.is_empty() {
                page.next = None;
                return Ok(page);
            }
            let rows = left.clamp(CHUNK_ROWS_MIN, CHUNK_ROWS);
            let chunk = self.chunk(request, &ranges, &span, rows)?;
            page.calls.extend(chunk.calls);
            page.next = chunk.next;
            if page.calls.len() > limit {
                page.calls.truncate(limit);
                page.next = page.calls.last().map(|call| Position::of(call)).or(request.after);
            }
            let Some(reached) = page.next else { return Ok(page) };
            if page.calls.len() >= limit {
                return Ok(page);
            }
            span = span.after(reached);
        }
    }

    /// One look into the registry and then the index.
    fn chunk(
        &self,
        request: &Request,
        ranges: &[Range],
        span: &Span,
        rows: usize,
    ) -> Result<Page, StoreError> {
        let shared = &self.shared;
        let _nothing_leaves = shared.gate.read();
        let account = request.account;
        let ours = shared.registry.read().positions(account, ranges, span, rows);
        let index = shared.index()?;
        let theirs = index.positions(ranges, span, rows);
        let theirs = theirs.map_err(|error| shared.index_failed(&error))?;
        // Beyond the end of the shorter of two cut-off halves nothing is known yet.
        let ends = [
            ours.last().filter(|_| ours.len() == rows).map(|row| row.0),
            theirs.last().filter(|_| theirs.len() == rows).map(|row| row.0),
        ];
        let mut reached = ends.into_iter().flatten().reduce(|a, b| match span.order {
            Order::NewestFirst => a.min(b),
            Order::OldestFirst => a.max(b),
        });
        let within = |position: &Position| {
            reached.is_none_or(|reached| match span.order {
                Order::NewestFirst => *position <= reached,
                Order::OldestFirst => *position >= reached,
            })
        };
        let mut found: Vec<(Position, Arc<Call>)> =
            ours.into_iter().filter(|(position, _)| within(position)).collect();
        let theirs: Vec<_> = theirs.into_iter().filter(|(position, _)| within(position)).collect();
        let newer = {
            let registry = shared.registry.read();
            let known = |position: &Position| {
                registry.get(CallId { account, sid: position.sid }).map(|entry| entry.state.clone())
            };
            theirs.iter().map(|(position, _)| known(position)).collect::<Vec<_>>()
        };
        for ((position, record), newer) in theirs.into_iter().zip(newer) {
            let call = match newer {
                Some(State::Deleted(_)) => continue,
                Some(State::Call(call)) => call,
                None => match self.read_row(&index, account, position, record)? {
                    Some(call) => Arc::new(call),
                    None => continue,
                },
            };
            // The registry's version may stand elsewhere only if it is another call altogether.
            if Position::of(&call) == position {
                found.push((position, call));
            }
        }
        found.sort_by_key(|(position, _)| *position);
        found.dedup_by_key(|(position, _)| *position);
        if span.order == Order::OldestFirst {
            found.reverse();
        }
        // Two halves of so many rows are more than one.
        if let Some((last, _)) = found.get(rows - 1) {
            reached = Some(*last);
            found.truncate(rows);
        }
        let calls = found.into_iter().map(|(_, call)| call);
        let calls = calls.filter(|call| request.filter.matches(call)).collect();
        Ok(Page { calls, next: reached })
    }

    /// The record of an index row. A row whose call is no longer there is skipped, never shown.
    fn read_row(
        &self,
        index: &Index,
        account: AccountSid,
        position: Position,
        record: Option<(u64, Call)>,
    ) -> Result<Option<Call>, StoreError> {
        let found = if record.is_some() {
            record
        } else {
            let found = index.call_at(account, position);
            found.map_err(|error| self.shared.index_failed(&error))?
        };
        let right = |call: &Call| call.id.account == account && Position::of(call) == position;
        Ok(found.map(|(_, call)| call).filter(right))
    }

    /// One call.
    pub fn call(&self, id: CallId) -> Result<Option<Arc<Call>>, StoreError> {
        let shared = &self.shared;
        let _nothing_leaves = shared.gate.read();
        if let Some(entry) = shared.registry.read().get(id) {
            return Ok(entry.call().cloned());
        }
        let found = shared.index()?.call(id).map_err(|error| shared.index_failed(&error))?;
        Ok(found.map(|(_, call)| Arc::new(call)))
    }

    /// How many calls of an account are up: inbound, outbound.
    pub fn live_calls(&self, account: AccountSid) -> Result<[usize; 2], StoreError> {
        let shared = &self.shared;
        let _nothing_leaves = shared.gate.read();
        let index = shared.index()?;
        let ranges = Direction::ALL.map(|direction| live_ranges(account, direction));
        // The slow half first: what the registry knows by then is right, and nobody waits for it.
        let mut indexed = [Vec::new(), Vec::new()];
        for (rows, ranges) in indexed.iter_mut().zip(&ranges) {
            *rows = index.count(ranges).map_err(|error| shared.index_failed(&error))?;
        }
        let registry = shared.registry.read();
        let mut counts = [0; 2];
        for ((count, ranges), rows) in counts.iter_mut().zip(&ranges).zip(&indexed) {
            let span = Span::all(Order::NewestFirst);
            *count = registry.positions(account, ranges, &span, usize::MAX).len();
            let elsewhere = |position: &&Position| {
                registry.get(CallId { account, sid: position.sid }).is_none()
            };
            *count += rows.iter().filter(elsewhere).count();
        }
        Ok(counts)
    }

    /// The first account after this one that has a call.
    pub fn next_account(
        &self,
        after: Option<AccountSid>,
    ) -> Result<Option<AccountSid>, StoreError> {
        let shared = &self.shared;
        let _nothing_leaves = shared.gate.read();
        let ours = shared.registry.read().next_account(after);
        let theirs = shared.index()?.next_account(after);
        let theirs = theirs.map_err(|error| shared.index_failed(&error))?;
        Ok(match (ours, theirs) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }
}

/// Which ranges to read: the narrowest that hold every match. The filter is asked again for each
/// record, so that a range may hold more.
fn plan(account: AccountSid, filter: &Filter) -> Vec<Range> {
    if !filter.from.is_empty() {
        return filter.from.iter().map(|number| Range::from(account, number)).collect();
    }
    if !filter.to.is_empty() {
        return filter.to.iter().map(|number| Range::to(account, number)).collect();
    }
    if filter.statuses.is_empty() && filter.directions.is_empty() {
        return vec![Range::all(account)];
    }
    let mut slots: Vec<Slot> = filter.statuses.iter().copied().map(Slot::Status).collect();
    if slots.is_empty() {
        slots = CallStatus::ALL.into_iter().map(Slot::Status).collect();
        slots.push(Slot::Stale);
    }
    let directions: &[Direction] =
        if filter.directions.is_empty() { &Direction::ALL } else { &filter.directions };
    let ranges = slots.iter().flat_map(|slot| {
        directions.iter().map(move |direction| Range::status(account, *slot, *direction))
    });
    ranges.collect()
}

fn span(request: &Request) -> Span {
    let (low, high) = request.filter.bounds();
    let high = high.map_or(Bound::Included(Position::MAX), Bound::Excluded);
    let span = Span { order: request.order, low: Bound::Included(low), high };
    match request.after {
        // A cursor is made for this very filter, so that it lies within the span.
        Some(position) => span.after(position),
        None => span,
    }
}
