//! The bytes of a journal: every offset and length, and the one parser of each part.
//!
//! A **segment** is a header and then frames. All numbers are little-endian; offsets on the left.
//!
//! ```text
//! header                                  frame                           payload of a frame
//!  0  magic "rollcall"                     0  length of the payload u32    0  seq u64
//!  8  version u16                          4  crc32c u32                   8  time u64 (ms)
//! 10  0 u16                                8  commit u64 (top bit:        16  source u8
//! 12  crc32c u32                              last frame of it)           17  kind u8
//! 16  salt u64                            16  payload                     18  body
//! 24  first seq u64
//! 32  previous segment: first seq u64
//! 40  previous segment: length u64
//! 48  first commit u64
//! 56  frames
//! ```
//!
//! The CRC of a header covers all of it but the CRC. That of a frame covers the segment's salt, the
//! length, the commit and the payload, so that neither a stale block of another file nor a shifted
//! one passes.
//!
//! A **packed segment** has the *seekable format* of zstd: a header in a frame that zstd skips, blocks
//! that can be unpacked one by one (joined they are a segment as above), and a table of the blocks in
//! another skipped frame. `zstd -d` makes a readable segment of it.
//!
//! ```text
//! packed header                          blocks and table
//!   0  0x184D2A50 u32                    140  zstd frames
//!   4  132 u32: bytes that follow        ...  0x184D2A5E u32
//!   8  magic "rollcall"                   +4  bytes that follow u32
//!  16  version u16                        +8  for each block: packed bytes u32, bytes u32
//!  18  complete u8                       end
//!  19  0 u8                               -9  number of blocks u32
//!  20  crc32c u32                         -5  0 u8
//!  24  first seq u64                      -4  0x8F92EAB1 u32
//!  32  salt u64
//!  40  first commit u64
//!  48  previous segment: first seq u64
//!  56  previous segment: length u64
//!  64  last segment covered: first seq u64
//!  72  last segment covered: length u64
//!  80  length of the segment, unpacked u64
//!  88  frames u32
//!  92  positions of the log among them u32
//!  96  calls u64
//! 104  as of seq u64
//! 112  erased until seq u64
//! 120  forgotten seq u64
//! 128  time u64 (ms)
//! 136  crc32c u32 of the table from +8 to its end
//! ```

use std::sync::Arc;

use super::JournalError;
use crate::domain::{Source, Timestamp};

/// The greatest version of segments, packed or not, that this release reads; it reads all before.
/// 1 held records of version 1 alone, and no frame of the kind [`FrameKind::Part`]; 2 held records of
/// version 2, nothing of CDRs, and no frame of the kind [`FrameKind::Outbox`].
const VERSION: u16 = WITH_LOG;
/// The least version that this release writes.
pub(super) const WITHOUT_LOG: u16 = 3;
/// A segment of this version may hold frames of the kinds [`FrameKind::Applied`] and [`FrameKind::Kept`]. All after the
/// first of them are of this version, so that an earlier release opens a journal in which there is none.
pub(super) const WITH_LOG: u16 = 4;
const MAGIC: &[u8; 8] = b"rollcall";

// Both headers begin alike: these are counted from the magic on.
const VERSION_AT: usize = 8;
pub(super) const CRC_AT: usize = 12;
const CRC_END: usize = 16;

const SALT_AT: usize = 16;
/// In both headers.
pub(super) const FIRST_SEQ_AT: usize = 24;
const PREVIOUS_SEQ_AT: usize = 32;
const PREVIOUS_LENGTH_AT: usize = 40;
const FIRST_COMMIT_AT: usize = 48;
pub(super) const HEADER_BYTES: usize = 56;
/// Where the first frame begins.
pub(super) const FRAMES_AT: u64 = HEADER_BYTES as u64;

const LENGTH_AT: usize = 0;
const FRAME_CRC_AT: usize = 4;
const COMMIT_AT: usize = 8;
pub(super) const FRAME_HEAD_BYTES: usize = 16;
/// The bit of a commit number that marks its last frame.
const LAST: u64 = 1 << 63;

const SEQ_AT: usize = 0;
const TIME_AT: usize = 8;
const SOURCE_AT: usize = 16;
const KIND_AT: usize = 17;
const BODY_AT: usize = 18;
/// Far above a record's bound, far below what a corrupt length could ask for.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the body of a frame.
pub const FRAME_BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - BODY_AT;

