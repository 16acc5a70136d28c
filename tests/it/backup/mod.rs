//! Backups: made under load, verified, restored, damaged, killed.

mod damage;
mod forms;
mod hostile;
mod kills;
mod packed;
mod pipes;
mod until;
mod volumes;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::crash::{RESTLESS, assert_checked, wait};
use super::harness::{A1, Printed, ROLLCALL, Rollcall, event, print};
use super::load::{Load, Random, Trial};

/// A place of that name beside the data directory.
fn place(rollcall: &Rollcall, name: &str) -> PathBuf {
    rollcall.dir.path().join(name)
}

/// A server with so many calls, in several segments.
fn server(calls: u32) -> Rollcall {
    let rollcall = Rollcall::up(&["--store-segment-bytes=1048576"]);
    add(&rollcall, 0..calls);
    rollcall
}

fn add(rollcall: &Rollcall, calls: Range<u32>) {
    let events: Vec<_> = calls.map(|n| event(n, "busy")).collect();
    for part in events.chunks(4000) {
        assert_eq!(rollcall.post_events(&part.join("\n")).status, 204);
    }
}

/// Runs a command that is about a backup.
fn run(args: &[&str]) -> Printed {
    print(Command::new(ROLLCALL).args(args), b"")
}

fn ok(args: &[&str]) -> serde_json::Value {
    let printed = run(&[args, &["--json"]].concat());
    assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
    serde_json::from_str(&printed.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn backup(rollcall: &Rollcall, target: &Path, args: &[&str]) -> serde_json::Value {
    ok(&[&["backup", text(target), "--data-dir", text(rollcall.data())], args].concat())
}

fn restore(backup: &Path, to: &Path, args: &[&str]) -> serde_json::Value {
    ok(&[&["restore", text(backup), "--data-dir", text(to)], args].concat())
}

/// What a data directory holds, under any server.
fn export(data: &Path) -> String {
    let printed = run(&["export", "--data-dir", text(data)]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    printed.stdout
}

#[test]
fn a_backup_under_ingest_holds_all_that_was_acknowledged_and_makes_a_server_that_works() {
    let trial = Trial::new("BACKUP_ROUNDS", 3);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&RESTLESS);
    let mut load = Load::new(trial.seed, 3);
    let token = rollcall.token(&["--account", A1, "--role", "read"]);
    rollcall.ok(&["account", "set", A1, "--name", "ours"]);
    let mut acknowledged = 0;
    let mut made = Vec::new();
    for round in 0..trial.rounds {
        let events: Vec<_> = (acknowledged..acknowledged + 200).map(|n| event(n, "busy")).collect();
        acknowledged += 200;
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        let target = place(&rollcall, &format!("backup-{round}"));
        let told = load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 400);
            backup(rollcall, &target, &[])
        });
        assert_eq!(ok(&["verify", text(&target)])["sequence"], told["sequence"]);
        made.push((target, told["sequence"].as_u64().unwrap(), acknowledged));
    }
    let last = place(&rollcall, "last");
    let told = backup(&rollcall, &last, &[]);
    assert!(made.windows(2).all(|pair| pair[0].1 < pair[1].1), "{made:?}");
    for (target, sequence, acknowledged) in made {
        let to = place(&rollcall, &format!("restored-{sequence}"));
        assert_eq!(restore(&target, &to, &[])["sequence"], sequence);
        let restored = export(&to);
        for n in 0..acknowledged {
            assert!(restored.contains(&super::harness::sid(n)), "{n} of {acknowledged} is lost");
        }
        // The state at that sequence, had in another way.
        let again = place(&rollcall, &format!("again-{sequence}"));
        restore(&last, &again, &["--until", &sequence.to_string()]);
        assert!(export(&again) == restored, "two ways to sequence {sequence} differ");
        let printed = run(&["check", "--data-dir", text(&again)]);
        assert_eq!(printed.code, Some(0), "{printed:?}");
    }
    let to = place(&rollcall, "restored");
    restore(&last, &to, &[]);
    // A client that trusted the old server trusts the new one.
    let authority = |data: &Path| std::fs::read(data.join("tls/ca.pem")).unwrap();
    assert_eq!(authority(&to), authority(rollcall.data()));
    let restored = Rollcall::up_in(&to, &RESTLESS);
    assert_eq!(restored.admin(), rollcall.admin());
    assert!(restored.ok(&["export"]) == rollcall.ok(&["export"]));
    let list = format!("/v1/Accounts/{A1}/Calls");
    assert_eq!(restored.get(&token, &list).body, rollcall.get(&token, &list).body);
    assert!(restored.ok(&["account", "list"]).contains("ours"));
    assert_eq!(restored.post_events(&event(1_000_000, "busy")).status, 204);
    let epoch = |rollcall: &Rollcall| {
        let status: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
        status["epoch"].clone()
    };
    assert_ne!(epoch(&restored), epoch(&rollcall));
    assert_eq!(epoch(&rollcall), told["epoch"]);
    assert_checked(&restored);
    assert_checked(&rollcall);
}
