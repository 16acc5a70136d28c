//! Entity tags, compression, and the timeline of a call.

use std::io::Read as _;
use std::process::Command;

use super::super::harness::{A1, A2, Answer, Rollcall, event, have, sid};
use super::samples::{samples, send, server_with};
use super::{calls_of, list};

fn ask(rollcall: &Rollcall, method: &str, path: &str, tag: &str) -> Answer {
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", bearer.as_str()), ("if-none-match", tag)];
    rollcall.send(method, path, &headers, b"").unwrap()
}

#[test]
fn a_list_that_has_not_changed_is_not_sent_again() {
    let calls = samples(50);
    let mut rollcall = server_with(&calls);
    let other = format!(
        "{{\"account_sid\":\"{A2}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",\
         \"call_status\":\"busy\"}}",
        sid(900)
    );
    assert_eq!(rollcall.post_events(&other).status, 204);
    let first = list(&rollcall, "");
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{tag}");
    assert_eq!(list(&rollcall, "limit=3").header("etag"), Some(&*tag));
    let known = |rollcall: &Rollcall, method: &str, query: &str, tag: &str| {
        let answer = ask(rollcall, method, &calls_of(A1, query), tag);
        assert_eq!(answer.header("etag").is_some(), answer.status < 400, "{answer:?}");
        assert!(answer.status != 304 || answer.body.is_empty());
        answer.status == 304
    };
    let strong = tag.trim_start_matches("W/").to_owned();
    let among = format!("\"a\", {tag}");
    for given in [&*tag, &*strong, &*among, "*"] {
        assert!(known(&rollcall, "GET", "", given), "{given}");
        assert!(known(&rollcall, "GET", "direction=inbound&limit=2", given), "{given}");
        assert!(known(&rollcall, "HEAD", "", given), "{given}");
    }
    for given in ["\"x\"", "", "W/\"\"", &tag[..tag.len() - 2]] {
        assert!(!known(&rollcall, "GET", "", given), "{given}");
    }
    // Another account's calls change nothing here, and its tag is another one.
    assert_eq!(rollcall.post_events(&other.replace(&sid(900), &sid(901))).status, 204);
    assert!(known(&rollcall, "GET", "", &tag));
    assert_ne!(rollcall.get(&rollcall.admin(), &calls_of(A2, "")).header("etag"), Some(&*tag));
    // What says nothing new changes nothing; every change of a call does.
    send(&rollcall, &calls[..1]);
    assert!(known(&rollcall, "GET", "", &tag));
    let path = calls_of(A1, "");
    let path = path + "/" + &calls[0].sid;
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    assert!(!known(&rollcall, "GET", "", &tag), "a deletion is a change");
    let tag = list(&rollcall, "").header("etag").unwrap().to_owned();
    assert_eq!(rollcall.post_events(&event(77, "ringing")).status, 204);
    assert!(!known(&rollcall, "GET", "", &tag));
    let tag = list(&rollcall, "").header("etag").unwrap().to_owned();
    // Nobody is told anything without being entitled to it.
    let stranger = rollcall.token(&["--account", A2]);
    let bearer = format!("Bearer {stranger}");
    let headers = [("authorization", bearer.as_str()), ("if-none-match", "*")];
    assert_eq!(rollcall.send("GET", &calls_of(A1, ""), &headers, b"").unwrap().status, 403);
    assert_eq!(
        rollcall.send("GET", &calls_of(A1, ""), &[("if-none-match", "*")], b"").unwrap().status,
        401
    );
    // After a crash an old tag is either right or refused.
    let before = list(&rollcall, "").body;
    rollcall.kill();
    rollcall.start();
    assert_eq!(list(&rollcall, "").body, before);
    let again = list(&rollcall, "").header("etag").unwrap().to_owned();
    assert_eq!(rollcall.post_events(&event(78, "ringing")).status, 204);
    assert!(!known(&rollcall, "GET", "", &tag) && !known(&rollcall, "GET", "", &again));
}

