//! Packed segments: what stays of a run of segments, in one compressed file.
//!
//! A packed segment stands for all segments from its own first sequence number to the *covered* one;
//! the next segment names that as its predecessor.
//!
//! **What a crash leaves.** A packed segment gets its name once it is whole and synced; the run that
//! it stands for is unlinked after that. Files that a packed segment covers are leftovers, which the
//! next start removes. A name is never used for other bytes: packing again counts up the number in
//! it, so that a reader that has a segment open or is about to open it finds what it expects.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{self, DiskOp};
use super::format::{
    Frame, FrameHead, FrameKind, PACKED_HEADER_BYTES, Packed, PackedHeader, SegmentHeader,
    WITHOUT_LOG, write_table,
};
use super::reader::{ScannedFrame, Scanner};
use super::segment::Name;
use super::writer::new_salt;
use super::{JournalError, Segment};
use crate::domain::Timestamp;

/// Bytes of a block, unpacked. Larger ones pack better and cost more for a single record.
const BLOCK_BYTES: usize = 64 * 1024;
/// Level 6 takes three to six times as long, and leaves a fiftieth less at most.
const LEVEL: i32 = 3;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameDecision {
    /// It stays.
    Keep,
    /// A later frame says more of the same thing.
    Superseded,
    /// It goes, and nothing later speaks of its call.
    Forget,
}

/// What the caller of [`pack`] says of the packed segment.
#[derive(Debug, Clone, Copy)]
pub struct PackedStamp {
    /// See [`Packed::as_of`].
    pub as_of: u64,
    /// See [`Packed::erased_until`].
    pub erased_until: u64,
    /// Up to when it has been cleared: now, or the time that the log has reached.
    pub at: Timestamp,
}

/// Writes the blocks of a packed segment.
struct Packer {
    file: File,
    compressor: zstd::bulk::Compressor<'static>,
    block: Vec<u8>,
    /// Packed and unpacked bytes of each block.
    blocks: Vec<(usize, usize)>,
    file_bytes: u64,
}

