//! Searches: what is found, by a plain scan of all calls that was written for itself; what is refused;
//! and laws over random calls and questions.

mod laws;
mod refused;
mod table;

use serde_json::{Value, json};

use super::api::samples::now;
use super::harness::{A1, Rollcall};

pub const PARTIES: [&str; 16] = [
    "+15551230001",
    "0015551234",
    "15551234",
    "+1-555-123-4000",
    "+4930123456",
    "sip:Alice.Smith@host.example;user=phone",
    "\"Bob\" <sip:+4930123456@gw.example;transport=tcp>",
    "tel:+1-555-123-0001;ext=7",
    "sip:%2B4930999@gw.example",
    "bob",
    "anna,bea",
    "Müller",
    "alice@sip.example.com",
    "agent-007",
    "anonymous",
    "",
];
const TRUNKS: [Option<&str>; 4] = [None, Some("Twilio"), Some("BT"), Some("my trunk, \"x\" & <b>")];
const APPLICATIONS: [Option<&str>; 3] = [
    None,
    Some("7087fe50-8acb-4f3b-b820-97b573723aab"),
    Some("7087FE50-8ACB-4F3B-B820-97B573723AAB"),
];
/// Status and SIP status of the last event, whether it was in progress before, and its duration.
const ENDS: [(&str, u16, bool, Option<u64>); 10] = [
    ("trying", 100, false, None),
    ("ringing", 180, false, None),
    ("in-progress", 200, true, None),
    ("completed", 200, true, Some(45)),
    ("completed", 200, false, Some(7)),
    ("completed", 200, true, None),
    ("busy", 486, false, None),
    ("no-answer", 480, false, None),
    ("failed", 503, false, None),
    ("failed", 603, true, Some(0)),
];

/// The events of call `n` of an account, in order: all that it has depends on its seed.
pub fn events(account: &str, n: u32, seed: usize, at: i64) -> Vec<Value> {
    let (status, sip_status, answered, duration) = ENDS[seed % 10];
    let mut event = json!({
        "account_sid": account,
        "call_sid": format!("c0000000-0000-4000-8000-{:012x}", n * 7919 % 65_521),
        "direction": if seed.is_multiple_of(3) { "outbound" } else { "inbound" },
        "from": PARTIES[seed / 2 % 16],
        "to": PARTIES[seed / 5 % 16],
        "call_id": format!("cid-{}@10.0.0.9", seed % 7),
        "trace_id": format!("{:032x}", seed % 5),
    });
    let optional = [
        ("originating_sip_trunk_name", TRUNKS[seed / 3 % 4]),
        ("application_sid", APPLICATIONS[seed % 3]),
        ("sbc_callid", [None, Some("sbc-1"), Some("sbc-2"), Some("cid-2@10.0.0.9")][seed / 7 % 4]),
        ("call_termination_by", [None, Some("caller"), Some("callee")][seed / 4 % 3]),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            event[key] = value.into();
        }
    }
    let mut last = event.clone();
    last["call_status"] = status.into();
    last["sip_status"] = sip_status.into();
    last["at"] = at.into();
    if let Some(seconds) = duration {
        last["duration"] = seconds.into();
    }
    if answered && status != "in-progress" {
        event["call_status"] = "in-progress".into();
        event["at"] = (at - 60_000).into();
        return vec![event, last];
    }
    vec![last]
}

/// A server with so many calls of [`A1`], two a second, and all of them as it lists them.
pub fn server(calls: u32) -> (Rollcall, Vec<Value>) {
    let rollcall = Rollcall::up(&[]);
    let begun = now() - 20 * 60_000;
    let all = (0..calls).flat_map(|n| {
        let seed = n as usize * 37 + n as usize / 16;
        events(A1, n, seed, begun + i64::from(n / 2) * 1000)
    });
    let lines: Vec<_> = all.map(|event| event.to_string()).collect();
    assert_eq!(rollcall.post_events(&lines.join("\n")).status, 204);
    let all = super::api::list(&rollcall, "").json().as_array().unwrap().clone();
    assert_eq!(all.len(), calls as usize);
    (rollcall, all)
}

