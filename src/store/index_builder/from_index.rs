//! Compaction: a new generation from the current one. sled never gives back what it once took of
//! the disk; a generation in the order of its keys takes as little as it can.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::{AccountSid, CallId, Order, Position, Timestamp};
use crate::index::{BuiltSize, CheckpointMeta, Index, IndexStats};
use crate::keys::{PositionSpan, Range};
use crate::registry::CallState;
use crate::store::OpenError;
use crate::store::index_builder::fill::{BuildOptions, Latest, fill};

/// Rows that are read at once from a generation that others read too.
const READ_ROWS: usize = 200;
/// What a call takes on disk where no build has measured it.
const CALL_BYTES: u64 = 768;
/// What a tombstone takes, as a part of what a call takes: a fourth.
const TOMBSTONE_SHARE: u64 = 4;
/// Calls from which on a build's measure is believed; a small store is mostly sled's own rows.
const MEASURED_CALLS: u64 = 10_000;
/// Bytes beyond what is expected that are not worth a new generation.
const SLACK_BYTES: u64 = 64 << 20;

/// The bytes that a new generation would take.
pub(crate) fn expected_bytes(stats: IndexStats, built: Option<BuiltSize>) -> u64 {
    let weight = |calls: u64, tombstones: u64| {
        u128::from(calls) * u128::from(TOMBSTONE_SHARE) + u128::from(tombstones)
    };
    let now = weight(stats.calls, stats.tombstones);
    let bytes = match built.filter(|built| built.calls >= MEASURED_CALLS) {
        Some(built) => u128::from(built.bytes) * now / weight(built.calls, built.tombstones).max(1),
        None => u128::from(CALL_BYTES) * now / u128::from(TOMBSTONE_SHARE),
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Whether an index of this size is so much larger than it need be that it should be compacted.
pub(crate) fn is_due(disk_bytes: u64, expected_bytes: u64) -> bool {
    disk_bytes > (expected_bytes / 2).saturating_mul(5).saturating_add(SLACK_BYTES)
}

/// The free bytes without which no compaction is begun: for the new generation, and for its keys while they
/// are sorted.
pub(crate) fn needed_bytes(expected_bytes: u64) -> u64 {
    (expected_bytes / 4).saturating_mul(6).saturating_add(SLACK_BYTES)
}

/// Fills an empty generation from another that is in use. Returns the sequence number up to which
/// it has everything.
///
/// The other one goes on changing meanwhile. Versions after the mark that it had at the beginning
/// are left out, so that what is copied is the state as of the mark, in which each call is once.
pub(crate) fn fill_from(
    old: &Index,
    new: &Index,
    options: &BuildOptions<'_>,
) -> Result<u64, OpenError> {
    let mark = old.mark()?.ok_or_else(|| old.damaged("it has no mark of a checkpoint"))?;
    let until = as_of(&mark);
    let stats = old.stats();
    let total = stats.calls + stats.tombstones;
    let calls = IndexedCalls { old, until, account: None, span: None, read: VecDeque::new() };
    let tombstones = Tombstones { old, until, after: None, read: VecDeque::new(), end: false };
    fill(new, calls.chain(tombstones), total, options)?;
    new.write(&[], &old.admin_rows()?)?;
    Ok(until)
}

/// Everything up to and with this sequence number is in an index of this mark.
fn as_of(mark: &CheckpointMeta) -> u64 {
    mark.replay_from.saturating_sub(1)
}

/// The calls of an index, account by account, in the order of its keys.
struct IndexedCalls<'a> {
    old: &'a Index,
    until: u64,
    account: Option<AccountSid>,
    /// What is left of that account; none where nothing is.
    span: Option<PositionSpan>,
    read: VecDeque<Latest>,
}

impl IndexedCalls<'_> {
    /// Reads on. False at the end.
    fn fetch(&mut self) -> Result<bool, OpenError> {
        let (account, span) = match (self.account, self.span.take()) {
            (Some(account), Some(span)) => (account, span),
            (last, _) => {
                let Some((next, _)) = self.old.next_account(last)? else { return Ok(false) };
                self.account = Some(next);
                (next, PositionSpan::all(Order::NewestFirst))
            }
        };
        let rows =
            self.old.positions(&[Range::all(account)], &span, READ_ROWS, true, usize::MAX)?;
        self.span = rows.last().map(|(last, ..)| span.after(*last));
        for (position, _, row) in rows {
            let Some(row) = row else { continue };
            let (seq, call) = (row.seq(), row.call()?);
            if call.id.account != account || Position::of(&call) != position {
                return Err(self.old.damaged("a call stands at a wrong place").into());
            }
            if seq <= self.until {
                let (id, state) = (call.id, CallState::Call(Arc::new(call)));
                self.read.push_back(Latest { id, seq, state, row: Some(row) });
            }
        }
        Ok(true)
    }
}

