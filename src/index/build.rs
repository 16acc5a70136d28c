//! What only those need who build generations.

use serde::{Deserialize, Serialize};

use super::entries::{Change, Direction};
use super::rows::{AdminRow, IndexStats, Stored, sealed, unsealed};
use super::tree::{in_order, strange_key};
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

/// Bytes of rows, and of everything else, that are gathered before they are written.
const ROWS_BYTES: usize = 32 << 20;
const KEYS_BYTES: usize = if cfg!(test) { 64 << 10 } else { 32 << 20 };
/// What a change takes in memory beside its bytes.
const CHANGE_BYTES: usize = size_of::<Change>() + 32;

/// Fills a generation that is not read yet: gathers what is to be written, and has it written in the
/// order of its keys, straight into full pages.
pub struct Loader<'a> {
    index: &'a Index,
    hand_on: HandOn<'a>,
    rows: Gathered,
    others: Gathered,
    stats: IndexStats,
}

type HandOn<'a> = Box<dyn FnMut(Vec<Change>) -> Result<(), IndexError> + 'a>;

#[derive(Default)]
struct Gathered {
    changes: Vec<Change>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, change: Change) {
        let (key, value) = &change;
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + CHANGE_BYTES;
        self.changes.push(change);
    }

    fn take(&mut self) -> Vec<Change> {
        std::mem::take(self).changes
    }
}

impl<'a> Loader<'a> {
    /// Writes what it has gathered itself.
    pub fn new(index: &'a Index) -> Self {
        Self::through(index, |changes| index.load(changes))
    }

    /// Hands on what it has gathered; all of it is for [`Index::load`], in that order.
    pub fn through(
        index: &'a Index,
        hand_on: impl FnMut(Vec<Change>) -> Result<(), IndexError> + 'a,
    ) -> Self {
        let (rows, others) = (Gathered::default(), Gathered::default());
        Self { index, hand_on: Box::new(hand_on), rows, others, stats: index.stats() }
    }

    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// Adds versions, of each call one.
    pub fn add(&mut self, ops: &[Op<'_>]) -> Result<(), IndexError> {
        for op in ops {
            self.index.sids.insert(op.id.sid);
            for change in op.changes(&mut self.stats) {
                let rows = keys::carries_texts(&change.0);
                if rows { &mut self.rows } else { &mut self.others }.push(change);
            }
        }
        if self.rows.bytes >= ROWS_BYTES {
            (self.hand_on)(self.rows.take())?;
        }
        if self.others.bytes >= KEYS_BYTES {
            (self.hand_on)(self.others.take())?;
        }
        Ok(())
    }

    /// Hands on what is left, and writes admin rows.
    pub fn finish(mut self, admin: &[AdminRow]) -> Result<(), IndexError> {
        (self.hand_on)(self.rows.take())?;
        (self.hand_on)(self.others.take())?;
        self.index.guarded(|| {
            for row in admin {
                let value = sealed(row.seq, &row.json);
                self.index.entries.db.insert(keys::admin(&row.name), value)?;
            }
            Ok(())
        })?;
        *self.index.stats.lock() = self.stats;
        Ok(())
    }
}

impl Index {
    /// Writes changes that a [`Loader`] has gathered, into a generation that is not read yet.
    pub fn load(&self, mut changes: Vec<Change>) -> Result<(), IndexError> {
        in_order(&mut changes);
        self.guarded(|| {
            self.entries.pack(&changes)?;
            // What pages have left behind is used again only once their new places are written.
            self.entries.db.flush()?;
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
            self.entries.db.insert(keys::BUILT, sealed(0, &json))?;
            Ok(())
        })
    }

    /// How large it was when it had been built; none where a release built it that did not say.
    pub fn built(&self) -> Result<Option<BuiltSize>, IndexError> {
        self.guarded(|| {
            let Some(value) = self.entries.db.get(keys::BUILT)? else { return Ok(None) };
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
            for entry in self.entries.cursor(bounds, Direction::Up) {
                let entry = entry?;
                let id = keys::id_at_end(entry.key()).ok_or_else(strange_key)?;
                let value = self.entries.get(&keys::known(id))?;
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
