//! The shapes in which one and the same event may come.

use super::super::api::api_error;
use super::super::api::samples::now;
use super::super::harness::{A1, A2, Rollcall, event, sid};
use super::signed::{SECRET, signature};
use super::{call, known, post, post_json, post_lines};

/// The event as the message of a WebSocket.
fn message(event: &str) -> String {
    format!("{{\"type\":\"call:status\",\"msgid\":\"a\",\"b3\":\"0-1-1\",\"data\":{event}}}")
}

const MARK: &str = "\u{feff}";

#[test]
fn the_message_of_a_websocket_is_taken_alone_in_arrays_and_in_lines() {
    let rollcall = Rollcall::up(&[]);
    let event = |n| event(n, "ringing");
    assert_eq!(post_json(&rollcall, &message(&event(1))).status, 204);
    let camel = event(2).replace("account_sid", "accountSid").replace("call_sid", "callSid");
    let mixed = [message(&event(3)), event(4), message(&camel)];
    assert_eq!(post_json(&rollcall, &format!("[{}]", mixed.join(","))).status, 204);
    let lines = [event(5), message(&event(6)), event(7)].join("\n");
    assert_eq!(post_lines(&rollcall, &lines).status, 204);
    assert_eq!(known(&rollcall), 7);
    for n in 1..=7 {
        let call = call(&rollcall, n);
        assert_eq!(call["call_status"], "ringing");
        for key in ["type", "data", "msgid", "b3"] {
            assert_eq!(call.get(key), None, "{call}");
        }
    }
    // An event may have members of these names itself.
    let own = event(8).replacen('{', "{\"type\":\"x\",\"data\":{\"y\":1},", 1);
    assert_eq!(post_json(&rollcall, &own).status, 204);
    assert_eq!(call(&rollcall, 8)["data"]["y"], 1);
    for (body, words) in [
        (
            message(&event(9)).replace("call:status", "verb:hook"),
            "\"verb:hook\": expected \"call:status\"",
        ),
        ("{\"type\":\"call:status\"}".to_owned(), "data is missing"),
        (message("[]"), "data []: expected an object"),
        (message(&format!("[{}]", event(9))), "expected an object: the event of the message"),
        (format!("{{\"data\":{}}}", event(9)), "type is missing: expected \"call:status\""),
        (message("{}"), "account_sid is missing"),
        (message(&message(&event(9))), "account_sid is missing"),
    ] {
        let msg = api_error(&post_json(&rollcall, &body), 400);
        assert!(msg.contains(words), "{msg}");
    }
    assert_eq!(known(&rollcall), 8);
    // What the message says of the call counts where its event does not.
    let sids = format!("\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",", sid(9));
    let bare = event(9).replacen(&format!("\"account_sid\":\"{A1}\","), "", 1);
    let bare = bare.replacen(&format!("\"call_sid\":\"{}\",", sid(9)), "", 1);
    assert!(!bare.contains("_sid"), "{bare}");
    let outside = message(&bare).replacen('{', &format!("{{{sids}"), 1);
    assert_eq!(post_json(&rollcall, &outside).status, 204, "{outside}");
    assert_eq!(call(&rollcall, 9)["call_status"], "ringing");
    // An event that stands there itself is no message, whatever it has as data.
    let own = event(10).replacen('{', "{\"type\":\"call:status\",\"data\":{\"y\":1},", 1);
    assert_eq!(post_json(&rollcall, &own).status, 204, "{own}");
    assert_eq!(call(&rollcall, 10)["data"]["y"], 1);
    let escaped = message(&event(11)).replace("call:status", "call\\u003astatus");
    assert_eq!(post_json(&rollcall, &escaped).status, 204, "{escaped}");
    assert_eq!(known(&rollcall), 11);
}

#[test]
fn a_hook_by_get_is_told_what_is_wrong() {
    let rollcall = Rollcall::up(&[]);
    let bearer = format!("Bearer {}", rollcall.admin());
    let path = format!("{}?account_sid={A1}&call_sid={}&call_status=busy", super::HOOK, sid(1));
    let answer = rollcall.send("GET", &path, &[("authorization", &bearer)], b"").unwrap();
    let msg = api_error(&answer, 405);
    assert!(msg.contains("in jambonz POST"), "{msg}");
    let status = rollcall.status();
    assert!(status.contains("1 webhook refused: the method is GET"), "{status}");
    assert_eq!(known(&rollcall), 0);
}

#[test]
fn lines_of_json_have_several_media_types() {
    let rollcall = Rollcall::up(&[]);
    let bearer = format!("Bearer {}", rollcall.admin());
    for (n, kind) in (0..).zip(["application/x-ndjson", "application/NDJSON", "application/jsonl"])
    {
        let body = [event(2 * n + 1, "busy"), event(2 * n + 2, "busy")].join("\n");
        let headers = [("authorization", &*bearer), ("content-type", kind)];
        assert_eq!(post(&rollcall, &headers, &body).status, 204, "{kind}");
    }
    assert_eq!(known(&rollcall), 6);
}

#[test]
fn a_signature_speaks_for_the_account_in_whichever_shape() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET]);
    let of = |n| event(n, "ringing");
    let send = |body: &str, kind: &str| {
        let signature = signature(SECRET, 0, body);
        post(&rollcall, &[("jambonz-signature", &*signature), ("content-type", kind)], body)
    };
    let (json, lines) = ("application/json", "application/x-ndjson");
    for (body, kind) in [
        (message(&of(1)), json),
        (format!("[{}]", message(&of(2))), json),
        (format!("\n{}\n{}", message(&of(3)), of(4)), lines),
        (format!("{MARK}{}", of(5)), json),
        (format!("{MARK}[{}]", of(6)), json),
        (format!("{MARK}{}\r\n{}\r\n", of(7), of(8)), lines),
        (of(9).replacen('{', "{\"data\":{\"account_sid\":\"x\"},", 1), json),
    ] {
        assert_eq!(send(&body, kind).status, 204, "{body}");
    }
    assert_eq!(known(&rollcall), 9);
    // Whatever is seen first, no event of another account comes in by it.
    let theirs = |n| of(n).replace(A1, A2);
    for body in [
        format!("[{},{}]", message(&of(1)), message(&theirs(10))),
        message(&theirs(10)).replacen('{', &format!("{{\"account_sid\":\"{A1}\","), 1),
        of(10).replacen('}', &format!(",\"account_sid\":\"{A2}\"}}"), 1),
        format!("{{\"account_sid\":\"{A1}\",{}", &theirs(10)[1..]),
    ] {
        let answer = send(&body, json);
        assert!([401, 403].contains(&answer.status), "{body}: {answer:?}");
    }
    assert_eq!(known(&rollcall), 9);
}

