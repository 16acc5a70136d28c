//! What is applied gives the same calls, whatever was copied, packed, started anew or committed together in
//! between.

use super::placing::{cdr, waiting, webhook};
use super::*;
use crate::access::{CLUSTER, ClusterSettings, Replaces, SettingRow};
use crate::codec;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * HOUR_MILLIS;
/// How long a call lives in these tests.
const LIFETIME: u64 = 10 * MINUTE;

/// Changes, and when they were received, in minutes after [`begin`].
pub(super) type Taken = (u64, Vec<Change>);

/// What happens between what is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// All is copied into the index.
    Copied,
    /// What is no longer needed leaves the journal and the index.
    Packed,
    /// The first ones are copied, the others are not.
    CopiedUntil(usize),
    Restarted,
    Rebuilt,
    /// All but the first ones are one commit.
    OneCommitFrom(usize),
}

/// What may happen between so many.
fn every(count: usize) -> Vec<Between> {
    let mut every = vec![Between::Copied, Between::Packed, Between::Restarted, Between::Rebuilt];
    let some = (0..count).filter(|n| count < 20 || *n == 0 || n + 10 > count);
    every.extend(some.flat_map(|n| [Between::CopiedUntil(n), Between::OneCommitFrom(n)]));
    every
}

/// Long ago: all deletions of these tests may have left journal and index.
fn begin() -> Timestamp {
    static BEGIN: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *BEGIN.get_or_init(|| clock::now().minus_millis(30 * DAY))
}

fn minute(n: u64) -> Timestamp {
    begin().plus_millis(n * MINUTE)
}

fn brief(dir: &Path) -> Options {
    // CDRs wait for as long as they are not placed.
    let cdrs = CdrOptions { taken: true, wait_millis: 400 * DAY };
    Options { max_lifetime_millis: LIFETIME, cdrs, ..options(dir) }
}

/// Takes all of it in one commit.
pub(super) fn in_one_commit(store: &Store, taken: &[Taken]) {
    // The committer waits for it with the first one, while the others queue.
    let held = store.shared.view.registry.write();
    let submit = |(at, changes): &Taken| store.submit(changes.clone(), minute(*at)).unwrap();
    let tickets: Vec<_> = taken.iter().map(submit).collect();
    drop(held);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

/// A call as it is stored, and whether it is a CDR that waits.
pub(super) type KnownCall = (CallId, Vec<u8>, bool);

/// All that is known.
pub(super) fn known(store: &Store) -> Vec<KnownCall> {
    let mut known = Vec::new();
    for n in 1..=4 {
        let calls = list(store, &everything(account(n)), 100).unwrap();
        known.extend(calls.iter().map(|call| (call.id, codec::encode(call), false)));
    }
    let registry = store.shared.view.registry.read();
    known.extend(registry.all_waiting().map(|(id, part)| (id, codec::encode(&part.call), true)));
    drop(registry);
    known.sort();
    known
}

/// Has the checkpointer forget what it can, once the compactor has packed what it can.
fn pack(store: &Store) {
    store.collect(Depth::Erase).unwrap();
    store.shared.forgotten.store(true, Ordering::Release);
    store.shared.checkpoint_now().unwrap();
}

/// What a store knows after it has taken this.
fn taken_with(between: Between, taken: &[Taken]) -> Vec<KnownCall> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(brief(dir.path()));
    store.shared.view.note_logged(begin());
    store.apply(&cluster_row(LIFETIME / MINUTE), begin(), false).unwrap();
    for (n, (at, changes)) in taken.iter().enumerate() {
        if let Between::OneCommitFrom(first) = between
            && n == first
        {
            in_one_commit(&store, &taken[n..]);
            break;
        }
        store.shared.view.note_logged(minute(*at));
        store.apply(changes, minute(*at), false).unwrap();
        match between {
            Between::Copied => store.shared.checkpoint_now().unwrap(),
            Between::CopiedUntil(last) if n < last => store.shared.checkpoint_now().unwrap(),
            Between::Packed => pack(&store),
            Between::Restarted | Between::Rebuilt => {
                let image = dir.path().join(n.to_string());
                fs::create_dir(&image).unwrap();
                crash_image(&store, &image);
                drop(store);
                store = open(Options { rebuild: between == Between::Rebuilt, ..brief(&image) });
                store.shared.view.note_logged(minute(*at));
            }
            _ => {}
        }
    }
    let known = known(&store);
    store.shared.checkpoint_now().unwrap();
    assert_sound(&store);
    known
}

