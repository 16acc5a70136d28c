//! What a node of a cluster is doing.

use prometheus_client::metrics::counter::Counter;

use super::Histogram;

/// Bounds of the time until a submission is in the log, in microseconds.
const PUBLISH_MICROS: &[u64] = &[
    500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Why submissions did not come into the log at once.
pub const PUBLISH_FAILURES: [&str; 12] = [
    "disconnected",
    "no_leader",
    "timeout",
    "pending",
    "too_many",
    "full",
    "too_large",
    "other_log",
    "refused",
    "busy",
    "not_kept",
    "closing",
];

/// All instruments of a node.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// From the receipt of a submission to its being in the log.
    pub publish: Histogram,
    failures: [Counter; PUBLISH_FAILURES.len()],
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self { publish: Histogram::of_micros(PUBLISH_MICROS), failures: Default::default() }
    }
}

impl ClusterMetrics {
    /// Counts a failure of this kind.
    pub fn failed(&self, kind: &str) {
        let mut kinds = PUBLISH_FAILURES.into_iter().zip(&self.failures);
        if let Some((_, counter)) = kinds.find(|(name, _)| *name == kind) {
            counter.inc();
        }
    }

    /// How many failed, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PUBLISH_FAILURES.into_iter().zip(self.failures.iter().map(Counter::get))
    }
}

/// The figures of a node at the time of a scrape.
#[derive(Debug, Clone, Default)]
pub struct ClusterGauges {
    /// There is a connection to a server.
    pub connected: bool,
    /// Lists show what the log has.
    pub ready: bool,
    /// Numbers of messages.
    pub applied: u64,
    pub last: u64,
    pub first: Option<u64>,
    pub lag_seconds: f64,
    /// What `status` says that is wrong.
    pub problems: u64,
    /// Messages on this machine alone.
    pub kept: u64,
    pub kept_bytes: u64,
    pub kept_oldest_seconds: f64,
    pub gaps: u64,
    pub rereads: u64,
    pub clock_skew_seconds: f64,
    pub servers: Vec<ServerGauge>,
    pub nodes: Vec<PeerGauge>,
}

/// A server of the log.
#[derive(Debug, Clone)]
pub struct ServerGauge {
    pub name: String,
    pub behind: Option<u64>,
    pub deleted: Option<u64>,
}

/// Another node.
#[derive(Debug, Clone)]
pub struct PeerGauge {
    pub name: String,
    pub seen_seconds: f64,
}
