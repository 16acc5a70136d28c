//! Random calls and questions, while other calls come and go.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::api::samples::now;
use super::super::harness::Rollcall;
use super::super::properties::{Account, calls, cases, restless};
use super::{ENDS, PARTIES, Question, events, expected, is_meant, query, sids};

/// Calls from this number on come and go while the others stay as they are.
const OTHERS: u32 = 60;

fn one() -> impl Strategy<Value = (&'static str, String)> {
    let parts = [
        "555",
        "+1 (555) 123",
        "0015",
        "4930",
        "30-12,bob",
        "ALICE",
        "smith",
        "üll",
        "007",
        "nobody",
    ];
    let ids = ["cid-1@10.0.0.9", "cid-2@10.0.0.9,cid-3@10.0.0.9", "sbc-1", "sbc-2,sbc-1", "cid"];
    let sid = "c0000000-0000-4000-8000-000000000000";
    let typed = [&parts[..4], &parts[5..], &ids[..1], &ids[2..3], &[sid]].concat();
    let word = |names: &'static [&'static str], values: Vec<&'static str>| {
        (select(names), select(values)).prop_map(|(name, value)| (name, value.to_owned()))
    };
    let applications = vec!["7087fe50-8acb-4f3b-b820-97b573723aab", "x"];
    prop_oneof![
        4 => word(&["from_contains", "to_contains", "number_contains"], parts.to_vec()),
        2 => word(&["number"], PARTIES[..15].to_vec()),
        2 => word(&["number"], vec!["bob,+15551230001", "anna,bea", "+4930123456,15551234"]),
        2 => word(&["call_id", "sbc_callid"], ids.to_vec()),
        1 => word(&["trace_id"], vec!["00000000000000000000000000000003", "0"]),
        1 => word(&["application_sid"], applications),
        1 => word(&["trunk"], vec!["BT", "Twilio,BT", "my trunk, \"x\" & <b>", "nobody"]),
        1 => word(&["termination"], vec!["caller", "callee", "caller,callee"]),
        2 => word(&["sip_status"], vec!["200", "4xx", "486,5xx", "1xx,603"]),
        2 => word(&["answered"], vec!["true", "false"]),
        1 => word(&["duration_min"], vec!["0", "7", "8"]),
        1 => word(&["duration_max"], vec!["45", "60", "8"]),
        3 => word(&["q"], typed),
        1 => word(&["callStatus"], vec!["completed", "busy,failed"]),
        1 => word(&["direction"], vec!["inbound", "outbound"]),
        1 => word(&["from", "to"], PARTIES[..15].to_vec()),
        1 => word(&["from_prefix", "to_prefix"], vec!["+1", "sip:", "00"]),
    ]
}

/// One to three parts, each name once.
fn question() -> impl Strategy<Value = Question> {
    vec(one(), 1..4).prop_map(|mut question| {
        question.sort();
        question.dedup_by_key(|(name, _)| *name);
        question
    })
}

fn post(rollcall: &Rollcall, account: &Account, begun: i64, numbered: &[(u32, usize)]) {
    let lines: Vec<String> = numbered
        .iter()
        .flat_map(|(n, seed)| {
            events(&account.sid, *n, *seed, begun + i64::from(n % OTHERS / 2) * 1000)
        })
        .map(|event| event.to_string())
        .collect();
    assert_eq!(rollcall.post_events(&lines.join("\n")).status, 204);
}

/// Follows the Link headers, and does something between the pages.
fn walk(
    rollcall: &Rollcall,
    first: String,
    limit: usize,
    mut between: impl FnMut(),
) -> Vec<String> {
    let (mut found, mut path) = (Vec::new(), first);
    loop {
        let answer = rollcall.get(&rollcall.admin(), &path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let page = sids(&calls(&answer));
        let link =
            answer.header("link").map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        assert!(if link.is_some() { page.len() == limit } else { page.len() <= limit }, "{path}");
        found.extend(page);
        let Some(next) = link else { return found };
        path = next;
        between();
    }
}

#[test]
fn a_search_is_a_scan_of_all_calls_page_by_page_while_others_come_and_go() {
    let rollcall = restless();
    let seeds = || vec(0..100_000_usize, 1..usize::try_from(OTHERS).unwrap());
    let strategy = (seeds(), vec(question(), 4), seeds(), 1..7_usize);
    let found_in_all = std::cell::Cell::new(0);
    let law =
        |(seeds, questions, others, limit): (Vec<usize>, Vec<Question>, Vec<usize>, usize)| {
            let account = Account::new("search");
            let begun = now() - 20 * 60_000;
            let numbered: Vec<_> = (0..).zip(seeds).collect();
            post(&rollcall, &account, begun, &numbered);
            let all = calls(&account.list(&rollcall, ""));
            prop_assert_eq!(all.len(), numbered.len());
            let stays: HashSet<_> = sids(&all).into_iter().collect();
            for question in questions {
                let (query, mut expected) = (query(&question), expected(&all, &question));
                found_in_all.set(found_in_all.get() + expected.len());
                let mut churn = (OTHERS..).zip(others.iter().copied());
                let path = account.path(&format!("/Calls?{query}&order=asc&limit={limit}"));
                let walked = walk(&rollcall, path, limit, || {
                    if let Some(call) = churn.next() {
                        post(&rollcall, &account, begun, &[call]);
                    }
                });
                expected.reverse();
                let once: HashSet<_> = walked.iter().collect();
                prop_assert_eq!(once.len(), walked.len(), "a call twice: {:?}", walked);
                let stayed: Vec<_> = walked.into_iter().filter(|sid| stays.contains(sid)).collect();
                prop_assert_eq!(&stayed, &expected, "{} at a time: {}", limit, query);
                // Those that came meanwhile are found, too, and counted.
                let whole = account.list(&rollcall, &format!("{query}&count=true"));
                let now = calls(&account.list(&rollcall, ""));
                let meant: Vec<_> =
                    now.into_iter().filter(|call| is_meant(call, &question)).collect();
                prop_assert_eq!(sids(&calls(&whole)), sids(&meant), "{}", query);
                let count = meant.len().to_string();
                prop_assert_eq!(whole.header("x-total-count"), Some(&*count), "{}", query);
            }
            Ok(())
        };
    cases(30).run(&strategy, law).unwrap();
    // It would be easy to be right about nothing.
    assert!(found_in_all.get() > 100, "{} were found", found_in_all.get());
    assert_eq!(ENDS.len(), 10);
}