/// What a store knows after it has taken this, which is the same whatever happens in between.
fn settled(taken: &[Taken]) -> Vec<KnownCall> {
    let expected = taken_with(Between::Nothing, taken);
    for between in every(taken.len()) {
        let known = taken_with(between, taken);
        let show = |known: &[KnownCall]| {
            let call =
                |(id, bytes, waits): &KnownCall| (*id, codec::decode(bytes).unwrap(), *waits);
            known.iter().map(call).collect::<Vec<_>>()
        };
        assert!(known == expected, "{between:?}: {:#?}\n{:#?}", show(&known), show(&expected));
    }
    expected
}

fn heard(at: u64, n: u8, call: u8) -> Taken {
    (at, told(event(id(n, call), CallStatus::Ringing, minute(at))))
}

fn told(event: StampedEvent) -> Vec<Change> {
    vec![Change::Event(Box::new(event))]
}

fn owners(known: &[KnownCall], call: u8) -> Vec<u8> {
    let calls = known.iter().map(|(_, bytes, _)| codec::decode(bytes).unwrap());
    let own = calls.filter(|found| found.id.sid == id(1, call).sid && !found.namesake);
    own.map(|found| found.id.account.bytes()[0]).collect()
}

#[test]
fn a_deletion_whose_time_is_over_takes_no_sid_wherever_it_was() {
    let known = settled(&[
        heard(0, 2, 1),
        heard(0, 2, 2),
        (1, vec![Change::Delete(id(2, 1)), Change::Delete(id(2, 2))]),
        // The one still stands, the other does not, and then neither is there any more.
        heard(11, 1, 1),
        heard(12, 1, 2),
        heard(0, 2, 3),
        (12, vec![Change::Delete(id(2, 3))]),
        heard(2 * 1440, 1, 4),
        heard(2 * 1440, 1, 3),
        heard(23, 4, 3),
    ]);
    assert_eq!(owners(&known, 3), [1]);
    assert_eq!((owners(&known, 1), owners(&known, 2)), (vec![], vec![1]));
}

#[test]
fn whose_a_sid_is_is_said_by_what_is_newest_of_each_call() {
    let namesake = |n: u8, call: u8| {
        let joined = merge(None, event(id(n, call), CallStatus::Trying, begin()), begin());
        vec![Change::Record(Arc::new(Call { namesake: true, ..joined }))]
    };
    let known = settled(&[
        heard(0, 2, 1),
        (1, vec![Change::Delete(id(2, 1))]),
        // It comes again, and is another's by now.
        (12, namesake(2, 1)),
        heard(13, 1, 1),
        (14, namesake(3, 2)),
        heard(15, 1, 2),
        // The index may have it as it was before it was deleted.
        heard(16, 2, 3),
        (17, vec![Change::Delete(id(2, 3))]),
        heard(28, 1, 3),
    ]);
    assert_eq!(owners(&known, 3), [1]);
    assert_eq!((owners(&known, 1), owners(&known, 2)), (vec![1], vec![1]));
}

#[test]
fn a_deletion_stands_for_what_is_received_in_its_time_in_whatever_commit() {
    let known = settled(&[
        heard(0, 1, 1),
        (1, vec![Change::Delete(id(1, 1))]),
        heard(11, 1, 1),
        heard(12, 1, 1),
        heard(13, 1, 2),
    ]);
    assert_eq!(known.len(), 2);
}

