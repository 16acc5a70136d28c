//! What becomes of events while there is no index.

use super::*;

/// Takes the index away for as long as this is held: nothing is built meanwhile.
fn outage(store: &Store) -> parking_lot::MutexGuard<'_, ()> {
    let still = store.shared.index_writer.lock();
    store.shared.view.set_index(Err("on purpose".to_owned()));
    still
}

fn mended(store: &Store) {
    until("the index is built again", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok()
    });
}

fn submit(store: &Store, changes: Vec<Change>) -> Result<Outcome, StoreError> {
    store.submit(changes, clock::now())?.wait()
}

fn of(call: u8, status: CallStatus) -> Change {
    Change::Event(Box::new(event(id(1, call), status, clock::now())))
}

fn copy_of(store: &Store, image: &Path) -> Store {
    crash_image(store, image);
    open(options(image))
}

/// A store with a call that is up, one that has ended and one that was deleted, none in memory.
fn filled(dir: &Path) -> Store {
    let store = open(options(dir));
    submit(&store, vec![of(1, CallStatus::Ringing), of(2, CallStatus::Completed)]).unwrap();
    submit(&store, vec![of(3, CallStatus::Ringing)]).unwrap();
    submit(&store, vec![Change::Delete(id(1, 3))]).unwrap();
    wake(&store);
    store
}

fn assert_joined(store: &Store) {
    let mut all = sids(store, Filter::default());
    all.sort_unstable();
    assert_eq!(all, [1, 2, 4, 5], "a deleted call does not come back");
    let call = store.call(id(1, 1)).unwrap().unwrap();
    assert_eq!(call.progress.status, CallStatus::Completed);
    assert_eq!(call.timeline.len(), 3, "what was known and what was heard: {:?}", call.timeline);
    let two = store.call(id(1, 2)).unwrap().unwrap();
    assert_eq!(two.progress.status, CallStatus::Completed, "it does not ring again");
    assert_eq!(store.call(id(1, 4)).unwrap().unwrap().timeline.len(), 2);
    assert_eq!(live_calls(store, account(1)).unwrap(), [1, 0]);
    assert_eq!(store.meter().live_of(account(1)), 1);
}

/// The same with a Call-ID, under which something may be known.
fn with_call_id(call: u8, status: CallStatus) -> Change {
    let mut event = event(id(1, call), status, clock::now());
    event.texts[CallField::CallId as usize] = Some("4ca3a936@sbc".into());
    Change::Event(Box::new(event))
}

#[test]
fn a_call_that_ends_and_becomes_a_part_at_once_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    submit(&store, vec![of(1, CallStatus::Ringing), of(2, CallStatus::Ringing)]).unwrap();
    submit(&store, vec![of(3, CallStatus::Ringing)]).unwrap();
    let still = outage(&store);
    // It is in memory, and is whole until the Call-ID comes.
    submit(&store, vec![of(1, CallStatus::Busy), with_call_id(1, CallStatus::Busy)]).unwrap();
    submit(&store, vec![with_call_id(2, CallStatus::Ringing)]).unwrap();
    submit(&store, vec![of(2, CallStatus::Busy)]).unwrap();
    drop(still);
    mended(&store);
    assert_eq!(live_calls(&store, account(1)).unwrap(), [1, 0]);
    assert_eq!(store.meter().live_of(account(1)), 1);
}

