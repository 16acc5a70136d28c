//! What the unit starts, and what systemd is told.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use super::super::harness::{ROLLCALL, Rollcall, TIMEOUT, event, have, print, until};

const UNIT: &str = include_str!("../../../systemd/rollcall.service");

#[test]
fn the_units_command_starts_with_the_example_configuration() {
    let mut rollcall = Rollcall::down();
    let etc = rollcall.dir.path().join("etc");
    let run = rollcall.dir.path().join("run");
    std::fs::create_dir(&etc).unwrap();
    std::fs::create_dir(&run).unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    std::fs::copy(example, etc.join("rollcall.toml")).unwrap();
    let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let line = line.replace("${CONFIGURATION_DIRECTORY}", etc.to_str().unwrap());
    let line = line.replace("${STATE_DIRECTORY}", rollcall.data().to_str().unwrap());
    assert!(!line.contains('$'), "{line}");
    let mut command = Command::new(ROLLCALL);
    command.args(line.split(' ').skip(1));
    command.env("ROLLCALL_LISTEN", "127.0.0.1:0").env("RUNTIME_DIRECTORY", &run);
    rollcall.start_with(command);
    assert_eq!(rollcall.get("", "/readyz").status, 200);
    assert!(run.join("admin.sock").exists());
    assert!(rollcall.status().starts_with("server           running"));
    assert_eq!(rollcall.stop(), Some(0));
    assert!(!run.join("admin.sock").exists());
}

/// Reads what systemd is told until a line of it begins so, and returns it.
fn told(socket: &UnixDatagram, what: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("never {what}: {e}"));
        let said = std::str::from_utf8(&buffer[..length]).unwrap();
        if said.lines().any(|line| line.starts_with(what)) {
            return said.to_owned();
        }
        let other = said.contains("WATCHDOG=1") || said.contains("EXTEND_TIMEOUT_USEC=");
        assert!(other, "{said} before {what}");
    }
}

/// A server that systemd watches, and systemd's ear.
fn watched(rollcall: &mut Rollcall) -> UnixDatagram {
    let path = rollcall.dir.path().join("notify");
    let _not_there = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    // systemd names the process that it watches; a shell knows its number before it becomes that.
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh", ROLLCALL, "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(rollcall.data());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    rollcall.start_with(command);
    socket
}

#[test]
fn systemd_is_told_what_goes_on() {
    let mut rollcall = Rollcall::down();
    let socket = watched(&mut rollcall);
    assert!(told(&socket, "STATUS=opening the store").contains("EXTEND_TIMEOUT_USEC=120000000"));
    let listening = format!("STATUS=listening on https://127.0.0.1:{}", rollcall.port);
    assert!(told(&socket, "READY=1").contains(&listening));
    assert_eq!(rollcall.get("", "/readyz").status, 200);
    for _ in 0..3 {
        told(&socket, "WATCHDOG=1");
    }
    let certificate = || std::fs::metadata(rollcall.ca()).unwrap().modified().unwrap();
    let before = certificate();
    rollcall.signal("HUP");
    let reloading = told(&socket, "RELOADING=1");
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(at.parse::<u64>().unwrap() > 0, "{reloading}");
    assert!(told(&socket, "READY=1").contains(&listening));
    assert_eq!((rollcall.get("", "/readyz").status, certificate()), (200, before));
    rollcall.signal("TERM");
    // Twenty seconds for running requests, and two minutes for the store.
    assert!(told(&socket, "STOPPING=1").contains("EXTEND_TIMEOUT_USEC=140000000"));
    assert_eq!(rollcall.wait(), Some(0));
}

#[test]
fn a_disk_that_hangs_ends_the_signs_of_life_and_one_that_comes_back_begins_them_again() {
    if !have("strace") {
        return;
    }
    let mut rollcall = Rollcall::down();
    let socket = watched(&mut rollcall);
    told(&socket, "READY=1");
    // Every sync takes ten minutes, until nobody looks on any more.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q", "-e", "inject=fdatasync:delay_enter=600000000", "-o"]);
    strace.arg(rollcall.dir.path().join("trace")).args(["-p", &rollcall.pid().to_string()]);
    let mut strace = strace.stderr(std::process::Stdio::null()).spawn().unwrap();
    let tracer = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.contains("TracerPid:\t0")
    };
    until("strace looks on", || tracer(rollcall.pid()).then_some(()));
    std::thread::scope(|scope| {
        let posted = scope.spawn(|| rollcall.post_events(&event(1, "busy")).status);
        let without = || {
            let log = rollcall.log();
            log.matches("the committer does not answer").count()
        };
        until("it is missed", || (without() > 0).then_some(()));
        // What was said before is of no interest.
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 1024]).is_ok() {}
        until("it is missed for long", || (without() > 3).then_some(()));
        assert!(socket.recv(&mut [0; 1024]).is_err(), "there was a sign of life");
        socket.set_nonblocking(false).unwrap();
        let said = |log: &str| {
            let line = log.lines().find(|line| line.contains("a request waits for the disk"))?;
            Some(line.to_owned())
        };
        let line = until("the log says who waits", || said(&rollcall.log()));
        assert!(line.contains("syncing the journal") && line.contains("request{id="), "{line}");
        let pid = strace.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
        strace.wait().unwrap();
        assert_eq!(posted.join().unwrap(), 204);
    });
    told(&socket, "WATCHDOG=1");
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_start_that_builds_the_index_tells_how_far_it_is_and_asks_for_time() {
    let mut rollcall = Rollcall::up(&[]);
    // So many that it takes a while.
    for part in 0..8 {
        let numbers = part * 2000..(part + 1) * 2000;
        let events: Vec<String> = numbers.map(|n| event(n, "busy")).collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    }
    assert_eq!(rollcall.stop(), Some(0));
    std::fs::remove_file(rollcall.data().join("CURRENT")).unwrap();
    let socket = watched(&mut rollcall);
    let said = told(&socket, "STATUS=building the index: ");
    assert!(said.contains("%\nEXTEND_TIMEOUT_USEC=120000000"), "{said}");
    told(&socket, "READY=1");
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn systemd_is_not_told_of_a_start_that_fails() {
    let rollcall = Rollcall::up(&[]);
    let path = rollcall.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = rollcall.serve_command();
    let printed = print(command.env("NOTIFY_SOCKET", &path), b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "it was never ready");
}
