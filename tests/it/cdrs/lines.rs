//! What CDRs say of calls, beside what other sources say.

use serde_json::{Value, json};

use super::super::harness::{A1, A2, Rollcall, sid, until};
use super::writer::{call, calls, taking, write};

/// Milliseconds, in the past of every test.
const TIME: u64 = 1_795_849_200_123;

/// A webhook of a call that the SBC knows by another Call-ID.
fn hook(account: &str, n: u32, status: &str, sip_status: u16) -> Value {
    json!({
        "account_sid": account, "call_sid": sid(n), "call_status": status, "sip_status": sip_status,
        "direction": "inbound", "from": "+15550000001", "to": "+15550009999",
        "call_id": format!("fs-{n}"), "sbc_callid": format!("sbc-{n}"),
    })
}

fn post(rollcall: &Rollcall, hook: &Value) {
    let answer = rollcall.post_events(&hook.to_string());
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// The CDR of a call that was not answered, which names no call sid.
fn unanswered(account: &str, n: u32, sip_status: u16) -> String {
    format!(
        "cdrs,account_sid={account},answered=false,direction=inbound,host=10.0.0.1,trunk=undefined \
         call_sid=undefined,duration=0,from=\"15550000001\",remote_host=\"10.0.0.2\",sip_callid=\"sbc-{n}\",\
         sip_status={sip_status},terminated_at={},termination_reason=\"failed\",to=\"15550009999\" {TIME}000000",
        TIME + 400
    )
}

#[test]
fn a_cdr_adds_what_no_webhook_says_and_changes_nothing_else() {
    let rollcall = taking(&[]);
    let hooks = [("trying", 100), ("in-progress", 200)];
    for (status, sip_status) in hooks {
        post(&rollcall, &hook(A1, 1, status, sip_status));
    }
    let mut end = hook(A1, 1, "completed", 200);
    end["duration"] = 7.into();
    post(&rollcall, &end);
    let before = call(&rollcall, A1, &sid(1)).unwrap();
    let line = format!(
        "cdrs,account_sid={A1},answered=true,direction=outbound,host=10.0.0.1,trunk=carrier answered_at={},\
         call_sid=\"{}\",duration=99,from=\"15550000001\",sip_callid=\"sbc-1\",sip_status=487,new=true,\
         cost=0.25,terminated_at={},termination_reason=\"caller hungup\",to=\"1\" {TIME}000000",
        TIME + 100,
        sid(1),
        TIME + 5000,
    );
    assert_eq!(write(&rollcall, &line).status, 204);
    let after = call(&rollcall, A1, &sid(1)).unwrap();
    for (key, value) in before.as_object().unwrap() {
        assert_eq!(after[key], *value, "{key}");
    }
    for (key, value) in [
        ("trunk", json!("carrier")),
        ("host", json!("10.0.0.1")),
        ("termination_reason", json!("caller hungup")),
        ("new", json!(true)),
        ("cost", json!(0.25)),
        ("sip_callid", json!("sbc-1")),
    ] {
        assert_eq!(after[key], value, "{key}");
    }
    assert_eq!(calls(&rollcall, A1).len(), 1);
}

#[test]
fn a_cdr_ends_a_call_whose_last_webhook_was_lost() {
    let rollcall = taking(&[]);
    for (n, sip_status, expected) in [
        (1, 486, "busy"),
        (2, 600, "busy"),
        (3, 487, "no-answer"),
        (4, 503, "failed"),
        (5, 408, "no-answer"),
    ] {
        post(&rollcall, &hook(A1, n, "ringing", 180));
        assert_eq!(write(&rollcall, &unanswered(A1, n, sip_status)).status, 204);
        let call = call(&rollcall, A1, &sid(n)).unwrap();
        assert_eq!(
            (&call["call_status"], &call["sip_status"]),
            (&expected.into(), &sip_status.into())
        );
        assert_eq!(call["terminated_at"], "2026-11-28T07:00:00.523Z");
        assert_eq!(call.get("duration"), None);
        assert_eq!(call["from"], "+15550000001");
    }
    // Its own end counts as soon as it comes, and what is late changes nothing.
    post(&rollcall, &hook(A1, 1, "failed", 500));
    post(&rollcall, &hook(A1, 2, "in-progress", 200));
    assert_eq!(call(&rollcall, A1, &sid(1)).unwrap()["call_status"], "failed");
    assert_eq!(call(&rollcall, A1, &sid(2)).unwrap()["call_status"], "busy");
}

#[test]
fn a_call_that_says_itself_that_nobody_answered_was_not_answered() {
    let rollcall = taking(&[]);
    let end = TIME + 5000;
    let line = format!(
        "cdrs,account_sid={A1},answered=true,direction=inbound answered_at={},call_sid=\"{}\",duration=4,\
         sip_status=200,terminated_at={end},termination_reason=\"x\" {TIME}000000",
        TIME + 1000,
        sid(1)
    );
    assert_eq!(write(&rollcall, &line).status, 204);
    let by_cdr = call(&rollcall, A1, &sid(1)).unwrap();
    assert_eq!((&by_cdr["call_status"], &by_cdr["duration"]), (&"completed".into(), &4.into()));
    post(&rollcall, &hook(A1, 1, "no-answer", 480));
    let own = call(&rollcall, A1, &sid(1)).unwrap();
    assert_eq!(own["call_status"], "no-answer");
    assert_eq!((own.get("answered_at"), own.get("duration")), (None, None), "{own}");
    assert_eq!(own["termination_reason"], "x");
    let answered = format!("/v1/Accounts/{A1}/Calls?answered=true");
    let answered = rollcall.get(&rollcall.admin(), &answered);
    assert_eq!(answered.json(), json!([]), "{answered:?}");
}

#[test]
fn a_cdr_without_a_call_sid_waits_for_its_call_and_is_one_after_a_time() {
    let rollcall = taking(&["--cdrs-wait", "1s"]);
    assert_eq!(write(&rollcall, &unanswered(A1, 1, 480)).status, 204);
    let alone = until("it is a call of its own", || calls(&rollcall, A1).pop());
    for (key, value) in [
        ("call_status", json!("no-answer")),
        ("sip_status", json!(480)),
        ("direction", json!("inbound")),
        ("from", json!("15550000001")),
        ("call_id", json!("sbc-1")),
        ("attempted_at", json!("2026-11-28T07:00:00.123Z")),
        ("terminated_at", json!("2026-11-28T07:00:00.523Z")),
        ("termination_reason", json!("failed")),
    ] {
        assert_eq!(alone[key], value, "{key}: {alone}");
    }
    assert_eq!(alone.get("trunk"), None);
    // The call of that Call-ID comes later, of this account and of another.
    post(&rollcall, &hook(A2, 1, "trying", 100));
    assert_eq!(calls(&rollcall, A1).len(), 1);
    post(&rollcall, &hook(A1, 1, "trying", 100));
    let left = calls(&rollcall, A1);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["call_sid"], sid(1));
    assert_eq!(left[0]["termination_reason"], "failed");
    assert_eq!(call(&rollcall, A1, alone["call_sid"].as_str().unwrap()), None);
    assert_eq!(call(&rollcall, A2, &sid(1)).unwrap()["call_status"], "trying");
}

