//! How a query reads: which ranges of keys it needs, and what index and registry have in them.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::StoreError;
use super::state::View;
use crate::codec;
use crate::domain::{
    AccountSid, Call, CallId, CallSid, CallStatus, Direction, Filter, HeadFilter, Order, Position,
    Rank, Timestamp, Typed,
};
use crate::index::{CallRow, Index, Stored};
use crate::journal::{FrameKind, Scanner};
use crate::keys::{PositionSpan, Range, StatusKey};

/// Rows that are brought at once.
const BRING_ROWS: usize = 16;

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
        is_exact(&self.filter)
    }
}

/// A call as it was found: what is not asked of it is not unpacked.
pub enum Listed {
    /// In memory.
    Call(Arc<Call>),
    /// In the index.
    Row(CallRow),
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
    /// What it has cost, in calls that are read.
    pub cost: usize,
}

pub(super) enum LookRow {
    Call(Listed),
    /// A call that stands in the plan's range of this number.
    In(usize),
}

/// Ranges that together hold every match, and the part of them to be read.
pub(super) struct Plan {
    pub ranges: Vec<Range>,
    pub span: PositionSpan,
    /// They hold nothing but matches: no record need be asked.
    pub exact: bool,
    /// Of the index only those calls are read whose heads match.
    pub heads: Option<Arc<HeadFilter>>,
    /// Beside those, the calls of these ranges are read: what was typed may be their Call-ID.
    pub typed: Vec<Range>,
}

impl Plan {
    /// The narrowest ranges. Where they are not exact the filter is to be asked for each record.
    pub fn of(request: &ListRequest) -> Self {
        let (account, filter) = (request.account, &request.filter);
        let (mut heads, mut typed) = (None, Vec::new());
        let ranges: Vec<Range> = if let Some(call_ids) = filter.search.any_call_id() {
            call_ids.iter().map(|call_id| Range::call_id(account, call_id)).collect()
        } else if !filter.parents.is_empty() {
            filter.parents.iter().map(|parent| Range::parent(account, *parent)).collect()
        } else if !filter.from.is_empty() {
            filter.from.iter().map(|number| Range::from(account, number)).collect()
        } else if !filter.to.is_empty() {
            filter.to.iter().map(|number| Range::to(account, number)).collect()
        } else if !filter.search.number.is_empty() {
            // A call whose parties are the same stands in two of them; a look has it once.
            let both = |number: &String| [Range::from(account, number), Range::to(account, number)];
            filter.search.number.iter().flat_map(both).collect()
        } else if is_of_few(filter) {
            status_keys(request)
        } else {
            heads = HeadFilter::of(filter).map(Arc::new);
            let call_id = |typed: &Typed| Range::call_id(account, typed.as_str());
            typed = filter.search.q.iter().map(call_id).collect();
            match &heads {
                None if by_status_key(filter) => status_keys(request),
                _ => vec![Range::all(account)],
            }
        };
        Self { ranges, span: span(request), exact: is_exact(filter), heads, typed }
    }

    /// These status keys and directions apart, so that each row tells both: `ranges[n]` is that of
    /// `cells[n]`.
    pub fn cells_of(request: &ListRequest, cells: &[(StatusKey, Direction)]) -> Self {
        let range =
            |(status_key, direction): &_| Range::status(request.account, *status_key, *direction);
        let ranges = cells.iter().map(range).collect();
        Self { ranges, span: span(request), exact: true, heads: None, typed: Vec::new() }
    }

    /// Every status key in both directions.
    pub fn cells() -> Vec<(StatusKey, Direction)> {
        let status_keys =
            CallStatus::ALL.into_iter().map(StatusKey::Status).chain([StatusKey::Stale]);
        status_keys
            .flat_map(|status_key| Direction::ALL.map(|direction| (status_key, direction)))
            .collect()
    }
}

/// Whether the ranges of [`Plan::of`] hold nothing but matches: they stand for one part of the filter,
/// times apart, and nothing else is left to be asked.
fn is_exact(filter: &Filter) -> bool {
    // Named one by one, so that a new part of the filter is met here.
    let Filter {
        statuses,
        directions: _,
        from,
        to,
        from_prefix,
        to_prefix,
        parents,
        stale,
        start: _,
        end: _,
        recent,
        search,
    } = filter;
    let texts = [parents.is_empty(), from.is_empty(), to.is_empty(), search.number.is_empty()];
    let asked = !from_prefix.is_empty()
        || !to_prefix.is_empty()
        || recent.is_some()
        || search.asks_beside_number();
    !asked
        && match texts.iter().filter(|empty| !**empty).count() {
            0 => *stale != Some(true) || statuses.is_empty(),
            1 => !by_status_key(filter),
            _ => false,
        }
}

/// Whether the calls are few that stand under the status keys which are asked for: those that are up, or
/// ended lately.
fn is_of_few(filter: &Filter) -> bool {
    let is_up = |status: &CallStatus| status.rank() < Rank::Terminal;
    filter.recent.is_some()
        || filter.stale != Some(true)
            && !filter.statuses.is_empty()
            && filter.statuses.iter().all(is_up)
}

