//! What is counted of the calls of each quarter of an hour, kept beside them: *sealed* quarters.
//!
//! ```text
//! g | account 16 | quarter 4          -> since when there were no calls before it; sums; sums of each kind of call
//!                                        without its trunk and application
//! e | account 16 | quarter 4          -> sums of each kind of call
//! u | account 16 | quarter 4 | part 2 -> when its calls are up
//! q | account 16 | quarter 4 | part 4 -> the heads of its calls (`heads.rs`)
//! h | account 16 | quarter 4          -> how many calls are up at the same time at most, also in the quarters before
//!                                        it without calls; the same of calls of one status, one direction, both
//! ```
//!
//! A call belongs to the quarter in which it is listed, which never changes. A row is right as long as it is
//! there: before anything is written of a call, the row of its quarter goes, and the peaks of all quarters in
//! which its calls may be up. A quarter is sealed some time after its end ([`Index::seal`]). A reader
//! takes the sealed ones from here, and counts the calls of the others. What it cannot find of one counts as not sealed.
//! Kinds, times and heads stand beside a row alone: they are written before it and go with it, in one batch, since they
//! have numbers that must not outlive their calls. What a stop before the row has left goes before the account is sealed
//! again, or with the next change of its quarter.

use std::collections::BTreeSet;
use std::ops::Bound::Included;

use bytes::Bytes;

use super::cursor::{Direction, Lookup, beginning};
use super::entries::Change;
use super::gaps::Gaps;
use super::op::Op;
use super::sealing::Sealing;
use super::tree::{BATCH_KEYS, strange_key};
use super::{Index, IndexError, Version};
use crate::codec::{
    CodecError, KindSums, QuarterSums, Runs, decode_group_peaks, decode_kinds, decode_peaks,
    decode_quarter, decode_ups,
};
use crate::domain::{
    AccountSid, CallKind, Day, KindGroup, Quarter, Timestamp, UP_AFTER_MS, UP_BEFORE_MS, UpTime,
};
use crate::keys;

/// Quarters after the one in which it is listed, and before, in which a call may be up.
pub const QUARTERS_AFTER: u32 = 97;
pub const QUARTERS_BEFORE: u32 = 4;
const _: () = assert!(
    (QUARTERS_AFTER as u64 - 1) * Quarter::MILLIS >= UP_AFTER_MS
        && QUARTERS_BEFORE as u64 * Quarter::MILLIS >= UP_BEFORE_MS
);

/// What stands beside the row of a quarter.
pub(super) const PARTS: [u8; 3] = [keys::KINDS, keys::UPS, keys::HEADS];

/// A sealed quarter that has calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarterRow {
    pub quarter: Quarter,
    pub sums: QuarterSums,
    value: Bytes,
}

impl QuarterRow {
    pub(super) fn read(key: &[u8], value: &Bytes) -> Result<Self, IndexError> {
        Self::of(keys::quarter_in(key).ok_or_else(strange_key)?, value)
    }

    pub(super) fn of(quarter: Quarter, value: &Bytes) -> Result<Self, IndexError> {
        let (sums, _) = decode_quarter(value).map_err(|error| damaged(&error))?;
        Ok(Self { quarter, sums, value: value.clone() })
    }

    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        self.value == bytes
    }

    #[cfg(test)]
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// Bytes that are kept of it.
    pub fn weight(&self) -> usize {
        self.value.len()
    }

    /// What is counted of each kind of its calls without its trunk and application.
    pub fn bare_kinds(
        &self,
    ) -> impl Iterator<Item = Result<(CallKind<'static>, KindSums), IndexError>> {
        let (error, kinds) = match decode_quarter(&self.value) {
            Ok((_, kinds)) => (None, Some(kinds)),
            Err(error) => (Some(Err(error)), None),
        };
        error
            .into_iter()
            .chain(kinds.into_iter().flatten())
            .map(|kind| kind.map_err(|error| damaged(&error)))
    }
}

/// What is counted of each kind of the calls of a sealed quarter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindsRow(Bytes);

impl KindsRow {
    /// Bytes that are kept of it.
    pub fn weight(&self) -> usize {
        self.0.len()
    }

