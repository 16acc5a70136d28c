//! What was counted of the calls of a quarter of an hour, as stored bytes: `bincode`, in two parts, so that
//! the sums can be read alone. They belong to the layout of the index, which has a version.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use super::words::{direction, direction_byte, status, status_byte};
use super::{CodecError, shape};
use crate::domain::{CallKind, Quarter, Timestamp, UP_BEFORE_MS, UpTime};

/// Far above what a quarter of an hour may have, far below what a corrupt length could ask for.
const DECODE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The sums over the calls of a quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarterSums {
    /// The first of the quarters that the row speaks of: all before the last of them have no calls.
    since: u32,
    pub calls: u64,
    /// Of these calls.
    pub answered: u64,
    /// The sum of their durations.
    pub seconds: u64,
    /// How many of them are up at some time.
    pub ups: u64,
}

/// What is counted of the calls of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSums {
    pub calls: u64,
    pub seconds: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredKind<'a> {
    status: u8,
    stale: bool,
    direction: u8,
    answered: bool,
    #[serde(borrow)]
    trunk: Option<&'a str>,
    #[serde(borrow)]
    application: Option<&'a str>,
    calls: u64,
    seconds: u64,
}

impl<'a> StoredKind<'a> {
    fn of((kind, sums): &(CallKind<'a>, KindSums)) -> Self {
        let CallKind { status, stale, direction, answered, trunk, application } = *kind;
        let KindSums { calls, seconds } = *sums;
        let (status, direction) = (status_byte(status), direction_byte(direction));
        Self { status, stale, direction, answered, trunk, application, calls, seconds }
    }

    fn read(self) -> Result<(CallKind<'a>, KindSums), CodecError> {
        let Self { stale, answered, trunk, application, calls, seconds, .. } = self;
        let (status, direction) = (status(self.status)?, direction(self.direction)?);
        let kind = CallKind { status, stale, direction, answered, trunk, application };
        Ok((kind, KindSums { calls, seconds }))
    }
}

/// When a call is up: the number of its kind; the beginning, in milliseconds after an hour before the
/// quarter; how long, or 0 for an active one, and then how long at most.
type StoredUp = (u32, u64, u64, u64);

impl QuarterSums {
    pub fn new(since: Quarter) -> Self {
        Self { since: since.number(), calls: 0, answered: 0, seconds: 0, ups: 0 }
    }

    /// The first quarter that the row speaks of.
    pub fn since(self) -> Quarter {
        Quarter::new(self.since)
    }
}

/// A row of sums, and of each kind. Kinds keep their order: it numbers them.
pub fn encode_quarter(sums: &QuarterSums, kinds: &[(CallKind<'_>, KindSums)]) -> Vec<u8> {
    let kinds: Vec<StoredKind<'_>> = kinds.iter().map(StoredKind::of).collect();
    to_bytes(&(sums, kinds))
}

/// The sums of a row alone.
pub fn decode_quarter(bytes: &[u8]) -> Result<QuarterSums, CodecError> {
    let options = bincode::options().with_limit(DECODE_BYTES_MAX).allow_trailing_bytes();
    options.deserialize(bytes).map_err(|error| shape(&error.to_string()))
}

/// What of a row follows the sums.
pub fn decode_kinds(bytes: &[u8]) -> Result<Vec<(CallKind<'_>, KindSums)>, CodecError> {
    let (_, kinds): (QuarterSums, Vec<StoredKind<'_>>) = from_bytes(bytes)?;
    kinds.into_iter().map(StoredKind::read).collect()
}

/// When calls that are listed in a quarter are up, each with the number of its kind.
pub fn encode_ups(quarter: Quarter, ups: &[(u32, UpTime)]) -> Vec<u8> {
    let zero = quarter.start().minus_millis(UP_BEFORE_MS).millis();
    let stored = |(kind, up): &(u32, UpTime)| -> StoredUp {
        let from = up.from.millis();
        let (length, most) = match up.until {
            Some(until) => (until.millis().saturating_sub(from), 0),
            None => (0, up.latest.millis().saturating_sub(from)),
        };
        (*kind, from.saturating_sub(zero), length, most)
    };
    to_bytes(&ups.iter().map(stored).collect::<Vec<_>>())
}

/// The same, read.
pub fn decode_ups(quarter: Quarter, bytes: &[u8]) -> Result<Vec<(u32, UpTime)>, CodecError> {
    let zero = quarter.start().minus_millis(UP_BEFORE_MS);
    let stored: Vec<StoredUp> = from_bytes(bytes)?;
    let up = |(kind, from, length, most)| {
        let from: Timestamp = zero.plus_millis(from);
        let until = (length > 0).then(|| from.plus_millis(length));
        (kind, UpTime { from, until, latest: from.plus_millis(length.max(most)) })
    };
    Ok(stored.into_iter().map(up).collect())
}

/// How many calls were up at the same time at most, quarter by quarter, as runs: of how many quarters, and
/// the number.
pub fn encode_peaks(runs: &[(u32, u32)]) -> Vec<u8> {
    to_bytes(&runs)
}

/// The same, read.
pub fn decode_peaks(bytes: &[u8]) -> Result<Vec<(u32, u32)>, CodecError> {
    from_bytes(bytes)
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Numbers and texts have an encoding.
    bincode::options().serialize(value).unwrap_or_default()
}

fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let options = bincode::options().with_limit(DECODE_BYTES_MAX);
    options.deserialize(bytes).map_err(|error| shape(&error.to_string()))
}
