//! Sealed quarters of an hour and days (`index/quarters.rs`, `index/days.rs`): a time, divided into those whose calls are
//! counted already and those whose calls have to be looked at.

use std::collections::{BTreeSet, VecDeque};

use super::StoreError;
use super::state::View;
use crate::codec::KindSums;
use crate::domain::{AccountSid, CallKind, Day, Filter, Quarter, UpTime};
use crate::index::{
    DayRow, IndexError, KindsRow, PeakRow, QUARTERS_AFTER, QUARTERS_BEFORE, QuarterRow,
};

/// Rows that are read at once, and as many where the times of their calls are read with them.
const ROWS: usize = if cfg!(test) { 7 } else { 1024 };
const ROWS_WITH_UPS: usize = if cfg!(test) { 3 } else { 64 };
/// What these rows may weigh, and how many times of calls they may have; one row may go beyond.
const BYTES: usize = 256 * 1024;
const UPS: u64 = if cfg!(test) { 8 } else { 16 * 1024 };

/// A part of a time.
pub(super) enum Part {
    /// Of the calls of these quarters, both included, nothing is known yet.
    Open(Quarter, Quarter),
    /// All before the last of these quarters have no calls; the last one is in that time.
    Sealed(Box<SealedQuarter>),
    /// The sums of a whole day.
    Day(Box<DayRow>),
}

/// What comes next of a time.
enum Next {
    Part(Part),
    /// These quarters, both included, are still to be read.
    Unread(Quarter, Quarter),
}

/// What is counted of a quarter that has calls.
pub(super) struct SealedQuarter {
    pub row: QuarterRow,
    /// What is counted of each kind of its calls; none where that was not asked for.
    pub kinds: Option<KindsRow>,
    /// When its calls are up, each with the number of its kind; none where that was not asked for.
    pub ups: Vec<(u32, UpTime)>,
    /// How many calls are up at the same time at most, in the quarters since the last one with
    /// calls. None where that is not known, or was not asked for.
    pub peaks: Option<PeakRow>,
}

impl SealedQuarter {
    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.row.weight()
            + self.kinds.as_ref().map_or(0, KindsRow::weight)
            + self.ups.capacity() * size_of::<(u32, UpTime)>()
            + self.peaks.as_ref().map_or(0, PeakRow::weight)
    }
}

impl SealedQuarter {
    /// What is counted of each kind of its calls: with trunks and applications, where these were asked for.
    pub fn kinds(&self) -> Result<Vec<(CallKind<'_>, KindSums)>, IndexError> {
        match &self.kinds {
            Some(kinds) => kinds.kinds(),
            None => self.row.bare_kinds().collect(),
        }
    }
}

/// What is asked for beside the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    Nothing,
    /// Those of each kind of calls, with trunks and applications.
    Kinds,
    /// These, and the times of calls.
    Ups,
    Peaks,
}

/// The days that lie in a time as a whole, from the first to the last one; none where there is no such day.
pub(super) fn whole_days(filter: &Filter) -> Option<(Day, Day)> {
    let first = match filter.start {
        Some(start) => {
            let quarter = Quarter::of(start);
            let is_cut = quarter.start() < start;
            let quarter = quarter.number().saturating_add(u32::from(is_cut));
            Day::new(quarter.div_ceil(Day::QUARTERS))
        }
        None => Day::default(),
    };
    let last = match filter.end {
        Some(end) => Day::new(Day::of(Quarter::of(end)).number().checked_sub(1)?),
        None => Day::new(Day::MAX.number() - 1),
    };
    (first <= last).then_some((first, last))
}

/// A time that is gone through from its beginning.
pub(super) struct Parts {
    account: AccountSid,
    with: With,
    /// The days that are taken as a whole.
    days: Option<(Day, Day)>,
    next: VecDeque<Next>,
}

impl Parts {
    /// The quarters from one to another.
    pub fn new(account: AccountSid, first: Quarter, last: Quarter, with: With) -> Self {
        let all = (first <= last).then_some(Next::Unread(first, last));
        Self { account, with, days: None, next: all.into_iter().collect() }
    }

    /// Of these days, which lie in that time, the sums are taken where they are known, and nothing else.
    pub fn by_days(self, days: Option<(Day, Day)>) -> Self {
        Self { days, ..self }
    }

    /// Whose calls these are.
    pub fn account(&self) -> AccountSid {
        self.account
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        let of = |next: &Next| match next {
            Next::Part(Part::Open(..)) | Next::Unread(..) => 0,
            Next::Part(Part::Sealed(of)) => of.bytes(),
            Next::Part(Part::Day(of)) => size_of::<DayRow>() + of.weight(),
        };
        self.next.capacity() * size_of::<Next>() + self.next.iter().map(of).sum::<usize>()
    }

    /// The next part; none after the last one.
    pub fn next(&mut self, view: &View) -> Result<Option<Part>, StoreError> {
        while let Some(next) = self.next.pop_front() {
            let (first, last) = match next {
                Next::Part(part) => return Ok(Some(part)),
                Next::Unread(first, last) => (first, last),
            };
            let read = match self.days {
                Some(days) if first <= days.0.first() && days.1.last() <= last => {
                    self.read_days(view, (first, last), days)?
                }
                _ => self.read(view, first, last)?,
            };
            for next in read.into_iter().rev() {
                self.next.push_front(next);
            }
        }
        Ok(None)
    }

