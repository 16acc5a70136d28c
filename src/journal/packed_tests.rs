//! Packed segments: what they keep, and what damage and crashes do to them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::disk_tests::{self as watched, EIO, Fault};
use super::*;
use crate::domain::{Source, Timestamp};

const AT: Timestamp = match Timestamp::from_millis(1_800_000_000_000) {
    Some(at) => at,
    None => Timestamp::MAX,
};
const STAMP: PackedStamp = PackedStamp { as_of: 40, erased_until: 30, at: AT };

/// A journal of twenty commits of two frames in several segments.
fn journal() -> (TempDir, OpenedJournal) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), true, 400).unwrap().writer;
    for n in 0..20 {
        let mut batch = writer.batch();
        for part in ["a", "b"] {
            let body = format!("body {n} {part}");
            let origin = ChangeOrigin::Source(Source::Webhook);
            batch.push(STAMP.at, origin, FrameKind::Record, body.as_bytes()).unwrap();
        }
        writer.append(batch).unwrap();
    }
    drop(writer);
    let opened = open(dir.path(), false, 400).unwrap();
    assert!(opened.segments.len() > 4, "{}", opened.segments.len());
    (dir, opened)
}

fn frames(segments: &[Segment]) -> Result<Vec<(u64, String)>, JournalError> {
    let mut found = Vec::new();
    for segment in segments {
        let mut scanner = Scanner::new(segment)?;
        while let Some((_, frame)) = scanner.next_frame()? {
            found.push((frame.seq, String::from_utf8(frame.body.to_vec()).unwrap()));
        }
    }
    Ok(found)
}

fn run(opened: &OpenedJournal, count: usize) -> Vec<Arc<Segment>> {
    opened.segments.iter().take(count).cloned().map(Arc::new).collect()
}

fn pack_all(run: &[Arc<Segment>], decision: impl Fn(u64) -> FrameDecision) -> Segment {
    pack::<JournalError>(run, STAMP, |frame| Ok(decision(frame.seq)), || Ok(())).unwrap()
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_packed_run_holds_the_same_frames_and_takes_the_place_of_its_segments() {
    let (dir, opened) = journal();
    let all = frames(&opened.segments).unwrap();
    let run = run(&opened, 3);
    let packed = pack_all(&run, |_| FrameDecision::Keep);
    let facts = packed.packed.clone().unwrap();
    assert!(facts.complete && facts.frames == facts.calls && facts.forgotten == 0);
    // A crash before the run was removed: both are there.
    let again = open(dir.path(), false, 400).unwrap();
    assert_eq!(frames(&again.segments).unwrap(), all);
    assert!(again.segments[0].packed.is_some() && !run[0].path.exists() && !run[2].path.exists());
    assert_eq!(files(dir.path()), again.segments.len());
    // Packed once more, with a neighbour; then half of the removal is done.
    let wider: Vec<_> = again.segments.iter().take(2).cloned().map(Arc::new).collect();
    let packed = pack_all(&wider, |_| FrameDecision::Keep);
    assert_ne!(packed.path, wider[0].path);
    fs::remove_file(&wider[0].path).unwrap();
    let again = open(dir.path(), false, 400).unwrap();
    assert_eq!(frames(&again.segments).unwrap(), all);
    assert_eq!(again.segments[0].packed, packed.packed);
}

#[test]
fn what_is_dropped_is_gone_and_what_is_forgotten_is_noted() {
    let (dir, opened) = journal();
    let run = run(&opened, 3);
    let last = opened.segments[3].first_seq - 1;
    let decision = |seq| match seq {
        1 | 3 => FrameDecision::Superseded,
        2 => FrameDecision::Forget,
        _ => FrameDecision::Keep,
    };
    let facts = pack_all(&run, decision).packed.unwrap();
    assert_eq!((facts.frames, facts.forgotten, facts.complete), (last - 3, 2, false));
    assert_eq!((facts.as_of, facts.erased_until), (40, 30));
    let again = open(dir.path(), false, 400).unwrap();
    let seqs: Vec<u64> = frames(&again.segments).unwrap().into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seqs, (4..=40).collect::<Vec<u64>>());
    // What was forgotten once stays so.
    let packed = Arc::new(again.segments[0].clone());
    let facts = pack_all(&[packed], |_| FrameDecision::Superseded).packed.unwrap();
    assert_eq!((facts.frames, facts.forgotten, facts.complete), (0, 2, false));
    let again = open(dir.path(), false, 400).unwrap();
    assert_eq!(frames(&again.segments).unwrap().first().unwrap().0, last + 1);
}

