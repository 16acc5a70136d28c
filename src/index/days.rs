//! What is counted of the calls of each day of UTC, made of what is counted of its quarters of an hour (`quarters.rs`):
//! *sealed* days.
//!
//! ```text
//! t | account 16 | day 4 -> since which quarter there were no calls before the day; sums; sums of each kind of call
//!                           without its trunk and application
//! w | account 16 | day 4 | part 4 -> the parties of its calls, and in which quarters they have some
//! ```
//!
//! A row is right as long as it is there, like that of a quarter: before anything is written of a call, the row of its
//! day goes, and that of the day before which there were no calls. A day is sealed once it has ended and all its
//! quarters are sealed that have calls. What is missing counts as not sealed. Parties stand beside a row alone, like what
//! stands beside that of a quarter: they are written before it, go with it, and what a stop before the row has left goes
//! before the account is sealed again, or with the next change of its day. They are believed where all parts are of one
//! count.

use std::collections::BTreeMap;
use std::ops::Bound::Included;

use bytes::Bytes;

use super::cursor::{Direction, Entry, beginning};
use super::entries::Change;
use super::gaps::Gaps;
use super::quarters::{QuarterRow, Seals, Unsealed};
use super::sealing::{Begun, Sealing};
use super::tree::strange_key;
use super::{Index, IndexError};
use crate::codec::{
    CodecError, Heads, HeadsOfPart, KindSums, PartOf, Parties, PartiesOfPart, QuarterSums,
    encode_quarter,
};
use crate::domain::{AccountSid, CallKind, Day, Order, Position, Quarter};
use crate::keys::{self, PositionSpan, Range};

/// Quarters of a day whose sums are read at once.
const QUARTERS: usize = if cfg!(test) { 3 } else { 16 };
/// Days that a search reads at once.
const DAYS: usize = if cfg!(test) { 2 } else { 64 };
/// Days that a check reads at once.
const CHECKED: usize = if cfg!(test) { 2 } else { 64 };

/// A sealed day that has calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    pub day: Day,
    row: QuarterRow,
}

impl DayRow {
    fn read(key: &[u8], value: &Bytes) -> Result<Self, IndexError> {
        let day = keys::day_in(key).ok_or_else(strange_key)?;
        Ok(Self { day, row: QuarterRow::of(day.last(), value)? })
    }

    /// The first of the days that the row speaks of: all before the last of them have no calls.
    pub fn since(&self) -> Day {
        Day::of(self.row.sums.since())
    }

    pub fn sums(&self) -> &QuarterSums {
        &self.row.sums
    }

    /// Bytes that are kept of it.
    pub fn weight(&self) -> usize {
        self.row.weight()
    }

    /// What is counted of each kind of its calls without its trunk and application.
    pub fn bare_kinds(
        &self,
    ) -> impl Iterator<Item = Result<(CallKind<'static>, KindSums), IndexError>> {
        self.row.bare_kinds()
    }
}

#[cfg(test)]
impl DayRow {
    pub fn value(&self) -> &[u8] {
        self.row.value()
    }
}

#[cfg(test)]
impl Index {
    /// The row of a day that speaks of all since another one.
    pub fn counted_since(
        &self,
        account: AccountSid,
        since: Day,
        day: Day,
    ) -> Result<Vec<u8>, IndexError> {
        Ok(self.counted_day(account, since, day)?.row())
    }
}

/// A day whose calls are being counted.
#[derive(Debug)]
pub(super) struct DayCount {
    account: AccountSid,
    day: Day,
    sums: QuarterSums,
    kinds: BTreeMap<CallKind<'static>, KindSums>,
    parties: Parties,
    /// The first quarter that is still to be counted.
    next: Quarter,
}

impl DayCount {
    fn new(account: AccountSid, since: Day, day: Day) -> Self {
        let sums = QuarterSums::new(since.first());
        let (kinds, parties) = Default::default();
        Self { account, day, sums, kinds, parties, next: day.first() }
    }

    /// Whether a call of this day, or of one before it that has none, is about to change.
    pub fn has(&self, account: AccountSid, day: Day) -> bool {
        self.account == account && Day::of(self.sums.since()) <= day && day <= self.day
    }

    fn add_sums(&mut self, more: &QuarterSums) {
        let sums = &mut self.sums;
        sums.calls += more.calls;
        sums.answered += more.answered;
        sums.seconds = sums.seconds.saturating_add(more.seconds);
        sums.ups += more.ups;
    }

    fn add_kind(&mut self, kind: CallKind<'static>, more: KindSums) {
        let sums = self.kinds.entry(kind).or_default();
        sums.calls += more.calls;
        sums.seconds = sums.seconds.saturating_add(more.seconds);
    }

