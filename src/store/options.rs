//! How a store is run.

use std::path::PathBuf;
use std::time::Duration;

use super::submit::Backpressure;

#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is.
    pub data_dir: PathBuf,
    /// Bytes of memory for sled's cache.
    pub index_cache_bytes: u64,
    /// Bytes after which a new journal segment is begun.
    pub segment_bytes: u64,
    /// Calls and tombstones in memory, beyond which changes have to wait.
    pub registry_calls: usize,
    /// Changes that may wait for the committer.
    pub queue_events: usize,
    /// How often calls are copied into the index.
    pub checkpoint_interval: Duration,
    /// How long a live call stays out of the index.
    pub live_checkpoint_age_millis: u64,
    /// Bytes of journal that a start may have to replay, beyond which live calls are copied too.
    pub replay_bytes: u64,
    /// Free bytes of the disk below which nothing is taken that makes the store grow.
    pub min_free_bytes: u64,
    /// Bytes that are held for a start on a full disk.
    pub reserve_bytes: u64,
    /// Bytes of messages that may be kept while the replicated log takes none.
    pub kept_bytes: u64,
    /// How long a call lives without an event.
    pub max_lifetime_millis: u64,
    pub cdrs: CdrOptions,
    /// How often quiet calls are looked for.
    pub sweep_interval: Duration,
    /// What is kept, and for how long.
    pub retention: RetentionPolicy,
    /// Build the index anew, even where nothing is wrong with it.
    pub rebuild: bool,
    /// An index that has to be built anew is built after the start, while changes are taken.
    pub build_later: bool,
    /// False only in the benchmark that measures what syncing costs.
    pub sync: bool,
}

impl Options {
    /// Calls that may be in memory once such a submission is taken: bulk work leaves half of it for events.
    pub(super) fn calls_in_memory(&self, backpressure: Backpressure) -> usize {
        match backpressure {
            Backpressure::None => self.registry_calls,
            Backpressure::Wait => self.registry_calls / 2,
        }
    }
}

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// How long after it was listed an ended call is kept; for good where there is none.
    pub age_millis: Option<u64>,
    /// What journal and index together may take on disk.
    pub bytes: Option<u64>,
    /// How far back every version of every call is kept.
    pub history_millis: u64,
    /// Within what time a deleted call has left the journal.
    pub erase_millis: u64,
    /// Time between two rounds.
    pub interval: Duration,
}

/// What is done with CDRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CdrOptions {
    /// They are taken: calls that are new are asked whether any wait for them.
    pub taken: bool,
    /// How long one waits for the call of its Call-ID before it is a call of its own.
    pub wait_millis: u64,
}
