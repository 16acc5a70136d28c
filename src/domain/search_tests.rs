//! A search: what is read, what is refused, and what matches.

use super::CallStatus::{Busy, Completed, Failed, InProgress, NoAnswer, Ringing, Trying};
use super::samples::{ACCOUNT, CALL, bare_event};
use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Search, String> {
    let mut search = Search::default();
    let refused = |error: SearchError| format!("{}{error}", error.name);
    for (name, value) in pairs {
        assert!(search.read(name, value).map_err(refused)?, "{name}");
    }
    search.finish().map_err(refused)?;
    Ok(search)
}

#[test]
fn junk_is_refused_with_name_and_value_and_what_is_right() {
    let chars = "expected at least 3 digits or letters of a number or SIP user";
    let status = "expected a SIP status, 100 to 699, or a class of them, 1xx to 6xx";
    for (name, value, says) in [
        ("from_contains", "12", format!("from_contains \"12\": {chars}")),
        ("to_contains", "555,+1", format!("to_contains \"+1\": {chars}")),
        ("number_contains", "@host.example", format!("number_contains \"@host.example\": {chars}")),
        ("number_contains", ",,", "number_contains \",,\": expected values".to_owned()),
        ("number", ",", "number \",\": expected values between the commas".to_owned()),
        ("trunk", "", "trunk \"\": expected a value".to_owned()),
        ("sip_status", "99", format!("sip_status \"99\": {status}")),
        ("sip_status", "700", format!("sip_status \"700\": {status}")),
        ("sip_status", "486,7xx", format!("sip_status \"7xx\": {status}")),
        ("sip_status", "0xx", format!("sip_status \"0xx\": {status}")),
        ("sip_status", "xx", format!("sip_status \"xx\": {status}")),
        ("sip_status", "4x", format!("sip_status \"4x\": {status}")),
        ("sip_status", "4xX", format!("sip_status \"4xX\": {status}")),
        ("sip_status", "+486", format!("sip_status \"+486\": {status}")),
        ("sip_status", "busy", format!("sip_status \"busy\": {status}")),
        ("answered", "yes", "answered \"yes\": expected true or false".to_owned()),
        ("answered", "1", "answered \"1\": expected true or false".to_owned()),
        ("duration_min", "-1", "duration_min \"-1\": expected whole seconds".to_owned()),
        ("duration_max", "1.5", "duration_max \"1.5\": expected whole seconds".to_owned()),
        ("duration_max", "90s", "duration_max \"90s\": expected whole seconds".to_owned()),
        ("duration_min", "+5", "duration_min \"+5\": expected whole seconds".to_owned()),
        ("duration_min", "99999999999999999999", "duration_min".to_owned()),
        ("q", "ab", "q \"ab\": expected at least 3 characters".to_owned()),
        ("q", "  a  ", "q \"  a  \": expected at least 3 characters".to_owned()),
    ] {
        let error = read(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(&says), "{error}");
    }
    let error = read(&[("duration_min", "60"), ("duration_max", "59")]).unwrap_err();
    assert_eq!(error, "duration_min \"60\": expected no more than duration_max, which is 59");
    assert!(read(&[("duration_min", "60"), ("duration_max", "60")]).is_ok());
    for (name, one, other) in
        [("answered", "true", "false"), ("q", "123", "1234"), ("duration_min", "1", "2")]
    {
        assert!(read(&[(name, one), (name, one)]).is_ok(), "{name}");
        let error = read(&[(name, one), (name, other)]).unwrap_err();
        assert!(error.starts_with(&format!("{name} \"{other}\": expected once")), "{error}");
    }
    let long = "9".repeat(200);
    let error = read(&[("answered", &long)]).unwrap_err();
    assert!(error.contains(&"9".repeat(80)) && !error.contains(&"9".repeat(81)), "{error}");
    assert_eq!(Search::default().read("from", "1"), Ok(false));
}

