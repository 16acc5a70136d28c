//! Import: whatever shape the records have.

use super::super::harness::{A1, Rollcall, event, recorded_events, sid};
use super::{TIMES, import, outcome, record, shown, status};

#[test]
fn every_shape_of_input_is_taken() {
    let records: Vec<String> = (1..=3).map(|n| record(n, TIMES)).collect();
    let values: Vec<serde_json::Value> =
        records.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let pretty = serde_json::to_string_pretty(&values).unwrap();
    let objects: String =
        values.iter().map(|value| serde_json::to_string_pretty(value).unwrap() + "\n").collect();
    let camel = records.join("\n").replace("account_sid", "accountSid");
    let camel = camel.replace("call_sid", "callSid").replace("call_status", "callStatus");
    let camel = camel.replace("sip_status", "sipStatus").replace("call_id", "callId");
    let camel = camel.replace("service_url", "serviceUrl").replace("_at\"", "At\"");
    let shapes: [(&str, &[&str], String); 9] = [
        ("the answer of a list", &[], format!("[{}]", records.join(","))),
        ("the same, told", &["--format", "json"], format!("[{}]", records.join(","))),
        ("a pretty array", &[], pretty),
        ("objects on several lines", &[], objects),
        ("objects on one line", &["--format", "json"], records.concat()),
        ("lines", &[], records.join("\n")),
        ("lines, told", &["--format", "ndjson"], format!("\n{}\r\n\n", records.join("\r\n"))),
        ("camelCase", &[], camel),
        (
            "an array of an array's pages",
            &[],
            format!("[{}]\n[{}]", records[0], records[1..].join(",")),
        ),
    ];
    let mut first = None;
    for (what, args, input) in shapes {
        let rollcall = Rollcall::down();
        let summary = import(&rollcall, args, &input);
        assert_eq!((outcome(&summary), &summary["records"]), ([3, 0, 0], &3.into()), "{what}");
        let export = rollcall.ok(&["export"]);
        assert_eq!(export.lines().count(), 3, "{what}");
        assert_eq!(first.get_or_insert_with(|| export.clone()), &export, "{what}");
        let file = rollcall.dir.path().join("calls");
        std::fs::write(&file, &input).unwrap();
        let again = import(&rollcall, &[args, &[file.to_str().unwrap()]].concat(), "");
        assert_eq!(outcome(&again), [0, 0, 3], "{what}");
    }
    let nothing = Rollcall::down();
    for empty in ["", "[]", "\n\n", "[\n]\n"] {
        assert_eq!(import(&nothing, &[], empty)["records"], 0);
        let told = nothing.run_with(&["import", "-"], empty.as_bytes());
        assert!(told.stderr.contains("note: there is no record in standard input"), "{told:?}");
    }
}

#[test]
fn an_import_run_again_changes_nothing() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let with: Vec<String> = (1..=1200).map(|n| record(n, TIMES)).collect();
        let without: Vec<String> = (2001..=3200).map(|n| record(n, "")).collect();
        let input = [with, without].concat().join("\n");
        assert_eq!(outcome(&import(&rollcall, &[], &input)), [2400, 0, 0]);
        let (before, export) = (status(&rollcall), rollcall.ok(&["export"]));
        assert_eq!(outcome(&import(&rollcall, &[], &input)), [0, 0, 2400]);
        let after = status(&rollcall);
        assert_eq!(after["sequence"], before["sequence"], "{up}");
        assert_eq!(after["calls"], 2400);
        assert_eq!(rollcall.ok(&["export"]), export, "{up}");
        // Neither does its own export.
        assert_eq!(outcome(&import(&rollcall, &[], &export)), [0, 0, 2400]);
        assert_eq!(status(&rollcall)["sequence"], before["sequence"], "{up}");
    }
}

#[test]
fn times_are_those_of_the_record_or_unknown() {
    let rollcall = Rollcall::down();
    let input = [
        record(1, TIMES),
        record(2, ""),
        record(3, ",\"attempted_at\":1769860800000,\"x\":[1.50,{\"y\":null}]"),
    ];
    import(&rollcall, &[], &input.join("\n"));
    let one = shown(&rollcall, 1);
    assert_eq!(one["attempted_at"], "2026-01-31T12:00:00.000Z");
    assert_eq!(one["answered_at"], "2026-01-31T12:00:05.500Z");
    assert_eq!(one["terminated_at"], "2026-01-31T12:00:17.500Z");
    assert_eq!(one["listed_at"], one["attempted_at"]);
    assert_eq!(one.get("time_unknown"), None);
    let two = shown(&rollcall, 2);
    assert_eq!((&two["time_unknown"], two.get("attempted_at")), (&true.into(), None));
    assert_eq!((&two["duration"], &two["call_status"]), (&12.into(), &"completed".into()));
    assert!(two["listed_at"].as_str().unwrap() > "2026", "{two}");
    assert_eq!(shown(&rollcall, 3)["attempted_at"], "2026-01-31T12:00:00.000Z");
    // A value that is not rollcall's stays as it was written.
    assert!(rollcall.ok(&["show", &sid(3), "--json"]).contains("\"x\":[1.50,{\"y\":null}]"));
    let shown = rollcall.ok(&["show", &sid(2)]);
    assert!(shown.contains("time_unknown") && shown.contains("import"), "{shown}");
}

