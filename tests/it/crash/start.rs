//! Kills while the server starts, and who may start at all.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::super::harness::{ROLLCALL, Rollcall, TIMEOUT, event, print, until};
use super::super::load::{Load, Random, Trial};
use super::{QUIET, RESTLESS, assert_checked, files, start_fails, wait};

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
        // Rebuilds until one is finished, and then replays.
        if round % 4 == 0 {
            for index in generations(&rollcall) {
                fs::remove_dir_all(index).unwrap();
            }
        }
        let mut command = rollcall.serve_command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        wait(&mut random, 150);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        unfinished += usize::from(output.stdout.is_empty());
        // Attempts that were cut off do not pile up.
        assert!(generations(&rollcall).len() <= 2, "{:?}", generations(&rollcall));
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
    assert_eq!(generations(&rollcall).len(), 1);
    eprintln!("{} starts, {unfinished} killed before they listened", trial.rounds);
}

/// Every index that is there, whole or not.
fn generations(rollcall: &Rollcall) -> Vec<PathBuf> {
    let mut all = files(rollcall.data(), "");
    all.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("index-"));
    all
}

/// What a first start makes, in the order in which it does.
const MADE: [&str; 9] = [
    "LOCK",
    "journal",
    "journal/00000000000000000001.log",
    "FORMAT",
    "index-1/db",
    "CURRENT",
    "admin.token",
    "tls/ca.pem",
    "admin.sock",
];

#[test]
fn kills_of_a_first_start_leave_a_directory_that_starts() {
    let trial = Trial::new("CRASH_FIRST_STARTS", 3);
    let mut random = Random::new(trial.seed);
    let mut missing = 0;
    for made in MADE.repeat(trial.rounds) {
        let mut rollcall = Rollcall::down();
        rollcall.set_args(&RESTLESS);
        let mut command = rollcall.serve_command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // As soon as it is there, and up to half a millisecond later.
        let made = rollcall.data().join(made);
        let deadline = Instant::now() + TIMEOUT;
        while !made.exists() {
            assert!(Instant::now() < deadline, "{} is never made", made.display());
            std::hint::spin_loop();
        }
        let later = Instant::now() + Duration::from_micros(random.below(500) as u64);
        while Instant::now() < later {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        missing += usize::from(!rollcall.data().join("admin.sock").exists());
        rollcall.start();
        assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
        assert_checked(&rollcall);
    }
    assert!(missing > 0, "every start was over before its kill");
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
    assert!(rollcall.status().contains("not running"));
    rollcall.start();
    let status = rollcall.status();
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
