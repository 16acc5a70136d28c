//! Every system call that changes the disk fails once: whatever a command says that it has done is
//! there afterwards, and whatever was there before.
//!
//! strace counts the calls of each thread for itself: the n-th call of a kind fails in every thread
//! that comes so far. Short writes are tried within the journal (`src/journal/crash_tests.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::harness::{A1, Printed, ROLLCALL, event, have, print};
use super::load::{Random, Trial};

/// What changes the disk.
const CALLS: [&str; 11] = [
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "rename",
    "unlink",
    "unlinkat",
    "ftruncate",
    "mkdir",
];
/// How it fails. A call that is always interrupted is tried for ever, and rightly.
const ERRORS: [(&str, bool); 3] = [("EIO", true), ("ENOSPC", true), ("EINTR", false)];
/// Records that are taken together.
const BATCH: usize = 1000;
/// Calls that are there before.
const THERE: u32 = 2500;

/// What is done while something fails.
const COMMANDS: [&[&str]; 4] =
    [&["import", "records"], &["compact"], &["backup", "made"], &["rebuild"]];

/// One fault.
#[derive(Debug, Clone)]
struct Point {
    audit_event: &'static [&'static str],
    call: &'static str,
    error: &'static str,
    /// The first call that fails, and whether all after it do.
    when: usize,
    for_good: bool,
}

fn records(calls: std::ops::Range<u32>) -> String {
    calls.map(|n| event(n, "completed") + "\n").collect()
}

fn run(home: &Path, args: &[&str], wrapper: &[String]) -> Printed {
    let mut words = vec!["timeout".to_owned(), "100".to_owned()];
    words.extend_from_slice(wrapper);
    words.push(ROLLCALL.to_owned());
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--data-dir", "data"]).current_dir(home);
    // Small segments, so that there are several.
    command.env("ROLLCALL_STORE_SEGMENT_BYTES", "1048576");
    print(&mut command, b"")
}

fn ok(home: &Path, args: &[&str]) -> String {
    let printed = run(home, args, &[]);
    assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
    printed.stdout
}

/// A directory with calls in segments that are packed and some that are not.
fn template() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for part in [0..THERE - 500, 1000..THERE] {
        fs::write(home.path().join("records"), records(part.clone())).unwrap();
        ok(home.path(), &["import", "records", "--init"]);
        if part.start == 0 {
            ok(home.path(), &["compact"]);
        }
    }
    fs::write(home.path().join("records"), records(THERE - 100..THERE + 2400)).unwrap();
    home
}

fn copy(template: &Path) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let mut cp = Command::new("cp");
    let done = cp.arg("-a").arg(template.join("data")).arg(template.join("records"));
    assert!(done.arg(home.path()).status().unwrap().success());
    home
}

/// How often each thread makes each call, where it does most.
fn counted(template: &Path, audit_event: &[&str]) -> BTreeMap<&'static str, usize> {
    let home = copy(template);
    let trace = home.path().join("trace");
    let calls = format!("trace={}", CALLS.join(","));
    let mut strace: Vec<String> = ["strace", "-f", "--seccomp-bpf", "-o"].map(str::to_owned).into();
    strace.extend([trace.to_str().unwrap().to_owned(), "-e".to_owned(), calls]);
    assert_eq!(run(home.path(), audit_event, &strace).code, Some(0));
    let mut of_threads = BTreeMap::new();
    for line in fs::read_to_string(trace).unwrap().lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start().split('(').next().unwrap_or_default();
        if let Some(call) = CALLS.iter().find(|known| **known == call) {
            *of_threads.entry((thread.to_owned(), *call)).or_insert(0) += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in of_threads {
        let most = most.entry(call).or_insert(0);
        *most = count.max(*most);
    }
    most
}

fn points(template: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    for audit_event in COMMANDS {
        for (call, count) in counted(template, audit_event) {
            for (error, stays) in ERRORS {
                for when in 1..=count {
                    for for_good in [false, true].into_iter().take(1 + usize::from(stays)) {
                        points.push(Point { audit_event, call, error, when, for_good });
                    }
                }
            }
        }
    }
    points
}

