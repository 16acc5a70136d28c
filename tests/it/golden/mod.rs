//! Recorded exchanges with jambonz, replayed: each is answered the same, or better and why.
//!
//! Compared are status, `Content-Type`, `WWW-Authenticate`, `Access-Control-Allow-…`, `Vary` and
//! the body: calls as a set, since their order is arbitrary in jambonz and newest first here; of a
//! call every field that jambonz has. What a call has beyond that is in [`further`].

mod control;
mod recent;
mod verdicts;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::api::samples::now;
use super::harness::{A1, Answer as Answered, Rollcall, recorded_events, until};
use verdicts::{Answer, VERDICTS, Verdict};

type Call = Map<String, Value>;

/// One recorded exchange.
#[derive(serde::Deserialize)]
struct Recorded {
    name: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
    answer_headers: BTreeMap<String, String>,
    answer: Value,
}

const HEADERS: [&str; 6] = [
    "content-type",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "vary",
];

#[test]
fn every_recorded_exchange_is_answered_the_same_or_better() {
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("../../fixtures/golden.json")).unwrap();
    let names: Vec<_> = recorded.iter().map(|entry| entry.name.as_str()).collect();
    let judged: Vec<_> = VERDICTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, judged, "every recorded exchange has a verdict");

    let (rollcall, viewer) = seeded();
    let calls = calls_of_account_one(&recorded);
    let (mut same, mut better) = (0, 0);
    for (entry, (name, verdict)) in recorded.iter().zip(VERDICTS) {
        if name == "delete: get after" {
            // The deletion itself is not in the recording.
            let path = format!("/v1/Accounts/{A1}/Calls/{}", sid("22"));
            assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
        }
        let answered = replay(&rollcall, entry, &viewer);
        let judge = Judge { entry, answered: &answered, calls: &calls };
        match verdict {
            Verdict::Same => {
                judge.same();
                same += 1;
            }
            Verdict::Better(why, answer) => {
                assert!(!why.is_empty());
                judge.better(answer);
                better += 1;
            }
        }
    }
    assert_eq!((same, better), (33, 87));
}

/// A list without a limit is in the order in which the calls began, the newest first.
#[test]
fn the_recorded_calls_are_listed_newest_first() {
    let (rollcall, _) = seeded();
    let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
    let answer = answer.json();
    let listed: Vec<_> = answer.as_array().unwrap().iter().map(|c| &c["call_sid"]).collect();
    let mut begun = Vec::new();
    for line in recorded_events().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["account_sid"] == A1 && !begun.contains(&event["call_sid"]) {
            begun.push(event["call_sid"].clone());
        }
    }
    begun.reverse();
    assert_eq!(listed, begun.iter().collect::<Vec<_>>());
}

fn sid(end: &str) -> String {
    format!("c1000000-0000-4000-8000-0000000000{end}")
}

/// A server with the accounts, keys and calls of the recording, and a read-only token of account
/// one in place of the recorded user who could only look.
fn seeded() -> (Rollcall, String) {
    seeded_on(Rollcall::up(&[]), &ToOwned::to_owned)
}

/// The same on a server of one's own, with other URLs of feature servers.
fn seeded_on(rollcall: Rollcall, url: &dyn Fn(&str) -> String) -> (Rollcall, String) {
    let seed: Value =
        serde_json::from_str(include_str!("../../fixtures/golden-seed.json")).unwrap();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    for account in seed["accounts"].as_array().unwrap() {
        let (sid, provider) = (text(account, "account_sid"), text(account, "service_provider_sid"));
        rollcall.ok(&["account", "set", &sid, "--service-provider", &provider]);
    }
    let keys = seed["apiKeys"].as_array().unwrap();
    for key in keys {
        let scope = match text(key, "scope").as_str() {
            "admin" => vec!["--admin".to_owned()],
            "account" => vec!["--account".to_owned(), text(key, "account_sid")],
            _ => vec!["--service-provider".to_owned(), text(key, "service_provider_sid")],
        };
        let mut flags: Vec<_> = scope.iter().map(String::as_str).collect();
        let value = text(key, "token");
        flags.extend(["--value", &value]);
        if key.get("expires_at").is_some() {
            flags.extend(["--expires", "1s"]);
        }
        rollcall.token(&flags);
        if key.get("expires_at").is_some() {
            // It is to be over by now, as it was then.
            let path = format!("/v1/Accounts/{A1}/CallCount");
            until("the key expires", || (rollcall.get(&value, &path).status == 401).then_some(()));
        }
    }
    assert_eq!(keys.len(), 5);
    let calls = seed["calls"].as_array().unwrap();
    let mut events = Vec::new();
    for (n, (line, call)) in (0..).zip(recorded_events().lines().zip(calls)) {
        let mut event: Call = serde_json::from_str(line).unwrap();
        assert_eq!(event["call_sid"], call["callInfo"]["callSid"]);
        // The hook does not say which server runs the call; the recording does, and when.
        if let Some(given) = call.get("serviceUrl").and_then(Value::as_str) {
            event.insert("service_url".to_owned(), json!(url(given)));
        }
        // Calls end two hours after they began: the longest lasted one.
        let since = if event.contains_key("duration") { 60_000 } else { 7_260_000 };
        event.insert("at".to_owned(), json!(now() - since + n * 3));
        events.push(Value::Object(event).to_string());
    }
    assert_eq!((events.len(), calls.len()), (68, 68));
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let viewer = rollcall.token(&["--account", A1, "--role", "read"]);
    (rollcall, viewer)
}