#[test]
fn zstd_unpacks_it_into_a_segment_that_can_be_read() {
    let (dir, opened) = journal();
    let all = frames(&opened.segments).unwrap();
    let packed = pack_all(&run(&opened, 1), |_| FrameDecision::Keep);
    let bytes = zstd::stream::decode_all(fs::File::open(&packed.path).unwrap()).unwrap();
    fs::write(&opened.segments[0].path, bytes).unwrap();
    fs::remove_file(&packed.path).unwrap();
    assert_eq!(frames(&open(dir.path(), false, 400).unwrap().segments).unwrap(), all);
}

#[test]
fn large_segments_are_read_from_any_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), true, 1 << 30).unwrap().writer;
    for n in 0..2000 {
        let mut batch = writer.batch();
        let body = format!("{n} {}", "text ".repeat(n % 80));
        batch.push(STAMP.at, ChangeOrigin::Admin, FrameKind::Record, body.as_bytes()).unwrap();
        writer.append(batch).unwrap();
    }
    writer.begin_segment().unwrap();
    let opened = open(dir.path(), false, 400).unwrap();
    let before = frames(&opened.segments).unwrap();
    let packed = pack_all(&run(&opened, 1), |_| FrameDecision::Keep);
    assert!(packed.disk_bytes() * 3 < packed.length, "{}", packed.disk_bytes());
    assert_eq!(frames(&open(dir.path(), false, 400).unwrap().segments).unwrap(), before);
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_packed_segment_is_found() {
    let (dir, opened) = journal();
    let all = frames(&opened.segments).unwrap();
    let packed = pack_all(&run(&opened, 2), |_| FrameDecision::Keep);
    drop(open(dir.path(), false, 400).unwrap());
    let whole = fs::read(&packed.path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&packed.path, bytes).unwrap();
        match open(dir.path(), false, 400).map(|opened| frames(&opened.segments)) {
            Err(_) | Ok(Err(_)) => true,
            Ok(Ok(found)) => {
                assert_eq!(found, all);
                false
            }
        }
    };
    let mut harmless = 0;
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        harmless += usize::from(!refused(&bytes));
    }
    // Only what nobody reads: the header within the first block, whose content stands before it.
    assert!(harmless < 56 * 8, "{harmless}");
    for length in 0..whole.len() {
        assert!(refused(&whole[..length]), "cut at {length}");
    }
    assert!(!refused(&whole));
}

#[test]
fn the_segment_after_a_packed_one_is_missed() {
    let (dir, opened) = journal();
    let count = opened.segments.len() - 1;
    pack_all(&run(&opened, count), |_| FrameDecision::Keep);
    fs::remove_file(&opened.segments[count].path).unwrap();
    let error = open(dir.path(), false, 400).err().unwrap().to_string();
    assert!(error.contains("after this one is missing"), "{error}");
    assert!(opened.segments[0].path.exists(), "nothing is removed where anything is wrong");
}

#[test]
fn one_that_could_not_be_finished_does_not_stand_for_its_run() {
    let (dir, opened) = journal();
    let run = run(&opened, 3);
    let whole = frames(&opened.segments).unwrap();
    let keep = |_: &Frame<'_>| Ok::<_, JournalError>(FrameDecision::Keep);
    let mut failures = 0;
    loop {
        watched::begin(dir.path());
        watched::fail(failures, Fault::Error(EIO));
        let packed = pack(&run, STAMP, keep, || Ok(()));
        let failed = watched::repair();
        watched::end();
        assert_eq!(packed.is_err(), failed);
        let ending = |wanted: &str| {
            let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names
                .filter(|name| Path::new(name).extension().is_some_and(|end| end == wanted))
                .count()
        };
        assert_eq!(ending("zst"), usize::from(!failed), "fault {failures}");
        assert_eq!(ending("new"), 0, "fault {failures}: what was begun takes no space");
        if !failed {
            break;
        }
        failures += 1;
    }
    assert_eq!(failures, 8, "every change of the disk has failed once");
    assert_eq!(frames(&open(dir.path(), false, 400).unwrap().segments).unwrap(), whole);
}
