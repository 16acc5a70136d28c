//! Calls as stored bytes: `version u8 · bincode`.
//!
//! bincode does not describe itself, so a stored shape is frozen. A later one is a new struct `CallV4`
//! with a `From<CallV3>`, an `impl Stored` that names version and predecessor, and [`Newest`] set to
//! it: bytes of any version are read as their own shape and go up the chain. Sids are 16 bytes, words
//! are bytes of our own. Values of one event share their origin, so origins stand once, in a table.

mod heads;
mod messages;
mod parties;
mod quarters;
mod words;

use std::borrow::Cow;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CdrTimes, Dropped, Extra, Extras, Field, Moment,
    NameOrder, Origin, SipReason, SizeRange, StatusProgress, TimelineEntry, Timestamp,
};
use crate::wire::replace_lone_surrogates;
use words::{
    TEXTS, direction, direction_byte, rank, rank_byte, source, source_byte, status, status_byte,
};

pub use heads::{Heads, HeadsOfPart, PartOf};
pub use messages::{
    FIRST_MESSAGE_VERSION, MESSAGE_VERSION, MessageError, assemble, decode_message,
    encode_submission, peek_message_id,
};
pub use messages::{LoggedChange, LoggedSetting, LoggedSubmission, Message, MessageId};
pub use parties::{Parties, PartiesOfPart};
pub use quarters::{
    KindSums, QuarterSums, Runs, decode_group_peaks, decode_kinds, decode_peaks, decode_quarter,
    decode_ups, encode_kinds, encode_peaks, encode_quarter, encode_ups,
};

/// The shape of records that this release writes; it reads this and all before.
type Newest<'a> = CallV3<'a>;
pub const VERSION: u8 = Newest::VERSION;
/// Far above the bounds of a record, far below what a corrupt length could ask for.
const DECODE_BYTES_MAX: u64 = 256 * 1024;

/// Stored bytes that are not a record.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("record version {0} is not known to this release")]
    Version(u8),
    #[error("not a record: {0}")]
    Shape(String),
}

/// A shape of stored records.
trait Stored<'a>: Deserialize<'a> {
    const VERSION: u8;

    /// What bytes of an earlier version are in this shape.
    fn from_earlier(version: u8, body: &'a [u8]) -> Result<Self, CodecError>;

    fn read(version: u8, body: &'a [u8]) -> Result<Self, CodecError> {
        if version != Self::VERSION {
            return Self::from_earlier(version, body);
        }
        let options = bincode::options().with_limit(DECODE_BYTES_MAX);
        options.deserialize(body).map_err(|error| shape(&error.to_string()))
    }
}

impl<'a> Stored<'a> for CallV1<'a> {
    const VERSION: u8 = 1;

    fn from_earlier(version: u8, _: &'a [u8]) -> Result<Self, CodecError> {
        Err(CodecError::Version(version))
    }
}

impl<'a> Stored<'a> for CallV2<'a> {
    const VERSION: u8 = 2;

    fn from_earlier(version: u8, body: &'a [u8]) -> Result<Self, CodecError> {
        CallV1::read(version, body).map(Self::from)
    }
}

impl<'a> Stored<'a> for CallV3<'a> {
    const VERSION: u8 = 3;

    fn from_earlier(version: u8, body: &'a [u8]) -> Result<Self, CodecError> {
        CallV2::read(version, body).map(Self::from)
    }
}

