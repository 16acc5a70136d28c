//! What was counted of the calls of a quarter of an hour, as stored bytes. They belong to the layout of the index,
//! which has a version.
//!
//! The sums, which every count reads, are numbers of as few bytes as they need, read without taking memory:
//!
//! ```text
//! since | calls | answered | seconds | ups | sums of each bare kind: bits 1, calls, seconds
//! bits  status 0..3, stale 4, outbound 5, answered 6
//! ```
//!
//! All else is `bincode`.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use super::words::{direction, direction_byte, status, status_byte};
use super::{CodecError, shape};
use crate::domain::{
    CallKind, Direction, GroupStatus, KindGroup, Quarter, Timestamp, UP_BEFORE_MS, UpTime,
};

/// Far above what a quarter of an hour may have, far below what a corrupt length could ask for.
const DECODE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The sums over the calls of a quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A row of sums: all together, and those of each kind without its trunk and application.
pub fn encode_quarter(
    sums: &QuarterSums,
    bare: impl IntoIterator<Item = (CallKind<'static>, KindSums)>,
) -> Vec<u8> {
    let QuarterSums { since, calls, answered, seconds, ups } = *sums;
    let mut bytes = Vec::with_capacity(64);
    for number in [since.into(), calls, answered, seconds, ups] {
        put_number(&mut bytes, number);
    }
    for (kind, KindSums { calls, seconds }) in bare {
        bytes.push(bits(&kind));
        put_number(&mut bytes, calls);
        put_number(&mut bytes, seconds);
    }
    bytes
}

/// The sums of a row, and those of its bare kinds.
pub fn decode_quarter(bytes: &[u8]) -> Result<(QuarterSums, BareKinds<'_>), CodecError> {
    let mut rest = bytes;
    let mut number = || take_number(&mut rest);
    let since = u32::try_from(number()?).map_err(|_| shape("a quarter beyond all times"))?;
    let (calls, answered, seconds, ups) = (number()?, number()?, number()?, number()?);
    Ok((QuarterSums { since, calls, answered, seconds, ups }, BareKinds(rest)))
}

/// What is counted of each kind of calls without its trunk and application, as it is read.
#[derive(Debug, Clone)]
pub struct BareKinds<'a>(&'a [u8]);

impl Iterator for BareKinds<'_> {
    type Item = Result<(CallKind<'static>, KindSums), CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (bits, rest) = self.0.split_first()?;
        self.0 = rest;
        let read = kind_of(*bits).and_then(|kind| {
            let calls = take_number(&mut self.0)?;
            Ok((kind, KindSums { calls, seconds: take_number(&mut self.0)? }))
        });
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

fn bits(kind: &CallKind<'_>) -> u8 {
    let flags = [kind.stale, kind.direction == Direction::Outbound, kind.answered];
    let flags = (4..).zip(flags).map(|(n, flag)| u8::from(flag) << n);
    flags.fold(status_byte(kind.status), |bits, flag| bits | flag)
}

fn kind_of(bits: u8) -> Result<CallKind<'static>, CodecError> {
    let flag = |n: u8| bits >> n & 1;
    let direction = direction(flag(5))?;
    let status = status(bits & 0xf | bits & 0x80)?;
    let (stale, answered) = (flag(4) == 1, flag(6) == 1);
    Ok(CallKind { status, stale, direction, answered, trunk: None, application: None })
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take_number(rest: &mut &[u8]) -> Result<u64, CodecError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or_else(|| shape("a number is cut off"))?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(shape("a number of more than 64 bits"))
}

