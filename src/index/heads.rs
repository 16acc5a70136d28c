//! Searching by the heads of calls: of sealed quarters (`quarters.rs`) the calls that may match are read, and
//! of all others every call.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::ops::Bound::Included;

use super::cursor::{Cursor, Direction, Entry, beginning};
use super::quarters::QuarterRow;
use super::row::CallRow;
use super::tree::strange_key;
use super::{Index, IndexError};
use crate::codec::{CodecError, Heads, HeadsOfPart, PartOf};
use crate::domain::{AccountSid, HeadFilter, Order, Position, Quarter, Timestamp, sid_mark};
use crate::keys::{self, PositionSpan, Range};

/// Sealed quarters that are looked up at once.
const QUARTERS: usize = if cfg!(test) { 3 } else { 128 };
/// Bytes of heads that one look goes through, about.
const BYTES: usize = if cfg!(test) { 400 } else { 1 << 20 };
/// Where more than one of so many calls may match they are read one after another.
const SPARSE: usize = 6;
/// Bytes of heads that cost as much as a call that is read.
const BYTES_A_CALL: usize = 4096;

/// What one look has found.
#[derive(Debug, Default)]
pub struct FoundByHeads {
    /// Calls that may match, in order.
    pub rows: Vec<(Position, CallRow)>,
    /// How far it has come; none where nothing is left.
    pub reached: Option<Position>,
    /// What it has cost, in calls that are read.
    pub cost: usize,
}

/// One look.
struct Look<'a> {
    index: &'a Index,
    account: AccountSid,
    filter: &'a HeadFilter,
    span: &'a PositionSpan,
    rows: usize,
    bytes: usize,
    weight: usize,
    heads: usize,
    found: FoundByHeads,
}

fn damaged(error: &CodecError) -> IndexError {
    IndexError::damaged(format!("heads of calls: {error}"))
}

impl Index {
    /// The calls of a span that may match, in its order: at most so many, until they weigh `bytes`.
    pub fn find_by_heads(
        &self,
        account: AccountSid,
        filter: &HeadFilter,
        span: &PositionSpan,
        rows: usize,
        bytes: usize,
    ) -> Result<FoundByHeads, IndexError> {
        let found = FoundByHeads::default();
        let (index, weight, heads) = (self, 0, 0);
        let mut look = Look { index, account, filter, span, rows, bytes, weight, heads, found };
        self.guarded(|| look.run())?;
        let mut found = look.found;
        found.cost = found.rows.len() + look.heads / BYTES_A_CALL;
        Ok(found)
    }

    /// Whether these heads are what is kept of a quarter.
    pub(super) fn has_heads(
        &self,
        heads: &Heads,
        account: AccountSid,
        quarter: Quarter,
    ) -> Result<bool, IndexError> {
        let mut kept = self
            .entries
            .cursor(beginning(&keys::quarter(keys::HEADS, account, quarter)), Direction::Up);
        for part in heads.encode() {
            if kept.next().transpose()?.is_none_or(|kept| kept.bytes() != Some(&part)) {
                return Ok(false);
            }
        }
        Ok(kept.next().is_none())
    }

    /// Sealed quarters from the first on, at most so many, in an order; none of them after the last.
    fn quarters_in_order(
        &self,
        account: AccountSid,
        first: Quarter,
        last: Quarter,
        order: Order,
    ) -> Result<Vec<QuarterRow>, IndexError> {
        let (low, high) = (first.min(last), first.max(last));
        let key = |quarter| Included(keys::quarter(keys::QUARTER, account, quarter));
        let direction = going(order);
        let cursor = self.entries.cursor((key(low), key(high)), direction);
        let rows = cursor.take(QUARTERS).map(|entry| {
            let entry = entry?;
            QuarterRow::read(entry.key(), &entry.value())
        });
        rows.collect()
    }
}

/// In which direction the keys of quarters go.
fn going(order: Order) -> Direction {
    match order {
        Order::NewestFirst => Direction::Down,
        Order::OldestFirst => Direction::Up,
    }
}