#[test]
fn a_call_id_is_that_of_the_call_that_was_listed_first_in_whatever_commit() {
    let other = |call: u8, direction, sbc: &str, at: u64| {
        let mut event = webhook(1, call, sbc, CallStatus::Trying, at);
        event.direction = direction;
        told(event)
    };
    let known = settled(&[
        (0, other(3, Direction::Outbound, "shared", 30)),
        (1, other(2, Direction::Inbound, "shared", 20)),
        (2, other(1, Direction::Inbound, "shared", 40)),
        (3, told(cdr(1, None, "shared", CallStatus::Busy))),
        // Its call gets to know another one before the CDR comes.
        (4, other(4, Direction::Inbound, "first", 50)),
        (5, {
            let mut event = webhook(1, 4, "second", CallStatus::InProgress, 60);
            event.direction = Direction::Inbound;
            told(event)
        }),
        (6, told(cdr(1, None, "second", CallStatus::Busy))),
        (7, told(cdr(1, None, "first", CallStatus::NoAnswer))),
        // A call that has another direction by now.
        (8, other(5, Direction::Inbound, "turned", 20)),
        (8, other(6, Direction::Inbound, "turned", 30)),
        (9, {
            let mut event = webhook(1, 5, "turned", CallStatus::InProgress, 60);
            event.direction = Direction::Outbound;
            told(event)
        }),
        (9, told(cdr(1, None, "turned", CallStatus::Busy))),
    ]);
    let ended: Vec<u8> = known
        .iter()
        .map(|(_, bytes, _)| codec::decode(bytes).unwrap())
        .filter(|call| !call.live())
        .map(|call| call.id.sid.bytes()[0])
        .collect();
    assert!(ended.contains(&2) && !ended.contains(&1) && !ended.contains(&3), "{ended:?}");
}

#[test]
fn of_many_calls_with_one_call_id_the_first_ones_count_wherever_they_are() {
    const INBOUND: u8 = 11;
    let mut taken: Vec<Taken> = (1..=40_u8)
        .map(|call| {
            let mut event =
                webhook(1, call, "shared", CallStatus::Trying, 200 - u64::from(call % 20) * 10);
            // It is the eighteenth of those that were listed first.
            let inbound = call == INBOUND;
            event.direction = if inbound { Direction::Inbound } else { Direction::Outbound };
            (0, told(event))
        })
        .collect();
    // The one that was listed first, since no inbound one is among those that are looked at.
    taken.push((1, told(cdr(1, None, "shared", CallStatus::NoAnswer))));
    for call in [19, 38] {
        taken.push((1, vec![Change::Delete(id(1, call))]));
    }
    taken.push((2, told(cdr(1, None, "shared", CallStatus::Busy))));
    taken.push((3, told(webhook(1, 41, "other", CallStatus::Trying, 300))));
    let known = settled(&taken);
    let ended = known.iter().map(|(_, bytes, _)| codec::decode(bytes).unwrap());
    let ended: Vec<u8> =
        ended.filter(|call| !call.live()).map(|call| call.id.sid.bytes()[0]).collect();
    assert_eq!(ended, [INBOUND, 39]);
}

#[test]
fn a_cdr_waits_where_its_sid_is_that_of_its_call_id_and_nowhere_else() {
    let strange = crate::keys::derived(account(1), "another").sid;
    let taken = [
        (0, told(cdr(1, Some(strange), "sbc-1", CallStatus::Busy))),
        (1, told(cdr(1, None, "sbc-2", CallStatus::Busy))),
        (2, told(cdr(1, None, "sbc-2", CallStatus::Busy))),
    ];
    let known = settled(&taken);
    let waits: Vec<bool> = known.iter().map(|(.., waits)| *waits).collect();
    assert_eq!(waits.iter().filter(|waits| **waits).count(), 1);
    assert_eq!(known.len(), 2);
}

