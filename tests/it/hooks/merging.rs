//! Events that come late, twice, or in the wrong order.

use super::super::api::samples::now;
use super::super::harness::{A1, Rollcall, event, sid};
use super::{call, known, post_json, post_lines};

/// A status of call number `n` so many milliseconds after a time, with further members.
fn status(n: u32, base: i64, after: i64, status: &str, members: &str) -> String {
    event(n, status).replace('}', &format!(",\"at\":{}{members}}}", base + after))
}

#[test]
fn a_call_that_is_over_does_not_ring_again() {
    let mut rollcall = Rollcall::up(&[]);
    for event in
        [event(1, "in-progress"), event(1, "completed"), event(1, "ringing"), event(1, "trying")]
    {
        assert_eq!(post_json(&rollcall, &event).status, 204);
    }
    assert_eq!(call(&rollcall, 1)["call_status"], "completed");
    // Not even one that is said to be newer, nor after a restart.
    let late = status(1, now(), 60_000, "in-progress", ",\"sip_status\":200");
    assert_eq!(post_json(&rollcall, &late).status, 204);
    assert_eq!(call(&rollcall, 1)["call_status"], "completed");
    rollcall.kill();
    rollcall.start();
    assert_eq!(post_json(&rollcall, &event(1, "ringing")).status, 204);
    assert_eq!(call(&rollcall, 1)["call_status"], "completed");
    assert_eq!(known(&rollcall), 1);
}

/// All orders of these items.
fn permutations(items: &[String]) -> Vec<Vec<String>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (n, first) in items.iter().enumerate() {
        let rest: Vec<_> = [&items[..n], &items[n + 1..]].concat();
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

#[test]
fn any_order_of_the_same_events_makes_the_same_call() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 100_000;
    let story = [
        (0, "trying", ",\"sip_status\":100,\"early\":1,\"both\":\"old\""),
        (1000, "ringing", ",\"sip_status\":180,\"caller_name\":\"ring\""),
        (5000, "in-progress", ",\"sip_status\":200,\"both\":\"new\",\"caller_name\":\"up\""),
        (47_000, "completed", ",\"sip_status\":200,\"sip_reason\":\"OK\",\"duration\":42"),
        // A second end, a little later, does not count: a call ends once.
        (48_000, "failed", ",\"sip_status\":503,\"sip_reason\":\"late\",\"duration\":1"),
    ];
    let of =
        |n: u32| story.map(|(after, word, members)| status(n, base, after, word, members)).to_vec();
    let orders = permutations(&[0, 1, 2, 3, 4].map(|n: usize| n.to_string()));
    assert_eq!(orders.len(), 120);
    let mut events = Vec::new();
    for (n, order) in (0..).zip(&orders) {
        let story = of(n);
        for index in order.iter().chain(&order[..2]) {
            events.push(story[index.parse::<usize>().unwrap()].clone());
        }
    }
    // Half of them in one body, half of them one by one: it is the same.
    let (many, single) = events.split_at(events.len() / 2);
    assert_eq!(post_lines(&rollcall, &many.join("\n")).status, 204);
    for event in single {
        assert_eq!(post_json(&rollcall, event).status, 204);
    }
    let time = |after| jiff::Timestamp::from_millisecond(base + after).unwrap();
    let time = |after| serde_json::Value::from(format!("{:.3}", time(after)));
    for n in 0..120 {
        let shown = call(&rollcall, n);
        for (key, value) in [
            ("call_status", "completed".into()),
            ("sip_status", 200.into()),
            ("sip_reason", "OK".into()),
            ("duration", 42.into()),
            ("attempted_at", time(0)),
            ("answered_at", time(5000)),
            ("terminated_at", time(47_000)),
            ("caller_name", "up".into()),
            ("both", "new".into()),
            ("early", 1.into()),
        ] {
            assert_eq!(shown[key], value, "{key} after {:?}: {shown}", orders[n as usize]);
        }
        assert_eq!(shown.as_object().unwrap().len(), 17, "{shown}");
    }
}

#[test]
fn equal_ranks_take_the_newest_and_a_silent_event_removes_nothing() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 10_000;
    let events = [
        status(1, base, 2000, "alerting", ",\"sip_status\":183,\"x\":\"newer\""),
        status(1, base, 1000, "ringing", ",\"sip_status\":180,\"x\":\"older\",\"y\":1"),
        status(2, base, 1000, "queued", ""),
        status(2, base, 0, "trying", ""),
        status(3, base, 1000, "early-media", ",\"z\":\"kept\""),
        status(3, base, 2000, "in-progress", ""),
    ];
    assert_eq!(post_lines(&rollcall, &events.join("\n")).status, 204);
    let shown = call(&rollcall, 1);
    assert_eq!((&shown["call_status"], &shown["sip_status"]), (&"alerting".into(), &183.into()));
    assert_eq!((&shown["x"], &shown["y"]), (&"newer".into(), &1.into()));
    assert_eq!(call(&rollcall, 2)["call_status"], "queued");
    let shown = call(&rollcall, 3);
    assert_eq!((&shown["call_status"], &shown["z"]), (&"in-progress".into(), &"kept".into()));
}

#[test]
fn a_call_that_ends_without_a_duration_has_that_of_its_times() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 100_000;
    let events = [
        status(1, base, 0, "in-progress", ""),
        status(1, base, 61_900, "completed", ""),
        status(2, base, 0, "ringing", ""),
        status(2, base, 9000, "no-answer", ""),
        status(3, base, 0, "in-progress", ",\"duration\":5"),
    ];
    assert_eq!(post_lines(&rollcall, &events.join("\n")).status, 204);
    assert_eq!(call(&rollcall, 1)["duration"], 61);
    assert_eq!(call(&rollcall, 2).get("duration"), None, "nobody answered");
    assert_eq!(call(&rollcall, 3).get("duration"), None, "it is not over");
}

#[test]
fn a_call_keeps_its_place_when_an_earlier_event_comes_late() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 100_000;
    for event in [
        status(1, base, 5000, "ringing", ""),
        status(2, base, 6000, "ringing", ""),
        status(2, base, 1000, "trying", ""),
    ] {
        assert_eq!(post_json(&rollcall, &event).status, 204);
    }
    let listed = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
    assert_eq!(listed.json()[0]["call_sid"], sid(2));
    let attempted = jiff::Timestamp::from_millisecond(base + 1000).unwrap();
    assert_eq!(call(&rollcall, 2)["attempted_at"], format!("{attempted:.3}"));
}
