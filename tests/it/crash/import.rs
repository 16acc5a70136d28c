//! Kills in the middle of an import.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use super::super::harness::{A1, ROLLCALL, Rollcall, event, sid};
use super::super::load::{Random, Trial};
use super::{RESTLESS, assert_checked, wait};

/// Records that are taken together.
const BATCH: usize = 1000;
const RECORDS: usize = 30 * BATCH;

#[test]
fn an_import_that_was_killed_has_taken_whole_batches_and_can_be_run_again() {
    let trial = Trial::new("CRASH_IMPORTS", 6);
    let mut random = Random::new(trial.seed);
    let mut input = String::new();
    for number in 0..RECORDS {
        writeln!(input, "{}", event(u32::try_from(number).unwrap(), "completed")).unwrap();
    }
    let mut in_the_middle = 0;
    // A quick machine may be done before it is killed: then there are a few rounds more.
    for round in 0..trial.rounds + 24 {
        if round >= trial.rounds && in_the_middle > 0 {
            break;
        }
        let mut rollcall = Rollcall::down();
        rollcall.set_args(&RESTLESS[..1]);
        let path = rollcall.dir.path().join("records.ndjson");
        fs::write(&path, &input).unwrap();
        // In every second round the import goes through a server, and that is killed.
        let over_socket = round % 2 == 0;
        if over_socket {
            rollcall.start();
        }
        let mut command = Command::new(ROLLCALL);
        command.args(["import", "--init"]).arg(&path).arg("--data-dir").arg(rollcall.data());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut import = command.spawn().unwrap();
        wait(&mut random, if round < trial.rounds { 1200 } else { 300 });
        if over_socket {
            rollcall.kill();
        } else {
            import.kill().unwrap();
        }
        let ended = import.wait_with_output().unwrap();
        rollcall.start();
        let taken = calls(&rollcall);
        assert_eq!(taken.len() % BATCH, 0, "part of a batch was taken");
        let first: HashSet<_> = (0..taken.len()).map(|n| sid(u32::try_from(n).unwrap())).collect();
        assert_eq!(taken, first, "batches are taken in order");
        if ended.status.success() {
            assert_eq!(taken.len(), RECORDS);
        } else if over_socket {
            let told = String::from_utf8(ended.stderr).unwrap();
            assert!(told.contains("the server went away before it answered"), "{told}");
        }
        in_the_middle += usize::from((1..RECORDS).contains(&taken.len()));
        assert_checked(&rollcall);
        let printed = rollcall.ok(&["import", path.to_str().unwrap()]);
        let told = format!("{RECORDS} records: {} new", RECORDS - taken.len());
        assert!(printed.starts_with(&told), "{printed}");
        assert_eq!(calls(&rollcall).len(), RECORDS);
        assert_checked(&rollcall);
    }
    eprintln!("{} imports, {in_the_middle} killed in their middle", trial.rounds);
    assert!(in_the_middle > 0, "no import was killed in its middle");
}

fn calls(rollcall: &Rollcall) -> HashSet<String> {
    let exported = rollcall.ok(&["export", "--account", A1]);
    let sids = exported.lines().map(|line| {
        let call: serde_json::Value = serde_json::from_str(line).unwrap();
        call["call_sid"].as_str().unwrap().to_owned()
    });
    let sids: Vec<_> = sids.collect();
    let count = sids.len();
    let sids: HashSet<_> = sids.into_iter().collect();
    assert_eq!(sids.len(), count, "a call is exported twice");
    sids
}
