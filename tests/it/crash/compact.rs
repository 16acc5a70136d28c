//! Compaction: beside readers and writers, killed at any moment, and what it gives back.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use super::super::harness::{ROLLCALL, Rollcall, send, sid, until};
use super::super::load::{Load, Random, Trial};
use super::{RESTLESS, assert_checked, wait};

/// An account that no writer knows: its calls stand still.
const STILL: &str = "7d0e4a6c-1b86-4b60-9a4c-0a5e3f1c2d77";
/// As few sizes as a kill may hit.
const STILL_CALLS: u32 = 6000;

/// Calls of [`STILL`] as a list shows them, one a line.
fn records(calls: impl Iterator<Item = u32>) -> String {
    calls.fold(String::new(), |mut text, n| {
        let (minute, second) = (n / 60 % 60, n % 60);
        let _infallible = writeln!(
            text,
            "{{\"account_sid\":\"{STILL}\",\"call_sid\":\"{}\",\"call_id\":\"id-{n}@pbx\",\
             \"from\":\"+1555{:07}\",\"to\":\"+4930{:04}\",\"direction\":\"{}\",\
             \"call_status\":\"{}\",\"sip_status\":200,\"sip_reason\":\"OK\",\"duration\":{},\
             \"caller_name\":\"caller {n}\",\"trunk\":\"carrier-{}\",\
             \"attempted_at\":\"2026-01-{:02}T{:02}:{minute:02}:{second:02}.000Z\"}}",
            sid(n),
            n % 9973,
            n % 100,
            ["inbound", "outbound"][n as usize % 2],
            ["completed", "busy", "failed", "no-answer"][n as usize % 4],
            n % 600,
            n % 7,
            1 + n / 86_400 % 28,
            n / 3600 % 24,
        );
        text
    })
}

fn import(rollcall: &Rollcall, calls: impl Iterator<Item = u32>) {
    let printed = rollcall.run_with(&["import", "-"], records(calls).as_bytes());
    assert_eq!(printed.code, Some(0), "{printed:?}");
}

/// The whole list of [`STILL`], as it was sent.
fn still(rollcall: &Rollcall) -> String {
    let agent = rollcall.new_agent();
    let bearer = format!("Bearer {}", rollcall.admin());
    let url = rollcall.url(&format!("/v1/Accounts/{STILL}/Calls"));
    let answer = send(&agent, "GET", &url, &[("authorization", &bearer)], b"").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The directories of generations.
fn generations(data: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| name.starts_with("index-") && !name.ends_with(".damaged")).collect()
}

#[test]
fn lists_are_answered_and_nothing_is_lost_while_the_index_is_compacted() {
    let trial = Trial::new("COMPACTIONS", 4);
    let mut rollcall = Rollcall::up(&RESTLESS);
    import(&rollcall, 0..STILL_CALLS);
    let before = still(&rollcall);
    let mut load = Load::new(trial.seed, 3);
    let (lists, during) = (AtomicUsize::new(0), AtomicBool::new(true));
    for round in 0..trial.rounds {
        load.during(&mut rollcall, |rollcall| {
            let rollcall = &*rollcall;
            during.store(true, Ordering::Relaxed);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    while during.load(Ordering::Relaxed) {
                        assert!(still(rollcall) == before, "the list has changed");
                        lists.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let command = if round % 4 == 3 { "rebuild" } else { "compact" };
                rollcall.ok(&[command]);
                during.store(false, Ordering::Relaxed);
                reader.join().unwrap();
            });
        });
        load.compare(&rollcall);
        assert_checked(&rollcall);
        until("the old index is gone", || (generations(rollcall.data()).len() == 1).then_some(()));
    }
    let lists = lists.into_inner();
    eprintln!(
        "{} new generations, {lists} lists of {STILL_CALLS} calls answered meanwhile, {} events and \
         deletions acknowledged, 0 lost",
        trial.rounds,
        load.acknowledged()
    );
    assert!(lists >= 2 * trial.rounds, "{lists} lists");
    assert!(load.acknowledged() > 20 * trial.rounds, "{} acknowledged", load.acknowledged());
    assert_eq!(rollcall.stop(), Some(0));
    assert_checked(&rollcall);
    let printed: Value = serde_json::from_str(&rollcall.ok(&["compact", "--json"])).unwrap();
    assert!(printed["index"]["calls"].as_u64() >= Some(STILL_CALLS.into()), "{printed}");
    assert!(
        printed["index"]["bytes_before"].as_u64() > Some(0)
            && printed["index"]["bytes_after"].as_u64() > Some(0)
    );
    assert_checked(&rollcall);
}

