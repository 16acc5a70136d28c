//! One segment: its name and its header.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::frame::{u16_at, u32_at, u64_at};

/// Bytes of a header.
pub(super) const HEADER_BYTES: u64 = HEADER_SIZE as u64;
const HEADER_SIZE: usize = 56;
const MAGIC: &[u8; 8] = b"rollcall";
const VERSION: u16 = 1;

/// A segment whose header is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// The sequence number that its first frame has or will have.
    pub first_seq: u64,
    /// Bytes that count: header and frames.
    pub length: u64,
    pub(super) salt: u64,
    /// The number of its first commit.
    pub(super) first_commit: u64,
    pub(super) previous: Previous,
}

/// What a segment says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Previous {
    /// 0 where there is none.
    pub first_seq: u64,
    /// The bytes of it that count.
    pub length: u64,
}

impl Segment {
    /// The file name of the segment that begins with this sequence number.
    pub(super) fn file_name(first_seq: u64) -> String {
        format!("{first_seq:020}.log")
    }

    /// The sequence number in a file name; none for other files.
    pub(super) fn seq_in(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".log")?;
        if digits.len() == 20 { digits.parse().ok() } else { None }
    }

    /// Reads the header; the length is that of the file.
    pub(super) fn read(path: &Path, first_seq: u64) -> Result<Self, JournalError> {
        let mut file = File::open(path).map_err(JournalError::io("open", path))?;
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
        if u64_at(&header, 24) != first_seq {
            return Err(JournalError::damaged(path, 24, "the file has another segment's name"));
        }
        let previous = Previous { first_seq: u64_at(&header, 32), length: u64_at(&header, 40) };
        Ok(Self {
            path: path.to_owned(),
            first_seq,
            length,
            salt: u64_at(&header, 16),
            first_commit: u64_at(&header, 48),
            previous,
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
fn header_crc(header: &[u8; HEADER_SIZE]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}
