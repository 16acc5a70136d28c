//! Work of the store on a disk that has little space.

use super::*;
use crate::domain::show_size;
use crate::store::disk_space::Pretended;
use crate::store::index_builder::BuildOptions;
use crate::store::index_builder::from_index::{expected_bytes, needed_bytes};

const MIB: u64 = 1 << 20;
const SEGMENT: u64 = MIB;
const LEAST: u64 = 8 * MIB;

/// A store of some MiB, half of which can go, on a disk that then has so much space.
fn crowded(dir: &Path, free: u64) -> Store {
    let mut options = options(dir);
    (options.segment_bytes, options.registry_calls) = (SEGMENT, 100_000);
    (options.queue_events, options.min_free_bytes) = (10_000, LEAST);
    let store = open(options);
    let mut state = 7_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + u8::try_from((state >> 33) % 95).unwrap())
    };
    for version in 0..2 {
        for part in 0..20_u64 {
            let changes = (0..200).map(|n| {
                let sid = CallSid::from_bytes(u128::from(part * 200 + n).to_be_bytes());
                let id = CallId { account: account(1), sid };
                let mut event = event(id, CallStatus::Completed, clock::now());
                event.stamp = EventTimes::live(clock::now().plus_millis(version), None);
                // What does not compress.
                let text: String = (0..900).map(|_| random()).collect();
                event.texts[CallField::From as usize] = Some(format!("{version}{text}").into());
                Change::Event(Box::new(event))
            });
            store.apply(&changes.collect::<Vec<_>>(), clock::now(), false).unwrap();
        }
    }
    wake(&store);
    set_free(&store, free);
    store
}

fn journal_bytes(store: &Store) -> u64 {
    let files = fs::read_dir(store.shared.options.data_dir.join("journal")).unwrap();
    // One that is gone meanwhile takes nothing.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|about| about.len()).sum()
}

fn set_free(store: &Store, free: u64) {
    let disk = Pretended { bytes: journal_bytes(store) + free, lowest: u64::MAX };
    *store.shared.disk.pretended.lock() = Some(disk);
    store.shared.disk.look();
}

fn lowest(store: &Store) -> u64 {
    store.shared.disk.pretended.lock().as_ref().unwrap().lowest
}

#[test]
fn a_round_gives_room_back_before_it_takes_more_and_leaves_the_gate_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowded(dir.path(), LEAST + 5 * SEGMENT / 2);
    let before = journal_bytes(&store);
    let segments = store.status().journal_segments;
    assert!(before > 6 * SEGMENT && segments > 6, "{before} bytes, {segments} segments");
    store.collect(Depth::Thorough).unwrap();
    assert!(journal_bytes(&store) < before * 3 / 5, "{} of {before}", journal_bytes(&store));
    assert!(lowest(&store) >= LEAST, "{} were left", lowest(&store));
    assert!(store.takes_events().is_ok());
    assert_sound(&store);
}

#[test]
fn where_there_is_no_room_nothing_is_written_and_it_goes_on_by_itself_once_there_is() {
    let dir = tempfile::tempdir().unwrap();
    // Rounds come an hour apart.
    let store = crowded(dir.path(), LEAST + SEGMENT / 2);
    let before = journal_bytes(&store);
    let refused = store.collect(Depth::Thorough).unwrap_err();
    assert!(matches!(refused, StoreError::NoSpace { kept: LEAST, .. }), "{refused}");
    assert!(lowest(&store) >= LEAST && store.takes_events().is_ok());
    assert!(journal_bytes(&store) < before + SEGMENT / 4, "what was begun is left behind");
    set_free(&store, LEAST + 3 * SEGMENT);
    until("what can go goes", || journal_bytes(&store) < before * 3 / 5);
    assert!(lowest(&store) >= LEAST, "{} were left", lowest(&store));
    assert_sound(&store);
}

#[test]
fn a_gate_that_others_have_shut_is_opened_again_by_what_the_round_gives_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowded(dir.path(), LEAST - MIB);
    assert!(store.takes_events().is_err());
    store.collect(Depth::Thorough).unwrap();
    assert!(store.takes_events().is_ok(), "{:?}", store.status().disk_low);
    assert!(lowest(&store) >= LEAST / 4, "{} were left", lowest(&store));
    assert_sound(&store);
}

