//! One call, its deletion, and the number of live ones.

use super::super::harness::{A1, A2, Answer, Rollcall, event, sid};
use super::{api_error, count, list, sids};

fn call(rollcall: &Rollcall, method: &str, n: u32) -> Answer {
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(n));
    rollcall.ask(method, &rollcall.admin(), &path)
}

#[test]
fn a_call_is_shown_alone_as_it_is_in_the_list() {
    let rollcall = Rollcall::up(&[]);
    rollcall.post_events(&format!("{}\n{}", event(1, "ringing"), event(2, "busy")));
    let listed = list(&rollcall, "").json();
    for n in [1, 2] {
        let alone = call(&rollcall, "GET", n);
        assert_eq!(alone.status, 200);
        let alone = alone.json();
        assert!(listed.as_array().unwrap().contains(&alone), "{alone}");
    }
    assert_eq!(api_error(&call(&rollcall, "GET", 3), 404), "no such call");
}

#[test]
fn the_keys_of_a_call_stand_in_their_order_and_the_first_nine_always() {
    let rollcall = Rollcall::up(&[]);
    let bare = format!(
        "{{\"call_sid\":\"{}\",\"direction\":\"outbound\",\"account_sid\":\"{A1}\"}}",
        sid(1)
    );
    let full = event(2, "completed").replace(
        '}',
        ",\"zebra\":1,\"parent_call_sid\":\"c0000000-0000-4000-8000-000000000009\",\
         \"originating_sip_trunk_name\":\"t\",\"duration\":7,\"caller_name\":\"n\",\
         \"application_sid\":\"c0000000-0000-4000-8000-000000000008\",\"sip_status\":200,\
         \"service_url\":\"http://192.0.2.1:3000\",\"apple\":null,\"mango\":\"\"}",
    );
    assert_eq!(rollcall.post_events(&format!("{bare}\n{full}")).status, 204);
    let keys = |answer: &Answer| {
        let text = answer.body.clone();
        let value: serde_json::Map<_, _> = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<_> = value.keys().cloned().collect();
        keys.sort_by_key(|key| text.find(&format!("\"{key}\":")).unwrap());
        keys.join(" ")
    };
    let nine = "account_sid call_id call_sid call_status direction from service_url sip_status to";
    let bare = call(&rollcall, "GET", 1);
    assert_eq!(keys(&bare), format!("{nine} attempted_at"));
    let shown = bare.json();
    assert_eq!((&shown["call_status"], &shown["service_url"]), (&"trying".into(), &"".into()));
    assert!((100..700).contains(&shown["sip_status"].as_u64().unwrap()));
    assert_eq!(
        keys(&call(&rollcall, "GET", 2)),
        format!(
            "{nine} application_sid caller_name duration originating_sip_trunk_name \
             parent_call_sid attempted_at terminated_at mango zebra"
        )
    );
}

#[test]
fn a_deleted_call_is_gone_for_good() {
    let mut rollcall = Rollcall::up(&[]);
    rollcall.post_events(&format!("{}\n{}", event(1, "in-progress"), event(2, "in-progress")));
    // The same sid in another account is another call.
    rollcall.post_events(&event(1, "in-progress").replace(A1, A2));
    assert_eq!(count(&rollcall, A1), [2, 0]);
    let deleted = call(&rollcall, "DELETE", 1);
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    let gone = |rollcall: &Rollcall| {
        assert_eq!(api_error(&call(rollcall, "DELETE", 1), 404), "no such call");
        assert_eq!(api_error(&call(rollcall, "GET", 1), 404), "no such call");
        for query in ["", "callStatus=in-progress", "from=+15550000001", "limit=5", "order=asc"] {
            assert!(!sids(&list(rollcall, query)).contains(&sid(1)), "{query}");
        }
        assert_eq!(sids(&list(rollcall, "")), [sid(2)]);
        assert_eq!(count(rollcall, A1), [1, 0]);
        assert_eq!(count(rollcall, A2), [1, 0]);
    };
    gone(&rollcall);
    // Late events are taken and forgotten, even in one body with others.
    assert_eq!(rollcall.post_events(&event(1, "completed")).status, 204);
    let both = format!("{}\n{}", event(1, "completed"), event(2, "in-progress"));
    assert_eq!(rollcall.post_events(&both).status, 204);
    gone(&rollcall);
    for clean in [true, false] {
        if clean {
            assert_eq!(rollcall.stop(), Some(0));
        } else {
            rollcall.kill();
        }
        rollcall.start();
        gone(&rollcall);
        assert_eq!(rollcall.post_events(&event(1, "ringing")).status, 204);
        gone(&rollcall);
    }
}

#[test]
fn an_unknown_call_cannot_be_deleted_and_may_come_later() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(call(&rollcall, "DELETE", 1).status, 404);
    assert_eq!(rollcall.post_events(&event(1, "ringing")).status, 204);
    assert_eq!(sids(&list(&rollcall, "")), [sid(1)]);
}

#[test]
fn call_count_is_that_of_live_calls() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(count(&rollcall, A1), [0, 0]);
    let outbound = |n, status| event(n, status).replace("inbound", "outbound");
    let live = ["trying", "ringing", "alerting", "early-media", "in-progress", "queued"];
    let mut events = Vec::new();
    for (n, status) in (1..).zip(live) {
        events.push(event(n, status));
        events.push(outbound(n + 10, status));
    }
    events.truncate(11);
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    assert_eq!(count(&rollcall, A1), [6, 5]);
    for (n, (status, left)) in
        (1..).zip([("completed", 5), ("failed", 4), ("busy", 3), ("no-answer", 2)])
    {
        rollcall.post_events(&event(n, status));
        // Twice is once.
        rollcall.post_events(&event(n, status));
        assert_eq!(count(&rollcall, A1), [left, 5]);
    }
    // Neither what comes late nor a call that is over from its first event on counts.
    rollcall.post_events(&format!("{}\n{}", event(1, "in-progress"), event(99, "busy")));
    assert_eq!(count(&rollcall, A1), [2, 5]);
    assert_eq!(count(&rollcall, A2), [0, 0]);
    rollcall.kill();
    rollcall.start();
    assert_eq!(count(&rollcall, A1), [2, 5]);
    assert_eq!(call(&rollcall, "DELETE", 6).status, 204);
    assert_eq!(count(&rollcall, A1), [1, 5]);
}
