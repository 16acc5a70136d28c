//! Reading the blocks of a range in order, while others may write.
//!
//! Between two steps a block may be cut in two, grow, or get another key. sled shows every batch of
//! changes whole or not at all, so that two rules are enough: no row is given out twice or out of
//! order, and where a scan that goes back begins in the middle of a range, its first block is taken in
//! the very step that finds it.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::IndexError;
use super::block::Block;
use crate::domain::{Order, Position};
use crate::keys::{Range, Span};

/// Where a row stands: its position, its block, and its number there.
type Place = (Position, (Block, usize));

/// The rows of a range that lie in a span: each with its block, and its number there.
pub(super) struct Scan {
    /// Blocks that are still to be read.
    blocks: sled::Iter,
    /// The first block of a scan that goes back.
    first: Option<(sled::IVec, sled::IVec)>,
    /// The block that is being read, and how many of its rows are left.
    block: Option<(Block, usize)>,
    /// What is left of the span.
    span: Span,
}

impl Scan {
    pub fn new(db: &sled::Tree, range: &Range, span: &Span) -> Result<Self, IndexError> {
        let span = span.within(range);
        let end = |bound, end| match bound {
            Included(position) | Excluded(position) => range.key(position),
            Unbounded => range.key(end),
        };
        let (low, high) = (end(span.low, Position::MIN), end(span.high, Position::MAX));
        let last = range.key(Position::MAX);
        let mut scan =
            Self { blocks: db.range(low.clone()..=last.clone()), first: None, block: None, span };
        // The block with the oldest row may end far beyond it.
        if scan.span.order == Order::OldestFirst
            && let Some(found) = db.range(high..=last).next()
        {
            let (key, value) = found?;
            scan.blocks = db.range((Included(low), Excluded(key.to_vec())));
            scan.first = Some((key, value));
        }
        Ok(scan)
    }

    fn step(&mut self) -> Result<Option<Place>, IndexError> {
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

    /// The next block, and how many of its rows are not before the span.
    fn next_block(&mut self) -> Result<Option<(Block, usize)>, IndexError> {
        let found = match (self.first.take(), self.span.order) {
            (Some(first), _) => Some(Ok(first)),
            (None, Order::NewestFirst) => self.blocks.next(),
            (None, Order::OldestFirst) => self.blocks.next_back(),
        };
        let Some((key, value)) = found.transpose()? else { return Ok(None) };
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

impl Iterator for Scan {
    type Item = Result<Place, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
