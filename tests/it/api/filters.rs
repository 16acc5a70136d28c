//! Lists: order, filters, times, and what is refused.

use super::super::harness::{A1, Rollcall};
use super::samples::{STATUSES, Sample, newest_first, samples, server_with};
use super::{api_error, list, sids};

#[test]
fn a_list_is_newest_first_and_asc_is_its_exact_reverse() {
    let calls = samples(60);
    let rollcall = server_with(&calls);
    let mut whole = newest_first(&calls, |_| true);
    assert_eq!(sids(&list(&rollcall, "")), whole);
    assert_eq!(sids(&list(&rollcall, "order=desc")), whole);
    whole.reverse();
    assert_eq!(sids(&list(&rollcall, "order=asc")), whole);
}

/// Whether a call is in the answer.
type Wanted = fn(&Sample) -> bool;

#[test]
fn filters_are_exact_and_anded_and_the_values_of_one_are_ored() {
    let calls = samples(120);
    let rollcall = server_with(&calls);
    let cases: [(&str, Wanted); 27] = [
        ("callStatus=busy", |c| c.status == "busy"),
        ("call_status=busy", |c| c.status == "busy"),
        ("callStatus=ringing,in-progress", |c| matches!(c.status, "ringing" | "in-progress")),
        ("callStatus=busy&callStatus=queued", |c| matches!(c.status, "busy" | "queued")),
        ("callStatus=busy&call_status=failed", |c| matches!(c.status, "busy" | "failed")),
        ("callStatus=busy,busy&callStatus=busy", |c| c.status == "busy"),
        ("callStatus[]=busy&callStatus[]=failed", |c| matches!(c.status, "busy" | "failed")),
        ("callStatus%5B%5D=busy", |c| c.status == "busy"),
        ("callStatus=alerting", |c| c.status == "alerting"),
        ("callStatus=early%2Dmedia", |c| c.status == "early-media"),
        ("direction=inbound", |c| c.direction == "inbound"),
        ("direction[]=outbound", |c| c.direction == "outbound"),
        ("direction=inbound,outbound", |_| true),
        ("direction=inbound&direction=inbound", |c| c.direction == "inbound"),
        ("from=%2B15551230001", |c| c.from == "+15551230001"),
        ("from=15551230001", |c| c.from == "15551230001"),
        ("from=bob,15551230001", |c| matches!(c.from, "bob" | "15551230001")),
        ("from[]=bob&from=%2B15551230001", |c| matches!(c.from, "bob" | "+15551230001")),
        ("from=anna,bea", |c| c.from == "anna,bea"),
        ("from=BOB", |_| false),
        ("from=15551230", |_| false),
        ("to=*", |_| false),
        ("to=sip:carol@example.org;transport=tcp", |c| c.to.starts_with("sip:carol")),
        ("to=%2B18005550100&from=bob", |c| c.to == "+18005550100" && c.from == "bob"),
        ("direction=outbound&callStatus=busy,failed&from=bob", |c| {
            c.direction == "outbound" && matches!(c.status, "busy" | "failed") && c.from == "bob"
        }),
        ("callStatus=&direction=&from=&to=&start=&end=&limit=&cursor=&order=", |_| true),
        ("foo=bar&page=2&count=3&page_size=4&access_token=nobody", |_| true),
    ];
    let mut matched = 0;
    for (query, wanted) in cases {
        let mut expected = newest_first(&calls, wanted);
        matched += expected.len();
        assert_eq!(sids(&list(&rollcall, query)), expected, "{query}");
        expected.reverse();
        let asc = format!("order=asc&{}", query.replace("order=", "x="));
        assert_eq!(sids(&list(&rollcall, &asc)), expected, "{asc}");
    }
    assert!(matched > 300, "the cases matched {matched} calls in all");
}

#[test]
fn every_status_can_be_asked_for() {
    let calls = samples(40);
    let rollcall = server_with(&calls);
    for status in STATUSES {
        let expected = newest_first(&calls, |call| call.status == status);
        assert_eq!(expected.len(), 4);
        assert_eq!(sids(&list(&rollcall, &format!("callStatus={status}"))), expected);
    }
}

#[test]
fn an_unencoded_plus_before_a_number_is_a_plus() {
    let calls = samples(40);
    let rollcall = server_with(&calls);
    let plus = newest_first(&calls, |call| call.from == "+15551230001");
    assert!(!plus.is_empty());
    for query in ["from=+15551230001", "from=%2B15551230001", "from=%2b15551230001,nobody"] {
        assert_eq!(sids(&list(&rollcall, query)), plus, "{query}");
    }
    let to = newest_first(&calls, |call| call.to == "+18005550100");
    assert_eq!(sids(&list(&rollcall, "to=+18005550100")), to);
    // Before anything else it is the space that it has become.
    assert!(sids(&list(&rollcall, "from=+bob")).is_empty());
}

