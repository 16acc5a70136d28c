//! Reading frames.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

use super::frame::{Frame, HEAD_BYTES, Head};
use super::segment::HEADER_BYTES;
use super::{JournalError, Segment};

/// Reads a segment's frames one after the other, in bounded memory.
pub struct Scanner {
    segment: Segment,
    input: BufReader<File>,
    offset: u64,
    payload: Vec<u8>,
}

/// A frame as the scanner finds it.
pub(super) enum Found {
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
        let path = &segment.path;
        let mut file = File::open(path).map_err(JournalError::io("open", path))?;
        let size = file.metadata().map_err(JournalError::io("read", path))?.len();
        if size < segment.length {
            return Err(JournalError::damaged(
                path,
                size,
                format!("the file ends here; {} bytes were written", segment.length),
            ));
        }
        file.seek(SeekFrom::Start(HEADER_BYTES)).map_err(JournalError::io("read", path))?;
        Ok(Self {
            segment: segment.clone(),
            input: BufReader::with_capacity(256 * 1024, file),
            offset: HEADER_BYTES,
            payload: Vec::new(),
        })
    }

    /// Goes on with the frame that begins at `offset`, as an earlier scanner's [`Self::offset`] said
    /// it. The segment may have grown since.
    pub fn resume(segment: &Segment, offset: u64) -> Result<Self, JournalError> {
        let mut scanner = Self::new(segment)?;
        let sought = scanner.input.seek(SeekFrom::Start(offset));
        sought.map_err(JournalError::io("read", &segment.path))?;
        scanner.offset = offset;
        Ok(scanner)
    }

    /// Where the next frame begins, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame and where it begins, or none at the end. A frame that is not sound is
    /// damage: what counts of a segment has been synced.
    pub fn next_frame(&mut self) -> Result<Option<(u64, Frame<'_>)>, JournalError> {
        match self.find()? {
            Found::End => Ok(None),
            Found::Bad { offset, reason } => {
                Err(JournalError::damaged(&self.segment.path, offset, reason))
            }
            Found::Frame { offset, .. } => {
                let frame = self.frame(offset)?;
                Ok(Some((offset, frame)))
            }
        }
    }

    /// The frame that was found last.
    pub(super) fn frame(&self, offset: u64) -> Result<Frame<'_>, JournalError> {
        Frame::read(&self.payload)
            .map_err(|reason| JournalError::damaged(&self.segment.path, offset, reason))
    }

    /// The payload that was found last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn find(&mut self) -> Result<Found, JournalError> {
        let offset = self.offset;
        let left = self.segment.length.saturating_sub(offset);
        if left == 0 {
            return Ok(Found::End);
        }
        let bad = |reason| Ok(Found::Bad { offset, reason });
        if left < HEAD_BYTES as u64 {
            return bad("a frame begins and does not end");
        }
        let mut head = [0; HEAD_BYTES];
        let path = &self.segment.path;
        self.input.read_exact(&mut head).map_err(JournalError::io("read", path))?;
        let Some(head) = Head::read(&head) else {
            return bad("a length that no frame has");
        };
        if left - (HEAD_BYTES as u64) < head.length as u64 {
            return bad("a frame begins and does not end");
        }
        self.payload.resize(head.length, 0);
        self.input.read_exact(&mut self.payload).map_err(JournalError::io("read", path))?;
        if !head.fits(&self.payload, self.segment.salt) {
            return bad("a frame does not fit its checksum");
        }
        self.offset += (HEAD_BYTES + head.length) as u64;
        Ok(Found::Frame { offset, head })
    }
}

/// Reads the one frame that begins at `offset` into `payload` and returns it.
pub fn read_at<'a>(
    segment: &Segment,
    file: &File,
    offset: u64,
    payload: &'a mut Vec<u8>,
) -> Result<Frame<'a>, JournalError> {
    let path = &segment.path;
    let damaged = |reason: &str| JournalError::damaged(path, offset, reason);
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, offset).map_err(JournalError::io("read", path))?;
    let head = Head::read(&head).ok_or_else(|| damaged("a length that no frame has"))?;
    payload.resize(head.length, 0);
    file.read_exact_at(payload, offset + HEAD_BYTES as u64)
        .map_err(JournalError::io("read", path))?;
    if !head.fits(payload, segment.salt) {
        return Err(damaged("a frame does not fit its checksum"));
    }
    Frame::read(payload).map_err(|reason| damaged(&reason))
}
