//! Every parameter, alone and with others, and days that have not 24 hours.

use serde_json::json;

use super::super::api::samples::{STATUSES, now};
use super::super::harness::{A1, Rollcall, event, sid};
use super::super::search::is_meant;
use super::{Asked, BEGUN, HOUR, check, server_with, stats};

#[test]
fn each_parameter_counts_what_it_says() {
    let (rollcall, all, made) = server_with(300);
    let at = |hours: i64| Some(BEGUN + hours * HOUR);
    let base = Asked::default;
    let mut questions = vec![
        Asked { interval: Some("hour"), ..base() },
        Asked { interval: Some("day"), ..base() },
        Asked { interval: Some("day"), zone: Some("Europe/Berlin"), ..base() },
        Asked {
            interval: Some("hour"),
            zone: Some("Europe/Berlin"),
            start: at(10),
            end: at(20),
            ..base()
        },
        Asked { interval: Some("day"), zone: Some("+05:30"), start: at(10), ..base() },
        Asked { interval: Some("hour"), zone: Some("Asia/Kathmandu"), end: at(30), ..base() },
        Asked { interval: Some("minute"), start: at(10), end: at(11), ..base() },
        Asked {
            interval: Some("minute"),
            zone: Some("Asia/Kathmandu"),
            group: vec!["status"],
            start: at(10),
            end: at(12),
            ..base()
        },
        Asked { interval: Some("hour"), start: at(-24), end: at(100), ..base() },
        Asked { interval: Some("hour"), start: at(20), end: at(10), ..base() },
        Asked { group: vec!["from", "to"], top: Some(1000), ..base() },
        Asked { group: vec!["from", "to"], ..base() },
        Asked { group: vec!["trunk", "status"], top: Some(3), interval: Some("hour"), ..base() },
        Asked { group: vec!["to"], start: at(5), end: at(6), ..base() },
    ];
    for group in ["status", "direction", "trunk", "application", "from", "to", "to_country"] {
        questions.push(Asked { group: vec![group], ..base() });
        questions.push(Asked { group: vec![group], interval: Some("day"), top: Some(2), ..base() });
    }
    for (name, value) in [
        ("callStatus", "completed"),
        ("direction", "outbound"),
        ("from", "bob"),
        ("to", "bob,+4930123456"),
        ("from_prefix", "+1"),
        ("number", "bob"),
        ("from_contains", "555"),
        ("number_contains", "4930"),
        ("call_id", "cid-7"),
        ("trunk", "BT"),
        ("application_sid", "7087fe50-8acb-4f3b-b820-97b573723aab"),
        ("sip_status", "4xx"),
        ("answered", "false"),
        ("duration_min", "600"),
        ("duration_max", "600"),
        ("q", "bob"),
    ] {
        let filters = vec![(name, value.to_owned())];
        let interval = Some("hour");
        questions.push(Asked { filters, interval, group: vec!["direction"], ..base() });
    }
    for asked in &questions {
        check(asked, &stats(&rollcall, A1, &asked.query()), &all, &made);
    }
}

#[test]
fn without_interval_and_group_filters_narrow_the_table_of_statuses() {
    let (rollcall, all, _) = server_with(200);
    for (name, value) in [
        ("callStatus", "completed,busy"),
        ("direction", "outbound"),
        ("from", "bob"),
        ("number", "bob"),
        ("number_contains", "4930"),
        ("trunk", "BT"),
        ("answered", "false"),
    ] {
        let filters = vec![(name, value.to_owned())];
        let asked = Asked { filters: filters.clone(), ..Asked::default() };
        let found = stats(&rollcall, A1, &asked.query()).json();
        let mut meant: Vec<_> = all.iter().filter(|call| is_meant(call, &filters)).collect();
        // A stale call has no status.
        meant.retain(|call| name != "callStatus" || call.get("stale").is_none());
        assert!(!meant.is_empty());
        assert_eq!(found["total"], meant.len(), "{name}: {found}");
        for direction in ["inbound", "outbound"] {
            let of: Vec<_> = meant.iter().filter(|call| call["direction"] == direction).collect();
            let stale = of.iter().filter(|call| call["stale"] == true).count();
            assert_eq!(found[direction]["stale"], stale, "{name}: {found}");
            for status in STATUSES {
                let is = |call: &&&&serde_json::Value| call["call_status"] == status;
                let wanted =
                    of.iter().filter(|call| call.get("stale").is_none()).filter(is).count();
                assert_eq!(found[direction][status], wanted, "{name}: {status}: {found}");
            }
        }
    }
}

