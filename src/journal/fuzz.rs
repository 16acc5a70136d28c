//! What fuzzing drives of this room: frames, and segments with something wrong in them. Whatever is
//! in a file, nothing panics, and no frame is read that nobody wrote.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::{ChangeOrigin, Frame, FrameKind, HEAD_BYTES, Head};
use super::packed::{FACTS_SIZE, Packed, facts_crc};
use super::segment::{HEADER_BYTES, Link};
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
    if let Some(head) = Head::read(data) {
        assert_eq!(Some(head.bytes().as_slice()), data.get(..HEAD_BYTES));
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
    let Ok(segment) = Segment::read_plain(&path) else {
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
    let segment = Segment {
        path: PathBuf::new(),
        first_seq: 0,
        length: 0,
        salt: SALT,
        first_commit: 0,
        previous: Link { first_seq: 0, length: 0 },
        packed: None,
    };
    let (mut bytes, mut begins) = (segment.header().to_vec(), Vec::new());
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
        bytes.extend_from_slice(&Head::of(&payload, SALT, seq, true).bytes());
        bytes.extend_from_slice(&payload);
    }
    (bytes, begins)
}

/// A packed segment whose checksums are made to fit, so that what stands behind them is reached.
fn packed(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Some(table) = table(&bytes) {
        let crc = crc32c::crc32c(table);
        if let Some(place) = bytes.get_mut(FACTS_SIZE - 4..FACTS_SIZE) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
    }
    if let Some(facts) = bytes.first_chunk_mut::<FACTS_SIZE>() {
        let crc = facts_crc(facts);
        facts[20..24].copy_from_slice(&crc.to_le_bytes());
    }
    let (_file, path) = file(&bytes);
    let Ok(segment) = Packed::read(&path, 1) else { return };
    assert!(segment.disk_bytes() == bytes.len() as u64);
    let Ok(mut scanner) = Scanner::new(&segment) else { return };
    let mut end = HEADER_BYTES;
    while let Ok(Some((at, _))) = scanner.next_frame() {
        assert!(at == end && scanner.offset() <= segment.length);
        end = scanner.offset();
    }
}

/// What the checksum of the table covers, wherever the end of the file says that it begins.
fn table(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.len().checked_sub(9)?;
    let entries = u32::from_le_bytes(*bytes.get(count..)?.first_chunk()?);
    let begin = count.checked_sub(usize::try_from(entries).ok()?.checked_mul(8)?)?;
    bytes.get(begin..).filter(|_| begin >= FACTS_SIZE)
}

/// A file with these bytes, which is removed with what is returned.
fn file(bytes: &[u8]) -> (Removed, PathBuf) {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("rollcall-fuzz-{}-{made}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let written = crate::files::create(&path).and_then(|mut file| file.write_all(bytes));
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