#[test]
fn without_an_index_events_of_all_calls_are_taken_and_join_what_is_known_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let tag = store.last_change_of(Scope::Account(account(1)), &[]);
    let begin = *store.published().borrow();
    let still = outage(&store);
    assert!(store.ready().is_err() && store.lives().is_ok());
    let ringing = of(4, CallStatus::Ringing);
    let imported = Change::Record(Arc::new(merge(
        None,
        event(id(1, 5), CallStatus::Busy, clock::now()),
        clock::now(),
    )));
    for changes in [
        vec![of(1, CallStatus::InProgress), of(2, CallStatus::Ringing)],
        vec![of(3, CallStatus::Completed)],
        vec![of(4, CallStatus::Trying), imported],
        vec![ringing.clone(), of(1, CallStatus::Completed)],
    ] {
        let count = changes.len() as u64;
        assert_eq!(submit(&store, changes).unwrap().changed, count);
    }
    assert_eq!(submit(&store, vec![ringing]).unwrap().unchanged, 1, "it is heard once more");
    store.shared.view.expect_index(Duration::from_secs(90));
    let asked = store.call(id(1, 1));
    assert!(matches!(asked, Err(StoreError::IndexUnavailable(_, Some(1..)))), "{asked:?}");
    // What is known of a call is not known now, and nobody is told a part.
    assert!(
        store.last_change_of(Scope::Account(account(1)), &[]) > tag,
        "a client that has a list has an old one"
    );
    for call in [1, 3, 4] {
        let asked = store.call(id(1, call));
        assert!(matches!(asked, Err(StoreError::IndexUnavailable(..))), "{asked:?}");
    }
    for change in [Change::Delete(id(1, 4)), Change::Expire(id(1, 1))] {
        let told = submit(&store, vec![change, of(6, CallStatus::Trying)]);
        assert!(matches!(told, Err(StoreError::IndexUnavailable(..))), "{told:?}");
    }
    let mut feed = store.feed(Reach::Everybody, FeedPosition::Changes(begin)).unwrap();
    let piece = FeedBudget { frames: 100, read: 1 << 20, bytes: 1 << 20 };
    let until_now = *store.published().borrow();
    while !feed.has_read(until_now) {
        assert_eq!(feed.next(&store, until_now, piece).unwrap(), []);
    }
    let images: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (n, image) in images.iter().enumerate() {
        crash_image(&store, image.path());
        let index = index_dir(image.path());
        match n {
            0 => {}
            1 => fs::remove_dir_all(index).unwrap(),
            _ => fs::remove_file(image.path().join("CURRENT")).unwrap(),
        }
    }
    drop(still);
    mended(&store);
    assert_joined(&store);
    let until_now = *store.published().borrow();
    let mut told = std::collections::BTreeMap::new();
    while !feed.has_read(until_now) {
        for event in feed.next(&store, until_now, piece).unwrap() {
            if let What::Call(call) = event.what {
                told.insert(call.id, call);
            }
        }
    }
    for call in [1, 2, 4, 5] {
        assert_eq!(told.get(&id(1, call)), store.call(id(1, call)).unwrap().as_ref());
    }
    wake(&store);
    assert_joined(&store);
    assert_sound(&store);
    // Killed in the midst of it, with an index and without.
    for image in &images {
        let store = open(options(image.path()));
        assert_joined(&store);
        assert_sound(&store);
        // The start has given every part its place in the journal, too.
        let again = tempfile::tempdir().unwrap();
        let copy = copy_of(&store, again.path());
        assert_joined(&copy);
        assert_eq!(copy.rebuild(&mut |_| {}).unwrap(), 4);
        assert_joined(&copy);
    }
}

#[test]
fn a_part_that_has_its_place_leaves_the_journal_and_brings_no_deleted_call_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { max_lifetime_millis: 1, ..options(dir.path()) });
    submit(&store, vec![of(1, CallStatus::Ringing)]).unwrap();
    let still = outage(&store);
    submit(&store, vec![of(2, CallStatus::Completed)]).unwrap();
    drop(still);
    mended(&store);
    submit(&store, vec![Change::Delete(id(1, 2))]).unwrap();
    let parts = || {
        let mut parts = 0;
        for segment in store.segments() {
            let mut scanner = crate::journal::Scanner::new(&segment).unwrap();
            while let Some((_, frame)) = scanner.next_frame().unwrap() {
                parts += u32::from(frame.kind == crate::journal::FrameKind::Part);
            }
        }
        parts
    };
    assert_eq!(parts(), 1);
    until("nothing of it is left", || {
        store.collect(Depth::Erase).unwrap();
        parts() == 0
    });
    assert_eq!(store.rebuild(&mut |_| {}).unwrap(), 1);
    assert_eq!(sids(&store, Filter::default()), [1]);
}

#[test]
fn without_an_index_events_are_taken_until_memory_is_full_and_those_of_calls_in_memory_beyond_that()
{
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { registry_calls: 4, ..options(dir.path()) });
    submit(&store, vec![of(0, CallStatus::Trying)]).unwrap();
    wake(&store);
    let still = outage(&store);
    for call in 0..4 {
        submit(&store, vec![of(call, CallStatus::Ringing)]).unwrap();
    }
    let refused = submit(&store, vec![of(0, CallStatus::Completed), of(4, CallStatus::Ringing)]);
    assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    for call in 0..4 {
        submit(&store, vec![of(call, CallStatus::Completed)]).unwrap();
    }
    drop(still);
    mended(&store);
    store.apply(&[of(4, CallStatus::Completed)], clock::now(), false).unwrap();
    assert_eq!(sids(&store, with_status(CallStatus::Completed)).len(), 5);
    wake(&store);
    assert_sound(&store);
}

