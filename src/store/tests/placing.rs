//! CDRs that name their call by its Call-ID, and calls that come before and after them.

use proptest::prelude::*;

use super::*;
use crate::keys::{derived, may_be_derived};

const AT: u64 = 1_795_849_200_000;

pub(super) fn time(seconds: u64) -> Timestamp {
    Timestamp::from_millis(AT + seconds * 1000).unwrap()
}

/// A CDR; without a sid it is under that of its Call-ID.
pub(super) fn cdr(
    account_n: u8,
    sid: Option<CallSid>,
    call_id: &str,
    status: CallStatus,
) -> StampedEvent {
    let id = match sid {
        Some(sid) => CallId { account: account(account_n), sid },
        None => derived(account(account_n), call_id),
    };
    let mut event = event(id, status, time(40));
    event.source = Source::Cdr;
    event.stamp = EventTimes {
        at: Some(time(40).into()),
        attempted_at: Some(time(0)),
        answered_at: (status == CallStatus::Completed).then(|| time(2)),
        terminated_at: Some(time(40)),
        end_said: true,
        ..EventTimes::default()
    };
    event.duration = (status == CallStatus::Completed).then_some(38);
    event.texts[CallField::CallId as usize] = Some(call_id.into());
    event.texts[CallField::From as usize] = Some("1555".into());
    event.extras = vec![
        ("sip_callid".into(), format!("\"{call_id}\"").into()),
        ("trunk".into(), "\"carrier\"".into()),
    ];
    event
}

/// A webhook, whose call is on the SBC by another Call-ID.
pub(super) fn webhook(
    account_n: u8,
    call: u8,
    sbc: &str,
    status: CallStatus,
    at: u64,
) -> StampedEvent {
    let mut event = event(id(account_n, call), status, time(at));
    event.texts[CallField::CallId as usize] = Some(format!("fs-{call}").into());
    event.texts[CallField::From as usize] = Some("+1555".into());
    event.extras = vec![("sbc_callid".into(), format!("\"{sbc}\"").into())];
    event
}

pub(super) fn put(store: &Store, event: StampedEvent) -> Outcome {
    store.apply(&[Change::Event(Box::new(event))], clock::now(), false).unwrap()
}

pub(super) fn place(store: &Store, due: bool) {
    let waiting: Vec<CallId> = {
        let registry = store.shared.view.registry.read();
        registry.all_waiting().map(|(id, _)| id).collect()
    };
    let changes: Vec<_> = waiting.into_iter().map(|id| Change::PlaceCdr { id, due }).collect();
    store.apply(&changes, clock::now(), false).unwrap();
}

pub(super) fn waiting(store: &Store) -> usize {
    store.shared.view.registry.read().waiting()
}

/// Has everything but CDRs that wait copied into the index.
fn wake(store: &Store) {
    until("the checkpointer empties the registry", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok() && store.shared.view.registry.read().records() == 0
    });
}

pub(super) fn all(store: &Store, account_n: u8) -> Vec<Arc<Call>> {
    list(store, &everything(account(account_n)), 7).unwrap()
}