/// What is wrong with how the command and the store took it; says whether the fault was met.
fn problem(template: &Path, point: &Point, before: &str) -> Result<(bool, Option<i32>), String> {
    let home = copy(template);
    let trace = home.path().join("trace");
    let Point { audit_event, call, error, when, for_good } = point;
    let on = if *for_good { "+" } else { "" };
    let mut strace: Vec<String> = ["strace", "-f", "--seccomp-bpf", "-o"].map(str::to_owned).into();
    strace.extend([
        trace.to_str().unwrap().to_owned(),
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:error={error}:when={when}{on}"),
    ]);
    let told = run(home.path(), audit_event, &strace);
    let met = fs::read_to_string(trace).unwrap().contains("(INJECTED)");
    // Where nothing can be written any more, neither can the reason be.
    let mute = *call == "write";
    match told.code {
        Some(0) => {}
        Some(1) if mute || !told.stderr.trim().is_empty() => {}
        _ => return Err(format!("it ended badly: {told:?}")),
    }
    let checked = run(home.path(), &["check"], &[]);
    if checked.code != Some(0) {
        return Err(format!("{told:?}\nand then: {checked:?}"));
    }
    let after = run(home.path(), &["export"], &[]);
    if after.code != Some(0) {
        return Err(format!("{told:?}\nand then: {after:?}"));
    }
    let same = |what: &str, to: &str| {
        if what == to { Ok(()) } else { Err(format!("{told:?}\nand other calls are there")) }
    };
    if audit_event[0] == "import" {
        whole_batches(&told, before, &after.stdout)?;
        ok(home.path(), audit_event);
        let count = ok(home.path(), &["export"]).lines().count();
        if count != THERE as usize + 2400 {
            return Err(format!("{told:?}\nand the next import leaves {count} calls"));
        }
    } else {
        same(&after.stdout, before)?;
    }
    if audit_event[0] == "backup" && told.code == Some(0) {
        let mut verify = Command::new(ROLLCALL);
        let verified = print(verify.arg("verify").arg(home.path().join("made")), b"");
        if verified.code != Some(0) {
            return Err(format!("{told:?}\nand then: {verified:?}"));
        }
    }
    Ok((met, told.code))
}

/// The import has taken whole batches from its beginning on, and all where it says so.
fn whole_batches(told: &Printed, before: &str, after: &str) -> Result<(), String> {
    let sid = |line: &str| {
        let call: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(call["account_sid"], A1);
        call["call_sid"].as_str().unwrap().to_owned()
    };
    let mut sids: Vec<_> = after.lines().map(sid).collect();
    sids.sort();
    let count = sids.len();
    sids.dedup();
    let new = count.checked_sub(before.lines().count()).ok_or("calls are lost")?;
    let first: Vec<_> = (0..u32::try_from(count).unwrap()).map(super::harness::sid).collect();
    if sids != first {
        return Err(format!("{told:?}\nand {count} calls are there, not the first ones"));
    }
    // A hundred of the first batch were there.
    let whole = new == 0 || new == 2400 || (new + 100) % BATCH == 0;
    if !whole || told.code == Some(0) && new != 2400 {
        return Err(format!("{told:?}\nand {new} calls are new"));
    }
    Ok(())
}

#[test]
fn a_fault_at_any_call_loses_nothing_that_was_said_to_be_done() {
    if !["strace", "timeout", "cp"].into_iter().all(have) {
        return;
    }
    let trial = Trial::new("FAULT_POINTS", 12);
    let mut random = Random::new(trial.seed);
    let template = template();
    let before = ok(template.path(), &["export"]);
    let mut points = points(template.path());
    let all = points.len();
    for place in 0..all {
        points.swap(place, place + random.below(all - place));
    }
    points.truncate(trial.rounds);
    let (mut met, mut failed) = (0, 0);
    let mut problems = Vec::new();
    for point in &points {
        match problem(template.path(), point, &before) {
            Ok((fault, code)) => {
                met += usize::from(fault);
                failed += usize::from(code != Some(0));
            }
            Err(problem) => {
                eprintln!("{point:?}: {problem}");
                problems.push(point.clone());
            }
        }
    }
    eprintln!(
        "seed {}: {} of {all} points, {met} of them met; {failed} commands failed and said why, 0 \
         lost; {} problems",
        trial.seed,
        points.len(),
        problems.len()
    );
    assert!(problems.is_empty(), "{problems:?}");
    assert!(met * 2 > points.len(), "{met} of {} faults were met", points.len());
}

#[test]
fn an_index_that_cannot_be_synced_when_it_is_closed_is_no_reason_to_panic() {
    if !["strace", "timeout", "cp"].into_iter().all(have) {
        return;
    }
    let template = template();
    let before = ok(template.path(), &["export"]);
    for audit_event in COMMANDS {
        // sled syncs once more when it lets go of its file, and that is the last sync of all.
        let when = counted(template.path(), audit_event)["fsync"];
        let point = Point { audit_event, call: "fsync", error: "EIO", when, for_good: false };
        let (met, _) = problem(template.path(), &point, &before).unwrap();
        assert!(met, "{point:?}");
    }
}
