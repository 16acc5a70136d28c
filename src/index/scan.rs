//! Reading the blocks of a range in order, while others may write.
//!
//! Between two steps a block may be cut in two, grow, or get another key. sled shows every batch of
//! changes whole or not at all within one step, so that three rules are enough: no row is given out
//! twice or out of order; where a scan that goes back begins in the middle of a range, its first block
//! is taken in the very step that finds it; and sled's iterator, which reads a page ahead, is used
//! again only where nothing has been written since it was made. Else a row could be missed that has
//! moved from the page to come to the one that was read.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicU64, Ordering};

use super::IndexError;
use super::block::Block;
use crate::domain::{Order, Position};
use crate::keys::{PositionSpan, Range};

/// Where a row stands: its position, its block, and its number there.
type RowPosition = (Position, (Block, usize));

/// Counts the batches that are written, so that a reader knows whether what it has read in several
/// steps is of one piece.
#[derive(Debug, Default)]
pub(super) struct Batches(AtomicU64);

impl Batches {
    /// How many have been written; none while one is.
    pub fn written(&self) -> Option<u64> {
        let halves = self.0.load(Ordering::SeqCst);
        halves.is_multiple_of(2).then_some(halves / 2)
    }

    /// Writes one.
    pub fn write<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.fetch_add(1, Ordering::SeqCst);
        let done = write();
        self.0.fetch_add(1, Ordering::SeqCst);
        done
    }
}

/// The rows of a range that lie in a span: each with its block, and its number there.
pub(super) struct RangeScan<'a> {
    db: &'a sled::Tree,
    batches: &'a Batches,
    /// The keys of blocks that are still to be read.
    low: Bound<sled::IVec>,
    high: Bound<sled::IVec>,
    /// What reads them, and how many batches had been written when it was made.
    ahead: Option<(sled::Iter, u64)>,
    /// The first block of a scan that goes back.
    first: Option<(sled::IVec, sled::IVec)>,
    /// The block that is being read, and how many of its rows are left.
    block: Option<(Block, usize)>,
    /// What is left of the span.
    span: PositionSpan,
}

impl<'a> RangeScan<'a> {
    pub fn new(
        db: &'a sled::Tree,
        batches: &'a Batches,
        range: &Range,
        span: &PositionSpan,
    ) -> Result<Self, IndexError> {
        let span = span.within(range);
        let end = |bound, end| match bound {
            Included(position) | Excluded(position) => range.key(position),
            Unbounded => range.key(end),
        };
        let (low, high) = (end(span.low, Position::MIN), end(span.high, Position::MAX));
        let last = range.key(Position::MAX);
        // The block with the oldest row may end far beyond it.
        let first = match span.order {
            Order::OldestFirst => db.range(high..=last.clone()).next().transpose()?,
            Order::NewestFirst => None,
        };
        let high = match &first {
            Some((key, _)) => Excluded(key.clone()),
            None => Included(last.into()),
        };
        let low = Included(low.into());
        Ok(Self { db, batches, low, high, ahead: None, first, block: None, span })
    }

    fn step(&mut self) -> Result<Option<RowPosition>, IndexError> {
        if self.span.is_empty() {
            return Ok(None);
        }
        loop {
            let Some((block, left)) = &mut self.block else {
                let Some(block) = self.next_block()? else { return Ok(None) };
                self.block = Some(block);
                continue;
            };
            let Some(rest) = left.checked_sub(1) else {
                self.block = None;
                continue;
            };
            let n = match self.span.order {
                Order::NewestFirst => block.len() - *left,
                Order::OldestFirst => rest,
            };
            *left = rest;
            let position = block.position(n);
            let (passed, beyond) = match self.span.order {
                Order::NewestFirst => (self.span.is_above(position), self.span.is_below(position)),
                Order::OldestFirst => (self.span.is_below(position), self.span.is_above(position)),
            };
            if passed {
                return Ok(None);
            }
            if !beyond {
                let row = (position, (block.clone(), n));
                self.span = self.span.after(position);
                return Ok(Some(row));
            }
        }
    }

