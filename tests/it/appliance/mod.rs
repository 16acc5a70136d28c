//! The appliance as a stranger meets it: one binary, one command, one unit.

mod audit;
mod container;
mod doctor;
mod exposition;
mod held;
mod keys;
mod logs;
mod manual;
mod metrics;
pub mod proxies;
pub mod real_proxies;
mod sandbox;
mod service;
mod silent;
mod tls;
mod units;
mod volumes;
mod wrong_ports;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::api::samples::STATUSES;
use super::harness::{ROLLCALL, Rollcall, event, have, print, skip};

const DEMO: &str = "d0000000-0000-4000-8000-000000000001";

/// The line for a shell that the server has printed.
fn curl_line(rollcall: &Rollcall) -> String {
    let log = rollcall.log();
    log.lines().map(str::trim).find(|line| line.starts_with("curl ")).unwrap().to_owned()
}

#[test]
fn a_demo_shows_a_line_that_works_when_pasted() {
    let mut rollcall = Rollcall::up(&["--demo"]);
    let calls = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{DEMO}/Calls"));
    let calls = calls.json();
    let calls = calls.as_array().unwrap();
    assert!(calls.len() > 2000, "{}", calls.len());
    let statuses: BTreeSet<&str> =
        calls.iter().map(|call| call["call_status"].as_str().unwrap()).collect();
    assert_eq!(statuses, STATUSES.into_iter().collect());
    let line = curl_line(&rollcall);
    if have("curl") {
        let printed = print(Command::new("sh").args(["-c", &format!("{line} -sS")]), b"");
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{line}");
        let listed: Vec<serde_json::Value> = serde_json::from_str(&printed.stdout).unwrap();
        // More may have come meanwhile.
        assert_eq!(listed.len(), 3);
        assert!(listed.iter().all(|call| call["account_sid"] == DEMO), "{listed:?}");
    }
    // It has a history but once, and says so.
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    assert!(rollcall.log().contains("no history was added"), "{}", rollcall.log());
    let again = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{DEMO}/Calls"));
    let again = again.json().as_array().unwrap().len();
    assert!((calls.len()..calls.len() + 200).contains(&again), "{again}");
}

#[test]
fn a_demo_does_not_mix_with_real_calls() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&["--demo"]);
    rollcall.start();
    assert!(rollcall.figures().contains("\"calls\":1,"));
    assert_eq!(rollcall.ok(&["export"]).lines().count(), 1);
}

#[test]
fn a_demo_line_can_be_pasted_whatever_the_directory_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let rollcall = Rollcall::up_in(&dir.path().join("it's a $HOME"), &["--demo"]);
    let line = curl_line(&rollcall);
    if have("curl") {
        let printed = print(Command::new("sh").args(["-c", &format!("{line} -sS")]), b"");
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(printed.stdout.starts_with("[{"), "{printed:?}");
    }
}

/// All files below a directory: path within it, mode, inode, content.
pub(super) fn files(dir: &Path) -> Vec<(PathBuf, u32, u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let about = std::fs::symlink_metadata(&path).unwrap();
            let content = if about.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            let within = path.strip_prefix(dir).unwrap().to_owned();
            found.push((within, about.permissions().mode() & 0o777, about.ino(), content));
            if about.is_dir() {
                dirs.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_first_start_makes_what_is_needed_for_its_owner_alone_and_the_second_nothing() {
    let mut rollcall = Rollcall::up(&[]);
    let about = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(about(rollcall.data()), 0o700);
    let all = files(rollcall.data());
    let mut seen = 0;
    for (path, mode, ..) in &all {
        let is_dir = rollcall.data().join(path).is_dir();
        let expected = if is_dir { 0o700 } else { 0o600 };
        let ca = path == Path::new("tls/ca.pem");
        assert!(*mode == expected || (ca && *mode == 0o644), "{} is {mode:o}", path.display());
        seen += 1;
    }
    assert!(seen > 8, "only {seen} files were seen");
    let kept = |all: &[(PathBuf, u32, u64, Vec<u8>)]| {
        let ours = |path: &Path| path.starts_with("tls") || path == Path::new("admin.token");
        all.iter().filter(|(path, ..)| ours(path)).cloned().collect::<Vec<_>>()
    };
    let made = kept(&all);
    assert!(made.len() >= 4, "{made:?}");
    assert_eq!(rollcall.log().matches("admin token").count(), 1, "{}", rollcall.log());
    assert!(!rollcall.log().contains(&rollcall.admin()), "nobody looks on");
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    assert_eq!(kept(&files(rollcall.data())), made);
    assert_eq!(rollcall.log().matches("admin token").count(), 1, "{}", rollcall.log());
}

#[test]
fn port_zero_is_any_free_port_and_is_told_on_standard_output() {
    let (one, two) = (Rollcall::up(&[]), Rollcall::up(&[]));
    assert!(one.port > 0 && two.port > 0 && one.port != two.port);
    assert_eq!(one.get("", "/livez").status, 200);
    let taken = format!("127.0.0.1:{}", one.port);
    let third = Rollcall::down();
    let mut command = Command::new(ROLLCALL);
    command.args(["serve", "--listen", &taken, "--data-dir"]).arg(third.data());
    let printed = print(&mut command, b"");
    assert_eq!((printed.code, printed.stdout.as_str()), (Some(1), ""), "{printed:?}");
    assert!(printed.stderr.contains(&taken) && printed.stderr.contains("in use"), "{printed:?}");
}

/// The release binary where one has been built from these sources, else the one under test.
fn binary() -> PathBuf {
    let built = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    let src = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let newest = files(Path::new(src)).into_iter();
    let newest = newest.filter_map(|(path, ..)| built(&Path::new(src).join(path))).max();
    let release = Path::new(ROLLCALL).parent().and_then(Path::parent);
    let release = release.map(|dir| dir.join("release/rollcall"));
    release.filter(|path| built(path) >= newest).unwrap_or_else(|| PathBuf::from(ROLLCALL))
}

#[test]
fn the_binary_needs_no_library() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        skip("only x86_64 linux-gnu builds are static");
        return;
    }
    if have("ldd") {
        let printed = print(Command::new("ldd").arg(binary()), b"");
        let said = printed.stdout + &printed.stderr;
        assert!(said.contains("statically linked"), "{}: {said}", binary().display());
    }
}

#[test]
fn it_serves_tls_in_an_empty_root() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can change the root directory");
        return;
    }
    let mut rollcall = Rollcall::down();
    let root = rollcall.dir.path().to_owned();
    // Not by this process: what it has open for writing while another test forks cannot be run.
    let copied = Command::new("cp").arg(binary()).arg(root.join("rollcall")).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new("chroot");
    command.arg(&root).args(["/rollcall", "serve", "--listen", "127.0.0.1:0"]);
    command.args(["--data-dir", "/data", "--demo"]);
    rollcall.start_with(command);
    assert_eq!(rollcall.get("", "/readyz").status, 200);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert!(figures["calls"].as_u64().unwrap() > 2000, "{figures}");
    assert_eq!(rollcall.stop(), Some(0));
    let names = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
    // The log is this test's own, opened from outside.
    let expected = ["data", "rollcall", "stderr.log"].into_iter().map(Into::into).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
}