    /// Reads the sums of some days. The registry is asked last, as below.
    fn read_days(
        &mut self,
        view: &View,
        (first, last): (Quarter, Quarter),
        (first_day, last_day): (Day, Day),
    ) -> Result<Vec<Next>, StoreError> {
        let account = self.account;
        let _reading = view.readers.begin();
        let rows = view.index()?.days(account, first_day, last_day, ROWS);
        let rows = rows.map_err(|error| view.index_failed(&error))?;
        let end = rows.last().filter(|_| rows.len() >= ROWS).map_or(last_day, |row| row.day);
        self.days = (end < last_day).then(|| (Day::new(end.number() + 1), last_day));
        let registry = view.registry.read();
        let changed = registry.quarters(account, first_day.first(), end.last());
        let changed: BTreeSet<Day> = changed.map(Day::of).collect();
        drop(registry);
        let (mut read, mut at) = (Vec::with_capacity(rows.len() + 1), first);
        for row in rows {
            let since = row.since().max(first_day);
            if changed.range(since..=row.day).next().is_some() {
                continue;
            }
            if at < since.first() {
                read.push(Next::Unread(at, since.first().minus(1)));
            }
            at = row.day.min(last_day).last().plus(1);
            if row.day <= last_day {
                read.push(Next::Part(Part::Day(Box::new(row))));
            }
        }
        if at <= last {
            read.push(Next::Unread(at, last));
        }
        Ok(read)
    }

    /// Reads some rows. The registry is asked last: what has changed since is in it, and nothing leaves it
    /// meanwhile. A quarter of which it has calls counts as open.
    fn read(&self, view: &View, first: Quarter, last: Quarter) -> Result<Vec<Next>, StoreError> {
        let account = self.account;
        let failed = |error| view.index_failed(&error);
        let _reading = view.readers.begin();
        let index = view.index()?;
        let most = if self.with == With::Ups { ROWS_WITH_UPS } else { ROWS };
        let mut rows = index.quarters(account, first, last, most, BYTES).map_err(failed)?;
        let weight: usize = rows.iter().map(QuarterRow::weight).sum();
        let mut is_cut = rows.len() >= most || weight >= BYTES;
        if self.with == With::Ups {
            let (mut ups, read) = (0, rows.len());
            let few = rows.iter().take_while(|row| {
                let fits = ups < UPS;
                ups = ups.saturating_add(row.sums.ups);
                fits
            });
            rows.truncate(few.count());
            is_cut |= rows.len() < read;
        }
        let mut kinds = VecDeque::new();
        if matches!(self.with, With::Kinds | With::Ups) {
            kinds = index.kinds(account, &rows, BYTES).map_err(failed)?.into();
            is_cut |= kinds.len() < rows.len();
            rows.truncate(kinds.len());
        }
        let end = rows.last().filter(|_| is_cut).map_or(last, |row| row.quarter.min(last));
        let mut known = match self.with {
            With::Peaks => index.peaks(account, first, end, usize::MAX).map_err(failed)?,
            With::Nothing | With::Kinds | With::Ups => Vec::new(),
        }
        .into_iter()
        .peekable();
        let mut sealed = Vec::with_capacity(rows.len());
        for row in rows {
            let kinds = kinds.pop_front().flatten();
            let mut of = SealedQuarter { row, kinds, ups: Vec::new(), peaks: None };
            if self.with == With::Ups {
                let Some(ups) = index.ups(account, &of.row).map_err(failed)? else { continue };
                of.ups = ups;
            }
            if matches!(self.with, With::Kinds | With::Ups) && of.kinds.is_none() {
                continue;
            }
            while known.next_if(|peaks| peaks.quarter < of.row.quarter).is_some() {}
            of.peaks = known.next_if(|peaks| {
                peaks.quarter == of.row.quarter && peaks.since == of.row.sums.since()
            });
            sealed.push(of);
        }
        let around = (first.minus(QUARTERS_AFTER), end.plus(QUARTERS_BEFORE));
        let changed: BTreeSet<Quarter> =
            view.registry.read().quarters(account, around.0, around.1).collect();
        let (mut read, mut at) = (Vec::with_capacity(sealed.len() + 1), first);
        for mut of in sealed {
            let (since, quarter) = (of.row.sums.since(), of.row.quarter);
            if changed.range(since..=quarter).next().is_some() {
                continue;
            }
            let touching = since.minus(QUARTERS_AFTER)..=quarter.plus(QUARTERS_BEFORE);
            if changed.range(touching).next().is_some() {
                of.peaks = None;
            }
            if at < since {
                read.push(Next::Part(Part::Open(at, since.minus(1))));
            }
            at = quarter.plus(1);
            if quarter <= last {
                read.push(Next::Part(Part::Sealed(Box::new(of))));
            } else if self.with == With::Peaks {
                // No calls are listed in these, and some may be up.
                read.push(Next::Part(Part::Open(since.max(first), last)));
            }
        }
        if at <= end {
            read.push(Next::Part(Part::Open(at, end)));
        }
        if end < last {
            read.push(Next::Unread(end.plus(1), last));
        }
        Ok(read)
    }
}
