//! What leaves the disk, when, and what never does.

use super::*;
use crate::access::{Account, Keep, SettingRow};

fn roomy(dir: &Path) -> Options {
    Options { max_lifetime_millis: 200, ..options(dir) }
}

/// Whether any file of the journal has these bytes, once it is unpacked.
fn journal_has(store: &Store, needle: &str) -> bool {
    let segments = store.shared.view.segments.read().clone();
    segments.iter().any(|segment| {
        let mut scanner = crate::journal::Scanner::new(segment).unwrap();
        let mut found = false;
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            found |= frame.body.windows(needle.len()).any(|part| part == needle.as_bytes());
        }
        found
    })
}

fn frames(store: &Store) -> usize {
    let segments = store.shared.view.segments.read().clone();
    let frames = segments.iter().map(|segment| {
        let mut scanner = crate::journal::Scanner::new(segment).unwrap();
        let mut count = 0;
        while scanner.next_frame().unwrap().is_some() {
            count += 1;
        }
        count
    });
    frames.sum()
}

fn number(text: &str) -> Change {
    let mut event = event(id(1, 1), CallStatus::Completed, clock::now());
    event.texts[CallField::From as usize] = Some(text.into());
    Change::Event(Box::new(event))
}

fn calls(store: &Store) -> Vec<Arc<Call>> {
    let (filter, order) = (Filter::default(), Order::NewestFirst);
    let request = ListRequest { account: account(1), filter, order, after: None };
    store.page(&request, 10_000).unwrap().calls
}

#[test]
fn what_is_superseded_leaves_the_disk_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(options(dir.path()));
    for status in [CallStatus::Trying, CallStatus::Ringing, CallStatus::InProgress] {
        for n in 0..200 {
            send(&store, id(1, n), status, clock::now());
        }
    }
    for n in 0..100 {
        send(&store, id(1, n), CallStatus::Completed, clock::now());
    }
    let (before, listed) = (store.status(), calls(&store));
    let mut last = None;
    let collected = store.collect_telling(Depth::Thorough, &mut |step| last = Some(step)).unwrap();
    let last = last.expect("it is said how far it is");
    assert_eq!((last.unit, Some(last.done)), (Unit::Bytes, last.total));
    assert!(last.done >= collected.bytes_before, "{last:?} {collected:?}");
    assert!(collected.segments > 5 && collected.bytes_after * 4 < collected.bytes_before);
    let after = store.status();
    assert!(after.journal_bytes * 4 < before.journal_bytes, "{after:?}");
    assert!(after.journal_segments * 2 < before.journal_segments, "{after:?}");
    assert!(after.journal_bytes < after.journal_unpacked_bytes);
    assert_eq!(calls(&store), listed);
    // One frame a call, and a checkpoint or two.
    assert!(frames(&store) < 205, "{}", frames(&store));
    assert_sound(&store);
    for rebuild in [false, true] {
        store.close().unwrap();
        drop(store);
        store = open(Options { rebuild, ..options(dir.path()) });
        assert_eq!(calls(&store), listed);
        assert_sound(&store);
    }
    let files = fs::read_dir(dir.path().join("journal")).unwrap().count();
    assert_eq!(files as u64, store.status().journal_segments);
}

