//! Reading frames, one after the other.

use super::frame::{Frame, HEAD_BYTES, Head};
use super::reader::SegmentReader;
use super::segment::HEADER_BYTES;
use super::{JournalError, Segment};

/// Reads a segment's frames one after the other, in bounded memory.
pub struct Scanner {
    reader: SegmentReader,
    offset: u64,
    payload: Vec<u8>,
}

/// A frame as the scanner finds it.
pub(super) enum ScannedFrame {
    /// A frame that fits its CRC; where it begins, and its head.
    Frame { offset: u64, head: Head },
    /// Bytes that are no frame.
    Bad { offset: u64, reason: &'static str },
    /// The end of what counts.
    End,
}

impl Scanner {
    /// Begins with the first frame; reads up to the segment's length.
    pub fn new(segment: &Segment) -> Result<Self, JournalError> {
        Self::resume(segment, HEADER_BYTES)
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
                Err(JournalError::damaged(&self.reader.segment().path, offset, reason))
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
            .map_err(|reason| JournalError::damaged(&self.reader.segment().path, offset, reason))
    }

    /// The payload that was found last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn find(&mut self) -> Result<ScannedFrame, JournalError> {
        let offset = self.offset;
        let left = self.reader.segment().length.saturating_sub(offset);
        if left == 0 {
            return Ok(ScannedFrame::End);
        }
        let bad = |reason| Ok(ScannedFrame::Bad { offset, reason });
        if left < HEAD_BYTES as u64 {
            return bad("a frame begins and does not end");
        }
        let mut head = [0; HEAD_BYTES];
        self.reader.read_on(offset, &mut head)?;
        let Some(head) = Head::read(&head) else {
            return bad("a length that no frame has");
        };
        if left - (HEAD_BYTES as u64) < head.length as u64 {
            return bad("a frame begins and does not end");
        }
        self.payload.resize(head.length, 0);
        self.reader.read_on(offset + HEAD_BYTES as u64, &mut self.payload)?;
        if !head.fits(&self.payload, self.reader.segment().salt) {
            return bad("a frame does not fit its checksum");
        }
        self.offset += (HEAD_BYTES + head.length) as u64;
        Ok(ScannedFrame::Frame { offset, head })
    }
}
