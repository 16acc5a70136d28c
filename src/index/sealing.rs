//! Sealing quarters of an hour: their calls are counted once, and what was counted is kept (`quarters.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included};

use super::cursor::{Direction, beginning};
use super::days::DayCount;
use super::entries::{Change, edits};
use super::quarters::{PeakRow, QUARTERS_AFTER, QUARTERS_BEFORE, QuarterRow, Seals};
use super::tree::{BATCH_KEYS, entries_of, in_order};
use super::{Index, IndexError};
use crate::codec::{
    Heads, KindSums, QuarterSums, Runs, encode_kinds, encode_peaks, encode_quarter, encode_ups,
};
use crate::domain::{
    AccountSid, Call, CallKind, Day, KindGroup, Order, Peaks, Position, Quarter, Timestamp, Up,
    UpTime,
};
use crate::keys::{self, PositionSpan, Range};

/// Calls that are read at once, and what they may weigh.
const ROWS: usize = 256;
const BYTES: usize = 256 * 1024;
/// Calls of a quarter that is sealed, and kinds of them: what is larger is counted anew each time.
const CALLS_MAX: u64 = 1_000_000;
const KINDS_MAX: usize = if cfg!(test) { 8 } else { 4096 };
/// Bytes of the texts of these kinds: senders of events choose them.
const KINDS_BYTES_MAX: usize = 128 * 1024;
/// Times of calls in one value.
const UPS: usize = if cfg!(test) { 3 } else { 4096 };
/// Bytes of what was counted that are gathered before they are written, and from which on they are packed.
const GATHERED_BYTES: usize = if cfg!(test) { 1000 } else { 1 << 20 };
const PACKED_BYTES: usize = if cfg!(test) { 500 } else { 16 << 10 };
/// Quarters whose peaks are reckoned at once.
const PEAKS: usize = if cfg!(test) { 3 } else { 96 };
/// Times of calls in quarters whose peaks are reckoned at once, about.
const PEAKS_UPS: u64 = 1_000_000;
/// Accounts that are looked at for the first time in one go.
const ACCOUNTS: usize = 200;
/// What it costs to go through an account, in calls that are read.
const ACCOUNT_COST: usize = 16;
/// How long an account rests on a busy store once all was sealed that could be. A call that ends late has the
/// calls of its quarter counted again, and the peaks of a day reckoned again.
const REST_MS: u64 = 5 * 60 * 1000;

/// What is known of sealed quarters, and what is being sealed.
#[derive(Debug, Default)]
pub(super) struct Sealing {
    pub accounts: HashMap<AccountSid, Seals>,
    /// Accounts that may have something to seal, from this quarter on.
    waiting: BTreeMap<AccountSid, Quarter>,
    /// How far the accounts have been listed that the index had when it was opened.
    listed: Option<AccountSid>,
    all_listed: bool,
    begun: Option<Begun>,
    /// The day whose quarters are being gone through.
    pub day: Option<DayCount>,
    /// What was counted and is not written yet.
    counted: Vec<Counted>,
    counted_bytes: usize,
    /// When something was sealed last.
    until: Timestamp,
}

impl Sealing {
    /// Something of this quarter is about to change.
    pub fn changes(&mut self, account: AccountSid, quarter: Quarter) {
        let waiting = self.waiting.entry(account).or_insert(quarter);
        *waiting = quarter.min(*waiting);
        let is_meant = |of: &mut Counted| {
            of.account == account && of.since <= quarter && quarter <= of.quarter
        };
        for gone in self.counted.extract_if(.., is_meant) {
            if let Some(seals) = self.accounts.get_mut(&account) {
                seals.open.add(gone.since.number(), gone.quarter.number());
            }
        }
        let meant = |begun: &Begun| {
            begun.account == account && begun.sums.since() <= quarter && quarter <= begun.quarter
        };
        if self.begun.as_ref().is_some_and(meant) {
            self.begun = None;
            self.rest(account);
        }
        if self.day.as_ref().is_some_and(|count| count.has(account, Day::of(quarter))) {
            self.day = None;
        }
    }

    fn rest(&mut self, account: AccountSid) {
        if let Some(seals) = self.accounts.get_mut(&account) {
            seals.rests_until = self.until.plus_millis(REST_MS);
        }
    }

