//! What is no question is refused, with the parameter, the value and what is right.

use super::super::api::api_error;
use super::super::harness::{A1, A2, Rollcall};
use super::{server_with, stats};

#[test]
fn junk_is_refused() {
    let rollcall = Rollcall::up(&[]);
    let zone = "expected UTC, a name of the IANA database, as Europe/Berlin, or an offset from -18:00 to \
                +18:00, as +05:30";
    for (query, says) in [
        ("interval=week", "interval \"week\": expected minute, hour or day"),
        ("interval=Hour", "interval \"Hour\": expected minute, hour or day"),
        ("interval=hour&interval=day", "interval \"day\": expected once"),
        ("group=trunks", "group \"trunks\": expected some of status, direction, trunk, "),
        ("group=status,caller", "group \"caller\": expected some of status"),
        ("group=,", "group \",\": expected values between the commas"),
        ("group=from&top=0", "top \"0\": expected 1 to 1000"),
        ("group=from&top=1001", "top \"1001\": expected 1 to 1000"),
        ("group=from&top=-1", "top \"-1\": expected 1 to 1000"),
        ("group=from&top=%2B5", "top \"+5\": expected 1 to 1000"),
        ("group=from&top=ten", "top \"ten\": expected 1 to 1000"),
        ("group=from&top=5&top=6", "top \"6\": expected once"),
        ("top=5", "top \"5\": expected beside group"),
        ("interval=day&top=5", "top \"5\": expected beside group"),
        ("interval=day&time_zone=Mars/Olympus", zone),
        ("interval=day&time_zone=%2B19:00", zone),
        ("interval=day&time_zone=%2B5", zone),
        ("group=from&start=yesterday", "start \"yesterday\": expected a time"),
        ("interval=hour&from_contains=12", "from_contains \"12\": expected at least 3"),
        ("interval=hour&duration_min=60&duration_max=59", "duration_min \"60\": expected no more"),
        ("answered=maybe", "answered \"maybe\""),
    ] {
        let msg = api_error(&stats(&rollcall, A1, query), 400);
        assert!(msg.contains(says), "{query}: {msg}");
    }
    for empty in ["interval=&group=&top=", "interval[]=&time_zone="] {
        assert_eq!(stats(&rollcall, A1, empty).json()["total"], 0, "{empty}");
    }
}

#[test]
fn too_many_hours_or_days_are_refused_and_so_many_are_not() {
    let (rollcall, _, _) = server_with(30);
    let years = "start=2020-01-01&end=2026-01-01";
    for (query, says) in [
        (
            format!("interval=hour&{years}"),
            "interval \"hour\": more than 10000 hours; expected a shorter time (start, end), or interval=day",
        ),
        (
            "interval=minute&start=2026-01-01&end=2026-02-01".to_owned(),
            "interval \"minute\": more than 10000 minutes; expected a shorter time (start, end), or interval=hour",
        ),
        (
            "interval=day&start=1980-01-01&end=2026-01-01".to_owned(),
            "interval \"day\": more than 10000 days; expected a shorter time (start, end)",
        ),
        // Where no end is said, it is that of what is found.
        (
            "interval=hour&start=2020-01-01&group=to".to_owned(),
            "interval \"hour\": more than 10000",
        ),
    ] {
        assert_eq!(
            api_error(&stats(&rollcall, A1, &query), 400),
            says.to_owned()
                + if query.contains("group") {
                    " hours; expected a shorter time (start, end), or interval=day"
                } else {
                    ""
                },
            "{query}"
        );
        let head = format!("/v1/Accounts/{A1}/CallStats?{query}");
        let status = rollcall.ask("HEAD", &rollcall.admin(), &head).status;
        assert_eq!(status, if query.contains("group") { 200 } else { 400 }, "{query}");
    }
    // More than one piece of an answer.
    let days = stats(&rollcall, A1, "interval=hour&start=2025-10-01&end=2026-11-20").json();
    let days = days["buckets"].as_array().unwrap().len();
    assert_eq!(days, 415 * 24);
    assert_eq!(stats(&rollcall, A1, &format!("interval=day&{years}")).status, 200);
}

#[test]
fn nobody_sees_the_figures_of_another_account() {
    let (rollcall, _, _) = server_with(30);
    let other = rollcall.token(&["--account", A2]);
    for query in ["interval=day", "group=from,to", "number=bob"] {
        let path = format!("/v1/Accounts/{A1}/CallStats?{query}");
        api_error(&rollcall.get(&other, &path), 403);
        api_error(&rollcall.get("nobody", &path), 401);
        let own = rollcall.get(&other, &path.replace(A1, A2)).json();
        assert_eq!(own.get("calls").unwrap_or(&own["total"]), 0, "{own}");
        assert!(!own.to_string().contains("bob"), "{own}");
    }
}
