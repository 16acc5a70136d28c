//! Tombstones and stale calls.

use super::*;

fn short(dir: &Path) -> Options {
    Options { max_lifetime_millis: 300, ..options(dir) }
}

fn outcome(new: u64, changed: u64, ignored: u64) -> Outcome {
    Outcome { new, changed, ignored, ..Outcome::default() }
}

fn delete(store: &Store, call: u8) -> Outcome {
    store.apply(&[Change::Delete(id(1, call))], clock::now(), false).unwrap()
}

#[test]
fn a_deleted_call_stays_deleted_across_checkpoint_restart_and_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(options(dir.path()));
    let at = clock::now();
    for call in 1..=3 {
        send(&store, id(1, call), CallStatus::Ringing, at);
    }
    wake(&store);
    assert_eq!(delete(&store, 1), outcome(0, 1, 0));
    for round in 0..5 {
        match round {
            1 => wake(&store),
            2..=4 => {
                store.close().unwrap();
                drop(store);
                store = open(Options { rebuild: round == 3, ..options(dir.path()) });
            }
            _ => {}
        }
        let late = send(&store, id(1, 1), CallStatus::Completed, at.plus_millis(round));
        assert_eq!(late, outcome(0, 0, 1), "round {round}");
        assert_eq!(delete(&store, 1), outcome(0, 0, 1));
        assert_eq!(sids(&store, Filter::default()), [2, 3]);
        assert_eq!(store.call(id(1, 1)).unwrap(), None);
        assert_eq!(
            (store.status().calls, store.status().tombstones),
            (Some(2), Some(1)),
            "round {round}"
        );
        assert_sound(&store);
    }
}

#[test]
fn a_tombstone_ends_and_the_call_registers_anew_wherever_the_tombstone_was() {
    for place in ["in memory", "in the index", "removed", "after a restart", "after a rebuild"] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(short(dir.path()));
        let at = clock::now();
        send(&store, id(1, 1), CallStatus::Ringing, at);
        send(&store, id(1, 2), CallStatus::Ringing, at);
        wake(&store);
        delete(&store, 1);
        if place == "in the index" || place == "removed" {
            wake(&store);
        }
        until("the tombstone is old", || clock::now() > at.plus_millis(700));
        if place == "removed" {
            store.collect(Depth::Thorough).unwrap();
            until("the checkpointer removes it", || {
                store.shared.checkpointer.wake();
                store.status().tombstones == Some(0)
            });
        }
        if place.starts_with("after") {
            store.close().unwrap();
            drop(store);
            let rebuild = place == "after a rebuild";
            store = open(Options { rebuild, ..short(dir.path()) });
        }
        let told = send(&store, id(1, 1), CallStatus::Trying, clock::now());
        assert_eq!(told, outcome(1, 0, 0), "{place}");
        assert_eq!(store.status().calls, Some(2), "{place}");
        for _ in 0..2 {
            assert_eq!(sids(&store, with_status(CallStatus::Trying)), [1], "{place}");
            assert_sound(&store);
            wake(&store);
        }
        store.close().unwrap();
        drop(store);
        let store = open(short(dir.path()));
        assert_eq!(sids(&store, Filter::default()).len(), 2, "{place}");
        assert_eq!(store.shared.view.index().unwrap().stats().tombstones, 0, "{place}");
        assert_sound(&store);
    }
}

#[test]
fn quiet_calls_go_stale_and_come_back_in_memory_and_from_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options {
        checkpoint_interval: Duration::from_millis(10),
        sweep_interval: Duration::from_millis(10),
        ..options(dir.path())
    });
    let long_ago = clock::now().minus_millis(13 * HOUR_MILLIS);
    let just_now = clock::now().minus_millis(11 * HOUR_MILLIS);
    for (call, status, at) in [
        (1, CallStatus::Ringing, long_ago),
        (2, CallStatus::Ringing, just_now),
        (3, CallStatus::Completed, long_ago),
    ] {
        send(&store, id(1, call), status, at);
    }
    let stale = |call| store.call(id(1, call)).unwrap().unwrap().stale;
    until("the sweep finds it", || stale(1));
    assert_eq!(live_calls(&store, account(1)).unwrap(), [1, 0]);
    assert_eq!(sids(&store, with_status(CallStatus::Ringing)), [2]);
    assert_eq!(sids(&store, Filter::default()).len(), 3);
    assert!(!stale(2) && !stale(3));
    // It hears something and is quiet again, this time in the index.
    let later = long_ago.plus_millis(1000);
    for round in 0..2 {
        wake(&store);
        send(&store, id(1, 1), CallStatus::InProgress, later.plus_millis(round));
        until("the sweep finds it again", || {
            let call = store.call(id(1, 1)).unwrap().unwrap();
            call.stale && call.progress.status == CallStatus::InProgress
        });
    }
    wake(&store);
    send(&store, id(1, 1), CallStatus::InProgress, clock::now());
    assert!(!stale(1));
    assert_eq!(live_calls(&store, account(1)).unwrap(), [2, 0]);
    assert_sound(&store);
}

#[test]
fn a_call_that_goes_quiet_in_the_index_is_swept_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    send(&store, id(1, 1), CallStatus::Ringing, clock::now().minus_millis(13 * HOUR_MILLIS));
    store.close().unwrap();
    drop(store);
    let store = open(Options {
        checkpoint_interval: Duration::from_millis(10),
        sweep_interval: Duration::from_millis(10),
        ..options(dir.path())
    });
    until("the sweep finds it", || store.call(id(1, 1)).unwrap().unwrap().stale);
    assert_eq!(live_calls(&store, account(1)).unwrap(), [0, 0]);
    wake(&store);
    assert!(sids(&store, with_status(CallStatus::Ringing)).is_empty());
    assert_sound(&store);
}
