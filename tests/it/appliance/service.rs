//! The unit for systemd, and what systemd is told.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use super::super::harness::{PATIENCE, ROLLCALL, Rollcall, have, print};

const UNIT: &str = include_str!("../../../systemd/rollcall.service");
/// The exposure that `systemd-analyze security` may find, of 10.
const EXPOSURE_MAX: f64 = 1.2;

/// The unit with the binary under test in its place.
fn unit(dir: &Path) -> String {
    let path = dir.join("rollcall.service");
    assert_eq!(UNIT.matches("ExecStart=/usr/bin/rollcall serve").count(), 1);
    let start = format!("ExecStart={ROLLCALL} serve");
    std::fs::write(&path, UNIT.replace("ExecStart=/usr/bin/rollcall serve", &start)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !have("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = unit(dir.path());
    let printed = print(Command::new("systemd-analyze").args(["verify", &unit]), b"");
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
    let args = ["security", "--offline=true", "--no-pager", &unit];
    let printed = print(Command::new("systemd-analyze").args(args), b"");
    let level = printed.stdout.lines().find_map(|line| line.split("rollcall.service: ").nth(1));
    let level: f64 = level.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((0.0..=EXPOSURE_MAX).contains(&level), "{}", printed.stdout);
}

#[test]
fn the_units_user_is_a_fixed_one() {
    if !have("systemd-sysusers") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = format!("--root={}", dir.path().display());
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/rollcall.sysusers");
    let line = std::fs::read_to_string(users).unwrap();
    let line = line.lines().find(|line| line.starts_with("u ")).unwrap();
    let args = [root.as_str(), "--inline", line];
    let printed = print(Command::new("systemd-sysusers").args(args), b"");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let passwd = std::fs::read_to_string(dir.path().join("etc/passwd")).unwrap();
    assert!(passwd.contains("rollcall:x:") && passwd.contains(":/var/lib/rollcall:"), "{passwd}");
    assert!(UNIT.contains("\nUser=rollcall\n") && !UNIT.contains("DynamicUser"));
}

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
    assert!(rollcall.ok(&["status"]).starts_with("server           running"));
    assert_eq!(rollcall.stop(), Some(0));
    assert!(!run.join("admin.sock").exists());
}

/// Reads what systemd is told until it is told this, and returns it.
fn told(socket: &UnixDatagram, what: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("never {what}: {e}"));
        let said = std::str::from_utf8(&buffer[..length]).unwrap();
        if said.lines().any(|line| line == what) {
            return said.to_owned();
        }
        assert!(said.contains("WATCHDOG=1"), "{said} before {what}");
    }
}

#[test]
fn systemd_is_told_what_goes_on() {
    let mut rollcall = Rollcall::down();
    let path = rollcall.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // systemd names the process that it watches; a shell knows its number before it becomes that.
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh", ROLLCALL, "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(rollcall.data());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    rollcall.start_with(command);
    told(&socket, "READY=1");
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
    told(&socket, "READY=1");
    assert_eq!((rollcall.get("", "/readyz").status, certificate()), (200, before));
    rollcall.signal("TERM");
    told(&socket, "STOPPING=1");
    assert_eq!(rollcall.wait(), Some(0));
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
