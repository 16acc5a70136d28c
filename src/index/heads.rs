//! Searching by the heads of calls: of sealed quarters (`quarters.rs`) the calls that may match are read, and
//! of all others every call. Where a part of a party is asked for, the parties of sealed days (`days.rs`) tell which of
//! their quarters may have it.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::ops::Bound::Included;

use super::cursor::{Cursor, Direction, Entry, Lookup, beginning};
use super::quarters::QuarterRow;
use super::row::CallRow;
use super::tree::strange_key;
use super::{Index, IndexError};
use crate::codec::{CodecError, Heads, HeadsOfPart, PartOf, PartiesOfPart};
use crate::domain::{
    AccountSid, DENSE, Day, HeadFilter, Order, Position, Quarter, Timestamp, sid_mark,
};
use crate::keys::{self, PositionSpan, Range};

/// Sealed quarters that are looked up at once.
const QUARTERS: usize = if cfg!(test) { 3 } else { 128 };
/// Bytes of their rows, about: senders choose the texts in them.
const ROWS_BYTES: usize = if cfg!(test) { 500 } else { 256 << 10 };
/// Bytes of heads that one look goes through, about.
const BYTES: usize = if cfg!(test) { 400 } else { 1 << 20 };
/// Where more than one of so many calls may match they are read one after another.
const SPARSE: usize = 6;
/// Bytes of heads that cost as much as a call that is read.
const BYTES_A_CALL: usize = if cfg!(test) { 50 } else { 4096 };
/// What a quarter costs, and each part of one, in bytes of heads.
const BYTES_A_PART: usize = if cfg!(test) { 20 } else { 2048 };
/// So many texts that are looked for cost as much again as the first one.
const TEXTS_AT_ONCE: usize = 4;

/// Bytes of parties that cost as much as one of heads, of which more is read than the texts.
const PARTIES_CHEAPER: usize = 4;

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
    lookup: Lookup<'a>,
    /// Bytes of heads that it went through, and calls that it read.
    heads: usize,
    read: usize,
    /// Of the first quarter: which parts it has, and how many of them come before the span.
    before: Option<(Quarter, PartOf, u32)>,
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
        let mut look = Look {
            index: self,
            account,
            filter,
            span,
            rows,
            bytes,
            weight: 0,
            heads: 0,
            read: 0,
            lookup: Lookup::new(&self.entries),
            before: None,
            found,
        };
        self.guarded(|| look.run())?;
        let mut found = look.found;
        found.cost = look.read + look.heads / BYTES_A_CALL;
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

    /// Sealed quarters from the first on, some of them, in an order; none of them after the last. True where there
    /// may be more.
    fn quarters_in_order(
        &self,
        account: AccountSid,
        first: Quarter,
        last: Quarter,
        order: Order,
    ) -> Result<(Vec<QuarterRow>, bool), IndexError> {
        let (low, high) = (first.min(last), first.max(last));
        let key = |quarter| Included(keys::quarter(keys::QUARTER, account, quarter));
        let direction = going(order);
        let (mut rows, mut weight) = (Vec::new(), 0);
        for entry in self.entries.cursor((key(low), key(high)), direction) {
            let entry = entry?;
            let row = QuarterRow::read(entry.key(), &entry.value())?;
            weight += row.weight();
            rows.push(row);
            if rows.len() >= QUARTERS || weight >= ROWS_BYTES {
                return Ok((rows, true));
            }
        }
        Ok((rows, false))
    }
}

