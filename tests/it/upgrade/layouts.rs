//! Indexes of other layouts: built again by themselves, whenever the process is killed meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use rollcall::index::{Index, LAYOUT};

use super::super::crash::{assert_checked, wait};
use super::super::harness::{A1, Rollcall, sid, until};
use super::super::load::{Random, Trial};
use super::{STILL, generations};

const CALLS: u32 = 6000;

/// A store of many calls that is down, and all of its calls.
fn store() -> (Rollcall, String) {
    let mut rollcall = Rollcall::up(&STILL);
    let records = (0..CALLS).fold(String::new(), |mut text, n| {
        let _infallible = writeln!(
            text,
            "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",\
             \"from\":\"+1555{n:07}\",\"to\":\"+49301234\",\"call_status\":\"busy\",\
             \"attempted_at\":\"2026-01-31T12:{:02}:{:02}.000Z\"}}",
            sid(n),
            n / 60 % 60,
            n % 60,
        );
        text
    });
    let printed = rollcall.run_with(&["import", "-"], records.as_bytes());
    assert_eq!(printed.code, Some(0), "{printed:?}");
    rollcall.token(&["--account", A1, "--role", "read"]);
    let export = rollcall.ok(&["export"]);
    assert_eq!(export.lines().count(), CALLS as usize);
    assert_eq!(rollcall.stop(), Some(0));
    (rollcall, export)
}

/// Has the current index of a closed store say that its layout is this one.
fn mark(data: &Path, layout: u32) {
    let current = fs::read_to_string(data.join("CURRENT")).unwrap();
    let index = Index::open(&data.join(format!("index-{}", current.trim())), 1 << 20).unwrap();
    index.say_layout(layout).unwrap();
    index.sync().unwrap();
}

#[test]
fn an_index_of_an_older_or_a_newer_layout_is_built_again_and_lists_are_the_same() {
    let (mut rollcall, export) = store();
    let tokens = rollcall.ok(&["token", "list"]);
    for other in [LAYOUT - 1, LAYOUT + 1] {
        mark(rollcall.data(), other);
        let before = rollcall.log().len();
        rollcall.start();
        let log = rollcall.log().split_off(before);
        assert!(log.contains("it has another layout"), "{log}");
        // A server that has waited for it for long enough serves without it meanwhile.
        let exported = until("the index is built", || {
            Some(rollcall.run(&["export"])).filter(|printed| printed.code == Some(0))
        });
        assert!(exported.stdout == export);
        assert_eq!(rollcall.ok(&["token", "list"]), tokens);
        assert_checked(&rollcall);
        // Nothing is wrong with the old one: it is not kept.
        until("one index is left", || (generations(rollcall.data()).len() == 1).then_some(()));
        assert_eq!(rollcall.stop(), Some(0));
        // Once is enough.
        let before = rollcall.log().len();
        rollcall.start();
        assert!(!rollcall.log().split_off(before).contains("built anew"));
        assert_eq!(rollcall.stop(), Some(0));
    }
    // Commands do the same, without a server.
    mark(rollcall.data(), LAYOUT + 1);
    assert!(rollcall.ok(&["export"]) == export);
}

#[test]
fn an_index_of_another_layout_that_is_ahead_of_the_journal_stops_the_start() {
    let (rollcall, _) = store();
    mark(rollcall.data(), LAYOUT + 1);
    // The journal loses all but its beginning.
    let fresh = Rollcall::down();
    fresh.run_with(&["import", "-"], super::super::harness::event(1, "busy").as_bytes());
    let journal = rollcall.data().join("journal");
    fs::remove_dir_all(&journal).unwrap();
    fs::rename(fresh.data().join("journal"), &journal).unwrap();
    let refused = rollcall.run(&["export"]);
    let said = refused.stderr.contains("is ahead of the journal");
    assert!(refused.code == Some(1) && said, "{refused:?}");
    // Somebody may accept the loss.
    rollcall.ok(&["rebuild"]);
    assert_eq!(rollcall.ok(&["export"]).lines().count(), 1);
}

#[test]
fn a_kill_in_the_middle_of_that_leaves_what_the_next_start_makes_whole() {
    let trial = Trial::new("LAYOUT_KILLS", 8);
    let mut random = Random::new(trial.seed);
    let (mut rollcall, export) = store();
    let (mut unfinished, mut finished) = (0, 0);
    mark(rollcall.data(), LAYOUT + 1);
    for _ in 0..trial.rounds {
        let current = || fs::read_to_string(rollcall.data().join("CURRENT")).unwrap();
        let was = current();
        let mut command = rollcall.serve_command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("a new one is begun", || (generations(rollcall.data()).len() > 1).then_some(()));
        wait(&mut random, 250);
        child.kill().unwrap();
        child.wait().unwrap();
        if current() == was {
            unfinished += 1;
            continue;
        }
        finished += 1;
        rollcall.start();
        let exported = until("the index is built", || {
            Some(rollcall.run(&["export"])).filter(|printed| printed.code == Some(0))
        });
        assert!(exported.stdout == export);
        assert_eq!(rollcall.stop(), Some(0));
        mark(rollcall.data(), LAYOUT + 1);
    }
    rollcall.start();
    assert!(rollcall.ok(&["export"]) == export);
    assert_checked(&rollcall);
    assert_eq!(generations(rollcall.data()).len(), 1);
    eprintln!("{unfinished} kills before the new index took over, {finished} after it, 0 lost");
    assert!(unfinished > 0, "every rebuild was over before the kill");
}
