//! Rows of calls: a version of a call as it stands in the index.
//!
//! ```text
//! seq u64 | marks 4 × u32 | length of the answer u32 | answer | record
//! ```
//!
//! The answer is the call as the API answers it, ready to be sent. The marks tell in which other ranges
//! the call stands, those of Call-IDs apart: of what they hold each call is asked.

use bytes::Bytes;

use super::IndexError;
use crate::codec;
use crate::domain::Call;
use crate::keys::Range;

const MARKS: usize = 4;
const HEAD: usize = 8 + 4 * MARKS + 4;

/// A version of a call as it stands in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    seq: u64,
    /// The checksums of the prefixes of its other ranges, in their order, but for Call-IDs.
    marks: [u32; MARKS],
    value: Bytes,
    answer: Bytes,
    record: Bytes,
}

impl CallRow {
    /// The value of this version of a call, which stands in these ranges, `c` apart.
    pub(super) fn value(seq: u64, call: &Call, ranges: &[Range]) -> Vec<u8> {
        let mut value = Vec::with_capacity(1024);
        value.extend_from_slice(&seq.to_be_bytes());
        let mut marks = [0; MARKS];
        let marked = ranges.iter().filter(|range| !range.is_hint());
        for (mark, range) in marks.iter_mut().zip(marked) {
            *mark = crc32c::crc32c(range.prefix());
        }
        value.extend(marks.iter().flat_map(|mark: &u32| mark.to_be_bytes()));
        value.extend_from_slice(&[0; 4]);
        crate::wire::write_call(&mut value, call);
        let answer = u32::try_from(value.len() - HEAD).unwrap_or(u32::MAX);
        if let Some(place) = value.get_mut(HEAD - 4..HEAD) {
            place.copy_from_slice(&answer.to_be_bytes());
        }
        value.extend_from_slice(&codec::encode(call));
        value
    }

    pub(super) fn read(value: &Bytes) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("the row of a call is too short");
        let (seq, mut rest) = value.split_first_chunk().ok_or_else(damaged)?;
        let mut marks = [0; MARKS];
        for mark in &mut marks {
            let (bytes, after) = rest.split_first_chunk().ok_or_else(damaged)?;
            (*mark, rest) = (u32::from_be_bytes(*bytes), after);
        }
        let (length, texts) = rest.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (answer, record) = texts.split_at_checked(length).ok_or_else(damaged)?;
        let (answer, record) = (value.slice_ref(answer), value.slice_ref(record));
        Ok(Self { seq: u64::from_be_bytes(*seq), marks, value: value.clone(), answer, record })
    }

    /// The value that it was read from.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.value
    }

    /// Whether the call stands in this range, as far as its row knows.
    pub fn stands_in(&self, range: &Range) -> bool {
        range.carries_texts()
            || range.is_hint()
            || self.marks.contains(&crc32c::crc32c(range.prefix()))
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

    /// The call itself.
    pub fn call(&self) -> Result<Call, IndexError> {
        codec::decode(&self.record).map_err(|error| IndexError::damaged(error.to_string()))
    }
}