const SKIPPED_MAGIC: u32 = 0x184D_2A50;
pub(super) const SKIPPED_HEAD_BYTES: usize = 8;
const COMPLETE_AT: usize = 18;
const PACKED_SALT_AT: usize = 32;
const PACKED_FIRST_COMMIT_AT: usize = 40;
const PACKED_PREVIOUS_SEQ_AT: usize = 48;
const PACKED_PREVIOUS_LENGTH_AT: usize = 56;
const COVERED_SEQ_AT: usize = 64;
const COVERED_LENGTH_AT: usize = 72;
const UNPACKED_LENGTH_AT: usize = 80;
const FRAMES_COUNT_AT: usize = 88;
const POSITIONS_COUNT_AT: usize = 92;
const CALLS_AT: usize = 96;
const AS_OF_AT: usize = 104;
const ERASED_UNTIL_AT: usize = 112;
const FORGOTTEN_AT: usize = 120;
const PACKED_TIME_AT: usize = 128;
pub(super) const TABLE_CRC_AT: usize = 136;
pub(super) const PACKED_HEADER_BYTES: usize = 140;
/// Where the first block begins.
pub(super) const BLOCKS_AT: u64 = PACKED_HEADER_BYTES as u64;

const TABLE_MAGIC: u32 = 0x184D_2A5E;
const TABLE_ENTRIES_AT: usize = 8;
pub(super) const TABLE_ENTRY_BYTES: usize = 8;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// The end of the table, from the number of blocks on.
pub(super) const TABLE_FOOT_BYTES: usize = 9;
const FOOT_MAGIC_AT: usize = 5;
/// Bytes of a block, unpacked.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Why bytes are not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("a later release wrote it (journal version {0}); use that release")]
    Newer(u16),
    #[error("{0}")]
    Damaged(&'static str),
}

/// Another segment, and the bytes of it that count. Without a predecessor both are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub first_seq: u64,
    pub length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub version: u16,
    pub salt: u64,
    pub first_seq: u64,
    pub previous: Link,
    pub first_commit: u64,
}

impl SegmentHeader {
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let version = check_header(bytes, 0, "not a journal segment")?;
        Ok(Self {
            version,
            salt: u64_at(bytes, SALT_AT),
            first_seq: u64_at(bytes, FIRST_SEQ_AT),
            previous: Link {
                first_seq: u64_at(bytes, PREVIOUS_SEQ_AT),
                length: u64_at(bytes, PREVIOUS_LENGTH_AT),
            },
            first_commit: u64_at(bytes, FIRST_COMMIT_AT),
        })
    }

    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, SALT_AT, self.salt.to_le_bytes());
        put(&mut bytes, FIRST_SEQ_AT, self.first_seq.to_le_bytes());
        put(&mut bytes, PREVIOUS_SEQ_AT, self.previous.first_seq.to_le_bytes());
        put(&mut bytes, PREVIOUS_LENGTH_AT, self.previous.length.to_le_bytes());
        put(&mut bytes, FIRST_COMMIT_AT, self.first_commit.to_le_bytes());
        seal_header(&mut bytes, 0, self.version);
        bytes
    }
}

/// What the header of a packed segment says beyond that of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The last segment that it stands for.
    pub(super) covers: Link,
    pub frames: u64,
    /// Frames of the kind [`FrameKind::Applied`] among them.
    pub positions: u64,
    /// Records and deletions among the frames.
    pub calls: u64,
    /// What had been superseded or erased by this sequence number is not in it.
    pub as_of: u64,
    /// Deletions up to this sequence number have left it, where they were old enough.
    pub erased_until: u64,
    /// The last change that is gone without a later one of the same call: a reader of changes that
    /// has not passed it has missed it.
    pub forgotten: u64,
    /// When it was packed.
    pub at: Timestamp,
    /// Nothing but checkpoints, webhooks that were passed on and what belongs to the log was left out.
    pub complete: bool,
}

/// The header of a packed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedHeader {
    pub segment: SegmentHeader,
    /// Of the segment, unpacked.
    pub length: u64,
    pub packed: Packed,
    pub table_crc: u32,
}

