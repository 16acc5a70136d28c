//! One segment: its name and its header.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::frame::{u16_at, u32_at, u64_at};
use super::packed::Packed;
use crate::files;

/// Bytes of a header.
pub(super) const HEADER_BYTES: u64 = HEADER_SIZE as u64;
pub(super) const HEADER_SIZE: usize = 56;
pub(super) const MAGIC: &[u8; 8] = b"rollcall";
/// 1 held records of version 1 alone, and no frame of the kind [`super::FrameKind::Part`].
pub(super) const VERSION: u16 = 2;

/// A segment whose header is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// The sequence number that its first frame has or will have.
    pub first_seq: u64,
    /// Bytes that count: header and frames, before they were packed.
    pub length: u64,
    pub(super) salt: u64,
    /// The number of its first commit.
    pub(super) first_commit: u64,
    pub(super) previous: Link,
    /// What is known of one that was packed.
    pub packed: Option<Packed>,
}

/// What a segment says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// 0 where there is none.
    pub first_seq: u64,
    /// The bytes of it that count.
    pub length: u64,
}

/// What a file name says.
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
    /// The file name of a segment that is not packed.
    pub(super) fn file_name(first_seq: u64) -> String {
        Name { first_seq, packings: 0 }.file()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.packed.as_ref().map_or(self.length, Packed::bytes)
    }

    /// What the next segment has to say of this one.
    pub(super) fn link(&self) -> Link {
        match &self.packed {
            Some(packed) => packed.covers,
            None => Link { first_seq: self.first_seq, length: self.length },
        }
    }

    /// Reads what stands before the frames. The length is that of the file, where it is not packed.
    pub(super) fn read(dir: &Path, name: Name) -> Result<Self, JournalError> {
        let path = dir.join(name.file());
        let segment = match name.packings {
            0 => Self::read_plain(&path)?,
            packings => Packed::read(&path, packings)?,
        };
        if segment.first_seq != name.first_seq {
            return Err(JournalError::damaged(&path, 24, "the file has another segment's name"));
        }
        Ok(segment)
    }

    pub(super) fn read_plain(path: &Path) -> Result<Self, JournalError> {
        let mut file = files::open(path).map_err(JournalError::io("open", path))?;
        let length = file.metadata().map_err(JournalError::io("read", path))?.len();
        let mut header = [0; HEADER_SIZE];
        if length < HEADER_BYTES {
            return Err(JournalError::damaged(path, length, "the file ends inside its header"));
        }
        file.read_exact(&mut header).map_err(JournalError::io("read", path))?;
        if !header.starts_with(MAGIC) {
            return Err(JournalError::damaged(path, 0, "not a journal segment"));
        }
        let version = u16_at(&header, 8);
        if version > VERSION {
            return Err(JournalError::Newer { path: path.to_owned(), version });
        }
        if u32_at(&header, 12) != header_crc(&header) {
            return Err(JournalError::damaged(path, 0, "the header does not fit its checksum"));
        }
        let previous = Link { first_seq: u64_at(&header, 32), length: u64_at(&header, 40) };
        Ok(Self {
            path: path.to_owned(),
            first_seq: u64_at(&header, 24),
            length,
            salt: u64_at(&header, 16),
            first_commit: u64_at(&header, 48),
            previous,
            packed: None,
        })
    }

    /// The bytes of the header.
    pub(super) fn header(&self) -> [u8; HEADER_SIZE] {
        let mut header = [0; HEADER_SIZE];
        header[..8].copy_from_slice(MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.salt.to_le_bytes());
        header[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        header[32..40].copy_from_slice(&self.previous.first_seq.to_le_bytes());
        header[40..48].copy_from_slice(&self.previous.length.to_le_bytes());
        header[48..].copy_from_slice(&self.first_commit.to_le_bytes());
        let crc = header_crc(&header);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// Of everything but the CRC itself.
pub(super) fn header_crc(header: &[u8; HEADER_SIZE]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}
