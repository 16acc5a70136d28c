//! CDRs: what came, what became of it, and how late it was.

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use super::Histogram;
use crate::domain::Timestamp;

/// Bounds of the time from a call's end to its CDR being on disk, in microseconds.
const DELAY_MICROS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
];

/// All instruments of the listener for CDRs.
#[derive(Debug)]
pub struct CdrMetrics {
    lines: [Counter; CdrLine::ALL.len()],
    /// Requests without the right user and password.
    pub unauthorised: Counter,
    /// Requests whose lines were not read: their bodies are too large, or in no form that is known.
    pub unread: Counter,
    /// Requests whose CDRs were not taken, since the store could not.
    pub unavailable: Counter,
    /// From the end of a call to its CDR being on disk.
    pub delay: Histogram,
    state: Mutex<Option<CdrState>>,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CdrLine {
    /// It is on disk.
    Taken,
    /// It cannot be read, or names no call.
    Refused,
    /// It is of another database or measurement, or of an account that is not wanted.
    Other,
    /// It adds something to a CDR that is not known here any more.
    Unplaced,
}

impl CdrLine {
    /// Every one, with the value of its label.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Taken, "taken"),
        (Self::Refused, "refused"),
        (Self::Other, "other"),
        (Self::Unplaced, "unplaced"),
    ];
}

/// How the listener is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CdrState {
    /// Where it listens.
    pub place: String,
    /// When the last request was answered that had the right user and password.
    pub last_request_at: Option<Timestamp>,
    /// It came by a subscription of an `InfluxDB`.
    pub by_subscription: bool,
    /// When the last CDR was on disk.
    pub last_cdr_at: Option<Timestamp>,
    /// Why the last line was refused that was.
    pub refused: Option<(Timestamp, String)>,
    /// Why the last request was not read that was not.
    pub unread: Option<(Timestamp, String)>,
}

impl Default for CdrMetrics {
    fn default() -> Self {
        Self {
            lines: Default::default(),
            unauthorised: Counter::default(),
            unread: Counter::default(),
            unavailable: Counter::default(),
            delay: Histogram::of_micros(DELAY_MICROS),
            state: Mutex::default(),
        }
    }
}

impl CdrMetrics {
    /// How it is; none where no CDRs are taken.
    pub fn state(&self) -> Option<CdrState> {
        self.state.lock().clone()
    }

    /// It listens there.
    pub fn listens(&self, place: &str) {
        place.clone_into(&mut self.state.lock().get_or_insert_default().place);
    }

    /// A request came from one who may write.
    pub fn heard(&self, by_subscription: bool, now: Timestamp) {
        let mut state = self.state.lock();
        let state = state.get_or_insert_default();
        (state.last_request_at, state.by_subscription) = (Some(now), by_subscription);
    }

    /// Counts lines.
    pub fn count(&self, line: CdrLine, lines: u64) {
        if let Some(counter) = self.lines.get(line as usize) {
            counter.inc_by(lines);
        }
    }

    /// CDRs are on disk.
    pub fn taken(&self, now: Timestamp) {
        self.state.lock().get_or_insert_default().last_cdr_at = Some(now);
    }

    /// A line was refused.
    pub fn refused(&self, why: String, now: Timestamp) {
        self.state.lock().get_or_insert_default().refused = Some((now, why));
    }

    /// The lines of a request were not read.
    pub fn unread(&self, why: &str, now: Timestamp) {
        self.unread.inc();
        self.state.lock().get_or_insert_default().unread = Some((now, why.to_owned()));
    }

    /// The number of lines by what became of them.
    pub fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CdrLine::ALL.iter().zip(&self.lines).map(|((_, name), counter)| (*name, counter.get()))
    }
}
