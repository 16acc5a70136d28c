//! The lists of several accounts as one, against a plain merge of the lists of each.

use super::*;
use crate::access::{Account, SettingRow};

/// The accounts of a scope.
fn accounts(store: &Store, scope: Scope) -> Result<Arc<[ScopedAccount]>, StoreError> {
    loop {
        if let Some(accounts) = store.accounts(scope)? {
            return Ok(accounts);
        }
    }
}

/// A list of a scope from after a place on, found so many at a time.
fn merged(
    store: &Store,
    (scope, filter, order): (Scope, &Filter, Order),
    after: Option<AcrossPosition>,
    most: usize,
) -> Result<Vec<Call>, StoreError> {
    let mut across = Across::new(accounts(store, scope)?, filter.clone(), order, after);
    let mut calls = Vec::new();
    while !across.is_done() {
        let places = across.go_on(store, most)?;
        assert!(places.len() <= most);
        let found = store.calls_at(across.request(), &places)?;
        let of_found: Vec<_> = found.iter().map(|(place, _)| *place).collect();
        assert_eq!(of_found, places, "nothing has changed meanwhile");
        for (_, listed) in found {
            calls.push((*store.unpacked(listed)?).clone());
        }
    }
    Ok(calls)
}

fn place(call: &Call) -> AcrossPosition {
    AcrossPosition { position: Position::of(call), account: call.id.account }
}

fn count(store: &Store, mut counting: CountingAcross) -> Result<CountingAcross, StoreError> {
    while !counting.go_on(store)? {}
    Ok(counting)
}

/// How many calls are left behind so many, as they are counted without an order.
fn counted_behind(
    store: &Store,
    (filter, order): (&Filter, Order),
    first: usize,
) -> Result<u64, StoreError> {
    let accounts = accounts(store, Scope::Everybody)?;
    let mut across = Across::new(accounts, filter.clone(), order, None);
    let mut all = across.go_on(store, first)?.len() as u64;
    while !across.is_done() {
        all += across.count_some(store)?;
    }
    Ok(all)
}

/// Holds what is said of all accounts together against the lists of each of them.
pub fn is_the_merge(
    store: &Store,
    filter: &Filter,
    order: Order,
    limit: usize,
    of_each: Vec<Vec<Call>>,
) -> Result<(), StoreError> {
    let mut expected: Vec<Call> = of_each.into_iter().flatten().collect();
    expected.sort_by_key(place);
    if order == Order::OldestFirst {
        expected.reverse();
    }
    let question = (Scope::Everybody, filter, order);
    assert_eq!(merged(store, question, None, limit)?, expected);
    // From any place on, and from those between which there is nothing.
    for (n, call) in expected.iter().enumerate() {
        let rest = merged(store, question, Some(place(call)), limit.max(2))?;
        assert_eq!(rest, expected[n + 1..], "after {:?}", place(call));
    }
    let everybody = accounts(store, Scope::Everybody)?;
    let counting = CountingAcross::of_list(&everybody, filter.clone());
    assert_eq!(count(store, counting)?.count(), expected.len() as u64);
    assert_eq!(counted_behind(store, (filter, order), limit)?, expected.len() as u64);
    let times = Filter { start: filter.start, end: filter.end, ..Filter::default() };
    let mut standing = [StatusCount::default(); 2];
    let mut live = [0, 0];
    for one in everybody.iter() {
        let (account, after) = (one.account, None);
        let request = ListRequest { account, filter: times.clone(), order, after };
        let of_one = counted(store, Counting::of_standing(&request))?.standing();
        for (sum, of_one) in standing.iter_mut().zip(of_one) {
            sum.stale += of_one.stale;
            for (sum, of_one) in sum.statuses.iter_mut().zip(of_one.statuses) {
                *sum += of_one;
            }
        }
        let of_one = counted(store, Counting::of_live(account))?.with_status();
        live = [live[0] + of_one[0], live[1] + of_one[1]];
    }
    let counting = CountingAcross::of_standing(&everybody, times);
    assert_eq!(count(store, counting)?.standing(), standing);
    let counting = CountingAcross::of_live(store, &everybody);
    assert_eq!(count(store, counting)?.with_status(), live);
    Ok(())
}

fn provider(n: u8) -> ServiceProviderSid {
    ServiceProviderSid::from_bytes([n; 16])
}

fn belongs(account_n: u8, to: Option<u8>) -> Change {
    let settings =
        Account { service_provider_sid: to.map(provider), ..Account::new(account(account_n)) };
    let name = format!("account/{}", settings.account_sid);
    Change::setting(SettingRow { name, json: serde_json::to_vec(&settings).unwrap() })
}

fn sids(calls: &[Call]) -> Vec<(u8, u8)> {
    calls.iter().map(|call| (call.id.account.bytes()[0], call.id.sid.bytes()[0])).collect()
}

/// Accounts with a call in each second, the first account in the newest.
fn accounts_one_after_another(store: &Store, many: u8, calls: u8) -> Timestamp {
    let now = clock::now();
    for n in 1..=many {
        for call in 0..calls {
            let back = (u64::from(n) * u64::from(calls) + u64::from(call)) * 1000;
            send(store, id(n, call), CallStatus::Busy, now.minus_millis(back));
        }
    }
    now
}

