//! `rollcall serve --demo`: seven days of calls, and new ones that come and go.

use serde_json::{Value, json};

use super::super::api::sids;
use super::super::harness::{Rollcall, event, until};
use super::ask_to_sign_in;

const ACCOUNT: &str = "d0000000-0000-4000-8000-000000000001";

fn calls(rollcall: &Rollcall, query: &str) -> Vec<Value> {
    let path = format!("/v1/Accounts/{ACCOUNT}/Calls?{query}");
    let answer = rollcall.get(&rollcall.admin(), &path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

#[test]
fn a_demo_has_seven_days_of_calls_that_say_that_they_are_samples() {
    let rollcall = Rollcall::up(&["--demo"]);
    let all = calls(&rollcall, "");
    assert!(all.len() > 2000, "{}", all.len());
    assert!(all.iter().all(|call| call["customer_data"] == json!({"sample": true})));
    let parents: Vec<_> = all.iter().filter_map(|call| call.get("parent_call_sid")).collect();
    assert!(parents.len() > 200, "{}", parents.len());
    assert!(all.iter().any(|call| call["call_sid"] == *parents[0]));
    let distinct = |name: &str| {
        let values = all.iter().filter_map(|call| call.get(name)).map(ToString::to_string);
        values.collect::<std::collections::BTreeSet<_>>().len()
    };
    for (name, least) in [
        ("from", 20),
        ("to", 20),
        ("originating_sip_trunk_name", 3),
        ("application_sid", 3),
        ("call_status", 10),
        ("sip_status", 8),
        ("sip_reason", 4),
    ] {
        assert!(distinct(name) >= least, "{name}: {}", distinct(name));
    }
    let path = format!("/v1/Accounts/{ACCOUNT}/CallStats?interval=day");
    let stats = rollcall.get(&rollcall.admin(), &path).json();
    let days: Vec<u64> = stats["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| day["calls"].as_u64().unwrap())
        .collect();
    assert!((7..=8).contains(&days.len()), "{days:?}");
}

#[test]
fn sample_calls_come_and_go_while_the_server_runs_and_the_last_line_leads_to_them() {
    let mut rollcall = Rollcall::up(&["--demo"]);
    let log = until("the link", || {
        let log = rollcall.log();
        log.contains("#code=").then_some(log)
    });
    let url = log.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap().to_owned();
    assert!(url.starts_with(&rollcall.url("/console/sign-in#code=")), "{url}");
    let code = url.split_once("#code=").unwrap().1;
    let answer = ask_to_sign_in(&rollcall, &json!({ "code": code }));
    assert_eq!((answer.status, &answer.json()["demo"]), (200, &json!(true)), "{answer:?}");
    let begun = calls(&rollcall, "");
    let known: std::collections::BTreeSet<String> =
        begun.iter().map(|call| call["call_sid"].as_str().unwrap().to_owned()).collect();
    let active = "callStatus=trying,ringing,alerting,early-media,in-progress,queued";
    let earlier = sids(&rollcall.get(&rollcall.admin(), &format!("/v1/Calls?{active}")));
    assert!(!earlier.is_empty());
    let is_new = |call: &&Value| !known.contains(call["call_sid"].as_str().unwrap());
    until("a new call", || calls(&rollcall, "limit=20").iter().find(is_new).cloned());
    until("an end of a call that was active", || {
        let now = sids(&rollcall.get(&rollcall.admin(), &format!("/v1/Calls?{active}")));
        earlier.iter().any(|sid| !now.contains(sid)).then_some(())
    });
    // The same again: no history once more.
    assert_eq!(rollcall.stop(), Some(0));
    let before = rollcall.ok(&["export"]).lines().count();
    rollcall.start();
    assert!(rollcall.log().contains("the sample calls are there already"), "{}", rollcall.log());
    assert!(calls(&rollcall, "").len() < before + 50);
    // Without the flag nothing comes.
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&[]);
    rollcall.start();
    let again = rollcall.get(&rollcall.admin(), "/console/api/session");
    assert_eq!(again.status, 401);
}

#[test]
fn samples_never_come_where_the_store_was_not_made_for_them() {
    for prepare in [false, true] {
        let mut rollcall = Rollcall::up(&[]);
        if prepare {
            assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
        }
        assert_eq!(rollcall.stop(), Some(0));
        rollcall.set_args(&["--demo"]);
        rollcall.start();
        assert!(rollcall.log().contains("no sample calls were added"), "{}", rollcall.log());
        for of_samples in ["newest sample calls", "#code="] {
            assert!(!rollcall.log().contains(of_samples), "{}", rollcall.log());
        }
        let session = ask_to_sign_in(&rollcall, &json!({ "token": rollcall.admin() })).json();
        assert_eq!(session["demo"], false);
        assert_eq!(rollcall.ok(&["export"]).lines().count(), usize::from(prepare));
    }
}
