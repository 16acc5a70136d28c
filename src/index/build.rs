//! What only those need who build generations.

use std::sync::mpsc::channel;

use serde::{Deserialize, Serialize};

use super::cursor::Direction;
use super::layers::BASE;
use super::page::Put;
use super::rows::{IndexStats, Stored, sealed, unsealed};
use super::sorter::{Gathered, Runs};
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

/// Bytes of rows, and of everything else, that are gathered before they are sorted.
const GATHERED_BYTES: usize = if cfg!(test) { 16 << 10 } else { 16 << 20 };
/// Bytes of entries that are packed between two looks at whether to go on.
const PORTION_BYTES: usize = 4 << 20;
/// Before all keys but those of whole calls, and after those.
const BEHIND_ROWS: &[u8] = &[keys::CALL + 1];

/// Some entries of a generation that is being built: whole calls, or everything else.
pub enum Batch {
    /// Whole calls.
    Rows(Gathered),
    /// Everything else.
    Others(Gathered),
}

/// Makes the entries of a generation that is not read yet, in batches for a [`Packer`].
pub struct Loader<'a> {
    index: &'a Index,
    hand_on: HandOn<'a>,
    rows: Gathered,
    others: Gathered,
    stats: IndexStats,
}

type HandOn<'a> = Box<dyn FnMut(Batch) -> Result<(), IndexError> + 'a>;

impl<'a> Loader<'a> {
    /// For an empty generation.
    pub fn new(
        index: &'a Index,
        hand_on: impl FnMut(Batch) -> Result<(), IndexError> + 'a,
    ) -> Self {
        let (rows, others) = (room(), room());
        Self { index, hand_on: Box::new(hand_on), rows, others, stats: index.stats() }
    }

    /// Adds a version of a call that the generation does not know yet.
    pub fn add(&mut self, op: &Op<'_>) -> Result<(), IndexError> {
        self.index.sids.insert(op.id.sid);
        let (rows, others) = (&mut self.rows, &mut self.others);
        op.new_rows(&mut self.stats, false, &mut |key, value| {
            if keys::carries_texts(key) { &mut *rows } else { &mut *others }.push(key, value);
        });
        if self.rows.weight() >= GATHERED_BYTES {
            (self.hand_on)(Batch::Rows(std::mem::replace(&mut self.rows, room())))?;
        }
        if self.others.weight() >= GATHERED_BYTES {
            (self.hand_on)(Batch::Others(std::mem::replace(&mut self.others, room())))?;
        }
        Ok(())
    }

    /// Hands on what is left.
    pub fn finish(mut self) -> Result<(), IndexError> {
        (self.hand_on)(Batch::Rows(self.rows))?;
        (self.hand_on)(Batch::Others(self.others))?;
        *self.index.stats.lock() = self.stats;
        Ok(())
    }
}

/// Writes the entries of a generation that is not read yet into full pages, each of them once, in the
/// order of their keys.
pub struct Packer<'a> {
    index: &'a Index,
    rows: Runs,
    others: Runs,
    /// The last key of rows that came in order and are written already.
    written: Option<Vec<u8>>,
}

impl<'a> Packer<'a> {
    /// For an empty generation.
    pub fn new(index: &'a Index) -> Result<Self, IndexError> {
        index.guarded(|| {
            index.entries.divide(BEHIND_ROWS)?;
            let runs = |name| Runs::new(&index.dir, name);
            Ok(Self { index, rows: runs("rows")?, others: runs("others")?, written: None })
        })
    }

    /// Takes a batch.
    pub fn take(&mut self, batch: &Batch) -> Result<(), IndexError> {
        let Self { index, rows, others, written } = self;
        index.guarded(|| {
            let (Batch::Rows(gathered) | Batch::Others(gathered)) = batch;
            let mut entries = gathered.entries();
            let (Some((first, _)), in_order) =
                (entries.first(), entries.is_sorted_by(|(a, _), (b, _)| a < b))
            else {
                return Ok(());
            };
            let runs = match batch {
                Batch::Others(_) => others,
                Batch::Rows(_)
                    if in_order && written.as_deref().is_none_or(|last| last < *first) =>
                {
                    *written = entries.last().map(|(last, _)| last.to_vec());
                    return pack(index, &entries);
                }
                Batch::Rows(_) => rows,
            };
            entries.sort_by_key(|(key, _)| *key);
            runs.add(&entries)
        })
    }

    /// Writes what waits, and says after each part how many entries that were.
    pub fn finish<E: From<IndexError>>(
        self,
        mut after: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { index, rows, others, .. } = self;
        // The two write different pages: they are divided.
        std::thread::scope(|scope| {
            let (done, packed) = channel();
            let second = scope.spawn(move || {
                merge(index, &others, &mut |count| {
                    // Who is gone has failed: that is said there.
                    done.send(count).map_err(|_| IndexError::damaged("the build has ended"))
                })
            });
            let mut first = merge(index, &rows, &mut |count| {
                packed.try_iter().chain([count]).try_for_each(&mut after)
            });
            if first.is_ok() {
                first = packed.iter().try_for_each(&mut after);
            }
            drop(packed);
            let second = second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            first.and(second.map_err(E::from))
        })
    }
}

fn room() -> Gathered {
    Gathered::with_capacity(GATHERED_BYTES)
}

/// Packs everything that waits in some runs.
fn merge<E: From<IndexError>>(
    index: &Index,
    runs: &Runs,
    after: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut merged = index.guarded(|| runs.merged())?;
    let mut gathered = Gathered::default();
    loop {
        index.guarded(|| merged.next(&mut gathered, PORTION_BYTES))?;
        let entries = gathered.entries();
        if entries.is_empty() {
            return Ok(());
        }
        index.guarded(|| pack(index, &entries))?;
        after(entries.len())?;
    }
}

fn pack(index: &Index, entries: &[Put<'_>]) -> Result<(), IndexError> {
    index.entries.write(BASE, entries)?;
    // What pages have left behind is used again only once their new places are written.
    index.entries.db.flush()?;
    Ok(())
}

impl Index {
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