    fn add(&mut self, row: &QuarterRow) -> Result<(), IndexError> {
        self.add_sums(&row.sums);
        for kind in row.bare_kinds() {
            let (kind, sums) = kind?;
            self.add_kind(kind, sums);
        }
        Ok(())
    }

    /// Adds the parties of the calls of a quarter.
    fn add_heads(&mut self, row: &QuarterRow, heads: &Heads) -> Result<(), IndexError> {
        let mut of = None;
        for bytes in heads.encode() {
            let part = HeadsOfPart::read(&bytes).map_err(|error| damaged(&error))?;
            of = Some(part.of());
            self.parties.add(row.quarter, &part);
        }
        match of {
            Some(of) => self.parties.note(of),
            None => self.parties.miss(),
        }
        Ok(())
    }

    /// The parties, part by part.
    fn parts(&self) -> Vec<Change> {
        let parts = self.parties.encode().into_iter().zip(0..);
        let key = |number| keys::parties(self.account, self.day, number);
        parts.map(|(part, number)| (key(number), Some(part))).collect()
    }

    fn row(&self) -> Vec<u8> {
        encode_quarter(&self.sums, self.kinds.iter().map(|(kind, sums)| (*kind, *sums)))
    }
}

fn damaged(error: &CodecError) -> IndexError {
    IndexError::damaged(format!("parties of a day: {error}"))
}

/// The places of the calls that are listed in some quarters.
fn between(first: Quarter, last: Quarter) -> PositionSpan {
    let (newest, oldest) = (Position::before_all_at(last.last()), Position::last_at(first.start()));
    PositionSpan { order: Order::OldestFirst, low: Included(newest), high: Included(oldest) }
}

impl Index {
    /// The sealed days that speak of any from one to another, the oldest first, at most so many.
    pub fn days(
        &self,
        account: AccountSid,
        first: Day,
        last: Day,
        most: usize,
    ) -> Result<Vec<DayRow>, IndexError> {
        self.guarded(|| {
            let rows = self.day_rows(account, first).take_while(|row| match row {
                Ok(row) => row.since() <= last,
                Err(_) => true,
            });
            rows.take(most).collect()
        })
    }

    pub(super) fn day_rows(
        &self,
        account: AccountSid,
        first: Day,
    ) -> impl Iterator<Item = Result<DayRow, IndexError>> {
        let low = Included(keys::day(keys::DAY, account, first));
        let high = Included(keys::day(keys::DAY, account, Day::MAX));
        self.entries.cursor((low, high), Direction::Up).map(|entry| {
            let entry = entry?;
            DayRow::read(entry.key(), &entry.value())
        })
    }

    /// Seals more of an account's days, of those that end with this quarter or before it. False where there is
    /// none that can be sealed.
    pub(super) fn seal_days(
        &self,
        sealing: &mut Sealing,
        account: AccountSid,
        limit: Quarter,
        left: &mut usize,
    ) -> Result<bool, IndexError> {
        let begun = sealing.day.take().filter(|count| count.account == account);
        let begun = match begun {
            Some(begun) => Some(begun),
            None => self.next_day(sealing, account, limit)?,
        };
        let Some(mut count) = begun else { return Ok(false) };
        while *left > 0 {
            if self.count_quarters(&mut count, left)? {
                let since = Day::of(count.sums.since()).number();
                let row: Change = (keys::day(keys::DAY, account, count.day), Some(count.row()));
                self.guarded(|| {
                    self.write_parts(count.parts())?;
                    self.entries.put(vec![row], || {})?;
                    self.seals(sealing, account)?.days.remove(since, count.day.number());
                    Ok(())
                })?;
                return Ok(true);
            }
        }
        sealing.day = Some(count);
        Ok(true)
    }

    /// The first day that has ended, has calls and is not sealed though all quarters of it are that have calls.
    fn next_day(
        &self,
        sealing: &mut Sealing,
        account: AccountSid,
        limit: Quarter,
    ) -> Result<Option<DayCount>, IndexError> {
        let Some(last) = Day::of(limit.plus(1)).number().checked_sub(1) else { return Ok(None) };
        let seals = self.guarded(|| self.seals(sealing, account))?;
        let open: Vec<_> = seals.days.within(0, last).collect();
        for (low, high) in open {
            let (mut low, high) = (Day::new(low), Day::new(high.min(last)));
            while low <= high {
                let span = between(low.first(), Quarter::MAX);
                let first = self.positions(&[Range::all(account)], &span, 1, false, usize::MAX)?;
                let Some((position, ..)) = first.first() else { return Ok(None) };
                let day = Day::of(Quarter::of(position.listed_at()));
                if day > high {
                    break;
                }
                if self.is_counted(seals, account, day)? {
                    return Ok(Some(DayCount::new(account, low, day)));
                }
                low = Day::new(day.number() + 1);
            }
        }
        Ok(None)
    }

