//! Changes of the tree that are written together.

use std::collections::BTreeMap;

use sled::IVec;

use super::IndexError;
use super::block::{Block, BlockRow, BlockRows};
use super::tree::strange_key;
use crate::domain::Position;
use crate::keys;

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowChange {
    /// A row of a range, by its own key, is there, with its texts where the range has any.
    Put(Vec<u8>, Option<BlockRow>),
    /// A row of a range is not there any more.
    Take(Vec<u8>),
    /// Another key, and its value; none: it goes.
    Value(Vec<u8>, Option<Vec<u8>>),
}

/// What some keys are to have.
pub(super) struct IndexBatch<'a> {
    db: &'a sled::Tree,
    blocks: BTreeMap<Vec<u8>, Drafted>,
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// What is to stand under the key of a block.
#[derive(Default)]
struct Drafted {
    /// None: nothing any more.
    rows: Option<BlockRows>,
    /// A block stands there now.
    written: bool,
}

/// Where a block is found.
enum BlockLookup {
    Drafted(Vec<u8>),
    Written(IVec, IVec),
}

impl<'a> IndexBatch<'a> {
    pub fn new(db: &'a sled::Tree) -> Self {
        Self { db, blocks: BTreeMap::new(), values: BTreeMap::new() }
    }

    /// How many keys change.
    pub fn len(&self) -> usize {
        self.blocks.len() + self.values.len()
    }

    pub fn apply(&mut self, change: RowChange) -> Result<(), IndexError> {
        match change {
            RowChange::Put(key, row) => {
                let (prefix, position) = keys::split(&key).ok_or_else(strange_key)?;
                let mut rows = match self.place_of(prefix, position)? {
                    Some(found) => self.take_out(found)?,
                    None => BlockRows::default(),
                };
                let touched = rows.put(position, row);
                let (front, back) = rows.split(touched);
                self.put_back(prefix, [front, back]);
            }
            RowChange::Take(key) => {
                let (prefix, position) = keys::split(&key).ok_or_else(strange_key)?;
                if let Some(found) = self.first_from(prefix, position)? {
                    let mut rows = self.take_out(found)?;
                    rows.take(position);
                    self.put_back(prefix, [rows]);
                }
            }
            RowChange::Value(key, value) => {
                self.values.insert(key, value);
            }
        }
        Ok(())
    }

    /// The keys that change, in order, and what they have from now on; none: they go.
    pub fn into_changes(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        let value = |(key, drafted): (Vec<u8>, Drafted)| {
            let value = drafted.rows.map(|rows| rows.value(&key));
            (key, value)
        };
        let mut changes: BTreeMap<_, _> = self.blocks.into_iter().map(value).collect();
        changes.extend(self.values);
        changes.into_iter()
    }

    /// Everything in one step.
    pub fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.into_changes() {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }

    /// The block where a row of this position stands or is to stand: what comes after all others goes
    /// into the last one.
    fn place_of(
        &self,
        prefix: &[u8],
        position: Position,
    ) -> Result<Option<BlockLookup>, IndexError> {
        match self.first_from(prefix, position)? {
            None => {
                let within = whole(prefix);
                let drafted = self.blocks.range(within.clone()).rev();
                let written = self.db.range(within).rev();
                self.nearest(drafted, written, |drafted, written| drafted > written)
            }
            found => Ok(found),
        }
    }

    /// The first block of a range that ends with this position or a later one.
    fn first_from(
        &self,
        prefix: &[u8],
        position: Position,
    ) -> Result<Option<BlockLookup>, IndexError> {
        let within = keys::joined(prefix, position)..=keys::joined(prefix, Position::MAX);
        let (drafted, written) = (self.blocks.range(within.clone()), self.db.range(within));
        self.nearest(drafted, written, |drafted, written| drafted < written)
    }

    /// The first of some blocks in what is drafted over what is written.
    fn nearest<'b>(
        &self,
        mut drafted: impl Iterator<Item = (&'b Vec<u8>, &'b Drafted)>,
        written: impl Iterator<Item = sled::Result<(IVec, IVec)>>,
        sooner: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Option<BlockLookup>, IndexError> {
        let drafted = drafted.find_map(|(key, drafted)| drafted.rows.as_ref().map(|_| key));
        for block in written {
            let (key, value) = block?;
            if drafted.is_some_and(|drafted| sooner(drafted, &key)) {
                break;
            }
            if !self.blocks.contains_key(&*key) {
                return Ok(Some(BlockLookup::Written(key, value)));
            }
        }
        Ok(drafted.cloned().map(BlockLookup::Drafted))
    }

    /// The rows of a block, which is not there any more.
    fn take_out(&mut self, found: BlockLookup) -> Result<BlockRows, IndexError> {
        match found {
            BlockLookup::Drafted(key) => {
                let drafted = self.blocks.remove(&key).unwrap_or_default();
                if drafted.written {
                    self.blocks.insert(key, Drafted { rows: None, written: true });
                }
                Ok(drafted.rows.unwrap_or_default())
            }
            BlockLookup::Written(key, value) => {
                let rows = Block::read(&key, value)?.rows()?;
                self.blocks.insert(key.to_vec(), Drafted { rows: None, written: true });
                Ok(rows)
            }
        }
    }

    fn put_back<const N: usize>(&mut self, prefix: &[u8], blocks: [BlockRows; N]) {
        for rows in blocks {
            if let Some(last) = rows.last() {
                self.blocks.entry(keys::joined(prefix, last)).or_default().rows = Some(rows);
            }
        }
    }
}

fn whole(prefix: &[u8]) -> std::ops::RangeInclusive<Vec<u8>> {
    keys::joined(prefix, Position::MIN)..=keys::joined(prefix, Position::MAX)
}
