//! `rollcall health`: an exit code for whatever watches the server.

use std::fs;

use serde_json::Value;

use super::super::harness::{ROLLCALL, Rollcall, have, print};

/// The exit code, and what it says to programs.
fn health(rollcall: &Rollcall, args: &[&str]) -> (Option<i32>, Value) {
    let printed = rollcall.run(&[&["health", "--json"], args].concat());
    let said: Value =
        serde_json::from_str(&printed.stdout).unwrap_or_else(|e| panic!("{e}: {printed:?}"));
    assert_eq!(said["healthy"], printed.code == Some(0), "{printed:?}");
    (printed.code, said)
}

const WANTED: [&str; 3] = ["lists", "events", "life"];

#[track_caller]
fn assert_all(rollcall: &Rollcall, status: &str, healthy: [bool; 3]) {
    for (wanted, healthy) in WANTED.iter().zip(healthy) {
        let (code, said) = health(rollcall, &["--for", wanted, "--timeout", "200ms"]);
        assert_eq!(code, Some(i32::from(!healthy)), "{wanted}: {said}");
        assert_eq!(said["status"], status, "{wanted}: {said}");
        assert!(said["msg"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    }
}

#[test]
fn a_server_that_does_its_work_is_healthy_and_nobody_else() {
    let mut rollcall = Rollcall::down();
    assert_all(&rollcall, "not running", [false; 3]);
    assert!(!rollcall.data().exists(), "looking has made something");
    rollcall.start();
    let (code, said) = health(&rollcall, &[]);
    assert_eq!(code, Some(0), "{said}");
    for key in ["running", "lists", "events"] {
        assert_eq!(said[key], true, "{key}: {said}");
    }
    assert_eq!(said["status"], "ready");
    let printed = rollcall.run(&["health"]);
    assert_eq!(printed.stdout, "ready: lists are answered and events are taken\n");
    // Nobody has been written down for it.
    assert!(!rollcall.log().contains("health"), "{}", rollcall.log());
    assert_eq!(rollcall.stop(), Some(0));
    let before = super::super::appliance::files(rollcall.data());
    assert_all(&rollcall, "not running", [false; 3]);
    assert_eq!(super::super::appliance::files(rollcall.data()), before);
    // Somebody holds the directory, and listens not yet; looking does not get into its way.
    let lock = fs::File::open(rollcall.data().join("LOCK")).unwrap();
    lock.try_lock().unwrap();
    assert_all(&rollcall, "starting", [false; 3]);
    drop(lock);
    rollcall.start();
    rollcall.kill();
    assert_all(&rollcall, "not running", [false; 3]);
}

#[test]
fn a_server_without_room_takes_no_events_and_answers_lists() {
    let rollcall = Rollcall::up(&["--store-min-free-bytes=1125899906842624"]);
    let room = |wanted| health(&rollcall, &["--for", wanted]);
    assert_eq!(room("lists").0, Some(0));
    assert_eq!(room("life").0, Some(0));
    let (code, said) = room("events");
    assert_eq!((code, &said["status"]), (Some(1), &"read-only".into()), "{said}");
}

#[test]
fn a_server_that_stands_still_is_given_up_after_the_time_that_is_given() {
    let rollcall = Rollcall::up(&[]);
    rollcall.signal("STOP");
    assert_all(&rollcall, "silent", [false; 3]);
    rollcall.signal("CONT");
    assert_eq!(health(&rollcall, &["--timeout", "4m"]).0, Some(0));
}

#[test]
fn whatever_is_wrong_is_exit_code_1() {
    let rollcall = Rollcall::up(&[]);
    let mut wrong = std::process::Command::new(ROLLCALL);
    wrong.args(["health", "--data-dir"]).arg(rollcall.data());
    wrong.env("ROLLCALL_LIMITS_CONNECTIONS", "none");
    let printed = print(&mut wrong, b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("ROLLCALL_LIMITS_CONNECTIONS"), "{printed:?}");
    if !rustix::process::geteuid().is_root() || !have("setpriv") {
        return;
    }
    let public = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(public.path());
    let binary = public.path().join("rollcall");
    let copied = std::process::Command::new("cp").args([ROLLCALL.as_ref(), &*binary]).status();
    assert!(copied.unwrap().success());
    open(rollcall.dir.path());
    let mut other = std::process::Command::new("setpriv");
    other.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&binary);
    other.args(["health", "--data-dir"]).arg(rollcall.data());
    let printed = print(&mut other, b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stdout.starts_with("unknown: "), "{printed:?}");
}
