//! Ten thousand calls of one millisecond whose sids share their first bytes: nothing short tells
//! them apart.

use super::*;

const CALLS: u16 = 10_000;

fn crowded_id(account_n: u8, n: u16) -> CallId {
    let mut sid = [0xff; 16];
    sid[14..].copy_from_slice(&n.to_be_bytes());
    CallId { account: account(account_n), sid: CallSid::from_bytes(sid) }
}

#[test]
fn calls_of_one_moment_that_look_alike_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { registry_calls: 100_000, ..options(dir.path()) });
    let at = clock::now();
    let status =
        |n: u16| [CallStatus::Completed, CallStatus::Busy][usize::from(n.is_multiple_of(3))];
    for account_n in [1, 2] {
        for some in (0..CALLS).collect::<Vec<_>>().chunks(1000) {
            let event = |n: &u16| event(crowded_id(account_n, *n), status(*n), at);
            let changes: Vec<_> = some.iter().map(|n| Change::Event(Box::new(event(n)))).collect();
            store.apply(&changes, at, false).unwrap();
        }
        wake(&store);
    }
    let gone = |n: u16| n.is_multiple_of(7);
    for some in (0..CALLS).filter(|n| gone(*n)).collect::<Vec<_>>().chunks(500) {
        let changes: Vec<_> = some.iter().map(|n| Change::Delete(crowded_id(1, *n))).collect();
        store.apply(&changes, at, false).unwrap();
    }
    wake(&store);
    let left: Vec<u16> = (0..CALLS).filter(|n| !gone(*n)).collect();
    let sids = |wanted: &dyn Fn(u16) -> bool| -> Vec<CallSid> {
        left.iter().filter(|n| wanted(**n)).map(|n| crowded_id(1, *n).sid).collect()
    };
    for order in [Order::NewestFirst, Order::OldestFirst] {
        for (filter, mut expected) in [
            (Filter::default(), sids(&|_| true)),
            (with_status(CallStatus::Busy), sids(&|n| status(n) == CallStatus::Busy)),
        ] {
            let request = ListRequest { filter, order, ..everything(account(1)) };
            let calls = list(&store, &request, 300).unwrap();
            if order == Order::OldestFirst {
                expected.reverse();
            }
            let found: Vec<_> = calls.iter().map(|call| call.id.sid).collect();
            assert!(found == expected, "{} found, {} expected", found.len(), expected.len());
        }
    }
    for n in (0..CALLS).step_by(77) {
        let call = store.call(crowded_id(1, n)).unwrap();
        assert_eq!(call.map(|call| call.progress.status), (!gone(n)).then(|| status(n)), "{n}");
    }
    assert_sound(&store);
    store.compact(&mut |_| {}).unwrap();
    assert_sound(&store);
}