    /// The kinds, in the order that numbers them.
    pub fn kinds(&self) -> Result<Vec<(CallKind<'_>, KindSums)>, IndexError> {
        decode_kinds(&self.0).map_err(|error| damaged(&error))
    }

    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        self.0 == bytes
    }
}

/// The peaks of a quarter that has calls, and of those before it that have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeakRow {
    pub since: Quarter,
    pub quarter: Quarter,
    runs: Runs,
    value: Bytes,
}

impl PeakRow {
    fn read(key: &[u8], value: &Bytes) -> Result<Self, IndexError> {
        let quarter = keys::quarter_in(key).ok_or_else(strange_key)?;
        let runs = decode_peaks(value).map_err(|error| damaged(&error))?;
        let count: u64 = runs.iter().map(|(count, _)| u64::from(*count)).sum();
        let number = u64::from(quarter.number()) + 1;
        let since = number.checked_sub(count).and_then(|since| u32::try_from(since).ok());
        let since = since.ok_or_else(|| IndexError::damaged("peaks of before 1970"))?;
        Ok(Self { since: Quarter::new(since), quarter, runs, value: value.clone() })
    }

    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        self.value == bytes
    }

    /// Bytes that are kept of it, about.
    pub fn weight(&self) -> usize {
        self.value.len() + size_of_val(&*self.runs)
    }

    /// The peaks, as runs of quarters that have the same: the first quarter, the last one, the peak.
    pub fn runs(&self) -> impl Iterator<Item = (Quarter, Quarter, u32)> {
        in_quarters(self.since, &self.runs)
    }

    /// The peaks of the calls of each group, in the same way.
    pub fn groups(&self) -> Result<Vec<(KindGroup, Quarter, Quarter, u32)>, IndexError> {
        let groups = decode_group_peaks(&self.value).map_err(|error| damaged(&error))?;
        let of = |(group, runs): &(KindGroup, Runs)| {
            let group = *group;
            let runs: Vec<_> = in_quarters(self.since, runs).collect();
            runs.into_iter().map(move |(first, last, peak)| (group, first, last, peak))
        };
        Ok(groups.iter().flat_map(of).collect())
    }
}

fn in_quarters(since: Quarter, runs: &Runs) -> impl Iterator<Item = (Quarter, Quarter, u32)> {
    let mut next = since;
    runs.iter().filter(|(count, _)| *count > 0).map(move |(count, peak)| {
        let first = next;
        next = first.plus(*count);
        (first, first.plus(*count - 1), *peak)
    })
}

fn damaged(error: &CodecError) -> IndexError {
    IndexError::damaged(format!("what is counted of a quarter of an hour: {error}"))
}

/// The keys of what is kept of calls that are about to change.
#[derive(Debug, Default)]
pub(super) struct Unsealed {
    peaks: Vec<Vec<u8>>,
    /// Those of a quarter, or of a day: its row, and what stands beside it.
    whole: Vec<Vec<Vec<u8>>>,
}

impl Unsealed {
    /// These go in one batch, however many they are.
    pub fn together(&mut self, keys: Vec<Vec<u8>>) {
        self.whole.push(keys);
    }

    fn batches(mut self) -> Vec<Vec<Vec<u8>>> {
        // Peaks come first, since they are right only while all quarters around them are sealed.
        self.peaks.sort_unstable();
        self.peaks.dedup();
        let mut batches: Vec<Vec<Vec<u8>>> =
            self.peaks.chunks(BATCH_KEYS).map(<[_]>::to_vec).collect();
        self.whole.sort_unstable();
        self.whole.dedup();
        let mut batch = Vec::new();
        for keys in self.whole {
            if batch.len() + keys.len() > BATCH_KEYS && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
            }
            batch.extend(keys);
        }
        batches.extend(Some(batch).filter(|batch| !batch.is_empty()));
        batches
    }
}

/// Looks up the keys of what stands beside rows, of one quarter after the other: where there are none for a while they
/// are not looked for again, so that calls that are new to an account cost nothing.
#[derive(Debug, Default)]
struct PartKeys {
    account: Option<AccountSid>,
    /// The first quarter from which on there are some; none: no more of them.
    next: [Option<Quarter>; PARTS.len()],
}