/// Times in milliseconds. Its texts may hold half a surrogate.
#[derive(Serialize, Deserialize)]
struct CallV1<'a> {
    account: [u8; 16],
    sid: [u8; 16],
    listed_at: u64,
    stale: bool,
    status: u8,
    status_at: Option<u64>,
    sip_status: u16,
    #[serde(borrow)]
    sip_reason: Option<&'a str>,
    terminated_at: Option<u64>,
    duration: Option<u32>,
    attempted_at: Option<u64>,
    answered_at: Option<u64>,
    origins: Vec<(u8, Option<u64>)>,
    direction: (u8, u8),
    #[serde(borrow)]
    texts: [Option<(&'a str, u8)>; CallField::ALL.len()],
    #[serde(borrow)]
    extras: Vec<(&'a str, &'a str, u8, u16)>,
    #[serde(borrow)]
    extras_cut: Option<&'a str>,
    timeline: Vec<(Option<u64>, u8, Option<u8>, u16)>,
}

/// When an event came is said in microseconds, all other times in milliseconds.
#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are stored bytes")]
struct CallV2<'a> {
    account: [u8; 16],
    sid: [u8; 16],
    listed_at: u64,
    stale: bool,
    namesake: bool,
    status: u8,
    status_at: Option<u64>,
    sip_status: u16,
    /// With the SIP status and the origin of the phrase.
    #[serde(borrow)]
    reason: Option<(&'a str, u16, u8)>,
    terminated_at: Option<u64>,
    end_said: bool,
    duration: Option<u32>,
    attempted_at: Option<u64>,
    answered_at: Option<u64>,
    said_attempted_at: Option<u64>,
    said_answered_at: Option<u64>,
    origins: Vec<(u8, Option<u64>)>,
    direction: (u8, u8),
    /// In the order of [`TEXTS`].
    #[serde(borrow)]
    texts: [Option<(&'a str, u8)>; TEXTS.len()],
    /// Key, value, origin, and the least and most bytes of both.
    #[serde(borrow)]
    extras: Vec<(&'a str, &'a str, u8, (u16, u16))>,
    #[serde(borrow)]
    dropped: Vec<(&'a str, (u16, u16))>,
    crowded: bool,
    #[serde(borrow)]
    remembered: Vec<&'a str>,
    timeline: Vec<(Option<u64>, u8, Option<u8>, u16)>,
    /// It was stored as a [`CallV1`].
    #[serde(skip)]
    half_surrogates: bool,
}

/// A [`CallV2`], and what CDRs say of its times.
#[derive(Serialize, Deserialize)]
struct CallV3<'a> {
    #[serde(borrow)]
    call: CallV2<'a>,
    /// The status is that of a CDR.
    by_cdr: bool,
    cdr: Option<StoredCdr>,
}

/// Attempted, answered, and terminated with the duration.
type StoredCdr = (Option<u64>, Option<u64>, Option<(u64, Option<u32>)>);

impl<'a> From<CallV2<'a>> for CallV3<'a> {
    fn from(call: CallV2<'a>) -> Self {
        Self { call, by_cdr: false, cdr: None }
    }
}

impl<'a> From<CallV1<'a>> for CallV2<'a> {
    fn from(old: CallV1<'a>) -> Self {
        let micros = |millis: Option<u64>| millis.map(|millis| millis.saturating_mul(1000));
        let origins = old.origins.into_iter();
        let mut origins: Vec<_> = origins.map(|(rank, at)| (rank, micros(at))).collect();
        let reason = old.sip_reason.filter(|text| !text.is_empty()).map(|text| {
            let rank = status(old.status).map_or(0, |status| rank_byte(status.rank()));
            origins.push((rank, micros(old.status_at)));
            (text, old.sip_status, u8::try_from(origins.len() - 1).unwrap_or(u8::MAX))
        });
        let extras = old.extras.into_iter().map(|(key, json, origin, most)| {
            let now = u16::try_from(key.len() + json.len()).unwrap_or(u16::MAX);
            (key, json, origin, (now, most))
        });
        let timeline = old.timeline.into_iter();
        Self {
            account: old.account,
            sid: old.sid,
            listed_at: old.listed_at,
            stale: old.stale,
            namesake: false,
            status: old.status,
            status_at: micros(old.status_at),
            sip_status: old.sip_status,
            reason,
            terminated_at: old.terminated_at,
            end_said: false,
            duration: old.duration,
            attempted_at: old.attempted_at,
            answered_at: old.answered_at,
            said_attempted_at: None,
            said_answered_at: None,
            origins,
            direction: old.direction,
            texts: old.texts,
            extras: extras.collect(),
            dropped: Vec::new(),
            crowded: false,
            // It was the first of those that were left out; the others were not stored.
            remembered: old.extras_cut.into_iter().collect(),
            timeline: timeline
                .map(|(at, source, status, sip)| (micros(at), source, status, sip))
                .collect(),
            half_surrogates: true,
        }
    }
}

/// The stored bytes of a call.
pub fn encode(call: &Call) -> Vec<u8> {
    let mut origins = Vec::new();
    let mut origin = |origin: Origin| {
        let row = (rank_byte(origin.rank), micros(origin.at));
        let place = origins.iter().position(|have| *have == row).unwrap_or_else(|| {
            origins.push(row);
            origins.len() - 1
        });
        // At most one origin a value, and a record has fewer values than 256.
        u8::try_from(place).unwrap_or(u8::MAX)
    };
    let direction = (direction_byte(call.direction.value), origin(call.direction.origin));
    let mut texts = [None; TEXTS.len()];
    for (stored, field) in texts.iter_mut().zip(TEXTS) {
        let text = call.texts.get(field as usize).and_then(Option::as_ref);
        *stored = text.map(|field| (&*field.value, origin(field.origin)));
    }
    let reason = call.reason.as_ref();
    let reason = reason.map(|reason| (&*reason.text, reason.sip_status, origin(reason.origin)));
    let span = |span: SizeRange| (span.least, span.most);
    let extras = call.extras.kept.iter();
    let extras = extras.map(|e| (&*e.key, &*e.json, origin(e.origin), span(e.bytes))).collect();
    let dropped = call.extras.dropped.iter();
    let timeline = call.timeline.iter();
    let timeline = timeline
        .map(|e| (micros(e.at), source_byte(e.source), e.status.map(status_byte), e.sip_status));
    let progress = &call.progress;
    let stored = CallV2 {
        account: call.id.account.bytes(),
        sid: call.id.sid.bytes(),
        listed_at: call.listed_at.millis(),
        stale: call.stale,
        namesake: call.namesake,
        status: status_byte(progress.status),
        status_at: micros(progress.at),
        sip_status: progress.sip_status,
        reason,
        terminated_at: millis(progress.terminated_at),
        end_said: progress.end_said,
        duration: progress.duration,
        attempted_at: millis(call.attempted_at),
        answered_at: millis(call.answered_at),
        said_attempted_at: millis(call.said_attempted_at),
        said_answered_at: millis(call.said_answered_at),
        direction,
        texts,
        extras,
        dropped: dropped.map(|gone| (&*gone.key, span(gone.bytes))).collect(),
        crowded: call.extras.crowded,
        remembered: call.extras.remembered.iter().map(NameOrder::as_str).collect(),
        timeline: timeline.collect(),
        origins,
        half_surrogates: false,
    };
    let cdr = &call.cdr;
    let end = cdr.end.map(|(at, seconds)| (at.millis(), seconds));
    let cdr = (millis(cdr.attempted_at), millis(cdr.answered_at), end);
    let cdr = (cdr != StoredCdr::default()).then_some(cdr);
    let stored = CallV3 { call: stored, by_cdr: progress.by_cdr, cdr };
    let mut bytes = vec![VERSION];
    // Writing to a vector does not fail, and every part has a length that is known beforehand.
    let _infallible = bincode::options().serialize_into(&mut bytes, &stored);
    bytes
}

/// The call with these stored bytes.
pub fn decode(bytes: &[u8]) -> Result<Call, CodecError> {
    let (version, body) = bytes.split_first().ok_or_else(|| shape("no bytes"))?;
    Newest::read(*version, body)?.into_call()
}

/// The call of stored bytes, without decoding the rest; none where they are too short or of an unknown
/// version. Both sids stand first in all versions, 16 bytes each.
pub fn peek_id(bytes: &[u8]) -> Option<CallId> {
    let (&[1..=VERSION], rest) = bytes.split_first_chunk()? else { return None };
    let (account, rest) = rest.split_first_chunk()?;
    let sid = rest.first_chunk()?;
    Some(CallId { account: AccountSid::from_bytes(*account), sid: CallSid::from_bytes(*sid) })
}

impl CallV3<'_> {
    fn into_call(self) -> Result<Call, CodecError> {
        let mut call = self.call.into_call()?;
        call.progress.by_cdr = self.by_cdr;
        if let Some((attempted, answered, end)) = self.cdr {
            let end = match end {
                Some((at, seconds)) => time(Some(at))?.map(|at| (at, seconds)),
                None => None,
            };
            call.cdr =
                CdrTimes { attempted_at: time(attempted)?, answered_at: time(answered)?, end };
        }
        Ok(call)
    }
}

