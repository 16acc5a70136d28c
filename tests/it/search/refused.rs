//! What is no search is refused, with the parameter, the value and what is right.

use super::super::api::{api_error, list, sids};
use super::super::harness::Rollcall;
use super::server;

const PART: &str = "expected at least 3 digits or letters of a number or SIP user";

#[test]
fn junk_is_refused_by_the_api_and_by_the_command_line() {
    let rollcall = Rollcall::up(&[]);
    let status = "expected a SIP status, 100 to 699, or a class of them, 1xx to 6xx";
    for (name, value, shown, says) in [
        ("from_contains", "12", "12", PART),
        ("to_contains", "+1 (5", "+1 (5", PART),
        ("number_contains", "555,a-b", "a-b", PART),
        ("number_contains", "@host.example.org", "@host.example.org", PART),
        ("number_contains", ",", ",", "expected values between the commas"),
        ("number", ",,", ",,", "expected values between the commas"),
        ("trunk", ",", ",", "expected values between the commas"),
        ("call_id", ",", ",", "expected values between the commas"),
        ("sip_status", "48x", "48x", status),
        ("sip_status", "486,7xx", "7xx", status),
        ("sip_status", "99", "99", status),
        ("answered", "maybe", "maybe", "true"),
        ("duration_min", "1m", "1m", "expected whole seconds"),
        ("duration_max", "-5", "-5", "expected whole seconds"),
        ("q", "ab", "ab", "expected at least 3 characters"),
    ] {
        let query = super::query(&vec![(name, value.to_owned())]);
        let msg = api_error(&list(&rollcall, &query), 400);
        assert!(msg.starts_with(&format!("{name} \"{shown}\": ")), "{query}: {msg}");
        assert!(msg.contains(says), "{query}: {msg}");
        let flag = format!("--{}", name.replace('_', "-"));
        for command in ["list", "export"] {
            let refused = rollcall.run(&[command, &format!("{flag}={value}")]);
            assert_eq!(refused.code, Some(2), "{refused:?}");
            let said = &refused.stderr;
            assert!(said.contains(&flag) && said.contains(shown) && said.contains(says), "{said}");
        }
    }
    let msg = api_error(&list(&rollcall, "duration_min=60&duration_max=59"), 400);
    assert_eq!(msg, "duration_min \"60\": expected no more than duration_max, which is 59");
    let refused = rollcall.run(&["list", "--duration-min", "60", "--duration-max", "59"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--duration-min \"60\": expected no more"), "{refused:?}");
    let msg = api_error(&list(&rollcall, "q=alice&q=bobby"), 400);
    assert!(msg.starts_with("q \"bobby\": expected once"), "{msg}");
    let many = vec!["123"; 101].join(",");
    for name in ["number", "to_contains", "trunk", "sip_status", "application_sid"] {
        let msg = api_error(&list(&rollcall, &format!("{name}={many}")), 400);
        assert_eq!(msg, format!("{name}: 101 values, expected at most 100"));
    }
}

#[test]
fn an_empty_value_is_no_filter_and_names_may_have_brackets() {
    let (rollcall, all) = server(40);
    let names = "number=&from_contains=&to_contains=&number_contains=&call_id=&sbc_callid=&trace_id=\
                 &application_sid=&trunk=&termination=&sip_status=&answered=&duration_min=\
                 &duration_max=&q=";
    assert_eq!(sids(&list(&rollcall, names)), super::sids(&all));
    let one = sids(&list(&rollcall, "sip_status[]=486&sip_status[]=4xx"));
    assert_eq!(one, sids(&list(&rollcall, "sip_status=4xx")));
    assert!(!one.is_empty());
    // A `+` that was not encoded has become a space.
    let plus = sids(&list(&rollcall, "number=+15551230001"));
    assert_eq!(plus, sids(&list(&rollcall, "number=%2B15551230001")));
    assert!(!plus.is_empty());
}

#[test]
fn a_cursor_serves_the_search_that_it_was_made_for() {
    let (rollcall, _) = server(120);
    let searches = [
        "number=bob",
        "from_contains=555",
        "to_contains=555",
        "number_contains=555",
        "call_id=cid-2@10.0.0.9",
        "sbc_callid=sbc-1",
        "trace_id=00000000000000000000000000000003",
        "application_sid=7087fe50-8acb-4f3b-b820-97b573723aab",
        "trunk=BT",
        "termination=caller",
        "sip_status=4xx",
        "answered=true",
        "duration_min=1",
        "duration_max=10",
        "q=555",
    ];
    for made_for in searches {
        let page = list(&rollcall, &format!("{made_for}&limit=1"));
        let cursor = page.header("x-next-cursor").unwrap_or_else(|| panic!("{made_for}: {page:?}"));
        for other in searches.iter().chain(&["", "number=bob&answered=true"]) {
            let answer = list(&rollcall, &format!("{other}&limit=1&cursor={cursor}"));
            if *other == made_for {
                assert_eq!(sids(&answer).len(), 1);
            } else {
                let msg = api_error(&answer, 400);
                assert!(msg.contains("not a cursor of this list"), "{made_for}, {other}: {msg}");
            }
        }
    }
    // However the same is written.
    let made_for = "sip_status=4xx,503&from_contains=%2B1 (555)";
    let page = list(&rollcall, &format!("{}&limit=1", made_for.replace(' ', "%20")));
    let cursor = page.header("x-next-cursor").unwrap_or("none");
    let same = format!("from_contains=1555&sip_status=503&sip_status=4XX&cursor={cursor}");
    assert_eq!(list(&rollcall, &same).status, 200, "{page:?}");
}
