//! The change feed: a client that applies it knows what the store knows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::super::api::changes::Events;
use super::super::harness::Rollcall;
use super::{Account, Operation, calls, cases, operations, restless, sid};

type Calls = BTreeMap<String, Value>;

fn apply(known: &mut Calls, line: &Value) {
    match line["type"].as_str().unwrap() {
        "call" => drop(known.insert(sid(&line["call"]), line["call"].clone())),
        "deleted" => drop(known.remove(&sid(&line["call"]))),
        "snapshot_end" | "end" => {}
        other => panic!("{other}"),
    }
}

/// Reads on from a position, so many lines at a time, and returns the last position.
fn read(rollcall: &Rollcall, path: &str, from: Option<String>, known: &mut Calls) -> String {
    let after = from.map(|position| format!("&after={position}")).unwrap_or_default();
    let answer = rollcall.get(&rollcall.admin(), &format!("{path}{after}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut position = String::new();
    for line in lines {
        apply(known, &line);
        line["position"].as_str().unwrap().clone_into(&mut position);
    }
    position
}

#[test]
fn the_feed_from_the_start_is_the_store_wherever_it_is_interrupted() {
    let rollcall = restless();
    let strategy =
        (proptest::collection::vec((operations(20, 12), 1..6_usize), 1..6), operations(20, 12));
    let law = |(rounds, last): (Vec<(Vec<Operation>, usize)>, Vec<Operation>)| {
        let account = Account::new("one");
        let mut known = Calls::new();
        let mut position = None;
        for (traffic, limit) in &rounds {
            for operation in traffic {
                account.act(&rollcall, operation);
            }
            let path = account.path(&format!("/Calls/changes?limit={limit}"));
            position = Some(read(&rollcall, &path, position, &mut known)).filter(|p| !p.is_empty());
        }
        for operation in &last {
            account.act(&rollcall, operation);
        }
        read(&rollcall, &account.path("/Calls/changes?"), position, &mut known);
        let listed = calls(&account.list(&rollcall, ""));
        let listed: Calls = listed.into_iter().map(|call| (sid(&call), call)).collect();
        prop_assert_eq!(&known, &listed);
        let mut afresh = Calls::new();
        read(&rollcall, &account.path("/Calls/changes?"), None, &mut afresh);
        prop_assert_eq!(&afresh, &listed);
        Ok(())
    };
    cases(30).run(&strategy, law).unwrap();
}

#[test]
fn the_feed_of_all_accounts_is_every_store() {
    let rollcall = restless();
    let accounts = [Account::new("one"), Account::new("two"), Account::new("three")];
    let mut known: BTreeMap<String, Calls> = BTreeMap::new();
    let mut position: Option<String> = None;
    let strategy = proptest::collection::vec((0..3_usize, operations(10, 8)), 1..5);
    let mut runner = cases(15);
    for _ in 0..runner.config().cases {
        let traffic = strategy.new_tree(&mut runner).unwrap();
        for (account, operations) in proptest::strategy::ValueTree::current(&traffic) {
            for operation in &operations {
                accounts[account].act(&rollcall, operation);
            }
        }
        let after = position.take().map(|at| format!("?after={at}")).unwrap_or_default();
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Calls/changes{after}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        for line in answer.body.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(account) = line["call"]["account_sid"].as_str() {
                apply(known.entry(account.to_owned()).or_default(), &line);
            }
            position = line["position"].as_str().map(ToOwned::to_owned);
        }
        for account in &accounts {
            let listed = calls(&account.list(&rollcall, ""));
            let listed: Calls = listed.into_iter().map(|call| (sid(&call), call)).collect();
            assert_eq!(known.entry(account.sid.clone()).or_default(), &listed);
        }
    }
}

#[test]
fn a_event_stream_of_busy_accounts_ends_with_what_the_store_knows() {
    let rollcall = restless();
    let admin = rollcall.admin();
    let strategy = (operations(12, 40), operations(12, 40));
    let law = |(first, second): (Vec<Operation>, Vec<Operation>)| {
        let (one, two) = (Account::new("one"), Account::new("two"));
        let events = Events::open(&rollcall, &admin, &one.path("/Calls/changes"), &[]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for operation in &second {
                    two.act(&rollcall, operation);
                }
            });
            for operation in &first {
                one.act(&rollcall, operation);
            }
        });
        let listed = calls(&one.list(&rollcall, ""));
        let listed: Calls = listed.into_iter().map(|call| (sid(&call), call)).collect();
        let mut known = Calls::new();
        let mut begun = false;
        while !begun || known != listed {
            // Fails when nothing comes in time.
            let event = events.next();
            begun |= event["type"] == "snapshot_end";
            apply(&mut known, &event);
        }
        Ok(())
    };
    cases(20).run(&strategy, law).unwrap();
}