impl PackedHeader {
    pub fn read(bytes: &[u8; PACKED_HEADER_BYTES]) -> Result<Self, HeaderError> {
        let other = "not a packed journal segment";
        if u32_at(bytes, 0) != SKIPPED_MAGIC {
            return Err(HeaderError::Damaged(other));
        }
        let version = check_header(bytes, SKIPPED_HEAD_BYTES, other)?;
        let at = Timestamp::from_millis(u64_at(bytes, PACKED_TIME_AT));
        let segment = SegmentHeader {
            version,
            salt: u64_at(bytes, PACKED_SALT_AT),
            first_seq: u64_at(bytes, FIRST_SEQ_AT),
            previous: Link {
                first_seq: u64_at(bytes, PACKED_PREVIOUS_SEQ_AT),
                length: u64_at(bytes, PACKED_PREVIOUS_LENGTH_AT),
            },
            first_commit: u64_at(bytes, PACKED_FIRST_COMMIT_AT),
        };
        let packed = Packed {
            covers: Link {
                first_seq: u64_at(bytes, COVERED_SEQ_AT),
                length: u64_at(bytes, COVERED_LENGTH_AT),
            },
            // Of a segment without a log they are one number, which is small.
            frames: u32_at(bytes, FRAMES_COUNT_AT).into(),
            positions: u32_at(bytes, POSITIONS_COUNT_AT).into(),
            calls: u64_at(bytes, CALLS_AT),
            as_of: u64_at(bytes, AS_OF_AT),
            erased_until: u64_at(bytes, ERASED_UNTIL_AT),
            forgotten: u64_at(bytes, FORGOTTEN_AT),
            at: at.ok_or(HeaderError::Damaged("a time out of range"))?,
            complete: bytes.get(COMPLETE_AT) == Some(&1),
        };
        let table_crc = u32_at(bytes, TABLE_CRC_AT);
        Ok(Self { segment, length: u64_at(bytes, UNPACKED_LENGTH_AT), packed, table_crc })
    }