#[test]
fn long_answers_are_compressed_for_a_client_that_can_read_it() {
    if !have("curl") {
        return;
    }
    let calls = samples(1200);
    let rollcall = server_with(&calls);
    let plain = list(&rollcall, "").body;
    let get = |query: &str, encoding: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--cacert"]).arg(rollcall.ca());
        curl.args(["-H", &format!("Authorization: Bearer {}", rollcall.admin())]);
        curl.args(["-H", &format!("Accept-Encoding: {encoding}")]);
        let output = curl.arg(rollcall.url(&calls_of(A1, query))).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(output.stdout[..end].to_vec()).unwrap().to_lowercase();
        (head, output.stdout[end + 4..].to_vec())
    };
    let unpacked = |bytes: &[u8]| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
        text
    };
    let (head, body) = get("", "gzip");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(head.contains("vary: accept, accept-encoding"), "{head}");
    assert_eq!(unpacked(&body), plain);
    assert!(body.len() * 3 < plain.len(), "{} of {}", body.len(), plain.len());
    let (head, body) = get("limit=100", "br, gzip;q=0.5");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert_eq!(unpacked(&body), list(&rollcall, "limit=100").body);
    for (query, encoding) in [("limit=1", "gzip"), ("", "gzip;q=0"), ("from=nobody", "gzip")] {
        let (head, body) = get(query, encoding);
        assert!(!head.contains("content-encoding"), "{query}: {head}");
        assert_eq!(body, list(&rollcall, query).body.as_bytes(), "{query}");
    }
}

#[test]
fn the_timeline_of_a_call_says_what_came_when_and_what_of_it_stands() {
    let rollcall = Rollcall::up(&[]);
    let at = |n: u32, status: &str, at: &str, more: &str| {
        event(n, status).replace('}', &format!(",\"at\":\"{at}\"{more}}}"))
    };
    let events = [
        at(1, "completed", "2026-01-01T00:01:00Z", ",\"sip_reason\":\"OK\""),
        at(1, "trying", "2026-01-01T00:00:00Z", ",\"trace_id\":\"t\""),
        at(1, "ringing", "2026-01-01T00:00:05Z", ""),
        at(1, "ringing", "2026-01-01T00:00:05Z", ""),
    ];
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let path = format!("/v1/Accounts/{A1}/Calls/{}/events", sid(1));
    let timeline = rollcall.get(&rollcall.admin(), &path).json();
    let expected = serde_json::json!([
        {"at": "2026-01-01T00:00:00.000Z", "source": "webhook", "call_status": "trying",
         "sip_status": 100, "changed": ["trace_id", "attempted_at"]},
        {"at": "2026-01-01T00:00:05.000Z", "source": "webhook", "call_status": "ringing",
         "sip_status": 180, "changed": []},
        {"at": "2026-01-01T00:01:00.000Z", "source": "webhook", "call_status": "completed",
         "sip_status": 200, "changed": ["call_status", "sip_status", "sip_reason", "direction",
             "call_id", "from", "to", "terminated_at"]},
    ]);
    assert_eq!(timeline, expected);
    for n in 0..40 {
        let second = format!("2026-01-02T00:00:{n:02}Z");
        assert_eq!(rollcall.post_events(&at(2, "early-media", &second, "")).status, 204);
    }
    let path = format!("/v1/Accounts/{A1}/Calls/{}/events", sid(2));
    let timeline = rollcall.get(&rollcall.admin(), &path).json();
    let timeline = timeline.as_array().unwrap();
    assert_eq!(timeline.len(), 32);
    assert_eq!(timeline[31]["at"], "2026-01-02T00:00:39.000Z");
    let of_nobody = format!("/v1/Accounts/{A1}/Calls/{}/events", sid(9));
    assert_eq!(rollcall.get(&rollcall.admin(), &of_nobody).status, 404);
    let elsewhere = path.replace(A1, A2);
    assert_eq!(rollcall.get(&rollcall.admin(), &elsewhere).status, 404);
    let stranger = rollcall.token(&["--account", A2]);
    assert_eq!(rollcall.get(&stranger, &path).status, 403);
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).header("allow"), Some("GET, HEAD"));
}
