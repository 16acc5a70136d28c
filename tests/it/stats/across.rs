//! The figures of several accounts together, against a plain count of all of their calls.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::properties::{Account, cases};
use super::laws::asked;
use super::{Asked, Made, check, make, send, server};

#[test]
fn figures_of_a_service_provider_are_those_of_all_calls_of_its_accounts() {
    let rollcall = server();
    let (admin, counted) = (rollcall.admin(), std::cell::Cell::new(0));
    let strategy = (vec(vec(any::<u32>(), 0..25), 2..4), any::<u32>(), vec(asked(), 8));
    let law = |(seeds, of_other, questions): (Vec<Vec<u32>>, u32, Vec<Asked>)| {
        // Its own sid is as good as any other.
        let provider = Account::new("provider").sid;
        let (mut made, mut all): (Vec<Made>, Vec<_>) = (Vec::new(), Vec::new());
        for (n, seeds) in (0..).zip(&seeds) {
            let account = Account::new("stats");
            rollcall.ok(&["account", "set", &account.sid, "--service-provider", &provider]);
            let first = n * 1000;
            let own: Vec<_> =
                (first..).zip(seeds).map(|(n, seed)| make(&account.sid, n, *seed)).collect();
            all.extend(send(&rollcall, &account.sid, &own));
            made.extend(own);
        }
        // No part of it.
        let other = Account::new("other");
        send(&rollcall, &other.sid, &[make(&other.sid, 7, of_other)]);
        for asked in questions {
            let path = format!("/v1/ServiceProviders/{provider}/CallStats?{}", asked.query());
            counted.set(counted.get() + check(&asked, &rollcall.get(&admin, &path), &all, &made));
        }
        Ok(())
    };
    cases(15).run(&strategy, law).unwrap();
    // It would be easy to be right about nothing.
    assert!(counted.get() > 300, "{} were counted", counted.get());
}

#[test]
fn figures_of_all_accounts_are_those_of_all_calls() {
    let rollcall = server();
    let (mut made, mut all) = (Vec::new(), Vec::new());
    for (n, account) in (0..).zip(["one", "two", "three"].map(Account::new)) {
        let own: Vec<_> =
            (0..40).map(|call| make(&account.sid, n * 1000 + call, call * 7919 + n)).collect();
        all.extend(send(&rollcall, &account.sid, &own));
        made.extend(own);
    }
    let mut counted = 0;
    for (interval, group) in
        [(Some("hour"), vec![]), (Some("day"), vec!["trunk", "to"]), (None, vec!["from"])]
    {
        let asked = Asked { interval, group, ..Asked::default() };
        let path = format!("/v1/CallStats?{}", asked.query());
        counted += check(&asked, &rollcall.get(&rollcall.admin(), &path), &all, &made);
    }
    assert_eq!(counted, 3 * 120);
}