    pub fn bytes(&self) -> [u8; PACKED_HEADER_BYTES] {
        let Self { segment, packed, .. } = self;
        let mut bytes = [0; PACKED_HEADER_BYTES];
        put(&mut bytes, 0, SKIPPED_MAGIC.to_le_bytes());
        put(&mut bytes, 4, u32_of(PACKED_HEADER_BYTES - SKIPPED_HEAD_BYTES).to_le_bytes());
        put(&mut bytes, COMPLETE_AT, [u8::from(packed.complete)]);
        for (at, number) in [
            (FIRST_SEQ_AT, segment.first_seq),
            (PACKED_SALT_AT, segment.salt),
            (PACKED_FIRST_COMMIT_AT, segment.first_commit),
            (PACKED_PREVIOUS_SEQ_AT, segment.previous.first_seq),
            (PACKED_PREVIOUS_LENGTH_AT, segment.previous.length),
            (COVERED_SEQ_AT, packed.covers.first_seq),
            (COVERED_LENGTH_AT, packed.covers.length),
            (UNPACKED_LENGTH_AT, self.length),
            (CALLS_AT, packed.calls),
            (AS_OF_AT, packed.as_of),
            (ERASED_UNTIL_AT, packed.erased_until),
            (FORGOTTEN_AT, packed.forgotten),
            (PACKED_TIME_AT, packed.at.millis()),
        ] {
            put(&mut bytes, at, number.to_le_bytes());
        }
        for (at, count) in
            [(FRAMES_COUNT_AT, packed.frames), (POSITIONS_COUNT_AT, packed.positions)]
        {
            // A segment has a few million frames at most.
            put(&mut bytes, at, u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        put(&mut bytes, TABLE_CRC_AT, self.table_crc.to_le_bytes());
        seal_header(&mut bytes, SKIPPED_HEAD_BYTES, segment.version);
        bytes
    }
}

/// Looks at magic, version and checksum of a header whose magic stands at `begin`. Returns the version.
fn check_header(bytes: &[u8], begin: usize, other: &'static str) -> Result<u16, HeaderError> {
    if bytes.get(begin..begin + MAGIC.len()) != Some(MAGIC) {
        return Err(HeaderError::Damaged(other));
    }
    let version = u16_at(bytes, begin + VERSION_AT);
    if version > VERSION {
        return Err(HeaderError::Newer(version));
    }
    if u32_at(bytes, begin + CRC_AT) != header_crc(bytes, begin) {
        return Err(HeaderError::Damaged("the header does not fit its checksum"));
    }
    Ok(version)
}

/// Puts magic, version and checksum into a header that has all else.
fn seal_header(bytes: &mut [u8], begin: usize, version: u16) {
    put(bytes, begin, *MAGIC);
    put(bytes, begin + VERSION_AT, version.to_le_bytes());
    let crc = header_crc(bytes, begin);
    put(bytes, begin + CRC_AT, crc.to_le_bytes());
}

/// Of everything but the CRC itself.
pub(super) fn header_crc(bytes: &[u8], begin: usize) -> u32 {
    let before = bytes.get(..begin + CRC_AT).unwrap_or_default();
    let after = bytes.get(begin + CRC_END..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(before), after)
}

/// One compressed block of a packed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedBlock {
    /// Where it begins in the segment, unpacked.
    pub at: u64,
    pub bytes: usize,
    pub file_at: u64,
    pub packed_bytes: usize,
}

/// Where the table of blocks begins in a file of that length; none where there is no table.
pub(super) fn table_begin(foot: &[u8; TABLE_FOOT_BYTES], file_bytes: u64) -> Option<u64> {
    let entries = u64::from(u32_at(foot, 0)) * TABLE_ENTRY_BYTES as u64;
    let begin = file_bytes.checked_sub((TABLE_ENTRIES_AT + TABLE_FOOT_BYTES) as u64 + entries)?;
    (u32_at(foot, FOOT_MAGIC_AT) == SEEKABLE_MAGIC && begin >= BLOCKS_AT).then_some(begin)
}

/// The blocks of a table, where they fill the file up to the table and the segment.
pub(super) fn read_table(
    table: &[u8],
    table_at: u64,
    header: &PackedHeader,
) -> Option<Arc<[PackedBlock]>> {
    let (head, rest) = table.split_at_checked(TABLE_ENTRIES_AT)?;
    let whole = u32_at(head, 0) == TABLE_MAGIC && u32_at(head, 4) as usize == rest.len();
    if !whole || crc32c::crc32c(rest) != header.table_crc {
        return None;
    }
    let entries = rest.get(..rest.len().checked_sub(TABLE_FOOT_BYTES)?)?;
    let (mut at, mut file_at) = (0, BLOCKS_AT);
    let mut blocks = Vec::with_capacity(entries.len() / TABLE_ENTRY_BYTES);
    for entry in entries.chunks_exact(TABLE_ENTRY_BYTES) {
        let packed_bytes = usize::try_from(u32_at(entry, 0)).ok()?;
        let bytes = usize::try_from(u32_at(entry, 4)).ok()?;
        if bytes == 0 || bytes > BLOCK_BYTES_MAX || packed_bytes > 2 * BLOCK_BYTES_MAX {
            return None;
        }
        blocks.push(PackedBlock { at, bytes, file_at, packed_bytes });
        at += bytes as u64;
        file_at += packed_bytes as u64;
    }
    (at == header.length && file_at == table_at).then(|| blocks.into())
}

/// The table of blocks with these packed and unpacked bytes, and its CRC.
pub(super) fn write_table(blocks: &[(usize, usize)]) -> (Vec<u8>, u32) {
    let bytes = blocks.len() * TABLE_ENTRY_BYTES + TABLE_FOOT_BYTES;
    let mut table = Vec::with_capacity(TABLE_ENTRIES_AT + bytes);
    table.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
    table.extend_from_slice(&u32_of(bytes).to_le_bytes());
    for (packed_bytes, bytes) in blocks {
        table.extend_from_slice(&u32_of(*packed_bytes).to_le_bytes());
        table.extend_from_slice(&u32_of(*bytes).to_le_bytes());
    }
    table.extend_from_slice(&u32_of(blocks.len()).to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    let crc = crc32c::crc32c(table.get(TABLE_ENTRIES_AT..).unwrap_or_default());
    (table, crc)
}

/// What a body holds. The number is its byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A call, whole.
    Record = 1,
    /// A call that was deleted: account and sid, 16 bytes each.
    Tombstone = 2,
    /// A setting of an account, or a token.
    Admin = 3,
    /// The index holds everything before a sequence number, apart from what the body says.
    Checkpoint = 4,
    /// An event of a call whose record could not be looked up: a call's bytes, and no version of the
    /// call. The next record of that call holds it.
    Part = 5,
    /// A piece of an accepted webhook that is to be passed on; all of them stand in one commit.
    Outbox = 7,
    /// The frames before it, from the last one of this kind on, are what a message of the replicated log did.
    Applied = 9,
    /// A piece of a message that is still to be put into the replicated log; all of them stand in one commit.
    Kept = 10,
}

impl FrameKind {
    /// The version that a segment must have at least for frames of this kind.
    pub(super) fn version(self) -> u16 {
        match self {
            Self::Applied | Self::Kept => WITH_LOG,
            _ => WITHOUT_LOG,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOrigin {
    /// A source of events.
    Source(Source),
    /// The API or an admin.
    Admin,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Ascending through the whole journal.
    pub seq: u64,
    /// When it was received.
    pub at: Timestamp,
    pub origin: ChangeOrigin,
    pub kind: FrameKind,
    /// The content, by kind.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Appends the payload.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.at.millis().to_le_bytes());
        out.push(match self.origin {
            ChangeOrigin::Source(Source::Webhook) => 1,
            ChangeOrigin::Source(Source::Import) => 2,
            ChangeOrigin::Source(Source::Sweep) => 3,
            ChangeOrigin::Admin => 4,
            ChangeOrigin::Source(Source::Mirror) => 5,
            ChangeOrigin::Source(Source::Cdr) => 6,
        });
        out.push(self.kind as u8);
        out.extend_from_slice(self.body);
    }

    /// The frame with this payload, whose CRC has been checked.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, String> {
        let (head, body) = payload.split_at_checked(BODY_AT).ok_or("a short payload")?;
        let at = Timestamp::from_millis(u64_at(head, TIME_AT)).ok_or("a time out of range")?;
        let origin = match head.get(SOURCE_AT) {
            Some(1) => ChangeOrigin::Source(Source::Webhook),
            Some(2) => ChangeOrigin::Source(Source::Import),
            Some(3) => ChangeOrigin::Source(Source::Sweep),
            Some(4) => ChangeOrigin::Admin,
            Some(5) => ChangeOrigin::Source(Source::Mirror),
            Some(6) => ChangeOrigin::Source(Source::Cdr),
            other => return Err(format!("unknown source {other:?}")),
        };
        let kind = match head.get(KIND_AT) {
            Some(1) => FrameKind::Record,
            Some(2) => FrameKind::Tombstone,
            Some(3) => FrameKind::Admin,
            Some(4) => FrameKind::Checkpoint,
            Some(5) => FrameKind::Part,
            Some(7) => FrameKind::Outbox,
            Some(9) => FrameKind::Applied,
            Some(10) => FrameKind::Kept,
            other => return Err(format!("unknown kind {other:?}")),
        };
        Ok(Self { seq: u64_at(head, SEQ_AT), at, origin, kind, body })
    }
}

/// The bytes before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Of the payload.
    pub length: usize,
    crc: u32,
    pub commit: u64,
    pub last: bool,
}

impl FrameHead {
    /// The head of this payload, CRC and all.
    pub fn of(payload: &[u8], salt: u64, commit: u64, last: bool) -> Self {
        let mut head = Self { length: payload.len(), crc: 0, commit, last };
        head.crc = head.expected_crc(payload, salt);
        head
    }