#[test]
fn a_deleted_call_leaves_the_disk_and_then_its_deletion_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(roomy(dir.path()));
    store.apply(&[number("+15557654321")], clock::now(), false).unwrap();
    for n in 2..100 {
        send(&store, id(1, n), CallStatus::Completed, clock::now());
    }
    store.collect(Depth::Thorough).unwrap();
    assert!(journal_has(&store, "+15557654321"));
    let begun = *store.published().borrow();
    store.apply(&[Change::Delete(id(1, 1))], clock::now(), false).unwrap();
    store.collect(Depth::Thorough).unwrap();
    assert!(!journal_has(&store, "+15557654321"));
    // A client that knew the call hears of its deletion, for as long as that is there.
    let mut feed = store.feed(Reach::Everybody, FeedPosition::Changes(begun)).unwrap();
    let events = feed
        .next(&store, u64::MAX, FeedBudget { frames: 1000, read: 1 << 20, bytes: 1 << 20 })
        .unwrap();
    assert!(events.iter().any(|event| event.what == What::Deleted(id(1, 1))));
    let deleted = clock::now();
    until("the deletion is old", || clock::now() > deleted.plus_millis(300));
    store.collect(Depth::Thorough).unwrap();
    let gone = store.feed(Reach::Everybody, FeedPosition::Changes(begun)).err();
    assert!(matches!(gone, Some(StoreError::Gone(_))), "{gone:?}");
    until("the index lets go of it", || {
        store.shared.checkpointer.wake();
        store.status().tombstones == Some(0)
    });
    assert_sound(&store);
    for rebuild in [false, true] {
        store.close().unwrap();
        drop(store);
        store = open(Options { rebuild, ..roomy(dir.path()) });
        assert_eq!(calls(&store).len(), 98);
        assert_eq!(store.status().tombstones, Some(0));
        assert_sound(&store);
    }
}

#[test]
fn an_index_that_has_lost_a_row_loses_no_call() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for n in 0..50 {
        send(&store, id(1, n), CallStatus::Completed, clock::now());
    }
    store.collect(Depth::Thorough).unwrap();
    for n in 50..100 {
        send(&store, id(1, n), CallStatus::Completed, clock::now());
    }
    wake(&store);
    let lost = id(1, 60);
    let index = store.shared.view.index().unwrap();
    let stored = index.stored(lost).unwrap();
    let nothing = crate::index::Version::Nothing;
    let op = crate::index::Op { id: lost, old: stored.map(|stored| (stored, None)), new: nothing };
    index.write(&[op], &[]).unwrap();
    drop(index);
    assert_eq!(store.call(lost).unwrap(), None);
    let refused = store.collect(Depth::Thorough).err();
    assert!(matches!(refused, Some(StoreError::IndexUnavailable(..))), "{refused:?}");
    until("it is built again", || {
        store.shared.checkpointer.wake();
        store.call(lost).is_ok_and(|call| call.is_some())
    });
    store.collect(Depth::Thorough).unwrap();
    assert_eq!(calls(&store).len(), 100);
    assert_sound(&store);
}

#[test]
fn a_feed_reads_on_while_segments_are_packed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for n in 0..200 {
        send(&store, id(1, n), CallStatus::Completed, clock::now());
    }
    let mut feed = store.feed(Reach::Everybody, FeedPosition::Changes(0)).unwrap();
    let piece = FeedBudget { frames: 7, read: 1 << 20, bytes: 1 << 20 };
    let mut found = Vec::new();
    for round in 0..1000 {
        if round % 8 == 3 {
            store.collect(Depth::Thorough).unwrap();
        }
        let until = *store.published().borrow();
        for event in feed.next(&store, until, piece).unwrap() {
            if let What::Call(call) = event.what {
                found.push(call.id);
            }
        }
        if feed.has_read(until) {
            break;
        }
    }
    let expected: Vec<CallId> = (0..200).map(|n| id(1, n)).collect();
    assert_eq!(found, expected);
}

#[test]
fn history_stays_whole_for_as_long_as_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.retention.history_millis = HOUR_MILLIS;
    options.retention.interval = Duration::from_millis(20);
    options.checkpoint_interval = Duration::from_millis(10);
    options.live_checkpoint_age_millis = 0;
    let mut store = open(options.clone());
    for status in [CallStatus::Trying, CallStatus::Ringing, CallStatus::Completed] {
        for n in 0..100 {
            send(&store, id(1, n), status, clock::now());
        }
    }
    until("they are packed", || {
        let segments = store.shared.view.segments.read();
        segments.len() > 1 && segments.iter().rev().skip(1).all(|segment| segment.packed.is_some())
    });
    let whole = |store: &Store| {
        let segments = store.shared.view.segments.read();
        segments.iter().filter_map(|segment| segment.packed.as_ref()).all(|packed| packed.complete)
    };
    assert!(whole(&store) && frames(&store) >= 300);
    store.close().unwrap();
    drop(store);
    options.retention.history_millis = 0;
    store = open(options);
    until("history goes", || !whole(&store) && frames(&store) < 110);
    assert_eq!(calls(&store).len(), 100);
    assert_sound(&store);
}

