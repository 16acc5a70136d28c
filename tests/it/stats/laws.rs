//! Random calls and questions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::properties::{Account, cases};
use super::{Asked, BEGUN, HOUR, HOURS, MINUTE, check, make, send, server, stats};

const GROUPS: [&str; 7] =
    ["status", "direction", "trunk", "application", "from", "to", "to_country"];
const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Asia/Kathmandu", "+05:30", "America/St_Johns", "Pacific/Apia"];

pub fn asked() -> impl Strategy<Value = Asked> {
    let filter = prop_oneof![
        4 => Just(None),
        1 => select(vec![
            ("direction", "inbound"),
            ("callStatus", "completed"),
            ("callStatus", "busy,failed"),
            ("from", "bob"),
            ("number", "+15551230001"),
            ("number_contains", "4930"),
            ("trunk", "BT"),
            ("answered", "true"),
            ("duration_min", "600"),
            ("application_sid", "7087fe50-8acb-4f3b-b820-97b573723aab"),
        ])
        .prop_map(Some),
    ];
    // On the edges of hours and within them.
    let edge = (0..HOURS * 2).prop_map(|halves| BEGUN + halves * HOUR / 2);
    let time =
        prop::option::of(prop_oneof![edge, (0..HOURS * 60).prop_map(|n| BEGUN + n * MINUTE)]);
    let group = prop_oneof![Just(Vec::new()), subsequence(GROUPS.to_vec(), 1..4).prop_shuffle()];
    let top = prop::option::of(1..6_usize);
    let interval = select(vec![None, Some("hour"), Some("day")]);
    let zone = prop::option::of(select(&ZONES[..]));
    (filter, time.clone(), time, interval, zone, group, top).prop_map(
        |(filter, start, end, interval, zone, group, top)| {
            let filters =
                filter.into_iter().map(|(name, value): (_, &str)| (name, value.to_owned()));
            let interval = interval.or(group.is_empty().then_some("hour"));
            let top = top.filter(|_| !group.is_empty());
            Asked { filters: filters.collect(), start, end, interval, zone, group, top }
        },
    )
}

#[test]
fn figures_are_those_of_a_plain_count_of_all_calls() {
    let rollcall = server();
    let counted = std::cell::Cell::new(0);
    let strategy = (vec(any::<u32>(), 1..60), vec(asked(), 8));
    let law = |(seeds, questions): (Vec<u32>, Vec<Asked>)| {
        let account = Account::new("stats");
        let made: Vec<_> =
            (0..).zip(&seeds).map(|(n, seed)| make(&account.sid, n, *seed)).collect();
        let all = send(&rollcall, &account.sid, &made);
        for asked in questions {
            let answer = stats(&rollcall, &account.sid, &asked.query());
            counted.set(counted.get() + check(&asked, &answer, &all, &made));
        }
        Ok(())
    };
    cases(30).run(&strategy, law).unwrap();
    // It would be easy to be right about nothing.
    assert!(counted.get() > 500, "{} were counted", counted.get());
}