#[test]
fn a_cdr_that_was_answered_204_is_there_after_a_crash() {
    let mut rollcall = taking(&[]);
    assert_eq!(write(&rollcall, &unanswered(A1, 1, 480)).status, 204);
    rollcall.kill();
    rollcall.start();
    post(&rollcall, &hook(A1, 1, "trying", 100));
    assert_eq!(call(&rollcall, A1, &sid(1)).unwrap()["call_status"], "no-answer");
    assert_eq!(calls(&rollcall, A1).len(), 1);
}

#[test]
fn what_a_call_costs_comes_later_on_the_same_point() {
    let rollcall = taking(&[]);
    let tags = format!("account_sid={A1},answered=true,direction=outbound,trunk=jambonz");
    let line = format!(
        "cdrs,{tags} call_sid=\"{}\",cost=0,sip_callid=\"x\",sip_status=200,terminated_at={} {TIME}123456",
        sid(1),
        TIME + 5000
    );
    assert_eq!(write(&rollcall, &line).status, 204);
    for cost in ["0.9", "0.012"] {
        let rated = format!("cdrs,{tags} cost={cost},rate=0.01,billed_seconds=60 {TIME}123456");
        assert_eq!(write(&rollcall, &rated).status, 204);
    }
    let strange = format!("cdrs,{tags} cost=0.012,rate=0.01,billed_seconds=60 {TIME}123457");
    assert_eq!(write(&rollcall, &strange).status, 204);
    let rated = call(&rollcall, A1, &sid(1)).unwrap();
    assert_eq!((&rated["cost"], &rated["billed_seconds"]), (&json!(0.012), &json!(60)));
    assert_eq!(
        (&rated["call_status"], &rated["direction"]),
        (&json!("completed"), &json!("outbound"))
    );
    assert_eq!(calls(&rollcall, A1).len(), 1);
    let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["cdrs"]["lines"]["unplaced"], 1, "{figures}");
}
