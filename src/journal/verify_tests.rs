//! Segments that pass by in pieces, and journals that are cut.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::domain::{Source, Timestamp};

fn at(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seq).unwrap()
}

/// Twenty commits of two frames; each was received at its sequence number.
fn journal() -> (TempDir, Vec<Segment>) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), true, 400).unwrap().writer;
    for n in 0..20 {
        let mut batch = writer.batch();
        for part in 1..=2 {
            let origin = ChangeOrigin::Source(Source::Webhook);
            batch.push(at(n * 2 + part), origin, FrameKind::Record, b"a body of a record").unwrap();
        }
        writer.append(batch).unwrap();
    }
    drop(writer);
    let segments = open(dir.path(), false, 400).unwrap().segments;
    // What a backup has: no segment is longer than counts.
    for segment in &segments {
        let file = fs::File::options().write(true).open(&segment.path).unwrap();
        file.set_len(segment.length).unwrap();
    }
    (dir, segments)
}

fn copy(original: &TempDir, segments: &[Segment]) -> (TempDir, Vec<Segment>) {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(original).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let path = |segment: &Segment| dir.path().join(segment.path.file_name().unwrap());
    let moved = |segment: &Segment| Segment { path: path(segment), ..segment.clone() };
    let segments = segments.iter().map(moved).collect();
    (dir, segments)
}

/// Packs the segments from one place to another, in place of them.
fn pack_run(segments: &mut Vec<Segment>, from: usize, to: usize, keeps: impl Fn(u64) -> bool) {
    let run: Vec<_> = segments[from..to].iter().cloned().map(Arc::new).collect();
    let as_of = segments.last().unwrap().first_seq;
    let stamp = PackedStamp { as_of, erased_until: 0, at: at(0) };
    let decision = |frame: &Frame<'_>| {
        Ok::<_, JournalError>(if keeps(frame.seq) {
            FrameDecision::Keep
        } else {
            FrameDecision::Superseded
        })
    };
    let packed = pack(&run, stamp, decision, || Ok(())).unwrap();
    for segment in &run {
        fs::remove_file(&segment.path).unwrap();
    }
    segments.splice(from..to, [packed]);
}

fn audit(segment: &Segment, until: Option<Until>, piece: usize) -> Result<Passed, Flaw> {
    let name = segment.path.file_name().unwrap().to_str().unwrap();
    let mut audit = SegmentVerifier::new(name, until).unwrap().unwrap();
    let bytes = fs::read(&segment.path).unwrap();
    bytes.chunks(piece).try_for_each(|piece| audit.take(piece))?;
    audit.end()
}

fn seqs(dir: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    for segment in open(dir, false, 400).unwrap().segments {
        let mut scanner = Scanner::new(&segment).unwrap();
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            found.push(frame.seq);
        }
    }
    found
}

#[test]
fn a_chain_is_known_for_whole_in_pieces_of_any_size() {
    let (_dir, mut segments) = journal();
    for packed in [false, true] {
        if packed {
            pack_run(&mut segments, 1, 4, |_| true);
        }
        for piece in [1, 7, 300, 1 << 20] {
            let mut chain = Chain::default();
            for segment in &segments {
                chain.add(&audit(segment, None, piece).unwrap()).unwrap();
                assert_eq!(chain.end().is_ok(), segment.packed.is_none());
            }
            assert_eq!((chain.frames, chain.last_seq, chain.whole_from), (40, 40, 0));
            assert_eq!(chain.last_at, Some(at(40)));
        }
    }
    let mut chain = Chain::default();
    chain.add(&audit(&segments[0], None, 64).unwrap()).unwrap();
    let error = chain.add(&audit(&segments[2], None, 64).unwrap()).unwrap_err();
    assert!(error.contains("is missing"), "{error}");
}

#[test]
fn every_changed_byte_is_found_with_its_place() {
    let (_dir, mut segments) = journal();
    pack_run(&mut segments, 1, 4, |_| true);
    for segment in &segments[..2] {
        let whole = fs::read(&segment.path).unwrap();
        for place in (0..whole.len()).filter(|place| !(10..12).contains(place)) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            fs::write(&segment.path, &bytes).unwrap();
            let found = audit(segment, None, 64);
            match &segment.packed {
                None => assert!(found.unwrap_err().offset <= place as u64, "{place}"),
                // The table of blocks and heads of zstd are for other readers.
                Some(_) => assert!(found.is_err() || found == audit_of(segment, &whole)),
            }
        }
        for end in 0..whole.len() - 1 {
            fs::write(&segment.path, &whole[..end]).unwrap();
            let sound = audit(segment, None, 64).is_ok_and(|passed| passed.frames > 0);
            // A plain one may end after any frame: its length is known elsewhere.
            let (mut at, mut ends) = (56, vec![56]);
            while let Some(length) = whole.get(at..at + 4).filter(|_| segment.packed.is_none()) {
                at += 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
                ends.push(at);
            }
            assert!(!sound || ends.contains(&end) || segment.packed.is_some(), "{end}");
        }
        fs::write(&segment.path, &whole).unwrap();
    }
}

fn audit_of(segment: &Segment, bytes: &[u8]) -> Result<Passed, Flaw> {
    fs::write(&segment.path, bytes).unwrap();
    audit(segment, None, 64)
}

#[test]
fn a_journal_ends_with_the_last_whole_commit_and_goes_on_from_there() {
    let (original, segments) = journal();
    for packed in [false, true] {
        for seq in (2..=40).step_by(3) {
            for until in [Until::Seq(seq), Until::Time(at(seq))] {
                let (dir, mut segments) = copy(&original, &segments);
                if packed {
                    // Checkpoints are commits of their own.
                    pack_run(&mut segments, 1, 4, |seq| !(7..=8).contains(&seq));
                }
                let mut ended = false;
                for segment in &segments {
                    let passed = audit(segment, Some(until), 64).unwrap();
                    if ended {
                        fs::remove_file(&segment.path).unwrap();
                    } else if passed.cut.is_some() {
                        cut(dir.path(), &passed).unwrap();
                        ended = true;
                    }
                }
                let last = seq / 2 * 2;
                let missing = |seq: &u64| packed && (7..=8).contains(seq);
                let expected: Vec<_> = (1..=last).filter(|seq| !missing(seq)).collect();
                assert_eq!(seqs(dir.path()), expected, "{packed} {until:?}");
                let mut writer = open(dir.path(), false, 400).unwrap().writer;
                let mut batch = writer.batch();
                let next = if packed && (6..=8).contains(&last) { 9 } else { last + 1 };
                assert_eq!(batch.next_seq(), next, "{packed} {until:?}");
                batch.push(at(99), ChangeOrigin::Admin, FrameKind::Record, b"new").unwrap();
                writer.append(batch).unwrap();
                assert_eq!(seqs(dir.path()).last(), Some(&next));
            }
        }
    }
}

#[test]
fn what_was_left_out_says_how_far_history_reaches_back() {
    let (_dir, mut segments) = journal();
    pack_run(&mut segments, 1, 4, |seq| seq % 3 != 0);
    let as_of = segments.last().unwrap().first_seq;
    let passed = audit(&segments[1], Some(Until::Seq(9)), 64).unwrap();
    assert_eq!(passed.whole_from, as_of);
    assert!(passed.cut.is_some_and(|cut| cut.seq() < as_of));
    assert_eq!(audit(&segments[0], None, 64).unwrap().whole_from, 0);
}
