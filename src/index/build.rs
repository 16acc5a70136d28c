//! What only those need who build generations.

use serde::{Deserialize, Serialize};

use super::draft::IndexBatch;
use super::rows::{AdminRow, Stored, sealed, unsealed};
use super::tree::strange_key;
use super::{Index, IndexError, Op};
use crate::domain::{CallId, Timestamp};
use crate::keys;

/// How large a generation was when it had just been built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltSize {
    /// Bytes on disk.
    pub bytes: u64,
    /// Calls.
    pub calls: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

impl Index {
    /// Writes versions into a generation that is not read yet, row by row: a batch would hold sled's
    /// lock of the whole process, and the readers of the current generation with it. Rows are
    /// written in the order of their keys: a page that is done with soon leaves less on the disk.
    pub fn write_unread(&self, ops: &[Op<'_>], admin: &[AdminRow]) -> Result<(), IndexError> {
        self.guarded(|| {
            let mut stats = self.stats();
            let mut draft = IndexBatch::new(&self.db);
            for change in ops.iter().flat_map(|op| op.changes(&mut stats)).collect::<Vec<_>>() {
                draft.apply(change)?;
            }
            for (key, value) in draft.into_changes() {
                match value {
                    Some(value) => self.db.insert(key, value)?,
                    None => self.db.remove(key)?,
                };
            }
            for row in admin {
                self.db.insert(keys::admin(&row.name), sealed(row.seq, &row.json))?;
            }
            // What pages have left behind is used again only once their new places are written.
            self.db.flush()?;
            *self.stats.lock() = stats;
            Ok(())
        })
    }

    /// Says how large the generation is now that it has been built.
    pub fn note_built(&self, at: Timestamp) -> Result<(), IndexError> {
        let stats = self.stats();
        let built = BuiltSize {
            bytes: self.disk_bytes(),
            calls: stats.calls,
            tombstones: stats.tombstones,
            at: at.millis(),
        };
        self.guarded(|| {
            let json =
                serde_json::to_vec(&built).map_err(|e| IndexError::damaged(e.to_string()))?;
            self.db.insert(keys::BUILT, sealed(0, &json))?;
            Ok(())
        })
    }

    /// How large it was when it had been built; none where a release built it that did not say.
    pub fn built(&self) -> Result<Option<BuiltSize>, IndexError> {
        self.guarded(|| {
            let Some(value) = self.db.get(keys::BUILT)? else { return Ok(None) };
            let (_, json) = unsealed(&value)?;
            let built = serde_json::from_slice(json);
            built.map(Some).map_err(|error| IndexError::damaged(format!("its size: {error}")))
        })
    }

    /// The first `count` tombstones after one, in the order of their times: the call, when it was
    /// deleted, and the sequence number of that.
    pub fn tombstones(
        &self,
        after: Option<(CallId, Timestamp)>,
        count: usize,
    ) -> Result<Vec<(CallId, Timestamp, u64)>, IndexError> {
        use std::ops::Bound::Excluded;
        self.guarded(|| {
            let from = match after {
                None => vec![keys::DELETED],
                Some((id, at)) => keys::timed(keys::DELETED, at, id),
            };
            let bounds = (Excluded(from), Excluded(vec![keys::DELETED + 1]));
            let mut found = Vec::new();
            for key in self.db.range::<Vec<u8>, _>(bounds).keys() {
                let id = keys::id_at_end(&key?).ok_or_else(strange_key)?;
                let value = self.db.get(keys::known(id))?;
                let stored = value.map(|value| Stored::from_bytes(&value)).transpose()?;
                // Between the two reads the call may have come back.
                if let Some(Stored::Tombstone { seq, deleted_at }) = stored {
                    found.push((id, deleted_at, seq));
                }
                if found.len() >= count {
                    break;
                }
            }
            Ok(found)
        })
    }
}
