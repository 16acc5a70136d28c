//! The list of a service provider, and that of all accounts, are the lists of the accounts, merged; whatever comes and
//! goes meanwhile.

use std::collections::{BTreeMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::super::harness::{Answer, Rollcall};
use super::{Account, Event, Operation, calls, cases, event, operations, query, restless, sid};

/// Calls from this number on come and go while the others stay as they are.
const OTHERS: u32 = 30;

/// The same with the calls that come and go.
fn other(operation: &Operation) -> Operation {
    match operation {
        Operation::Delete(call) => Operation::Delete(call + OTHERS),
        Operation::Event(event) => {
            Operation::Event(Event { call: event.call + OTHERS, ..event.clone() })
        }
    }
}

fn id(call: &Value) -> (String, String) {
    (sid(call), call["account_sid"].as_str().unwrap().to_owned())
}

/// Follows the links, and does something between the pages.
fn walk(rollcall: &Rollcall, token: &str, path: &str, mut between: impl FnMut()) -> Vec<Value> {
    let (mut found, mut path) = (Vec::new(), path.to_owned());
    loop {
        let answer = rollcall.get(token, &path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        found.extend(calls(&answer));
        let Some(link) = answer.header("link") else { return found };
        link.strip_prefix('<').unwrap().split_once('>').unwrap().0.clone_into(&mut path);
        between();
    }
}

/// What is asked of a service provider.
type Asked = (Vec<Vec<Event>>, Vec<Event>, String, usize, Vec<Operation>);

#[test]
fn the_list_of_a_service_provider_is_the_merge_of_its_accounts_and_shows_no_other() {
    let rollcall = restless();
    let admin = rollcall.admin();
    let compared = std::cell::Cell::new(0);
    let strategy = (
        vec(vec(event(OTHERS), 0..30), 1..4),
        vec(event(OTHERS), 1..10),
        query(),
        1..9_usize,
        operations(OTHERS, 30),
    );
    let law = |(mut traffic, of_outsider, query, limit, churn): Asked| {
        // Few times, so that calls of one sid and one time are common.
        for event in traffic.iter_mut().flatten() {
            event.at = event.at / 300_000 * 300_000;
        }
        let provider = Account::new("provider");
        let outsider = provider.beside("outsider");
        let accounts: Vec<_> = traffic.iter().map(|_| provider.beside("own")).collect();
        // When each call was listed, since it was heard of first.
        let mut listed: BTreeMap<(String, String), i64> = BTreeMap::new();
        let mut bodies = Vec::new();
        for (account, events) in accounts.iter().zip(&traffic) {
            let set = ["account", "set", &account.sid, "--service-provider", &provider.sid];
            rollcall.ok(&set);
            for event in events {
                let id = (Account::call(event.call), account.sid.clone());
                listed.entry(id).or_insert(event.at);
                bodies.push(account.body(event).to_string());
            }
        }
        bodies.extend(of_outsider.iter().map(|event| outsider.body(event).to_string()));
        prop_assert_eq!(rollcall.post_events(&bodies.join("\n")).status, 204);
        let token = rollcall.token(&["--service-provider", &provider.sid]);
        let path = |rest: &str| format!("/v1/ServiceProviders/{}/{rest}", provider.sid);
        let shows = |answer: &Answer| {
            let all = format!("{:?}{}", answer.headers, answer.body);
            all.contains(&outsider.sid) || all.contains("outsider")
        };

        let lists = accounts.iter().flat_map(|account| calls(&account.list(&rollcall, &query)));
        let mut expected: Vec<Value> = lists.collect();
        let key = |call: &Value| {
            let (call, account) = id(call);
            (-listed[&(call.clone(), account.clone())], call, account)
        };
        expected.sort_by_key(key);
        if query.contains("order=asc") {
            expected.reverse();
        }
        compared.set(compared.get() + expected.len());
        let whole = rollcall.get(&token, &path(&format!("Calls?{query}&count=true")));
        prop_assert_eq!(&calls(&whole), &expected, "{}", query);
        let total = expected.len().to_string();
        prop_assert_eq!(whole.header("x-total-count"), Some(&*total));
        prop_assert!(!shows(&whole), "{:?}", whole);
        for rest in ["CallCount", "CallStats", "CallStats?group=from,to,trunk&interval=hour"] {
            let answer = rollcall.get(&token, &path(rest));
            prop_assert!(answer.status == 200 && !shows(&answer), "{:?}", answer);
        }
        // All accounts of the server, which has those of other cases.
        let of_all = calls(&rollcall.get(&admin, &format!("/v1/Calls?{query}")));
        let is_own = |call: &Value| accounts.iter().any(|one| call["account_sid"] == one.sid);
        let of_all: Vec<Value> = of_all.into_iter().filter(is_own).collect();
        prop_assert_eq!(&of_all, &expected, "{}", query);

        let mut churn = churn.iter();
        let mut turn = 0;
        let pages = path(&format!("Calls?{query}&limit={limit}"));
        let found = walk(&rollcall, &token, &pages, || {
            for operation in churn.by_ref().take(3) {
                turn += 1;
                let by = [&accounts[..], std::slice::from_ref(&outsider)].concat();
                by[turn % by.len()].act(&rollcall, &other(operation));
            }
        });
        let ids: Vec<_> = found.iter().map(id).collect();
        let once: HashSet<_> = ids.iter().collect();
        prop_assert_eq!(once.len(), ids.len(), "a call twice: {:?}", ids);
        prop_assert!(ids.iter().all(|(_, account)| *account != outsider.sid));
        let stays: HashSet<_> = (0..OTHERS).map(Account::call).collect();
        let found: Vec<_> = found.into_iter().filter(|call| stays.contains(&sid(call))).collect();
        prop_assert_eq!(found, expected, "{} at a time: {}", limit, query);
        Ok(())
    };
    cases(25).run(&strategy, law).unwrap();
    // It would be easy to be right about nothing.
    assert!(compared.get() > 150, "{} calls were compared", compared.get());
}
