//! Blocks: rows of one range, several to a value, in the order of their positions.
//!
//! ```text
//! key    prefix of the range | position of the last row
//! value  crc32c u32 of key and rest | count u16 | count × (position 24, place) | texts
//! place  seq u64 | marks 4 × u32 | end of the answer u32 | end of the record u32    (only under c)
//! ```
//!
//! A row under `c` has two texts: the call as the API answers it, ready to be sent, and its record;
//! its marks tell in which other ranges it stands. Rows of the other ranges have none, and a single one of them has no value: its key says it all.
//! sled takes as long for a row of a hundred bytes as for one of some thousand, so that few large
//! values are read much faster than many small ones.

use std::ops::Range as Bytes;

use sled::IVec;

use super::IndexError;
use super::tree::strange_key;
use crate::codec;
use crate::domain::{Call, Position};
use crate::keys::{self, IndexKeys, Range};

/// Bytes up to which a block with texts grows. sled keeps up to 16 values on a page and gives a page
/// of more than 128 KiB a file of its own.
const TEXTS_MAX: usize = if cfg!(test) { 1500 } else { 4 * 1024 };
/// Bytes up to which a block without texts grows. Each new call of a number writes its last one again.
const POSITIONS_MAX: usize = if cfg!(test) { 80 } else { 512 };

const HEAD: usize = 6;
const POSITION: usize = 24;
const MARKS: usize = 4;
const PLACE: usize = 16 + 4 * MARKS;

/// A version of a call as it stands in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    seq: u64,
    /// The checksums of the prefixes of its other ranges, in their order.
    marks: [u32; MARKS],
    answer: IVec,
    record: IVec,
}

impl BlockRow {
    /// This version of a call.
    pub(super) fn of(seq: u64, call: &Call) -> Self {
        let mut answer = Vec::with_capacity(640);
        crate::wire::write_call(&mut answer, call);
        let mut marks = [0; MARKS];
        for (mark, range) in marks.iter_mut().zip(IndexKeys::of(call).ranges(call.id.account)) {
            *mark = crc32c::crc32c(range.prefix());
        }
        Self { seq, marks, answer: answer.into(), record: codec::encode(call).into() }
    }

    /// Whether the call stands in this range, as far as its row knows.
    pub fn stands_in(&self, range: &Range) -> bool {
        range.carries_texts() || self.marks.contains(&crc32c::crc32c(range.prefix()))
    }

    /// The sequence number of the version.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The call as the API answers it: a JSON object.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Bytes of its texts.
    pub fn weight(&self) -> usize {
        self.answer.len() + self.record.len()
    }

    /// The same row, which keeps nothing else of its block in memory.
    #[must_use]
    pub fn by_itself(self) -> Self {
        let (answer, record) = (IVec::from(&*self.answer), IVec::from(&*self.record));
        Self { answer, record, ..self }
    }

    /// The call itself.
    pub fn call(&self) -> Result<Call, IndexError> {
        codec::decode(&self.record).map_err(|error| IndexError::damaged(error.to_string()))
    }
}

/// A block as it was read.
#[derive(Debug, Clone)]
pub(super) struct Block {
    value: IVec,
    count: usize,
    last: Position,
    /// Bytes of what the head says of a row.
    width: usize,
}

impl Block {
    pub fn read(key: &[u8], value: IVec) -> Result<Self, IndexError> {
        let (_, last) = keys::split(key).ok_or_else(strange_key)?;
        let texts = keys::carries_texts(key);
        let width = if texts { POSITION + PLACE } else { POSITION };
        if value.is_empty() && !texts {
            return Ok(Self { value, count: 1, last, width });
        }
        let damaged = || IndexError::damaged("a block does not fit its checksum");
        let (crc, rest) = value.split_first_chunk().ok_or_else(damaged)?;
        let (count, rows) = rest.split_first_chunk().ok_or_else(damaged)?;
        if checksum(key, rest) != u32::from_be_bytes(*crc) {
            return Err(damaged());
        }
        let count = usize::from(u16::from_be_bytes(*count));
        if count == 0 || rows.len() < count * width {
            return Err(IndexError::damaged(format!("a block of {count} rows is too short")));
        }
        let block = Self { value, count, last, width };
        if block.position(count - 1) != last {
            return Err(IndexError::damaged("a block stands at a wrong place"));
        }
        Ok(block)
    }

    /// How many rows it has, one at least.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The position of a row; the last one's where there is no such row.
    pub fn position(&self, n: usize) -> Position {
        let bytes = self.value.get(HEAD + n * self.width..).and_then(<[u8]>::first_chunk);
        bytes.map_or(self.last, |bytes| Position::from_bytes(*bytes))
    }

    /// How many rows stand before this position.
    pub fn before(&self, position: Position) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.position(middle) < position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The number of the row at this position.
    pub fn find(&self, position: Position) -> Option<usize> {
        let n = self.before(position);
        (n < self.count && self.position(n) == position).then_some(n)
    }

