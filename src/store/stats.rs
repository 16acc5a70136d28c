//! The figures of a store: cheap to ask, however many calls there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Outcome;
use super::StoreError;
use super::open::Store;
use crate::domain::{AccountSid, Timestamp};
use crate::fsutil;
use crate::meter::{AccountGauge, Meter, ScrapeFigures, TargetGauge};

/// Figures of a store.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Status {
    pub epoch: String,
    pub sequence: u64,
    /// None while that is not known: while the index is built again after a start, and while events
    /// wait for it that may be of calls that are counted or not.
    pub calls: Option<u64>,
    /// Active calls; none while that is not known. Shown beside these figures.
    #[serde(skip)]
    pub live_calls: Option<u64>,
    pub registry_calls: u64,
    /// None while that is not known.
    pub tombstones: Option<u64>,
    pub checkpoint_sequence: u64,
    /// RFC 3339; none before the first checkpoint.
    pub checkpoint_at: Option<String>,
    /// None while it is being built again.
    pub index_bytes: Option<u64>,
    /// On disk.
    pub journal_bytes: u64,
    /// What they are before they are compressed.
    pub journal_unpacked_bytes: u64,
    pub journal_segments: u64,
    /// Free to ordinary users on the disk; none where it does not say.
    pub disk_free_bytes: Option<u64>,
    /// Below so many, events and imports are refused.
    pub disk_least_bytes: u64,
    /// They are refused now.
    pub disk_low: bool,
    /// Held for a start on a full disk.
    pub reserve_bytes: u64,
    /// What has become of all changes since the store was opened.
    pub changes: Outcome,
    /// CDRs that wait for their calls.
    #[serde(default)]
    pub cdrs_waiting: u64,
    /// Values of events that made no sense since the store was opened, by field, where there are any.
    pub unread_values: BTreeMap<String, u64>,
    /// Failed authentications since the store was opened.
    pub failed_authentications: u64,
}

impl Store {
    /// Whether nothing was ever stored: no call, no deletion, no token, no other setting.
    ///
    /// # Errors
    /// The index cannot be asked.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let view = &self.shared.view;
        let index = view.index()?;
        let registry = view.registry.read();
        let in_memory =
            registry.len() > 0 || registry.waiting() > 0 || registry.admin().next().is_some();
        let is_known = registry.counts().is_some_and(|counts| counts.calls + counts.tombstones > 0);
        drop(registry);
        let rows = index.admin_rows().map_err(|error| view.index_failed(&error))?;
        Ok(!in_memory && !is_known && rows.is_empty())
    }

    /// Figures.
    pub fn status(&self) -> Status {
        let (shared, view) = (&*self.shared, &self.shared.view);
        let failed_authentications = view.access.read().refused();
        let registry = view.registry.read();
        let counts = registry.counts();
        let live_known = view.live_known.load(Ordering::Acquire);
        let live_calls = counts.filter(|_| live_known).map(|_| view.meter.live());
        let index = view.index().ok();
        let mark = index.as_ref().and_then(|index| index.mark().ok().flatten());
        let segments = view.segments.read();
        let checkpoint_at = mark.as_ref().and_then(|mark| {
            Timestamp::from_millis(mark.at).map(|at| crate::wire::show_time(at).to_string())
        });
        Status {
            epoch: view.epoch.clone(),
            sequence: registry.last_seq(),
            calls: counts.map(|counts| counts.calls),
            live_calls,
            registry_calls: registry.len() as u64,
            tombstones: counts.map(|counts| counts.tombstones),
            checkpoint_sequence: mark.map(|mark| mark.last_seq).unwrap_or_default(),
            checkpoint_at,
            index_bytes: index.map(|index| index.disk_bytes()),
            journal_bytes: segments.iter().map(|segment| segment.disk_bytes()).sum(),
            journal_unpacked_bytes: segments.iter().map(|segment| segment.length).sum(),
            journal_segments: segments.len() as u64,
            disk_free_bytes: fsutil::free_bytes(&shared.options.data_dir).ok(),
            disk_least_bytes: shared.options.min_free_bytes,
            disk_low: shared.disk.admits().is_err(),
            reserve_bytes: shared.disk.reserve.held_bytes(),
            changes: *shared.queue.counted.lock(),
            cdrs_waiting: registry.waiting() as u64,
            unread_values: view
                .meter
                .unread_fields()
                .filter(|(_, count)| *count > 0)
                .map(|(field, count)| (field.to_owned(), count))
                .collect(),
            failed_authentications,
        }
    }

    /// What the store counts, for others to count along.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.shared.view.meter
    }

    /// The figures of this moment, with those of some accounts. What concerns the process and the
    /// API is left at its default. No call is looked at.
    pub fn figures(&self, accounts: &[AccountSid], now: Timestamp) -> ScrapeFigures {
        let shared = &self.shared;
        let status = self.status();
        let known = status.live_calls.is_some();
        let live =
            |sid: &AccountSid| AccountGauge { sid: *sid, live: shared.view.meter.live_of(*sid) };
        let targets = self.forward_targets().into_iter().map(|(name, progress)| {
            let progress = progress.lock();
            TargetGauge { name, queued: progress.queued(), aside: progress.aside() }
        });
        let targets: Vec<_> = targets.collect();
        ScrapeFigures {
            now: now.millis(),
            sequence: status.sequence,
            checkpoint_sequence: status.checkpoint_sequence,
            calls: status.calls,
            live_calls: status.live_calls,
            tombstones: status.tombstones,
            registry_calls: status.registry_calls,
            registry_limit: shared.options.registry_calls as u64,
            queue_events: shared.queue.queued() as u64,
            queue_limit: shared.options.queue_events as u64,
            index_bytes: status.index_bytes,
            index_cache_bytes: shared.options.index_cache_bytes,
            journal_bytes: status.journal_bytes,
            journal_segments: status.journal_segments,
            journal_failed: shared.health.failed.borrow().is_some(),
            disk: disk(&shared.options.data_dir),
            disk_least_bytes: status.disk_least_bytes,
            disk_low: status.disk_low,
            reserve_bytes: status.reserve_bytes,
            changes: status.changes,
            cdrs_waiting: status.cdrs_waiting,
            failed_authentications: status.failed_authentications,
            console_sessions: shared.view.access.read().live_sessions(now),
            forward_paused: Some(self.forward_paused()).filter(|_| !targets.is_empty()),
            forward: targets,
            accounts: accounts.iter().filter(|_| known).map(live).collect(),
            ..ScrapeFigures::default()
        }
    }
}

/// Bytes free to ordinary users, and in all, of the file system that a directory is in.
fn disk(dir: &std::path::Path) -> Option<(u64, u64)> {
    fsutil::file_system(dir).ok().map(|disk| (disk.free_bytes, disk.size_bytes))
}