/// Every call of account one as jambonz showed it, by sid.
fn calls_of_account_one(recorded: &[Recorded]) -> BTreeMap<String, Call> {
    let shown = |name: &str| recorded.iter().find(|entry| entry.name == name).unwrap();
    let listed = shown("list: no filter").answer.as_array().unwrap().clone();
    let unlisted = &shown("get: first status was 180 (not in the active set)").answer;
    let calls = listed.iter().chain([unlisted]).map(|call| call.as_object().unwrap().clone());
    let calls = calls.map(|call| (call["call_sid"].as_str().unwrap().to_owned(), call));
    let calls: BTreeMap<_, _> = calls.collect();
    assert_eq!(calls.len(), 23);
    calls
}

fn replay(rollcall: &Rollcall, entry: &Recorded, viewer: &str) -> Answered {
    let expired = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl";
    let viewing = format!("Bearer {viewer}");
    let headers: Vec<_> = entry
        .headers
        .iter()
        .map(|(name, value)| match value.as_str() {
            "Bearer <jwt>" if entry.name == "auth: jwt expired" => (name.as_str(), expired),
            "Bearer <jwt>" => (name.as_str(), viewing.as_str()),
            value => (name.as_str(), value),
        })
        .collect();
    rollcall.send(&entry.method, &entry.path, &headers, entry.body.as_bytes()).unwrap()
}

struct Judge<'a> {
    entry: &'a Recorded,
    answered: &'a Answered,
    /// The calls of account one.
    calls: &'a BTreeMap<String, Call>,
}

