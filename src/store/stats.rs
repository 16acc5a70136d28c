//! What the store tells whoever watches it: cheap to ask, however many calls there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::open::Store;
use super::state::State;
use crate::domain::{AccountSid, Timestamp};
use crate::meter::{AccountGauge, Meter, ScrapeFigures};

impl Store {
    /// What the store counts, for others to count along.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.shared.meter
    }

    /// The figures of this moment, with those of some accounts. What concerns the process and the
    /// API is left at its default. No call is looked at.
    pub fn figures(&self, accounts: &[AccountSid], now: Timestamp) -> ScrapeFigures {
        let shared = &self.shared;
        let status = shared.status();
        let waiting = shared.options.queue_events.saturating_sub(shared.queue.available_permits());
        let known = status.live_calls.is_some();
        let live = |sid: &AccountSid| AccountGauge { sid: *sid, live: shared.meter.live_of(*sid) };
        ScrapeFigures {
            now: now.millis(),
            sequence: status.sequence,
            checkpoint_sequence: status.checkpoint_sequence,
            calls: status.calls,
            live_calls: status.live_calls,
            tombstones: status.tombstones,
            registry_calls: status.registry_calls,
            registry_limit: shared.options.registry_calls as u64,
            queue_events: waiting as u64,
            queue_limit: shared.options.queue_events as u64,
            index_bytes: status.index_bytes,
            index_cache_bytes: shared.options.index_cache_bytes,
            journal_bytes: status.journal_bytes,
            journal_segments: status.journal_segments,
            journal_failed: shared.failed.borrow().is_some(),
            disk: disk(&shared.options.data_dir),
            disk_least_bytes: status.disk_least_bytes,
            disk_low: status.disk_low,
            reserve_bytes: status.reserve_bytes,
            new: status.changes.new,
            changed: status.changes.changed,
            unchanged: status.changes.unchanged,
            ignored: status.changes.ignored,
            unknown_statuses: status.changes.unknown_statuses,
            dropped_keys: status.changes.dropped_keys,
            failed_authentications: status.failed_authentications,
            accounts: accounts.iter().filter(|_| known).map(live).collect(),
            ..ScrapeFigures::default()
        }
    }
}

impl State {
    /// All that should be in the index is there.
    pub(super) fn checkpointed(&self, now: Timestamp) {
        self.meter.checkpointed_at.set(i64::try_from(now.millis()).unwrap_or(i64::MAX));
    }

    /// So many frames were written and synced together. One that held nothing new was not written.
    pub(super) fn committed(&self, frames: usize, bytes: usize, time: Duration) {
        if frames > 0 {
            self.meter.commit_changes.observe(frames as u64);
            self.meter.commit_bytes.observe(bytes as u64);
            self.meter.commit_time.observe_time(time);
        }
    }
}

/// Counts the calls that are up, by looking at each of them: once, with the first index that can be
/// read. From then on the committer keeps count.
pub(super) fn count_live(shared: &State) {
    let Ok(index) = shared.index() else { return };
    let registry = shared.registry.read();
    let mut live: HashMap<AccountSid, u64> = HashMap::new();
    let counted = index.each_live(|id| {
        if registry.get(id).is_none() {
            *live.entry(id.account).or_default() += 1;
        }
    });
    let held = registry.iter().filter(|(_, entry)| entry.call().is_some_and(|call| call.live()));
    for (id, _) in held {
        *live.entry(id.account).or_default() += 1;
    }
    drop(registry);
    if let Err(error) = counted {
        shared.index_failed(&error);
        return;
    }
    shared.meter.set_live(live);
    shared.live_known.store(true, Ordering::Release);
}

/// Bytes free to ordinary users, and in all, of the file system that a directory is in.
fn disk(dir: &std::path::Path) -> Option<(u64, u64)> {
    crate::fsutil::file_system(dir).ok().map(|disk| (disk.free_bytes, disk.size_bytes))
}
