//! Opening a journal after a clean end, a kill or a power cut.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::disk::{self, DiskOp};
use super::format::{FRAMES_AT, FrameHead, Link, WITHOUT_LOG, frame_in};
use super::reader::{ScannedFrame, Scanner};
use super::segment::Name;
use super::writer::{JournalWriter, create_segment, new_salt};
use super::{JournalError, Segment};
use crate::fsutil;

/// A journal that is ready.
pub struct OpenedJournal {
    /// Takes the next commits.
    pub writer: JournalWriter,
    /// All segments, oldest first; the last one is the writer's.
    pub segments: Vec<Segment>,
    /// A commit that the last process did not finish; none of it was acknowledged.
    pub torn: Option<TornTail>,
}

/// Bytes after the last complete commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

/// Opens the journal in a directory, which must exist. Reads the last segment, drops a torn tail,
/// and copies the last complete commit into a new segment that is synced when this returns. Only a
/// `new` journal may be empty.
pub fn open(dir: &Path, new: bool, segment_bytes: u64) -> Result<OpenedJournal, JournalError> {
    let (mut segments, leftovers) = chain(dir)?;
    if !leftovers.is_empty() {
        // What takes their place may have got its name a moment before the last process was killed.
        disk::make(DiskOp::SyncDir(dir)).map_err(JournalError::io("sync", dir))?;
    }
    for path in &leftovers {
        disk::make(DiskOp::Remove(path)).map_err(JournalError::io("remove", path))?;
    }
    // Once a segment may hold frames of the log, all after it may.
    let versions = segments.iter().map(|segment| segment.header.version);
    let version = versions.fold(WITHOUT_LOG, u16::max);
    let Some(last) = segments.pop() else {
        if !new {
            return Err(JournalError::damaged(dir, 0, "there is no segment in it"));
        }
        let previous = Link { first_seq: 0, length: 0 };
        let (file, segment) = create_segment(dir, version, (1, 1), previous, new_salt(), &[])?;
        let writer = JournalWriter::new(dir, file, segment.clone(), 1, 1, segment_bytes);
        return Ok(OpenedJournal { writer, segments: vec![segment], torn: None });
    };
    let tail = Tail::read(&last)?;
    // Where nothing of the last segment stays, the new one takes its name and its place.
    let replaces = tail.commit_at == FRAMES_AT;
    let previous = if replaces {
        last.header.previous
    } else {
        Link { first_seq: last.first_seq, length: tail.commit_at }
    };
    let first = (tail.commit_seq, tail.first_commit);
    let salt = new_salt();
    let frames = tail.commit_with_salt(&last, salt)?;
    let (file, segment) = create_segment(dir, version, first, previous, salt, &frames)?;
    if !replaces {
        segments.push(Segment { length: tail.commit_at, ..last });
    }
    let writer = JournalWriter::new(
        dir,
        file,
        segment.clone(),
        tail.next_commit,
        tail.next_seq,
        segment_bytes,
    );
    segments.push(segment);
    Ok(OpenedJournal { writer, segments, torn: tail.torn })
}

