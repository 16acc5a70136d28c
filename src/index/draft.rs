//! Changes of the tree that are written together.

use std::collections::BTreeMap;

use sled::IVec;

use super::IndexError;
use super::block::{Block, Row, Rows};
use super::tree::strange_key;
use crate::domain::Position;

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A row of a range, by its own key, is there, with its texts where the range has any.
    Put(Vec<u8>, Option<Row>),
    /// A row of a range is not there any more.
    Take(Vec<u8>),
    /// Another key, and its value; none: it goes.
    Value(Vec<u8>, Option<Vec<u8>>),
}

/// What some keys are to have.
pub(super) struct Draft<'a> {
    db: &'a sled::Tree,
    blocks: BTreeMap<Vec<u8>, Option<Rows>>,
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// Where a block is found.
enum Found {
    Drafted(Vec<u8>),
    Written(IVec, IVec),
}

impl<'a> Draft<'a> {
    pub fn new(db: &'a sled::Tree) -> Self {
        Self { db, blocks: BTreeMap::new(), values: BTreeMap::new() }
    }

    /// How many keys change.
    pub fn len(&self) -> usize {
        self.blocks.len() + self.values.len()
    }

    pub fn apply(&mut self, change: Change) -> Result<(), IndexError> {
        match change {
            Change::Put(key, row) => {
                let (prefix, position) = parts(&key)?;
                let (old, mut rows) = match self.place_of(prefix, position)? {
                    Some(found) => self.take_out(found)?,
                    None => Default::default(),
                };
                let touched = rows.put(position, row);
                let (front, back) = rows.split(touched);
                self.put_back(prefix, &old, [front, back]);
            }
            Change::Take(key) => {
                let (prefix, position) = parts(&key)?;
                if let Some(found) = self.first_from(prefix, position)? {
                    let (old, mut rows) = self.take_out(found)?;
                    rows.take(position);
                    self.put_back(prefix, &old, [rows]);
                }
            }
            Change::Value(key, value) => {
                self.values.insert(key, value);
            }
        }
        Ok(())
    }

    /// The keys that change, in order, and what they have from now on; none: they go.
    pub fn into_changes(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        let value = |(key, rows): (Vec<u8>, Option<Rows>)| {
            let value = rows.map(|rows| rows.value(&key));
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
    fn place_of(&self, prefix: &[u8], position: Position) -> Result<Option<Found>, IndexError> {
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
    fn first_from(&self, prefix: &[u8], position: Position) -> Result<Option<Found>, IndexError> {
        let within = key(prefix, position)..=key(prefix, Position::MAX);
        let (drafted, written) = (self.blocks.range(within.clone()), self.db.range(within));
        self.nearest(drafted, written, |drafted, written| drafted < written)
    }

    /// The first of some blocks in what is drafted over what is written.
    fn nearest<'b>(
        &self,
        mut drafted: impl Iterator<Item = (&'b Vec<u8>, &'b Option<Rows>)>,
        written: impl Iterator<Item = sled::Result<(IVec, IVec)>>,
        sooner: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Found>, IndexError> {
        let drafted = drafted.find_map(|(key, rows)| rows.as_ref().map(|_| key));
        for block in written {
            let (key, value) = block?;
            if drafted.is_some_and(|drafted| sooner(drafted, &key)) {
                break;
            }
            if !self.blocks.contains_key(&*key) {
                return Ok(Some(Found::Written(key, value)));
            }
        }
        Ok(drafted.cloned().map(Found::Drafted))
    }

    fn take_out(&mut self, found: Found) -> Result<(Vec<u8>, Rows), IndexError> {
        match found {
            Found::Drafted(key) => {
                let rows = self.blocks.remove(&key).flatten().unwrap_or_default();
                Ok((key, rows))
            }
            Found::Written(key, value) => {
                let rows = Block::read(&key, value)?.rows()?;
                Ok((key.to_vec(), rows))
            }
        }
    }

    fn put_back<const N: usize>(&mut self, prefix: &[u8], old: &[u8], blocks: [Rows; N]) {
        if !old.is_empty() {
            self.blocks.insert(old.to_vec(), None);
        }
        for rows in blocks {
            if let Some(last) = rows.last() {
                self.blocks.insert(key(prefix, last), Some(rows));
            }
        }
    }
}

fn parts(key: &[u8]) -> Result<(&[u8], Position), IndexError> {
    let (prefix, position) = key.split_last_chunk().ok_or_else(strange_key)?;
    Ok((prefix, Position::from_bytes(*position)))
}

fn key(prefix: &[u8], position: Position) -> Vec<u8> {
    [prefix, &position.to_bytes()].concat()
}

fn whole(prefix: &[u8]) -> std::ops::RangeInclusive<Vec<u8>> {
    key(prefix, Position::MIN)..=key(prefix, Position::MAX)
}