/// The row of a deletion that stands no longer goes, though a CDR waits there before something takes its place.
#[test]
fn what_the_index_has_of_a_sid_is_known_when_a_cdr_that_waits_is_placed_in_the_same_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(brief(dir.path()));
    let alone = crate::keys::derived(account(1), "sbc-1");
    let busy = || told(cdr(1, None, "sbc-1", CallStatus::Busy));
    let place = || vec![Change::PlaceCdr { id: alone, due: true }];
    for (at, changes) in [(0, busy()), (1, place()), (2, vec![Change::Delete(alone)])] {
        store.apply(&changes, minute(at), false).unwrap();
    }
    store.shared.checkpoint_now().unwrap();
    assert_eq!(store.shared.view.index().unwrap().stats().tombstones, 1);
    in_one_commit(
        &store,
        &[(60, told(event(id(1, 9), CallStatus::Busy, minute(60)))), (60, busy()), (60, place())],
    );
    let counts = store.shared.view.registry.read().counts().unwrap();
    store.shared.checkpoint_now().unwrap();
    let stats = store.shared.view.index().unwrap().stats();
    assert_eq!((counts.calls, counts.tombstones), (2, 0));
    assert_eq!((stats.calls, stats.tombstones), (2, 0));
    assert_sound(&store);
}

#[test]
fn nodes_compare_calls_and_cdrs_that_wait_and_settings() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stores = [0, 1].map(|n| open(brief(dirs[n].path())));
    let hashes = || {
        [0, 1].map(|n| {
            let content::Content { hash, settings, .. } = stores[n].content().unwrap();
            (hash, settings)
        })
    };
    let busy = |call_id| told(cdr(1, None, call_id, CallStatus::Busy));
    let apply = |n: usize, changes: &[Change]| stores[n].apply(changes, minute(1), false).unwrap();
    let mut known = hashes()[0];
    for changes in [heard(1, 1, 1).1, busy("sbc-1"), busy("sbc-2"), cluster_row(5), cluster_row(6)]
    {
        apply(0, &changes);
        let [one, other] = hashes();
        assert_eq!(other, known);
        assert_ne!(one, other, "{changes:?}");
        apply(1, &changes);
        let [one, other] = hashes();
        assert_eq!(one, other);
        known = one;
    }
    // In whatever order they came, and wherever they are.
    apply(0, &busy("sbc-3"));
    apply(0, &busy("sbc-4"));
    apply(1, &busy("sbc-4"));
    apply(1, &busy("sbc-3"));
    stores[1].shared.checkpoint_now().unwrap();
    let [one, other] = hashes();
    assert!(one == other && one != known);
}

fn cluster_row(minutes: u64) -> Vec<Change> {
    let settings = ClusterSettings { max_lifetime_millis: minutes * MINUTE, forgotten_before: 0 };
    vec![Change::setting(settings.row())]
}

#[test]
fn the_lifetime_of_the_log_counts_and_what_is_forgotten_does_not_come_back_with_a_longer_one() {
    let taken = [
        (0, cluster_row(20)),
        heard(1, 1, 1),
        heard(1, 1, 2),
        (2, vec![Change::Delete(id(1, 1))]),
        (10, vec![Change::Delete(id(1, 2))]),
        // Longer than the configuration says.
        heard(15, 1, 1),
        (23, cluster_row(60)),
        heard(24, 1, 1),
        heard(24, 1, 2),
        (24, cluster_row(60)),
        // All of it is forgotten by now.
        heard(2 * 1440, 1, 3),
        (2 * 1440, cluster_row(2 * 1440)),
        heard(2 * 1440 + 1, 1, 2),
    ];
    let known = settled(&taken);
    let calls: Vec<u8> = known.iter().map(|(id, ..)| id.sid.bytes()[0]).collect();
    assert_eq!(calls, [1, 2, 3]);
}

