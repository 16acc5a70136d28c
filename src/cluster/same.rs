//! Whether a log is the one whose messages were applied.

use std::time::{Duration, Instant};

use super::api;
use super::epoch::Epoch;
use super::log::{ApiError, Log};

/// How long a difference must last before the leader has to prove that it is one.
const CONFIRMED: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// How long a leader that does not have what was acknowledged is not believed.
const DISBELIEVED: Duration = Duration::from_secs(30);

/// A message was acknowledged under a number that had been given before: the log has lost what had it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WentBack {
    pub seq: u64,
    /// Of the message that has the number now.
    pub crc: u32,
    pub at: Instant,
}

/// How far a log was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub epoch: Epoch,
    /// The number of the last message; 0 before the first.
    pub seq: u64,
    /// [`message_crc`] of that message.
    pub crc: u32,
}

/// What tells a message from another one at its place: CRC-32C of all but its last four bytes. Those are that number
/// itself where a node has made it (`codec::assemble`): with them it would be the same of all messages.
pub fn message_crc(bytes: &[u8]) -> u32 {
    let content = bytes.split_last_chunk::<4>().map_or(bytes, |(content, _)| content);
    crc32c::crc32c(content)
}

/// How a log and a position fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// The message at the position is the one that was applied.
    Same,
    /// The log begins right after the position: that message is gone, and nothing is missing.
    Adjoins,
    /// The log begins later: what is between is nowhere in it.
    Behind { first: u64 },
    /// The log ends before the position.
    LostEnd { last: u64 },
    /// Another message stands at the position.
    OtherMessage,
    /// It is a log of another life; none where it says none.
    OtherEpoch(Option<Epoch>),
    /// It is a log of another life, which was begun right after the position: nothing is missing.
    Follows(Epoch),
    /// There is none.
    Gone,
}

impl Log {
    /// Compares this log with a position of it. A difference counts once a quorum stands behind the leader that has it:
    /// without one it is not known.
    ///
    /// # Errors
    /// The servers do not say.
    pub async fn compare(&self, position: &Position) -> Result<Sameness, ApiError> {
        if self.has_lost(position).await? {
            return Ok(Sameness::OtherMessage);
        }
        let begun = Instant::now();
        let mut is_settled = false;
        loop {
            let found = self.compare_once(position).await?;
            let differs = matches!(
                found,
                Sameness::LostEnd { .. } | Sameness::OtherMessage | Sameness::Behind { .. }
            );
            if !differs || is_settled {
                return Ok(found);
            }
            if begun.elapsed() >= CONFIRMED {
                self.settle().await?;
                is_settled = true;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// A number was given again that was applied before, as far as is known.
    pub fn has_gone_back(&self) -> bool {
        self.shared.went_back.lock().is_some()
    }

    /// All that was applied is in the log after all.
    pub fn has_not_gone_back(&self) {
        *self.shared.went_back.lock() = None;
    }

    /// Whether a number up to this position was given again, and the leader has what got it. One that came back with what was
    /// lost may lead for a while.
    async fn has_lost(&self, position: &Position) -> Result<bool, ApiError> {
        loop {
            let went_back = *self.shared.went_back.lock();
            let Some(WentBack { seq, crc, at }) = went_back else { return Ok(false) };
            if seq > position.seq || at.elapsed() >= DISBELIEVED {
                self.has_not_gone_back();
                return Ok(false);
            }
            let found = self.message_at(seq).await?;
            if found.is_some_and(|message| message_crc(&message.bytes) == crc) {
                return Ok(true);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Which of these positions, in ascending order, is the last that the log agrees with; none where it agrees with
    /// none of them. A log that was replaced by an older copy agrees up to some point and not from there on.
    ///
    /// # Errors
    /// The servers do not say.
    pub async fn agreement(&self, positions: &[Position]) -> Result<Option<usize>, ApiError> {
        // All before `low` agree, all from `high` on do not.
        let (mut low, mut high) = (0, positions.len());
        while low < high {
            let middle = low.midpoint(high);
            let Some(position) = positions.get(middle) else { break };
            let found = self.message_at(position.seq).await?;
            let agrees = found.is_some_and(|message| message_crc(&message.bytes) == position.crc);
            if agrees {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }

    async fn compare_once(&self, position: &Position) -> Result<Sameness, ApiError> {
        let bounds = match self.bounds().await {
            Ok(bounds) => bounds,
            Err(ApiError::Refused { err_code: api::NO_STREAM, .. }) => return Ok(Sameness::Gone),
            Err(error) => return Err(error),
        };
        if bounds.epoch != Some(position.epoch) {
            let follows = bounds.epoch.filter(|_| bounds.after == Some(*position));
            return Ok(follows.map_or(Sameness::OtherEpoch(bounds.epoch), Sameness::Follows));
        }
        if bounds.last < position.seq {
            return Ok(Sameness::LostEnd { last: bounds.last });
        }
        let next = position.seq + 1;
        if next == bounds.first {
            return Ok(Sameness::Adjoins);
        }
        // A leader whose replica has lost its beginning says that the log begins later than the others have it.
        if next < bounds.first && self.message_at(next).await?.is_none() {
            return Ok(Sameness::Behind { first: bounds.first });
        }
        if position.seq == 0 {
            return Ok(Sameness::Adjoins);
        }
        match self.message_at(position.seq).await? {
            Some(message) if message_crc(&message.bytes) == position.crc => Ok(Sameness::Same),
            None if next < bounds.first => Ok(Sameness::Adjoins),
            _ => Ok(Sameness::OtherMessage),
        }
    }
}