fn by_status_key(filter: &Filter) -> bool {
    !filter.statuses.is_empty()
        || !filter.directions.is_empty()
        || filter.stale.is_some()
        || filter.recent.is_some()
}

fn status_keys(request: &ListRequest) -> Vec<Range> {
    let filter = &request.filter;
    let wanted = |status_key: StatusKey| match status_key {
        StatusKey::Stale => filter.stale.unwrap_or(filter.statuses.is_empty()),
        StatusKey::Status(status) => {
            filter.stale != Some(true)
                && (filter.statuses.is_empty() || filter.statuses.contains(&status))
        }
    };
    let cells = Plan::cells().into_iter().filter(|(status_key, direction)| {
        wanted(*status_key)
            && (filter.directions.is_empty() || filter.directions.contains(direction))
    });
    let ranges = cells.map(|(status_key, direction)| {
        let range = Range::status(request.account, status_key, direction);
        let up = matches!(status_key, StatusKey::Status(status) if status.rank() < Rank::Terminal);
        match filter.recent {
            Some(recent) if !up => range.until(Position::last_at(recent.listed_since)),
            _ => range,
        }
    });
    ranges.collect()
}

pub(super) fn span(request: &ListRequest) -> PositionSpan {
    let (low, high) = request.filter.bounds();
    let high = high.map_or(Bound::Included(Position::MAX), Bound::Excluded);
    let span = PositionSpan { order: request.order, low: Bound::Included(low), high };
    match request.after {
        // A cursor is made for this very filter, so that it lies within the span.
        Some(position) => span.after(position),
        None => span,
    }
}

/// Sids that are kept of a search; what is beyond is not even counted.
const SIDS_MAX: usize = 10_000;

/// The newest records of the journal of which one is the last event, however they were merged.
const NEWEST: usize = 64;
/// Bytes of a segment that are read for it.
const LOOKED_AT_MAX: u64 = 256 << 20;

/// What a search for sids has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidMatches {
    /// The sids, ascending.
    pub sids: Vec<CallSid>,
    /// There are more of them.
    pub more: bool,
}

impl View {
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
                Err(error) => Err(self.index_failed(&error)),
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
        let records = records || plan.heads.is_some();
        let _reading = self.readers.begin();
        let index = self.index()?;
        let (mut cost, mut heads_end) = (0, None);
        let ranges = if plan.heads.is_some() { &plan.typed } else { &plan.ranges };
        let theirs = index.positions(ranges, span, rows, records, bytes);
        let mut theirs = theirs.map_err(|error| self.index_failed(&error))?;
        let mut cut = theirs.len() == rows;
        if records {
            cut |= self.bring(&index, account, ranges, &mut theirs, bytes)?;
        }
        let their_end = theirs.last().filter(|_| cut).map(|row| row.0);
        if let Some(heads) = &plan.heads {
            let by_heads = index.find_by_heads(account, heads, span, rows, bytes);
            let by_heads = by_heads.map_err(|error| self.index_failed(&error))?;
            (cost, heads_end) = (by_heads.cost, by_heads.reached);
            theirs
                .extend(by_heads.rows.into_iter().map(|(position, row)| (position, 0, Some(row))));
        }
        let registry = self.registry.read();
        let ours = registry.positions(account, &plan.ranges, span, rows);
        // Beyond the end of the shorter of two cut-off halves nothing is known yet.
        let our_end = ours.last().filter(|_| ours.len() == rows).map(|row| row.0);
        let ends = [our_end, their_end, heads_end];
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
            let row = |(position, _, row): (Position, usize, Option<CallRow>)| {
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
        self.meter.rows_read.inc_by(found.len() as u64);
        let cost = cost.max(found.len());
        Ok(IndexPass { found, reached, cost })
    }

    /// Brings the rows of the calls at positions that came without. Where there is no call any more,
    /// or one that does not belong there, nothing is brought: it is never shown. Positions beyond
    /// `bytes` are left out; true where there are any.
    fn bring(
        &self,
        index: &Index,
        account: AccountSid,
        ranges: &[Range],
        found: &mut Vec<(Position, usize, Option<CallRow>)>,
        bytes: usize,
    ) -> Result<bool, StoreError> {
        let mut weight = 0;
        let mut done = 0;
        while done < found.len() && weight < bytes {
            let mut batch: Vec<_> = found.iter_mut().skip(done).take(BRING_ROWS).collect();
            let without = |row: &&&mut (Position, usize, Option<CallRow>)| row.2.is_none();
            let missing: Vec<Position> = batch.iter().filter(without).map(|row| row.0).collect();
            let mut rows = Vec::new().into_iter();
            if !missing.is_empty() {
                let brought = index.rows_at(account, &missing);
                rows = brought.map_err(|error| self.index_failed(&error))?.into_iter();
            }
            for place in &mut batch {
                done += 1;
                if place.2.is_none() {
                    let belongs = |row: &CallRow| {
                        ranges.get(place.1).is_some_and(|range| row.stands_in(range))
                    };
                    place.2 = rows.next().flatten().filter(belongs);
                }
                weight += place.2.as_ref().map_or(0, CallRow::weight);
                if weight >= bytes {
                    break;
                }
            }
        }
        let cut = done < found.len() || weight >= bytes;
        found.truncate(done);
        Ok(cut)
    }

