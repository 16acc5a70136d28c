//! Crashes, damage and the order of things, on real files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::domain::{Source, Timestamp};

const LARGE: u64 = 1 << 30;

fn commit(writer: &mut JournalWriter, bodies: &[&str]) -> bool {
    let mut batch = writer.batch();
    for body in bodies {
        let at = Timestamp::from_millis(7).unwrap();
        let origin = ChangeOrigin::Source(Source::Webhook);
        batch.push(at, origin, FrameKind::Record, body.as_bytes()).unwrap();
    }
    writer.append(batch).unwrap()
}

fn bodies(segments: &[Segment]) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for segment in segments {
        let mut scanner = Scanner::new(segment).unwrap();
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            found.push((frame.seq, String::from_utf8(frame.body.to_vec()).unwrap()));
        }
    }
    found
}

fn texts(dir: &Path) -> Vec<String> {
    bodies(&open(dir, true, LARGE).unwrap().segments).into_iter().map(|(_, body)| body).collect()
}

/// A journal of three commits in one segment: the directory, the file, and where each commit ends.
fn three_commits() -> (TempDir, std::path::PathBuf, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), true, LARGE).unwrap().writer;
    let mut ends = Vec::new();
    for bodies in [&["a1", "a2"][..], &["b1"], &["c1", "c2", "c3"]] {
        commit(&mut writer, bodies);
        ends.push(usize::try_from(writer.segment().length).unwrap());
    }
    let path = writer.segment().path.clone();
    (dir, path, ends)
}

#[test]
fn what_was_committed_comes_back_in_order_however_often_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..5_u64 {
        let opened = open(dir.path(), true, LARGE).unwrap();
        assert_eq!(opened.torn, None);
        assert_eq!(bodies(&opened.segments), expected);
        let mut writer = opened.writer;
        assert_eq!(writer.last_seq(), expected.len() as u64);
        drop(open(dir.path(), true, LARGE).map(|opened| writer = opened.writer));
        for n in 0..round {
            let body = format!("{round}/{n}");
            commit(&mut writer, &[&body]);
            expected.push((expected.len() as u64 + 1, body));
        }
    }
    assert_eq!(expected.len(), 10);
}

#[test]
fn segments_are_begun_when_one_is_full_and_form_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), true, 200).unwrap().writer;
    let rotations = (0..20).filter(|n| commit(&mut writer, &[&format!("body {n}")])).count();
    assert!(rotations > 3, "{rotations}");
    let opened = open(dir.path(), true, 200).unwrap();
    assert_eq!(bodies(&opened.segments).len(), 20);
    for missing in [&opened.segments[1].path, &opened.segments[0].path] {
        let bytes = fs::read(missing).unwrap();
        fs::remove_file(missing).unwrap();
        let error = open(dir.path(), true, 200).err().unwrap().to_string();
        assert!(error.contains("missing") && error.contains(missing.to_str().unwrap()), "{error}");
        fs::write(missing, bytes).unwrap();
    }
}

#[test]
fn only_a_new_journal_may_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path(), false, LARGE).err().unwrap().to_string();
    assert!(error.contains("no segment"), "{error}");
    assert!(open(dir.path(), true, LARGE).is_ok() && open(dir.path(), false, LARGE).is_ok());
}

#[test]
fn a_journal_cut_anywhere_has_all_whole_commits_before_the_cut_and_nothing_else() {
    let (dir, path, ends) = three_commits();
    let whole = fs::read(&path).unwrap();
    let empty = begin();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        match open(dir.path(), true, LARGE) {
            // Not even the header is there.
            Err(error) => assert!(length < empty, "cut at {length}: {error}"),
            Ok(opened) => {
                let commits = ends.iter().filter(|end| **end <= length).count();
                assert_eq!(
                    bodies(&opened.segments).len(),
                    [0, 2, 3, 6][commits],
                    "cut at {length}"
                );
                assert_eq!(opened.torn.is_some(), length != empty && !ends.contains(&length));
            }
        }
        restore(dir.path(), &path, &whole);
    }
}

/// Where the first commit of a segment begins.
fn begin() -> usize {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path(), true, LARGE).unwrap().writer;
    usize::try_from(writer.segment().length).unwrap()
}

/// Puts the one segment back as it was.
fn restore(dir: &Path, path: &Path, bytes: &[u8]) {
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_flipped_bit_is_found() {
    let (dir, path, ends) = three_commits();
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        restore(dir.path(), &path, &bytes);
        let opened = open(dir.path(), true, LARGE);
        if bit / 8 < ends[1] {
            assert!(opened.is_err(), "bit {bit} before the last commit went unnoticed");
        } else {
            let opened = opened.unwrap();
            assert!(opened.torn.is_some(), "bit {bit} in the last commit went unnoticed");
            assert_eq!(bodies(&opened.segments).len(), 3);
        }
    }
}

#[test]
fn a_block_that_was_written_early_or_not_at_all_is_a_torn_tail() {
    let (dir, path, ends) = three_commits();
    let mut bytes = fs::read(&path).unwrap();
    // The last commit's first frame never reached the disk, its later ones did.
    bytes[ends[1]..ends[1] + 20].fill(0);
    restore(dir.path(), &path, &bytes);
    let opened = open(dir.path(), true, LARGE).unwrap();
    assert_eq!(bodies(&opened.segments).len(), 3);
    // The same in the commit before it is damage: a later commit was acknowledged after it.
    bytes = fs::read(&path).unwrap();
    bytes[ends[0]..ends[0] + 20].fill(0);
    restore(dir.path(), &path, &bytes);
    let error = open(dir.path(), true, LARGE).err().unwrap().to_string();
    assert!(error.contains(&format!("at byte {}", ends[0])), "{error}");
}

#[test]
fn what_an_old_tail_holds_never_comes_back() {
    let (dir, path, ends) = three_commits();
    let whole = fs::read(&path).unwrap();
    restore(dir.path(), &path, &whole[..ends[2] - 1]);
    let mut opened = open(dir.path(), true, LARGE).unwrap();
    commit(&mut opened.writer, &["d1"]);
    drop(opened);
    // Late blocks of the torn commit arrive in the old segment.
    fs::write(&path, &whole).unwrap();
    assert_eq!(texts(dir.path()), ["a1", "a2", "b1", "d1"]);
    assert_eq!(texts(dir.path()), ["a1", "a2", "b1", "d1"]);
}

#[test]
fn a_segment_of_a_later_release_is_refused_by_name() {
    let (dir, path, _) = three_commits();
    let mut bytes = fs::read(&path).unwrap();
    // One with frames of a log comes after that of a store that is alone.
    bytes[8] += 2;
    restore(dir.path(), &path, &bytes);
    let error = open(dir.path(), true, LARGE).err().unwrap().to_string();
    assert!(error.contains("later release"), "{error}");
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, path, _) = three_commits();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_frame_over_the_limit_is_refused_and_leaves_the_batch_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), true, LARGE).unwrap().writer;
    let mut batch = writer.batch();
    let body = vec![0; 300 * 1024];
    let at = Timestamp::default();
    let refused = batch.push(at, ChangeOrigin::Admin, FrameKind::Admin, &body);
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
    batch.push(at, ChangeOrigin::Admin, FrameKind::Admin, b"small").unwrap();
    writer.append(batch).unwrap();
    assert_eq!(texts(dir.path()), ["small"]);
}