#[test]
fn calls_whose_time_is_over_go_and_those_that_are_up_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.retention.age_millis = Some(HOUR_MILLIS);
    let store = open(options);
    let old = clock::now().minus_millis(2 * HOUR_MILLIS);
    let keep = |n, keep| {
        let account = Account { keep: Some(keep), ..Account::new(account(n)) };
        let (name, json) =
            (format!("account/{}", account.account_sid), serde_json::to_vec(&account).unwrap());
        Change::setting(SettingRow { name, json })
    };
    let rows = [keep(2, Keep::Forever), keep(3, Keep::Millis(3 * HOUR_MILLIS))];
    store.apply(&rows, clock::now(), false).unwrap();
    for n in 1..=3 {
        send(&store, id(n, 1), CallStatus::Completed, old);
        send(&store, id(n, 2), CallStatus::InProgress, old);
        send(&store, id(n, 3), CallStatus::Completed, clock::now());
        send(&store, id(n, 4), CallStatus::Completed, old.minus_millis(2 * HOUR_MILLIS));
    }
    wake(&store);
    until("all are in the index", || store.status().registry_calls == 0);
    let expiring = store.expiring().unwrap();
    let found: Vec<_> = expiring.iter().map(|of| (of.account_sid, of.calls)).collect();
    // Not the one that is up.
    assert_eq!(found, [(account(1), 2), (account(3), 1)]);
    assert_eq!(store.collect(Depth::Thorough).unwrap().expired, 3);
    for (n, calls) in [(1, vec![2, 3]), (2, vec![1, 2, 3, 4]), (3, vec![1, 2, 3])] {
        let have: Vec<u8> =
            (1..=4).filter(|call| store.call(id(n, *call)).unwrap().is_some()).collect();
        assert_eq!(have, calls, "account {n}");
    }
    assert_sound(&store);
}

#[test]
fn secrets_that_were_replaced_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let set = |json: &str| {
        let row = SettingRow { name: "later/thing".to_owned(), json: json.into() };
        store.apply(&[Change::setting(row)], clock::now(), false).unwrap();
    };
    set("\"first secret\"");
    store.collect(Depth::Thorough).unwrap();
    assert!(journal_has(&store, "first secret"));
    set("\"second secret\"");
    store.collect(Depth::Thorough).unwrap();
    let segments = store.shared.view.segments.read().clone();
    assert!(!journal_has(&store, "first secret"), "{segments:#?}");
    assert!(journal_has(&store, "second secret"));
}

#[test]
fn a_store_is_kept_below_its_size_by_its_oldest_calls() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.segment_bytes = 1 << 20;
    options.registry_calls = 100_000;
    options.checkpoint_interval = Duration::from_millis(20);
    let at = clock::now().minus_millis(HOUR_MILLIS);
    let call = |n: u64| {
        let sid = CallSid::from_bytes(u128::from(n).to_be_bytes());
        let id = CallId { account: account(1), sid };
        let mut event = event(id, CallStatus::Completed, at.plus_millis(n));
        event.texts[CallField::From as usize] = Some(format!("{n:0500}").into());
        Change::Event(Box::new(event))
    };
    let store = open(options.clone());
    for n in 0..6 {
        let changes: Vec<_> = (0..1000).map(|part| call(n * 1000 + part)).collect();
        store.apply(&changes, clock::now(), false).unwrap();
    }
    store.collect(Depth::Thorough).unwrap();
    store.compact(&mut |_| {}).unwrap();
    let bytes = |store: &Store| {
        let status = store.status();
        status.journal_bytes + status.index_bytes.unwrap_or_default()
    };
    let whole = bytes(&store);
    store.close().unwrap();
    drop(store);
    options.retention.bytes = Some(whole / 2);
    let store = open(options);
    store.collect(Depth::Usual).unwrap();
    until("it fits", || {
        let fits = !store.collect(Depth::Usual).unwrap().fitting;
        fits && bytes(&store) <= whole / 2
    });
    let left = calls(&store);
    // A store this small is mostly sled's own files, whose size is not that of its calls.
    assert!((500..3500).contains(&left.len()), "{}", left.len());
    // They are the newest ones.
    let newest = u128::from_be_bytes(left[0].id.sid.bytes());
    let oldest = u128::from_be_bytes(left[left.len() - 1].id.sid.bytes());
    assert_eq!((newest, oldest), (5999, 6000 - left.len() as u128));
    assert_sound(&store);
}