#[test]
fn a_cdr_waits_unseen_for_its_call_and_becomes_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let outcome = put(&store, cdr(1, None, "sbc-1", CallStatus::NoAnswer));
    assert_eq!((outcome.new, outcome.cdrs.waiting), (0, 1));
    assert_eq!((all(&store, 1).len(), waiting(&store)), (0, 1));
    assert_eq!(store.status().calls, Some(0));
    put(&store, cdr(1, None, "sbc-1", CallStatus::NoAnswer));
    place(&store, false);
    assert_eq!((all(&store, 1).len(), waiting(&store)), (0, 1));
    // Another account's call of this Call-ID is another call.
    put(&store, webhook(2, 9, "sbc-1", CallStatus::Trying, 1));
    assert_eq!(waiting(&store), 1);
    let outcome = put(&store, webhook(1, 1, "sbc-1", CallStatus::Trying, 1));
    assert_eq!((outcome.new, outcome.cdrs.merged), (1, 1));
    let calls = all(&store, 1);
    assert_eq!((calls.len(), waiting(&store)), (1, 0));
    let call = &calls[0];
    assert_eq!(call.id, id(1, 1));
    assert_eq!(call.progress.status, CallStatus::NoAnswer, "a CDR is an end");
    assert_eq!(call.text(CallField::CallId), Some("fs-1"), "the call's own counts");
    assert_eq!(call.text(CallField::From), Some("+1555"));
    assert_eq!(call.extras.get("trunk"), Some("\"carrier\""));
    assert_eq!(all(&store, 2)[0].extras.get("trunk"), None);
    // What comes again says nothing new.
    let outcome = put(&store, cdr(1, None, "sbc-1", CallStatus::NoAnswer));
    assert_eq!((outcome.unchanged, outcome.cdrs.by_call_id), (1, 1));
    assert_eq!(live_calls(&store, account(1)).unwrap(), [0, 0]);
    wake(&store);
    assert_sound(&store);
}

#[test]
fn what_waited_in_vain_is_a_call_until_its_call_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    put(&store, cdr(1, None, "sbc-1", CallStatus::Busy));
    place(&store, true);
    let calls = all(&store, 1);
    assert_eq!((calls.len(), waiting(&store)), (1, 0));
    assert!(may_be_derived(calls[0].id.sid));
    assert_eq!(calls[0].attempted_at(), Some(time(0)));
    assert_eq!(calls[0].terminated_at(), Some(time(40)));
    let alone = calls[0].id;
    wake(&store);
    assert_eq!(put(&store, cdr(1, None, "sbc-1", CallStatus::Busy)).unchanged, 1);
    let begin = *store.published().borrow();
    put(&store, webhook(1, 1, "sbc-1", CallStatus::Busy, 41));
    let calls = all(&store, 1);
    assert_eq!(calls.iter().map(|call| call.id).collect::<Vec<_>>(), [id(1, 1)]);
    assert_eq!(calls[0].extras.get("trunk"), Some("\"carrier\""));
    // The feed says that the one is gone.
    let mut feed = store.feed(Reach::Everybody, FeedPosition::Changes(begin)).unwrap();
    let piece = FeedBudget { frames: 100, read: 1 << 20, bytes: 1 << 20 };
    let told = feed.next(&store, *store.published().borrow(), piece).unwrap();
    assert!(told.iter().any(|event| matches!(event.what, What::Deleted(id) if id == alone)));
    wake(&store);
    assert_sound(&store);
    drop(store);
    let store = open(options(dir.path()));
    assert_eq!(all(&store, 1).len(), 1);
    assert_eq!(store.rebuild(&mut |_| {}).unwrap(), 1);
    assert_eq!(all(&store, 1), calls);
}

#[test]
fn a_cdr_that_waits_survives_a_crash_and_an_index_that_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    put(&store, webhook(1, 7, "other", CallStatus::Completed, 1));
    put(&store, cdr(1, None, "sbc-1", CallStatus::NoAnswer));
    wake(&store);
    put(&store, webhook(1, 8, "others", CallStatus::Completed, 1));
    wake(&store);
    for lost in [false, true] {
        let image = tempfile::tempdir().unwrap();
        crash_image(&store, image.path());
        if lost {
            fs::remove_dir_all(index_dir(image.path())).unwrap();
        }
        let copy = open(options(image.path()));
        assert_eq!((waiting(&copy), all(&copy, 1).len()), (1, 2), "{lost}");
        put(&copy, webhook(1, 1, "sbc-1", CallStatus::Trying, 1));
        assert_eq!((waiting(&copy), all(&copy, 1).len()), (0, 3), "{lost}");
        assert_eq!(copy.call(id(1, 1)).unwrap().unwrap().progress.status, CallStatus::NoAnswer);
        let again = tempfile::tempdir().unwrap();
        crash_image(&copy, again.path());
        let copy = open(options(again.path()));
        assert_eq!((waiting(&copy), all(&copy, 1).len()), (0, 3), "{lost}");
        assert_eq!(copy.rebuild(&mut |_| {}).unwrap(), 3);
        assert_eq!((waiting(&copy), all(&copy, 1).len()), (0, 3), "{lost}");
        wake(&copy);
        assert_sound(&copy);
    }
    // A rebuild of a running store, too.
    assert_eq!(store.rebuild(&mut |_| {}).unwrap(), 2);
    assert_eq!(waiting(&store), 1);
}

