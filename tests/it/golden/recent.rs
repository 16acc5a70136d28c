//! The recorded exchanges of *Recent calls*, replayed: the same body to the byte, or better and why.

use serde_json::{Value, json};

use super::super::api::api_error;
use super::super::harness::Rollcall;
use super::seeded;

#[derive(serde::Deserialize)]
struct Recorded {
    name: String,
    method: String,
    path: String,
    /// Empty where there was none.
    token: String,
    status: u16,
    answer: String,
}

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Same,
    /// This status, and a message that begins so.
    Refused(&'static str, u16, &'static str),
    /// What another recorded request was answered with.
    As(&'static str, &'static str),
    /// The same members, and `msg` beside them.
    WithMsg(&'static str),
}
use Verdict::{As, Refused, Same, WithMsg};

const JUNK: &str = "junk is refused with what would be right, not with the text of a database";
const ONCE: &str = "a parameter that was given twice is refused, whichever it is";
const PLUS: &str = "a number is compared by its digits, and is no regular expression";
const JSON: &str = "every error body has a msg";
const NO_PATH: &str = "what is not answered is an unknown path";

const VERDICTS: [(&str, Verdict); 36] = [
    ("recent: no parameters", Same),
    ("recent: page only", Same),
    ("recent: count only", Same),
    ("recent: page=0", Same),
    ("recent: page=-1", Same),
    ("recent: page=1.5", Same),
    ("recent: page 1 of 25", Same),
    ("recent: page past the end", Same),
    ("recent: direction=bogus", Same),
    ("recent: direction empty", Same),
    ("recent: answered=true", Same),
    ("recent: answered=false", Same),
    ("recent: answered=maybe (ignored)", Same),
    ("recent: answered=1 (ignored)", Same),
    ("recent: trunk=BT", Same),
    ("recent: trunk unknown", Same),
    ("recent: days=abc", Refused(JUNK, 400, "days \"abc\": expected a number of days")),
    ("recent: days=-1", Same),
    ("recent: start only", Same),
    ("recent: end only", Same),
    ("recent: start date only", Same),
    ("recent: filter substring of from", Same),
    ("recent: filter call_sid", Same),
    ("recent: filter part of call_sid", Same),
    ("recent: filter +", As(PLUS, "recent: filter substring of from")),
    ("recent: filter quote", Same),
    ("recent: filter + direction + answered", Same),
    ("recent: repeated direction", Refused(ONCE, 400, "direction: expected once")),
    ("recent: repeated page", Refused(ONCE, 400, "page: expected once")),
    ("recent: no auth", Refused(JSON, 401, "Unauthorized")),
    ("recent: admin", Same),
    ("recent: service provider token own account", Same),
    ("recent: admin unknown account", Same),
    ("recent: by service provider, account token", WithMsg(JSON)),
    ("recent: by service provider, admin", Same),
    ("recent: single by call id (homer not configured)", Refused(NO_PATH, 404, "no such path")),
];

#[test]
fn recent_calls_are_answered_the_same_or_better() {
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("../../fixtures/golden-recent.json")).unwrap();
    let names: Vec<_> = recorded.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, VERDICTS.map(|(name, _)| name), "every exchange has a verdict");
    let (rollcall, _) = seeded_with_cdrs();
    let body = |name: &str| &recorded.iter().find(|entry| entry.name == name).unwrap().answer;
    for (entry, (name, verdict)) in recorded.iter().zip(VERDICTS) {
        let bearer = format!("Bearer {}", entry.token);
        let headers = [("authorization", bearer.as_str())];
        let headers = if entry.token.is_empty() { &[][..] } else { &headers };
        let answered = rollcall.send(&entry.method, &entry.path, headers, b"").unwrap();
        match verdict {
            Same => {
                assert_eq!(answered.status, entry.status, "{name}: {answered:?}");
                assert_eq!(answered.body, entry.answer, "{name}");
            }
            As(why, other) => {
                assert!(!why.is_empty() && entry.status == 500);
                assert_eq!(answered.body, *body(other), "{name}");
            }
            Refused(why, status, says) => {
                assert!(!why.is_empty());
                let msg = api_error(&answered, status);
                assert!(msg.starts_with(says), "{name}: {msg}");
            }
            WithMsg(why) => {
                assert!(!why.is_empty());
                assert_eq!(answered.status, entry.status, "{name}: {answered:?}");
                let mut expected: Value = serde_json::from_str(&entry.answer).unwrap();
                expected["msg"] = json!("insufficient permissions");
                assert_eq!(answered.json(), expected, "{name}");
            }
        }
        let kind = answered.header("content-type");
        assert_eq!(kind, Some("application/json; charset=utf-8"), "{name}");
    }
}

/// The accounts and keys of the recording, and its CDRs as calls in place of its calls.
fn seeded_with_cdrs() -> (Rollcall, usize) {
    let (rollcall, _) = seeded();
    let seed: Value =
        serde_json::from_str(include_str!("../../fixtures/golden-seed.json")).unwrap();
    let mut calls: Vec<String> = rollcall.ok(&["export"]).lines().map(str::to_owned).collect();
    for line in calls.drain(..) {
        let call: Value = serde_json::from_str(&line).unwrap();
        let (account, sid) = (call["account_sid"].as_str(), call["call_sid"].as_str());
        let path = format!("/v1/Accounts/{}/Calls/{}", account.unwrap(), sid.unwrap());
        assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    }
    let rows = seed["cdrs"]["rows"].as_array().unwrap();
    for row in rows {
        let mut call = row.clone();
        let answered = row["answered"] == true;
        call["call_status"] = json!(if answered { "completed" } else { "no-answer" });
        calls.push(call.to_string());
    }
    let printed = rollcall.run_with(&["import"], calls.join("\n").as_bytes());
    assert_eq!(printed.code, Some(0), "{printed:?}");
    (rollcall, rows.len())
}