/// The part of a span that lies between two positions, both included.
fn clipped(mut span: PositionSpan, low: Position, high: Position) -> PositionSpan {
    if !span.is_below(low) {
        span.low = Included(low);
    }
    if !span.is_above(high) {
        span.high = Included(high);
    }
    span
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
        let (mut at, last) = self.ends();
        self.before = self.parts_before(at)?;
        while self.filter.asks_parties() {
            let days = (Day::of(at), Day::of(last));
            let direction = going(self.span.order);
            let (rows, is_cut) = self.index.days_in_order(self.account, days, direction)?;
            for row in rows {
                self.heads += row.weight();
                let (first, end) = (row.since().first(), row.day.last());
                // What lies before is not sealed.
                let (open, next) = match self.span.order {
                    Order::NewestFirst => {
                        ((end < at).then(|| end.plus(1)), first.number().checked_sub(1))
                    }
                    Order::OldestFirst => {
                        ((at < first).then(|| first.minus(1)), end.number().checked_add(1))
                    }
                };
                if let Some(to) = open
                    && self.search_quarters(at, to)?
                {
                    return Ok(());
                }
                if self.search_day(row.day, at, last)? {
                    return Ok(());
                }
                let Some(next) = next.map(Quarter::new) else { return Ok(()) };
                at = next;
                if self.is_over(at, last) {
                    return Ok(());
                }
            }
            if !is_cut {
                break;
            }
        }
        self.search_quarters(at, last)?;
        Ok(())
    }

    /// Whether a quarter lies behind the last one.
    fn is_over(&self, at: Quarter, last: Quarter) -> bool {
        match self.span.order {
            Order::NewestFirst => at < last,
            Order::OldestFirst => at > last,
        }
    }

    /// Searches a sealed day, of those of its quarters that lie between two, in the order of the span. True where the
    /// look ends.
    fn search_day(&mut self, day: Day, at: Quarter, last: Quarter) -> Result<bool, IndexError> {
        let low = day.first().max(at.min(last));
        let high = day.last().min(at.max(last));
        let (from, to) = match self.span.order {
            Order::NewestFirst => (high, low),
            Order::OldestFirst => (low, high),
        };
        if low > high {
            return Ok(false);
        }
        let Some(found) = self.quarters_of(day)? else { return self.search_quarters(from, to) };
        if found.count_ones() > DENSE {
            return self.search_quarters(from, to);
        }
        let mut quarters: Vec<Quarter> = (low.number()..=high.number())
            .filter(|number| found >> (number % Day::QUARTERS) & 1 == 1)
            .map(Quarter::new)
            .collect();
        if self.span.order == Order::NewestFirst {
            quarters.reverse();
        }
        for quarter in quarters {
            let key = keys::quarter(keys::QUARTER, self.account, quarter);
            let ends = match self.lookup.get(&key)? {
                Some(value) => {
                    let row = QuarterRow::of(quarter, &value)?;
                    self.heads += row.weight() + BYTES_A_PART;
                    self.search(&row, &mut self.parts(quarter, quarter).peekable())?
                }
                None => self.read_all(quarter, quarter)?,
            };
            if ends {
                return Ok(true);
            }
        }
        let reached = match self.span.order {
            Order::NewestFirst => Position::last_at(to.start()),
            Order::OldestFirst => Position::before_all_at(to.last()),
        };
        // A day before the span is no step forward.
        let ends = self.heads >= BYTES && !self.is_before(reached);
        if ends {
            self.found.reached = Some(reached).filter(|reached| !self.is_behind(*reached));
        }
        Ok(ends)
    }

    /// The quarters of a sealed day that may have matches, by bits; none where its parties do not tell.
    fn quarters_of(&mut self, day: Day) -> Result<Option<u128>, IndexError> {
        let Some(parts) = self.index.parties(self.account, day)? else { return Ok(None) };
        let (mut found, effort) = (Vec::new(), TEXTS_AT_ONCE + self.filter.texts());
        for part in parts {
            let bytes = part.bytes().unwrap_or_default();
            let part = PartiesOfPart::read(bytes).map_err(|error| damaged(&error))?;
            self.filter.note_quarters(part.texts(), &mut found);
            self.heads += bytes.len() / (TEXTS_AT_ONCE * PARTIES_CHEAPER) * effort;
        }
        Ok(found.into_iter().reduce(|a, b| a & b))
    }

    /// Searches the quarters from one to another, in the order of the span. True where the look ends.
    fn search_quarters(&mut self, from: Quarter, last: Quarter) -> Result<bool, IndexError> {
        let (mut at, order) = (from, self.span.order);
        loop {
            let (rows, is_cut) = self.index.quarters_in_order(self.account, at, last, order)?;
            let end = rows.last().filter(|_| is_cut).map_or(last, |row| row.quarter);
            let mut parts = self.parts(at, end).peekable();
            for row in &rows {
                let (since, quarter) = (row.sums.since(), row.quarter);
                self.heads += row.weight() + BYTES_A_PART;
                // What lies before is not sealed.
                let open = match order {
                    Order::NewestFirst => (quarter < at).then(|| (quarter.plus(1), at)),
                    Order::OldestFirst => (at < since).then(|| (at, since.minus(1))),
                };
                if let Some((from, to)) = open
                    && self.read_all(from, to)?
                {
                    return Ok(true);
                }
                if self.search(row, &mut parts)? {
                    return Ok(true);
                }
                let next = match order {
                    Order::NewestFirst => since.number().checked_sub(1),
                    Order::OldestFirst => quarter.number().checked_add(1),
                };
                let Some(next) = next.map(Quarter::new) else { return Ok(false) };
                at = next;
                if self.is_over(at, last) {
                    return Ok(false);
                }
            }
            drop(parts);
            if !is_cut {
                return self.read_all(at.min(last), at.max(last));
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
        let (mut from, mut to) = (0, u32::MAX);
        if let Some((_, whole, before)) = self.before.filter(|(quarter, ..)| *quarter == first) {
            match self.span.order {
                Order::NewestFirst => to = whole.parts.saturating_sub(before + 1),
                Order::OldestFirst => from = before,
            }
        }
        let low = keys::heads(self.account, low, from);
        let high = keys::heads(self.account, high, to);
        let index: &'a Index = self.index;
        index.entries.cursor((Included(low), Included(high)), going(self.span.order))
    }

    /// Where the span begins within a quarter: how many of its parts come before, so that these are not gone
    /// through. Should they change meanwhile, that is found when they are read.
    fn parts_before(&self, quarter: Quarter) -> Result<Option<(Quarter, PartOf, u32)>, IndexError> {
        let order = self.span.order;
        let begin = match order {
            Order::NewestFirst => Position::before_all_at(quarter.last()),
            Order::OldestFirst => Position::last_at(quarter.start()),
        };
        if !self.is_before(begin) {
            return Ok(None);
        }
        let read = |number: u32| -> Result<_, IndexError> {
            let key = keys::heads(self.account, quarter, number);
            let Some(bytes) = self.index.entries.get(&key)? else { return Ok(None) };
            let part = HeadsOfPart::read(&bytes).map_err(|error| damaged(&error))?;
            let end = part.ends().map(|(oldest, newest)| match order {
                Order::NewestFirst => oldest,
                Order::OldestFirst => newest,
            });
            Ok(Some((part.of(), end.is_some_and(|end| self.is_before(end)))))
        };
        let Some((whole, _)) = read(0)? else { return Ok(None) };
        // The last one may be gone through in vain.
        let (mut least, mut most) = (0, whole.parts.saturating_sub(1));
        while least < most {
            let middle = least.midpoint(most);
            let number = match order {
                Order::NewestFirst => whole.parts - 1 - middle,
                Order::OldestFirst => middle,
            };
            match read(number)? {
                Some((of, true)) if of == whole => least = middle + 1,
                Some((of, false)) if of == whole => most = middle,
                _ => return Ok(None),
            }
        }
        Ok(Some((quarter, whole, least)))
    }

    /// The part of the span that lies in these quarters.
    fn within(&self, first: Quarter, last: Quarter) -> PositionSpan {
        self.between(first.start(), last.last())
    }

    /// The part of the span that is listed from one time to another, both included.
    fn between(&self, oldest: Timestamp, newest: Timestamp) -> PositionSpan {
        clipped(self.span.clone(), Position::before_all_at(newest), Position::last_at(oldest))
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
            self.read += 1;
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
        let before = self.before.filter(|(of, ..)| *of == quarter);
        let (mut of, mut done) = before.map_or((None, 0), |(_, of, before)| (Some(of), before));
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
            let effort = TEXTS_AT_ONCE + self.filter.texts();
            self.heads += BYTES_A_PART + bytes.len() / TEXTS_AT_ONCE * effort;
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
                    Order::OldestFirst => Position::before_all_at(quarter.last()),
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
            let mut span = self.between(oldest, newest);
            // Other parts may have calls of the same moment.
            if let Some((oldest, newest)) = part.ends() {
                span = clipped(span, newest, oldest);
            }
            for row in self.index.scan(&range, &span) {
                let (position, entry) = row?;
                self.read += 1;
                if is_wanted(position) && self.take(position, &entry)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
