//! Questions: lists, single calls, live calls.

use std::sync::Arc;

use super::StoreError;
use super::open::Store;
use super::plan::Plan;
use crate::domain::{AccountSid, Call, CallId, Filter, Order, Position};
use crate::index::{Index, Row};
use crate::keys::{Range, Span};

/// Rows that one look into registry and index takes at most.
const CHUNK_ROWS: usize = 256;
/// Rows that it takes at least: where few of them match, many looks cost more than many rows.
const CHUNK_ROWS_MIN: usize = 32;

/// Rows that are so few that each may keep all of its block in memory.
const FEW_ROWS: usize = 64;

/// What the calls of one page may weigh in bytes; the last one may go beyond. Most calls weigh less
/// than 800.
const PAGE_WEIGHT: usize = 8 * 1024 * 1024;

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

impl Request {
    /// Whether reading a page takes no more rows than it has: nothing is looked at in vain.
    pub fn is_direct(&self) -> bool {
        Plan::of(self).exact
    }
}

/// Calls in order, and where the list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The calls.
    pub calls: Vec<Arc<Call>>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
}

/// The same, its calls as they were found.
pub struct Listing {
    /// The calls, each with its position.
    pub calls: Vec<(Position, Listed)>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
}

/// A call as it was found: what is not asked of it is not unpacked.
pub enum Listed {
    /// In memory.
    Call(Arc<Call>),
    /// In the index.
    Row(Row),
}

impl Listed {
    /// About how many bytes it takes in an answer.
    fn weight(&self) -> usize {
        match self {
            Self::Call(call) => call.weight(),
            Self::Row(row) => row.answer().len(),
        }
    }
}

/// What one look has found.
pub(super) struct Look {
    pub found: Vec<(Position, Found)>,
    /// How far it has come; none where nothing is left.
    pub reached: Option<Position>,
}

/// A row of a look.
pub(super) enum Found {
    /// The call itself.
    Call(Listed),
    /// A call that stands in the plan's range of this number.
    In(usize),
}

impl Store {
    /// The next calls of a list, at most `limit`, and less where they are large. A page that is not
    /// the last may be empty.
    pub fn page(&self, request: &Request, limit: usize) -> Result<Page, StoreError> {
        let Listing { calls, next } = self.list(request, limit, usize::MAX)?;
        let calls = calls.into_iter().map(|(_, listed)| self.unpacked(listed));
        Ok(Page { calls: calls.collect::<Result<_, _>>()?, next })
    }

    /// The same, calls as they are found; it ends early once it has looked at `rows`.
    pub fn list(
        &self,
        request: &Request,
        limit: usize,
        rows: usize,
    ) -> Result<Listing, StoreError> {
        let plan = Plan::of(request);
        let mut span = plan.span.clone();
        let mut page = Listing { calls: Vec::new(), next: request.after };
        let mut chunk_rows = limit.clamp(CHUNK_ROWS_MIN, CHUNK_ROWS);
        let (mut looked_at, mut weight) = (0, 0);
        while !span.is_empty() {
            let look = self.look(request.account, &plan, &span, chunk_rows, true)?;
            looked_at += look.found.len();
            page.next = look.reached;
            for (position, found) in look.found {
                let Found::Call(mut listed) = found else { continue };
                // The rows of an exact plan match, and those in memory are few.
                if !plan.exact || matches!(listed, Listed::Call(_)) {
                    let call = self.unpacked(listed)?;
                    if !request.filter.matches(&call) {
                        continue;
                    }
                    listed = Listed::Call(call);
                }
                weight += listed.weight();
                page.calls.push((position, listed));
                if page.calls.len() == limit || weight >= PAGE_WEIGHT {
                    page.next = Some(position);
                    return Ok(page);
                }
            }
            let Some(reached) = page.next else { return Ok(page) };
            if looked_at >= rows {
                return Ok(page);
            }
            span = span.after(reached);
            chunk_rows = (chunk_rows * 2).min(CHUNK_ROWS);
        }
        page.next = None;
        Ok(page)
    }

    /// The call that was listed.
    pub fn unpacked(&self, listed: Listed) -> Result<Arc<Call>, StoreError> {
        match listed {
            Listed::Call(call) => Ok(call),
            Listed::Row(row) => match row.call() {
                Ok(call) => Ok(Arc::new(call)),
                Err(error) => Err(self.shared.index_failed(&error)),
            },
        }
    }

    /// One look into the index and then the registry: rows of the plan's ranges, in order, each
    /// once. The filter is not asked. Without `records`, a row of the index stays a row.
    ///
    /// The registry is asked last, in one step: what has changed since the index was read is in it,
    /// and nothing leaves it meanwhile.
    pub(super) fn look(
        &self,
        account: AccountSid,
        plan: &Plan,
        span: &Span,
        rows: usize,
        records: bool,
    ) -> Result<Look, StoreError> {
        let shared = &self.shared;
        let _nothing_leaves = shared.gate.read();
        let index = shared.index()?;
        let theirs = index.positions(&plan.ranges, span, rows, records);
        let mut theirs = theirs.map_err(|error| shared.index_failed(&error))?;
        if records {
            self.bring(&index, account, &plan.ranges, &mut theirs)?;
        }
        let registry = shared.registry.read();
        let ours = registry.positions(account, &plan.ranges, span, rows);
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
        let ours = ours.into_iter().filter(|(position, _)| within(position));
        let mut found: Vec<(Position, Found)> =
            ours.map(|(position, call)| (position, Found::Call(Listed::Call(call)))).collect();
        // What the registry knows of a call counts.
        theirs.retain(|(position, ..)| {
            within(position) && registry.get(CallId { account, sid: position.sid }).is_none()
        });
        drop(registry);
        if records {
            let row = |(position, _, row): (Position, usize, Option<Row>)| {
                Some((position, Found::Call(Listed::Row(row?))))
            };
            found.extend(theirs.into_iter().filter_map(row));
        } else {
            found.extend(theirs.into_iter().map(|(at, range, _)| (at, Found::In(range))));
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
        Ok(Look { found, reached })
    }

    /// Brings the rows of the calls at positions that came without. Where there is no call any more,
    /// or one that does not belong there, nothing is brought: it is never shown.
    fn bring(
        &self,
        index: &Index,
        account: AccountSid,
        ranges: &[Range],
        found: &mut [(Position, usize, Option<Row>)],
    ) -> Result<(), StoreError> {
        let without = |row: &&mut (Position, usize, Option<Row>)| row.2.is_none();
        let few = found.len() <= FEW_ROWS;
        let mut missing: Vec<_> = found.iter_mut().filter(without).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let positions: Vec<Position> = missing.iter().map(|(position, ..)| *position).collect();
        let rows = index.rows_at(account, &positions);
        let rows = rows.map_err(|error| self.shared.index_failed(&error))?;
        for (place, row) in missing.iter_mut().zip(rows) {
            let belongs = |row: &Row| ranges.get(place.1).is_some_and(|range| row.stands_in(range));
            let row = row.filter(belongs);
            place.2 = if few { row } else { row.map(Row::by_itself) };
        }
        Ok(())
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

    /// Whether another account has a call of this sid, too. It asks account by account.
    pub fn has_namesake(&self, id: CallId) -> Result<bool, StoreError> {
        let mut after = None;
        while let Some(account) = self.next_account(after)? {
            if account != id.account && self.call(CallId { account, ..id })?.is_some() {
                return Ok(true);
            }
            after = Some(account);
        }
        Ok(false)
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
