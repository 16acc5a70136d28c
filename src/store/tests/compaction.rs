//! New generations while the store runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::access::SettingRow;

fn admin(name: &str, json: &str) -> Change {
    Change::setting(SettingRow { name: name.to_owned(), json: json.as_bytes().to_vec() })
}

/// Everything that lists and questions say of some accounts.
fn seen(store: &Store) -> Vec<Vec<Arc<Call>>> {
    let lists = [1, 2].into_iter().flat_map(|n| {
        [
            Filter::default(),
            with_status(CallStatus::Ringing),
            with_status(CallStatus::Completed),
            Filter { directions: vec![Direction::Outbound], ..Filter::default() },
        ]
        .map(|filter| list(store, &ListRequest { filter, ..everything(account(n)) }, 50).unwrap())
    });
    lists.collect()
}

/// Two accounts of 200 calls, some of them over, deleted, and changed since the last checkpoint.
fn varied(store: &Store) {
    let at = clock::now().minus_millis(HOUR_MILLIS);
    for n in [1, 2] {
        for call in 0..200 {
            let mut event = event(id(n, call), CallStatus::Ringing, at);
            event.direction = Direction::ALL[usize::from(call % 2)];
            store.apply(&[Change::Event(Box::new(event))], at, false).unwrap();
        }
    }
    store.apply(&[admin("later/x", "1")], at, false).unwrap();
    wake(store);
    for call in 0..100 {
        send(store, id(1, call), CallStatus::Completed, at.plus_millis(1));
    }
    let gone: Vec<_> = (50..150).map(|call| Change::Delete(id(2, call))).collect();
    store.apply(&gone, clock::now(), false).unwrap();
    wake(store);
    send(store, id(1, 150), CallStatus::Completed, at.plus_millis(1));
    store.apply(&[Change::Delete(id(2, 7)), admin("later/x", "")], clock::now(), false).unwrap();
}

#[test]
fn the_journal_is_packed_while_the_index_is_copied_and_both_are_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { segment_bytes: 16 << 10, ..options(dir.path()) });
    varied(&store);
    let before = seen(&store);
    for round in 0..3 {
        let was = index_dir(dir.path());
        let mut steps = Vec::new();
        let done = store.collect_and_compact(Depth::Thorough, &mut |step| steps.push(step.what));
        let (journal, index) = done.unwrap();
        assert!(journal.segments > 0, "{journal:?}");
        assert_eq!(index.unwrap().calls, 299, "round {round}");
        let both = ["packing the journal", "building the index"];
        assert!(both.iter().all(|what| steps.iter().any(|step| step == what)), "{steps:?}");
        assert_ne!(index_dir(dir.path()), was);
        assert_eq!(seen(&store), before, "round {round}");
        assert_sound(&store);
        let again = varied_again(&store, round);
        assert_eq!(again, 0, "what was deleted stays so");
    }
}

/// Events of deleted calls, and new ones of others that change nothing of what is listed: how many of the first
/// were taken.
fn varied_again(store: &Store, round: u64) -> u64 {
    let at = clock::now();
    let late = (50..150).map(|call| send(store, id(2, call), CallStatus::Ringing, at));
    let taken = late.map(|outcome| outcome.new + outcome.changed).sum();
    store.apply(&[admin("later/x", &round.to_string())], at, false).unwrap();
    taken
}

#[test]
fn a_compacted_and_a_rebuilt_index_hold_the_same_and_the_old_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    varied(&store);
    let before = seen(&store);
    assert_eq!(before[0].len(), 200);
    assert_eq!(before[4].len(), 99);
    for round in 0..4 {
        let was = index_dir(dir.path());
        let calls = if round % 2 == 0 {
            let done = store.compact(&mut |_| {}).unwrap();
            assert!(done.bytes_before > 0 && done.bytes_after > 0, "{done:?}");
            done.calls
        } else {
            store.rebuild(&mut |_| {}).unwrap()
        };
        assert_eq!(calls, 299);
        assert_ne!(index_dir(dir.path()), was);
        until("the old one is removed", || !was.exists());
        assert_eq!(seen(&store), before, "round {round}");
        let status = store.status();
        assert_eq!((status.calls, status.tombstones), (Some(299), Some(101)));
        let built = store.shared.view.index().unwrap().built().unwrap().unwrap();
        assert_eq!((built.calls, built.tombstones), (299, 101));
        assert_sound(&store);
        let told = send(&store, id(2, 60), CallStatus::Completed, clock::now());
        assert_eq!(told.ignored, 1, "it was deleted");
    }
    store.close().unwrap();
    drop(store);
    assert!(Lock::take(dir.path(), false).unwrap().was_clean);
    let store = open(options(dir.path()));
    assert_eq!(seen(&store), before);
    assert_sound(&store);
}

#[test]
fn an_admin_row_that_was_removed_stays_as_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let at = clock::now();
    for json in ["1", "2", ""] {
        store.apply(&[admin("later/x", json), admin("first-token", json)], at, false).unwrap();
    }
    let last = store.status().sequence;
    for round in 0..3 {
        match round {
            0 => until("the index has them", || {
                store.shared.checkpointer.wake();
                !store.shared.view.index().unwrap().admin_rows().unwrap().is_empty()
            }),
            1 => drop(store.compact(&mut |_| {}).unwrap()),
            _ => drop(store.rebuild(&mut |_| {}).unwrap()),
        }
        let rows = store.shared.view.index().unwrap().admin_rows().unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (&*row.name, row.seq, row.json.len())).collect();
        assert_eq!(rows, [("first-token", last, 0), ("later/x", last - 1, 0)], "round {round}");
    }
    assert!(!store.access(crate::access::Access::first_token_made));
    store.close().unwrap();
    drop(store);
    assert!(!open(options(dir.path())).access(crate::access::Access::first_token_made));
}

