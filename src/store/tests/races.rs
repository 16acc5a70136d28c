//! Readers, writers and the checkpointer at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::*;

/// Whether a filter means this call.
type Meant = fn(u8) -> bool;

/// Calls that are there from the beginning and go on changing; the even ones are inbound.
const CALLS: u8 = 200;
/// Of one rank: the newer one counts, so that calls go to and fro.
const RINGING: [CallStatus; 2] = [CallStatus::Ringing, CallStatus::Alerting];

#[test]
fn readers_see_every_call_exactly_once_while_calls_move_into_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options {
        checkpoint_interval: Duration::from_millis(1),
        live_checkpoint_age_millis: 0,
        registry_calls: 10_000,
        sync: false,
        ..options(dir.path())
    });
    let base = clock::now().minus_millis(HOUR_MILLIS);
    let update = |call: u8, n: u64| {
        let status = RINGING[usize::from(n.is_multiple_of(2))];
        let mut event = event(id(1, call), status, base.plus_millis(n));
        event.stamp.listed_at = Some(base.plus_millis(u64::from(call / 3)));
        event.direction = Direction::ALL[usize::from(call % 2)];
        event.texts[CallField::From as usize] =
            Some(if call.is_multiple_of(5) { "+5" } else { "+1" }.into());
        event.texts[CallField::CallerName as usize] = Some(n.to_string().into());
        Change::Event(Box::new(event))
    };
    let first: Vec<_> = (0..CALLS).map(|call| update(call, 0)).collect();
    store.apply(&first, clock::now(), false).unwrap();
    let mut order: Vec<u8> = (0..CALLS).collect();
    order.sort_by_key(|&call| (std::cmp::Reverse(call / 3), call));
    let filters: [(Filter, Meant); 4] = [
        (Filter::default(), |_| true),
        (Filter { directions: vec![Direction::Inbound], ..Filter::default() }, |call| {
            call % 2 == 0
        }),
        (Filter { statuses: RINGING.to_vec(), ..Filter::default() }, |_| true),
        (Filter { from: vec!["+5".into()], ..Filter::default() }, |call| call % 5 == 0),
    ];
    let end = AtomicBool::new(false);
    let (lists, writes) = (AtomicU64::new(0), AtomicU64::new(0));
    let registered = AtomicUsize::new(0);
    let checkpoint = || store.status().checkpoint_sequence;
    std::thread::scope(|scope| {
        let guard = Stop(&end);
        scope.spawn(|| {
            let _at_the_end = Stop(&end);
            for n in 1.. {
                let part = (0..CALLS).filter(|call| u64::from(*call) % 7 == n % 7);
                let changes: Vec<_> = part.map(|call| update(call, n)).collect();
                let answer = store.apply(&changes, clock::now(), false).unwrap();
                assert_eq!(answer.changed, changes.len() as u64);
                // Another account's calls come into being meanwhile.
                if n < 256 {
                    let call = u8::try_from(n).unwrap();
                    send(&store, id(2, call), CallStatus::Ringing, clock::now());
                    registered.store(usize::from(call), Ordering::Release);
                }
                writes.fetch_add(1, Ordering::Relaxed);
                if end.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for limit in [3, 1000] {
            let (store, end, lists, filters, order) = (&store, &end, &lists, &filters, &order);
            let registered = &registered;
            scope.spawn(move || {
                let _at_the_end = Stop(end);
                while !end.load(Ordering::Relaxed) {
                    for (filter, meant) in filters {
                        for direction in [Order::NewestFirst, Order::OldestFirst] {
                            let filter = filter.clone();
                            let order_of =
                                ListRequest { filter, order: direction, ..everything(account(1)) };
                            let found = list(store, &order_of, limit).unwrap();
                            let found: Vec<_> =
                                found.iter().map(|call| call.id.sid.bytes()[0]).collect();
                            let mut expected: Vec<_> =
                                order.iter().copied().filter(|call| meant(*call)).collect();
                            if direction == Order::OldestFirst {
                                expected.reverse();
                            }
                            assert_eq!(found, expected);
                        }
                    }
                    assert_eq!(live_calls(store, account(1)).unwrap(), [100, 100]);
                    for _ in 0..50 {
                        let known = registered.load(Ordering::Acquire);
                        let live = live_calls(store, account(2)).unwrap();
                        assert!(live[0] >= known as u64, "{live:?} of {known}");
                        let listed = list(store, &everything(account(2)), limit).unwrap().len();
                        assert!(listed >= known, "{listed} of {known}");
                    }
                    for call in 0..CALLS {
                        assert!(store.call(id(1, call)).unwrap().is_some());
                    }
                    lists.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begin = Instant::now();
        let mut seen = std::collections::BTreeSet::new();
        while (begin.elapsed() < Duration::from_secs(2) || seen.len() <= 3)
            && !end.load(Ordering::Relaxed)
        {
            assert!(begin.elapsed() < DEADLINE, "no checkpoints are taken meanwhile: {seen:?}");
            seen.insert(checkpoint());
            assert_sound(&store);
        }
        drop(guard);
    });
    assert!(lists.into_inner() > 3 && writes.into_inner() > 10);
    store.close().unwrap();
    assert_sound(&open(options(dir.path())));
}

#[test]
fn a_page_holds_no_more_than_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let base = clock::now().minus_millis(1000);
    // Half of them in the index, half in memory, like the teeth of a zip.
    for call in [0, 3, 4, 7] {
        send(&store, id(1, call), CallStatus::Trying, base.plus_millis(call.into()));
    }
    wake(&store);
    for call in [1, 2, 5, 6] {
        send(&store, id(1, call), CallStatus::Trying, base.plus_millis(call.into()));
    }
    for limit in 1..10 {
        let found = list(&store, &everything(account(1)), limit).unwrap();
        let found: Vec<_> = found.iter().map(|call| call.id.sid.bytes()[0]).collect();
        assert_eq!(found, [7, 6, 5, 4, 3, 2, 1, 0], "limit {limit}");
    }
}

#[test]
fn no_call_leaves_the_registry_while_somebody_reads_and_nobody_waits_for_that_but_the_checkpointer()
{
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    send(&store, id(1, 1), CallStatus::Completed, clock::now());
    let reading = store.shared.view.readers.begin();
    store.shared.checkpointer.wake();
    until("the index has it", || {
        store.shared.view.index().unwrap().stored(id(1, 1)).unwrap().is_some()
    });
    // Commits go on, and so do others who read.
    for call in 2..10 {
        send(&store, id(1, call), CallStatus::Trying, clock::now());
        assert_eq!(sids(&store, Filter::default()).len(), usize::from(call));
        assert!(store.call(id(1, 1)).unwrap().is_some());
    }
    assert!(store.shared.view.registry.read().get(id(1, 1)).is_some());
    drop(reading);
    until("the call leaves", || store.shared.view.registry.read().get(id(1, 1)).is_none());
    assert_eq!(sids(&store, Filter::default()).len(), 9);
}

#[test]
fn an_index_takes_over_while_somebody_reads_in_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let at = clock::now().minus_millis(1000);
    for call in 0..10 {
        send(&store, id(1, call), CallStatus::Trying, at.plus_millis(call.into()));
    }
    wake(&store);
    let shared = &store.shared;
    // In this order: a checkpoint that is being taken holds the lock while it waits for readers.
    let checkpointer = shared.index_writer.lock();
    let reading = shared.view.readers.begin();
    send(&store, id(1, 3), CallStatus::Completed, clock::now());
    let old = shared.view.index().unwrap();
    let (_, new) = shared.generations.begin().unwrap();
    let options = index_builder::BuildOptions { shared, gentle: false, kept: 0, progress: &|_| {} };
    let filled = index_builder::from_journal::fill_from_journal(&new, &options).unwrap();
    assert_eq!((filled.until, filled.first_part), (shared.view.registry.read().last_seq(), None));
    let new = Arc::new(new);
    let known = parts::known_by(shared, &new).unwrap();
    // The committer waits for nobody.
    let replace = |reply| messages::CommitterMessage::Replace(new.clone(), known, reply);
    shared.queue.committer.ask(replace).unwrap();
    assert!(!Arc::ptr_eq(&old, &shared.view.index().unwrap()));
    // What the old one does not have is still in memory, though the new one has it.
    assert!(
        shared
            .view
            .registry
            .read()
            .get(id(1, 3))
            .is_some_and(crate::registry::RegistryEntry::covered)
    );
    send(&store, id(1, 4), CallStatus::Completed, clock::now());
    assert_eq!(sids(&store, with_status(CallStatus::Completed)), [4, 3]);
    drop((checkpointer, reading));
    wake(&store);
    assert_eq!(sids(&store, with_status(CallStatus::Completed)), [4, 3]);
    assert_sound(&store);
}

#[test]
fn a_check_keeps_nobody_from_writing_for_long_and_says_what_it_could_not_see() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options {
        checkpoint_interval: Duration::from_millis(1),
        sync: false,
        ..options(dir.path())
    });
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guard = Stop(&end);
        scope.spawn(|| {
            for n in (0..CALLS).cycle() {
                send(&store, id(1 + n % 2, n), CallStatus::Completed, clock::now());
                if end.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        until("the index is written to all the while", || {
            let checked = store.check(&|_| {}).unwrap();
            assert_eq!(checked.findings, []);
            checked.uncounted
        });
        drop(guard);
    });
    until("the registry is empty", || store.shared.view.registry.read().is_empty());
    assert!(!store.check(&|_| {}).unwrap().uncounted);
}
