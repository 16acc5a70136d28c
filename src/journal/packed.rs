//! Packed segments: what stays of a run of segments, in one compressed file.
//!
//! The file is in the *seekable format* of zstd: blocks that can be unpacked one by one, and a table
//! of them at the end. Before them stands a frame that zstd skips, with what is known of the whole:
//!
//! ```text
//! skipped  0x184D2A50 · length u32 · magic 8 · version u16 · complete u8 · 0 u8 · crc32c u32
//!          · first seq · salt · first commit · previous first seq · previous length
//!          · covered first seq · covered length · length · frames · calls · as of seq · erased until seq
//!          · forgotten seq · time (ms)                         (u64 each) · table's crc32c u32
//! blocks   zstd frames; unpacked and joined they are a segment as it is written at first
//! table    0x184D2A5E · length u32 · (packed bytes u32 · bytes u32)… · count u32 · 0 u8
//!          · 0x8F92EAB1
//! ```
//!
//! `zstd -d` makes a readable segment of it. A packed segment stands for all segments from its own
//! first sequence number to the *covered* one; the next segment names that as its predecessor.
//!
//! **What a crash leaves.** A packed segment gets its name once it is whole and synced; the run that
//! it stands for is unlinked after that. Whatever a packed segment covers is a leftover, which the
//! next start removes. A name is never used for other bytes: packing again counts up the number in
//! it, so that whoever has a segment open or is about to open it meets what it expects.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::disk::{self, DiskOp};
use super::frame::{Frame, FrameKind, Head, u16_at, u32_at, u64_at};
use super::scan::{ScannedFrame, Scanner};
use super::segment::{Link, MAGIC, Name};
use super::writer::new_salt;
use super::{JournalError, Segment};
use crate::domain::Timestamp;
use crate::files;

/// As that of a segment that is not packed.
pub(super) const VERSION: u16 = 2;
const SKIPPED_MAGIC: u32 = 0x184D_2A50;
const TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Bytes of the first frame, with its head of 8.
pub(super) const FACTS_SIZE: usize = 8 + FACTS_LENGTH as usize;
/// What the first frame says of its own length.
const FACTS_LENGTH: u32 = 16 + 14 * 8 + 4;
/// Bytes of a block before it is packed. Larger ones pack better and cost more for a single record.
const BLOCK_BYTES: usize = 64 * 1024;
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
const LEVEL: i32 = 6;

/// What is known of a packed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub(super) packings: u32,
    pub(super) covers: Link,
    /// Frames in it.
    pub frames: u64,
    /// Records and deletions among them.
    pub calls: u64,
    /// What had been superseded or erased by this sequence number is not in it.
    pub as_of: u64,
    /// Deletions up to this sequence number have left it, where they were old enough.
    pub erased_until: u64,
    /// The last change that is gone without a later one of the same call: whoever has not heard of
    /// it will not.
    pub forgotten: u64,
    /// When it was packed.
    pub at: Timestamp,
    /// Nothing but checkpoints was left out.
    pub complete: bool,
    blocks: Arc<[PackedBlock]>,
    file_bytes: u64,
}

/// One compressed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedBlock {
    /// Where it begins, before it was packed.
    pub at: u64,
    pub bytes: usize,
    pub file_at: u64,
    pub packed_bytes: usize,
}

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

/// What is said of a packed segment by whoever packs it.
#[derive(Debug, Clone, Copy)]
pub struct PackedStamp {
    /// See [`Packed::as_of`].
    pub as_of: u64,
    /// See [`Packed::erased_until`].
    pub erased_until: u64,
    /// Now.
    pub at: Timestamp,
}

impl Packed {
    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The block that this place lies in.
    pub(super) fn block(&self, at: u64) -> Option<PackedBlock> {
        let next = self.blocks.partition_point(|block| block.at <= at);
        let block = *self.blocks.get(next.checked_sub(1)?)?;
        (at < block.at + block.bytes as u64).then_some(block)
    }

