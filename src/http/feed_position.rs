//! Positions of the change feed as texts: `EPOCH-SEQUENCE`, and within a snapshot
//! `EPOCH-SEQUENCE-CURSOR`. Where a log is followed they are places of that log, the same on every node:
//! `EPOCH-sMESSAGE` at the end of a message, and `EPOCH-sMESSAGE.N` so many frames before it.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::error::ApiError;
use crate::domain::{AccountSid, Position};
use crate::store::{FeedAccounts, FeedPosition, LogPoint, Reach};

/// Hexadecimal digits of an epoch.
const EPOCH_DIGITS: usize = 32;

/// Writes and reads the positions of one feed.
#[derive(Debug, Clone)]
pub(super) struct PositionCodec {
    /// 32 hexadecimal digits, and where a log has gone back a full stop and its turn.
    epoch: String,
    reach: Reach,
    /// Sequence numbers are told as places of a log.
    is_log: bool,
}

/// A position as a client has given it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenPosition {
    pub number: PositionNumber,
    /// Of a snapshot as of that number: the call that was read last.
    pub snapshot: Option<(AccountSid, Position)>,
}

/// Up to where changes have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PositionNumber {
    /// A sequence number of this journal.
    Sequence(u64),
    /// A place of the log.
    Log(LogPoint),
}

impl GivenPosition {
    /// The same in this journal, where the changes have been read up to this sequence number.
    pub fn at(self, seq: u64) -> FeedPosition {
        match self.snapshot {
            None => FeedPosition::Changes(seq),
            after => FeedPosition::Snapshot(seq, after),
        }
    }
}

impl PositionCodec {
    /// `epoch` is a UUID, hyphenated; `is_log`: the life of a log, whose places are told.
    ///
    /// `accounts` are those of a service provider: a position of others is one of other data.
    pub fn new(epoch: &str, is_log: bool, reach: Reach, accounts: Option<&FeedAccounts>) -> Self {
        let mut epoch = epoch.replace('-', "").to_ascii_lowercase();
        if let Some(accounts) = accounts {
            let mut all = ring::digest::Context::new(&ring::digest::SHA256);
            all.update(epoch.as_bytes());
            accounts.iter().for_each(|account| all.update(&account.bytes()));
            let digits = HEXLOWER.encode(all.finish().as_ref());
            epoch = digits.chars().take(EPOCH_DIGITS).collect();
        }
        Self { epoch, reach, is_log }
    }

    /// The text of a position, whose sequence number is this place of the log; none at the beginning of a snapshot,
    /// where there is nothing to keep.
    pub fn write(&self, position: FeedPosition, point: Option<LogPoint>) -> Option<String> {
        let epoch = &self.epoch;
        let (FeedPosition::Snapshot(seq, _) | FeedPosition::Changes(seq)) = position;
        let number = if self.is_log { log_digits(point?) } else { seq.to_string() };
        match position {
            FeedPosition::Changes(_) => Some(format!("{epoch}-{number}")),
            FeedPosition::Snapshot(_, None) => None,
            FeedPosition::Snapshot(_, Some((account, position))) => {
                let mut bytes = match self.reach {
                    Reach::Account(_) => Vec::new(),
                    Reach::ServiceProvider(_) | Reach::Everybody => account.bytes().to_vec(),
                };
                bytes.extend_from_slice(&position.to_bytes());
                Some(format!("{epoch}-{number}-{}", BASE64URL_NOPAD.encode(&bytes)))
            }
        }
    }

    /// The position that a text means: 400 where it is none, 410 where it is one of other data.
    pub fn read(&self, name: &str, text: &str) -> Result<GivenPosition, ApiError> {
        let malformed = || {
            let shown: String = text.chars().take(80).collect();
            let expected = "expected a position as this feed gives it, or \"now\"";
            ApiError::bad(format!("{name} \"{shown}\": {expected}"))
        };
        let (epoch, number, cursor) = parts(text).ok_or_else(malformed)?;
        let snapshot = match cursor {
            None => None,
            Some(cursor) => Some(self.cursor(cursor).ok_or_else(malformed)?),
        };
        // A store that was alone tells places of the log once it is a node.
        if epoch != self.epoch || self.is_log != matches!(number, PositionNumber::Log(_)) {
            let msg = "the position belongs to other data; begin again without a position";
            return Err(ApiError::gone(msg));
        }
        Ok(GivenPosition { number, snapshot })
    }

