//! A segment's bytes, checked as they pass by: on their way into a backup, and out of one.
//!
//! A copy reads a segment once, from its beginning to its end, and needs no file of its own for that. A
//! packed segment is unpacked on the way: zstd skips its header and its table.

use std::io::{self, Write};

use super::format::{
    FIRST_SEQ_AT, Frame, FrameKind, HEADER_BYTES, Link, PACKED_HEADER_BYTES, PackedHeader,
    SegmentHeader, frame_in,
};
use super::segment::Name;
use crate::domain::Timestamp;

/// Where history is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// With this sequence number.
    Seq(u64),
    /// With what was received by then.
    Time(Timestamp),
}

/// What is wrong with a file, and at which byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Bytes from the beginning of the file, or of its block where it is packed.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// Facts of a segment whose bytes have all passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The sequence number that it is named after.
    pub first_seq: u64,
    /// The sequence number of its last frame; none where it has no frames.
    pub last_seq: Option<u64>,
    /// When its first frame was received.
    pub first_at: Option<Timestamp>,
    /// When its last frame was received.
    pub last_at: Option<Timestamp>,
    pub frames: u64,
    /// What had been superseded by this sequence number is not in it; 0 where all is.
    pub whole_from: u64,
    /// Where history is to end within it.
    pub cut: Option<Truncation>,
    /// The body of the last frame that says how far a log of several machines was applied; empty where there is none, or
    /// history is to end somewhere.
    pub applied: Vec<u8>,
    pub(super) name: Name,
    pub(super) previous: Link,
    pub(super) link: Link,
}

/// The first commit that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Where it begins, before it was packed.
    pub(super) at: u64,
    /// Its first sequence number and its number.
    pub(super) first: (u64, u64),
    /// The last frame before it: its sequence number, and when it was received.
    pub kept: Option<(u64, Timestamp)>,
}

impl Truncation {
    /// The sequence number up to which everything stays.
    pub fn seq(&self) -> u64 {
        self.first.0.saturating_sub(1)
    }
}

/// Checks the bytes of one segment.
pub struct SegmentVerifier {
    name: Name,
    /// The first bytes of a packed one.
    packed_header: Vec<u8>,
    taken: u64,
    way: Way,
}

enum Way {
    Plain(Box<Frames>),
    Packed(Box<zstd::stream::write::Decoder<'static, Frames>>),
}

impl SegmentVerifier {
    /// For a file of this name; none for a name that no segment has.
    pub fn new(file: &str, until: Option<Until>) -> Option<io::Result<Self>> {
        let name = Name::of(file)?;
        let frames = Frames::new(until);
        let way = match name.packings {
            0 => Ok(Way::Plain(Box::new(frames))),
            _ => zstd::stream::write::Decoder::new(frames).map(|d| Way::Packed(Box::new(d))),
        };
        Some(way.map(|way| Self { name, packed_header: Vec::new(), taken: 0, way }))
    }

    /// The next bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let missing = PACKED_HEADER_BYTES.saturating_sub(self.packed_header.len()).min(bytes.len());
        self.packed_header.extend_from_slice(bytes.get(..missing).unwrap_or_default());
        let before = self.taken;
        self.taken += bytes.len() as u64;
        match &mut self.way {
            Way::Plain(frames) => frames.add(bytes),
            Way::Packed(unpacker) => unpacker.write_all(bytes).map_err(|error| {
                let reason = match &unpacker.get_ref().flaw {
                    Some(flaw) => flaw.reason.clone(),
                    None => format!("a block cannot be unpacked: {error}"),
                };
                Flaw { offset: before, reason }
            }),
        }
    }

