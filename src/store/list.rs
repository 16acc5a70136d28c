//! Questions: lists, single calls, live calls.

use std::sync::Arc;

use super::StoreError;
use super::open::Store;
use super::query::Plan;
use crate::domain::{AccountSid, Call, CallId, Filter, Order, Position};
use crate::index::{BlockRow, Index};
use crate::keys::{PositionSpan, Range};

/// Rows that one look into registry and index takes at most.
const CHUNK_ROWS: usize = 256;
/// Rows that it takes at least: where few of them match, many looks cost more than many rows.
const CHUNK_ROWS_MIN: usize = 32;

/// Rows that are brought at once.
const BRING_ROWS: usize = 16;
/// Rows that are so few that each may keep all of its block in memory.
const FEW_ROWS: usize = 64;

/// What the calls of one page may weigh in bytes; the last one may go beyond. Most calls weigh less
/// than 800.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// What the rows of one look may weigh, records and answers together.
const LOOK_BYTES: usize = 256 * 1024;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// Whose calls.
    pub account: AccountSid,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// From after this position on, in that order.
    pub after: Option<Position>,
}

impl ListRequest {
    /// Whether reading a page takes no more rows than it has: nothing is looked at in vain.
    pub fn is_direct(&self) -> bool {
        Plan::of(self).exact
    }
}

/// What one slice of a list may take. It ends with whatever is reached first.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Calls that match.
    pub calls: usize,
    /// Rows that are looked at; a look may go beyond by some.
    pub rows: usize,
    /// Bytes of calls that match, as they are answered; one call may go beyond.
    pub bytes: usize,
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
    /// Rows that were looked at.
    pub rows: usize,
}

/// Where calls stand.
pub struct Positions {
    /// The positions of calls that match.
    pub found: Vec<Position>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
    /// Rows that were looked at.
    pub rows: usize,
}

/// A call as it was found: what is not asked of it is not unpacked.
pub enum Listed {
    /// In memory.
    Call(Arc<Call>),
    /// In the index.
    Row(BlockRow),
}

impl Listed {
    /// About how many bytes it takes in an answer.
    pub fn weight(&self) -> usize {
        match self {
            Self::Call(call) => call.weight(),
            Self::Row(row) => row.answer().len(),
        }
    }
}

/// What one look may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub rows: usize,
    /// Of rows with their records; one row may go beyond.
    pub bytes: usize,
}

/// What one look has found.
pub(super) struct IndexPass {
    pub found: Vec<(Position, LookRow)>,
    /// How far it has come; none where nothing is left.
    pub reached: Option<Position>,
}

/// A row of a look.
pub(super) enum LookRow {
    /// The call itself.
    Call(Listed),
    /// A call that stands in the plan's range of this number.
    In(usize),
}

impl Store {
    /// The next calls of a list, at most `limit`, and less where they are large. A page that is not
    /// the last may be empty.
    pub fn page(&self, request: &ListRequest, limit: usize) -> Result<Page, StoreError> {
        let slice = Slice { calls: limit, rows: usize::MAX, bytes: PAGE_BYTES };
        let Listing { calls, next, .. } = self.list(request, slice)?;
        let calls = calls.into_iter().map(|(_, listed)| self.unpacked(listed));
        Ok(Page { calls: calls.collect::<Result<_, _>>()?, next })
    }

    /// The next slice of a list, its calls as they are found. One that is not the last may be empty.
    pub fn list(&self, request: &ListRequest, slice: Slice) -> Result<Listing, StoreError> {
        let plan = Plan::of(request);
        let mut span = plan.span.clone();
        let mut page = Listing { calls: Vec::new(), next: request.after, rows: 0 };
        let mut chunk_rows = slice.calls.clamp(CHUNK_ROWS_MIN, CHUNK_ROWS);
        let mut weight = 0;
        while !span.is_empty() {
            let left = slice.rows.saturating_sub(page.rows).max(1);
            // Records are as large as answers, about. Where few match, more is read at once.
            let bytes = if plan.exact { 2 * (slice.bytes - weight) } else { LOOK_BYTES };
            let most = Most { rows: chunk_rows.min(left), bytes: bytes.min(LOOK_BYTES) };
            let look = self.look(request.account, &plan, &span, most, true)?;
            page.rows += look.found.len();
            page.next = look.reached;
            for (position, found) in look.found {
                let LookRow::Call(mut listed) = found else { continue };
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
                if page.calls.len() == slice.calls || weight >= slice.bytes {
                    page.next = Some(position);
                    return Ok(page);
                }
            }
            let Some(reached) = page.next else { return Ok(page) };
            if page.rows >= slice.rows {
                return Ok(page);
            }
            span = span.after(reached);
            chunk_rows = (chunk_rows * 2).min(CHUNK_ROWS);
        }
        page.next = None;
        Ok(page)
    }