    fn cursor(&self, text: &str) -> Option<(AccountSid, Position)> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (account, position) = match self.reach {
            Reach::Account(account) => (account, bytes.as_slice()),
            Reach::ServiceProvider(_) | Reach::Everybody => {
                let (account, position) = bytes.split_first_chunk()?;
                (AccountSid::from_bytes(*account), position)
            }
        };
        Some((account, Position::from_bytes(position.try_into().ok()?)))
    }
}

/// A place of the log in digits.
pub(super) fn log_digits(point: LogPoint) -> String {
    let LogPoint { message, before_end } = point;
    if before_end == 0 { format!("s{message}") } else { format!("s{message}.{before_end}") }
}

/// Epoch, number and cursor of a text; none where it is no position.
pub(super) fn parts(text: &str) -> Option<(&str, PositionNumber, Option<&str>)> {
    let mut parts = text.splitn(3, '-');
    let epoch = parts.next().filter(|epoch| is_epoch(epoch))?;
    let number = parts.next()?;
    let number = match number.strip_prefix('s') {
        None => PositionNumber::Sequence(digits(number)?),
        Some(place) => {
            let (message, before_end) = place.split_once('.').unwrap_or((place, "0"));
            let (message, before_end) = (digits(message)?, digits(before_end)?);
            PositionNumber::Log(LogPoint { message, before_end })
        }
    };
    Some((epoch, number, parts.next()))
}

/// 32 hexadecimal digits, and where a log has gone back a full stop and its turn.
fn is_epoch(text: &str) -> bool {
    let (epoch, turn) = text.split_once('.').unwrap_or((text, "0"));
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    epoch.len() == EPOCH_DIGITS && epoch.bytes().all(hex) && digits(turn).is_some()
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::super::response::Response;
    use super::*;
    use crate::domain::{CallSid, Timestamp};

    const EPOCH: &str = "0a0b0c0d-0102-4304-8506-0708090a0b0c";
    const OTHER: &str = "ffffffff-0102-4304-8506-0708090a0b0c";

    #[test]
    fn reading_undoes_writing_and_junk_is_refused() {
        let account = AccountSid::from_bytes([0xfb; 16]);
        let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let position = Position::new(at, CallSid::from_bytes([0xff; 16]));
        let (inside, end) = (LogPoint { message: 7, before_end: 30 }, LogPoint::end_of(7));
        for (reach, point) in [
            (Reach::Account(account), None),
            (Reach::Everybody, None),
            (Reach::Account(account), Some(end)),
            (Reach::Everybody, Some(inside)),
        ] {
            let positions = PositionCodec::new(EPOCH, point.is_some(), reach, None);
            assert_eq!(positions.write(FeedPosition::Snapshot(7, None), point), None);
            for position in
                [FeedPosition::Changes(7), FeedPosition::Snapshot(7, Some((account, position)))]
            {
                let text = positions.write(position, point).unwrap();
                let given = positions.read("after", &text).unwrap();
                let number = point.map_or(PositionNumber::Sequence(7), PositionNumber::Log);
                assert_eq!((given.number, given.at(7)), (number, position));
                let status = |codec: &PositionCodec, text: &str| {
                    Response::from(codec.read("after", text).unwrap_err()).status().as_u16()
                };
                let is_log = point.is_some();
                assert_eq!(status(&PositionCodec::new(OTHER, is_log, reach, None), &text), 410);
                // What was told before the store became a node, or by a node of what is none.
                assert_eq!(status(&PositionCodec::new(EPOCH, !is_log, reach, None), &text), 410);
                let short = &text[1..];
                let long = format!("{text}x");
                let loud = text.to_uppercase();
                let junk = ["", "-", "now", short, &long, &loud, &text.replacen('-', "-+", 1)];
                let junk = junk.into_iter().map(str::to_owned);
                let more = ["-s", "-.", "-s.", "-ss", "-s7.", "-s7.x", ".-7", ".x-7"];
                let epoch = EPOCH.replace('-', "");
                for junk in junk.chain(more.map(|more| format!("{epoch}{more}"))) {
                    assert_eq!(status(&positions, &junk), 400, "{junk}");
                }
                assert_eq!(status(&positions, &format!("{epoch}.2-s7")), 410);
            }
        }
    }
}