/// A row of sums of each kind. Kinds keep their order: it numbers them.
pub fn encode_kinds(kinds: &[(CallKind<'_>, KindSums)]) -> Vec<u8> {
    to_bytes(&kinds.iter().map(StoredKind::of).collect::<Vec<_>>())
}

/// The same, read.
pub fn decode_kinds(bytes: &[u8]) -> Result<Vec<(CallKind<'_>, KindSums)>, CodecError> {
    let kinds: Vec<StoredKind<'_>> = from_bytes(bytes)?;
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

/// Of how many quarters, and how many calls were up at the same time in each of them at most.
pub type Runs = Vec<(u32, u32)>;

/// Peaks of all calls, quarter by quarter, and of those of some groups.
pub fn encode_peaks(runs: &Runs, groups: &[(KindGroup, Runs)]) -> Vec<u8> {
    let groups: Vec<_> = groups.iter().map(|(group, runs)| (group_byte(*group), runs)).collect();
    to_bytes(&(runs, groups))
}

/// The peaks of all calls.
pub fn decode_peaks(bytes: &[u8]) -> Result<Runs, CodecError> {
    let options = bincode::options().with_limit(DECODE_BYTES_MAX).allow_trailing_bytes();
    options.deserialize(bytes).map_err(|error| shape(&error.to_string()))
}

/// The peaks of groups.
pub fn decode_group_peaks(bytes: &[u8]) -> Result<Vec<(KindGroup, Runs)>, CodecError> {
    let (_, groups): (Runs, Vec<(u8, Runs)>) = from_bytes(bytes)?;
    groups.into_iter().map(|(byte, runs)| Ok((group(byte)?, runs))).collect()
}

const STALE: u8 = 0xe;
const ANY_STATUS: u8 = 0xf;
const ANY_DIRECTION: u8 = 2;

/// Its status, and above that its direction.
fn group_byte(group: KindGroup) -> u8 {
    let status = match group.status {
        None => ANY_STATUS,
        Some(GroupStatus::Stale) => STALE,
        Some(GroupStatus::Status(status)) => status_byte(status),
    };
    status | group.direction.map_or(ANY_DIRECTION, direction_byte) << 4
}

fn group(byte: u8) -> Result<KindGroup, CodecError> {
    let status = match byte & 0xf {
        ANY_STATUS => None,
        STALE => Some(GroupStatus::Stale),
        byte => Some(GroupStatus::Status(status(byte)?)),
    };
    let direction = match byte >> 4 {
        ANY_DIRECTION => None,
        byte => Some(direction(byte)?),
    };
    Ok(KindGroup { status, direction })
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Numbers and texts have an encoding.
    bincode::options().serialize(value).unwrap_or_default()
}

fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let options = bincode::options().with_limit(DECODE_BYTES_MAX);
    options.deserialize(bytes).map_err(|error| shape(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{CallStatus, samples};

    fn kind() -> impl Strategy<Value = CallKind<'static>> {
        let direction = prop::sample::select(Direction::ALL.to_vec());
        let flags = (any::<bool>(), any::<bool>());
        (samples::status(), direction, flags).prop_map(|(status, direction, (stale, answered))| {
            CallKind { status, stale, direction, answered, trunk: None, application: None }
        })
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..300_u64, any::<u64>(), Just(u64::MAX)]
    }

    fn sums() -> impl Strategy<Value = QuarterSums> {
        (any::<u32>(), [number(), number(), number(), number()]).prop_map(
            |(since, [calls, answered, seconds, ups])| QuarterSums {
                since,
                calls,
                answered,
                seconds,
                ups,
            },
        )
    }

    proptest! {
        #[test]
        fn sums_are_read_as_they_were_written(
            sums in sums(), bare in vec((kind(), number(), number()), 0..30), cut in 0..60_usize,
        ) {
            let bare: Vec<_> = bare
                .into_iter()
                .map(|(kind, calls, seconds)| (kind, KindSums { calls, seconds }))
                .collect();
            let bytes = encode_quarter(&sums, bare.iter().copied());
            let (read, kinds) = decode_quarter(&bytes).unwrap();
            prop_assert_eq!(read, sums);
            prop_assert_eq!(kinds.collect::<Result<Vec<_>, _>>().unwrap(), bare.clone());
            // A row that is cut off is an error, or has fewer kinds.
            let end = bytes.len().saturating_sub(cut + 1);
            if let Ok((_, kinds)) = decode_quarter(&bytes[..end]) {
                let whole = kinds.collect::<Result<Vec<_>, _>>();
                prop_assert!(whole.is_err() || whole.unwrap().len() < bare.len());
            }
        }

        #[test]
        fn noise_is_read_to_an_end(noise in vec(any::<u8>(), 0..200)) {
            if let Ok((_, kinds)) = decode_quarter(&noise) {
                prop_assert!(kinds.count() <= noise.len());
            }
        }
    }

    #[test]
    fn each_bare_kind_has_bits_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for byte in 0..=u8::MAX {
            if let Ok(kind) = kind_of(byte) {
                assert_eq!(bits(&kind), byte);
                seen.insert(kind);
            }
        }
        assert_eq!(seen.len(), CallStatus::ALL.len() * 8);
        let mut groups = std::collections::BTreeSet::new();
        for byte in 0..=u8::MAX {
            if let Ok(group) = group(byte) {
                assert_eq!(group_byte(group), byte);
                groups.insert(group);
            }
        }
        assert_eq!(groups.len(), (CallStatus::ALL.len() + 2) * 3);
        assert!(seen.iter().flat_map(KindGroup::of).all(|group| groups.contains(&group)));
    }

    #[test]
    fn peaks_of_groups_are_read_apart() {
        let kind = CallKind {
            status: CallStatus::Busy,
            stale: false,
            direction: Direction::Outbound,
            answered: true,
            trunk: None,
            application: None,
        };
        let groups: Vec<_> =
            KindGroup::of(&kind).into_iter().map(|group| (group, vec![(3, 2)])).collect();
        let bytes = encode_peaks(&vec![(1, 400), (2, 70_000)], &groups);
        assert_eq!(decode_peaks(&bytes).unwrap(), [(1, 400), (2, 70_000)]);
        assert_eq!(decode_group_peaks(&bytes).unwrap(), groups);
        for end in 0..bytes.len() {
            assert!(decode_group_peaks(&bytes[..end]).is_err());
        }
    }
}