    /// The next block that is written.
    fn next_written(&mut self) -> Result<Option<(sled::IVec, sled::IVec)>, IndexError> {
        let order = self.span.order;
        let step = |blocks: &mut sled::Iter| match order {
            Order::NewestFirst => blocks.next(),
            Order::OldestFirst => blocks.next_back(),
        };
        if let Some((mut blocks, written)) = self.ahead.take() {
            let found = step(&mut blocks);
            if self.batches.written() == Some(written) {
                self.ahead = Some((blocks, written));
                return Ok(found.transpose()?);
            }
        }
        let written = self.batches.written();
        let mut blocks = self.db.range((self.low.clone(), self.high.clone()));
        let found = step(&mut blocks).transpose()?;
        self.ahead = written.map(|written| (blocks, written));
        Ok(found)
    }

    /// The next block, and how many of its rows are not before the span.
    fn next_block(&mut self) -> Result<Option<(Block, usize)>, IndexError> {
        let found = match self.first.take() {
            None => self.next_written()?,
            first => first,
        };
        let Some((key, value)) = found else { return Ok(None) };
        match self.span.order {
            Order::NewestFirst => self.low = Excluded(key.clone()),
            Order::OldestFirst => self.high = Excluded(key.clone()),
        }
        let block = Block::read(&key, value)?;
        let left = match (self.span.order, self.span.low, self.span.high) {
            (Order::NewestFirst, Included(low) | Excluded(low), _) => {
                block.len() - block.before(low)
            }
            (Order::OldestFirst, _, Included(high) | Excluded(high)) => {
                let n = block.before(high);
                n + usize::from(n < block.len() && block.position(n) == high)
            }
            _ => block.len(),
        };
        Ok(Some((block, left)))
    }
}

impl Iterator for RangeScan<'_> {
    type Item = Result<RowPosition, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Blocks that are passed over for the one that is looked for.
const STEPS_MAX: usize = 8;

/// Finds rows of one range by their positions. Looking for each anew takes sled longer than going on
/// by a few blocks, as long as they are not too far from each other.
pub(super) struct Finder<'a> {
    db: &'a sled::Tree,
    batches: &'a Batches,
    range: Range,
    /// The block that was found last: neighbours are in the same more often than not.
    block: Option<Block>,
    /// What reads those beyond it, and how many batches had been written when that was made.
    ahead: Option<(sled::Iter, u64)>,
    /// How often it went on and came there, and how often it did not.
    won: usize,
    lost: usize,
}

impl<'a> Finder<'a> {
    pub fn new(db: &'a sled::Tree, batches: &'a Batches, range: Range) -> Self {
        Self { db, batches, range, block: None, ahead: None, won: 0, lost: 0 }
    }

    /// The block with the row of this position, and its number there.
    pub fn find(&mut self, position: Position) -> Result<Option<(Block, usize)>, IndexError> {
        let within = |block: Block| block.find(position).map(|n| (block, n));
        if let Some(found) = self.block.clone().and_then(within) {
            return Ok(Some(found));
        }
        self.block = match self.go_on(position)? {
            None => self.begin(position)?,
            found => found,
        };
        Ok(self.block.clone().and_then(within))
    }

    /// The first block that ends with this position or a later one, if it is one of the next and
    /// nothing has been written since they were read.
    fn go_on(&mut self, position: Position) -> Result<Option<Block>, IndexError> {
        let passed = |block: &Block| block.position(block.len() - 1) < position;
        let ahead = self.ahead.take().filter(|_| self.block.as_ref().is_some_and(passed));
        let Some((mut blocks, written)) = ahead else { return Ok(None) };
        // Where most are far from each other it is in vain.
        if 2 * self.lost > self.won + 2 {
            return Ok(None);
        }
        let key = self.range.key(position);
        for block in blocks.by_ref().take(STEPS_MAX) {
            let (found, value) = block?;
            if self.batches.written() != Some(written) {
                return Ok(None);
            }
            if *found >= *key {
                self.won += 1;
                self.ahead = Some((blocks, written));
                return Block::read(&found, value).map(Some);
            }
        }
        self.lost += 1;
        Ok(None)
    }

    /// The same, wherever it is.
    fn begin(&mut self, position: Position) -> Result<Option<Block>, IndexError> {
        let written = self.batches.written();
        let mut blocks = self.db.range(self.range.key(position)..=self.range.key(Position::MAX));
        let found = blocks.next().transpose()?;
        self.ahead = written.map(|written| (blocks, written));
        found.map(|(key, value)| Block::read(&key, value)).transpose()
    }
}
