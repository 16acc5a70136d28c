//! Damage to the journal itself: what is only a torn tail, and what stops the start.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::super::harness::{Printed, Rollcall, event};
use super::{QUIET, assert_checked, flip, listed, segments, sids, start_fails};

/// Bytes of a segment's header.
const HEADER: u64 = 56;

/// A killed server whose last segment ends with the commits of calls 1 to 5, and one more commit
/// of calls 6 to 8. Returns where the frames of that segment begin, and where the last one ends.
fn killed() -> (Rollcall, PathBuf, Vec<u64>) {
    let mut rollcall = Rollcall::up(&QUIET);
    for number in 1..=5 {
        assert_eq!(rollcall.post_events(&event(number, "busy")).status, 204);
    }
    let batch: Vec<_> = (6..=8).map(|number| event(number, "busy")).collect();
    assert_eq!(rollcall.post_events(&batch.join("\n")).status, 204);
    rollcall.kill();
    let segment = segments(&rollcall).pop().unwrap();
    let frames = frames(&segment);
    assert!(frames.len() >= 9, "{frames:?}");
    (rollcall, segment, frames)
}

fn frames(segment: &Path) -> Vec<u64> {
    let bytes = fs::read(segment).unwrap();
    let mut offsets = vec![HEADER];
    while let Some(length) = bytes.get(usize::try_from(*offsets.last().unwrap()).unwrap()..) {
        let Some(length) = length.first_chunk() else { break };
        offsets.push(offsets.last().unwrap() + 16 + u64::from(u32::from_le_bytes(*length)));
    }
    assert_eq!(offsets.last(), Some(&(bytes.len() as u64)));
    offsets
}

fn assert_refused(refused: &Printed, told: &[&str]) {
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    for text in told {
        assert!(refused.stderr.contains(text), "{text}: {refused:?}");
    }
}

#[test]
fn a_damaged_middle_stops_the_start_and_is_named() {
    let (mut rollcall, segment, frames) = killed();
    let name = segment.to_str().unwrap();
    // Every frame but those of the last commit, which nothing tells from a torn one.
    for frame in frames.windows(2).take(frames.len() - 4) {
        // The length, the checksum, the commit number, the payload, its last byte.
        for offset in
            [frame[0], frame[0] + 3, frame[0] + 5, frame[0] + 9, frame[0] + 20, frame[1] - 1]
        {
            let before = fs::read(&segment).unwrap();
            flip(&segment, offset);
            let place = format!("{name} at byte {}:", frame[0]);
            assert_refused(&start_fails(&rollcall), &["the journal is damaged", &place]);
            flip(&segment, offset);
            assert_eq!(fs::read(&segment).unwrap(), before, "a refused start changes nothing");
        }
    }
    flip(&segment, 20);
    assert_refused(&start_fails(&rollcall), &["the header does not fit its checksum", name]);
    flip(&segment, 20);
    rollcall.start();
    assert_eq!(listed(&rollcall), sids(8));
    assert_checked(&rollcall);
}

#[test]
fn what_follows_the_last_commit_is_dropped_and_said() {
    for garbage in [&b"\0"[..], &[0; 5000], &[0x55; 17], &[0xff; 4096]] {
        let (mut rollcall, segment, frames) = killed();
        let end = *frames.last().unwrap();
        OpenOptions::new().append(true).open(&segment).unwrap().write_all(garbage).unwrap();
        rollcall.start();
        let log = rollcall.log();
        let told = [
            "the last commit was cut off; it is dropped (it was acknowledged only if".to_owned(),
            format!("file={}", segment.display()),
            format!("offset={end} bytes={}", garbage.len()),
        ];
        assert!(told.iter().all(|text| log.contains(text)), "{log}");
        assert_eq!(listed(&rollcall), sids(8));
        assert_checked(&rollcall);
        // It is said once: the next start finds nothing of it.
        rollcall.kill();
        rollcall.start();
        assert_eq!(rollcall.log().matches("last commit was cut off").count(), 1);
        assert_eq!(listed(&rollcall), sids(8));
    }
}

#[test]
fn a_last_commit_that_is_cut_anywhere_is_dropped_as_a_whole() {
    let cuts: [fn([u64; 4]) -> u64; 7] = [
        |[begin, ..]| begin + 1,
        |[begin, ..]| begin + 16,
        |[_, second, ..]| second - 1,
        |[_, second, ..]| second,
        |[.., third, _]| third + 7,
        |[.., third, _]| third,
        |[.., end]| end - 1,
    ];
    for cut in cuts {
        let (mut rollcall, segment, frames) = killed();
        let last = *frames.last_chunk::<4>().unwrap();
        let (length, [begin, ..]) = (cut(last), last);
        OpenOptions::new().write(true).open(&segment).unwrap().set_len(length).unwrap();
        rollcall.start();
        assert!(rollcall.log().contains(&format!("offset={begin} bytes={}", length - begin)));
        assert_eq!(listed(&rollcall), sids(5), "cut to {length} of {frames:?}");
        assert_checked(&rollcall);
        // Sequence numbers and commits go on.
        assert_eq!(rollcall.post_events(&event(6, "busy")).status, 204);
        rollcall.kill();
        rollcall.start();
        assert_eq!(listed(&rollcall), sids(6));
    }
}

#[test]
fn a_missing_segment_stops_the_start_and_is_named() {
    let mut rollcall = Rollcall::up(&QUIET);
    for number in 1..=4 {
        for status in ["trying", "ringing", "busy"] {
            assert_eq!(rollcall.post_events(&event(number, status)).status, 204);
        }
        rollcall.kill();
        rollcall.start();
    }
    rollcall.kill();
    let all = segments(&rollcall);
    assert!(all.len() > 3, "{all:?}");
    let aside = rollcall.dir.path().join("aside");
    for segment in &all[..all.len() - 1] {
        fs::rename(segment, &aside).unwrap();
        let name = segment.to_str().unwrap();
        assert_refused(&start_fails(&rollcall), &[name, "this segment is missing"]);
        fs::rename(&aside, segment).unwrap();
    }
    // Part of an earlier segment is no torn tail either.
    let second = fs::read(&all[1]).unwrap();
    fs::write(&all[1], &second[..second.len() / 2]).unwrap();
    let name = all[1].to_str().unwrap();
    assert_refused(&start_fails(&rollcall), &[name, "the file ends here"]);
    fs::write(&all[1], second).unwrap();
    rollcall.start();
    assert_eq!(listed(&rollcall), sids(4));
    assert_checked(&rollcall);
    // The index has it all; without its end the journal does not.
    assert_eq!(rollcall.stop(), Some(0));
    for last in segments(&rollcall).iter().rev().take(2) {
        fs::remove_file(last).unwrap();
    }
    assert_refused(&start_fails(&rollcall), &["is ahead of the journal", "rollcall rebuild"]);
}
