//! The API over its own sockets, promise by promise.

mod access;
mod across;
mod big;
mod caching;
mod calls;
pub mod changes;
mod csv;
mod cut;
mod described;
mod description;
mod exhaustion;
mod fairness;
mod filters;
mod limits;
mod narrow;
mod openapi;
mod pages;
mod paths;
mod process;
pub mod raw;
pub mod readers;
mod recent_calls;
pub mod samples;
mod sockets;
mod stale;

use serde_json::Value;

use super::harness::{A1, Answer, Rollcall};

/// The path of an account's list.
pub fn calls_of(account: &str, query: &str) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/v1/Accounts/{account}/Calls{mark}{query}")
}

/// Memory that the server has in use.
pub fn resident_kib(rollcall: &Rollcall) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rollcall.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a list of account [`A1`] answers to the admin.
pub fn list(rollcall: &Rollcall, query: &str) -> Answer {
    rollcall.get(&rollcall.admin(), &calls_of(A1, query))
}

/// The sids of a list that was answered, in its order.
pub fn sids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    let calls = answer.json();
    let calls = calls.as_array().unwrap();
    calls.iter().map(|call| call["call_sid"].as_str().unwrap().to_owned()).collect()
}

/// The message of a refusal, whose body is `{"msg": string}` and nothing else.
pub fn api_error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=utf-8"),
        "{answer:?}"
    );
    let body = answer.json();
    let members = body.as_object().unwrap();
    assert_eq!(members.len(), 1, "{answer:?}");
    let Value::String(msg) = &members["msg"] else { panic!("{answer:?}") };
    assert!(!msg.is_empty());
    msg.clone()
}

/// `CallCount` of an account, as the admin sees it: inbound, outbound.
pub fn count(rollcall: &Rollcall, account: &str) -> [u64; 2] {
    let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{account}/CallCount"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let counts = answer.json();
    assert_eq!(counts.as_object().unwrap().len(), 2, "{answer:?}");
    ["inbound", "outbound"].map(|direction| counts[direction].as_u64().unwrap())
}