/// The segments in order, each with the length that its successor says, and the files whose place
/// another one has taken.
fn chain(dir: &Path) -> Result<(Vec<Segment>, Vec<PathBuf>), JournalError> {
    let mut names = Vec::new();
    let mut leftovers = Vec::new();
    for entry in fs::read_dir(dir).map_err(JournalError::io("list", dir))? {
        let entry = entry.map_err(JournalError::io("list", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(name) = Name::of(name) {
            names.push(name);
        } else if name.ends_with(".log.new") || name.ends_with(".log.zst.new") {
            // A segment that was never finished holds nothing that is not elsewhere.
            leftovers.push(entry.path());
        }
    }
    // Of those that begin alike the one that was packed most often stands for the others.
    names.sort_unstable_by_key(|name| (name.first_seq, std::cmp::Reverse(name.packings)));
    let mut segments: Vec<Segment> = Vec::with_capacity(names.len());
    for name in names {
        let covered = segments.last().is_some_and(|last| name.first_seq <= last.link().first_seq);
        if covered {
            leftovers.push(dir.join(name.file()));
            continue;
        }
        let segment = Segment::read(dir, name)?;
        if let Some(previous) = segments.last_mut() {
            follows(dir, previous, segment.header.previous)?;
        } else if segment.header.previous.first_seq != 0 {
            let missing = dir.join(Segment::file_name(segment.header.previous.first_seq));
            return Err(JournalError::damaged(&missing, 0, "this segment is missing"));
        }
        segments.push(segment);
    }
    if let Some(packed) = segments.last().filter(|last| last.packed.is_some()) {
        let reason = "the segment after this one is missing";
        return Err(JournalError::damaged(&packed.path, packed.length, reason));
    }
    Ok((segments, leftovers))
}

/// Cuts a segment to what its successor says of it.
fn follows(dir: &Path, segment: &mut Segment, says: Link) -> Result<(), JournalError> {
    let link = segment.link();
    if says.first_seq != link.first_seq {
        let missing = dir.join(Segment::file_name(says.first_seq));
        return Err(JournalError::damaged(&missing, 0, "this segment is missing"));
    }
    if segment.packed.is_some() {
        if says.length != link.length {
            let reason = format!(
                "it stands for {} bytes of its last segment where the next one says {}",
                link.length, says.length
            );
            return Err(JournalError::damaged(&segment.path, 0, reason));
        }
    } else if says.length > link.length {
        let reason = format!("the file ends here; {} bytes were written", says.length);
        return Err(JournalError::damaged(&segment.path, link.length, reason));
    } else {
        segment.length = says.length;
    }
    Ok(())
}

/// How the last segment ends.
struct Tail {
    /// Where the last complete commit begins, and where it ends.
    commit_at: u64,
    commit_end: u64,
    /// Its first sequence number and its number, or the next ones where there is none.
    commit_seq: u64,
    first_commit: u64,
    next_seq: u64,
    next_commit: u64,
    torn: Option<TornTail>,
}

impl Tail {
    fn read(segment: &Segment) -> Result<Self, JournalError> {
        let mut scanner = Scanner::new(segment)?;
        let mut tail = Self {
            commit_at: FRAMES_AT,
            commit_end: FRAMES_AT,
            commit_seq: segment.first_seq,
            first_commit: segment.header.first_commit,
            next_seq: segment.first_seq,
            next_commit: segment.header.first_commit,
            torn: None,
        };
        // The commit that is being read: where it begins and its first sequence number.
        let mut open: Option<(u64, u64)> = None;
        let mut expected_seq = segment.first_seq;
        loop {
            match scanner.find()? {
                ScannedFrame::Frame { offset, head } => {
                    let seq = scanner.frame(offset)?.seq;
                    if head.commit != tail.next_commit || seq != expected_seq {
                        let reason = "a frame out of order";
                        return Err(JournalError::damaged(&segment.path, offset, reason));
                    }
                    expected_seq = seq + 1;
                    let (begin, first_seq) = *open.get_or_insert((offset, seq));
                    if head.last {
                        tail.commit_at = begin;
                        tail.commit_end = offset + head.frame_bytes() as u64;
                        tail.commit_seq = first_seq;
                        tail.first_commit = head.commit;
                        tail.next_seq = expected_seq;
                        tail.next_commit = head.commit + 1;
                        open = None;
                    }
                }
                ScannedFrame::End if open.is_none() => return Ok(tail),
                ScannedFrame::End => break,
                ScannedFrame::Bad { offset, reason } => {
                    if later_commit_follows(segment, offset, tail.next_commit)? {
                        return Err(JournalError::damaged(&segment.path, offset, reason));
                    }
                    break;
                }
            }
        }
        let bytes = segment.length - tail.commit_end;
        tail.torn = Some(TornTail { path: segment.path.clone(), offset: tail.commit_end, bytes });
        Ok(tail)
    }

    /// The frames of the last complete commit, made to fit the salt of another segment.
    fn commit_with_salt(&self, from: &Segment, salt: u64) -> Result<Vec<u8>, JournalError> {
        let mut frames = Vec::new();
        let end = Segment { length: self.commit_end, ..from.clone() };
        let mut scanner = Scanner::new(&end)?;
        while let ScannedFrame::Frame { offset, head } = scanner.find()? {
            if offset >= self.commit_at {
                let payload = scanner.payload();
                let head = FrameHead::of(payload, salt, head.commit, head.last);
                frames.extend_from_slice(&head.bytes());
                frames.extend_from_slice(payload);
            }
        }
        Ok(frames)
    }
}

/// Whether a sound frame of a commit after `commit` stands anywhere behind `offset`.
fn later_commit_follows(segment: &Segment, offset: u64, commit: u64) -> Result<bool, JournalError> {
    let path = &segment.path;
    let file = fsutil::open(path).map_err(JournalError::io("open", path))?;
    let size = usize::try_from(segment.length - offset).unwrap_or(usize::MAX);
    let mut rest = vec![0; size];
    file.read_exact_at(&mut rest, offset).map_err(JournalError::io("read", path))?;
    // A commit number within reach is cheap to look at, so that few CRCs are computed.
    let later = (commit + 1)..=(commit + (1 << 32));
    let later_frame = |at: usize| {
        let bytes = rest.get(at..)?;
        let head = FrameHead::read(bytes.first_chunk()?).ok()?;
        let found = later.contains(&head.commit).then(|| frame_in(bytes, segment.header.salt))?;
        found.ok().flatten()
    };
    Ok((0..size).any(|at| later_frame(at).is_some()))
}