#[test]
fn without_an_index_cdrs_are_taken_and_find_their_calls_once_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    put(&store, webhook(1, 1, "sbc-1", CallStatus::Trying, 1));
    put(&store, cdr(1, None, "sbc-3", CallStatus::Busy));
    put(&store, cdr(1, None, "sbc-5", CallStatus::Busy));
    place(&store, true);
    wake(&store);
    put(&store, cdr(1, None, "sbc-2", CallStatus::Busy));
    let still = store.shared.index_writer.lock();
    store.shared.view.set_index(Err("on purpose".to_owned()));
    for event in [
        cdr(1, None, "sbc-1", CallStatus::NoAnswer),
        cdr(1, None, "sbc-2", CallStatus::Busy),
        cdr(1, None, "sbc-4", CallStatus::Busy),
        webhook(1, 2, "sbc-2", CallStatus::Trying, 1),
        webhook(1, 3, "sbc-3", CallStatus::Trying, 1),
    ] {
        store.submit(vec![Change::Event(Box::new(event))], clock::now()).unwrap().wait().unwrap();
    }
    drop(still);
    until("the index is built again", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok()
    });
    place(&store, false);
    let mut found: Vec<_> = all(&store, 1).iter().map(|call| call.id).collect();
    found.sort_unstable();
    let mut expected = vec![id(1, 1), id(1, 2), id(1, 3), derived(account(1), "sbc-5")];
    expected.sort_unstable();
    assert_eq!(found, expected);
    let registry = store.shared.view.registry.read();
    let left: Vec<_> = registry.all_waiting().map(|(id, _)| id).collect();
    drop(registry);
    assert_eq!(left, [derived(account(1), "sbc-4")]);
    for (call, status) in [(1, CallStatus::NoAnswer), (2, CallStatus::Busy), (3, CallStatus::Busy)]
    {
        assert_eq!(store.call(id(1, call)).unwrap().unwrap().progress.status, status, "{call}");
    }
    wake(&store);
    assert_sound(&store);
}

#[test]
fn a_deleted_call_does_not_come_back_by_a_cdr() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    put(&store, cdr(1, None, "sbc-1", CallStatus::Busy));
    put(&store, webhook(1, 1, "sbc-1", CallStatus::Busy, 41));
    store.apply(&[Change::Delete(id(1, 1))], clock::now(), false).unwrap();
    assert_eq!(put(&store, cdr(1, None, "sbc-1", CallStatus::Busy)).ignored, 1);
    place(&store, true);
    assert_eq!((all(&store, 1).len(), waiting(&store)), (0, 0));
}

#[test]
fn a_deleted_call_does_not_come_back_by_the_first_cdr_that_is_heard_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    put(&store, webhook(1, 1, "sbc-1", CallStatus::Busy, 41));
    put(&store, webhook(1, 2, "shared", CallStatus::Busy, 41));
    put(&store, webhook(1, 3, "shared", CallStatus::Busy, 41));
    wake(&store);
    let outcome =
        store.apply(&[Change::Delete(id(1, 1)), Change::Delete(id(1, 2))], clock::now(), false);
    assert_eq!(outcome.unwrap().changed, 2);
    // By the Call-ID of the SBC, by its own, and as it is read back from an InfluxDB.
    assert_eq!(put(&store, cdr(1, None, "sbc-1", CallStatus::Busy)).ignored, 1);
    assert_eq!(put(&store, cdr(1, None, "fs-1", CallStatus::Busy)).ignored, 1);
    let read_back = merge(None, cdr(1, None, "sbc-1", CallStatus::Busy), time(0));
    let read_back = Change::Record(Arc::new(read_back));
    assert_eq!(store.apply(&[read_back], clock::now(), false).unwrap().ignored, 1);
    // Another account's is another call, and so is one that has the same Call-ID and stays.
    assert_eq!(put(&store, cdr(2, None, "sbc-1", CallStatus::Busy)).cdrs.waiting, 1);
    assert_eq!(put(&store, cdr(1, None, "shared", CallStatus::Busy)).cdrs.by_call_id, 1);
    place(&store, true);
    let left: Vec<_> = all(&store, 1).iter().map(|call| call.id).collect();
    assert_eq!(left, [id(1, 3)]);
    assert_eq!(all(&store, 1)[0].extras.get("trunk"), Some("\"carrier\""));
    assert_eq!(all(&store, 2).len(), 1);
    wake(&store);
    assert_sound(&store);
}

