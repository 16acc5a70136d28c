//! The bytes of words in stored records. They are fixed for good and independent of the order of the
//! words elsewhere.

use super::{CodecError, shape};
use crate::domain::{CallField, CallStatus, Direction, Rank, Source};

/// The order of texts in a stored record.
pub(super) const TEXTS: [CallField; 8] = [
    CallField::CallId,
    CallField::From,
    CallField::ServiceUrl,
    CallField::To,
    CallField::ApplicationSid,
    CallField::CallerName,
    CallField::OriginatingSipTrunkName,
    CallField::ParentCallSid,
];

pub(super) const fn rank_byte(rank: Rank) -> u8 {
    match rank {
        Rank::Trying => 0,
        Rank::Ringing => 1,
        Rank::EarlyMedia => 2,
        Rank::InProgress => 3,
        Rank::Terminal => 4,
        Rank::Cdr => 5,
    }
}

pub(super) fn rank(byte: u8) -> Result<Rank, CodecError> {
    Ok(match byte {
        0 => Rank::Trying,
        1 => Rank::Ringing,
        2 => Rank::EarlyMedia,
        3 => Rank::InProgress,
        4 => Rank::Terminal,
        5 => Rank::Cdr,
        _ => return Err(shape(&format!("{byte} is no rank"))),
    })
}

pub(super) const fn source_byte(source: Source) -> u8 {
    match source {
        Source::Webhook => 0,
        Source::Import => 1,
        Source::Sweep => 2,
        Source::Mirror => 3,
        Source::Cdr => 4,
    }
}

pub(super) fn source(byte: u8) -> Result<Source, CodecError> {
    Ok(match byte {
        0 => Source::Webhook,
        1 => Source::Import,
        2 => Source::Sweep,
        3 => Source::Mirror,
        4 => Source::Cdr,
        _ => return Err(shape(&format!("{byte} is no source"))),
    })
}

pub(super) const fn direction_byte(direction: Direction) -> u8 {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

pub(super) fn direction(byte: u8) -> Result<Direction, CodecError> {
    Ok(match byte {
        0 => Direction::Inbound,
        1 => Direction::Outbound,
        _ => return Err(shape(&format!("{byte} is no direction"))),
    })
}

pub(super) const fn status_byte(status: CallStatus) -> u8 {
    match status {
        CallStatus::Trying => 0,
        CallStatus::Ringing => 1,
        CallStatus::Alerting => 2,
        CallStatus::EarlyMedia => 3,
        CallStatus::InProgress => 4,
        CallStatus::Completed => 5,
        CallStatus::Failed => 6,
        CallStatus::Busy => 7,
        CallStatus::NoAnswer => 8,
        CallStatus::Queued => 9,
    }
}

pub(super) fn status(byte: u8) -> Result<CallStatus, CodecError> {
    Ok(match byte {
        0 => CallStatus::Trying,
        1 => CallStatus::Ringing,
        2 => CallStatus::Alerting,
        3 => CallStatus::EarlyMedia,
        4 => CallStatus::InProgress,
        5 => CallStatus::Completed,
        6 => CallStatus::Failed,
        7 => CallStatus::Busy,
        8 => CallStatus::NoAnswer,
        9 => CallStatus::Queued,
        _ => return Err(shape(&format!("{byte} is no status"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_byte() {
        let statuses = CallStatus::ALL.map(status_byte);
        assert_eq!(statuses, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(statuses.map(|byte| status(byte).unwrap()), CallStatus::ALL);
        assert_eq!(Direction::ALL.map(direction_byte), [0, 1]);
        assert_eq!([0, 1].map(|byte| direction(byte).unwrap()), Direction::ALL);
        let ranks = [
            Rank::Trying,
            Rank::Ringing,
            Rank::EarlyMedia,
            Rank::InProgress,
            Rank::Terminal,
            Rank::Cdr,
        ];
        assert_eq!(ranks.map(rank_byte), [0, 1, 2, 3, 4, 5]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|byte| rank(byte).unwrap()), ranks);
        let sources = [Source::Webhook, Source::Import, Source::Sweep, Source::Mirror, Source::Cdr];
        assert_eq!(sources.map(source_byte), [0, 1, 2, 3, 4]);
        assert_eq!([0, 1, 2, 3, 4].map(|byte| source(byte).unwrap()), sources);
        assert!(status(10).is_err() && direction(2).is_err() && rank(6).is_err());
        assert!(source(5).is_err());
        assert_eq!(TEXTS.len(), CallField::ALL.len());
    }
}
