//! The bytes of a segment, packed or not, by their place before they were packed.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::frame::{Frame, HEAD_BYTES, Head};
use super::{JournalError, Segment};
use crate::files;

/// Bytes that are read ahead of whoever goes through a segment from its beginning.
const AHEAD_BYTES: usize = 256 * 1024;
/// Segments that are open at a time where many are read here and there.
const OPEN_MAX: usize = 16;

/// An open segment. It stays readable when the file is unlinked.
pub struct SegmentReader {
    segment: Segment,
    file: File,
    /// A piece of the segment, and where it begins.
    piece: Vec<u8>,
    piece_at: u64,
    /// A packed block as it is on disk.
    raw: Vec<u8>,
}

impl SegmentReader {
    /// Opens a segment's file.
    pub fn open(segment: &Segment) -> Result<Self, JournalError> {
        let path = &segment.path;
        let file = files::open(path).map_err(JournalError::io("open", path))?;
        let size = file.metadata().map_err(JournalError::io("read", path))?.len();
        if size < segment.disk_bytes() {
            let reason = format!("the file ends here; {} bytes were written", segment.disk_bytes());
            return Err(JournalError::damaged(path, size, reason));
        }
        let segment = segment.clone();
        Ok(Self { segment, file, piece: Vec::new(), piece_at: 0, raw: Vec::new() })
    }

    /// The segment.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Reads the one frame that begins at `offset` into `payload` and returns it.
    pub fn frame_at<'a>(
        &mut self,
        offset: u64,
        payload: &'a mut Vec<u8>,
    ) -> Result<Frame<'a>, JournalError> {
        let mut head = [0; HEAD_BYTES];
        self.read(offset, &mut head, 0)?;
        let damaged = |reason: &str| JournalError::damaged(&self.segment.path, offset, reason);
        let head = Head::read(&head).ok_or_else(|| damaged("a length that no frame has"))?;
        payload.resize(head.length, 0);
        self.read(offset + HEAD_BYTES as u64, payload, 0)?;
        let damaged = |reason: &str| JournalError::damaged(&self.segment.path, offset, reason);
        if !head.fits(payload, self.segment.salt) {
            return Err(damaged("a frame does not fit its checksum"));
        }
        Frame::read(payload).map_err(|reason| damaged(&reason))
    }

    /// Fills `out` from this place on, for somebody who will go on from there.
    pub(super) fn read_on(&mut self, offset: u64, out: &mut [u8]) -> Result<(), JournalError> {
        self.read(offset, out, AHEAD_BYTES)
    }

    fn read(&mut self, offset: u64, out: &mut [u8], ahead: usize) -> Result<(), JournalError> {
        let mut filled = 0;
        while filled < out.len() {
            let at = offset + filled as u64;
            let rest = out.get_mut(filled..).unwrap_or_default();
            let have = at
                .checked_sub(self.piece_at)
                .and_then(|skip| self.piece.get(usize::try_from(skip).ok()?..))
                .unwrap_or_default();
            if have.is_empty() {
                if self.segment.packed.is_none() && ahead == 0 {
                    let path = &self.segment.path;
                    return self
                        .file
                        .read_exact_at(rest, at)
                        .map_err(JournalError::io("read", path));
                }
                self.load(at, ahead)?;
                continue;
            }
            let count = have.len().min(rest.len());
            let (to, from) = (rest.get_mut(..count), have.get(..count));
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
            filled += count;
        }
        Ok(())
    }

    /// Has the piece that this place lies in.
    fn load(&mut self, at: u64, ahead: usize) -> Result<(), JournalError> {
        let path = &self.segment.path;
        let ends_here = || JournalError::damaged(path, at, "the segment ends here");
        let Some(packed) = &self.segment.packed else {
            let left = usize::try_from(self.segment.length.saturating_sub(at));
            self.piece.resize(left.unwrap_or(usize::MAX).min(ahead), 0);
            if self.piece.is_empty() {
                return Err(ends_here());
            }
            self.piece_at = at;
            let read = self.file.read_exact_at(&mut self.piece, at);
            return read.map_err(|error| {
                self.piece.clear();
                JournalError::io("read", &self.segment.path)(error)
            });
        };
        let block = packed.block(at).ok_or_else(ends_here)?;
        self.raw.resize(block.packed_bytes, 0);
        self.piece.clear();
        self.file
            .read_exact_at(&mut self.raw, block.file_at)
            .map_err(JournalError::io("read", path))?;
        let mut unpacker =
            zstd::bulk::Decompressor::new().map_err(JournalError::io("read", path))?;
        let unpacked = unpacker.decompress(&self.raw, block.bytes);
        match unpacked {
            Ok(piece) if piece.len() == block.bytes => {
                self.piece = piece;
                self.piece_at = block.at;
                Ok(())
            }
            _ => Err(JournalError::damaged(path, block.file_at, "a block cannot be unpacked")),
        }
    }
}

/// Segments of which each is opened when it is asked for, and a few stay open: there may be more of
/// them than a process may have files.
pub struct SegmentReaders<'a> {
    segments: &'a [Arc<Segment>],
    /// Their places, the one that was asked for last at the end.
    open: Vec<(usize, SegmentReader)>,
}

impl<'a> SegmentReaders<'a> {
    /// Of these segments; none is open yet.
    pub fn of(segments: &'a [Arc<Segment>]) -> Self {
        Self { segments, open: Vec::with_capacity(OPEN_MAX) }
    }

    /// An open reader of the segment at this place; none where there is no such place.
    pub fn of_segment(&mut self, place: usize) -> Result<Option<&mut SegmentReader>, JournalError> {
        let found = self.open.iter().position(|(open, _)| *open == place);
        let reader = if let Some(found) = found {
            self.open.remove(found)
        } else {
            let Some(segment) = self.segments.get(place) else { return Ok(None) };
            if self.open.len() >= OPEN_MAX {
                self.open.remove(0);
            }
            (place, SegmentReader::open(segment)?)
        };
        self.open.push(reader);
        Ok(self.open.last_mut().map(|(_, reader)| reader))
    }
}