impl CallV2<'_> {
    fn into_call(self) -> Result<Call, CodecError> {
        let origins: Vec<Origin> = self
            .origins
            .iter()
            .map(|(byte, at)| Ok(Origin { rank: rank(*byte)?, at: moment(*at)? }))
            .collect::<Result<_, CodecError>>()?;
        let origin = |place: u8| {
            let origin = origins.get(usize::from(place)).copied();
            origin.ok_or_else(|| shape("an origin that is not there"))
        };
        let mut texts: [Option<Field<Box<str>>>; CallField::ALL.len()] = Default::default();
        for (field, stored) in TEXTS.into_iter().zip(self.texts) {
            if let (Some((value, place)), Some(text)) = (stored, texts.get_mut(field as usize)) {
                *text = Some(Field { value: value.into(), origin: origin(place)? });
            }
        }
        let reason = |(text, sip_status, place): (&str, u16, u8)| {
            Ok(SipReason { text: text.into(), sip_status, origin: origin(place)? })
        };
        let span = |(least, most): (u16, u16)| SizeRange::new(least, most);
        let extra = |(key, json, place, bytes): (&str, &str, u8, (u16, u16))| {
            let bytes = span(bytes);
            let json = if self.half_surrogates {
                replace_lone_surrogates(json)
            } else {
                Cow::Borrowed(json)
            };
            Ok(Extra { key: key.into(), json: json.into(), origin: origin(place)?, bytes })
        };
        let dropped =
            |(key, bytes): (&str, (u16, u16))| Dropped { key: key.into(), bytes: span(bytes) };
        let entry = |(at, from, said, sip_status): (Option<u64>, u8, Option<u8>, u16)| {
            Ok(TimelineEntry {
                at: moment(at)?,
                source: source(from)?,
                status: said.map(status).transpose()?,
                sip_status,
            })
        };
        Ok(Call {
            id: CallId {
                account: AccountSid::from_bytes(self.account),
                sid: CallSid::from_bytes(self.sid),
            },
            listed_at: time(Some(self.listed_at))?.unwrap_or_default(),
            stale: self.stale,
            namesake: self.namesake,
            progress: StatusProgress {
                status: status(self.status)?,
                at: moment(self.status_at)?,
                sip_status: self.sip_status,
                terminated_at: time(self.terminated_at)?,
                end_said: self.end_said,
                duration: self.duration,
                by_cdr: false,
            },
            cdr: CdrTimes::default(),
            reason: self.reason.map(reason).transpose()?,
            attempted_at: time(self.attempted_at)?,
            answered_at: time(self.answered_at)?,
            said_attempted_at: time(self.said_attempted_at)?,
            said_answered_at: time(self.said_answered_at)?,
            direction: Field {
                value: direction(self.direction.0)?,
                origin: origin(self.direction.1)?,
            },
            texts,
            extras: Extras {
                kept: self.extras.into_iter().map(extra).collect::<Result<_, CodecError>>()?,
                dropped: self.dropped.into_iter().map(dropped).collect(),
                crowded: self.crowded,
                remembered: self.remembered.into_iter().map(NameOrder::new).collect(),
            },
            timeline: self.timeline.into_iter().map(entry).collect::<Result<_, CodecError>>()?,
        })
    }
}

