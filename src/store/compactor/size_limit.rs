//! Keeping the store below a size: the oldest calls go, so many that the rest fits.
//!
//! Neither journal nor index gives its space back at the moment in which a call is deleted. So the
//! size is believed only of an index that was built after the last calls had to go: first the disk is
//! made to tell the truth, then it is judged.

use std::collections::BinaryHeap;
use std::path::PathBuf;

use crate::domain::{AccountSid, CallId, Timestamp};
use crate::index::{Index, IndexError, Stored};
use crate::store::StoreError;
use crate::store::compactor::retention::Yield;
use crate::store::messages::CheckpointerMessage;
use crate::store::state::Shared;

/// What is left of the limit after calls had to go: tenths.
const TARGET_TENTHS: u64 = 9;

/// What the index may still write once it has been judged, at most: sled takes so much at once. Of a small limit
/// it is what the target leaves.
const WRITTEN_LATER: u64 = 512 * 1024;

/// Calls that are remembered for being deleted, 40 bytes each.
const OLDEST_MAX: usize = 500_000;

/// What is known of the size of a store.
#[derive(Debug, Default)]
pub(crate) struct SizeLimitRun {
    /// The generation whose size is not believed, since calls have gone since it was built.
    stale: Option<PathBuf>,
}

/// What is to be done about the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Nothing.
    Fits,
    /// The index is being compacted; look again soon.
    Wait,
    /// So many of the oldest calls are to go.
    Delete(u64),
}

impl SizeLimitRun {
    /// Judges the size of the store.
    pub fn advice(&mut self, shared: &Shared) -> Result<Advice, StoreError> {
        let Some(limit) = shared.options.retention.bytes else { return Ok(Advice::Fits) };
        let index = shared.view.index()?;
        let journal: u64 =
            shared.view.segments.read().iter().map(|segment| segment.disk_bytes()).sum();
        let bytes = journal + index.disk_bytes();
        let calls = index.stats().calls;
        // Where calls have gone, the rest is to fit for longer than this moment.
        let later = if self.stale.is_some() { WRITTEN_LATER.min(limit - target(limit)) } else { 0 };
        if bytes.saturating_add(later) <= limit || calls == 0 {
            return Ok(Advice::Fits);
        }
        let dir = index.dir().to_owned();
        let stale = self.stale.get_or_insert_with(|| dir.clone());
        if *stale == dir {
            shared.checkpointer.inbox.send(CheckpointerMessage::Compact)?;
            return Ok(Advice::Wait);
        }
        self.stale = Some(dir);
        Ok(Advice::Delete(surplus(bytes, limit, calls)))
    }
}

/// What an index would take that is built now, by what each call took when it was built last.
fn needed_by(index: &Index) -> Result<u64, IndexError> {
    let (disk, stats) = (index.disk_bytes(), index.stats());
    let Some(built) = index.built()?.filter(|built| built.calls > 0) else { return Ok(disk) };
    // A deletion takes a fourth of what a call takes.
    let weight = |calls: u64, tombstones: u64| u128::from(calls) * 4 + u128::from(tombstones);
    let now = u128::from(built.bytes) * weight(stats.calls, stats.tombstones);
    let needed = now / weight(built.calls, built.tombstones);
    Ok(u64::try_from(needed).unwrap_or(u64::MAX).min(disk))
}

/// What the store is brought down to.
fn target(limit: u64) -> u64 {
    limit / 10 * TARGET_TENTHS
}

/// How many calls are too many, where all weigh alike.
fn surplus(bytes: u64, limit: u64, calls: u64) -> u64 {
    let over = u128::from(bytes.saturating_sub(target(limit))) * u128::from(calls);
    let count = over.div_ceil(u128::from(bytes.max(1)));
    u64::try_from(count).unwrap_or(u64::MAX).clamp(1, calls.max(1))
}

/// The oldest calls of those that are added, at most so many and [`OLDEST_MAX`].
pub(crate) struct Oldest {
    most: usize,
    /// The newest of them on top, for older ones to take its place.
    calls: BinaryHeap<(Timestamp, CallId)>,
}

impl Oldest {
    pub fn new(count: u64) -> Self {
        let most = usize::try_from(count).unwrap_or(usize::MAX).min(OLDEST_MAX);
        Self { most, calls: BinaryHeap::new() }
    }

    pub fn add(&mut self, id: CallId, listed_at: Timestamp) {
        if self.calls.len() < self.most {
            self.calls.push((listed_at, id));
        } else if let Some(mut newest) = self.calls.peek_mut()
            && (listed_at, id) < *newest
        {
            *newest = (listed_at, id);
        }
    }

    pub fn into_sorted(self) -> Vec<(Timestamp, CallId)> {
        self.calls.into_sorted_vec()
    }
}

impl Shared {
    /// The oldest calls of those accounts that have no rule of their own, at most so many and
    /// [`OLDEST_MAX`], by the time at which they are listed.
    pub(crate) fn oldest(
        &self,
        count: u64,
        turn: &mut Yield<'_>,
    ) -> Result<Vec<CallId>, StoreError> {
        let mut oldest = Oldest::new(count);
        self.each_common(turn, &mut |id, listed_at| oldest.add(id, listed_at))?;
        Ok(oldest.into_sorted().into_iter().map(|(_, id)| id).collect())
    }

    /// The accounts that have a rule of their own for how long calls are kept.
    pub(crate) fn own_rules(&self) -> Vec<AccountSid> {
        let access = self.view.access.read();
        let own = access.accounts().filter(|account| account.keep.is_some());
        own.map(|account| account.account_sid).collect()
    }

    /// How many calls are too many once so many of all are over for their age: an estimate, since what
    /// the disk gives back is known once it has.
    pub(crate) fn surplus_after(&self, all: u64, over: u64) -> Result<u64, StoreError> {
        let Some(limit) = self.options.retention.bytes else { return Ok(0) };
        let index = self.view.index()?;
        let needed = needed_by(&index).map_err(|error| self.view.index_failed(&error))?;
        let journal: u64 =
            self.view.segments.read().iter().map(|segment| segment.disk_bytes()).sum();
        let bytes = u128::from(journal + needed);
        let left = all.saturating_sub(over);
        let bytes = bytes * u128::from(left) / u128::from(all.max(1));
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(if bytes <= limit || left == 0 { 0 } else { surplus(bytes, limit, left) })
    }

    /// Visits the calls of accounts that have no rule of their own.
    fn each_common(
        &self,
        turn: &mut Yield<'_>,
        visit: &mut dyn FnMut(CallId, Timestamp),
    ) -> Result<(), StoreError> {
        let own = self.own_rules();
        self.each_row(turn, &mut |id, stored| {
            if let Stored::Call { listed_at, .. } = stored
                && !own.contains(&id.account)
            {
                visit(id, listed_at);
            }
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_go_as_bring_it_to_nine_tenths() {
        assert_eq!(surplus(1000, 1000, 100), 10);
        assert_eq!(surplus(2000, 1000, 100), 55);
        assert_eq!(surplus(1001, 1000, 1), 1);
        assert_eq!(surplus(u64::MAX, 10, u64::MAX), u64::MAX - 9);
    }
}