    /// The first account that may have something to seal, and from where on.
    fn ready(&self, limit: Quarter, busy: bool) -> Option<(AccountSid, Quarter)> {
        let rests = |account: &AccountSid| {
            let known = self.accounts.get(account).filter(|_| busy);
            // Where the clock was set back it rests no longer either.
            let rest = self.until.plus_millis(1)..=self.until.plus_millis(REST_MS);
            known.is_some_and(|seals| rest.contains(&seals.rests_until))
        };
        let ready = |(account, from): &(&AccountSid, &Quarter)| **from <= limit && !rests(account);
        self.waiting.iter().find(ready).map(|(account, from)| (*account, *from))
    }
}

/// A quarter whose calls were counted.
#[derive(Debug)]
struct Counted {
    account: AccountSid,
    since: Quarter,
    quarter: Quarter,
    parts: Vec<Change>,
    sums: Vec<u8>,
}

/// A quarter whose calls are being counted.
#[derive(Debug)]
pub(super) struct Begun {
    account: AccountSid,
    quarter: Quarter,
    sums: QuarterSums,
    /// The last call that was counted.
    after: Option<Position>,
    kinds: Vec<(OwnedKind, KindSums)>,
    /// Of their texts.
    kinds_bytes: usize,
    numbers: HashMap<OwnedKind, u32>,
    ups: Vec<(u32, UpTime)>,
    heads: Heads,
}

/// A kind of calls whose texts stand in one text of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OwnedKind {
    bare: CallKind<'static>,
    trunk: Option<Box<str>>,
    application: Option<Box<str>>,
}

impl OwnedKind {
    fn of(call: &Call) -> Self {
        let kind = CallKind::of(call);
        let bare = CallKind {
            status: kind.status,
            stale: kind.stale,
            direction: kind.direction,
            answered: kind.answered,
            trunk: None,
            application: None,
        };
        Self {
            bare,
            trunk: kind.trunk.map(Box::from),
            application: kind.application.map(Box::from),
        }
    }

    fn kind(&self) -> CallKind<'_> {
        CallKind {
            trunk: self.trunk.as_deref(),
            application: self.application.as_deref(),
            ..self.bare
        }
    }
}

impl Begun {
    pub fn new(account: AccountSid, since: Quarter, quarter: Quarter) -> Self {
        let sums = QuarterSums::new(since);
        let (kinds, kinds_bytes, numbers, ups, heads) = Default::default();
        Self { account, quarter, sums, after: None, kinds, kinds_bytes, numbers, ups, heads }
    }

    /// Adds a call by its version of this sequence number.
    fn add(&mut self, call: &Call, seq: u64) {
        self.heads.add(call, seq);
        let kind = OwnedKind::of(call);
        let number = if let Some(number) = self.numbers.get(&kind) {
            *number
        } else {
            let number = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
            let texts = [kind.trunk.as_deref(), kind.application.as_deref()];
            self.kinds_bytes += texts.into_iter().flatten().map(str::len).sum::<usize>();
            self.numbers.insert(kind.clone(), number);
            self.kinds.push((kind.clone(), KindSums::default()));
            number
        };
        let seconds = call.duration().unwrap_or_default();
        if let Some((_, sums)) = self.kinds.get_mut(number as usize) {
            sums.calls += 1;
            sums.seconds = sums.seconds.saturating_add(seconds);
        }
        self.sums.calls += 1;
        self.sums.answered += u64::from(kind.bare.answered);
        self.sums.seconds = self.sums.seconds.saturating_add(seconds);
        self.ups.extend(UpTime::of(call).map(|up| (number, up)));
    }

    /// The heads of its calls.
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// The row of sums.
    pub fn row(&self) -> Vec<u8> {
        let mut sums = self.sums;
        sums.ups = self.ups.len() as u64;
        let mut bare: BTreeMap<CallKind<'static>, KindSums> = BTreeMap::new();
        for (kind, more) in &self.kinds {
            let sums = bare.entry(kind.bare).or_default();
            sums.calls += more.calls;
            sums.seconds = sums.seconds.saturating_add(more.seconds);
        }
        encode_quarter(&sums, bare)
    }

    /// The row of kinds.
    fn kinds_row(&self) -> Vec<u8> {
        let kinds: Vec<_> = self.kinds.iter().map(|(kind, sums)| (kind.kind(), *sums)).collect();
        encode_kinds(&kinds)
    }

