//! Kills while the server starts, and who may start at all.

use std::fs;
use std::process::Stdio;

use super::super::harness::{ROLLCALL, Rollcall, event, print, until};
use super::super::load::{Load, Random, Trial};
use super::{QUIET, RESTLESS, assert_checked, segments, start_fails, wait};

#[test]
fn kills_in_the_middle_of_a_start_lose_nothing() {
    let trial = Trial::new("CRASH_STARTS", 30);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&QUIET);
    let mut load = Load::new(trial.seed, 3);
    load.during(&mut rollcall, |rollcall| {
        wait(&mut random, 1500);
        rollcall.kill();
    });
    let mut unfinished = 0;
    for round in 0..trial.rounds {
        // A rebuild in every second one, a replay of everything in the others.
        if round % 2 == 0 {
            for entry in fs::read_dir(rollcall.data()).unwrap().map(Result::unwrap) {
                if entry.file_name().to_str().unwrap().starts_with("index-") {
                    fs::remove_dir_all(entry.path()).unwrap();
                }
            }
        }
        let mut command = rollcall.serve_command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        wait(&mut random, 250);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        unfinished += usize::from(output.stdout.is_empty());
        if round % 10 == 9 {
            rollcall.start();
            load.compare(&rollcall);
            assert_checked(&rollcall);
            rollcall.kill();
        }
    }
    assert!(unfinished > 0, "every start was over before its kill");
    rollcall.start();
    load.compare(&rollcall);
    assert_checked(&rollcall);
    // Starts alone do not fill the disk: each replaces the segment of the one before.
    assert!(segments(&rollcall).len() < 10 + trial.rounds / 5, "{:?}", segments(&rollcall));
    let generations = fs::read_dir(rollcall.data()).unwrap().map(Result::unwrap);
    let generations = generations.filter(|e| e.file_name().to_str().unwrap().starts_with("index-"));
    assert_eq!(generations.count(), 1);
    eprintln!("{} starts, {unfinished} killed before they listened", trial.rounds);
}

#[test]
fn kills_of_a_first_start_leave_a_directory_that_starts() {
    let trial = Trial::new("CRASH_FIRST_STARTS", 15);
    let mut random = Random::new(trial.seed);
    for _ in 0..trial.rounds {
        let mut rollcall = Rollcall::down();
        rollcall.set_args(&RESTLESS);
        let mut command = rollcall.serve_command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait(&mut random, 120);
        child.kill().unwrap();
        child.wait().unwrap();
        rollcall.start();
        assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
        assert_checked(&rollcall);
    }
}

#[test]
fn a_second_server_names_the_first_and_leaves() {
    let mut rollcall = Rollcall::up(&RESTLESS);
    let refused = start_fails(&rollcall);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(refused.stdout, "");
    let pid = rollcall.pid();
    assert!(refused.stderr.contains(&format!("(process {pid})")), "{refused:?}");
    assert!(refused.stderr.contains(rollcall.data().to_str().unwrap()), "{refused:?}");
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn the_socket_of_a_killed_server_is_in_nobodys_way() {
    let mut rollcall = Rollcall::up(&RESTLESS);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    rollcall.kill();
    let socket = rollcall.data().join("admin.sock");
    assert!(socket.exists(), "a killed server leaves its socket");
    assert_checked(&rollcall);
    assert!(rollcall.ok(&["status"]).contains("not running"));
    rollcall.start();
    let status = rollcall.ok(&["status"]);
    assert!(status.contains("running") && !status.contains("not running"), "{status}");
    assert_eq!(rollcall.stop(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_directory_of_a_later_release_is_refused_by_name() {
    let mut rollcall = Rollcall::up(&QUIET);
    assert_eq!(rollcall.stop(), Some(0));
    let path = rollcall.data().join("FORMAT");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("rollcall-data 1", "rollcall-data 2", 1)).unwrap();
    let refused = start_fails(&rollcall);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let told = format!("{} was written by a later release (format 2,", path.display());
    assert!(refused.stderr.contains(&told), "{refused:?}");
    // No command gets around that.
    let listed = rollcall.run(&["list"]);
    assert_eq!((listed.code, listed.stderr.contains(&told)), (Some(1), true), "{listed:?}");
    fs::write(&path, text).unwrap();
    rollcall.start();
}

#[test]
fn a_command_waits_for_a_server_that_is_starting() {
    let mut rollcall = Rollcall::up(&QUIET);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    rollcall.kill();
    let mut command = rollcall.serve_command();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lock = rollcall.data().join("LOCK");
    let pid = format!("pid {}\n", child.id());
    until("it has the lock", || (fs::read_to_string(&lock).unwrap() == pid).then_some(()));
    let mut check = std::process::Command::new(ROLLCALL);
    let printed = print(check.arg("check").arg("--data-dir").arg(rollcall.data()), b"");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(printed.code, Some(0), "{printed:?}");
}