    pub fn call(&self, id: CallId) -> Result<Option<Arc<Call>>, StoreError> {
        let _reading = self.readers.begin();
        if let Some(entry) = self.registry.read().get(id) {
            return Ok(entry.call().cloned());
        }
        let found = self.index()?.call(id).map_err(|error| self.index_failed(&error))?;
        Ok(found.map(|(_, call)| Arc::new(call)))
    }

    /// The first account after this one that has a call.
    pub fn next_account(
        &self,
        after: Option<AccountSid>,
    ) -> Result<Option<AccountSid>, StoreError> {
        let _reading = self.readers.begin();
        let ours = self.registry.read().next_account(after);
        let theirs = self.index()?.next_account(after);
        let theirs = theirs.map_err(|error| self.index_failed(&error))?.map(|(account, _)| account);
        Ok(match (ours, theirs) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// The sids, of whichever account, that begin with these bytes and are meant. Of the index those that
    /// begin so are read, and no call.
    pub fn find_sids(
        &self,
        leading: &[u8],
        is_meant: impl Fn(CallSid) -> bool,
    ) -> Result<SidMatches, StoreError> {
        let _reading = self.readers.begin();
        let index = self.index()?;
        let mut sids = BTreeSet::new();
        let mut more = false;
        let looked = index.each_stored(leading, |id, stored| {
            let is_call = matches!(stored, Stored::Call { .. });
            // What is in memory is newer, and asked below.
            if is_call && is_meant(id.sid) && !self.registry.read().holds(id) {
                more |= sids.len() >= SIDS_MAX;
                sids.insert(id.sid);
            }
            Ok(!more)
        });
        looked.map_err(|error| self.index_failed(&error))?;
        for (id, entry) in self.registry.read().iter() {
            if entry.call().is_some() && id.sid.bytes().starts_with(leading) && is_meant(id.sid) {
                more |= sids.len() >= SIDS_MAX;
                sids.insert(id.sid);
            }
        }
        Ok(SidMatches { sids: sids.into_iter().collect(), more })
    }

    /// When the last event came, by the newest records that the journal has. The segment that has them is
    /// read through; one that is very large is not.
    pub fn last_event(&self) -> Result<Option<Timestamp>, StoreError> {
        let segments = self.segments.read().clone();
        for segment in segments.iter().rev() {
            if segment.length > LOOKED_AT_MAX {
                return Ok(None);
            }
            let mut scanner = Scanner::new(segment)?;
            let mut newest = VecDeque::with_capacity(NEWEST);
            while let Some((_, frame)) = scanner.next_frame()? {
                if frame.kind == FrameKind::Record {
                    if newest.len() == NEWEST {
                        newest.pop_front();
                    }
                    newest.push_back(frame.body.to_vec());
                }
            }
            let calls = newest.iter().filter_map(|body| codec::decode(body).ok());
            if let Some(at) = calls.map(|call| call.last_event_at()).max() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PartyPart, Search};

    #[test]
    fn ranges_are_exact_where_they_leave_nothing_of_the_filter_to_be_asked() {
        let sid = CallSid::from_bytes([1; 16]);
        let text = |given: bool| if given { vec!["1".to_owned()] } else { vec![] };
        for bits in 0..8192_u32 {
            let given = |n: u32| bits & 1 << n > 0;
            let filter = Filter {
                statuses: if given(0) { vec![CallStatus::Ringing] } else { vec![] },
                directions: if given(1) { vec![Direction::Inbound] } else { vec![] },
                from: text(given(2)),
                to: text(given(3)),
                from_prefix: text(given(4)),
                to_prefix: text(given(5)),
                parents: if given(6) { vec![sid] } else { vec![] },
                stale: given(7).then_some(given(8)),
                start: given(9).then_some(Timestamp::MAX),
                search: Search {
                    number: text(given(10)),
                    from_contains: PartyPart::parse("123")
                        .filter(|_| given(11))
                        .into_iter()
                        .collect(),
                    answered: given(12).then_some(true),
                    ..Search::default()
                },
                ..Filter::default()
            };
            // What the ranges do not stand for.
            let mut rest = Filter { start: None, end: None, ..filter.clone() };
            if given(6) {
                rest.parents.clear();
            } else if given(2) {
                rest.from.clear();
            } else if given(3) {
                rest.to.clear();
            } else if given(10) {
                rest.search.number.clear();
            } else {
                if filter.stale != Some(true) {
                    rest.statuses.clear();
                }
                rest.directions.clear();
                rest.stale = None;
            }
            assert_eq!(is_exact(&filter), rest == Filter::default(), "{filter:?}");
        }
    }
}
