//! The main path: a webhook on a TLS socket, a kill, a list.

use super::harness::{A1, Rollcall, event, recorded_events, sid};

#[test]
fn what_was_acknowledged_is_listed_after_a_kill() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(recorded_events()).status, 204);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    rollcall.kill();
    rollcall.start();
    let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
    assert_eq!(answer.status, 200);
    let calls = answer.json();
    let calls = calls.as_array().unwrap();
    assert_eq!(calls.len(), 24);
    assert_eq!(calls[0]["call_sid"], sid(1));
    assert_eq!(rollcall.stop(), Some(0));
}
