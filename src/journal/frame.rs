//! One frame: its bytes and its meaning.

use crate::domain::{Source, Timestamp};

/// Bytes before a payload.
pub(super) const HEAD_BYTES: usize = 16;
/// Bytes of a payload before its body.
const PAYLOAD_HEAD_BYTES: usize = 18;
/// Bytes of a payload. Far above a record's bound, far below what a corrupt length could ask for.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// The bit of a commit number that marks its last frame.
const LAST: u64 = 1 << 63;

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A call, whole.
    Record,
    /// A call that was deleted: account and sid, 16 bytes each.
    Tombstone,
    /// A setting of an account, or a token.
    Admin,
    /// The index holds everything before a sequence number, apart from what the body says.
    Checkpoint,
    /// What was heard of a call while its record could not be looked up: a call's bytes, and no
    /// version of the call. The next record of that call holds it.
    Part,
}

/// Who asked for the change.
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
    /// Who asked for it.
    pub origin: ChangeOrigin,
    /// What the body holds.
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
        });
        out.push(match self.kind {
            FrameKind::Record => 1,
            FrameKind::Tombstone => 2,
            FrameKind::Admin => 3,
            FrameKind::Checkpoint => 4,
            FrameKind::Part => 5,
        });
        out.extend_from_slice(self.body);
    }

    /// The frame with this payload, whose CRC has been checked.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, String> {
        let (head, body) = payload.split_at_checked(PAYLOAD_HEAD_BYTES).ok_or("a short payload")?;
        let at = Timestamp::from_millis(u64_at(head, 8)).ok_or("a time out of range")?;
        let origin = match head.get(16) {
            Some(1) => ChangeOrigin::Source(Source::Webhook),
            Some(2) => ChangeOrigin::Source(Source::Import),
            Some(3) => ChangeOrigin::Source(Source::Sweep),
            Some(4) => ChangeOrigin::Admin,
            other => return Err(format!("unknown source {other:?}")),
        };
        let kind = match head.get(17) {
            Some(1) => FrameKind::Record,
            Some(2) => FrameKind::Tombstone,
            Some(3) => FrameKind::Admin,
            Some(4) => FrameKind::Checkpoint,
            Some(5) => FrameKind::Part,
            other => return Err(format!("unknown kind {other:?}")),
        };
        Ok(Self { seq: u64_at(head, 0), at, origin, kind, body })
    }
}

/// The fixed bytes before a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub length: usize,
    pub crc: u32,
    pub commit: u64,
    pub last: bool,
}

impl Head {
    /// The head of this payload, CRC and all.
    pub fn of(payload: &[u8], salt: u64, commit: u64, last: bool) -> Self {
        let mut head = Self { length: payload.len(), crc: 0, commit, last };
        head.crc = head.expected_crc(payload, salt);
        head
    }

    /// The head in these bytes; none where no frame can begin so.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let length = usize::try_from(u32_at(bytes, 0)).ok()?;
        if !(PAYLOAD_HEAD_BYTES..=PAYLOAD_BYTES_MAX).contains(&length) {
            return None;
        }
        let commit = u64_at(bytes, 8);
        let last = commit & LAST != 0;
        Some(Self { length, crc: u32_at(bytes, 4), commit: commit & !LAST, last })
    }

    /// The 16 bytes.
    pub fn bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.length_le());
        bytes[4..8].copy_from_slice(&self.crc.to_le_bytes());
        bytes[8..].copy_from_slice(&self.commit_le());
        bytes
    }

    /// Whether this payload is the one that was written.
    pub fn fits(self, payload: &[u8], salt: u64) -> bool {
        payload.len() == self.length && self.expected_crc(payload, salt) == self.crc
    }

    fn expected_crc(self, payload: &[u8], salt: u64) -> u32 {
        let crc = crc32c::crc32c(&salt.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.length_le());
        let crc = crc32c::crc32c_append(crc, &self.commit_le());
        crc32c::crc32c_append(crc, payload)
    }

    fn length_le(self) -> [u8; 4] {
        // A batch refuses a payload over the limit, which is far below 4 GiB.
        u32::try_from(self.length).unwrap_or(u32::MAX).to_le_bytes()
    }

    fn commit_le(self) -> [u8; 8] {
        (self.commit | if self.last { LAST } else { 0 }).to_le_bytes()
    }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    u64::from_le_bytes(part.unwrap_or_default())
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    u32::from_le_bytes(part.unwrap_or_default())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let part = bytes.get(at..at + 2).and_then(|part| part.try_into().ok());
    u16::from_le_bytes(part.unwrap_or_default())
}

/// Whether a body of that many bytes fits into a frame.
pub fn fits(body_bytes: usize) -> Result<(), super::JournalError> {
    let bytes = body_bytes + PAYLOAD_HEAD_BYTES;
    if bytes > PAYLOAD_BYTES_MAX { Err(super::JournalError::TooLarge { bytes }) } else { Ok(()) }
}