    /// Reads what stands before and after the blocks.
    pub(super) fn read(path: &Path, packings: u32) -> Result<Segment, JournalError> {
        let io = |action| JournalError::io(action, path);
        let mut file = files::open(path).map_err(io("open"))?;
        let file_bytes = file.metadata().map_err(io("read"))?.len();
        let mut facts = [0; FACTS_SIZE];
        if file_bytes < FACTS_SIZE as u64 {
            let reason = "the file ends inside its header";
            return Err(JournalError::damaged(path, file_bytes, reason));
        }
        file.read_exact(&mut facts).map_err(io("read"))?;
        let damaged = |reason: &str| Err(JournalError::damaged(path, 0, reason));
        if u32_at(&facts, 0) != SKIPPED_MAGIC || facts.get(8..16) != Some(MAGIC) {
            return damaged("not a packed journal segment");
        }
        let version = u16_at(&facts, 16);
        if version > VERSION {
            return Err(JournalError::Newer { path: path.to_owned(), version });
        }
        if u32_at(&facts, 20) != facts_crc(&facts) {
            return damaged("the header does not fit its checksum");
        }
        let number = |place: usize| u64_at(&facts, 24 + place * 8);
        let table = read_table(&mut file, file_bytes).map_err(io("read"))?;
        let length = number(7);
        let table = table.filter(|table| crc32c::crc32c(table) == u32_at(&facts, FACTS_SIZE - 4));
        let Some(blocks) = table.and_then(|table| blocks_of(&table, file_bytes, length)) else {
            return Err(JournalError::damaged(path, file_bytes, "the table of blocks is damaged"));
        };
        let Some(at) = Timestamp::from_millis(number(13)) else {
            return damaged("a time out of range");
        };
        let packed = Self {
            packings,
            covers: Link { first_seq: number(5), length: number(6) },
            frames: number(8),
            calls: number(9),
            as_of: number(10),
            erased_until: number(11),
            forgotten: number(12),
            at,
            complete: facts.get(18) == Some(&1),
            blocks,
            file_bytes,
        };
        Ok(Segment {
            path: path.to_owned(),
            first_seq: number(0),
            length,
            salt: number(1),
            first_commit: number(2),
            previous: Link { first_seq: number(3), length: number(4) },
            packed: Some(packed),
        })
    }
}

fn facts_of(segment: &Segment, packed: &Packed, table: &[u8]) -> [u8; FACTS_SIZE] {
    let mut facts = [0; FACTS_SIZE];
    let numbers = [
        segment.first_seq,
        segment.salt,
        segment.first_commit,
        segment.previous.first_seq,
        segment.previous.length,
        packed.covers.first_seq,
        packed.covers.length,
        segment.length,
        packed.frames,
        packed.calls,
        packed.as_of,
        packed.erased_until,
        packed.forgotten,
        packed.at.millis(),
    ];
    facts[..4].copy_from_slice(&SKIPPED_MAGIC.to_le_bytes());
    facts[4..8].copy_from_slice(&FACTS_LENGTH.to_le_bytes());
    facts[8..16].copy_from_slice(MAGIC);
    facts[16..18].copy_from_slice(&VERSION.to_le_bytes());
    facts[18] = u8::from(packed.complete);
    let places = facts[24..].chunks_exact_mut(8);
    places.zip(numbers).for_each(|(place, number)| place.copy_from_slice(&number.to_le_bytes()));
    facts[FACTS_SIZE - 4..].copy_from_slice(&crc32c::crc32c(table).to_le_bytes());
    let crc = facts_crc(&facts);
    facts[20..24].copy_from_slice(&crc.to_le_bytes());
    facts
}

/// Of everything but the CRC itself.
pub(super) fn facts_crc(facts: &[u8; FACTS_SIZE]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&facts[..20]), &facts[24..])
}

/// The table at the end of a file, without the two numbers before it; none where there is none.
fn read_table(file: &mut File, file_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut end = [0; 9];
    if file_bytes < (FACTS_SIZE + 8 + 9) as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut end, file_bytes - 9)?;
    let bytes = u64::from(u32_at(&end, 0)) * 8 + 9;
    let begin = file_bytes.checked_sub(bytes + 8).filter(|begin| *begin >= FACTS_SIZE as u64);
    let (Some(begin), SEEKABLE_MAGIC) = (begin, u32_at(&end, 5)) else { return Ok(None) };
    file.seek(SeekFrom::Start(begin))?;
    let mut head = [0; 8];
    file.read_exact(&mut head)?;
    if u32_at(&head, 0) != TABLE_MAGIC || u64::from(u32_at(&head, 4)) != bytes {
        return Ok(None);
    }
    let mut table = Vec::new();
    file.take(bytes).read_to_end(&mut table)?;
    Ok(Some(table))
}

/// The blocks of a table, where they fill the file and have so many bytes in all.
fn blocks_of(table: &[u8], file_bytes: u64, length: u64) -> Option<Arc<[PackedBlock]>> {
    let (entries, _) = table.split_at_checked(table.len().checked_sub(9)?)?;
    let (mut at, mut file_at) = (0, FACTS_SIZE as u64);
    let mut blocks = Vec::with_capacity(entries.len() / 8);
    for entry in entries.chunks_exact(8) {
        let packed_bytes = usize::try_from(u32_at(entry, 0)).ok()?;
        let bytes = usize::try_from(u32_at(entry, 4)).ok()?;
        if bytes == 0 || bytes > BLOCK_BYTES_MAX || packed_bytes > 2 * BLOCK_BYTES_MAX {
            return None;
        }
        blocks.push(PackedBlock { at, bytes, file_at, packed_bytes });
        at += bytes as u64;
        file_at += packed_bytes as u64;
    }
    let fits = at == length && file_at + 8 + table.len() as u64 == file_bytes;
    fits.then(|| blocks.into())
}

/// Writes the blocks of a packed segment.
struct Packer {
    file: File,
    compressor: zstd::bulk::Compressor<'static>,
    block: Vec<u8>,
    table: Vec<u8>,
    length: u64,
    file_bytes: u64,
}

