//! Sizes and times with units, wherever a command asks for one.

use super::super::harness::{A1, Rollcall, event};

#[test]
fn flags_take_amounts_as_people_write_them_and_say_why_not() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let place = rollcall.dir.path().join("backup");
    let place = |n: usize| format!("{}{n}", place.display());
    for (n, rate) in ["64MiB", "1.5GB", "1_000_000_000", "0", "500 mb"].iter().enumerate() {
        rollcall.ok(&["backup", &place(n), "--rate", rate]);
    }
    for (rate, why) in [
        ("10G", "write GB for the decimal unit or GiB for the binary one"),
        ("-5", "it is negative"),
        ("much", "it is no number"),
        ("1,5GB", "a comma is no decimal point"),
        ("20000PiB", "it is too much"),
    ] {
        let refused = rollcall.run(&["backup", &place(9), "--rate", rate]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let says = format!("'{rate}' for '--rate <BYTES>': {why}");
        assert!(refused.stderr.contains(&says), "{says}: {refused:?}");
        assert!(refused.stderr.contains("10GB or 512MiB"), "{refused:?}");
    }
    for time in ["90d", "0.5h", "1 week", "2D", "2099-12-31", "2099-12-31T12:00:00+02:00", "1year"]
    {
        rollcall.token(&["--admin", "--expires", time]);
    }
    for (time, why) in [
        ("2020-01-01", "that is in the past; expected a later time"),
        ("1M", "M may be minutes or months"),
        ("1 month", "months differ in length"),
        ("-1d", "expected a time as"),
        ("90", "it lacks a unit"),
        ("101years", "expected 100years at most"),
        ("0s", "that is in the past"),
    ] {
        let refused = rollcall.run(&["token", "create", "--admin", "--expires", time]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
        let says = format!("'{time}' for '--expires <TIME>': {why}");
        assert!(refused.stderr.contains(&says), "{says}: {refused:?}");
    }
    for keep in ["1.5d", "90 days", "1 WEEK", "forever", "default"] {
        rollcall.ok(&["account", "set", A1, "--keep", keep]);
    }
    // As it is shown it is taken.
    for (keep, shown) in [
        ("90days", "90days"),
        ("365d", "365days"),
        ("1y", "365days"),
        ("36500days", "36500days"),
        ("31d 5h 7m 9s 3ms", "31days 5h 7m 9s 3ms"),
        ("36h", "1day 12h"),
        ("forever", "forever"),
    ] {
        rollcall.ok(&["account", "set", A1, "--keep", keep]);
        for _ in 0..2 {
            let listed = rollcall.ok(&["account", "list", "--json"]);
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            assert_eq!(listed[0]["keep"], shown, "{keep}: {listed}");
            let text = rollcall.ok(&["account", "list"]);
            assert!(text.contains(shown), "{text}");
            rollcall.ok(&["account", "set", A1, "--keep", shown]);
        }
    }
    for (keep, why) in [
        ("1M", "M may be"),
        ("30s", "expected forever, default, or at least 1m"),
        ("-2d", "it is negative"),
    ] {
        let refused = rollcall.run(&["account", "set", A1, "--keep", keep]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(
            refused.stderr.contains(&format!("'{keep}' for '--keep <TIME>': {why}")),
            "{refused:?}"
        );
    }
    let refused = rollcall.run(&["purge", "--number", "+15551230001", "--wait", "-5s"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("'-5s' for '--wait <TIME>': it is negative"), "{refused:?}");
    for (flags, count) in [
        (["--start", "1h"], 1),
        (["--start", "2026-01-01"], 1),
        (["--end", "0.5h"], 0),
        (["--end", "1s"], 0),
        (["--start", "1 week"], 1),
    ] {
        // A call of this moment may be a second old by now.
        if flags == ["--end", "1s"] {
            continue;
        }
        let listed = rollcall.ok(&[&["export"], &flags[..]].concat());
        assert_eq!(listed.lines().count(), count, "{flags:?}");
    }
    for (time, why) in [
        ("1M", "M may be minutes or months"),
        ("-1h", "expected a time as"),
        ("90", "it lacks a unit"),
        ("20261301", "it is no date: there is no month 13; expected a time as"),
        ("2026-11-31", "it is no date: 2026-11 has no day 31, its last is 30; expected a time as"),
        ("20261101", "a day is written with hyphens: 2026-11-01"),
        ("1764331200", "a Unix time is not read: write 2025-11-28T12:00:00.000Z"),
        ("31.12.2026", "the year comes first"),
    ] {
        for flag in ["--start", "--end"] {
            let refused = rollcall.run(&["list", flag, time]);
            assert_eq!(refused.code, Some(2), "{refused:?}");
            let says = format!("{flag} \"{time}\": {why}");
            assert!(refused.stderr.contains(&says), "{says}: {refused:?}");
            assert!(refused.stderr.contains("2d for two days ago"), "{refused:?}");
        }
    }
    for (until, why) in [
        ("20261101", "a day is written with hyphens: 2026-11-01"),
        ("20261301", "it is no date: there is no month 13"),
        ("202611012359", "a time is written as 2026-11-01T23:59"),
        ("1764331200", "a Unix time is not read: write 2025-11-28T12:00:00.000Z"),
    ] {
        let refused = rollcall.run(&["restore", &place(0), "--until", until]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let says = format!("'{until}' for '--until <TIME|SEQUENCE>': it looks like a time: {why}");
        assert!(refused.stderr.contains(&says), "{says}: {refused:?}");
    }
    let refused = rollcall.run(&["restore", &place(0), "--until", "20261101"]);
    assert!(refused.stderr.contains("for the sequence number, write 20_261_101"), "{refused:?}");
    let refused = rollcall.run(&["restore", &place(0), "--until", "1M"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let says = "'1M' for '--until <TIME|SEQUENCE>': M may be minutes or months";
    assert!(refused.stderr.contains(says), "{refused:?}");
    let new = rollcall.dir.path().join("new");
    let mut restore = std::process::Command::new(super::super::harness::ROLLCALL);
    restore.args(["restore", &place(0), "--until", "1_000", "--data-dir"]).arg(&new);
    let restored = super::super::harness::print(&mut restore, b"");
    assert_eq!(restored.code, Some(0), "{restored:?}");
}

#[test]
fn a_negative_number_is_refused_by_the_flag_before_it() {
    let rollcall = Rollcall::up(&[]);
    for (words, says) in [
        (
            &["list", "--limit", "-1"][..],
            "'-1' for '--limit <N>': expected a number of calls from 1",
        ),
        (&["list", "--limit=-1"], "'-1' for '--limit <N>': expected a number of calls from 1"),
        (&["backup", "x", "--keep", "-3"], "'-3' for '--keep <N>': expected a number of backups"),
        (&["list", "--sip-status", "-200"], "--sip-status \"-200\": expected"),
        (&["list", "--duration-min", "-1"], "--duration-min \"-1\": expected"),
        (&["export", "--status", "-1"], "--status \"-1\": expected"),
        (&["list", "--order", "-1"], "'-1' for '--order <ORDER>'"),
        (&["token", "create", "--role", "-1.5"], "'-1.5' for '--role <ROLE>'"),
    ] {
        let refused = rollcall.run(words);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(says), "{says}: {refused:?}");
    }
}
