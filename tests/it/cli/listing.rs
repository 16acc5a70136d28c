//! Lists on a terminal and elsewhere, and which calls are in them.

use std::collections::BTreeSet;
use std::process::Command;

use super::super::harness::{A1, A2, ROLLCALL, Rollcall, event, sid};
use super::pty;

/// What a list writes on a terminal of so many columns.
fn on_terminal(rollcall: &Rollcall, columns: u16, flags: &[&str], colours: bool) -> String {
    let mut command = Command::new(ROLLCALL);
    command.args(["list", "--data-dir"]).arg(rollcall.data()).args(flags).env("TERM", "xterm");
    if colours {
        command.env_remove("NO_COLOR");
    } else {
        command.env("NO_COLOR", "1");
    }
    let (shown, code) = pty::start(&mut command, columns).end();
    assert_eq!(code, Some(0), "{shown}");
    shown
}

fn lines_fit(shown: &str, columns: usize) {
    for line in shown.lines() {
        assert!(line.chars().count() <= columns, "{} columns: {line}", line.chars().count());
    }
}

/// Calls of two accounts, some of them with what is no number, each with a sid of its own.
fn many() -> Rollcall {
    let rollcall = Rollcall::up(&[]);
    let statuses = ["trying", "in-progress", "completed", "busy", "failed", "early-media"];
    let mut events = String::new();
    for n in 0..24 {
        let status = statuses[n as usize % statuses.len()];
        let mut event = event(n, status);
        if n % 5 == 0 {
            event = event.replace("+15550000000", "sip:alice.of.wonderland@pbx.example.com");
        }
        if n % 7 == 0 {
            event = event.replace("+15550000000", "+491701234567890");
        }
        if n % 3 == 0 {
            event = event.replace(A1, A2);
        }
        // Sids as they are in the field: different from their first character on.
        event =
            event.replace(&sid(n), &format!("{:08x}-0000-4000-8000-0000000000aa", n * 0x0a1b_2c3d));
        events += &event;
        events.push('\n');
    }
    assert_eq!(rollcall.post_events(&events).status, 204);
    rollcall
}

#[test]
fn a_list_fits_a_terminal_with_its_numbers_whole() {
    let rollcall = many();
    let shown = on_terminal(&rollcall, 80, &[], false);
    lines_fit(&shown, 80);
    assert_eq!(shown.lines().count(), 1 + 24 + 1, "{shown}");
    assert!(shown.starts_with("WHEN"), "{shown}");
    // There is no room for accounts beside such numbers, and it says so.
    assert!(shown.contains("--wide shows them"), "{shown}");
    assert!(shown.contains("+491701234567890") && shown.contains("+15550000003"), "{shown}");
    assert!(shown.contains(" ago") || shown.contains("now"), "{shown}");
    assert!(!shown.contains('T'.to_string().as_str()) || !shown.contains("Z  "), "{shown}");
    // What is no number is cut where it must be.
    assert!(shown.contains("sip:alice.") && !shown.contains("example.com"), "{shown}");
    for columns in [60, 80, 100, 120] {
        let shown = on_terminal(&rollcall, columns, &["--account", A1], false);
        if columns >= 80 {
            lines_fit(&shown, columns.into());
        }
        assert!(shown.contains("+15550000001") && !shown.contains("ACCOUNT"), "{shown}");
    }
    // The account stands there where there is room.
    let shown = on_terminal(&rollcall, 160, &[], false);
    assert!(shown.contains("ACCOUNT") && shown.contains(&A2[..8]), "{shown}");
    assert!(shown.contains("sip:alice.of.wonderland@pbx.example.com"), "{shown}");
}