/// What a search asks for: parameters by their names, each with one value.
pub type Question = Vec<(&'static str, String)>;

/// The query of a question.
pub fn query(question: &Question) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(question);
    query.finish()
}

/// Whether a call, as it was listed, is one that is asked for.
pub fn is_meant(call: &Value, question: &Question) -> bool {
    question.iter().all(|(name, value)| {
        let text = |key: &str| call[key].as_str();
        let either =
            |is: &dyn Fn(&str) -> bool| ["from", "to"].iter().any(|key| text(key).is_some_and(is));
        let values: Vec<&str> =
            value.split(',').chain([value.as_str()]).filter(|v| !v.is_empty()).collect();
        let is_one = |have: &str| values.contains(&have);
        let has =
            |party: &str| value.split(',').any(|part| letters(party).contains(&letters(part)));
        match *name {
            "number" => either(&is_one),
            "from_contains" => text("from").is_some_and(has),
            "to_contains" => text("to").is_some_and(has),
            "number_contains" => either(&has),
            "call_id" | "sbc_callid" | "trace_id" | "application_sid" => {
                text(name).is_some_and(is_one)
            }
            "trunk" => text("originating_sip_trunk_name").is_some_and(is_one),
            "termination" => text("call_termination_by").is_some_and(is_one),
            "sip_status" => {
                let have = call["sip_status"].to_string();
                values.iter().any(|v| *v == have || v.strip_suffix("xx") == have.get(..1))
            }
            "answered" => {
                let is = text("answered_at").is_some()
                    || matches!(text("call_status"), Some("in-progress" | "completed"));
                is.to_string() == *value
            }
            "duration_min" => {
                call["duration"].as_u64().is_some_and(|s| s >= value.parse().unwrap())
            }
            "duration_max" => {
                call["duration"].as_u64().is_some_and(|s| s <= value.parse().unwrap())
            }
            "q" => {
                let value = value.trim();
                let is_sid = value.len() == 36 && value.matches('-').count() == 4;
                let part = letters(value);
                text("call_sid") == Some(&value.to_lowercase())
                    || text("call_id") == Some(value)
                    || text("sbc_callid") == Some(value)
                    || !is_sid
                        && part.chars().count() >= 3
                        && either(&|p| letters(p).contains(&part))
            }
            "callStatus" => is_one(text("call_status").unwrap()),
            "direction" => is_one(text("direction").unwrap()),
            "from" => is_one(text("from").unwrap()),
            "to" => is_one(text("to").unwrap()),
            "from_prefix" => text("from").unwrap().starts_with(value),
            "to_prefix" => text("to").unwrap().starts_with(value),
            "start" => text("attempted_at").unwrap() >= value.as_str(),
            "end" => text("attempted_at").unwrap() < value.as_str(),
            _ => panic!("{name}"),
        }
    })
}

/// Letters and digits of a party, as far as the parties here need it.
fn letters(party: &str) -> String {
    let party = party.rsplit('<').next().unwrap().split('>').next().unwrap();
    let party = party.trim_start_matches("sip:").trim_start_matches("tel:");
    let user = party.split('@').next().unwrap().split(';').next().unwrap().replace("%2B", "");
    user.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The sids of calls, in their order.
pub fn sids(calls: &[Value]) -> Vec<String> {
    calls.iter().map(|call| call["call_sid"].as_str().unwrap().to_owned()).collect()
}

/// The sids of those calls that are meant, in their order.
pub fn expected(all: &[Value], question: &Question) -> Vec<String> {
    let meant: Vec<_> = all.iter().filter(|call| is_meant(call, question)).cloned().collect();
    sids(&meant)
}
