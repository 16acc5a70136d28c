//! Values, and the mark of a checkpoint.

use serde::{Deserialize, Serialize};

use super::IndexError;
use crate::domain::{CallId, Timestamp};

/// What the index has under a call's sid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// A call, and the time at which it is listed.
    Call {
        /// The sequence number of the version that the index has.
        seq: u64,
        /// Where it stands.
        listed_at: Timestamp,
    },
    /// A call that was deleted.
    Tombstone {
        /// The sequence number of the deletion.
        seq: u64,
        /// When.
        deleted_at: Timestamp,
    },
}

impl Stored {
    /// The sequence number.
    pub fn seq(self) -> u64 {
        match self {
            Self::Call { seq, .. } | Self::Tombstone { seq, .. } => seq,
        }
    }

    /// When it is listed; none for one that was deleted.
    pub fn listed_at(self) -> Option<Timestamp> {
        match self {
            Self::Call { listed_at, .. } => Some(listed_at),
            Self::Tombstone { .. } => None,
        }
    }

    /// When it was deleted; none for a call.
    pub fn deleted_at(self) -> Option<Timestamp> {
        match self {
            Self::Call { .. } => None,
            Self::Tombstone { deleted_at, .. } => Some(deleted_at),
        }
    }

    /// `kind u8 · seq u64 · time u64`
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (kind, seq, time) = match self {
            Self::Call { seq, listed_at } => (0, seq, listed_at),
            Self::Tombstone { seq, deleted_at } => (1, seq, deleted_at),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes.extend_from_slice(&time.millis().to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("a row under k has another shape");
        let row: &[u8; 17] = bytes.try_into().map_err(|_| damaged())?;
        let [kind, numbers @ ..] = row;
        let (seq, time) = numbers.split_first_chunk().ok_or_else(damaged)?;
        let time = u64::from_be_bytes(time.try_into().map_err(|_| damaged())?);
        let (seq, time) = (u64::from_be_bytes(*seq), Timestamp::from_millis(time));
        match (kind, time) {
            (0, Some(listed_at)) => Ok(Self::Call { seq, listed_at }),
            (1, Some(deleted_at)) => Ok(Self::Tombstone { seq, deleted_at }),
            _ => Err(damaged()),
        }
    }
}

/// `crc32c u32 · seq u64 · content`: the value of an admin row, of the mark and the like.
pub(super) fn sealed(seq: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 12);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(content);
    let crc = crc32c::crc32c(bytes.get(4..).unwrap_or_default());
    if let Some(place) = bytes.first_chunk_mut() {
        *place = crc.to_be_bytes();
    }
    bytes
}

/// The sequence number and the content of a sealed value.
pub(super) fn unsealed(bytes: &[u8]) -> Result<(u64, &[u8]), IndexError> {
    let damaged = || IndexError::damaged("a row does not fit its checksum");
    let (crc, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
    if crc32c::crc32c(rest) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    let (seq, content) = rest.split_first_chunk().ok_or_else(damaged)?;
    Ok((u64::from_be_bytes(*seq), content))
}

/// A token or the settings of an account, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminRow {
    /// What it is about.
    pub name: String,
    /// The sequence number of its last change.
    pub seq: u64,
    /// JSON; empty where it was removed.
    pub json: Vec<u8>,
}

/// How many calls and tombstones the index holds, and a sum over them that does not depend on their
/// order: two indexes with the same content have the same tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexStats {
    /// Calls.
    pub calls: u64,
    /// Tombstones.
    pub tombstones: u64,
    sum: u64,
}

impl IndexStats {
    /// Counts a row in.
    pub fn add(&mut self, id: CallId, stored: Stored) {
        *self.counter(stored) += 1;
        self.sum = self.sum.wrapping_add(row_hash(id, stored.seq()));
    }

    /// Counts a row out.
    pub fn remove(&mut self, id: CallId, stored: Stored) {
        let counter = self.counter(stored);
        *counter = counter.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(row_hash(id, stored.seq()));
    }

    fn counter(&mut self, stored: Stored) -> &mut u64 {
        match stored {
            Stored::Call { .. } => &mut self.calls,
            Stored::Tombstone { .. } => &mut self.tombstones,
        }
    }
}

fn row_hash(id: CallId, seq: u64) -> u64 {
    let mut row = [0; 40];
    row[..16].copy_from_slice(&id.account.bytes());
    row[16..32].copy_from_slice(&id.sid.bytes());
    row[32..].copy_from_slice(&seq.to_be_bytes());
    let digest = ring::digest::digest(&ring::digest::SHA256, &row);
    let head = digest.as_ref().first_chunk().copied();
    u64::from_be_bytes(head.unwrap_or_default())
}

/// What a checkpoint leaves in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// Ascending by one with each checkpoint of a generation.
    pub checkpoint: u64,
    /// The last sequence number that was known when it was taken.
    pub last_seq: u64,
    /// Everything before this sequence number is in the index.
    pub replay_from: u64,
    /// What the index holds.
    pub stats: IndexStats,
    /// When it was taken, in milliseconds since 1970.
    pub at: u64,
}
