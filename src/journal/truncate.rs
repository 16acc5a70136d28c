//! A journal in a directory that is not in use: whether its segments are a chain, and an earlier end.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use super::JournalError;
use super::format::{Link, WITHOUT_LOG};
use super::segment::Segment;
use super::verify::Passed;
use super::writer::{create_segment, new_salt};
use crate::domain::Timestamp;
use crate::fsutil;

/// Segments that follow each other.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    last: Option<(Link, bool)>,
    /// Segments so far.
    pub segments: u64,
    /// Frames in them.
    pub frames: u64,
    /// The last sequence number, 0 where there is none.
    pub last_seq: u64,
    /// When that was received.
    pub last_at: Option<Timestamp>,
    /// Earlier states of calls than at this sequence number may be missing.
    pub whole_from: u64,
}

impl Chain {
    /// Adds the next segment, or says why it is not the next one.
    pub fn add(&mut self, passed: &Passed) -> Result<(), String> {
        let Link { first_seq, length } = passed.previous;
        match self.last {
            None if first_seq == 0 => {}
            Some((last, _)) if last == passed.previous => {}
            Some((last, _)) if last.first_seq == first_seq => {
                return Err(format!(
                    "it says that the segment before it has {length} bytes, and that has {}",
                    last.length
                ));
            }
            _ => {
                let missing = Segment::file_name(first_seq);
                return Err(format!("the segment before it, {missing}, is missing"));
            }
        }
        self.last = Some((passed.link, passed.name.packings > 0));
        self.segments += 1;
        self.frames += passed.frames;
        self.last_seq = passed.last_seq.unwrap_or(self.last_seq);
        self.last_at = passed.last_at.or(self.last_at);
        self.whole_from = self.whole_from.max(passed.whole_from);
        Ok(())
    }

    /// Whether a journal may end so, or why not.
    pub fn end(&self) -> Result<(), &'static str> {
        match self.last {
            None => Err("it has no journal segment"),
            Some((_, true)) => Err("the last segment of its journal is missing"),
            Some((_, false)) => Ok(()),
        }
    }
}

/// Ends the journal in a directory where this segment has its cut. Later segments are not there. Everything is on disk when this returns.
///
/// What stays becomes a segment that is not packed, and a new one after it takes the next commits:
/// what was packed has gaps, and the last segment of a journal may have none.
pub fn cut(dir: &Path, passed: &Passed) -> Result<(), JournalError> {
    let Some(cut) = passed.cut else { return Ok(()) };
    let path = dir.join(passed.name.file());
    let plain = dir.join(Segment::file_name(passed.first_seq));
    if cut.kept.is_none() {
        fs::remove_file(&path).map_err(JournalError::io("remove", &path))?;
    } else if passed.name.packings == 0 {
        let set = fsutil::open_to_write(&path).and_then(|file| {
            file.set_len(cut.at)?;
            file.sync_all()
        });
        set.map_err(JournalError::io("cut", &path))?;
    } else {
        unpack(&path, &plain, cut.at).map_err(JournalError::io("unpack", &path))?;
        fs::remove_file(&path).map_err(JournalError::io("remove", &path))?;
    }
    let previous = match cut.kept {
        Some(_) => Link { first_seq: passed.first_seq, length: cut.at },
        None => passed.previous,
    };
    create_segment(dir, WITHOUT_LOG, cut.first, previous, new_salt(), &[]).map(|_| ())
}

fn unpack(packed: &Path, plain: &Path, bytes: u64) -> io::Result<()> {
    let unpacker = zstd::stream::read::Decoder::new(fsutil::open(packed)?)?;
    let mut to = fsutil::create(plain)?;
    if io::copy(&mut unpacker.take(bytes), &mut to)? != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    to.sync_all()
}