    /// What stands beside the sums: when calls are up, their kinds, their heads.
    fn parts(&self) -> impl Iterator<Item = Change> {
        let (account, quarter) = (self.account, self.quarter);
        let ups = self.ups.chunks(UPS).zip(0_u16..).map(move |(ups, number)| {
            let key = keys::quarter(keys::UPS, account, quarter);
            ([&key[..], &number.to_be_bytes()].concat(), Some(encode_ups(quarter, ups)))
        });
        let kinds = (keys::quarter(keys::KINDS, account, quarter), Some(self.kinds_row()));
        let heads = self.heads.encode().zip(0_u32..);
        let heads =
            heads.map(move |(part, number)| (keys::heads(account, quarter, number), Some(part)));
        ups.chain([kinds]).chain(heads)
    }

    fn is_too_large(&self) -> bool {
        self.sums.calls > CALLS_MAX
            || self.kinds.len() > KINDS_MAX
            || self.kinds_bytes > KINDS_BYTES_MAX
    }
}

impl Index {
    /// Seals quarters that have ended by then, until about so many calls have been read. True where there is more
    /// to do. Where the store is `busy`, what was sealed a moment ago rests for a while.
    pub fn seal(&self, until: Timestamp, calls: usize, busy: bool) -> Result<bool, IndexError> {
        let limit = Quarter::of(until);
        let Some(limit) = limit.number().checked_sub(1).map(Quarter::new) else { return Ok(false) };
        let mut sealing = self.sealing.lock();
        sealing.until = until;
        let mut left = calls;
        self.list_accounts(&mut sealing)?;
        while left > 0 {
            if let Some(begun) = sealing.begun.take() {
                self.count_on(&mut sealing, begun, &mut left)?;
                continue;
            }
            let ready = sealing.ready(limit, busy);
            let Some((account, from)) = ready else {
                // What is left to be counted rests: what was counted does not wait for it.
                self.write_counted(&mut sealing)?;
                return Ok(!sealing.all_listed);
            };
            match self.next_open(&mut sealing, account, from, limit)? {
                Some((since, quarter)) if quarter <= limit => {
                    sealing.begun = Some(Begun::new(account, since, quarter));
                }
                found => {
                    // Everything is sealed that can be: now the peaks.
                    self.write_counted(&mut sealing)?;
                    while left > 0 && self.seal_peaks(&mut sealing, account, limit, &mut left)? {}
                    while left > 0 && self.seal_days(&mut sealing, account, limit, &mut left)? {}
                    if left == 0 {
                        break;
                    }
                    let next = found.map(|(_, quarter)| quarter);
                    let next = next.into_iter().chain(self.day_end(account, limit)?).min();
                    match next {
                        Some(quarter) => sealing.waiting.insert(account, quarter),
                        None => sealing.waiting.remove(&account),
                    };
                    sealing.rest(account);
                    left = left.saturating_sub(ACCOUNT_COST);
                }
            }
        }
        Ok(true)
    }

    fn list_accounts(&self, sealing: &mut Sealing) -> Result<(), IndexError> {
        for _ in 0..ACCOUNTS {
            if sealing.all_listed {
                break;
            }
            match self.next_account(sealing.listed)? {
                Some((account, _)) => {
                    sealing.waiting.insert(account, Quarter::default());
                    sealing.listed = Some(account);
                }
                None => sealing.all_listed = true,
            }
        }
        Ok(())
    }

    /// The first quarter of an account that has calls and is not sealed, and since when there are none before
    /// it. It may be one beyond the limit.
    fn next_open(
        &self,
        sealing: &mut Sealing,
        account: AccountSid,
        from: Quarter,
        limit: Quarter,
    ) -> Result<Option<(Quarter, Quarter)>, IndexError> {
        let seals = self.guarded(|| self.seals(sealing, account))?;
        let ranges = [Range::all(account)];
        let open: Vec<_> = seals.open.within(from.number(), limit.number()).collect();
        for (low, high) in open {
            let (mut low, high) = (Quarter::new(low), Quarter::new(high));
            while low <= high {
                let span = PositionSpan {
                    order: Order::OldestFirst,
                    low: Included(Position::MIN),
                    high: Included(Position::last_at(low.start())),
                };
                let first = self.positions(&ranges, &span, 1, false, usize::MAX)?.pop();
                let Some((position, ..)) = first else { return Ok(None) };
                let quarter = Quarter::of(position.listed_at());
                if quarter > high {
                    seals.empty.add(low.number(), high.number());
                    break;
                }
                if !seals.too_large.contains(&quarter) {
                    return Ok(Some((low, quarter)));
                }
                low = quarter.plus(1);
            }
        }
        Ok(Some((limit, limit.plus(1))))
    }

