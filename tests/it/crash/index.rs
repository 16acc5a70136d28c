//! Kills, and an index that is damaged before the server comes back.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::super::harness::{Rollcall, until};
use super::super::load::{Load, Random, Trial};
use super::{RESTLESS, assert_checked, files, wait};

/// What is done to the index.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Deleted,
    Truncated,
    Emptied,
    Noise,
    NoiseAtItsEnd,
    Older,
    CurrentRemoved,
    CurrentNowhere,
    CurrentNoise,
}

const ALL: [Damage; 9] = [
    Damage::Deleted,
    Damage::Truncated,
    Damage::Emptied,
    Damage::Noise,
    Damage::NoiseAtItsEnd,
    Damage::Older,
    Damage::CurrentRemoved,
    Damage::CurrentNowhere,
    Damage::CurrentNoise,
];

#[test]
fn nothing_acknowledged_depends_on_the_index() {
    let trial = Trial::new("INDEX_ROUNDS", 3 * ALL.len());
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&RESTLESS);
    let mut load = Load::new(trial.seed, 3);
    let older = rollcall.dir.path().join("older");
    let mut aside = 0;
    for round in 0..trial.rounds {
        load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 350);
            rollcall.kill();
        });
        let damage = ALL[round % ALL.len()];
        let index = current(rollcall.data());
        if round % ALL.len() == 0 {
            // What is brought back some rounds later.
            let _none = fs::remove_dir_all(&older);
            copy(&index, &older);
        }
        inflict(damage, rollcall.data(), &older, &mut random);
        let whole = index.is_dir() && rollcall.data().join("CURRENT").exists();
        rollcall.start();
        load.compare(&rollcall);
        assert_sound(&rollcall, damage);
        let moved = PathBuf::from(format!("{}.damaged", index.display()));
        match damage {
            Damage::Emptied => assert!(moved.is_dir()),
            // A block that nobody needs any more is not missed, and an older copy may do.
            Damage::Truncated | Damage::Noise | Damage::NoiseAtItsEnd | Damage::Older => {
                let kept = || (index.is_dir() || moved.is_dir()).then_some(());
                assert!(whole);
                until("the damaged index is quarantined", kept);
            }
            _ => assert!(!index.is_dir() || current(rollcall.data()) == index, "{damage:?}"),
        }
        aside += usize::from(moved.is_dir());
        if round % 2 == 1 {
            // Nothing of the damage is carried on.
            assert_eq!(rollcall.stop(), Some(0));
            assert_checked(&rollcall);
            rollcall.start();
        }
    }
    eprintln!(
        "{} rounds, {} events and deletions acknowledged, 0 lost, {aside} indexes quarantined",
        trial.rounds,
        load.acknowledged()
    );
    assert!(load.acknowledged() > 20 * trial.rounds, "{} acknowledged", load.acknowledged());
}

/// The index that `CURRENT` names.
fn current(data: &Path) -> PathBuf {
    let number = fs::read_to_string(data.join("CURRENT")).unwrap();
    data.join(format!("index-{}", number.trim()))
}

/// A check finds nothing; damage that only it has come upon may first have the index rebuilt.
fn assert_sound(rollcall: &Rollcall, damage: Damage) {
    let noise = matches!(damage, Damage::Truncated | Damage::Noise | Damage::NoiseAtItsEnd);
    if !noise {
        return assert_checked(rollcall);
    }
    let printed = until("the index is whole again", || {
        let printed = rollcall.run(&["check"]);
        let rebuilding = printed.code == Some(1) && printed.stdout.is_empty();
        (!rebuilding).then_some(printed)
    });
    assert_eq!(printed.code, Some(0), "{damage:?}: {printed:?}");
}

fn inflict(damage: Damage, data: &Path, older: &Path, random: &mut Random) {
    let index = current(data);
    let db = index.join("db");
    let pointer = data.join("CURRENT");
    let open = || OpenOptions::new().write(true).open(&db).unwrap();
    let size = usize::try_from(fs::metadata(&db).unwrap().len()).unwrap();
    match damage {
        Damage::Deleted => fs::remove_dir_all(&index).unwrap(),
        Damage::Truncated => open().set_len(random.below(size) as u64).unwrap(),
        Damage::Emptied => {
            open().set_len(0).unwrap();
            for snapshot in fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path()) {
                if snapshot.file_name().unwrap().to_str().unwrap().starts_with("snap") {
                    fs::remove_file(snapshot).unwrap();
                }
            }
        }
        Damage::Noise => scatter(&open(), 0, size, random),
        Damage::NoiseAtItsEnd => scatter(&open(), size * 3 / 4, size, random),
        Damage::Older => {
            fs::remove_dir_all(&index).unwrap();
            copy(older, &index);
        }
        Damage::CurrentRemoved => fs::remove_file(pointer).unwrap(),
        Damage::CurrentNowhere => fs::write(pointer, "4711\n").unwrap(),
        Damage::CurrentNoise => fs::write(pointer, [0xff, 0, 0x0a, 0x80]).unwrap(),
    }
}

/// Overwrites some blocks between two places with noise.
fn scatter(file: &fs::File, from: usize, to: usize, random: &mut Random) {
    for _ in 0..8 {
        let at = from + random.below(to - from);
        let block: Vec<u8> =
            (0..random.below(4096)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        file.write_all_at(&block, at as u64).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for path in files(from, "") {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}
