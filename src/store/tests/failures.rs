//! What a store says and does when something fails.

use std::os::unix::fs::symlink;

use super::super::submit::Backpressure;
use super::*;
use crate::access::SettingRow;
use crate::index::tests::{in_sled, tamper};

fn submit(store: &Store, changes: Vec<Change>) -> Result<Outcome, StoreError> {
    store.submit(changes, clock::now())?.wait()
}

fn ringing(call: u8) -> Change {
    Change::Event(Box::new(event(id(1, call), CallStatus::Ringing, clock::now())))
}

/// A setting whose frame is that many bytes over the limit.
fn oversized(bytes_over: usize) -> Change {
    // Eighteen bytes before the body; of the body a name and a line end.
    let name = "later/x".to_owned();
    let json = vec![b' '; 256 * 1024 - 18 - name.len() - 1 + bytes_over];
    Change::setting(SettingRow { name, json })
}

#[test]
fn a_submission_that_fails_in_its_middle_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for bytes_over in [1, 5, 1000] {
        let told = submit(&store, vec![ringing(1), ringing(2), oversized(bytes_over)]);
        assert!(matches!(told, Err(StoreError::TooLarge(_))), "{bytes_over}: {told:?}");
        send(&store, id(1, 3), CallStatus::Trying, clock::now());
        assert_eq!(sids(&store, Filter::default()), [3], "{bytes_over} bytes over");
    }
    submit(&store, vec![ringing(1), oversized(0)]).unwrap();
    assert_eq!(sids(&store, Filter::default()).len(), 2);
    store.close().unwrap();
    drop(store);
    assert_eq!(sids(&open(options(dir.path())), Filter::default()).len(), 2);
}

#[test]
fn a_full_registry_refuses_whole_submissions_until_the_checkpointer_has_made_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { registry_calls: 10, ..options(dir.path()) });
    let still = store.shared.index_writer.lock();
    submit(&store, (0..5).map(ringing).collect()).unwrap();
    let told = submit(&store, (4..11).map(ringing).collect());
    assert!(matches!(told, Err(StoreError::Busy)), "{told:?}");
    assert_eq!(sids(&store, Filter::default()).len(), 5);
    drop(still);
    // Less than half is full, and every call is live and young: who waits is let in nevertheless.
    let changes: Vec<_> = (4..10).map(ringing).collect();
    store.apply(&changes, clock::now(), false).unwrap();
    // So is who brings more than the registry ever holds.
    let changes: Vec<_> = (10..40).map(ringing).collect();
    store.apply(&changes, clock::now(), false).unwrap();
    assert_eq!(sids(&store, Filter::default()).len(), 40);
    assert_sound(&store);
}

#[test]
fn bulk_work_leaves_memory_for_events() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { registry_calls: 10, ..options(dir.path()) });
    let still = store.shared.index_writer.lock();
    let bulk = |calls: std::ops::Range<u8>| {
        let changes = calls.map(ringing).collect();
        let queue = &store.shared.queue;
        queue.submit(changes, clock::now(), false, Backpressure::Wait).unwrap().wait()
    };
    assert_eq!(bulk(0..5).unwrap().new, 5);
    assert!(matches!(bulk(5..6), Err(StoreError::Busy)));
    // Those that are there need no more memory.
    bulk(0..5).unwrap();
    submit(&store, (5..10).map(ringing).collect()).unwrap();
    assert!(matches!(submit(&store, vec![ringing(10)]), Err(StoreError::Busy)));
    drop(still);
    store.apply(&(10..30).map(ringing).collect::<Vec<_>>(), clock::now(), false).unwrap();
    assert_eq!(sids(&store, Filter::default()).len(), 30);
    assert_sound(&store);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { queue_events: 4, ..options(dir.path()) });
    // The committer cannot publish while somebody looks.
    let registry = store.shared.view.registry.read();
    let first = store.submit((0..3).map(ringing).collect(), clock::now()).unwrap();
    let refused = store.submit((3..5).map(ringing).collect(), clock::now());
    assert!(matches!(refused, Err(StoreError::Busy)));
    let last = store.submit(vec![ringing(5)], clock::now()).unwrap();
    drop(registry);
    assert_eq!(first.wait().unwrap().new + last.wait().unwrap().new, 4);
    assert_eq!(sids(&store, Filter::default()).len(), 4);
}