#[test]
fn an_index_that_was_put_aside_goes_with_what_is_erased() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    send(&store, id(1, 1), CallStatus::Completed, clock::now());
    wake(&store);
    let aside = dir.path().join("index-0.damaged");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("db"), "+15551230001").unwrap();
    store.collect(Depth::Thorough).unwrap();
    assert!(aside.exists(), "somebody may want to look at it");
    store.collect(Depth::Erase).unwrap();
    assert!(!aside.exists());
}

#[test]
fn deleting_what_is_over_waits_for_room_in_the_registry() {
    const CALLS: u64 = 900;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    (options.retention.age_millis, options.registry_calls) = (Some(HOUR_MILLIS), 600);
    let store = open(options);
    let old = clock::now().minus_millis(2 * HOUR_MILLIS);
    for n in 0..CALLS {
        let mut id = id(1, 0);
        let mut sid = [0; 16];
        sid[..8].copy_from_slice(&n.to_be_bytes());
        id.sid = CallSid::from_bytes(sid);
        send(&store, id, CallStatus::Completed, old);
    }
    wake(&store);
    std::thread::scope(|scope| {
        // Nobody makes space meanwhile.
        let nobody_writes = store.shared.index_writer.lock();
        let deleting = scope.spawn(|| store.collect(Depth::Thorough).unwrap().expired);
        until("the registry is full", || store.shared.view.registry.read().len() >= 500);
        std::thread::park_timeout(Duration::from_millis(50));
        drop(nobody_writes);
        assert_eq!(deleting.join().unwrap(), CALLS);
    });
}

#[test]
fn what_would_go_is_what_goes_whether_the_index_has_it_yet_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.retention.age_millis = Some(HOUR_MILLIS);
    let store = open(options);
    let old = |minutes: u64| clock::now().minus_millis(HOUR_MILLIS + minutes * 60_000);
    // Nothing of this is in the index yet.
    send(&store, id(1, 1), CallStatus::Completed, old(9));
    send(&store, id(1, 2), CallStatus::Completed, old(5));
    send(&store, id(1, 3), CallStatus::InProgress, old(7));
    send(&store, id(1, 4), CallStatus::Completed, clock::now());
    send(&store, id(2, 1), CallStatus::Busy, old(1));
    let told = |store: &Store| -> Vec<(AccountSid, u64)> {
        let told = store.expiring().unwrap();
        told.iter().map(|told| (told.account_sid, told.calls)).collect()
    };
    let expected = [(account(1), 2), (account(2), 1)];
    assert_eq!(told(&store), expected);
    wake(&store);
    assert_eq!(told(&store), expected, "from the index");
    // Some here, some there; one ends in memory that the index has for up.
    send(&store, id(1, 3), CallStatus::Completed, clock::now());
    send(&store, id(1, 5), CallStatus::Completed, old(2));
    assert_eq!(told(&store), [(account(1), 4), (account(2), 1)]);
    assert_eq!(store.collect(Depth::Thorough).unwrap().expired, 5);
    assert_eq!(told(&store), []);
    assert_eq!(calls(&store).iter().map(|call| call.id).collect::<Vec<_>>(), [id(1, 4)]);
}
