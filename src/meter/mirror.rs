//! What the mirror of jambonz's Redis is doing.

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Histogram;
use crate::domain::Timestamp;

/// Bounds of the time from a reported change to its being on disk, in microseconds.
const DELAY_MICROS: &[u64] = &[
    1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// All instruments of the mirror.
#[derive(Debug)]
pub struct MirrorMetrics {
    /// Events that are on disk.
    pub events: Counter,
    /// Those of them that were found by looking through all calls.
    pub found: Counter,
    /// Hashes that could not be read.
    pub unreadable: Counter,
    /// Looks through all calls that came to their end.
    pub reconciles: Counter,
    /// Connections that were lost or not made.
    pub failures: Counter,
    /// Commands that were sent.
    pub commands: Counter,
    /// Changes that are still to be read.
    pub waiting: Gauge,
    /// Calls that are remembered.
    pub remembered: Gauge,
    /// From a reported change to its being on disk.
    pub delay: Histogram,
    state: Mutex<Option<MirrorState>>,
}

impl Default for MirrorMetrics {
    fn default() -> Self {
        Self {
            events: Counter::default(),
            found: Counter::default(),
            unreadable: Counter::default(),
            reconciles: Counter::default(),
            failures: Counter::default(),
            commands: Counter::default(),
            waiting: Gauge::default(),
            remembered: Gauge::default(),
            delay: Histogram::of_micros(DELAY_MICROS),
            state: Mutex::default(),
        }
    }
}

/// How the mirror is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MirrorState {
    /// Where it reads, or is to read.
    pub place: String,
    pub mode: MirrorMode,
    /// Since when.
    pub since: Timestamp,
    /// Why it polls, or is not connected.
    pub why: Option<String>,
    /// When all calls had been looked through last.
    pub reconciled_at: Option<Timestamp>,
    /// When its last event was on disk.
    pub last_event_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MirrorMode {
    #[default]
    Disconnected,
    /// Redis reports changes.
    Tracking,
    /// Calls are asked for again and again.
    Polling,
    /// Another node does.
    Elsewhere,
}

impl MirrorMode {
    /// Those in which this store mirrors, or should.
    pub const OWN: [Self; 3] = [Self::Disconnected, Self::Tracking, Self::Polling];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Tracking => "tracking",
            Self::Polling => "polling",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl MirrorMetrics {
    /// How it is; none where there is no mirror.
    pub fn state(&self) -> Option<MirrorState> {
        self.state.lock().clone()
    }

    /// It is in this mode from now on.
    pub fn turn(&self, place: &str, mode: MirrorMode, why: Option<String>, now: Timestamp) {
        let mut state = self.state.lock();
        let state = state.get_or_insert_default();
        if state.mode != mode || state.since == Timestamp::default() {
            state.since = now;
        }
        place.clone_into(&mut state.place);
        state.mode = mode;
        state.why = why;
    }

    /// All calls have been looked through.
    pub fn reconciled(&self, now: Timestamp) {
        self.reconciles.inc();
        self.state.lock().get_or_insert_default().reconciled_at = Some(now);
    }

    /// Events are on disk.
    pub fn taken(&self, now: Timestamp) {
        self.state.lock().get_or_insert_default().last_event_at = Some(now);
    }
}