#[test]
fn after_a_failure_of_the_journal_nothing_is_acknowledged_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { segment_bytes: 1, ..options(dir.path()) });
    submit(&store, vec![ringing(1)]).unwrap();
    let journal = dir.path().join("journal");
    fs::rename(&journal, dir.path().join("gone")).unwrap();
    let told = submit(&store, vec![ringing(2)]);
    assert!(matches!(told, Err(StoreError::Failed(_))), "{told:?}");
    fs::rename(dir.path().join("gone"), &journal).unwrap();
    assert!(matches!(submit(&store, vec![ringing(3)]), Err(StoreError::Failed(_))));
    assert!(store.ready().is_err() && store.failed().borrow().is_some());
    assert_eq!(sids(&store, Filter::default()), [1]);
    assert!(store.close().is_err());
    drop(store);
    assert_eq!(sids(&open(options(dir.path())), Filter::default()), [1]);
}

/// The next segment is "written" to a device that is always full.
pub(super) fn fill_disk(store: &Store) -> std::path::PathBuf {
    let next = store.status().sequence + 1;
    let name = store.shared.options.data_dir.join(format!("journal/{next:020}.log.new"));
    symlink("/dev/full", &name).unwrap();
    name
}

#[test]
fn a_full_disk_takes_nothing_and_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { segment_bytes: 1, ..options(dir.path()) });
    submit(&store, vec![ringing(1)]).unwrap();
    let full = fill_disk(&store);
    let told = submit(&store, vec![ringing(2)]);
    assert!(matches!(told, Err(StoreError::Full)), "{told:?}");
    assert!(store.ready().is_ok());
    assert_eq!(sids(&store, Filter::default()), [1]);
    fs::remove_file(full).unwrap();
    submit(&store, vec![ringing(2)]).unwrap();
    // Both may ring in the same millisecond.
    let mut both = sids(&store, Filter::default());
    both.sort_unstable();
    assert_eq!(both, [1, 2]);
}

#[test]
fn a_disk_short_of_space_takes_deletions_and_settings_and_nothing_that_grows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1)]).unwrap();
    let record = Change::Record(Arc::new((*store.call(id(1, 1)).unwrap().unwrap()).clone()));
    store.close().unwrap();
    drop(store);
    let store = open(Options { min_free_bytes: u64::MAX, ..options(dir.path()) });
    for changes in [vec![ringing(2)], vec![record], vec![Change::Delete(id(1, 1)), ringing(2)]] {
        let told = submit(&store, changes.clone());
        assert!(matches!(told, Err(StoreError::Low { least: u64::MAX, .. })), "{told:?}");
        let told = store.apply(&changes, clock::now(), false);
        assert!(matches!(told, Err(StoreError::Low { .. })), "{told:?}");
        store.apply(&changes, clock::now(), true).unwrap();
    }
    assert_eq!(sids(&store, Filter::default()), [1], "nothing of a mixed one was done");
    assert!(store.ready().is_ok() && store.takes_events().is_err() && store.status().disk_low);
    let setting = SettingRow { name: "later/x".to_owned(), json: b"{}".to_vec() };
    assert_eq!(submit(&store, vec![Change::setting(setting)]).unwrap().changed, 1);
    assert_eq!(submit(&store, vec![Change::Delete(id(1, 1))]).unwrap().changed, 1);
    wake(&store);
    assert!(sids(&store, Filter::default()).is_empty());
    assert_sound(&store);
}

#[test]
fn a_lock_is_written_over_and_not_emptied_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    fs::write(&path, "clean\nand a long rest\n").unwrap();
    let lock = Lock::take(dir.path(), true).unwrap();
    assert!(lock.was_clean);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("pid {}\n", std::process::id()));
    lock.leave_clean().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "clean\n");
}

