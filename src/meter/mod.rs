//! The instruments: counters and histograms that the store, the API and the sockets turn, and the
//! text that a scrape of them is.
//!
//! An instrument is an atomic number: whoever turns it neither waits nor allocates; only what is kept
//! by account has a lock. What can be looked up when somebody asks is not counted here, but handed
//! over as [`ScrapeFigures`]. Architecture
//! invariant: labels are taken from lists that are known at the start (routes, methods, statuses,
//! reasons, configured accounts, configured files), so that no client decides how many series
//! there are.

mod histogram;
mod hooks;
mod process;
mod requests;
mod scrape;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

pub use histogram::Histogram;
pub use hooks::{AccountHookCounts, Cause, HookCounts, HookMetrics};
pub use requests::{Requests, Routes};
pub use scrape::{AccountGauge, ScrapeFigures, scrape};

use crate::domain::{AccountSid, EVENT_FIELDS};

/// Bounds of the time that a sync may take, in microseconds.
const SYNC_MICROS: &[u64] = &[
    100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];
/// Bounds of the changes of a commit.
const COMMIT_CHANGES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16_384];
/// Bounds of the bytes of a commit.
const COMMIT_BYTES: &[u64] =
    &[512, 1024, 2048, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// So many more, or fewer.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why events were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Busy,
    Disk,
    Journal,
    Index,
    Closing,
    Unauthorised,
    Forbidden,
    Malformed,
    TooLarge,
    SlowBody,
    TooMany,
    Panic,
    Other,
}

impl Refused {
    /// Every reason, with the value of its label.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Busy, "busy"),
        (Self::Disk, "disk"),
        (Self::Journal, "journal"),
        (Self::Index, "index"),
        (Self::Closing, "closing"),
        (Self::Unauthorised, "unauthorised"),
        (Self::Forbidden, "forbidden"),
        (Self::Malformed, "malformed"),
        (Self::TooLarge, "too_large"),
        (Self::SlowBody, "slow_body"),
        (Self::TooMany, "too_many"),
        (Self::Panic, "panic"),
        (Self::Other, "other"),
    ];
}

/// Connections of one listener.
#[derive(Debug, Default)]
pub struct Connections {
    /// Open now.
    pub open: Gauge,
    /// Accepted so far.
    pub accepted: Counter,
    /// Times that all places were taken, so that whoever came next had to wait.
    pub held_back: Counter,
    /// Times that the system refused to hand over a connection.
    pub accept_errors: Counter,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// Connections that did not begin with the PROXY header that they have to have.
    pub proxy_headers_failed: Counter,
}

/// All instruments of a process.
#[derive(Debug)]
pub struct Meter {
    /// Events that hooks brought and that were read as such, taken or not.
    pub events_received: Counter,
    refused: [Counter; Refused::ALL.len()],
    unread: [Counter; EVENT_FIELDS.len()],
    /// The same by cause and account, and when each account's last event was taken.
    pub hooks: HookMetrics,
    /// Changes of one commit.
    pub commit_changes: Histogram,
    /// Bytes of one commit.
    pub commit_bytes: Histogram,
    /// Time to write and sync a commit.
    pub commit_time: Histogram,
    /// Time of the sync alone.
    pub sync_time: Histogram,
    /// Checkpoints that were not taken.
    pub checkpoints_failed: Counter,
    /// When all that should be in the index was there last, in milliseconds since 1970.
    pub checkpointed_at: Gauge,
    /// Indexes that were built anew.
    pub index_rebuilds: Counter,
    /// Rows that were looked at for lists, counts and snapshots.
    pub rows_read: Counter,
    /// Calls that were given up since nothing was heard of them.
    pub gone_stale: Counter,
    /// Calls that are up, by account; those without any are not there.
    live: Mutex<HashMap<AccountSid, u64>>,
    /// The listener for HTTPS.
    pub https: Arc<Connections>,
    /// The listener for plain HTTP.
    pub http: Arc<Connections>,
    /// The listener for scrapes.
    pub metrics: Arc<Connections>,
    /// Audit lines that were left out, since too many of one kind came.
    pub audit_left_out: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            events_received: Counter::default(),
            refused: Default::default(),
            unread: Default::default(),
            hooks: HookMetrics::default(),
            commit_changes: Histogram::of_units(COMMIT_CHANGES),
            commit_bytes: Histogram::of_units(COMMIT_BYTES),
            commit_time: Histogram::of_micros(SYNC_MICROS),
            sync_time: Histogram::of_micros(SYNC_MICROS),
            checkpoints_failed: Counter::default(),
            checkpointed_at: Gauge::default(),
            index_rebuilds: Counter::default(),
            rows_read: Counter::default(),
            gone_stale: Counter::default(),
            live: Mutex::default(),
            https: Arc::default(),
            http: Arc::default(),
            metrics: Arc::default(),
            audit_left_out: Counter::default(),
        }
    }
}

impl Meter {
    /// Counts a request of a hook that was not taken.
    pub fn refuse(&self, reason: Refused) {
        if let Some(counter) = self.refused.get(reason as usize) {
            counter.add_one();
        }
    }

    /// Counts a value of an event that made no sense, by its field.
    pub fn unread(&self, field: &str) {
        let mut fields = EVENT_FIELDS.into_iter().zip(&self.unread);
        if let Some((_, counter)) = fields.find(|(known, _)| *known == field) {
            counter.add_one();
        }
    }

    /// The fields of which values made no sense, and how many did not.
    pub fn unread_fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let fields = EVENT_FIELDS.into_iter().zip(&self.unread);
        fields.map(|(field, counter)| (field, counter.get()))
    }

    /// So many more calls of an account are up, or fewer.
    pub fn add_live(&self, account: AccountSid, more: i64) {
        if more == 0 {
            return;
        }
        let mut live = self.live.lock();
        let count = live.entry(account).or_default();
        *count = count.saturating_add_signed(more);
        if *count == 0 {
            live.remove(&account);
        }
    }

    /// So many calls are up, by account.
    pub fn set_live(&self, counted: HashMap<AccountSid, u64>) {
        *self.live.lock() = counted;
    }

    /// Calls of an account that are up.
    pub fn live_of(&self, account: AccountSid) -> u64 {
        self.live.lock().get(&account).copied().unwrap_or_default()
    }

    /// Calls of all accounts that are up.
    pub fn live(&self) -> u64 {
        self.live.lock().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_calls_are_counted_by_account_and_those_without_any_take_no_room() {
        let meter = Meter::default();
        let [one, two] = [1, 2].map(|n| AccountSid::from_bytes([n; 16]));
        meter.add_live(one, 2);
        meter.add_live(two, 1);
        meter.add_live(one, -1);
        assert_eq!((meter.live(), meter.live_of(one), meter.live_of(two)), (2, 1, 1));
        meter.add_live(one, -1);
        meter.add_live(two, 0);
        assert_eq!((meter.live(), meter.live.lock().len()), (1, 1));
    }

    #[test]
    fn every_field_has_its_own_counter() {
        let meter = Meter::default();
        for field in EVENT_FIELDS {
            meter.unread(field);
        }
        meter.unread("colour");
        assert!(meter.unread_fields().all(|(_, count)| count == 1));
    }

    #[test]
    fn every_reason_has_its_own_counter() {
        let meter = Meter::default();
        for (n, (reason, _)) in Refused::ALL.into_iter().enumerate() {
            meter.refuse(reason);
            assert_eq!(meter.refused[n].get(), 1, "{reason:?}");
        }
    }
}
