//! CSV: out, into a spreadsheet or a program of one's own, and back in.

use std::fmt::Write as _;
use std::process::Command;

use super::super::harness::{A1, Rollcall, have, print, recorded_events, sid};
use super::{TIMES, import, outcome, record, status};

const HEADER: &str = "account_sid,call_id,call_sid,call_status,direction,from,service_url,\
    sip_status,to,application_sid,caller_name,duration,originating_sip_trunk_name,parent_call_sid,\
    attempted_at,answered_at,terminated_at,stale,time_unknown,extra,listed_at,merge";

/// Texts that a reader of CSV or a spreadsheet might take for something else.
const HOSTILE: [&str; 14] = [
    "say \"hello\"",
    "two\r\nlines",
    "a,b;c\td",
    "\0",
    "=HYPERLINK(\"http://example.com/\",\"x\")",
    "+1+1",
    "-1",
    "@SUM(A1)",
    "＝1",
    "'",
    "'=1",
    "\t=1",
    " ",
    "",
];

/// A store with calls that are told by the webhook and imported, some of them hostile.
fn store(up: bool) -> Rollcall {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(recorded_events()).status, 204);
    let hostile = (100..).zip(HOSTILE).map(|(n, text)| {
        let text = serde_json::to_string(text).unwrap();
        record(n, &format!(",\"caller_name\":{text},\"sip_reason\":{text},\"odd\":{{{text}:1.50}}"))
            .replace("\"+15550000000\"", &text)
    });
    let input: Vec<String> = hostile.chain([record(1, TIMES), record(2, "")]).collect();
    import(&rollcall, &[], &input.join("\n"));
    if !up {
        assert_eq!(rollcall.stop(), Some(0));
    }
    rollcall
}

#[test]
fn an_export_as_csv_imported_into_an_empty_store_is_the_same_store() {
    for up in [true, false] {
        let rollcall = store(up);
        let export = rollcall.ok(&["export"]);
        let calls = export.lines().count() as u64;
        assert!(calls > 30, "{calls}");
        for flags in [
            &[][..],
            &["--spreadsheet"],
            &["--time-zone", "America/St_Johns"],
            &["--spreadsheet", "--time-zone", "Asia/Kathmandu"],
        ] {
            let csv = rollcall.ok(&[&["export", "--format", "csv"], flags].concat());
            let spreadsheet = flags.contains(&"--spreadsheet");
            assert_eq!(csv.starts_with('\u{feff}'), spreadsheet, "{flags:?}");
            let header = csv.trim_start_matches('\u{feff}').split("\r\n").next();
            assert_eq!(header, Some(HEADER));
            let formula = if spreadsheet { "\"'=HYPERLINK(" } else { ",\"=HYPERLINK(" };
            assert!(csv.contains(formula), "{csv}");
            assert!(csv.contains(",+15550000001,"), "numbers have no guard: {csv}");
            let time = match flags.last() {
                Some(&"America/St_Johns") => "2026-01-31T08:30:00.000-03:30",
                Some(&"Asia/Kathmandu") => "2026-01-31T17:45:00.000+05:45",
                _ => "2026-01-31T12:00:00.000Z",
            };
            assert!(csv.contains(time), "{flags:?}");
            for format in [&[][..], &["--format", "csv"]] {
                let other = if up { Rollcall::up(&[]) } else { Rollcall::down() };
                let new = outcome(&import(&other, format, &csv));
                assert_eq!(new, [calls, 0, 0], "{flags:?}");
                assert_eq!(other.ok(&["export"]), export, "{flags:?}");
                assert_eq!(other.ok(&[&["export", "--format", "csv"], flags].concat()), csv);
            }
            assert_eq!(outcome(&import(&rollcall, &[], &csv)), [0, 0, calls], "{flags:?}");
        }
    }
}

