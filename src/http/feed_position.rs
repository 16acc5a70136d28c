//! Positions of the change feed as texts: `EPOCH-SEQUENCE`, and within a snapshot
//! `EPOCH-SEQUENCE-CURSOR`.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::error::ApiError;
use crate::domain::{AccountSid, Position};
use crate::store::{FeedAccounts, FeedPosition, Reach};

/// Writes and reads the positions of one feed.
#[derive(Debug, Clone)]
pub(super) struct PositionCodec {
    /// 32 hexadecimal digits.
    epoch: String,
    reach: Reach,
}

impl PositionCodec {
    /// `epoch` is a UUID, hyphenated.
    ///
    /// `accounts` are those of a service provider: a position of others is one of other data.
    pub fn new(epoch: &str, reach: Reach, accounts: Option<&FeedAccounts>) -> Self {
        let mut epoch = epoch.replace('-', "").to_ascii_lowercase();
        if let Some(accounts) = accounts {
            let mut all = ring::digest::Context::new(&ring::digest::SHA256);
            all.update(epoch.as_bytes());
            accounts.iter().for_each(|account| all.update(&account.bytes()));
            let digits = HEXLOWER.encode(all.finish().as_ref());
            epoch = digits.chars().take(epoch.len()).collect();
        }
        Self { epoch, reach }
    }

    /// The text of a position; none at the beginning of a snapshot, where there is nothing to keep.
    pub fn write(&self, position: FeedPosition) -> Option<String> {
        let epoch = &self.epoch;
        match position {
            FeedPosition::Changes(seq) => Some(format!("{epoch}-{seq}")),
            FeedPosition::Snapshot(_, None) => None,
            FeedPosition::Snapshot(seq, Some((account, position))) => {
                let mut bytes = match self.reach {
                    Reach::Account(_) => Vec::new(),
                    Reach::ServiceProvider(_) | Reach::Everybody => account.bytes().to_vec(),
                };
                bytes.extend_from_slice(&position.to_bytes());
                Some(format!("{epoch}-{seq}-{}", BASE64URL_NOPAD.encode(&bytes)))
            }
        }
    }

    /// The position that a text means: 400 where it is none, 410 where it is one of other data.
    pub fn read(&self, name: &str, text: &str) -> Result<FeedPosition, ApiError> {
        let malformed = || {
            let shown: String = text.chars().take(80).collect();
            let expected = "expected a position as this feed gives it, or \"now\"";
            ApiError::bad(format!("{name} \"{shown}\": {expected}"))
        };
        let mut parts = text.splitn(3, '-');
        let epoch = parts.next().filter(|epoch| {
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            epoch.len() == self.epoch.len() && epoch.bytes().all(hex)
        });
        let digits = parts.next().filter(|seq| seq.bytes().all(|byte| byte.is_ascii_digit()));
        let seq = digits.and_then(|digits| digits.parse().ok());
        let (Some(epoch), Some(seq)) = (epoch, seq) else { return Err(malformed()) };
        let position = match parts.next() {
            None => FeedPosition::Changes(seq),
            Some(cursor) => {
                let after = self.cursor(cursor).ok_or_else(malformed)?;
                FeedPosition::Snapshot(seq, Some(after))
            }
        };
        if epoch != self.epoch {
            let msg = "the position belongs to other data; begin again without a position";
            return Err(ApiError::gone(msg));
        }
        Ok(position)
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

#[cfg(test)]
mod tests {
    use super::super::response::Response;
    use super::*;
    use crate::domain::{CallSid, Timestamp};

    const EPOCH: &str = "0a0b0c0d-0102-4304-8506-0708090a0b0c";

    #[test]
    fn reading_undoes_writing_and_junk_is_refused() {
        let account = AccountSid::from_bytes([0xfb; 16]);
        let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let position = Position::new(at, CallSid::from_bytes([0xff; 16]));
        for reach in [Reach::Account(account), Reach::Everybody] {
            let positions = PositionCodec::new(EPOCH, reach, None);
            assert_eq!(positions.write(FeedPosition::Snapshot(7, None)), None);
            for position in
                [FeedPosition::Changes(7), FeedPosition::Snapshot(7, Some((account, position)))]
            {
                let text = positions.write(position).unwrap();
                assert_eq!(positions.read("after", &text), Ok(position));
                let other = PositionCodec::new("ffffffff-0102-4304-8506-0708090a0b0c", reach, None);
                let gone = other.read("after", &text).unwrap_err();
                assert_eq!(Response::from(gone).status(), 410);
                let short = &text[1..];
                let long = format!("{text}x");
                let loud = text.to_uppercase();
                let junk = ["", "-", "now", short, &long, &loud, &text.replacen('-', "-+", 1)];
                for junk in junk {
                    let refused = positions.read("after", junk).unwrap_err();
                    assert_eq!(Response::from(refused).status(), 400, "{junk}");
                }
            }
        }
    }
}
