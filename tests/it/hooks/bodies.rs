//! What a body may look like, and what a source that is not to be taught may send.

use super::super::api::api_error;
use super::super::api::samples::now;
use super::super::harness::{A1, Rollcall, event, recorded_events, sid};
use super::{call, known, post, post_json, post_lines};

/// An event of call number `n` with these members beside the necessary ones.
fn with(n: u32, members: &str) -> String {
    format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",{members}}}",
        sid(n)
    )
}

#[test]
fn one_event_or_many_in_every_shape() {
    let rollcall = Rollcall::up(&[]);
    let event = |n| event(n, "ringing");
    assert_eq!(post_json(&rollcall, &event(1)).status, 204);
    assert_eq!(post_json(&rollcall, &format!(" \n[{} ,\n{}] ", event(2), event(3))).status, 204);
    let lines = format!("{}\r\n\n{}\n  \n{}", event(4), event(5), event(6));
    assert_eq!(post_lines(&rollcall, &lines).status, 204);
    assert_eq!(known(&rollcall), 6);
    for empty in ["[]", " [ ] "] {
        assert_eq!(post_json(&rollcall, empty).status, 204);
    }
    assert_eq!(post_lines(&rollcall, "\n\n").status, 204);
    // The kind of content is looked at for its name alone, and need not be there.
    let bearer = format!("Bearer {}", rollcall.admin());
    for kind in [Some("Application/X-NDJSON; charset=utf-8"), None, Some("text/plain")] {
        let mut headers = vec![("authorization", &*bearer)];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        assert_eq!(post(&rollcall, &headers, &event(7)).status, 204, "{kind:?}");
    }
    assert_eq!(known(&rollcall), 7);
    let answer = post_json(&rollcall, &event(8));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let headers = [("authorization", &*bearer), ("content-encoding", "gzip")];
    assert!(api_error(&post(&rollcall, &headers, &event(9)), 415).contains("Content-Encoding"));
    assert_eq!(known(&rollcall), 8);
}

#[test]
fn every_recorded_webhook_is_taken_in_either_spelling() {
    let rollcall = Rollcall::up(&[]);
    let camel = |key: &str| {
        let mut words = key.split('_');
        let first = words.next().unwrap().to_owned();
        words.fold(first, |camel, word| camel + &word[..1].to_uppercase() + &word[1..])
    };
    let list = |rollcall: &Rollcall| {
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
        let mut calls = answer.json().as_array().unwrap().clone();
        calls.sort_by_key(|call| call["call_sid"].to_string());
        for call in &mut calls {
            call.as_object_mut().unwrap().retain(|key, _| !key.ends_with("_at"));
        }
        calls
    };
    // Times of their own: of two events of one rank within a millisecond, the later is not known.
    let begun = now() - 10_000;
    let mut events = Vec::new();
    for (n, line) in (0..).zip(recorded_events().lines()) {
        let mut event: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).unwrap();
        event.insert("at".to_owned(), (begun + n * 5).into());
        events.push(event);
    }
    for event in &events {
        let line = serde_json::to_string(event).unwrap();
        assert_eq!(post_json(&rollcall, &line).status, 204, "{line}");
    }
    let snake = list(&rollcall);
    assert_eq!(snake.len(), 23);
    let other = Rollcall::up(&[]);
    for event in events {
        let event: serde_json::Map<_, _> =
            event.into_iter().map(|(key, value)| (camel(&key), value)).collect();
        let line = serde_json::to_string(&event).unwrap();
        assert!(
            line.contains("\"callSid\"") && line.contains("\"fsSipAddress\"")
                || line.contains("local")
        );
        assert_eq!(post_json(&other, &line).status, 204, "{line}");
    }
    assert_eq!(list(&other), snake);
}