    /// Fails where no frame can begin so: no larger length is ever used.
    pub fn read(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<Self, &'static str> {
        let length = u32_at(bytes, LENGTH_AT) as usize;
        if !(BODY_AT..=PAYLOAD_BYTES_MAX).contains(&length) {
            return Err("a length that no frame has");
        }
        let commit = u64_at(bytes, COMMIT_AT);
        let (crc, last) = (u32_at(bytes, FRAME_CRC_AT), commit & LAST != 0);
        Ok(Self { length, crc, commit: commit & !LAST, last })
    }

    pub fn bytes(self) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        put(&mut bytes, LENGTH_AT, u32_of(self.length).to_le_bytes());
        put(&mut bytes, FRAME_CRC_AT, self.crc.to_le_bytes());
        put(&mut bytes, COMMIT_AT, self.commit_number().to_le_bytes());
        bytes
    }

    /// Bytes of the frame, with this head.
    pub fn frame_bytes(self) -> usize {
        FRAME_HEAD_BYTES + self.length
    }

    /// Fails where this is not the payload that was written.
    pub fn check(self, payload: &[u8], salt: u64) -> Result<(), &'static str> {
        let fits = payload.len() == self.length && self.expected_crc(payload, salt) == self.crc;
        if fits { Ok(()) } else { Err("a frame does not fit its checksum") }
    }

    fn expected_crc(self, payload: &[u8], salt: u64) -> u32 {
        let crc = crc32c::crc32c(&salt.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &u32_of(self.length).to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.commit_number().to_le_bytes());
        crc32c::crc32c_append(crc, payload)
    }

    fn commit_number(self) -> u64 {
        self.commit | if self.last { LAST } else { 0 }
    }
}

/// The sound frame that these bytes begin with: its head and its payload. None where it is not there
/// whole.
pub(super) fn frame_in(
    bytes: &[u8],
    salt: u64,
) -> Result<Option<(FrameHead, &[u8])>, &'static str> {
    let Some((head, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let head = FrameHead::read(head)?;
    let Some(payload) = rest.get(..head.length) else { return Ok(None) };
    head.check(payload, salt)?;
    Ok(Some((head, payload)))
}

/// Whether a body of that many bytes fits into a frame.
pub fn fits(body_bytes: usize) -> Result<(), JournalError> {
    let bytes = body_bytes + BODY_AT;
    if bytes > PAYLOAD_BYTES_MAX { Err(JournalError::TooLarge { bytes }) } else { Ok(()) }
}

pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

/// A length of ours: all of them are bounded far below 4 GiB.
fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}