#[test]
fn the_settings_of_the_cluster_are_known_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(brief(dir.path()));
    store.shared.view.note_logged(minute(0));
    assert_eq!(store.apply(&cluster_row(20), minute(30), false).unwrap().changed, 1);
    assert_eq!(store.apply(&cluster_row(20), minute(40), false).unwrap().unchanged, 1);
    let settings = |store: &Store| store.access(crate::access::Access::cluster).unwrap();
    let stored = settings(&store);
    let Some(Change::Admin(row, seen)) = store.cluster_row_to_propose() else {
        panic!("it is another")
    };
    assert_eq!(ClusterSettings::in_row(&row).unwrap().max_lifetime_millis, LIFETIME);
    assert_eq!(seen, Replaces::seen(store.access(|access| access.digest(CLUSTER))));
    let longer = Options { max_lifetime_millis: 20 * MINUTE, ..brief(&dir.path().join("new")) };
    let agreeing = open(longer);
    assert!(agreeing.cluster_row_to_propose().is_some(), "there is none yet");
    agreeing.apply(&cluster_row(20), minute(30), false).unwrap();
    assert!(agreeing.cluster_row_to_propose().is_none());
    assert_eq!(stored.max_lifetime_millis, 20 * MINUTE);
    assert_eq!(stored.forgotten_before, minute(30).minus_millis(365 * DAY).millis());
    store.apply(&cluster_row(15), minute(40), false).unwrap();
    let stored = settings(&store);
    assert_eq!(stored.forgotten_before, minute(20).millis());
    for rebuild in [false, true] {
        let image = dir.path().join(rebuild.to_string());
        fs::create_dir(&image).unwrap();
        crash_image(&store, &image);
        let copy = open(Options { rebuild, ..brief(&image) });
        copy.shared.view.note_logged(minute(0));
        assert_eq!(settings(&copy), stored);
        assert_eq!(copy.shared.view.tombstones(), store.shared.view.tombstones());
    }
    let strange = SettingRow { name: CLUSTER.to_owned(), json: b"{}".to_vec() };
    store.apply(&[Change::setting(strange)], minute(50), false).unwrap();
    assert_eq!(settings(&store), stored);
}

#[test]
fn a_node_forgets_a_deletion_a_day_after_its_time_by_the_clock_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(brief(dir.path()));
    let view = &store.shared.view;
    let tombstones = || {
        pack(&store);
        view.index().unwrap().stats().tombstones
    };
    view.note_logged(minute(0));
    store.apply(&heard(0, 1, 1).1, minute(0), false).unwrap();
    store.apply(&[Change::Delete(id(1, 1))], minute(0), false).unwrap();
    assert_eq!(tombstones(), 1, "by this machine's clock it is old");
    view.note_logged(minute(0).plus_millis(DAY + LIFETIME));
    assert_eq!(tombstones(), 1, "whatever this node is configured to");
    store.apply(&cluster_row(LIFETIME / MINUTE), minute(0), false).unwrap();
    // A server whose clock is behind.
    view.note_logged(minute(0));
    assert_eq!(view.logged_at(), Some(minute(0).plus_millis(DAY + LIFETIME)));
    assert_eq!(tombstones(), 1);
    view.note_logged(minute(0).plus_millis(DAY + LIFETIME + 1));
    assert_eq!(tombstones(), 0);
    assert_sound(&store);
    // The latest time that anything may still be said to have been received at.
    let late = tombstones::received_at(minute(0), view.logged_at().unwrap());
    assert!(late > minute(0).plus_millis(LIFETIME));
    assert!(!view.tombstones().stands(minute(0), late));
    // What has left the journal leaves the index, though a call lives longer from then on.
    let again = view.logged_at().unwrap();
    store.apply(&heard(0, 1, 2).1, again, false).unwrap();
    store.apply(&[Change::Delete(id(1, 2))], again, false).unwrap();
    store.shared.checkpoint_now().unwrap();
    view.note_logged(again.plus_millis(DAY + LIFETIME + 1));
    store.collect(Depth::Erase).unwrap();
    assert_eq!(view.index().unwrap().stats().tombstones, 1);
    store.apply(&cluster_row(2000), view.logged_at().unwrap(), false).unwrap();
    assert_sound(&store);
    assert_eq!(tombstones(), 0);
}

