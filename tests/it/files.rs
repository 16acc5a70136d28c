//! More segments than a process may open files.

use std::fs;
use std::process::Command;

use rollcall::journal::{self, FrameKind, Scanner};

use super::crash::{assert_checked, listed, sids};
use super::harness::{Printed, ROLLCALL, Rollcall, event, print, until};

const SEGMENTS: u32 = 330;
/// Files that a process may open.
const FILES: u32 = 64;

/// This command line, where few files may be open.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {FILES}; exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

fn run(args: &[&str]) -> Printed {
    print(&mut limited(Command::new(ROLLCALL).args(args)), b"")
}

fn ok(args: &[&str]) -> Printed {
    let printed = run(args);
    assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
    printed
}

/// A store that has a call in each of its segments, and no index yet.
fn crowded() -> Rollcall {
    let mut rollcall = Rollcall::up(&[]);
    let events: Vec<_> = (1..=SEGMENTS).map(|n| event(n, "completed")).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    let old = rollcall.data().join("journal");
    let new = rollcall.data().join("journal.many");
    fs::create_dir(&new).unwrap();
    let mut writer = journal::open(&new, true, 1).unwrap().writer;
    for segment in journal::open(&old, false, 1 << 20).unwrap().segments {
        let mut frames = Scanner::new(&segment).unwrap();
        while let Some((_, frame)) = frames.next_frame().unwrap() {
            if frame.kind != FrameKind::Checkpoint {
                let mut batch = writer.batch();
                batch.push(frame.at, frame.origin, frame.kind, frame.body).unwrap();
                writer.append(batch).unwrap();
            }
        }
    }
    fs::remove_dir_all(&old).unwrap();
    fs::rename(&new, &old).unwrap();
    forget_index(&rollcall);
    let segments = fs::read_dir(&old).unwrap().count();
    assert!(segments >= SEGMENTS as usize, "{segments}");
    rollcall
}

fn forget_index(rollcall: &Rollcall) {
    for entry in fs::read_dir(rollcall.data()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("index-") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

#[test]
fn more_segments_than_files_may_be_open_are_no_trouble() {
    let mut rollcall = crowded();
    let data = rollcall.data().to_str().unwrap().to_owned();
    let place = |name: &str| rollcall.dir.path().join(name).to_str().unwrap().to_owned();
    let (backup, archive, restored) = (place("backup"), place("b.tar.zst"), place("restored"));
    // The first of them makes the index.
    let exported = ok(&["export", "--data-dir", &data]).stdout;
    assert_eq!(exported.lines().count(), SEGMENTS as usize);
    rollcall.status();
    for command in ["check", "rebuild", "check", "compact"] {
        ok(&[command, "--data-dir", &data]);
    }
    ok(&["backup", &backup, "--data-dir", &data]);
    ok(&["backup", &archive, "--data-dir", &data]);
    ok(&["verify", &backup]);
    for (n, from) in [&backup, &archive].into_iter().enumerate() {
        let to = format!("{restored}-{n}");
        ok(&["restore", from, "--data-dir", &to]);
        assert!(ok(&["export", "--data-dir", &to]).stdout == exported);
    }

    forget_index(&rollcall);
    rollcall.start_with(limited(&rollcall.serve_command()));
    let ready = || rollcall.send("GET", "/readyz", &[], b"").unwrap().status == 200;
    assert!(ready());
    for command in ["check", "rebuild", "compact", "expire"] {
        rollcall.ok(&[command]);
    }
    let count = SEGMENTS + 1;
    assert_eq!(rollcall.post_events(&event(count, "completed")).status, 204);
    assert!(rollcall.ok(&["export"]).lines().count() == count as usize);
    until("it is ready", || ready().then_some(()));
    assert!(listed(&rollcall).iter().all(|sid| sids(count).contains(sid)));
    assert_eq!(rollcall.stop(), Some(0));
    assert_checked(&rollcall);
    assert!(!rollcall.log().contains("Too many open files"), "{}", rollcall.log());
}

#[test]
fn a_command_may_open_as_many_files_as_the_system_lets_it() {
    // What a shell is given is often far less than what it may ask for.
    let rollcall = crowded();
    let data = rollcall.data().to_str().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 16; exec \"$0\" \"$@\"", ROLLCALL]);
    command.args(["check", "--data-dir", data]);
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(0), "{printed:?}");
}