impl Packer {
    fn new(path: &Path) -> io::Result<Self> {
        let file = disk::create(path)?;
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        let (block, table, length, file_bytes) = (Vec::new(), Vec::new(), 0, 0);
        let mut packer = Self { file, compressor, block, table, length, file_bytes };
        packer.write(&[0; FACTS_SIZE])?;
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
        let four = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
        self.table.extend_from_slice(&four(packed.len()));
        self.table.extend_from_slice(&four(self.block.len()));
        self.length += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    /// Writes the table. Returns the file, and the table as its checksum is made.
    fn end(mut self) -> io::Result<(File, Vec<u8>, u64)> {
        self.end_block()?;
        let mut table = std::mem::take(&mut self.table);
        let count = u32::try_from(table.len() / 8).unwrap_or(u32::MAX);
        table.extend_from_slice(&count.to_le_bytes());
        table.push(0);
        table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
        let bytes = u32::try_from(table.len()).map_err(io::Error::other)?;
        self.write(&TABLE_MAGIC.to_le_bytes())?;
        self.write(&bytes.to_le_bytes())?;
        self.write(&table)?;
        Ok((self.file, table, self.length))
    }
}

/// Packs a run of neighbouring segments into one, which is on disk and has been read back when this
/// returns. The run itself is untouched: whoever holds it removes it once nobody reads it any more.
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
    let Some(first) = run.first() else {
        let reason = "no segments to pack".to_owned();
        return Err(JournalError::Failed { reason }.into());
    };
    let of = |segment: &Arc<Segment>| segment.packed.as_ref().map_or(0, |packed| packed.packings);
    let packings = run.iter().map(of).max().unwrap_or(0) + 1;
    let name = Name { first_seq: first.first_seq, packings };
    let unfinished = first.path.with_file_name(format!("{}.new", name.file()));
    packed_to(&unfinished, name, run, stamp, decision, pace).inspect_err(|_| {
        // It takes the room that whoever tries again needs.
        if unfinished.exists() {
            let _until_the_next_start = disk::make(DiskOp::Remove(&unfinished));
        }
    })
}

fn packed_to<E: From<JournalError>>(
    unfinished: &Path,
    name: Name,
    run: &[Arc<Segment>],
    stamp: PackedStamp,
    mut decision: impl FnMut(&Frame<'_>) -> Result<FrameDecision, E>,
    mut pace: impl FnMut() -> Result<(), E>,
) -> Result<Segment, E> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        let reason = "no segments to pack".to_owned();
        return Err(JournalError::Failed { reason }.into());
    };
    let packings = name.packings;
    let path = first.path.with_file_name(name.file());
    let mut segment =
        Segment { path: path.clone(), salt: new_salt(), packed: None, ..Segment::clone(first) };
    let old = run.iter().filter_map(|segment| segment.packed.as_ref());
    let mut packed = Packed {
        packings,
        covers: last.link(),
        frames: 0,
        calls: 0,
        as_of: stamp.as_of,
        erased_until: stamp.erased_until,
        forgotten: old.clone().map(|packed| packed.forgotten).max().unwrap_or(0),
        at: stamp.at,
        complete: old.clone().all(|packed| packed.complete),
        blocks: Arc::default(),
        file_bytes: 0,
    };
    let io = |action| JournalError::io(action, unfinished);
    let mut packer = Packer::new(unfinished).map_err(io("write"))?;
    packer.add(&segment.header()).map_err(io("write"))?;
    for source in run {
        let mut scanner = Scanner::new(source)?;
        while let ScannedFrame::Frame { offset, head } = sound(source, scanner.find()?)? {
            let frame = scanner.frame(offset)?;
            let decision = decision(&frame)?;
            if decision != FrameDecision::Keep {
                packed.complete &= frame.kind == FrameKind::Checkpoint;
                if decision == FrameDecision::Forget {
                    packed.forgotten = packed.forgotten.max(frame.seq);
                }
                continue;
            }
            let kind = frame.kind;
            let payload = scanner.payload();
            let head = Head::of(payload, segment.salt, head.commit, head.last);
            packer.add(&head.bytes()).map_err(io("write"))?;
            packed.frames += 1;
            packed.calls += u64::from(matches!(
                kind,
                FrameKind::Record | FrameKind::Tombstone | FrameKind::Part
            ));
            if packer.add(payload).map_err(io("write"))? {
                pace()?;
            }
        }
    }
    let (file, table, length) = packer.end().map_err(io("write"))?;
    segment.length = length;
    let facts = facts_of(&segment, &packed, &table);
    disk::make(DiskOp::Write(&file, 0, &facts)).map_err(io("write"))?;
    disk::make(DiskOp::Sync(&file)).map_err(io("sync"))?;
    verify(unfinished, packings, packed.frames)?;
    disk::make(DiskOp::Rename(unfinished, &path)).map_err(io("rename"))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let synced = disk::make(DiskOp::SyncDir(dir)).map_err(JournalError::io("sync", dir));
    let settled = synced.and_then(|()| Packed::read(&path, packings));
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
    let segment = Packed::read(path, packings)?;
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
