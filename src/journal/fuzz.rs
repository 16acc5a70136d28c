//! Fuzzing of frames and of segments with changed bytes: no content of a file makes the reader panic,
//! and no frame is read that was not written.
#![expect(clippy::missing_panics_doc, reason = "a panic is what fuzzing looks for")]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{
    CRC_AT, ChangeOrigin, FRAMES_AT, Frame, FrameHead, FrameKind, Link, PACKED_HEADER_BYTES,
    SKIPPED_HEAD_BYTES, SegmentHeader, TABLE_CRC_AT, TABLE_ENTRY_BYTES, TABLE_FOOT_BYTES,
    WITHOUT_LOG, header_crc, put,
};
use super::{Scanner, Segment};
use crate::domain::{Source, Timestamp};

const SALT: u64 = 0x5a17;
/// Frames of one segment, and bytes of a body.
const FRAMES_MAX: u64 = 8;
const BODY_BYTES_MAX: usize = 64;

/// One frame by itself, a segment with a byte that has changed, and a packed segment.
pub fn journal(data: &[u8]) {
    if let Ok(frame) = Frame::read(data) {
        let mut written = Vec::new();
        frame.write(&mut written);
        assert_eq!(written, data);
    }
    if let Some(bytes) = data.first_chunk()
        && let Ok(head) = FrameHead::read(bytes)
    {
        assert_eq!(head.bytes(), *bytes);
    }
    let Some(((&[way], change), rest)) = data
        .split_first_chunk()
        .and_then(|(way, rest)| Some((way, rest.split_first_chunk()?)))
        .map(|(way, (change, rest))| ((way, change), rest))
    else {
        return;
    };
    if way % 2 == 0 { changed(*change, rest) } else { packed(rest) }
}

/// A sound segment but for one byte: all frames before it are read, and none from it on.
fn changed([low, high, by]: [u8; 3], bodies: &[u8]) {
    let (bytes, begins) = segment_of(bodies);
    let mut changed = bytes.clone();
    let place = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
    if let Some(byte) = changed.get_mut(place) {
        *byte ^= by;
    }
    let (_file, path) = file(&changed);
    let Ok(segment) = Segment::read_as(&path, 0) else {
        assert!(by != 0 && place < begins.first().copied().unwrap_or(bytes.len()));
        return;
    };
    let sound = if by == 0 { begins.len() } else { begins.partition_point(|at| *at <= place) };
    let sound = sound.saturating_sub(usize::from(by != 0));
    let Ok(mut scanner) = Scanner::new(&segment) else { return };
    let mut seen = 0;
    while let Ok(Some((at, frame))) = scanner.next_frame() {
        assert_eq!(begins.get(seen).map(|at| *at as u64), Some(at));
        assert_eq!(frame.seq, seen as u64);
        seen += 1;
    }
    // The two bytes of a header that no checksum covers mean nothing.
    let idle = (10..12).contains(&place);
    assert!(seen == sound || idle && seen == begins.len(), "{seen} of {sound}");
}

/// A segment with frames of these bodies, and where each begins.
fn segment_of(mut bodies: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let previous = Link { first_seq: 0, length: 0 };
    let version = WITHOUT_LOG;
    let header = SegmentHeader { version, salt: SALT, first_seq: 0, previous, first_commit: 0 };
    let (mut bytes, mut begins) = (header.bytes().to_vec(), Vec::new());
    for seq in 0..FRAMES_MAX {
        let Some((&length, rest)) = bodies.split_first() else { break };
        let length = (usize::from(length) % BODY_BYTES_MAX).min(rest.len());
        let (body, rest) = rest.split_at(length);
        bodies = rest;
        let frame = Frame {
            seq,
            at: Timestamp::default(),
            origin: ChangeOrigin::Source(Source::Webhook),
            kind: FrameKind::Record,
            body,
        };
        let mut payload = Vec::new();
        frame.write(&mut payload);
        begins.push(bytes.len());
        bytes.extend_from_slice(&FrameHead::of(&payload, SALT, seq, true).bytes());
        bytes.extend_from_slice(&payload);
    }
    (bytes, begins)
}

/// A packed segment whose checksums are made to fit, so that what stands behind them is reached.
fn packed(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Some(table) = table(&bytes) {
        let crc = crc32c::crc32c(table);
        put(&mut bytes, TABLE_CRC_AT, crc.to_le_bytes());
    }
    if let Some(header) = bytes.get_mut(..PACKED_HEADER_BYTES) {
        let crc = header_crc(header, SKIPPED_HEAD_BYTES);
        put(header, SKIPPED_HEAD_BYTES + CRC_AT, crc.to_le_bytes());
    }
    let (_file, path) = file(&bytes);
    let Ok(segment) = Segment::read_as(&path, 1) else { return };
    assert!(segment.disk_bytes() == bytes.len() as u64);
    let Ok(mut scanner) = Scanner::new(&segment) else { return };
    let mut end = FRAMES_AT;
    while let Ok(Some((at, _))) = scanner.next_frame() {
        assert!(at == end && scanner.offset() <= segment.length);
        end = scanner.offset();
    }
}

/// What the checksum of the table covers, wherever the end of the file says that it begins.
fn table(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.len().checked_sub(TABLE_FOOT_BYTES)?;
    let entries = u32::from_le_bytes(*bytes.get(count..)?.first_chunk()?);
    let begin =
        count.checked_sub(usize::try_from(entries).ok()?.checked_mul(TABLE_ENTRY_BYTES)?)?;
    bytes.get(begin..).filter(|_| begin >= PACKED_HEADER_BYTES)
}

/// A file with these bytes, which is removed with what is returned.
fn file(bytes: &[u8]) -> (Removed, PathBuf) {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("rollcall-fuzz-{}-{made}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let written = crate::fsutil::create(&path).and_then(|mut file| file.write_all(bytes));
    assert!(written.is_ok());
    (Removed(path.clone()), path)
}

/// Removes its file.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}