#[test]
fn a_page_looks_only_into_the_accounts_whose_calls_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let now = accounts_one_after_another(&store, 100, 3);
    wake(&store);
    let everybody = (Scope::Everybody, &Filter::default(), Order::NewestFirst);
    let everyone = accounts(&store, Scope::Everybody).unwrap();
    assert_eq!(everyone.len(), 100);
    let page = |most: usize| {
        let before = store.meter().rows_read.get();
        let mut across = Across::new(
            accounts(&store, Scope::Everybody).unwrap(),
            Filter::default(),
            Order::NewestFirst,
            None,
        );
        let mut places = Vec::new();
        while places.len() < most {
            places.extend(across.go_on(&store, most - places.len()).unwrap());
        }
        let calls = store.calls_at(across.request(), &places).unwrap();
        let calls = calls.into_iter().map(|(_, listed)| store.unpacked(listed).unwrap());
        let calls: Vec<Call> = calls.map(|call| (*call).clone()).collect();
        (sids(&calls), store.meter().rows_read.get() - before)
    };
    let (found, read) = page(7);
    assert_eq!(found, [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]);
    assert_eq!(read, 9, "three accounts with three calls each");
    // What comes later is found in the account that was the last, in memory and in the index.
    for (call, is_in_memory) in [(9, true), (8, false)] {
        let at = now.plus_millis(1000 * (10 - u64::from(call)));
        send(&store, id(100, call), CallStatus::Busy, at);
        if !is_in_memory {
            wake(&store);
        }
        let (found, read) = page(3);
        assert_eq!(found[0], (100, call));
        assert!(read < 20, "{read} rows");
    }
    // A new account, and a new index.
    send(&store, id(120, 1), CallStatus::Busy, now.plus_millis(9000));
    assert_eq!(page(1).0, [(120, 1)]);
    store.rebuild(&mut |_| {}).unwrap();
    assert_eq!(page(3).0, [(120, 1), (100, 8), (100, 9)]);
    let all = merged(&store, everybody, None, 1000).unwrap();
    assert_eq!(all.len(), 303);
    assert!(all.is_sorted_by_key(place));
    // Accounts that are all older are not looked into for a time.
    let filter = Filter { start: Some(now.minus_millis(9000)), ..Filter::default() };
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let before = store.meter().rows_read.get();
        let found = merged(&store, (Scope::Everybody, &filter, order), None, 1000).unwrap();
        assert_eq!(found.len(), 3 + 3 + 3 + 1);
        let read = store.meter().rows_read.get() - before;
        assert!(read < 30, "{order:?}: {read} rows");
    }
}

#[test]
fn a_service_provider_has_its_accounts_as_they_are_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    accounts_one_after_another(&store, 4, 2);
    let owns = [belongs(1, Some(1)), belongs(3, Some(1)), belongs(4, Some(2)), belongs(5, Some(1))];
    store.apply(&owns, clock::now(), false).unwrap();
    let of = |n: u8| {
        let question =
            (Scope::ServiceProvider(provider(n)), &Filter::default(), Order::NewestFirst);
        sids(&merged(&store, question, None, 1).unwrap())
    };
    assert_eq!(of(1), [(1, 0), (1, 1), (3, 0), (3, 1)]);
    assert_eq!(of(2), [(4, 0), (4, 1)]);
    assert_eq!(of(3), []);
    wake(&store);
    let moved = [belongs(3, Some(2)), belongs(4, None)];
    store.apply(&moved, clock::now(), false).unwrap();
    assert_eq!((of(1), of(2)), (vec![(1, 0), (1, 1)], vec![(3, 0), (3, 1)]));
}

#[test]
fn memory_for_a_merge_is_bounded_by_the_accounts_and_not_by_their_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    accounts_one_after_another(&store, 200, 4);
    let everyone = accounts(&store, Scope::Everybody).unwrap();
    let mut across = Across::new(everyone, Filter::default(), Order::OldestFirst, None);
    let mut most = across.bytes();
    assert!(most < 200 * 120, "{most} bytes before anything was read");
    let mut found = 0;
    while !across.is_done() {
        found += across.go_on(&store, 10).unwrap().len();
        most = most.max(across.bytes());
    }
    assert_eq!(found, 800);
    assert!(most < 200 * 400, "{most} bytes");
}

#[test]
fn what_has_gone_or_changed_since_it_was_found_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let at = clock::now().minus_millis(5000);
    for account in 1..=3 {
        for call in 0..4 {
            send(&store, id(account, call), CallStatus::Ringing, at);
        }
    }
    wake(&store);
    let by_search = Search { answered: Some(false), ..Search::default() };
    let ringing = Filter { statuses: vec![CallStatus::Ringing], ..Filter::default() };
    let filters = [ringing.clone(), Filter { search: by_search, ..ringing }];
    let mut lists: Vec<_> = filters
        .into_iter()
        .map(|filter| {
            let everybody = accounts(&store, Scope::Everybody).unwrap();
            let mut across = Across::new(everybody, filter, Order::NewestFirst, None);
            let mut places = Vec::new();
            while !across.is_done() {
                places.extend(across.go_on(&store, 100).unwrap());
            }
            assert_eq!(places.len(), 12);
            (across, places)
        })
        .collect();
    send(&store, id(1, 0), CallStatus::InProgress, at.plus_millis(1000));
    send(&store, id(3, 3), CallStatus::Busy, at.plus_millis(1000));
    store.apply(&[Change::Delete(id(2, 1))], clock::now(), false).unwrap();
    let gone = [(1, 0), (2, 1), (3, 3)];
    // In memory, and in the index, where the ranges that listed them are read no more.
    for _ in 0..2 {
        for (across, places) in &mut lists {
            let found = store.calls_at(across.request(), places).unwrap();
            let found = found.into_iter().map(|(_, listed)| store.unpacked(listed).unwrap());
            let found: Vec<Call> = found.map(|call| (*call).clone()).collect();
            let left = places
                .iter()
                .map(|place| (place.account.bytes()[0], place.position.sid.bytes()[0]));
            let left: Vec<_> = left.filter(|id| !gone.contains(id)).collect();
            assert_eq!((sids(&found), left.len()), (left.clone(), 9));
        }
        wake(&store);
    }
}