#[test]
fn sids_of_a_list_are_short_and_show_takes_them() {
    let rollcall = many();
    let shown = on_terminal(&rollcall, 80, &[], false);
    let mut seen = BTreeSet::new();
    for line in shown.lines().skip(1).filter(|line| !line.contains("--wide")) {
        let short = line
            .split_whitespace()
            .find(|word| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        let short = short.unwrap_or_else(|| panic!("{line}"));
        let call = rollcall.ok(&["show", short]);
        assert!(call.contains(&format!("{short}-0000-4000-8000-0000000000aa")), "{call}");
        seen.insert(short.to_owned());
    }
    assert_eq!(seen.len(), 24);
    // Where the beginnings are all alike the ends are shown.
    let alike = Rollcall::up(&[]);
    let events: Vec<String> = (1..=3).map(|n| event(n, "busy")).collect();
    assert_eq!(alike.post_events(&(events.join("\n") + "\n")).status, 204);
    let shown = on_terminal(&alike, 80, &[], false);
    assert!(shown.contains("  00000003  ") && !shown.contains("c0000000"), "{shown}");
    assert!(alike.ok(&["show", "00000003"]).contains(&sid(3)));
}

#[test]
fn a_part_of_a_sid_that_fits_several_says_how_many() {
    let mut rollcall = Rollcall::up(&[]);
    let events: Vec<String> = (1..=12).map(|n| event(n, "busy")).collect();
    assert_eq!(rollcall.post_events(&(events.join("\n") + "\n")).status, 204);
    for up in [true, false] {
        for (part, code, says) in [
            ("c0000000", 1, "12 calls have a sid that begins or ends with \"c0000000\""),
            ("C0000000-0000", 1, "12 calls have"),
            ("0008", 0, "c0000000-0000-4000-8000-000000000008"),
            ("8000-000000000008", 0, "c0000000-0000-4000-8000-000000000008"),
            ("00000000c", 0, "c0000000-0000-4000-8000-00000000000c"),
            ("ffff", 1, "there is no call whose sid begins or ends with \"ffff\""),
            ("008", 2, "\"008\" is no call sid: expected a UUID, or at least 4 characters"),
            ("wxyz", 2, "\"wxyz\" is no call sid"),
            ("", 2, "is no call sid"),
        ] {
            let printed = rollcall.run(&["show", part]);
            assert_eq!(printed.code, Some(code), "{part}: {printed:?}");
            assert!((printed.stdout + &printed.stderr).contains(says), "{part}: {says}");
        }
        // The same of what is in the index alone.
        if up {
            rollcall.stop();
        }
    }
    // A call that was deleted is none.
    rollcall.start();
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(8));
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    assert_eq!(rollcall.run(&["show", "0008"]).code, Some(1));
}