    /// Where the next `calls` of a list stand, from one look at no more than `rows`. No record is read
    /// where the keys alone decide.
    pub fn positions(
        &self,
        request: &ListRequest,
        calls: usize,
        rows: usize,
    ) -> Result<Positions, StoreError> {
        let plan = Plan::of(request);
        let mut positions = Positions { found: Vec::new(), next: None, rows: 0 };
        if plan.span.is_empty() {
            return Ok(positions);
        }
        let most = Most { rows, bytes: LOOK_BYTES };
        let look = self.look(request.account, &plan, &plan.span, most, !plan.exact)?;
        positions.rows = look.found.len();
        positions.next = look.reached;
        for (position, found) in look.found {
            if !self.is_wanted(request, found)? {
                continue;
            }
            positions.found.push(position);
            if positions.found.len() == calls {
                positions.next = Some(position);
                break;
            }
        }
        Ok(positions)
    }

    /// Whether what was found belongs to a list: what the plan's ranges alone tell of does.
    pub(super) fn is_wanted(
        &self,
        request: &ListRequest,
        found: LookRow,
    ) -> Result<bool, StoreError> {
        match found {
            LookRow::Call(listed) => Ok(request.filter.matches(&*self.unpacked(listed)?)),
            LookRow::In(_) => Ok(true),
        }
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
        span: &PositionSpan,
        most: Most,
        records: bool,
    ) -> Result<IndexPass, StoreError> {
        let Most { rows, bytes } = most;
        let shared = &self.shared;
        let _reading = shared.readers.begin();
        let index = shared.index()?;
        let theirs = index.positions(&plan.ranges, span, rows, records, bytes);
        let mut theirs = theirs.map_err(|error| shared.index_failed(&error))?;
        let mut cut = theirs.len() == rows;
        if records {
            cut |= self.bring(&index, account, &plan.ranges, &mut theirs, bytes)?;
        }
        let registry = shared.registry.read();
        let ours = registry.positions(account, &plan.ranges, span, rows);
        // Beyond the end of the shorter of two cut-off halves nothing is known yet.
        let ends = [
            ours.last().filter(|_| ours.len() == rows).map(|row| row.0),
            theirs.last().filter(|_| cut).map(|row| row.0),
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
        let mut found: Vec<(Position, LookRow)> =
            ours.map(|(position, call)| (position, LookRow::Call(Listed::Call(call)))).collect();
        // What the registry knows of a call counts.
        theirs.retain(|(position, ..)| {
            within(position) && registry.get(CallId { account, sid: position.sid }).is_none()
        });
        drop(registry);
        if records {
            let row = |(position, _, row): (Position, usize, Option<BlockRow>)| {
                Some((position, LookRow::Call(Listed::Row(row?))))
            };
            found.extend(theirs.into_iter().filter_map(row));
        } else {
            found.extend(theirs.into_iter().map(|(at, range, _)| (at, LookRow::In(range))));
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
        shared.meter.rows_read.inc_by(found.len() as u64);
        Ok(IndexPass { found, reached })
    }

    /// Brings the rows of the calls at positions that came without. Where there is no call any more,
    /// or one that does not belong there, nothing is brought: it is never shown. Positions beyond
    /// `bytes` are left out; true where there are any.
    fn bring(
        &self,
        index: &Index,
        account: AccountSid,
        ranges: &[Range],
        found: &mut Vec<(Position, usize, Option<BlockRow>)>,
        bytes: usize,
    ) -> Result<bool, StoreError> {
        let few = found.len() <= FEW_ROWS;
        let mut weight = 0;
        let mut done = 0;
        while done < found.len() && weight < bytes {
            let mut batch: Vec<_> = found.iter_mut().skip(done).take(BRING_ROWS).collect();
            let without = |row: &&&mut (Position, usize, Option<BlockRow>)| row.2.is_none();
            let missing: Vec<Position> = batch.iter().filter(without).map(|row| row.0).collect();
            let mut rows = Vec::new().into_iter();
            if !missing.is_empty() {
                let brought = index.rows_at(account, &missing);
                rows = brought.map_err(|error| self.shared.index_failed(&error))?.into_iter();
            }
            for place in &mut batch {
                done += 1;
                if place.2.is_none() {
                    let belongs = |row: &BlockRow| {
                        ranges.get(place.1).is_some_and(|range| row.stands_in(range))
                    };
                    let row = rows.next().flatten().filter(belongs);
                    place.2 = if few { row } else { row.map(BlockRow::by_itself) };
                }
                weight += place.2.as_ref().map_or(0, BlockRow::weight);
                if weight >= bytes {
                    break;
                }
            }
        }
        let cut = done < found.len() || weight >= bytes;
        found.truncate(done);
        Ok(cut)
    }

    /// One call.
    pub fn call(&self, id: CallId) -> Result<Option<Arc<Call>>, StoreError> {
        let shared = &self.shared;
        let _reading = shared.readers.begin();
        if let Some(entry) = shared.registry.read().get(id) {
            return Ok(entry.call().cloned());
        }
        let found = shared.index()?.call(id).map_err(|error| shared.index_failed(&error))?;
        Ok(found.map(|(_, call)| Arc::new(call)))
    }

    /// The first account after this one that has a call.
    pub fn next_account(
        &self,
        after: Option<AccountSid>,
    ) -> Result<Option<AccountSid>, StoreError> {
        let shared = &self.shared;
        let _reading = shared.readers.begin();
        let ours = shared.registry.read().next_account(after);
        let theirs = shared.index()?.next_account(after);
        let theirs = theirs.map_err(|error| shared.index_failed(&error))?;
        Ok(match (ours, theirs) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }
}
