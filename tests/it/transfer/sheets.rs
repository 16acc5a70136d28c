//! Tables that went through a spreadsheet, and files that are something else.

use std::io::Write as _;

use super::super::harness::{A1, Rollcall, sid};
use super::{import, outcome, shown};

const HEADER: &str = "account_sid,call_sid,call_status,direction,from,to";

fn row(n: u32) -> String {
    format!("{A1},{},completed,inbound,+15550100001,+15550100002", sid(n))
}

fn wide(text: &str, little: bool, mark: bool) -> Vec<u8> {
    let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
    units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_table_is_read_whatever_a_spreadsheet_made_of_it() {
    let (one, two) = (row(1), row(2));
    let plain = format!("{HEADER}\n{one}\n{two}\n");
    let semicolons = plain.replace(',', ";");
    let title = "Account SID,Call Sid, CallStatus ,Direction,FROM,To";
    let forms: Vec<(&str, Vec<u8>)> = [
        ("as it was", plain.clone()),
        ("rows of commas alone", format!("{HEADER}\n{one}\n,,,,,\n{two}\n,,,,,\n")),
        (
            "rows of blanks and quotes",
            format!("{HEADER}\n  \n{one}\n\" \",,\t,,,\n{two}\n\"\",,,,,"),
        ),
        ("padded header and rows", format!("{HEADER},,\n{one},,\n,,,,,,,\n{two},,\n")),
        ("a padded header alone", format!("{HEADER},, \n{one}\n{two}\n")),
        ("padded rows alone", format!("{HEADER}\n{one},,\n{two}, ,\n")),
        (
            "a column without a name",
            plain.replace("call_sid,", "call_sid,,").replace(",completed", ",,completed"),
        ),
        ("CR alone", plain.replace('\n', "\r")),
        ("CRLF", plain.replace('\n', "\r\n")),
        ("semicolons", semicolons.clone()),
        ("tabs", plain.replace(',', "\t")),
        ("bars", plain.replace(',', "|")),
        ("sep=; before the header", format!("sep=;\n{semicolons}")),
        ("sep=, before the header", format!("sep=,\r\n{plain}")),
        ("a quoted sep", format!("SEP=;\r\n\r\n{semicolons}")),
        ("sep=^", format!("sep=^\n{}", plain.replace(',', "^"))),
        ("a mark and sep", format!("\u{feff}sep=;\n{semicolons}")),
        ("a quoted sep as a cell", format!("\"sep=;\"\n{semicolons}")),
        ("a sep of former cells", format!("sep=;,,,,,\n{plain}")),
        ("an emptied row before the header", format!(",,,,,\n\"\",,,,,\n{plain}")),
        ("an emptied row before sep", format!(";;;\nsep=;\n{semicolons}")),
        ("hyphens", plain.replace(HEADER, "Account-SID,call-sid,call-status,direction,from,to")),
        ("capitals", plain.replace(HEADER, &HEADER.to_uppercase())),
        ("a header as a person writes it", plain.replace(HEADER, title)),
    ]
    .map(|(what, text)| (what, text.into_bytes()))
    .into_iter()
    .chain([
        ("UTF-16 with its mark", wide(&plain, true, true)),
        ("UTF-16 with its mark, big end first", wide(&plain, false, true)),
        ("UTF-16 without a mark", wide(&plain, true, false)),
        ("UTF-16 without a mark, big end first", wide(&plain, false, false)),
        ("UTF-16 and tabs", wide(&plain.replace(',', "\t"), true, true)),
        ("gzip", gzip(plain.as_bytes())),
        ("gzip of UTF-16", gzip(&wide(&semicolons, true, true))),
    ])
    .collect();
    for (what, bytes) in forms {
        for format in
            [&["import", "--json", "-"][..], &["import", "--json", "--format", "csv", "-"]]
        {
            let rollcall = Rollcall::down();
            let printed = rollcall.run_with(format, &bytes);
            assert_eq!(printed.code, Some(0), "{what}: {printed:?}");
            let summary: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
            assert_eq!(outcome(&summary), [2, 0, 0], "{what}");
            assert_eq!(summary["records"], 2, "{what}");
            assert_eq!(shown(&rollcall, 1)["from"], "+15550100001", "{what}");
            assert_eq!(shown(&rollcall, 2)["to"], "+15550100002", "{what}");
        }
    }
}

#[test]
fn json_is_read_in_the_same_encodings() {
    let json = format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"call_status\":\"busy\",\
         \"direction\":\"inbound\",\"from\":\"Jos\u{e9} \u{1f600}\"}}\n",
        sid(1)
    );
    let forms = [
        wide(&json, true, true),
        wide(&json, false, false),
        gzip(json.as_bytes()),
        gzip(format!("[{json}]").as_bytes()),
        // An object over several lines, the first of them long.
        json.replacen(',', ",\n", 1).into_bytes(),
        gzip(json.replacen(',', ",\n", 1).as_bytes()),
        wide(&json.replacen(',', ",\n", 1), true, true),
    ];
    for bytes in forms {
        let rollcall = Rollcall::up(&[]);
        let printed = rollcall.run_with(&["import", "-"], &bytes);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert_eq!(shown(&rollcall, 1)["from"], "Jos\u{e9} \u{1f600}");
    }
    let rollcall = Rollcall::down();
    let packed = gzip(json.repeat(1000).as_bytes());
    let printed = rollcall.run_with(&["import", "-"], &packed[..packed.len() - 20]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
}

#[test]
fn what_cannot_be_read_is_named_for_what_it_is() {
    let rollcall = Rollcall::down();
    let latin = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let one = row(1);
    let table = |row: &str| format!("{HEADER}\n{row}\n").into_bytes();
    let cases: [(Vec<u8>, &[&str]); 16] = [
        (
            table(&one.replace("+15550100001", "\"Pat \\\"Ace\\\" O\"")),
            &["line 2: cell 5", "doubled"],
        ),
        (
            table(&one.replace("+15550100001", "O Brien, Pat")),
            &["line 2: 7 cells: the header has 6"],
        ),
        (table(&one.replace("completed", "canceled")), &["call_status \"canceled\"", "no-answer"]),
        (
            latin(&format!("{HEADER}\n{one}\n").replace("+15550100001", "Jos\u{e9}")),
            &["line 2: not UTF-8 at byte", "save the file as UTF-8"],
        ),
        (latin(&format!("{HEADER}\u{e9}\n{one}\n")), &["header is not UTF-8 at byte"]),
        (format!("{HEADER},\n{one},x\n").into_bytes(), &["cell 7 x: its column has no name"]),
        (table(&format!("{A1},{},completed", sid(1))), &["3 cells: the header has 6"]),
        (format!("{HEADER},colour\n").into_bytes(), &["unknown column \"colour\""]),
        (b"PK\x03\x04\x14\0\x06\0".to_vec(), &["xlsx", "save the sheet as CSV"]),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(), &["xls"]),
        (b"\x28\xb5\x2f\xfd\0\0\0\0".to_vec(), &["zstd -d"]),
        (gzip(&gzip(&table(&one))), &["gzip within gzip"]),
        (b"<html><table><tr><td>call_sid".to_vec(), &["HTML", "save the sheet as CSV"]),
        (format!("{HEADER}\n").bytes().flat_map(|byte| [byte, 0, 0, 0]).collect(), &["UTF-32"]),
        (
            format!("Calls of May,,\n{HEADER}\n{one}\n").into_bytes(),
            &["neither JSON nor the header"],
        ),
        (
            format!("{HEADER},extra\n{one},\"{{\"\"callStatus\"\":\"\"failed\"\"}}\"\n")
                .into_bytes(),
            &["callStatus has a column of its own"],
        ),
    ];
    for (bytes, says) in cases {
        let printed = rollcall.run_with(&["import", "-"], &bytes);
        assert_eq!(printed.code, Some(1), "{says:?}: {printed:?}");
        for part in says {
            assert!(printed.stderr.contains(part), "{part}: {printed:?}");
        }
    }
    assert_eq!(import(&rollcall, &[], "")["records"], 0);
}

#[test]
fn lines_are_counted_and_rejects_can_be_mended_whatever_separates_cells() {
    let rollcall = Rollcall::up(&[]);
    let path = rollcall.dir.path().join("rejects.csv");
    let args = ["import", "--on-error", "skip", "--rejects", path.to_str().unwrap(), "-"];
    let bad = row(3).replace("completed", "done");
    let table = format!("{HEADER}\r{}\r,,,,,\r{bad}\r", row(1));
    let printed = rollcall.run_with(&args, table.as_bytes());
    assert!(printed.stderr.contains("line 4: call_status \"done\""), "{printed:?}");
    for (sep, separator) in [("", ";"), ("sep=^\r\n", "^")] {
        let table = format!("{sep}{HEADER}\n{}\n{bad}\n", row(1)).replace(',', separator);
        let printed = rollcall.run_with(&args, table.as_bytes());
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let kept = std::fs::read_to_string(&path).unwrap();
        let other = Rollcall::down();
        let mended = kept.replace("done", "completed");
        assert_eq!(outcome(&import(&other, &[], &mended)), [1, 0, 0], "{kept}");
    }
}