#[test]
fn a_byte_order_mark_may_stand_before_json() {
    let rollcall = Rollcall::up(&[]);
    let of = |n| event(n, "ringing");
    assert_eq!(post_json(&rollcall, &format!("{MARK}{}", of(1))).status, 204);
    assert_eq!(post_json(&rollcall, &format!("{MARK} [{},{}]", of(2), of(3))).status, 204);
    assert_eq!(post_lines(&rollcall, &format!("{MARK}{}\n{}", of(4), of(5))).status, 204);
    // As files that were put together have them.
    let joined = format!("{MARK}{}\r\n{MARK}{}\r\n{MARK}\r\n", of(6), of(7));
    assert_eq!(post_lines(&rollcall, &joined).status, 204);
    assert_eq!(known(&rollcall), 7);
    for bytes in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
        let bearer = format!("Bearer {}", rollcall.admin());
        let answer = rollcall.send("POST", super::HOOK, &[("authorization", &bearer)], bytes);
        assert!(api_error(&answer.unwrap(), 400).contains("UTF-16"));
    }
    for body in [format!("{MARK}{MARK}{{}}"), MARK.to_owned(), format!("{{{MARK}}}")] {
        api_error(&post_json(&rollcall, &body), 400);
    }
    // Of a call that is not there, after a body that was read.
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(77));
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = format!("{MARK}{{\"call_status\":\"completed\"}}");
    let answer = rollcall.send("PUT", &path, &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
    // An import, too, also of files that were put together.
    let files = format!("{MARK}{}\n{MARK}{}\n", of(8), of(9));
    let printed = rollcall.run_with(&["import", "-"], files.as_bytes());
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(known(&rollcall), 9);
}

#[test]
fn what_jambonz_sends_in_camel_case_has_one_name() {
    let rollcall = Rollcall::up(&[]);
    let with = |n, status: &str, members: &str| {
        let body = event(n, status).replacen('{', &format!("{{{members},"), 1);
        assert_eq!(post_json(&rollcall, &body).status, 204, "{body}");
    };
    let at = |seconds: i64| format!("\"at\":{}", now() - 60_000 + seconds * 1000);
    with(1, "ringing", &format!("{},\"customerData\":{{\"orderId\":1,\"a_b\":2}}", at(0)));
    let shown = call(&rollcall, 1);
    assert_eq!(shown["customer_data"], serde_json::json!({ "orderId": 1, "a_b": 2 }));
    assert_eq!(shown.get("customerData"), None);
    // A later event in the other spelling is about the same key.
    with(1, "in-progress", &format!("{},\"customer_data\":7", at(1)));
    assert_eq!(call(&rollcall, 1)["customer_data"], 7);
    with(1, "completed", &format!("{},\"customerData\":8", at(2)));
    assert_eq!(call(&rollcall, 1)["customer_data"], 8);
    assert_eq!(call(&rollcall, 1).get("customerData"), None);
    // Nor does an empty one take its place, in whichever spelling.
    with(
        5,
        "busy",
        "\"customerData\":{\"a\":1},\"customer_data\":\"\",\"callerName\":\"n\",\"caller_name\":\"\"",
    );
    let shown = call(&rollcall, 5);
    assert_eq!((&shown["customer_data"]["a"], &shown["caller_name"]), (&1.into(), &"n".into()));
    // Of one that stands there twice the last counts, as in all JSON.
    with(2, "busy", "\"customerData\":1,\"customer_data\":2");
    assert_eq!(call(&rollcall, 2)["customer_data"], 2);
    with(3, "busy", "\"traceId\":\"t\",\"sipReason\":\"Busy\",\"callerName\":\"n\"");
    let shown = call(&rollcall, 3);
    assert_eq!((&shown["trace_id"], &shown["sip_reason"]), (&"t".into(), &"Busy".into()));
    assert_eq!(shown["caller_name"], "n");
    // What nobody knows stays as it was sent.
    with(4, "busy", "\"myKey\":1,\"X-Header\":2");
    let shown = call(&rollcall, 4);
    assert_eq!((&shown["myKey"], &shown["X-Header"]), (&1.into(), &2.into()));
}
