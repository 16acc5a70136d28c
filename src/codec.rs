//! Calls as stored bytes: `version u8 · bincode`.
//!
//! bincode does not describe itself, so a stored shape is frozen: a later one is a new struct with a
//! new version byte and a `From` its predecessor. Sids are 16 bytes, words are bytes of our own.
//! Values of one event share their origin, so origins stand once, in a table.

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use crate::domain::{
    AccountSid, Call, CallId, CallSid, CallStatus, Direction, Entry, Extra, Field, Known, Origin,
    Progress, Rank, Source, Timestamp,
};

const V1: u8 = 1;
/// The version of records that this release writes; it reads this and all before.
pub const VERSION: u8 = V1;
/// Far above the bounds of a record, far below what a corrupt length could ask for.
const DECODE_BYTES_MAX: u64 = 256 * 1024;

/// Stored bytes that are not a record.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CodecError {
    #[error("record version {0} is not known to this release")]
    Version(u8),
    #[error("not a record: {0}")]
    Shape(String),
}

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
    texts: [Option<(&'a str, u8)>; Known::ALL.len()],
    #[serde(borrow)]
    extras: Vec<(&'a str, &'a str, u8, u16)>,
    #[serde(borrow)]
    extras_cut: Option<&'a str>,
    timeline: Vec<(Option<u64>, u8, Option<u8>, u16)>,
}

/// The stored bytes of a call.
pub fn encode(call: &Call) -> Vec<u8> {
    let mut origins = Vec::new();
    let mut origin = |origin: Origin| {
        let row = (origin.rank as u8, millis(origin.at));
        let place = origins.iter().position(|have| *have == row).unwrap_or_else(|| {
            origins.push(row);
            origins.len() - 1
        });
        // At most one origin a value, and a record has fewer values than 256.
        u8::try_from(place).unwrap_or(u8::MAX)
    };
    let direction = (call.direction.value as u8, origin(call.direction.origin));
    let mut texts = [None; Known::ALL.len()];
    for (stored, text) in texts.iter_mut().zip(&call.texts) {
        *stored = text.as_ref().map(|field| (&*field.value, origin(field.origin)));
    }
    let extras = call.extras.iter();
    let extras = extras.map(|e| (&*e.key, &*e.json, origin(e.origin), e.bytes_max)).collect();
    let timeline = call.timeline.iter();
    let timeline = timeline
        .map(|e| (millis(e.at), e.source as u8, e.status.map(|s| s as u8), e.sip_status))
        .collect();
    let progress = &call.progress;
    let stored = CallV1 {
        account: call.id.account.bytes(),
        sid: call.id.sid.bytes(),
        listed_at: call.listed_at.millis(),
        stale: call.stale,
        status: progress.status as u8,
        status_at: millis(progress.at),
        sip_status: progress.sip_status,
        sip_reason: progress.sip_reason.as_deref(),
        terminated_at: millis(progress.terminated_at),
        duration: progress.duration,
        attempted_at: millis(call.attempted_at),
        answered_at: millis(call.answered_at),
        direction,
        texts,
        extras,
        extras_cut: call.extras_cut.as_deref(),
        timeline,
        origins,
    };
    let mut bytes = vec![V1];
    // Writing to a vector does not fail, and every part has a length that is known beforehand.
    let _infallible = bincode::options().serialize_into(&mut bytes, &stored);
    bytes
}

/// The call with these stored bytes.
pub fn decode(bytes: &[u8]) -> Result<Call, CodecError> {
    let (version, body) = bytes.split_first().ok_or_else(|| shape("no bytes"))?;
    if *version != V1 {
        return Err(CodecError::Version(*version));
    }
    let options = bincode::options().with_limit(DECODE_BYTES_MAX);
    let stored: CallV1 = options.deserialize(body).map_err(|error| shape(&error.to_string()))?;
    stored.into_call()
}

/// The call that stored bytes belong to, without a look at the rest of them; none where they are too
/// short or of another version. Both sids stand first, 16 bytes each.
pub fn peek_id(bytes: &[u8]) -> Option<CallId> {
    let (&[V1], rest) = bytes.split_first_chunk()? else { return None };
    let (account, rest) = rest.split_first_chunk()?;
    let sid = rest.first_chunk()?;
    Some(CallId { account: AccountSid::from_bytes(*account), sid: CallSid::from_bytes(*sid) })
}

impl CallV1<'_> {
    fn into_call(self) -> Result<Call, CodecError> {
        let origins: Vec<Origin> = self
            .origins
            .iter()
            .map(|(rank, at)| Ok(Origin { rank: word(&RANKS, *rank, "rank")?, at: time(*at)? }))
            .collect::<Result<_, CodecError>>()?;
        let origin = |place: u8| word(&origins, place, "origin");
        let mut texts: [Option<Field<Box<str>>>; Known::ALL.len()] = Default::default();
        for (text, stored) in texts.iter_mut().zip(self.texts) {
            if let Some((value, place)) = stored {
                *text = Some(Field { value: value.into(), origin: origin(place)? });
            }
        }
        let extra = |(key, json, place, bytes_max): (&str, &str, u8, u16)| {
            Ok(Extra { key: key.into(), json: json.into(), origin: origin(place)?, bytes_max })
        };
        let entry = |(at, source, status, sip_status): (Option<u64>, u8, Option<u8>, u16)| {
            Ok(Entry {
                at: time(at)?,
                source: word(&SOURCES, source, "source")?,
                status: status
                    .map(|status| word(&CallStatus::ALL, status, "status"))
                    .transpose()?,
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
            progress: Progress {
                status: word(&CallStatus::ALL, self.status, "status")?,
                at: time(self.status_at)?,
                sip_status: self.sip_status,
                sip_reason: self.sip_reason.map(Into::into),
                terminated_at: time(self.terminated_at)?,
                duration: self.duration,
            },
            attempted_at: time(self.attempted_at)?,
            answered_at: time(self.answered_at)?,
            direction: Field {
                value: word(&Direction::ALL, self.direction.0, "direction")?,
                origin: origin(self.direction.1)?,
            },
            texts,
            extras: self.extras.into_iter().map(extra).collect::<Result<_, CodecError>>()?,
            extras_cut: self.extras_cut.map(Into::into),
            timeline: self.timeline.into_iter().map(entry).collect::<Result<_, CodecError>>()?,
        })
    }
}

const RANKS: [Rank; 5] =
    [Rank::Trying, Rank::Ringing, Rank::EarlyMedia, Rank::InProgress, Rank::Terminal];
const SOURCES: [Source; 3] = [Source::Webhook, Source::Import, Source::Sweep];

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

fn word<T: Copy>(words: &[T], byte: u8, what: &str) -> Result<T, CodecError> {
    let word = words.get(usize::from(byte)).copied();
    word.ok_or_else(|| shape(&format!("{byte} is no {what}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::samples;

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
    fn a_first_released_record_is_still_read() {
        // Frozen: a record as 0.1.0 wrote it.
        let stored = include_bytes!("../tests/fixtures/record-v1.bin");
        let call = decode(stored).unwrap();
        assert_eq!(call.text(Known::From), Some("+15551230001"));
        assert_eq!(encode(&call), stored);
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert!(matches!(decode(&[9, 0]), Err(CodecError::Version(9))));
        assert!(decode(&[]).is_err());
        assert_eq!(peek_id(&[9; 40]), None);
        assert_eq!(peek_id(&[V1; 32]), None);
    }
}
