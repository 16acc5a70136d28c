//! `kill -9` of the process that makes, reads or restores a backup.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::super::crash::{assert_checked, wait};
use super::super::harness::{ROLLCALL, Rollcall, until};
use super::super::load::{Random, Trial};
use super::{backup, export, ok, place, restore, run, server, text};

pub(super) fn spawn(args: &[&str]) -> Child {
    let mut command = Command::new(ROLLCALL);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

pub(super) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_backup_that_was_killed_at_its_very_beginning_was_not_finished() {
    let rollcall = Rollcall::down();
    let partial = place(&rollcall, "backup.partial");
    fs::create_dir(&partial).unwrap();
    for args in [
        &["verify", text(&partial)][..],
        &["restore", text(&partial), "--data-dir", text(&place(&rollcall, "new"))],
    ] {
        let refused = run(args);
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        assert!(refused.stderr.contains("was not finished"), "{args:?}: {refused:?}");
    }
}

#[test]
fn a_killed_backup_is_no_backup_and_the_next_one_clears_it_away() {
    let trial = Trial::new("BACKUP_KILLS", 12);
    let mut random = Random::new(trial.seed);
    let mut rollcall = server(12_000);
    let mut unfinished = 0;
    for round in 0..trial.rounds {
        // With a server and without one.
        if round == trial.rounds / 2 {
            assert_eq!(rollcall.stop(), Some(0));
        }
        let name = if round % 2 == 0 { "backup" } else { "backup.tar.zst" };
        let target = place(&rollcall, name);
        let partial = place(&rollcall, &format!("{name}.partial"));
        let data = text(rollcall.data()).to_owned();
        let slow = spawn(&["backup", text(&target), "--rate", "4MiB", "--data-dir", &data]);
        wait(&mut random, 400);
        kill(slow);
        if target.exists() {
            ok(&["verify", text(&target)]);
            continue;
        }
        if partial.exists() {
            unfinished += 1;
            for args in [
                &["verify", text(&partial)][..],
                &["restore", text(&partial), "--data-dir", text(&place(&rollcall, "new"))],
            ] {
                let refused = run(args);
                let said = refused.stderr.contains(text(&partial));
                assert!(refused.code == Some(1) && said, "{args:?}: {refused:?}");
                assert!(refused.stderr.contains("was not finished"), "{refused:?}");
            }
            // One that was killed at its very beginning is an empty directory.
            if fs::read_dir(&partial).is_ok_and(|mut files| files.next().is_some()) {
                let refused = run(&["status", "--data-dir", text(&partial)]);
                assert!(refused.stderr.contains("not finished"), "{refused:?}");
            }
        }
        let again = run(&["backup", text(&target), "--data-dir", &data]);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert!(!partial.exists() && again.stdout.contains(text(&target)), "{again:?}");
        ok(&["verify", text(&target)]);
        if target.is_dir() { fs::remove_dir_all(&target) } else { fs::remove_file(&target) }
            .unwrap();
        assert_checked(&rollcall);
    }
    assert!(unfinished > 0, "every backup was over before its kill, or had not begun");
}

#[test]
fn two_that_write_to_one_place_do_not_meet() {
    let rollcall = server(12_000);
    let target = place(&rollcall, "backup");
    let data = text(rollcall.data());
    let slow = spawn(&["backup", text(&target), "--rate", "64KiB", "--data-dir", data]);
    let mark = place(&rollcall, "backup.partial/journal/00000000000000000001.log");
    until("it writes", || mark.exists().then_some(()));
    let refused = run(&["backup", text(&target), "--data-dir", data]);
    assert!(refused.stderr.contains("is being written by another process"), "{refused:?}");
    assert_eq!(refused.code, Some(1));
    assert!(mark.exists());
    kill(slow);
    backup(&rollcall, &target, &[]);
    ok(&["verify", text(&target)]);
}

#[test]
fn a_server_that_dies_leaves_no_backup() {
    let mut rollcall = server(12_000);
    let target = place(&rollcall, "backup");
    let data = text(rollcall.data()).to_owned();
    let slow = spawn(&["backup", text(&target), "--rate", "64KiB", "--data-dir", &data]);
    let partial = place(&rollcall, "backup.partial");
    until("it writes", || partial.join("journal").exists().then_some(()));
    rollcall.kill();
    let ended = slow.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(!target.exists() && !partial.exists());
    rollcall.start();
    assert_checked(&rollcall);
}

#[test]
fn a_killed_restore_is_refused_by_name_and_can_be_run_again() {
    let trial = Trial::new("RESTORE_KILLS", 12);
    let mut random = Random::new(trial.seed);
    let rollcall = server(12_000);
    let target = place(&rollcall, "backup");
    backup(&rollcall, &target, &[]);
    let before = rollcall.ok(&["export"]);
    let to = place(&rollcall, "restored");
    let whole = |to: &Path| export(to) == before;
    let mut unfinished = 0;
    for round in 0..trial.rounds {
        let args = ["restore", text(&target), "--data-dir", text(&to)];
        let restoring = spawn(&args);
        match round % 3 {
            0 => until("it has begun", || to.join("UNFINISHED").exists().then_some(())),
            1 => until("it copies", || to.join("journal").exists().then_some(())),
            _ => wait(&mut random, 150),
        }
        kill(restoring);
        if to.join("UNFINISHED").exists() {
            unfinished += 1;
            for command in ["status", "check", "serve", "import", "export"] {
                let refused = run(&[command, "--data-dir", text(&to)]);
                let said = refused.stderr.contains(text(&to))
                    && refused.stderr.contains("was not finished");
                assert!(refused.code == Some(1) && said, "{command}: {refused:?}");
            }
            let again = run(&args);
            assert_eq!(again.code, Some(0), "{again:?}");
            assert!(again.stderr.contains("had left unfinished"), "{again:?}");
        } else if !to.join("FORMAT").exists() {
            // It had not begun.
            restore(&target, &to, &[]);
        }
        assert!(whole(&to), "round {round}");
        fs::remove_dir_all(&to).unwrap();
    }
    assert!(unfinished > 0, "every restore was over before its kill, or had not begun");
    // A killed reader has touched nothing.
    for _ in 0..3 {
        let reading = spawn(&["verify", text(&target)]);
        wait(&mut random, 20);
        kill(reading);
    }
    ok(&["verify", text(&target)]);
    assert_checked(&rollcall);
}
