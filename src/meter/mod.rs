//! Counters, gauges and histograms of a process, and the text of a scrape.
//!
//! Counting neither waits nor allocates: each number is an atomic of its own, and only those by
//! account have a lock. Figures that the store can look up at a scrape are not counted here: the
//! scrape gets them as [`ScrapeFigures`].
//!
//! Architecture invariant: labels are taken from lists that are known at the start (routes, methods,
//! statuses, reasons, configured accounts, configured files), so that no client decides how many
//! series there are.

mod cdrs;
mod cluster;
mod forward;
mod histogram;
mod hooks;
mod mirror;
mod outcome;
mod process;
mod requests;
mod scrape;
mod text;
mod upstream;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

pub use cdrs::{CdrLine, CdrMetrics};
pub use cluster::{ClusterGauges, ClusterMetrics, PeerGauge, ServerGauge};
pub use forward::{ForwardMetrics, TargetMetrics, Undelivered};
pub use histogram::Histogram;
pub use hooks::{Cause, HookMetrics};
pub use mirror::{MirrorMetrics, MirrorMode};
pub use outcome::{CdrOutcome, Outcome};
pub use requests::{Requests, Routes};
pub use scrape::{AccountGauge, ScrapeFigures, TargetGauge, scrape};
pub use upstream::{TokenAnswer, Unasked, UpstreamMetrics};

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

/// Why events were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Busy,
    Disk,
    Journal,
    Index,
    /// The log of the cluster takes nothing.
    NoQuorum,
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
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Busy, "busy"),
        (Self::Disk, "disk"),
        (Self::Journal, "journal"),
        (Self::Index, "index"),
        (Self::NoQuorum, "no_quorum"),
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
    pub open: Gauge,
    pub accepted: Counter,
    /// Times that the limit was reached, so that the next connection had to wait.
    pub held_back: Counter,
    /// Times that the system refused to hand over a connection.
    pub accept_errors: Counter,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// Connections without the PROXY header that they need.
    pub proxy_headers_failed: Counter,
}

/// All instruments of a process.
#[derive(Debug)]
pub struct Meter {
    /// Events of hooks that could be read, taken or not.
    pub events_received: Counter,
    refused: [Counter; Refused::ALL.len()],
    unread: [Counter; EVENT_FIELDS.len()],
    /// The same by cause and account, and when each account's last event was taken.
    pub hooks: HookMetrics,
    pub mirror: MirrorMetrics,
    pub cdrs: CdrMetrics,
    pub forward: ForwardMetrics,
    pub cluster: ClusterMetrics,
    pub upstream: UpstreamMetrics,
    pub commit_changes: Histogram,
    pub commit_bytes: Histogram,
    /// Time to write and sync a commit.
    pub commit_time: Histogram,
    /// Time of the sync alone.
    pub sync_time: Histogram,
    pub checkpoints_failed: Counter,
    /// When the index was last complete, in milliseconds since 1970.
    pub checkpointed_at: Gauge,
    pub index_rebuilds: Counter,
    /// Rows that were looked at for lists, counts and snapshots.
    pub rows_read: Counter,
    /// Calls without an event for so long that they count as ended.
    pub gone_stale: Counter,
    /// Active calls by account; accounts without any are absent.
    live: Mutex<HashMap<AccountSid, u64>>,
    pub https: Arc<Connections>,
    pub http: Arc<Connections>,
    pub metrics: Arc<Connections>,
    pub cdr_connections: Arc<Connections>,
    /// Audit lines that were left out, since too many of one kind came.
    pub audit_left_out: Counter,
    /// Sessions of the console that were begun.
    pub sign_ins: Counter,
    /// Wrong tokens and codes that were to begin one.
    pub sign_ins_refused: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            events_received: Counter::default(),
            refused: Default::default(),
            unread: Default::default(),
            hooks: HookMetrics::default(),
            mirror: MirrorMetrics::default(),
            cdrs: CdrMetrics::default(),
            forward: ForwardMetrics::default(),
            cluster: ClusterMetrics::default(),
            upstream: UpstreamMetrics::default(),
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
            cdr_connections: Arc::default(),
            audit_left_out: Counter::default(),
            sign_ins: Counter::default(),
            sign_ins_refused: Counter::default(),
        }
    }
}

impl Meter {
    /// Counts a request of a hook that was not taken.
    pub fn refuse(&self, reason: Refused) {
        if let Some(counter) = self.refused.get(reason as usize) {
            counter.inc();
        }
    }

    /// Counts a value of an event that could not be used, by its field.
    pub fn unread(&self, field: &str) {
        let mut fields = EVENT_FIELDS.into_iter().zip(&self.unread);
        if let Some((_, counter)) = fields.find(|(name, _)| *name == field) {
            counter.inc();
        }
    }

    /// The number of such values by field.
    pub fn unread_fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let fields = EVENT_FIELDS.into_iter().zip(&self.unread);
        fields.map(|(field, counter)| (field, counter.get()))
    }

    /// Adds to the active calls of an account, or subtracts.
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

    /// Replaces the numbers of active calls.
    pub fn set_live(&self, counted: HashMap<AccountSid, u64>) {
        *self.live.lock() = counted;
    }

    /// Active calls of an account.
    pub fn live_of(&self, account: AccountSid) -> u64 {
        self.live.lock().get(&account).copied().unwrap_or_default()
    }

    /// Active calls of all accounts.
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