    /// Counts more of a quarter's calls, and seals it after the last one.
    fn count_on(
        &self,
        sealing: &mut Sealing,
        mut begun: Begun,
        left: &mut usize,
    ) -> Result<(), IndexError> {
        while *left > 0 {
            let read = self.count_some(&mut begun)?;
            if read == 0 {
                return self.seal_one(sealing, &begun);
            }
            *left = left.saturating_sub(read);
            if begun.is_too_large() {
                // It stays open, so that no peaks are reckoned without its calls.
                let seals = self.guarded(|| self.seals(sealing, begun.account))?;
                seals.too_large.insert(begun.quarter);
                return Ok(());
            }
        }
        sealing.begun = Some(begun);
        Ok(())
    }

    /// Counts some more of a quarter's calls, the oldest first. Returns how many were read; none: all are counted.
    fn count_some(&self, begun: &mut Begun) -> Result<usize, IndexError> {
        let ranges = [Range::all(begun.account)];
        let (first, last) = (begun.sums.since().start(), begun.quarter.last());
        let high = begun.after.map_or(Included(Position::last_at(first)), Excluded);
        let low = Included(Position::before_all_at(last));
        let span = PositionSpan { order: Order::OldestFirst, low, high };
        let rows = self.positions(&ranges, &span, ROWS, true, BYTES)?;
        for (position, _, row) in &rows {
            begun.after = Some(*position);
            if let Some(row) = row {
                begun.add(&self.guarded(|| row.call())?, row.seq());
            }
        }
        Ok(rows.len())
    }

    /// Counts all calls of quarters.
    pub(super) fn counted(&self, mut begun: Begun) -> Result<Begun, IndexError> {
        while self.count_some(&mut begun)? > 0 {}
        Ok(begun)
    }

    fn seal_one(&self, sealing: &mut Sealing, begun: &Begun) -> Result<(), IndexError> {
        let (account, since, quarter) = (begun.account, begun.sums.since(), begun.quarter);
        let mut parts: Vec<Change> = begun.parts().collect();
        self.guarded(|| {
            // What a stop in between has left of what was counted before.
            for kind in [keys::UPS, keys::HEADS] {
                let old = keys::quarter(kind, account, quarter);
                for entry in self.entries.cursor(beginning(&old), Direction::Up) {
                    let key = entry?.key().to_vec();
                    if !parts.iter().any(|(new, _)| *new == key) {
                        parts.push((key, None));
                    }
                }
            }
            let seals = self.seals(sealing, account)?;
            seals.open.remove(since.number(), quarter.number());
            Ok(())
        })?;
        sealing.counted_bytes += bytes_of(&parts);
        sealing.counted.push(Counted { account, since, quarter, parts, sums: begun.row() });
        if sealing.counted_bytes >= GATHERED_BYTES {
            self.write_counted(sealing)?;
        }
        Ok(())
    }

    /// Writes what was counted: the sums last, so that they never stand without the others.
    fn write_counted(&self, sealing: &mut Sealing) -> Result<(), IndexError> {
        let (mut parts, mut sums) = (Vec::new(), Vec::new());
        for of in sealing.counted.drain(..) {
            parts.extend(of.parts);
            sums.push((keys::quarter(keys::QUARTER, of.account, of.quarter), Some(of.sums)));
        }
        sealing.counted_bytes = 0;
        self.guarded(|| {
            self.write_parts(parts)?;
            self.put_few(sums)
        })
    }

    /// Writes what stands beside sums.
    pub(super) fn write_parts(&self, mut parts: Vec<Change>) -> Result<(), IndexError> {
        if bytes_of(&parts) < PACKED_BYTES {
            return self.put_few(parts);
        }
        in_order(&mut parts);
        self.entries.pack(&edits(&parts), entries_of(self.stats()))
    }