impl Judge<'_> {
    fn same(&self) {
        let (entry, answered) = (self.entry, self.answered);
        assert_eq!(answered.status, entry.status, "{}: {answered:?}", entry.name);
        self.headers(&[]);
        match &entry.answer {
            Value::Array(calls) => self.calls(&by_sid(calls)),
            Value::Object(call) if call.contains_key("call_sid") => {
                self.calls(&by_sid(std::slice::from_ref(&entry.answer)));
            }
            Value::Object(_) => assert_eq!(answered.json(), entry.answer, "{}", entry.name),
            answer => assert_eq!(answered.body, answer.as_str().unwrap(), "{}", entry.name),
        }
    }

    fn better(&self, instead: Answer) {
        let (entry, answered) = (self.entry, self.answered);
        let status = match instead {
            Answer::Refused(status, _) => status,
            Answer::Done => 204,
            Answer::Counts(..) | Answer::Calls(_) => 200,
            Answer::Msg(_) | Answer::More(_) | Answer::Methods(_) => entry.status,
            Answer::Accepted => 202,
        };
        assert_eq!(answered.status, status, "{}: {answered:?}", entry.name);
        let own = |sids: &[&str]| {
            sids.iter().map(|end| (sid(end), self.calls[&sid(end)].clone())).collect()
        };
        match instead {
            Answer::Msg(msg) => {
                self.headers(&["content-type"]);
                self.msg(msg);
            }
            Answer::Refused(_, msg) => {
                self.headers(&["content-type", "www-authenticate"]);
                self.msg(msg);
                assert_eq!(answered.header("allow").is_some(), status == 405);
            }
            Answer::More(sids) => {
                self.headers(&[]);
                let more: BTreeMap<_, _> = own(sids);
                let mut calls = by_sid(entry.answer.as_array().unwrap());
                for (sid, call) in more {
                    assert!(calls.insert(sid, call).is_none(), "{}: jambonz has it", entry.name);
                }
                self.calls(&calls);
            }
            Answer::Calls(sids) => {
                self.headers(&["content-type"]);
                self.calls(&own(sids));
            }
            Answer::Counts(inbound, outbound) => {
                self.headers(&[]);
                let counts = json!({ "inbound": inbound, "outbound": outbound });
                assert_eq!(answered.json(), counts, "{}", entry.name);
                assert_ne!(entry.answer, counts, "{}: that is what jambonz says", entry.name);
            }
            Answer::Accepted => {
                self.headers(&["content-type"]);
                let kind = Some("application/json; charset=utf-8");
                assert_eq!((answered.header("content-type"), &*answered.body), (kind, "{}"));
            }
            Answer::Done => assert_eq!(answered.body, "", "{}", entry.name),
            Answer::Methods(methods) => {
                self.headers(&["access-control-allow-methods"]);
                assert_eq!(answered.header("access-control-allow-methods"), Some(methods));
            }
        }
    }

    /// The header fields are those of the recording, these apart.
    fn headers(&self, apart: &[&str]) {
        for name in HEADERS.iter().filter(|name| !apart.contains(*name)) {
            let mut recorded = self.entry.answer_headers.get(*name).map(String::as_str);
            // A list comes in several forms here, and says so.
            if *name == "vary" && self.answered.header("etag").is_some() {
                recorded = Some("Accept, Accept-Encoding");
            }
            assert_eq!(self.answered.header(name), recorded, "{}: {name}", self.entry.name);
        }
    }

    fn msg(&self, begins: &str) {
        let (entry, answered) = (self.entry, self.answered);
        assert_eq!(answered.header("content-type"), Some("application/json; charset=utf-8"));
        if entry.method == "HEAD" {
            assert_eq!(answered.body, "", "{}", entry.name);
            return;
        }
        let body = answered.json();
        let msg = body["msg"].as_str().unwrap();
        assert!(msg.starts_with(begins), "{}: {msg}", entry.name);
        assert_eq!(body, json!({ "msg": msg }), "{}", entry.name);
        assert_ne!(body, entry.answer, "{}: that is what jambonz says", entry.name);
    }

    /// The answer is these calls, or this one alone.
    fn calls(&self, expected: &BTreeMap<String, Call>) {
        let name = &self.entry.name;
        assert_eq!(self.answered.header("content-type"), Some("application/json; charset=utf-8"));
        let answered = self.answered.json();
        let answered = match &answered {
            Value::Array(calls) => by_sid(calls),
            call => by_sid(std::slice::from_ref(call)),
        };
        let sids = |calls: &BTreeMap<String, Call>| calls.keys().cloned().collect::<Vec<_>>();
        assert_eq!(sids(&answered), sids(expected), "{name}");
        for (sid, recorded) in expected {
            let mut shown = answered[sid].clone();
            for (key, value) in recorded {
                assert_eq!(shown.remove(key), Some(as_sent(key, value)), "{name}: {key} of {sid}");
            }
            let shown: Vec<_> = shown.iter().map(|(key, value)| (key.as_str(), value)).collect();
            assert_eq!(shown.len(), further(sid, recorded, &shown), "{name}: {sid}: {shown:?}");
        }
    }
}

fn by_sid(calls: &[Value]) -> BTreeMap<String, Call> {
    let calls = calls.iter().map(|call| call.as_object().unwrap().clone());
    calls.map(|call| (call["call_sid"].as_str().unwrap().to_owned(), call)).collect()
}

/// The value as the source sent it: jambonz makes text of what is true or false.
fn as_sent(key: &str, value: &Value) -> Value {
    match (key, value.as_str()) {
        ("has_recording", Some(text)) => json!(text == "true"),
        _ => value.clone(),
    }
}

/// How many fields rollcall is to show beyond those that jambonz shows, all of which are looked at
/// here: times, a service URL where the source gave none, and objects, which jambonz drops.
fn further(sid: &str, recorded: &Call, shown: &[(&str, &Value)]) -> usize {
    let status = recorded["call_status"].as_str().unwrap();
    let ended = ["completed", "failed", "busy", "no-answer"].contains(&status);
    let answered = ["completed", "in-progress"].contains(&status);
    for (key, value) in shown {
        match *key {
            "attempted_at" | "answered_at" | "terminated_at" => {
                let time = value.as_str().unwrap();
                assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24, "{time}");
            }
            "service_url" if sid.ends_with("13") => assert_eq!(*value, "http://10.0.0.5:3000"),
            // jambonz keeps the URL of a call that begins with 100 Trying alone.
            "service_url" if sid.ends_with("20") => {
                assert_eq!(*value, "http://127.0.0.1:3101/s202");
            }
            "customer_data" => assert_eq!(**value, json!({ "callCount": 10 })),
            _ => panic!("{key} of {sid} is not known"),
        }
    }
    let objects = usize::from(sid.ends_with("11"));
    let derived = usize::from(!recorded.contains_key("service_url"));
    1 + usize::from(answered) + usize::from(ended) + objects + derived
}