#[test]
fn days_have_as_many_hours_as_the_clocks_show() {
    let (rollcall, _, _) = server_with(50);
    let day = "start=2026-10-24T22:00:00Z&end=2026-10-25T23:00:00Z&time_zone=Europe/Berlin";
    let hours = stats(&rollcall, A1, &format!("interval=hour&{day}")).json();
    let hours = hours["buckets"].as_array().unwrap();
    assert_eq!(hours.len(), 25);
    let starts: Vec<_> = hours[2..4].iter().map(|hour| &hour["start"]).collect();
    assert_eq!(starts, ["2026-10-25T02:00:00.000+02:00", "2026-10-25T02:00:00.000+01:00"]);
    let days = stats(&rollcall, A1, &format!("interval=day&{day}")).json();
    let days = days["buckets"].as_array().unwrap();
    assert_eq!(days.len(), 1);
    assert_eq!(days[0]["start"], "2026-10-25T00:00:00.000+02:00");
    assert_eq!(days[0]["end"], "2026-10-26T00:00:00.000+01:00");
    let spring = "interval=hour&start=2026-03-28T23:00:00Z&end=2026-03-29T22:00:00Z";
    let spring = stats(&rollcall, A1, &format!("{spring}&time_zone=europe/berlin")).json();
    assert_eq!(spring["buckets"].as_array().unwrap().len(), 23);
    // A plus that was not encoded.
    let plus =
        stats(&rollcall, A1, "interval=day&start=2026-10-25&end=2026-10-26&time_zone=+05:30");
    assert_eq!(plus.json()["buckets"][0]["start"], "2026-10-25T00:00:00.000+05:30");
}

#[test]
fn calls_that_are_up_count_until_now_and_one_that_ends_as_another_begins_makes_no_two() {
    let rollcall = Rollcall::up(&[]);
    let begun = now() - 50 * 60_000;
    let at = |n: u32, status: &str, minutes: i64| {
        event(n, status).replace('}', &format!(",\"at\":{}}}", begun + minutes * 60_000))
    };
    let events = [
        at(1, "in-progress", 0),
        at(2, "trying", 1),
        at(2, "completed", 10),
        at(3, "trying", 10),
        at(3, "no-answer", 20),
        at(4, "busy", 15),
    ];
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let all = stats(&rollcall, A1, "group=status").json();
    let figures = |calls, answered, peak| json!({"calls": calls, "answered": answered, "seconds": 0, "peak": peak});
    let mut wanted = figures(4, 2, 2);
    wanted["groups"] = ["busy", "completed", "in-progress", "no-answer"]
        .into_iter()
        .map(|status| {
            let answered = u64::from(status == "completed" || status == "in-progress");
            let mut group = figures(1, answered, u64::from(status != "busy"));
            group["status"] = status.into();
            group
        })
        .collect();
    assert_eq!(all, wanted);
    // The first is still up, though it began long before the time that is asked for.
    let start = super::time(begun + 45 * 60_000);
    let late = stats(&rollcall, A1, &format!("interval=hour&start={start}")).json();
    assert_eq!((&late["calls"], &late["peak"]), (&json!(0), &json!(1)), "{late}");
    let buckets = late["buckets"].as_array().unwrap();
    assert!(buckets.iter().all(|bucket| bucket["peak"] == 1), "{late}");
    assert_eq!(rollcall.post_events(&at(1, "completed", 40)).status, 204);
    let over = stats(&rollcall, A1, &format!("interval=hour&start={start}")).json();
    assert_eq!((&over["peak"], &over["buckets"]), (&json!(0), &json!([])), "{over}");
    // A deleted call leaves them.
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(2));
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    let left = stats(&rollcall, A1, "interval=day").json();
    assert_eq!((&left["calls"], &left["seconds"]), (&json!(3), &json!(2400)), "{left}");
}
