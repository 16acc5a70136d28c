//! Prefixes, families, stale calls, counts, and the window.

use super::super::harness::{A1, Rollcall, event, sid, until};
use super::samples::{newest_first, now, samples, server_with};
use super::{api_error, list, sids};

#[test]
fn numbers_are_found_by_how_they_begin() {
    let calls = samples(120);
    let rollcall = server_with(&calls);
    for (query, from, to) in [
        ("from_prefix=%2B1555", "+1555", ""),
        ("from_prefix=+1555", "+1555", ""),
        ("from_prefix=1555", "1555", ""),
        ("from_prefix=b", "b", ""),
        ("to_prefix=sip:carol", "", "sip:carol"),
        ("to_prefix=1508&from_prefix=anna", "anna", "1508"),
        ("from_prefix=&to_prefix=", "", ""),
        ("from_prefix=nobody", "nobody", ""),
    ] {
        let wanted = newest_first(&calls, |c| c.from.starts_with(from) && c.to.starts_with(to));
        assert_eq!(sids(&list(&rollcall, query)), wanted, "{query}");
        let counted = list(&rollcall, &format!("{query}&count=true&limit=1"));
        assert_eq!(counted.header("x-total-count"), Some(&*wanted.len().to_string()), "{query}");
    }
    let both = newest_first(&calls, |c| c.from.starts_with("bob") || c.from.starts_with("15"));
    assert_eq!(sids(&list(&rollcall, "from_prefix=bob,15")), both);
    let of_status = newest_first(&calls, |c| c.from.starts_with("+1") && c.status == "busy");
    assert_eq!(sids(&list(&rollcall, "from_prefix=+1&callStatus=busy")), of_status);
}

#[test]
fn b_legs_are_found_by_their_a_leg() {
    let rollcall = Rollcall::up(&[]);
    let leg = |n: u32, parent: u32| {
        let parent = format!(",\"parent_call_sid\":\"{}\"}}", sid(parent));
        event(n, "ringing").replace('}', &parent)
    };
    let events = [event(1, "in-progress"), leg(2, 1), leg(3, 1), event(4, "ringing"), leg(5, 4)];
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let mut legs = sids(&list(&rollcall, &format!("parent_call_sid={}", sid(1))));
    legs.sort();
    assert_eq!(legs, [sid(2), sid(3)]);
    let of_both = format!("parent_call_sid={},{}&count=true", sid(1).to_uppercase(), sid(4));
    let of_both = list(&rollcall, &of_both);
    assert_eq!(of_both.header("x-total-count"), Some("3"));
    assert_eq!(sids(&of_both).len(), 3);
    assert_eq!(sids(&list(&rollcall, &format!("parent_call_sid={}", sid(2)))).len(), 0);
    let said = api_error(&list(&rollcall, "parent_call_sid=xyz"), 400);
    assert!(said.contains("parent_call_sid \"xyz\""), "{said}");
}

fn ago(n: u32, status: &str, seconds: i64) -> String {
    event(n, status).replace('}', &format!(",\"at\":{}}}", now() - seconds * 1000))
}

#[test]
fn stale_calls_can_be_asked_for_and_left_out() {
    let rollcall = Rollcall::up(&["--calls-max-lifetime", "1m", "--calls-sweep-interval", "50ms"]);
    let events = [
        ago(1, "in-progress", 300),
        ago(2, "in-progress", 0),
        ago(3, "completed", 300),
        ago(4, "ringing", 300),
    ];
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    until("two calls are stale", || {
        (sids(&list(&rollcall, "stale=true")) == [sid(1), sid(4)]).then_some(())
    });
    assert_eq!(sids(&list(&rollcall, "stale=true&callStatus=ringing")), [sid(4)]);
    assert_eq!(sids(&list(&rollcall, "callStatus=ringing")).len(), 0);
    assert_eq!(sids(&list(&rollcall, "stale=false")), [sid(2), sid(3)]);
    assert_eq!(list(&rollcall, "stale=true&count=true").header("x-total-count"), Some("2"));
    assert!(api_error(&list(&rollcall, "stale=1"), 400).contains("stale \"1\""));
    let path = format!("/v1/Accounts/{A1}/CallStats");
    let stats = rollcall.get(&rollcall.admin(), &path).json();
    assert_eq!(stats["total"], 4);
    assert_eq!(stats["outbound"]["total"], 0);
    let inbound = &stats["inbound"];
    assert_eq!((&inbound["stale"], &inbound["in-progress"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!((&inbound["completed"], &inbound["ringing"]), (&1.into(), &0.into()), "{stats}");
}

#[test]
fn call_stats_count_what_a_list_of_that_time_shows() {
    let calls = samples(90);
    let rollcall = server_with(&calls);
    let stats = |query: &str| {
        rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/CallStats?{query}")).json()
    };
    let time = |n: usize| jiff::Timestamp::from_millisecond(calls[n].at).unwrap();
    for (query, first, end) in [
        (String::new(), 0, 90),
        (format!("start={}", time(30)), 30, 90),
        (format!("start={}&end={}", time(30), time(60)), 30, 60),
    ] {
        let found = stats(&query);
        let of = &calls[first..end];
        assert_eq!(found["total"], of.len(), "{query}: {found}");
        for direction in ["inbound", "outbound"] {
            for status in super::samples::STATUSES {
                let wanted =
                    of.iter().filter(|c| c.status == status && c.direction == direction).count();
                assert_eq!(found[direction][status], wanted, "{query}: {direction} {status}");
            }
        }
    }
}

#[test]
fn the_window_limits_the_plain_list_to_calls_that_are_up_or_ended_lately() {
    let rollcall = Rollcall::up(&["--list-window", "1h"]);
    let long_and_just_over = [ago(1, "in-progress", 7 * 3600), ago(1, "completed", 60)];
    let events = [
        ago(2, "in-progress", 7 * 3600),
        ago(3, "completed", 2 * 3600),
        ago(4, "busy", 600),
        ago(5, "ringing", 10),
    ];
    let events = [events.to_vec(), long_and_just_over.to_vec()].concat();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let mut shown = sids(&list(&rollcall, ""));
    assert_eq!(shown.remove(0), sid(5));
    assert_eq!(shown.remove(0), sid(4));
    shown.sort();
    assert_eq!(shown, [sid(1), sid(2)]);
    assert_eq!(sids(&list(&rollcall, "callStatus=completed")), [sid(1)]);
    assert_eq!(list(&rollcall, "count=true").header("x-total-count"), Some("4"));
    // A client that names a time asks for the history.
    assert_eq!(sids(&list(&rollcall, "start=2000-01-01")).len(), 5);
    assert_eq!(list(&rollcall, "").header("etag"), None, "time alone changes this list");
    let first = list(&rollcall, "limit=2");
    let cursor = first.header("x-next-cursor").unwrap().to_owned();
    assert_eq!(sids(&list(&rollcall, &format!("limit=2&cursor={cursor}"))).len(), 2);
}