#[test]
fn what_is_not_understood_is_refused_with_parameter_value_and_what_is_allowed() {
    let rollcall = Rollcall::up(&[]);
    let statuses = STATUSES.join(", ");
    let cases = [
        ("callStatus=bogus", vec!["callStatus", "\"bogus\"", &statuses]),
        ("call_status=bogus", vec!["call_status", "\"bogus\"", &statuses]),
        ("callStatus=busy,Busy", vec!["callStatus", "\"Busy\"", &statuses]),
        ("callStatus=busy&callStatus=x", vec!["callStatus", "\"x\""]),
        ("direction=Inbound", vec!["direction", "\"Inbound\"", "inbound, outbound"]),
        ("direction[]=both", vec!["direction", "\"both\""]),
        ("order=newest", vec!["order", "\"newest\"", "asc", "desc"]),
        ("limit=0", vec!["limit", "\"0\"", "1 to 10000"]),
        ("limit=10001", vec!["limit", "\"10001\"", "1 to 10000"]),
        ("limit=-1", vec!["limit", "\"-1\""]),
        ("limit=1.5", vec!["limit", "\"1.5\""]),
        ("limit=ten", vec!["limit", "\"ten\""]),
        ("limit=99999999999999999999999", vec!["limit"]),
        ("start=yesterday", vec!["start", "\"yesterday\"", "2026-01-31"]),
        ("end=2026-02-30", vec!["end", "\"2026-02-30\""]),
        ("end=2026-01-01T25:00:00Z", vec!["end"]),
        ("start=1700000000", vec!["start", "\"1700000000\""]),
        ("start=2026-01-01T00:00:00", vec!["start"]),
        ("cursor=junk", vec!["cursor", "\"junk\""]),
    ];
    for (query, words) in cases {
        let msg = api_error(&list(&rollcall, query), 400);
        for word in words {
            assert!(msg.contains(word), "{query}: {msg}");
        }
    }
    let many = vec!["bob"; 101].join(",");
    assert!(api_error(&list(&rollcall, &format!("from={many}")), 400).contains("from"));
}

#[test]
fn the_limits_of_limit_are_both_allowed() {
    let calls = samples(12);
    let rollcall = server_with(&calls);
    let whole = newest_first(&calls, |_| true);
    assert_eq!(sids(&list(&rollcall, "limit=1")), whole[..1]);
    assert_eq!(sids(&list(&rollcall, "limit=10000")), whole);
}

/// Events of ended calls that were listed at these times.
fn listed_at(rollcall: &Rollcall, times: &[&str]) {
    let event = |(n, at): (usize, &&str)| {
        format!(
            "{{\"account_sid\":\"{A1}\",\"call_sid\":\"c0000000-0000-4000-8000-{n:012}\",\
             \"direction\":\"inbound\",\"call_status\":\"completed\",\"at\":\"{at}\"}}"
        )
    };
    let events: Vec<_> = times.iter().enumerate().map(event).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
}

#[test]
fn start_and_end_are_half_open_on_the_time_of_listing() {
    let rollcall = Rollcall::up(&[]);
    let times = [
        "2026-01-30T23:59:59.999Z",
        "2026-01-31T00:00:00.000Z",
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00.001Z",
        "2026-01-31T23:59:59.999Z",
        "2026-02-01T00:00:00.000Z",
    ];
    listed_at(&rollcall, &times);
    let found = |query: &str| {
        let calls = list(&rollcall, &format!("order=asc&{query}")).json();
        let calls = calls.as_array().unwrap().clone();
        let times = calls.iter().map(|call| call["attempted_at"].as_str().unwrap().to_owned());
        times.collect::<Vec<_>>()
    };
    assert_eq!(found(""), times);
    assert_eq!(found("start=2026-01-31"), times[1..]);
    assert_eq!(found("end=2026-01-31"), times[..1]);
    assert_eq!(found("start=2026-01-31&end=2026-02-01"), times[1..5]);
    assert_eq!(found("start=2026-01-31T12:00:00Z&end=2026-01-31T12:00:00.001Z"), times[2..3]);
    assert_eq!(found("start=2026-01-31T14:00:00.001%2B02:00&end=2026-02-01"), times[3..5]);
    assert_eq!(found("start=2026-01-31T14:00:00+02:00&end=2026-02-01"), times[2..5]);
    assert_eq!(found("start=2026-01-31T12:00:00Z&end=2026-01-31T12:00:00Z"), times[..0]);
    assert_eq!(found("start=2026-02-02&end=2026-01-01"), times[..0]);
    assert_eq!(found("start=2026-02-01&direction=inbound&callStatus=completed"), times[5..]);
    assert_eq!(found("end=2026-01-31&from="), times[..1]);
    assert_eq!(found("start=1970-01-01&end=9999-12-30"), times);
}
