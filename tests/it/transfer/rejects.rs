//! Records that an import cannot take, and imports that are cut off.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::harness::{ROLLCALL, Rollcall, until};
use super::{TIMES, import, outcome, record, status};

#[test]
fn a_bad_record_is_named_by_its_place_field_and_value() {
    let rollcall = Rollcall::up(&[]);
    let good = record(1, TIMES);
    let cases: [(String, &[&str]); 10] = [
        (good.replace("completed", "done"), &["call_status \"done\"", "no-answer"]),
        (good.replace("inbound", "in"), &["direction \"in\"", "outbound"]),
        (good.replace("c0000000-", ""), &["call_sid \"0000-4000", "UUID"]),
        (good.replace("\"call_sid\"", "\"sid\""), &["call_sid is missing"]),
        (good.replace("\"duration\":12", "\"duration\":-1"), &["duration -1"]),
        (good.replace("12:00:05.500Z", "noon"), &["answered_at \"2026-01-31Tnoon\""]),
        (good.replace("\"sip_status\":200", "\"sip_status\":2000"), &["sip_status 2000", "699"]),
        (good.replace("2026-01-31T12:00:00.000Z", "2999-01-01"), &["attempted_at", "clock"]),
        ("{\"account_sid\":".to_owned(), &["not valid JSON"]),
        ("17".to_owned(), &["17: expected a JSON object"]),
    ];
    for (bad, said) in cases {
        let lines = format!("{good}\n\n{bad}\n{good}\n");
        let printed = rollcall.run_with(&["import", "--format", "ndjson"], lines.as_bytes());
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(1), ""), "{bad}: {printed:?}");
        assert!(printed.stderr.contains("line 3: "), "{printed:?}");
        let array = format!("[\n{good},\n{good},{bad}]");
        let array = rollcall.run_with(&["import"], array.as_bytes());
        assert_eq!((array.code, array.stdout.as_str()), (Some(1), ""), "{bad}: {array:?}");
        assert!(array.stderr.contains("record 3 (line 3)"), "{array:?}");
        for part in said {
            assert!(printed.stderr.contains(part), "{part}: {printed:?}");
            let whole = !bad.ends_with(':');
            assert!(!whole || array.stderr.contains(part), "{part}: {array:?}");
        }
    }
    assert_eq!(status(&rollcall)["calls"], 0);
}

#[test]
fn stopping_leaves_nothing_of_the_failing_batch_and_says_how_to_go_on() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let mut records: Vec<String> = (0..2500).map(|n| record(n, TIMES)).collect();
        let good = records.join("\n");
        records[1700] = records[1700].replace("completed", "done");
        let bad = records.join("\n");
        let printed = rollcall.run_with(&["import"], bad.as_bytes());
        assert_eq!(printed.code, Some(1), "{printed:?}");
        for part in ["line 1701: ", "1000 records before", "--on-error skip", "again"] {
            assert!(printed.stderr.contains(part), "{part}: {printed:?}");
        }
        assert_eq!(status(&rollcall)["calls"], 1000, "{up}");
        let dry = rollcall.run_with(&["import", "--dry-run"], bad.as_bytes());
        assert!(dry.stderr.contains("would have been imported"), "{dry:?}");
        assert_eq!(outcome(&import(&rollcall, &[], &good)), [1500, 0, 1000], "{up}");
    }
}

#[test]
fn skipping_leaves_out_the_bad_ones_and_keeps_their_text() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let mut records: Vec<String> = (0..1500).map(|n| record(n, TIMES)).collect();
        for n in [3, 700, 1499] {
            records[n] = records[n].replace("completed", "done");
        }
        let file = rollcall.dir.path().join("calls.ndjson");
        let rejects = rollcall.dir.path().join("rejects.ndjson");
        std::fs::write(&file, records.join("\n")).unwrap();
        std::fs::write(&rejects, "what an earlier run has left\n".repeat(1000)).unwrap();
        let (file, rejects) = (file.to_str().unwrap(), rejects.to_str().unwrap());
        let args = ["import", file, "--on-error", "skip", "--rejects", rejects];
        let printed = rollcall.run(&args);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert_eq!(printed.stdout, "1500 records: 1497 new, 0 changed, 0 unchanged, 3 left out\n");
        for line in ["line 4: ", "line 701: ", "line 1500: "] {
            assert!(printed.stderr.contains(&format!("left out: {line}")), "{printed:?}");
        }
        let kept = std::fs::read_to_string(rejects).unwrap();
        assert_eq!(kept, [3, 700, 1499].map(|n| records[n].clone() + "\n").concat());
        // Mended, they are an import of their own.
        let mended = kept.replace("done", "completed");
        assert_eq!(outcome(&import(&rollcall, &[], &mended)), [3, 0, 0]);
        let same = rollcall.run(&["import", file, "--on-error", "skip", "--rejects", file]);
        assert_eq!(same.code, Some(2), "{same:?}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), records.join("\n"));
        let args = ["import", file, "--on-error", "skip", "--rejects", "/dev/full"];
        let full = rollcall.run(&args);
        assert_eq!(full.code, Some(1), "{full:?}");
        assert!(full.stderr.contains("cannot write /dev/full: "), "{full:?}");
    }
}

#[test]
fn an_import_that_is_interrupted_leaves_whole_batches() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let records: Vec<String> = (0..1500).map(|n| record(n, TIMES) + "\n").collect();
        let mut command = Command::new(ROLLCALL);
        command.args(["import", "--init"]).arg("--data-dir").arg(rollcall.data());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(records.concat().as_bytes()).unwrap();
        stdin.flush().unwrap();
        let journal = rollcall.data().join("journal");
        let mut before = 0;
        until("the first batch is in the journal, whole", || {
            let files = std::fs::read_dir(&journal).into_iter().flatten().flatten();
            let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
            (bytes > 200_000 && std::mem::replace(&mut before, bytes) == bytes).then_some(())
        });
        // Not by INT, which a background process of a shell ignores.
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{output:?}");
        drop(stdin);
        // A server that has a batch goes on with it, even when its sender is gone.
        until("the batch is there", || (status(&rollcall)["calls"] == 1000).then_some(()));
        assert!(rollcall.ok(&["check"]).contains("agree"), "{up}");
        assert_eq!(outcome(&import(&rollcall, &[], &records.concat())), [500, 0, 1000], "{up}");
    }
}

#[test]
fn input_that_cannot_be_read_or_ends_inside_a_record_is_no_success() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let cut = format!("[{},{}", record(1, TIMES), &record(2, TIMES)[..90]);
        let printed = rollcall.run_with(&["import"], cut.as_bytes());
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(printed.stderr.contains("record 2 (line 1): the input ends inside"), "{printed:?}");
        let dir = rollcall.run(&["import", "/tmp"]);
        assert_eq!(dir.code, Some(1), "{dir:?}");
        assert!(dir.stderr.contains("/tmp"), "{dir:?}");
        let long = record(3, &format!(",\"x\":\"{}\"", "y".repeat(1024 * 1024)));
        let printed = rollcall.run_with(&["import"], long.as_bytes());
        assert!(printed.stderr.contains("a record has at most 1048576 bytes"), "{printed:?}");
        assert_eq!(status(&rollcall)["calls"], 0, "{up}");
    }
}