impl Iterator for IndexedCalls<'_> {
    type Item = Result<Latest, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(latest) = self.read.pop_front() {
                return Some(Ok(latest));
            }
            match self.fetch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The tombstones of an index, in the order of their times.
struct Tombstones<'a> {
    old: &'a Index,
    until: u64,
    after: Option<(CallId, Timestamp)>,
    read: VecDeque<Latest>,
    end: bool,
}

impl Iterator for Tombstones<'_> {
    type Item = Result<Latest, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.read.is_empty() && !self.end {
            let rows = match self.old.tombstones(self.after, READ_ROWS) {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error.into())),
            };
            self.end = rows.is_empty();
            self.after = rows.last().map(|(id, at, _)| (*id, *at));
            let until = self.until;
            let old = rows.into_iter().filter(|(.., seq)| *seq <= until);
            self.read.extend(old.map(|(id, at, seq)| Latest {
                id,
                seq,
                state: CallState::Deleted(at),
                row: None,
            }));
        }
        self.read.pop_front().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn stats(calls: u64, tombstones: u64) -> IndexStats {
        let mut stats = IndexStats::default();
        (stats.calls, stats.tombstones) = (calls, tombstones);
        stats
    }

    fn due(disk_bytes: u64, stats: IndexStats, built: Option<BuiltSize>) -> bool {
        is_due(disk_bytes, expected_bytes(stats, built))
    }

    #[test]
    fn it_is_due_where_the_disk_holds_much_more_than_the_calls_need() {
        let built = |bytes, calls| Some(BuiltSize { bytes, calls, tombstones: 0, at: 0 });
        // As it was built, and grown to twice that by ten times as many calls.
        assert!(!due(100 * MIB, stats(100_000, 0), built(100 * MIB, 100_000)));
        assert!(!due(1000 * MIB, stats(1_000_000, 0), built(100 * MIB, 100_000)));
        // 2.5 times, and 64 MiB.
        assert!(!due(314 * MIB, stats(100_000, 0), built(100 * MIB, 100_000)));
        assert!(due(315 * MIB, stats(100_000, 0), built(100 * MIB, 100_000)));
        // Half of the calls are gone.
        assert!(due(315 * MIB - 125 * MIB, stats(50_000, 0), built(100 * MIB, 100_000)));
        // 768 B a call where nothing was measured, or too little.
        for small in [None, built(MIB, 10), built(0, 0)] {
            assert!(!due(64 * MIB + 1920 * 1000, stats(1000, 0), small), "{small:?}");
            assert!(due(64 * MIB + 1920 * 1000 + 1, stats(1000, 0), small), "{small:?}");
        }
        // An empty store is left alone, and one of nothing but tombstones is not compacted for ever.
        assert!(!due(MIB, stats(0, 0), None));
        let built =
            Some(BuiltSize { bytes: 1000 * MIB, calls: 20_000, tombstones: 10_000_000, at: 0 });
        assert!(!due(1100 * MIB, stats(20_000, 10_000_000), built));
        assert!(!due(u64::MAX, stats(u64::MAX, 0), None));
    }
}