#[test]
fn what_is_not_json_is_400() {
    let rollcall = Rollcall::up(&[]);
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    for body in ["", " ", "{", "[", "[{}", "{}{}", "[1,]", "nonsense", "\u{feff}{}"] {
        let answer = rollcall.send("POST", super::HOOK, &headers, body.as_bytes()).unwrap();
        api_error(&answer, 400);
    }
    for body in ["null", "1", "\"x\"", "[[]]", "[null]"] {
        assert!(api_error(&post_json(&rollcall, body), 400).contains("object"), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    api_error(&post_json(&rollcall, &deep), 400);
    assert_eq!(known(&rollcall), 0);
    assert_eq!(post_json(&rollcall, &event(1, "busy")).status, 204);
}

#[test]
fn what_cannot_be_placed_is_400_with_field_and_value() {
    let rollcall = Rollcall::up(&[]);
    let whole = event(1, "ringing");
    let cases = [
        (whole.replace(A1, "acc-1"), vec!["account_sid", "\"acc-1\""]),
        (whole.replace(&format!("\"{A1}\""), "null"), vec!["account_sid", "missing"]),
        (whole.replace(&format!("\"{A1}\""), "17"), vec!["account_sid", "17"]),
        (whole.replace("account_sid", "account"), vec!["account_sid", "missing"]),
        (whole.replace(&sid(1), "c1"), vec!["call_sid", "\"c1\""]),
        (whole.replace(&sid(1), ""), vec!["call_sid", "\"\""]),
        (whole.replace("call_sid", "sid"), vec!["call_sid", "missing"]),
        (whole.replace("inbound", "sideways"), vec!["direction", "\"sideways\""]),
        (whole.replace("\"direction\":\"inbound\",", ""), vec!["direction", "missing"]),
    ];
    for (body, words) in &cases {
        let msg = api_error(&post_json(&rollcall, body), 400);
        assert!(words.iter().all(|word| msg.contains(word)), "{msg}, not {words:?}");
        assert!(msg.len() < 300, "{msg}");
    }
    assert_eq!(known(&rollcall), 0);
}

#[test]
fn a_bad_member_is_named_and_nothing_of_its_batch_is_taken() {
    let rollcall = Rollcall::up(&[]);
    let good = |n| event(n, "ringing");
    let bad = event(3, "ringing").replace("inbound", "sideways");
    let says = |msg: &str| {
        msg.contains("event 3") && msg.contains("direction") && msg.contains("\"sideways\"")
    };
    let events = [good(1), good(2), bad, good(4)];
    let msg = api_error(&post_json(&rollcall, &format!("[{}]", events.join(","))), 400);
    assert!(says(&msg), "{msg}");
    let msg = api_error(&post_lines(&rollcall, &events.join("\n")), 400);
    assert!(says(&msg), "{msg}");
    let cut = format!("{}\n{}\n{{\"account_sid\":", good(1), good(2));
    assert!(api_error(&post_lines(&rollcall, &cut), 400).contains("event 3"));
    assert!(api_error(&post_json(&rollcall, &format!("[{},7]", good(1))), 400).contains("event 2"));
    assert_eq!(known(&rollcall), 0);
}

#[test]
fn a_source_is_taken_leniently() {
    let rollcall = Rollcall::up(&[]);
    let strings = with(
        1,
        "\"call_status\":\"completed\",\"sip_status\":\"200\",\"duration\":\"42\",\
         \"from\":15551230001,\"to\":18005550100.5,\"caller_name\":null",
    );
    assert_eq!(post_json(&rollcall, &strings).status, 204);
    let shown = call(&rollcall, 1);
    assert_eq!((&shown["sip_status"], &shown["duration"]), (&200.into(), &42.into()));
    assert_eq!((&shown["from"], &shown["to"]), (&"15551230001".into(), &"18005550100.5".into()));
    assert_eq!(shown.get("caller_name"), None);
    let nonsense = with(
        2,
        "\"call_status\":\"ringing\",\"sip_status\":9999,\"duration\":-1,\"from\":{\"a\":1},\
         \"answered_at\":\"soon\",\"parent_call_sid\":\"not-a-sid\"",
    );
    assert_eq!(post_json(&rollcall, &nonsense).status, 204);
    let shown = call(&rollcall, 2);
    assert_eq!((&shown["call_status"], &shown["from"]), (&"ringing".into(), &"".into()));
    assert_eq!(shown["parent_call_sid"], "not-a-sid");
    assert_eq!((shown.get("duration"), shown.get("answered_at")), (None, None));
    // A sid in capitals is the same sid.
    let upper = with(2, "\"call_status\":\"busy\"").replace(&sid(2), &sid(2).to_uppercase());
    assert_eq!(post_json(&rollcall, &upper.replace(A1, &A1.to_uppercase())).status, 204);
    assert_eq!(call(&rollcall, 2)["call_status"], "busy");
    assert_eq!(known(&rollcall), 2);
}

#[test]
fn an_unknown_status_leaves_the_status_and_merges_the_rest() {
    let rollcall = Rollcall::up(&[]);
    let held = "\"call_status\":\"on-hold\",\"sip_status\":202,\"hold\":\"yes\"";
    assert_eq!(post_json(&rollcall, &with(1, held)).status, 204);
    let shown = call(&rollcall, 1);
    assert_eq!((&shown["call_status"], &shown["hold"]), (&"trying".into(), &"yes".into()));
    assert_eq!(post_json(&rollcall, &event(2, "in-progress")).status, 204);
    assert_eq!(post_json(&rollcall, &with(2, held)).status, 204);
    let shown = call(&rollcall, 2);
    assert_eq!((&shown["call_status"], &shown["hold"]), (&"in-progress".into(), &"yes".into()));
    for status in ["5", "null", "{}", "\"\"", "\"RINGING\""] {
        let body = with(2, &format!("\"call_status\":{status}"));
        assert_eq!(post_json(&rollcall, &body).status, 204, "{status}");
        assert_eq!(call(&rollcall, 2)["call_status"], "in-progress", "{status}");
    }
}

#[test]
fn further_fields_come_back_as_they_were_sent() {
    let mut rollcall = Rollcall::up(&[]);
    let fields = [
        "\"amount\":1.50",
        "\"big\":123456789012345678901234567890",
        "\"customer_data\":{\"b\":[1,2.0,{\"c\":null}],\"a\":\"x y\"}",
        "\"e\":1E+300",
        "\"emoji\":\"\u{1f600} \\ud83d\\ude00 \\u00e9\"",
        "\"escaped\":\"a\\/b\\\"\\\\\\n\\u0000\"",
        "\"flag\":false",
        "\"lone\":\"\\ufffd\"",
        "\"minus\":-0.0",
        "\"x-Key \\u00fc\":\"\u{fc}\"",
    ];
    let body = with(1, &format!("\"call_status\":\"ringing\",{}", fields.join(",")));
    let loose = body.replace(':', " :\t").replace("[1,2.0,", "[ 1 ,\n2.0, ");
    let shown = |rollcall: &Rollcall| {
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
        rollcall.get(&rollcall.admin(), &path).body
    };
    for body in [&loose, &body] {
        assert_eq!(post_json(&rollcall, body).status, 204);
        let shown = shown(&rollcall);
        for field in &fields[..9] {
            assert!(shown.contains(field), "{field} is not in {shown}");
        }
        assert!(shown.contains("\"x-Key \u{fc}\":\"\u{fc}\""), "{shown}");
    }
    let before = shown(&rollcall);
    rollcall.kill();
    rollcall.start();
    assert_eq!(shown(&rollcall), before);
    // What rollcall makes itself is not to be had from a source.
    let own =
        with(2, "\"stale\":true,\"time_unknown\":true,\"listed_at\":\"2020-01-01\",\"merge\":{}");
    assert_eq!(post_json(&rollcall, &own).status, 204);
    let call = call(&rollcall, 2);
    for key in ["stale", "time_unknown", "listed_at", "merge"] {
        assert_eq!(call.get(key), None, "{call}");
    }
    let listed = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls?limit=1"));
    assert_eq!(listed.json()[0]["call_sid"], sid(2));
}

#[test]
fn the_feature_server_is_found_by_its_sip_address() {
    let mut rollcall = Rollcall::up(&[]);
    let address = |n, address: &str| {
        let body = with(n, &format!("\"fs_sip_address\":{address}"));
        assert_eq!(post_json(&rollcall, &body).status, 204);
        call(&rollcall, n)["service_url"].clone()
    };
    assert_eq!(address(1, "\"10.0.0.5:5060\""), "http://10.0.0.5:3000");
    assert_eq!(address(2, "\"fs-1.example.com\""), "http://fs-1.example.com:3000");
    assert_eq!(address(3, "\"[2001:db8::1]:5060\""), "http://[2001:db8::1]:3000");
    assert_eq!(address(4, "\"evil/path?x\""), "");
    assert_eq!(address(5, "\"\""), "");
    assert_eq!(address(6, "\"10.0.0.5\",\"service_url\":\"https://own\""), "https://own");
    rollcall.stop();
    rollcall.set_args(&["--hooks-service-url", "https://{host}/fs"]);
    rollcall.start();
    let body = with(7, "\"fs_sip_address\":\"10.0.0.5:5060\"");
    assert_eq!(post_json(&rollcall, &body).status, 204);
    assert_eq!(call(&rollcall, 7)["service_url"], "https://10.0.0.5/fs");
}