#[test]
fn python_reads_the_same_cells() {
    // Before 3.11 it refuses NUL.
    let newer = "import sys; sys.exit(sys.version_info < (3, 11))";
    if !have("python3") || print(Command::new("python3").args(["-c", newer]), b"").code != Some(0) {
        return;
    }
    let rollcall = store(false);
    let program = "import csv, io, json, sys\n\
        text = io.TextIOWrapper(sys.stdin.buffer, encoding='utf-8', newline='')\n\
        for row in csv.DictReader(text, strict=True): print(json.dumps(row))";
    let csv = rollcall.ok(&["export", "--format", "csv"]);
    let read = print(Command::new("python3").args(["-c", program]), csv.as_bytes());
    assert_eq!(read.code, Some(0), "{read:?}");
    let export = rollcall.ok(&["export"]);
    let mut cells = 0;
    for (row, line) in read.stdout.lines().zip(export.lines()) {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        let mut call: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).unwrap();
        for (column, cell) in &row {
            let cell = cell.as_str().unwrap();
            let json = |cell| serde_json::from_str::<serde_json::Value>(cell).unwrap();
            match (column.as_str(), call.remove(column)) {
                ("extra", None) if cell.is_empty() => {}
                ("extra", None) => {
                    for (key, value) in json(cell).as_object().unwrap() {
                        assert_eq!(call.remove(key).as_ref(), Some(value), "{key}");
                    }
                }
                ("merge", Some(merge)) => assert_eq!(json(cell), merge),
                (_, None) => assert_eq!(cell, "", "{column}"),
                (_, Some(serde_json::Value::String(text))) => assert_eq!(cell, text, "{column}"),
                (_, Some(value)) => assert_eq!(cell, value.to_string(), "{column}"),
            }
            cells += 1;
        }
        assert!(call.is_empty(), "{call:?}");
    }
    assert_eq!(cells, export.lines().count() * 22);
}

/// A row with these cells beside the sids.
fn row(n: u32, cells: &str) -> String {
    format!("{A1},{},{cells}", sid(n))
}

#[test]
fn a_table_made_by_hand_is_imported_as_plain_records_are() {
    let header = "account_sid,call_sid,call_status,direction,from,to,sip_status,duration,\
        attempted_at,extra";
    let cells = "completed,inbound,+15550000001,\"a,\"\"b\",200,12,2026-01-31T12:00:00+02:00,\
        \"{\"\"sip_reason\"\":\"\"OK\"\",\"\"x\"\":1.50}\"";
    let json = format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"call_status\":\"completed\",\
         \"direction\":\"inbound\",\"from\":\"+15550000001\",\"to\":\"a,\\\"b\",\"sip_status\":200,\
         \"duration\":12,\"attempted_at\":\"2026-01-31T10:00:00Z\",\"sip_reason\":\"OK\",\"x\":1.50}}",
        sid(1)
    );
    let plain = Rollcall::down();
    import(&plain, &[], &json);
    for bom in ["", "\u{feff}"] {
        for end in ["\r\n", "\n", "\r\n\r\n"] {
            let file = format!("{bom}{header}{end}{}{end}", row(1, cells));
            let rollcall = Rollcall::down();
            assert_eq!(outcome(&import(&rollcall, &[], &file)), [1, 0, 0]);
            assert_eq!(rollcall.ok(&["export"]), plain.ok(&["export"]));
        }
        for (format, json) in [("ndjson", json.clone()), ("json", format!("[{json}]"))] {
            let file = format!("{bom}{json}");
            assert_eq!(outcome(&import(&plain, &["--format", format], &file)), [0, 0, 1]);
            assert_eq!(outcome(&import(&plain, &[], &file)), [0, 0, 1], "{format}");
        }
    }
    assert_eq!(import(&plain, &[], header)["records"], 0);
    assert_eq!(import(&plain, &["--format", "csv"], "")["records"], 0);
}