#[test]
fn a_node_makes_no_parts_of_calls_while_it_has_no_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(brief(dir.path()));
    store.apply(&heard(0, 1, 1).1, minute(0), false).unwrap();
    store.shared.checkpoint_now().unwrap();
    store.shared.view.note_logged(minute(0));
    let still = store.shared.index_writer.lock();
    store.shared.view.set_index(Err("on purpose".to_owned()));
    let (begun, last) = (store.shared.view.registry.read().len(), *store.published().borrow());
    for changes in [
        heard(1, 1, 1).1,
        heard(1, 1, 2).1,
        told(cdr(1, None, "sbc-1", CallStatus::Busy)),
        told(webhook(1, 3, "sbc-1", CallStatus::Busy, 1)),
        vec![Change::Delete(id(1, 1))],
    ] {
        let refused = store.submit(changes, minute(1)).unwrap().wait();
        assert!(matches!(refused, Err(StoreError::IndexUnavailable(..))), "{refused:?}");
    }
    assert_eq!(store.shared.view.registry.read().len(), begun);
    assert_eq!(*store.published().borrow(), last);
    drop(still);
    until("the index is built again", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok()
    });
    assert_eq!(store.apply(&heard(1, 1, 2).1, minute(1), false).unwrap().new, 1);
}

#[test]
fn a_node_takes_cdrs_whatever_its_configuration_says() {
    let dir = tempfile::tempdir().unwrap();
    let cdrs = CdrOptions { taken: false, wait_millis: 1 };
    let store = open(Options { cdrs, ..brief(dir.path()) });
    store.shared.view.note_logged(minute(0));
    let waits = told(cdr(1, None, "sbc-1", CallStatus::Busy));
    store.apply(&waits, minute(0), false).unwrap();
    let image = dir.path().join("copy");
    fs::create_dir(&image).unwrap();
    crash_image(&store, &image);
    let copy = open(Options { cdrs, ..brief(&image) });
    copy.shared.view.note_logged(minute(0));
    copy.shared.cdrs_taken.store(false, Ordering::Release);
    for store in [&store, &copy] {
        assert_eq!(waiting(store), 1);
        let call = told(webhook(1, 1, "sbc-1", CallStatus::Trying, 1));
        assert_eq!(store.apply(&call, minute(1), false).unwrap().cdrs.merged, 1);
    }
}

fn used(token: &str, at: &str) -> Change {
    Change::setting(SettingRow { name: format!("used/{token}"), json: at.as_bytes().to_vec() })
}

#[test]
fn of_rows_that_say_when_a_token_was_used_the_greatest_counts() {
    for (between, commits) in [(false, true), (true, true), (false, false), (true, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(brief(dir.path()));
        let revoked = used("b", "");
        let rows = vec![used("a", "9"), used("a", "5"), used("b", "7"), revoked, used("b", "8")];
        let taken: Vec<Taken> = if commits {
            rows.into_iter().map(|row| (0, vec![row])).collect()
        } else {
            vec![(0, rows)]
        };
        if between {
            for (at, changes) in &taken {
                store.apply(changes, minute(*at), false).unwrap();
                store.shared.checkpoint_now().unwrap();
                drop(store);
                store = open(brief(dir.path()));
            }
        } else {
            in_one_commit(&store, &taken);
        }
        store.shared.checkpoint_now().unwrap();
        let rows = store.shared.view.index().unwrap().admin_rows().unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (&*row.name, &*row.json)).collect();
        assert_eq!(rows, [("used/a", &b"9"[..]), ("used/b", &b""[..])]);
    }
}