    /// The first sealed quarter of an account of which something else is kept than its calls say; none where all
    /// are right. Nothing is written meanwhile.
    pub fn wrong_quarter(&self, account: AccountSid) -> Result<Option<Quarter>, IndexError> {
        let mut next = Quarter::default();
        loop {
            let rows = self.quarters(account, next, Quarter::MAX, PEAKS, usize::MAX)?;
            let Some(last) = rows.last() else { return Ok(None) };
            next = last.quarter.plus(1);
            for row in &rows {
                let since = row.sums.since();
                let span = PositionSpan {
                    order: Order::OldestFirst,
                    low: Excluded(Position::last_at(row.quarter.start())),
                    high: Included(Position::last_at(since.start())),
                };
                let stranger = since < row.quarter
                    && !self
                        .positions(&[Range::all(account)], &span, 1, false, usize::MAX)?
                        .is_empty();
                let begun = self.counted(Begun::new(account, since, row.quarter))?;
                let bytes = |ups: &[(u32, UpTime)]| encode_ups(row.quarter, ups);
                let ups = self.ups(account, row)?;
                let same = ups.is_some_and(|ups| bytes(&ups) == bytes(&begun.ups));
                let heads = self.guarded(|| self.has_heads(&begun.heads, account, row.quarter))?;
                let mut kinds = self.kinds(account, std::slice::from_ref(row), usize::MAX)?;
                let kinds = kinds.pop().flatten();
                let same = same && kinds.is_some_and(|kinds| kinds.has(&begun.kinds_row()));
                if stranger || !same || !heads || !row.has(&begun.row()) {
                    return Ok(Some(row.quarter));
                }
            }
            let first = rows.first().map_or(next, |row| row.sums.since());
            let known = self.peaks(account, first, last.quarter, usize::MAX)?;
            let row = |peaks: &PeakRow| rows.iter().find(|row| row.quarter == peaks.quarter);
            let of: Vec<&QuarterRow> = known.iter().filter_map(row).collect();
            let reckoned = self.reckon_peaks(account, &of, &mut 0)?.unwrap_or_default();
            let mut right = known.iter().zip(&reckoned).zip(&of);
            let is_right = |((peaks, value), of): ((&PeakRow, &Vec<u8>), &&QuarterRow)| {
                peaks.since == of.sums.since() && peaks.has(value)
            };
            if known.len() != reckoned.len() || !right.all(is_right) {
                return Ok(Some(last.quarter));
            }
        }
    }