impl<'a> Look<'a> {
    fn run(&mut self) -> Result<(), IndexError> {
        let order = self.span.order;
        let (mut at, last) = self.ends();
        loop {
            let rows = self.index.quarters_in_order(self.account, at, last, order)?;
            let is_cut = rows.len() == QUARTERS;
            let end = rows.last().filter(|_| is_cut).map_or(last, |row| row.quarter);
            let mut parts = self.parts(at, end).peekable();
            for row in &rows {
                let (since, quarter) = (row.sums.since(), row.quarter);
                // What lies before is not sealed.
                let open = match order {
                    Order::NewestFirst => (quarter < at).then(|| (quarter.plus(1), at)),
                    Order::OldestFirst => (at < since).then(|| (at, since.minus(1))),
                };
                if let Some((from, to)) = open
                    && self.read_all(from, to)?
                {
                    return Ok(());
                }
                if self.search(row, &mut parts)? {
                    return Ok(());
                }
                let next = match order {
                    Order::NewestFirst => since.number().checked_sub(1),
                    Order::OldestFirst => quarter.number().checked_add(1),
                };
                let Some(next) = next.map(Quarter::new) else { return Ok(()) };
                at = next;
                let is_over = match order {
                    Order::NewestFirst => at < last,
                    Order::OldestFirst => at > last,
                };
                if is_over {
                    return Ok(());
                }
            }
            drop(parts);
            if !is_cut {
                self.read_all(at.min(last), at.max(last))?;
                return Ok(());
            }
        }
    }

    /// The first and the last quarter of the span, in its order.
    fn ends(&self) -> (Quarter, Quarter) {
        use std::ops::Bound::{Excluded, Unbounded};
        let quarter = |position: Position| Quarter::of(position.listed_at());
        let newest = match self.span.low {
            Unbounded => Quarter::MAX,
            Included(low) | Excluded(low) => quarter(low),
        };
        let oldest = match self.span.high {
            Unbounded => Quarter::default(),
            Included(high) | Excluded(high) => quarter(high),
        };
        match self.span.order {
            Order::NewestFirst => (newest, oldest),
            Order::OldestFirst => (oldest, newest),
        }
    }

    /// Comes before the span, in its order.
    fn is_before(&self, position: Position) -> bool {
        match self.span.order {
            Order::NewestFirst => self.span.is_below(position),
            Order::OldestFirst => self.span.is_above(position),
        }
    }

    /// Comes after the span.
    fn is_behind(&self, position: Position) -> bool {
        match self.span.order {
            Order::NewestFirst => self.span.is_above(position),
            Order::OldestFirst => self.span.is_below(position),
        }
    }