    /// All bytes have passed.
    pub fn end(self) -> Result<Passed, Flaw> {
        let Self { name, packed_header, taken, way } = self;
        let at_end = |reason: &str| Flaw { offset: taken, reason: reason.to_owned() };
        let frames = match way {
            Way::Plain(frames) => *frames,
            Way::Packed(mut unpacker) => {
                unpacker.flush().map_err(|_| at_end("the last block cannot be unpacked"))?;
                unpacker.into_inner()
            }
        };
        let Some(header) = frames.header else {
            return Err(at_end("the file ends inside its header"));
        };
        if !frames.rest.is_empty() {
            let offset = if name.packings == 0 { frames.at } else { taken };
            return Err(Flaw { offset, reason: "a frame begins and does not end".to_owned() });
        }
        let mut link = Link { first_seq: header.first_seq, length: frames.at };
        let mut whole_from = 0;
        if name.packings > 0 {
            let begin = packed_header.first_chunk();
            let begin = begin.ok_or_else(|| at_end("the file ends inside its header"))?;
            let PackedHeader { length, packed, .. } = PackedHeader::read(begin)
                .map_err(|error| Flaw { offset: 0, reason: error.to_string() })?;
            if (length, packed.frames) != (frames.at, frames.count) {
                return Err(at_end("it holds other frames than its header says"));
            }
            link = packed.covers;
            if !packed.complete {
                whole_from = packed.as_of.max(frames.last.map_or(0, |last| last.seq));
            }
        }
        if header.first_seq != name.first_seq {
            let reason = "the file has another segment's name".to_owned();
            return Err(Flaw { offset: FIRST_SEQ_AT as u64, reason });
        }
        Ok(Passed {
            first_seq: header.first_seq,
            last_seq: frames.last.map(|last| last.seq),
            first_at: frames.first_at,
            last_at: frames.last.map(|last| last.at),
            frames: frames.count,
            whole_from,
            cut: frames.cut,
            applied: frames.applied,
            name,
            previous: header.previous,
            link,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Last {
    seq: u64,
    at: Timestamp,
    commit: u64,
}

/// The commit that is being read. Its last frame may be missing in a packed segment.
#[derive(Debug, Clone, Copy, Default)]
struct Commit {
    number: u64,
    at: u64,
    first_seq: u64,
    before: Option<Last>,
}

/// Takes an unpacked segment apart, in pieces of any size.
struct Frames {
    until: Option<Until>,
    /// Bytes that are not read yet, and where they begin.
    rest: Vec<u8>,
    at: u64,
    header: Option<SegmentHeader>,
    count: u64,
    first_at: Option<Timestamp>,
    last: Option<Last>,
    commit: Commit,
    cut: Option<Truncation>,
    applied: Vec<u8>,
    flaw: Option<Flaw>,
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).map_err(|flaw| {
            let error = io::Error::new(io::ErrorKind::InvalidData, flaw.reason.clone());
            self.flaw = Some(flaw);
            error
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Frames {
    fn new(until: Option<Until>) -> Self {
        Self {
            until,
            rest: Vec::new(),
            at: 0,
            header: None,
            count: 0,
            first_at: None,
            last: None,
            commit: Commit::default(),
            cut: None,
            applied: Vec::new(),
            flaw: None,
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let begun = self.at;
        loop {
            let used = usize::try_from(self.at - begun).unwrap_or(usize::MAX);
            let next = self.next(rest.get(used..).unwrap_or_default());
            match next {
                Ok(0) => {
                    rest.drain(..used);
                    self.rest = rest;
                    return Ok(());
                }
                Ok(bytes) => self.at += bytes as u64,
                Err(reason) => return Err(Flaw { offset: self.at, reason }),
            }
        }
    }

    /// Reads the header or a frame. Returns its length, 0 where it is not there whole.
    fn next(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let Some(header) = self.header else {
            let Some(bytes) = bytes.first_chunk() else { return Ok(0) };
            self.header = Some(SegmentHeader::read(bytes).map_err(|error| error.to_string())?);
            return Ok(HEADER_BYTES);
        };
        let Some((head, payload)) = frame_in(bytes, header.salt)? else { return Ok(0) };
        let frame = Frame::read(payload)?;
        let last = self.last.map(|last| (last.commit, last.seq + 1));
        if last.unwrap_or((0, header.first_seq)) > (head.commit, frame.seq) {
            return Err("a frame out of order".to_owned());
        }
        if self.count == 0 || self.commit.number != head.commit {
            let (at, number, first_seq) = (self.at, head.commit, frame.seq);
            self.commit = Commit { number, at, first_seq, before: self.last };
        }
        let after_end = match self.until {
            Some(Until::Seq(seq)) => frame.seq > seq,
            Some(Until::Time(at)) => frame.at > at,
            None => false,
        };
        if after_end && self.cut.is_none() {
            let Commit { at, number, first_seq, before } = self.commit;
            let kept = before.map(|before| (before.seq, before.at));
            self.cut = Some(Truncation { at, first: (first_seq, number), kept });
        }
        if frame.kind == FrameKind::Applied && self.until.is_none() {
            self.applied.clear();
            self.applied.extend_from_slice(frame.body);
        }
        self.last = Some(Last { seq: frame.seq, at: frame.at, commit: head.commit });
        self.first_at = self.first_at.or(Some(frame.at));
        self.count += 1;
        Ok(head.frame_bytes())
    }
}