#[test]
fn cdrs_that_become_calls_have_no_checkpoints_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { checkpoint_interval: HOUR, ..options(dir.path()) };
    options.cdrs.wait_millis = 1;
    let store = open(options);
    for (n, late) in [(1, 0), (2, 700), (3, 1400)] {
        let event = cdr(1, None, &format!("sbc-{n}"), CallStatus::Busy);
        let at = clock::now().plus_millis(late);
        store.apply(&[Change::Event(Box::new(event))], at, false).unwrap();
    }
    // It sleeps until the time of the first one is over, and knows of none yet.
    store.shared.checkpointer.wake();
    until("all of them are calls", || all(&store, 1).len() == 3);
    assert_eq!(store.shared.view.registry.read().records(), 3, "they are in memory alone");
}

/// What is heard of some calls, in no order.
pub(super) fn heard() -> Vec<Change> {
    let mut changes = Vec::new();
    let event = |event| Change::Event(Box::new(event));
    for call in 1..=3_u8 {
        let sbc = format!("sbc-{call}");
        let sid = id(1, call).sid;
        let statuses = [CallStatus::Trying, CallStatus::InProgress, CallStatus::Completed];
        for (n, status) in statuses.into_iter().take(usize::from(call)).enumerate() {
            changes.push(event(webhook(1, call, &sbc, status, n as u64)));
        }
        changes.push(event(cdr(1, None, &sbc, CallStatus::NoAnswer)));
        changes.push(event(cdr(1, Some(sid), &sbc, CallStatus::Completed)));
        let mut found = webhook(1, call, &sbc, CallStatus::InProgress, 0);
        (found.source, found.stamp) = (Source::Mirror, EventTimes::default());
        changes.push(event(found));
    }
    // Known by CDRs alone, once as it was exported.
    changes.push(event(cdr(1, None, "sbc-9", CallStatus::Busy)));
    let exported = merge(None, cdr(1, None, "sbc-1", CallStatus::NoAnswer), time(0));
    changes.push(Change::Record(Arc::new(exported)));
    changes
}

fn settled(changes: &[Change], dues: &[bool]) -> Vec<Call> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { sync: false, ..options(dir.path()) });
    for (change, due) in changes.iter().zip(dues.iter().cycle()) {
        store.apply(std::slice::from_ref(change), time(0), false).unwrap();
        if *due {
            place(&store, true);
        }
    }
    place(&store, true);
    let mut calls: Vec<Call> = all(&store, 1).iter().map(|call| (**call).clone()).collect();
    calls.sort_by_key(|call| call.id);
    for call in &mut calls {
        // Fixed when the call was registered.
        call.listed_at = Timestamp::default();
    }
    calls
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn order_and_repetition_of_all_sources_do_not_matter(
        changes in Just([heard(), heard()].concat()).prop_shuffle(),
        dues in proptest::collection::vec(any::<bool>(), 7),
    ) {
        let expected = settled(&heard(), &[false]);
        prop_assert_eq!(expected.len(), 4);
        prop_assert_eq!(settled(&changes, &dues), expected);
    }
}
