//! Backups that somebody has damaged.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::super::harness::Rollcall;
use super::super::load::Random;
use super::{backup, ok, place, run, server, text};

/// Changes one byte, or changes it back.
pub fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn damage_is_named_with_its_file_and_byte_and_nothing_is_restored_of_it() {
    let rollcall = server(12_000);
    let target = place(&rollcall, "backup");
    backup(&rollcall, &target, &[]);
    let mut random = Random::new(7);
    let all = files(&target);
    assert!(all.len() > 6, "{all:?}");
    for file in &all {
        let name = text(file.strip_prefix(&target).unwrap()).to_owned();
        let bytes = fs::metadata(file).unwrap().len();
        for place in [0, bytes - 1, random.below(usize::try_from(bytes).unwrap()) as u64] {
            flip(file, place);
            let found = run(&["verify", text(&target)]);
            let said = found.stderr.contains(&name) && found.stderr.contains(" at byte ");
            assert!(found.code == Some(1) && said, "{name} {place}: {found:?}");
            flip(file, place);
        }
        for change in ["shorter", "gone"] {
            let whole = fs::read(file).unwrap();
            match change {
                "shorter" => fs::write(file, &whole[..whole.len() - 1]).unwrap(),
                _ => fs::remove_file(file).unwrap(),
            }
            let found = run(&["verify", text(&target)]);
            assert!(found.code == Some(1) && found.stderr.contains(&name), "{name}: {found:?}");
            let to = place_of(&rollcall);
            let refused = run(&["restore", text(&target), "--data-dir", text(&to)]);
            assert!(refused.code == Some(1) && refused.stderr.contains(&name), "{refused:?}");
            assert!(!to.exists(), "something was left of a failed restore");
            fs::write(file, &whole).unwrap();
        }
    }
    ok(&["verify", text(&target)]);
}

#[test]
fn a_damaged_journal_is_not_backed_up_and_the_file_is_named() {
    let rollcall = server(12_000);
    let first = rollcall.data().join("journal/00000000000000000001.log");
    let target = place(&rollcall, "backup");
    flip(&first, 5000);
    let refused = run(&["backup", text(&target), "--data-dir", text(rollcall.data())]);
    let said = refused.stderr.contains(text(rollcall.data()))
        && refused.stderr.contains("journal/00000000000000000001.log is damaged at byte");
    assert!(refused.code == Some(1) && said, "{refused:?}");
    assert!(!target.exists() && !place(&rollcall, "backup.partial").exists());
    flip(&first, 5000);
    backup(&rollcall, &target, &[]);
    ok(&["verify", text(&target)]);
}

fn place_of(rollcall: &Rollcall) -> PathBuf {
    place(rollcall, "restored")
}

#[test]
fn no_damaged_or_cut_archive_is_taken_for_whole() {
    let rollcall = server(12_000);
    let target = place(&rollcall, "backup.tar.zst");
    backup(&rollcall, &target, &[]);
    let bytes = fs::metadata(&target).unwrap().len();
    let mut random = Random::new(8);
    for _ in 0..40 {
        let place = random.below(usize::try_from(bytes).unwrap()) as u64;
        flip(&target, place);
        let found = run(&["verify", text(&target)]);
        assert!(found.code == Some(1) && found.stdout.is_empty(), "{place}: {found:?}");
        assert!(!found.stderr.contains("panicked"), "{found:?}");
        flip(&target, place);
    }
    let whole = fs::read(&target).unwrap();
    for end in [whole.len() - 1, whole.len() - 300, whole.len() / 2, 3] {
        fs::write(&target, &whole[..end]).unwrap();
        let found = run(&["verify", text(&target)]);
        assert_eq!(found.code, Some(1), "{end}: {found:?}");
        let to = place_of(&rollcall);
        let refused = run(&["restore", text(&target), "--data-dir", text(&to)]);
        assert!(refused.code == Some(1) && !to.exists(), "{end}: {refused:?}");
    }
    fs::write(&target, &whole).unwrap();
    ok(&["verify", text(&target)]);
}