#[test]
fn statuses_are_coloured_on_a_terminal_and_nowhere_else() {
    let rollcall = many();
    let shown = on_terminal(&rollcall, 80, &[], true);
    for painted in
        ["\u{1b}[31mfailed\u{1b}[0m", "\u{1b}[33mbusy\u{1b}[0m", "\u{1b}[32mtrying\u{1b}[0m"]
    {
        assert!(shown.contains(painted), "{shown:?}");
    }
    let plain = on_terminal(&rollcall, 80, &[], false);
    assert!(!plain.contains('\u{1b}') && plain.contains("failed"), "{plain:?}");
    // Colours take no columns.
    let mut bare = shown;
    for code in ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[2m", "\u{1b}[0m"] {
        bare = bare.replace(code, "");
    }
    let words = |text: &str| text.lines().map(str::len).collect::<Vec<_>>();
    assert_eq!(words(&bare), words(&plain));
    assert!(!rollcall.ok(&["list"]).contains('\u{1b}'));
}

#[test]
fn elsewhere_and_with_wide_a_list_is_whole() {
    let rollcall = many();
    let piped = rollcall.ok(&["list"]);
    let head = piped.lines().next().unwrap();
    assert!(head.starts_with("ATTEMPTED") && head.ends_with("ACCOUNT SID"), "{piped}");
    assert!(piped.contains("-0000-4000-8000-0000000000aa") && piped.contains(A2), "{piped}");
    assert!(piped.contains("sip:alice.of.wonderland@pbx.example.com"), "{piped}");
    assert_eq!(on_terminal(&rollcall, 80, &["--wide"], true), piped);
}

/// The sids of a list or of an export.
fn sids(lines: &str) -> Vec<String> {
    let calls: Vec<serde_json::Value> = match serde_json::from_str(lines) {
        Ok(serde_json::Value::Array(calls)) => calls,
        _ => lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    };
    calls.iter().map(|call| call["call_sid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_time_that_ends_before_it_begins_is_refused() {
    let rollcall = many();
    for (args, why) in [
        (&["list", "--start", "1h", "--end", "2h"][..], "and not after --start"),
        (&["export", "--start", "2026-01-02", "--end", "2026-01-02"], "and not after --start"),
        (&["list", "--follow", "--end", "1h"], "cannot be used with"),
    ] {
        let refused = rollcall.run(args);
        assert_eq!(refused.code, Some(2), "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(why), "{args:?}: {refused:?}");
    }
    rollcall.ok(&["list", "--start", "2h", "--end", "1h"]);
}

#[test]
fn lists_and_exports_take_the_filters_of_the_api() {
    let rollcall = Rollcall::up(&[]);
    let mut events: Vec<String> = (1..=9).map(|n| event(n, "busy")).collect();
    let parent = format!("\"parent_call_sid\":\"{}\",\"call_status\"", sid(1));
    events.push(event(10, "completed").replace("\"call_status\"", &parent));
    events.push(event(11, "trying").replace("+15550000000", "+4930"));
    assert_eq!(rollcall.post_events(&(events.join("\n") + "\n")).status, 204);
    let (admin, parent) = (rollcall.admin(), sid(1));
    let mut some = 0;
    for (flags, query) in [
        (&["--from-prefix", "+1555000000"][..], "from_prefix=%2B1555000000"),
        (
            &["--from-prefix", "+15550000001,+15550000002"],
            "from_prefix=%2B15550000001,%2B15550000002",
        ),
        (
            &["--from-prefix", "+15550000001", "--from-prefix", "+15550000002"],
            "from_prefix=%2B15550000001,%2B15550000002",
        ),
        (&["--to-prefix", "+49"], "to_prefix=%2B49"),
        (&["--to", "+4930,+15550000000"], "to=%2B4930,%2B15550000000"),
        (&["--parent", &parent], &format!("parent_call_sid={parent}")),
        (&["--stale"], "stale=true"),
        (&["--stale=false"], "stale=false"),
        (&["--order", "asc"], "order=asc"),
        (&["--order", "desc", "--status", "busy"], "order=desc&callStatus=busy"),
        (
            &["--order", "asc", "--to-prefix", "+1", "--from", "+15550000003"],
            "order=asc&to_prefix=%2B1&from=%2B15550000003",
        ),
    ] {
        let answer = rollcall.get(&admin, &format!("/v1/Accounts/{A1}/Calls?{query}"));
        let expected = sids(&answer.body);
        some += usize::from(!expected.is_empty() && expected.len() < 11);
        let list = [&["list", "--json", "--account", A1], flags].concat();
        assert_eq!(sids(&rollcall.ok(&list)), expected, "{list:?}");
        let export = [&["export", "--account", A1], flags].concat();
        assert_eq!(sids(&rollcall.ok(&export)), expected, "{export:?}");
        let table = [&["export", "--format", "csv", "--account", A1], flags].concat();
        assert_eq!(rollcall.ok(&table).lines().count(), expected.len() + 1, "{table:?}");
    }
    assert!(some > 5, "{some}");
    // The oldest of all accounts together.
    let event = event(12, "busy").replace(A1, A2);
    assert_eq!(rollcall.post_events(&event).status, 204);
    let both = sids(&rollcall.ok(&["list", "--json", "--order", "asc"]));
    let mut newest = sids(&rollcall.ok(&["list", "--json"]));
    newest.reverse();
    assert_eq!((both.len(), &both), (12, &newest));
    for (flags, says) in [
        (&["--from-prefix", ""][..], "--from-prefix \"\": expected the beginning of a number"),
        (&["--parent", "x"], "'x' for '--parent"),
        (&["--stale=maybe"], "'maybe' for '--stale"),
        (&["--order", "up"], "'up' for '--order"),
    ] {
        for command in ["list", "export"] {
            let refused = rollcall.run(&[&[command], flags].concat());
            assert_eq!(refused.code, Some(2), "{refused:?}");
            assert!(refused.stderr.contains(says), "{refused:?}");
        }
    }
}