#[test]
fn a_dry_run_counts_and_does_nothing() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        import(&rollcall, &[], &[record(1, TIMES), record(2, TIMES)].join("\n"));
        let before = (status(&rollcall)["sequence"].clone(), rollcall.ok(&["export"]));
        let input = [
            record(1, TIMES),
            record(2, ",\"x\":1"),
            record(3, TIMES),
            record(3, TIMES),
            record(4, ""),
        ];
        let input = input.join("\n");
        let dry = import(&rollcall, &["--dry-run"], &input);
        assert_eq!((status(&rollcall)["sequence"].clone(), rollcall.ok(&["export"])), before);
        let wet = import(&rollcall, &[], &input);
        assert_eq!(dry, wet, "{up}");
        assert_eq!(outcome(&wet), [2, 1, 2], "{up}");
    }
}

#[test]
fn an_import_joins_what_the_webhook_told() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(recorded_events()).status, 204);
    assert_eq!(rollcall.post_events(&event(1, "in-progress")).status, 204);
    assert_eq!(outcome(&import(&rollcall, &[], &record(1, TIMES))), [0, 1, 0]);
    let list = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls/{}", sid(1)));
    assert_eq!(list.json()["call_status"], "completed");
    let export = rollcall.ok(&["export"]);
    assert_eq!(outcome(&import(&rollcall, &[], &export)), [0, 0, 27]);
}

/// The answer of a list says what the calls show. That it was imported is no event of theirs.
#[test]
fn the_answer_of_a_list_imported_where_it_came_from_changes_nothing() {
    let rollcall = Rollcall::up(&[]);
    for (n, statuses) in [
        (1, &["trying", "ringing", "in-progress", "completed"][..]),
        (2, &["ringing", "busy"]),
        (3, &["trying", "in-progress"]),
        (4, &["ringing"]),
    ] {
        for status in statuses {
            assert_eq!(rollcall.post_events(&event(n, status)).status, 204);
        }
    }
    import(&rollcall, &[], &record(5, TIMES));
    let before = rollcall.ok(&["export"]);
    let list = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls")).body;
    let lines = list.trim_matches(['[', ']']).replace("},{", "}\n{");
    for input in [&list, &lines] {
        let summary = import(&rollcall, &["--dry-run"], input);
        assert_eq!(outcome(&summary), [0, 0, 5], "{input}");
        assert_eq!(outcome(&import(&rollcall, &[], input)), [0, 0, 5], "{input}");
        assert_eq!(rollcall.ok(&["export"]), before);
    }
    // What differs in anything counts.
    let caller = list.replacen("\"from\":\"", "\"caller_name\":\"Bob\",\"from\":\"", 1);
    assert_eq!(outcome(&import(&rollcall, &[], &caller)), [0, 1, 4]);
    let ended = list.replacen("\"call_status\":\"ringing\"", "\"call_status\":\"failed\"", 1);
    assert_eq!(outcome(&import(&rollcall, &[], &ended)), [0, 1, 4]);
    assert_ne!(rollcall.ok(&["export"]), before);
}

#[test]
fn deleted_calls_do_not_come_back_by_import() {
    let rollcall = Rollcall::up(&[]);
    let input = [record(1, TIMES), record(2, TIMES)].join("\n");
    import(&rollcall, &[], &input);
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    let summary = import(&rollcall, &[], &input);
    assert_eq!((outcome(&summary), &summary["outcome"]["ignored"]), ([0, 0, 1], &1.into()));
    assert!(!rollcall.ok(&["export"]).contains(&sid(1)));
    let human = rollcall.run_with(&["import"], input.as_bytes());
    assert_eq!(
        human.stdout,
        "2 records: 0 new, 0 changed, 1 unchanged, 1 of deleted calls ignored\n"
    );
}
