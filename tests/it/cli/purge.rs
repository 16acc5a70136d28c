//! Forgetting a person: whatever the number looks like, and wherever it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::super::harness::{A1, Printed, ROLLCALL, Rollcall, sid, until};

const NUMBER: &str = "+15559990001";
const DIGITS: &str = "15559990001";

/// An event of call `n` with these members besides.
fn call(n: u32, more: &Value) -> Value {
    let mut event = json!({
        "account_sid": A1, "call_sid": sid(n), "direction": "inbound", "call_status": "completed",
        "sip_status": 200, "from": "+15550000001", "to": "+15550000002", "call_id": format!("c{n}"),
    });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn post(rollcall: &Rollcall, events: &[Value]) {
    assert_eq!(rollcall.post_events(&json!(events).to_string()).status, 204);
}

fn left(rollcall: &Rollcall) -> Vec<String> {
    let calls = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls")).json();
    let sid = |call: &Value| call["call_sid"].as_str().unwrap().to_owned();
    let mut sids: Vec<String> = calls.as_array().unwrap().iter().map(sid).collect();
    sids.sort();
    sids
}

fn purge(rollcall: &Rollcall, more: &[&str]) -> (Printed, Value) {
    let args = [&["--json", "purge", "--number", NUMBER, "--wait", "0s"], more].concat();
    let printed = rollcall.run(&args);
    let answer =
        serde_json::from_str(&printed.stdout).unwrap_or_else(|e| panic!("{e}: {printed:?}"));
    (printed, answer)
}

/// What is listed as `account/call` or the like, with its fields.
fn listed(list: &Value) -> Vec<(String, Vec<&str>)> {
    let entry = |entry: &Value| {
        // They live as long as the answer.
        (entry["what"].as_str().unwrap().to_owned(), Vec::new())
    };
    let mut found: Vec<(String, Vec<&str>)> = list.as_array().unwrap().iter().map(entry).collect();
    for (found, entry) in found.iter_mut().zip(list.as_array().unwrap()) {
        found.1 = entry["fields"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    }
    found.sort();
    found
}

#[test]
fn a_party_is_forgotten_however_it_is_written() {
    let rollcall = Rollcall::up(&[]);
    let same = [
        NUMBER,
        DIGITS,
        "0015559990001",
        "+1 (555) 999-0001",
        "+1\u{a0}555\u{a0}999\u{a0}0001",
        "sip:0015559990001@example.com",
        "sip:%2B1555%39990001@example.com;user=phone",
        "\"Bob\" <sip:+15559990001@example.com>;tag=x",
        "tel:+1-555-999-0001",
        "\"Bob <work>\" <sip:+15559990001@example.com>",
        "\u{ff0b}\u{ff11}\u{ff15}\u{ff15}\u{ff15}\u{ff19}\u{ff19}\u{ff19}\u{ff10}\u{ff10}\u{ff10}\u{ff11}",
        "+\u{661}\u{665}\u{665}\u{665}\u{669}\u{669}\u{669}\u{660}\u{660}\u{660}\u{661}",
    ];
    let mut events: Vec<Value> =
        (1..).zip(same).map(|(n, from)| call(n, &json!({"from": from}))).collect();
    events.push(call(50, &json!({"to": "sip:15559990001@h"})));
    let others = ["+155599900011", "+915559990001", "bob", "sip:bob@15.55.99.90"];
    events.extend((100..).zip(others).map(|(n, from)| call(n, &json!({"from": from}))));
    // More digits on one side, which are no part of it.
    events.push(call(110, &json!({"from": "+25559990001"})));
    post(&rollcall, &events);
    let (printed, answer) = purge(&rollcall, &["--dry-run"]);
    assert_eq!((printed.code, &answer["calls"]), (Some(0), &json!(same.len() + 1)), "{answer}");
    let (printed, answer) = purge(&rollcall, &[]);
    assert_eq!(answer["calls"], json!(same.len() + 1), "{answer}");
    let kept: Vec<String> = [100, 101, 102, 103, 110].map(sid).into();
    assert_eq!(left(&rollcall), kept);
    // That of another call begins with all its digits: the files have them, as a part of more.
    assert_eq!(printed.code, Some(1), "{answer}");
    rollcall.ok(&["purge", "--number", "+155599900011", "--wait", "0s"]);
    let (printed, answer) = purge(&rollcall, &["--call", &format!("{A1}/{}", sid(101))]);
    assert_eq!((printed.code, &answer["files"]), (Some(0), &json!([])), "{answer}");
}

#[test]
fn what_has_the_number_elsewhere_or_in_part_is_listed_and_deleted_by_name() {
    let rollcall = Rollcall::up(&[]);
    let mentions = [
        (1, json!({"caller_name": "Bob 1-555-999-0001"}), "caller_name"),
        (2, json!({"sip_reason": "no answer from 15559990001"}), "sip_reason"),
        (3, json!({"customer_data": {"a": [{"deep": "tel:+1 555 999 0001"}]}}), "customer_data"),
        (4, json!({"note": "sip:%315559990001@h"}), "note"),
        (5, json!({"note": {"n": 15_559_990_001_u64}}), "note"),
        (6, json!({"note": 1.555_999_000_1e10}), "note"),
        (7, json!({"note": {"15559990001": true}}), "note"),
        (8, json!({"from": "\"15559990001 (work)\" <sip:bob@h>"}), "from"),
        (9, json!({"to": "sip:trunk-15559990001@h"}), "to"),
        (10, json!({"application_sid": "app 15559990001"}), "application_sid"),
        (11, json!({"note": "{\"n\":\"\\u00315559990001\"}"}), "note"),
        (12, json!({"note": "N"}), "note"),
    ];
    let unclear = [
        (20, json!({"from": "5559990001"}), "from"),
        (21, json!({"to": "sip:05559990001@h"}), "to"),
        (22, json!({"from": "915559990001"}), "from"),
        (23, json!({"note": {"n": "01115559990001"}}), "note"),
    ];
    let all = mentions.iter().chain(&unclear);
    let events = json!(all.map(|(n, more, _)| call(*n, more)).collect::<Vec<_>>()).to_string();
    // A number beside it that no double holds.
    let events = events.replace("\"N\"", "[1.5559990001e10,1e999]");
    assert_eq!(rollcall.post_events(&events).status, 204);
    // An escape that JSON itself takes off, and one that it leaves.
    let raw = call(30, &json!({"note": "X"})).to_string().replace("\"X\"", "\"\\u00315559990001\"");
    assert_eq!(rollcall.post_events(&format!("[{raw}]")).status, 204);
    post(&rollcall, &[call(40, &json!({}))]);
    let name = |n: u32| format!("{A1}/{}", sid(n));
    let expected = |list: &[(u32, Value, &'static str)]| -> Vec<(String, Vec<&'static str>)> {
        list.iter().map(|(n, _, field)| (name(*n), vec![*field])).collect()
    };
    let (printed, answer) = purge(&rollcall, &[]);
    assert_eq!((printed.code, &answer["calls"]), (Some(1), &json!(0)), "{answer}");
    let mut mentioned = expected(&mentions);
    mentioned.push((name(30), vec!["note"]));
    assert_eq!(listed(&answer["mentioned_by"]), mentioned);
    assert_eq!(listed(&answer["unclear_in"]), expected(&unclear));
    let (printed, answer) = purge(&rollcall, &["--mentions"]);
    assert_eq!((printed.code, &answer["calls"]), (Some(1), &json!(13)), "{answer}");
    assert_eq!((&answer["unclear"], &answer["mentions"]), (&json!(4), &json!(0)), "{answer}");
    let text = rollcall.run(&["purge", "--number", NUMBER, "--mentions", "--wait", "0s"]);
    assert!(text.stdout.contains(&format!("{} (from)", name(20))), "{text:?}");
    assert!(text.stdout.contains("--call ACCOUNT_SID/CALL_SID"), "{text:?}");
    let names: Vec<String> = unclear.iter().map(|(n, ..)| name(*n)).collect();
    let calls: Vec<&str> = names.iter().flat_map(|name| ["--call", name]).collect();
    let (printed, answer) = purge(&rollcall, &calls);
    assert_eq!((printed.code, &answer["calls"]), (Some(0), &json!(4)), "{answer}");
    assert_eq!(left(&rollcall), [sid(40)]);
    for (call, why) in [("x", "expected ACCOUNT_SID/CALL_SID"), (&*name(99), "no such call")] {
        let refused = rollcall.run(&["purge", "--number", NUMBER, "--call", call]);
        assert!(refused.code != Some(0) && refused.stderr.contains(why), "{refused:?}");
    }
}

#[test]
fn settings_that_have_the_number_are_listed() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--name", "Bob +1 555 999 0001"]);
    rollcall.ok(&["token", "create", "--admin", "--name", DIGITS]);
    let (printed, answer) = purge(&rollcall, &[]);
    assert_eq!(printed.code, Some(1), "{answer}");
    let settings = listed(&answer["settings"]);
    assert_eq!(settings[0], (format!("account {A1}"), vec!["name"]));
    let (token, fields) = &settings[1];
    assert_eq!(fields, &["name"]);
    rollcall.ok(&["token", "revoke", token.strip_prefix("token ").unwrap()]);
    rollcall.ok(&["account", "set", A1, "--name", "Bob"]);
    let (printed, answer) = purge(&rollcall, &[]);
    assert_eq!(printed.code, Some(0), "{answer}");
}

/// A backup that takes as long as it is wanted to.
fn slow_backup(rollcall: &Rollcall) -> Child {
    let target = rollcall.dir.path().join("slow");
    let mut command = Command::new(ROLLCALL);
    command.arg("backup").arg(&target).args(["--rate", "50000", "--data-dir"]).arg(rollcall.data());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let first = target.with_extension("partial").join("journal");
    until("the backup has begun", || {
        let mut there = fs::read_dir(&first).ok()?;
        there.next().map(|_| ())
    });
    child
}

#[test]
fn a_number_that_a_backup_still_holds_is_not_gone() {
    let rollcall = Rollcall::up(&["--store-segment-bytes=1048576"]);
    let note = "x".repeat(2000);
    for part in 0..8 {
        let calls = (part * 200..part * 200 + 200).map(|n| {
            let from = if n % 10 == 0 { NUMBER } else { "+15550000001" };
            call(n, &json!({"from": from, "note": note}))
        });
        post(&rollcall, &calls.collect::<Vec<_>>());
    }
    let mut backup = slow_backup(&rollcall);
    let (printed, answer) = purge(&rollcall, &[]);
    assert_eq!((printed.code, &answer["calls"]), (Some(1), &json!(160)), "{answer}");
    let files = answer["files"].as_array().unwrap();
    assert!(!files.is_empty(), "{answer}");
    for left in files {
        assert!(left["file"].as_str().unwrap().contains("/journal/"), "{left}");
        let why = left["why"].as_str().unwrap();
        assert!(why.contains("it was replaced") && why.ends_with("a backup runs"), "{why}");
    }
    // Who waits for it sees it go: what is waited for is told on a terminal.
    let shown = rollcall.dir.path().join("shown");
    let data = rollcall.data().display();
    let command = format!("{ROLLCALL} purge --number {NUMBER} --wait 10min --data-dir {data}");
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--flush", "--return", "--command", &command]).arg(&shown);
    terminal.stdin(Stdio::null()).stdout(Stdio::null()).env("TERM", "xterm");
    let mut purging = terminal.spawn().unwrap();
    let said = || fs::read(&shown).map(|said| String::from_utf8_lossy(&said).into_owned());
    until("purge waits for the backup", || {
        said().is_ok_and(|said| said.contains("waiting for a backup")).then_some(())
    });
    backup.kill().unwrap();
    backup.wait().unwrap();
    let (gone, said) = (purging.wait().unwrap(), said().unwrap());
    assert!(gone.success(), "{said}");
    assert!(said.contains("every file of the data directory was searched"), "{said}");
    assert!(said.contains("not searched: backups and exports made before"), "{said}");
}

#[test]
fn every_file_of_the_directory_is_searched() {
    let mut rollcall = Rollcall::up(&[]);
    // The length of a text stands before it, and looks like a digit.
    let note = format!("{DIGITS}{}", " ".repeat(50 - DIGITS.len()));
    post(&rollcall, &[call(1, &json!({"note": note}))]);
    assert_eq!(purge(&rollcall, &["--mentions"]).0.code, Some(0));
    let data = rollcall.data().to_owned();
    let place = |name: &str| data.join(name);
    let packed = zstd::encode_all(format!("x {DIGITS} y").as_bytes(), 3).unwrap();
    fs::create_dir(place("old")).unwrap();
    fs::write(place("old/export.csv"), "from\n+1 555 999-0001\n").unwrap();
    fs::write(place("journal/notes"), format!("{{\"n\":\"\\u0031{}\"}}", &DIGITS[1..])).unwrap();
    fs::write(place("export.ndjson.zst"), packed).unwrap();
    fs::write(rollcall.dir.path().join("elsewhere"), "").unwrap();
    symlink(rollcall.dir.path().join("elsewhere"), place("linked")).unwrap();
    let names = ["export.ndjson.zst", "journal/notes", "linked", "old/export.csv"];
    for running in [true, false] {
        let (printed, answer) = purge(&rollcall, &[]);
        assert_eq!(printed.code, Some(1), "{answer}");
        let files: Vec<&str> = answer["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["file"].as_str().unwrap())
            .collect();
        assert_eq!(files, names.map(|name| place(name).display().to_string()), "{running}");
        if running {
            assert_eq!(rollcall.stop(), Some(0));
        }
    }
    for name in names {
        fs::remove_file(rollcall.data().join(name)).unwrap();
    }
    assert_eq!(purge(&rollcall, &[]).0.code, Some(0));
}