fn shape(why: &str) -> CodecError {
    CodecError::Shape(why.to_owned())
}

fn millis(at: Option<Timestamp>) -> Option<u64> {
    at.map(Timestamp::millis)
}

fn time(millis: Option<u64>) -> Result<Option<Timestamp>, CodecError> {
    match millis {
        None => Ok(None),
        Some(millis) => match Timestamp::from_millis(millis) {
            Some(time) => Ok(Some(time)),
            None => Err(shape("a time beyond the year 9999")),
        },
    }
}

fn micros(at: Option<Moment>) -> Option<u64> {
    at.map(Moment::micros)
}

fn moment(micros: Option<u64>) -> Result<Option<Moment>, CodecError> {
    match micros {
        None => Ok(None),
        Some(micros) => match Moment::from_micros(micros) {
            Some(moment) => Ok(Some(moment)),
            None => Err(shape("a time beyond the year 9999")),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{CallStatus, Direction, Rank, Source, samples};

    proptest! {
        #[test]
        fn decoding_undoes_encoding(call in samples::call()) {
            let bytes = encode(&call);
            prop_assert_eq!(peek_id(&bytes), Some(call.id));
            prop_assert_eq!(decode(&bytes).unwrap(), call);
        }

        #[test]
        fn decoding_never_panics(call in samples::call(), place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let mut bytes = encode(&call);
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            let _either_way = decode(&bytes);
            let _either_way = decode(&bytes[..place]);
        }
    }

    #[test]
    fn a_record_of_the_first_version_is_still_read() {
        // Frozen: a record as 0.1.0 wrote it.
        let stored = include_bytes!("../tests/fixtures/record-v1.bin");
        assert_eq!(stored[0], CallV1::VERSION);
        let call = decode(stored).unwrap();
        assert_eq!(call.text(CallField::From), Some("+15551230001"));
        let again = encode(&call);
        assert_eq!((again[0], decode(&again).unwrap()), (VERSION, call));
        assert_eq!(peek_id(stored), peek_id(&again));
    }

    #[test]
    fn a_record_of_the_second_version_is_still_read() {
        // Frozen: it has every kind of value but those of CDRs.
        let stored = include_bytes!("../tests/fixtures/record-v2.bin");
        assert_eq!(stored[0], CallV2::VERSION);
        let call = Call { cdr: CdrTimes::default(), ..frozen() };
        let call = Call { progress: StatusProgress { by_cdr: false, ..call.progress }, ..call };
        assert_eq!(decode(stored).unwrap(), call);
    }

    #[test]
    fn a_record_of_this_version_has_these_very_bytes() {
        // Frozen: it has every kind of value.
        let stored = include_bytes!("../tests/fixtures/record-v3.bin");
        let call = frozen();
        assert_eq!(encode(&call), stored);
        assert_eq!(decode(stored).unwrap(), call);
    }

    fn frozen() -> Call {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let moment = |millis, micros| Some(Moment::new(at(millis), micros));
        let origin = |rank, at| Origin { rank, at };
        let first = origin(Rank::Trying, moment(1_800_000_000_000, 7));
        let last = origin(Rank::Terminal, moment(1_800_000_042_000, 999));
        let mut texts: [Option<Field<Box<str>>>; 8] = Default::default();
        for (n, field) in TEXTS.into_iter().enumerate() {
            let origin = if n % 2 == 0 { first } else { last };
            texts[field as usize] = Some(Field { value: field.key().into(), origin });
        }
        let entry =
            |at, source, status, sip_status| TimelineEntry { at, source, status, sip_status };
        let timeline = vec![
            entry(None, Source::Import, None, 100),
            entry(first.at, Source::Webhook, Some(CallStatus::Queued), 100),
            entry(last.at, Source::Sweep, Some(CallStatus::NoAnswer), 480),
        ];
        let extra = |key: &str, json: &str, bytes| Extra {
            key: key.into(),
            json: json.into(),
            origin: origin(Rank::EarlyMedia, None),
            bytes,
        };
        Call {
            id: CallId { account: samples::ACCOUNT, sid: samples::CALL },
            listed_at: at(1_800_000_000_001),
            namesake: false,
            stale: true,
            progress: StatusProgress {
                status: CallStatus::NoAnswer,
                at: last.at,
                sip_status: 480,
                terminated_at: Some(at(1_800_000_042_000)),
                end_said: true,
                duration: Some(42),
                by_cdr: true,
            },
            cdr: CdrTimes {
                attempted_at: Some(at(1_799_999_999_999)),
                answered_at: Some(at(1_800_000_001_000)),
                end: Some((at(1_800_000_041_999), Some(41))),
            },
            reason: Some(SipReason { text: "Gone".into(), sip_status: 480, origin: last }),
            attempted_at: Some(at(1_800_000_000_000)),
            answered_at: None,
            said_attempted_at: Some(at(1_800_000_000_000)),
            said_answered_at: None,
            direction: Field { value: Direction::Outbound, origin: first },
            texts,
            extras: Extras {
                kept: vec![
                    extra("a", "1", SizeRange::new(2, 300)),
                    extra("b", "{}", SizeRange::new(3, 3)),
                ],
                dropped: vec![Dropped { key: "c".into(), bytes: SizeRange::new(9, 10_241) }],
                crowded: true,
                remembered: [NameOrder::new("from"), NameOrder::new("zz")].into_iter().collect(),
            },
            timeline,
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert!(matches!(decode(&[9, 0]), Err(CodecError::Version(9))));
        assert!(decode(&[]).is_err());
        assert_eq!(peek_id(&[9; 40]), None);
        assert_eq!(peek_id(&[CallV1::VERSION; 32]), None);
    }
}
