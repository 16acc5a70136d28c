//! Reading a segment, packed or not. Offsets are those of the unpacked segment.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::format::{FRAME_HEAD_BYTES, FRAMES_AT, Frame, FrameHead};
use super::{JournalError, Segment};
use crate::fsutil;

/// Bytes that are read at a time where a segment is read from its beginning.
const AHEAD_BYTES: usize = 256 * 1024;

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
        let file = fsutil::open(path).map_err(JournalError::io("open", path))?;
        let size = file.metadata().map_err(JournalError::io("read", path))?.len();
        if size < segment.disk_bytes() {
            let reason = format!("the file ends here; {} bytes were written", segment.disk_bytes());
            return Err(JournalError::damaged(path, size, reason));
        }
        let segment = segment.clone();
        Ok(Self { segment, file, piece: Vec::new(), piece_at: 0, raw: Vec::new() })
    }

    /// Reads the frame that begins at `offset` and ends by `end`; its payload is left in `payload`.
    /// The inner error says why there is no frame.
    fn find(
        &mut self,
        offset: u64,
        end: u64,
        payload: &mut Vec<u8>,
    ) -> Result<Result<FrameHead, &'static str>, JournalError> {
        let left = end.saturating_sub(offset);
        if left < FRAME_HEAD_BYTES as u64 {
            return Ok(Err("a frame begins and does not end"));
        }
        let mut head = [0; FRAME_HEAD_BYTES];
        self.read(offset, &mut head)?;
        let head = match FrameHead::read(&head) {
            Ok(head) if left < head.frame_bytes() as u64 => {
                return Ok(Err("a frame begins and does not end"));
            }
            Ok(head) => head,
            Err(reason) => return Ok(Err(reason)),
        };
        payload.resize(head.length, 0);
        self.read(offset + FRAME_HEAD_BYTES as u64, payload)?;
        Ok(head.check(payload, self.segment.header.salt).map(|()| head))
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<(), JournalError> {
        let mut filled = 0;
        while filled < out.len() {
            let at = offset + filled as u64;
            let rest = out.get_mut(filled..).unwrap_or_default();
            let have = at
                .checked_sub(self.piece_at)
                .and_then(|skip| self.piece.get(usize::try_from(skip).ok()?..))
                .unwrap_or_default();
            if have.is_empty() {
                self.load(at)?;
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

    /// Loads the piece that this byte lies in.
    fn load(&mut self, at: u64) -> Result<(), JournalError> {
        let path = &self.segment.path;
        let ends_here = || JournalError::damaged(path, at, "the segment ends here");
        if self.segment.packed.is_none() {
            let left = usize::try_from(self.segment.length.saturating_sub(at));
            self.piece.resize(left.unwrap_or(usize::MAX).min(AHEAD_BYTES), 0);
            if self.piece.is_empty() {
                return Err(ends_here());
            }
            self.piece_at = at;
            let read = self.file.read_exact_at(&mut self.piece, at);
            return read.map_err(|error| {
                self.piece.clear();
                JournalError::io("read", &self.segment.path)(error)
            });
        }
        let block = self.segment.block(at).ok_or_else(ends_here)?;
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

/// Reads a segment's frames one after the other, in bounded memory.
pub struct Scanner {
    reader: SegmentReader,
    offset: u64,
    payload: Vec<u8>,
}

/// A frame as the scanner finds it.
pub(super) enum ScannedFrame {
    /// A frame that fits its CRC; where it begins, and its head.
    Frame { offset: u64, head: FrameHead },
    /// Bytes that are no frame.
    Bad { offset: u64, reason: &'static str },
    /// The end of what counts.
    End,
}

impl Scanner {
    /// Begins with the first frame; reads up to the segment's length.
    pub fn new(segment: &Segment) -> Result<Self, JournalError> {
        Self::resume(segment, FRAMES_AT)
    }

    /// Goes on with the frame that begins at `offset`, as an earlier scanner's [`Self::offset`] said
    /// it. The segment may have grown since.
    pub fn resume(segment: &Segment, offset: u64) -> Result<Self, JournalError> {
        Ok(Self { reader: SegmentReader::open(segment)?, offset, payload: Vec::new() })
    }

    /// Where the next frame begins, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame and where it begins, or none at the end. A frame that is not sound is
    /// damage: what counts of a segment has been synced.
    pub fn next_frame(&mut self) -> Result<Option<(u64, Frame<'_>)>, JournalError> {
        match self.find()? {
            ScannedFrame::End => Ok(None),
            ScannedFrame::Bad { offset, reason } => {
                Err(JournalError::damaged(&self.reader.segment.path, offset, reason))
            }
            ScannedFrame::Frame { offset, .. } => {
                let frame = self.frame(offset)?;
                Ok(Some((offset, frame)))
            }
        }
    }

    /// The frame that was found last.
    pub(super) fn frame(&self, offset: u64) -> Result<Frame<'_>, JournalError> {
        Frame::read(&self.payload)
            .map_err(|reason| JournalError::damaged(&self.reader.segment.path, offset, reason))
    }

    /// The payload that was found last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn find(&mut self) -> Result<ScannedFrame, JournalError> {
        let (offset, end) = (self.offset, self.reader.segment.length);
        if offset >= end {
            return Ok(ScannedFrame::End);
        }
        Ok(match self.reader.find(offset, end, &mut self.payload)? {
            Ok(head) => {
                self.offset += head.frame_bytes() as u64;
                ScannedFrame::Frame { offset, head }
            }
            Err(reason) => ScannedFrame::Bad { offset, reason },
        })
    }
}