#[test]
fn a_start_without_an_index_takes_events_and_knows_its_settings_while_one_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let name = format!("account/{}", account(1));
    let settings = crate::access::Account::new(account(1));
    let json = serde_json::to_vec(&settings).unwrap();
    store
        .apply(&[Change::setting(crate::access::SettingRow { name, json })], clock::now(), false)
        .unwrap();
    let still = outage(&store);
    submit(&store, vec![of(1, CallStatus::InProgress), of(4, CallStatus::Trying)]).unwrap();
    let image = tempfile::tempdir().unwrap();
    crash_image(&store, image.path());
    drop(still);
    for damaged in [true, false] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(image.path(), copy.path());
        let index = index_dir(copy.path());
        if damaged {
            fs::write(index.join("db"), [0x5a; 9000]).unwrap();
        } else {
            fs::remove_dir_all(&index).unwrap();
        }
        let store = open(Options { build_later: true, ..options(copy.path()) });
        {
            let _still = store.shared.index_writer.lock();
            assert!(store.ready().is_err(), "it is built after the start");
            assert!(store.access(|access| access.account(account(1)).is_some()));
            submit(&store, vec![of(1, CallStatus::Completed), of(4, CallStatus::Ringing)]).unwrap();
            submit(&store, vec![of(3, CallStatus::Completed), of(5, CallStatus::Busy)]).unwrap();
            let asked = store.call(id(1, 1));
            assert!(matches!(asked, Err(StoreError::IndexUnavailable(..))), "{asked:?}");
        }
        store.wait_for_index(DEADLINE, &|_| {});
        assert_joined(&store);
        assert!(store.access(|access| access.account(account(1)).is_some()));
        wake(&store);
        assert_sound(&store);
        assert_eq!(copy.path().join("index-1.damaged").is_dir(), damaged);
        store.close().unwrap();
        drop(store);
        let store = open(options(copy.path()));
        assert_joined(&store);
        assert!(store.access(|access| access.account(account(1)).is_some()));
    }
}

/// What an index that could not be opened for a while has not, and the journal has, is in memory beside
/// the parts once it can be opened again.
#[test]
fn an_index_that_is_back_is_asked_only_of_what_the_journal_has_nothing_newer_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    submit(&store, vec![of(4, CallStatus::Trying)]).unwrap();
    submit(&store, vec![of(1, CallStatus::InProgress), of(6, CallStatus::Trying)]).unwrap();
    submit(&store, vec![Change::Delete(id(1, 6))]).unwrap();
    let (away, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    crash_image(&store, away.path());
    let index = index_dir(away.path());
    let aside = away.path().join("aside");
    fs::rename(&index, &aside).unwrap();
    {
        let store = open(Options { build_later: true, ..options(away.path()) });
        let _still = store.shared.index_writer.lock();
        submit(&store, vec![of(1, CallStatus::Completed), of(6, CallStatus::Completed)]).unwrap();
        submit(&store, vec![of(3, CallStatus::Completed), of(4, CallStatus::Ringing)]).unwrap();
        submit(&store, vec![of(5, CallStatus::Busy)]).unwrap();
        image_without_index(away.path(), back.path());
    }
    copy_dir(&aside, &back.path().join(index.file_name().unwrap()));
    let store = open(options(back.path()));
    assert_joined(&store);
    wake(&store);
    assert_joined(&store);
    assert_sound(&store);
}

/// Whose a call is that several accounts say they have.
fn owners(store: &Store, accounts: &[u8], call: u8) -> Vec<u8> {
    let owns = |n: &u8| store.call(id(*n, call)).unwrap().is_some_and(|call| !call.namesake);
    accounts.iter().copied().filter(owns).collect()
}

#[test]
fn a_sid_belongs_to_the_account_that_had_it_first_however_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let of = |account: u8, call| {
        Change::Event(Box::new(event(id(account, call), CallStatus::Ringing, clock::now())))
    };
    // In one submission, in two of them, in memory and in the index.
    submit(&store, vec![of(2, 1), of(1, 1), of(2, 1), of(3, 1)]).unwrap();
    submit(&store, vec![of(3, 2)]).unwrap();
    submit(&store, vec![of(1, 2)]).unwrap();
    submit(&store, vec![of(1, 3)]).unwrap();
    wake(&store);
    submit(&store, vec![of(3, 3), of(2, 3), of(2, 2)]).unwrap();
    // Deleted, and still deleted.
    submit(&store, vec![of(2, 4)]).unwrap();
    submit(&store, vec![Change::Delete(id(2, 4))]).unwrap();
    submit(&store, vec![of(1, 4)]).unwrap();
    // While there is no index: by the order in which they came.
    let still = outage(&store);
    submit(&store, vec![of(3, 5)]).unwrap();
    submit(&store, vec![of(1, 5), of(2, 3), of(4, 3), of(3, 5)]).unwrap();
    drop(still);
    mended(&store);
    submit(&store, vec![of(2, 5)]).unwrap();
    let all = [1, 2, 3, 4];
    let look = |store: &Store| {
        let owners: Vec<_> = (1..=5).map(|call| owners(store, &all, call)).collect();
        assert_eq!(owners, [vec![2], vec![3], vec![1], vec![], vec![3]]);
    };
    look(&store);
    wake(&store);
    look(&store);
    store.rebuild(&mut |_| {}).unwrap();
    look(&store);
    submit(&store, vec![of(1, 1), of(2, 2), of(3, 3)]).unwrap();
    look(&store);
    store.close().unwrap();
    drop(store);
    let store = open(Options { rebuild: true, ..options(dir.path()) });
    look(&store);
    assert_sound(&store);
    // It belongs to nobody else once its owner's is gone.
    submit(&store, vec![Change::Delete(id(3, 2))]).unwrap();
    assert!(owners(&store, &all, 2).is_empty());
}