    fn parts(&self, first: Quarter, last: Quarter) -> Cursor<'a> {
        let (low, high) = (first.min(last), first.max(last));
        let low = keys::heads(self.account, low, 0);
        let high = keys::heads(self.account, high, u32::MAX);
        let index: &'a Index = self.index;
        index.entries.cursor((Included(low), Included(high)), going(self.span.order))
    }

    /// The part of the span that lies in these quarters.
    fn within(&self, first: Quarter, last: Quarter) -> PositionSpan {
        let newest = if last < Quarter::MAX { last.end().minus_millis(1) } else { Timestamp::MAX };
        self.between(first.start(), newest)
    }

    /// The part of the span that is listed from one time to another, both included.
    fn between(&self, oldest: Timestamp, newest: Timestamp) -> PositionSpan {
        let (newest, oldest) = (Position::before_all_at(newest), Position::last_at(oldest));
        let mut span = self.span.clone();
        if !span.is_below(newest) {
            span.low = Included(newest);
        }
        if !span.is_above(oldest) {
            span.high = Included(oldest);
        }
        span
    }

    /// Reads all calls of these quarters. True where the look ends.
    fn read_all(&mut self, first: Quarter, last: Quarter) -> Result<bool, IndexError> {
        let span = self.within(first, last);
        self.read(&span)
    }

    fn read(&mut self, span: &PositionSpan) -> Result<bool, IndexError> {
        let range = Range::all(self.account);
        for row in self.index.scan(&range, span) {
            let (position, entry) = row?;
            if self.take(position, &entry)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a call. True where the look ends with it.
    fn take(&mut self, position: Position, entry: &Entry) -> Result<bool, IndexError> {
        let row = CallRow::read(&entry.value())?;
        self.weight += row.weight();
        self.found.rows.push((position, row));
        let ends = self.found.rows.len() >= self.rows || self.weight >= self.bytes;
        self.found.reached = ends.then_some(position);
        Ok(ends)
    }

    /// Searches a sealed quarter by its heads; what of it these do not cover is read. True where the look
    /// ends.
    fn search(
        &mut self,
        row: &QuarterRow,
        parts: &mut Peekable<Cursor<'_>>,
    ) -> Result<bool, IndexError> {
        let (quarter, order) = (row.quarter, self.span.order);
        let mut rest = self.within(quarter, quarter);
        let (mut of, mut done) = (None, 0);
        while let Some(entry) = parts.peek() {
            let Ok(entry) = entry else {
                parts.next().transpose()?;
                break;
            };
            let (found, number) = keys::heads_in(entry.key()).ok_or_else(strange_key)?;
            let is_earlier = match order {
                Order::NewestFirst => found > quarter,
                Order::OldestFirst => found < quarter,
            };
            if found != quarter && !is_earlier {
                break;
            }
            let Some(entry) = parts.next().transpose()? else { break };
            if is_earlier {
                continue;
            }
            let bytes = entry.bytes().unwrap_or_default();
            let part = HeadsOfPart::read(bytes).map_err(|error| damaged(&error))?;
            let whole: PartOf = *of.get_or_insert(part.of());
            let expected = match order {
                Order::NewestFirst => whole.parts.checked_sub(done + 1),
                Order::OldestFirst => Some(done),
            };
            // It was sealed anew meanwhile.
            if part.of() != whole || whole.calls != row.sums.calls || expected != Some(number) {
                break;
            }
            done += 1;
            self.heads += bytes.len();
            if self.read_matching(quarter, &part)? {
                return Ok(true);
            }
            let is_last = done == whole.parts;
            let reached = match part.ends() {
                Some((oldest, newest)) if !is_last => match order {
                    Order::NewestFirst => oldest,
                    Order::OldestFirst => newest,
                },
                _ => match order {
                    Order::NewestFirst => Position::last_at(quarter.start()),
                    Order::OldestFirst => Position::before_all_at(quarter.end().minus_millis(1)),
                },
            };
            // A part of before the span is no step forward.
            if !self.is_before(reached) {
                if self.heads >= BYTES {
                    self.found.reached = Some(reached).filter(|reached| !self.is_behind(*reached));
                    return Ok(true);
                }
                rest = rest.after(reached);
            }
            if is_last {
                return Ok(false);
            }
        }
        self.read(&rest)
    }

    /// Reads the calls of a part that may match. True where the look ends.
    fn read_matching(
        &mut self,
        quarter: Quarter,
        part: &HeadsOfPart<'_>,
    ) -> Result<bool, IndexError> {
        let is_out = |(oldest, newest)| self.span.is_below(oldest) || self.span.is_above(newest);
        if part.ends().is_some_and(is_out) {
            return Ok(false);
        }
        let matching = part.matching(quarter, self.filter).map_err(|error| damaged(&error))?;
        let (Some((oldest, _)), Some((newest, _))) = (matching.first(), matching.last()) else {
            return Ok(false);
        };
        let range = Range::all(self.account);
        let wanted: BTreeSet<(Timestamp, [u8; 2])> = matching.iter().copied().collect();
        let is_wanted = |at: Position| wanted.contains(&(at.listed_at(), sid_mark(at.sid)));
        let mut times: Vec<(Timestamp, Timestamp)> = if matching.len() * SPARSE > part.calls() {
            vec![(*oldest, *newest)]
        } else {
            let mut times: Vec<_> = matching.iter().map(|(at, _)| (*at, *at)).collect();
            times.dedup();
            times
        };
        if self.span.order == Order::NewestFirst {
            times.reverse();
        }
        for (oldest, newest) in times {
            let span = self.between(oldest, newest);
            for row in self.index.scan(&range, &span) {
                let (position, entry) = row?;
                if is_wanted(position) && self.take(position, &entry)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