#[test]
fn a_list_has_so_many_values_at_most() {
    for name in SEARCH_PARAMETERS {
        let value = match name {
            "answered" | "duration_min" | "duration_max" | "q" => continue,
            "sip_status" => "486",
            _ => "123",
        };
        let many = |count| vec![value; count].join(",");
        assert!(read(&[(name, &many(VALUES_MAX))]).is_ok(), "{name}");
        let error = read(&[(name, &many(VALUES_MAX + 1))]).unwrap_err();
        assert_eq!(error, format!("{name}: 101 values, expected at most 100"));
        let half = many(VALUES_MAX / 2);
        assert!(read(&[(name, &half), (name, &half)]).is_ok(), "{name}");
        assert!(read(&[(name, &half), (name, &half), (name, value)]).is_err(), "{name}");
    }
}

#[test]
fn one_question_is_one_search_however_it_is_written() {
    let same = |one: &[(&str, &str)], other: &[(&str, &str)]| {
        assert_eq!(read(one), read(other));
    };
    same(&[("sip_status", "5xx,486,486")], &[("sip_status", "486"), ("sip_status", "5XX")]);
    same(
        &[("from_contains", "555,+1 (2) 3")],
        &[("from_contains", "123"), ("from_contains", "555")],
    );
    same(&[("trunk", "b"), ("trunk", "a")], &[("trunk", "a"), ("trunk", "b")]);
    same(&[("number", " 1555")], &[("number", "+1555")]);
    same(&[("q", " 1555 ")], &[("q", "1555")]);
    assert_eq!(read(&[("trunk", "my trunk, \"x\"")]).unwrap().trunk.len(), 3);
}

/// A call with these texts.
fn call(texts: &[(CallField, &str)], extras: &[(&str, &str)]) -> Call {
    let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
    let id = CallId { account: ACCOUNT, sid: CALL };
    let mut event = bare_event(id, Some(Ringing), at);
    for (field, text) in texts {
        event.texts[*field as usize] = Some((*text).into());
    }
    event.extras = extras.iter().map(|(key, json)| ((*key).into(), (*json).into())).collect();
    merge(None, event, at)
}

#[test]
fn ids_are_compared_with_the_text_that_is_kept() {
    let call = call(
        &[
            (CallField::CallId, "a84b4c76e66710@pc33.example"),
            (CallField::ApplicationSid, "7087FE50-8acb-4f3b-b820-97b573723aab"),
            (CallField::OriginatingSipTrunkName, "my trunk, \"quoted\""),
        ],
        &[
            ("call_termination_by", "\"caller\""),
            ("sbc_callid", "\"sbc\\u002d1\\/\\\"x\\\"\""),
            ("sip_callid", "\"cdr-1@10.0.0.9\""),
            ("trace_id", "42"),
            ("trunk", "\"of the CDR\""),
        ],
    );
    for (name, value, expected) in [
        ("call_id", "a84b4c76e66710@pc33.example", true),
        ("call_id", "A84b4c76e66710@pc33.example", false),
        ("call_id", "a84b4c76e66710", false),
        ("call_id", "x,a84b4c76e66710@pc33.example", true),
        ("application_sid", "7087FE50-8acb-4f3b-b820-97b573723aab", true),
        ("application_sid", "7087fe50-8acb-4f3b-b820-97b573723aab", false),
        ("trunk", "my trunk, \"quoted\"", true),
        ("trunk", "my trunk", false),
        ("trunk", "of the CDR", true),
        ("q", "cdr-1@10.0.0.9", true),
        ("termination", "caller", true),
        ("termination", "callee", false),
        ("termination", "callee,caller", true),
        ("sbc_callid", "sbc-1/\"x\"", true),
        ("sbc_callid", "sbc\\u002d1", false),
        ("trace_id", "42", true),
        ("trace_id", "4", false),
        ("trace_id", "\"42\"", false),
        ("q", "a84b4c76e66710@pc33.example", true),
        ("q", "sbc-1/\"x\"", true),
        ("q", "a84b4c76e66710", false),
        ("q", &CALL.to_string(), true),
        ("q", &CALL.to_string().to_uppercase(), true),
        ("q", &ACCOUNT.to_string(), false),
    ] {
        let search = read(&[(name, value)]).unwrap();
        assert_eq!(search.matches(&call), expected, "{name}={value}");
    }
    let bare = self::call(&[], &[("sbc_callid", "null"), ("trace_id", "{\"a\":1}")]);
    for name in ["call_id", "sbc_callid", "trace_id", "application_sid", "trunk", "termination"] {
        for value in ["null", "{\"a\":1}", "x"] {
            assert!(!read(&[(name, value)]).unwrap().matches(&bare), "{name}={value}");
        }
    }
}