#[test]
fn a_checkpoint_for_which_the_journal_has_no_room_is_remembered_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { segment_bytes: 1, ..options(dir.path()) });
    submit(&store, vec![ringing(1)]).unwrap();
    let full = fill_disk(&store);
    until("the index has it", || {
        store.shared.checkpointer.wake();
        store.shared.view.index().unwrap().stored(id(1, 1)).unwrap().is_some()
    });
    fs::remove_file(full).unwrap();
    send(&store, id(1, 1), CallStatus::Completed, clock::now());
    wake(&store);
    assert_eq!(live_calls(&store, account(1)).unwrap(), [0, 0]);
    assert_sound(&store);
}

/// Flips a bit of the block with a call in the index of a store that is closed.
fn damage_record(dir: &Path, call: CallId) {
    tamper(&index_dir(dir), |db| {
        let all = crate::keys::Range::all(call.account);
        let mut rows = db.scan_prefix(in_sled(all.prefix())).map(Result::unwrap);
        let sid = call.sid.bytes();
        let (key, value) =
            rows.find(|(_, value)| value.windows(16).any(|part| part == sid)).unwrap();
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        db.insert(key, value).unwrap();
    });
}

#[test]
fn an_index_that_fails_while_the_store_runs_is_built_again_and_events_are_taken_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1), ringing(2)]).unwrap();
    store.close().unwrap();
    drop(store);
    damage_record(dir.path(), id(1, 1));
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(3)]).unwrap();
    // The checkpointer cannot begin before this is given back.
    let still = store.shared.index_writer.lock();
    let failed = list(&store, &everything(account(1)), 10);
    assert!(matches!(failed, Err(StoreError::IndexUnavailable(..))), "{failed:?}");
    assert!(store.ready().is_err());
    let at = clock::now().plus_millis(1);
    let told = send(&store, id(1, 3), CallStatus::InProgress, at);
    assert_eq!(told.changed, 1);
    assert!(matches!(live_calls(&store, account(1)), Err(StoreError::IndexUnavailable(..))));
    drop(still);
    until("the index is built again", || store.ready().is_ok());
    assert_eq!(sids(&store, Filter::default()).len(), 3);
    assert_eq!(sids(&store, with_status(CallStatus::InProgress)), [3]);
    assert_sound(&store);
    until("the old one is put aside", || dir.path().join("index-1.damaged").is_dir());
    assert!(!dir.path().join("index-1").exists());
    store.close().unwrap();
    drop(store);
    let store = open(options(dir.path()));
    assert_eq!(sids(&store, Filter::default()).len(), 3);
    assert_sound(&store);
}

#[test]
fn attempts_to_build_an_index_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for _ in 0..3 {
        let (_, index) = store.shared.generations.begin().unwrap();
        drop(index);
    }
    let count = fs::read_dir(dir.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("index-")
    });
    assert_eq!(count.count(), 2, "the current one and the last attempt");
}

#[test]
fn a_store_whose_index_could_not_be_kept_does_not_say_that_it_was_closed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1)]).unwrap();
    let journal = dir.path().join("journal");
    store.shared.view.set_index(Err("gone".to_owned()));
    // Without its journal the index cannot be built again.
    fs::rename(&journal, dir.path().join("away")).unwrap();
    let _either = store.close();
    drop(store);
    fs::rename(dir.path().join("away"), &journal).unwrap();
    assert!(!Lock::take(dir.path(), false).unwrap().was_clean);
    assert_eq!(sids(&open(options(dir.path())), Filter::default()), [1]);
}

#[test]
fn a_lock_that_says_nothing_is_not_clean() {
    let dir = tempfile::tempdir().unwrap();
    open(options(dir.path())).close().unwrap();
    assert!(Lock::take(dir.path(), false).unwrap().was_clean);
    fs::write(dir.path().join("LOCK"), "").unwrap();
    assert!(!Lock::take(dir.path(), false).unwrap().was_clean);
}

#[test]
fn a_file_current_of_noise_is_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1)]).unwrap();
    store.close().unwrap();
    drop(store);
    fs::write(dir.path().join("CURRENT"), [0xff, 0xfe, 0]).unwrap();
    assert_eq!(sids(&open(options(dir.path())), Filter::default()), [1]);
}

