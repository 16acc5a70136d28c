//! One segment: its name, and what stands before and after its frames.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::JournalError;
use super::format::{
    FIRST_SEQ_AT, HEADER_BYTES, HeaderError, Link, PACKED_HEADER_BYTES, Packed, PackedBlock,
    PackedHeader, SegmentHeader, TABLE_FOOT_BYTES, WITH_LOG, read_table, table_begin,
};
use crate::fsutil;

/// A segment whose header is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub path: PathBuf,
    /// The sequence number that its first frame has or will have.
    pub first_seq: u64,
    /// Bytes that count: header and frames, unpacked.
    pub length: u64,
    pub(super) header: SegmentHeader,
    /// None where it is not packed.
    pub packed: Option<Packed>,
    /// How often it was packed.
    pub(super) packings: u32,
    pub(super) blocks: Arc<[PackedBlock]>,
    /// Of a packed one.
    pub(super) file_bytes: u64,
}

/// The parts of a segment's file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub first_seq: u64,
    /// How often it was packed.
    pub packings: u32,
}

impl Name {
    /// `<first seq>.log`, or `<first seq>.<packings>.log.zst`.
    pub fn file(self) -> String {
        let Self { first_seq, packings } = self;
        match packings {
            0 => format!("{first_seq:020}.log"),
            _ => format!("{first_seq:020}.{packings}.log.zst"),
        }
    }

    /// The name of a segment; none for other files.
    pub fn of(file: &str) -> Option<Self> {
        let (digits, rest) = file.split_at_checked(20)?;
        let first_seq = digits.parse().ok()?;
        let packings = match rest {
            ".log" => 0,
            _ => rest.strip_prefix('.')?.strip_suffix(".log.zst")?.parse().ok()?,
        };
        let name = Self { first_seq, packings };
        (name.file() == file).then_some(name)
    }
}

impl Segment {
    pub(super) fn plain(path: PathBuf, header: SegmentHeader, length: u64) -> Self {
        let (first_seq, blocks) = (header.first_seq, Arc::default());
        Self { path, first_seq, length, header, packed: None, packings: 0, blocks, file_bytes: 0 }
    }

    /// The file name of a segment that is not packed.
    pub(super) fn file_name(first_seq: u64) -> String {
        Name { first_seq, packings: 0 }.file()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        if self.packed.is_some() { self.file_bytes } else { self.length }
    }

    /// Whether it may have frames of the replicated log: a store that is alone has none.
    pub fn may_have_log(&self) -> bool {
        self.header.version >= WITH_LOG
    }

    /// How often what it holds was packed. It grows with each file that takes the place of another, so that
    /// an offset is right for as long as this is the same.
    pub fn packings(&self) -> u32 {
        self.packings
    }

    /// What the header of the next segment says of this one.
    pub(super) fn link(&self) -> Link {
        match &self.packed {
            Some(packed) => packed.covers,
            None => Link { first_seq: self.first_seq, length: self.length },
        }
    }

    /// The block of a packed segment that this byte lies in.
    pub(super) fn block(&self, at: u64) -> Option<PackedBlock> {
        let next = self.blocks.partition_point(|block| block.at <= at);
        let block = *self.blocks.get(next.checked_sub(1)?)?;
        (at < block.at + block.bytes as u64).then_some(block)
    }

    /// Reads all but the frames. The length is that of the file, where it is not packed.
    pub(super) fn read(dir: &Path, name: Name) -> Result<Self, JournalError> {
        let path = dir.join(name.file());
        let segment = Self::read_as(&path, name.packings)?;
        if segment.first_seq != name.first_seq {
            let reason = "the file has another segment's name";
            return Err(JournalError::damaged(&path, FIRST_SEQ_AT as u64, reason));
        }
        Ok(segment)
    }

    /// The same of a file with any name.
    pub(super) fn read_as(path: &Path, packings: u32) -> Result<Self, JournalError> {
        let io = |action| JournalError::io(action, path);
        let malformed = |error: HeaderError| match error {
            HeaderError::Newer(version) => JournalError::Newer { path: path.to_owned(), version },
            HeaderError::Damaged(reason) => JournalError::damaged(path, 0, reason),
        };
        let file = fsutil::open(path).map_err(io("open"))?;
        let file_bytes = file.metadata().map_err(io("read"))?.len();
        if packings == 0 {
            let header: [u8; HEADER_BYTES] = first_bytes(&file, path, file_bytes)?;
            let header = SegmentHeader::read(&header).map_err(malformed)?;
            return Ok(Self::plain(path.to_owned(), header, file_bytes));
        }
        let header: [u8; PACKED_HEADER_BYTES] = first_bytes(&file, path, file_bytes)?;
        let header = PackedHeader::read(&header).map_err(malformed)?;
        let mut foot = [0; TABLE_FOOT_BYTES];
        let foot_at = file_bytes - TABLE_FOOT_BYTES as u64;
        file.read_exact_at(&mut foot, foot_at).map_err(io("read"))?;
        let blocks = match table_begin(&foot, file_bytes) {
            None => None,
            Some(begin) => {
                let mut table = vec![0; usize::try_from(file_bytes - begin).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut table, begin).map_err(io("read"))?;
                read_table(&table, begin, &header)
            }
        };
        let Some(blocks) = blocks else {
            return Err(JournalError::damaged(path, file_bytes, "the table of blocks is damaged"));
        };
        let PackedHeader { segment, length, packed, .. } = header;
        let plain = Self::plain(path.to_owned(), segment, length);
        Ok(Self { packed: Some(packed), packings, blocks, file_bytes, ..plain })
    }
}

fn first_bytes<const N: usize>(
    file: &File,
    path: &Path,
    file_bytes: u64,
) -> Result<[u8; N], JournalError> {
    let mut bytes = [0; N];
    if file_bytes < N as u64 {
        return Err(JournalError::damaged(path, file_bytes, "the file ends inside its header"));
    }
    file.read_exact_at(&mut bytes, 0).map_err(JournalError::io("read", path))?;
    Ok(bytes)
}