#[test]
fn numbers_are_those_of_either_party_or_of_one() {
    let call =
        call(&[(CallField::From, "0015551234"), (CallField::To, "sip:Carol.Doe@example.org")], &[]);
    for (name, value, expected) in [
        ("number", "0015551234", true),
        ("number", "sip:Carol.Doe@example.org", true),
        ("number", "x,0015551234", true),
        ("number", "15551234", false),
        ("from_contains", "+1 (555) 123", true),
        ("to_contains", "+1 (555) 123", false),
        ("number_contains", "+1 (555) 123", true),
        ("from_contains", "carol", false),
        ("to_contains", "CAROL", true),
        ("number_contains", "oldo", true),
        ("number_contains", "example", false),
        ("number_contains", "999,carol", true),
        ("q", "555-123", true),
        ("q", "carol doe", true),
        ("q", "sip:carol.doe@another.example", true),
        ("q", "example", false),
        // No letter and no digit: it can be a Call-ID only.
        ("q", "+-+-", false),
    ] {
        assert_eq!(read(&[(name, value)]).unwrap().matches(&call), expected, "{name}={value}");
    }
}

#[test]
fn a_call_is_answered_where_it_says_when_or_its_status_says_so() {
    let at = |millis: u64| Timestamp::from_millis(1_800_000_000_000 + millis).unwrap();
    let id = CallId { account: ACCOUNT, sid: CALL };
    let of = |statuses: &[CallStatus]| {
        let mut call = None;
        for (n, status) in (0..).zip(statuses) {
            let event = bare_event(id, Some(*status), at(n * 60_000));
            call = Some(merge(call.as_ref(), event, at(0)));
        }
        call.unwrap()
    };
    for (statuses, answered, duration) in [
        (&[Trying][..], false, None),
        (&[Ringing], false, None),
        (&[Ringing, InProgress], true, None),
        (&[Ringing, InProgress, Completed], true, Some(60)),
        (&[InProgress, Failed], true, Some(60)),
        (&[Completed], true, None),
        (&[Ringing, Busy], false, None),
        (&[NoAnswer], false, None),
        (&[Failed], false, None),
    ] {
        let call = of(statuses);
        let matches = |name, value: &str| read(&[(name, value)]).unwrap().matches(&call);
        assert_eq!(matches("answered", "true"), answered, "{statuses:?}");
        assert_eq!(matches("answered", "false"), !answered, "{statuses:?}");
        assert_eq!(call.duration(), duration, "{statuses:?}");
        for (name, value, within) in [
            ("duration_min", "0", true),
            ("duration_min", "60", true),
            ("duration_min", "61", false),
            ("duration_max", "60", true),
            ("duration_max", "59", false),
            ("duration_max", "18446744073709551615", true),
        ] {
            let expected = duration.is_some() && within;
            assert_eq!(matches(name, value), expected, "{statuses:?} {name}={value}");
        }
    }
}

#[test]
fn a_sip_status_is_one_or_one_of_a_class() {
    let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
    let mut event = bare_event(CallId { account: ACCOUNT, sid: CALL }, Some(Busy), at);
    event.sip_status = Some(486);
    let call = merge(None, event, at);
    for (value, expected) in [
        ("486", true),
        ("4xx", true),
        ("4XX", true),
        ("5xx,486", true),
        ("480,487", false),
        ("5xx", false),
        ("1xx,2xx,3xx,5xx,6xx", false),
    ] {
        assert_eq!(read(&[("sip_status", value)]).unwrap().matches(&call), expected, "{value}");
    }
}
