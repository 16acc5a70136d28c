//! What an import says of single values: sizes are told, times are refused by name.

use super::super::harness::{Rollcall, sid};
use super::{TIMES, import, outcome, record, shown, status};

#[test]
fn what_is_too_large_is_left_out_of_a_record_and_told() {
    for up in [true, false] {
        let rollcall = if up { Rollcall::up(&[]) } else { Rollcall::down() };
        let large = format!("{TIMES},\"customerData\":\"{}\",\"zz\":1", "x".repeat(100_000));
        let long = format!("{TIMES},\"caller_name\":\"{}\"", "x".repeat(600));
        let lines = [record(1, &large), record(2, TIMES), record(3, &long)].join("\n");
        let printed = rollcall.run_with(&["import"], lines.as_bytes());
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(printed.stderr.contains("line 1: customer_data: too large"), "{printed:?}");
        assert!(printed.stderr.contains("line 3: caller_name: too large"), "{printed:?}");
        assert!(!printed.stderr.contains("line 2"), "{printed:?}");
        assert!(printed.stdout.contains("3 records: 3 new"), "{printed:?}");
        assert!(printed.stdout.contains("2 values too large to be kept"), "{printed:?}");
        let call = shown(&rollcall, 1);
        assert_eq!(call["dropped"], serde_json::json!(["customer_data"]));
        assert_eq!((&call["zz"], call.get("customer_data")), (&1.into(), None));
        // It goes along with an export.
        let export = rollcall.ok(&["export"]);
        let other = Rollcall::down();
        assert_eq!(outcome(&import(&other, &[], &export)), [3, 0, 0]);
        assert_eq!(other.ok(&["export"]), export);
        assert_eq!(outcome(&import(&rollcall, &[], &export)), [0, 0, 3]);
    }
}

#[test]
fn an_implausible_time_is_refused_with_field_value_and_what_would_be_right() {
    let rollcall = Rollcall::up(&[]);
    for (key, value, says) in [
        ("attempted_at", "1769860800", "it looks like seconds since 1970; expected a time as"),
        ("attempted_at", "\"1769860800\"", "it looks like seconds"),
        ("attempted_at", "63937080000", "Gregorian seconds"),
        ("attempted_at", "1769860800000000", "microseconds"),
        ("terminated_at", "1769860800", "it looks like seconds"),
        ("answered_at", "1769860800", "it looks like seconds"),
        ("at", "1769860800", "it looks like seconds"),
        ("listed_at", "1769860800", "it looks like seconds"),
        ("attempted_at", "0", "before 2000-01-01"),
        ("attempted_at", "\"1999-12-31T23:59:59Z\"", "before 2000-01-01"),
        ("attempted_at", "\"2026-01-31 12:00:00\"", "it has no zone"),
        ("duration", "1769860800", "expected a whole number, 0 to 31622400"),
        ("duration", "42.7", "expected a whole number"),
    ] {
        let bad = record(1, &format!(",\"{key}\":{value}"));
        let printed = rollcall.run_with(&["import"], bad.as_bytes());
        assert_eq!(printed.code, Some(1), "{key} {value}: {printed:?}");
        assert!(printed.stderr.contains(&format!("line 1: {key} {value}: ")), "{printed:?}");
        assert!(printed.stderr.contains(says), "{printed:?}");
    }
    assert_eq!(status(&rollcall)["calls"], 0);
    let epoch = ",\"attempted_at\":1769860800000,\"answered_at\":\"1970-01-01T00:00:00.000Z\",\
        \"terminated_at\":1769860809000";
    let unanswered = record(1, epoch).replace("\"duration\":12", "\"duration\":0");
    let spelled = [
        "\"2026-01-31T12:00:00+0000\"",
        "\"2026-01-31 12:00:00+00\"",
        "\"Sat, 31 Jan 2026 12:00:00 +0000\"",
        "1769860800000.0",
    ];
    let others = (2..).zip(spelled).map(|(n, at)| record(n, &format!(",\"attempted_at\":{at}")));
    let input: Vec<String> = std::iter::once(unanswered).chain(others).collect();
    assert_eq!(outcome(&import(&rollcall, &[], &input.join("\n"))), [5, 0, 0]);
    assert_eq!(shown(&rollcall, 1).get("answered_at"), None);
    for n in 1..=5 {
        assert_eq!(shown(&rollcall, n)["attempted_at"], "2026-01-31T12:00:00.000Z", "{n}");
    }
}

#[test]
fn what_was_exported_is_not_judged_again() {
    let rollcall = Rollcall::down();
    import(&rollcall, &[], &record(1, TIMES));
    let odd = rollcall
        .ok(&["export"])
        .replace("2026-01-31T12:00:00.000Z", "1970-01-21T11:37:40.800Z")
        .replace("2026-01-31T12:00:05.500Z", "1970-01-01T00:00:00.000Z")
        .replace("2026-01-31T12:00:17.500Z", "2999-01-01T00:00:00.000Z");
    let other = Rollcall::up(&[]);
    assert_eq!(outcome(&import(&other, &[], &odd)), [1, 0, 0]);
    assert_eq!(other.ok(&["export"]), odd);
    assert!(odd.contains(&sid(1)) && odd.contains("2999"));
}