#[test]
fn an_index_ahead_of_the_journal_stops_the_start_unless_it_is_to_be_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1)]).unwrap();
    let early = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("journal"), early.path());
    submit(&store, vec![ringing(2)]).unwrap();
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    copy_dir(early.path(), &dir.path().join("journal"));
    let refused = try_open(options(dir.path()));
    assert!(matches!(refused, Err(OpenError::IndexAhead { .. })), "{:?}", refused.err());
    let store = open(Options { rebuild: true, ..options(dir.path()) });
    assert_eq!(sids(&store, Filter::default()), [1]);
    assert_sound(&store);
}

#[test]
fn a_row_that_the_call_has_outlived_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1)]).unwrap();
    send(&store, id(1, 2), CallStatus::Completed, clock::now());
    let there = store.call(id(1, 2)).unwrap().unwrap();
    store.close().unwrap();
    drop(store);
    let busy = |call: &Call| {
        let mut call = call.clone();
        call.progress.status = CallStatus::Busy;
        call
    };
    // Of a call that is there with another status, and of one that is not there at all.
    let nowhere = Call { id: id(1, 77), ..(*there).clone() };
    let strange = [busy(&there), busy(&nowhere)].map(|call| {
        let keys = crate::keys::IndexKeys::of(&call).keys(call.id);
        (keys.into_iter().find(|key| key.starts_with(b"s")).unwrap(), Some(Vec::new()))
    });
    crate::index::tests::tamper_rows(&index_dir(dir.path()), &strange);
    let store = open(options(dir.path()));
    assert!(sids(&store, with_status(CallStatus::Busy)).is_empty());
    let findings = store.check(&|_| {}).unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn a_check_names_the_one_call_of_many_that_lacks_something() {
    let at = clock::now();
    let faults = [
        (b's', "the index lacks a key of it"),
        (b'f', "the index lacks a key of it"),
        (b'o', "the index lacks a key of it"),
        (b'c', "the index has no record of it where it should stand"),
        (b'k', "the journal has it and the index does not"),
    ];
    for (letter, problem) in faults {
        let dir = tempfile::tempdir().unwrap();
        let store = open(options(dir.path()));
        for call in 0..60 {
            send(&store, id(1 + call % 2, call), CallStatus::Completed, at);
        }
        let one = store.call(id(1, 30)).unwrap().unwrap();
        store.close().unwrap();
        drop(store);
        let mut keys = crate::keys::IndexKeys::of(&one).keys(one.id);
        keys.push(crate::keys::call(one.id.account, Position::of(&one)));
        keys.push(crate::keys::known(one.id));
        let lost: Vec<_> = keys
            .into_iter()
            .filter(|key| key.first() == Some(&letter))
            .map(|key| (key, None))
            .collect();
        assert_eq!(lost.len(), 1, "{problem}");
        crate::index::tests::tamper_rows(&index_dir(dir.path()), &lost);
        let findings = open(options(dir.path())).check(&|_| {}).unwrap().findings;
        let object = format!("{}/{}", one.id.account, one.id.sid);
        let named = findings.iter().find(|finding| finding.object == object);
        assert_eq!(named.map(|finding| &*finding.problem), Some(problem), "{findings:?}");
        assert!(
            findings.iter().all(|finding| finding.object == object || finding.object == "index")
        );
    }
}

#[test]
fn after_a_crash_an_index_that_lacks_a_row_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![ringing(1), ringing(2)]).unwrap();
    store.close().unwrap();
    drop(store);
    tamper(&index_dir(dir.path()), |db| {
        for key in db.iter().keys().map(Result::unwrap).filter(|key| !key.starts_with(b"m")) {
            db.remove(key).unwrap();
        }
    });
    fs::write(dir.path().join("LOCK"), "pid 1\n").unwrap();
    let store = open(options(dir.path()));
    assert_eq!(sids(&store, Filter::default()).len(), 2);
    assert_sound(&store);
}

#[test]
fn a_thread_that_panics_ends_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let panics = || panic!("on purpose");
    threads::start(store.shared.health.clone(), "thread", (), move |()| panics()).join().unwrap();
    assert!(matches!(store.ready(), Err(StoreError::Failed(_))));
    assert!(matches!(submit(&store, vec![ringing(1)]), Err(StoreError::Failed(_))));
}