impl Packer {
    /// The header is written last.
    fn new(path: &Path) -> io::Result<Self> {
        let file = disk::create(path)?;
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        let (block, blocks) = (Vec::new(), Vec::new());
        let mut packer = Self { file, compressor, block, blocks, file_bytes: 0 };
        packer.write(&[0; PACKED_HEADER_BYTES])?;
        Ok(packer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        disk::make(DiskOp::Write(&self.file, self.file_bytes, bytes))?;
        self.file_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Says whether a block went to the file.
    fn add(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.block.extend_from_slice(bytes);
        let full = self.block.len() >= BLOCK_BYTES;
        if full {
            self.end_block()?;
        }
        Ok(full)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = self.compressor.compress(&self.block)?;
        self.write(&packed)?;
        self.blocks.push((packed.len(), self.block.len()));
        self.block.clear();
        Ok(())
    }

    /// Writes the table, and the header at the beginning.
    fn end(mut self, segment: SegmentHeader, packed: Packed) -> io::Result<File> {
        self.end_block()?;
        let (table, table_crc) = write_table(&self.blocks);
        self.write(&table)?;
        let length = self.blocks.iter().map(|(_, bytes)| *bytes as u64).sum();
        let header = PackedHeader { segment, length, packed, table_crc };
        disk::make(DiskOp::Write(&self.file, 0, &header.bytes()))?;
        Ok(self.file)
    }
}

/// Packs a run of neighbouring segments into one, which is on disk and has been read back when this
/// returns. The run itself is untouched: the caller removes it once it is not read any more.
/// `decision` decides about every frame; `pace` is called after each block, and may end the work.
///
/// # Errors
/// None of the run's frames are lost by any, and nothing is left of what was written.
pub fn pack<E: From<JournalError>>(
    run: &[Arc<Segment>],
    stamp: PackedStamp,
    decision: impl FnMut(&Frame<'_>) -> Result<FrameDecision, E>,
    pace: impl FnMut() -> Result<(), E>,
) -> Result<Segment, E> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        let reason = "no segments to pack".to_owned();
        return Err(JournalError::Failed { reason }.into());
    };
    let packings = run.iter().map(|segment| segment.packings).max().unwrap_or(0) + 1;
    let name = Name { first_seq: first.first_seq, packings };
    let unfinished = first.path.with_file_name(format!("{}.new", name.file()));
    write_packed(&unfinished, name, (run, first, last), stamp, decision, pace).inspect_err(|_| {
        // It takes space that the next try needs.
        if unfinished.exists() {
            let _until_the_next_start = disk::make(DiskOp::Remove(&unfinished));
        }
    })
}

fn write_packed<E: From<JournalError>>(
    unfinished: &Path,
    name: Name,
    (run, first, last): (&[Arc<Segment>], &Segment, &Segment),
    stamp: PackedStamp,
    mut decision: impl FnMut(&Frame<'_>) -> Result<FrameDecision, E>,
    mut pace: impl FnMut() -> Result<(), E>,
) -> Result<Segment, E> {
    let path = first.path.with_file_name(name.file());
    let versions = run.iter().map(|segment| segment.header.version);
    let version = versions.fold(WITHOUT_LOG, u16::max);
    let header = SegmentHeader { version, salt: new_salt(), ..first.header };
    let old = run.iter().filter_map(|segment| segment.packed.as_ref());
    let mut packed = Packed {
        covers: last.link(),
        frames: 0,
        positions: 0,
        calls: 0,
        as_of: stamp.as_of,
        erased_until: stamp.erased_until,
        forgotten: old.clone().map(|packed| packed.forgotten).max().unwrap_or(0),
        at: stamp.at,
        complete: old.clone().all(|packed| packed.complete),
    };
    let io = |action| JournalError::io(action, unfinished);
    let mut packer = Packer::new(unfinished).map_err(io("write"))?;
    packer.add(&header.bytes()).map_err(io("write"))?;
    for source in run {
        let mut scanner = Scanner::new(source)?;
        while let ScannedFrame::Frame { offset, head } = sound(source, scanner.find()?)? {
            let frame = scanner.frame(offset)?;
            let decision = decision(&frame)?;
            if decision != FrameDecision::Keep {
                packed.complete &= matches!(
                    frame.kind,
                    FrameKind::Checkpoint
                        | FrameKind::Outbox
                        | FrameKind::Applied
                        | FrameKind::Kept
                );
                if decision == FrameDecision::Forget {
                    packed.forgotten = packed.forgotten.max(frame.seq);
                }
                continue;
            }
            let kind = frame.kind;
            let payload = scanner.payload();
            let head = FrameHead::of(payload, header.salt, head.commit, head.last);
            packer.add(&head.bytes()).map_err(io("write"))?;
            packed.frames += 1;
            packed.positions += u64::from(kind == FrameKind::Applied);
            packed.calls += u64::from(matches!(
                kind,
                FrameKind::Record | FrameKind::Tombstone | FrameKind::Part
            ));
            if packer.add(payload).map_err(io("write"))? {
                pace()?;
            }
        }
    }
    let frames = packed.frames;
    let file = packer.end(header, packed).map_err(io("write"))?;
    disk::make(DiskOp::Sync(&file)).map_err(io("sync"))?;
    verify(unfinished, name.packings, frames)?;
    disk::make(DiskOp::Rename(unfinished, &path)).map_err(io("rename"))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let synced = disk::make(DiskOp::SyncDir(dir)).map_err(JournalError::io("sync", dir));
    let settled = synced.and_then(|()| Segment::read_as(&path, name.packings));
    if settled.is_err() {
        // Its run goes on being collected without it. Were it found by the next start, it would bring
        // back what had left the run since.
        let _stays = disk::make(DiskOp::Remove(&path));
    }
    Ok(settled?)
}

fn sound(segment: &Segment, found: ScannedFrame) -> Result<ScannedFrame, JournalError> {
    match found {
        ScannedFrame::Bad { offset, reason } => {
            Err(JournalError::damaged(&segment.path, offset, reason))
        }
        found => Ok(found),
    }
}

/// Reads a packed segment back: every block, every frame, and their number.
fn verify(path: &Path, packings: u32, frames: u64) -> Result<(), JournalError> {
    let segment = Segment::read_as(path, packings)?;
    let mut scanner = Scanner::new(&segment)?;
    let mut found = 0;
    while scanner.next_frame()?.is_some() {
        found += 1;
    }
    if found != frames {
        let reason = format!("{found} frames are in it where {frames} were written");
        return Err(JournalError::damaged(path, 0, reason));
    }
    Ok(())
}
