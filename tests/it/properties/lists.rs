//! Lists: pages together are the whole, whatever comes and goes meanwhile, and a count is the
//! number of rows.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::harness::Rollcall;
use super::{Account, Operation, calls, cases, event, operations, query, restless, sid};

/// Calls from this number on come and go while the others stay as they are.
const OTHERS: u32 = 40;

fn other(operation: &Operation) -> Operation {
    match operation {
        Operation::Delete(call) => Operation::Delete(call + OTHERS),
        Operation::Event(event) => {
            let mut event = event.clone();
            event.call += OTHERS;
            Operation::Event(event)
        }
    }
}

/// Follows the Link headers, and does something between the pages.
fn walk(
    rollcall: &Rollcall,
    account: &Account,
    query: &str,
    limit: usize,
    mut between: impl FnMut(),
) -> Vec<String> {
    let mut found = Vec::new();
    let mut path = account.path(&format!("/Calls?{query}&limit={limit}"));
    loop {
        let answer = rollcall.get(&rollcall.admin(), &path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let page = calls(&answer);
        assert!(page.len() <= limit, "{path}");
        found.extend(page.iter().map(sid));
        let Some(link) = answer.header("link") else { return found };
        link.strip_prefix('<').unwrap().split_once('>').unwrap().0.clone_into(&mut path);
        between();
    }
}

#[test]
fn pages_are_the_whole_list_while_other_calls_come_and_go() {
    let rollcall = restless();
    let traffic = proptest::collection::vec(event(OTHERS), 1..60);
    let strategy = (traffic, query(), 1..9_usize, operations(OTHERS, 40));
    let law =
        |(events, query, limit, churn): (Vec<super::Event>, String, usize, Vec<Operation>)| {
            let account = Account::new("one");
            let bodies: Vec<_> =
                events.iter().map(|event| account.body(event).to_string()).collect();
            prop_assert_eq!(rollcall.post_events(&bodies.join("\n")).status, 204);
            let whole: Vec<_> = calls(&account.list(&rollcall, &query)).iter().map(sid).collect();
            let mut churn = churn.iter();
            let found = walk(&rollcall, &account, &query, limit, || {
                for operation in churn.by_ref().take(3) {
                    account.act(&rollcall, &other(operation));
                }
            });
            let once: HashSet<_> = found.iter().collect();
            prop_assert_eq!(once.len(), found.len(), "a call twice: {:?}", found);
            let stays: HashSet<_> = (0..OTHERS).map(Account::call).collect();
            let found: Vec<_> = found.into_iter().filter(|sid| stays.contains(sid)).collect();
            prop_assert_eq!(found, whole, "{} at a time: {}", limit, query);
            Ok(())
        };
    cases(40).run(&strategy, law).unwrap();
}

#[test]
fn a_count_is_the_number_of_rows_and_a_tag_stands_until_something_changes() {
    let rollcall = restless();
    let bearer = format!("Bearer {}", rollcall.admin());
    let strategy = (operations(OTHERS, 60), query(), 1..5_usize);
    let law = |(traffic, query, limit): (Vec<Operation>, String, usize)| {
        let account = Account::new("one");
        for operation in &traffic {
            account.act(&rollcall, operation);
        }
        let whole = account.list(&rollcall, &format!("{query}&count=true"));
        let rows = calls(&whole).len();
        prop_assert_eq!(whole.header("x-total-count"), Some(&*rows.to_string()), "{}", query);
        let page = account.list(&rollcall, &format!("{query}&count=true&limit={limit}"));
        prop_assert_eq!(page.header("x-total-count"), Some(&*rows.to_string()), "{}", query);
        let tag = whole.header("etag").unwrap();
        let path = account.path(&format!("/Calls?{query}"));
        let headers = [("authorization", bearer.as_str()), ("if-none-match", tag)];
        let again = rollcall.send("GET", &path, &headers, b"").unwrap();
        prop_assert_eq!(again.status, 304);
        let stats = rollcall.get(&rollcall.admin(), &account.path("/CallStats")).json();
        let all = calls(&account.list(&rollcall, ""));
        prop_assert_eq!(&stats["total"], all.len());
        for direction in ["inbound", "outbound"] {
            let count = all.iter().filter(|call| call["direction"] == direction).count();
            prop_assert_eq!(&stats[direction]["total"], count);
        }
        let before = serde_json::json!(all);
        prop_assume!(account.act(&rollcall, &traffic[0]) == 204);
        let after = serde_json::json!(calls(&account.list(&rollcall, "")));
        let again = rollcall.send("GET", &path, &headers, b"").unwrap();
        // What changes a call that is shown changes the tag.
        prop_assert!(before == after || again.status == 200);
        Ok(())
    };
    cases(40).run(&strategy, law).unwrap();
}