#[test]
fn what_is_still_read_gives_no_room_back_until_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowded(dir.path(), LEAST + 5 * SEGMENT / 2);
    let before = journal_bytes(&store);
    // A backup, say.
    let reader = store.segments();
    let refused = store.collect(Depth::Thorough).unwrap_err();
    assert!(matches!(refused, StoreError::NoSpace { .. }), "{refused}");
    assert!(lowest(&store) >= LEAST && store.takes_events().is_ok());
    assert!(reader.iter().all(|segment| segment.path.exists()));
    drop(reader);
    until("what can go goes", || journal_bytes(&store) < before * 3 / 5);
    assert!(lowest(&store) >= LEAST, "{} were left", lowest(&store));
    assert_sound(&store);
}

#[test]
fn a_new_index_that_can_wait_does_not_shut_the_gate_and_one_that_cannot_leaves_a_fourth() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowded(dir.path(), LEAST + 90 * MIB);
    // What it may take is 64 MiB and more; what it takes is in another directory.
    store.compact(&mut |_| {}).unwrap();
    set_free(&store, LEAST + 60 * MIB);
    for refused in [
        store.compact(&mut |_| {}).map(|_| ()).unwrap_err(),
        store.rebuild(&mut |_| {}).map(|_| ()).unwrap_err(),
    ] {
        let said = refused.to_string();
        let kept = format!("of which {} stay free (store.min_free_bytes)", show_size(LEAST));
        assert!(matches!(refused, StoreError::NotBuilt(_)) && said.contains(&kept), "{said}");
    }
    assert!(store.ready().is_ok());
    // While it is filled, too.
    let kept = store.shared.disk.kept_at_least();
    assert_eq!(kept, LEAST / 4);
    let options = BuildOptions { shared: &store.shared, gentle: false, kept, progress: &|_| {} };
    assert!(options.go_on().is_ok());
    set_free(&store, kept + MIB);
    let refused = chain(&options.go_on().unwrap_err());
    assert!(refused.contains(&format!("of which {} stay free", show_size(kept))), "{refused}");
}

#[test]
fn an_index_that_has_no_room_beside_the_journal_is_copied_once_that_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowded(dir.path(), LEAST + 90 * MIB);
    store.compact(&mut |_| {}).unwrap();
    let index = store.shared.view.index().unwrap();
    let needed = needed_bytes(expected_bytes(index.stats(), index.built().unwrap()));
    drop(index);
    // Packing gives back more than the half MiB that is missing.
    let before = journal_bytes(&store);
    set_free(&store, LEAST + needed - MIB / 2);
    let refused = store.compact(&mut |_| {}).unwrap_err();
    assert!(matches!(refused, StoreError::NotBuilt(_)), "{refused}");
    let (journal, index) = store.collect_and_compact(Depth::Thorough, &mut |_| {}).unwrap();
    assert!(journal.segments > 6 && journal_bytes(&store) + MIB < before, "{journal:?}");
    assert_eq!(index.unwrap().calls, 4000);
    assert_sound(&store);
}

#[test]
fn bulk_work_ends_where_what_is_in_memory_does_not_fit_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { registry_calls: 50, ..options(dir.path()) });
    // A checkpoint takes 4 MiB at least.
    set_free(&store, 3 * MIB);
    let batch = |part: u64| -> Vec<Change> {
        let calls = (0..20).map(|n| {
            let sid = CallSid::from_bytes(u128::from(part * 20 + n).to_be_bytes());
            let id = CallId { account: account(1), sid };
            Change::Event(Box::new(event(id, CallStatus::Completed, clock::now())))
        });
        calls.collect()
    };
    let refused = (0..20).find_map(|part| store.apply(&batch(part), clock::now(), false).err());
    assert!(matches!(refused, Some(StoreError::NoSpace { .. })), "{refused:?}");
    set_free(&store, 1 << 30);
    for part in 0..20 {
        // The first may still hear of the last checkpoint.
        until("there is room", || store.apply(&batch(part), clock::now(), false).is_ok());
    }
    assert_eq!(list(&store, &everything(account(1)), 1000).unwrap().len(), 400);
    assert_sound(&store);
}