impl PartKeys {
    /// Those of a quarter that comes after the last one.
    fn of(
        &mut self,
        index: &Index,
        account: AccountSid,
        quarter: Quarter,
    ) -> Result<Vec<Vec<u8>>, IndexError> {
        if self.account.replace(account) != Some(account) {
            self.next = [Some(Quarter::default()); PARTS.len()];
        }
        let mut found = Vec::new();
        for (kind, next) in PARTS.into_iter().zip(&mut self.next) {
            if next.is_none_or(|next| next > quarter) {
                continue;
            }
            *next = None;
            for key in index.part_keys(kind, account, (quarter, Quarter::MAX)) {
                let key = key?;
                let of = keys::leading_quarter_in(&key).ok_or_else(strange_key)?;
                if of > quarter {
                    *next = Some(of);
                    break;
                }
                found.push(key);
            }
        }
        Ok(found)
    }
}

impl Index {
    /// The sealed quarters that speak of any from one to another, the oldest first, at most so many, up to the
    /// one with which they weigh `bytes`.
    pub fn quarters(
        &self,
        account: AccountSid,
        first: Quarter,
        last: Quarter,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<QuarterRow>, IndexError> {
        self.guarded(|| {
            let rows = self.quarter_rows(keys::QUARTER, account, first, QuarterRow::read);
            let rows = rows.take_while(|row| match row {
                Ok(row) => row.sums.since() <= last,
                Err(_) => true,
            });
            let mut weight = 0;
            let rows = rows.take(most).take_while(|row| {
                let fits = weight < bytes;
                weight += row.as_ref().map_or(0, QuarterRow::weight);
                fits
            });
            rows.collect()
        })
    }

    /// The peaks that are known of any quarter from one to another, the oldest first, at most so many rows.
    pub fn peaks(
        &self,
        account: AccountSid,
        first: Quarter,
        last: Quarter,
        most: usize,
    ) -> Result<Vec<PeakRow>, IndexError> {
        self.guarded(|| {
            let rows = self.quarter_rows(keys::PEAKS, account, first, PeakRow::read);
            let rows = rows.take_while(|row| match row {
                Ok(row) => row.since <= last,
                Err(_) => true,
            });
            rows.take(most).collect()
        })
    }

    /// What is counted of each kind of calls of some sealed quarters, which are in order, up to those with which it
    /// weighs `bytes`; none of one that is not sealed any more.
    pub fn kinds(
        &self,
        account: AccountSid,
        quarters: &[QuarterRow],
        bytes: usize,
    ) -> Result<Vec<Option<KindsRow>>, IndexError> {
        self.guarded(|| {
            let (mut lookup, mut weight) = (Lookup::new(&self.entries), 0);
            let mut found = Vec::with_capacity(quarters.len());
            for row in quarters {
                let key = keys::quarter(keys::KINDS, account, row.quarter);
                let kinds = lookup.get(&key)?.map(KindsRow);
                weight += kinds.as_ref().map_or(0, KindsRow::weight);
                found.push(kinds);
                if weight >= bytes {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// When the calls of a sealed quarter are up, each with the number of its kind; none where it is not
    /// sealed any more.
    pub fn ups(
        &self,
        account: AccountSid,
        row: &QuarterRow,
    ) -> Result<Option<Vec<(u32, UpTime)>>, IndexError> {
        self.guarded(|| {
            let prefix = keys::quarter(keys::UPS, account, row.quarter);
            let mut ups = Vec::new();
            for entry in self.entries.cursor(beginning(&prefix), Direction::Up) {
                let read = decode_ups(row.quarter, &entry?.value());
                ups.extend(read.map_err(|error| damaged(&error))?);
            }
            Ok((ups.len() as u64 == row.sums.ups).then_some(ups))
        })
    }

    fn quarter_rows<T>(
        &self,
        kind: u8,
        account: AccountSid,
        first: Quarter,
        read: impl Fn(&[u8], &Bytes) -> Result<T, IndexError>,
    ) -> impl Iterator<Item = Result<T, IndexError>> {
        let low = Included(keys::quarter(kind, account, first));
        let high = Included(keys::quarter(kind, account, Quarter::MAX));
        self.entries.cursor((low, high), Direction::Up).map(move |entry| {
            let entry = entry?;
            read(entry.key(), &entry.value())
        })
    }

    /// Has the quarters no longer count whose calls are about to change.
    pub(super) fn unseal(&self, ops: &[Op<'_>]) -> Result<(), IndexError> {
        for keys in self.unsealed_keys(ops)? {
            let changes: Vec<Change> = keys.into_iter().map(|key| (key, None)).collect();
            self.entries.put(changes, || {})?;
        }
        Ok(())
    }

    /// The keys that are to go for that, batch by batch: wherever that ends, what is left is right, and nothing of a
    /// quarter or of a day is left that stands beside its row.
    pub(super) fn unsealed_keys(&self, ops: &[Op<'_>]) -> Result<Vec<Vec<Vec<u8>>>, IndexError> {
        let mut touched: Vec<(AccountSid, Quarter)> = Vec::new();
        for op in ops {
            let old = op.old.as_ref().and_then(|(stored, _)| stored.listed_at());
            let new = match &op.new {
                Version::Call(_, call) | Version::Copy(_, call) => Some(call.listed_at),
                Version::Tombstone(..) | Version::Nothing => None,
            };
            for at in [old, new].into_iter().flatten() {
                let this = (op.id.account, Quarter::of(at));
                if touched.last() != Some(&this) {
                    touched.push(this);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        let mut sealing = self.sealing.lock();
        let (mut gone, mut parts) = (Unsealed::default(), PartKeys::default());
        let mut unsealed_day = None;
        for (account, quarter) in touched {
            sealing.changes(account, quarter);
            self.unseal_one(&mut sealing, (account, quarter), &mut parts, &mut gone)?;
            let day = Day::of(quarter);
            if unsealed_day.replace((account, day)) != Some((account, day)) {
                self.unseal_day(&mut sealing, account, day, &mut gone)?;
            }
        }
        Ok(gone.batches())
    }

    fn unseal_one(
        &self,
        sealing: &mut Sealing,
        (account, quarter): (AccountSid, Quarter),
        parts: &mut PartKeys,
        gone: &mut Unsealed,
    ) -> Result<(), IndexError> {
        // Of an account of which nothing is known yet the rows themselves are asked.
        let mut seals = sealing.accounts.get_mut(&account);
        let number = quarter.number();
        if let Some(seals) = &mut seals {
            seals.empty.remove(number, number);
            if seals.is_open_without_peaks(quarter) {
                return Ok(());
            }
        }
        let (mut first, mut last) = (quarter, quarter);
        let rows = self.quarter_rows(keys::QUARTER, account, quarter, QuarterRow::read);
        let row = rows.take(1).next().transpose()?;
        let row = row.filter(|row| row.sums.since() <= quarter);
        if seals.is_none() && row.as_ref().is_none_or(|row| row.quarter != quarter) {
            // Those that a stop has left without their row.
            gone.together(parts.of(self, account, quarter)?);
        }
        if let Some(row) = row {
            (first, last) = (row.sums.since(), row.quarter);
            let mut whole = vec![keys::quarter(keys::QUARTER, account, row.quarter)];
            let beside = (row.quarter, row.quarter);
            for kind in PARTS {
                let parts = self.part_keys(kind, account, beside);
                whole.extend(parts.collect::<Result<Vec<_>, _>>()?);
            }
            gone.together(whole);
        }
        if let Some(seals) = &mut seals {
            seals.open.add(first.number(), last.number());
        }
        let (before, after) = (first.minus(QUARTERS_BEFORE), last.plus(QUARTERS_AFTER));
        for row in self.quarter_rows(keys::PEAKS, account, before, PeakRow::read) {
            let row = row?;
            if row.since > after {
                break;
            }
            gone.peaks.push(keys::quarter(keys::PEAKS, account, row.quarter));
            if let Some(seals) = &mut seals {
                seals.without_peaks.add(row.since.number(), row.quarter.number());
            }
        }
        Ok(())
    }

    /// The keys of one kind that stand beside the rows of some quarters, from one to another.
    fn part_keys(
        &self,
        kind: u8,
        account: AccountSid,
        (first, last): (Quarter, Quarter),
    ) -> impl Iterator<Item = Result<Vec<u8>, IndexError>> {
        let low = Included(keys::quarter(kind, account, first));
        let high = [&keys::quarter(kind, account, last)[..], &[0xff; 4]].concat();
        let entries = self.entries.cursor((low, Included(high)), Direction::Up);
        entries.map(|entry| Ok(entry?.key().to_vec()))
    }

    /// Takes away what a stop has left of quarters that are not sealed.
    fn sweep_parts(&self, account: AccountSid, open: &Gaps) -> Result<(), IndexError> {
        for (low, high) in open.within(0, u32::MAX) {
            for kind in PARTS {
                let of = (Quarter::new(low), Quarter::new(high));
                let keys = self.part_keys(kind, account, of).collect::<Result<Vec<_>, _>>()?;
                self.remove(&keys)?;
            }
        }
        Ok(())
    }

    /// Takes away keys of which each may go alone.
    pub(super) fn remove(&self, keys: &[Vec<u8>]) -> Result<(), IndexError> {
        for keys in keys.chunks(BATCH_KEYS) {
            let changes: Vec<Change> = keys.iter().map(|key| (key.clone(), None)).collect();
            self.entries.put(changes, || {})?;
        }
        Ok(())
    }

    /// Which quarters of an account are sealed: read when it is sealed for the first time.
    pub(super) fn seals<'s>(
        &self,
        sealing: &'s mut Sealing,
        account: AccountSid,
    ) -> Result<&'s mut Seals, IndexError> {
        use std::collections::hash_map::Entry::{Occupied, Vacant};
        Ok(match sealing.accounts.entry(account) {
            Occupied(known) => known.into_mut(),
            Vacant(free) => {
                let mut seals = Seals {
                    open: Gaps::all(),
                    without_peaks: Gaps::all(),
                    days: Gaps::all(),
                    empty: Gaps::default(),
                    too_large: BTreeSet::new(),
                    rests_until: Timestamp::default(),
                };
                let all = Quarter::default();
                for row in self.quarter_rows(keys::QUARTER, account, all, QuarterRow::read) {
                    let row = row?;
                    seals.open.remove(row.sums.since().number(), row.quarter.number());
                }
                for row in self.quarter_rows(keys::PEAKS, account, all, PeakRow::read) {
                    let row = row?;
                    seals.without_peaks.remove(row.since.number(), row.quarter.number());
                }
                for row in self.day_rows(account, Day::default()) {
                    let row = row?;
                    seals.days.remove(row.since().number(), row.day.number());
                }
                self.sweep_parts(account, &seals.open)?;
                self.sweep_parties(account, &seals.days)?;
                free.insert(seals)
            }
        })
    }
}

/// Which quarters of an account are not sealed, and of which the peaks are not known.
#[derive(Debug)]
pub(super) struct Seals {
    pub open: Gaps,
    pub without_peaks: Gaps,
    /// Days that are not sealed.
    pub days: Gaps,
    /// Quarters that have no calls, as far as they were looked at: that they are open is no matter.
    pub empty: Gaps,
    /// Those of the first that are not tried again: what they have is too much to be kept.
    pub too_large: BTreeSet<Quarter>,
    /// On a busy store nothing more is sealed before this time: what has just changed soon changes again.
    pub rests_until: Timestamp,
}

impl Seals {
    /// Whether all of these quarters are sealed that have calls.
    pub fn has_all(&self, first: Quarter, last: Quarter) -> bool {
        let (first, last) = (first.number(), last.number());
        let mut open = self.open.within(first, last);
        open.all(|(low, high)| self.empty.has_all(low.max(first), high.min(last)))
    }

    /// Whether nothing is kept of this quarter, nor any peaks in which its calls may count.
    fn is_open_without_peaks(&self, quarter: Quarter) -> bool {
        let (before, after) = (quarter.minus(QUARTERS_BEFORE), quarter.plus(QUARTERS_AFTER));
        let number = quarter.number();
        self.open.has_all(number, number)
            && self.without_peaks.has_all(before.number(), after.number())
    }
}