#[test]
fn every_tombstone_of_the_journal_is_in_an_index_that_is_built_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let short = |rebuild| Options { max_lifetime_millis: 50, rebuild, ..options(dir.path()) };
    let store = open(short(false));
    let at = clock::now();
    send(&store, id(1, 1), CallStatus::Completed, at);
    send(&store, id(1, 2), CallStatus::Completed, at);
    store.apply(&[Change::Delete(id(1, 1))], at, false).unwrap();
    store.close().unwrap();
    drop(store);
    until("the tombstone is old", || clock::now() > at.plus_millis(200));
    let store = open(short(true));
    assert_eq!(store.shared.view.index().unwrap().stats().tombstones, 1);
    assert_sound(&store);
}

#[test]
fn events_are_taken_and_lists_answered_while_a_new_generation_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options {
        checkpoint_interval: Duration::from_millis(20),
        live_checkpoint_age_millis: 0,
        // Ten checkpoints fill it: a build that held them up would have events refused.
        registry_calls: 300,
        sync: false,
        ..options(dir.path())
    });
    let base = clock::now().minus_millis(HOUR_MILLIS);
    for call in 0..200 {
        send(&store, id(1, call), CallStatus::Ringing, base);
    }
    let order: Vec<_> = list(&store, &everything(account(1)), 50).unwrap();
    let order: Vec<_> = order.iter().map(|call| call.id).collect();
    let end = AtomicBool::new(false);
    let (lists, writes) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                let call = u8::try_from(n % 200).unwrap();
                let mut event = event(id(1, call), CallStatus::Ringing, base.plus_millis(n));
                event.texts[CallField::CallerName as usize] = Some(n.to_string().into());
                let changes = [Change::Event(Box::new(event))];
                assert_eq!(store.apply(&changes, clock::now(), false).unwrap().changed, 1);
                // Others come into being and go, and come back where their tombstone has expired.
                let other = id(2, call);
                send(&store, other, CallStatus::Completed, base.plus_millis(n));
                if n % 3 == 0 {
                    store.apply(&[Change::Delete(other)], clock::now(), false).unwrap();
                }
                writes.store(n, Ordering::Relaxed);
                if end.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let found = list(&store, &everything(account(1)), 30).unwrap();
                let found: Vec<_> = found.iter().map(|call| call.id).collect();
                assert_eq!(found, order);
                lists.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _at_the_end = Stop(&end);
        until("it is under way", || writes.load(Ordering::Relaxed) > 100);
        for round in 0..10 {
            if round % 2 == 0 {
                store.compact(&mut |_| {}).unwrap();
            } else {
                store.rebuild(&mut |_| {}).unwrap();
            }
        }
    });
    assert!(lists.load(Ordering::Relaxed) > 10);
    let last = writes.load(Ordering::Relaxed);
    for call in 0..200_u64 {
        let newest = (last.saturating_sub(199)..=last).find(|n| n % 200 == call).unwrap();
        let call = store.call(id(1, u8::try_from(call).unwrap())).unwrap().unwrap();
        assert_eq!(call.text(CallField::CallerName), Some(newest.to_string().as_str()));
    }
    assert_sound(&store);
    let before = seen(&store);
    let image = tempfile::tempdir().unwrap();
    crash_image(&store, image.path());
    drop(store);
    for dir in [image.path(), dir.path()] {
        let store = open(options(dir));
        assert_eq!(seen(&store), before);
        assert_sound(&store);
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_index_with_fewer_calls_than_it_says_is_not_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    varied(&store);
    store.close().unwrap();
    drop(store);
    let index = index_dir(dir.path());
    let rows = crate::index::tests::row_keys(&index, b"c");
    let lost: Vec<_> = rows.into_iter().skip(7).take(3).map(|key| (key, None)).collect();
    crate::index::tests::tamper_rows(&index, &lost);
    let store = open(options(dir.path()));
    let was = index_dir(dir.path());
    let told = store.compact(&mut |_| {}).unwrap_err();
    let found = "says that it has 299 calls, and 296 were found";
    assert!(told.to_string().contains(found), "{told}");
    assert_eq!(index_dir(dir.path()), was);
    assert!(!dir.path().join("index-2").exists());
    assert_eq!(store.rebuild(&mut |_| {}).unwrap(), 299);
    assert_sound(&store);
}

#[test]
fn what_a_build_left_behind_is_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    varied(&store);
    let before = seen(&store);
    drop(store.shared.generations.begin().unwrap());
    store.close().unwrap();
    drop(store);
    assert!(dir.path().join("index-2").is_dir());
    let store = open(options(dir.path()));
    assert!(!dir.path().join("index-2").exists());
    assert_eq!(seen(&store), before);
}

#[test]
fn a_compaction_that_nobody_waits_for_answers_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.retention.bytes = Some(1);
    let store = open(options);
    for n in 0..10 {
        send(&store, id(1, n), CallStatus::InProgress, clock::now());
    }
    wake(&store);
    let first = index_dir(dir.path());
    assert!(store.collect(Depth::Usual).unwrap().fitting);
    until("it is compacted for its size", || index_dir(dir.path()) != first);
    let second = index_dir(dir.path());
    store.compact(&mut |_| {}).unwrap();
    assert_ne!(index_dir(dir.path()), second, "somebody asked and nothing was done");
}