    /// The last quarter of the day that has not ended yet, where it has calls already.
    pub(super) fn day_end(
        &self,
        account: AccountSid,
        limit: Quarter,
    ) -> Result<Option<Quarter>, IndexError> {
        let day = Day::of(limit.plus(1));
        let span = between(day.first(), limit);
        let calls = self.positions(&[Range::all(account)], &span, 1, false, usize::MAX)?;
        Ok((!calls.is_empty()).then(|| day.last()))
    }

    /// Whether all quarters of a day are sealed that have calls.
    fn is_counted(&self, seals: &Seals, account: AccountSid, day: Day) -> Result<bool, IndexError> {
        let (first, last) = (day.first(), day.last());
        for (low, high) in seals.open.within(first.number(), last.number()) {
            let span = between(Quarter::new(low).max(first), Quarter::new(high).min(last));
            let calls = self.positions(&[Range::all(account)], &span, 1, false, usize::MAX)?;
            if !calls.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts some more quarters of a day. True once all are counted.
    fn count_quarters(&self, count: &mut DayCount, left: &mut usize) -> Result<bool, IndexError> {
        let last = count.day.last();
        let rows = self.quarters(count.account, count.next, last, QUARTERS, usize::MAX)?;
        let is_cut = rows.len() >= QUARTERS;
        for row in rows {
            *left = left.saturating_sub(1);
            if row.quarter > last {
                return Ok(true);
            }
            self.guarded(|| {
                count.add(&row)?;
                self.add_parties(count, &row)
            })?;
            *left = left.saturating_sub(usize::try_from(row.sums.calls / 16).unwrap_or_default());
            count.next = row.quarter.plus(1);
        }
        Ok(!is_cut || count.next > last)
    }

    /// Adds the parties of a sealed quarter. Where its heads are missing none of the day are kept.
    fn add_parties(&self, count: &mut DayCount, row: &QuarterRow) -> Result<(), IndexError> {
        if count.parties.is_missing() {
            return Ok(());
        }
        let prefix = keys::quarter(keys::HEADS, count.account, row.quarter);
        let (mut of, mut number) = (None, 0);
        for entry in self.entries.cursor(beginning(&prefix), Direction::Up) {
            let entry = entry?;
            let part = HeadsOfPart::read(entry.bytes().unwrap_or_default());
            let part = part.map_err(|error| damaged(&error))?;
            if *of.get_or_insert(part.of()) != part.of() {
                break;
            }
            number += 1;
            count.parties.add(row.quarter, &part);
        }
        match of.filter(|of| of.calls == row.sums.calls && of.parts == number) {
            Some(of) => count.parties.note(of),
            None => count.parties.miss(),
        }
        Ok(())
    }

    /// The keys of the parties that are kept of some days, from one to another.
    fn parties_keys(
        &self,
        account: AccountSid,
        (first, last): (Day, Day),
    ) -> Result<Vec<Vec<u8>>, IndexError> {
        let low = Included(keys::parties(account, first, 0));
        let high = Included(keys::parties(account, last, u32::MAX));
        let entries = self.entries.cursor((low, high), Direction::Up);
        entries.map(|entry| Ok(entry?.key().to_vec())).collect()
    }

    /// Takes away what a stop has left of days that are not sealed.
    pub(super) fn sweep_parties(&self, account: AccountSid, days: &Gaps) -> Result<(), IndexError> {
        for (low, high) in days.within(0, Day::MAX.number()) {
            let keys = self.parties_keys(account, (Day::new(low), Day::new(high)))?;
            self.remove(&keys)?;
        }
        Ok(())
    }

    /// The parties of a sealed day, part by part; none where they are not kept, or being written.
    pub(super) fn parties(
        &self,
        account: AccountSid,
        day: Day,
    ) -> Result<Option<Vec<Entry>>, IndexError> {
        let low = Included(keys::parties(account, day, 0));
        let high = Included(keys::parties(account, day, u32::MAX));
        let (mut of, mut parts) = (None, Vec::new());
        for entry in self.entries.cursor((low, high), Direction::Up) {
            let entry = entry?;
            let part = PartiesOfPart::read(entry.bytes().unwrap_or_default());
            let part = part.map_err(|error| damaged(&error))?;
            let whole: PartOf = *of.get_or_insert(part.of());
            let number = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            if part.of() != whole || entry.key() != keys::parties(account, day, number).as_slice() {
                return Ok(None);
            }
            parts.push(entry);
        }
        Ok(of.filter(|of| of.parts as usize == parts.len()).map(|_| parts))
    }

    /// Some sealed days, in an order; none of them after the last. True where there may be more.
    pub(super) fn days_in_order(
        &self,
        account: AccountSid,
        (first, last): (Day, Day),
        direction: Direction,
    ) -> Result<(Vec<DayRow>, bool), IndexError> {
        let key = |day| Included(keys::day(keys::DAY, account, day));
        let bounds = (key(first.min(last)), key(first.max(last)));
        let entries = self.entries.cursor(bounds, direction).take(DAYS);
        let rows = entries.map(|entry| {
            let entry = entry?;
            DayRow::read(entry.key(), &entry.value())
        });
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let is_cut = rows.len() >= DAYS;
        Ok((rows, is_cut))
    }

    /// Adds the keys of what is kept of a day to those that are to go, as calls of the day are about to change.
    pub(super) fn unseal_day(
        &self,
        sealing: &mut Sealing,
        account: AccountSid,
        day: Day,
        gone: &mut Unsealed,
    ) -> Result<(), IndexError> {
        // Of an account of which nothing is known yet the rows themselves are asked.
        let mut seals = sealing.accounts.get_mut(&account);
        if seals.as_ref().is_some_and(|seals| seals.days.has_all(day.number(), day.number())) {
            return Ok(());
        }
        let row = self.day_rows(account, day).next().transpose()?;
        let row = row.filter(|row| row.since() <= day);
        if seals.is_none() && row.as_ref().is_none_or(|row| row.day != day) {
            // Those that a stop has left without their row.
            gone.together(self.parties_keys(account, (day, day))?);
        }
        if let Some(row) = row {
            let mut whole = vec![keys::day(keys::DAY, account, row.day)];
            whole.extend(self.parties_keys(account, (row.day, row.day))?);
            gone.together(whole);
            if let Some(seals) = &mut seals {
                seals.days.add(row.since().number(), row.day.number());
            }
        }
        Ok(())
    }

    /// The first sealed day of an account of which something else is kept than its calls say; none where all are
    /// right. What is kept of quarters is right, and nothing is written meanwhile.
    pub fn wrong_day(&self, account: AccountSid) -> Result<Option<Day>, IndexError> {
        let mut next = Day::default();
        loop {
            let rows = self.days(account, next, Day::MAX, CHECKED)?;
            let Some(last) = rows.last() else { return Ok(None) };
            next = Day::new(last.day.number() + 1);
            for row in &rows {
                let count = self.counted_day(account, row.since(), row.day)?;
                let before = row.since().number()..row.day.number();
                let span = between(row.since().first(), row.day.first().minus(1));
                let stranger = !before.is_empty()
                    && !self
                        .positions(&[Range::all(account)], &span, 1, false, usize::MAX)?
                        .is_empty();
                let kept = self.guarded(|| self.kept_parts(account, row.day))?;
                if stranger || !row.row.has(&count.row()) || kept != count.parts() {
                    return Ok(Some(row.day));
                }
            }
        }
    }

    /// Counts a day anew, by its quarters, and by its calls where these are not sealed.
    fn counted_day(
        &self,
        account: AccountSid,
        since: Day,
        day: Day,
    ) -> Result<DayCount, IndexError> {
        let mut count = DayCount::new(account, since, day);
        let last = day.last();
        for quarter in self.quarters(account, count.next, last, usize::MAX, usize::MAX)? {
            let since = quarter.sums.since();
            if count.next < since {
                self.count_calls(&mut count, since.minus(1).min(last))?;
            }
            if quarter.quarter <= last {
                self.guarded(|| {
                    count.add(&quarter)?;
                    self.add_parties(&mut count, &quarter)
                })?;
            }
            count.next = quarter.quarter.plus(1);
        }
        if count.next <= last {
            self.count_calls(&mut count, last)?;
        }
        Ok(count)
    }

    /// Counts the calls of all quarters up to one that are still to be counted.
    fn count_calls(&self, count: &mut DayCount, last: Quarter) -> Result<(), IndexError> {
        while count.next <= last {
            let begun = self.counted(Begun::new(count.account, count.next, count.next))?;
            let row = QuarterRow::of(count.next, &begun.row().into())?;
            if row.sums.calls > 0 {
                self.guarded(|| {
                    count.add(&row)?;
                    count.add_heads(&row, begun.heads())
                })?;
            }
            count.next = count.next.plus(1);
        }
        Ok(())
    }

    /// The rows of parties that are kept of a day, whatever they say.
    fn kept_parts(&self, account: AccountSid, day: Day) -> Result<Vec<Change>, IndexError> {
        let low = Included(keys::parties(account, day, 0));
        let high = Included(keys::parties(account, day, u32::MAX));
        let entries = self.entries.cursor((low, high), Direction::Up);
        let change = |entry: Result<Entry, IndexError>| {
            let entry = entry?;
            Ok((entry.key().to_vec(), Some(entry.value().to_vec())))
        };
        entries.map(change).collect()
    }
}