    /// The texts of a row; none where the range has none.
    pub fn row(&self, n: usize) -> Result<Option<BlockRow>, IndexError> {
        if self.width == POSITION {
            return Ok(None);
        }
        let damaged = || IndexError::damaged("a block has no such row");
        let begin = match n.checked_sub(1) {
            None => 0,
            Some(before) => self.place(before).ok_or_else(damaged)?.3,
        };
        let (seq, marks, middle, end) = self.place(n).ok_or_else(damaged)?;
        let text = |bytes: Bytes<usize>| {
            let texts = HEAD + self.count * self.width;
            let (begin, end) = (texts.checked_add(bytes.start)?, texts.checked_add(bytes.end)?);
            let fits = begin <= end && end <= self.value.len();
            fits.then(|| self.value.subslice(begin, end - begin))
        };
        let answer = text(begin..middle).ok_or_else(damaged)?;
        let record = text(middle..end).ok_or_else(damaged)?;
        Ok(Some(BlockRow { seq, marks, answer, record }))
    }

    /// The sequence number of a row, its marks, and where its two texts end.
    fn place(&self, n: usize) -> Option<(u64, [u32; MARKS], usize, usize)> {
        let place = self.value.get(HEAD + n * self.width + POSITION..)?;
        let (seq, mut place) = place.split_first_chunk()?;
        let mut marks = [0; MARKS];
        for mark in &mut marks {
            let (bytes, rest) = place.split_first_chunk()?;
            (*mark, place) = (u32::from_be_bytes(*bytes), rest);
        }
        let (middle, place) = place.split_first_chunk()?;
        let end = place.first_chunk()?;
        let number = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
        Some((u64::from_be_bytes(*seq), marks, number(middle)?, number(end)?))
    }

    /// All rows, to be changed.
    pub fn rows(&self) -> Result<BlockRows, IndexError> {
        let rows = (0..self.count).map(|n| Ok((self.position(n), self.row(n)?)));
        Ok(BlockRows(rows.collect::<Result<_, IndexError>>()?))
    }
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), rest)
}

/// The rows of a block that is being changed, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockRows(Vec<(Position, Option<BlockRow>)>);

impl BlockRows {
    /// The greatest position.
    pub fn last(&self) -> Option<Position> {
        self.0.last().map(|(position, _)| *position)
    }

    /// Puts a row in, or in the place of another. Returns its number.
    pub fn put(&mut self, position: Position, row: Option<BlockRow>) -> usize {
        let place = self.0.binary_search_by_key(&position, |(position, _)| *position);
        match place {
            Ok(n) => {
                if let Some(there) = self.0.get_mut(n) {
                    there.1 = row;
                }
                n
            }
            Err(n) => {
                self.0.insert(n, (position, row));
                n
            }
        }
    }

    /// Takes a row out. False where there was none.
    pub fn take(&mut self, position: Position) -> bool {
        let place = self.0.binary_search_by_key(&position, |(position, _)| *position);
        place.map(|n| self.0.remove(n)).is_ok()
    }

    /// What is left once these rows are small enough, and the rows that had to go: two blocks in
    /// order, of which the first may be empty. `touched` is the row that was put in last.
    pub fn split(mut self, touched: usize) -> (Self, Self) {
        let texts = self.0.iter().any(|(_, row)| row.is_some());
        let max = if texts { TEXTS_MAX } else { POSITIONS_MAX };
        if self.bytes() <= max || self.0.len() == 1 {
            return (Self::default(), self);
        }
        // Who adds in order leaves full blocks behind: newer calls come to the front, a new
        // generation is filled towards the end.
        let middle = if touched == 0 {
            1
        } else if touched + 1 == self.0.len() {
            touched
        } else {
            self.half()
        };
        let rest = self.0.split_off(middle);
        (self, Self(rest))
    }

    /// The number of rows that take about half of the bytes: one at least, not all.
    fn half(&self) -> usize {
        let half = self.bytes() / 2;
        let mut bytes = 0;
        let fits = |(_, row): &&(Position, Option<BlockRow>)| {
            bytes += size(row.as_ref());
            bytes <= half
        };
        self.0.iter().take_while(fits).count().clamp(1, self.0.len() - 1)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, row)| size(row.as_ref())).sum()
    }

    /// The value under this key.
    pub fn value(&self, key: &[u8]) -> Vec<u8> {
        if let [(_, None)] = self.0.as_slice() {
            return Vec::new();
        }
        let mut value = Vec::with_capacity(self.bytes() + HEAD);
        value.extend_from_slice(&[0; 4]);
        value.extend_from_slice(&u16::try_from(self.0.len()).unwrap_or(u16::MAX).to_be_bytes());
        let mut end = 0;
        let mut ends = |text: &IVec| {
            end += u32::try_from(text.len()).unwrap_or(u32::MAX);
            end.to_be_bytes()
        };
        for (position, row) in &self.0 {
            value.extend_from_slice(&position.to_bytes());
            if let Some(row) = row {
                value.extend_from_slice(&row.seq.to_be_bytes());
                value.extend(row.marks.iter().flat_map(|mark| mark.to_be_bytes()));
                value.extend_from_slice(&ends(&row.answer));
                value.extend_from_slice(&ends(&row.record));
            }
        }
        for row in self.0.iter().filter_map(|(_, row)| row.as_ref()) {
            value.extend_from_slice(&row.answer);
            value.extend_from_slice(&row.record);
        }
        let crc = checksum(key, value.get(4..).unwrap_or_default());
        if let Some(place) = value.first_chunk_mut() {
            *place = crc.to_be_bytes();
        }
        value
    }
}

/// What a row takes of a block.
fn size(row: Option<&BlockRow>) -> usize {
    POSITION + row.map_or(0, |row| PLACE + row.answer.len() + row.record.len())
}