#[test]
fn a_kill_in_the_middle_of_a_compaction_leaves_the_old_index_or_the_new_one() {
    let trial = Trial::new("COMPACTION_KILLS", 12);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&RESTLESS);
    import(&rollcall, 0..STILL_CALLS);
    let before = still(&rollcall);
    let mut load = Load::new(trial.seed, 2);
    let (mut unfinished, mut finished) = (0, 0);
    let mut rebuilt = [0, 0];
    for _ in 0..trial.rounds {
        let current = || std::fs::read_to_string(rollcall.data().join("CURRENT")).unwrap();
        let was = current();
        let old = generations(rollcall.data());
        load.during(&mut rollcall, |rollcall| {
            let mut command = Command::new(ROLLCALL);
            command.args(["compact", "--data-dir"]).arg(rollcall.data());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            until("a new one is begun", || (generations(rollcall.data()) != old).then_some(()));
            wait(&mut random, 2500);
            rollcall.kill();
            child.wait().unwrap();
        });
        let now = std::fs::read_to_string(rollcall.data().join("CURRENT")).unwrap();
        *(if now == was { &mut unfinished } else { &mut finished }) += 1;
        let built = rollcall.log().matches("the index is built anew").count();
        rollcall.start();
        // A kill between the rows of a checkpoint and its mark has the index built again.
        let again = rollcall.log().matches("the index is built anew").count() - built;
        rebuilt[usize::from(now != was)] += again;
        // One that is built anew may take its time, in the running server.
        until("one index is left", || (generations(rollcall.data()).len() == 1).then_some(()));
        assert!(still(&rollcall) == before, "the list has changed");
        load.compare(&rollcall);
        assert_checked(&rollcall);
    }
    eprintln!(
        "{unfinished} kills before the switch ({} with a rebuild) and {finished} after it ({}), 0 lost",
        rebuilt[0], rebuilt[1]
    );
    assert!(unfinished > 0, "every compaction was over before the kill");
}

#[test]
fn disk_comes_back_when_half_of_the_calls_are_gone() {
    let trial = Trial::new("COMPACT_CALLS", 20_000);
    let calls = u32::try_from(trial.rounds).unwrap();
    let rollcall = Rollcall::up(&[]);
    import(&rollcall, 0..calls);
    let index_bytes = |rollcall: &Rollcall| {
        let status: Value = serde_json::from_str(&rollcall.figures()).unwrap();
        status["index_bytes"].as_u64().unwrap()
    };
    let in_memory = |rollcall: &Rollcall| {
        let status: Value = serde_json::from_str(&rollcall.figures()).unwrap();
        (status["registry_calls"] == 0).then_some(())
    };
    until("all calls are in the index", || in_memory(&rollcall));
    let full = index_bytes(&rollcall);
    let bearer = format!("Bearer {}", rollcall.admin());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let agent = rollcall.new_agent();
                loop {
                    let n = u32::try_from(2 * next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    if n >= calls {
                        return;
                    }
                    let url = rollcall.url(&format!("/v1/Accounts/{STILL}/Calls/{}", sid(n)));
                    let headers = [("authorization", bearer.as_str())];
                    let answer = send(&agent, "DELETE", &url, &headers, b"").unwrap();
                    assert_eq!(answer.status, 204, "{answer:?}");
                }
            });
        }
    });
    until("all deletions are in the index", || in_memory(&rollcall));
    let deleted = index_bytes(&rollcall);
    let before = still(&rollcall);
    let begun = std::time::Instant::now();
    let printed: Value = serde_json::from_str(&rollcall.ok(&["compact", "--json"])).unwrap();
    let took = begun.elapsed();
    assert!(still(&rollcall) == before, "the list has changed");
    let compacted = printed["index"]["bytes_after"].as_u64().unwrap();
    assert_eq!(printed["index"]["calls"], calls / 2);
    let fresh = Rollcall::up(&[]);
    import(&fresh, (0..calls).filter(|n| n % 2 == 1));
    until("all calls are in the index", || in_memory(&fresh));
    let imported = index_bytes(&fresh);
    assert!(still(&fresh) == before, "the lists differ");
    let ratio = compacted * 100 / imported;
    eprintln!(
        "{calls} calls: {full} bytes of index; half of them deleted: {deleted}; compacted in \
         {took:.1?}: {compacted}; {} calls imported into an empty store: {imported}; {ratio} %",
        calls / 2
    );
    assert!(ratio <= 130, "{compacted} bytes where a fresh import takes {imported}");
    assert_checked(&rollcall);
}