#[test]
fn a_header_that_is_not_one_of_calls_is_refused_by_name() {
    let rollcall = Rollcall::up(&[]);
    for (header, said) in [
        ("call_sid,colour", &["unknown column \"colour\"", "account_sid, call_id, call_sid"][..]),
        ("account_sid;call_sid", &["lacks the column call_status"]),
        ("account_sid:call_sid", &["\"account_sid:call_sid\"", "the columns are"]),
        ("account_sid,call_sid,direction", &["lacks the column call_status"]),
        ("call_sid,call_sid", &["call_sid twice"]),
        ("\"call_sid", &["not whole"]),
    ] {
        let printed = rollcall.run_with(&["import"], format!("{header}\na,b\n").as_bytes());
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(1), ""), "{printed:?}");
        for part in said {
            assert!(printed.stderr.contains(part), "{part}: {printed:?}");
        }
    }
    let printed = rollcall.run_with(&["import", "--format", "csv"], b"colour\nred\n");
    assert!(printed.stderr.contains("\"colour\""), "{printed:?}");
    assert_eq!(status(&rollcall)["calls"], 0);
}

#[test]
fn rows_that_cannot_be_taken_are_named_and_kept_to_be_mended() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let header = "\u{feff}account_sid,call_sid,call_status,direction,to,caller_name";
        let long = "x".repeat(3_000_000);
        let rows = [
            row(1, "completed,inbound,,\"two\r\nlines\""),
            row(2, "done,inbound,\"two\r\nlines\",'=1"),
            row(3, "completed,inbound"),
            row(4, "completed,inbound,,"),
            row(5, &format!("completed,inbound,,\"{long}\"")),
            row(6, "completed,inbound,,"),
            row(7, "completed,inbound,,\"it ends here"),
        ];
        let file = format!("{header}\r\n{}", rows.join("\r\n"));
        let stop = rollcall.run_with(&["import"], file.as_bytes());
        assert_eq!(stop.code, Some(1), "{stop:?}");
        assert!(stop.stderr.contains("line 4: call_status \"done\""), "{stop:?}");
        let path = rollcall.dir.path().join("rejects.csv");
        let args = ["import", "--on-error", "skip", "--rejects", path.to_str().unwrap()];
        let printed = rollcall.run_with(&args, file.as_bytes());
        assert_eq!(printed.stdout, "7 records: 3 new, 0 changed, 0 unchanged, 4 left out\n");
        for said in [
            "line 4: call_status \"done\"",
            "line 6: 4 cells: the header has 6",
            "line 8: a record has at most 2097152 bytes",
            "line 10: the input ends inside this record",
        ] {
            assert!(printed.stderr.contains(&format!("left out: {said}")), "{printed:?}");
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        let cut = format!("{}\"", &rows[4][..2_097_152]);
        let expected =
            [header, &rows[1], &rows[2], &cut, &format!("{}\"", rows[6])].join("\r\n") + "\r\n";
        assert!(kept == expected, "{} bytes: {:.900}", kept.len(), kept);
        let mended = kept.replace("done", "completed").replace("inbound\r", "inbound,,\r");
        let mended = mended.replace(&cut, &row(5, "completed,inbound,,"));
        assert_eq!(outcome(&import(&rollcall, &[], &mended)), [4, 0, 0], "{up}");
        assert!(rollcall.ok(&["export"]).contains("\"caller_name\":\"=1\""));
    }
}

#[test]
fn an_empty_store_is_a_header() {
    let rollcall = Rollcall::down();
    assert_eq!(rollcall.run(&["export", "--format", "csv", "--status", "done"]).stdout, "");
    import(&rollcall, &[], "");
    assert_eq!(rollcall.ok(&["export", "--format", "csv"]), format!("{HEADER}\r\n"));
    let file = rollcall.dir.path().join("calls.csv");
    let path = file.to_str().unwrap();
    rollcall.ok(&["export", "--format", "csv", "--spreadsheet", "-o", path]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("\u{feff}{HEADER}\r\n"));
}

#[test]
fn a_quotation_mark_too_many_is_no_row_to_leave_out() {
    let rollcall = Rollcall::up(&[]);
    let mut table = "account_sid,call_sid,call_status,direction,from\n".to_owned();
    for n in 0..4000 {
        let from = if n == 10 { "\"abc" } else { "bob" };
        writeln!(table, "{A1},{},completed,inbound,{from}", sid(n)).unwrap();
    }
    let printed = rollcall.run_with(&["import", "--on-error", "skip", "-"], table.as_bytes());
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("line 12"), "{printed:?}");
    assert!(printed.stderr.contains("a quotation mark too many"), "{printed:?}");
}
