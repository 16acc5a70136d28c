//! Events in: who may bring them, what is taken, and what becomes of it.

mod beside;
mod bodies;
mod limits;
mod merging;
mod parts;
mod refused;
mod replay;
mod senders;
mod shapes;
pub mod signed;

use super::harness::{A1, A2, Answer, Rollcall};

/// The path of the hook.
const HOOK: &str = "/v1/hooks/call-status";

/// How many calls the two accounts have together.
fn known(rollcall: &Rollcall) -> usize {
    let calls = |account| {
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{account}/Calls"));
        answer.json().as_array().unwrap().len()
    };
    calls(A1) + calls(A2)
}

/// Sends a body with these header fields.
fn post(rollcall: &Rollcall, headers: &[(&str, &str)], body: &str) -> Answer {
    rollcall.send("POST", HOOK, headers, body.as_bytes()).unwrap()
}

/// Sends a body as JSON with the admin token.
fn post_json(rollcall: &Rollcall, body: &str) -> Answer {
    let bearer = format!("Bearer {}", rollcall.admin());
    post(rollcall, &[("authorization", &bearer), ("content-type", "application/json")], body)
}

/// The same as lines.
fn post_lines(rollcall: &Rollcall, body: &str) -> Answer {
    let bearer = format!("Bearer {}", rollcall.admin());
    post(rollcall, &[("authorization", &bearer), ("content-type", "application/x-ndjson")], body)
}

/// The call of account [`A1`] with this number.
fn call(rollcall: &Rollcall, n: u32) -> serde_json::Value {
    let path = format!("/v1/Accounts/{A1}/Calls/{}", super::harness::sid(n));
    let answer = rollcall.get(&rollcall.admin(), &path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
