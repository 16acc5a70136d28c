//! The first directory of a disk: what the machine keeps there for itself is in nobody's way, and
//! nothing can be renamed to it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::super::crash::wait;
use super::super::harness::{ROLLCALL, Rollcall, event, have, print, skip};
use super::super::load::{Random, Trial};
use super::{export, kills, ok, place, restore, run, server, text};

/// Of each kind one; those with a slash are directories.
const NAMES: [&str; 12] = [
    "lost+found/",
    ".Trash-1000/files/",
    ".snapshot/",
    "@eaDir/",
    "System Volume Information/",
    "$RECYCLE.BIN/",
    ".Spotlight-V100/",
    ".DS_Store",
    "._admin.token",
    ".nfs000000000000a1b200000001",
    "Thumbs.db",
    "aquota.user",
];

/// A directory as the machine leaves it.
fn furnish(dir: &Path) {
    for name in NAMES {
        let path = dir.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(dir).unwrap();
            fs::write(path, "theirs").unwrap();
        }
    }
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(dir.join("lost+found"), closed).unwrap();
}

fn assert_furnished(dir: &Path) {
    for name in NAMES {
        assert!(dir.join(name).exists(), "{name} is gone from {}", dir.display());
    }
}

#[test]
fn what_a_machine_keeps_in_a_directory_is_no_content_of_it() {
    let down = Rollcall::down();
    furnish(down.data());
    fs::set_permissions(down.data(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut rollcall = Rollcall::up_in(down.data(), &[]);
    // Some put it into every directory.
    for dir in ["journal", "tls", "index-1"] {
        furnish(&rollcall.data().join(dir));
    }
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    for running in [true, false] {
        let target = place(&rollcall, &format!("usb-{running}"));
        furnish(&target);
        let data = text(rollcall.data()).to_owned();
        let made = ok(&["backup", text(&target), "--data-dir", &data]);
        assert_eq!(made["path"], text(&target));
        assert_eq!(ok(&["verify", text(&target)])["sequence"], made["sequence"]);
        let names: Vec<_> = fs::read_dir(target.join("tls")).unwrap().collect();
        assert_eq!(names.len(), 3, "what is nobody's was backed up: {names:?}");
        // A second one is none.
        let again = run(&["backup", text(&target), "--data-dir", &data]);
        assert!(again.stderr.contains("is there already"), "{again:?}");
        let kept = run(&["backup", text(&target), "--keep", "2", "--data-dir", &data]);
        assert!(kept.stderr.contains("is itself a finished backup"), "{kept:?}");
        assert_furnished(&target);
        let many = place(&rollcall, &format!("many-{running}"));
        furnish(&many);
        ok(&["backup", text(&many), "--keep", "2", "--data-dir", &data]);
        assert_furnished(&many);
        let volume = place(&rollcall, &format!("volume-{running}"));
        furnish(&volume);
        restore(&target, &volume, &[]);
        assert_furnished(&volume);
        assert_eq!(export(&volume), rollcall.ok(&["export"]));
        let doctor = run(&["doctor", "--data-dir", &data]).stdout;
        for name in NAMES {
            assert!(!doctor.contains(name.trim_end_matches('/')), "{name}: {doctor}");
        }
        // Nobody is waited for who reads what is not there: with all the time of the test it ends.
        let purge = ["purge", "--number", "+15550009999", "--wait", "1h"];
        assert_eq!(rollcall.run(&purge).code, Some(0));
        if running {
            assert_eq!(rollcall.stop(), Some(0));
        }
    }
    rollcall.start();
    assert!(rollcall.ok(&["list"]).contains("+15550000001"));
    assert_furnished(rollcall.data());
}

#[test]
fn what_somebody_has_put_there_is_in_the_way() {
    let mut rollcall = Rollcall::up(&[]);
    let made = place(&rollcall, "made");
    let data = text(rollcall.data()).to_owned();
    ok(&["backup", text(&made), "--data-dir", &data]);
    for name in ["notes", ".hidden", "lost+found.old", "nfs0", ".Trash2", "..data"] {
        let target = place(&rollcall, "target");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join(name), "mine").unwrap();
        let refused = run(&["backup", text(&target), "--data-dir", &data]);
        let said = refused.stderr.contains("is there already");
        assert!(refused.code == Some(1) && said, "{name}: {refused:?}");
        let refused = run(&["restore", text(&made), "--data-dir", text(&target)]);
        let said = refused.stderr.contains("is not empty");
        assert!(refused.code == Some(1) && said, "{name}: {refused:?}");
        assert_eq!(fs::read_to_string(target.join(name)).unwrap(), "mine");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1, "{name}");
        fs::remove_dir_all(&target).unwrap();
    }
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_killed_backup_in_a_directory_of_a_disk_is_none_and_the_next_one_clears_it_away() {
    let trial = Trial::new("BACKUP_PLACE_KILLS", 6);
    let mut random = Random::new(trial.seed);
    let rollcall = server(12_000);
    let (data, mut unfinished) = (text(rollcall.data()).to_owned(), 0);
    for _ in 0..trial.rounds {
        let target = place(&rollcall, "disk");
        furnish(&target);
        let slow = kills::spawn(&["backup", text(&target), "--rate", "4MiB", "--data-dir", &data]);
        wait(&mut random, 400);
        kills::kill(slow);
        if target.join("UNFINISHED").exists() {
            unfinished += 1;
            for args in [
                &["verify", text(&target)][..],
                &["restore", text(&target), "--data-dir", text(&place(&rollcall, "new"))],
                &["status", "--data-dir", text(&target)],
            ] {
                let refused = run(args);
                let said = refused.stderr.contains("not finished");
                assert!(refused.code == Some(1) && said, "{args:?}: {refused:?}");
            }
        }
        if !target.join("BACKUP").exists() {
            let again = run(&["backup", text(&target), "--data-dir", &data]);
            assert_eq!(again.code, Some(0), "{again:?}");
        }
        ok(&["verify", text(&target)]);
        assert_furnished(&target);
        assert!(!target.join("UNFINISHED").exists());
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(unfinished > 0, "every backup was over before its kill, or had not begun");
}

#[test]
fn a_backup_goes_to_a_disk_that_is_mounted_there() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount");
        return;
    }
    if !have("unshare") || !have("mount") {
        return;
    }
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    let dir = tempfile::tempdir().unwrap();
    // Nothing can be written beside it.
    let script = "set -e; cd \"$2\"; mount -t tmpfs -o mode=755 around .; cd \"$2\"; mkdir disk; \
                  mount -t tmpfs disk disk; mkdir disk/lost+found; mount -o remount,ro .; \
                  \"$0\" backup disk --data-dir \"$1\"; \"$0\" verify disk; \
                  umount disk; mount -t tmpfs disk disk; mkdir disk/lost+found; \
                  \"$0\" backup disk/one.tar.zst --data-dir \"$1\"; mkdir disk/data; \
                  \"$0\" restore disk/one.tar.zst --data-dir disk/data; echo done";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, ROLLCALL]).arg(rollcall.data()).arg(dir.path());
    let printed = print(&mut command, b"");
    assert!(printed.code == Some(0) && printed.stdout.ends_with("done\n"), "{printed:?}");
}