    fn put_few(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            self.entries.put(changes.by_ref().take(BATCH_KEYS).collect(), || {})?;
        }
        Ok(())
    }

    /// Reckons the peaks of some quarters that are sealed, with all those in which calls begin that may be up
    /// then. False where there are none.
    fn seal_peaks(
        &self,
        sealing: &mut Sealing,
        account: AccountSid,
        limit: Quarter,
        left: &mut usize,
    ) -> Result<bool, IndexError> {
        let seals = self.guarded(|| self.seals(sealing, account))?;
        let without: Vec<_> = seals.without_peaks.within(0, limit.number()).collect();
        for (first, last) in without {
            let (mut first, last) = (Quarter::new(first), Quarter::new(last).min(limit));
            while first <= last {
                let rows = self.quarters(account, first, last, PEAKS, usize::MAX)?;
                let Some(newest) = rows.last() else { break };
                let next = newest.quarter.plus(1);
                let is_known = |row: &&QuarterRow| {
                    let from = row.sums.since().minus(QUARTERS_AFTER);
                    seals.has_all(from, row.quarter.plus(QUARTERS_BEFORE))
                };
                let mut known = rows.iter().skip_while(|row| !is_known(row)).take_while(is_known);
                if let Some(oldest) = known.next() {
                    let mut ups = oldest.sums.ups;
                    let more = known.take_while(|row| {
                        let fits = ups < PEAKS_UPS;
                        ups = ups.saturating_add(row.sums.ups);
                        fits
                    });
                    let some: Vec<_> = std::iter::once(oldest).chain(more).collect();
                    self.seal_peaks_of(sealing, account, &some, left)?;
                    return Ok(true);
                }
                first = next;
            }
        }
        Ok(false)
    }

    fn seal_peaks_of(
        &self,
        sealing: &mut Sealing,
        account: AccountSid,
        rows: &[&QuarterRow],
        left: &mut usize,
    ) -> Result<(), IndexError> {
        let missing = || self.damaged("times of calls of a quarter are missing");
        let reckoned = self.reckon_peaks(account, rows, left)?.ok_or_else(missing)?;
        let change = |(row, value): (&&QuarterRow, Vec<u8>)| {
            (keys::quarter(keys::PEAKS, account, row.quarter), Some(value))
        };
        let changes: Vec<Change> = rows.iter().zip(reckoned).map(change).collect();
        self.guarded(|| {
            self.put_few(changes)?;
            let seals = self.seals(sealing, account)?;
            for row in rows {
                seals.without_peaks.remove(row.sums.since().number(), row.quarter.number());
            }
            Ok(())
        })
    }

    /// The row of peaks of each of some quarters, in order; none where times of their calls are missing.
    fn reckon_peaks(
        &self,
        account: AccountSid,
        rows: &[&QuarterRow],
        left: &mut usize,
    ) -> Result<Option<Vec<Vec<u8>>>, IndexError> {
        let (Some(oldest), Some(newest)) = (rows.first(), rows.last()) else {
            return Ok(Some(Vec::new()));
        };
        let from = oldest.sums.since().minus(QUARTERS_AFTER);
        let to = newest.quarter.plus(QUARTERS_BEFORE);
        let (begin, end) = (oldest.sums.since().start(), newest.quarter.end());
        let mut ups: Vec<(Up, [KindGroup; 3])> = Vec::new();
        for row in self.quarters(account, from, to, usize::MAX, usize::MAX)? {
            let Some(found) = self.ups(account, &row)? else { return Ok(None) };
            let kinds = self.kinds(account, std::slice::from_ref(&row), usize::MAX)?.pop();
            let Some(kinds) = kinds.flatten() else { return Ok(None) };
            let kinds = self.guarded(|| kinds.kinds().map(|kinds| groups_of(&kinds)))?;
            for (number, up) in found {
                let Some(groups) = kinds.get(number as usize) else { return Ok(None) };
                // All of these quarters have ended, so that an active call is up to their ends.
                let up = up.at(Timestamp::MAX).filter(|up| up.until > begin && up.from < end);
                ups.extend(up.map(|up| (up, *groups)));
            }
            *left = left.saturating_sub(1 + usize::try_from(row.sums.ups).unwrap_or_default() / 8);
        }
        let runs_of = |mut peaks: Peaks| {
            let mut of = |row: &&QuarterRow| runs(&mut peaks, row.sums.since(), row.quarter);
            rows.iter().map(&mut of).collect::<Vec<Runs>>()
        };
        let all = runs_of(Peaks::new(ups.iter().map(|(up, _)| *up)));
        let mut groups: Vec<Vec<(KindGroup, Runs)>> = vec![Vec::new(); rows.len()];
        let there: BTreeSet<KindGroup> = ups.iter().flat_map(|(_, groups)| *groups).collect();
        for group in there {
            let own = ups.iter().filter(|(_, groups)| groups.contains(&group));
            let own = runs_of(Peaks::new(own.map(|(up, _)| *up)));
            for (groups, runs) in groups.iter_mut().zip(own) {
                if runs.iter().any(|(_, peak)| *peak > 0) {
                    groups.push((group, runs));
                }
            }
        }
        let both = all.iter().zip(&groups);
        Ok(Some(both.map(|(runs, groups)| encode_peaks(runs, groups)).collect()))
    }
}

fn bytes_of(changes: &[Change]) -> usize {
    let bytes = |(key, value): &Change| key.len() + value.as_ref().map_or(0, Vec::len);
    changes.iter().map(bytes).sum()
}

fn groups_of(kinds: &[(CallKind<'_>, KindSums)]) -> Vec<[KindGroup; 3]> {
    kinds.iter().map(|(kind, _)| KindGroup::of(kind)).collect()
}

/// The peaks of quarters that come after those that were asked for before, as runs: of how many of them, and
/// the peak. Where there are many, those in the middle have none: calls are listed in the last one
/// alone, and were listed before the first.
fn runs(peaks: &mut Peaks, first: Quarter, last: Quarter) -> Runs {
    let ends = first.plus(QUARTERS_AFTER).min(last);
    let begins = last.minus(QUARTERS_BEFORE).max(ends.plus(1));
    let mut runs = Runs::new();
    let mut add = |count: u32, peak: u32| match runs.last_mut() {
        Some((of, same)) if *same == peak => *of += count,
        _ => runs.push((count, peak)),
    };
    for number in first.number()..=ends.number() {
        add(1, peaks.within(Quarter::new(number)));
    }
    if begins > ends.plus(1) {
        add(begins.number() - ends.number() - 1, 0);
    }
    for number in begins.number()..=last.number() {
        add(1, peaks.within(Quarter::new(number)));
    }
    runs
}
